"""Rows 1, 2, 4, 7, 12, 13 and 14: signed tokens of a provider forged or crafted, wherever one is taken."""

import base64
import hmac
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from shopkeeper.clock import StoppedClock
from shopkeeper.http_client import GuardedClient
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.provider import Provider
from tests.openid.scripted import ARRIVING, DROP, NONCE, RSA, ScriptedProvider, query, signed
from tests.services.web import serving

OBJECTS = b'{"a":' * 200 + b"1" + b"}" * 200


@pytest.fixture
async def idp(clock: StoppedClock) -> AsyncIterator[ScriptedProvider]:
    async with serving("127.0.0.1") as server, GuardedClient(private_allowed=True) as http:
        yield ScriptedProvider(server, http, clock)


async def refusals(idp: ScriptedProvider, token: str) -> set[str]:
    """Return why a token is refused: from an app, from the token endpoint, and as a logout token."""
    client = idp.client()
    idp.answer("/token", idp.tokens(token))
    tries = (
        client.verify_id_token(token, nonce=NONCE),
        client.authenticate(query(), **ARRIVING),
        client.verify_logout_token(token),
    )
    causes = set()
    for tried in tries:
        with pytest.raises(ProviderTokenInvalid) as refused:
            await tried
        causes.add(refused.value.cause)
    return causes


def part(document: Any) -> str:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def hashed(secret: bytes, algorithm: str, claims: dict[str, Any], **header: Any) -> str:
    """Return a token with an HMAC, made without a library, which would refuse to."""
    body = f"{part({'alg': algorithm, 'kid': 'rsa', **header})}.{part(claims)}"
    digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}[algorithm]
    return f"{body}.{part(hmac.digest(secret, body.encode(), digest))}"


def spellings_of_the_key() -> Iterator[bytes]:
    """Yield every encoding of the provider's public key that an HMAC could be made with."""
    public = RSA.public_key
    spki, pkcs1 = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1
    for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER):
        for form in (spki, pkcs1):
            encoded = public.public_bytes(encoding, form)
            yield encoded
            yield encoded.strip()
    yield public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    jwk = RSA.as_dict(private=False)
    yield from (json.dumps(jwk).encode(), json.dumps({"keys": [jwk]}).encode(), str(jwk["n"]).encode())


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_row_001_and_002_a_public_key_in_any_encoding_is_no_secret(idp: ScriptedProvider, algorithm: str) -> None:
    for secret in (*spellings_of_the_key(), b"shop-secret", b""):
        assert await refusals(idp, hashed(secret, algorithm, idp.claims())) == {"algorithm"}


@pytest.mark.parametrize("algorithms", [("HS256",), ("none",), ("RS256", "HS512"), ()])
def test_row_002_no_setting_allows_them(algorithms: tuple[str, ...]) -> None:
    provider = Provider(id="idp", preset="generic", label="", client_id="shop", issuer="https://idp.example")
    with pytest.raises(ValueError, match=r"algorithm|accepted"):
        replace(provider, algorithms=algorithms)


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["bork"], "bork": True},
        {"crit": ["bork"]},
        {"crit": ["cnf"], "cnf": {"jkt": "x"}},
        {"crit": []},
        {"crit": ["alg"]},
        {"crit": "alg"},
        {"crit": {}},
        {"crit": None},
        {"crit": ["b64"], "b64": False},
        {"b64": True},
    ],
)
async def test_row_004_no_extension_is_understood(idp: ScriptedProvider, header: dict[str, Any]) -> None:
    assert await refusals(idp, signed(idp.claims(), **header)) == {"crit"}


@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES256", "EdDSA"])
@pytest.mark.parametrize("at_hash", ["", "AAAAAAAAAAAAAAAAAAAAAA", None, 0, False, [], {}])
async def test_row_007_a_hash_is_checked_by_every_algorithm(
    idp: ScriptedProvider, algorithm: str, at_hash: Any
) -> None:
    idp.answer("/token", idp.tokens(signed(idp.claims(at_hash=at_hash), algorithm=algorithm)))
    with pytest.raises(ProviderTokenInvalid) as refused:
        await idp.client().authenticate(query(), **ARRIVING)
    assert refused.value.cause == "at_hash"


@pytest.mark.parametrize(
    "audience",
    [
        [],
        [""],
        None,
        0,
        True,
        {},
        {"shop": 1},
        ["other"],
        [["shop"]],
        ["shop", None],
        "shop,other",
        "SHOP",
        "shop ",
    ],
)
async def test_row_012_an_audience_is_us_or_a_list_with_us_in_it(idp: ScriptedProvider, audience: Any) -> None:
    assert await refusals(idp, signed(idp.claims(aud=audience))) <= {"audience", "azp", "typ"}
    with pytest.raises(ProviderTokenInvalid) as refused:
        await idp.client().verify_logout_token(signed(idp.logout_claims(aud=audience), typ="logout+jwt"))
    assert refused.value.cause == "audience"


@pytest.mark.parametrize("party", [DROP, None, "other", ["shop"], ""])
async def test_row_012_a_list_with_others_needs_us_as_the_party(idp: ScriptedProvider, party: Any) -> None:
    assert await refusals(idp, signed(idp.claims(aud=["other", "shop"], azp=party))) <= {"azp", "typ", "events"}


async def test_row_012_one_thing_that_is_right_excuses_nothing(idp: ScriptedProvider) -> None:
    """Each token has one fault more than the one before; none is excused by what comes before or after it."""
    wrong: dict[str, Any] = {"aud": "other", "exp": 1, "nonce": "other", "iss": "https://evil.example", "sub": DROP}
    for left_out in (None, *wrong):
        changed = {name: value for name, value in wrong.items() if name != left_out}
        assert await refusals(idp, signed(idp.claims(**changed)))
    for name, value in wrong.items():
        assert await refusals(idp, signed(idp.claims(**{name: value})))


@pytest.mark.parametrize(
    "token",
    [
        "." * 1_000_000,
        "a" * 1_000_000,
        f"{part({'alg': 'ES256', 'kid': 'ec'})}.{'A' * 1_000_000}.AAAA",
        f"{part({'alg': 'ES256', 'kid': 'ec', 'x5c': ['A' * 100_000]})}.e30.AAAA",
        f"{part(b'[' * 30_000)}.e30.AAAA",
        f"{part(OBJECTS)}.e30.AAAA",
    ],
    ids=["dots", "one part", "claims", "certificates", "lists", "objects"],
)
async def test_row_013_a_crafted_token_of_a_provider_is_refused_before_keys_are_read(
    idp: ScriptedProvider, token: str
) -> None:
    client = idp.client()
    for tried in (client.verify_id_token(token, nonce=NONCE), client.verify_logout_token(token)):
        with pytest.raises(ProviderTokenInvalid):
            await tried
    assert idp.asked("/jwks") == 0


async def test_row_013_claims_that_nest_are_refused_although_they_are_signed(idp: ScriptedProvider) -> None:
    nested: Any = {}
    for _ in range(200):
        nested = {"a": nested}
    assert await refusals(idp, signed(idp.claims(nested=nested))) <= {"claims_unreadable", "typ"}


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "PBES2-HS256+A128KW", "enc": "A128CBC-HS256", "p2c": 2_000_000_000, "p2s": "AAAA"},
        {"alg": "RSA-OAEP", "enc": "A256GCM", "zip": "DEF"},
        {"alg": "dir", "enc": "A256GCM", "zip": "DEF"},
    ],
)
async def test_row_014_encrypted_tokens_of_a_provider_are_refused_unread(
    idp: ScriptedProvider, header: dict[str, Any]
) -> None:
    bomb = part(zlib.compress(b"0" * 1_000_000))
    assert await refusals(idp, f"{part(header)}.AAAA.AAAA.{bomb}.AAAA") == {"encrypted"}
