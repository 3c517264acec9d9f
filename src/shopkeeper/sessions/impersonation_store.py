"""The table of impersonations, and all its queries.

An impersonation of a customer has the id of the session in which the agent acts. That of a guest, who has no session,
has an id of its own, which is sealed in the guest's token.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    Row,
    String,
    Table,
    and_,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from shopkeeper.identity.group_tables import NAMED_MEMBERS, group_members, identity_groups
from shopkeeper.identity.store import identities
from shopkeeper.identity.values import State
from shopkeeper.sessions.store import NOT_REVOKED, sessions
from shopkeeper.sessions.values import Actor
from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Moment, metadata

LONGEST_REASON: Final = 500
LONGEST_NAME: Final = 128

impersonations = Table(
    "impersonations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("store", String(128), nullable=False),
    Column("identity_id", Id, ForeignKey("identities.id", ondelete="CASCADE")),
    Column("guest_id", Id),
    # Without foreign keys: the record outlives the agent's sessions, and the agent.
    Column("actor_identity_id", Id),
    Column("actor_session_id", Id),
    Column("actor_name", String(LONGEST_NAME)),
    Column("actor_key", String(64), nullable=False),
    Column("reason", String(LONGEST_REASON), nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("ended_by", String(200)),
    Column("link_used_at", Moment),
    Column("orders", Integer, nullable=False),
    Index("ix_impersonations_identity_id_id", "identity_id", "id"),
    Index("ix_impersonations_actor_session_id", "actor_session_id"),
    Index("ix_impersonations_actor_identity_id_id", "actor_identity_id", "id"),
    Index("ix_impersonations_started_at", "started_at"),
)


impersonation_orders = Table(
    "impersonation_orders",
    metadata,
    Column("impersonation_id", Id, ForeignKey("impersonations.id", ondelete="CASCADE"), primary_key=True),
    Column("number", String(128), primary_key=True),
)
"""The orders that were placed in impersonations, each once."""
_INSERT: Final[Mapping[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


class Kind(StrEnum):
    """Whom an agent acts as."""

    CUSTOMER = "customer"
    GUEST = "guest"


@dataclass(frozen=True, slots=True)
class Impersonation:
    """An impersonation as it is stored.

    `identity_id` is the customer, `guest_id` the guest; one of them is None. `orders` is how many orders were placed in
    it. `link_used_at` is when its link set a cookie.
    """

    id: UUID
    kind: Kind
    store: str
    identity_id: UUID | None
    guest_id: UUID | None
    actor: Actor
    reason: str
    started_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    ended_by: str | None = None
    link_used_at: datetime | None = None
    orders: int = 0

    @property
    def subject(self) -> str:
        """The id of the customer or guest, as text."""
        return str(self.identity_id or self.guest_id)


@dataclass(frozen=True, slots=True)
class Standing:
    """An impersonation that may still be used, and when it ends for want of a sign of its agent, if ever."""

    impersonation: Impersonation
    idle_ends_at: datetime | None


async def add(unit: Unit, new: Impersonation) -> None:
    """Store a new impersonation."""
    actor = new.actor
    values = {
        "id": new.id,
        "kind": new.kind.value,
        "store": new.store,
        "identity_id": new.identity_id,
        "guest_id": new.guest_id,
        "actor_identity_id": actor.identity_id,
        "actor_session_id": actor.session_id,
        "actor_name": actor.name,
        "actor_key": actor.key,
        "reason": new.reason,
        "started_at": new.started_at,
        "expires_at": new.expires_at,
        "orders": 0,
    }
    await unit.write(insert(impersonations).values(values))


async def find(unit: Unit, id_: UUID) -> Impersonation | None:
    """Return an impersonation, ended or not."""
    row = await unit.first(select(impersonations).where(impersonations.c.id == id_))
    return _impersonation(row) if row is not None else None


async def standing(unit: Unit, id_: UUID, *, now: datetime) -> Standing | None:
    """Return an impersonation that may still be used: neither it nor its agent's session has ended.

    A session of the agent that was deleted has ended, too.
    """
    agents = and_(sessions.c.id == impersonations.c.actor_session_id, _live_agent(now))
    columns = (impersonations, sessions.c.idle_ends_at.label("idle_ends_at"), sessions.c.id.label("agents"))
    found = select(*columns).select_from(impersonations.outerjoin(sessions, agents))
    row = await unit.first(found.where(impersonations.c.id == id_, _open(now)))
    if row is None or (row.actor_session_id is not None and row.agents is None):
        return None
    return Standing(_impersonation(row), row.idle_ends_at)


async def page(
    unit: Unit,
    *,
    now: datetime,
    active: bool | None,
    identity_id: UUID | None,
    agent_id: UUID | None,
    stores: Sequence[str] | None,
    after: UUID | None,
    limit: int,
) -> list[Impersonation]:
    """Return impersonations, newest first, those beyond the id `after`."""
    wanted = select(impersonations)
    if identity_id is not None:
        wanted = wanted.where(impersonations.c.identity_id == identity_id)
    if agent_id is not None:
        wanted = wanted.where(impersonations.c.actor_identity_id == agent_id)
    if stores is not None:
        wanted = wanted.where(impersonations.c.store.in_(stores))
    if active is not None:
        good = _open(now) & or_(impersonations.c.actor_session_id.is_(None), _of_live_agents(now))
        wanted = wanted.where(good if active else ~good)
    if after is not None:
        wanted = wanted.where(impersonations.c.id < after)
    return [_impersonation(row) for row in await unit.all(wanted.order_by(impersonations.c.id.desc()).limit(limit))]


async def open_ones(unit: Unit, chosen: ColumnElement[bool], *, now: datetime) -> list[Impersonation]:
    """Return those of the chosen impersonations that are open."""
    return [_impersonation(row) for row in await unit.all(select(impersonations).where(chosen, _open(now)))]


async def end(unit: Unit, ids: Sequence[UUID], *, at: datetime, by: str | None) -> list[Impersonation]:
    """End impersonations that are open, and return them. `by` is None where they end with their agent's session."""
    chosen = impersonations.c.id.in_(ids) & _open(at)
    ended = update(impersonations).where(chosen).values(ended_at=at, ended_by=by).returning(impersonations)
    return [_impersonation(row) for row in (await unit.write(ended)).all()]


async def use_link(unit: Unit, id_: UUID, *, at: datetime, issued_after: datetime) -> Impersonation | None:
    """Use up the link of an open impersonation that began after a moment; None where it was used before."""
    unused = and_(
        impersonations.c.id == id_,
        impersonations.c.link_used_at.is_(None),
        impersonations.c.started_at > issued_after,
        _open(at),
    )
    used = update(impersonations).where(unused).values(link_used_at=at).returning(impersonations)
    row = (await unit.write(used)).first()
    return _impersonation(row) if row is not None else None


async def add_order(unit: Unit, id_: UUID, number: str) -> bool:
    """Count an order that was placed in an impersonation; return whether it was not counted yet."""
    adding = _INSERT[unit.dialect](impersonation_orders).values(impersonation_id=id_, number=number)
    added: Any = await unit.write(adding.on_conflict_do_nothing())
    if not added.rowcount:
        return False
    one_more = impersonations.c.orders + 1
    await unit.write(update(impersonations).where(impersonations.c.id == id_).values(orders=one_more))
    return True


async def purge(unit: Unit, before: datetime, batch: int) -> int:
    """Delete impersonations that began before a moment, at most `batch` of them; return how many."""
    old = select(impersonations.c.id).where(impersonations.c.started_at < before).limit(batch)
    return (await unit.write(delete(impersonations).where(impersonations.c.id.in_(old)))).rowcount


async def is_member(unit: Unit, identity_id: UUID, groups: Collection[str]) -> bool:
    """Whether an identity is in one of some groups."""
    member = select(group_members.c.identity_id).select_from(NAMED_MEMBERS)
    named = member.where(group_members.c.identity_id == identity_id, identity_groups.c.name.in_(sorted(groups)))
    return await unit.scalar(named.limit(1)) is not None


def with_id(id_: UUID) -> ColumnElement[bool]:
    """Select one impersonation."""
    return impersonations.c.id == id_


def with_ids(ids: Collection[UUID]) -> ColumnElement[bool]:
    """Select some impersonations."""
    return impersonations.c.id.in_(ids)


def concerning(identity_id: UUID) -> ColumnElement[bool]:
    """Select the impersonations by an identity and of it."""
    return or_(impersonations.c.actor_identity_id == identity_id, impersonations.c.identity_id == identity_id)


def by_agent(identity_id: UUID) -> ColumnElement[bool]:
    """Select the impersonations of one agent."""
    return impersonations.c.actor_identity_id == identity_id


def of_sessions(chosen: ColumnElement[bool]) -> ColumnElement[bool]:
    """Select the impersonations that end with some sessions: those in which an agent acts, and those of an agent."""
    those = select(sessions.c.id).where(chosen)
    return or_(impersonations.c.id.in_(those), impersonations.c.actor_session_id.in_(those))


def alike(new: Impersonation) -> ColumnElement[bool]:
    """Select the other impersonations of the same customer or guest by the same agent in the same store."""
    actor, own = new.actor, impersonations.c
    return and_(
        own.store == new.store,
        own.identity_id == new.identity_id if new.identity_id is not None else own.guest_id == new.guest_id,
        own.actor_identity_id == actor.identity_id if actor.identity_id is not None else own.actor_name == actor.name,
        own.id != new.id,
    )


def _open(now: datetime) -> ColumnElement[bool]:
    return impersonations.c.ended_at.is_(None) & (impersonations.c.expires_at > now)


def _live_agent(now: datetime) -> ColumnElement[bool]:
    """Select sessions that may be used, of active identities."""
    active = select(identities.c.id).where(
        identities.c.id == sessions.c.identity_id, identities.c.state == State.ACTIVE.value
    )
    lasting = (sessions.c.expires_at > now) & or_(sessions.c.idle_ends_at.is_(None), sessions.c.idle_ends_at > now)
    return NOT_REVOKED & lasting & active.exists()


def _of_live_agents(now: datetime) -> ColumnElement[bool]:
    return select(sessions.c.id).where(sessions.c.id == impersonations.c.actor_session_id, _live_agent(now)).exists()


def _impersonation(row: Row[Any]) -> Impersonation:
    return Impersonation(
        id=row.id,
        kind=Kind(row.kind),
        store=row.store,
        identity_id=row.identity_id,
        guest_id=row.guest_id,
        actor=Actor(
            key=row.actor_key,
            identity_id=row.actor_identity_id,
            session_id=row.actor_session_id,
            name=row.actor_name,
        ),
        reason=row.reason,
        started_at=row.started_at,
        expires_at=row.expires_at,
        ended_at=row.ended_at,
        ended_by=row.ended_by,
        link_used_at=row.link_used_at,
        orders=row.orders,
    )
