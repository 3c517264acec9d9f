"""Who sends a request: the one thing that every adapter asks.

>>> from shopkeeper_asgi import Authenticator, WhoAmI
>>> authenticator = Authenticator(WhoAmI(url="http://127.0.0.1:4433"))
>>> user = await authenticator.authenticate([("session_token", "ory_st_...")])  # doctest: +SKIP
"""

import asyncio
import hashlib
import logging
import ssl
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

from shopkeeper_asgi.background import Background
from shopkeeper_asgi.cache import Clock, UserCache, Verified
from shopkeeper_asgi.credentials import HEADERS, Credential, CredentialReader, Header
from shopkeeper_asgi.errors import AuthenticationFailed, ProviderUnavailable, TokenInvalid
from shopkeeper_asgi.http_client import HttpClient, checked_url
from shopkeeper_asgi.modes import Mode, TokenVerifier
from shopkeeper_asgi.user import User

DEADLINE: Final = 3.0
CACHE_ENTRIES: Final = 10_000
MOST_CALLS: Final = 1000
"""Tokens that are verified at the same time. Further ones are answered with 503 at once."""

log = logging.getLogger("shopkeeper_asgi")


class Authenticator:
    """Verifies the token of a request, by one of the modes, and remembers the result for a moment.

    One object serves a whole process: all its threads, event loops and frameworks. It is made without any I/O, so a
    module may hold it.

    Args:
        mode: `WhoAmI`, `Introspect` or `Jwt`.
        headers: the headers in which a token may come.
        bearer: whether it may come as `Authorization: Bearer`.
        cookies: the cookies in which it may come; those of the mode where None.
        origins: further origins whose pages may send the cookie, such as that of the shop's pages.
        optional: whether requests without a token pass, with None for the user.
        ignore_wrong: whether requests with a wrong token pass as well, with None. An outage never passes.
        cache_seconds: how long a verified token is remembered at most; the mode's where None, 0 for never.
        cache_entries: how many are remembered at most.
        deadline: seconds after which the provider is given up.
        tls: the TLS context for calls to the provider; by default with the system's certificate authorities.
        proxy: an HTTP proxy for these calls.
        now: the clock that expiry is compared with, in seconds since 1970.
    """

    def __init__(
        self,
        mode: Mode,
        *,
        headers: Sequence[str] = HEADERS,
        bearer: bool = True,
        cookies: Sequence[str] | None = None,
        origins: Sequence[str] = (),
        optional: bool = False,
        ignore_wrong: bool = False,
        cache_seconds: float | None = None,
        cache_entries: int = CACHE_ENTRIES,
        deadline: float = DEADLINE,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
        now: Clock = time.time,
    ) -> None:
        if deadline <= 0:
            raise ValueError("the deadline is a number of seconds above 0")
        if ignore_wrong and not optional:
            raise ValueError("`ignore_wrong` lets requests through without a user, which needs `optional`")
        if proxy is not None:
            checked_url(proxy)
        sent = mode.cookies if cookies is None else cookies
        self.reader = CredentialReader(headers=headers, bearer=bearer, cookies=sent, origins=origins)
        self.optional, self.ignore_wrong = optional, ignore_wrong
        self._deadline = deadline
        seconds = mode.cache_seconds if cache_seconds is None else cache_seconds
        cache = self._cache = UserCache(seconds=seconds, entries=cache_entries, now=now)

        def build() -> "_Flights":
            http = HttpClient(tls=tls, proxy=proxy)
            return _Flights(mode.verifier(http, now), http, cache, deadline)

        self._background = Background(build, _Flights.close)

    async def authenticate(
        self, headers: Iterable[Header], *, method: str = "GET", websocket: bool = False, optional: bool | None = None
    ) -> User | None:
        """Return the user of a request. None only where requests without a user pass.

        Args:
            headers: names and values as the client has sent them; a name may repeat.
            method: its method; a cookie does not count where another site's page sends one that changes something.
            websocket: whether it opens a WebSocket.
            optional: whether requests without a token pass; the authenticator's where None. With False, `ignore_wrong`
                does not count either: the result is a user.

        Raises `AuthenticationFailed`.
        """
        passes = self.optional if optional is None else optional
        try:
            credential = self._read(headers, method=method, websocket=websocket, optional=passes)
            return None if credential is None else await self.verify(credential)
        except TokenInvalid:
            if passes and self.ignore_wrong:
                return None
            raise

    def authenticate_sync(
        self, headers: Iterable[Header], *, method: str = "GET", optional: bool | None = None
    ) -> User | None:
        """Return the user of a request, as `authenticate` does, for synchronous frameworks. It waits in the thread.

        Raises `RuntimeError` in a thread whose event loop it would hold.
        """
        if _on_event_loop():
            raise RuntimeError("An event loop runs in this thread: use `await authenticate(...)`.")
        passes = self.optional if optional is None else optional
        try:
            credential = self._read(headers, method=method, websocket=False, optional=passes)
            return None if credential is None else self.verify_sync(credential)
        except TokenInvalid:
            if passes and self.ignore_wrong:
                return None
            raise

    async def verify(self, credential: Credential) -> User:
        """Return whose token it is. Raises `AuthenticationFailed`."""
        key = _digest(credential)
        remembered = self._cache.get(key)
        return remembered if remembered is not None else await asyncio.wrap_future(self._submit(key, credential))

    def verify_sync(self, credential: Credential) -> User:
        """Return whose token it is; it waits in the thread. Raises `AuthenticationFailed`."""
        key = _digest(credential)
        remembered = self._cache.get(key)
        if remembered is not None:
            return remembered
        future = self._submit(key, credential)
        try:
            return future.result(2 * self._deadline)
        except FutureTimeout as late:  # where the thread gets no time at all, as in a server without threads
            future.cancel()
            raise ProviderUnavailable("the thread for calls to the provider does not run") from late

    def close(self) -> None:
        """Close the connections and end the thread. The next request starts them again.

        Requests whose token is being verified get `ProviderUnavailable`.
        """
        self._background.close()

    def _read(self, headers: Iterable[Header], *, method: str, websocket: bool, optional: bool) -> Credential | None:
        credential = self.reader.read(headers, method=method, websocket=websocket)
        return credential if optional else self.reader.require(credential)

    def _submit(self, key: bytes, credential: Credential) -> "Future[User]":
        return self._background.submit(lambda flights: flights.verify(key, credential))


def _on_event_loop() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _digest(credential: Credential) -> bytes:
    """Return what a token is remembered under, so that no memory dump shows it."""
    place = credential.cookie or ""
    return hashlib.sha256("\n".join((place, *credential.values)).encode()).digest()


class _Flights:
    """The tokens that are being verified: each once, whoever waits for it."""

    def __init__(self, verifier: TokenVerifier, http: HttpClient, cache: UserCache, deadline: float) -> None:
        self._verifier, self._http, self._cache, self._deadline = verifier, http, cache, deadline
        self._running: dict[bytes, asyncio.Task[Verified | AuthenticationFailed]] = {}
        self._waiting: set[asyncio.Task[Any] | None] = set()

    async def verify(self, key: bytes, credential: Credential) -> User:
        remembered = self._cache.get(key)
        if remembered is not None:
            return remembered
        flight = self._running.get(key)
        if flight is None:
            if len(self._running) >= MOST_CALLS:
                raise ProviderUnavailable("too many tokens are being verified")
            flight = self._running[key] = asyncio.create_task(self._fly(key, credential))
        outcome = await self._landed(flight)
        if isinstance(outcome, AuthenticationFailed):
            raise outcome.with_traceback(None)
        return outcome.user

    async def _landed(self, flight: "asyncio.Task[Verified | AuthenticationFailed]") -> Verified | AuthenticationFailed:
        this = asyncio.current_task()
        self._waiting.add(this)
        try:
            # One of the callers may go away: the flight goes on for the others.
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            if not flight.cancelled():
                raise
            return ProviderUnavailable("the authenticator was closed", retry_after=1)
        finally:
            self._waiting.discard(this)

    async def _fly(self, key: bytes, credential: Credential) -> Verified | AuthenticationFailed:
        try:
            async with asyncio.timeout(self._deadline):
                verified = await self._verifier.verify(credential)
        except TimeoutError:
            self._http.breaker.unanswered()
            return self._unavailable(ProviderUnavailable(f"no answer within {self._deadline:g} seconds"))
        except ProviderUnavailable as failed:
            return self._unavailable(failed)
        except AuthenticationFailed as failed:
            return failed
        finally:
            self._running.pop(key, None)
        self._cache.put(key, verified)
        return verified

    def _unavailable(self, failed: ProviderUnavailable) -> ProviderUnavailable:
        log.warning("The provider cannot be asked: %s", failed.cause)
        return failed

    async def close(self) -> None:
        """Give up what is in flight; those who wait for it get `ProviderUnavailable`."""
        flights = list(self._running.values())
        self._running.clear()
        for flight in flights:
            flight.cancel()
        waiting = [task for task in self._waiting if task is not None]
        await asyncio.gather(*flights, *waiting, return_exceptions=True)
        await self._http.close()
