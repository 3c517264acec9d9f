"""Reads a session with its identity, its devices and its addresses, in one statement.

A process that has the session of a token not in its cache waits for the database once, not four times. The statement
returns one row for the session and its identity, and one for each device and each address (`part` tells which); a join
of all of them would repeat the identity's traits in every row.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Integer,
    LargeBinary,
    Row,
    Select,
    bindparam,
    cast,
    literal_column,
    null,
    select,
    union_all,
)
from sqlalchemy.types import TypeEngine

from shopkeeper.identity.rows import to_identity, to_recovery_address, to_verifiable_address
from shopkeeper.identity.store import identities, recovery_addresses, verifiable_addresses
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.store import session_devices, session_of, sessions
from shopkeeper.sessions.values import Device, Session
from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id

_SESSION, _DEVICE, _VERIFIABLE, _RECOVERY = range(4)


async def by_token(unit: Unit, token_hash: bytes) -> Session | None:
    """Return the session whose current token has this hash, or None; the session may have ended."""
    return _session(await unit.all(_BY_TOKEN, {"token_hash": token_hash}))


async def by_id(unit: Unit, session_id: UUID) -> Session | None:
    """Return a session by its id, or None where it is unknown."""
    return _session(await unit.all(_BY_ID, {"session_id": session_id}))


def _session(rows: Sequence[Row[Any]]) -> Session | None:
    by_part: dict[int, list[Row[Any]]] = {_SESSION: [], _DEVICE: [], _VERIFIABLE: [], _RECOVERY: []}
    for row in rows:
        by_part[row.part].append(row)
    if not by_part[_SESSION]:
        return None
    [row] = by_part[_SESSION]
    devices = [Device(each.id, each.ip_address, each.user_agent, each.location) for each in by_part[_DEVICE]]
    return session_of(row, identity=_identity(row, by_part), devices=devices)


def _identity(row: Row[Any], by_part: Mapping[int, Sequence[Row[Any]]]) -> Identity:
    verifiable = [to_verifiable_address(each) for each in by_part[_VERIFIABLE]]
    return to_identity(row, verifiable, [to_recovery_address(each) for each in by_part[_RECOVERY]], {})


def _statement(chosen: ColumnElement[bool]) -> CompoundSelect[Any]:
    """Return the statement for the session that a condition chooses."""
    to_verify, to_recover, devices = verifiable_addresses.c, recovery_addresses.c, session_devices.c
    whole = sessions.join(identities, identities.c.id == sessions.c.identity_id)
    own_devices = sessions.join(session_devices, devices.session_id == sessions.c.id)
    own_verifiable = sessions.join(verifiable_addresses, to_verify.identity_id == sessions.c.identity_id)
    own_recovery = sessions.join(recovery_addresses, to_recover.identity_id == sessions.c.identity_id)
    return union_all(
        _part(_SESSION, {"session_id": sessions.c.id, **_of(sessions, _OF_SESSION), **_of(identities)}, whole, chosen),
        _part(_DEVICE, _of(session_devices), own_devices, chosen),
        _part(_VERIFIABLE, _of(verifiable_addresses), own_verifiable, chosen),
        _part(_RECOVERY, _of(recovery_addresses), own_recovery, chosen),
    ).order_by("part", "position", "id")


def _of(table: Any, names: Sequence[str] | None = None) -> Mapping[str, ColumnElement[Any]]:
    return {column.name: column for column in table.c if names is None or column.name in names}


def _part(part: int, given: Mapping[str, ColumnElement[Any]], source: Any, chosen: ColumnElement[bool]) -> Select[Any]:
    """Return one part of the statement: its columns in the place of their names, and NULL in the other places."""
    columns = [
        given[name].label(name) if name in given else cast(null(), kind).label(name) for name, kind in _COLUMNS.items()
    ]
    return select(literal_column(str(part), Integer).label("part"), *columns).select_from(source).where(chosen)


_OF_SESSION: Final = (
    "store",
    "active",
    "aal",
    "authentication_methods",
    "authenticated_at",
    "issued_at",
    "expires_at",
)
_COLUMNS: Final[Mapping[str, TypeEngine[Any]]] = {
    "session_id": Id,
    **{name: sessions.c[name].type for name in _OF_SESSION},
    **{column.name: column.type for column in identities.c},
    **{column.name: column.type for column in session_devices.c if column.name != "session_id"},
    **{name: verifiable_addresses.c[name].type for name in ("via", "value", "verified", "status", "verified_at")},
    "position": Integer(),
}
"""The columns of all parts. The name `id` is the identity's, the device's or the address's."""

_BY_TOKEN: Final = _statement(sessions.c.token_hash == bindparam("token_hash", type_=LargeBinary))
_BY_ID: Final = _statement(sessions.c.id == bindparam("session_id", type_=Id))
