"""A provider of the tests' own: it answers what a test says, also what no real provider would."""

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from shopkeeper.clock import StoppedClock
from shopkeeper.http_client import GuardedClient
from shopkeeper.openid.calls import Limits
from shopkeeper.openid.client import LIMITS, OpenIDClient
from shopkeeper.openid.provider import Provider
from shopkeeper.tally import Tally
from tests.services.web import Server, says

CLIENT_ID, SECRET = "shop", "shop-secret"
NONCE, VERIFIER = "n-0S6_WzA2Mj", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
REDIRECT = "https://shop.example/self-service/methods/oidc/callback/idp"
# Making an RSA key takes a while, and no test changes one.
RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed", "use": "sig"})
KEYS: Mapping[str, Key] = {"RS256": RSA, "PS384": RSA, "ES256": EC, "EdDSA": ED, "Ed25519": ED}
WELL_KNOWN = "/.well-known/openid-configuration"
DROP = object()
"""Stands for a claim that a token lacks."""


def signed(claims: Mapping[str, Any], *, algorithm: str = "ES256", key: Key | None = None, **header: Any) -> str:
    """Return a token signed by the provider's key, or another one."""
    key = key or KEYS[algorithm]
    names = {"kid": key.kid} if key.kid else {}
    made = {name: value for name, value in {"alg": algorithm, **names, **header}.items() if value is not DROP}
    # joserfc warns of the name EdDSA; the signature of Ed25519 is the same.
    return jwt.encode(made, dict(claims), key, registry=_Anything(algorithms=[algorithm]), default_type=None)


class _Anything(jwt.JWSRegistry):
    """Signs with headers that no signer should make."""

    max_payload_length = 1_000_000

    def check_header(self, header: Any) -> None:
        pass

    def get_alg(self, name: str) -> Any:
        return self.algorithms["Ed25519" if name == "EdDSA" else name]


@dataclass
class ScriptedProvider:
    """A provider on the loopback network."""

    server: Server
    http: GuardedClient
    clock: StoppedClock
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.publish(RSA, EC, ED)
        self.answer(WELL_KNOWN, self.metadata())
        self.answer("/token", self.tokens())
        self.answer("/userinfo", {"sub": "alice", "email": "alice@example.com", "email_verified": "true"})

    @property
    def issuer(self) -> str:
        return self.server.url("")

    def metadata(self, **changed: Any) -> dict[str, Any]:
        """Return what the provider says of itself; None takes a member away."""
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": self.server.url("/auth"),
            "token_endpoint": self.server.url("/token"),
            "userinfo_endpoint": self.server.url("/userinfo"),
            "jwks_uri": self.server.url("/jwks"),
            "end_session_endpoint": self.server.url("/logout"),
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": False,
            **changed,
        }
        return {name: value for name, value in document.items() if value is not DROP}

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return the claims of a valid ID token, with changes; `DROP` takes one away."""
        now = int(self.clock.now().timestamp())
        claims = {"iss": self.issuer, "sub": "alice", "aud": CLIENT_ID, "nonce": NONCE, "iat": now, "exp": now + 3600}
        return {name: value for name, value in {**claims, **changed}.items() if value is not DROP}

    def logout_claims(self, **changed: Any) -> dict[str, Any]:
        """Return the claims of a valid logout token, with changes."""
        events = {"http://schemas.openid.net/event/backchannel-logout": {}}
        return self.claims(**{"nonce": DROP, "jti": "j1", "events": events, "sid": "s1", **changed})

    def tokens(self, token: str | None = None, **changed: Any) -> dict[str, Any]:
        """Return the answer of the token endpoint."""
        answer = {
            "access_token": "at-1",
            "token_type": "Bearer",
            "expires_in": 3600,
            "id_token": token or signed(self.claims()),
            **changed,
        }
        return {name: value for name, value in answer.items() if value is not DROP}

    def publish(self, *keys: Key, **changed: Any) -> None:
        """Replace the published keys; `changed` are members that all of them get."""
        documents = [{**key.as_dict(private=False), **changed} for key in keys]
        self.answer("/jwks", {"keys": documents})

    def answer(self, path: str, document: Any, *, status: str = "200 OK", **headers: str) -> None:
        """Answer a path with a JSON document, or with the bytes or the `Answer` given."""
        if callable(document):
            self.server.answers[path] = document
            return
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.server.answers[path] = says(body, status=status, **headers)

    def asked(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(head.split()[1].partition("?")[0] == path for head in self.server.heads)

    def last(self, path: str) -> tuple[str, dict[str, str]]:
        """Return the head and the form of the last request for a path."""
        asked = [number for number, head in enumerate(self.server.heads) if head.split()[1].partition("?")[0] == path]
        form = parse_qs(self.server.bodies[asked[-1]].decode(), keep_blank_values=True)
        return self.server.heads[asked[-1]], {name: values[0] for name, values in form.items()}

    def provider(self, **changed: Any) -> Provider:
        """Return what our settings say of the provider."""
        plain = Provider(
            id="idp", preset="generic", label="IdP", client_id=CLIENT_ID, client_secret=SECRET, issuer=self.issuer
        )
        return replace(plain, **changed)

    def client(self, limits: Limits = LIMITS, others: Collection[Provider] = (), **changed: Any) -> OpenIDClient:
        """Return a new client of the provider, which has read nothing yet."""
        return OpenIDClient(
            self.provider(**changed),
            http=self.http,
            clock=self.clock,
            limits=limits,
            tally=self.tally,
            others=others,
        )


def query(code: str = "c-1", **more: str) -> dict[str, str]:
    """Return an authorization answer."""
    return {"code": code, "state": "s", **more}


ARRIVING: Mapping[str, Any] = {"redirect_uri": REDIRECT, "nonce": NONCE, "code_verifier": VERIFIER}
"""What a callback hands to `authenticate` beside the query."""


class Hanging:
    """An answer that never comes."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        self._asked.put_nowait(None)
        await asyncio.Event().wait()

    async def asked(self, times: int = 1) -> None:
        """Wait until so many requests have come."""
        for _ in range(times):
            await self._asked.get()
