"""The table of cart merges with engines that do not share our transaction, and its queries.

A row is written in the transaction of the sign-in. It closes the guest's token, keeps the intent until the engine has
answered, and then the report. An engine that shares the transaction keeps its own record and needs no row here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    Row,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from shopkeeper.commerce.port import CartMergeReport, Change, LineReport, MergeMode, Outcome
from shopkeeper.crypto import new_id
from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Json, Moment, metadata

MAX_ID = 128
"""Characters of the longest id of a store, shopper or cart that the table keeps."""

_Key = String(MAX_ID)

cart_merges = Table(
    "cart_merges",
    metadata,
    Column("id", Id, primary_key=True),
    Column("store", _Key, nullable=False),
    Column("guest", _Key, nullable=False),
    Column("customer", _Key, nullable=False, index=True),
    Column("cart_id", _Key),
    Column("mode", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("report", Json),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False, index=True),
    UniqueConstraint("store", "guest"),
)


class MergeState(StrEnum):
    """The state of a cart merge."""

    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"
    """Refused by the engine, or given up after a day of failures. Replaying the dead letter may still end in `DONE`."""
    FORGOTTEN = "forgotten"
    """Ended because the customer's identity was deleted. The row keeps the guest closed, and never gets a report."""


@dataclass(frozen=True, slots=True)
class CartMerge:
    """One merge of a guest's cart, made at most once per store and guest.

    `id` is the idempotency key that the engine gets. `cart_id` is None where the client named no cart: the guest's
    current cart is meant. `report` is None until the engine has answered.
    """

    store: str
    guest: str
    customer: str
    cart_id: str | None
    mode: MergeMode
    id: UUID = field(default_factory=new_id)
    state: MergeState = MergeState.PENDING
    report: CartMergeReport | None = None


async def claim(unit: Unit, merge: CartMerge, *, now: datetime) -> CartMerge:
    """Insert a merge, and return it; or return the row that this store and guest have already.

    Of two transactions that claim the same guest at once, the second waits for the first at the unique constraint and
    then finds its row.
    """
    row = {
        "id": merge.id,
        "store": merge.store,
        "guest": merge.guest,
        "customer": merge.customer,
        "cart_id": merge.cart_id,
        "mode": merge.mode,
        "state": merge.state,
        "created_at": now,
        "updated_at": now,
    }
    inserting: Any = _INSERT[unit.dialect](cart_merges).values(row).on_conflict_do_nothing()
    if (await unit.write(inserting)).rowcount == 1:
        return merge
    existing = await unit.first(_BY_GUEST, {"of_store": merge.store, "of_guest": merge.guest})
    assert existing is not None  # noqa: S101 - retention outlasts every guest's token; for the type checker
    return _merge(existing)


async def get(unit: Unit, merge_id: UUID) -> CartMerge | None:
    """Return a merge by its id."""
    row = await unit.first(select(cart_merges).where(cart_merges.c.id == merge_id))
    return _merge(row) if row else None


async def exists(unit: Unit, *, store: str, guest: str) -> bool:
    """Return whether a sign-in has claimed the guest, regardless of the state of its merge."""
    return await unit.first(_CLAIMED, {"of_store": store, "of_guest": guest}) is not None


async def name_cart(unit: Unit, merge_id: UUID, cart_id: str) -> None:
    """Store the cart that a merge found to be the guest's current one, for its further attempts."""
    await unit.write(update(cart_merges).where(cart_merges.c.id == merge_id).values(cart_id=cart_id))


async def finish(
    unit: Unit, merge_id: UUID, state: MergeState, report: CartMergeReport | None, *, now: datetime
) -> bool:
    """Write a merge's outcome, unless it is done or forgotten already; return whether it was written.

    A merge may be in flight while its customer's identity is deleted: its report must not be stored afterwards.
    """
    open_ = cart_merges.c.id == merge_id, cart_merges.c.state.not_in(_FINAL)
    outcome = {"state": state, "report": _to_json(report) if report else None, "updated_at": now}
    return (await unit.write(update(cart_merges).where(*open_).values(outcome))).rowcount == 1


async def forget(unit: Unit, customer: str, *, now: datetime) -> None:
    """Delete the reports of a customer who is deleted, and end what is pending. The guests stay closed."""
    ended = {"state": MergeState.FORGOTTEN, "report": None, "updated_at": now}
    await unit.write(update(cart_merges).where(cart_merges.c.customer == customer).values(ended))


async def purge(unit: Unit, *, before: datetime, batch: int = 500) -> int:
    """Delete merges that have not changed since a moment, at most `batch` of them; return how many."""
    old = select(cart_merges.c.id).where(cart_merges.c.updated_at < before).limit(batch)
    return (await unit.write(delete(cart_merges).where(cart_merges.c.id.in_(old)))).rowcount


_FINAL = MergeState.DONE.value, MergeState.FORGOTTEN.value
_INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_OF_GUEST = cart_merges.c.store == bindparam("of_store"), cart_merges.c.guest == bindparam("of_guest")
_BY_GUEST = select(cart_merges).where(*_OF_GUEST)
_CLAIMED = select(literal(1)).where(*_OF_GUEST).limit(1)


def _merge(row: Row[Any]) -> CartMerge:
    return CartMerge(
        id=row.id,
        store=row.store,
        guest=row.guest,
        customer=row.customer,
        cart_id=row.cart_id,
        mode=MergeMode(row.mode),
        state=MergeState(row.state),
        report=_from_json(row.report) if row.report else None,
    )


def _to_json(report: CartMergeReport) -> dict[str, Any]:
    lines = [asdict(line) for line in report.lines]
    return {"outcome": report.outcome, "cart_id": report.cart_id, "lines": lines}


def _from_json(stored: Mapping[str, Any]) -> CartMergeReport:
    lines = tuple(LineReport(**{**line, "change": Change(line["change"])}) for line in stored["lines"])
    return CartMergeReport(Outcome(stored["outcome"]), stored["cart_id"], lines)
