"""Opaque tokens: which ones a provider is asked about, and what its answer has to say."""

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import shopkeeper
from shopkeeper.crypto import OWN_PREFIX
from shopkeeper.errors import TokenInvalid
from shopkeeper.http_client import GuardedClient
from shopkeeper.sessions.token_sources import External
from shopkeeper.settings.kratos_provider import KratosProvider
from tests.attacks.scene import Scene, ask, visit
from tests.services.openid_provider import CLIENT_SECRET, OpenIDProvider
from tests.upstream.stages import API, HERE, IntrospectionStage, UserinfoStage
from tests.upstream.test_provider_conformance import accepted

ADA = "ada@example.org"


class WithoutAudience(IntrospectionStage):
    """The tokens of a provider that knows no audiences: those of one application count."""

    section: ClassVar[Mapping[str, Any]] = {
        "opaque_tokens": "introspection",
        "audiences": [API],
        "allowed_clients": ["shop"],
    }


class AnotherApplication(WithoutAudience):
    section: ClassVar[Mapping[str, Any]] = {**WithoutAudience.section, "allowed_clients": ["app"]}


class AnyApplication(WithoutAudience):
    section: ClassVar[Mapping[str, Any]] = {**WithoutAudience.section, "allowed_clients": []}


@pytest.mark.parametrize("kind", [WithoutAudience, UserinfoStage])
async def test_of_all_kinds_of_tokens_only_access_tokens_are_accepted(
    kind: type[IntrospectionStage], openid_provider: OpenIDProvider, http: GuardedClient
) -> None:
    source = kind(openid_provider, http).source
    tokens = openid_provider.one_of_each_kind(ADA)
    assert {"AccessToken", "AuthorizationCode", "ClientCredentials", "RefreshToken"} <= tokens.keys()
    verified = {name: await accepted(source, token) for name, token in tokens.items()}
    persons = [name for name, each in verified.items() if isinstance(each, External) and not each.by_application]
    assert persons == ["AccessToken"]
    assert verified["RefreshToken"] is None


async def test_without_an_audience_the_application_has_to_be_listed(
    openid_provider: OpenIDProvider, http: GuardedClient
) -> None:
    token = WithoutAudience(openid_provider, http).provider.access_token(ADA, resource=None)
    listed = await accepted(WithoutAudience(openid_provider, http).source, token)
    assert isinstance(listed, External)
    assert listed.audience == (), "nothing says for whom it is, and nothing is made up"
    for kind in (AnotherApplication, AnyApplication):
        assert await accepted(kind(openid_provider, http).source, token) is None


OTHER_KINDS = (
    '"token_type": "refresh_token"',
    '"token_type": "Bearer", "token_use": "refresh_token"',
    '"token_type": "Bearer", "typ": "Refresh"',
    '"token_type": "Bearer", "typ": "Offline"',
    '"typ": "ID"',
)


@pytest.mark.parametrize("audience", [f'"aud": "{API}",', '"aud": [],', '"aud": null,', ""])
async def test_what_the_provider_calls_a_refresh_token_is_none(
    openid_provider: OpenIDProvider, http: GuardedClient, audience: str
) -> None:
    source = WithoutAudience(openid_provider, http).source
    says = '{"active": true, "sub": "sub-ada", "client_id": "shop", %s %s}'

    async def answered(kind: str) -> bool:
        openid_provider.faults(introspection={"status": 200, "body": says % (audience, kind)})
        return await accepted(source, "opaque") is not None

    assert await answered('"token_type": "Bearer"')
    assert [kind for kind in OTHER_KINDS if await answered(kind)] == []
    assert await answered('"scope": "openid"') is (API in audience), "without both, it may be any token"


def own_prefixes() -> set[str]:
    """Return what the tokens of this server begin with, wherever one is issued."""
    sources = Path(shopkeeper.__file__).parent.rglob("*.py")
    return {prefix for each in sources for prefix in re.findall(r'"([a-z]{2,8}_[a-z]{2}_)"', each.read_text())}


def test_all_prefixes_of_this_server_begin_alike() -> None:
    ours = own_prefixes() - {"ory_st_"}
    assert {"shk_st_", "shk_lo_", "shk_rt_", "shk_au_"} <= ours
    assert [prefix for prefix in ours if not prefix.startswith(OWN_PREFIX)] == []


@pytest.mark.parametrize("kind", [IntrospectionStage, UserinfoStage])
async def test_no_token_of_this_server_is_sent_to_a_provider(
    kind: type[IntrospectionStage], openid_provider: OpenIDProvider, http: GuardedClient
) -> None:
    source = kind(openid_provider, http).source
    for prefix in sorted(own_prefixes() - {"ory_st_"}):
        token = f"{prefix}{'a' * 43}"
        assert not source.recognises(token)
        with pytest.raises(TokenInvalid):
            await source.verify(token, HERE)
    assert openid_provider.counts() == {}


KEYS = {each: secrets.token_hex(32) for each in ("admin", "caller", "authorization", "client")}


async def test_no_visit_and_no_key_of_ours_is_sent_to_a_provider(
    open_shop: Callable[..., Awaitable[Scene]], openid_provider: OpenIDProvider
) -> None:
    """Neither as bearer nor in a sign-in."""
    opaque = {"client_id": "shop", "client_secret": CLIENT_SECRET, "opaque_tokens": "introspection"}
    settings = {
        "admin": {"api_keys": [KEYS["admin"]]},
        "introspection": {
            "callers": [{"id": "ct", "keys": [KEYS["caller"]], "authorization": [f"Bearer {KEYS['authorization']}"]}]
        },
        "tokens": {"clients": [{"id": "orders", "secrets": [KEYS["client"]], "audiences": [API]}]},
    }
    scene = await open_shop(settings=settings, **opaque)
    app = await scene.native(connector=HERE)
    guest = (await visit(app))["authorization"]
    for token in (guest, *KEYS.values(), CLIENT_SECRET):
        answer = await app.post("/signin", json={"authHint": {"token": token}})
        assert answer.status_code in {400, 403}, answer.text
        await ask(app, token, "{ getCurrentCustomer { email } }")
    asked = "/token/introspection"
    assert asked not in openid_provider.counts()
    await app.post("/signin", json={"authHint": {"token": KEYS["admin"] + "x"}})
    assert openid_provider.counts()[asked] == 1


async def test_no_token_of_a_session_server_is_sent_to_a_provider(
    open_shop: Callable[..., Awaitable[Scene]], openid_provider: OpenIDProvider
) -> None:
    kratos = {"id": "kratos", "kind": "kratos", "public_url": "https://kratos.example", "token_prefix": "acme_"}
    opaque = {"client_id": "shop", "client_secret": CLIENT_SECRET, "opaque_tokens": "introspection"}
    scene = await open_shop(kratos, **opaque)
    app = await scene.native(connector=HERE)
    asked = "/token/introspection"
    await ask(app, "acme_0123456789", "{ getCurrentCustomer { email } }")
    assert asked not in openid_provider.counts()
    await ask(app, "acne_0123456789", "{ getCurrentCustomer { email } }")
    assert openid_provider.counts()[asked] == 1


@pytest.mark.parametrize("prefix", ["s", "shk", "shk_", "shk_rt_", "shk_lo_", "shk_st", "shk_st_x"])
def test_a_session_server_does_not_get_other_tokens_of_this_server(prefix: str) -> None:
    section = {"id": "kratos", "kind": "kratos", "public_url": "https://kratos.example"}
    for fitting in ("ory_st_", "shk_st_", "shop_", "acme-"):
        assert KratosProvider.model_validate({**section, "token_prefix": fitting}).token_prefix == fitting
    with pytest.raises(ValueError, match="write shk_st_"):
        KratosProvider.model_validate({**section, "token_prefix": prefix})
