"""Reads from a commerce engine that a page is complete without: the page is shown also where the engine fails."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Final, TypeVar

import structlog

from shopkeeper.errors import Refusal

DEADLINE: Final = timedelta(seconds=2)
"""How long a page waits for an engine."""

T = TypeVar("T")

log = structlog.get_logger("shopkeeper.pages")


async def read_or_none(read: Awaitable[T], *, page: str) -> T | None:
    """Return what an engine answers, or None where it refuses, fails, or does not answer in time.

    The failure is logged with the name of the page.
    """
    try:
        async with asyncio.timeout(DEADLINE.total_seconds()):
            return await read
    except (TimeoutError, Refusal) as failed:
        log.warning("pages.engine_unavailable", page=page, error=type(failed).__name__)
    except Exception:  # a fault of a connector must not take away the rest of the page
        log.exception("pages.engine_unavailable", page=page)
    return None
