"""The shop with GraphQL, on every database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shopkeeper.clock import StoppedClock
from tests.graphql.shop import Client, Stand, opened


@pytest.fixture
async def stand(dsn: str, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stand]:
    """The shop on either database."""
    monkeypatch.chdir(tmp_path)
    async with opened(dsn, tmp_path, clock) as stand:
        yield stand


@pytest.fixture
async def small_stand(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stand]:
    """The shop on SQLite, for tests that do not depend on the database."""
    monkeypatch.chdir(tmp_path)
    async with opened(sqlite_dsn, tmp_path, clock) as stand:
        yield stand


@pytest.fixture
async def visitor(small_stand: Stand) -> Client:
    """An anonymous visitor of the shop on SQLite."""
    return await small_stand.visitor()
