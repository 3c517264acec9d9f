"""Keys that sign and verify, from JWK sets (RFC 7517). What is weak, huge or unreadable never becomes a key."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from shopkeeper.errors import MalformedBody
from shopkeeper.jose.algorithms import ASYMMETRIC, FITTING, canonical
from shopkeeper.jose.errors import KeysInvalid
from shopkeeper.jose.jwk import ImportedKey, Jwk, import_pem, import_private, import_public, parse_jwk, public_part
from shopkeeper.parsing import parse_json

MOST_KEYS: Final = 100
MAX_SET: Final = 256 * 1024
"""Bytes of a JWK set."""
_RSA_BITS: Final = 2048
"""Bits of the RSA keys that are made here."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key that verifies signatures.

    `kid` is None where its owner gave it no name. `algorithms` holds the one that its owner fixed; where the owner
    named none, those of its kind and curve that the reader of the set accepts, which are several for RSA only.
    `issuer` is the one whose tokens the key signs: Microsoft names it, because one key set serves all tenants, and a
    key of some tenants must not sign for others.
    """

    kid: str | None
    algorithms: frozenset[str]
    key: ImportedKey
    issuer: str | None = None

    def fits(self, algorithm: str, kid: str | None) -> bool:
        """Return whether a token with this header can have been signed by this key."""
        return algorithm in self.algorithms and (kid is None or self.kid == kid)


class KeySet:
    """The keys that may have signed a token."""

    def __init__(self, keys: Iterable[VerificationKey] = ()) -> None:
        self.keys = tuple({(key.kid, key.key.thumbprint()): key for key in keys}.values())

    @classmethod
    def of_jwks(cls, document: object, algorithms: Collection[str] = ASYMMETRIC) -> Self:
        """Return the keys of a JWK set that verify by one of the algorithms. All others are left out.

        Left out (RFC 7517 section 5) are keys that encrypt, weak and huge keys, points that are not on the curve,
        symmetric keys where no HMAC is among the algorithms, and what cannot be read. A key that is there twice counts
        once.

        Raises:
            KeysInvalid: it is no JWK set, or has too many keys.
        """
        return cls(key for each in _members(document) if (key := _verification_key(each, algorithms)) is not None)

    @classmethod
    def parse(cls, body: bytes, algorithms: Collection[str] = ASYMMETRIC) -> Self:
        """Return the keys of a JWK set in JSON, as `of_jwks` does. Raises `KeysInvalid`."""
        return cls.of_jwks(_parse(body), algorithms)

    def find(self, algorithm: str, kid: str | None) -> VerificationKey | None:
        """Return the only key that fits a token's header; None where none does, or several do."""
        fitting = [key for key in self.keys if key.fits(algorithm, kid)]
        return fitting[0] if len(fitting) == 1 else None

    def __iter__(self) -> Iterator[VerificationKey]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKey:
    """A key that signs by one algorithm."""

    kid: str
    algorithm: str
    key: ImportedKey

    @classmethod
    def generate(cls, algorithm: str = "ES256") -> Self:
        """Make a key of an asymmetric algorithm. Its `kid` is its thumbprint (RFC 7638)."""
        kind, curve = FITTING[algorithm]
        key: ImportedKey
        if kind == "RSA":
            key = RSAKey.generate_key(_RSA_BITS)
        elif kind == "EC":
            key = ECKey.generate_key(curve)
        elif kind == "OKP":
            key = OKPKey.generate_key("Ed25519")
        else:
            raise ValueError(f"keys of {algorithm} are secrets of two parties, and are not made here")
        return cls(key.thumbprint(), algorithm, key)

    @classmethod
    def of_pem(cls, pem: str, *, kid: str, algorithm: str) -> Self:
        """Return the key in a PEM file. Raises `KeysInvalid`, whose sentence says what the file is not."""
        key = import_pem(pem, FITTING[algorithm][0])
        if key is None:
            raise KeysInvalid("is no private key in PEM")
        named = {**key.as_dict(private=True), "kid": kid, "alg": algorithm}
        try:
            checked = PrivateKeySet.of_jwks({"keys": [named]}).current
        except KeysInvalid as unfit:
            raise KeysInvalid(f"is no private key that signs by {algorithm}") from unfit
        return cls(checked.kid, checked.algorithm, checked.key)

    def private_jwk(self) -> dict[str, Any]:
        """Return the whole key as a JWK."""
        return {**self.key.as_dict(private=True), **self._named()}

    def public_jwk(self) -> dict[str, Any]:
        """Return what may be published. Raises `ValueError` for a symmetric key, which has no public part."""
        if isinstance(self.key, OctKey):
            raise ValueError("a symmetric key is never published")
        return {**self.key.as_dict(private=False), **self._named()}

    def verification_key(self) -> VerificationKey:
        """Return what verifies the signatures of this key."""
        return VerificationKey(self.kid, frozenset({self.algorithm}), public_part(self.key))

    def _named(self) -> dict[str, Any]:
        return {"kid": self.kid, "alg": self.algorithm, "use": "sig"}


class PrivateKeySet:
    """Keys that sign, of which the first does and the others verify what they signed before."""

    def __init__(self, keys: Iterable[PrivateKey]) -> None:
        self.keys = tuple(keys)
        if not self.keys:
            raise KeysInvalid("the key set has no private key that signs")

    @classmethod
    def of_jwks(cls, document: object, algorithms: Collection[str] = ASYMMETRIC) -> Self:
        """Return the private keys of a JWK set.

        A key needs `kid`; it needs `alg` where its kind has several algorithms (RSA, and secrets of HMAC).

        Raises:
            KeysInvalid: it is no JWK set, or one of its keys cannot sign by one of the algorithms, is weak, or has a
                name that another one has. It is our own configuration, so nothing is left out silently.
        """
        keys = [_private_key(each, number, algorithms) for number, each in enumerate(_members(document), start=1)]
        if len({key.kid for key in keys}) < len(keys):
            raise KeysInvalid("two keys of the set have the same 'kid'")
        return cls(keys)

    @classmethod
    def parse(cls, body: bytes, algorithms: Collection[str] = ASYMMETRIC) -> Self:
        """Return the private keys of a JWK set in JSON, as `of_jwks` does. Raises `KeysInvalid`."""
        return cls.of_jwks(_parse(body), algorithms)

    @property
    def current(self) -> PrivateKey:
        """The key that signs."""
        return self.keys[0]

    def verification_keys(self) -> KeySet:
        """Return what verifies the signatures of all these keys."""
        return KeySet(key.verification_key() for key in self.keys)


def _parse(body: bytes) -> Any:
    if len(body) > MAX_SET:
        raise KeysInvalid(f"a key set may have {MAX_SET // 1024} kB at most")
    try:
        return parse_json(body)
    except MalformedBody as broken:
        raise KeysInvalid("the key set is no readable JSON") from broken


def _members(document: object) -> list[Any]:
    keys = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise KeysInvalid(f"a key set is an object with a list 'keys' of {MOST_KEYS} keys at most")
    return keys


def _verification_key(document: Any, algorithms: Collection[str]) -> VerificationKey | None:
    jwk = parse_jwk(document)
    if jwk is None or not jwk.may("verify"):
        return None
    fitting = _algorithms_of(jwk, algorithms)
    key = import_public(jwk, fitting) if fitting else None
    return VerificationKey(jwk.kid, fitting, key, jwk.issuer) if key is not None else None


def _private_key(document: Any, number: int, algorithms: Collection[str]) -> PrivateKey:
    jwk = parse_jwk(document)
    if jwk is None or jwk.kid is None or not jwk.may("sign"):
        raise KeysInvalid(f"key {number} of the set is no private key with a 'kid' that signs")
    fitting = _algorithms_of(jwk, algorithms)
    if len(fitting) != 1:
        raise KeysInvalid(f"key {number} of the set needs an 'alg' out of {', '.join(sorted(algorithms))}")
    key = import_private(jwk, fitting)
    if key is None:
        raise KeysInvalid(f"key {number} of the set is weak, incomplete or not private")
    return PrivateKey(jwk.kid, next(iter(fitting)), key)


def _algorithms_of(jwk: Jwk, accepted: Collection[str]) -> frozenset[str]:
    named = None if jwk.alg is None else canonical(jwk.alg)
    return frozenset(
        algorithm
        for algorithm in map(canonical, accepted)
        if FITTING.get(algorithm) == (jwk.kty, jwk.curve) and named in {None, algorithm}
    )
