"""What a remote session server says of a session: what counts, what is cached, and what an outage means."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import SecondFactorRequired, TokenInvalid
from shopkeeper.http_client import GuardedClient
from shopkeeper.openid.calls import Limits, ProviderCalls
from shopkeeper.openid.claim_paths import LONGEST_NAME, MOST_NAMES
from shopkeeper.sessions.errors import SessionEnded
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.upstream.errors import SessionServerUnavailable
from shopkeeper.upstream.kratos import KratosSessions, SessionCookie, SessionServer
from shopkeeper.upstream.session_answers import SessionAnswers
from tests.services.web import Server, says, serving
from tests.upstream.stages import unlimited

TOKEN = "ory_st_GbIVbtrkYIwSbC9QbnKVT4SgCKPq7rKE"
COOKIE = SessionCookie("ory_kratos_session", "MTcwMTM0NTY3OHxfX19fX3x4eHh4eHh4eA==")
WHOAMI = "/sessions/whoami"
IDENTITY: dict[str, Any] = {
    "id": "0d8b0c7e-6a0d-4f1b-9a5d-0a3d1c8e3b11",
    "schema_id": "default",
    "state": "active",
    "traits": {"email": "ada@example.org", "name": {"first": "Ada", "last": "Quince"}, "team": "gold"},
    "verifiable_addresses": [{"value": "ada@example.org", "via": "email", "verified": True, "status": "completed"}],
    "metadata_public": {"groups": ["vip", 7, "press"]},
}


@dataclass
class Place:
    """A session server, and two processes of ours that ask it."""

    server: Server
    clock: StoppedClock
    here: KratosSessions
    there: KratosSessions
    answers: SessionAnswers

    def session(self, **changed: Any) -> dict[str, Any]:
        end = (self.clock.now() + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
        return {
            "id": "3f0a8e0c-1111-4f1b-9a5d-0a3d1c8e3b11",
            "active": True,
            "expires_at": end,
            "authenticated_at": "2026-03-14T15:00:00.123456789Z",
            "authenticator_assurance_level": "aal1",
            "authentication_methods": [{"method": "password", "aal": "aal1"}],
            "identity": IDENTITY,
            **changed,
        }

    def tells(self, status: str = "200 OK", *, headers: dict[str, str] | None = None, **changed: Any) -> None:
        """Have the server answer with a session."""
        body = json.dumps(self.session(**changed)).encode()
        self.server.answers[WHOAMI] = says(body, status=status, content_type="application/json", **(headers or {}))

    def says(self, body: bytes = b"{}", *, status: str) -> None:
        self.server.answers[WHOAMI] = says(body, status=status)

    @property
    def asked(self) -> int:
        return len(self.server.heads)


REMOTE = SessionServer(
    "remote",
    "http://unset",
    second_factor_url="https://shop.test/self-service/login/browser?aal=aal2",
    stores=frozenset({"default"}),
    groups_from=("metadata_public.groups", "traits.team", "traits.name", "metadata_public.none.deep"),
)


@pytest.fixture
async def place(clock: StoppedClock) -> AsyncIterator[Place]:
    async with opened(clock, MemoryCache(clock)) as place:
        yield place


class opened:  # noqa: N801 - used as a function
    """Opens the place; `remote` are changes of what the settings say."""

    def __init__(self, clock: StoppedClock, cache: Cache, **remote: Any) -> None:
        self.clock, self.cache, self.remote = clock, cache, remote

    async def __aenter__(self) -> Place:
        self.serving = serving("127.0.0.1")
        server = await self.serving.__aenter__()
        self.http = GuardedClient(private_allowed=True)
        remote = replace(REMOTE, public_url=server.url(""), **self.remote)
        self.processes = [SessionAnswers(self.cache, clock=self.clock, longest=timedelta(minutes=5)) for _ in range(2)]
        here, there = (self.asking(remote, answers) for answers in self.processes)
        for answers in self.processes:
            await answers.listen()
        place = Place(server, self.clock, here, there, self.processes[0])
        place.tells()
        return place

    def asking(self, remote: SessionServer, answers: SessionAnswers) -> KratosSessions:
        calls = ProviderCalls(self.http, self.clock, Limits(call=remote.deadline.total_seconds()))
        return KratosSessions(remote, calls=calls, answers=answers, questions=unlimited(), clock=self.clock)

    async def __aexit__(self, *error: Any) -> None:
        for answers in self.processes:
            await answers.close()
        await self.http.close()
        await self.serving.__aexit__(*error)


async def heard() -> None:
    """Let what was published arrive: the cache of this process delivers it in the next turn of the loop."""
    await asyncio.sleep(0)


class TestSubjects:
    async def test_a_token_is_an_identity_at_the_server(self, place: Place) -> None:
        found = await place.here.verify(TOKEN, "default")
        assert (found.provider, found.issuer, found.subject) == ("remote", place.server.url(""), IDENTITY["id"])
        assert found.claims["email"] == "ada@example.org"
        assert found.claims["email_verified"] is True
        assert (found.claims["given_name"], found.claims["family_name"]) == ("Ada", "Quince")
        assert found.claims["acr"] == "aal1"
        assert found.groups == ("vip", "press", "gold")
        assert f"x-session-token: {TOKEN}" in place.server.heads[0].lower().replace(TOKEN.lower(), TOKEN)
        assert "cookie:" not in place.server.heads[0].lower()

    async def test_groups_are_read_under_the_rules_of_all_providers(self, place: Place) -> None:
        many = [f"group-{number}" for number in range(MOST_NAMES)]
        listed = [*many, "a\u0000b", " ", "g" * (LONGEST_NAME + 1)]
        place.tells(identity={**IDENTITY, "metadata_public": {"groups": listed[-4:]}})
        found = await place.here.verify(TOKEN, None)
        assert (found.groups, found.groups_left_out) == ((many[-1], "gold"), True)  # a name at traits.name is an object
        place.tells(identity={**IDENTITY, "metadata_public": {"groups": many}, "traits": {}})
        found = await place.here.verify(f"{TOKEN}2", None)
        assert (found.groups, found.groups_left_out) == (tuple(many), False)
        place.tells(identity={**IDENTITY, "metadata_public": {"groups": [*many, "one-more"]}, "traits": {}})
        found = await place.here.verify(f"{TOKEN}3", None)
        assert (found.groups, found.groups_left_out) == ((), True)

    async def test_a_cookie_is_sent_as_the_cookie_that_it_is(self, place: Place) -> None:
        found = await place.here.verify_cookie(COOKIE)
        assert found.subject == IDENTITY["id"]
        assert f"{COOKIE.name}={COOKIE.value}" in place.server.heads[0]
        assert "x-session-token" not in place.server.heads[0].lower()

    @pytest.mark.parametrize(
        "token", ["", "ory_at_x", "ory_st_a\r\nx: y", "ory_st_ä", "ory_st_" + "a" * 600, "ory_st_a b"]
    )
    async def test_nothing_is_asked_about_what_cannot_be_a_token(self, place: Place, token: str) -> None:
        with pytest.raises(TokenInvalid):
            await place.here.verify(token, None)
        assert place.asked == 0

    @pytest.mark.parametrize(
        ("name", "value"), [("other", "a"), ("ory_kratos_session", "a;b"), (COOKIE.name, "a\r\nb")]
    )
    async def test_nothing_is_asked_about_other_cookies(self, place: Place, name: str, value: str) -> None:
        with pytest.raises(TokenInvalid):
            await place.here.verify_cookie(SessionCookie(name, value))
        assert place.asked == 0

    def test_a_project_of_the_ory_network_names_its_cookie_after_itself(self) -> None:
        remote = replace(REMOTE, cookie="ory_session_*")
        assert remote.names("ory_session_frostygrass")
        assert not remote.names("ory_kratos_session")

    async def test_a_session_that_the_server_does_not_know_has_ended(self, place: Place) -> None:
        place.says(b'{"error":{"code":401}}', status="401 Unauthorized")
        with pytest.raises(SessionEnded):
            await place.here.verify(TOKEN, None)

    @pytest.mark.parametrize(
        "changed",
        [{"active": False}, {"identity": {**IDENTITY, "state": "inactive"}}, {"expires_at": "2020-01-01T00:00:00Z"}],
        ids=["session", "identity", "expired"],
    )
    async def test_an_inactive_session_counts_for_nothing(self, place: Place, changed: dict[str, Any]) -> None:
        place.tells(**changed)
        with pytest.raises(SessionEnded):
            await place.here.verify(TOKEN, None)

    async def test_the_servers_demand_of_a_second_factor_is_passed_on(self, place: Place) -> None:
        place.says(b'{"error":{"id":"session_aal2_required"}}', status="403 Forbidden")
        with pytest.raises(SecondFactorRequired) as refused:
            await place.here.verify(TOKEN, None)
        assert refused.value.details["redirect_browser_to"] == REMOTE.second_factor_url

    @pytest.mark.parametrize(("level", "enough"), [("aal2", True), ("aal1", False), ("aal9", False)])
    async def test_less_assurance_than_is_required(self, clock: StoppedClock, level: str, enough: bool) -> None:
        async with opened(clock, MemoryCache(clock), required_aal="aal2") as place:
            place.tells(authenticator_assurance_level=level)
            if enough:
                assert (await place.here.verify(TOKEN, None)).claims["acr"] == "aal2"
            else:
                with pytest.raises(SecondFactorRequired):
                    await place.here.verify(TOKEN, None)


class TestOutages:
    @pytest.mark.parametrize(
        ("status", "body"),
        [
            ("200 OK", b"[]"),
            ("200 OK", b"{}"),
            ("200 OK", b"<html>"),
            ("200 OK", b'{"id":"a","active":true,"identity":{"id":"b"},"expires_at":"soon"}'),
            ("200 OK", b'{"id":"a","active":true,"identity":{"id":"b"},"expires_at":"2030-01-01T00:00:00"}'),
            ("200 OK", b'{"id":"a","active":true,"identity":{"id":""},"expires_at":"2030-01-01T00:00:00Z"}'),
            ("200 OK", b'{"id":"a","active":1,"identity":{"id":"b"},"expires_at":"2030-01-01T00:00:00Z"}'),
            ("200 OK", b" " * 70_000),
            ("200 OK", b"[" * 5_000),
            ("403 Forbidden", b'{"error":{"id":"other"}}'),
            ("403 Forbidden", b'{"error":[]}'),
            ("404 Not Found", b"{}"),
            ("500 Internal Server Error", b"{}"),
            ("503 Service Unavailable", b"{}"),
            ("429 Too Many Requests", b"{}"),
            ("303 See Other", b"{}"),
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_no_usable_answer_is_no_answer(self, place: Place, status: str, body: bytes) -> None:
        place.says(body, status=status)
        with pytest.raises(SessionServerUnavailable) as refused:
            await place.here.verify(TOKEN, None)
        assert refused.value.status == 503
        assert "Retry-After" in refused.value.headers

    async def test_a_slow_answer_is_not_waited_for(self, clock: StoppedClock) -> None:
        async def never(writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(60)

        async with opened(clock, MemoryCache(clock), deadline=timedelta(milliseconds=50)) as place:
            place.server.answers[WHOAMI] = never
            with pytest.raises(SessionServerUnavailable):
                await place.here.verify(TOKEN, None)

    async def test_a_server_that_is_down_is_left_alone(self, place: Place) -> None:
        place.says(status="503 Service Unavailable")
        for _ in range(5):
            with pytest.raises(SessionServerUnavailable):
                await place.here.verify(TOKEN, None)
        asked = place.asked
        with pytest.raises(SessionServerUnavailable):
            await place.here.verify(TOKEN, None)
        assert place.asked == asked
        place.tells()
        place.clock.advance(seconds=11)
        assert (await place.here.verify(TOKEN, None)).subject == IDENTITY["id"]

    async def test_an_outage_does_not_outlive_what_is_cached(self, place: Place) -> None:
        await place.here.verify(TOKEN, None)
        place.says(status="503 Service Unavailable")
        assert await place.here.verify(TOKEN, None)
        place.clock.advance(seconds=10)
        with pytest.raises(SessionServerUnavailable):
            await place.here.verify(TOKEN, None)


class TestCaching:
    async def test_an_answer_counts_up_to_the_ceiling(self, place: Place) -> None:
        for _ in range(3):
            await place.here.verify(TOKEN, None)
        assert place.asked == 1
        place.clock.advance(seconds=10)
        await place.here.verify(TOKEN, None)
        assert place.asked == 2

    @pytest.mark.parametrize(("header", "seconds"), [("4", 4), ("0", 0), ("3600", 10), ("soon", 0), ("-1", 0)])
    async def test_the_server_may_shorten_that(self, place: Place, header: str, seconds: int) -> None:
        place.tells(headers={"Ory_Session_Cache_For": header})
        await place.here.verify(TOKEN, None)
        place.clock.advance(seconds=max(0, seconds - 1))
        await place.here.verify(TOKEN, None)
        assert place.asked == (1 if seconds else 2)
        place.clock.advance(seconds=1)
        await place.here.verify(TOKEN, None)
        assert place.asked == (2 if seconds else 3)

    async def test_an_answer_does_not_outlive_the_session(self, place: Place) -> None:
        place.tells(expires_at=(place.clock.now() + timedelta(seconds=2)).isoformat())
        await place.here.verify(TOKEN, None)
        place.clock.advance(seconds=2)
        with pytest.raises(SessionEnded):
            await place.here.verify(TOKEN, None)

    async def test_a_ceiling_of_nothing_asks_each_time(self, clock: StoppedClock) -> None:
        async with opened(clock, MemoryCache(clock), cache_for=timedelta(0)) as place:
            for _ in range(3):
                await place.here.verify(TOKEN, None)
            assert (place.asked, len(place.answers)) == (3, 0)

    async def test_a_refusal_counts_for_a_moment_only(self, place: Place) -> None:
        """The server may not know yet a session that has just begun at another of its replicas."""
        place.says(status="401 Unauthorized")
        for _ in range(2):
            with pytest.raises(SessionEnded):
                await place.here.verify(TOKEN, None)
        assert place.asked == 1
        place.tells()
        place.clock.advance(seconds=2)
        assert (await place.here.verify(TOKEN, None)).subject == IDENTITY["id"]

    async def test_the_same_question_is_asked_once_at_a_time(self, place: Place) -> None:
        found = await asyncio.gather(*(place.here.verify(TOKEN, None) for _ in range(20)))
        assert {each.subject for each in found} == {IDENTITY["id"]}
        assert place.asked == 1

    async def test_a_refusal_reaches_all_who_asked(self, place: Place) -> None:
        place.says(b'{"error":{"id":"session_aal2_required"}}', status="403 Forbidden")
        found = await asyncio.gather(*(place.here.verify(TOKEN, None) for _ in range(5)), return_exceptions=True)
        assert [type(each) for each in found] == [SecondFactorRequired] * 5
        assert len({id(each) for each in found}) == 5
        assert place.asked == 1

    async def test_who_gives_up_stops_nobody_else(self, place: Place) -> None:
        first = asyncio.create_task(place.here.verify(TOKEN, None))
        second = asyncio.create_task(place.here.verify(TOKEN, None))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).subject == IDENTITY["id"]
        assert place.asked == 1

    @pytest.mark.parametrize("turns", range(1, 5))
    async def test_the_last_who_gives_up_cancels_nobody_who_comes_after(self, place: Place, turns: int) -> None:
        arrived, answer = asyncio.Event(), place.server.answers[WHOAMI]

        async def never(writer: asyncio.StreamWriter) -> None:
            arrived.set()
            await asyncio.sleep(60)

        place.server.answers[WHOAMI] = never
        first = asyncio.create_task(place.here.verify(TOKEN, None))
        await arrived.wait()
        place.server.answers[WHOAMI] = answer
        first.cancel()
        for _ in range(turns):  # the question of the first takes some turns of the loop to end
            await asyncio.sleep(0)
        assert (await place.here.verify(TOKEN, None)).subject == IDENTITY["id"]

    async def test_two_servers_do_not_share_answers(self, place: Place) -> None:
        await place.here.verify(TOKEN, None)
        other = KratosSessions(
            replace(place.here.server, id="other"),
            calls=place.here._calls,
            answers=place.answers,
            questions=unlimited(),
            clock=place.clock,
        )
        assert (await other.verify(TOKEN, None)).provider == "other"
        assert place.asked == 2

    async def test_the_memory_is_bounded(self, clock: StoppedClock) -> None:
        async with opened(clock, MemoryCache(clock)) as place:
            small = SessionAnswers(MemoryCache(clock), clock=clock, longest=timedelta(minutes=5), capacity=25_000)
            await small.listen()
            calls = place.here._calls
            asking = KratosSessions(place.here.server, calls=calls, answers=small, questions=unlimited(), clock=clock)
            for number in range(12):
                await asking.verify(f"ory_st_{number}", None)
            assert 0 < len(small) < 12
            assert small.size <= 25_000
            await small.close()
            assert (len(small), small.size) == (0, 0)


class TestSigningOut:
    async def test_a_sign_out_through_us_is_seen_at_once_by_every_process(self, place: Place) -> None:
        await place.here.verify(TOKEN, None)
        await place.there.verify(TOKEN, None)
        place.says(status="401 Unauthorized")
        await place.here.forget(token=TOKEN)
        await heard()
        for process in (place.here, place.there):
            with pytest.raises(SessionEnded):
                await process.verify(TOKEN, None)

    async def test_all_sessions_of_a_person_are_forgotten(self, place: Place) -> None:
        external = await place.here.verify(TOKEN, None)
        await place.there.verify_cookie(COOKIE)
        place.says(status="401 Unauthorized")
        await place.here.forget(external=external)
        await heard()
        with pytest.raises(SessionEnded):
            await place.there.verify_cookie(COOKIE)

    async def test_an_answer_from_before_the_sign_out_is_not_kept(self, place: Place) -> None:
        arrived, go_on, answer = asyncio.Event(), asyncio.Event(), place.server.answers[WHOAMI]

        async def later(writer: asyncio.StreamWriter) -> None:
            arrived.set()
            await go_on.wait()
            await answer(writer)

        place.server.answers[WHOAMI] = later
        asking = asyncio.create_task(place.here.verify(TOKEN, None))
        await arrived.wait()
        await place.there.forget(token=TOKEN)
        await heard()
        place.says(status="401 Unauthorized")
        with pytest.raises(SessionEnded):  # it does not wait for the question from before
            await place.here.verify(TOKEN, None)
        go_on.set()
        await asking
        with pytest.raises(SessionEnded):
            await place.here.verify(TOKEN, None)

    async def test_a_sign_out_at_the_server_is_seen_within_the_ceiling(self, place: Place) -> None:
        await place.here.verify(TOKEN, None)
        place.says(status="401 Unauthorized")
        place.clock.advance(seconds=9)
        await place.here.verify(TOKEN, None)
        place.clock.advance(seconds=1)
        with pytest.raises(SessionEnded):
            await place.here.verify(TOKEN, None)

    async def test_a_process_that_hears_nothing_caches_nothing(self, place: Place) -> None:
        await place.answers.close()
        for _ in range(2):
            await place.here.verify(TOKEN, None)
        assert place.asked == 2
