"""Identities on real databases: created, changed, found, deleted; and what is refused."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import BadRequest, Conflict, InvalidInput, NotFound
from shopkeeper.identity.builder import AddressInput, NewIdentity
from shopkeeper.identity.reader import MOST_ON_A_PAGE
from shopkeeper.identity.schema import InvalidTraits, Schemas
from shopkeeper.identity.search import IdentitySearch
from shopkeeper.identity.service import Identities
from shopkeeper.identity.store import credentials
from shopkeeper.identity.unique_names import UniqueNames, lookup_key
from shopkeeper.identity.values import AddressStatus, Identity, State, Via
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Database
from tests.identity.conftest import Revoked, Told, Trail, identities_of
from tests.identity.persons import ADA, BOB, HASH, Given, made, person, stored


async def patched(database: Database, identities: Identities, identity_id: UUID, *operations: Any) -> Identity:
    async with database.unit() as unit:
        return await identities.patch(unit, identity_id, operations)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """Collect every statement that reaches the database."""
    statements: list[str] = []

    def note(statement: str) -> None:
        if not statement.startswith("BEGIN"):
            statements.append(statement)

    with database.observed(note):
        yield statements


def versions(identity: Identity) -> dict[str, int]:
    return {type_: credential.version for type_, credential in identity.credentials.items()}


class TestCreate:
    async def test_derives_credentials_and_addresses_from_the_traits(
        self, database: Database, identities: Identities, clock: StoppedClock
    ) -> None:
        identity = await made(database, identities, person("Ada@Example.org"))
        assert (identity.schema_id, identity.state) == ("default", State.ACTIVE)
        assert identity.traits == {"email": "Ada@Example.org"}
        assert {type_: one.identifiers for type_, one in identity.credentials.items()} == {
            "code": (ADA,),
            "password": (ADA,),
            "webauthn": (ADA,),
        }
        assert identity.credentials["code"].config == {"addresses": [{"channel": "email", "address": ADA}]}
        [verifiable], [recovery] = identity.verifiable_addresses, identity.recovery_addresses
        assert (verifiable.value, verifiable.via, verifiable.verified) == (ADA, Via.EMAIL, False)
        assert (verifiable.status, verifiable.verified_at) == (AddressStatus.PENDING, None)
        assert (recovery.value, recovery.via) == (ADA, Via.EMAIL)
        assert identity.created_at == identity.updated_at == identity.state_changed_at == clock.now()

    async def test_versions_are_those_that_kratos_answers(self, database: Database, identities: Identities) -> None:
        identity = await made(database, identities, person())
        assert versions(identity) == {"code": 1, "password": 0, "webauthn": 0}
        again = await stored(database, identities, identity.id)
        assert versions(again) == {"code": 1, "password": 0, "webauthn": 1}

    async def test_what_is_read_is_what_was_created(self, database: Database, identities: Identities) -> None:
        new = NewIdentity(
            id=uuid4(),
            traits={"emails": [BOB, ADA], "phone": "+1 650 253 0000", "username": "Ünal"},
            schema_id="seller",
            state=State.INACTIVE,
            metadata_public={"tier": "gold"},
            metadata_admin=[1, None, "x"],
            external_id="customer 7",
            credentials=[Given("password", HASH), Given("oidc", {"providers": []}, ["idp:7"])],
        )
        identity = await made(database, identities, new)
        again = await stored(database, identities, identity.id)
        upgraded = replace(identity.credentials["webauthn"], version=1)
        assert again == replace(identity, credentials={**identity.credentials, "webauthn": upgraded})
        assert again.credentials["password"].config == HASH
        assert again.credentials["password"].identifiers == (BOB, ADA, "+16502530000", "ünal")
        assert again.credentials["oidc"].identifiers == ("idp:7",)
        assert [address.value for address in again.verifiable_addresses] == [BOB, ADA, "+16502530000"]

    async def test_credentials_are_read_on_request_only(self, database: Database, identities: Identities) -> None:
        identity = await made(database, identities, person())
        async with database.unit() as unit:
            assert (await identities.require(unit, identity.id)).credentials == {}

    async def test_a_verified_address_is_taken_and_a_foreign_one_is_not(
        self, database: Database, identities: Identities, clock: StoppedClock
    ) -> None:
        given = [
            AddressInput("ADA@example.org ", verified=True, status=AddressStatus.COMPLETED),
            AddressInput("victim@example.org", verified=True, status=AddressStatus.COMPLETED),
        ]
        identity = await made(database, identities, person(verifiable_addresses=given))
        [address] = (await stored(database, identities, identity.id)).verifiable_addresses
        assert (address.value, address.verified, address.status) == (ADA, True, AddressStatus.COMPLETED)
        assert address.verified_at == clock.now()
        assert identity.email_verified

    @pytest.mark.parametrize(
        ("told", "status", "verified"),
        [
            (AddressInput(ADA, verified=True), AddressStatus.COMPLETED, True),
            (AddressInput(ADA, status=AddressStatus.COMPLETED), AddressStatus.PENDING, False),
            (AddressInput(ADA, status=AddressStatus.SENT), AddressStatus.SENT, False),
        ],
    )
    async def test_only_a_verified_address_is_completed(
        self, database: Database, identities: Identities, told: AddressInput, status: AddressStatus, verified: bool
    ) -> None:
        [address] = (await made(database, identities, person(verifiable_addresses=[told]))).verifiable_addresses
        assert (address.status, address.verified) == (status, verified)

    @pytest.mark.parametrize(
        ("first", "second"),
        [(ADA, ADA), (ADA, "ADA@EXAMPLE.ORG"), ("ada@straße.de", "ada@XN--strae-oqa.de"), ("bob", "Ｂｏ\u200bｂ")],
        ids=ascii,
    )
    async def test_an_identifier_that_looks_the_same_is_taken(
        self, database: Database, identities: Identities, first: str, second: str
    ) -> None:
        trait = "email" if "@" in first else "username"
        schema_id = "default" if "@" in first else "seller"
        await made(database, identities, NewIdentity(schema_id=schema_id, traits={trait: first}))
        with pytest.raises(Conflict, match="signs in with"):
            await made(database, identities, NewIdentity(schema_id=schema_id, traits={trait: second}))

    async def test_an_address_belongs_to_one_account_across_schemas(
        self, database: Database, identities: Identities
    ) -> None:
        await made(database, identities, person())
        with pytest.raises(Conflict):
            await made(database, identities, NewIdentity(schema_id="seller", traits={"emails": [BOB, ADA]}))
        async with database.unit() as unit:
            assert await identities.find_by_identifier(unit, type="password", identifier=BOB) is None

    @pytest.mark.parametrize(("field_", "says"), [("id", "of this id"), ("external_id", "external id")])
    async def test_ids_are_unique(self, database: Database, identities: Identities, field_: str, says: str) -> None:
        value: Any = uuid4() if field_ == "id" else "customer 7"
        await made(database, identities, person(**{field_: value}))
        with pytest.raises(Conflict, match=says):
            await made(database, identities, person(BOB, **{field_: value}))

    async def test_of_many_created_at_once_one_gets_the_address(
        self, database: Database, identities: Identities
    ) -> None:
        tries = await asyncio.gather(*(made(database, identities, person()) for _ in range(8)), return_exceptions=True)
        assert sorted(type(one).__name__ for one in tries) == ["Conflict"] * 7 + ["Identity"]

    async def test_traits_are_checked(self, database: Database, identities: Identities, trail: Trail) -> None:
        with pytest.raises(InvalidTraits):
            await made(database, identities, person("x"))
        assert trail.entries == []

    @pytest.mark.parametrize(
        "more",
        [
            {"schema_id": "no"},
            {"metadata_public": {"x": "\x00"}},
            {"metadata_admin": ["\ud800"]},
            {"external_id": "x" * 256},
            {"external_id": "\x00"},
            {"credentials": [Given("pass word", {"a": 1})]},
            {"credentials": [Given("x" * 33, {"a": 1})]},
            {"credentials": [Given("oidc", {"a": 1}, ["x" * 321])]},
            {"credentials": [Given("oidc", {"a": 1}, [""])]},
            {"credentials": [Given("oidc", {"a": "\x00"})]},
        ],
        ids=ascii,
    )
    async def test_a_value_that_cannot_be_stored_is_refused(
        self, database: Database, identities: Identities, more: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInput):
            await made(database, identities, person(**more))

    async def test_a_creation_is_audited_with_its_actor(
        self, database: Database, identities: Identities, trail: Trail
    ) -> None:
        async with database.unit() as unit:
            identity = await identities.create(unit, person(), actor="admin:7")
        assert trail.entries == [("identity.created", "admin:7", str(identity.id), {"schema_id": "default"})]


class TestMassAssignment:
    """Security list, rows 51, 62 and 64: what a caller sends beyond its rights has no effect."""

    @pytest.mark.parametrize(
        "smuggled",
        [
            {"role": "admin"},
            {"verified": True},
            {"verifiable_addresses": [{"value": ADA, "verified": True}]},
            {"credentials": {"password": HASH}},
            {"state": "active"},
            {"name": ["Ada"]},
            {"email": {"$ne": 1}},
            {"email": [ADA, BOB]},
        ],
        ids=ascii,
    )
    async def test_traits_that_the_schema_does_not_know_are_refused(
        self, database: Database, identities: Identities, smuggled: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidTraits):
            await made(database, identities, NewIdentity(traits={"email": ADA, **smuggled}))

    async def test_identifiers_that_are_not_in_the_traits_are_ignored(
        self, database: Database, identities: Identities
    ) -> None:
        claims = [Given("password", HASH, [BOB]), Given("code", {"addresses": [{"address": BOB}]}, [BOB])]
        identity = await made(database, identities, person(credentials=claims))
        assert identity.credentials["password"].identifiers == (ADA,)
        assert identity.credentials["code"].config == {"addresses": [{"channel": "email", "address": ADA}]}
        async with database.unit() as unit:
            for type_ in ("password", "code"):
                assert await identities.find_by_identifier(unit, type=type_, identifier=BOB) is None

    async def test_a_patch_of_a_credential_is_refused_whole(self, database: Database, identities: Identities) -> None:
        identity = await made(database, identities, person(credentials=[Given("password", HASH)]))
        before = await stored(database, identities, identity.id)
        theft = {"op": "replace", "path": "/credentials/password/config/hashed_password", "value": "mine"}
        renaming = {"op": "replace", "path": "/traits/email", "value": BOB}
        with pytest.raises(BadRequest):
            await patched(database, identities, identity.id, renaming, theft)
        assert await stored(database, identities, identity.id) == before


class TestRead:
    async def test_an_unknown_identity_is_not_found(self, database: Database, identities: Identities) -> None:
        async with database.unit() as unit:
            assert await identities.get(unit, uuid4()) is None
            with pytest.raises(NotFound):
                await identities.require(unit, uuid4())

    async def test_many_identities_are_read_at_once(self, database: Database, identities: Identities) -> None:
        first, second = [await made(database, identities, person(email)) for email in (ADA, BOB)]
        async with database.unit() as unit:
            found = await identities.get_many(unit, [second.id, uuid4(), first.id])
            assert await identities.get_many(unit, []) == {}
        assert {identity_id: one.email for identity_id, one in found.items()} == {first.id: ADA, second.id: BOB}

    async def test_an_identity_is_read_by_its_external_id(self, database: Database, identities: Identities) -> None:
        identity = await made(database, identities, person(external_id="7"))
        async with database.unit() as unit:
            found = await identities.find_by_external_id(unit, "7")
            assert await identities.find_by_external_id(unit, "\x00") is None
        assert found is not None
        assert found.id == identity.id

    async def test_an_identity_is_read_with_one_query(self, database: Database, identities: Identities) -> None:
        identity = await made(database, identities, person())
        async with database.unit() as unit:
            with counted(database) as statements:
                await identities.get(unit, identity.id)
        assert len(statements) == 1


class TestFind:
    @pytest.mark.parametrize(
        "spelt",
        [ADA, "ADA@EXAMPLE.ORG", " ada@example.org\n", "ａｄａ@example.org", "a\u200bda@example.org"],
        ids=ascii,
    )
    async def test_an_identifier_is_found_in_any_spelling(
        self, database: Database, identities: Identities, spelt: str
    ) -> None:
        identity = await made(database, identities, person(credentials=[Given("password", HASH)]))
        async with database.unit() as unit:
            found = await identities.find_by_identifier(unit, type="password", identifier=spelt)
        assert found is not None
        assert found.id == identity.id
        assert found.credentials["password"].config == HASH

    async def test_a_phone_number_is_found(self, database: Database, identities: Identities) -> None:
        new = NewIdentity(schema_id="seller", traits={"phone": "+16502530000"})
        identity = await made(database, identities, new)
        async with database.unit() as unit:
            found = await identities.find_by_identifier(unit, type="code", identifier="+1 (650) 253-0000")
        assert found is not None
        assert found.id == identity.id

    @pytest.mark.parametrize(
        "spelt",
        [
            "",
            " ",
            "\x00",
            "\ud800",
            "%",
            "ada@example.or_",
            ADA + " " * 400,
            "x" * 1_000_000,
            "ada@example.org\x00.evil",
        ],
        ids=lambda value: ascii(value[:20]),
    )
    async def test_a_malformed_identifier_finds_no_identity(
        self, database: Database, identities: Identities, spelt: str
    ) -> None:
        await made(database, identities, person())
        async with database.unit() as unit:
            assert await identities.find_by_identifier(unit, type="password", identifier=spelt) is None
            search = IdentitySearch(identifier=lookup_key(spelt))
            assert (await identities.list_(unit, search=search))[0] == []

    async def test_an_identifier_is_found_by_its_credential_type_only(
        self, database: Database, identities: Identities
    ) -> None:
        await made(database, identities, NewIdentity(schema_id="seller", traits={"username": "ada"}))
        async with database.unit() as unit:
            assert await identities.find_by_identifier(unit, type="password", identifier="ada") is not None
            assert await identities.find_by_identifier(unit, type="webauthn", identifier="ada") is None

    async def test_a_known_and_an_unknown_identifier_take_the_same_statements(
        self, database: Database, identities: Identities
    ) -> None:
        await made(database, identities, person())
        asked = []
        for email in (ADA, BOB):
            async with database.unit() as unit:
                with counted(database) as statements:
                    await identities.find_by_identifier(unit, type="password", identifier=email)
            asked.append(statements)
        assert asked[0] == asked[1]
        assert len(asked[0]) == 1


class TestOwner:
    @pytest.fixture
    async def people(self, database: Database, identities: Identities) -> tuple[Identity, Identity]:
        """Ada, with an e-mail address, and a seller with a user name and a phone number."""
        seller = NewIdentity(schema_id="seller", traits={"username": "ada", "phone": "+16502530000"})
        return await made(database, identities, person()), await made(database, identities, seller)

    @pytest.mark.parametrize(
        ("identifiers", "addresses", "owner"),
        [
            ([("password", BOB), ("password", f" {ADA.upper()}")], [], 0),
            ([], [(Via.EMAIL, BOB), (Via.EMAIL, ADA)], 0),
            ([("password", "ada")], [(Via.EMAIL, ADA)], 1),
            ([("password", "\x00"), ("password", "x" * 10_000)], [(Via.SMS, ADA), (Via.EMAIL, "\ud800")], None),
            # One name of each pair, and not the other.
            ([("password", BOB), ("webauthn", "ada")], [(Via.EMAIL, "+16502530000"), (Via.SMS, ADA)], None),
            ([], [], None),
        ],
        ids=["identifier", "address", "identifier before address", "malformed", "not crosswise", "nothing"],
    )
    async def test_the_owner_of_identifiers_or_addresses_is_found(
        self,
        database: Database,
        identities: Identities,
        people: tuple[Identity, Identity],
        identifiers: list[tuple[str, str]],
        addresses: list[tuple[Via, str]],
        owner: int | None,
    ) -> None:
        names = UniqueNames.of(identifiers=identifiers, addresses=addresses)
        async with database.reading() as unit:
            with counted(database) as statements:
                found = await identities.find_owner(unit, names)
        assert (found and found.id) == (None if owner is None else people[owner].id)
        assert len(statements) == 1


class TestList:
    async def test_the_list_goes_through_all_identities_in_order(
        self, database: Database, identities: Identities
    ) -> None:
        ids = [(await made(database, identities, person(f"p{number}@example.org"))).id for number in range(7)]
        seen: list[UUID] = []
        after: str | None = None
        for _ in range(4):
            async with database.unit() as unit:
                page, after = await identities.list_(unit, page_size=2, after=after)
            seen += [identity.id for identity in page]
        assert seen == sorted(ids)
        assert after is None

    async def test_the_last_full_page_has_no_next(self, database: Database, identities: Identities) -> None:
        await made(database, identities, person())
        async with database.unit() as unit:
            page, after = await identities.list_(unit, page_size=1)
        assert (len(page), after) == (1, None)

    async def test_the_list_is_filtered_by_identifier_and_by_ids(
        self, database: Database, identities: Identities
    ) -> None:
        first, second = [await made(database, identities, person(email)) for email in (ADA, BOB)]
        async with database.unit() as unit:
            by_identifier, _ = await identities.list_(unit, search=IdentitySearch(identifier=BOB))
            by_ids = await identities.list_by_ids(unit, [first.id, uuid4()])
            none = await identities.list_by_ids(unit, [])
        assert [identity.id for identity in by_identifier] == [second.id]
        assert set(by_identifier[0].credentials) == {"code", "password", "webauthn"}
        assert [identity.id for identity in by_ids] == [first.id]
        assert none == []

    async def test_so_many_ids_are_listed_at_once(self, database: Database, identities: Identities) -> None:
        async with database.unit() as unit:
            with pytest.raises(BadRequest):
                await identities.list_by_ids(unit, [uuid4() for _ in range(MOST_ON_A_PAGE + 1)])

    @pytest.mark.parametrize("size", [-1, 0, 5000])
    async def test_the_list_has_a_limited_page_size(
        self, database: Database, identities: Identities, size: int
    ) -> None:
        await made(database, identities, person())
        async with database.unit() as unit:
            page, _ = await identities.list_(unit, page_size=size)
        assert len(page) == 1

    async def test_a_list_of_more_identities_takes_no_more_queries(
        self, database: Database, identities: Identities
    ) -> None:
        for number in range(12):
            new = NewIdentity(schema_id="seller", traits={"emails": [f"a{number}@x.example", f"b{number}@x.example"]})
            await made(database, identities, new)
        counts = []
        for size in (1, 12):
            async with database.unit() as unit:
                with counted(database) as statements:
                    page, _ = await identities.list_(unit, page_size=size)
            assert len(page) == size
            assert all(len(one.credentials["password"].identifiers) == 2 for one in page)
            counts.append(len(statements))
        assert counts == [2, 2]


class TestReplace:
    async def test_replacing_answers_as_kratos_does(
        self, database: Database, identities: Identities, clock: StoppedClock, trail: Trail, told: Told
    ) -> None:
        new = person(
            metadata_public={"tier": "gold"}, metadata_admin={"note": 1}, credentials=[Given("password", HASH)]
        )
        identity = await made(database, identities, replace(new, traits={"email": ADA, "name": {"first": "Ada"}}))
        clock.advance(hours=1)
        async with database.unit() as unit:
            answer = await identities.replace(unit, identity.id, person(state=State.INACTIVE), actor="admin:7")
        assert answer == await stored(database, identities, identity.id)
        assert (answer.traits, answer.state) == ({"email": ADA}, State.INACTIVE)
        assert (answer.metadata_public, answer.metadata_admin) == (None, None)
        assert (answer.created_at, answer.updated_at) == (identity.created_at, clock.now())
        assert answer.state_changed_at == clock.now()
        assert versions(answer) == {"code": 1, "password": 0, "webauthn": 1}
        assert answer.credentials["password"].config == HASH
        assert answer.verifiable_addresses == identity.verifiable_addresses
        assert answer.recovery_addresses == identity.recovery_addresses
        changed = ["state", "traits", "metadata_public", "metadata_admin"]
        assert trail.entries[-1] == ("identity.updated", "admin:7", str(identity.id), {"changed": changed})
        assert told.ids == [identity.id]

    async def test_a_replacement_without_a_state_keeps_it(
        self, database: Database, identities: Identities, clock: StoppedClock
    ) -> None:
        identity = await made(database, identities, person(state=State.INACTIVE))
        clock.advance(hours=1)
        async with database.unit() as unit:
            answer = await identities.replace(unit, identity.id, person())
        assert (answer.state, answer.state_changed_at) == (State.INACTIVE, identity.state_changed_at)

    async def test_a_new_address_is_unverified_and_the_old_one_is_free(
        self, database: Database, identities: Identities
    ) -> None:
        verified = AddressInput(ADA, verified=True)
        identity = await made(database, identities, person(verifiable_addresses=[verified]))
        async with database.unit() as unit:
            answer = await identities.replace(unit, identity.id, person(BOB))
        [address] = answer.verifiable_addresses
        assert (address.value, address.verified) == (BOB, False)
        assert address.id != identity.verifiable_addresses[0].id
        assert [one.value for one in answer.recovery_addresses] == [BOB]
        assert answer.credentials["password"].identifiers == (BOB,)
        assert answer.credentials["code"].config == {"addresses": [{"channel": "email", "address": BOB}]}
        await made(database, identities, person(ADA))

    async def test_an_unchanged_address_stays_verified_and_keeps_its_row(
        self, database: Database, identities: Identities
    ) -> None:
        verified = [AddressInput("b@x.example", verified=True)]
        new = NewIdentity(
            schema_id="seller", traits={"emails": ["a@x.example", "b@x.example"]}, verifiable_addresses=verified
        )
        identity = await made(database, identities, new)
        moved = NewIdentity(traits={"emails": ["b@x.example", "c@x.example"]})
        async with database.unit() as unit:
            await identities.replace(unit, identity.id, moved)
        again = await stored(database, identities, identity.id)
        assert [(one.value, one.verified) for one in again.verifiable_addresses] == [
            ("b@x.example", True),
            ("c@x.example", False),
        ]
        assert again.verifiable_addresses[0] == identity.verifiable_addresses[1]
        assert again.credentials["password"].identifiers == ("b@x.example", "c@x.example")

    async def test_a_replacement_with_another_identitys_address_is_refused_whole(
        self, database: Database, identities: Identities
    ) -> None:
        await made(database, identities, person(BOB))
        identity = await made(database, identities, person())
        before = await stored(database, identities, identity.id)
        with pytest.raises(Conflict):
            async with database.unit() as unit:
                await identities.replace(unit, identity.id, person(BOB))
        assert await stored(database, identities, identity.id) == before

    async def test_another_schema_derives_identifiers_and_addresses_anew(
        self, database: Database, identities: Identities
    ) -> None:
        identity = await made(database, identities, person(credentials=[Given("password", HASH)]))
        new = NewIdentity(schema_id="seller", traits={"username": "ada"})
        async with database.unit() as unit:
            answer = await identities.replace(unit, identity.id, new)
        assert answer == await stored(database, identities, identity.id)
        assert {type_: one.identifiers for type_, one in answer.credentials.items()} == {"password": ("ada",)}
        assert answer.credentials["password"].config == HASH
        assert (answer.verifiable_addresses, answer.recovery_addresses) == ((), ())

    async def test_a_new_password_comes_in_the_same_change(
        self, database: Database, identities: Identities, clock: StoppedClock
    ) -> None:
        identity = await made(database, identities, person())
        clock.advance(hours=1)
        async with database.unit() as unit:
            await identities.replace(unit, identity.id, person(credentials=[Given("password", HASH)]))
        again = await stored(database, identities, identity.id)
        assert again.credentials["password"].config == HASH
        assert again.credentials["password"].updated_at == again.credentials["password"].set_since == clock.now()
        assert again.credentials["code"].updated_at == identity.created_at

    async def test_another_identifier_sets_no_password(
        self, database: Database, identities: Identities, clock: StoppedClock
    ) -> None:
        identity = await made(database, identities, person(credentials=[Given("password", HASH)]))
        clock.advance(hours=1)
        async with database.unit() as unit:
            await identities.replace(unit, identity.id, person("bea@example.org"))
        again = (await stored(database, identities, identity.id)).credentials["password"]
        assert (again.updated_at, again.set_since) == (clock.now(), identity.created_at)

    async def test_a_password_from_before_that_was_stored_counts_as_set_at_its_last_change(
        self, database: Database, identities: Identities, clock: StoppedClock
    ) -> None:
        identity = await made(database, identities, person(credentials=[Given("password", HASH)]))
        async with database.unit() as unit:
            await unit.write(update(credentials).values(set_at=None))
        for n in range(2):
            clock.advance(hours=1)
            async with database.unit() as unit:
                await identities.replace(unit, identity.id, person(f"bea{n}@example.org"))
            again = (await stored(database, identities, identity.id)).credentials["password"]
            assert again.set_since == identity.created_at

    @pytest.mark.parametrize("new", [NewIdentity(traits={}), person("x"), person(schema_id="no")])
    async def test_a_replacement_is_validated(
        self, database: Database, identities: Identities, new: NewIdentity
    ) -> None:
        identity = await made(database, identities, person())
        with pytest.raises(InvalidInput):
            async with database.unit() as unit:
                await identities.replace(unit, identity.id, new)

    async def test_an_unknown_identity_cannot_be_replaced(self, database: Database, identities: Identities) -> None:
        with pytest.raises(NotFound):
            async with database.unit() as unit:
                await identities.replace(unit, uuid4(), person())


class TestPatch:
    async def test_patching_answers_as_kratos_does(
        self, database: Database, identities: Identities, trail: Trail
    ) -> None:
        new = NewIdentity(traits={"email": ADA, "name": {"first": "I"}}, metadata_public={"tier": "gold"})
        identity = await made(database, identities, new)
        answer = await patched(
            database,
            identities,
            identity.id,
            {"op": "replace", "path": "/traits/name/first", "value": "Iris"},
            {"op": "add", "path": "/metadata_public/x", "value": 1},
        )
        assert answer == await stored(database, identities, identity.id)
        assert answer.traits == {"email": ADA, "name": {"first": "Iris"}}
        assert answer.metadata_public == {"tier": "gold", "x": 1}
        assert answer.verifiable_addresses == identity.verifiable_addresses
        assert versions(answer) == {"code": 1, "password": 0, "webauthn": 1}
        assert trail.entries[-1][3] == {"changed": ["traits", "metadata_public"]}

    async def test_verifies_an_address(self, database: Database, identities: Identities, clock: StoppedClock) -> None:
        identity = await made(database, identities, person())
        clock.advance(hours=1)
        path = "/verifiable_addresses/0"
        answer = await patched(
            database, identities, identity.id, {"op": "replace", "path": f"{path}/verified", "value": True}
        )
        [address] = answer.verifiable_addresses
        assert (address.verified, address.status) == (True, AddressStatus.COMPLETED)
        assert address.verified_at == clock.now()
        assert address.id == identity.verifiable_addresses[0].id
        assert answer == await stored(database, identities, identity.id)
        at = {"op": "replace", "path": f"{path}/verified_at", "value": "2025-01-02T03:04:05Z"}
        [address] = (await patched(database, identities, identity.id, at)).verifiable_addresses
        assert address.verified_at == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)

    async def test_changes_state_and_ids(self, database: Database, identities: Identities, clock: StoppedClock) -> None:
        identity = await made(database, identities, person(external_id="7"))
        clock.advance(hours=1)
        answer = await patched(
            database,
            identities,
            identity.id,
            {"op": "test", "path": "/state", "value": "active"},
            {"op": "replace", "path": "/state", "value": "inactive"},
            {"op": "remove", "path": "/external_id"},
        )
        assert (answer.state, answer.state_changed_at, answer.external_id) == (State.INACTIVE, clock.now(), None)

    @pytest.mark.parametrize(
        "operation",
        [
            {"op": "replace", "path": "/traits/email", "value": 7},
            {"op": "remove", "path": "/traits/email"},
            {"op": "replace", "path": "/traits", "value": [1]},
            {"op": "remove", "path": "/traits"},
            {"op": "add", "path": "/traits/shoe", "value": 42},
            {"op": "replace", "path": "/state", "value": "asleep"},
            {"op": "replace", "path": "/state", "value": ["active"]},
            {"op": "remove", "path": "/state"},
            {"op": "replace", "path": "/schema_id", "value": "no"},
            {"op": "replace", "path": "/schema_id", "value": None},
            {"op": "replace", "path": "/external_id", "value": 7},
            {"op": "add", "path": "/state/x", "value": 1},
            {"op": "add", "path": "/metadata_admin", "value": "\x00"},
            {"op": "test", "path": "/state", "value": "inactive"},
            {"op": "replace", "path": "/verifiable_addresses/0/status", "value": "done"},
            {"op": "replace", "path": "/verifiable_addresses/0/verified", "value": "yes"},
            {"op": "replace", "path": "/verifiable_addresses/0/verified_at", "value": "yesterday"},
            {"op": "replace", "path": "/verifiable_addresses/0/verified_at", "value": "2025-01-02T03:04:05"},
            {"op": "replace", "path": "/verifiable_addresses/0/verified_at", "value": "0001-01-01T00:00:00+14:00"},
            {"op": "replace", "path": "/verifiable_addresses/1/verified", "value": True},
        ],
        ids=ascii,
    )
    async def test_the_result_is_checked(
        self, sqlite_database: Database, identities: Identities, operation: dict[str, Any]
    ) -> None:
        identity = await made(sqlite_database, identities, person())
        before = await stored(sqlite_database, identities, identity.id)
        with pytest.raises(BadRequest):
            await patched(sqlite_database, identities, identity.id, operation)
        assert await stored(sqlite_database, identities, identity.id) == before

    async def test_patches_at_once_do_not_undo_each_other(self, database: Database, identities: Identities) -> None:
        identity = await made(database, identities, person(metadata_public={}))
        additions = [{"op": "add", "path": f"/metadata_public/{number}", "value": number} for number in range(8)]
        await asyncio.gather(*(patched(database, identities, identity.id, one) for one in additions))
        again = await stored(database, identities, identity.id)
        assert again.metadata_public == {str(number): number for number in range(8)}

    async def test_credentials_follow_the_traits(self, database: Database, identities: Identities) -> None:
        """Security list, row 95: no patch leaves an identifier behind."""
        identity = await made(database, identities, person(credentials=[Given("password", HASH)]))
        await patched(database, identities, identity.id, {"op": "replace", "path": "/traits/email", "value": BOB})
        async with database.unit() as unit:
            assert await identities.find_by_identifier(unit, type="password", identifier=ADA) is None
            found = await identities.find_by_identifier(unit, type="password", identifier=BOB)
        assert found is not None
        assert found.credentials["password"].config == HASH


class TestDelete:
    async def test_deletion_removes_everything_of_the_identity(
        self, database: Database, identities: Identities, trail: Trail, told: Told
    ) -> None:
        identity = await made(database, identities, person(credentials=[Given("oidc", {"a": 1}, ["idp:7"])]))
        async with database.unit() as unit:
            await identities.delete(unit, identity.id, actor="admin:7")
        async with database.unit() as unit:
            assert await identities.get(unit, identity.id) is None
        await made(database, identities, person(credentials=[Given("oidc", {"a": 1}, ["idp:7"])]))
        assert trail.entries[1] == ("identity.deleted", "admin:7", str(identity.id), {})
        assert told.ids == [identity.id]

    async def test_an_unknown_identity_cannot_be_deleted(self, database: Database, identities: Identities) -> None:
        with pytest.raises(NotFound):
            async with database.unit() as unit:
                await identities.delete(unit, uuid4())


class TestDeleteCredential:
    async def test_deleting_a_credential_answers_as_kratos_does(
        self, database: Database, identities: Identities, trail: Trail
    ) -> None:
        identity = await made(database, identities, person(credentials=[Given("password", HASH)]))
        for type_ in ("totp", "teapot"):
            with pytest.raises(NotFound):
                await self._delete(database, identities, identity.id, type_)
        await self._delete(database, identities, identity.id, "password")
        assert trail.actions == ["identity.created", "identity.credential_deleted"]
        with pytest.raises(NotFound):
            await self._delete(database, identities, identity.id, "password")

    async def test_the_identifier_of_a_deleted_password_stays_reserved_for_its_owner(
        self, database: Database, identities: Identities
    ) -> None:
        identity = await made(database, identities, person(credentials=[Given("password", HASH)]))
        await self._delete(database, identities, identity.id, "password")
        again = await stored(database, identities, identity.id)
        assert (again.credentials["password"].config, again.credentials["password"].identifiers) == ({}, (ADA,))

    async def test_other_credential_types_are_deleted_whole(self, database: Database, identities: Identities) -> None:
        given = [Given("oidc", {"a": 1}, ["idp:7"]), Given("totp", {"totp_url": "otpauth://totp/x"})]
        identity = await made(database, identities, person(credentials=given))
        await self._delete(database, identities, identity.id, "oidc", identifier="idp:7")
        await self._delete(database, identities, identity.id, "totp")
        assert set((await stored(database, identities, identity.id)).credentials) == {"code", "password", "webauthn"}
        async with database.unit() as unit:
            assert await identities.find_by_identifier(unit, type="oidc", identifier="idp:7") is None

    async def test_the_last_way_to_sign_in_cannot_be_deleted(self, database: Database, identities: Identities) -> None:
        given = [Given("password", HASH), Given("totp", {"totp_url": "otpauth://totp/x"})]
        new = NewIdentity(schema_id="seller", traits={"username": "ada"}, credentials=given)
        identity = await made(database, identities, new)
        with pytest.raises(BadRequest, match="last way"):
            await self._delete(database, identities, identity.id, "password")
        await self._delete(database, identities, identity.id, "totp")

    async def test_codes_cannot_be_deleted_by_themselves(self, database: Database, identities: Identities) -> None:
        identity = await made(database, identities, person(credentials=[Given("password", HASH)]))
        with pytest.raises(BadRequest, match="by itself"):
            await self._delete(database, identities, identity.id, "code")

    async def test_one_of_several_linked_accounts_is_deleted_by_its_identifier(
        self, database: Database, schemas: Schemas, clock: StoppedClock, trail: Trail
    ) -> None:
        void = Revoked()
        identities = identities_of(schemas, clock, on_access_revoked=[void], audit=trail)
        accounts = [{"provider": "idp", "subject": "7"}, {"provider": "other", "subject": "x"}]
        given = [Given("oidc", {"providers": accounts}, ["idp:7", "other:x"])]
        new = NewIdentity(schema_id="seller", traits={"username": "ada"}, credentials=given)
        identity = await made(database, identities, new)
        with pytest.raises(BadRequest, match="identifier"):
            await self._delete(database, identities, identity.id, "oidc")
        with pytest.raises(NotFound):
            await self._delete(database, identities, identity.id, "oidc", identifier="idp:8")
        await self._delete(database, identities, identity.id, "oidc", identifier="idp:7")
        left = (await stored(database, identities, identity.id)).credentials["oidc"]
        assert (left.identifiers, dict(left.config)) == (("other:x",), {"providers": accounts[1:]})
        assert void.calls == [(identity.id, None)]
        assert trail.entries[-1][0::3] == ("identity.credential_deleted", {"type": "oidc"})
        with pytest.raises(BadRequest, match="last way"):
            await self._delete(database, identities, identity.id, "oidc", identifier="other:x")

    @pytest.mark.parametrize("type_", ["password", "totp"])
    async def test_a_thief_is_signed_out_with_the_password_that_is_taken_away(
        self, database: Database, schemas: Schemas, clock: StoppedClock, type_: str
    ) -> None:
        void = Revoked()
        identities = identities_of(schemas, clock, on_access_revoked=[void])
        given = [Given("password", HASH), Given("totp", {"totp_url": "otpauth://totp/x"})]
        identity = await made(database, identities, person(credentials=given))
        await self._delete(database, identities, identity.id, type_)
        assert void.calls == [(identity.id, None)]

    async def test_a_credential_of_an_unknown_identity_cannot_be_deleted(
        self, database: Database, identities: Identities
    ) -> None:
        with pytest.raises(NotFound):
            await self._delete(database, identities, uuid4(), "password")

    async def _delete(
        self,
        database: Database,
        identities: Identities,
        identity_id: UUID,
        type_: str,
        identifier: str | None = None,
    ) -> None:
        async with database.unit() as unit:
            await identities.delete_credential(unit, identity_id, type_, identifier=identifier)


class TestSetCredentialConfig:
    async def test_an_existing_config_is_changed(
        self, database: Database, identities: Identities, clock: StoppedClock, trail: Trail
    ) -> None:
        identity = await made(database, identities, person())
        clock.advance(hours=1)
        async with database.unit() as unit:
            await identities.set_credential_config(unit, identity.id, "password", HASH)
        credential = (await stored(database, identities, identity.id)).credentials["password"]
        assert (credential.config, credential.identifiers, credential.updated_at) == (HASH, (ADA,), clock.now())
        assert credential.created_at == credential.set_since == identity.created_at, "a new hash is no new password"
        assert trail.entries[-1] == ("identity.credential_set", "system", str(identity.id), {"type": "password"})

    async def test_a_missing_credential_is_created(self, database: Database, identities: Identities) -> None:
        identity = await made(database, identities, person())
        async with database.unit() as unit:
            await identities.set_credential_config(unit, identity.id, "totp", {"totp_url": "otpauth://totp/x"})
        credential = (await stored(database, identities, identity.id)).credentials["totp"]
        assert (credential.config, credential.identifiers) == ({"totp_url": "otpauth://totp/x"}, ())

    async def test_a_config_of_an_unknown_identity_cannot_be_set(
        self, database: Database, identities: Identities
    ) -> None:
        with pytest.raises(NotFound):
            async with database.unit() as unit:
                await identities.set_credential_config(unit, uuid4(), "password", HASH)


class TestMarkAddress:
    async def test_an_address_is_marked_as_sent_and_then_as_verified(
        self, database: Database, identities: Identities, clock: StoppedClock, told: Told
    ) -> None:
        identity = await made(database, identities, person())
        address_id = identity.verifiable_addresses[0].id
        for status in (AddressStatus.SENT, AddressStatus.COMPLETED):
            async with database.unit() as unit:
                await identities.mark_address(unit, address_id, status)
            [address] = (await stored(database, identities, identity.id)).verifiable_addresses
            completed = status is AddressStatus.COMPLETED
            assert (address.status, address.verified) == (status, completed)
            assert address.verified_at == (clock.now() if completed else None)
        assert told.ids == [identity.id, identity.id]

    async def test_an_unknown_address_cannot_be_marked(self, database: Database, identities: Identities) -> None:
        with pytest.raises(NotFound):
            async with database.unit() as unit:
                await identities.mark_address(unit, uuid4(), AddressStatus.SENT)


async def test_the_service_works_without_listeners(database: Database, schemas: Schemas, clock: StoppedClock) -> None:
    identities = identities_of(schemas, clock)
    identity = await made(database, identities, person())
    async with database.unit() as unit:
        await identities.delete(unit, identity.id)


async def test_the_audit_event_is_written_with_the_change_and_rolled_back_with_it(
    database: Database, schemas: Schemas, clock: StoppedClock
) -> None:
    audit = Audit(clock, key=bytes(32))
    identities = identities_of(schemas, clock, audit=audit)
    async with database.unit() as unit:
        identity = await identities.create(unit, person(), actor="admin:7", client_ip="192.0.2.7")
    with pytest.raises(ZeroDivisionError):
        await delete_and_fail(database, identities, identity.id)
    async with database.unit() as unit:
        [entry] = await audit.events(unit)
    assert (entry.action, entry.actor, entry.subject) == ("identity.created", "admin:7", str(identity.id))
    assert entry.client == audit.client("192.0.2.7")
    assert (await stored(database, identities, identity.id)).active


async def delete_and_fail(database: Database, identities: Identities, identity_id: UUID) -> None:
    async with database.unit() as unit:
        await identities.delete(unit, identity_id)
        raise ZeroDivisionError
