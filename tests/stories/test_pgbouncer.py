"""Visits to a server with two processes on PostgreSQL behind PgBouncer in transaction mode."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest

from tests.conftest import Run
from tests.services.databases import drop_postgres, empty_postgres
from tests.services.pgbouncer import through
from tests.services.server import Server
from tests.stories.conftest import Launch
from tests.stories.production import SECRETS
from tests.stories.shopping import ORDERS
from tests.stories.visitor import PATIENCE, Guests

VISITS = 8


@pytest.fixture
def empty_dsn(pgbouncer_server: Server, postgres_server: Server, run: Run) -> Iterator[str]:
    dsn = empty_postgres(postgres_server)
    yield through(pgbouncer_server, dsn)
    drop_postgres(postgres_server, dsn)


def test_many_visits_at_once_end_with_an_order_each(launch: Launch, empty_dsn: str, valkey_url: str) -> None:
    """Both processes migrate the database first."""
    shop = launch(workers=2, demo=True, environ=SECRETS, dsn=empty_dsn, cache_url=valkey_url)

    def visit(_: int) -> int:
        guests = Guests(shop.public)
        visitor = guests.guest()
        email = visitor.sign_up()
        cart = visitor.put("QK-MUG-BLU", 2)
        visitor.sign_in(email, oldCartId=cart["id"])
        assert visitor.goods() == {"QK-MUG-BLU": 2}
        visitor.order()
        orders: int = visitor.ask(ORDERS)["total"]
        visitor.take(visitor.post("/signout", {}))
        guests.go()
        return orders

    with ThreadPoolExecutor(VISITS) as at_once:
        assert list(at_once.map(visit, range(VISITS))) == [1] * VISITS
    assert httpx.get(f"{shop.admin}/health/ready", timeout=PATIENCE).json() == {"status": "ok"}
    assert "Traceback" not in shop.log
