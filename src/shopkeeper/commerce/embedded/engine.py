"""The embedded shop as an engine: it uses our database and shares our transaction."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from shopkeeper.clock import Clock
from shopkeeper.commerce.embedded import cart_rows, demo, retention
from shopkeeper.commerce.embedded.cart_merges import CartMerges
from shopkeeper.commerce.embedded.carts import MAX_CARTS, MAX_LINES, MAX_QUANTITY, CartRules
from shopkeeper.commerce.embedded.catalogue import is_stocked
from shopkeeper.commerce.embedded.customers import forget_customer
from shopkeeper.commerce.embedded.load import load
from shopkeeper.commerce.embedded.orders import OrderRules, order_number
from shopkeeper.commerce.embedded.session import EmbeddedSession, Rules
from shopkeeper.commerce.port import CartMergeReport, Events, Grant, MergeMode, Shopper
from shopkeeper.storage.cleanup import RetentionRule
from shopkeeper.storage.database import Unit


class EmbeddedEngine:
    """Satisfies `Engine`, `HasRetention`, `HasSampleData` and `KnowsGuestsOfCarts`; one for any number of stores.

    >>> engine = EmbeddedEngine(clock, events=outbox)  # doctest: +SKIP
    >>> cart = await engine.bind(unit, guest).carts.create()  # doctest: +SKIP

    Args:
        clock: the time of every change.
        events: where placed orders and merged carts are recorded, in the same transaction: the outbox. `None` records
            nothing.
        max_quantity: the most of one variant that a cart takes.
        max_lines: the most different variants that a cart takes.
        max_carts: the most carts that a shopper has open at once.
        number: creates order numbers.
    """

    name = "embedded"
    shares_transaction = True

    def __init__(
        self,
        clock: Clock,
        *,
        events: Events | None = None,
        max_quantity: int = MAX_QUANTITY,
        max_lines: int = MAX_LINES,
        max_carts: int = MAX_CARTS,
        number: Callable[[], str] = order_number,
    ) -> None:
        carts = CartRules(clock, max_quantity=max_quantity, max_lines=max_lines, max_carts=max_carts)
        self._rules = Rules(carts=carts, orders=OrderRules(clock, events=events, number=number))
        self._hand_overs = CartMerges(clock, events=events)

    def bind(self, unit: Unit | None, shopper: Shopper, grant: Grant | None = None) -> EmbeddedSession:
        return EmbeddedSession(_required(unit), shopper, self._rules)

    async def merge_guest_cart(
        self,
        unit: Unit | None,
        *,
        guest: Shopper,
        customer: Shopper,
        cart_id: str | None,
        mode: MergeMode,
        idempotency_key: str | None = None,
    ) -> CartMergeReport:
        # A merge is identified by guest, customer and cart, and commits with its report, so it needs no idempotency
        # key.
        return await self._hand_overs.perform(
            _required(unit), guest=guest, customer=customer, cart_id=cart_id, mode=mode
        )

    async def guest_of_cart(self, unit: Unit, *, store: str, cart_id: UUID) -> UUID | None:
        return await cart_rows.guest_of(unit, store=store, cart_id=cart_id)

    async def forget(self, unit: Unit | None, identity_id: str) -> None:
        await forget_customer(_required(unit), identity_id)

    def retention_rules(self, *, guest_lifespan: timedelta) -> Sequence[RetentionRule]:
        return retention.retention_rules(guest_lifespan=guest_lifespan)

    async def load_sample_data(self, unit: Unit, store: str) -> bool:
        await unit.begin()
        if await is_stocked(unit, store):
            return False
        await load(unit, store=store, catalogue=demo.read_catalogue())
        return True


def _required(unit: Unit | None) -> Unit:
    if unit is None:
        raise ValueError("The embedded engine shares our transaction: it needs the unit of work.")
    return unit
