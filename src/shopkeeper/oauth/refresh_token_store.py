"""The table of the refresh tokens of services, and its queries. Only digests of tokens are stored."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    Column,
    ForeignKey,
    LargeBinary,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Moment, metadata

MOST_ROUNDS: Final = 100
"""How often a family's tokens are deleted until none is left: more than a family may be refreshed in a minute."""

oauth_refresh_tokens = Table(
    "oauth_refresh_tokens",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("family", Id, nullable=False, index=True),
    Column("client_id", String(128), nullable=False),
    # What is exchanged from a session ends with it.
    Column("session_id", Id, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("audience", String(256), nullable=False),
    Column("scope", Text, nullable=False),
    Column("expires_at", Moment, nullable=False, index=True),
    Column("replaced_at", Moment, nullable=True),
    Column("successor", LargeBinary, nullable=True),
)


@dataclass(frozen=True, slots=True)
class StoredRefreshToken:
    """A refresh token as it is stored.

    Args:
        family: the tokens that followed each other; the id is in the lineage of their access tokens.
        expires_at: when the family ends, however often it is refreshed.
        replaced_at: when it was replaced; None while it is the newest of its family.
        successor: the token that replaced it, sealed with a key that only this token yields.
    """

    token_hash: bytes
    family: UUID
    client_id: str
    session_id: UUID
    audience: str
    scope: str
    expires_at: datetime
    replaced_at: datetime | None = None
    successor: bytes | None = None


class SessionDeleted(Exception):
    """Raised where the session of a refresh token was deleted meanwhile. The unit has to be rolled back."""


async def add(unit: Unit, token: StoredRefreshToken) -> None:
    """Store a token. Raises `SessionDeleted`.

    This locks the session's row against deletion. Where a unit writes other rows of this table too, it comes first: a
    deletion of the session locks in that order.
    """
    try:
        await unit.write(_ADD, [{name: getattr(token, name) for name in _NAMES}])
    except IntegrityError as error:  # the only constraint that can break: the hashes are of random tokens
        raise SessionDeleted from error


async def get(unit: Unit, token_hash: bytes) -> StoredRefreshToken | None:
    """Return the token with a hash, or None."""
    row = await unit.first(_GET, {"of_token": token_hash})
    return StoredRefreshToken(**{name: getattr(row, name) for name in _NAMES}) if row else None


async def replace(unit: Unit, token_hash: bytes, *, at: datetime, successor: bytes) -> bool:
    """Note that a token was replaced; return whether that was the first time. Of concurrent calls one returns True."""
    return bool((await unit.write(_REPLACE, {"of_token": token_hash, "at": at, "by": successor})).rowcount)


async def remove_family(unit: Unit, family: UUID) -> bool:
    """Delete every token of a family; return whether there were any.

    A deletion does not see the successor that another transaction adds while it waits for that one's lock: it is
    repeated until nothing is left.
    """
    removing = delete(oauth_refresh_tokens).where(oauth_refresh_tokens.c.family == family)
    found = False
    for _ in range(MOST_ROUNDS):
        if not (await unit.write(removing)).rowcount:
            break
        found = True
    return found


async def purge(unit: Unit, before: datetime, batch: int) -> int:
    """Delete at most `batch` tokens whose families ended before a moment; return how many."""
    old = (
        select(oauth_refresh_tokens.c.token_hash)
        .where(oauth_refresh_tokens.c.expires_at < before)
        .order_by(oauth_refresh_tokens.c.expires_at)
        .limit(batch)
    )
    return (await unit.write(delete(oauth_refresh_tokens).where(oauth_refresh_tokens.c.token_hash.in_(old)))).rowcount


_NAMES = tuple(column.name for column in oauth_refresh_tokens.c)
_ADD = insert(oauth_refresh_tokens)
_GET = select(oauth_refresh_tokens).where(oauth_refresh_tokens.c.token_hash == bindparam("of_token", type_=LargeBinary))
_REPLACE = (
    update(oauth_refresh_tokens)
    .where(
        oauth_refresh_tokens.c.token_hash == bindparam("of_token", type_=LargeBinary),
        oauth_refresh_tokens.c.replaced_at.is_(None),
    )
    .values(replaced_at=bindparam("at", type_=Moment), successor=bindparam("by", type_=LargeBinary))
)
