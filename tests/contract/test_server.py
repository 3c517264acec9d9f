"""The servers of these tests: ready when they report it, with several workers where wanted, and gone when they are
ended."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.contract.conftest import Launch
from tests.contract.stories import tell_of_a_customer
from tests.services.server import wait_until
from tests.services.shopkeeper_server import Commerce


@pytest.mark.parametrize("end", [Commerce.stop, Commerce.kill])
def test_a_server_of_two_workers_serves_a_customer_and_ends_whole(
    launch: Launch, postgres_dsn: str, valkey_url: str, end: Callable[[Commerce], None]
) -> None:
    """Each call may reach either worker, so each worker must see what the other has changed."""
    shop = launch(config=PLAIN, dsn=postgres_dsn, cache_url=valkey_url, workers=2)
    pids = shop.pids
    assert len(pids) >= 3
    tell_of_a_customer(shop.public)
    end(shop)
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), "the end of every worker")


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_several_customers_are_served_at_once(launch: Launch, request: pytest.FixtureRequest, kind: str) -> None:
    """In a database in memory readers wait for the writer; in a file they do not."""
    dsn = kind if kind == "memory" else str(request.getfixturevalue(f"{kind}_dsn"))
    shop = launch(config=PLAIN, dsn=dsn)
    with ThreadPoolExecutor(4) as accounts:
        for told in [accounts.submit(tell_of_a_customer, shop.public) for _ in range(8)]:
            told.result()
    assert "request failed" not in shop.log


PLAIN = {
    "identity": {"default_schema_id": "default", "schemas": [{"id": "default", "url": "builtin://customer"}]},
    "selfservice": {
        "methods": {"password": {"config": {"haveibeenpwned_enabled": False}}},
        "flows": {"registration": {"style": "unified", "after": {"password": {"hooks": [{"hook": "session"}]}}}},
    },
}
