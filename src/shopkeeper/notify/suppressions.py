"""Addresses that get no mail: the table and its queries.

Mailing an address that does not exist, or whose owner complains, costs the sender its reputation, and then the mails of
everybody else. An address is suppressed until an operator takes it out, or for `courier.suppression.lifespan`, because
mailboxes come back.

An address is looked up when its mail is about to be sent and not when it is queued, so that a request does the same
work for every address.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Index, Row, String, Table, Text, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from shopkeeper.notify.values import Suppression, SuppressionReason
from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Moment, metadata

LONGEST_DETAIL: Final = 500
_INSERT: Final[Mapping[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}

courier_suppressions = Table(
    "courier_suppressions",
    metadata,
    Column("address", String(320), primary_key=True),
    Column("reason", String(16), nullable=False),
    Column("source", String(64), nullable=False),
    Column("detail", Text, nullable=True),
    Column("created_at", Moment, nullable=False),
    Index(None, "created_at"),
)


def key_of(address: str) -> str:
    """Return the form in which an address is suppressed. Mail servers do not tell upper case from lower case.

    >>> key_of("Ada@Example.org")
    'ada@example.org'
    """
    return address.lower()


async def add(unit: Unit, *found: Suppression) -> None:
    """Suppress addresses, or renew their suppressions, in one statement."""
    rows = {key_of(suppression.address): _row(suppression) for suppression in found}
    if not rows:
        return
    ordered = [rows[address] for address in sorted(rows)]  # two units that lock the same rows do so in one order
    adding: Any = _INSERT[unit.dialect](courier_suppressions).values(ordered)
    renewed = {name: adding.excluded[name] for name in ("reason", "source", "detail", "created_at")}
    await unit.write(adding.on_conflict_do_update(index_elements=["address"], set_=renewed))


async def find(unit: Unit, address: str) -> Suppression | None:
    """Return the suppression of an address."""
    row = await unit.first(select(courier_suppressions).where(courier_suppressions.c.address == key_of(address)))
    return _suppression(row) if row else None


async def remove(unit: Unit, address: str) -> bool:
    """End the suppression of an address; return whether there was one."""
    return (await unit.write(_delete(address))).rowcount == 1


async def page(unit: Unit, *, after: str | None, limit: int) -> Sequence[Suppression]:
    """Return suppressions by address."""
    query = select(courier_suppressions).order_by(courier_suppressions.c.address).limit(limit)
    if after is not None:
        query = query.where(courier_suppressions.c.address > after)
    return [_suppression(row) for row in await unit.all(query)]


async def counts(unit: Unit) -> Mapping[str, int]:
    """Count suppressions by reason."""
    query = select(courier_suppressions.c.reason, func.count().label("number")).group_by(courier_suppressions.c.reason)
    return {row.reason: row.number for row in await unit.all(query)}


async def purge(unit: Unit, before: datetime, batch: int) -> int:
    """End the suppressions that are older than a moment, at most `batch`; return how many."""
    old = (
        select(courier_suppressions.c.address)
        .where(courier_suppressions.c.created_at < before)
        .order_by(courier_suppressions.c.created_at)
        .limit(batch)
    )
    over = [row.address for row in await unit.all(old)]
    if over:
        await unit.write(delete(courier_suppressions).where(courier_suppressions.c.address.in_(over)))
    return len(over)


def _row(suppression: Suppression) -> dict[str, Any]:
    detail = suppression.detail[:LONGEST_DETAIL] if suppression.detail is not None else None
    return asdict(suppression) | {"address": key_of(suppression.address), "detail": detail}


def _delete(address: str) -> Any:
    return delete(courier_suppressions).where(courier_suppressions.c.address == key_of(address))


def _suppression(row: Row[Any]) -> Suppression:
    return Suppression(**{**row._mapping, "reason": SuppressionReason(row.reason)})
