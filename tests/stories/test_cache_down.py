"""The cache goes away and comes back: no session ends, guessing is still limited, and operators can see it."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from tests.services.server import Server, wait_until
from tests.services.shopkeeper_server import Commerce
from tests.services.valkey import start_valkey
from tests.stories.conftest import Launch
from tests.stories.shopping import CUSTOMER
from tests.stories.visitor import PATIENCE, Guests, Visitor

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Valkey:
    """A Valkey of the test, which is killed and started again on the same port."""

    def __init__(self) -> None:
        self._running: Server = start_valkey(owner=os.getpid())
        self.url = self._running.url

    def kill(self) -> None:
        self._running.kill()

    def start_again(self) -> None:
        self._running.stop()
        self._running = start_valkey(owner=os.getpid(), port=urlsplit(self.url).port)

    def stop(self) -> None:
        self._running.stop()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with ExitStack() as ending:
        valkey = Valkey()
        ending.callback(valkey.stop)
        yield valkey


@pytest.fixture
def shop(launch: Launch, valkey: Valkey, dsn: str) -> Commerce:
    return launch(dsn=dsn, cache_url=valkey.url, demo=True)


@pytest.fixture
def guests(shop: Commerce) -> Iterator[Guests]:
    guests = Guests(shop.public)
    yield guests
    guests.go()


def readiness(shop: Commerce) -> dict[str, Any]:
    """Return the answer of the admin port; the public one reports ready, because the server can still serve."""
    assert httpx.get(f"{shop.public}/health/ready", timeout=PATIENCE).json() == {"status": "ok"}
    answer = httpx.get(f"{shop.admin}/health/ready", timeout=PATIENCE)
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    return told


def lines(shop: Commerce, event: str) -> list[str]:
    return [line for line in COLOURS.sub("", shop.log).splitlines() if event in line]


def sign_in_wrongly(visitor: Visitor, email: str) -> int:
    return visitor.try_to_sign_in(email, password="wrong").status_code


def test_without_its_cache_a_server_loses_only_the_shared_state(shop: Commerce, valkey: Valkey, guests: Guests) -> None:
    customer, email = guests.customer(**{"QK-MUG-BLU": 2})
    assert readiness(shop) == {"status": "ok"}

    valkey.kill()
    wait_until(lambda: "degraded" in readiness(shop), "the news that the cache is down")
    assert "cache" in readiness(shop)["degraded"]
    assert customer.ask(CUSTOMER)["email"] == email
    assert customer.goods() == {"QK-MUG-BLU": 2}
    customer.put("QK-PLATE-21", 1)

    other, theirs = guests.customer()
    assert [sign_in_wrongly(other, theirs) for _ in range(6)] == [401] * 5 + [429]
    blocked = other.try_to_sign_in(theirs)
    assert blocked.status_code == 429
    assert 0 < int(blocked.headers["retry-after"]) <= 60
    assert any("throttle.degraded" in line and "login" in line for line in lines(shop, "degraded"))
    assert lines(shop, "throttle.recovered") == []

    second = guests.guest()
    second.sign_in(email)
    session = httpx.get(f"{shop.public}/sessions/whoami", headers={"x-session-token": str(second.token)}).json()["id"]
    customer.http.delete(f"/sessions/{session}", headers={"x-session-token": str(customer.token)})
    assert second.refusal(CUSTOMER)["code"] == "UNAUTHENTICATED"

    valkey.start_again()
    wait_until(lambda: readiness(shop) == {"status": "ok"}, "the news that the cache is back")
    wait_until(lambda: _recovered(shop, guests.guest(), email), "counting in the cache again")
    assert second.refusal(CUSTOMER)["code"] == "UNAUTHENTICATED"
    assert customer.goods() == {"QK-MUG-BLU": 2, "QK-PLATE-21": 1}
    third, new = guests.customer()
    assert [sign_in_wrongly(third, new) for _ in range(6)] == [401] * 5 + [429]
    assert "Traceback" not in shop.log


def _recovered(shop: Commerce, visitor: Visitor, email: str) -> bool:
    """The throttle looks for the cache again at the next sign-in."""
    visitor.sign_in(email)
    return bool(lines(shop, "throttle.recovered"))


def test_a_server_starts_without_its_cache(launch: Launch, valkey: Valkey, sqlite_dsn: str) -> None:
    valkey.kill()
    shop = launch(dsn=sqlite_dsn, cache_url=valkey.url, demo=True)
    assert "cache" in readiness(shop)["degraded"]
    guests = Guests(shop.public)
    customer, _ = guests.customer(**{"QK-MUG-BLU": 2})
    assert customer.goods() == {"QK-MUG-BLU": 2}
    guests.go()
