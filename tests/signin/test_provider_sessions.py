"""Provider sessions: stored with ours, found by what a provider names, and gone with ours."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.steps import UpstreamSession
from shopkeeper.crypto import KeyRing
from shopkeeper.errors import TokenInvalid
from shopkeeper.identity.values import Identity
from shopkeeper.openid.authenticated import LONGEST_HINT, OneUse
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.sessions import store as rows
from shopkeeper.sessions.ending import ChosenSessions
from shopkeeper.sessions.lifetimes import Lifetimes
from shopkeeper.signin import provider_session_store as store
from shopkeeper.signin.provider_session_store import provider_sessions
from shopkeeper.signin.provider_sessions import PURPOSE, ProviderSessions
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.database import Database
from tests.sessions.conftest import SECRETS, WINDOW, Process, change, enrol, process, sign_in

ISSUER = "https://provider.example"
ID_TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
UPSTREAM = UpstreamSession("test", ISSUER, "ada", sid="provider-session-1", id_token=ID_TOKEN)
MANY = 100


@pytest.fixture
async def one(database: Database, clock: StoppedClock) -> Process:
    return process(database, MemoryCache(clock), clock, forget=store.forget)


@pytest.fixture
async def ada(database: Database, clock: StoppedClock) -> Identity:
    return await enrol(database, clock)


@pytest.fixture
def kept(clock: StoppedClock) -> ProviderSessions:
    return ProviderSessions(keys=KeyRing(SECRETS, purpose=PURPOSE), clock=clock, keeps_id_tokens_of=["test"])


async def test_sessions_are_found_by_sid_and_by_subject(
    database: Database, one: Process, ada: Identity, kept: ProviderSessions
) -> None:
    first, second = [(await sign_in(database, one.sessions, ada)).session for _ in range(2)]
    await change(database, kept.remember, first.id, UPSTREAM)
    await change(database, kept.remember, second.id, replace(UPSTREAM, sid="provider-session-2"))

    async def found(provider: str = "test", issuer: str = ISSUER, **by: str | None) -> set[object]:
        names = {"subject": None, "sid": None, **by}
        return set(await change(database, kept.find, provider, issuer=issuer, limit=MANY, **names))

    assert await found(sid="provider-session-1") == {first.id}
    assert await found(subject="ada", sid="provider-session-2") == {second.id}
    assert await found(subject="ada") == {first.id, second.id}
    assert await found(subject="eve", sid="provider-session-1") == set()
    assert await found(subject="ada", provider="other") == set()
    assert await found(subject="ada", issuer="https://other.example") == set()
    # The boundary between issuer and subject counts.
    assert await found(subject="e/ada", issuer="https://provider.exampl") == set()


async def test_a_session_that_began_without_sid_is_found_by_its_subject_also_where_a_sid_is_named(
    database: Database, one: Process, ada: Identity, kept: ProviderSessions
) -> None:
    known, unknown, other, stranger = [(await sign_in(database, one.sessions, ada)).session for _ in range(4)]
    await change(database, kept.remember, known.id, UPSTREAM)
    await change(database, kept.remember, unknown.id, replace(UPSTREAM, sid=None))
    await change(database, kept.remember, other.id, replace(UPSTREAM, sid="provider-session-2"))
    await change(database, kept.remember, stranger.id, replace(UPSTREAM, subject="eve", sid=None))

    async def found(subject: str | None, sid: str | None) -> set[object]:
        return set(await change(database, kept.find, "test", issuer=ISSUER, limit=MANY, subject=subject, sid=sid))

    assert await found("ada", "provider-session-1") == {known.id, unknown.id}
    assert await found("ada", "provider-session-9") == {unknown.id}
    assert await found(None, "provider-session-1") == {known.id}


async def test_confirming_a_session_at_the_provider_replaces_what_it_began_with(
    database: Database, one: Process, ada: Identity, kept: ProviderSessions
) -> None:
    session = (await sign_in(database, one.sessions, ada)).session
    await change(database, kept.remember, session.id, UPSTREAM)
    await change(database, kept.remember, session.id, replace(UPSTREAM, sid="later", id_token="a.b.c"))
    assert await change(database, kept.find, "test", issuer=ISSUER, subject=None, sid=UPSTREAM.sid, limit=MANY) == []
    (ended,) = await change(database, kept.of, [session.id])
    assert (ended.id_token, ended.issuer) == ("a.b.c", ISSUER)


async def test_of_several_providers_the_last_one_comes_first(
    database: Database, one: Process, ada: Identity, kept: ProviderSessions, clock: StoppedClock
) -> None:
    session = (await sign_in(database, one.sessions, ada)).session
    await change(database, kept.remember, session.id, UPSTREAM)
    clock.advance(seconds=1)
    await change(database, kept.remember, session.id, replace(UPSTREAM, provider="other"))
    ended = await change(database, kept.of, [session.id])
    assert [(each.provider, each.id_token) for each in ended] == [("other", None), ("test", ID_TOKEN)]


async def test_of_two_sessions_at_one_provider_the_last_one_counts_and_both_tokens_are_spent(
    database: Database, one: Process, ada: Identity, kept: ProviderSessions, clock: StoppedClock
) -> None:
    session = (await sign_in(database, one.sessions, ada)).session
    linked, proof = (
        replace(UPSTREAM, id_token=f"a.b.{name}", one_use=OneUse(name.encode() * 32, clock.now() + timedelta(hours=1)))
        for name in ("l", "p")
    )
    await change(database, kept.remember, session.id, linked, proof, proof)
    assert [each.id_token for each in await change(database, kept.of, [session.id])] == ["a.b.p"]
    for spent in (linked, proof):
        with pytest.raises(ProviderTokenInvalid):
            await change(database, kept.remember, session.id, spent)


async def test_an_id_token_is_sealed_for_its_session_and_bounded(
    database: Database, one: Process, ada: Identity, kept: ProviderSessions, clock: StoppedClock
) -> None:
    session = (await sign_in(database, one.sessions, ada)).session
    await change(database, kept.remember, session.id, UPSTREAM)
    async with database.reading() as unit:
        (row,) = await unit.all(select(provider_sessions))
    for clear in (ID_TOKEN, "ada", "provider-session-1"):
        assert clear.encode() not in b"".join(part for part in row if isinstance(part, bytes))
    other_secret = ProviderSessions(keys=KeyRing(["another"], purpose=PURPOSE), clock=clock)
    assert [each.id_token for each in await change(database, other_secret.of, [session.id])] == [None]
    longest = "x" * LONGEST_HINT
    for token, hint in ((longest, longest), (f"{longest}x", None)):
        await change(database, kept.remember, session.id, replace(UPSTREAM, id_token=token))
        assert [each.id_token for each in await change(database, kept.of, [session.id])] == [hint]


async def test_a_deleted_session_takes_its_provider_session_along(
    database: Database, one: Process, kept: ProviderSessions, clock: StoppedClock
) -> None:
    owner = await enrol(database, clock)
    session = (await sign_in(database, one.sessions, owner)).session
    await change(database, kept.remember, session.id, UPSTREAM)
    await change(database, rows.remove, rows.of_identity(owner.id))
    async with database.reading() as unit:
        assert await unit.all(select(provider_sessions)) == []


@pytest.mark.parametrize("way", ["one", "token", "others", "all", "many", "replaced", "surplus", "reused"])
async def test_a_session_that_ends_in_any_way_takes_its_provider_session_along(
    database: Database, kept: ProviderSessions, clock: StoppedClock, ada: Identity, way: str
) -> None:
    most = Lifetimes(timedelta(hours=24), most=2)
    here = process(database, MemoryCache(clock), clock, forget=store.forget, lifetimes=most).sessions
    started, other = [await sign_in(database, here, ada) for _ in range(2)]
    for each in (started, other):
        await change(database, kept.remember, each.session.id, UPSTREAM)

    async def reuse() -> None:
        await here.refresh(started.token, store="fruit")
        clock.advance(seconds=WINDOW.total_seconds())
        with pytest.raises(TokenInvalid):
            await here.refresh(started.token, store="fruit")

    ends: Mapping[str, Callable[[], Awaitable[Any]]] = {
        "one": lambda: change(database, here.revoke, started.session.id, by="admin"),
        "token": lambda: change(database, here.revoke_token, started.token),
        "others": lambda: change(database, here.revoke_others, other.session),
        "all": lambda: change(database, here.revoke_all, ada.id, by="admin"),
        "many": lambda: change(
            database, here.end_many, ChosenSessions(sessions=[started.session.id]), delete=False, by="admin"
        ),
        "replaced": lambda: sign_in(database, here, ada, replacing=started.session),
        "surplus": lambda: sign_in(database, here, ada),
        "reused": reuse,
    }
    await ends[way]()
    left = [] if way == "all" else [other.session.id]
    async with database.reading() as unit:
        assert [row.session_id for row in await unit.all(select(provider_sessions))] == left
