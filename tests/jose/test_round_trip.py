"""What is signed here is verified here, by every algorithm, and published keys hold nothing private."""

from typing import Any

import pytest

from shopkeeper.jose.errors import KeysInvalid, TokenRefused
from shopkeeper.jose.keys import KeySet, PrivateKey, PrivateKeySet
from shopkeeper.jose.sign import sign
from shopkeeper.jose.verify import JwtRules, unverified_header, unverified_issuer, verify, verify_signed

RULES = JwtRules(types={"at+jwt"})
CLAIMS = {"iss": "https://shop.example", "sub": "Zoë", "n": 2**60}
KEYS = {name: PrivateKey.generate(name) for name in ("ES256", "ES384", "ES512", "EdDSA", "RS256", "PS512")}
SECRET = "c2VjcmV0" * 12
"""Base64url of 72 bytes."""


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_signed_token_is_verified(key: PrivateKey) -> None:
    token = sign(CLAIMS, key, "at+jwt", {"cty": "x"})
    published = KeySet.of_jwks({"keys": [each.public_jwk() for each in KEYS.values()]})
    assert verify(token, published, RULES) == CLAIMS
    assert verify_signed(token, published, RULES).key.kid == key.kid
    assert unverified_header(token) == {"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid, "cty": "x"}
    assert unverified_issuer(token) == "https://shop.example"
    with pytest.raises(TokenRefused) as refused:
        verify(token, KeySet(), RULES)
    assert refused.value.cause == "unknown_key"


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_what_is_published_signs_nothing(key: PrivateKey) -> None:
    public = key.public_jwk()
    assert not {"d", "p", "q", "dp", "dq", "qi", "k", "oth"} & set(public)
    assert not key.verification_key().key.is_private
    assert {"kid", "alg", "use", "kty"} <= set(public)
    with pytest.raises(KeysInvalid):
        PrivateKeySet.of_jwks({"keys": [public]})


def test_private_key_sets_are_read_again() -> None:
    keys = PrivateKeySet.of_jwks({"keys": [key.private_jwk() for key in KEYS.values()]})
    assert [key.kid for key in keys.keys] == [key.kid for key in KEYS.values()]
    for key in keys.keys:
        assert verify(sign(CLAIMS, key, "at+jwt"), keys.verification_keys(), RULES) == CLAIMS


def test_a_secret_signs_where_it_is_allowed_alone() -> None:
    document = {"keys": [{"kty": "oct", "k": SECRET, "kid": "s", "alg": "HS256"}]}
    keys = PrivateKeySet.of_jwks(document, {"HS256"})
    token = sign(CLAIMS, keys.current, "at+jwt")
    allowing = JwtRules(types={"at+jwt"}, algorithms={"HS256"})
    assert verify(token, KeySet.of_jwks(document, {"HS256"}), allowing) == CLAIMS
    assert len(KeySet.of_jwks(document)) == 0
    with pytest.raises(TokenRefused) as refused:
        verify(token, keys.verification_keys(), RULES)
    assert refused.value.cause == "algorithm"
    with pytest.raises(ValueError, match="symmetric"):
        keys.current.public_jwk()
    with pytest.raises(ValueError, match="HS256"):
        PrivateKey.generate("HS256")


@pytest.mark.parametrize("claims", [{"exp": float("nan")}, {"exp": float("inf")}, {"sub": "\ud800"}, {"sub": object()}])
def test_what_is_no_json_is_not_signed(claims: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        sign(claims, KEYS["ES256"])


@pytest.mark.parametrize("name", ["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5u", "x5c"])
def test_callers_choose_no_key_by_a_header(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        sign(CLAIMS, KEYS["ES256"], headers={name: "x"})
