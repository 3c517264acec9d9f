"""Groups of identities: making, changing and deleting them, and their members.

An identity's own changes of its groups are in `service.py` (`Identities.give_groups`).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from shopkeeper.clock import Clock
from shopkeeper.crypto import new_id
from shopkeeper.errors import Conflict, InvalidInput, NotFound
from shopkeeper.identity import group_store as rows
from shopkeeper.identity import store
from shopkeeper.identity.builder import LONGEST_EXTERNAL_ID
from shopkeeper.identity.changes import AuditTrail, Change
from shopkeeper.identity.constraints import uniqueness
from shopkeeper.identity.group_names import LONGEST_GROUP_TEXT, group_name_of, is_group_name, readable
from shopkeeper.identity.group_store import Group, Member
from shopkeeper.identity.memberships import ADMIN, MOST_GROUPS
from shopkeeper.identity.service import GROUPS_CHANGED, Identities, require_version
from shopkeeper.identity.text_limits import unstorable
from shopkeeper.storage.database import Unit, broken_constraint

MOST_AT_ONCE: Final = 500
"""Members that one change adds and removes."""
MOST_ON_A_PAGE: Final = 500
NO_GROUP: Final = "There is no group of this id."


@dataclass(frozen=True, slots=True)
class NewGroup:
    """The input for making or replacing a group.

    Args:
        name: None for the one that follows from what people read.
        display_name: None for the name.
    """

    name: str | None = None
    display_name: str | None = None
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """How many identities have joined a group, and how many have left it."""

    added: int
    removed: int


class Groups:
    """The groups of this server.

    >>> group = await groups.create(unit, NewGroup("wholesale"))  # doctest: +SKIP
    >>> await groups.change_members(unit, group.id, add=[identity.id])  # doctest: +SKIP

    Args:
        identities: publishes what changes of them.
        audit: records changes of groups, if set.
    """

    def __init__(
        self,
        identities: Identities,
        *,
        clock: Clock,
        audit: AuditTrail | None = None,
        ids: Callable[[], UUID] = new_id,
    ) -> None:
        self._identities, self._clock, self._audit, self._ids = identities, clock, audit, ids

    async def create(self, unit: Unit, new: NewGroup, *, actor: str = "system", client_ip: str | None = None) -> Group:
        """Make a group. Raises `InvalidInput`, and `Conflict` where its name or external id is taken."""
        name, display_name = _names(new)
        if await rows.count(unit) >= rows.MOST_IN_ALL:
            raise InvalidInput(f"There are {rows.MOST_IN_ALL} groups; delete some before you make more.")
        now = self._clock.now()
        group = Group(self._ids(), name, display_name, _external_id(new.external_id), 1, now, now)
        with _uniqueness():
            await rows.insert_group(unit, group)
        await self._record(unit, "group.created", group, actor, client_ip)
        return group

    async def require(self, unit: Unit, group_id: UUID) -> Group:
        """Return a group. Raises `NotFound`."""
        return _there(await rows.get(unit, group_id))

    async def list_(
        self,
        unit: Unit,
        *,
        name: str | None = None,
        external_id: str | None = None,
        page_size: int = MOST_ON_A_PAGE,
        after: UUID | None = None,
    ) -> tuple[Sequence[Group], UUID | None]:
        """Return a page of the groups, and where the next one begins, None on the last page."""
        size = min(max(page_size, 1), MOST_ON_A_PAGE)
        found = await rows.list_groups(unit, name=name, external_id=external_id, after=after, limit=size + 1)
        return found[:size], found[size - 1].id if len(found) > size else None

    async def replace(
        self,
        unit: Unit,
        group_id: UUID,
        new: NewGroup,
        *,
        versions: Collection[int] | None = None,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> Group:
        """Give a group other names. Its members stay.

        Raises `NotFound`, `InvalidInput`, `Conflict` where its name or external id is taken, and `PreconditionFailed`
        where it has none of the `versions`.
        """
        before = _there(await rows.get(unit, group_id, lock=True))
        require_version(before.version, versions)
        name, display_name = _names(new)
        external_id, now = _external_id(new.external_id), self._clock.now()
        after = replace(
            before,
            name=name,
            display_name=display_name,
            external_id=external_id,
            version=before.version + 1,
            updated_at=now,
        )
        with _uniqueness():
            await rows.update_group(unit, after)
        if after.name != before.name:  # what is cached about its members has the former name
            await self._identities.drop_all_cached(unit)
        details = {"former_name": before.name} if after.name != before.name else {}
        await self._record(unit, "group.updated", after, actor, client_ip, **details)
        return after

    async def delete_some(
        self,
        unit: Unit,
        group_id: UUID,
        *,
        versions: Collection[int] | None = None,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> bool:
        """Remove members of a group, `MOST_AT_ONCE` at most, or delete it where it has none. Returns whether it is
        deleted; otherwise call it again, in a unit of its own, without `versions`.

        Raises `NotFound`, and `PreconditionFailed` where the group has none of the `versions`.
        """
        group = _there(await rows.get(unit, group_id, lock=versions is not None))
        require_version(group.version, versions)
        members = await rows.list_members(unit, group_id, after=None, limit=MOST_AT_ONCE)
        if members:
            ids = [each.identity_id for each in members]
            await self._remove(unit, group, ids, actor=actor, client_ip=client_ip)
            return False
        await rows.delete_group(unit, group_id)
        await self._record(unit, "group.deleted", group, actor, client_ip)
        return True

    async def list_members(
        self, unit: Unit, group_id: UUID, *, page_size: int = MOST_ON_A_PAGE, after: UUID | None = None
    ) -> tuple[Sequence[Member], UUID | None]:
        """Return a page of the members, and where the next one begins, None on the last page. Raises `NotFound`."""
        await self.require(unit, group_id)
        size = min(max(page_size, 1), MOST_ON_A_PAGE)
        found = await rows.list_members(unit, group_id, after=after, limit=size + 1)
        return found[:size], found[size - 1].identity_id if len(found) > size else None

    async def change_members(
        self,
        unit: Unit,
        group_id: UUID,
        *,
        add: Sequence[UUID] = (),
        remove: Sequence[UUID] = (),
        source: str = ADMIN,
        versions: Collection[int] | None = None,
        actor: str = "system",
        client_ip: str | None = None,
    ) -> MembersChanged:
        """Add and remove members. Those that are in the group already stay as they are; removing one ends what every
        source has given it.

        Raises `NotFound` for an unknown group or an unknown identity to add, `InvalidInput` for too many, and
        `PreconditionFailed` where the group has none of the `versions`. Nothing is changed then.
        """
        if len(add) + len(remove) > MOST_AT_ONCE:
            raise InvalidInput(f"{MOST_AT_ONCE} members are changed at once at most.")
        if {*add} & {*remove}:
            raise InvalidInput("An account is to be added and removed at once.")
        # Identities before groups: all units lock in this order.
        there = await store.lock_ids(unit, {*add, *remove})
        group = _there(await rows.get(unit, group_id, lock=versions is not None))
        require_version(group.version, versions)
        if missing := sorted({*add} - {*there}):
            raise NotFound(message=f"There is no account of the id {missing[0]}.")
        members = await rows.members_among(unit, group_id, there) if there else set()
        joining = [each for each in there if each in {*add} - members]
        leaving = [each for each in there if each in {*remove} & members]
        if joining:
            await self._add(unit, group, joining, source=source, actor=actor, client_ip=client_ip)
        if leaving:
            await self._remove(unit, group, leaving, actor=actor, client_ip=client_ip)
        return MembersChanged(len(joining), len(leaving))

    async def _add(
        self, unit: Unit, group: Group, ids: Sequence[UUID], *, source: str, actor: str, client_ip: str | None
    ) -> None:
        if await rows.most_groups_of(unit, ids) >= MOST_GROUPS:
            raise InvalidInput(f"An account is in {MOST_GROUPS} groups at most.")
        now = self._clock.now()
        with uniqueness():  # the group may be deleted meanwhile
            await rows.add_members(unit, group.id, ids, source=source, now=now)
        details = {"source": source, "added": [group.name], "removed": []}
        await self._changed(unit, group, ids, details=details, actor=actor, client_ip=client_ip)

    async def _remove(
        self, unit: Unit, group: Group, ids: Sequence[UUID], *, actor: str, client_ip: str | None
    ) -> None:
        await store.lock_ids(unit, ids)
        await rows.remove_members(unit, group.id, ids)
        details = {"source": ADMIN, "added": [], "removed": [group.name]}
        await self._changed(unit, group, ids, details=details, actor=actor, client_ip=client_ip)

    async def _changed(
        self,
        unit: Unit,
        group: Group,
        ids: Sequence[UUID],
        *,
        details: Mapping[str, Any],
        actor: str,
        client_ip: str | None,
    ) -> None:
        now = self._clock.now()
        await store.count_changes(unit, ids, now=now)
        rows.touch_groups_later(unit, [group.id], now=now)
        for each in ids:
            change = Change(GROUPS_CHANGED, each, actor, client_ip, changed=["groups"], details=details)
            await self._identities.record_change(unit, change)

    async def _record(
        self, unit: Unit, action: str, group: Group, actor: str, client_ip: str | None, **details: str
    ) -> None:
        if self._audit is not None:
            await self._audit.record(
                unit,
                action,
                outcome="success",
                actor=actor,
                subject=str(group.id),
                client_ip=client_ip,
                details={"name": group.name, **details},
            )


def _names(new: NewGroup) -> tuple[str, str]:
    """Return the name and what people read. Raises `InvalidInput`."""
    for field, text in (("name", new.name), ("display_name", new.display_name)):
        if text is not None and not readable(text):
            raise InvalidInput(f"'{field}' has 1 to {LONGEST_GROUP_TEXT} readable characters.")
    if new.name is not None:
        name = new.name.strip().lower() if new.name.isascii() else ""
        if not is_group_name(name):
            raise InvalidInput("'name' has 2 to 128 characters of a-z, 0-9, - and _; leave it out to have one made.")
        return name, new.display_name or new.name
    if new.display_name is None:
        raise InvalidInput("A group needs a 'name' or a 'display_name'.")
    return group_name_of(new.display_name), new.display_name


def _external_id(given: str | None) -> str | None:
    if given is not None and (len(given) > LONGEST_EXTERNAL_ID or unstorable(given)):
        raise InvalidInput(f"'external_id' has {LONGEST_EXTERNAL_ID} plain characters at most.")
    return given or None


def _there(group: Group | None) -> Group:
    if group is None:
        raise NotFound(message=NO_GROUP)
    return group


@contextmanager
def _uniqueness() -> Iterator[None]:
    """Convert a broken unique constraint into `Conflict`."""
    try:
        yield
    except IntegrityError as error:
        taken = "external id" if "external_id" in broken_constraint(error) else "name"
        raise Conflict(f"Another group has this {taken} already.") from error
