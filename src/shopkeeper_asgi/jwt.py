"""The mode `jwt`: tokens are verified here, with the provider's public keys (RFC 7519, RFC 8725, RFC 9068).

The algorithm is the key's, never the token's choice. What a header says of keys (`jwk`, `jku`, `x5u`, `x5c`) is
ignored; extensions (`crit`, `b64`, `zip`) are refused, because none is understood.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shopkeeper_asgi.cache import Clock, Verified
from shopkeeper_asgi.claims import audiences, number, user_of
from shopkeeper_asgi.credentials import Credential
from shopkeeper_asgi.errors import TokenInvalid
from shopkeeper_asgi.http_client import HttpClient, checked_url, parse_object
from shopkeeper_asgi.jwks import ALGORITHMS, LONGEST_KID, PublicKey
from shopkeeper_asgi.key_source import FixedKeys, Keys, KeySource, read_keys
from shopkeeper_asgi.token_kinds import refuse_other_kinds, require_access_claims, require_client

from joserfc.errors import JoseError  # isort: skip - `jwks` says which packages are missing
from joserfc.jws import JWSRegistry  # isort: skip
from joserfc.util import urlsafe_b64decode  # isort: skip

AT_JWT: Final = "at+jwt"
"""The type of access tokens (RFC 9068 section 2.1)."""
MAX_HEADER: Final = 4096
MAX_SIGNATURE: Final = 1400
"""Base64 digits of a signature by the longest RSA key."""
_PART: Final = re.compile(r"[A-Za-z0-9_-]+")
_REFUSED: Final = ("crit", "b64", "zip", "enc")
_IN_JOSERFC: Final = {"EdDSA": "Ed25519"}
"""RFC 9864 gives EdDSA with this curve, the only one that is accepted, a name of its own."""


@dataclass(frozen=True, kw_only=True)
class Jwt:
    """Verifies tokens that are signed JWTs.

    Args:
        issuer: what `iss` must be.
        audience: what `aud` must name; None accepts only tokens without `aud`, as those that `tokenize_as` makes.
        jwks_url: the address of the issuer's keys; found by discovery where it is None.
        jwks: the keys themselves, as a JWKS or the path of a file that holds one, where the issuer does not publish
            them. They are read once.
        algorithms: what keys may sign with. A key has one of them.
        types: what `typ` may be, without `application/`. Tokens for other purposes have other types. None stands for a
            header without it, as those of Cognito and Okta.
        clients: the applications to which a token may have been issued (`client_id`, `azp`); empty for all. Tokens of
            Cognito have no audience, so these take its place.
        leeway: seconds that the clocks may differ.
        cookies: the names of cookies that hold a token.
        cache_seconds: how long a verified token is not verified again; never beyond its `exp`.
    """

    issuer: str
    audience: str | None
    jwks_url: str | None = None
    jwks: Mapping[str, Any] | str | os.PathLike[str] | None = field(default=None, repr=False)
    algorithms: Sequence[str] = ("ES256", "EdDSA", "RS256")
    types: Sequence[str | None] = (AT_JWT, "jwt")
    clients: Sequence[str] = ()
    leeway: float = 30
    cookies: Sequence[str] = ()
    cache_seconds: float = 60

    def __post_init__(self) -> None:
        unknown = [name for name in self.algorithms if name not in ALGORITHMS]
        if isinstance(self.algorithms, str) or unknown or not self.algorithms:
            raise ValueError(f"`algorithms` is a list of some of {', '.join(ALGORITHMS)}")
        if isinstance(self.types, str) or not self.types:
            raise ValueError("`types` is a list of values of `typ`")
        if isinstance(self.clients, str):
            raise ValueError("`clients` is a list of the ids of applications")
        if self.jwks is None:
            checked_url(self.jwks_url or self.issuer)
        elif self.jwks_url is None:
            read_keys(self.jwks, self.algorithms)
        else:
            raise ValueError("give either `jwks` or `jwks_url`")

    def verifier(self, http: HttpClient, now: Clock) -> "_Jwt":
        keys: Keys
        if self.jwks is None:
            keys = KeySource(http, issuer=self.issuer, url=self.jwks_url, algorithms=self.algorithms)
        else:
            keys = FixedKeys(read_keys(self.jwks, self.algorithms))
        return _Jwt(self, keys, now)


class _Jwt:
    def __init__(self, wanted: Jwt, keys: Keys, now: Clock) -> None:
        self._wanted, self._keys, self._now = wanted, keys, now
        self._types = {None if name is None else _short(name) for name in wanted.types}

    async def verify(self, credential: Credential) -> Verified:
        token = credential.token
        kid, algorithm, kind = self._header_of(token)
        keys = await self._keys.find(kid, algorithm)
        if not keys:
            raise TokenInvalid("The token is signed with an unknown key.")
        payload = _verified_payload(token, keys)
        expires_at = self._check(payload, kind)
        return Verified(user_of(payload), expires_at)

    def _header_of(self, token: str) -> tuple[str | None, str, str | None]:
        """Return the key's id, the algorithm and the type. They are trusted once the signature is verified."""
        parts = token.split(".")
        if len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
            raise TokenInvalid("The token is not a signed JWT.")
        if len(parts[0]) > MAX_HEADER or len(parts[2]) > MAX_SIGNATURE:
            raise TokenInvalid("The token is too long.")
        header = _object(parts[0])
        if any(name in header for name in _REFUSED):
            raise TokenInvalid("The token needs an extension that is not supported.")
        kid, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ")
        algorithm = "EdDSA" if algorithm == "Ed25519" else algorithm
        if not isinstance(algorithm, str) or algorithm not in self._wanted.algorithms:
            raise TokenInvalid("The token's algorithm is not accepted.")
        kind = _short(kind) if isinstance(kind, str) else kind
        if not (kind is None or isinstance(kind, str)) or kind not in self._types:
            raise TokenInvalid("The token is of another type.")
        if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= LONGEST_KID):
            raise TokenInvalid("The token's key id cannot be read.")
        return kid, algorithm, kind

    def _check(self, claims: Mapping[str, Any], kind: str | None) -> float:
        """Check what the claims must say, and return when the token ends."""
        wanted, now = self._wanted, self._now()
        expires_at = number(claims.get("exp"))
        if expires_at is None:
            raise TokenInvalid("The token has no expiry.")
        if now >= expires_at + wanted.leeway:
            raise TokenInvalid("The token has expired.")
        for name in ("nbf", "iat"):
            begins = number(claims.get(name))
            if (name in claims and begins is None) or (begins is not None and begins > now + wanted.leeway):
                raise TokenInvalid("The token is not valid yet.")
        if claims.get("iss") != wanted.issuer:
            raise TokenInvalid("The token is of another issuer.")
        named = audiences(claims)
        if wanted.audience not in named if wanted.audience is not None else bool(named):
            raise TokenInvalid("The token is meant for another audience.")
        refuse_other_kinds(claims)
        if kind != AT_JWT:
            require_access_claims(claims, typed=kind is not None)
        require_client(claims, wanted.clients)
        return expires_at + wanted.leeway


def _verified_payload(token: str, keys: Sequence[PublicKey]) -> dict[str, Any]:
    signed, _, signature = token.rpartition(".")
    if not any(_is_signed(signed, signature, key) for key in keys):
        raise TokenInvalid("The token's signature is wrong.")
    return _object(signed.partition(".")[2])


def _is_signed(signed: str, signature: str, key: PublicKey) -> bool:
    # The library's own reading of tokens is stricter with headers than we are, and warns of the name EdDSA.
    algorithm = JWSRegistry.algorithms[_IN_JOSERFC.get(key.algorithm, key.algorithm)]
    try:
        return algorithm.verify(signed.encode(), urlsafe_b64decode(signature.encode()), key.key)
    except (JoseError, ValueError):
        return False


def _object(part: str) -> dict[str, Any]:
    try:
        return parse_object(urlsafe_b64decode(part.encode()))
    except (ValueError, JoseError) as odd:
        raise TokenInvalid("The token cannot be read.") from odd


def _short(kind: str) -> str:
    return kind.lower().removeprefix("application/")
