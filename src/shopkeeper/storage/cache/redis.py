"""The cache in Valkey or Redis: for several workers and hosts.

Every method raises `CacheDown` when an answer takes longer than half a second, so that the caller can fall back. Only
commands of Redis 2.6.12 and later are used, and no scripts, so that managed services and clusters with one shard work,
too.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, cast

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from shopkeeper.cancellation import end_tasks
from shopkeeper.storage.cache.port import CacheDown

log = structlog.get_logger(__name__)

CONNECT_WITHIN = 0.25
ANSWER_WITHIN = 0.5
ASK_AFTER = 1.0
"""Seconds of silence after which a listener pings the server."""
TRY_AGAIN_AFTER = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to listen again; the last one is repeated."""

_REDIS_NAMES = {"valkey": "redis", "valkeys": "rediss"}


class RedisCache:
    """Keeps values in Valkey or Redis.

    Args:
        url: `redis://[user:password@]host:port/number`, `rediss://…` for TLS, `unix://…` for a socket; `valkey://…` and
            `valkeys://…` mean the first two.
        max_connections: how many commands may run at once; further ones wait, at most `answer_within`.
        connect_within: seconds to wait for a connection.
        answer_within: seconds to wait for an answer.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        max_connections: int = 64,
        connect_within: float = CONNECT_WITHIN,
        answer_within: float = ANSWER_WITHIN,
    ) -> None:
        within = connect_within, answer_within
        # One retry: after a restart of the server each pooled connection fails once. Nothing else is retried.
        self._redis = _connect(url, connections=max_connections, retries=1, within=within)
        self._listening = _connect(url, connections=max_connections, retries=0, within=within)
        self._listeners: set[asyncio.Task[None]] = set()

    async def get(self, key: str) -> bytes | None:
        async with _answering():
            return cast("bytes | None", await self._redis.get(key))

    async def set(self, key: str, value: bytes, *, ttl: timedelta) -> None:
        if ttl <= timedelta(0):  # already expired; the server rejects such a TTL
            await self.delete(key)
            return
        async with _answering():
            await self._redis.set(key, value, px=_milliseconds(ttl))

    async def add(self, key: str, value: bytes, *, ttl: timedelta) -> bool:
        async with _answering():
            return bool(await self._redis.set(key, value, px=_milliseconds(ttl), nx=True))

    async def delete(self, *keys: str) -> None:
        if keys:
            async with _answering():
                await self._redis.delete(*keys)

    async def increment(self, key: str, *, ttl: timedelta, by: int = 1) -> int:
        # MULTI creates a counter and its expiry together, so that no counter is left without expiry.
        async with _answering(), self._redis.pipeline(transaction=True) as both:
            both.set(key, 0, px=_milliseconds(ttl), nx=True)
            both.incrby(key, by)
            return int((await both.execute())[1])

    async def time_left(self, key: str) -> timedelta | None:
        async with _answering():
            left = int(await self._redis.pttl(key))
        return timedelta(milliseconds=left) if left >= 0 else None

    async def publish(self, channel: str, message: bytes) -> None:
        async with _answering():
            await self._redis.publish(channel, message)

    async def subscribe(
        self, channel: str, *, on_message: Callable[[bytes], None], on_state: Callable[[bool], None]
    ) -> Callable[[], Awaitable[None]]:
        """Return when listening has begun or the first attempt has failed. In the latter case `on_state(False)` was
        called, and further attempts follow."""
        listener = _Listener(self._listening, channel, on_message=on_message, on_state=on_state)
        task = asyncio.create_task(listener.run(), name=f"listen to {channel}")
        self._listeners.add(task)
        task.add_done_callback(self._listeners.discard)
        await listener.tried.wait()
        return lambda: end_tasks([task])

    async def ping(self) -> None:
        async with _answering():
            await self._redis.ping()

    async def close(self) -> None:
        await end_tasks(self._listeners)
        for client in (self._redis, self._listening):
            with suppress(RedisError, OSError):
                await client.aclose(close_connection_pool=True)


class _Listener:
    """One subscription, renewed whenever its connection is lost."""

    def __init__(
        self, redis: Redis, channel: str, *, on_message: Callable[[bytes], None], on_state: Callable[[bool], None]
    ) -> None:
        self._redis, self._channel = redis, channel
        self._on_message, self._on_state = on_message, on_state
        self._up: bool | None = None
        self.tried = asyncio.Event()

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                await self._listen()
            except Exception as failed:
                if not isinstance(failed, RedisError | OSError):  # a subscription that ends by a bug must not stay "up"
                    log.exception("cache.listening_failed", channel=self._channel)
                failures = 0 if self._up else failures
                self._state(False)
            await asyncio.sleep(TRY_AGAIN_AFTER[min(failures, len(TRY_AGAIN_AFTER) - 1)])
            failures += 1

    async def _listen(self) -> None:
        """Receive messages until the connection breaks. Ping a silent server; disconnect if it stays silent."""
        async with self._redis.pubsub() as line:
            await line.subscribe(self._channel)
            asked = True
            while True:
                heard: dict[str, Any] | None = await line.get_message(timeout=ASK_AFTER)
                if heard is None and asked:
                    raise ConnectionError("the cache fell silent")
                if heard is None:
                    await line.ping()
                else:
                    self._hear(heard)
                asked = heard is None

    def _hear(self, heard: dict[str, Any]) -> None:
        if heard["type"] == "subscribe":
            self._state(True)
        elif heard["type"] == "message":
            # Called through the event loop, so that an exception of a subscriber is reported there and does not end the
            # subscription.
            asyncio.get_running_loop().call_soon(self._on_message, heard["data"])

    def _state(self, up: bool) -> None:
        if up is not self._up:
            self._up = up
            asyncio.get_running_loop().call_soon(self._on_state, up)
        self.tried.set()


def _connect(url: str, *, connections: int, retries: int, within: tuple[float, float]) -> Redis:
    connect_within, answer_within = within
    pool = BlockingConnectionPool.from_url(
        _as_redis(url),
        max_connections=connections,
        timeout=answer_within,
        socket_connect_timeout=connect_within,
        socket_timeout=answer_within,
        retry=Retry(NoBackoff(), retries, supported_errors=(RedisConnectionError,)),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    return Redis.from_pool(pool)


def _as_redis(url: str) -> str:
    """Return the URL with Redis' scheme, the only one that the driver knows; the protocol is the same.

    >>> _as_redis("valkeys://cache.example.org/0")
    'rediss://cache.example.org/0'
    """
    scheme, mark, rest = url.partition("://")
    return f"{_REDIS_NAMES.get(scheme.lower(), scheme)}{mark}{rest}"


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """Raise `CacheDown` for every error of the driver. The server's address is not part of the sentence."""
    try:
        yield
    except (RedisError, OSError) as failed:
        raise CacheDown(f"the cache does not answer ({type(failed).__name__})") from failed


def _milliseconds(ttl: timedelta) -> int:
    return max(1, round(ttl.total_seconds() * 1000))
