"""The tables of flows and of errors kept for the error page, and all their queries."""

import json
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Insert,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    Text,
    Update,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from shopkeeper import crypto
from shopkeeper.flows.flow import LED_TO, Flow, FlowState, FlowType
from shopkeeper.identity.values import Aal
from shopkeeper.storage.database import Unit
from shopkeeper.storage.row_changes import insert_later
from shopkeeper.storage.tables import Id, Json, Moment, metadata
from shopkeeper.ui.messages import Message
from shopkeeper.ui.nodes import Node

flows = Table(
    "flows",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("store", String(128), nullable=False),
    Column("type", String(8), nullable=False),
    Column("request_url", Text, nullable=False),
    Column("issued_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("state", String(32), nullable=False),
    Column("active", String(32)),
    Column("return_to", Text),
    # Text, not a JSON type: JSONB sorts keys, and the order of a node's attributes is part of the contract.
    Column("nodes", Text, nullable=False),
    Column("messages", Text, nullable=False),
    Column("csrf", LargeBinary(32)),
    Column("refresh", Boolean, nullable=False),
    Column("requested_aal", String(8), nullable=False),
    Column("schema_id", String(128)),
    Column("transient_payload", Json),
    Column("context", Json, nullable=False),
    Column("finished_at", Moment),
    Column("version", Integer, nullable=False, server_default="0"),
    # Increased by statements of its own, never with the row: parallel attempts must not overwrite each other's count.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("identity_id", Id),
    Column("session_id", Id),
    Column("callback_method", String(32)),
    Column("callback_state", LargeBinary(32), unique=True),
    Column("callback_binding", LargeBinary(32)),
    Column("exchange_init", LargeBinary(32)),
    Column("exchange_return", LargeBinary(32)),
    Column("exchange_session", Id),
    Index("ix_flows_expires_at", "expires_at"),
    # Few flows have codes: the others stay out of the index.
    Index(
        "ix_flows_exchange_init",
        "exchange_init",
        postgresql_where=text("exchange_init IS NOT NULL"),
        sqlite_where=text("exchange_init IS NOT NULL"),
    ),
)

flow_errors = Table(
    "flow_errors",
    metadata,
    Column("id", Id, primary_key=True),
    Column("error", Json, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index("ix_flow_errors_created_at", "created_at"),
)


async def add(unit: Unit, flow: Flow) -> None:
    """Insert a new flow right before the unit commits."""
    insert_later(unit, flows, [_to_row(flow)])


async def get(unit: Unit, flow_id: UUID, *, kind: str) -> Flow | None:
    """Return a flow by its id and name."""
    row = await unit.first(_BY_ID, {"of_flow": flow_id, "of_kind": kind})
    return _from_row(row) if row else None


def adding(flow: Flow) -> tuple[Insert, Mapping[str, Any]]:
    """Return the statement that inserts a new flow and its parameters, for a unit that may roll back."""
    return _ADD, _to_row(flow)


async def by_callback_state(unit: Unit, state: bytes) -> Flow | None:
    """Return the flow that awaits a callback with this state, by the state's digest."""
    row = await unit.first(select(flows).where(flows.c.callback_state == state))
    return _from_row(row) if row else None


def keeping(flow: Flow) -> tuple[Update, Mapping[str, Any]]:
    """Return the statement that stores a changed flow in place of the version that was read, and its parameters, for a
    unit that may roll back.

    It changes nothing where the flow has ended or was changed meanwhile, so that a late write does not undo an earlier
    one. The type stays: the browser that follows a link sees another one (`followers.py`).
    """
    row = _to_row(flow)
    del row["type"]
    bound = {"of_flow": row.pop("id")}
    return _KEEP, {**row, **bound, "version": flow.version + 1, "as_read": flow.version}


async def keep_form(unit: Unit, flow: Flow, *, as_read: Flow) -> None:
    """Store the form of a flow, although the flow may have been changed since it was read. What others have changed
    stays: a callback or a paused submission that was taken meanwhile does not come back."""
    row = _to_row(flow)
    form = {name: row[name] for name in _FORM}
    bound = {"of_flow": flow.id, "as_read": as_read.version, "own_context": row["context"]}
    kept = (await unit.write(_KEEP_FORM, {**form, **bound})).first()
    if kept is None or kept.version == as_read.version + 1:
        return
    # This unit holds the row's lock by now.
    current = await unit.first(_BY_ID, {"of_flow": flow.id, "of_kind": flow.kind})
    if current is not None:
        context = _merged(current.context, before=as_read.context, after=flow.context)
        await unit.write(update(flows).where(flows.c.id == flow.id).values(context=context))


async def tell(unit: Unit, flow: Flow) -> None:
    """Store the messages of a flow that this unit has written already."""
    await unit.write(update(flows).where(flows.c.id == flow.id).values(messages=_to_row(flow)["messages"]))


async def count_attempt(unit: Unit, flow_id: UUID, *, most: int, owed: int = 0) -> bool:
    """Increase the counter of attempts; return False where it has reached `most`. One statement, so that no attempt is
    lost. `owed` attempts are given back before."""
    left = flows.c.id == flow_id, flows.c.attempts < most + owed
    return (await unit.write(update(flows).where(*left).values(attempts=flows.c.attempts + 1 - owed))).rowcount == 1


async def take_awaited(unit: Unit, state: bytes, *, method: str, bindings: Collection[bytes]) -> Flow | None:
    """Return the flow that awaits a callback with this state, which it does no longer: by the state's digest, of a
    browser that has one of these bindings. None where there is none, or an app waits for its end."""
    awaited = (flows.c.callback_state == state, flows.c.callback_method == method, flows.c.exchange_init.is_(None))
    taken = update(flows).where(*awaited, flows.c.callback_binding.in_(bindings))
    returned = taken.values(**_NOTHING_AWAITED, version=flows.c.version + 1).returning(*flows.c)
    row = (await unit.write(returned)).first()
    return _taken(row) if row else None


async def callback_answered(unit: Unit, flow_id: UUID) -> None:
    """Forget the state of the callback that has come to a flow, where it awaits no other one."""
    come = flows.c.id == flow_id, flows.c.callback_method.is_(None)
    await unit.write(update(flows).where(*come).values(callback_state=None))


async def keep_led_to(unit: Unit, flow: Flow, led: Mapping[str, Any]) -> None:
    """Keep with a flow that has ended where it has led to (`Flow.led_to`, `led_to_end`, `ended_as`)."""
    await unit.write(update(flows).where(flows.c.id == flow.id).values(context={**flow.context, LED_TO: led}))


async def take_for_app(unit: Unit, state: bytes, *, method: str, return_to: bytes) -> Flow | None:
    """Return the flow that awaits a callback with this state, and whose end an app waits for, as `take_awaited` does.

    It has another id from now on, the digest of its return-to code, and the id of the session that the app gets: of the
    one that it has, or of a new one.
    """
    awaited = (flows.c.callback_state == state, flows.c.callback_method == method, flows.c.exchange_init.is_not(None))
    returned = (
        update(flows)
        .where(*awaited)
        .values(
            **_NOTHING_AWAITED,
            id=crypto.new_id(),
            version=flows.c.version + 1,
            exchange_return=return_to,
            exchange_session=func.coalesce(flows.c.session_id, bindparam("new_session", crypto.new_id(), type_=Id)),
        )
        .returning(*flows.c)
    )
    row = (await unit.write(returned)).first()
    return _taken(row) if row else None


async def by_exchange_codes(unit: Unit, init: bytes, return_to: bytes) -> Flow | None:
    """Return the flow that both codes belong to, by their digests: the newest, where one took another's place."""
    both = flows.c.exchange_init == init, flows.c.exchange_return == return_to
    row = await unit.first(select(flows).where(*both).order_by(flows.c.issued_at.desc(), flows.c.id.desc()).limit(1))
    return _from_row(row) if row else None


async def take_session(unit: Unit, flow: Flow) -> bool:
    """Withdraw the codes of a session that waits for its app; return False where another request was first. The
    database decides, so that codes work once."""
    taken = update(flows).where(flows.c.id == flow.id, flows.c.exchange_session == flow.exchange_session)
    nothing = {"exchange_init": None, "exchange_return": None, "exchange_session": None}
    return (await unit.write(taken.values(**nothing))).rowcount == 1


async def finish(unit: Unit, flow: Flow, at: datetime, *, ended_as: str | None = None) -> bool:
    """End a flow, and keep the kind that it has ended as, if that is given; return False where it has ended before. The
    database decides, so that a flow is used once."""
    values = {"of_flow": flow.id, "finished_at": at}
    if ended_as is not None:
        context = {**flow.context, LED_TO: {"as": ended_as}}
        return (await unit.write(_UNFINISHED.values(context=context), values)).rowcount == 1
    return (await unit.write(_UNFINISHED, values)).rowcount == 1


async def finish_counted(unit: Unit, flow_id: UUID, at: datetime) -> int | None:
    """End a flow as `finish` does and count the attempt that ends it; return how many it has had with this one, None
    where it has ended before."""
    row = (await unit.write(_FINISH_COUNTED, {"of_flow": flow_id, "finished_at": at})).first()
    return row.attempts if row is not None else None


async def purge(unit: Unit, *, before: datetime, batch: int) -> int:
    """Delete flows that ended before a moment, at most `batch`; return how many."""
    old = select(flows.c.id).where(flows.c.expires_at < before).limit(batch)
    return (await unit.write(delete(flows).where(flows.c.id.in_(old)))).rowcount


async def purge_errors(unit: Unit, *, before: datetime, batch: int) -> int:
    """Delete errors that were stored before a moment, at most `batch`; return how many."""
    old = select(flow_errors.c.id).where(flow_errors.c.created_at < before).limit(batch)
    return (await unit.write(delete(flow_errors).where(flow_errors.c.id.in_(old)))).rowcount


async def add_error(unit: Unit, *, error_id: UUID, error: Mapping[str, Any], at: datetime) -> None:
    """Store an error for the error page."""
    await unit.write(insert(flow_errors).values(id=error_id, error=dict(error), created_at=at, updated_at=at))


async def get_error(unit: Unit, error_id: UUID) -> Row[Any] | None:
    """Return a stored error; None where it is unknown."""
    return await unit.first(select(flow_errors).where(flow_errors.c.id == error_id))


# The state stays until the flow is stored next, and says until then that its callback is being answered.
_NOTHING_AWAITED: Final[Mapping[str, None]] = {"callback_method": None}
# Built once: building a frequent statement costs as much as sending it.
_OF_FLOW = flows.c.id == bindparam("of_flow", type_=Id)
_BY_ID = select(flows).where(_OF_FLOW, flows.c.kind == bindparam("of_kind"))
_ADD = insert(flows)
# Their parameters are the columns to set.
_UNFINISHED = update(flows).where(_OF_FLOW, flows.c.finished_at.is_(None))
_FINISH_COUNTED = _UNFINISHED.values(attempts=flows.c.attempts + 1).returning(flows.c.attempts)
_KEEP = _UNFINISHED.where(flows.c.version == bindparam("as_read"))
_FORM = ("nodes", "messages", "state", "active", "updated_at", "identity_id", "session_id")
_KEEP_FORM = _UNFINISHED.values(
    version=flows.c.version + 1,
    context=case(
        (flows.c.version == bindparam("as_read"), bindparam("own_context", type_=Json)), else_=flows.c.context
    ),
).returning(flows.c.version)

_PLAIN = [
    f.name
    for f in fields(Flow)
    if f.name not in {"nodes", "messages", "context", "transient_payload", "identity", "exchange_code"}
]


def _merged(current: Mapping[str, Any], *, before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a context with what has changed from `before` to `after`."""
    removed = before.keys() - after.keys()
    changed = {name: known for name, known in after.items() if before.get(name) != known}
    return {**{name: known for name, known in current.items() if name not in removed}, **changed}


def _to_row(flow: Flow) -> dict[str, Any]:
    return {name: getattr(flow, name) for name in _PLAIN} | {
        "nodes": json.dumps([node.to_wire() for node in flow.nodes]),
        "messages": json.dumps([message.to_wire() for message in flow.messages]),
        "context": dict(flow.context),
        "transient_payload": flow.transient_payload,
    }


def _taken(row: Row[Any]) -> Flow:
    return replace(_from_row(row), callback_state=None)


def _from_row(row: Row[Any]) -> Flow:
    plain = {name: getattr(row, name) for name in _PLAIN} | {
        "type": FlowType(row.type),
        "state": FlowState(row.state),
        "requested_aal": Aal(row.requested_aal),
    }
    return Flow(
        **plain,
        nodes=tuple(Node.from_wire(wire) for wire in json.loads(row.nodes)),
        messages=tuple(Message.from_wire(wire) for wire in json.loads(row.messages)),
        context=row.context,
        transient_payload=row.transient_payload,
    )
