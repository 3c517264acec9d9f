"""The address where a provider signs a browser out, and the way back."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import KeyRing
from shopkeeper.flows.provider_logout import LONGEST_URL, PURPOSE, ProviderLogout
from shopkeeper.flows.return_to import LONGEST
from shopkeeper.http_client import GuardedClient
from shopkeeper.openid.authenticated import LONGEST_HINT
from shopkeeper.signin.provider_sessions import ProviderSession, ProviderSessions
from tests.openid.scripted import DROP, WELL_KNOWN, ScriptedProvider
from tests.services.web import serving
from tests.sessions.conftest import SECRETS

BACK = "https://shop.example/self-service/methods/oidc/logout/callback"
NEXT = "https://shop.example/welcome"
HINT = "h" * LONGEST_HINT


@pytest.fixture
async def idp(clock: StoppedClock) -> AsyncIterator[ScriptedProvider]:
    async with serving("127.0.0.1") as server, GuardedClient(private_allowed=True) as http:
        yield ScriptedProvider(server, http, clock)


def began(idp: ScriptedProvider, *, issuer: str | None = None) -> ProviderSession:
    return ProviderSession("idp", HINT, issuer or idp.issuer)


def logout(idp: ScriptedProvider, clock: StoppedClock, *, secrets: list[str] = SECRETS) -> ProviderLogout:
    keys = KeyRing(secrets, purpose=PURPOSE)
    return ProviderLogout(
        {"idp": idp.client()},
        provider_sessions=ProviderSessions(keys=keys, clock=clock),
        keys=keys,
        clock=clock,
        callback_url=BACK,
    )


def query_of(url: str | None) -> dict[str, str]:
    assert url is not None
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def test_has_what_the_provider_needs_to_know_the_session(idp: ScriptedProvider, clock: StoppedClock) -> None:
    leading = logout(idp, clock)
    url = await leading.sign_out_url([began(idp)], back_to=NEXT)
    assert url is not None
    assert url.startswith(idp.server.url("/logout?"))
    sent = query_of(url)
    assert (sent["client_id"], sent["id_token_hint"], sent["post_logout_redirect_uri"]) == ("shop", HINT, BACK)
    assert leading.back_to(sent["state"]) == NEXT


async def test_is_left_without_the_id_token_where_that_makes_it_too_long(
    idp: ScriptedProvider, clock: StoppedClock
) -> None:
    leading, far = logout(idp, clock), f"{NEXT}?{'x' * LONGEST}"[:LONGEST]
    url = await leading.sign_out_url([began(idp)], back_to=far)
    sent = query_of(url)
    assert "id_token_hint" not in sent
    assert len(url or "") <= LONGEST_URL
    assert leading.back_to(sent["state"]) == far


async def test_is_of_the_last_provider_that_signs_out(idp: ScriptedProvider, clock: StoppedClock) -> None:
    several = [ProviderSession("not-configured", "other"), ProviderSession("idp", None), began(idp)]
    assert "id_token_hint" not in query_of(await logout(idp, clock).sign_out_url(several, back_to=NEXT))


async def test_has_no_id_token_of_an_issuer_that_the_provider_s_id_meant_before(
    idp: ScriptedProvider, clock: StoppedClock
) -> None:
    former = began(idp, issuer="https://former.example")
    assert "id_token_hint" not in query_of(await logout(idp, clock).sign_out_url([former], back_to=NEXT))


@pytest.mark.parametrize("others", [[], [ProviderSession("not-configured", HINT)]])
async def test_there_is_none_for_other_sessions(
    idp: ScriptedProvider, clock: StoppedClock, others: list[ProviderSession]
) -> None:
    assert await logout(idp, clock).sign_out_url(others, back_to=NEXT) is None
    assert idp.server.heads == []


async def test_there_is_none_where_the_provider_has_no_such_place(idp: ScriptedProvider, clock: StoppedClock) -> None:
    idp.answer(WELL_KNOWN, idp.metadata(end_session_endpoint=DROP))
    assert await logout(idp, clock).sign_out_url([began(idp)], back_to=NEXT) is None


async def test_there_is_none_while_the_provider_is_away(idp: ScriptedProvider, clock: StoppedClock) -> None:
    leading = logout(idp, clock)
    assert await leading.sign_out_url([began(idp)], back_to=NEXT) is not None
    idp.answer(WELL_KNOWN, b"", status="503 Service Unavailable")
    # For ten seconds, the last answer counts.
    assert await leading.sign_out_url([began(idp)], back_to=NEXT) is not None
    clock.advance(seconds=10)
    assert await leading.sign_out_url([began(idp)], back_to=NEXT) is None


@pytest.mark.parametrize("state", ["", "x", "https://evil.example/", "A" * 200])
def test_a_state_of_somebody_else_leads_nowhere(state: str, clock: StoppedClock) -> None:
    keys = KeyRing(SECRETS, purpose=PURPOSE)
    leading = ProviderLogout(
        {}, provider_sessions=ProviderSessions(keys=keys, clock=clock), keys=keys, clock=clock, callback_url=BACK
    )
    assert leading.back_to(state) is None


async def test_a_state_leads_back_for_an_hour_and_with_our_secret(idp: ScriptedProvider, clock: StoppedClock) -> None:
    leading = logout(idp, clock)
    state = query_of(await leading.sign_out_url([began(idp)], back_to=NEXT))["state"]
    assert logout(idp, clock, secrets=["another secret"]).back_to(state) is None
    clock.advance(minutes=59)
    assert leading.back_to(state) == NEXT
    clock.advance(minutes=1)
    assert leading.back_to(state) is None
