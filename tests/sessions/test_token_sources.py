"""The token sources: what each recognises, and which one decides."""

import hashlib
from datetime import timedelta

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import TokenInvalid
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.errors import SessionEnded
from shopkeeper.sessions.token_sources import (
    ServiceKey,
    ServiceKeys,
    SessionTokens,
    TokenSource,
    VisitTokens,
    verify,
)
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database
from shopkeeper.tokens.sealed import LONGEST, SealedTokens
from tests.sessions.conftest import Process, sign_in

DEAD = "shk_st_" + "a" * 43
KEY = "7Vt0cHnB3qLx9sRw5yZk2mJd8fGp4aEu"


@pytest.fixture
def cache(clock: StoppedClock) -> Cache:
    return MemoryCache(clock)


@pytest.fixture
def sealed(clock: StoppedClock) -> SealedTokens:
    return SealedTokens(["a secret of the shop"], clock=clock, lifespan=timedelta(days=30))


@pytest.fixture
def keys() -> ServiceKeys:
    return ServiceKeys(
        {
            ServiceKey(name): hashlib.sha256(key.encode()).digest()
            for name, key in {"old": KEY[::-1], "new": KEY}.items()
        }
    )


class TestSessions:
    async def test_count_at_their_own_store(self, database: Database, one: Process, ada: Identity) -> None:
        started, source = await sign_in(database, one.sessions, ada, store="fruit"), SessionTokens(one.sessions)
        assert source.recognises(started.token)
        for store in ("fruit", None):
            assert (await source.verify(started.token, store)).session == started.session
        with pytest.raises(TokenInvalid) as elsewhere:
            await source.verify(started.token, "shoes")
        assert elsewhere.type is TokenInvalid

    async def test_ended_sessions_are_distinguished_from_other_tokens(self, one: Process) -> None:
        """Clients refresh an ended session, and discard any other token."""
        source = SessionTokens(one.sessions)
        assert source.recognises(DEAD)
        assert not source.recognises("rubbish")
        with pytest.raises(SessionEnded):
            await source.verify(DEAD, None)


class TestVisits:
    async def test_count_in_their_own_store(self, sealed: SealedTokens) -> None:
        token, source = sealed.issue(store="fruit"), VisitTokens(sealed)
        assert source.recognises(token.text)
        for store in ("fruit", None):
            assert await source.verify(token.text, store) == token.visit
        with pytest.raises(TokenInvalid):
            await source.verify(token.text, "shoes")

    async def test_are_recognised_by_their_form_with_any_secret(
        self, sealed: SealedTokens, clock: StoppedClock
    ) -> None:
        other = SealedTokens(["a secret of another shop"], clock=clock, lifespan=timedelta(days=1))
        token, source = other.issue(store="fruit").text, VisitTokens(sealed)
        assert source.recognises(token)
        with pytest.raises(TokenInvalid):
            await source.verify(token, "fruit")

    @pytest.mark.parametrize("token", ["", DEAD, "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJkaXIifQ..a.b.c"])
    def test_are_not_recognised_in_other_tokens(self, sealed: SealedTokens, token: str) -> None:
        assert not VisitTokens(sealed).recognises(token)

    def test_are_not_recognised_in_what_is_too_long(self, sealed: SealedTokens) -> None:
        assert not VisitTokens(sealed).recognises(sealed.issue(store="fruit").text + "a" * LONGEST)


class TestServiceKeys:
    async def test_are_known_by_their_id(self, keys: ServiceKeys) -> None:
        assert [await keys.verify(key, None) for key in (KEY, KEY[::-1])] == [ServiceKey("new"), ServiceKey("old")]

    @pytest.mark.parametrize("token", [KEY.lower(), KEY + "=", KEY[:-1], "a" * 10_000])
    async def test_are_refused_where_they_are_unknown(self, keys: ServiceKeys, token: str) -> None:
        with pytest.raises(TokenInvalid):
            await keys.verify(token, None)

    @pytest.mark.parametrize("token", ["", "two words", "é", f"{KEY}\n"])
    def test_are_not_recognised_in_what_no_header_carries(self, keys: ServiceKeys, token: str) -> None:
        assert not keys.recognises(token)


class TestLists:
    async def test_the_first_source_that_recognises_a_token_decides(
        self, one: Process, sealed: SealedTokens, keys: ServiceKeys
    ) -> None:
        """A dead session token also has the form of a key, and is not tried as one."""
        sources: list[TokenSource] = [SessionTokens(one.sessions), VisitTokens(sealed), keys]
        assert keys.recognises(DEAD)
        with pytest.raises(SessionEnded):
            await verify(sources, DEAD, None)
        assert await verify(sources, KEY, None) == ServiceKey("new")

    async def test_a_token_that_no_source_recognises_is_refused(
        self, database: Database, one: Process, sealed: SealedTokens, ada: Identity
    ) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        assert isinstance(await verify([SessionTokens(one.sessions)], token, None), CachedSession)
        with pytest.raises(TokenInvalid):
            await verify([VisitTokens(sealed)], token, None)
