"""Groups under concurrent changes, and what they cost."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import Conflict, InvalidInput, NotFound
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.group_names import group_name_of, is_group_name, readable
from shopkeeper.identity.group_store import list_groups
from shopkeeper.identity.groups import Groups, NewGroup
from shopkeeper.identity.memberships import GivenGroups
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Identity
from shopkeeper.storage.database import Database


@pytest.fixture
def groups(identities: Identities, clock: StoppedClock) -> Groups:
    return Groups(identities, clock=clock)


async def made(database: Database, identities: Identities, number: int, names: Sequence[str]) -> Identity:
    new = NewIdentity(traits={"email": f"g{number}@example.org"}, groups=GivenGroups(names))
    async with database.unit() as unit:
        return await identities.create(unit, new)


async def test_identities_that_are_made_at_once_share_their_new_groups(
    database: Database, identities: Identities
) -> None:
    names = [f"group-{n}" for n in range(6)]
    orders = [names, names[::-1], names[3:] + names[:3], names[::2] + names[1::2]]
    found = await asyncio.gather(*(made(database, identities, n, order) for n, order in enumerate(orders)))
    assert {each.groups for each in found} == {tuple(names)}
    async with database.reading() as unit:
        rows = await list_groups(unit, name=None, external_id=None, after=None, limit=100)
    assert sorted(each.name for each in rows) == names


async def test_members_change_from_both_sides_at_once(
    database: Database, identities: Identities, groups: Groups
) -> None:
    """One side locks a group's members, the other an identity's groups: neither waits for the other forever."""
    everyone = [await made(database, identities, n, ["aa", "bb"]) for n in range(4)]
    async with database.reading() as unit:
        ids = [each.id for each in await list_groups(unit, name=None, external_id=None, after=None, limit=10)]

    async def by_group(group_id: UUID) -> None:
        async with database.unit() as unit:
            await groups.change_members(unit, group_id, remove=[each.id for each in everyone])

    async def by_identity(identity: Identity) -> None:
        async with database.unit() as unit:
            locked = await identities.lock(unit, identity.id)
            await identities.give_groups(unit, locked, GivenGroups(["aa", "bb", "cc"]))

    await asyncio.gather(*map(by_group, ids), *map(by_identity, everyone))
    async with database.reading() as unit:
        for each in everyone:
            assert "cc" in (await identities.require(unit, each.id)).groups


async def test_a_large_group_is_left_in_steps_and_then_deleted(
    database: Database, identities: Identities, groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shopkeeper.identity.groups.MOST_AT_ONCE", 2)
    members = [await made(database, identities, n, ["aa"]) for n in range(5)]
    async with database.unit() as unit:
        [group] = await list_groups(unit, name="aa", external_id=None, after=None, limit=1)
    left, done = [], False
    while not done:
        async with database.unit() as unit:
            done = await groups.delete_some(unit, group.id)
        async with database.reading() as unit:
            found = [await identities.require(unit, each.id) for each in members]
            left.append(sum(bool(each.groups) for each in found))
    assert left == [3, 1, 0, 0]
    async with database.unit() as unit:
        with pytest.raises(NotFound):
            await groups.require(unit, group.id)


async def test_groups_that_stay_are_written_no_more(database: Database, identities: Identities) -> None:
    identity = await made(database, identities, 1, ["aa", "bb"])
    seen: list[str] = []
    with database.observed(seen.append):
        async with database.unit() as unit:
            locked = await identities.lock(unit, identity.id)
            same = await identities.give_groups(unit, locked, GivenGroups(["BB", "aa"]))
    assert (same.version, same.groups) == (1, ("aa", "bb"))
    assert not [each for each in seen if each.lstrip().startswith(("INSERT", "UPDATE", "DELETE", "WITH"))]


async def test_identities_with_their_groups_are_one_query(database: Database, identities: Identities) -> None:
    members = [await made(database, identities, n, [f"group-{m}" for m in range(n)]) for n in range(4)]
    seen: list[str] = []
    with database.observed(seen.append):
        async with database.reading() as unit:
            found = await identities.get_many(unit, [each.id for each in members])
    assert [len(found[each.id].groups) for each in members] == [0, 1, 2, 3]
    assert len(seen) == 1


async def test_a_provider_fills_no_table_and_an_operator_is_told(
    database: Database, identities: Identities, groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = await made(database, identities, 1, ["aa"])
    monkeypatch.setattr("shopkeeper.identity.group_store.MOST_IN_ALL", 2)
    async with database.unit() as unit:
        locked = await identities.lock(unit, identity.id)
        given = GivenGroups(["aa", "new-1", "new-2"], "provider:idp")
        assert (await identities.give_groups(unit, locked, given)).groups == ("aa",)
    with pytest.raises(InvalidInput):
        await made(database, identities, 2, ["new-1", "new-2"])
    async with database.unit() as unit:
        await groups.create(unit, NewGroup("bb"))
    with pytest.raises(InvalidInput):
        async with database.unit() as unit:
            await groups.create(unit, NewGroup("cc"))
    monkeypatch.undo()
    with pytest.raises(Conflict):
        async with database.unit() as unit:
            await groups.create(unit, NewGroup("BB"))


class TestNames:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("wholesale", "wholesale"),
            ("Wholesale", "wholesale"),
            ("  VIP_1 ", "vip_1"),
            ("3F2504E0-4F89-11D3-9A0C-0305E82C3301", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"),
        ],
    )
    def test_a_name_is_lowered(self, text: str, name: str) -> None:
        assert group_name_of(text) == name

    @pytest.mark.parametrize(
        "text",
        ["Shop Admins", "/shop/admins", "a", "Ärzte", "管理者", "…", "x" * 200, "kios\u212a", "a" * 128 + "!"],
    )
    def test_what_is_no_name_becomes_one_of_its_own(self, text: str) -> None:
        assert is_group_name(group_name_of(text))
        assert group_name_of(text) != group_name_of(f"{text}x")

    def test_different_texts_are_never_one_group(self) -> None:
        texts = ["shop admins", "shop-admins", "shop/admins", "/shop/admins", "shop  admins", "shop.admins"]
        assert len({group_name_of(text) for text in texts}) == len(texts)
        assert group_name_of("kios\u212a") != "kiosk"

    @pytest.mark.parametrize("text", ["", " ", "a\x00", "a\nb", "\ud800", "x" * 257, "\u202eadmin"])
    def test_unreadable_texts(self, text: str) -> None:
        assert not readable(text)
