"""A server with one answer at two paths: `/bare`, and `/protected` behind the middleware in the mode `jwt`.

python -m bench.protected PORT

It is its own issuer: `/jwks` has its key, and `/token` is a token for `/protected`.
"""

import json
import sys
import time

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.types import Receive, Scope, Send

from bench.bare import asgi
from shopkeeper_asgi import Authenticator, SessionMiddleware
from shopkeeper_asgi.jwt import Jwt

SIZE = 300
AUDIENCE = "https://api.shop.example"


class App:
    """The application. The paths differ in the middleware alone."""

    def __init__(self, issuer: str) -> None:
        key = ECKey.generate_key("P-256", parameters={"kid": "of-the-benchmark"})
        answer = asgi(b'"' + b"x" * (SIZE - 2) + b'"')
        authenticator = Authenticator(Jwt(issuer=issuer, audience=AUDIENCE, jwks_url=f"{issuer}/jwks"))
        self._paths = {
            "/bare": answer,
            "/protected": SessionMiddleware(answer, authenticator=authenticator),
            "/jwks": asgi(json.dumps({"keys": [key.as_dict(private=False)]}).encode()),
            "/token": asgi(token(key, issuer).encode()),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._paths[scope["path"]](scope, receive, send)


def token(key: ECKey, issuer: str) -> str:
    """Sign an access token as an issuer does, with a customer's usual claims."""
    now = int(time.time())
    told = {"email": "ada@example.org", "email_verified": True, "name": "Ada", "groups": ["retail", "club"]}
    claims = {"iss": issuer, "aud": AUDIENCE, "sub": "7", "iat": now, "exp": now + 3600, **told}
    return jwt.encode({"alg": "ES256", "kid": key.kid, "typ": "at+jwt"}, claims, key)


def main() -> None:
    """Serve until stopped."""
    port = int(sys.argv[1])
    app = App(f"http://127.0.0.1:{port}")
    granian = Server(
        app, port=port, interface=Interfaces.ASGINL, http=HTTPModes.http1, websockets=False, log_enabled=False
    )
    uvloop.run(granian.serve())


if __name__ == "__main__":
    main()
