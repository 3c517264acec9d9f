"""The provider's public keys (RFC 7517): found by discovery, checked for strength, each for one algorithm.

They are fetched again after a while, and once more for a key that is unknown, but not more often than every few
seconds, so that tokens with invented key ids cannot make this process call the provider. While the provider does not
answer, the keys that are known go on for a bounded time.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

try:
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
    from joserfc.util import urlsafe_b64decode
except ImportError as missing:  # pragma: no cover - the test of the wheel sees it
    raise ImportError("The mode `jwt` needs further packages: pip install 'shopkeeper-asgi[jwt]'") from missing

from shopkeeper_asgi.errors import ProviderUnavailable
from shopkeeper_asgi.http_client import HttpClient, checked_url

MAX_KEYS: Final = 64
RSA_BITS: Final = range(2048, 8193)
"""Shorter keys can be broken, and longer ones keep a processor busy."""
LONGEST_KID: Final = 512
FRESH: Final = 300.0
"""Seconds after which the keys are fetched again."""
STALE: Final = 3600.0
"""Seconds for which keys are used while the provider does not answer."""
PAUSE: Final = 10.0
"""Seconds between two fetches at least."""
ALGORITHMS: Final = ("ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
"""Every algorithm that can be configured: asymmetric ones alone."""
_DISCOVERIES: Final = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
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


class KeySource:
    """The keys of one issuer, fetched when they are needed. It lives on one event loop.

    Args:
        issuer: whose discovery document names the keys' address, where `url` is None.
        url: the address of the JWKS.
    """

    def __init__(self, http: HttpClient, *, issuer: str, url: str | None, algorithms: Sequence[str]) -> None:
        self._http, self._issuer, self._url, self._algorithms = http, issuer, url, algorithms
        self._keys: tuple[PublicKey, ...] = ()
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._lock = asyncio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> Sequence[PublicKey]:
        """Return the keys that may have signed a token, of which there are several only if ids repeat.

        Raises `ProviderUnavailable` where the keys cannot be fetched and known ones are too old.
        """
        await self._refresh(older_than=FRESH)
        found = self._fitting(kid, algorithm)
        if not found and self._can_try():
            await self._refresh(older_than=PAUSE)
            found = self._fitting(kid, algorithm)
        return found

    def _fitting(self, kid: str | None, algorithm: str) -> Sequence[PublicKey]:
        fitting = [key for key in self._keys if key.algorithm == algorithm]
        if kid is None:
            return fitting if len(fitting) == 1 else []
        return [key for key in fitting if key.kid == kid][:2]

    async def _refresh(self, *, older_than: float) -> None:
        """Fetch the keys if they are older than this; callers wait for one fetch together."""
        async with self._lock:
            if self._age() <= older_than:
                return
            if not self._can_try():
                self._require_usable()
                return
            self._tried_at = monotonic()
            try:
                document = await self._document(await self._address())
                keys = keys_of(document, self._algorithms)
                if not keys:
                    raise ProviderUnavailable(f"no usable key is published for {self._issuer}")
            except ProviderUnavailable:
                self._require_usable()
                return
            self._keys, self._fetched_at = keys, monotonic()

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else monotonic() - self._fetched_at

    def _can_try(self) -> bool:
        return self._tried_at is None or monotonic() - self._tried_at > PAUSE

    def _require_usable(self) -> None:
        if self._age() > STALE:
            raise ProviderUnavailable(f"the keys of {self._issuer} cannot be fetched")

    async def _address(self) -> str:
        if self._url is not None:
            return self._url
        for path in _DISCOVERIES:
            answer = await self._http.call("GET", f"{self._issuer.rstrip('/')}{path}")
            if answer.status == 200:
                return self._named(answer.json())
        raise answer.unavailable(f"discovery of {self._issuer}")

    def _named(self, document: Mapping[str, Any]) -> str:
        """Return the address that a discovery document names (OpenID Connect Discovery section 4.3)."""
        address = document.get("jwks_uri")
        try:
            if document.get("issuer") != self._issuer or not isinstance(address, str):
                raise ValueError("of another issuer, or without keys")
            checked_url(address)
            if self._issuer.startswith("https://") and not address.startswith("https://"):
                raise ValueError("the keys are not protected")
        except ValueError as odd:
            raise ProviderUnavailable(f"the discovery document of {self._issuer}: {odd}") from odd
        self._url = address
        return address

    async def _document(self, address: str) -> Mapping[str, Any]:
        answer = await self._http.call("GET", address)
        if answer.status != 200:
            raise answer.unavailable(f"the keys of {self._issuer}")
        return answer.json()
