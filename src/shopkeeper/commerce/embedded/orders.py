"""Orders of the embedded shop: a draft shows what would be ordered, placing it takes the stock.

A draft copies names and prices. It is placed only while cart and prices equal the copies, so that a customer never
orders what was not shown.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, update

from shopkeeper.clock import Clock
from shopkeeper.commerce.embedded import cart_rows, order_rows
from shopkeeper.commerce.embedded.cart_rows import title
from shopkeeper.commerce.embedded.customers import EmbeddedCustomers
from shopkeeper.commerce.embedded.store import CartState, orders
from shopkeeper.commerce.errors import CartChanged, CartClosed, CartEmpty, OutOfStock, Shortage
from shopkeeper.commerce.port import Customer, Events, Order, OrderState, Page, Profile, Shopper, ShopperKind
from shopkeeper.crypto import new_id
from shopkeeper.errors import InternalError, NotYours, Unauthenticated
from shopkeeper.parsing import uuid_or_none
from shopkeeper.storage.database import Unit

TOPIC = "order.placed"
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Letters and digits that cannot be confused with each other on the telephone."""
NUMBER_TRIES = 5


def order_number() -> str:
    """Return a number such as `S-7K3M-9QXT-2WFA`: sixty random bits, so that it reveals neither other numbers nor their
    count."""
    letters = "".join(secrets.choice(ALPHABET) for _ in range(12))
    return f"S-{letters[:4]}-{letters[4:8]}-{letters[8:]}"


@dataclass(frozen=True, slots=True)
class OrderRules:
    """What the orders of all shoppers share.

    Attributes:
        clock: the time of drafting and placing.
        events: where `order.placed` is recorded; `None` records nothing.
        number: creates order numbers.
    """

    clock: Clock
    events: Events | None = None
    number: Callable[[], str] = order_number


class EmbeddedOrders:
    """Satisfies `Orders` for one shopper in one unit of work."""

    __slots__ = ("_rules", "_shopper", "_unit")

    def __init__(self, unit: Unit, shopper: Shopper, rules: OrderRules) -> None:
        self._unit, self._shopper, self._rules = unit, shopper, rules

    async def check_out(self, *, cart_id: str) -> Order:
        _require_customer(self._shopper)
        await self._unit.begin()
        cart = await self._locked_cart(cart_id)
        lines = await _contents(self._unit, cart)
        _check_sold(lines)
        draft = await order_rows.draft_of(self._unit, cart.id)
        if draft is not None:
            order = (await order_rows.with_lines(self._unit, [draft]))[0]
            if _unchanged(draft, order, cart, lines):
                return order
            await order_rows.delete_order(self._unit, draft.id)
        return await self._draft(cart, lines)

    async def place(self, *, order_id: str, profile: Profile | None) -> Order:
        _require_customer(self._shopper)
        await self._unit.begin()
        customer = await self._customer(profile)
        order = await self.require_order(order_id)
        cart = await self._locked_cart(order.cart_id)
        # Every write to an order locks its cart first, so what is read from here on stays true.
        draft = await order_rows.named(self._unit, self._shopper, order.id)
        if draft is None:
            raise NotYours
        if draft.state != OrderState.PLACED:
            await self._place(draft, cart, customer)
        return await self.require_order(order.id)

    async def orders(self, *, offset: int = 0, limit: int = 20) -> Page[Order]:
        _require_customer(self._shopper)
        page = await order_rows.PLACED.turn(self._unit, order_rows.whose(self._shopper), offset=offset, limit=limit)
        return Page(await order_rows.with_lines(self._unit, page.rows), cursor=page.cursor, total=page.total)

    async def require_order(self, order_id: str) -> Order:
        _require_customer(self._shopper)
        row = await order_rows.named(self._unit, self._shopper, order_id)
        if row is None:
            raise NotYours
        return (await order_rows.with_lines(self._unit, [row]))[0]

    async def _draft(self, cart: Row[Any], lines: Sequence[Row[Any]]) -> Order:
        draft = {
            "id": new_id(),
            "store": self._shopper.store,
            "customer_id": self._shopper.id,
            "state": OrderState.DRAFT,
            "currency": cart.currency,
            "total": sum(line.price * line.quantity for line in lines),
            "cart_id": cart.id,
            "cart_version": cart.version,
            "created_at": self._rules.clock.now(),
            "locale": self._shopper.locale,
        }
        copies = [_copy(draft["id"], position, line) for position, line in enumerate(lines)]
        for _ in range(NUMBER_TRIES):
            if await order_rows.insert_draft(self._unit, draft | {"number": self._rules.number()}, copies):
                return await self.require_order(str(draft["id"]))
        raise InternalError

    async def _customer(self, profile: Profile | None) -> Customer | None:
        customers = EmbeddedCustomers(self._unit, self._shopper, self._rules.clock)
        return await customers.customer() if profile is None else await customers.ensure(profile)

    async def _place(self, draft: Row[Any], cart: Row[Any], customer: Customer | None) -> None:
        order = (await order_rows.with_lines(self._unit, [draft]))[0]
        if cart.id != draft.cart_id or not _unchanged(draft, order, cart, await _contents(self._unit, cart)):
            raise CartChanged
        await _take_stock(self._unit, order)
        now = self._rules.clock.now()
        placed = (
            update(orders)
            .where(orders.c.id == draft.id)
            .values(
                state=OrderState.PLACED,
                placed_at=now,
                locale=self._shopper.locale,
                placed_by=self._shopper.actor,
            )
        )
        await self._unit.write(placed)
        await cart_rows.touch(self._unit, cart.id, now=now, state=CartState.ORDERED)
        if self._rules.events is not None:
            payload = _told(order, customer, self._shopper, placed_at=now)
            await self._rules.events.add(self._unit, TOPIC, key=self._shopper.id, payload=payload)

    async def _locked_cart(self, cart_id: str) -> Row[Any]:
        id_ = uuid_or_none(cart_id)
        cart = await cart_rows.lock(self._unit, self._shopper, id_) if id_ is not None else None
        if cart is None:
            raise NotYours
        return cart


def _require_customer(shopper: Shopper) -> None:
    if shopper.kind is not ShopperKind.CUSTOMER:
        raise Unauthenticated("Ordering needs authentication: sign in first, the cart comes along.", topic="order")


async def _contents(unit: Unit, cart: Row[Any]) -> Sequence[Row[Any]]:
    """Return the lines of a cart. Raises `CartClosed` where it is not active, `CartEmpty` where it has none."""
    if cart.state != CartState.ACTIVE:
        raise CartClosed
    lines = await cart_rows.lines(unit, store=cart.store, currency=cart.currency, cart_ids=[cart.id])
    if not lines:
        raise CartEmpty
    return lines


def _check_sold(lines: Sequence[Row[Any]]) -> None:
    """Raise `OutOfStock` for lines that cannot be sold now. Placing the order checks the stock again."""
    shortages = [
        Shortage(line.variant_id, _name(line), line.quantity, _left(line))
        for line in lines
        if _left(line) < line.quantity
    ]
    if shortages:
        raise OutOfStock(shortages)


def _left(line: Row[Any]) -> int:
    """Return how many of a line's variant can be sold: 0 where the variant or its price is gone."""
    return int(line.stock or 0) if line.price is not None else 0


def _name(line: Row[Any]) -> str:
    return title(line.product, line.name) or line.variant_id


def _unchanged(draft: Row[Any], order: Order, cart: Row[Any], lines: Sequence[Row[Any]]) -> bool:
    """Return whether a draft still equals the cart and today's prices."""
    drafted = [(line.variant_id, line.quantity, line.price.amount) for line in order.lines]
    now = [(line.variant_id, line.quantity, line.price) for line in lines]
    return draft.cart_version == cart.version and drafted == now


def _copy(order_id: Any, position: int, line: Row[Any]) -> dict[str, Any]:
    return {
        "id": new_id(),
        "order_id": order_id,
        "position": position,
        "variant_id": line.variant_id,
        "sku": line.sku,
        "name": _name(line),
        "quantity": line.quantity,
        "amount": line.price,
    }


async def _take_stock(unit: Unit, order: Order) -> None:
    """Take the stock of all lines or of none. Raises `OutOfStock`."""
    wanted = {line.variant_id: line.quantity for line in order.lines}
    left = await order_rows.lock_stock(unit, order.store, wanted)
    shortages = [
        Shortage(line.variant_id, line.name, line.quantity, left.get(line.variant_id, 0))
        for line in order.lines
        if left.get(line.variant_id, 0) < line.quantity
    ]
    if shortages:
        raise OutOfStock(shortages)
    await order_rows.take_stock(unit, order.store, wanted)


def _told(order: Order, customer: Customer | None, shopper: Shopper, *, placed_at: datetime) -> dict[str, Any]:
    """Return the payload of `order.placed`: what the mail about an order needs, and the agent who placed it, if any."""
    return {
        "order_id": order.id,
        "placed_at": placed_at.isoformat(),
        "number": order.number,
        "store": order.store,
        "locale": shopper.locale,
        "currency": order.total.currency,
        "total": order.total.amount,
        "lines": [
            {
                "sku": line.sku,
                "name": line.name,
                "quantity": line.quantity,
                "price": line.price.amount,
                "total": line.total.amount,
            }
            for line in order.lines
        ],
        "customer": {
            "id": order.customer_id,
            "email": customer.email if customer else None,
            "first_name": customer.first_name if customer else None,
            "last_name": customer.last_name if customer else None,
        },
        **({"placed_by": shopper.actor} if shopper.actor is not None else {}),
    }
