"""The table of known devices, with all its queries."""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Column,
    Executable,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    and_,
    bindparam,
    case,
    delete,
    distinct,
    exists,
    func,
    select,
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
    # When a mail told of the sign-in that the feature was new in.
    Column("told_at", Moment),
    Index(None, "last_seen_at"),
)
_INSERT: Final[Mapping[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


async def see(
    unit: Unit,
    identity_id: UUID,
    features: Collection[str],
    *,
    now: datetime,
    may_tell: bool,
    budget: int,
    spent_since: datetime,
) -> bool:
    """Record the features of a sign-in, and return whether the identity is to be told of it, in one statement.

    It is told of a new feature, but not of its first sign-in, nor where it was told of `budget` sign-ins since
    `spent_since`. With `may_tell` False, it is told nothing.
    """
    names = sorted(features)
    told = {"spent_since": spent_since, "budget": budget} if may_tell else {}
    parameters = {"identity": identity_id, "now": now, **told, **{f"feature_{i}": name for i, name in enumerate(names)}}
    seen = (await unit.write(_seeing(unit.dialect, len(names), may_tell=may_tell), parameters)).all()
    return any(row.first_seen_at == now and row.told_at == now for row in seen)


@cache
def _seeing(dialect: str, features: int, *, may_tell: bool) -> Executable:
    """Return the statement for a number of features, built once: an INSERT of several rows is compiled whenever it is
    built anew, which takes longer than executing it.
    """
    identity, now = bindparam("identity", type_=Id), bindparam("now", type_=Moment)
    known, told = known_devices.alias("known"), known_devices.alias("told")
    earlier = exists().where(known.c.identity_id == identity, known.c.first_seen_at < now)
    spent = select(func.count(distinct(told.c.told_at))).where(
        told.c.identity_id == identity, told.c.told_at > bindparam("spent_since", type_=Moment)
    )
    within_budget = spent.scalar_subquery() < bindparam("budget", type_=Integer)
    telling = case((and_(earlier, within_budget), now)) if may_tell else None
    of_each = {"identity_id": identity, "first_seen_at": now, "last_seen_at": now, "told_at": telling}
    rows = [{"feature": bindparam(f"feature_{i}", type_=String(64)), **of_each} for i in range(features)]
    seeing: Any = _INSERT[dialect](known_devices).values(rows)
    seeing = seeing.on_conflict_do_update(
        index_elements=["identity_id", "feature"], set_={"last_seen_at": seeing.excluded.last_seen_at}
    )
    statement: Executable = seeing.returning(known_devices.c.first_seen_at, known_devices.c.told_at)
    return statement


async def purge_devices(unit: Unit, before: datetime, batch: int) -> int:
    """Forget what was last seen before a moment, at most `batch`; return how many."""
    keys = known_devices.c.identity_id, known_devices.c.feature
    old = await unit.all(
        select(*keys).where(known_devices.c.last_seen_at < before).order_by(known_devices.c.last_seen_at).limit(batch)
    )
    for row in old:
        await unit.write(delete(known_devices).where(keys[0] == row.identity_id, keys[1] == row.feature))
    return len(old)
