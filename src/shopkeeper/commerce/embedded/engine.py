"""The embedded shop as an engine: the parts, put together."""

from collections.abc import Sequence
from datetime import timedelta

from shopkeeper.clock import Clock
from shopkeeper.commerce.embedded import demo
from shopkeeper.commerce.embedded.carts import MAX_LINES, MAX_QUANTITY, EmbeddedCarts
from shopkeeper.commerce.embedded.catalogue import EmbeddedCatalogue
from shopkeeper.commerce.embedded.customers import EmbeddedCustomers
from shopkeeper.commerce.embedded.load import load
from shopkeeper.commerce.embedded.orders import EmbeddedOrders
from shopkeeper.commerce.port import Events
from shopkeeper.storage.database import Unit
from shopkeeper.storage.upkeep import Chore

A_LONG_TIME = timedelta(days=400)


class EmbeddedEngine:
    """Satisfies `Engine`, `TidiesUp` and `ShowsADemo`; one for any number of stores.

    >>> engine = EmbeddedEngine(clock, events=outbox)  # doctest: +SKIP
    >>> cart = await engine.carts.create(unit, guest)  # doctest: +SKIP

    Args:
        clock: tells the time.
        events: where placed orders and hand-overs are told, in the same transaction: the outbox. Nowhere if left out.
        max_quantity: the most of one variant that a cart takes.
        max_lines: the most different variants that a cart takes.
    """

    name = "embedded"

    def __init__(
        self,
        clock: Clock,
        *,
        events: Events | None = None,
        max_quantity: int = MAX_QUANTITY,
        max_lines: int = MAX_LINES,
    ) -> None:
        self.catalogue = EmbeddedCatalogue()
        self.customers = EmbeddedCustomers(clock)
        self.carts = EmbeddedCarts(clock, events=events, max_quantity=max_quantity, max_lines=max_lines)
        self.orders = EmbeddedOrders(clock, customers=self.customers, events=events)

    def chores(self, *, guest_lifespan: timedelta) -> Sequence[Chore]:
        # A token that was renewed just before it ended lasts for twice its lifespan. A cart is kept as long, and so is
        # what says that a guest is one no more.
        renewed = 2 * guest_lifespan
        return [
            Chore("guests' carts", renewed, self.carts.expire),
            Chore("hand-overs", max(A_LONG_TIME, renewed), self.carts.forget_hand_overs),
            Chore("former carts", A_LONG_TIME, self.carts.forget_former),
            Chore("order drafts", timedelta(days=30), self.orders.forget_drafts),
        ]

    async def stock_demo(self, unit: Unit, store: str) -> bool:
        await unit.begin()
        if await self.catalogue.is_stocked(unit, store):
            return False
        await load(unit, store=store, catalogue=demo.read_catalogue())
        return True
