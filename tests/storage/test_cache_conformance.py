"""What both caches promise. Valkey uses its own clock, so no test here waits for a time to pass."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from shopkeeper.storage.cache.port import Cache

MINUTE = timedelta(minutes=1)


class Heard:
    """A subscriber that remembers its messages."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.states: list[bool] = []
        self._changed = asyncio.Event()

    def on_message(self, message: bytes) -> None:
        self.messages.append(message)
        self._changed.set()

    def on_state(self, up: bool) -> None:
        self.states.append(up)
        self._changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():
                self._changed.clear()
                await self._changed.wait()


class TestValues:
    async def test_an_unknown_key_has_no_value(self, cache: Cache) -> None:
        assert await cache.get("nothing") is None
        assert await cache.time_left("nothing") is None

    @pytest.mark.parametrize("value", [b"", b"plain", b"\x00\xff\r\n$5", "žluťoučký".encode()], ids=repr)
    async def test_a_value_comes_back_as_it_went_in(self, cache: Cache, value: bytes) -> None:
        await cache.set("key", value, ttl=MINUTE)
        assert await cache.get("key") == value

    async def test_a_later_value_and_its_time_replace_the_earlier(self, cache: Cache) -> None:
        await cache.set("key", b"one", ttl=MINUTE)
        await cache.set("key", b"two", ttl=10 * MINUTE)
        left = await cache.time_left("key")
        assert await cache.get("key") == b"two"
        assert left is not None
        assert MINUTE < left <= 10 * MINUTE

    async def test_a_value_with_a_lifetime_of_zero_is_gone_at_once(self, cache: Cache) -> None:
        await cache.set("key", b"one", ttl=MINUTE)
        await cache.set("key", b"two", ttl=timedelta(0))
        assert await cache.get("key") is None
        assert await cache.add("key", b"three", ttl=MINUTE)

    async def test_deleting_removes_what_is_there_and_ignores_the_rest(self, cache: Cache) -> None:
        await cache.set("one", b"1", ttl=MINUTE)
        await cache.set("two", b"2", ttl=MINUTE)
        await cache.delete("one", "nothing")
        await cache.delete()
        assert await cache.get("one") is None
        assert await cache.get("two") == b"2"

    async def test_many_keys_are_kept_apart(self, cache: Cache) -> None:
        keys = {f"key:{number}": str(number).encode() for number in range(500)}
        await asyncio.gather(*(cache.set(key, value, ttl=MINUTE) for key, value in keys.items()))
        assert await asyncio.gather(*map(cache.get, keys)) == list(keys.values())


class TestAdd:
    async def test_only_the_first_of_many_adds(self, cache: Cache) -> None:
        added = await asyncio.gather(*(cache.add("key", str(number).encode(), ttl=MINUTE) for number in range(50)))
        assert sum(added) == 1
        assert await cache.get("key") == str(added.index(True)).encode()

    async def test_a_deleted_key_can_be_added_again(self, cache: Cache) -> None:
        assert await cache.add("key", b"one", ttl=MINUTE)
        await cache.delete("key")
        assert await cache.add("key", b"two", ttl=MINUTE)


class TestCounters:
    async def test_every_count_of_many_at_once_is_counted(self, cache: Cache) -> None:
        counts = await asyncio.gather(*(cache.increment("count", ttl=MINUTE) for _ in range(100)))
        assert sorted(counts) == list(range(1, 101))

    async def test_the_time_begins_with_the_first_count(self, cache: Cache) -> None:
        await cache.increment("count", ttl=MINUTE)
        await cache.increment("count", ttl=100 * MINUTE)
        left = await cache.time_left("count")
        assert left is not None
        assert left <= MINUTE

    async def test_counters_count_by_any_number_and_down_as_well(self, cache: Cache) -> None:
        assert await cache.increment("count", ttl=MINUTE, by=5) == 5
        assert await cache.increment("count", ttl=MINUTE, by=-2) == 3

    async def test_a_count_can_be_read_and_forgotten(self, cache: Cache) -> None:
        await cache.increment("count", ttl=MINUTE, by=41)
        assert await cache.get("count") == b"41"
        await cache.delete("count")
        assert await cache.increment("count", ttl=MINUTE) == 1


class TestMessages:
    async def test_every_subscriber_of_the_channel_hears_every_message_in_order(self, cache: Cache) -> None:
        one, two, elsewhere = Heard(), Heard(), Heard()
        for heard, channel in ((one, "news"), (two, "news"), (elsewhere, "other")):
            await cache.subscribe(channel, on_message=heard.on_message, on_state=heard.on_state)
        sent = [str(number).encode() for number in range(20)]
        for message in sent:
            await cache.publish("news", message)
        await cache.publish("other", b"end")
        await elsewhere.until(lambda: elsewhere.messages == [b"end"])
        for heard in (one, two):
            await heard.until(lambda heard=heard: heard.messages == sent)  # type: ignore[misc]

    async def test_listening_has_begun_when_subscribe_returns(self, cache: Cache) -> None:
        heard = Heard()
        await cache.subscribe("news", on_message=heard.on_message, on_state=heard.on_state)
        assert heard.states == [True]

    async def test_an_ended_subscription_gets_no_further_messages(self, cache: Cache) -> None:
        gone, still = Heard(), Heard()
        leave = await cache.subscribe("news", on_message=gone.on_message, on_state=gone.on_state)
        await cache.subscribe("news", on_message=still.on_message, on_state=still.on_state)
        await leave()
        await leave()
        await cache.publish("news", b"hello")
        await still.until(lambda: still.messages == [b"hello"])
        assert gone.messages == []

    async def test_a_subscriber_that_fails_harms_neither_publisher_nor_others(self, cache: Cache) -> None:
        complaints: asyncio.Queue[object] = asyncio.Queue()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.put_nowait(context["exception"]))

        def stumble(message: bytes) -> None:
            raise LookupError(message)

        heard = Heard()
        await cache.subscribe("news", on_message=stumble, on_state=lambda up: None)
        await cache.subscribe("news", on_message=heard.on_message, on_state=heard.on_state)
        await cache.publish("news", b"one")
        await cache.publish("news", b"two")
        await heard.until(lambda: heard.messages == [b"one", b"two"])
        assert [str(await complaints.get()) for _ in range(2)] == ["b'one'", "b'two'"]


async def test_the_cache_answers_a_ping(cache: Cache) -> None:
    await cache.ping()
