"""Refreshing: one successor for each token, for any number of callers at any time; and the use of a copied token."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import TokenInvalid
from shopkeeper.identity.values import Identity, State
from shopkeeper.sessions.refresh import IssuedSession
from shopkeeper.sessions.refresh_store import replaced_tokens
from shopkeeper.sessions.refresh_tokens import MOST_HOPS
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database
from tests.conftest import NOW
from tests.services.databases import sqlalchemy_url
from tests.sessions.conftest import (
    FAMILY,
    IDLE,
    LIFESPAN,
    WINDOW,
    Process,
    answers,
    audited,
    change,
    enrol,
    process,
    sign_in,
)

T = TypeVar("T")


@pytest.fixture
def cache(clock: StoppedClock) -> Cache:
    return MemoryCache(clock)


async def refreshed(one: Process, token: str, *, store: str = "fruit") -> IssuedSession | None:
    try:
        return await one.sessions.refresh(token, store=store)
    except TokenInvalid:
        return None


class TestASuccessor:
    async def test_is_for_the_same_session(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        first = await sign_in(database, one.sessions, ada)
        clock.advance(hours=23)
        second = await one.sessions.refresh(first.token, store="fruit")
        assert second.token != first.token
        assert second.session.id == first.session.id
        assert second.session.expires_at == clock.now() + LIFESPAN
        resolved = await one.sessions.resolve(second.token)
        assert resolved is not None
        assert resolved.session == second.session
        assert await change(database, one.sessions.get, first.session.id) == second.session

    async def test_costs_no_further_reading(self, database: Database, one: Process, ada: Identity) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        for _ in range(5):
            token = (await one.sessions.refresh(token, store="fruit")).token
            assert await one.sessions.resolve(token) is not None
        assert one.reads == 1

    async def test_a_refresh_does_not_make_cached_data_younger(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        await one.sessions.resolve(token)
        clock.advance(seconds=40)
        token = (await one.sessions.refresh(token, store="fruit")).token
        assert one.reads == 1
        clock.advance(seconds=20)
        await one.sessions.resolve(token)
        assert one.reads == 2

    async def test_takes_over_for_good_when_the_window_is_over(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        first = await sign_in(database, one.sessions, ada)
        second = await one.sessions.refresh(first.token, store="fruit")
        clock.advance(seconds=WINDOW.total_seconds() - 1)
        assert await answers(one.sessions, [first.token, second.token]) == [True, True]
        clock.advance(seconds=1)
        assert await answers(one.sessions, [first.token, second.token]) == [False, True]

    async def test_is_the_same_whenever_it_is_asked_for_in_the_window(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        first = await sign_in(database, one.sessions, ada)
        second = await one.sessions.refresh(first.token, store="fruit")
        clock.advance(seconds=5)
        again = [await one.sessions.refresh(first.token, store="fruit") for _ in range(2)]
        assert [started.token for started in again] == [second.token, second.token]

    async def test_a_second_tab_that_is_late_gets_no_token_that_was_replaced_itself(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        """Regression: it got the dead successor, presented it after its window, and so ended the session in all
        tabs."""
        first = await sign_in(database, one.sessions, ada)
        second = await one.sessions.refresh(first.token, store="fruit")
        clock.advance(seconds=3)
        third = await one.sessions.refresh(second.token, store="fruit")
        clock.advance(seconds=2)
        late = await one.sessions.refresh(first.token, store="fruit")
        assert late.token == third.token
        clock.advance(seconds=3600)
        assert await refreshed(one, late.token) is not None

    async def test_is_looked_for_in_a_chain_of_bounded_length(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        first = await sign_in(database, one.sessions, ada)
        tokens = [first.token]
        for _ in range(MOST_HOPS + 5):
            tokens.append((await one.sessions.refresh(tokens[-1], store="fruit")).token)
        assert (await one.sessions.refresh(first.token, store="fruit")).token == tokens[MOST_HOPS + 1]

    async def test_is_given_for_a_token_whose_time_is_over_but_not_for_long(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        first, second = [await sign_in(database, one.sessions, ada) for _ in range(2)]
        clock.advance(seconds=(LIFESPAN + IDLE).total_seconds() - 1)
        assert await answers(one.sessions, [first.token]) == [False]
        successor = await one.sessions.refresh(first.token, store="fruit")
        assert await answers(one.sessions, [successor.token]) == [True]
        clock.advance(seconds=1)
        assert await refreshed(one, second.token) is None

    async def test_lives_no_longer_than_its_family(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        ends_at = clock.now() + FAMILY
        while clock.now() + LIFESPAN < ends_at:
            clock.advance(hours=20)
            token = (await one.sessions.refresh(token, store="fruit")).token
        resolved = await one.sessions.resolve(token)
        assert resolved is not None
        assert resolved.session.expires_at == ends_at
        clock.advance(seconds=(ends_at - clock.now()).total_seconds())
        assert await refreshed(one, token) is None

    async def test_is_not_given_where_refreshing_is_switched_off(
        self, database: Database, cache: Cache, ada: Identity, clock: StoppedClock
    ) -> None:
        one = process(database, cache, clock, refresh=False)
        token = (await sign_in(database, one.sessions, ada)).token
        assert await refreshed(one, token) is None
        assert await answers(one.sessions, [token]) == [True]

    async def test_is_not_given_at_another_store(self, database: Database, one: Process, ada: Identity) -> None:
        token = (await sign_in(database, one.sessions, ada, store="fruit")).token
        assert await refreshed(one, token, store="shoes") is None
        homeless = (await sign_in(database, one.sessions, ada, store=None)).token
        assert await refreshed(one, homeless, store="shoes") is not None

    @pytest.mark.parametrize("text", ["", "shk_st_", "shk_st_" + "a" * 43, "ory_st_rubbish", "shk_st_\ud800"])
    async def test_row_011_is_not_given_to_strangers(self, one: Process, text: str) -> None:
        assert await refreshed(one, text) is None


class TestReuse:
    async def test_ends_the_family(self, database: Database, one: Process, ada: Identity, clock: StoppedClock) -> None:
        first, other = [await sign_in(database, one.sessions, ada) for _ in range(2)]
        second = await one.sessions.refresh(first.token, store="fruit")
        clock.advance(seconds=WINDOW.total_seconds())
        assert await refreshed(one, first.token) is None
        assert await answers(one.sessions, [first.token, second.token, other.token]) == [False, False, True]
        assert await refreshed(one, second.token) is None

    async def test_reuse_is_audited_once(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        first = await sign_in(database, one.sessions, ada)
        await one.sessions.refresh(first.token, store="fruit")
        clock.advance(seconds=WINDOW.total_seconds())
        for _ in range(2):
            assert await refreshed(one, first.token) is None
        told = await audited(database, clock, action="session.revoked")
        assert [(event.actor, event.subject) for event in told] == [("system", str(ada.id))]
        assert told[0].details["session"] == str(first.session.id)

    async def test_reuse_of_a_token_for_access_only_is_refused_and_ends_nothing(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        first = await sign_in(database, one.sessions, ada)
        second = await one.sessions.refresh(first.token, store="fruit")
        clock.advance(seconds=WINDOW.total_seconds())
        assert await answers(one.sessions, [first.token, second.token]) == [False, True]

    async def test_ends_a_family_whose_time_is_over_too(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        first = await sign_in(database, one.sessions, ada)
        second = await one.sessions.refresh(first.token, store="fruit")
        clock.advance(hours=25)
        assert await refreshed(one, first.token) is None
        assert await refreshed(one, second.token) is None


class TestRow021:
    """A refresh never restores what was revoked."""

    async def test_row_021_not_after_a_revocation(self, database: Database, one: Process, ada: Identity) -> None:
        first = await sign_in(database, one.sessions, ada)
        second = await one.sessions.refresh(first.token, store="fruit")
        await change(database, one.sessions.revoke, first.session.id, by="admin")
        assert [await refreshed(one, token) for token in (first.token, second.token)] == [None, None]

    async def test_row_021_not_for_an_account_that_is_switched_off(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        first = await sign_in(database, one.sessions, ada)
        second = await one.sessions.refresh(first.token, store="fruit")
        off = [{"op": "replace", "path": "/state", "value": "inactive"}]
        await change(database, one.identities.patch, ada.id, off)
        assert [await refreshed(one, token) for token in (first.token, second.token)] == [None, None]

    async def test_row_021_not_even_where_the_news_did_not_arrive(
        self, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        """Two processes whose caches get no messages from each other: the condition is part of the statement itself."""
        deaf, other = [process(database, MemoryCache(clock), clock) for _ in range(2)]
        await deaf.sessions.listen()
        first, second = [await sign_in(database, deaf.sessions, ada) for _ in range(2)]
        assert await answers(deaf.sessions, [first.token, second.token]) == [True, True]
        await change(database, other.sessions.revoke, first.session.id, by="admin")
        assert await refreshed(deaf, first.token) is None
        off = [{"op": "replace", "path": "/state", "value": "inactive"}]
        await change(database, other.identities.patch, ada.id, off)
        assert await refreshed(deaf, second.token) is None

    async def test_row_021_not_for_an_account_that_is_gone(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        first = await sign_in(database, one.sessions, ada)
        second = await one.sessions.refresh(first.token, store="fruit")
        await change(database, one.identities.delete, ada.id)
        assert [await refreshed(one, token) for token in (first.token, second.token)] == [None, None]


class TestAtTheSameTime:
    async def test_twenty_get_one_successor(self, database: Database, one: Process, ada: Identity) -> None:
        first = await sign_in(database, one.sessions, ada)
        started = await asyncio.gather(*(one.sessions.refresh(first.token, store="fruit") for _ in range(20)))
        assert len({each.token for each in started}) == 1
        assert {each.session.id for each in started} == {first.session.id}
        async with database.unit() as unit:
            assert await unit.scalar(select(func.count()).select_from(replaced_tokens)) == 1
        assert await answers(one.sessions, [started[0].token]) == [True]

    async def test_twenty_of_two_processes_that_do_not_hear_each_other_get_one_successor(
        self, database: Database, clock: StoppedClock, ada: Identity
    ) -> None:
        both = [process(database, MemoryCache(clock), clock) for _ in range(2)]
        for each in both:
            await each.sessions.listen()
        first = await sign_in(database, both[0].sessions, ada)
        for each in both:
            assert await each.sessions.resolve(first.token) is not None
        asked = [both[i % 2].sessions.refresh(first.token, store="fruit") for i in range(20)]
        assert len({started.token for started in await asyncio.gather(*asked)}) == 1

    async def test_a_revocation_wins_in_either_order(self, database: Database, one: Process, ada: Identity) -> None:
        for _ in range(5):
            first = await sign_in(database, one.sessions, ada)
            ending = change(database, one.sessions.revoke, first.session.id, by="admin")
            *started, _ = await asyncio.gather(*(refreshed(one, first.token) for _ in range(5)), ending)
            tokens = [first.token, *(each.token for each in started if each)]
            assert not any(await answers(one.sessions, tokens))
            assert [await refreshed(one, token) for token in tokens] == [None] * len(tokens)

    async def test_signing_out_everywhere_wins_in_either_order_too(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        signed_in = [await sign_in(database, one.sessions, ada) for _ in range(4)]
        ending = change(database, one.sessions.revoke_all, ada.id, by="admin")
        *started, _ = await asyncio.gather(*(refreshed(one, each.token) for each in signed_in), ending)
        tokens = [each.token for each in (*signed_in, *started) if each]
        assert not any(await answers(one.sessions, tokens))

    async def test_chains_of_many_sessions_do_not_interfere(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        async def chain(token: str) -> str:
            for _ in range(5):
                token = (await one.sessions.refresh(token, store="fruit")).token
            return token

        tokens = [(await sign_in(database, one.sessions, ada)).token for _ in range(8)]
        ends = await asyncio.gather(*map(chain, tokens))
        assert all(await answers(one.sessions, ends))


class Refreshing(RuleBasedStateMachine):
    """Every operation of a client on the tokens of a session, in two processes, beside a model of what should
    happen."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.clock = StoppedClock(NOW)
        self.database = Database(self.url)
        cache = MemoryCache(self.clock)
        self.processes = [process(self.database, cache, self.clock) for _ in range(2)]

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        """Wait for the answer, and for the messages between the processes."""

        async def told() -> T:
            try:
                return await what
            finally:
                await asyncio.sleep(0)

        return self.loop.run(told())

    @initialize()
    def signs_in(self) -> None:
        for each in self.processes:
            self.do(each.sessions.listen())
        self.identity = self.do(enrol(self.database, self.clock))
        started = self.do(sign_in(self.database, self.processes[0].sessions, self.identity))
        self.session = started.session
        self.tokens = [started.token]
        self.replaced_at: list[Any] = []
        self.expires_at = started.session.expires_at
        self.revoked = self.switched_off = False

    def stands(self) -> bool:
        last = min(self.session.issued_at + FAMILY, self.expires_at + IDLE)
        return not self.revoked and not self.switched_off and self.clock.now() < last

    def answers(self, number: int) -> bool:
        """Whether a token is the present one, or one whose window is open."""
        return number == len(self.replaced_at) or self.clock.now() < self.replaced_at[number] + WINDOW

    @rule(back=st.integers(0, 3), which=st.integers(0, 1), store=st.sampled_from(["fruit", "fruit", "fruit", "shoes"]))
    def refreshes(self, back: int, which: int, store: str) -> None:
        number = max(0, len(self.tokens) - 1 - back)
        started = self.do(refreshed(self.processes[which], self.tokens[number], store=store))
        if not self.answers(number):
            self.revoked = True
        if not self.stands() or not self.answers(number) or store != "fruit":
            assert started is None
            return
        assert started is not None
        assert started.session.id == self.session.id
        if number == len(self.replaced_at):
            assert started.token not in self.tokens
            self.tokens.append(started.token)
            self.replaced_at.append(self.clock.now())
            last = self.session.issued_at + FAMILY
            self.expires_at = max(self.expires_at, min(self.clock.now() + LIFESPAN, last))
        assert started.token == self.tokens[-1]

    @rule(seconds=st.sampled_from([1, 4, 5, 10, 61, 3600, 23 * 3600, 8 * 24 * 3600]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    @rule(which=st.integers(0, 1), chance=st.integers(0, 5))
    def is_signed_out(self, which: int, chance: int) -> None:
        if chance == 0:
            self.do(change(self.database, self.processes[which].sessions.revoke, self.session.id, by="admin"))
            self.revoked = True

    @rule(which=st.integers(0, 1), off=st.booleans())
    def is_switched(self, which: int, off: bool) -> None:
        state = (State.INACTIVE if off else State.ACTIVE).value
        patch = [{"op": "replace", "path": "/state", "value": state}]
        self.do(change(self.database, self.processes[which].identities.patch, self.identity.id, patch))
        self.switched_off = off

    @rule(which=st.integers(0, 1))
    def is_extended(self, which: int) -> None:
        self.do(change(self.database, self.processes[which].sessions.extend, self.session.id))
        if not self.revoked and not self.switched_off and self.clock.now() < self.expires_at:
            self.expires_at = self.clock.now() + LIFESPAN

    @invariant()
    def only_good_tokens_are_good(self) -> None:
        if not hasattr(self, "tokens"):
            return
        alive = not self.revoked and not self.switched_off and self.clock.now() < self.expires_at
        expected = [alive and self.answers(number) for number in range(len(self.tokens))]
        for each in self.processes:
            assert self.do(answers(each.sessions, self.tokens)) == expected

    def teardown(self) -> None:
        for each in self.processes:
            self.loop.run(each.sessions.close())
        self.loop.run(self.database.close())
        self.loop.close()


def test_any_sequence_of_refreshes_behaves_as_the_model_says(sqlite_dsn: str) -> None:
    class Here(Refreshing):
        url = sqlalchemy_url(sqlite_dsn)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
