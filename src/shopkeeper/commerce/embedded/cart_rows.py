"""The rows of carts: every query about them, and the conversion of rows into values.

Each query is restricted to the owner of the cart, so that no caller can forget to check it. The statements are built
once, because building one costs more than SQLite takes to answer it; what differs is bound.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from shopkeeper.commerce.embedded.store import CartState, cart_lines, carts, prices, products, variants
from shopkeeper.commerce.port import Cart, Line, Money, Shopper, ShopperKind
from shopkeeper.crypto import new_id
from shopkeeper.parsing import uuid_or_none
from shopkeeper.storage.database import Unit

HOPS = 3

_CART = bindparam("of_cart", type_=carts.c.id.type)
_STORE = bindparam("of_store", type_=carts.c.store.type)
_CURRENCY = bindparam("of_currency", type_=carts.c.currency.type)
_VARIANT = bindparam("of_variant", type_=variants.c.id.type)
_MOST = bindparam("at_most", type_=Integer)
_MINE = and_(
    carts.c.store == _STORE, carts.c.owner_kind == bindparam("of_kind"), carts.c.owner_id == bindparam("of_owner")
)


def _whose(shopper: Shopper) -> Mapping[str, str]:
    return {"of_store": shopper.store, "of_kind": shopper.kind.value, "of_owner": shopper.id}


# -- the statements ----------------------------------------------------------------------------------------------------


def _current() -> Select[Any]:
    """Select the id of the active cart that changed last."""
    return (
        select(carts.c.id)
        .where(_MINE, carts.c.state == CartState.ACTIVE)
        .order_by(carts.c.updated_at.desc(), carts.c.id.desc())
        .limit(1)
    )


def _open() -> Select[Any]:
    """Select the active carts, the current one first, and whether each has lines."""
    filled = exists().where(cart_lines.c.cart_id == carts.c.id)
    return _current().with_only_columns(carts.c.id, carts.c.currency, filled.label("filled")).limit(_MOST)


def _resolved() -> Select[Any]:
    """Select the id of the cart that a cart was merged into or replaced by, over any number of steps; its own id if
    never."""
    links = (carts.c.id, carts.c.merged_into)
    chain = select(*links).where(carts.c.id == _CART, _MINE).cte("chain", recursive=True)
    onward = select(*links).join(chain, carts.c.id == chain.c.merged_into).where(_MINE)
    whole = chain.union(onward)
    return select(whole.c.id).where(whole.c.merged_into.is_(None))


def _view(cart_id: ColumnElement[UUID]) -> Select[Any]:
    """Select a cart with its lines and today's prices."""
    return (
        select(
            carts,
            cart_lines.c.id.label("line_id"),
            cart_lines.c.variant_id,
            cart_lines.c.quantity,
            func.coalesce(prices.c.amount, cart_lines.c.amount).label("amount"),
            func.coalesce(prices.c.list_amount, cart_lines.c.list_amount).label("list_amount"),
        )
        .select_from(
            carts.outerjoin(cart_lines, cart_lines.c.cart_id == carts.c.id).outerjoin(
                prices, _price_of(cart_lines.c.variant_id, store=carts.c.store, currency=carts.c.currency)
            )
        )
        .where(carts.c.id == cart_id)
        .order_by(cart_lines.c.id)
    )


def _offer() -> Select[Any]:
    """Select a variant by id or SKU, or the first of a product by its id, with its price in a currency and its line in
    a cart."""
    named = (variants.c.id == _VARIANT, variants.c.sku == _VARIANT)
    return (
        select(
            variants.c.id,
            variants.c.name,
            variants.c.stock,
            products.c.name.label("product"),
            prices.c.amount,
            prices.c.list_amount,
            cart_lines.c.id.label("line_id"),
            cart_lines.c.quantity,
        )
        .select_from(
            variants.join(products, _product_of_variant())
            .outerjoin(prices, _price_of(variants.c.id, store=_STORE, currency=_CURRENCY))
            .outerjoin(cart_lines, and_(cart_lines.c.cart_id == _CART, cart_lines.c.variant_id == variants.c.id))
        )
        .where(variants.c.store == _STORE, or_(*named, variants.c.product_id == _VARIANT))
        .order_by(*(name.desc() for name in named), variants.c.position, variants.c.id)
        .limit(1)
    )


def _lines() -> Select[Any]:
    """Select the lines of carts with their catalogue data."""
    return (
        select(
            cart_lines,
            variants.c.sku,
            variants.c.name,
            variants.c.stock,
            products.c.name.label("product"),
            prices.c.amount.label("price"),
            prices.c.list_amount.label("list_price"),
        )
        .select_from(
            cart_lines.outerjoin(variants, and_(variants.c.store == _STORE, variants.c.id == cart_lines.c.variant_id))
            .outerjoin(products, _product_of_variant())
            .outerjoin(prices, _price_of(cart_lines.c.variant_id, store=_STORE, currency=_CURRENCY))
        )
        .where(cart_lines.c.cart_id.in_(bindparam("of_carts", expanding=True)))
        .order_by(cart_lines.c.id)
    )


def _price_of(variant_id: Any, *, store: Any, currency: Any) -> ColumnElement[bool]:
    return and_(prices.c.store == store, prices.c.variant_id == variant_id, prices.c.currency == currency)


def _product_of_variant() -> ColumnElement[bool]:
    return and_(products.c.store == variants.c.store, products.c.id == variants.c.product_id)


_CURRENT_ID = _current()
_OPEN = _open()
_RESOLVED_ID = _resolved()
_VIEW_CURRENT = _view(_CURRENT_ID.scalar_subquery())
_VIEW_RESOLVED = _view(_RESOLVED_ID.scalar_subquery())
_VIEW = _view(_CART)
_LOCK_CURRENT = _current().with_only_columns(*carts.c).with_for_update()
_LOCK = select(carts).where(carts.c.id == _CART, _MINE).with_for_update()
_OFFER = _offer()
_LINES = _lines()
_COUNT_LINES = select(func.count()).where(cart_lines.c.cart_id == _CART)
_LINE = select(cart_lines).where(cart_lines.c.id == bindparam("of_line"), cart_lines.c.cart_id == _CART)
_INSERT_CART = insert(carts)
_TOUCH = update(carts).where(carts.c.id == _CART).values(version=carts.c.version + 1, updated_at=bindparam("now"))
_INSERT_LINE = insert(cart_lines)
_UPDATE_LINE = update(cart_lines).where(cart_lines.c.id == bindparam("of_line"))

# -- finding -----------------------------------------------------------------------------------------------------------


async def current(unit: Unit, shopper: Shopper) -> Cart | None:
    """Return the active cart that changed last, in one query."""
    return _cart(await unit.all(_VIEW_CURRENT, _whose(shopper)))


async def named(unit: Unit, shopper: Shopper, cart_id: UUID) -> Cart | None:
    """Return a cart by its own or a former id, in one query."""
    return _cart(await unit.all(_VIEW_RESOLVED, {**_whose(shopper), "of_cart": cart_id}))


async def written(unit: Unit, cart_id: UUID) -> Cart:
    """Return a cart that this transaction has just written to."""
    cart = _cart(await unit.all(_VIEW, {"of_cart": cart_id}))
    assert cart is not None  # noqa: S101 - it was just written; for the type checker
    return cart


async def current_id(unit: Unit, shopper: Shopper) -> UUID | None:
    """Return the id of the active cart that changed last."""
    found: UUID | None = await unit.scalar(_CURRENT_ID, _whose(shopper))
    return found


async def open_carts(unit: Unit, shopper: Shopper, *, at_most: int) -> Sequence[Row[Any]]:
    """Return the shopper's active carts, the current one first: `id`, `currency`, and whether it is `filled`."""
    return await unit.all(_OPEN, {**_whose(shopper), "at_most": at_most})


async def resolved_id(unit: Unit, shopper: Shopper, cart_id: UUID) -> UUID | None:
    """Return the id of the cart that a cart's id leads to today; None where the cart is not the shopper's."""
    found: UUID | None = await unit.scalar(_RESOLVED_ID, {**_whose(shopper), "of_cart": cart_id})
    return found


# -- locking -----------------------------------------------------------------------------------------------------------


async def lock_current(unit: Unit, shopper: Shopper) -> Row[Any] | None:
    """Return the active cart that changed last, and lock it until the transaction ends."""
    return await unit.first(_LOCK_CURRENT, _whose(shopper))


async def lock(unit: Unit, shopper: Shopper, cart_id: UUID) -> Row[Any] | None:
    """Return a cart by its own or a former id, and lock it until the transaction ends."""
    for _ in range(HOPS):
        found = await resolved_id(unit, shopper, cart_id)
        if found is None:
            return None
        row = await unit.first(_LOCK, {**_whose(shopper), "of_cart": found})
        # While this waited for the lock, a sign-in may have merged or replaced this cart: follow it to the new one.
        if row is None or row.merged_into is None:
            return row
    return None


# -- lines and what they offer -----------------------------------------------------------------------------------------


async def offer(
    unit: Unit, shopper: Shopper, *, variant_id: str, currency: str, cart_id: UUID | None
) -> Row[Any] | None:
    """Return a variant by id or SKU, or the first of a product by its id, whether it is in stock or not.

    The row has its price (None where it has none in the currency) and its line in a cart.
    """
    bound = {"of_store": shopper.store, "of_variant": variant_id, "of_currency": currency, "of_cart": cart_id}
    return await unit.first(_OFFER, bound)


async def lines(unit: Unit, *, store: str, currency: str, cart_ids: Sequence[UUID]) -> Sequence[Row[Any]]:
    """Return the lines of carts with their catalogue data, which is None where the variant or its price is gone."""
    return await unit.all(_LINES, {"of_store": store, "of_currency": currency, "of_carts": cart_ids})


async def find_line(unit: Unit, cart_id: UUID, line_id: str) -> Row[Any] | None:
    """Return a line of a cart by its id."""
    return await unit.first(_LINE, {"of_line": uuid_or_none(line_id), "of_cart": cart_id})


async def count_lines(unit: Unit, cart_id: UUID) -> int:
    """Return how many lines a cart has."""
    return int(await unit.scalar(_COUNT_LINES, {"of_cart": cart_id}))


def title(product: str | None, variant: str | None) -> str:
    """Return the name of a variant for places where its product is not shown beside it."""
    return ", ".join(part for part in (product, variant) if part)


# -- writing -----------------------------------------------------------------------------------------------------------


async def insert_cart(unit: Unit, shopper: Shopper, *, now: datetime) -> UUID:
    """Create a cart in the shopper's currency; return its id."""
    id_ = new_id()
    row = {
        "id": id_,
        "store": shopper.store,
        "owner_kind": shopper.kind.value,
        "owner_id": shopper.id,
        "currency": shopper.currency,
        "version": 1,
        "state": CartState.ACTIVE.value,
        "created_at": now,
        "updated_at": now,
    }
    await unit.write(_INSERT_CART, [row])
    return id_


async def touch(unit: Unit, cart_id: UUID, *, now: datetime, **changes: Any) -> None:
    """Mark a cart as changed, and change the given columns."""
    statement = _TOUCH.values(**changes) if changes else _TOUCH
    await unit.write(statement, [{"of_cart": cart_id, "now": now}])


async def put_line(unit: Unit, cart_id: UUID, offered: Row[Any], quantity: int) -> None:
    """Set the line of an offer to a quantity, at today's price."""
    values = {"quantity": quantity, "amount": offered.amount, "list_amount": offered.list_amount}
    if offered.line_id:
        await unit.write(_UPDATE_LINE, [{"of_line": offered.line_id, **values}])
    else:
        await unit.write(_INSERT_LINE, [{"id": new_id(), "cart_id": cart_id, "variant_id": offered.id, **values}])


async def delete_old(unit: Unit, which: ColumnElement[bool], *, before: datetime, batch: int) -> int:
    """Delete carts that have not changed since a moment, at most `batch`; return how many."""
    old = select(carts.c.id).where(which, carts.c.updated_at < before).order_by(carts.c.updated_at).limit(batch)
    await unit.begin()
    ids = [row.id for row in await unit.all(old.with_for_update(skip_locked=True))]
    if ids:
        await unit.write(delete(carts).where(carts.c.id.in_(ids)))
    return len(ids)


async def delete_unordered(unit: Unit, shopper: Shopper) -> None:
    """Delete every cart of a shopper that was not ordered, and the former carts that lead to one."""
    await unit.write(delete(carts).where(_MINE, carts.c.state != CartState.ORDERED), [_whose(shopper)])


async def delete_line(unit: Unit, line_id: UUID) -> None:
    """Delete a line of a cart."""
    await unit.write(delete(cart_lines).where(cart_lines.c.id == line_id))


# -- rows into values --------------------------------------------------------------------------------------------------


def _cart(rows: Sequence[Row[Any]]) -> Cart | None:
    if not rows:
        return None
    cart = rows[0]
    return Cart(
        id=str(cart.id),
        owner=Shopper(ShopperKind(cart.owner_kind), cart.owner_id, cart.store, cart.currency),
        currency=cart.currency,
        lines=tuple(_line(row) for row in rows if row.line_id is not None),
        version=cart.version,
        active=cart.state == CartState.ACTIVE,
        created_at=cart.created_at,
        updated_at=cart.updated_at,
    )


def _line(row: Row[Any]) -> Line:
    return Line(
        id=str(row.line_id),
        variant_id=row.variant_id,
        quantity=row.quantity,
        price=Money(row.amount, row.currency),
        list_price=Money(row.list_amount, row.currency),
    )


# -- whose a cart is ---------------------------------------------------------------------------------------------------


async def guest_of(unit: Unit, *, store: str, cart_id: UUID) -> UUID | None:
    """Return the guest who has an open cart, for agents; the only query that names no owner."""
    open_ = and_(carts.c.store == store, carts.c.id == cart_id, carts.c.state == CartState.ACTIVE)
    owner = await unit.scalar(select(carts.c.owner_id).where(open_, carts.c.owner_kind == ShopperKind.GUEST.value))
    return uuid_or_none(owner) if owner is not None else None
