"""Elevating a session: the id stays, a proof is added, and browsers get a new token."""

import asyncio

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import IdentityDisabled, SessionInactive, TokenInvalid
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.sessions.elevation import ElevatedSession
from shopkeeper.sessions.refresh import IssuedSession
from shopkeeper.sessions.values import AuthenticationMethod
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database
from tests.conftest import NOW
from tests.sessions.conftest import (
    CLIENT,
    LIFESPAN,
    Process,
    Undone,
    answers,
    audited,
    change,
    process,
    sign_in,
    undo,
)

TOTP = {"method": "totp", "aal": Aal.AAL2}
PASSWORD = AuthenticationMethod("password", Aal.AAL1, NOW)


@pytest.fixture
def cache(clock: StoppedClock) -> Cache:
    return MemoryCache(clock)


@pytest.fixture
async def started(database: Database, one: Process, ada: Identity) -> IssuedSession:
    return await sign_in(database, one.sessions, ada)


async def elevate(
    database: Database, one: Process, started: IssuedSession, *, new_token: bool = True, **proof: object
) -> ElevatedSession:
    given = {**TOTP, **proof}
    elevated: ElevatedSession = await change(
        database, one.sessions.elevate, started.session, client=CLIENT, new_token=new_token, **given
    )
    return elevated


class TestProofs:
    async def test_are_added_to_the_same_session(
        self, database: Database, one: Process, started: IssuedSession, clock: StoppedClock
    ) -> None:
        clock.advance(minutes=5)
        elevated = (await elevate(database, one, started)).session
        assert elevated.id == started.session.id
        assert elevated.aal is Aal.AAL2
        assert elevated.authentication_methods == (PASSWORD, AuthenticationMethod("totp", Aal.AAL2, clock.now()))
        assert (elevated.authenticated_at, elevated.issued_at) == (clock.now(), NOW)
        assert elevated.expires_at == NOW + LIFESPAN
        async with database.unit() as unit:
            assert await one.sessions.get(unit, started.session.id) == elevated

    async def test_given_again_take_the_place_of_the_earlier_one(
        self, database: Database, one: Process, started: IssuedSession, clock: StoppedClock
    ) -> None:
        await elevate(database, one, started)
        clock.advance(minutes=5)
        again = (await elevate(database, one, started, method="password", aal=Aal.AAL1)).session
        assert again.aal is Aal.AAL2
        assert [(each.method, each.completed_at) for each in again.authentication_methods] == [
            ("totp", NOW),
            ("password", clock.now()),
        ]
        assert again.authenticated_at == clock.now()

    async def test_keep_their_providers_apart(self, database: Database, one: Process, started: IssuedSession) -> None:
        for provider in ("one", "other"):
            await elevate(database, one, started, method="oidc", aal=Aal.AAL1, provider=provider)
        async with database.unit() as unit:
            kept = await one.sessions.require(unit, started.session.id)
        assert [(each.method, each.provider) for each in kept.authentication_methods] == [
            ("password", None),
            ("oidc", "one"),
            ("oidc", "other"),
        ]

    async def test_a_proof_shows_its_amr_to_clients(self, database: Database, one: Process, ada: Identity) -> None:
        async with database.unit() as unit:
            recovered = await one.sessions.start(
                unit, ada, method="code", aal=Aal.AAL1, client=CLIENT, store=None, amr="code_recovery"
            )
        assert [each.method for each in recovered.session.authentication_methods] == ["code_recovery"]

    async def test_of_two_proofs_at_once_neither_is_lost(
        self, database: Database, one: Process, started: IssuedSession
    ) -> None:
        await asyncio.gather(
            *(elevate(database, one, started, method=name, new_token=False) for name in ("totp", "webauthn", "lookup"))
        )
        async with database.unit() as unit:
            kept = await one.sessions.require(unit, started.session.id)
        assert {each.method for each in kept.authentication_methods} == {"password", "totp", "webauthn", "lookup"}

    async def test_an_elevation_is_audited(
        self, database: Database, one: Process, started: IssuedSession, clock: StoppedClock
    ) -> None:
        await elevate(database, one, started)
        [event] = await audited(database, clock, action="session.elevated")
        assert event.details == {"session": str(started.session.id), "method": "totp", "aal": "aal2"}
        assert started.token not in repr(event)


class TestTokens:
    async def test_a_browsers_token_is_replaced_and_the_old_one_is_refused_at_once(
        self, database: Database, cache: Cache, one: Process, started: IssuedSession, clock: StoppedClock
    ) -> None:
        other = process(database, cache, clock)
        await other.sessions.listen()
        assert await answers(other.sessions, [started.token]) == [True]
        elevated = await elevate(database, one, started)
        assert elevated.token is not None
        await asyncio.sleep(0.01)
        for each in (one, other):
            assert await answers(each.sessions, [started.token, elevated.token]) == [False, True]
        with pytest.raises(TokenInvalid):
            await one.sessions.refresh(started.token, store="fruit")
        assert await answers(one.sessions, [elevated.token]) == [True]
        await other.sessions.close()

    async def test_an_apps_token_stays_and_shows_the_new_level(
        self, database: Database, one: Process, started: IssuedSession
    ) -> None:
        assert await answers(one.sessions, [started.token]) == [True]
        elevated = await elevate(database, one, started, new_token=False)
        assert elevated.token is None
        cached = await one.sessions.resolve(started.token)
        assert cached is not None
        assert cached.session == elevated.session

    async def test_a_token_that_was_refreshed_before_is_no_longer_accepted(
        self, database: Database, one: Process, started: IssuedSession
    ) -> None:
        """A replaced token answers for the session within its replay window, but not after an elevation."""
        second = await one.sessions.refresh(started.token, store="fruit")
        assert await answers(one.sessions, [started.token, second.token]) == [True, True]
        elevated = await elevate(database, one, started)
        assert await answers(one.sessions, [started.token, second.token]) == [False, False]
        for token in (started.token, second.token):
            with pytest.raises(TokenInvalid):
                await one.sessions.refresh(token, store="fruit")
        assert elevated.token is not None
        assert await answers(one.sessions, [elevated.token]) == [True]

    async def test_a_token_that_was_refreshed_before_is_still_known_as_reused(
        self, database: Database, one: Process, started: IssuedSession, clock: StoppedClock
    ) -> None:
        await one.sessions.refresh(started.token, store="fruit")
        elevated = await elevate(database, one, started)
        clock.advance(seconds=11)
        with pytest.raises(TokenInvalid):
            await one.sessions.refresh(started.token, store="fruit")
        assert elevated.token is not None
        assert await answers(one.sessions, [elevated.token]) == [False]

    async def test_tokens_are_refreshed_after_an_elevation_as_before(
        self, database: Database, one: Process, started: IssuedSession
    ) -> None:
        elevated = await elevate(database, one, started)
        assert elevated.token is not None
        third = await one.sessions.refresh(elevated.token, store="fruit")
        assert third.session.aal is Aal.AAL2
        assert await answers(one.sessions, [started.token, elevated.token, third.token]) == [False, True, True]

    async def test_a_unit_that_rolls_back_leaves_the_token_unchanged(
        self, database: Database, one: Process, started: IssuedSession
    ) -> None:
        with pytest.raises(Undone) as undone:
            await undo(database, one.sessions.elevate, started.session, client=CLIENT, new_token=True, **TOTP)
        assert await answers(one.sessions, [started.token, undone.value.given.token]) == [True, False]
        cached = await one.sessions.resolve(started.token)
        assert cached is not None
        assert cached.session.aal is Aal.AAL1


class TestRefused:
    async def test_a_session_that_has_ended_is_not_elevated(
        self, database: Database, one: Process, started: IssuedSession, clock: StoppedClock
    ) -> None:
        await change(database, one.sessions.revoke, started.session.id, by="self")
        with pytest.raises(SessionInactive):
            await elevate(database, one, started)

    async def test_a_session_that_has_expired_is_not_elevated(
        self, database: Database, one: Process, started: IssuedSession, clock: StoppedClock
    ) -> None:
        clock.advance(seconds=LIFESPAN.total_seconds())
        with pytest.raises(SessionInactive):
            await elevate(database, one, started)

    async def test_a_session_that_was_deleted_is_not_elevated(
        self, database: Database, one: Process, started: IssuedSession
    ) -> None:
        await change(database, one.sessions.delete_for, started.session.identity.id)
        with pytest.raises(SessionInactive):
            await elevate(database, one, started)

    async def test_a_session_of_a_disabled_account_is_not_elevated(
        self, database: Database, one: Process, started: IssuedSession
    ) -> None:
        off = [{"op": "replace", "path": "/state", "value": "inactive"}]
        await change(database, one.identities.patch, started.session.identity.id, off)
        with pytest.raises(IdentityDisabled):
            await elevate(database, one, started)
