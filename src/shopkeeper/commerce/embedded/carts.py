"""The rules of carts in the embedded shop: whose they are, how much goes in, what happens to a guest's at sign-in.

A cart's row appears with its first write. Each writing verb opens the transaction first and locks the cart's row, so
that changes at the same time follow one another and none is lost.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, exists

from shopkeeper.clock import Clock
from shopkeeper.commerce.embedded import cart_rows
from shopkeeper.commerce.embedded.cart_rows import title
from shopkeeper.commerce.embedded.hand_over import HandOvers, was_handed_over
from shopkeeper.commerce.embedded.store import CartState, carts, lock_owner
from shopkeeper.commerce.port import Cart, Events, HandOver, MergeMode, Shopper, ShopperKind
from shopkeeper.commerce.refusals import (
    CartClosed,
    CartFull,
    CurrencyMismatch,
    OutOfStock,
    QuantityInvalid,
    Shortage,
    TooManyCarts,
)
from shopkeeper.errors import InvalidInput, NotFound, NotYours, TokenInvalid
from shopkeeper.incoming import uuid_or_none
from shopkeeper.storage.database import Unit
from shopkeeper.storage.storable import storable

MAX_QUANTITY = 99
MAX_LINES = 200
MAX_CARTS = 10


_OF_GUESTS = carts.c.owner_kind == ShopperKind.GUEST.value
_LEADING_HERE = carts.alias("leading_here")
# Customers have such carts and nobody else. Those first to which no other cart leads.
_FORMER = and_(
    carts.c.state.in_((CartState.MERGED, CartState.REPLACED)),
    ~exists().where(_LEADING_HERE.c.merged_into == carts.c.id),
)


class EmbeddedCarts:
    """Satisfies `Carts`.

    Args:
        clock: tells when a cart was changed.
        events: where a hand-over is told; nowhere if left out.
        max_quantity: the most of one variant that a cart takes.
        max_lines: the most different variants that a cart takes; a merge may take it up to the sum of two carts.
        max_carts: the most carts that a shopper has open at once.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        events: Events | None = None,
        max_quantity: int = MAX_QUANTITY,
        max_lines: int = MAX_LINES,
        max_carts: int = MAX_CARTS,
    ) -> None:
        self._clock = clock
        self._hand_overs = HandOvers(clock, events=events)
        self._max_quantity, self._max_lines, self._max_carts = max_quantity, max_lines, max_carts

    async def current(self, unit: Unit, shopper: Shopper) -> Cart | None:
        return await cart_rows.current(unit, shopper)

    async def require(self, unit: Unit, shopper: Shopper, cart_id: str) -> Cart:
        id_ = _parsed(cart_id)
        cart = await cart_rows.named(unit, shopper, id_)
        if cart is None:
            raise NotYours
        return cart

    async def create(self, unit: Unit, shopper: Shopper) -> Cart:
        _check_currency(shopper)
        await lock_owner(unit, shopper)
        await _refuse_spent(unit, shopper)
        return await cart_rows.written(unit, await self._empty_cart(unit, shopper))

    async def add(self, unit: Unit, shopper: Shopper, *, cart_id: str | None, variant_id: str, quantity: int) -> Cart:
        self._check_quantity(quantity, at_least=1)
        cart = await self._open(unit, shopper, cart_id)
        currency = cart.currency if cart else _check_currency(shopper)
        offer = await _offer(unit, shopper, variant_id=variant_id, currency=currency, cart=cart)
        wanted = (offer.quantity or 0) + quantity
        self._check_quantity(wanted, at_least=1)
        _check_stock(offer, wanted)
        if cart and not offer.line_id and await cart_rows.count_lines(unit, cart.id) >= self._max_lines:
            raise CartFull
        now = self._clock.now()
        id_ = cart.id if cart else await cart_rows.insert_cart(unit, shopper, now=now)
        await cart_rows.put_line(unit, id_, offer, wanted)
        if cart:
            await cart_rows.touch(unit, id_, now=now)
        return await cart_rows.written(unit, id_)

    async def change(self, unit: Unit, shopper: Shopper, *, cart_id: str, line_id: str, quantity: int) -> Cart:
        self._check_quantity(quantity, at_least=0)
        if not quantity:
            return await self.remove(unit, shopper, cart_id=cart_id, line_id=line_id)
        cart = await self._open_named(unit, shopper, cart_id)
        line = await _line(unit, cart.id, line_id)
        if quantity != line.quantity:
            offer = await _offer(unit, shopper, variant_id=line.variant_id, currency=cart.currency, cart=cart)
            _check_stock(offer, quantity)
            await cart_rows.put_line(unit, cart.id, offer, quantity)
            await cart_rows.touch(unit, cart.id, now=self._clock.now())
        return await cart_rows.written(unit, cart.id)

    async def remove(self, unit: Unit, shopper: Shopper, *, cart_id: str, line_id: str) -> Cart:
        cart = await self._open_named(unit, shopper, cart_id)
        line = await _line(unit, cart.id, line_id)
        await cart_rows.delete_line(unit, line.id)
        await cart_rows.touch(unit, cart.id, now=self._clock.now())
        return await cart_rows.written(unit, cart.id)

    async def hand_over(
        self, unit: Unit, *, guest: Shopper, customer: Shopper, cart_id: str | None, mode: MergeMode
    ) -> HandOver:
        return await self._hand_overs.perform(unit, guest=guest, customer=customer, cart_id=cart_id, mode=mode)

    async def expire(self, unit: Unit, before: datetime, batch: int = 500) -> int:
        """Deletes guests' carts that nobody has touched since, at most so many at once; says how many."""
        return await cart_rows.delete_old(unit, _OF_GUESTS, before=before, batch=batch)

    async def forget_former(self, unit: Unit, before: datetime, batch: int = 500) -> int:
        """Deletes customers' carts in whose place another one came before a moment; says how many. Whoever still asks
        for one by its id is not led to the other any more."""
        return await cart_rows.delete_old(unit, _FORMER, before=before, batch=batch)

    async def forget_hand_overs(self, unit: Unit, before: datetime, batch: int = 500) -> int:
        """Deletes the reports of hand-overs older than any guest's token can be; says how many."""
        return await self._hand_overs.forget(unit, before, batch)

    async def _empty_cart(self, unit: Unit, shopper: Shopper) -> UUID:
        """One that is there, made the current one, or a new one: tokens are free, so what each may write is counted."""
        now = self._clock.now()
        open_ = await cart_rows.open_carts(unit, shopper, at_most=self._max_carts)
        empty: UUID | None = next(
            (cart.id for cart in open_ if not cart.filled and cart.currency == shopper.currency), None
        )
        if empty is not None:
            await cart_rows.touch(unit, empty, now=now)
            return empty
        if len(open_) >= self._max_carts:
            raise TooManyCarts
        return await cart_rows.insert_cart(unit, shopper, now=now)

    async def _open(self, unit: Unit, shopper: Shopper, cart_id: str | None) -> Row[Any] | None:
        """The cart to write to, locked; none where the shopper is to get a new one."""
        if cart_id is not None:
            return await self._open_named(unit, shopper, cart_id)
        await unit.begin()
        cart = await cart_rows.lock_current(unit, shopper)
        if cart is None and await lock_owner(unit, shopper):
            # Two first writes at once: the second finds here what the first has begun.
            cart = await cart_rows.lock_current(unit, shopper)
        await _refuse_spent(unit, shopper)
        return cart

    async def _open_named(self, unit: Unit, shopper: Shopper, cart_id: str) -> Row[Any]:
        await unit.begin()
        cart = await cart_rows.lock(unit, shopper, _parsed(cart_id))
        await _refuse_spent(unit, shopper)
        if cart is None:
            raise NotYours
        if cart.state != CartState.ACTIVE:
            raise CartClosed
        return cart

    def _check_quantity(self, quantity: int, *, at_least: int) -> None:
        if not at_least <= quantity <= self._max_quantity:
            raise QuantityInvalid(f"A cart takes {at_least} to {self._max_quantity} of one thing.")


async def _refuse_spent(unit: Unit, shopper: Shopper) -> None:
    """A guest whose cart became a customer's is a guest no more: their old token must not write on."""
    if shopper.kind is ShopperKind.GUEST and await was_handed_over(unit, shopper):
        raise TokenInvalid


async def _offer(unit: Unit, shopper: Shopper, *, variant_id: str, currency: str, cart: Row[Any] | None) -> Row[Any]:
    """What the catalogue says of a variant that can be bought in this currency."""
    offer = None
    if storable(variant_id):
        cart_id = cart.id if cart else None
        offer = await cart_rows.offer(unit, shopper, variant_id=variant_id, currency=currency, cart_id=cart_id)
    if offer is None:
        raise NotFound("There is no such article in this shop.")
    if offer.amount is None:
        raise CurrencyMismatch(f"{title(offer.product, offer.name)} has no price in {currency}.")
    return offer


def _check_stock(offer: Row[Any], wanted: int) -> None:
    if wanted > offer.stock:
        raise OutOfStock([Shortage(offer.id, title(offer.product, offer.name), wanted, offer.stock)])


async def _line(unit: Unit, cart_id: UUID, line_id: str) -> Row[Any]:
    line = await cart_rows.find_line(unit, cart_id, line_id)
    if line is None:
        raise NotFound("There is no such line in the cart.")
    return line


def _parsed(cart_id: str) -> UUID:
    id_ = uuid_or_none(cart_id)
    if id_ is None:
        raise NotYours
    return id_


def _check_currency(shopper: Shopper) -> str:
    """A cart keeps its currency for life, so it must be one."""
    currency = shopper.currency
    if not (len(currency) == 3 and currency.isascii() and currency.isupper()):
        raise InvalidInput("A currency is three capital letters, as in ISO 4217.")
    return currency
