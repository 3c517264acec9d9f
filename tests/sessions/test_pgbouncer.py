"""Sessions refreshed at the same time, behind PgBouncer in transaction mode."""

import pytest

from tests.sessions.test_refresh import TestAtTheSameTime

__all__ = ["TestAtTheSameTime"]


@pytest.fixture
def dsn(pgbouncer_dsn: str) -> str:
    """What the imported tests run on."""
    return pgbouncer_dsn
