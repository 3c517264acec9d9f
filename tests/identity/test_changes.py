"""What follows a change: events in the outbox, ended sessions, and the resulting credentials and addresses."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import BadRequest, Conflict, InvalidInput, NotFound
from shopkeeper.identity.builder import AddressInput, NewIdentity
from shopkeeper.identity.schema import Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import AddressStatus, Identity, State, Via
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.outbox import Outbox
from shopkeeper.storage.outbox import outbox as table
from tests.identity.conftest import Revoked, Told, Trail, identities_of
from tests.identity.persons import ADA, BOB, HASH, Given, made, person, stored

OTHER_HASH = {"hashed_password": "$argon2id$v=19$m=32,t=2,p=4$b3RoZXI$MNzk5BtR2vUhrp6qQEjRNw"}
TOTP = {"totp_url": "otpauth://totp/x"}
TOPICS = ("identity.changed", "identity.deleted")


@pytest.fixture
def revoked() -> Revoked:
    return Revoked()


@pytest.fixture
def identities(schemas: Schemas, clock: StoppedClock, trail: Trail, told: Told, revoked: Revoked) -> Identities:
    outbox = Outbox(clock, listeners=dict.fromkeys(TOPICS, ("crm",)))
    return identities_of(schemas, clock, audit=trail, events=outbox, listeners=[told], on_access_revoked=[revoked])


@pytest.fixture
async def ada(database: Database, identities: Identities) -> Identity:
    given = [Given("password", HASH), Given("totp", TOTP)]
    return await made(database, identities, person(credentials=given))


async def events(database: Database) -> list[tuple[str, str, Any]]:
    """Return topic, key and payload of every outbox event, oldest first."""
    async with database.unit() as unit:
        rows = await unit.all(select(table).order_by(table.c.sequence))
    return [(row.topic.partition("/")[0], row.key.partition("/")[2], row.payload) for row in rows]


async def changed(database: Database) -> list[list[str]]:
    return [payload["changed"] for _, _, payload in await events(database)]


class TestEvents:
    async def test_name_the_identity_the_moment_and_what_changed(
        self, database: Database, ada: Identity, clock: StoppedClock
    ) -> None:
        payload = {"identity_id": str(ada.id), "changed": ["created"], "at": clock.now().isoformat()}
        assert await events(database) == [("identity.changed", str(ada.id), payload)]

    async def test_name_every_change(self, database: Database, identities: Identities, ada: Identity) -> None:
        address_id = ada.verifiable_addresses[0].id
        async with database.unit() as unit:
            await identities.replace(unit, ada.id, person(state=State.INACTIVE, metadata_admin={"note": 1}))
            await identities.patch(unit, ada.id, [{"op": "add", "path": "/traits/name", "value": {"first": "Ada"}}])
            await identities.mark_address(unit, address_id, AddressStatus.SENT)
            await identities.mark_verified(unit, ada, [(Via.EMAIL, ADA)])
            await identities.delete_credential(unit, ada.id, "totp")
            changes = {"password": Given("password", OTHER_HASH)}
            await identities.change_credentials(unit, ada, changes, actor="self", client_ip=None)
            await identities.delete(unit, ada.id)
        assert await changed(database) == [
            ["created"],
            ["state", "metadata_admin"],
            ["traits"],
            ["verifiable_addresses"],
            ["verifiable_addresses"],
            ["credentials"],
            ["credentials"],
            ["deleted"],
        ]
        assert [topic for topic, _, _ in await events(database)] == ["identity.changed"] * 7 + ["identity.deleted"]

    async def test_have_no_personal_data(self, database: Database, identities: Identities, ada: Identity) -> None:
        async with database.unit() as unit:
            await identities.replace(unit, ada.id, person(BOB, external_id="customer 7", credentials=[]))
            await identities.delete(unit, ada.id)
        told = await events(database)
        assert len(told) == 3
        assert all(value not in str(told) for value in (ADA, BOB, "customer 7", "argon2id"))
        assert all(set(payload) == {"identity_id", "changed", "at"} for _, _, payload in told)

    async def test_are_not_written_for_effects_or_for_no_change(
        self, database: Database, identities: Identities, ada: Identity, told: Told, revoked: Revoked
    ) -> None:
        async with database.unit() as unit:
            await identities.set_credential_config(unit, ada.id, "password", OTHER_HASH)
            await identities.replace(unit, ada.id, person())
        assert await changed(database) == [["created"]]
        assert revoked.calls == []

    async def test_are_undone_with_the_change(self, database: Database, identities: Identities, ada: Identity) -> None:
        with pytest.raises(ZeroDivisionError):
            await self._delete_and_fail(database, identities, ada.id)
        assert await changed(database) == [["created"]]

    async def test_events_without_a_listener_are_not_written(
        self, database: Database, schemas: Schemas, clock: StoppedClock
    ) -> None:
        outbox = Outbox(clock, listeners=dict.fromkeys(TOPICS, ()))
        await made(database, identities_of(schemas, clock, events=outbox), person())
        assert await events(database) == []

    async def test_a_simulated_identity_writes_no_events(self, database: Database, identities: Identities) -> None:
        async with database.unit() as unit:
            await identities.simulate(unit, person())
        assert await events(database) == []

    async def _delete_and_fail(self, database: Database, identities: Identities, identity_id: UUID) -> None:
        async with database.unit() as unit:
            await identities.delete(unit, identity_id)
            raise ZeroDivisionError


class TestEffects:
    async def test_effects_that_change_the_factors_are_seen_by_cached_sessions(
        self, database: Database, identities: Identities, ada: Identity, told: Told
    ) -> None:
        async with database.unit() as unit:
            await identities.set_credential_config(unit, ada.id, "totp", {**TOTP, "used": 1})
        assert told.ids == []
        async with database.unit() as unit:
            await identities.set_credential_config(unit, ada.id, "totp", {})
        assert told.ids == [ada.id]


class TestChangeCredentials:
    async def test_replaces_adds_and_removes_at_once(
        self, database: Database, identities: Identities, ada: Identity, clock: StoppedClock, trail: Trail
    ) -> None:
        clock.advance(hours=1)
        after = await self._change(
            database,
            identities,
            ada,
            {
                "password": Given("password", OTHER_HASH),
                "oidc": Given("oidc", {"providers": [7]}, ["idp:7"]),
                "totp": None,
            },
        )
        again = await stored(database, identities, ada.id)
        assert after == again
        assert {type_: dict(one.config) for type_, one in again.credentials.items() if type_ != "code"} == {
            "oidc": {"providers": [7]},
            "password": OTHER_HASH,
            "webauthn": {},
        }
        assert again.credentials["oidc"].identifiers == ("idp:7",)
        assert again.credentials["password"].identifiers == (ADA,)
        assert again.factors == {"code", "oidc", "password"}
        assert again.updated_at == again.credentials["password"].updated_at == clock.now()
        told = {"types": ["oidc", "password", "totp"]}
        assert trail.entries[-1] == ("identity.credentials_changed", "self", str(ada.id), told)

    async def test_ends_the_other_sessions_and_spares_the_one_that_did_it(
        self, database: Database, identities: Identities, ada: Identity, revoked: Revoked
    ) -> None:
        session_id = uuid4()
        for changes in ({"password": Given("password", OTHER_HASH)}, {"totp": None}):
            await self._change(database, identities, ada, changes, spare_session=session_id)
        assert revoked.calls == [(ada.id, session_id)] * 2

    async def test_a_change_that_only_adds_ends_no_session(
        self, database: Database, identities: Identities, ada: Identity, revoked: Revoked, told: Told
    ) -> None:
        await self._change(database, identities, ada, {"passkey": Given("passkey", {"credentials": [1]})})
        assert revoked.calls == []
        assert told.ids == [ada.id]

    async def test_a_change_of_nothing_writes_no_event(
        self, database: Database, identities: Identities, ada: Identity, told: Told, trail: Trail
    ) -> None:
        changes = {"password": Given("password", HASH), "passkey": None}
        before = await stored(database, identities, ada.id)
        assert await self._change(database, identities, ada, changes) == before
        assert (told.ids, trail.actions) == ([], ["identity.created"])

    async def test_keeps_an_identifier_from_the_traits_reserved(
        self, database: Database, identities: Identities, ada: Identity
    ) -> None:
        after = await self._change(database, identities, ada, {"password": None})
        assert (dict(after.credentials["password"].config), after.credentials["password"].identifiers) == ({}, (ADA,))

    async def test_takes_no_identifier_that_is_a_trait_of_another(
        self, database: Database, identities: Identities, ada: Identity
    ) -> None:
        claim = {"password": Given("password", OTHER_HASH, [BOB])}
        assert (await self._change(database, identities, ada, claim)).credentials["password"].identifiers == (ADA,)

    async def test_goes_by_what_is_stored_and_not_by_what_the_caller_read(
        self, database: Database, identities: Identities, ada: Identity
    ) -> None:
        async with database.unit() as unit:
            without = await identities.require(unit, ada.id)
        after = await self._change(database, identities, without, {"passkey": Given("passkey", {"credentials": [1]})})
        assert after.factors == {"code", "passkey", "password", "totp"}
        assert (await stored(database, identities, ada.id)).credentials["password"].config == HASH

    async def test_keeps_a_way_to_sign_in(self, database: Database, identities: Identities) -> None:
        given = [Given("password", HASH), Given("totp", TOTP)]
        new = NewIdentity(schema_id="seller", traits={"username": "ada"}, credentials=given)
        identity = await made(database, identities, new)
        with pytest.raises(BadRequest, match="last way"):
            await self._change(database, identities, identity, {"password": None, "totp": None})
        swap = {"password": None, "passkey": Given("passkey", {"credentials": [1]})}
        assert (await self._change(database, identities, identity, swap)).factors == {"passkey", "totp"}

    @pytest.mark.parametrize(
        ("changes", "refusal"),
        [
            ({"pass word": Given("pass word", {"a": 1})}, InvalidInput),
            ({"oidc": Given("oidc", {"a": "\x00"})}, InvalidInput),
            ({"oidc": Given("oidc", {"a": 1}, ["x" * 321])}, InvalidInput),
            ({"oidc": Given("oidc", {"a": 1}, ["idp:bob"])}, Conflict),
        ],
        ids=["type", "config", "identifier", "taken"],
    )
    async def test_refuses_what_cannot_be_stored(
        self, database: Database, identities: Identities, ada: Identity, changes: Any, refusal: type[Exception]
    ) -> None:
        await made(database, identities, person(BOB, credentials=[Given("oidc", {"a": 1}, ["idp:bob"])]))
        before = await stored(database, identities, ada.id)
        with pytest.raises(refusal):
            await self._change(database, identities, ada, changes)
        assert await stored(database, identities, ada.id) == before

    async def test_a_change_of_a_deleted_identity_is_not_found(
        self, database: Database, identities: Identities, ada: Identity
    ) -> None:
        async with database.unit() as unit:
            await identities.delete(unit, ada.id)
        with pytest.raises(NotFound):
            await self._change(database, identities, ada, {"totp": None})

    async def _change(
        self, database: Database, identities: Identities, identity: Identity, changes: Any, **options: Any
    ) -> Identity:
        async with database.unit() as unit:
            return await identities.change_credentials(unit, identity, changes, actor="self", client_ip=None, **options)


class TestMarkVerified:
    async def test_verifies_the_addresses_that_were_proven(
        self, database: Database, identities: Identities, clock: StoppedClock, told: Told, revoked: Revoked
    ) -> None:
        new = NewIdentity(schema_id="seller", traits={"emails": [ADA, BOB], "phone": "+16502530000"})
        identity = await made(database, identities, new)
        clock.advance(hours=1)
        proven = [(Via.EMAIL, "ADA@example.org"), (Via.SMS, "+16502530000"), (Via.EMAIL, "eve@example.org")]
        after = await self._verify(database, identities, identity, proven)
        again = await stored(database, identities, identity.id)
        assert (after.verifiable_addresses, after.factors) == (again.verifiable_addresses, again.factors)
        assert [(one.value, one.verified, one.verified_at) for one in after.verifiable_addresses] == [
            (ADA, True, clock.now()),
            (BOB, False, None),
            ("+16502530000", True, clock.now()),
        ]
        assert after.verifiable_addresses[0].status is AddressStatus.COMPLETED
        assert told.ids == [identity.id]
        assert revoked.calls == []

    async def test_marking_twice_changes_nothing_more(
        self, database: Database, identities: Identities, clock: StoppedClock, ada: Identity, told: Told, trail: Trail
    ) -> None:
        first = await self._verify(database, identities, ada, [(Via.EMAIL, ADA)])
        clock.advance(hours=1)
        assert await self._verify(database, identities, first, [(Via.EMAIL, ADA)]) == first
        assert trail.entries[-1] == ("identity.address_marked", "system", str(ada.id), {"status": "completed"})
        assert (len(trail.entries), told.ids) == (2, [ada.id])

    async def test_marking_an_address_that_was_verified_at_creation_changes_nothing(
        self, database: Database, identities: Identities
    ) -> None:
        verified = AddressInput(ADA, verified=True)
        identity = await made(database, identities, person(verifiable_addresses=[verified]))
        assert identity.email_verified
        assert await self._verify(database, identities, identity, [(Via.EMAIL, ADA)]) == identity
        assert await changed(database) == [["created"]]

    async def test_does_not_mistake_the_way_an_address_is_reached(
        self, database: Database, identities: Identities, ada: Identity
    ) -> None:
        assert await self._verify(database, identities, ada, [(Via.SMS, ADA)]) == ada

    async def _verify(
        self, database: Database, identities: Identities, identity: Identity, proven: Sequence[tuple[Via, str]]
    ) -> Identity:
        async with database.unit() as unit:
            return await identities.mark_verified(unit, identity, proven)


async def test_the_former_name_of_the_lock_still_locks(
    database: Database, identities: Identities, ada: Identity
) -> None:
    async with database.unit() as unit:
        assert await identities.lock(unit, ada.id) == await identities.lock(unit, ada.id)


class TestOrder:
    async def test_events_are_written_after_what_listeners_write(
        self, database: Database, schemas: Schemas, clock: StoppedClock
    ) -> None:
        """Adding an event may wait for other units with its key. All else is written before it, so nothing waits behind
        it."""
        done: list[str] = []

        class Events:
            async def add(self, unit: Unit, topic: str, *, key: str, payload: Any) -> None:
                done.append(topic)

        async def forget(unit: Unit, identity_id: UUID) -> None:
            done.append("forget")

        async def end(unit: Unit, identity_id: UUID, spare: UUID | None) -> None:
            done.append("end sessions")

        identities = identities_of(schemas, clock, events=Events(), on_access_revoked=[end], on_deleted=[forget])
        identity = await made(database, identities, person(credentials=[Given("password", HASH)]))
        async with database.unit() as unit:
            await identities.delete_credential(unit, identity.id, "password")
            await identities.delete(unit, identity.id)
        assert done == ["identity.changed", "end sessions", "identity.changed", "forget", "identity.deleted"]
