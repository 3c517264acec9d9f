"""The one verifier of all JSON Web Tokens (RFC 7515, RFC 7519), as RFC 8725 and draft-ietf-oauth-rfc8725bis say.

- A token is measured before it is decoded, and only the compact form of a signed token is read: JSON serialisations
  and encrypted tokens are refused unread, so that nothing of them is decompressed or derived.
- The algorithm must be one that the caller accepts, and the key's own. `none` is no algorithm here.
- What a header says of keys (`jwk`, `jku`, `x5u`, `x5c`) is never used. `crit` and `b64` are refused, because no
  extension is understood.
- `typ` must be one that the caller names, so that a token of one kind is never taken for one of another.
- A member that is there twice is refused, because two readers could take different ones.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from shopkeeper.errors import MalformedBody
from shopkeeper.jose.algorithms import ASYMMETRIC, FITTING, REGISTRIES, canonical
from shopkeeper.jose.errors import TokenRefused
from shopkeeper.jose.jwk import LONGEST_KID
from shopkeeper.jose.keys import KeySet, VerificationKey
from shopkeeper.parsing import parse_json

MAX_TOKEN: Final = 16 * 1024
"""Characters of a token where a caller says nothing else."""
MAX_HEADER: Final = 11 * 1024
"""Base64 digits of a header, which are 8 kB: some issuers send the chain of their certificates (`x5c`) along."""
MAX_SIGNATURE: Final = 1400
"""Base64 digits of a signature by the longest RSA key."""
MAX_VALUES: Final = 5_000
"""Values in the header or the claims."""
_PARTS_OF_JWE: Final = 5
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True)
class JwtRules:
    """What a kind of token must be like.

    Args:
        types: the values of `typ` that are accepted, in lower case and without `application/`; None stands for a header
            without it.
        algorithms: by which it may be signed. HMAC is never among them unless a caller names it.
        max_bytes: characters of the whole token.
    """

    types: Collection[str | None]
    algorithms: Collection[str] = ASYMMETRIC
    max_bytes: int = MAX_TOKEN


@dataclass(frozen=True, slots=True)
class JwtHeader:
    """What a header says that was checked against the rules of its kind, but not yet verified."""

    algorithm: str
    kid: str | None
    typ: str | None


@dataclass(frozen=True, slots=True)
class SignedJwt:
    """A token whose signature was verified. Whether its claims are meant for us is not known yet.

    Args:
        digest: of what was signed. A token is known again by this, because one signature has several spellings.
        key: the key that signed it.
    """

    header: JwtHeader
    claims: dict[str, Any]
    digest: bytes
    key: VerificationKey


def verify(token: str, keys: KeySet, rules: JwtRules) -> Mapping[str, Any]:
    """Return the claims of a token that one of the keys signed. Raises `TokenRefused`.

    Times and audience are not checked: see `jose.claims`.
    """
    return verify_signed(token, keys, rules).claims


def verify_signed(token: str, keys: KeySet, rules: JwtRules) -> SignedJwt:
    """Verify the signature of a token.

    Raises:
        TokenRefused: `unknown_key` where none of the keys, or several, may have signed it; `signature` where the key
            did not. Either may be right once the keys are read again. All other causes stay.
    """
    header = check_header(token, rules)
    key = keys.find(header.algorithm, header.kid)
    if key is None:
        raise TokenRefused("The token was signed by none of the issuer's keys.", cause="unknown_key")
    try:
        payload = jws.deserialize_compact(token, key.key, registry=REGISTRIES[header.algorithm]).payload
    except (JoseError, ValueError) as broken:
        raise TokenRefused("The token was signed by none of the issuer's keys.", cause="signature") from broken
    return SignedJwt(header, _parse(payload, part="claims"), hashlib.sha256(payload).digest(), key)


def check_header(token: str, rules: JwtRules) -> JwtHeader:
    """Check a token's header before any key is looked for. Raises `TokenRefused`."""
    header = _parse(_decode(_split(token, rules.max_bytes)[0]), part="header")
    algorithm, kid, typ = header.get("alg"), header.get("kid"), _typ(header)
    if not isinstance(algorithm, str) or not _accepts(rules, canonical(algorithm)):
        raise TokenRefused("The token is signed by an algorithm that is not accepted here.", cause="algorithm")
    if "crit" in header or "b64" in header:
        raise TokenRefused("The token's header has extensions that are not understood.", cause="crit")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= LONGEST_KID):
        raise TokenRefused("The token's header names no readable key.", cause="kid")
    if typ not in rules.types:
        raise TokenRefused("The token is of another kind than is needed here.", cause="typ")
    return JwtHeader(canonical(algorithm), kid, typ)


def unverified_header(token: str, *, max_bytes: int = MAX_TOKEN) -> Mapping[str, Any]:
    """Return the unverified header of what looks like a signed token.

    Raises:
        TokenRefused: it is no signed token in the compact form, or is too long.
    """
    return _read(_decode(_split(token, max_bytes)[0]), part="header")


def unverified_issuer(
    token: str, *, types: Collection[str | None] | None = None, max_bytes: int = MAX_TOKEN
) -> str | None:
    """Return the issuer that a token names, to choose the keys it is verified with; None where it is no such token.

    It is unverified: it chooses a source, and proves nothing.

    Args:
        types: as in `JwtRules`; None for all.
    """
    try:
        header, payload, _ = _split(token, max_bytes)
        typ = _typ(_read(_decode(header), part="header"))
        if types is not None and typ not in types:
            return None
        issuer = _read(_decode(payload), part="claims").get("iss")
    except TokenRefused:
        return None
    return issuer if isinstance(issuer, str) else None


def _accepts(rules: JwtRules, algorithm: str) -> bool:
    return algorithm in FITTING and any(canonical(accepted) == algorithm for accepted in rules.algorithms)


def _split(token: str, max_bytes: int) -> list[str]:
    if len(token) > max_bytes or not token.isascii():
        raise TokenRefused("The token is too long, or no token.", cause="too_long")
    parts = token.split(".", _PARTS_OF_JWE)
    if len(parts) == _PARTS_OF_JWE:
        raise TokenRefused("The token is encrypted; only signed ones are accepted.", cause="encrypted")
    if len(parts) != 3 or not all(map(_SEGMENT.match, parts)):
        raise TokenRefused("This is no signed token.", cause="not_a_token")
    if len(parts[0]) > MAX_HEADER:
        raise TokenRefused("The token's header is longer than 8 kB.", cause="header_too_long")
    if len(parts[2]) > MAX_SIGNATURE:
        raise TokenRefused("The token's signature is longer than any key makes it.", cause="signature_too_long")
    return parts


def _decode(segment: str) -> bytes:
    try:
        return urlsafe_b64decode(segment.encode())
    except ValueError as broken:
        raise TokenRefused("This is no signed token.", cause="not_a_token") from broken


def _typ(header: Mapping[str, Any]) -> str | None:
    """Return the kind in lower case, without the `application/` that RFC 7515 section 4.1.9 lets be left out."""
    typ = header.get("typ")
    return str(typ).lower().removeprefix("application/") if typ is not None else None


def _parse(body: bytes, *, part: str) -> dict[str, Any]:
    """Return what counts: a member that is there twice is refused."""
    document = _read(body, part=part)
    try:
        json.loads(body, object_pairs_hook=_require_once)
    except (ValueError, RecursionError) as broken:
        raise TokenRefused(f"The token's {part} cannot be read.", cause=f"{part}_unreadable") from broken
    return document


def _read(body: bytes, *, part: str) -> dict[str, Any]:
    """Return what only chooses how a token is verified, and is read again then: by one parser, which is a quarter of
    the work."""
    try:
        document = parse_json(body, most_values=MAX_VALUES)
    except MalformedBody as broken:
        raise TokenRefused(f"The token's {part} cannot be read.", cause=f"{part}_unreadable") from broken
    if not isinstance(document, dict):
        raise TokenRefused(f"The token's {part} is no object.", cause=f"{part}_unreadable")
    return document


def _require_once(members: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in members}) < len(members):
        raise ValueError("a member is there twice")
