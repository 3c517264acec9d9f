"""A service obtains tokens for itself, for the person of a session, and anew: for one audience, with few scopes."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from joserfc import jws

from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import digest
from shopkeeper.errors import TokenInvalid
from shopkeeper.identity.store import identities
from shopkeeper.identity.values import State
from shopkeeper.jose.keys import PrivateKey
from shopkeeper.jose.sign import sign
from shopkeeper.oauth import refresh_token_store, revoked_token_store
from shopkeeper.oauth.errors import (
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    OAuthRefused,
    UnauthorizedClient,
    UnsupportedGrantType,
    UnsupportedTokenType,
)
from shopkeeper.oauth.grant_types import CLIENT_CREDENTIALS
from shopkeeper.sessions.acting import Agents
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database
from tests.oauth.stage import FAMILY, LIFESPAN, WINDOW, Scopes, Server, server, signing_keys
from tests.sessions.conftest import PATIENCE, act_as, change, enrol, sign_in


@pytest.fixture
def scopes() -> Scopes:
    return Scopes()


@pytest.fixture
async def two(database: Database, clock: StoppedClock, scopes: Scopes) -> AsyncIterator[tuple[Server, Server]]:
    """Two processes that hear each other."""
    cache = MemoryCache(clock)
    both = (
        server(database, cache, clock, scopes=scopes),
        server(database, cache, clock, scopes=scopes),
    )
    for each in both:
        await each.process.sessions.listen()
    yield both
    for each in both:
        await each.process.sessions.close()
    await cache.close()


@pytest.fixture
def one(two: tuple[Server, Server]) -> Server:
    return two[0]


async def signed_in(one: Server, database: Database, clock: StoppedClock, **options: str | None) -> str:
    """Return the token of a new person's session."""
    issued = await sign_in(database, one.process.sessions, await enrol(database, clock), **options)
    return issued.token


class TestClientCredentials:
    """A service asks for itself."""

    async def test_a_service_gets_its_scopes_for_one_audience(self, one: Server) -> None:
        issued = await one.ask(grant_type=CLIENT_CREDENTIALS, audience="stock")
        said = await one.accepts(issued.access_token)
        assert (said.subject, said.client_id, said.audience) == ("orders", "orders", "stock")
        assert said.scope == ("orders:read", "orders:write", "stock:read")
        assert (said.expires_at - said.issued_at, said.session, issued.refresh_token) == (LIFESPAN, None, None)

    async def test_it_may_ask_for_less(self, one: Server) -> None:
        asked = {"scope": "stock:read stock:read", "resource": "search"}
        issued = await one.ask(grant_type=CLIENT_CREDENTIALS, **asked)
        assert (issued.said.scope, issued.said.audience) == (("stock:read",), "search")

    @pytest.mark.parametrize(
        ("parameters", "refusal"),
        [
            ({"scope": "admin", "audience": "stock"}, InvalidScope),
            ({"scope": "orders:read admin", "audience": "stock"}, InvalidScope),
            ({"scope": "orders:read  stock:read", "audience": "stock"}, InvalidScope),
            ({"scope": 'a"b', "audience": "stock"}, InvalidScope),
            ({"scope": " ".join(["stock:read"] * 65), "audience": "stock"}, InvalidScope),
            ({"audience": "mail"}, InvalidTarget),
            ({}, InvalidTarget),
            ({"audience": "stock", "resource": "search"}, InvalidTarget),
        ],
        ids=["other scope", "one other", "two spaces", "quote", "many", "other audience", "no audience", "two"],
    )
    async def test_row_026_it_may_not_ask_for_more(
        self, one: Server, parameters: dict[str, str], refusal: type[OAuthRefused]
    ) -> None:
        with pytest.raises(refusal):
            await one.ask(grant_type=CLIENT_CREDENTIALS, **parameters)

    async def test_a_client_has_the_grants_that_it_was_given(self, one: Server) -> None:
        with pytest.raises(UnauthorizedClient):
            await one.ask("search", grant_type=CLIENT_CREDENTIALS)
        with pytest.raises(UnauthorizedClient):
            await one.refresh("shk_rt_x", "search")
        with pytest.raises(UnsupportedGrantType):
            await one.ask(grant_type="password", username="ada", password="x")
        with pytest.raises(InvalidRequest):
            await one.ask()


class TestExchange:
    """A session becomes a token for one service."""

    async def test_a_session_is_exchanged_for_what_person_and_client_both_may(
        self, one: Server, database: Database, clock: StoppedClock
    ) -> None:
        identity = await enrol(database, clock)
        session = await sign_in(database, one.process.sessions, identity, store="fruit")
        issued = await one.exchange(session.token)
        said = await one.accepts(issued.access_token)
        assert said.scope == ("orders:read", "orders:write")
        assert (said.subject, said.session) == (str(identity.id), session.session.id)
        assert (said.client_id, said.audience, said.stores) == ("orders", "stock", ("fruit",))
        assert (await one.exchange(session.token, scope="orders:read")).said.scope == ("orders:read",)
        with pytest.raises(InvalidScope):
            await one.exchange(session.token, scope="stock:read")
        with pytest.raises(InvalidScope):
            await one.exchange(session.token, scope="admin")
        with pytest.raises(InvalidTarget):
            await one.exchange(session.token, audience="mail")

    async def test_a_token_counts_in_the_store_of_its_session(
        self, one: Server, database: Database, clock: StoppedClock
    ) -> None:
        token = (await one.exchange(await signed_in(one, database, clock, store="fruit"))).access_token
        await one.source.verify(token, "fruit")
        with pytest.raises(TokenInvalid):
            await one.source.verify(token, "tea")

    async def test_a_token_lives_no_longer_than_its_session(
        self, one: Server, database: Database, clock: StoppedClock
    ) -> None:
        session = await sign_in(database, one.process.sessions, await enrol(database, clock))
        clock.advance(hours=23, minutes=55)
        assert (await one.exchange(session.token)).said.expires_at == session.session.expires_at

    async def test_row_018_only_a_session_that_lasts_is_exchanged(
        self, two: tuple[Server, Server], database: Database, clock: StoppedClock
    ) -> None:
        one, _ = two
        token = await signed_in(one, database, clock)
        await one.exchange(token)
        said = jws.extract_compact((await one.exchange(token)).access_token.encode())
        forged = sign(json.loads(said.payload), PrivateKey.generate(), "at+jwt")
        for bad in (forged, forged[:-2], token[:-1], token + "A", token.swapcase(), "", "shk_st_", "a.b.c"):
            with pytest.raises(InvalidRequest):
                await one.exchange(bad)
        issued = await one.exchange(token)
        await one.revoke(issued.access_token)
        with pytest.raises(InvalidRequest):
            await one.exchange(issued.access_token)
        await change(database, one.process.sessions.revoke_token, token)
        with pytest.raises(InvalidRequest):
            await one.exchange(token)

    async def test_a_token_is_exchanged_for_a_smaller_one_that_ends_with_it(
        self, one: Server, database: Database, clock: StoppedClock
    ) -> None:
        session = await signed_in(one, database, clock)
        outer = await one.exchange(session, audience="search", scope="orders:read")
        clock.advance(minutes=4)
        inner = await one.exchange(outer.access_token, "search")
        assert inner.said.scope == ("orders:read",)
        assert (inner.said.client_id, inner.said.audience) == ("search", "stock")
        assert (inner.said.expires_at, inner.refresh_token) == (outer.said.expires_at, None)
        again = await one.exchange(outer.access_token, scope="orders:read")
        assert again.refresh_token is None
        with pytest.raises(InvalidScope):
            await one.exchange(outer.access_token, scope="orders:write")
        await one.revoke(outer.refresh_token or "")
        for token in (outer, inner, again):
            with pytest.raises(TokenInvalid):
                await one.accepts(token.access_token)

    async def test_what_was_exchanged_is_revoked_with_what_it_was_exchanged_for(
        self, one: Server, database: Database, clock: StoppedClock
    ) -> None:
        session = await signed_in(one, database, clock)
        outer = await one.exchange(session, "search")
        inner = await one.exchange(outer.access_token, "search")
        await one.revoke(outer.access_token, "search")
        with pytest.raises(TokenInvalid):
            await one.accepts(inner.access_token)

    async def test_row_040_what_an_agent_gets_names_the_agent_is_not_renewed_and_ends_with_the_agents_session(
        self, database: Database, clock: StoppedClock
    ) -> None:
        person, customer = await enrol(database, clock), await enrol(database, clock)
        agents = Agents(ids=frozenset({person.id}))
        one = server(database, MemoryCache(clock), clock, scopes=Scopes(), agents=agents)
        agent = await sign_in(database, one.process.sessions, person)
        issued = await one.exchange(await act_as(database, clock, customer, agent.session))
        assert (issued.said.subject, issued.said.actor) == (str(customer.id), str(person.id))
        assert issued.refresh_token is None
        assert (await one.accepts(issued.access_token)).actor == str(person.id)
        await change(database, one.process.sessions.revoke, agent.session.id, by="agent")
        with pytest.raises(TokenInvalid):
            await one.accepts(issued.access_token)

    async def test_row_032_a_token_of_another_service_is_not_exchanged(
        self, one: Server, database: Database, clock: StoppedClock
    ) -> None:
        token = (await one.exchange(await signed_in(one, database, clock))).access_token
        with pytest.raises(InvalidRequest):
            await one.exchange(token, "search")
        own = (await one.ask(grant_type=CLIENT_CREDENTIALS, audience="search")).access_token
        for client in ("orders", "search"):
            with pytest.raises(InvalidRequest):
                await one.exchange(own, client)

    @pytest.mark.parametrize(
        "parameters",
        [
            {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"},
            {"subject_token_type": "urn:ietf:params:oauth:token-type:access_token"},
            {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
            {"actor_token": "x"},
            {"subject_token": "x" * 9_000},
        ],
        ids=["other kind", "session as token", "other result", "actor", "long"],
    )
    async def test_what_is_not_offered_is_refused(
        self, one: Server, database: Database, clock: StoppedClock, parameters: dict[str, str]
    ) -> None:
        with pytest.raises(InvalidRequest):
            await one.exchange(await signed_in(one, database, clock), **parameters)


class TestRefresh:
    """A family of refresh tokens: each has one successor."""

    async def test_a_token_is_replaced(self, one: Server, database: Database, clock: StoppedClock) -> None:
        first = await one.exchange(await signed_in(one, database, clock))
        clock.advance(minutes=11)
        with pytest.raises(TokenInvalid):
            await one.accepts(first.access_token)
        second = await one.refresh(first.refresh_token)
        said = await one.accepts(second.access_token)
        assert (said.scope, said.audience) == (first.said.scope, "stock")
        assert second.refresh_token != first.refresh_token
        third = await one.refresh(second.refresh_token, scope="orders:read")
        assert third.said.scope == ("orders:read",)
        assert (await one.refresh(third.refresh_token)).said.scope == first.said.scope
        with pytest.raises(InvalidScope):
            await one.refresh(third.refresh_token, scope="orders:read admin")

    @pytest.mark.parametrize("name", ["audience", "resource"])
    async def test_a_family_is_for_one_audience(
        self, one: Server, database: Database, clock: StoppedClock, name: str
    ) -> None:
        first = await one.exchange(await signed_in(one, database, clock))
        assert "search" in one.endpoint._clients["orders"].audiences
        for other in ("search", "https://evil.example", "stock search"):
            with pytest.raises(InvalidTarget):
                await one.refresh(first.refresh_token, **{name: other})
        second = await one.refresh(first.refresh_token, **{name: "stock"})  # what was refused has replaced nothing
        assert second.said.audience == "stock"

    async def test_a_replaced_token_answers_with_its_one_successor_for_a_moment(
        self, two: tuple[Server, Server], database: Database, clock: StoppedClock
    ) -> None:
        one, other = two
        first = await one.exchange(await signed_in(one, database, clock))
        both = await asyncio.gather(*(each.refresh(first.refresh_token) for each in (one, other, one)))
        [successor] = {each.refresh_token for each in both}
        clock.advance(seconds=5)
        newest = (await other.refresh(successor)).refresh_token
        assert (await one.refresh(first.refresh_token)).refresh_token == newest

    async def test_a_replaced_token_that_is_used_later_ends_the_family(
        self, two: tuple[Server, Server], database: Database, clock: StoppedClock
    ) -> None:
        one, other = two
        first = await one.exchange(await signed_in(one, database, clock))
        second = await one.refresh(first.refresh_token)
        await other.accepts(second.access_token)
        clock.advance(seconds=WINDOW.total_seconds())
        with pytest.raises(InvalidGrant):
            await one.refresh(first.refresh_token)
        with pytest.raises(InvalidGrant):
            await other.refresh(second.refresh_token)
        for issued in (first, second):
            await refuses(other, issued.access_token)

    async def test_row_019_and_020_a_refresh_token_is_of_one_client(
        self, one: Server, database: Database, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = await one.exchange(await signed_in(one, database, clock))
        monkeypatch.setitem(one.endpoint._clients, "search", replace(one.endpoint._clients["orders"], id="search"))
        with pytest.raises(InvalidGrant):
            await one.refresh(first.refresh_token, "search")
        second = await one.refresh(first.refresh_token)  # the other client's try has done nothing to it
        clock.advance(seconds=WINDOW.total_seconds() + 1)
        with pytest.raises(InvalidGrant):
            await one.refresh(first.refresh_token, "search")
        await one.refresh(second.refresh_token)

    async def test_row_020_a_family_ends_however_often_it_is_refreshed(
        self, database: Database, clock: StoppedClock, scopes: Scopes
    ) -> None:
        one = server(database, MemoryCache(clock), clock, scopes=scopes, family=timedelta(minutes=30))
        issued = await one.exchange(await signed_in(one, database, clock))
        for _ in range(2):
            clock.advance(minutes=14)
            issued = await one.refresh(issued.refresh_token)
        clock.advance(minutes=2)
        with pytest.raises(InvalidGrant):
            await one.refresh(issued.refresh_token)

    async def test_row_021_a_lost_group_is_a_lost_scope(
        self, one: Server, database: Database, clock: StoppedClock, scopes: Scopes
    ) -> None:
        first = await one.exchange(await signed_in(one, database, clock))
        scopes.given = ("orders:read",)
        second = await one.refresh(first.refresh_token)
        assert second.said.scope == ("orders:read",)
        with pytest.raises(InvalidScope):
            await one.refresh(second.refresh_token, scope="orders:write")
        with pytest.raises(InvalidScope):
            await one.exchange(first.access_token, scope="orders:write")

    async def test_a_family_that_ends_while_it_is_refreshed_leaves_no_token(
        self, two: tuple[Server, Server], database: Database, clock: StoppedClock
    ) -> None:
        one, other = two
        issued = await one.exchange(await signed_in(one, database, clock))
        tried = await asyncio.gather(
            one.refresh(issued.refresh_token),
            other.revoke(issued.refresh_token or ""),
            other.refresh(issued.refresh_token),
            return_exceptions=True,
        )
        assert not [each for each in tried if isinstance(each, Exception) and not isinstance(each, InvalidGrant)]
        async with database.unit() as unit:
            rows = await unit.all(refresh_token_store.oauth_refresh_tokens.select())
        assert rows == []

    async def test_nothing_usable_is_stored(self, one: Server, database: Database, clock: StoppedClock) -> None:
        first = await one.exchange(await signed_in(one, database, clock))
        second = await one.refresh(first.refresh_token)
        async with database.unit() as unit:
            rows = await unit.all(refresh_token_store.oauth_refresh_tokens.select())
        stored = repr([tuple(row) for row in rows])
        for token in (first.refresh_token, second.refresh_token):
            assert token
            assert token[7:] not in stored
        assert {row.token_hash for row in rows} == {
            digest(t or "") for t in (first.refresh_token, second.refresh_token)
        }

    async def test_what_is_over_is_deleted(self, one: Server, database: Database, clock: StoppedClock) -> None:
        issued = await one.exchange(await signed_in(one, database, clock))
        await one.refresh(issued.refresh_token)
        await one.revoke(issued.access_token)
        assert await change(database, refresh_token_store.purge, clock.now(), 10) == 0
        assert await change(database, revoked_token_store.purge, clock.now(), 10) == 0
        later = clock.now() + FAMILY + timedelta(seconds=1)
        assert await change(database, refresh_token_store.purge, later, 1) == 1
        assert await change(database, refresh_token_store.purge, later, 10) == 1
        assert await change(database, revoked_token_store.purge, later, 10) == 1


class TestRevocation:
    """A revoked token is refused by every process."""

    async def test_an_access_token_is_refused_by_all_once_it_is_revoked(
        self, two: tuple[Server, Server], database: Database, clock: StoppedClock
    ) -> None:
        one, other = two
        issued = await one.exchange(await signed_in(one, database, clock))
        own = await one.ask(grant_type=CLIENT_CREDENTIALS, audience="stock")
        for token in (issued.access_token, own.access_token):
            await one.accepts(token)
            await other.accepts(token)
            await one.revoke(token)
            with pytest.raises(TokenInvalid):
                await one.accepts(token)
            await refuses(other, token)
            await other.revoke(token)  # once more is no error
        assert (await one.refresh(issued.refresh_token)).said.session

    async def test_a_refresh_token_is_revoked_with_what_it_issued(
        self, two: tuple[Server, Server], database: Database, clock: StoppedClock
    ) -> None:
        one, other = two
        first = await one.exchange(await signed_in(one, database, clock))
        second = await one.refresh(first.refresh_token)
        await other.accepts(second.access_token)
        await one.revoke(first.refresh_token or "")
        for issued in (first, second):
            await refuses(other, issued.access_token)
            with pytest.raises(InvalidGrant):
                await one.refresh(issued.refresh_token)

    async def test_what_comes_of_a_revoked_token_is_refused_by_all(
        self, two: tuple[Server, Server], database: Database, clock: StoppedClock
    ) -> None:
        one, other = two
        tokens = [(await one.exchange(await signed_in(one, database, clock))).access_token]
        for _ in range(2):
            tokens.append((await one.exchange(tokens[-1])).access_token)
        for token in tokens:
            await other.accepts(token)  # and remembers that it is not revoked
        await one.revoke(tokens[1])
        for token in tokens[1:]:
            await refuses(other, token)
        await other.accepts(tokens[0])

    async def test_a_client_revokes_its_own_tokens_only(
        self, one: Server, database: Database, clock: StoppedClock
    ) -> None:
        issued = await one.exchange(await signed_in(one, database, clock))
        for token in (issued.access_token, issued.refresh_token or ""):
            with pytest.raises(InvalidGrant):
                await one.revoke(token, "search")
        await one.accepts(issued.access_token)
        await one.refresh(issued.refresh_token)

    async def test_unknown_tokens_are_revoked_already_and_sessions_are_not_revoked_here(
        self, one: Server, database: Database, clock: StoppedClock
    ) -> None:
        session = await signed_in(one, database, clock)
        issued = await one.exchange(session)
        clock.advance(minutes=11)
        for token in ("x", "shk_rt_unknown", "a.b.c", issued.access_token, issued.access_token[:-3] + "AAA"):
            await one.revoke(token)
        with pytest.raises(UnsupportedTokenType):
            await one.revoke(session)
        await one.exchange(session)
        with pytest.raises(InvalidRequest):
            await one.revoke("")

    async def test_row_028_a_revocation_that_is_not_stored_is_an_error(
        self, one: Server, database: Database, clock: StoppedClock
    ) -> None:
        issued = await one.exchange(await signed_in(one, database, clock))
        for table in ("revoked_tokens", "oauth_refresh_tokens"):
            async with database.transaction() as connection:
                await connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO away")
            for token in (issued.access_token, issued.refresh_token or ""):
                if (table, token) != ("oauth_refresh_tokens", issued.access_token):
                    with pytest.raises(Exception, match=table):
                        await one.revoke(token)
            async with database.transaction() as connection:
                await connection.exec_driver_sql(f"ALTER TABLE away RENAME TO {table}")


class TestEnding:
    """A token ends with its session, its person and its key."""

    @pytest.mark.parametrize("how", ["revoked", "deleted", "disabled", "expired", "everything"])
    async def test_row_029_and_036_what_is_issued_ends_with_the_session_and_the_person(
        self, two: tuple[Server, Server], database: Database, clock: StoppedClock, how: str
    ) -> None:
        one, other = two
        identity = await enrol(database, clock)
        session = await sign_in(database, one.process.sessions, identity)
        issued = await one.exchange(session.token)
        await other.accepts(issued.access_token)
        sessions = one.process.sessions
        if how == "revoked":
            await change(database, sessions.revoke, session.session.id, by="admin")
        elif how == "deleted":
            await change(database, sessions.delete_for, identity.id)
        elif how == "everything":
            await change(database, sessions.revoke_all, identity.id, by="admin")
        elif how == "disabled":
            async with database.unit() as unit:
                await unit.write(identities.update().where(identities.c.id == identity.id).values(state=State.INACTIVE))
                await sessions.invalidate_identity(unit, identity.id)
        else:
            clock.advance(hours=24)
        for each in (one, other):
            await refuses(each, issued.access_token)
            with pytest.raises(InvalidGrant):
                await each.refresh(issued.refresh_token)
            for token in (session.token, issued.access_token):
                with pytest.raises(InvalidRequest):
                    await each.exchange(token)

    async def test_row_036_an_unverified_person_gets_no_token_where_signing_in_needs_an_address(
        self, database: Database, clock: StoppedClock, scopes: Scopes
    ) -> None:
        lax, strict = (
            server(database, MemoryCache(clock), clock, scopes=scopes, verified_for=methods)
            for methods in ((), ("password",))
        )
        session = await signed_in(lax, database, clock)
        issued = await lax.exchange(session)
        await lax.accepts(issued.access_token)
        with pytest.raises(TokenInvalid):
            await strict.accepts(issued.access_token)
        with pytest.raises(InvalidGrant):
            await strict.refresh(issued.refresh_token)
        for token in (session, issued.access_token):
            with pytest.raises(InvalidRequest):
                await strict.exchange(token)

    async def test_a_token_ends_with_its_key(self, database: Database, clock: StoppedClock, scopes: Scopes) -> None:
        keys = signing_keys(database, clock, kept_for=timedelta())
        one = server(database, MemoryCache(clock), clock, keys=keys, scopes=scopes)
        token = (await one.ask(grant_type=CLIENT_CREDENTIALS, audience="stock")).access_token
        await keys.rotate(at_once=True)
        await one.accepts(token)
        clock.advance(minutes=2)
        with pytest.raises(TokenInvalid):
            await one.accepts(token)

    async def test_a_process_that_hears_nothing_asks_the_database(
        self, database: Database, clock: StoppedClock, scopes: Scopes, cache: Cache
    ) -> None:
        one, deaf = (server(database, cache, clock, scopes=scopes) for _ in range(2))
        issued = await one.exchange(await signed_in(one, database, clock))
        await deaf.accepts(issued.access_token)
        await one.revoke(issued.access_token)
        with pytest.raises(TokenInvalid):
            await deaf.accepts(issued.access_token)

    async def test_a_known_token_costs_no_query(self, one: Server, database: Database, clock: StoppedClock) -> None:
        issued = await one.exchange(await signed_in(one, database, clock))
        await one.accepts(issued.access_token)
        asked: list[str] = []
        with database.observed(asked.append):
            for _ in range(3):
                await one.accepts(issued.access_token)
        assert asked == []


async def refuses(one: Server, token: str) -> None:
    """Wait until a process refuses a token: it learns by a message."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await one.accepts(token)
            except TokenInvalid:
                return
            await asyncio.sleep(0.001)
