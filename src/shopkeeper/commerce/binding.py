"""Bind an engine where it is used: with a unit of work where it shares our transaction, otherwise without one.

An engine on another server must never be called while a transaction of ours is open, because that would hold locks and
a connection until the other server answers.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from shopkeeper.commerce.port import Engine, EngineSession, Grant, Shopper
from shopkeeper.storage.database import Unit

OpenUnit: TypeAlias = Callable[[], AbstractAsyncContextManager[Unit]]
"""Opens a unit of work: `Database.unit`."""


@asynccontextmanager
async def engine_session(
    engine: Engine, shopper: Shopper, *, open_unit: OpenUnit, grant: Grant | None = None
) -> AsyncIterator[EngineSession]:
    """Open a session, with a unit of work of its own where the engine shares our transaction.

    >>> async with engine_session(engine, shopper, open_unit=database.unit) as session:  # doctest: +SKIP
    ...     cart = await session.carts.current()
    """
    async with engine_session_in_unit(engine, shopper, open_unit=open_unit, grant=grant) as (session, _):
        yield session


@asynccontextmanager
async def engine_session_in_unit(
    engine: Engine, shopper: Shopper, *, open_unit: OpenUnit, grant: Grant | None = None
) -> AsyncIterator[tuple[EngineSession, Unit | None]]:
    """Open a session as `engine_session` does, and return its unit beside it, or None for an engine that has none: for
    what is to be written together with the change."""
    if not engine.shares_transaction:
        yield engine.bind(None, shopper, grant), None
        return
    async with open_unit() as unit:
        yield engine.bind(unit, shopper, grant), unit


def engine_unit(engine: Engine, unit: Unit) -> Unit | None:
    """Return the unit for an engine that shares our transaction, and `None` for any other."""
    return unit if engine.shares_transaction else None
