"""The rules of carts in the embedded shop: which shopper may use a cart, and how much it takes.

A cart's row is created by its first write. Each writing method opens the transaction first and locks the cart's row, so
that concurrent changes run one after the other and none is lost.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from shopkeeper.clock import Clock
from shopkeeper.commerce.embedded import cart_rows
from shopkeeper.commerce.embedded.cart_merges import was_merged
from shopkeeper.commerce.embedded.cart_rows import title
from shopkeeper.commerce.embedded.store import CartState, lock_owner
from shopkeeper.commerce.errors import (
    CartClosed,
    CartFull,
    CurrencyMismatch,
    OutOfStock,
    QuantityInvalid,
    Shortage,
    TooManyCarts,
)
from shopkeeper.commerce.port import Cart, Shopper, ShopperKind
from shopkeeper.errors import InvalidInput, NotFound, NotYours, TokenInvalid
from shopkeeper.parsing import uuid_or_none
from shopkeeper.storage.database import Unit
from shopkeeper.storage.text_limits import storable

MAX_QUANTITY = 99
MAX_LINES = 200
MAX_CARTS = 10


@dataclass(frozen=True, slots=True)
class CartRules:
    """What the carts of all shoppers share.

    Attributes:
        clock: the time of a change.
        max_quantity: the most of one variant that a cart takes.
        max_lines: the most different variants that a cart takes; a merge may exceed it, up to the sum of two carts.
        max_carts: the most carts that a shopper has open at once.
    """

    clock: Clock
    max_quantity: int = MAX_QUANTITY
    max_lines: int = MAX_LINES
    max_carts: int = MAX_CARTS

    def check_quantity(self, quantity: int, *, at_least: int) -> None:
        """Raise `QuantityInvalid` outside of `at_least` to `max_quantity`."""
        if not at_least <= quantity <= self.max_quantity:
            raise QuantityInvalid(
                f"A cart takes {at_least} to {self.max_quantity} of one thing.",
                topic="range",
                parameters={"at_least": at_least, "at_most": self.max_quantity},
            )


class EmbeddedCarts:
    """Satisfies `Carts` for one shopper in one unit of work."""

    __slots__ = ("_rules", "_shopper", "_unit")

    def __init__(self, unit: Unit, shopper: Shopper, rules: CartRules) -> None:
        self._unit, self._shopper, self._rules = unit, shopper, rules

    async def current(self) -> Cart | None:
        return await cart_rows.current(self._unit, self._shopper)

    async def require(self, cart_id: str) -> Cart:
        cart = await cart_rows.named(self._unit, self._shopper, _parsed(cart_id))
        if cart is None:
            raise NotYours
        return cart

    async def create(self) -> Cart:
        _check_currency(self._shopper)
        await lock_owner(self._unit, self._shopper)
        await _refuse_spent(self._unit, self._shopper)
        return await self._written(await self._empty_cart())

    async def add(self, *, cart_id: str | None, variant_id: str, quantity: int) -> Cart:
        self._rules.check_quantity(quantity, at_least=1)
        cart = await self._open(cart_id)
        currency = cart.currency if cart else _check_currency(self._shopper)
        offer = await self._offer(variant_id, currency=currency, cart=cart)
        wanted = (offer.quantity or 0) + quantity
        self._rules.check_quantity(wanted, at_least=1)
        _check_stock(offer, wanted)
        if cart and not offer.line_id:
            await self._check_room(cart)
        id_ = cart.id if cart else await cart_rows.insert_cart(self._unit, self._shopper, now=self._rules.clock.now())
        await cart_rows.put_line(self._unit, id_, offer, wanted)
        if cart:
            await self._touch(id_)
        return await self._written(id_)

    async def change(self, *, cart_id: str, line_id: str, quantity: int) -> Cart:
        self._rules.check_quantity(quantity, at_least=0)
        if not quantity:
            return await self.remove(cart_id=cart_id, line_id=line_id)
        cart = await self._open_named(cart_id)
        line = await _line(self._unit, cart.id, line_id)
        if quantity != line.quantity:
            offer = await self._offer(line.variant_id, currency=cart.currency, cart=cart)
            _check_stock(offer, quantity)
            await cart_rows.put_line(self._unit, cart.id, offer, quantity)
            await self._touch(cart.id)
        return await self._written(cart.id)

    async def remove(self, *, cart_id: str, line_id: str) -> Cart:
        cart = await self._open_named(cart_id)
        line = await _line(self._unit, cart.id, line_id)
        await cart_rows.delete_line(self._unit, line.id)
        await self._touch(cart.id)
        return await self._written(cart.id)

    async def _empty_cart(self) -> UUID:
        """Make an empty cart the current one, or create one. Guests' tokens cost nothing, so the number of carts is
        limited."""
        open_ = await cart_rows.open_carts(self._unit, self._shopper, at_most=self._rules.max_carts)
        empty: UUID | None = next(
            (cart.id for cart in open_ if not cart.filled and cart.currency == self._shopper.currency), None
        )
        if empty is not None:
            await self._touch(empty)
            return empty
        if len(open_) >= self._rules.max_carts:
            raise TooManyCarts
        return await cart_rows.insert_cart(self._unit, self._shopper, now=self._rules.clock.now())

    async def _open(self, cart_id: str | None) -> Row[Any] | None:
        """Lock the cart to write to, and return it; `None` where the shopper is to get a new one."""
        if cart_id is not None:
            return await self._open_named(cart_id)
        await self._unit.begin()
        cart = await cart_rows.lock_current(self._unit, self._shopper)
        if cart is None and await lock_owner(self._unit, self._shopper):
            # Of two concurrent first writes, the second one finds here the cart that the first one has created.
            cart = await cart_rows.lock_current(self._unit, self._shopper)
        await _refuse_spent(self._unit, self._shopper)
        return cart

    async def _open_named(self, cart_id: str) -> Row[Any]:
        await self._unit.begin()
        cart = await cart_rows.lock(self._unit, self._shopper, _parsed(cart_id))
        await _refuse_spent(self._unit, self._shopper)
        if cart is None:
            raise NotYours
        if cart.state != CartState.ACTIVE:
            raise CartClosed
        return cart

    async def _offer(self, variant_id: str, *, currency: str, cart: Row[Any] | None) -> Row[Any]:
        """Return a variant's catalogue data. Raises `NotFound`, and `CurrencyMismatch` where it has no price in this
        currency."""
        offer = None
        if storable(variant_id):
            cart_id = cart.id if cart else None
            offer = await cart_rows.offer(
                self._unit, self._shopper, variant_id=variant_id, currency=currency, cart_id=cart_id
            )
        if offer is None:
            raise NotFound("There is no such article in this shop.", topic="article")
        if offer.amount is None:
            article = title(offer.product, offer.name)
            raise CurrencyMismatch(
                f"{article} has no price in {currency}.",
                topic="article",
                parameters={"article": article, "currency": currency},
            )
        return offer

    async def _check_room(self, cart: Row[Any]) -> None:
        if await cart_rows.count_lines(self._unit, cart.id) >= self._rules.max_lines:
            raise CartFull

    async def _touch(self, cart_id: UUID) -> None:
        await cart_rows.touch(self._unit, cart_id, now=self._rules.clock.now())

    async def _written(self, cart_id: UUID) -> Cart:
        return await cart_rows.written(self._unit, cart_id)


async def _refuse_spent(unit: Unit, shopper: Shopper) -> None:
    """Raise `TokenInvalid` for a guest whose cart became a customer's: that token must not write any more."""
    if shopper.kind is ShopperKind.GUEST and await was_merged(unit, shopper):
        raise TokenInvalid


def _check_stock(offer: Row[Any], wanted: int) -> None:
    if wanted > offer.stock:
        raise OutOfStock([Shortage(offer.id, title(offer.product, offer.name), wanted, offer.stock)])


async def _line(unit: Unit, cart_id: UUID, line_id: str) -> Row[Any]:
    line = await cart_rows.find_line(unit, cart_id, line_id)
    if line is None:
        raise NotFound("There is no such line in the cart.", topic="cart_line")
    return line


def _parsed(cart_id: str) -> UUID:
    id_ = uuid_or_none(cart_id)
    if id_ is None:
        raise NotYours
    return id_


def _check_currency(shopper: Shopper) -> str:
    """Check the currency before it is stored, because a cart keeps its currency for life."""
    currency = shopper.currency
    if not (len(currency) == 3 and currency.isascii() and currency.isupper()):
        raise InvalidInput("A currency is three capital letters, as in ISO 4217.")
    return currency
