"""The cache, the single flight, the deadline; several event loops, threads and processes with one authenticator."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from shopkeeper_asgi import Authenticator, ProviderUnavailable, TokenInvalid, TokenMissing, User, WhoAmI, breaker
from shopkeeper_asgi.cache import UserCache, Verified
from shopkeeper_asgi.credentials import Credential
from tests.services.web import Server, says, serving
from tests.shopkeeper_asgi.conftest import Make

PATH = "/sessions/whoami"
SESSION = json.dumps({"active": True, "identity": {"id": "7", "traits": {}}}).encode()
TOKEN = [("session_token", "ory_st_a")]
ADA = User("7")


class Clocks:
    """Both clocks, which the test sets."""

    def __init__(self) -> None:
        self.wall, self.running = 5000.0, 100.0

    def cache(self, *, seconds: float = 10, entries: int = 3) -> UserCache:
        return UserCache(seconds=seconds, entries=entries, now=lambda: self.wall, monotonic=lambda: self.running)


class TestCache:
    @pytest.fixture
    def clocks(self) -> Clocks:
        return Clocks()

    def test_a_user_is_remembered_as_long_as_is_wanted(self, clocks: Clocks) -> None:
        cache = clocks.cache()
        cache.put(b"a", Verified(ADA))
        clocks.running += 9.9
        assert cache.get(b"a") is ADA
        clocks.running += 0.1
        assert cache.get(b"a") is None

    def test_but_never_beyond_the_end_of_its_session(self, clocks: Clocks) -> None:
        cache = clocks.cache()
        cache.put(b"a", Verified(ADA, expires_at=clocks.wall + 2))
        assert cache.get(b"a") is ADA
        clocks.wall += 2
        assert cache.get(b"a") is None

    def test_setting_the_clock_back_makes_nothing_live_longer(self, clocks: Clocks) -> None:
        cache = clocks.cache()
        cache.put(b"a", Verified(ADA, expires_at=clocks.wall + 2))
        clocks.wall -= 86_400
        clocks.running += 10
        assert cache.get(b"a") is None

    def test_nor_longer_than_the_provider_allows(self, clocks: Clocks) -> None:
        cache = clocks.cache()
        cache.put(b"a", Verified(ADA, cache_for=1))
        cache.put(b"b", Verified(ADA, cache_for=1000))
        clocks.running += 1
        assert cache.get(b"a") is None
        clocks.running += 9
        assert cache.get(b"b") is None

    def test_there_is_room_for_so_many_and_the_oldest_goes(self, clocks: Clocks) -> None:
        cache = clocks.cache()
        for key in (b"a", b"b", b"c", b"a", b"d"):
            cache.put(key, Verified(ADA))
        assert len(cache) == 3
        assert [cache.get(key) is ADA for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]

    def test_what_is_over_is_swept_out(self, clocks: Clocks) -> None:
        cache = clocks.cache(entries=100)
        for key in (b"a", b"b", b"c"):
            cache.put(key, Verified(ADA))
        clocks.running += 10
        cache.put(b"d", Verified(ADA))
        assert len(cache) == 1

    def test_it_can_be_switched_off(self, clocks: Clocks) -> None:
        cache = clocks.cache(seconds=0)
        cache.put(b"a", Verified(ADA))
        assert len(cache) == 0

    @pytest.mark.parametrize("told", [{"seconds": -1, "entries": 1}, {"seconds": 1, "entries": 0}])
    def test_odd_sizes_are_refused(self, told: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="cache"):
            UserCache(**told)


@pytest.fixture
async def provider() -> AsyncIterator[Server]:
    async with serving("127.0.0.1") as server:
        server.answers[PATH] = says(SESSION)
        yield server


class Gate:
    """A provider that answers once the gate is open."""

    def __init__(self) -> None:
        self.asked, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        await self.open.wait()
        await says(SESSION)(writer)


@pytest.fixture
def gate(provider: Server) -> Gate:
    gate = Gate()
    provider.answers[PATH] = gate
    return gate


class TestFlights:
    async def test_a_token_that_was_verified_is_not_asked_for_again(self, provider: Server, make: Make) -> None:
        asking = make(WhoAmI(url=provider.url()))
        first = await asking.authenticate(TOKEN)
        assert await asking.authenticate([("authorization", "Bearer ory_st_a")]) is first
        assert len(provider.heads) == 1

    async def test_a_cookie_and_a_token_of_one_value_are_two(self, provider: Server, make: Make) -> None:
        asking = make(WhoAmI(url=provider.url()))
        await asking.authenticate(TOKEN)
        await asking.authenticate([("cookie", "ory_kratos_session=ory_st_a")])
        assert len(provider.heads) == 2

    async def test_requests_at_the_same_time_ask_once(self, provider: Server, make: Make, gate: Gate) -> None:
        asking = make(WhoAmI(url=provider.url(), cache_seconds=0))
        all_of_them = [asyncio.create_task(asking.authenticate(TOKEN)) for _ in range(20)]
        await gate.asked.wait()
        gate.open.set()
        assert {user.id for user in await asyncio.gather(*all_of_them) if user} == {"7"}
        assert len(provider.heads) == 1

    async def test_one_that_goes_away_ends_nothing_for_the_others(
        self, provider: Server, make: Make, gate: Gate
    ) -> None:
        asking = make(WhoAmI(url=provider.url(), cache_seconds=0))
        first = asyncio.create_task(asking.authenticate(TOKEN))
        await gate.asked.wait()
        second = asyncio.create_task(asking.authenticate(TOKEN))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.open.set()
        assert await second is not None
        assert len(provider.heads) == 1

    async def test_after_the_deadline_it_is_an_outage(self, provider: Server, make: Make, gate: Gate) -> None:
        asking = make(WhoAmI(url=provider.url()), deadline=0.05)
        with pytest.raises(ProviderUnavailable):
            await asking.authenticate(TOKEN)
        gate.open.set()
        patient = make(WhoAmI(url=provider.url()))
        assert await patient.authenticate(TOKEN) is not None

    async def test_while_nothing_is_answered_requests_are_not_held(
        self,
        provider: Server,
        make: Make,
        gate: Gate,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        now = [1000.0]
        monkeypatch.setattr(breaker, "monotonic", lambda: now[0])
        asking = make(WhoAmI(url=provider.url(), cache_seconds=0), deadline=0.05)
        for at in range(breaker.MOST + 3):
            with pytest.raises(ProviderUnavailable):
                await asking.authenticate([("session_token", f"ory_st_{at}")])
        held = ["no answer within" in record.message for record in caplog.records]
        assert held == [True] * breaker.MOST + [False] * 3
        caplog.clear()
        now[0] += breaker.PAUSE
        for _ in range(3):  # one of them asks whether it is back
            with pytest.raises(ProviderUnavailable):
                await asking.authenticate(TOKEN)
        assert ["no answer within" in record.message for record in caplog.records] == [True, False, False]

    async def test_once_it_answers_again_all_are_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [1000.0]
        monkeypatch.setattr(breaker, "monotonic", lambda: now[0])
        one = breaker.Breaker()
        for _ in range(breaker.MOST):
            one.require_closed()
            one.unanswered()
        with pytest.raises(ProviderUnavailable) as refused:
            one.require_closed()
        assert refused.value.headers["retry-after"] == "2"
        now[0] += breaker.PAUSE
        one.require_closed()
        one.answered()
        for _ in range(3):
            one.require_closed()

    async def test_an_outage_is_logged_without_the_token(
        self, make: Make, dead: WhoAmI, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(ProviderUnavailable):
            await make(dead).authenticate(TOKEN)
        assert "The provider cannot be asked: 127.0.0.1" in caplog.text
        assert "ory_st_a" not in caplog.text

    async def test_a_wrong_token_is_asked_for_each_time(self, provider: Server, make: Make) -> None:
        asking = make(WhoAmI(url=provider.url()))
        provider.answers[PATH] = says(b"{}", status="401 Unauthorized")
        for _ in range(2):
            with pytest.raises(TokenInvalid):
                await asking.authenticate(TOKEN)
        assert len(provider.heads) == 2

    async def test_a_mistake_in_a_mode_is_no_outage(self, make: Make) -> None:
        class Broken:
            cookies, cache_seconds = (), 0.0

            def verifier(self, http: object, now: object) -> "Broken":
                return self

            async def verify(self, credential: Credential) -> Verified:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await make(Broken()).authenticate(TOKEN)  # type: ignore[arg-type]


class TestOptional:
    async def test_a_route_that_needs_a_user_gets_one_whatever_the_others_may_lack(
        self, provider: Server, make: Make
    ) -> None:
        """Regression: `ignore_wrong` gave None to a handler that was promised a user."""
        provider.answers[PATH] = says(b"{}", status="401 Unauthorized")
        lenient = make(WhoAmI(url=provider.url()), optional=True, ignore_wrong=True)
        assert await lenient.authenticate(TOKEN) is None
        with pytest.raises(TokenInvalid):
            await lenient.authenticate(TOKEN, optional=False)
        with pytest.raises(TokenInvalid):
            await asyncio.to_thread(lambda: lenient.authenticate_sync(TOKEN, optional=False))
        with pytest.raises(TokenMissing):
            await lenient.authenticate([], optional=False)


class TestManyCallers:
    async def test_each_request_may_have_an_event_loop_of_its_own(self, provider: Server, make: Make) -> None:
        asking = make(WhoAmI(url=provider.url(), cache_seconds=0))
        for _ in range(3):
            found = await asyncio.to_thread(lambda: asyncio.run(asking.authenticate(TOKEN)))
            assert found == ADA or (found is not None and found.id == "7")

    async def test_threads_share_one_flight(self, provider: Server, make: Make, gate: Gate) -> None:
        asking = make(WhoAmI(url=provider.url(), cache_seconds=0))
        waiting = threading.Barrier(5)

        def ask() -> User | None:
            waiting.wait(30)
            return asking.authenticate_sync(TOKEN)

        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(5) as pool:
            asked = [loop.run_in_executor(pool, ask) for _ in range(5)]
            await gate.asked.wait()
            in_flight = asyncio.create_task(asking.authenticate(TOKEN))
            await asyncio.sleep(0.1)  # the others reach the flight meanwhile; one that does not asks again
            gate.open.set()
            users = [*await asyncio.gather(*asked), await in_flight]
        assert {user.id for user in users if user} == {"7"}
        assert len(provider.heads) < len(users)

    async def test_it_works_on_in_a_process_that_was_forked_off(self, provider: Server, make: Make) -> None:
        asking = make(WhoAmI(url=provider.url(), cache_seconds=0))
        await asking.authenticate(TOKEN)

        def fork() -> int:
            child = os.fork()
            if not child:
                try:
                    found = asking.authenticate_sync(TOKEN)
                    os._exit(0 if found is not None and found.id == "7" else 1)
                finally:
                    os._exit(2)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        assert await asyncio.to_thread(fork) == 0

    async def test_it_may_be_closed_and_used_again(self, provider: Server) -> None:
        before = threading.active_count()
        asking = Authenticator(WhoAmI(url=provider.url(), cache_seconds=0), deadline=30)
        for _ in range(2):
            assert await asking.authenticate(TOKEN) is not None
            asking.close()
        asking.close()
        assert threading.active_count() == before

    @pytest.mark.parametrize("flying", [True, False])
    async def test_those_who_wait_when_it_is_closed_are_told_so(
        self, provider: Server, make: Make, gate: Gate, flying: bool
    ) -> None:
        """Regression: they were cancelled."""
        asking = make(WhoAmI(url=provider.url()))
        waiting = asyncio.create_task(asking.authenticate(TOKEN))
        in_a_thread = asyncio.create_task(asyncio.to_thread(asking.authenticate_sync, TOKEN))
        await (gate.asked.wait() if flying else asyncio.sleep(0))
        await asyncio.to_thread(asking.close)
        gate.open.set()
        first, second = await asyncio.gather(waiting, in_a_thread, return_exceptions=True)
        assert isinstance(first, ProviderUnavailable)
        # The thread may have come later, to the next thread of the authenticator.
        assert isinstance(second, ProviderUnavailable | User)


class TestSettings:
    def test_odd_ones_are_refused(self) -> None:
        mode = WhoAmI(url="https://id.example")
        for told in ({"deadline": 0}, {"ignore_wrong": True}, {"cache_seconds": -1}, {"proxy": "id.example"}):
            with pytest.raises(ValueError):  # noqa: PT011 - each has its own sentence
                Authenticator(mode, **told)  # type: ignore[arg-type]

    @pytest.mark.parametrize("url", ["id.example", "ftp://id.example", "https://a:b@id.example", "https://"])
    def test_an_address_must_be_one(self, url: str) -> None:
        with pytest.raises(ValueError, match="https://host"):
            WhoAmI(url=url)
