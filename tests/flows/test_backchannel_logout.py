"""Logout tokens of a provider, in front of several processes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.steps import UpstreamSession
from shopkeeper.crypto import KeyRing
from shopkeeper.flows import backchannel_logout
from shopkeeper.flows.backchannel_logout import BackchannelLogout
from shopkeeper.http_client import GuardedClient
from shopkeeper.identity.values import Identity
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.sessions.refresh import IssuedSession
from shopkeeper.signin import provider_session_store
from shopkeeper.signin.provider_sessions import PURPOSE, ProviderSessions
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache, CacheDown
from shopkeeper.storage.database import Database
from shopkeeper.throttle import Throttle
from shopkeeper.tokens import received_token_store
from shopkeeper.tokens.received_token_store import received_tokens
from tests.openid.scripted import DROP, ScriptedProvider, signed
from tests.services.web import serving
from tests.sessions.conftest import CLIENT, SECRETS, Process, change, enrol, process, refuses, sign_in


@pytest.fixture
async def idp(clock: StoppedClock) -> AsyncIterator[ScriptedProvider]:
    async with serving("127.0.0.1") as server, GuardedClient(private_allowed=True) as http:
        yield ScriptedProvider(server, http, clock)


@pytest.fixture
async def ada(database: Database, clock: StoppedClock) -> Identity:
    return await enrol(database, clock)


@pytest.fixture
async def two(database: Database, cache: Cache, clock: StoppedClock) -> AsyncIterator[list[Process]]:
    """Two processes that cache sessions and listen to each other."""
    both = [process(database, cache, clock, forget=provider_session_store.forget) for _ in range(2)]
    for each in both:
        await each.sessions.listen()
    yield both
    for each in both:
        await each.sessions.close()


def logout_of(one: Process, database: Database, idp: ScriptedProvider, clock: StoppedClock) -> BackchannelLogout:
    throttle = Throttle(
        MemoryCache(clock),
        spare=MemoryCache(clock),
        down=CacheDown,
        clock=clock,
        key=b"a key of thirty-two bytes, no less",
        name="provider_logout",
        failures=5,
        block=timedelta(minutes=1),
        block_max=timedelta(minutes=15),
        per_ip="600/minute",
    )
    return BackchannelLogout(
        {"idp": idp.client()},
        database=database,
        sessions=one.sessions,
        provider_sessions=provider_sessions(clock),
        throttle=throttle,
    )


def provider_sessions(clock: StoppedClock) -> ProviderSessions:
    return ProviderSessions(keys=KeyRing(SECRETS, purpose=PURPOSE), clock=clock)


async def begin(
    database: Database, one: Process, idp: ScriptedProvider, owner: Identity, clock: StoppedClock, **named: Any
) -> IssuedSession:
    """Start a session that began at the provider."""
    started = await sign_in(database, one.sessions, owner)
    upstream = UpstreamSession("idp", idp.issuer, "alice", **{"sid": "s1", **named})
    await change(database, provider_sessions(clock).remember, started.session.id, upstream)
    return started


async def test_another_process_refuses_the_session_as_well(
    database: Database, two: list[Process], idp: ScriptedProvider, ada: Identity, clock: StoppedClock
) -> None:
    here, there = two
    started = await begin(database, here, idp, ada, clock)
    assert await there.sessions.resolve(started.token) is not None
    token = signed(idp.logout_claims(), typ="logout+jwt")
    assert await logout_of(here, database, idp, clock).end("idp", token, client=CLIENT) == 1
    await refuses(there, started.token)


async def test_of_two_that_get_a_token_at_once_one_takes_it(
    database: Database, two: list[Process], idp: ScriptedProvider, ada: Identity, clock: StoppedClock
) -> None:
    await begin(database, two[0], idp, ada, clock)
    token = signed(idp.logout_claims(), typ="logout+jwt")
    ends = [logout_of(each, database, idp, clock).end("idp", token, client=CLIENT) for each in two]
    came = await asyncio.gather(*ends, return_exceptions=True)
    assert [each for each in came if each == 1] == [1]
    [refused] = [each for each in came if each != 1]
    assert isinstance(refused, ProviderTokenInvalid)
    assert refused.cause == "received_before"


@pytest.mark.parametrize("lifetime", [timedelta(minutes=2), timedelta(days=4_000), None])
async def test_a_token_is_remembered_while_it_is_valid_and_no_longer(
    database: Database, two: list[Process], idp: ScriptedProvider, clock: StoppedClock, lifetime: timedelta | None
) -> None:
    ends = DROP if lifetime is None else int((clock.now() + lifetime).timestamp())
    token = signed(idp.logout_claims(exp=ends), typ="logout+jwt")
    logout = logout_of(two[0], database, idp, clock)
    await logout.end("idp", token, client=CLIENT)
    refused: list[str] = []
    for _ in range(14):
        await change(database, received_token_store.purge, clock.now(), 100)
        with pytest.raises(ProviderTokenInvalid) as refusal:
            await logout.end("idp", token, client=CLIENT)
        refused.append(refusal.value.cause)
        clock.advance(minutes=1)
    assert refused[0] == "received_before"
    assert refused[-1] in {"expired", "too_old"}
    await change(database, received_token_store.purge, clock.now(), 100)
    async with database.reading() as unit:
        assert await unit.all(select(received_tokens)) == []


async def test_a_person_with_more_sessions_than_end_at_once_loses_all(
    database: Database,
    two: list[Process],
    idp: ScriptedProvider,
    ada: Identity,
    clock: StoppedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backchannel_logout, "BATCH", 2)
    started = [await begin(database, two[0], idp, ada, clock, sid=f"s{number}") for number in range(5)]
    token = signed(idp.logout_claims(sid=DROP), typ="logout+jwt")
    assert await logout_of(two[0], database, idp, clock).end("idp", token, client=CLIENT) == 5
    assert [await two[0].sessions.resolve(each.token) for each in started] == [None] * 5


async def test_what_an_ended_session_has_left_behind_does_not_keep_the_others_from_ending(
    database: Database,
    cache: Cache,
    two: list[Process],
    idp: ScriptedProvider,
    ada: Identity,
    clock: StoppedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backchannel_logout, "BATCH", 2)
    here = two[0].sessions
    started = [await begin(database, two[0], idp, ada, clock, sid=f"s{number}") for number in range(5)]
    leaves_them = process(database, cache, clock).sessions
    for each in started[:3]:
        await change(database, leaves_them.revoke, each.session.id, by="admin")
    token = signed(idp.logout_claims(sid=DROP), typ="logout+jwt")
    async with asyncio.timeout(20):
        assert await logout_of(two[0], database, idp, clock).end("idp", token, client=CLIENT) == 2
    assert [await here.resolve(each.token) for each in started[3:]] == [None] * 2
