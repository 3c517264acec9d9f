"""An issuer of the tests' own: real keys, a served JWKS and discovery document, and tokens of any shape."""

import asyncio
import base64
import json
import time
import warnings
from typing import Any

from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from shopkeeper_asgi.jwt import Jwt
from tests.services.web import Server, says

AUDIENCE = "https://api.shop.example"
EC = ECKey.generate_key("P-256", parameters={"kid": "ec"})
OTHER_EC = ECKey.generate_key("P-256", parameters={"kid": "ec"})
P384 = ECKey.generate_key("P-384", parameters={"kid": "p384"})
ED = OKPKey.generate_key("Ed25519", parameters={"kid": "ed"})
RSA = RSAKey.generate_key(2048, parameters={"kid": "rsa"})
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library warns of what is tested here
    WEAK = RSAKey.generate_key(1024, parameters={"kid": "weak"})
SECRET = OctKey.generate_key(256, parameters={"kid": "secret"})


class Issuer:
    """Serves its keys, and signs.

    Args:
        server: where it is served.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = server.url("").rstrip("/")
        self.publish(EC, ED, RSA)
        discovery = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
        server.answers["/.well-known/openid-configuration"] = says(json.dumps(discovery).encode())

    def publish(self, *keys: Key, **more: Any) -> None:
        """Publish these keys and no others; `more` is added to each."""
        entries = [{**key.as_dict(private=False), **more} for key in keys]
        self.server.answers["/jwks"] = says(json.dumps({"keys": entries}).encode())

    def hang(self, *keys: Key) -> asyncio.Event:
        """Answer with the keys, which are these where some are given, once the event is set."""
        if keys:
            self.publish(*keys)
        gate, answer = asyncio.Event(), self.server.answers["/jwks"]

        async def later(writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            await answer(writer)

        self.server.answers["/jwks"] = later
        return gate

    def fail(self) -> None:
        """Answer no more."""
        self.server.answers["/jwks"] = says(b"", status="500 Internal Server Error")

    @property
    def fetches(self) -> int:
        """How often the keys were fetched."""
        return sum(head.startswith("GET /jwks") for head in self.server.heads)

    def mode(self, **told: Any) -> Jwt:
        return Jwt(**{"issuer": self.url, "audience": AUDIENCE, **told})

    def claims(self, **more: Any) -> dict[str, Any]:
        now = int(time.time())
        told = {"iss": self.url, "aud": AUDIENCE, "sub": "7", "iat": now, "exp": now + 600, **more}
        return {name: value for name, value in told.items() if value is not ...}

    def token(self, key: Key = EC, algorithm: str = "ES256", header: Any = None, **claims: Any) -> str:
        """Sign a token; `header` and `claims` replace members, `...` leaves one out."""
        head = {"alg": algorithm, "kid": key.kid, "typ": "at+jwt", **(header or {})}
        head = {name: value for name, value in head.items() if value is not ...}
        return sign(head, self.claims(**claims), key, algorithm)


def sign(header: Any, payload: Any, key: Key, algorithm: str) -> str:
    """Sign any payload under any header: values become JSON, bytes stay as they are."""
    signed = f"{part(header)}.{part(payload)}"
    return f"{signed}.{part(JWSRegistry.algorithms[algorithm].sign(signed.encode(), key))}"


def part(value: Any) -> str:
    """Return a part of a token: base64url of JSON, or of bytes."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
