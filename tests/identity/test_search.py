"""Searching identities: filters combine, pages are complete at any size, and every search walks an index."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.normalise import normalise_prefix
from shopkeeper.identity.search import IdentitySearch
from shopkeeper.identity.service import Identities
from shopkeeper.identity.terms import LONGEST_TERM, MOST_TERMS, term, terms_of
from shopkeeper.identity.values import Identity, State
from shopkeeper.storage.database import Database
from tests.identity.persons import made, person

PEOPLE: Mapping[str, dict[str, Any]] = {
    "ada": {"traits": {"email": "ada@example.org", "name": {"first": "Ada", "last": "Lovelace"}}},
    "adam": {"traits": {"email": "adam@example.org", "name": {"first": "Adam", "last": "Smith"}}},
    "bob": {"traits": {"email": "bob@example.org", "name": {"first": "Ada", "last": "Smith"}}},
    "off": {
        "traits": {"email": "eve@example.org", "name": {"first": "Ada", "last": "Smith"}},
        "state": State.INACTIVE,
    },
    "shop": {"traits": {"emails": ["Adam@shop.example", "adah@shop.example"]}, "schema_id": "seller"},
}


@pytest.fixture
async def people(database: Database, identities: Identities) -> Mapping[str, Identity]:
    return {name: await made(database, identities, NewIdentity(**fields)) for name, fields in PEOPLE.items()}


async def found(database: Database, identities: Identities, search: IdentitySearch, *, size: int) -> list[Any]:
    """Return the ids of every page."""
    seen: list[Any] = []
    after: str | None = None
    for _ in range(20):
        async with database.unit() as unit:
            page, after = await identities.list_(unit, search=search, page_size=size, after=after)
        seen += [identity.id for identity in page]
        if after is None:
            return seen
    raise AssertionError("the pages have no end")


def trait(path: str, value: Any) -> str:
    searched = term(path, value)
    assert searched is not None
    return searched


ADA, SMITH = trait("name.first", "ADA"), trait("name.last", "smith")


@pytest.mark.parametrize("size", [1, 2, 10])
@pytest.mark.parametrize(
    ("search", "names"),
    [
        (IdentitySearch(), ["ada", "adam", "bob", "off", "shop"]),
        (IdentitySearch(state=State.INACTIVE), ["off"]),
        (IdentitySearch(schema_id="seller"), ["shop"]),
        (IdentitySearch(terms=[ADA]), ["ada", "bob", "off"]),
        (IdentitySearch(terms=[ADA, SMITH]), ["bob", "off"]),
        (IdentitySearch(terms=[ADA, SMITH], state=State.ACTIVE), ["bob"]),
        (IdentitySearch(terms=[trait("emails", "adah@shop.example")]), ["shop"]),
        (IdentitySearch(terms=[trait("name.first", "Eve")]), []),
        (IdentitySearch(identifier="ada@example.org"), ["ada"]),
        (IdentitySearch(identifier="ada@example.org", terms=[SMITH]), []),
        (IdentitySearch(prefix="ada"), ["ada", "shop", "adam"]),
        (IdentitySearch(prefix="ada", state=State.ACTIVE), ["ada", "shop", "adam"]),
        (IdentitySearch(prefix="adam"), ["adam", "shop"]),
        (IdentitySearch(prefix="ada", terms=[SMITH]), ["adam"]),
        (IdentitySearch(prefix="ada", identifier="adam@example.org"), ["adam"]),
        (IdentitySearch(prefix="a%"), []),
    ],
)
async def test_filters_combine_and_pages_are_complete(
    database: Database,
    identities: Identities,
    people: Mapping[str, Identity],
    search: IdentitySearch,
    names: list[str],
    size: int,
) -> None:
    wanted = [people[name].id for name in names]
    order = wanted if search.is_by_identifier else sorted(wanted)
    assert await found(database, identities, search, size=size) == order


@pytest.mark.parametrize(
    "search", [IdentitySearch(terms=[ADA, SMITH]), IdentitySearch(prefix="", state=State.INACTIVE)]
)
async def test_what_is_rare_is_found_on_short_pages(
    database: Database,
    identities: Identities,
    people: Mapping[str, Identity],
    search: IdentitySearch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many there are, a page walks a bounded number of them."""
    whole = await found(database, identities, search, size=5)
    monkeypatch.setattr("shopkeeper.identity.search.WALK", 2)
    async with database.unit() as unit:
        page, after = await identities.list_(unit, search=search, page_size=5)
    assert len(page) < len(whole) or not page
    assert after is not None
    assert await found(database, identities, search, size=5) == whole


async def test_a_changed_trait_is_found_by_its_new_value_only(
    database: Database, identities: Identities, people: Mapping[str, Identity]
) -> None:
    operation = {"op": "replace", "path": "/traits/name/first", "value": "Grace"}
    async with database.unit() as unit:
        await identities.patch(unit, people["ada"].id, [operation])
    search = IdentitySearch(terms=[trait("name.first", "grace")])
    assert await found(database, identities, search, size=5) == [people["ada"].id]
    assert people["ada"].id not in await found(database, identities, IdentitySearch(terms=[ADA]), size=5)


async def test_nothing_of_a_deleted_identity_is_left(database: Database, identities: Identities) -> None:
    identity = await made(database, identities, person())
    async with database.unit() as unit:
        await identities.delete(unit, identity.id)
        assert await unit.scalar(text("SELECT count(*) FROM identity_terms")) == 0


class TestTerms:
    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x, max_size=9)))
    def test_are_bounded_and_found_by_what_was_stored(self, value: Any) -> None:
        terms = terms_of({"a": {"b": value}})
        assert len(terms) <= MOST_TERMS
        assert all(len(each) <= LONGEST_TERM for each in terms)
        if isinstance(value, bool | int | str):
            assert terms == {term("a.b", value)} - {None}

    def test_numbers_are_found_by_their_digits(self) -> None:
        assert terms_of({"shoe": 44, "vip": True}) == {term("shoe", "44"), term("vip", "true")}


def test_prefixes_are_spelt_as_identifiers_are() -> None:
    assert [normalise_prefix(each) for each in ("ADA@Ex", "+1 (650)")] == ["ada@ex", "+1650"]
