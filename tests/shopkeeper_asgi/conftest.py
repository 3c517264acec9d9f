"""Fixtures for the middleware: the server that the documentation runs against, and accounts of the tests' own there."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from shopkeeper_asgi import Authenticator, WhoAmI
from shopkeeper_asgi.modes import Mode
from tests.docs.conftest import shop  # noqa: F401 - a fixture: one demo server for both
from tests.services.server import free_port
from tests.services.shopkeeper_server import Commerce

pytest.register_assert_rewrite("tests.shopkeeper_asgi.adapters")
PASSWORD = "plum-tart-93-window"
PATIENCE = 30
"""Seconds as the deadline where it is not what is tested."""

Make = Callable[..., Authenticator]


@dataclass(frozen=True)
class Customer:
    """A customer with a session."""

    email: str
    token: str


def register(shop: Commerce) -> Customer:  # noqa: F811
    """Register a customer, as a native app does, and return it signed in."""
    email = f"{uuid.uuid4().hex}@example.org"
    with httpx2.Client(base_url=shop.public, timeout=PATIENCE) as app:
        flow = app.get("/self-service/registration/api").json()["id"]
        told = {"method": "password", "password": PASSWORD, "traits": {"email": email}}
        done = app.post("/self-service/registration", params={"flow": flow}, json=told)
    assert done.status_code == 200, done.text
    return Customer(email, done.json()["session_token"])


@pytest.fixture(scope="module")
def customer(shop: Commerce) -> Customer:  # noqa: F811
    """A customer of the demo shop, whose session goes on."""
    return register(shop)


@pytest.fixture
def make() -> Iterator[Make]:
    """Make authenticators that end with the test."""
    made: list[Authenticator] = []

    def begin(mode: Mode, **told: Any) -> Authenticator:
        made.append(Authenticator(mode, **{"deadline": PATIENCE, **told}))
        return made[-1]

    yield begin
    for authenticator in made:
        authenticator.close()


@pytest.fixture
def authenticator(shop: Commerce, make: Make) -> Authenticator:  # noqa: F811
    """One that asks the demo shop."""
    return make(WhoAmI(url=shop.public))


@pytest.fixture
def dead() -> WhoAmI:
    """A provider that is away."""
    return WhoAmI(url=f"http://127.0.0.1:{free_port()}")
