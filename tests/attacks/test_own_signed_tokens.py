"""Rows 1 to 6, 8 and 11 to 14: our own access tokens, and the assertions by which services authenticate, forged."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import new_id, new_token
from shopkeeper.errors import TokenInvalid
from shopkeeper.jose.keys import PrivateKey
from shopkeeper.oauth.client_assertions import ASSERTION_TYPE
from shopkeeper.oauth.errors import InvalidClient
from shopkeeper.storage.database import Database
from shopkeeper.tokens.access_tokens import AccessTokens
from tests.attacks.test_tokens import MONSTERS, respelled
from tests.jose.crafted import hashed, part, signed
from tests.oauth.conftest import IP, ISSUER, KEY, authentication_of
from tests.services.databases import sqlalchemy_url
from tests.tokens.process_keys import ProcessKeys

STRANGER = PrivateKey.generate()
HMACS = ("HS256", "HS384", "HS512")


@dataclass(frozen=True)
class Door:
    """Where signed tokens are accepted: the key that signs them, and what they say."""

    key: PrivateKey
    typ: str
    claims: Callable[[], dict[str, Any]]
    accepts: Callable[[str], Awaitable[bool]]

    @property
    def header(self) -> dict[str, Any]:
        return {"alg": self.key.algorithm, "typ": self.typ, "kid": self.key.kid}


async def access_tokens(database: Database, clock: StoppedClock) -> Door:
    keys = ProcessKeys(database, ["a secret of the shop"], clock)
    tokens = AccessTokens(keys, issuer=ISSUER, clock=clock, lifespan=timedelta(minutes=10))

    def claims() -> dict[str, Any]:
        now = int(clock.now().timestamp())
        who = {"sub": "orders", "client_id": "orders", "aud": "stock", "scope": "stock:read", "jti": str(new_id())}
        return {"iss": ISSUER, "iat": now, "exp": now + 600, **who}

    async def accepts(token: str) -> bool:
        try:
            return (await tokens.verify(token)).client_id == "orders"
        except TokenInvalid:
            return False

    return Door(await keys.current(), "at+jwt", claims, accepts)


async def assertions(database: Database, clock: StoppedClock) -> Door:
    authentication = authentication_of(database, clock, per_ip="100000/minute")

    def claims() -> dict[str, Any]:
        now = int(clock.now().timestamp())
        return {"iss": "stock", "sub": "stock", "aud": ISSUER, "exp": now + 60, "iat": now, "jti": new_token("")}

    async def accepts(token: str) -> bool:
        form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": token}
        try:
            return await authentication.authenticate([], form, ip=IP) == "stock"
        except InvalidClient:
            return False

    return Door(KEY, "client-authentication+jwt", claims, accepts)


@pytest.fixture
async def sqlite(sqlite_dsn: str) -> AsyncIterator[Database]:
    database = Database(sqlalchemy_url(sqlite_dsn))
    yield database
    await database.close()


@pytest.fixture(params=[access_tokens, assertions], ids=["access token", "assertion"])
async def door(request: pytest.FixtureRequest, sqlite: Database, clock: StoppedClock) -> Door:
    door: Door = await request.param(sqlite, clock)
    assert await door.accepts(signed(door.key, door.claims(), door.header)), "what the forgeries are made of"
    return door


def spellings_of(key: PrivateKey) -> Iterator[bytes]:
    """Yield every encoding of a public key that an HMAC could be made with."""
    public: Any = key.verification_key().key
    for encoding, form in (
        (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.OpenSSH, PublicFormat.OpenSSH),
        (Encoding.X962, PublicFormat.UncompressedPoint),
    ):
        encoded = public.public_key.public_bytes(encoding, form)
        yield from (encoded, encoded.strip(), encoded + b"\n")
    jwk = key.public_jwk()
    yield from (json.dumps(jwk).encode(), json.dumps({"keys": [jwk]}).encode(), str(jwk["x"]).encode(), b"")


async def test_row_001_and_002_our_public_keys_are_no_secrets(door: Door) -> None:
    for algorithm in HMACS:
        for secret in spellings_of(door.key):
            assert not await door.accepts(hashed(secret, algorithm, door.header, door.claims())), algorithm


async def test_row_003_a_key_set_that_is_read_from_us_is_no_secret(door: Door) -> None:
    for indent in (None, 2):
        body = json.dumps({"keys": [door.key.public_jwk()]}, indent=indent).encode()
        assert not await door.accepts(hashed(body, "HS256", door.header, door.claims()))


async def test_row_004_no_extension_is_understood_in_our_own_tokens(door: Door) -> None:
    for crit in [["bork"], ["cnf"], [], ["alg"], ["b64"], "bork", None]:
        for more in ({}, {"bork": 1, "cnf": {}, "b64": True}):
            assert not await door.accepts(signed(door.key, door.claims(), {**door.header, **more, "crit": crit})), crit


async def test_row_005_an_unsigned_token_of_ours_is_refused(door: Door) -> None:
    for name in ["none", "None", "NONE", "nOnE", "", "none ", None, False]:
        said = f"{part({**door.header, 'alg': name})}.{part(door.claims())}"
        for token in (f"{said}.", said, f"{said}.AA", f"{said}.{part(bytes(64))}"):
            assert not await door.accepts(token), name
        header = {key: value for key, value in door.header.items() if key != "alg"}
        assert not await door.accepts(f"{part(header)}.{part(door.claims())}."), name
        assert not await door.accepts(signed(door.key, door.claims(), header)), name


async def test_row_006_a_key_that_a_token_brings_along_is_not_used(door: Door) -> None:
    for kid in ["ours", "the stranger's", None, "", "../../dev/null"]:
        names = {"ours": door.key.kid, "the stranger's": STRANGER.kid}
        named = {} if kid is None else {"kid": names.get(kid, kid)}
        public = STRANGER.public_jwk()
        for brought in (
            {},
            {"jwk": public},
            {"jku": "http://127.0.0.1:1/keys"},
            {"x5u": "http://127.0.0.1:1/certificate"},
            {"x5c": ["MIIB"]},
            {"jwk": public, "jku": "data:application/json,{}", "x5c": []},
        ):
            header = {"alg": "ES256", "typ": door.typ, **named, **brought}
            assert not await door.accepts(signed(STRANGER, door.claims(), header)), kid


async def test_row_008_the_family_of_a_key_cannot_be_switched(door: Door) -> None:
    """Also not where the signature is right by the key that was meant."""
    for algorithm in ["RS256", "PS256", "EdDSA", "ES384", "ES512", *HMACS]:
        assert not await door.accepts(signed(door.key, door.claims(), {**door.header, "alg": algorithm})), algorithm
        if algorithm not in HMACS:
            other = PrivateKey.generate(algorithm)
            header = {**door.header, "alg": algorithm, "jwk": other.public_jwk()}
            assert not await door.accepts(signed(other, door.claims(), header)), algorithm


async def test_row_008_a_token_of_one_kind_is_none_of_the_other(sqlite: Database, clock: StoppedClock) -> None:
    """Although both are signed by the key that is right at the other door."""
    tokens, services = await access_tokens(sqlite, clock), await assertions(sqlite, clock)
    for claims in (tokens.claims(), services.claims(), {**tokens.claims(), **services.claims()}):
        assert not await tokens.accepts(signed(tokens.key, claims, {**tokens.header, "typ": services.typ}))
        assert not await services.accepts(signed(services.key, claims, {**services.header, "typ": tokens.typ}))
        for typ in ("JWT", "logout+jwt", "token-introspection+jwt", None):
            assert not await tokens.accepts(signed(tokens.key, claims, {**tokens.header, "typ": typ}))


async def test_row_011_a_signed_token_has_one_spelling(door: Door) -> None:
    token = signed(door.key, door.claims(), door.header)
    for changed in respelled(token):
        assert not await door.accepts(changed), changed
    assert await door.accepts(token)


async def test_row_012_what_is_not_for_us_or_names_no_audience_is_refused(door: Door) -> None:
    """An access token is for others, and needs an audience that can be compared."""
    for audience in [None, "", [], [""], 7, {}, True, "other", ["other"], [["stock"]], [None]]:
        claims = {**door.claims(), "aud": audience}
        accepted = await door.accepts(signed(door.key, claims, door.header))
        assert not accepted or (door.typ == "at+jwt" and audience == "other"), audience
        del claims["aud"]
        assert not await door.accepts(signed(door.key, claims, door.header)), audience


async def test_row_012_a_time_that_is_none_excuses_nothing(door: Door) -> None:
    for value in [None, "4102444800", True, [], {}, -1, 0, 1e400, 10**400, -(10**30)]:
        said = json.dumps({**door.claims(), "exp": value}).encode()
        assert not await door.accepts(signed(door.key, said, door.header)), value
        claims = {**door.claims(), "exp": value, "aud": [], "sub": None}
        assert not await door.accepts(signed(door.key, json.dumps(claims).encode(), door.header)), value


async def test_row_013_and_014_what_was_crafted_is_refused_as_any_other(door: Door) -> None:
    for name, token in MONSTERS.items():
        assert not await door.accepts(token), name


async def test_row_013_a_megabyte_is_refused_before_it_is_decoded(door: Door) -> None:
    said = part(door.header)
    for token in ("." * 1_000_000, f"{said}.{'A' * 1_000_000}.AA", f"{said}.e30.{'A' * 1_000_000}", "A" * 1_000_000):
        assert not await door.accepts(token)
    for deep in (b"[" * 3_000, b'{"a":' * 800, b'{"a":' * 40 + b"1" + b"}" * 40):
        assert not await door.accepts(signed(door.key, deep, door.header))
