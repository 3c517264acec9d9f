"""Keys that must verify nothing: weak, huge, malformed, for other purposes. A set keeps its sound keys beside them."""

import base64
import json
import warnings
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OKPKey, RSAKey

from shopkeeper.jose.errors import KeysInvalid
from shopkeeper.jose.keys import MAX_SET, MOST_KEYS, KeySet, PrivateKey, PrivateKeySet
from tests.jose.crafted import part

EC, RSA, ED = (PrivateKey.generate(name) for name in ("ES256", "RS256", "EdDSA"))
SOUND = PrivateKey.generate("ES384")
HMACS = ("HS256", "HS384", "HS512")


def number(value: int) -> str:
    return part(value.to_bytes((value.bit_length() + 7) // 8 or 1, "big"))


def modulus() -> int:
    return int.from_bytes(base64.urlsafe_b64decode(RSA.public_jwk()["n"] + "=="), "big")


def of_bits(bits: int) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, which says that the key is short
        return dict(RSAKey.generate_key(bits).as_dict(private=False))


def of_exponent_three() -> dict[str, Any]:
    key = rsa.generate_private_key(3, 2048).public_key().public_numbers()
    return {"kty": "RSA", "n": number(key.n), "e": number(key.e)}


def secret(size: int, **more: Any) -> dict[str, Any]:
    return {"kty": "oct", "k": part(bytes(range(size))), **more}


PUBLIC, PUBLIC_RSA, PUBLIC_ED = EC.public_jwk(), RSA.public_jwk(), ED.public_jwk()
LEFT_OUT: dict[str, Any] = {
    # -- RSA
    "1024 bits": of_bits(1024),
    "2040 bits": of_bits(2040),
    "16384 bits": {**PUBLIC_RSA, "n": number(1 << 16383 | 1)},
    "a modulus of a megabyte": {**PUBLIC_RSA, "n": "A" * 1_000_000},
    "a short modulus with zeros in front": {**of_bits(1024), "n": "A" * 200 + of_bits(1024)["n"]},
    "an even modulus": {**PUBLIC_RSA, "n": number(modulus() - 1)},
    "the exponent 1": {**PUBLIC_RSA, "e": "AQ"},
    "the exponent 3": of_exponent_three(),
    "an even exponent": {**PUBLIC_RSA, "e": number(65_538)},
    "the exponent 0": {**PUBLIC_RSA, "e": "AA"},
    "a huge exponent": {**PUBLIC_RSA, "e": PUBLIC_RSA["n"]},
    "no exponent": {name: value for name, value in PUBLIC_RSA.items() if name != "e"},
    "a modulus that is a number": {**PUBLIC_RSA, "n": modulus()},
    "a modulus with padding": {**PUBLIC_RSA, "n": PUBLIC_RSA["n"] + "=="},
    # -- elliptic curves
    "a point that is not on the curve": {**PUBLIC, "y": PUBLIC["x"]},
    "a point of zeros": {**PUBLIC, "x": "A" * 43, "y": "A" * 43},
    "a point at infinity": {**PUBLIC, "x": "", "y": ""},
    "a point of another curve": {**PUBLIC, "crv": "P-384"},
    "half a point": {name: value for name, value in PUBLIC.items() if name != "y"},
    "a coordinate of a megabyte": {**PUBLIC, "x": "A" * 1_000_000},
    "a curve of Bitcoin": {**PUBLIC, "crv": "secp256k1"},
    "an unknown curve": {**PUBLIC, "crv": "P-1"},
    "no curve": {name: value for name, value in PUBLIC.items() if name != "crv"},
    "a curve in another case": {**PUBLIC, "crv": "p-256"},
    "an Edwards curve as a Weierstrass one": {**PUBLIC, "crv": "Ed25519"},
    "a short Ed25519 key": {**PUBLIC_ED, "x": "AAAA"},
    "an Ed448 key": {**OKPKey.generate_key("Ed448").as_dict(private=False), "kid": "448"},
    "a key for agreement": {**OKPKey.generate_key("X25519").as_dict(private=False), "kid": "x"},
    # -- symmetric
    "a secret": secret(64),
    "a secret with an algorithm": secret(64, alg="HS256"),
    "a public key as a secret": {"kty": "oct", "k": part(json.dumps(PUBLIC).encode())},
    # -- purposes
    "for encryption": {**PUBLIC, "use": "enc"},
    "for an unknown use": {**PUBLIC, "use": "SIG"},
    "for signing only": {**PUBLIC, "key_ops": ["sign"]},
    "for nothing": {**PUBLIC, "key_ops": []},
    "for another algorithm": {**PUBLIC, "alg": "ES384"},
    "for an algorithm of another kind": {**PUBLIC, "alg": "RS256"},
    "an RSA key for an HMAC": {**PUBLIC_RSA, "alg": "HS256"},
    "an RSA key for no algorithm": {**PUBLIC_RSA, "alg": "none"},
    "an RSA key for encryption": {**PUBLIC_RSA, "alg": "RSA-OAEP"},
    # -- shapes
    "an unknown kind": {**PUBLIC, "kty": "AKP"},
    "a kind in another case": {**PUBLIC, "kty": "ec"},
    "no kind": {name: value for name, value in PUBLIC.items() if name != "kty"},
    "a kind that is a number": {**PUBLIC, "kty": 7},
    "a kid that is a number": {**PUBLIC, "kid": 7},
    "a kid of a kilobyte": {**PUBLIC, "kid": "k" * 1024},
    "an algorithm that is a list": {**PUBLIC, "alg": ["ES256"]},
    "operations that are a text": {**PUBLIC, "key_ops": "verify"},
    "a text": "key",
    "a number": 7,
    "null": None,
    "a list": [PUBLIC],
    "nothing": {},
    "a certificate alone": {"kty": "RSA", "x5c": ["MIIB"]},
    "an address alone": {"kty": "RSA", "x5u": "http://127.0.0.1:1/"},
}


@pytest.mark.parametrize("document", LEFT_OUT.values(), ids=LEFT_OUT)
def test_it_is_left_out_and_the_others_stay(document: Any) -> None:
    assert [key.kid for key in KeySet.of_jwks({"keys": [document, SOUND.public_jwk()]})] == [SOUND.kid]


@pytest.mark.parametrize("key", [EC, RSA, ED], ids=["EC", "RSA", "OKP"])
def test_what_they_are_made_of_is_kept(key: PrivateKey) -> None:
    [kept] = KeySet.of_jwks({"keys": [{**key.public_jwk(), "x5c": ["x"], "use": "sig", "key_ops": ["verify"]}]})
    assert kept.algorithms == {key.algorithm}


def test_a_zero_in_front_of_a_sound_modulus_is_no_reason_to_refuse() -> None:
    """Some issuers encode a signed number."""
    padded = part(b"\0" + modulus().to_bytes(256, "big"))
    assert len(KeySet.of_jwks({"keys": [{**PUBLIC_RSA, "n": padded}]})) == 1


def test_a_key_verifies_by_its_own_kind_only() -> None:
    documents = [{name: value for name, value in key.items() if name != "alg"} for key in (PUBLIC, PUBLIC_RSA)]
    curve, several = KeySet.of_jwks({"keys": documents})
    assert curve.algorithms == {"ES256"}
    assert several.algorithms == {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    [one] = KeySet.of_jwks({"keys": documents[1:]}, {"RS256", "HS256"})
    assert one.algorithms == {"RS256"}


@pytest.mark.parametrize(
    ("size", "algorithm"), [(31, "HS256"), (47, "HS384"), (63, "HS512"), (0, "HS256"), (1, "HS256"), (14, "HS256")]
)
def test_a_secret_is_as_long_as_its_hash_also_where_secrets_are_allowed(size: int, algorithm: str) -> None:
    short, long = secret(size, alg=algorithm, kid="a"), secret(size + 64, alg=algorithm, kid="b")
    assert [key.kid for key in KeySet.of_jwks({"keys": [short, long]}, HMACS)] == ["b"]
    with pytest.raises(KeysInvalid):
        PrivateKeySet.of_jwks({"keys": [short]}, HMACS)


def test_a_secret_for_any_hash_is_as_long_as_the_longest() -> None:
    keys = KeySet.of_jwks({"keys": [secret(63, kid="a"), secret(64, kid="b")]}, HMACS)
    assert [key.kid for key in keys] == ["b"]


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_a_public_key_is_no_secret_although_secrets_are_allowed(form: str) -> None:
    for key in (EC.key, RSA.key):
        encoded = key.as_bytes("PEM" if form == "PEM" else "DER", private=False)  # type: ignore[union-attr]
        document = {"kty": "oct", "k": part(encoded), "alg": "HS256", "kid": "a"}
        assert len(KeySet.of_jwks({"keys": [document]}, HMACS)) == 0


@pytest.mark.parametrize(
    "document", [None, [], "keys", {}, {"keys": {}}, {"keys": None}, {"keys": [{}] * (MOST_KEYS + 1)}]
)
def test_what_is_no_key_set(document: Any) -> None:
    with pytest.raises(KeysInvalid):
        KeySet.of_jwks(document)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"keys": []} ' + b" " * MAX_SET, b"[" * 1_000])
def test_what_is_no_key_set_in_json(body: bytes) -> None:
    with pytest.raises(KeysInvalid):
        KeySet.parse(body)


PRIVATE = EC.private_jwk()
REFUSED: dict[str, list[Any]] = {
    "no keys": [],
    "a public key": [PUBLIC],
    "a key without a name": [{name: value for name, value in PRIVATE.items() if name != "kid"}],
    "two of one name": [PRIVATE, {**ED.private_jwk(), "kid": EC.kid}],
    "a key beside what is none": [PRIVATE, {}],
    "a key beside a weak one": [PRIVATE, {**PUBLIC_RSA, "kid": "weak", "n": "AQAB"}],
    "an RSA key without an algorithm": [{name: value for name, value in RSA.private_jwk().items() if name != "alg"}],
    "a key for encryption": [{**PRIVATE, "use": "enc"}],
    "a key that verifies only": [{**PRIVATE, "key_ops": ["verify"]}],
    "a secret": [secret(64, kid="a", alg="HS256")],
    "a private part of another key": [{**PRIVATE, "d": PrivateKey.generate().private_jwk()["d"]}],
    "a private part that is cut": [{**PRIVATE, "d": PRIVATE["d"][:-8]}],
    "a private part of zeros": [{**PRIVATE, "d": "A" * 43}],
}


@pytest.mark.parametrize("keys", REFUSED.values(), ids=REFUSED)
def test_our_own_keys_are_all_sound_or_none_is_taken(keys: list[Any]) -> None:
    with pytest.raises(KeysInvalid) as refused:
        PrivateKeySet.of_jwks({"keys": keys})
    assert PRIVATE["d"] not in str(refused.value)


def test_a_key_in_pem_goes_through_the_same_checks() -> None:
    pem = ECKey.generate_key("P-256").as_pem(private=True).decode()
    assert PrivateKey.of_pem(pem, kid="a", algorithm="ES256").kid == "a"
    weak = rsa_pem(1024)
    for broken, algorithm in ((pem, "ES384"), (pem, "RS256"), (weak, "RS256"), ("", "ES256"), (pem[:-50], "ES256")):
        with pytest.raises(KeysInvalid):
            PrivateKey.of_pem(broken, kid="a", algorithm=algorithm)


def rsa_pem(bits: int) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RSAKey.generate_key(bits).as_pem(private=True).decode()


def test_a_key_does_not_print_itself() -> None:
    for key in (EC, RSA, ED):
        assert key.private_jwk()["d"] not in f"{key!r} {key} {PrivateKeySet([key])!r}"
