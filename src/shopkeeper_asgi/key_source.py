"""Where the keys of an issuer come from: its key set, found by discovery, or one that the application has.

Keys are fetched again after a while, and once more for a key that is unknown, but not more often than every few
seconds, so that tokens with invented key ids cannot make this process call the provider. Keys that are known go on
while they are fetched, and for a bounded time while the provider does not answer.
"""

import asyncio
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final, Protocol

from shopkeeper_asgi.errors import ProviderUnavailable
from shopkeeper_asgi.http_client import HttpClient, checked_url
from shopkeeper_asgi.jwks import PublicKey, fitting, keys_of

FRESH: Final = 300.0
"""Seconds after which the keys are fetched again."""
STALE: Final = 3600.0
"""Seconds for which keys are used while the provider does not answer."""
PAUSE: Final = 10.0
"""Seconds between two fetches at least."""
PATIENCE: Final = 5.0
"""Seconds after which a fetch is given up. Those who need a key may have given up before."""
GRACE: Final = 0.5
"""Seconds for which the first token waits for fresher keys; the others are verified with those that are known."""
_DISCOVERIES: Final = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")

log = logging.getLogger("shopkeeper_asgi")


class Keys(Protocol):
    """The keys of one issuer."""

    async def find(self, kid: str | None, algorithm: str) -> Sequence[PublicKey]:
        """Return the keys that may have signed a token. Raises `ProviderUnavailable`."""


class FixedKeys:
    """Keys that the application has."""

    def __init__(self, keys: Sequence[PublicKey]) -> None:
        self._keys = keys

    async def find(self, kid: str | None, algorithm: str) -> Sequence[PublicKey]:
        return fitting(self._keys, kid, algorithm)


def read_keys(jwks: Mapping[str, Any] | str | os.PathLike[str], algorithms: Sequence[str]) -> Sequence[PublicKey]:
    """Return the keys of a JWKS, or of the file that holds one. Raises `ValueError` without any, and `OSError`."""
    document = jwks if isinstance(jwks, Mapping) else json.loads(Path(jwks).read_bytes())
    keys = keys_of(document, algorithms) if isinstance(document, Mapping) else ()
    if not keys:
        raise ValueError("`jwks` has no key that verifies signatures by one of `algorithms`")
    return keys


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
        self._fetch: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> Sequence[PublicKey]:
        """Return the keys that may have signed a token, of which there are several only if ids repeat.

        Raises `ProviderUnavailable` where the keys cannot be fetched and known ones are too old.
        """
        if self._age() > FRESH:
            await self._renew()
        found = fitting(self._keys, kid, algorithm)
        if not found and self._is_fetching():
            await self._fetched()
            found = fitting(self._keys, kid, algorithm)
        return found

    async def _renew(self) -> None:
        """Fetch the keys. Only where none can be used does everybody wait for it."""
        begins = self._fetch is None and self._is_fetching()
        if self._age() > STALE:
            if self._is_fetching():
                await self._fetched()
            if self._age() > STALE:
                raise ProviderUnavailable(f"the keys of {self._issuer} cannot be fetched")
        elif begins and self._fetch is not None:
            await asyncio.wait({self._fetch}, timeout=GRACE)

    def _is_fetching(self) -> bool:
        """Whether the keys are being fetched, which begins if the last time is long enough ago."""
        if self._fetch is None and (self._tried_at is None or monotonic() - self._tried_at > PAUSE):
            self._tried_at = monotonic()
            self._fetch = asyncio.create_task(self._try())
        return self._fetch is not None

    async def _fetched(self) -> None:
        # One who waits may go away: the fetch goes on for the others.
        if self._fetch is not None:
            await asyncio.shield(self._fetch)

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else monotonic() - self._fetched_at

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                keys = keys_of(await self._document(await self._address()), self._algorithms)
            if not keys:
                raise ProviderUnavailable(f"no usable key is published for {self._issuer}")
            self._keys, self._fetched_at = keys, monotonic()
        except TimeoutError:
            self._http.breaker.unanswered()
            log.warning("The keys of %s cannot be fetched: no answer within %g seconds", self._issuer, PATIENCE)
        except ProviderUnavailable as failed:
            log.warning("The keys of %s cannot be fetched: %s", self._issuer, failed.cause)
        finally:
            self._fetch = None

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
