"""Factors: the types with a usable secret, stored with the identity by every write of a credential."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shopkeeper.app.credential_facts import BUILT, CREDENTIAL_FACTS, NOT_BUILT
from shopkeeper.errors import Refusal
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.facts import CredentialFacts, factors_of
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Credential, Identity
from shopkeeper.storage.database import Database, Unit
from tests.identity.persons import HASH, Given, made, person, stored

TYPES = sorted({*CREDENTIAL_FACTS, "elsewhere"})
Write: TypeAlias = Callable[[Identities, Unit, Identity], Awaitable[object]]

_numbers = itertools.count(1)


def replaced(given_: dict[str, dict[str, Any]], with_email: bool) -> Write:
    async def write(identities: Identities, unit: Unit, identity: Identity) -> object:
        traits = identity.traits if with_email else {"phone": f"+1650253{next(_numbers):04}"}
        new = NewIdentity(
            traits=traits,
            schema_id=identity.schema_id if with_email else "seller",
            credentials=[Given(type_, config) for type_, config in given_.items()],
        )
        return await identities.replace(unit, identity.id, new)

    return write


def changed(given_: dict[str, dict[str, Any] | None]) -> Write:
    async def write(identities: Identities, unit: Unit, identity: Identity) -> object:
        changes = {type_: None if config is None else Given(type_, config) for type_, config in given_.items()}
        return await identities.change_credentials(unit, identity, changes, actor="self", client_ip=None)

    return write


def removed(type_: str) -> Write:
    async def write(identities: Identities, unit: Unit, identity: Identity) -> object:
        return await identities.delete_credential(unit, identity.id, type_)

    return write


def effect(type_: str, config: dict[str, Any]) -> Write:
    async def write(identities: Identities, unit: Unit, identity: Identity) -> object:
        return await identities.set_credential_config(unit, identity.id, type_, config)

    return write


def patched(tier: int) -> Write:
    async def write(identities: Identities, unit: Unit, identity: Identity) -> object:
        operation = {"op": "add", "path": "/metadata_public", "value": {"tier": tier}}
        return await identities.patch(unit, identity.id, [operation])

    return write


types = st.sampled_from(TYPES)
configs = st.sampled_from([{}, {"secret": 1}, {"secret": 2}])
writes = st.one_of(
    st.builds(replaced, st.dictionaries(types, configs, max_size=3), st.booleans()),
    st.builds(changed, st.dictionaries(types, st.none() | configs, max_size=3)),
    st.builds(removed, types),
    st.builds(effect, types, configs),
    st.builds(patched, st.integers(0, 3)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(types, configs, max_size=3), st.lists(writes, max_size=6))
async def test_factors_follow_the_credentials_through_any_sequence_of_writes(
    database: Database, identities: Identities, created: dict[str, dict[str, Any]], sequence: list[Write]
) -> None:
    credentials = [Given(type_, config) for type_, config in created.items()]
    new = person(f"p{next(_numbers)}@example.org", credentials=credentials)
    identity = await made(database, identities, new)
    assert identity.factors == factors_of(CREDENTIAL_FACTS, identity.credentials)
    for write in sequence:
        answer = await _written(database, identities, identity, write)
        identity = await stored(database, identities, identity.id)
        assert identity.factors == factors_of(CREDENTIAL_FACTS, identity.credentials)
        if isinstance(answer, Identity):
            assert answer.factors == identity.factors


async def _written(database: Database, identities: Identities, identity: Identity, write: Write) -> object:
    try:
        async with database.unit() as unit:
            return await write(identities, unit, identity)
    except Refusal:  # the last way to sign in, or a type that cannot be removed
        return None


async def test_factors_are_known_without_reading_credentials(database: Database, identities: Identities) -> None:
    given_ = [Given("password", HASH), Given("totp", {"totp_url": "otpauth://totp/x"})]
    identity = await made(database, identities, person(credentials=given_))
    async with database.unit() as unit:
        read = await identities.require(unit, identity.id)
    assert (read.credentials, read.factors) == ({}, {"code", "password", "totp"})


async def test_factors_of_a_simulated_identity_are_those_of_a_real_one(
    database: Database, identities: Identities
) -> None:
    new = person(credentials=[Given("password", HASH), Given("totp", {"totp_url": "otpauth://totp/x"})])
    async with database.unit() as unit:
        simulated = await identities.simulate(unit, new)
    assert simulated.factors == (await made(database, identities, new)).factors == {"code", "password", "totp"}


async def test_a_method_decides_what_is_usable(
    database: Database, identities: Identities, schemas: Any, clock: Any
) -> None:
    def has_keys(credential: Credential) -> bool:
        return bool(credential.config.get("credentials"))

    facts = {"webauthn": CredentialFacts("webauthn", from_traits=True, usable=has_keys)}
    service = Identities(schemas, facts=facts, clock=clock)
    identity = await made(database, service, person(credentials=[Given("webauthn", {"user_handle": "x"})]))
    assert identity.factors == frozenset()
    async with database.unit() as unit:
        await service.set_credential_config(unit, identity.id, "webauthn", {"credentials": [{"id": "x"}]})
    assert (await stored(database, service, identity.id)).factors == {"webauthn"}


class TestTheTableOfFacts:
    def test_has_an_entry_for_each_type_once(self) -> None:
        """A type whose method is built is described by its method only."""
        assert len(CREDENTIAL_FACTS) == len(BUILT) + len(NOT_BUILT)

    @pytest.mark.parametrize("type_", ["lookup_secret", "oidc", "totp"])
    def test_seals_what_can_be_used_as_it_is(self, type_: str) -> None:
        assert CREDENTIAL_FACTS[type_].sealed

    @pytest.mark.parametrize(
        ("fact", "types_"),
        [
            ("first_factor", {"code", "oidc", "passkey", "password"}),
            ("removable", {"lookup_secret", "oidc", "passkey", "password", "totp", "webauthn"}),
            ("from_traits", {"code", "password", "webauthn"}),
        ],
    )
    def test_says_what_kratos_does(self, fact: str, types_: set[str]) -> None:
        assert {facts.type for facts in CREDENTIAL_FACTS.values() if getattr(facts, fact)} == types_
