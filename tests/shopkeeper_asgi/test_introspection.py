"""The mode `introspect` (RFC 7662)."""

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shopkeeper_asgi import Introspect, ProviderUnavailable, TokenInvalid, User
from tests.services.web import Server, says, serving
from tests.shopkeeper_asgi.conftest import Make

PATH = "/oauth2/introspect"
TOKEN = [("authorization", "Bearer 2YotnFZFEjr1zCsicMWpAA")]
ACTIVE = {"active": True, "sub": "7", "client_id": "app", "token_type": "Bearer", "email": "ada@example.org"}


@pytest.fixture
async def provider() -> AsyncIterator[Server]:
    async with serving("127.0.0.1") as server:
        yield server


def mode(provider: Server, **told: Any) -> Introspect:
    return Introspect(**{"url": provider.url(PATH), "client_id": "api:1", "client_secret": "s%t", **told})


async def ask(make: Make, provider: Server, answer: Any = None, *, status: str = "200 OK", **told: Any) -> User:
    body = answer if isinstance(answer, bytes) else json.dumps(ACTIVE if answer is None else answer).encode()
    provider.answers[PATH] = says(body, status=status)
    user = await make(mode(provider, **told)).authenticate(TOKEN)
    assert user is not None
    return user


async def test_an_active_token_has_its_user(make: Make, provider: Server) -> None:
    user = await ask(make, provider, ACTIVE | {"email_verified": "true"})
    assert (user.id, user.email, user.verified) == ("7", "ada@example.org", True)
    assert user.session["client_id"] == "app"
    assert "active" not in user.traits


async def test_the_application_says_who_it_is(make: Make, provider: Server) -> None:
    await ask(make, provider)
    pair = base64.b64encode(b"api%3A1:s%25t").decode()  # RFC 6749 section 2.3.1
    assert f"authorization: basic {pair}".lower() in provider.heads[0].lower()
    assert provider.bodies == [b"token=2YotnFZFEjr1zCsicMWpAA&token_type_hint=access_token"]


async def test_it_may_do_so_with_a_key(make: Make, provider: Server) -> None:
    await ask(make, provider, client_id=None, client_secret=None, bearer="key")
    assert "authorization: bearer key" in provider.heads[0].lower()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"active": False}, {}),
        (ACTIVE | {"exp": time.time() - 1}, {}),
        (ACTIVE, {"audience": "shop"}),
        (ACTIVE | {"aud": ["other"]}, {"audience": "shop"}),
        (ACTIVE | {"aud": [1]}, {"audience": "shop"}),
        (ACTIVE, {"issuer": "https://id.example"}),
        ({"active": True, "client_id": "app", "token_type": "Bearer"}, {}),  # a service, not a user
        (ACTIVE | {"kind": "service"}, {}),
        (ACTIVE | {"kind": "guest"}, {}),
        (ACTIVE | {"client_id": "7"}, {}),
        (ACTIVE | {"token_use": "refresh_token"}, {}),  # Hydra
        (ACTIVE | {"token_type": "refresh_token", "aud": "shop"}, {"audience": "shop"}),
        (ACTIVE | {"typ": "Offline"}, {}),  # Keycloak
        (ACTIVE | {"token_type": ...}, {}),  # a refresh token of npm oidc-provider
        (ACTIVE | {"act": {}}, {}),
        (ACTIVE | {"act": "agent"}, {}),
    ],
)
async def test_a_token_is_refused(make: Make, provider: Server, answer: dict[str, Any], told: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        await ask(make, provider, {name: value for name, value in answer.items() if value is not ...}, **told)


@pytest.mark.parametrize("more", [{"token_use": "access_token"}, {"typ": "Bearer"}, {"aud": "shop", "token_type": ...}])
async def test_an_access_token_may_say_so_in_several_ways(make: Make, provider: Server, more: dict[str, Any]) -> None:
    answer = {name: value for name, value in (ACTIVE | more).items() if value is not ...}
    assert (await ask(make, provider, answer)).id == "7"


async def test_what_is_asked_for_is_accepted(make: Make, provider: Server) -> None:
    answer = ACTIVE | {"aud": ["other", "shop"], "iss": "https://id.example", "exp": time.time() + 60}
    assert (await ask(make, provider, answer, audience="shop", issuer="https://id.example")).id == "7"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"error": "invalid_client"}, "401 Unauthorized"),  # the application's mistake, not the user's
        (ACTIVE, "500 Internal Server Error"),
        ({"sub": "7"}, "200 OK"),
        ({"active": "true", "sub": "7"}, "200 OK"),
        ({"active": 1, "sub": "7"}, "200 OK"),
        (b'{"active": false, "active": true, "sub": "7"}', "200 OK"),
        (b"", "200 OK"),
    ],
)
async def test_an_answer_that_is_none_is_an_outage(make: Make, provider: Server, answer: Any, status: str) -> None:
    with pytest.raises(ProviderUnavailable):
        await ask(make, provider, answer, status=status)


async def test_a_token_is_remembered_no_longer_than_it_lives(make: Make, provider: Server) -> None:
    now = [1000.0]
    provider.answers[PATH] = says(json.dumps(ACTIVE | {"exp": 1002}).encode())
    asking = make(mode(provider), now=lambda: now[0])
    await asking.authenticate(TOKEN)
    await asking.authenticate(TOKEN)
    assert len(provider.heads) == 1
    now[0] = 1002
    with pytest.raises(TokenInvalid):
        await asking.authenticate(TOKEN)


@pytest.mark.parametrize("told", [{}, {"client_id": "a"}, {"client_id": "a", "client_secret": "b", "bearer": "c"}])
def test_one_way_to_say_who_asks_is_needed(told: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="who asks"):
        Introspect(url="https://id.example/introspect", **told)


def test_a_mode_does_not_show_its_secrets() -> None:
    shown = repr(Introspect(url="https://id.example/i", client_id="a", client_secret="b-secret"))
    assert "b-secret" not in shown
