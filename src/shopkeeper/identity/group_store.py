"""Queries of groups and of their members."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Insert, Row, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from shopkeeper.identity.group_tables import group_members, identity_groups
from shopkeeper.identity.memberships import Membership
from shopkeeper.storage.database import Unit

MOST_IN_ALL: Final = 10_000
"""Groups of the server. Providers must not fill the table with a group for each of their users."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of identities."""

    id: UUID
    name: str
    display_name: str
    external_id: str | None
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Member:
    """An identity in a group, with the sources that say so."""

    identity_id: UUID
    sources: tuple[str, ...]
    created_at: datetime


class Touched(NamedTuple):
    """Groups whose members change."""

    ids: frozenset[UUID]
    now: datetime


def touch_later(unit: Unit, *, before: Iterable[Membership], after: Iterable[Membership], now: datetime) -> None:
    """Raise the version of the groups whose members differ, right before the unit commits: a group may have many
    members, which would otherwise wait for each other longer."""
    touch_groups_later(unit, {each.group_id for each in {*before} ^ {*after}}, now=now)


def touch_groups_later(unit: Unit, ids: Collection[UUID], *, now: datetime) -> None:
    """Raise the version of groups, as `touch_later` does."""
    if ids:
        unit.collect(Touched(frozenset(ids), now), write=_write_touched)


async def _write_touched(unit: Unit, collected: Sequence[Touched]) -> None:
    ids = sorted({each for touched in collected for each in touched.ids})
    chosen = identity_groups.c.id.in_(ids)
    if unit.dialect != "sqlite":  # in one order, so that no two units wait for each other
        # FOR NO KEY UPDATE: the foreign keys of new members hold a share of the row's key, in other units as well.
        in_order = select(identity_groups.c.id).where(chosen).order_by(identity_groups.c.id)
        await unit.all(in_order.with_for_update(key_share=True))
    changed = {"version": identity_groups.c.version + 1, "updated_at": max(touched.now for touched in collected)}
    await unit.write(update(identity_groups).where(chosen).values(changed))


# -- groups ------------------------------------------------------------------------------------------------------------


async def ids_of(unit: Unit, names: Collection[str]) -> dict[str, UUID]:
    """Return the ids of the groups with these names."""
    table = identity_groups.c
    rows = await unit.all(select(table.name, table.id).where(table.name.in_(sorted(names)))) if names else ()
    return {row.name: row.id for row in rows}


async def ensure(unit: Unit, names: Mapping[str, str], *, now: datetime, new_id: Callable[[], UUID]) -> dict[str, UUID]:
    """Return the ids of groups; those that do not exist are made, as long as there is room for more.

    Args:
        names: what people read for each name, in case it is made.
    """
    known = await ids_of(unit, names)
    missing = sorted(names.keys() - known.keys())
    if not missing or await count(unit) + len(missing) > MOST_IN_ALL:
        return known
    # In the order of the names, so that no two units that make the same groups wait for each other.
    rows = [
        {
            "id": new_id(),
            "name": name,
            "display_name": names[name],
            "external_id": None,
            "version": 1,
            "created_at": now,
            "updated_at": now,
        }
        for name in missing
    ]
    await unit.write(_insert_if_new(unit), rows)
    return {**known, **await ids_of(unit, missing)}


def _insert_if_new(unit: Unit) -> Insert:
    if unit.dialect == "sqlite":
        return sqlite.insert(identity_groups).on_conflict_do_nothing(index_elements=["name"])
    return postgresql.insert(identity_groups).on_conflict_do_nothing(index_elements=["name"])


async def count(unit: Unit) -> int:
    """Return how many groups there are; counting stops at `MOST_IN_ALL`."""
    some = select(identity_groups.c.id).limit(MOST_IN_ALL).subquery()
    return int(await unit.scalar(select(func.count()).select_from(some)))


async def insert_group(unit: Unit, group: Group) -> None:
    """Insert a group. Raises `IntegrityError` where its name or external id is taken."""
    await unit.write(insert(identity_groups).values(_row_of(group)))


async def update_group(unit: Unit, group: Group) -> None:
    """Write a group that this unit has locked. Raises `IntegrityError` as `insert_group` does."""
    await unit.write(update(identity_groups).where(identity_groups.c.id == group.id).values(_row_of(group)))


async def delete_group(unit: Unit, group_id: UUID) -> None:
    """Delete a group with its memberships."""
    await unit.write(delete(identity_groups).where(identity_groups.c.id == group_id))


async def get(unit: Unit, group_id: UUID, *, lock: bool = False) -> Group | None:
    """Return a group by its id, or None."""
    query = select(identity_groups).where(identity_groups.c.id == group_id)
    if lock:
        await unit.begin()
        query = query if unit.dialect == "sqlite" else query.with_for_update(key_share=True)
    row = await unit.first(query)
    return _to_group(row) if row is not None else None


async def list_groups(
    unit: Unit, *, name: str | None, external_id: str | None, after: UUID | None, limit: int
) -> list[Group]:
    """Return groups in the order of their ids."""
    table = identity_groups.c
    chosen: list[ColumnElement[bool]] = [] if after is None else [table.id > after]
    chosen += [] if name is None else [table.name == name]
    chosen += [] if external_id is None else [table.external_id == external_id]
    rows = await unit.all(select(identity_groups).where(*chosen).order_by(table.id).limit(limit))
    return [_to_group(row) for row in rows]


# -- members -----------------------------------------------------------------------------------------------------------


async def list_members(unit: Unit, group_id: UUID, *, after: UUID | None, limit: int) -> list[Member]:
    """Return members of a group in the order of their ids."""
    table = group_members.c
    page = select(table.identity_id).where(table.group_id == group_id).distinct().order_by(table.identity_id)
    page = page if after is None else page.where(table.identity_id > after)
    ids = [row.identity_id for row in await unit.all(page.limit(limit))]
    rows = await _rows_of(unit, group_id, ids) if ids else []
    found: dict[UUID, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.identity_id, []).append(row)
    return [
        Member(each, tuple(sorted(row.source for row in found[each])), min(row.created_at for row in found[each]))
        for each in ids
        if each in found
    ]


async def members_among(unit: Unit, group_id: UUID, ids: Collection[UUID]) -> set[UUID]:
    """Return which identities are in a group."""
    return {row.identity_id for row in await _rows_of(unit, group_id, ids)}


async def _rows_of(unit: Unit, group_id: UUID, ids: Collection[UUID]) -> Sequence[Row[Any]]:
    table = group_members.c
    query = select(group_members).where(table.group_id == group_id, table.identity_id.in_(list(ids)))
    return await unit.all(query.order_by(table.identity_id, table.source))


async def most_groups_of(unit: Unit, ids: Collection[UUID]) -> int:
    """Return in how many groups the one of some identities is that is in most."""
    table = group_members.c
    counted = (
        select(func.count(table.group_id.distinct()).label("groups"))
        .where(table.identity_id.in_(list(ids)))
        .group_by(table.identity_id)
        .subquery()
    )
    return int(await unit.scalar(select(func.coalesce(func.max(counted.c.groups), 0))))


async def add_members(unit: Unit, group_id: UUID, ids: Sequence[UUID], *, source: str, now: datetime) -> None:
    """Insert memberships of identities that this unit has locked, and that are not in the group."""
    rows = [{"identity_id": each, "group_id": group_id, "source": source, "created_at": now} for each in ids]
    await unit.write(insert(group_members), rows)


async def remove_members(unit: Unit, group_id: UUID, ids: Collection[UUID]) -> None:
    """Delete the memberships of identities that this unit has locked, of every source."""
    table = group_members.c
    await unit.write(delete(group_members).where(table.group_id == group_id, table.identity_id.in_(list(ids))))


def _row_of(group: Group) -> dict[str, Any]:
    return {
        "id": group.id,
        "name": group.name,
        "display_name": group.display_name,
        "external_id": group.external_id,
        "version": group.version,
        "created_at": group.created_at,
        "updated_at": group.updated_at,
    }


def _to_group(row: Row[Any]) -> Group:
    return Group(row.id, row.name, row.display_name, row.external_id, row.version, row.created_at, row.updated_at)
