"""Signatures of a provider's tokens, verified by `jose` with the provider's keys."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from shopkeeper.jose.errors import TokenRefused
from shopkeeper.jose.verify import JwtRules, SignedJwt, check_header, verify_signed
from shopkeeper.openid.errors import ProviderTokenInvalid
from shopkeeper.openid.keys import KeySource

MAX_TOKEN: Final = 64 * 1024
"""Characters of a token, so that its claims are below 64 kB."""
_CURED_BY_READING_KEYS: Final = {"unknown_key", "signature"}


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


@contextmanager
def as_provider_error() -> Iterator[None]:
    """Turn a refused token into the error of this package."""
    try:
        yield
    except TokenRefused as refused:
        raise ProviderTokenInvalid(refused.detail, cause=refused.cause) from refused


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
    rules = JwtRules(types=types, algorithms=algorithms, max_bytes=MAX_TOKEN)
    with as_provider_error():
        signed = await _verify(token, keys, rules, trusted=trusted)
    return SignedToken(signed.header.algorithm, signed.claims, signed.digest, signed.key.issuer)


async def _verify(token: str, keys: KeySource, rules: JwtRules, *, trusted: bool) -> SignedJwt:
    check_header(token, rules)  # what is no token of this kind causes no reading of keys
    try:
        return verify_signed(token, await keys.get(trusted=trusted), rules)
    except TokenRefused as refused:
        if refused.cause not in _CURED_BY_READING_KEYS:
            raise
    return verify_signed(token, await keys.renew(trusted=trusted), rules)
