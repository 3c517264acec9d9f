"""The fixture `stand`: every engine on every database."""

from collections.abc import AsyncIterator, ItemsView

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.storage.database import Database
from tests.commerce.stand import ENGINES, Stand, embedded


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the remote engine on SQLite only: what HTTP does to the port does not depend on the engine's database."""
    items[:] = [item for item in items if not {"stand": "remote", "dsn": "postgresql"}.items() <= _parameters(item)]


def _parameters(item: pytest.Item) -> ItemsView[str, object]:
    return item.callspec.params.items() if hasattr(item, "callspec") else {}.items()


@pytest.fixture(params=sorted(ENGINES))
async def stand(request: pytest.FixtureRequest, database: Database, clock: StoppedClock) -> AsyncIterator[Stand]:
    """Every engine, with the articles of `stand.py` in two stores."""
    async with ENGINES[request.param](database, clock) as stand:
        yield stand


@pytest.fixture
async def shop(database: Database, clock: StoppedClock) -> Stand:
    """The embedded shop, for what only it does."""
    return await embedded(database, clock)
