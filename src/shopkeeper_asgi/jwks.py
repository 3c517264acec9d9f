"""Public keys (RFC 7517): checked for strength, each for one algorithm."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

try:
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
    from joserfc.util import urlsafe_b64decode
except ImportError as missing:  # pragma: no cover - the test of the wheel sees it
    raise ImportError("The mode `jwt` needs further packages: pip install 'shopkeeper-asgi[jwt]'") from missing

MAX_KEYS: Final = 64
RSA_BITS: Final = range(2048, 8193)
"""Shorter keys can be broken, and longer ones keep a processor busy."""
LONGEST_KID: Final = 512
ALGORITHMS: Final = ("ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
"""Every algorithm that can be configured: asymmetric ones alone."""
_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
_TYPES: Final[Mapping[str, type[RSAKey] | type[ECKey] | type[OKPKey]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key, and the only algorithm that it verifies."""

    kid: str | None
    algorithm: str
    key: Key


def keys_of(document: Mapping[str, Any], algorithms: Collection[str]) -> tuple[PublicKey, ...]:
    """Return the keys of a JWKS that may sign, are strong enough, and have one of the algorithms.

    A key without `alg` has the one of its curve; an RSA key the first of the RSA algorithms that are accepted.
    """
    listed = document.get("keys")
    entries = [entry for entry in listed[:MAX_KEYS] if isinstance(entry, dict)] if isinstance(listed, list) else []
    found = [_key_of(entry, algorithms) for entry in entries]
    return tuple(key for key in found if key is not None)


def _key_of(entry: dict[str, Any], algorithms: Collection[str]) -> PublicKey | None:
    kid, kind = entry.get("kid"), entry.get("kty")
    kind = kind if isinstance(kind, str) else ""
    algorithm = _algorithm_of(entry, kind, algorithms)
    operations = entry.get("key_ops", ["verify"])
    usable = (
        kind in _TYPES
        and algorithm in algorithms
        and entry.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and (kid is None or (isinstance(kid, str) and 0 < len(kid) <= LONGEST_KID))
    )
    if not usable or algorithm is None:
        return None
    public = {name: value for name, value in entry.items() if name in {"kty", "n", "e", "crv", "x", "y"}}
    try:
        strong = kind != "RSA" or _is_strong(public)
        return PublicKey(kid, algorithm, _TYPES[kind].import_key(public)) if strong else None
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _algorithm_of(entry: Mapping[str, Any], kind: str, algorithms: Collection[str]) -> str | None:
    named, curve = entry.get("alg"), entry.get("crv")
    of_rsa = [one for one in algorithms if one[:2] in {"RS", "PS"}]
    if kind == "RSA":
        chosen = named if named is not None else next(iter(of_rsa), None)
        return chosen if chosen in of_rsa else None
    of_curve = _CURVES.get(curve) if isinstance(curve, str) else None
    # RFC 9864 gives EdDSA with this curve a name of its own, which some providers use in their keys already.
    named = "EdDSA" if named == curve == "Ed25519" else named
    return of_curve if named in {None, of_curve} else None


def _is_strong(entry: Mapping[str, Any]) -> bool:
    """Whether an RSA key may be imported at all. Raises what a malformed number raises."""
    modulus, exponent = (int.from_bytes(urlsafe_b64decode(entry[name].encode())) for name in ("n", "e"))
    return modulus.bit_length() in RSA_BITS and exponent > 2 and exponent % 2 == 1


def fitting(keys: Sequence[PublicKey], kid: str | None, algorithm: str) -> Sequence[PublicKey]:
    """Return the keys that may have signed a token, of which there are several only if ids repeat."""
    found = [key for key in keys if key.algorithm == algorithm]
    if kid is None:
        return found if len(found) == 1 else []
    return [key for key in found if key.kid == kid][:2]
