"""One JWK (RFC 7517 section 4), measured before it is imported."""

from collections.abc import Collection
from typing import Any, Final

import msgspec
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from shopkeeper.jose.algorithms import HASH_BYTES

LONGEST_KID: Final = 512
RSA_BITS: Final = range(2048, 8192 + 1)
EXPONENTS: Final = range(65_537, 2**48)
"""Public exponents: a small one is weak with careless padding, and a huge one makes verifying slow."""
_RSA_DIGITS: Final = range(RSA_BITS.start // 6 + 1, RSA_BITS.stop // 6 + 3)
"""Base64 digits of a modulus without zeros in front, so that a huge or short one is not even imported."""
_LONGEST_EXPONENT: Final = 8
"""Base64 digits of an exponent."""
_SECRET_DIGITS: Final = range(43, 1024 + 1)
"""Base64 digits of the key of an HMAC: 32 bytes at least."""
_LONGEST_NUMBER: Final = 1400
"""Base64 digits of any other member."""
_PUBLIC: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}
_PRIVATE: Final = {"RSA": ("d", "p", "q", "dp", "dq", "qi"), "EC": ("d",), "OKP": ("d",), "oct": ()}

# A weak key only warns, unless warnings are errors; it is refused afterwards.
_UNREADABLE: Final = (JoseError, SecurityWarning, ValueError, TypeError, KeyError)

ImportedKey = RSAKey | ECKey | OKPKey | OctKey

_IMPORTERS: Final[dict[str, type[ImportedKey]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey, "oct": OctKey}


class Jwk(msgspec.Struct):
    """The members of a JWK that are looked at. All others are ignored, also certificates (`x5c`, `x5u`)."""

    kty: str
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    key_ops: tuple[str, ...] | None = None
    issuer: str | None = None
    crv: str | None = None
    n: str | None = None
    e: str | None = None
    x: str | None = None
    y: str | None = None
    d: str | None = None
    p: str | None = None
    q: str | None = None
    dp: str | None = None
    dq: str | None = None
    qi: str | None = None
    k: str | None = None

    @property
    def curve(self) -> str | None:
        """The curve, of the kinds of keys that have one."""
        return self.crv if self.kty in {"EC", "OKP"} else None

    def may(self, operation: str) -> bool:
        """Return whether the key's owner lets it `sign` or `verify`, and all of its members have a usual size."""
        if self.kty not in _PUBLIC or self.use not in {None, "sig"}:
            return False
        if self.key_ops is not None and operation not in self.key_ops:
            return False
        if self.kid is not None and len(self.kid) > LONGEST_KID:
            return False
        names = (*_PUBLIC[self.kty], *_PRIVATE[self.kty])
        if any(len(getattr(self, name) or "") > _LONGEST_NUMBER for name in names):
            return False
        if self.kty == "RSA":
            return len((self.n or "").lstrip("A")) in _RSA_DIGITS and len(self.e or "") <= _LONGEST_EXPONENT
        return self.kty != "oct" or len(self.k or "") in _SECRET_DIGITS

    def members(self, names: Collection[str]) -> dict[str, Any]:
        """Return the members of these names that are there, with the kind of the key."""
        return {"kty": self.kty} | {name: value for name in names if (value := getattr(self, name)) is not None}


def parse_jwk(document: Any) -> Jwk | None:
    """Return a JWK whose members have the right types; None where it has not."""
    try:
        return msgspec.convert(document, Jwk)
    except msgspec.ValidationError:
        return None


def import_public(jwk: Jwk, algorithms: Collection[str]) -> ImportedKey | None:
    """Import the public members only; a set that was published with private ones must not make us hold them.

    Returns None for a key that is weak or cannot be read.
    """
    return _import(jwk, _PUBLIC[jwk.kty], algorithms)


def import_private(jwk: Jwk, algorithms: Collection[str]) -> ImportedKey | None:
    """Import a key that signs. Returns None for one that is weak, cannot be read or has no private part."""
    key = _import(jwk, (*_PUBLIC[jwk.kty], *_PRIVATE[jwk.kty]), algorithms)
    return key if key is not None and key.is_private else None


def import_pem(pem: str, kind: str) -> RSAKey | ECKey | OKPKey | None:
    """Import a private key in PEM; None for what is none of this kind. Its strength is not checked."""
    try:
        key = _IMPORTERS[kind].import_key(pem)
    except _UNREADABLE:
        return None
    return None if isinstance(key, OctKey) or not key.is_private else key


def public_part(key: ImportedKey) -> ImportedKey:
    """Return what verifies: a key without its private part. The key of an HMAC has only one part."""
    return key if isinstance(key, OctKey) else type(key).import_key(key.as_dict(private=False))


def _import(jwk: Jwk, names: Collection[str], algorithms: Collection[str]) -> ImportedKey | None:
    try:
        key: ImportedKey = _IMPORTERS[jwk.kty].import_key(jwk.members(names))
    except _UNREADABLE:
        return None
    return key if _is_strong(key, algorithms) else None


def _is_strong(key: ImportedKey, algorithms: Collection[str]) -> bool:
    if isinstance(key, OctKey):
        return len(key.raw_value) >= max(HASH_BYTES[algorithm] for algorithm in algorithms)
    if isinstance(key, RSAKey):
        numbers = key.public_key.public_numbers()
        return key.public_key.key_size in RSA_BITS and numbers.e in EXPONENTS and bool(numbers.n & numbers.e & 1)
    return True
