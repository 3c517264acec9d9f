"""Providers as the conformance suite sees them: one stage for each kind, with the tokens that the suite asks for.

A kind plugs in with one class and one line in `STAGES`. What a kind cannot have is None, and is left out.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Protocol
from uuid import uuid4

from shopkeeper.app.identity_providers import identity_provider_of, token_source_of
from shopkeeper.clock import SystemClock
from shopkeeper.http_client import GuardedClient
from shopkeeper.openid.calls import Limits
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.sessions.token_sources import SessionTokens, TokenSource
from shopkeeper.settings.oidc_provider import OidcProvider
from shopkeeper.upstream.own_credentials import OwnCredentials
from shopkeeper.upstream.token_questions import TokenQuestions
from tests.attacks.scene import PASSWORD, Scene, new_address, sign_up, visit
from tests.services.openid_provider import CLIENT_SECRET, OpenIDProvider
from tests.services.other_openid_provider import OtherProvider
from tests.upstream.kratos_scene import IDP, InFront

API = "https://api.shop.example"
OPAQUE = f"{API}/opaque"
HERE, ELSEWHERE = "kettle", "quince"
IMPATIENT = Limits(call=0.5, patience=0.2, conversation=1.0)
BACK = "https://shop.example/callback"


class _NoBudget:
    async def borrow(self, source: str) -> str:
        return source

    async def give_back(self, borrowed: str) -> None:
        pass


def unlimited() -> TokenQuestions:
    """Return what counts questions and limits none."""
    return TokenQuestions(_NoBudget())


class Stage(Protocol):
    """A provider of one kind. Every token is for the store `HERE`."""

    source: TokenSource

    async def token(self) -> str:
        """Return a valid token of a person, `ada`, each time another one."""
        ...

    async def refused(self) -> Mapping[str, str]:
        """Return tokens that the provider has issued, or could have, and that must be refused, by what is wrong."""
        ...

    async def revoke(self, token: str) -> bool:
        """End a token; return False where a kind's tokens end by their time only."""
        ...


class RemoteStage(Stage, Protocol):
    """A provider that is another server, which can fail."""

    async def break_down(self, how: str) -> None:
        """Let the provider fail: it is `away`, `slow` or `unavailable`, or answers `nonsense`."""
        ...


def section_of(**given: Any) -> OidcProvider:
    """Return the section of a provider, without the settings around it."""
    return OidcProvider.model_validate({"id": "idp", "kind": "oidc", "audiences": [API], **given})


class _OidcStage:
    """What the stages of OpenID providers have in common."""

    section: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, provider: OpenIDProvider, http: GuardedClient) -> None:
        self.provider = provider
        provider.client(redirect_uris=[BACK])
        provider.client("app", redirect_uris=[BACK])
        provider.person("ada@example.org", groups=["wholesale"])
        section = section_of(
            **{
                "issuer": provider.issuer,
                "client_id": "shop",
                "client_secret": CLIENT_SECRET,
                "cache": "0s",
                "opaque_cache": "0s",
                **self.section,
            }
        )
        client = OpenIDClient(identity_provider_of(section), http=http, clock=SystemClock(), limits=IMPATIENT)
        self.source = token_source_of(
            section, client, clock=SystemClock(), stores=[HERE], questions=unlimited(), own=OwnCredentials()
        )


class JwtStage(_OidcStage):
    """Access tokens as JWT, of npm's `oidc-provider`."""

    async def token(self) -> str:
        return self.provider.access_token("ada@example.org", resource=API)

    async def refused(self) -> Mapping[str, str]:
        now, sign = int(time.time()), self.provider.sign
        good = {"aud": API, "sub": "sub-ada", "client_id": "app", "scope": "openid"}
        at = {"typ": "at+jwt"}
        token = await self.token()
        head, body, signature = token.split(".")
        return {
            "another audience": self.provider.access_token("ada@example.org", resource="https://other.example"),
            "no audience": sign({**good, "aud": None}, header=at),
            "an empty list of audiences": sign({**good, "aud": []}, header=at),
            "a number as audience": sign({**good, "aud": 7}, header=at),
            "an audience that only begins so": sign({**good, "aud": f"{API}/"}, header=at),
            "expired": sign({**good, "iat": now - 7200, "exp": now - 3600}, header=at),
            "no end": sign({**good, "exp": None}, header=at),
            "an end that is a text": sign({**good, "exp": str(now + 300)}, header=at),
            "not yet valid": sign({**good, "nbf": now + 3600}, header=at),
            "issued tomorrow": sign({**good, "iat": now + 86_400, "exp": now + 90_000}, header=at),
            "never issued": sign({**good, "iat": None}, header=at),
            "no subject": sign({**good, "sub": None}, header=at),
            "an empty subject": sign({**good, "sub": ""}, header=at),
            "a subject that is a list": sign({**good, "sub": ["sub-ada"]}, header=at),
            "another issuer": sign({**good, "iss": "https://evil.example"}, header=at),
            "an issuer that only begins so": sign({**good, "iss": f"{self.provider.issuer}/"}, header=at),
            "an ID token": sign({"aud": "shop", "sub": "sub-ada", "nonce": "n"}),
            "an ID token for the API": sign({"aud": API, "sub": "sub-ada", "nonce": "n", "client_id": "app"}),
            "an ID token without a nonce": sign({"aud": API, "sub": "sub-ada", "azp": "shop"}),
            "a logout token": sign({**good, "events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
            "a logout token by its type": sign(good, header={"typ": "logout+jwt"}),
            "a type of another kind": sign(good, header={"typ": "dpop+jwt"}),
            "a changed signature": f"{head}.{body}.{signature[:-8]}AAAAAAAA",
            "no signature": f"{head}.{body}.",
            "cut off": token[:-1],
            "padded": f"{token}=",
        }

    async def revoke(self, token: str) -> bool:
        return False

    async def break_down(self, how: str) -> None:
        self.provider.faults(jwks=_FAULTS[how])


class IntrospectionStage(_OidcStage):
    """Opaque access tokens of npm's `oidc-provider`, by its introspection."""

    section: ClassVar[Mapping[str, Any]] = {"opaque_tokens": "introspection", "audiences": [OPAQUE]}

    async def token(self) -> str:
        return self.provider.access_token("ada@example.org", resource=OPAQUE)

    async def refused(self) -> Mapping[str, str]:
        token = await self.token()
        return {
            "another audience": self.provider.access_token("ada@example.org", resource="https://other.example/opaque"),
            "no audience": self.provider.access_token("ada@example.org", resource=None),
            "a guess": "a" * len(token),
            "cut off": token[:-1],
            "of another case": token.swapcase(),
        }

    async def revoke(self, token: str) -> bool:
        self.provider.revoke(token)
        return True

    async def break_down(self, how: str) -> None:
        self.provider.faults(introspection=_FAULTS[how])


class UserinfoStage(_OidcStage):
    """Opaque access tokens of npm's `oidc-provider`, by its userinfo."""

    section: ClassVar[Mapping[str, Any]] = {"opaque_tokens": "userinfo"}

    async def token(self) -> str:
        return self.provider.access_token("ada@example.org", resource=None)

    async def refused(self) -> Mapping[str, str]:
        token = await self.token()
        return {"a guess": "a" * len(token), "cut off": token[:-1], "of another case": token.swapcase()}

    async def revoke(self, token: str) -> bool:
        self.provider.revoke(token)
        return True

    async def break_down(self, how: str) -> None:
        self.provider.faults(me=_FAULTS[how])


_FAULTS: Mapping[str, Mapping[str, Any]] = {
    "away": {"drop": True},
    "slow": {"delay": 5, "status": 200, "body": "{}"},
    "nonsense": {"status": 200, "body": "<html>"},
    "unavailable": {"status": 503, "body": "{}", "headers": {"retry-after": "7"}},
}


class OtherStage:
    """Opaque access tokens of PyPI's `oidc-provider-mock`, by its userinfo: it knows no API and no introspection."""

    def __init__(self, provider: OtherProvider, http: GuardedClient) -> None:
        self.provider = provider
        self.subject = f"ada-{uuid4().hex}"
        section = section_of(
            issuer=provider.issuer, client_id="shop", client_secret="any", opaque_tokens="userinfo", opaque_cache="0s"
        )
        self.client = OpenIDClient(identity_provider_of(section), http=http, clock=SystemClock())
        self.source = token_source_of(
            section, self.client, clock=SystemClock(), stores=[HERE], questions=unlimited(), own=OwnCredentials()
        )

    async def token(self) -> str:
        self.provider.person(self.subject)
        verifier = await self.client.new_code_verifier()
        url = await self.client.authorization_url(redirect_uri=BACK, state="s", nonce="n", code_verifier=verifier)
        arrival = await asyncio.to_thread(self.provider.sign_in, url, self.subject)
        signed_in = await self.client.authenticate(arrival.query, redirect_uri=BACK, nonce="n", code_verifier=verifier)
        assert signed_in.access_token is not None
        return signed_in.access_token

    async def refused(self) -> Mapping[str, str]:
        token = await self.token()
        return {"a guess": "a" * len(token), "cut off": token[:-1], "of another case": token.swapcase()}

    async def revoke(self, token: str) -> bool:
        await asyncio.to_thread(self.provider.revoke, self.subject)
        return True


class KratosStage:
    """Sessions of another server with Kratos' API, which a test can let fail."""

    def __init__(self, scene: InFront) -> None:
        self.scene = scene
        self.source = scene.shop.application.accounts.session_servers.sessions[IDP]

    async def token(self) -> str:
        return str((await sign_up(await self.scene.remote.native(), new_address()))["session_token"])

    async def refused(self) -> Mapping[str, str]:
        token = await self.token()
        return {"cut off": token[:-1], "of another case": token[:7] + token[7:].swapcase(), "padded": f"{token}="}

    async def revoke(self, token: str) -> bool:
        app = await self.scene.remote.native()
        answer = await app.request("DELETE", "/self-service/logout/api", json={"session_token": token})
        assert answer.status_code == 204
        return True

    async def break_down(self, how: str) -> None:
        self.scene.faults.how = how


class OwnStage:
    """Sessions of this server's own identities."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.source = SessionTokens(scene.application.accounts.sessions)

    async def token(self) -> str:
        app, email = await self.scene.native(), new_address()
        await sign_up(app, email)
        return str((await visit(app, username=email, password=PASSWORD))["authorization"])

    async def refused(self) -> Mapping[str, str]:
        token = await self.token()
        return {"cut off": token[:-1], "of another case": token[:7] + token[7:].swapcase(), "padded": f"{token}="}

    async def revoke(self, token: str) -> bool:
        app = await self.scene.native(authorization=f"Bearer {token}")
        assert (await app.post("/signout", json={})).status_code == 200
        return True


STAGES: Final = ("own", "kratos", "jwt", "introspection", "userinfo", "other")
REMOTE: Final = ("kratos", "jwt", "introspection", "userinfo")
"""Those whose server a test can let fail."""
