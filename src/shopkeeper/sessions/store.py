"""The table of sessions, with their devices, and all their queries."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Row,
    Select,
    String,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    true,
    update,
)

from shopkeeper.identity.search import Referring
from shopkeeper.identity.store import identities
from shopkeeper.identity.values import Aal, Identity, State
from shopkeeper.languages.choice import LONGEST_TAG
from shopkeeper.sessions.refresh_store import replaced_tokens
from shopkeeper.sessions.values import Actor, AuthenticationMethod, Device, Session
from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Json, Moment, metadata

LONGEST_USER_AGENT = 512
LONGEST_ADDRESS = 64
MOST_COUNTED = 1000
"""Where counting an identity's sessions stops, which bounds the query."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("token_hash", LargeBinary(32), nullable=False, unique=True),
    Column("identity_id", Id, ForeignKey("identities.id", ondelete="CASCADE"), nullable=False),
    Column("store", String(128)),
    Column("active", Boolean, nullable=False),
    Column("aal", String(8), nullable=False),
    Column("authentication_methods", Json, nullable=False),
    Column("authenticated_at", Moment, nullable=False),
    Column("issued_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    # Not indexed: so PostgreSQL can move an idle end without writing to any index (HOT).
    Column("idle_ends_at", Moment),
    Column("kept", Boolean),
    Column("locale", String(LONGEST_TAG)),
    # With the session, not in a table of their own: a sign-in is one statement less, and each look-up one join.
    Column("devices", Json, nullable=False, server_default=text("'[]'")),
    Column("actor", Json),
    Index("ix_sessions_identity_id_id", "identity_id", "id"),
    Index("ix_sessions_expires_at", "expires_at"),
    # Lists of one store's sessions, and of the identities that have one there.
    Index("ix_sessions_store_id", "store", "id"),
    Index("ix_sessions_store_identity_id", "store", "identity_id"),
    # All sessions are ended batch by batch, without reading those that have ended before.
    Index(
        "ix_sessions_not_revoked",
        "id",
        postgresql_where=text("active"),
        sqlite_where=text("active"),
    ),
)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A stored session: everything but the identity itself."""

    id: UUID
    identity_id: UUID
    store: str | None
    active: bool
    aal: Aal
    authentication_methods: tuple[AuthenticationMethod, ...]
    authenticated_at: datetime
    issued_at: datetime
    expires_at: datetime
    devices: tuple[Device, ...]
    idle_ends_at: datetime | None
    kept: bool | None
    locale: str | None
    actor: Actor | None

    def of(self, identity: Identity) -> Session:
        """Return the session with its identity."""
        return Session(
            id=self.id,
            identity=identity,
            active=self.active,
            aal=self.aal,
            authentication_methods=self.authentication_methods,
            authenticated_at=self.authenticated_at,
            issued_at=self.issued_at,
            expires_at=self.expires_at,
            devices=self.devices,
            store=self.store,
            idle_ends_at=self.idle_ends_at,
            kept=self.kept,
            locale=self.locale,
            actor=self.actor,
        )


@dataclass(frozen=True, slots=True)
class Validity:
    """What decides whether a session may still be used. `active`: it is not revoked, and its identity is active."""

    identity_id: UUID
    active: bool
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Others:
    """What else an identity has beside its new session.

    Args:
        live: how many other sessions may be used; counting stops at the given number.
        since_change: whether another one began in the same store since the given moment, the identity's last change.
    """

    live: int
    since_change: bool


async def add(unit: Unit, session: Session, *, token_hash: bytes, count_to: int, changed_at: datetime) -> Others:
    """Store a new session; return what else its identity has, from the same statement."""
    about = {"of_session": session.id, "of_identity": session.identity.id, "of_store": session.store}
    bound = {**about, "count_to": count_to, "at": session.issued_at, "changed_at": changed_at}
    row = (await unit.write(_ADD, {"token_hash": token_hash, **_to_row(session), **bound})).first()
    return Others(row.live, bool(row.since_change)) if row is not None else Others(0, since_change=False)


async def owner_of(unit: Unit, session_id: UUID) -> UUID | None:
    """Return the identity of a session, ended or not; None where the session is unknown."""
    owner: UUID | None = await unit.scalar(select(sessions.c.identity_id).where(with_id(session_id)))
    return owner


async def id_of_token(unit: Unit, token_hash: bytes) -> UUID | None:
    """Return the id of the session that a token belongs to, or belonged to before it was replaced."""
    present = select(sessions.c.id).where(sessions.c.token_hash == token_hash)
    former = select(replaced_tokens.c.family).where(replaced_tokens.c.token_hash == token_hash)
    found: UUID | None = await unit.scalar(present.union_all(former))
    return found


async def list_of(
    unit: Unit, chosen: ColumnElement[bool], *, after: UUID | None, limit: int, skip: int = 0
) -> list[SessionRow]:
    """Return sessions, newest first. `after` is a session's id, so that every page costs the same."""
    wanted = chosen if after is None else chosen & (sessions.c.id < after)
    page = select(sessions).where(wanted).order_by(sessions.c.id.desc()).limit(limit).offset(skip)
    return [_record(row) for row in await unit.all(page)]


async def count_of(unit: Unit, chosen: ColumnElement[bool]) -> int:
    """Return the number of sessions of one identity; counting stops at `MOST_COUNTED`."""
    bounded = select(sessions.c.id).where(chosen).limit(MOST_COUNTED).subquery()
    return int(await unit.scalar(select(func.count()).select_from(bounded)))


_ENDS_AT: ColumnElement[datetime] = case(
    (sessions.c.idle_ends_at < sessions.c.expires_at, sessions.c.idle_ends_at), else_=sessions.c.expires_at
)
NOT_REVOKED: ColumnElement[bool] = sessions.c.active.is_(true())
"""Sessions that were not revoked; they may have expired, and refreshing may prolong them."""


def with_id(session_id: UUID) -> ColumnElement[bool]:
    """Select one session."""
    return sessions.c.id == session_id


def with_ids(session_ids: Sequence[UUID]) -> ColumnElement[bool]:
    """Select sessions by their ids."""
    return sessions.c.id.in_(session_ids)


def of_identity(
    identity_id: UUID, *, but: UUID | None = None, stores: Sequence[str] | None = None
) -> ColumnElement[bool]:
    """Select the sessions of one identity, optionally all but one, and only those of some stores."""
    own = sessions.c.identity_id == identity_id
    others = own if but is None else own & (sessions.c.id != but)
    return others if stores is None else others & in_stores(stores)


def known_in(stores: Sequence[str]) -> Referring:
    """Return the filter for identities that have a session in one of some stores, ended or not."""
    return Referring(sessions.c.identity_id, in_stores(stores))


def in_stores(stores: Sequence[str]) -> ColumnElement[bool]:
    """Select the sessions that began in one of some stores."""
    return sessions.c.store.in_(stores)


def that_are(active: bool, now: datetime) -> ColumnElement[bool]:
    """Select sessions that may be used, or those that may not."""
    if active:
        return NOT_REVOKED & _lasting(now)
    return or_(~NOT_REVOKED, sessions.c.expires_at <= now, sessions.c.idle_ends_at <= now)


def _lasting(now: datetime) -> ColumnElement[bool]:
    """Select sessions whose time has not passed; they may be revoked."""
    return (sessions.c.expires_at > now) & or_(sessions.c.idle_ends_at.is_(None), sessions.c.idle_ends_at > now)


async def revoke(unit: Unit, chosen: ColumnElement[bool], *, at: datetime) -> int:
    """Revoke sessions that are not, and return how many."""
    ended = update(sessions).where(chosen & NOT_REVOKED).values(active=False, revoked_at=at)
    return (await unit.write(ended)).rowcount


async def remove(unit: Unit, chosen: ColumnElement[bool]) -> int:
    """Delete sessions, with their devices and replaced tokens."""
    return (await unit.write(delete(sessions).where(chosen))).rowcount


async def remove_expired(unit: Unit, *, before: datetime, limit: int) -> int:
    """Delete sessions that expired before `before`, the oldest first."""
    ended = select(sessions.c.id).where(sessions.c.expires_at < before).order_by(sessions.c.expires_at).limit(limit)
    return (await unit.write(delete(sessions).where(sessions.c.id.in_(ended)))).rowcount


async def set_expiry(unit: Unit, session_id: UUID, expires_at: datetime) -> None:
    """Set the expiry of a session."""
    await unit.write(update(sessions).where(sessions.c.id == session_id).values(expires_at=expires_at))


async def set_locale(unit: Unit, session_id: UUID, locale: str) -> None:
    """Set the language of a session."""
    await unit.write(update(sessions).where(with_id(session_id)).values(locale=locale))


async def set_idle_end(unit: Unit, ids: Sequence[UUID], ends_at: datetime | None, *, now: datetime) -> None:
    """Set when live sessions end unless they are used; those that have ended stay so.

    They are locked in the order of their ids, as everywhere, and those that another transaction holds are left out:
    their next use is written.
    """
    await unit.begin()
    live = sessions.c.id.in_(ids) & that_are(True, now)
    found = select(sessions.c.id).where(live).order_by(sessions.c.id).with_for_update(skip_locked=True)
    free = [row.id for row in await unit.all(found)]
    if free:
        await unit.write(update(sessions).where(sessions.c.id.in_(free)).values(idle_ends_at=ends_at))


async def revoke_surplus(unit: Unit, identity_id: UUID, *, most: int, at: datetime) -> Sequence[UUID]:
    """Revoke the live sessions of an identity beyond its `most` newest ones, at most 500; return their ids.

    The caller has locked the identity, so that no session starts meanwhile.
    """
    live = of_identity(identity_id) & that_are(True, at) & sessions.c.actor.is_(None)
    oldest = select(sessions.c.id).where(live).order_by(sessions.c.id.desc()).offset(most).limit(500)
    surplus = sessions.c.id.in_(_locked_in_order(sessions.c.id.in_(oldest))) & NOT_REVOKED
    ended = update(sessions).where(surplus).values(active=False, revoked_at=at).returning(sessions.c.id)
    return [row.id for row in (await unit.write(ended)).all()]


async def revoke_in_order(unit: Unit, chosen: ColumnElement[bool], *, at: datetime) -> int:
    """Revoke sessions as `revoke` does, locked in the order of their ids, in one statement.

    It misses sessions that start while it waits for a lock: the caller has locked the identity, so that none does.
    """
    return await revoke(unit, sessions.c.id.in_(_locked_in_order(chosen)), at=at)


def _locked_in_order(chosen: ColumnElement[bool]) -> Select[tuple[UUID]]:
    return select(sessions.c.id).where(chosen).order_by(sessions.c.id).with_for_update()


async def replace_token(
    unit: Unit, old: bytes, new: bytes, *, expires_at: datetime, idle_ends_at: datetime | None
) -> bool:
    """Give a session a new token, if `old` is its current one and the session may still be used.

    The condition is part of the UPDATE, so that one of several concurrent calls succeeds, and none succeeds after the
    session was revoked or its identity deactivated.
    """
    values = {"old": old, "token_hash": new, "expires_at": expires_at, "idle_ends_at": idle_ends_at}
    return (await unit.write(_REPLACE_TOKEN, [values])).rowcount == 1


async def lock_in_order(unit: Unit, chosen: ColumnElement[bool]) -> None:
    """Lock sessions until the transaction ends, in the order of their ids.

    Call it before several sessions are changed in one transaction: two transactions that lock the same sessions in
    different orders deadlock.
    """
    await unit.begin()
    await unit.all(_locked_in_order(chosen))


async def lock(unit: Unit, session_id: UUID) -> bool:
    """Lock the row of a session until the transaction ends. Returns `False` where there is no such session."""
    await unit.begin()
    return await unit.scalar(select(sessions.c.id).where(with_id(session_id)).with_for_update()) is not None


async def hold(unit: Unit, session_id: UUID, *, now: datetime, token_hash: bytes | None) -> bool:
    """Lock a session that may still be used, and give it another token if one is given; return False where it has
    ended. One statement."""
    live = with_id(session_id) & sessions.c.active & _lasting(now)
    if token_hash is None:
        await unit.begin()
        return await unit.scalar(select(sessions.c.id).where(live).with_for_update()) is not None
    return (await unit.write(update(sessions).where(live).values(token_hash=token_hash))).rowcount == 1


async def hand_over(unit: Unit, session: Session, *, token_hash: bytes) -> None:
    """Store the first token of a session that has waited for its client, with the client's device and new ends."""
    row = _to_row(session)
    values = {name: row[name] for name in ("expires_at", "idle_ends_at", "devices")}
    await unit.write(update(sessions).where(with_id(session.id)).values(token_hash=token_hash, **values))


async def save_proofs(unit: Unit, session: Session, *, token_hash: bytes | None) -> None:
    """Store the authentication methods and the AAL of a session, and its new token where one is given."""
    row = _to_row(session)
    values = {name: row[name] for name in ("aal", "authentication_methods", "authenticated_at")}
    if token_hash is not None:
        values["token_hash"] = token_hash
    await unit.write(update(sessions).where(with_id(session.id)).values(values))


async def validity_of(unit: Unit, session_ids: Sequence[UUID]) -> dict[UUID, Validity]:
    """Return the validity of sessions by their ids; unknown ones are left out."""
    found = await unit.all(
        select(sessions.c.id, sessions.c.identity_id, sessions.c.active, identities.c.state, _ENDS_AT.label("ends_at"))
        .join(identities, identities.c.id == sessions.c.identity_id)
        .where(sessions.c.id.in_(session_ids))
    )
    return {
        row.id: Validity(row.identity_id, row.active and row.state == State.ACTIVE.value, row.ends_at) for row in found
    }


# Built once: building a frequent statement costs as much as sending it.
_others = sessions.alias("others").c
_OF_OTHERS = and_(
    _others.identity_id == bindparam("of_identity", type_=Id),
    _others.id != bindparam("of_session", type_=Id),
    _others.actor.is_(None),  # an agent's visit takes none of a customer's sessions, and has told no engine of them
)
_NOW = bindparam("at", type_=Moment)
_OTHERS_LIVE = (
    select(_others.id)
    .where(_OF_OTHERS, _others.active.is_(true()), _others.expires_at > _NOW)
    .where(or_(_others.idle_ends_at.is_(None), _others.idle_ends_at > _NOW))
    .limit(bindparam("count_to", type_=Integer))
)
_OTHERS_SINCE_CHANGE = select(_others.id).where(
    _OF_OTHERS, _others.store == bindparam("of_store"), _others.issued_at >= bindparam("changed_at", type_=Moment)
)
# SQLite does not say whether RETURNING sees the new row, so that one is left out.
_ADD = insert(sessions).returning(
    select(func.count()).select_from(_OTHERS_LIVE.subquery()).scalar_subquery().label("live"),
    _OTHERS_SINCE_CHANGE.exists().label("since_change"),
)
_REPLACE_TOKEN = (
    update(sessions)
    .where(
        sessions.c.token_hash == bindparam("old", type_=LargeBinary),
        NOT_REVOKED,
        select(identities.c.id)
        .where(identities.c.id == sessions.c.identity_id, identities.c.state == State.ACTIVE.value)
        .exists(),
    )
    .values(
        token_hash=bindparam("token_hash", type_=LargeBinary),
        expires_at=bindparam("expires_at", type_=Moment),
        idle_ends_at=bindparam("idle_ends_at", type_=Moment),
    )
)


def _record(row: Row[Any]) -> SessionRow:
    return SessionRow(
        id=row.id,
        identity_id=row.identity_id,
        store=row.store,
        active=row.active,
        aal=Aal(row.aal),
        authentication_methods=tuple(_method(method) for method in row.authentication_methods),
        authenticated_at=row.authenticated_at,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        devices=_devices(row.devices),
        idle_ends_at=row.idle_ends_at,
        kept=row.kept,
        locale=row.locale,
        actor=_actor(row.actor),
    )


def session_of(row: Row[Any], *, identity: Identity) -> Session:
    """Return the session of a row with its columns; the id's is `session_id`, the language's `session_locale`."""
    return Session(
        id=row.session_id,
        identity=identity,
        active=row.active,
        aal=Aal(row.aal),
        authentication_methods=tuple(_method(method) for method in row.authentication_methods),
        authenticated_at=row.authenticated_at,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        devices=_devices(row.devices),
        store=row.store,
        idle_ends_at=row.idle_ends_at,
        kept=row.kept,
        locale=row.session_locale,
        actor=_actor(row.actor),
    )


def _method(stored: dict[str, str]) -> AuthenticationMethod:
    return AuthenticationMethod(
        method=stored["method"],
        aal=Aal(stored["aal"]),
        completed_at=datetime.fromisoformat(stored["completed_at"]),
        provider=stored.get("provider"),
        ends_at=datetime.fromisoformat(stored["ends_at"]) if "ends_at" in stored else None,
    )


def _stored(proof: AuthenticationMethod) -> dict[str, str]:
    stored = {"method": proof.method, "aal": proof.aal.value, "completed_at": proof.completed_at.isoformat()}
    ends_at = proof.ends_at.isoformat() if proof.ends_at is not None else None
    optional = {"provider": proof.provider, "ends_at": ends_at}
    return {**stored, **{name: value for name, value in optional.items() if value is not None}}


def _to_row(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "identity_id": session.identity.id,
        "store": session.store,
        "active": session.active,
        "aal": session.aal.value,
        "authentication_methods": [_stored(proof) for proof in session.authentication_methods],
        "authenticated_at": session.authenticated_at,
        "issued_at": session.issued_at,
        "expires_at": session.expires_at,
        "idle_ends_at": session.idle_ends_at,
        "devices": [_stored_device(device) for device in session.devices],
        "kept": session.kept,
        "locale": session.locale,
        "actor": _stored_actor(session.actor),
    }


def _actor(stored: Mapping[str, str] | None) -> Actor | None:
    if stored is None:
        return None
    identity_id, session_id = stored.get("identity_id"), stored.get("session_id")
    return Actor(
        key=stored["key"],
        identity_id=UUID(identity_id) if identity_id else None,
        session_id=UUID(session_id) if session_id else None,
        name=stored.get("name"),
    )


def _stored_actor(actor: Actor | None) -> dict[str, str] | None:
    if actor is None:
        return None
    return {name: str(value) for name, value in asdict(actor).items() if value is not None}


def _devices(stored: Sequence[Mapping[str, str]]) -> tuple[Device, ...]:
    return tuple(Device(**{**device, "id": UUID(device["id"])}) for device in stored)  # type: ignore[arg-type]  # as written


def _stored_device(device: Device) -> dict[str, str]:
    return {**asdict(device), "id": str(device.id)}
