"""The stand: every engine on every database."""

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.storage.database import Database
from tests.rooms.commerce.stand import ENGINES, Stand, embedded


@pytest.fixture(params=sorted(ENGINES))
async def stand(request: pytest.FixtureRequest, database: Database, clock: StoppedClock) -> Stand:
    """Any engine, with the articles of `stand.py` in two stores."""
    return await ENGINES[request.param](database, clock)


@pytest.fixture
async def shop(database: Database, clock: StoppedClock) -> Stand:
    """The embedded shop, for what only it does."""
    return await embedded(database, clock)
