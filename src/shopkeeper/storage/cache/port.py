"""The cache port: small values that expire, counters, and messages to all workers."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol


class CacheDown(Exception):
    """Raised when the cache does not answer. Callers fall back and log it; they never fail a request because of it."""


class Cache(Protocol):
    """What both implementations guarantee. Keys are text that we compose, `kind:…`; values are bytes.

    Every method but `subscribe` and `close` raises `CacheDown` when the cache cannot be reached.
    """

    shared: bool
    """Whether other workers and hosts see the same values and messages."""

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None where the key is unknown or has expired."""
        ...

    async def set(self, key: str, value: bytes, *, ttl: timedelta) -> None:
        """Store a value until `ttl` has passed."""
        ...

    async def add(self, key: str, value: bytes, *, ttl: timedelta) -> bool:
        """Store a value unless the key has one already; return whether it was stored. Atomic."""
        ...

    async def delete(self, *keys: str) -> None:
        """Delete values."""
        ...

    async def increment(self, key: str, *, ttl: timedelta, by: int = 1) -> int:
        """Increment a counter atomically and return its new value. `ttl` counts from the first increment."""
        ...

    async def time_left(self, key: str) -> timedelta | None:
        """Return how long a key has to live, or None where it is unknown."""
        ...

    async def publish(self, channel: str, message: bytes) -> None:
        """Send a message to every subscriber, in this process and in others."""
        ...

    async def subscribe(
        self, channel: str, *, on_message: Callable[[bytes], None], on_state: Callable[[bool], None]
    ) -> Callable[[], Awaitable[None]]:
        """Listen until the returned coroutine function is called.

        `on_state(True)` is called when listening begins. `on_state(False)` is called when the connection is lost and
        messages may be missed; it is restored automatically, and `on_state(True)` follows.
        """
        ...

    async def ping(self) -> None:
        """Return when the cache answers."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
