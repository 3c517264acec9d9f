"""The cache port: small values with an end, counters, and messages to every worker."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol


class CacheDown(Exception):
    """The cache does not answer. Callers fall back and say so; they never fail a request for it."""


class Cache(Protocol):
    """What both implementations promise. Keys are text of our own making; values are bytes.

    Every method but `subscribe` and `close` raises `CacheDown` when the cache cannot be reached.
    """

    shared: bool
    """Whether other workers and hosts see the same values and messages."""

    async def get(self, key: str) -> bytes | None:
        """The value, unless there is none or its time is over."""
        ...

    async def set(self, key: str, value: bytes, *, ttl: timedelta) -> None:
        """Keeps a value for a time."""
        ...

    async def add(self, key: str, value: bytes, *, ttl: timedelta) -> bool:
        """Keeps a value for a time unless the key has one already; says whether it did. Atomic."""
        ...

    async def delete(self, *keys: str) -> None:
        """Forgets values."""
        ...

    async def increment(self, key: str, *, ttl: timedelta, by: int = 1) -> int:
        """Counts up, atomically, and gives the new count; a counter's time begins with its first count."""
        ...

    async def time_left(self, key: str) -> timedelta | None:
        """How long a key has to live; none where there is no such key."""
        ...

    async def publish(self, channel: str, message: bytes) -> None:
        """Tells every subscriber, in this process and elsewhere."""
        ...

    async def subscribe(
        self, channel: str, *, on_message: Callable[[bytes], None], on_state: Callable[[bool], None]
    ) -> Callable[[], Awaitable[None]]:
        """Listens until the returned coroutine function is called.

        `on_state(True)` is called when listening has begun, `on_state(False)` when messages may be missed from now on
        (the connection is gone; it is taken up again by itself, and `on_state(True)` follows).
        """
        ...

    async def ping(self) -> None:
        """Returns when the cache answers."""
        ...

    async def close(self) -> None:
        """Gives connections back."""
        ...
