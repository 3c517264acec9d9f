"""What only Valkey can do: fail, come back, and be shared."""

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from shopkeeper.storage.cache.port import CacheDown
from shopkeeper.storage.cache.redis import RedisCache
from tests.services.server import Server, free_port
from tests.services.valkey import start_valkey
from tests.storage.test_cache_conformance import Heard

MINUTE = timedelta(minutes=1)

EVERY_VERB: dict[str, Callable[[RedisCache], object]] = {
    "get": lambda cache: cache.get("key"),
    "set": lambda cache: cache.set("key", b"", ttl=MINUTE),
    "add": lambda cache: cache.add("key", b"", ttl=MINUTE),
    "delete": lambda cache: cache.delete("key"),
    "increment": lambda cache: cache.increment("key", ttl=MINUTE),
    "time_left": lambda cache: cache.time_left("key"),
    "publish": lambda cache: cache.publish("channel", b""),
    "ping": lambda cache: cache.ping(),
}


def patient(url: str, **options: int) -> RedisCache:
    """Return a cache whose timeouts are too long for a busy machine to reach."""
    return RedisCache(url, connect_within=20, answer_within=20, **options)


@pytest.fixture
def mortal() -> Iterator[Server]:
    """A Valkey of this test, which it may kill."""
    server = start_valkey(owner=os.getpid())
    yield server
    server.stop()


class TestWhenItIsDown:
    @pytest.mark.parametrize("verb", EVERY_VERB.values(), ids=EVERY_VERB)
    async def test_every_operation_raises(self, verb: Callable[[RedisCache], object]) -> None:
        cache = RedisCache(f"redis://:a-secret@127.0.0.1:{free_port()}/0")
        with pytest.raises(CacheDown) as down:
            await verb(cache)  # type: ignore[misc]
        assert "a-secret" not in str(down.value)
        await cache.close()

    async def test_a_server_that_accepts_and_says_nothing_is_down(self) -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            cache = RedisCache(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
            with pytest.raises(CacheDown):
                await cache.get("key")
            await cache.close()

    async def test_subscribing_returns_and_reports_that_nothing_is_received(self) -> None:
        cache, heard = RedisCache(f"redis://127.0.0.1:{free_port()}/0"), Heard()
        await cache.subscribe("news", on_message=heard.on_message, on_state=heard.on_state)
        await heard.until(lambda: heard.states == [False])
        await cache.close()


class TestWhenItDiesAndComesBack:
    async def test_operations_fail_and_work_again(self, mortal: Server) -> None:
        cache = patient(mortal.url)
        await cache.set("key", b"value", ttl=MINUTE)
        await asyncio.to_thread(mortal.kill)
        with pytest.raises(CacheDown):
            await cache.get("key")
        again = await asyncio.to_thread(_restart, mortal)
        await cache.set("key", b"again", ttl=MINUTE)
        assert await cache.get("key") == b"again"
        await cache.close()
        await asyncio.to_thread(again.stop)

    async def test_a_pooled_connection_from_before_a_restart_is_not_a_failure(self, mortal: Server) -> None:
        cache = patient(mortal.url)
        await asyncio.gather(*(cache.set(f"key{number}", b"", ttl=MINUTE) for number in range(10)))
        await asyncio.to_thread(mortal.kill)
        again = await asyncio.to_thread(_restart, mortal)
        assert await asyncio.gather(*(cache.increment("count", ttl=MINUTE) for _ in range(10))) != []
        await cache.close()
        await asyncio.to_thread(again.stop)

    async def test_a_listener_is_notified_and_listens_again(self, mortal: Server) -> None:
        cache, heard = patient(mortal.url), Heard()
        await cache.subscribe("news", on_message=heard.on_message, on_state=heard.on_state)
        await asyncio.to_thread(mortal.kill)
        await heard.until(lambda: heard.states == [True, False])
        again = await asyncio.to_thread(_restart, mortal)
        await heard.until(lambda: heard.states == [True, False, True])
        await cache.publish("news", b"still there")
        await heard.until(lambda: heard.messages == [b"still there"])
        await cache.close()
        await asyncio.to_thread(again.stop)

    async def test_a_silent_connection_is_noticed(self, valkey_url: str) -> None:
        """A network that is cut closes no connection, so the listener sends pings and takes silence for a failure."""
        cut = asyncio.Event()
        address = urlsplit(valkey_url)

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(4096):
                if not cut.is_set():
                    writer.write(data)
            writer.close()

        async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection(address.hostname, address.port)
            await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))

        async with await asyncio.start_server(between, "127.0.0.1", 0) as server:
            cache, heard = RedisCache(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"), Heard()
            await cache.subscribe("news", on_message=heard.on_message, on_state=heard.on_state)
            cut.set()
            await heard.until(lambda: heard.states == [True, False])
            cut.clear()
            await heard.until(lambda: heard.states == [True, False, True])
            await cache.close()


class TestShared:
    async def test_two_workers_see_the_same_values_and_messages(self, valkey_url: str) -> None:
        one, two, heard = patient(valkey_url), patient(valkey_url), Heard()
        await two.subscribe("news", on_message=heard.on_message, on_state=heard.on_state)
        assert await one.increment("count", ttl=MINUTE) == 1
        assert await two.increment("count", ttl=MINUTE) == 2
        await one.publish("news", b"hello")
        await heard.until(lambda: heard.messages == [b"hello"])
        await one.close()
        await two.close()

    async def test_valkeys_own_name_for_its_address_will_do(self, valkey_url: str) -> None:
        cache = patient(valkey_url.replace("redis://", "valkey://"))
        await cache.ping()
        await cache.close()

    async def test_a_counter_never_lives_for_ever(self, valkey_url: str) -> None:
        cache = patient(valkey_url)
        for _ in range(3):
            await cache.increment("count", ttl=MINUTE)
            assert await cache.time_left("count") is not None
        await cache.close()

    async def test_more_commands_than_connections_wait_for_one(self, valkey_url: str) -> None:
        cache = patient(valkey_url, max_connections=2)
        counts = await asyncio.gather(*(cache.increment("count", ttl=MINUTE) for _ in range(50)))
        assert sorted(counts) == list(range(1, 51))
        await cache.close()


def _restart(server: Server) -> Server:
    """Start a new server without data on the same address."""
    return start_valkey(owner=os.getpid(), port=urlsplit(server.url).port)
