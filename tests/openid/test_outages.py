"""A provider that is down, slow or busy: every wait has an end, and others are not held up."""

import asyncio
from datetime import UTC, datetime

import pytest
import structlog

from shopkeeper.clock import StoppedClock
from shopkeeper.openid.calls import Limits
from shopkeeper.openid.circuit_breaker import FAILURES, MOST_ENDPOINTS, CircuitBreaker, CircuitBreakers
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import (
    AuthorizationRefused,
    ProviderAnswerInvalid,
    ProviderTokenInvalid,
    ProviderUnavailable,
)
from tests.openid.scripted import ARRIVING, WELL_KNOWN, Hanging, ScriptedProvider, query

AWAY = {"status": "503 Service Unavailable"}


async def cause_of(client: OpenIDClient) -> str:
    with pytest.raises(ProviderUnavailable) as refused:
        await client.authenticate(query(), **ARRIVING)
    return refused.value.cause


async def fail(idp: ScriptedProvider, client: OpenIDClient, times: int = FAILURES, **answer: str) -> None:
    idp.answer("/token", b"", **{**AWAY, **answer})
    for _ in range(times):
        assert await cause_of(client) == "status"


class TestDeadlines:
    async def test_a_slow_call_ends(self, idp: ScriptedProvider) -> None:
        idp.answer("/token", Hanging())
        assert await cause_of(idp.client(Limits(call=0.05))) == "no_answer"

    async def test_a_sign_in_of_many_slow_calls_ends(self, idp: ScriptedProvider) -> None:
        idp.answer("/jwks", Hanging())
        assert await cause_of(idp.client(Limits(conversation=0.05))) == "deadline"

    async def test_no_task_is_left_behind(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        hanging = Hanging()
        idp.answer(WELL_KNOWN, hanging)
        before = asyncio.all_tasks()
        signing_in = [asyncio.create_task(client.authenticate(query(), **ARRIVING)) for _ in range(5)]
        await hanging.asked()
        for task in signing_in:
            task.cancel()
        await asyncio.wait(signing_in)
        # The test's own server still waits in the connection of the one that asked.
        assert {task for task in asyncio.all_tasks() - before if task not in idp.server.open} == set()
        idp.answer(WELL_KNOWN, idp.metadata())
        assert (await client.authenticate(query(), **ARRIVING)).subject == "alice"


class TestTheBreaker:
    async def test_it_opens_after_failures_in_a_row(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        await fail(idp, client)
        asked = len(idp.server.heads)
        assert await cause_of(client) == "circuit_open"
        assert len(idp.server.heads) == asked

    async def test_one_answer_in_between_keeps_it_closed(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        await fail(idp, client, FAILURES - 1)
        idp.answer("/token", {"error": "invalid_grant"}, status="400 Bad Request")
        with pytest.raises(AuthorizationRefused):
            await client.authenticate(query(), **ARRIVING)
        await fail(idp, client, FAILURES - 1)
        idp.answer("/token", idp.tokens())
        assert (await client.authenticate(query(), **ARRIVING)).subject == "alice"

    async def test_it_closes_when_the_provider_is_back(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        await fail(idp, client)
        idp.answer("/token", idp.tokens())
        idp.clock.advance(seconds=9)
        assert await cause_of(client) == "circuit_open"
        idp.clock.advance(seconds=2)
        for _ in range(3):
            assert (await client.authenticate(query(), **ARRIVING)).subject == "alice"

    async def test_a_probe_that_fails_opens_it_again(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        await fail(idp, client)
        idp.clock.advance(seconds=11)
        assert await cause_of(client) == "status"
        assert await cause_of(client) == "circuit_open"

    @pytest.mark.parametrize(("status", "pause"), [("503 Service Unavailable", 10), ("429 Too Many Requests", 3)])
    @pytest.mark.parametrize("value", ["999999", "Wed, 21 Oct 2099 07:28:00 GMT", "-1", "1" * 5_000, "soon"])
    async def test_retry_after_keeps_nobody_out_for_longer(
        self, idp: ScriptedProvider, client: OpenIDClient, status: str, pause: int, value: str
    ) -> None:
        await fail(idp, client, status=status, Retry_After=value)
        idp.answer("/token", idp.tokens())
        with pytest.raises(ProviderUnavailable) as refused:
            await client.authenticate(query(), **ARRIVING)
        assert (refused.value.cause, refused.value.retry_after) == ("circuit_open", pause)
        idp.clock.advance(seconds=pause)
        assert (await client.authenticate(query(), **ARRIVING)).subject == "alice"

    async def test_what_it_says_is_told_within_reason(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        for said, told in (("45", "45"), ("100000", "120")):
            idp.answer("/token", b"", status="429 Too Many Requests", Retry_After=said)
            with pytest.raises(ProviderUnavailable) as refused:
                await client.authenticate(query(), **ARRIVING)
            assert refused.value.headers["Retry-After"] == told

    async def test_codes_that_are_refused_open_nothing(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.answer("/token", {"error": "invalid_grant"}, status="400 Bad Request")
        for _ in range(3 * FAILURES):
            with pytest.raises(AuthorizationRefused):
                await client.authenticate(query(), **ARRIVING)
        assert idp.asked("/token") == 3 * FAILURES

    async def test_each_endpoint_has_its_own(self, idp: ScriptedProvider) -> None:
        client = idp.client(claims_source="userinfo")
        idp.answer("/userinfo", b"", **AWAY)
        causes = [await cause_of(client) for _ in range(FAILURES + 3)]
        assert causes == ["status"] * FAILURES + ["circuit_open"] * 3
        assert (idp.asked("/userinfo"), idp.asked("/token")) == (FAILURES, FAILURES + 3)

    async def test_callers_that_wait_no_longer_open_it_as_well(self, idp: ScriptedProvider) -> None:
        client = idp.client(Limits(patience=0))
        await client.authorization_url(redirect_uri="r", state="s", nonce="n", code_verifier="v")
        hanging = Hanging()
        idp.answer(WELL_KNOWN, hanging)
        for _ in range(FAILURES):
            waiting = asyncio.create_task(client.reach())
            await hanging.asked()
            waiting.cancel()
            await asyncio.wait([waiting])
        with pytest.raises(ProviderUnavailable) as refused:
            await client.reach()
        assert refused.value.cause == "circuit_open"

    async def test_but_browsers_that_go_away_at_once_open_nothing(self, idp: ScriptedProvider) -> None:
        client = idp.client(Limits(patience=60))
        hanging = Hanging()
        idp.answer(WELL_KNOWN, hanging)
        for _ in range(FAILURES):
            waiting = asyncio.create_task(client.reach())
            await hanging.asked()
            waiting.cancel()
            await asyncio.wait([waiting])
        idp.answer(WELL_KNOWN, idp.metadata())
        await client.reach()

    async def test_endpoints_that_come_and_go_fill_no_memory(self) -> None:
        breakers = CircuitBreakers(StoppedClock(datetime(2026, 1, 1, tzinfo=UTC)))
        first = breakers.of("https://idp.example/token?realm=shop")
        assert breakers.of("https://idp.example/token?realm=other") is first
        for number in range(MOST_ENDPOINTS):
            breakers.of(f"https://idp.example/{number}")
        assert breakers.of("https://idp.example/token") is not first

    async def test_a_server_error_that_a_code_causes_opens_nothing(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        await fail(idp, client, FAILURES + 2, status="500 Internal Server Error")

    async def test_stale_keys_and_metadata_serve_while_it_is_open(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        await client.authorization_url(redirect_uri="r", state="s", nonce="n", code_verifier="v")
        await fail(idp, client)
        idp.clock.advance(hours=2)
        idp.answer(WELL_KNOWN, b"", **AWAY)
        url = await client.authorization_url(redirect_uri="r", state="s", nonce="n", code_verifier="v")
        assert url.startswith(idp.server.url("/auth?"))

    async def test_providers_do_not_share_one(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        other = idp.client(id="other")
        await fail(idp, client)
        idp.answer("/token", idp.tokens())
        assert (await other.authenticate(query(), **ARRIVING)).subject == "alice"

    def test_there_is_one_probe_at_a_time(self) -> None:
        clock = StoppedClock(datetime(2026, 1, 1, tzinfo=UTC))
        breaker = CircuitBreaker(clock)
        for _ in range(FAILURES):
            with breaker.call() as call:
                call.broke()
        clock.advance(seconds=11)
        with breaker.call(), pytest.raises(ProviderUnavailable), breaker.call():
            pass
        # The probe was cancelled before it knew: the next one is the probe.
        with breaker.call() as call:
            call.succeeded()
        with breaker.call(), breaker.call():
            pass


class TestWhatOperatorsSee:
    async def test_every_outcome_is_counted_and_logged(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        token = idp.tokens()["id_token"]
        await client.authenticate(query(), **ARRIVING)
        await client.verify_id_token(token, nonce=ARRIVING["nonce"])
        await fail(idp, client, 1)
        idp.answer("/token", b"nonsense")
        with structlog.testing.capture_logs() as lines:
            for answer, nonce, error in (
                (query(), "n", ProviderAnswerInvalid),
                ({"error": "access_denied", "error_description": "no"}, "n", AuthorizationRefused),
            ):
                with pytest.raises(error):
                    await client.authenticate(answer, **{**ARRIVING, "nonce": nonce})
            with pytest.raises(ProviderTokenInvalid):
                await client.verify_id_token(token, nonce="other")
        assert idp.tally.of("provider_answers") == {
            ("idp", "authenticated"): 2,
            ("idp", "provider_unavailable"): 1,
            ("idp", "provider_answer_invalid"): 1,
            ("idp", "provider_refused"): 1,
            ("idp", "provider_token_invalid"): 1,
        }
        assert [(line["event"], line.get("cause"), line.get("error")) for line in lines] == [
            ("provider.failed", "not_json", None),
            ("provider.refused", None, "access_denied"),
            ("provider.failed", "nonce", None),
        ]
        assert token not in str(lines)
        assert "c-1" not in str(lines)


class TestManyAtOnce:
    async def test_calls_have_a_bound_and_others_are_told_at_once(self, idp: ScriptedProvider) -> None:
        client = idp.client(Limits(places=4, waiting=3))
        await client.authorization_url(redirect_uri="r", state="s", nonce="n", code_verifier="v")
        hanging = Hanging()
        idp.answer("/token", hanging)
        running = [asyncio.create_task(client.authenticate(query(), **ARRIVING)) for _ in range(7)]
        await hanging.asked(4)
        assert await cause_of(client) == "too_many_calls"
        assert idp.asked("/token") == 4
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        idp.answer("/token", idp.tokens())
        assert (await client.authenticate(query(), **ARRIVING)).subject == "alice"
