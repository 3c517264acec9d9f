"""Signatures of a provider's tokens (RFC 7515, RFC 7519), with the rules of RFC 8725.

The algorithm must be on the provider's list, the key is one of the provider's published keys and fits the algorithm.
What a header says of keys (`jwk`, `jku`, `x5u`, `x5c`) is ignored; `crit` is refused, because we understand none.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from shopkeeper.openid.calls import parse_object
from shopkeeper.openid.errors import ProviderAnswerInvalid, ProviderTokenInvalid
from shopkeeper.openid.keys import KeySource, SigningKey, one_fitting
from shopkeeper.openid.provider import ALGORITHMS

MAX_TOKEN: Final = 64 * 1024
"""Characters of a token, so that its claims are below 64 kB."""
MAX_HEADER: Final = 11 * 1024
"""Base64 digits of a header, which are 8 kB: some providers send the chain of their certificates (`x5c`) along."""
MAX_SIGNATURE: Final = 1400
"""Base64 digits of a signature by the longest RSA key."""
LONGEST_KID: Final = 512
_PARTS_OF_JWE: Final = 5


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token whose signature was verified. Its claims are the provider's, but may be meant for another one.

    Args:
        digest: of what was signed. A token is known again by this, because one signature has several spellings.
        key_issuer: the issuer for whose tokens alone the key signs, None where the provider did not say.
    """

    algorithm: str
    claims: dict[str, Any]
    digest: bytes
    key_issuer: str | None = None


@dataclass(frozen=True, slots=True)
class _Header:
    algorithm: str
    kid: str | None


async def verify_signature(
    token: str, keys: KeySource, *, algorithms: Collection[str], types: Collection[str | None], trusted: bool
) -> SignedToken:
    """Verify the signature of a token. An unknown key, and one that does not verify, is looked for once more.

    Args:
        types: the values of `typ` that are accepted, in lower case; None stands for a header without it.
        trusted: whether the token came from the provider itself; see `KeySource.renew`.

    Raises:
        ProviderTokenInvalid: it is not signed by the provider.
        ProviderUnavailable: the provider's keys could not be read.
    """
    header = _parse_header(token, algorithms=algorithms, types=types)
    known = await keys.get(trusted=trusted)
    verified = _verified(token, header, known)
    if verified is None:
        known = await keys.renew(trusted=trusted)
        verified = _verified(token, header, known)
    if verified is None:
        cause = "unknown_key" if one_fitting(known, header.algorithm, header.kid) is None else "signature"
        raise ProviderTokenInvalid("The token was signed by none of the provider's keys.", cause=cause)
    payload, key = verified
    return SignedToken(header.algorithm, _parse(payload, part="claims"), hashlib.sha256(payload).digest(), key.issuer)


def _parse_header(token: str, *, algorithms: Collection[str], types: Collection[str | None]) -> _Header:
    header = _parse(_header_bytes(token), part="header")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in algorithms or algorithm not in ALGORITHMS:
        raise ProviderTokenInvalid(
            "The token is signed by an algorithm that is not accepted from this provider.", cause="algorithm"
        )
    if "crit" in header or "b64" in header:
        raise ProviderTokenInvalid("The token's header has extensions that are not understood.", cause="crit")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= LONGEST_KID):
        raise ProviderTokenInvalid("The token's header names no readable key.", cause="kid")
    if _typ(header) not in types:
        raise ProviderTokenInvalid("The token is of another kind than is needed here.", cause="typ")
    return _Header("EdDSA" if algorithm == "Ed25519" else algorithm, kid)


def _header_bytes(token: str) -> bytes:
    if len(token) > MAX_TOKEN or not token.isascii():
        raise ProviderTokenInvalid("The token is too long, or no token.", cause="too_long")
    parts = token.split(".", _PARTS_OF_JWE)
    if len(parts) == _PARTS_OF_JWE:
        raise ProviderTokenInvalid("The token is encrypted; only signed ones are accepted.", cause="encrypted")
    if len(parts) != 3:
        raise ProviderTokenInvalid("This is no signed token.", cause="not_a_token")
    if len(parts[0]) > MAX_HEADER:
        raise ProviderTokenInvalid("The token's header is longer than 8 kB.", cause="header_too_long")
    try:
        return urlsafe_b64decode(parts[0].encode())
    except ValueError as broken:
        raise ProviderTokenInvalid("This is no signed token.", cause="not_a_token") from broken


def _typ(header: dict[str, Any]) -> str | None:
    """Return the kind in lower case, without the `application/` that RFC 7515 section 4.1.9 lets be left out."""
    typ = header.get("typ")
    return str(typ).lower().removeprefix("application/") if typ is not None else None


def _verified(token: str, header: _Header, keys: Sequence[SigningKey]) -> tuple[bytes, SigningKey] | None:
    """Return the payload and the key that signed it; None where no key did, or several could have."""
    key = one_fitting(keys, header.algorithm, header.kid)
    if key is None:
        return None
    try:
        signed = jws.deserialize_compact(token, key.public, registry=_Registry(header.algorithm))
    except (JoseError, ValueError):
        return None
    return signed.payload, key


class _Registry(JWSRegistry):
    """Verifies by one algorithm. Unknown members of a header are ignored (RFC 7515 section 4)."""

    max_header_length = MAX_HEADER
    max_payload_length = MAX_TOKEN
    max_signature_length = MAX_SIGNATURE

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=[_in_joserfc(algorithm)], strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        return super().get_alg(_in_joserfc(name))


def _in_joserfc(algorithm: str) -> str:
    """Name EdDSA by its curve (RFC 9864), because joserfc warns of the name that every provider still uses."""
    return "Ed25519" if algorithm == "EdDSA" else algorithm


def _parse(body: bytes, *, part: str) -> dict[str, Any]:
    try:
        return parse_object(body, what="The token")
    except ProviderAnswerInvalid as broken:
        raise ProviderTokenInvalid(f"The token's {part} cannot be read.", cause=f"{part}_unreadable") from broken
