"""The principal of a request, by what it carries."""

from datetime import timedelta

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import TokenInvalid
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.errors import SessionEnded
from shopkeeper.sessions.principal import PresentedTokens, PrincipalResolver
from shopkeeper.sessions.token_sources import SessionTokens, VisitTokens
from shopkeeper.sessions.values import PrincipalKind
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database
from shopkeeper.tokens.sealed import SealedTokens
from tests.sessions.conftest import CLIENT, Process, change, enrol, sign_in

DEAD = "shk_st_" + "a" * 43


@pytest.fixture
def cache(clock: StoppedClock) -> Cache:
    return MemoryCache(clock)


@pytest.fixture
def sealed(clock: StoppedClock) -> SealedTokens:
    return SealedTokens(["a secret of the shop"], clock=clock, lifespan=timedelta(days=30))


@pytest.fixture
def resolver(one: Process, sealed: SealedTokens) -> PrincipalResolver:
    sessions, visits = SessionTokens(one.sessions), VisitTokens(sealed)
    return PrincipalResolver(sessions=sessions, visits=visits, bearers=(sessions, visits))


def _presented(carrier: str, token: str) -> PresentedTokens:
    return PresentedTokens(**{carrier: (token,) if carrier.endswith("cookies") else token})


class TestCustomers:
    @pytest.mark.parametrize("carrier", ["session_token", "session_cookies", "bearer"])
    async def test_carry_the_same_token_in_any_way(
        self, database: Database, one: Process, resolver: PrincipalResolver, ada: Identity, carrier: str
    ) -> None:
        started = await sign_in(database, one.sessions, ada)
        principal = await resolver.resolve(_presented(carrier, started.token), store="fruit", client=CLIENT)
        assert (principal.kind, principal.subject, principal.store) == (PrincipalKind.CUSTOMER, str(ada.id), "fruit")
        assert (principal.session, principal.client) == (started.session, CLIENT)
        assert principal.by_cookie is (carrier == "session_cookies")

    async def test_row_039_are_told_apart_by_the_order_of_carriers(
        self, database: Database, one: Process, resolver: PrincipalResolver, clock: StoppedClock
    ) -> None:
        """Two identities, one browser: what is sent on purpose comes before what a browser sends by itself.

        Regression: a guest's bearer token acted on the cart of the session cookie's identity.
        """
        accounts = [await enrol(database, clock) for _ in range(3)]
        header, cookie, bearer = [(await sign_in(database, one.sessions, who)).token for who in accounts]
        everything = PresentedTokens(session_token=header, session_cookies=(cookie,), bearer=bearer)
        without = PresentedTokens(session_cookies=(cookie,), bearer=bearer)
        found = [await resolver.resolve(each, store="fruit", client=CLIENT) for each in (everything, without)]
        assert [principal.subject for principal in found] == [str(accounts[0].id), str(accounts[2].id)]
        assert not found[1].by_cookie
        kratos = await resolver.session(without)
        assert kratos is not None
        assert kratos.session.identity.id == accounts[1].id

    async def test_are_unknown_at_another_store(
        self, database: Database, one: Process, resolver: PrincipalResolver, ada: Identity
    ) -> None:
        token = (await sign_in(database, one.sessions, ada, store="fruit")).token
        for carriers in (PresentedTokens(session_token=token), PresentedTokens(bearer=token)):
            with pytest.raises(TokenInvalid):
                await resolver.resolve(carriers, store="shoes", client=CLIENT)
        by_cookie = await resolver.resolve(PresentedTokens(session_cookies=(token,)), store="shoes", client=CLIENT)
        assert by_cookie.kind is PrincipalKind.NOBODY

    async def test_customers_that_signed_in_at_no_store_count_at_all(
        self, database: Database, one: Process, resolver: PrincipalResolver, ada: Identity
    ) -> None:
        token = (await sign_in(database, one.sessions, ada, store=None)).token
        principal = await resolver.resolve(PresentedTokens(bearer=token), store="shoes", client=CLIENT)
        assert (principal.kind, principal.store) == (PrincipalKind.CUSTOMER, "shoes")

    async def test_row_040_are_nobody_after_signing_out_whatever_they_carry(
        self, database: Database, one: Process, resolver: PrincipalResolver, ada: Identity
    ) -> None:
        started = await sign_in(database, one.sessions, ada)
        successor = await one.sessions.refresh(started.token, store="fruit")
        await change(database, one.sessions.revoke, started.session.id, by="self")
        for token in (started.token, successor.token):
            for carriers in (PresentedTokens(session_token=token), PresentedTokens(bearer=token)):
                with pytest.raises(TokenInvalid):
                    await resolver.resolve(carriers, store="fruit", client=CLIENT)
            principal = await resolver.resolve(PresentedTokens(session_cookies=(token,)), store="fruit", client=CLIENT)
            assert principal.kind is PrincipalKind.NOBODY


class TestVisitors:
    @pytest.mark.parametrize("carrier", ["bearer", "visit_cookies"])
    async def test_are_anonymous_by_their_sealed_token(
        self, resolver: PrincipalResolver, sealed: SealedTokens, carrier: str
    ) -> None:
        token = sealed.issue(store="fruit@acme")
        carriers = _presented(carrier, token.text)
        principal = await resolver.resolve(carriers, store="fruit@acme", client=CLIENT)
        assert (principal.kind, principal.subject) == (PrincipalKind.ANONYMOUS, str(token.visit.guest))
        assert principal.by_cookie is (carrier == "visit_cookies")
        assert not principal.signed_in

    @pytest.mark.parametrize("store", ["shoes", "fruit@acme"])
    async def test_are_unknown_at_another_store(
        self, resolver: PrincipalResolver, sealed: SealedTokens, store: str
    ) -> None:
        token = sealed.issue(store="fruit").text
        with pytest.raises(TokenInvalid):
            await resolver.resolve(PresentedTokens(bearer=token), store=store, client=CLIENT)
        by_cookie = await resolver.resolve(PresentedTokens(visit_cookies=(token,)), store=store, client=CLIENT)
        assert by_cookie.kind is PrincipalKind.NOBODY

    async def test_are_known_by_the_store_that_each_of_their_tokens_counts_in(
        self, resolver: PrincipalResolver, sealed: SealedTokens
    ) -> None:
        fruit, shoes, other = [sealed.issue(store=store) for store in ("fruit", "shoes", "fruit")]
        found = await resolver.guests(
            None, {"fruit": [fruit.text], "shoes": [shoes.text], "hats": [], "bags": ["rubbish"]}
        )
        assert found == {"fruit": str(fruit.visit.guest), "shoes": str(shoes.visit.guest)}
        assert await resolver.guests(other.text, {"fruit": [fruit.text]}) == {"fruit": str(other.visit.guest)}
        assert await resolver.guests(DEAD, {}) == {}

    async def test_row_038_count_under_the_cookie_of_their_own_store_only(
        self, resolver: PrincipalResolver, sealed: SealedTokens
    ) -> None:
        """Regression: a cookie under another store's name took the place of the visitor's own."""
        planted, own = sealed.issue(store="fruit"), sealed.issue(store="fruit")
        found = await resolver.guests(None, {"shoes": [planted.text], "fruit": [own.text]})
        assert found == {"fruit": str(own.visit.guest)}

    async def test_cost_no_query(self, one: Process, resolver: PrincipalResolver, sealed: SealedTokens) -> None:
        await one.sessions.close()
        token = sealed.issue(store="fruit").text
        await resolver.resolve(PresentedTokens(bearer=token), store="fruit", client=CLIENT)
        assert one.reads == 0

    async def test_may_not_carry_a_visit_as_a_session(self, resolver: PrincipalResolver, sealed: SealedTokens) -> None:
        token = sealed.issue(store="fruit").text
        with pytest.raises(TokenInvalid):
            await resolver.resolve(PresentedTokens(session_token=token), store="fruit", client=CLIENT)
        principal = await resolver.resolve(PresentedTokens(session_cookies=(token,)), store="fruit", client=CLIENT)
        assert principal.kind is PrincipalKind.NOBODY

    async def test_a_stale_session_cookie_does_not_hide_the_visit(
        self, resolver: PrincipalResolver, sealed: SealedTokens
    ) -> None:
        visit = sealed.issue(store="fruit")
        for carriers in (
            PresentedTokens(session_cookies=(DEAD,), bearer=visit.text),
            PresentedTokens(session_cookies=(DEAD,), visit_cookies=(visit.text,)),
        ):
            principal = await resolver.resolve(carriers, store="fruit", client=CLIENT)
            assert principal.subject == str(visit.visit.guest)


class TestNobody:
    @pytest.mark.parametrize(
        "carriers",
        [
            PresentedTokens(),
            PresentedTokens(session_token="", session_cookies=("",), bearer="", visit_cookies=("",)),
            PresentedTokens(session_cookies=(DEAD,), visit_cookies=("rubbish",)),
        ],
    )
    async def test_is_the_principal_without_tokens_or_with_old_cookies_only(
        self, resolver: PrincipalResolver, carriers: PresentedTokens
    ) -> None:
        principal = await resolver.resolve(carriers, store="fruit", client=CLIENT)
        assert (principal.kind, principal.subject, principal.session) == (PrincipalKind.NOBODY, "", None)

    async def test_gets_another_error_for_an_ended_session_than_for_an_unknown_token(
        self, database: Database, one: Process, resolver: PrincipalResolver, ada: Identity
    ) -> None:
        """Clients refresh an ended session, and discard an unknown token."""
        token = (await sign_in(database, one.sessions, ada, store="fruit")).token
        with pytest.raises(TokenInvalid) as elsewhere:
            await resolver.resolve(PresentedTokens(bearer=token), store="shoes", client=CLIENT)
        assert elsewhere.type is TokenInvalid
        for carriers in (PresentedTokens(bearer=DEAD), PresentedTokens(session_token=DEAD)):
            with pytest.raises(SessionEnded):
                await resolver.resolve(carriers, store="fruit", client=CLIENT)

    @pytest.mark.parametrize("token", [DEAD, "rubbish", "undefined", "null", "eyJhbGciOiJub25lIn0.e30."])
    async def test_is_not_the_principal_for_an_invalid_token_sent_on_purpose(
        self, resolver: PrincipalResolver, token: str
    ) -> None:
        for carriers in (PresentedTokens(session_token=token), PresentedTokens(bearer=token)):
            with pytest.raises(TokenInvalid):
                await resolver.resolve(carriers, store="fruit", client=CLIENT)

    async def test_does_not_fall_back_to_a_good_cookie_behind_a_bad_header(
        self, database: Database, one: Process, resolver: PrincipalResolver, ada: Identity
    ) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        with pytest.raises(TokenInvalid):
            await resolver.resolve(
                PresentedTokens(session_token=DEAD, session_cookies=(token,), bearer=token),
                store="fruit",
                client=CLIENT,
            )


class TestWhoami:
    async def test_accepts_a_session_of_any_store(
        self, database: Database, one: Process, resolver: PrincipalResolver, ada: Identity
    ) -> None:
        started = await sign_in(database, one.sessions, ada, store="shoes")
        for carriers in (
            PresentedTokens(session_token=started.token),
            PresentedTokens(session_cookies=(started.token,)),
            PresentedTokens(bearer=started.token),
            PresentedTokens(session_cookies=(DEAD,), bearer=started.token),
        ):
            resolved = await resolver.session(carriers)
            assert resolved is not None
            assert resolved.session == started.session

    async def test_has_no_answer_without_a_session(self, resolver: PrincipalResolver, sealed: SealedTokens) -> None:
        visit = sealed.issue(store="fruit").text
        for carriers in (
            PresentedTokens(),
            PresentedTokens(session_token=DEAD),
            PresentedTokens(bearer=visit),
            PresentedTokens(session_cookies=(DEAD,), bearer="x", visit_cookies=(visit,)),
        ):
            assert await resolver.session(carriers) is None
