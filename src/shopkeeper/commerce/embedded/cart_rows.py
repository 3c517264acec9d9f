"""The rows of carts: every query about them, and rows into values.

Each query carries whose cart it must be, so that no caller can forget to ask.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, func, insert, or_, select, update

from shopkeeper.commerce.embedded.store import CartState, cart_lines, carts, prices, products, variants
from shopkeeper.commerce.port import Cart, Line, Money, Shopper, ShopperKind
from shopkeeper.crypto import new_id
from shopkeeper.storage.database import Unit

HOPS = 3


def cart_uuid(cart_id: str) -> UUID | None:
    """A cart's id as the database holds it; text that is none names no cart."""
    try:
        return UUID(cart_id)
    except ValueError:
        return None


def _mine(shopper: Shopper) -> ColumnElement[bool]:
    return and_(
        carts.c.store == shopper.store, carts.c.owner_kind == shopper.kind.value, carts.c.owner_id == shopper.id
    )


# -- finding -----------------------------------------------------------------------------------------------------------


def current_id(shopper: Shopper) -> Select[tuple[UUID]]:
    """The id of the active cart that changed last."""
    return (
        select(carts.c.id)
        .where(_mine(shopper), carts.c.state == CartState.ACTIVE)
        .order_by(carts.c.updated_at.desc(), carts.c.id.desc())
        .limit(1)
    )


def resolved_id(shopper: Shopper, cart_id: UUID) -> Select[tuple[UUID]]:
    """The id of the cart that a cart was merged into or replaced by, however often; its own id if never."""
    chain = (
        select(carts.c.id, carts.c.merged_into)
        .where(carts.c.id == cart_id, _mine(shopper))
        .cte("chain", recursive=True)
    )
    onward = (
        select(carts.c.id, carts.c.merged_into).join(chain, carts.c.id == chain.c.merged_into).where(_mine(shopper))
    )
    whole = chain.union(onward)
    return select(whole.c.id).where(whole.c.merged_into.is_(None))


async def view(unit: Unit, id_: Select[tuple[UUID]] | UUID) -> Cart | None:
    """A cart with its lines and today's prices, in one query."""
    rows = await unit.all(_view(id_))
    return _cart(rows) if rows else None


# -- locking -----------------------------------------------------------------------------------------------------------


async def lock_current(unit: Unit, shopper: Shopper) -> Row[Any] | None:
    """The active cart that changed last, kept from others until the transaction ends."""
    found = current_id(shopper).with_only_columns(*carts.c)
    return await unit.first(found.with_for_update())


async def lock(unit: Unit, shopper: Shopper, cart_id: UUID) -> Row[Any] | None:
    """A cart by its own or a former id, kept from others until the transaction ends."""
    for _ in range(HOPS):
        found = await unit.scalar(resolved_id(shopper, cart_id))
        if found is None:
            return None
        row = await unit.first(select(carts).where(carts.c.id == found, _mine(shopper)).with_for_update())
        # While we waited for the lock, a sign-in may have put another cart in the place of this very one: follow it.
        if row is None or row.merged_into is None:
            return row
    return None


# -- lines and what they offer -----------------------------------------------------------------------------------------


async def offer(
    unit: Unit, shopper: Shopper, *, variant_id: str, currency: str, cart_id: UUID | None
) -> Row[Any] | None:
    """A variant by id or SKU, with its price (none where it has none in the currency) and its line in a cart."""
    named = or_(variants.c.id == variant_id, variants.c.sku == variant_id)
    return await unit.first(
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
            .outerjoin(prices, _price_of(variants.c.id, store=variants.c.store, currency=currency))
            .outerjoin(cart_lines, and_(cart_lines.c.cart_id == cart_id, cart_lines.c.variant_id == variants.c.id))
        )
        .where(variants.c.store == shopper.store, named)
        .order_by((variants.c.id == variant_id).desc())
        .limit(1)
    )


async def lines(unit: Unit, *, store: str, currency: str, cart_ids: Sequence[UUID]) -> Sequence[Row[Any]]:
    """The lines of carts with what the catalogue says of each: nothing, where the variant or its price is gone."""
    return await unit.all(
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
            cart_lines.outerjoin(variants, and_(variants.c.store == store, variants.c.id == cart_lines.c.variant_id))
            .outerjoin(products, _product_of_variant())
            .outerjoin(prices, _price_of(cart_lines.c.variant_id, store=store, currency=currency))
        )
        .where(cart_lines.c.cart_id.in_(cart_ids))
        .order_by(cart_lines.c.id)
    )


async def count_lines(unit: Unit, cart_id: UUID) -> int:
    """How many lines a cart has; a cart holds few."""
    return int(await unit.scalar(select(func.count()).where(cart_lines.c.cart_id == cart_id)))


def title(product: str | None, variant: str | None) -> str:
    """What a variant is called where its product is not shown beside it."""
    return ", ".join(part for part in (product, variant) if part)


# -- writing -----------------------------------------------------------------------------------------------------------


async def insert_cart(unit: Unit, shopper: Shopper, *, now: datetime) -> UUID:
    """A new cart in the shopper's currency."""
    id_ = new_id()
    await unit.write(
        insert(carts).values(
            id=id_,
            store=shopper.store,
            owner_kind=shopper.kind.value,
            owner_id=shopper.id,
            currency=shopper.currency,
            version=1,
            state=CartState.ACTIVE,
            created_at=now,
            updated_at=now,
        )
    )
    return id_


async def touch(unit: Unit, cart_id: UUID, *, now: datetime, **changes: Any) -> None:
    """Marks a cart as changed."""
    await unit.write(
        update(carts).where(carts.c.id == cart_id).values(version=carts.c.version + 1, updated_at=now, **changes)
    )


# -- rows into values --------------------------------------------------------------------------------------------------


def _view(id_: Select[tuple[UUID]] | UUID) -> Select[Any]:
    wanted = id_ if isinstance(id_, UUID) else id_.scalar_subquery()
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
        .where(carts.c.id == wanted)
        .order_by(cart_lines.c.id)
    )


def _price_of(variant_id: Any, *, store: Any, currency: Any) -> ColumnElement[bool]:
    return and_(prices.c.store == store, prices.c.variant_id == variant_id, prices.c.currency == currency)


def _product_of_variant() -> ColumnElement[bool]:
    return and_(products.c.store == variants.c.store, products.c.id == variants.c.product_id)


def _cart(rows: Sequence[Row[Any]]) -> Cart:
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
