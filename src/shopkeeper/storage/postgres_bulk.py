"""Transactions of PostgreSQL for migrations and bulk loading: their statements take as long as they need.

All other waits end: for a connection, for a lock, for the commit and for leaving. A server that dies during a statement
is noticed by TCP (`keepalive.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction

from shopkeeper.storage.postgres_connection import CLOSE_WITHIN, Deadlines
from shopkeeper.storage.unavailable import DATABASE_ERRORS, CommitUnknown, DatabaseUnavailable

Bulk = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


def bulk_transactions(engine: AsyncEngine, deadlines: Deadlines) -> Bulk:
    """Return what opens such a transaction: commit on return, roll back on any exception."""

    @asynccontextmanager
    async def transaction() -> AsyncIterator[AsyncConnection]:
        connection = await _connected(engine, deadlines)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        try:
            begun = await _begun(connection, deadlines)
            try:
                yield connection
            except BaseException:
                await _roll_back(begun, driver)
                raise
            await _commit(begun, driver, deadlines)
        finally:
            await _leave(connection, driver)

    return transaction


async def _connected(engine: AsyncEngine, deadlines: Deadlines) -> AsyncConnection:
    try:
        # SQLAlchemy asks the server for its version and the like.
        async with asyncio.timeout(deadlines.connect + deadlines.answer):
            return await engine.connect()
    except TimeoutError as failed:
        raise DatabaseUnavailable(retry_after=1) from failed


async def _begun(connection: AsyncConnection, deadlines: Deadlines) -> AsyncTransaction:
    limits = {
        "statement_timeout": 0,
        "idle_in_transaction_session_timeout": 0,
        "lock_timeout": int(deadlines.bulk_lock * 1000),
    }
    try:
        async with asyncio.timeout(deadlines.answer):
            begun = await connection.begin()
            for setting, limit in limits.items():
                await connection.execute(text(f"SET LOCAL {setting} = {limit}"))
            return begun
    except TimeoutError as failed:
        raise DatabaseUnavailable(retry_after=1) from failed


async def _commit(begun: AsyncTransaction, driver: Any, deadlines: Deadlines) -> None:
    try:
        async with asyncio.timeout(deadlines.bulk_commit):
            await begun.commit()
    except TimeoutError as failed:
        raise CommitUnknown(retry_after=1) from failed
    except DATABASE_ERRORS as failed:
        if driver.is_closed():
            raise CommitUnknown(retry_after=1) from failed
        raise


async def _roll_back(begun: AsyncTransaction, driver: Any) -> None:
    """Roll back; where the server is silent, it does so when it notices that the connection is gone."""
    try:
        async with asyncio.timeout(CLOSE_WITHIN):
            await begun.rollback()
    except (*DATABASE_ERRORS, asyncio.CancelledError):
        driver.terminate()


async def _leave(connection: AsyncConnection, driver: Any) -> None:
    """Close the connection, and cut it where that takes long. SQLAlchemy waits for the server's goodbye."""
    with suppress(*DATABASE_ERRORS):
        async with asyncio.timeout(CLOSE_WITHIN):
            await driver.close(timeout=CLOSE_WITHIN)
    driver.terminate()
    with suppress(*DATABASE_ERRORS):
        await connection.invalidate()
    await connection.close()
