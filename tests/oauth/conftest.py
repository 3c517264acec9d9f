"""Clients of the OAuth endpoints, and what they authenticate with."""

import base64
from datetime import timedelta
from typing import Any
from urllib.parse import quote_plus

from shopkeeper.clock import Clock
from shopkeeper.crypto import digest, new_token
from shopkeeper.jose.keys import KeySet, PrivateKey
from shopkeeper.jose.sign import sign
from shopkeeper.oauth.client_assertions import ASSERTION_TYPE, SignedAssertion
from shopkeeper.oauth.client_authentication import (
    BearerKey,
    ClientAuthentication,
    Method,
    SecretInForm,
    SecretInHeader,
    WholeHeader,
)
from shopkeeper.oauth.clients import ClientCredentials
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import CacheDown
from shopkeeper.storage.database import Database
from shopkeeper.throttle import Throttle

ISSUER = "https://shop.example.org"
ENDPOINT = f"{ISSUER}/oauth2/token"
IP = "203.0.113.7"
OLD, NEW = "old%:+ 3mRq9ZsVbT1kXw7LhC5dYp2Nf", "new-8GtJ4uEa6oKx0QiWv3BnMc5SzPr"
WHOLE = f"Basic {NEW}"
"""A whole value of the header, which looks like a method that it is not."""
KEY, OTHER_KEY = PrivateKey.generate(), PrivateKey.generate()
CLIENTS = {
    "orders": ClientCredentials("orders", secrets=(digest(OLD), digest(NEW))),
    "search": ClientCredentials("search", secrets=(digest("s" + NEW),), authorization=(digest(WHOLE),)),
    "stock": ClientCredentials("stock", keys=KeySet.of_jwks({"keys": [KEY.public_jwk()]})),
    "mail": ClientCredentials("mail", keys=KeySet.of_jwks({"keys": [OTHER_KEY.public_jwk()]})),
}


def authentication_of(
    database: Database, clock: Clock, *, per_ip: str = "60/minute", as_introspection: bool = False
) -> ClientAuthentication:
    """Return the client authentication of one process, with the methods of introspection or of the other endpoints."""
    assertion = SignedAssertion(CLIENTS, audiences=[ISSUER, ENDPOINT], database=database, clock=clock)
    methods: list[Method] = [SecretInHeader(CLIENTS), SecretInForm(CLIENTS), assertion]
    if as_introspection:
        methods = [WholeHeader(CLIENTS), BearerKey(CLIENTS), *methods]
    throttle = Throttle(
        MemoryCache(clock),
        spare=MemoryCache(clock),
        down=CacheDown,
        clock=clock,
        key=b"a key of thirty-two bytes, no less",
        name="client",
        failures=5,
        block=timedelta(minutes=1),
        block_max=timedelta(minutes=15),
        per_ip=per_ip,
    )
    return ClientAuthentication(methods, throttle=throttle)


def basic(client_id: str, secret: str) -> str:
    """Return a Basic header, form-encoded as RFC 6749 section 2.3.1 wants."""
    plain = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(plain.encode()).decode()


def assertion(clock: Clock, *, key: PrivateKey = KEY, typ: str | None = None, **claims: Any) -> dict[str, str]:
    """Return the parameters of a signed assertion of the client `stock`; claims that are None are left out."""
    now = int(clock.now().timestamp())
    said = {"iss": "stock", "sub": "stock", "aud": ISSUER, "exp": now + 60, "iat": now, "jti": new_token("")}
    said = {name: value for name, value in {**said, **claims}.items() if value is not None}
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": sign(said, key, typ)}
