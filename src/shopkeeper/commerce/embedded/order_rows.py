"""The rows of orders: every query about them, and the conversion of rows into values."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, bindparam, delete, insert, or_, select, update

from shopkeeper.commerce.embedded.paging import Pages
from shopkeeper.commerce.embedded.store import carts, insert_or, order_lines, orders, variants
from shopkeeper.commerce.port import Money, Order, OrderLine, OrderState, Shopper
from shopkeeper.parsing import uuid_or_none
from shopkeeper.storage.database import Unit
from shopkeeper.storage.text_limits import storable

_MINE = select(orders).where(
    orders.c.store == bindparam("of_store", type_=orders.c.store.type),
    orders.c.customer_id == bindparam("of_customer", type_=orders.c.customer_id.type),
)
_NAMED = _MINE.where(
    or_(
        orders.c.id == bindparam("of_order", type_=orders.c.id.type),
        orders.c.number == bindparam("of_number", type_=orders.c.number.type),
    )
)
PLACED = Pages(_MINE.where(orders.c.state == OrderState.PLACED), order=(orders.c.placed_at.desc(), orders.c.id.desc()))
"""The orders that a shopper has placed, newest first."""


def whose(shopper: Shopper) -> Mapping[str, Any]:
    """Return the parameters that name the shopper in statements."""
    return {"of_store": shopper.store, "of_customer": shopper.id}


async def named(unit: Unit, shopper: Shopper, order_id: str) -> Row[Any] | None:
    """Return one of the shopper's orders, draft or placed, by id or number."""
    number = order_id if storable(order_id) else ""
    return await unit.first(_NAMED, {**whose(shopper), "of_order": uuid_or_none(order_id), "of_number": number})


async def draft_of(unit: Unit, cart_id: UUID) -> Row[Any] | None:
    """Return the draft of a cart; None where it has none."""
    return await unit.first(select(orders).where(orders.c.cart_id == cart_id, orders.c.state == OrderState.DRAFT))


async def insert_draft(unit: Unit, draft: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> bool:
    """Insert a draft with its lines; return False where another order has its number."""
    written = await unit.write(
        insert_or(unit, orders).values(**draft).on_conflict_do_nothing(index_elements=["number"]).returning(orders.c.id)
    )
    if written.first() is None:
        return False
    await unit.write(insert(order_lines), [dict(line) for line in lines])
    return True


async def delete_order(unit: Unit, order_id: UUID) -> None:
    """Delete an order and its lines."""
    await unit.write(delete(orders).where(orders.c.id == order_id))


async def delete_drafts(unit: Unit, *, before: datetime, batch: int) -> int:
    """Delete old drafts, skipping those whose carts are locked for placing them; return how many."""
    old = (
        select(orders.c.id)
        .join(carts, carts.c.id == orders.c.cart_id)  # every write to an order locks its cart
        .where(orders.c.state == OrderState.DRAFT, orders.c.created_at < before)
        .order_by(orders.c.created_at)
        .limit(batch)
        .with_for_update(skip_locked=True)
    )
    await unit.begin()
    ids = [row.id for row in await unit.all(old)]
    if ids:
        await unit.write(delete(orders).where(orders.c.id.in_(ids)))
    return len(ids)


async def delete_drafts_of(unit: Unit, shopper: Shopper) -> None:
    """Delete every draft of a shopper whose carts are deleted."""
    mine = and_(orders.c.store == shopper.store, orders.c.customer_id == shopper.id)
    await unit.write(delete(orders).where(mine, orders.c.state == OrderState.DRAFT))


async def lock_stock(unit: Unit, store: str, wanted: Mapping[str, int]) -> Mapping[str, int]:
    """Lock the stock of each variant until the transaction ends, always in the same order; return the quantities."""
    rows = await unit.all(
        select(variants.c.id, variants.c.stock)
        .where(variants.c.store == store, variants.c.id.in_(sorted(wanted)))
        .order_by(variants.c.id)
        .with_for_update()
    )
    return {row.id: row.stock for row in rows}


async def take_stock(unit: Unit, store: str, wanted: Mapping[str, int]) -> None:
    """Subtract the ordered quantities. `lock_stock` has checked them; a constraint of the table refuses negative
    stock."""
    await unit.write(
        update(variants)
        .where(variants.c.store == store, variants.c.id == bindparam("variant"), variants.c.stock >= bindparam("taken"))
        .values(stock=variants.c.stock - bindparam("taken")),
        [{"variant": variant_id, "taken": quantity} for variant_id, quantity in wanted.items()],
    )


async def with_lines(unit: Unit, rows: Sequence[Row[Any]]) -> tuple[Order, ...]:
    """Return orders with their lines, in one query for any number of them."""
    if not rows:
        return ()
    lines: dict[UUID, list[Row[Any]]] = defaultdict(list)
    for line in await unit.all(
        select(order_lines)
        .where(order_lines.c.order_id.in_([row.id for row in rows]))
        .order_by(order_lines.c.order_id, order_lines.c.position)
    ):
        lines[line.order_id].append(line)
    return tuple(_order(row, lines[row.id]) for row in rows)


def _order(row: Row[Any], lines: Sequence[Row[Any]]) -> Order:
    return Order(
        id=str(row.id),
        number=row.number,
        customer_id=row.customer_id,
        store=row.store,
        state=OrderState(row.state),
        lines=tuple(_line(line, row.currency) for line in lines),
        total=Money(row.total, row.currency),
        cart_id=str(row.cart_id),
        created_at=row.created_at,
        placed_at=row.placed_at,
        locale=row.locale,
        placed_by=row.placed_by,
    )


def _line(row: Row[Any], currency: str) -> OrderLine:
    return OrderLine(
        id=str(row.id),
        variant_id=row.variant_id,
        sku=row.sku,
        name=row.name,
        quantity=row.quantity,
        price=Money(row.amount, currency),
    )
