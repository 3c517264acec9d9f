"""Malformed tokens, nearly all with a right signature: each is refused, for its own reason."""

import base64
import contextlib
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopkeeper.jose.errors import TokenRefused
from shopkeeper.jose.keys import KeySet, PrivateKey
from shopkeeper.jose.verify import (
    MAX_HEADER,
    MAX_SIGNATURE,
    MAX_TOKEN,
    JwtRules,
    unverified_header,
    unverified_issuer,
    verify,
)
from tests.jose.crafted import hashed, part, signed, with_signature

RULES = JwtRules(types={"at+jwt"})
CLAIMS = {"iss": "https://shop.example", "sub": "ada"}
KEY, RSA, ED = PrivateKey.generate(), PrivateKey.generate("RS256"), PrivateKey.generate("EdDSA")
STRANGER = PrivateKey.generate()
KEYS = KeySet(key.verification_key() for key in (KEY, RSA, ED))
GOOD = signed(KEY, CLAIMS)
HEAD, BODY, SIGNATURE = GOOD.split(".")
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid}

WRITTEN, PUBLIC = json.dumps(HEADER).encode(), STRANGER.public_jwk()
PLAIN: dict[str, Any] = {"b64": False, "crit": ["b64"]}
ALGORITHMS: list[Any] = [
    *("none", "None", "NONE", "nOnE", "", "es256", "ES256 ", "ES256\0", "HS256", "RS1", "ES256K", "RSA1_5"),
    *(256, None, True, ["ES256"], {"a": 1}),
]
TYPES: list[Any] = [
    *("JWT", "", "logout+jwt", "at+jwt ", "application/application/at+jwt", "at+jwt; x=1"),
    *(None, 7, True, ["at+jwt"], {"at+jwt": 1}),
]
KIDS = {
    "that is a path": "../../dev/null",
    "that is SQL": "' OR '1'='1",
    "with a NUL": f"{KEY.kid}\0",
    "with a line break": f"{KEY.kid}\n",
    "with a blank": f" {KEY.kid}",
    "in another case": KEY.kid.swapcase(),
    "that is escaped": "%00",
    "that is an address": "http://127.0.0.1:1/",
    "that is empty": "",
}


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def twice(name: str, one: str, other: str) -> bytes:
    """Return JSON with a member twice, spelled as it is."""
    return WRITTEN[:-1] + f', "{name}": {one}, "{name}": {other}}}'.encode()


def with_alg(name: Any, **more: Any) -> str:
    return signed(KEY, CLAIMS, {**HEADER, "alg": name, **more})


def der(signature: bytes) -> bytes:
    """Return the two numbers of an ECDSA signature in the form that certificates have."""
    numbers = [b"\x02\x21\x00" + signature[at : at + 32] for at in (0, 32)]
    return b"\x30" + bytes([len(b"".join(numbers))]) + b"".join(numbers)


def raw_signature() -> bytes:
    return base64.urlsafe_b64decode(SIGNATURE + "==")


CASES: dict[str, tuple[str, str]] = {
    # -- sizes and dots
    "nothing": ("", "not_a_token"),
    "one dot": (".", "not_a_token"),
    "two dots": ("..", "header_unreadable"),
    "a million dots": ("." * 1_000_000, "too_long"),
    "as many dots as fit": ("." * MAX_TOKEN, "not_a_token"),
    "two parts": (f"{HEAD}.{BODY}", "not_a_token"),
    "four parts": (f"{GOOD}.", "not_a_token"),
    "a dot in front": (f".{GOOD}", "not_a_token"),
    "a token that is longer than the rules say": (signed(KEY, {"x": "x" * MAX_TOKEN}), "too_long"),
    "a header of 9 kB": (signed(KEY, CLAIMS, x="x" * MAX_HEADER), "header_too_long"),
    "a signature of a megabyte of digits": (f"{HEAD}.{BODY}.{'A' * 15_000}", "signature_too_long"),
    "a signature that is one digit too long": (f"{HEAD}.{BODY}.{'A' * (MAX_SIGNATURE + 1)}", "signature_too_long"),
    # -- base64
    "padding behind the header": (f"{HEAD}=.{BODY}.{SIGNATURE}", "not_a_token"),
    "padding behind the signature": (f"{GOOD}==", "not_a_token"),
    "padding that is escaped": (f"{GOOD}%3D", "not_a_token"),
    "the alphabet with plus and slash": (f"{HEAD}.{BODY}.{'+/' * 43}", "not_a_token"),
    "a blank behind": (f"{GOOD} ", "not_a_token"),
    "a line break behind": (f"{GOOD}\n", "not_a_token"),
    "a line break in the claims": (f"{HEAD}.{BODY[:8]}\n{BODY[8:]}.{SIGNATURE}", "not_a_token"),
    "a tab in front": (f"\t{GOOD}", "not_a_token"),
    "a NUL": (f"{GOOD}\0", "not_a_token"),
    "full-width letters": (GOOD.replace("e", "ｅ", 1), "too_long"),
    "a zero-width blank": (f"{GOOD}\u200b", "too_long"),
    "quotes": (f'"{GOOD}"', "not_a_token"),
    "a length that base64 does not have": (f"{HEAD}A.{BODY}.{SIGNATURE}", "not_a_token"),
    "bits behind the last byte": (f"{HEAD}.{BODY}.{SIGNATURE[:-1]}{chr(ord(SIGNATURE[-1]) + 1)}", "signature"),
    "a header that is cut": (f"{HEAD[:-4]}.{BODY}.{SIGNATURE}", "header_unreadable"),
    "a signature that is cut": (GOOD[:-4], "signature"),
    "no signature": (f"{HEAD}.{BODY}.", "signature"),
    "claims in upper case": (f"{HEAD}.{BODY.upper()}.{SIGNATURE}", "signature"),
    # -- forms
    "the JSON form": (json.dumps({"payload": BODY, "protected": HEAD, "signature": SIGNATURE}), "not_a_token"),
    "the general JSON form": (
        json.dumps({"payload": BODY, "signatures": [{"protected": HEAD, "signature": SIGNATURE}]}),
        "not_a_token",
    ),
    "claims that are apart": (f"{HEAD}..{SIGNATURE}", "signature"),
    "claims that are not encoded": (with_signature(KEY, f"{part({**HEADER, **PLAIN})}.$.02"), "not_a_token"),
    "b64 that asks for nothing": (signed(KEY, CLAIMS, b64=True), "crit"),
    "an encrypted token": (f"{part({'alg': 'dir', 'enc': 'A256GCM'})}..A.A.A", "encrypted"),
    "an encrypted bomb": (
        f"{part({'alg': 'dir', 'enc': 'A256GCM', 'zip': 'DEF'})}..A.{part(zlib.compress(b'0' * 100_000))}.A",
        "encrypted",
    ),
    "a billion iterations": (
        f"{part({'alg': 'PBES2-HS512+A256KW', 'enc': 'A256GCM', 'p2c': 2**31})}.A.A.A.A",
        "encrypted",
    ),
    "the algorithm of an encrypted one in a signed one": (with_alg("PBES2-HS512+A256KW", p2c=2**31), "algorithm"),
    "a token in a token": (signed(KEY, GOOD.encode(), {**HEADER, "cty": "JWT"}), "claims_unreadable"),
    # -- algorithms
    **{f"alg {name!r}": (with_alg(name), "algorithm") for name in ALGORITHMS},
    "no alg": (signed(KEY, CLAIMS, {"typ": "at+jwt", "kid": KEY.kid}), "algorithm"),
    "no algorithm and no signature": (f"{part({**HEADER, 'alg': 'none'})}.{BODY}.", "algorithm"),
    "an HMAC with the public key": (
        hashed(json.dumps(KEY.public_jwk()).encode(), "HS256", HEADER, CLAIMS),
        "algorithm",
    ),
    "the algorithm of another key": (signed(KEY, CLAIMS, {**HEADER, "alg": "RS256"}), "unknown_key"),
    "another algorithm of the same kind": (
        signed(RSA, CLAIMS, alg="PS256"),
        "unknown_key",
    ),
    "a longer hash with the same curve": (signed(KEY, CLAIMS, {**HEADER, "alg": "ES384"}), "unknown_key"),
    # -- keys
    "an unknown kid": (signed(KEY, CLAIMS, kid="other"), "unknown_key"),
    "the kid of another key": (signed(KEY, CLAIMS, kid=RSA.kid), "unknown_key"),
    "a stranger's key under our kid": (signed(STRANGER, CLAIMS, HEADER), "signature"),
    "a stranger's key that the header brings along": (
        signed(STRANGER, CLAIMS, {**HEADER, "jwk": STRANGER.public_jwk()}),
        "signature",
    ),
    "a stranger's key under its own kid": (
        signed(STRANGER, CLAIMS, jwk=PUBLIC),
        "unknown_key",
    ),
    "an address of a key": (signed(STRANGER, CLAIMS, {**HEADER, "jku": "http://127.0.0.1:1/keys"}), "signature"),
    "an address of a certificate": (signed(STRANGER, CLAIMS, {**HEADER, "x5u": "http://127.0.0.1:1/"}), "signature"),
    "a certificate": (signed(STRANGER, CLAIMS, {**HEADER, "x5c": ["MIIB"], "x5t": "AA"}), "signature"),
    "a kid that is a list": (signed(KEY, CLAIMS, kid=[KEY.kid]), "kid"),
    "a kid that is a number": (signed(KEY, CLAIMS, kid=7), "kid"),
    "a kid that is an object": (signed(KEY, CLAIMS, kid={"$ne": None}), "kid"),
    "a kid that is too long": (signed(KEY, CLAIMS, kid="k" * 513), "kid"),
    **{f"the kid {name}": (signed(KEY, CLAIMS, kid=kid), "unknown_key") for name, kid in KIDS.items()},
    # -- kinds
    **{f"typ {typ!r}": (signed(KEY, CLAIMS, typ=typ), "typ") for typ in TYPES},
    "no typ": (signed(KEY, CLAIMS, {"alg": "ES256", "kid": KEY.kid}), "typ"),
    # -- extensions
    **{
        f"crit {crit!r}": (signed(KEY, CLAIMS, crit=crit, bork=True), "crit")
        for crit in (["bork"], [], ["alg"], ["b64"], "bork", None, {}, 0)
    },
    # -- JSON
    "a header that is a list": (signed(KEY, CLAIMS, [HEADER]), "header_unreadable"),
    "a header that is a text": (signed(KEY, CLAIMS, "ES256"), "header_unreadable"),
    "a header with a byte order mark": (
        signed(KEY, CLAIMS, b"\xef\xbb\xbf" + WRITTEN),
        "header_unreadable",
    ),
    "a header in UTF-16": (signed(KEY, CLAIMS, WRITTEN.decode().encode("utf-16")), "header_unreadable"),
    "a header in Latin-1": (
        signed(KEY, CLAIMS, WRITTEN[:-1] + b', "x": "\xe4"}'),
        "header_unreadable",
    ),
    "a header with a comment": (signed(KEY, CLAIMS, WRITTEN + b"/**/"), "header_unreadable"),
    "a header with a comma too many": (
        signed(KEY, CLAIMS, WRITTEN[:-1] + b",}"),
        "header_unreadable",
    ),
    "two headers": (signed(KEY, CLAIMS, WRITTEN * 2), "header_unreadable"),
    "a header that nests": (signed(KEY, CLAIMS, x=json.loads(nested(40))), "header_unreadable"),
    "a header that nests a thousandfold": (signed(KEY, CLAIMS, b"[" * 8_000), "header_unreadable"),
    "alg twice": (signed(KEY, CLAIMS, twice("alg", '"none"', '"ES256"')), "header_unreadable"),
    "kid twice": (signed(KEY, CLAIMS, twice("kid", '"a"', f'"{KEY.kid}"')), "header_unreadable"),
    "a member twice by an escape": (
        signed(KEY, CLAIMS, WRITTEN[:-1] + rb', "\u0061lg": "none"}'),
        "header_unreadable",
    ),
    "sub twice": (signed(KEY, b'{"sub": "ada", "sub": "eve"}'), "claims_unreadable"),
    "a member twice deep inside": (signed(KEY, b'{"a": [{"b": 1, "b": 1}]}'), "claims_unreadable"),
    "claims that are a list": (signed(KEY, [CLAIMS]), "claims_unreadable"),
    "claims that are null": (signed(KEY, None), "claims_unreadable"),
    "claims that are a text": (signed(KEY, "ada"), "claims_unreadable"),
    "claims that are nothing": (signed(KEY, b""), "claims_unreadable"),
    "claims with NaN": (signed(KEY, b'{"exp": NaN}'), "claims_unreadable"),
    "claims with Infinity": (signed(KEY, b'{"exp": -Infinity}'), "claims_unreadable"),
    "claims that are no UTF-8": (signed(KEY, b'{"sub": "\xff"}'), "claims_unreadable"),
    "half a surrogate pair": (signed(KEY, rb'{"sub": "\ud800"}'), "claims_unreadable"),
    "a control character": (signed(KEY, b'{"sub": "a\nb"}'), "claims_unreadable"),
    "claims that nest": (signed(KEY, nested(40)), "claims_unreadable"),
    "claims that nest a thousandfold": (signed(KEY, b"[" * 9_000), "claims_unreadable"),
    "claims of thousands of values": (signed(KEY, b'{"a":[' + b"0," * 5_500 + b"0]}"), "claims_unreadable"),
    "a number of thousands of digits": (signed(KEY, b'{"exp": ' + b"9" * 5_000 + b"}"), "claims_unreadable"),
    "single quotes": (signed(KEY, b"{'sub': 'ada'}"), "claims_unreadable"),
    "more behind the claims": (signed(KEY, b'{"sub": "ada"}{}'), "claims_unreadable"),
    # -- signatures
    "the signature of another token": (f"{HEAD}.{BODY}.{signed(KEY, {'sub': 'eve'}).rpartition('.')[2]}", "signature"),
    "the claims of another token": (f"{HEAD}.{part({'sub': 'eve'})}.{SIGNATURE}", "signature"),
    "a signature of zeros": (f"{HEAD}.{BODY}.{part(bytes(64))}", "signature"),
    "a signature in DER": (f"{HEAD}.{BODY}.{part(der(raw_signature()))}", "signature"),
    "a signature with a byte more": (f"{HEAD}.{BODY}.{part(raw_signature() + bytes(1))}", "signature"),
    "a signature of ones": (f"{HEAD}.{BODY}.{part(bytes([255] * 64))}", "signature"),
    "a signature of zeros by EdDSA": (
        f"{part({**HEADER, 'alg': 'EdDSA', 'kid': ED.kid})}.{BODY}.{part(bytes(64))}",
        "signature",
    ),
}


@pytest.mark.parametrize(("token", "cause"), CASES.values(), ids=CASES)
def test_it_is_refused_for_its_own_reason(token: str, cause: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        verify(token, KEYS, RULES)
    assert refused.value.cause == cause
    assert len(token) < 3 or token not in str(refused.value)


def test_what_the_cases_are_made_of_is_accepted() -> None:
    """Each case differs from a good token by one thing, which is thereby what it is refused for."""
    assert verify(GOOD, KEYS, RULES) == CLAIMS
    for key in (KEY, RSA, ED):
        assert verify(signed(key, CLAIMS), KEYS, RULES) == CLAIMS


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "application/at+jwt"},
        {"typ": "AT+JWT"},
        {"jku": "http://127.0.0.1:1/"},
        {"x5c": ["M" * 2500] * 3},
        {"jwk": STRANGER.public_jwk()},
        {"zip": "DEF"},
        {"p2c": 2**31},
        {"cty": "x"},
        {"whatever": {"a": [1]}},
    ],
)
def test_members_that_are_not_used_are_no_reason_to_refuse(header: dict[str, Any]) -> None:
    assert verify(signed(KEY, CLAIMS, **header), KEYS, RULES) == CLAIMS


def test_both_names_of_one_algorithm_are_accepted() -> None:
    assert verify(signed(ED, CLAIMS, {**HEADER, "alg": "Ed25519", "kid": ED.kid}), KEYS, RULES) == CLAIMS


def test_a_token_without_kid_needs_a_single_key() -> None:
    token = signed(KEY, CLAIMS, {"alg": "ES256", "typ": "at+jwt"})
    assert verify(token, KEYS, RULES) == CLAIMS
    with pytest.raises(TokenRefused) as refused:
        verify(token, KeySet([KEY.verification_key(), STRANGER.verification_key()]), RULES)
    assert refused.value.cause == "unknown_key"


def test_the_issuer_is_read_without_trust_and_never_fails() -> None:
    assert unverified_issuer(signed(STRANGER, CLAIMS, HEADER)) == CLAIMS["iss"]
    for token, _ in CASES.values():
        assert unverified_issuer(token) in {None, CLAIMS["iss"]}
    for issuer in (None, 7, ["https://shop.example"], {}, True):
        assert unverified_issuer(signed(KEY, {"iss": issuer})) is None
    for typ in ("at+jwt", "AT+JWT", "application/at+jwt"):
        assert unverified_issuer(signed(KEY, CLAIMS, {**HEADER, "typ": typ}), types=RULES.types) == CLAIMS["iss"]
    for typ in ("JWT", "", "jwt+at", ["at+jwt"], {"at+jwt": 1}, None, 1):
        assert unverified_issuer(signed(KEY, CLAIMS, {**HEADER, "typ": typ}), types=RULES.types) is None


@given(st.text() | st.binary().map(lambda raw: f"{part(raw)}.{part(raw)}.{part(raw)}"))
def test_nothing_but_a_refusal_is_raised(text: str) -> None:
    with pytest.raises(TokenRefused):
        verify(text, KEYS, RULES)
    with contextlib.suppress(TokenRefused):
        assert isinstance(unverified_header(text), dict)


@given(st.integers(0, len(GOOD) - 1), st.characters())
def test_no_other_spelling_of_a_token_is_accepted(place: int, character: str) -> None:
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    if changed == GOOD:
        return
    with pytest.raises(TokenRefused):
        verify(changed, KEYS, RULES)
