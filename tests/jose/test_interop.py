"""Another library, Authlib, reads our keys and verifies our tokens, and we verify those that it signs."""

import json
import warnings
from typing import Any

import pytest

from shopkeeper.jose.keys import KeySet, PrivateKey
from shopkeeper.jose.sign import sign
from shopkeeper.jose.verify import JwtRules, verify

with warnings.catch_warnings(record=True):  # the library says that this part of it goes away one day
    from authlib.jose import JsonWebKey, JsonWebToken

CLAIMS = {"iss": "https://shop.example", "sub": "Zoë", "exp": 4_102_444_800}


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_tokens_in_both_directions(algorithm: str) -> None:
    key = PrivateKey.generate(algorithm)
    published: Any = json.loads(json.dumps({"keys": [PrivateKey.generate().public_jwk(), key.public_jwk()]}))
    library = JsonWebToken([algorithm])
    assert library.decode(sign(CLAIMS, key, "at+jwt"), JsonWebKey.import_key_set(published)) == CLAIMS
    header = {"alg": algorithm, "kid": key.kid, "typ": "at+jwt"}
    theirs = library.encode(header, CLAIMS, JsonWebKey.import_key(key.private_jwk())).decode()
    assert verify(theirs, KeySet.of_jwks(published), JwtRules(types={"at+jwt"})) == CLAIMS
