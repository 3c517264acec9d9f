"""The tables of known devices and of the links that end a session, with all their queries."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Moment, metadata

known_devices = Table(
    "known_devices",
    metadata,
    Column("identity_id", Id, ForeignKey("identities.id", ondelete="CASCADE"), primary_key=True),
    Column("feature", String(64), primary_key=True),
    Column("first_seen_at", Moment, nullable=False),
    Column("last_seen_at", Moment, nullable=False),
    Index(None, "last_seen_at"),
)
device_notices = Table(
    "device_notices",
    metadata,
    Column("token_digest", LargeBinary(32), primary_key=True),
    Column("identity_id", Id, ForeignKey("identities.id", ondelete="CASCADE"), nullable=False),
    Column("session_id", Id, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("used_at", Moment),
    Index(None, "expires_at"),
    Index(None, "identity_id", "created_at"),
)
_INSERT: Final[Mapping[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


@dataclass(frozen=True, slots=True)
class Notice:
    """A mail about a sign-in, and the session that its link ends."""

    identity_id: UUID
    session_id: UUID


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of an identity when it signs in.

    Args:
        new: whether a feature of the sign-in is new for the identity.
        earlier: whether the identity had signed in before.
        told: how many notices it got lately.
    """

    new: bool
    earlier: bool
    told: int


async def see(
    unit: Unit, identity_id: UUID, features: Collection[str], *, now: datetime, told_since: datetime
) -> Sighting:
    """Record the features of a sign-in, and return what was known before, in one statement."""
    rows = [
        {"identity_id": identity_id, "feature": feature, "first_seen_at": now, "last_seen_at": now}
        for feature in sorted(features)
    ]
    seeing: Any = _INSERT[unit.dialect](known_devices).values(rows)
    seeing = seeing.on_conflict_do_update(
        index_elements=["identity_id", "feature"], set_={"last_seen_at": seeing.excluded.last_seen_at}
    )
    # The statement changes no `first_seen_at` that is before now, so it does not matter whether this sees its changes.
    before, own = known_devices.alias("before"), device_notices.c
    earlier = exists().where(before.c.identity_id == identity_id, before.c.first_seen_at < now)
    told = select(func.count()).where(own.identity_id == identity_id, own.created_at > told_since).scalar_subquery()
    seen = await unit.write(
        seeing.returning(known_devices.c.first_seen_at, earlier.label("earlier"), told.label("told"))
    )
    found = seen.all()
    new = any(row.first_seen_at == now for row in found)
    return Sighting(new, any(row.earlier for row in found), max(row.told for row in found))


async def add_notice(unit: Unit, notice: Notice, *, token_digest: bytes, now: datetime, expires_at: datetime) -> None:
    """Record a notice under the digest of its link's token."""
    times = {"created_at": now, "expires_at": expires_at}
    owner = {"identity_id": notice.identity_id, "session_id": notice.session_id}
    await unit.write(insert(device_notices).values(token_digest=token_digest, **owner, **times))


async def find_notice(unit: Unit, token_digest: bytes, *, now: datetime) -> Notice | None:
    """Return the notice of a link that can be used."""
    row = await unit.first(select(device_notices).where(*_usable(token_digest, now)))
    return Notice(row.identity_id, row.session_id) if row else None


async def use_notice(unit: Unit, token_digest: bytes, *, now: datetime) -> Notice | None:
    """Use a link up, and return its notice; None where it cannot be used any more."""
    using = update(device_notices).where(*_usable(token_digest, now)).values(used_at=now).returning(device_notices)
    row = (await unit.write(using)).first()
    return Notice(row.identity_id, row.session_id) if row else None


async def purge_devices(unit: Unit, before: datetime, batch: int) -> int:
    """Forget what was last seen before a moment, at most `batch`; return how many."""
    keys = known_devices.c.identity_id, known_devices.c.feature
    old = await unit.all(
        select(*keys).where(known_devices.c.last_seen_at < before).order_by(known_devices.c.last_seen_at).limit(batch)
    )
    for row in old:
        await unit.write(delete(known_devices).where(keys[0] == row.identity_id, keys[1] == row.feature))
    return len(old)


async def purge_notices(unit: Unit, before: datetime, batch: int) -> int:
    """Delete notices whose links expired before a moment, at most `batch`; return how many."""
    expired = device_notices.c.expires_at < before
    old = [
        row.token_digest for row in await unit.all(select(device_notices.c.token_digest).where(expired).limit(batch))
    ]
    if old:
        await unit.write(delete(device_notices).where(device_notices.c.token_digest.in_(old)))
    return len(old)


def _usable(token_digest: bytes, now: datetime) -> tuple[Any, ...]:
    own = device_notices.c
    return own.token_digest == token_digest, own.used_at.is_(None), own.expires_at > now
