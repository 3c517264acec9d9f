"""The table of attempts to send messages, and its queries. They are deleted with their message."""

from collections.abc import Sequence
from dataclasses import asdict
from uuid import UUID

from sqlalchemy import Column, Index, Table, Text, insert, select

from shopkeeper.notify.values import Dispatch
from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Moment, metadata

SHOWN = 100
"""The newest attempts of a message that are shown; one that is sent again and again may have more."""

courier_dispatches = Table(
    "courier_dispatches",
    metadata,
    Column("id", Id, primary_key=True),
    Column("message_id", Id, nullable=False),
    Column("error", Text, nullable=True),
    Column("created_at", Moment, nullable=False),
    Index(None, "message_id", "id"),
)


async def add(unit: Unit, dispatch: Dispatch) -> None:
    """Record an attempt."""
    await unit.write(insert(courier_dispatches).values(**asdict(dispatch)))


async def of_message(unit: Unit, message_id: UUID) -> Sequence[Dispatch]:
    """Return the attempts to send a message, oldest first."""
    newest = (
        select(courier_dispatches)
        .where(courier_dispatches.c.message_id == message_id)
        .order_by(courier_dispatches.c.id.desc())
        .limit(SHOWN)
    )
    return [Dispatch(**row._mapping) for row in reversed(await unit.all(newest))]
