"""The public keys by which a provider signs (RFC 7517), read again when a token names one that is not known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from shopkeeper.clock import Clock
from shopkeeper.openid.calls import ProviderCalls, parse_object
from shopkeeper.openid.errors import ProviderAnswerInvalid
from shopkeeper.openid.renewal import FLOOR, Renewed

FRESH: Final = timedelta(minutes=15)
"""How long a key that the provider has withdrawn may still be accepted while the provider answers."""
USABLE: Final = timedelta(hours=12)
"""The same while the provider is away."""
MOST_KEYS: Final = 100
RSA_BITS: Final = range(2048, 8192 + 1)
_RSA_DIGITS: Final = range(RSA_BITS.start // 6 + 1, RSA_BITS.stop // 6 + 3)
"""Base64 digits of a modulus, so that a huge one is not even imported."""
_LONGEST_EXPONENT: Final = 8
"""Base64 digits of an exponent: 65537 has four, and a huge one makes verifying slow."""
_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_FITTING: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Kind and curve of the keys of each algorithm: a key never verifies by an algorithm that is not its own."""

PublicKey = RSAKey | ECKey | OKPKey


class _Jwk(msgspec.Struct):
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


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs.

    `kid` is None where the provider gave it no name. `issuer` is the one whose tokens the key signs: Microsoft names
    it, because one key set serves all tenants, and a key of some tenants must not sign for others.
    """

    kid: str | None
    kind: str
    curve: str | None
    algorithm: str | None
    public: PublicKey
    issuer: str | None = None

    def fits(self, algorithm: str, kid: str | None) -> bool:
        """Return whether a token with this header can have been signed by this key."""
        kind, curve = _FITTING[algorithm]
        return (
            (self.kind, self.curve) == (kind, curve)
            and self.algorithm in {None, algorithm}
            and (kid is None or self.kid == kid)
        )


def one_fitting(keys: Sequence[SigningKey], algorithm: str, kid: str | None) -> SigningKey | None:
    """Return the only key that fits a token; None where none does, or several do."""
    fitting = [key for key in keys if key.fits(algorithm, kid)]
    return fitting[0] if len(fitting) == 1 else None


class KeySource:
    """The keys at one address."""

    def __init__(self, url: str, calls: ProviderCalls, clock: Clock) -> None:
        self.url = url
        self._calls = calls
        self._keys = Renewed(self._read, clock=clock, fresh=FRESH, usable=USABLE)

    async def get(self, *, trusted: bool) -> Sequence[SigningKey]:
        """Return the keys; `trusted` as in `renew`. Raises `ProviderUnavailable` or `ProviderAnswerInvalid` where none
        are usable."""
        return await self._keys.get(floor=timedelta(0) if trusted else FLOOR)

    async def renew(self, *, trusted: bool) -> Sequence[SigningKey]:
        """Return the keys, read again.

        Args:
            trusted: the token that names an unknown key came from the provider itself. Other tokens, which anybody can
                write, cause one reading in each `FLOOR`.
        """
        return await self._keys.renew(floor=timedelta(0) if trusted else FLOOR)

    async def _read(self) -> Sequence[SigningKey]:
        response = await self._calls.send("GET", self.url)
        if response.status != HTTPStatus.OK:
            raise ProviderAnswerInvalid(
                f"The provider's keys could not be read: it answered with {response.status}.", cause="no_keys"
            )
        return parse_keys(response.body)


def parse_keys(body: bytes) -> Sequence[SigningKey]:
    """Parse a JWK set into the keys that we accept; all others are left out (RFC 7517 section 5).

    Left out are symmetric keys, keys that encrypt, weak or huge RSA keys, and what cannot be read. A key that is there
    twice counts once.

    Raises:
        ProviderAnswerInvalid: it is no key set, or has too many keys.
    """
    keys = parse_object(body, what="The provider's key set").get("keys")
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise ProviderAnswerInvalid("The provider's key set has no keys, or too many.", cause="keys")
    found = [key for each in keys if (key := _signing_key(each)) is not None]
    return list({_identity(key): key for key in found}.values())


def _signing_key(document: Any) -> SigningKey | None:
    try:
        jwk = msgspec.convert(document, _Jwk)
    except msgspec.ValidationError:
        return None
    if not _may_verify(jwk):
        return None
    try:
        public = _import(jwk)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    algorithm = "EdDSA" if jwk.alg == "Ed25519" else jwk.alg
    return SigningKey(jwk.kid, jwk.kty, jwk.crv if jwk.kty != "RSA" else None, algorithm, public, jwk.issuer)


def _may_verify(jwk: _Jwk) -> bool:
    if jwk.use not in {None, "sig"} or (jwk.key_ops is not None and "verify" not in jwk.key_ops):
        return False
    if jwk.kty == "RSA":
        return len(jwk.n or "") in _RSA_DIGITS and len(jwk.e or "") <= _LONGEST_EXPONENT
    return jwk.kty in _MEMBERS


def _import(jwk: _Jwk) -> PublicKey:
    """Import the public members only; a set that was published with private ones must not make us hold them."""
    members = {"kty": jwk.kty} | {name: getattr(jwk, name) for name in _MEMBERS[jwk.kty]}
    if jwk.kty == "RSA":
        key = RSAKey.import_key(members)
        if key.public_key.key_size not in RSA_BITS:
            raise ValueError("the RSA key is too short or too long")
        return key
    return ECKey.import_key(members) if jwk.kty == "EC" else OKPKey.import_key(members)


def _identity(key: SigningKey) -> tuple[str | None, str]:
    return key.kid, key.public.thumbprint()
