"""Concurrent carts and orders behind PgBouncer in transaction mode."""

import pytest

from tests.commerce.test_races import TestCartsAtOnce, TestHandOversAtOnce, TestOrdersAtOnce

__all__ = ["TestCartsAtOnce", "TestHandOversAtOnce", "TestOrdersAtOnce"]


@pytest.fixture
def dsn(pgbouncer_dsn: str) -> str:
    """What the imported tests run on."""
    return pgbouncer_dsn
