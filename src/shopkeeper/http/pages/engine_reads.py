"""Reads from a commerce engine that a page is complete without: the page is shown also where the engine fails."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeVar
from uuid import UUID

import structlog

from shopkeeper.commerce.binding import engine_session
from shopkeeper.commerce.port import Cart, Engine, Order, Page
from shopkeeper.commerce.stores import Stores
from shopkeeper.errors import Refusal
from shopkeeper.storage.database import Database

DEADLINE: Final = timedelta(seconds=2)
"""How long a page waits for an engine."""

T = TypeVar("T")

log = structlog.get_logger("shopkeeper.pages")


@dataclass(frozen=True, slots=True)
class EngineReads:
    """Reads what pages show of shoppers: None where the engine refuses, fails, or does not answer in time.

    The failure is logged with the name of the page.
    """

    database: Database = field(repr=False)
    engines: Mapping[str, Engine]
    stores: Stores

    async def cart_of(self, guest_id: str, *, store: str, page: str) -> Cart | None:
        """Return a guest's cart; None also where there is none."""
        return await _read_or_none(self._cart(guest_id, store), page=page)

    async def orders_of(
        self, identity_id: UUID, *, store: str, offset: int, limit: int, page: str
    ) -> Page[Order] | None:
        """Return some of a customer's orders."""
        return await _read_or_none(self._orders(identity_id, store, offset, limit), page=page)

    async def _cart(self, guest_id: str, store_id: str) -> Cart | None:
        store = self.stores.require(store_id)
        engine, guest = self.engines[store.engine], store.guest(guest_id)
        async with engine_session(engine, guest, open_unit=self.database.unit) as bound:
            return await bound.carts.current()

    async def _orders(self, identity_id: UUID, store_id: str, offset: int, limit: int) -> Page[Order]:
        store = self.stores.require(store_id)
        engine, shopper = self.engines[store.engine], store.customer(str(identity_id))
        async with engine_session(engine, shopper, open_unit=self.database.unit) as bound:
            return await bound.orders.orders(offset=offset, limit=limit) if bound.orders is not None else Page(())


async def _read_or_none(read: Awaitable[T], *, page: str) -> T | None:
    try:
        async with asyncio.timeout(DEADLINE.total_seconds()):
            return await read
    except (TimeoutError, Refusal) as failed:
        log.warning("pages.engine_unavailable", page=page, error=type(failed).__name__)
    except Exception:  # a fault of a connector must not take away the rest of the page
        log.exception("pages.engine_unavailable", page=page)
    return None
