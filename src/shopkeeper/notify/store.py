"""The table of messages and all its queries. Ids are ordered by time, so the newest message has the highest."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    or_,
    select,
    update,
)

from shopkeeper.notify.dispatches import courier_dispatches
from shopkeeper.notify.values import CourierMessage, Mail, MessagePage, Status
from shopkeeper.storage.database import Unit
from shopkeeper.storage.row_changes import insert_later
from shopkeeper.storage.tables import Id, Moment, metadata

courier_messages = Table(
    "courier_messages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("status", String(16), nullable=False),
    Column("type", String(16), nullable=False),
    Column("recipient", String(320), nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("html", Text, nullable=False),
    Column("context", Text, nullable=True),
    Column("template_type", String(64), nullable=False),
    Column("channel", String(32), nullable=False),
    Column("send_count", Integer, nullable=False),
    Column("locale", String(16), nullable=False),
    Column("source_event", Id, nullable=True),
    Column("last_error", Text, nullable=True),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    # One event may cause several mails, but only one of each template.
    UniqueConstraint("source_event", "template_type"),
    Index(None, "status", "id"),
    Index(None, "recipient", "id"),
)

# `CourierMessage.sendable`, as a condition.
_SENDABLE = or_(courier_messages.c.context.is_not(None), courier_messages.c.body != "")
UNFINISHED = (Status.QUEUED, Status.PROCESSING)


def add(unit: Unit, message: CourierMessage | None) -> None:
    """Insert a new message right before the unit commits. None stands for one that is only simulated: it costs the
    same."""
    insert_later(unit, courier_messages, [_row(message)] if message is not None else [])


def _row(message: CourierMessage) -> dict[str, Any]:
    return {name: value for name, value in asdict(message).items() if name != "data"}


async def get(unit: Unit, message_id: UUID) -> CourierMessage | None:
    """Return a message by id."""
    row = await unit.first(select(courier_messages).where(courier_messages.c.id == message_id))
    return _message(row) if row else None


async def page(
    unit: Unit, *, status: Status | None, recipient: str | None, before: UUID | None, limit: int
) -> MessagePage:
    """Return messages newest first, older than `before`; one more is read than shown, to know whether there are
    more."""
    query = select(courier_messages).order_by(courier_messages.c.id.desc()).limit(limit + 1)
    if status is not None:
        query = query.where(courier_messages.c.status == status)
    if recipient is not None:
        query = query.where(courier_messages.c.recipient == recipient)
    if before is not None:
        query = query.where(courier_messages.c.id < before)
    return _page(await unit.all(query), limit=limit)


async def claim(unit: Unit, message_id: UUID, *, now: datetime) -> CourierMessage | None:
    """Take an unsent message for one more attempt, and count it. An abandoned one is taken too: its dead letter is
    replayed. One that was emptied is not, because nothing is left to send."""
    unsent = courier_messages.c.status != Status.SENT, _SENDABLE
    taken = (
        update(courier_messages)
        .where(courier_messages.c.id == message_id, *unsent)
        .values(status=Status.PROCESSING, send_count=courier_messages.c.send_count + 1, updated_at=now)
        .returning(*courier_messages.c)
    )
    row = (await unit.write(taken)).first()
    return _message(row) if row else None


async def settle(
    unit: Unit, message_id: UUID, *, status: Status, error: str | None, now: datetime, said: Mail | None = None
) -> None:
    """Store the result of an attempt; `said` replaces what the message was rendered from. A message that another worker
    has finished meanwhile stays finished."""
    final = {"subject": said.subject, "body": said.text, "html": said.html, "context": None} if said else {}
    await unit.write(
        update(courier_messages)
        .where(courier_messages.c.id == message_id, courier_messages.c.status.in_(UNFINISHED))
        .values(status=status, last_error=error, updated_at=now, **final)
    )


async def requeue(unit: Unit, message_id: UUID, *, now: datetime) -> bool:
    """Put an abandoned message back, where something is left of it to send; return whether it was."""
    again = (
        update(courier_messages)
        .where(courier_messages.c.id == message_id, courier_messages.c.status == Status.ABANDONED, _SENDABLE)
        .values(status=Status.QUEUED, updated_at=now)
    )
    return (await unit.write(again)).rowcount == 1


async def purge(unit: Unit, *, before: datetime, batch: int) -> int:
    """Delete messages queued before a moment, in any status, and their attempts; at most `batch`. Return how many."""
    oldest = select(courier_messages.c.id, courier_messages.c.created_at).order_by(courier_messages.c.id).limit(batch)
    over = [row.id for row in await unit.all(oldest) if row.created_at < before]
    if over:
        await unit.write(delete(courier_dispatches).where(courier_dispatches.c.message_id.in_(over)))
        await unit.write(delete(courier_messages).where(courier_messages.c.id.in_(over)))
    return len(over)


def _page(rows: Sequence[Row[Any]], *, limit: int) -> MessagePage:
    items = tuple(_message(row) for row in rows[:limit])
    return MessagePage(items, before=items[-1].id if len(rows) > limit else None)


def _message(row: Row[Any]) -> CourierMessage:
    fields = dict(row._mapping)
    return CourierMessage(**{**fields, "status": Status(fields["status"])})
