"""Reads a session with its identity and its addresses, in one statement.

A process that has the session of a token not in its cache waits for the database once, not three times.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, CompoundSelect, Integer, LargeBinary, Row, bindparam
from sqlalchemy.types import TypeEngine

from shopkeeper.identity.group_tables import MEMBERSHIP_COLUMNS, NAMED_MEMBERS, group_members
from shopkeeper.identity.rows import to_identity, to_recovery_address, to_verifiable_address
from shopkeeper.identity.store import identities, recovery_addresses, verifiable_addresses
from shopkeeper.sessions.store import session_of, sessions
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Unit
from shopkeeper.storage.parts import Part, by_part, columns_of, union_of
from shopkeeper.storage.tables import Id


async def by_token(unit: Unit, token_hash: bytes) -> Session | None:
    """Return the session whose current token has this hash, or None; the session may have ended."""
    return _session(await unit.all(_BY_TOKEN, {"token_hash": token_hash}))


async def by_id(unit: Unit, session_id: UUID) -> Session | None:
    """Return a session by its id, or None where it is unknown."""
    return _session(await unit.all(_BY_ID, {"session_id": session_id}))


def _session(rows: Sequence[Row[Any]]) -> Session | None:
    found, verifiable, recovery, memberships = by_part(rows, count=4)
    if not found:
        return None
    [row] = found
    to_verify, to_recover = map(to_verifiable_address, verifiable), map(to_recovery_address, recovery)
    return session_of(
        row,
        identity=to_identity(row, [*to_verify], [*to_recover], {}, memberships),
    )


def _statement(chosen: ColumnElement[bool]) -> CompoundSelect[Any]:
    """Return the statement for the session that a condition chooses."""
    own, to_verify, to_recover = sessions.c, verifiable_addresses.c, recovery_addresses.c
    of_session = {
        "session_id": own.id,
        "session_locale": own.locale,
        **{name: own[name] for name in _OF_SESSION},
        **columns_of(identities),
    }
    return union_of(
        [
            Part(of_session, sessions.join(identities, identities.c.id == own.identity_id), chosen),
            Part(
                columns_of(verifiable_addresses),
                sessions.join(verifiable_addresses, to_verify.identity_id == own.identity_id),
                chosen,
            ),
            Part(
                columns_of(recovery_addresses),
                sessions.join(recovery_addresses, to_recover.identity_id == own.identity_id),
                chosen,
            ),
            Part(
                _OF_MEMBERSHIP,
                NAMED_MEMBERS.join(sessions, own.identity_id == group_members.c.identity_id),
                chosen,
            ),
        ],
        _COLUMNS,
        order_by=("position", "id"),
    )


_OF_SESSION: Final = (
    "store",
    "active",
    "aal",
    "authentication_methods",
    "authenticated_at",
    "issued_at",
    "expires_at",
    "idle_ends_at",
    "kept",
    "devices",
    "actor",
)
_OF_MEMBERSHIP: Final = {name: column for name, column in MEMBERSHIP_COLUMNS.items() if name != "identity_id"}
_COLUMNS: Final[Mapping[str, TypeEngine[Any]]] = {
    "session_id": Id,
    "session_locale": sessions.c.locale.type,
    **{name: sessions.c[name].type for name in _OF_SESSION},
    **{column.name: column.type for column in identities.c},
    **{name: verifiable_addresses.c[name].type for name in ("via", "value", "verified", "status", "verified_at")},
    "position": Integer(),
    **{name: column.type for name, column in _OF_MEMBERSHIP.items() if name != "created_at"},
}
"""The name `id` is the identity's or the address's."""

_BY_TOKEN: Final = _statement(sessions.c.token_hash == bindparam("token_hash", type_=LargeBinary))
_BY_ID: Final = _statement(sessions.c.id == bindparam("session_id", type_=Id))
