"""The embedded shop as an engine: the parts, put together."""

from shopkeeper.clock import Clock
from shopkeeper.commerce.embedded.carts import MAX_LINES, MAX_QUANTITY, EmbeddedCarts
from shopkeeper.commerce.embedded.catalogue import EmbeddedCatalogue
from shopkeeper.commerce.embedded.customers import EmbeddedCustomers
from shopkeeper.commerce.embedded.orders import EmbeddedOrders
from shopkeeper.commerce.port import Events


class EmbeddedEngine:
    """Satisfies `Engine`; one for any number of stores.

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
