"""Password hashing: the right password matches, a wrong one costs the same, and the queued work is bounded."""

import asyncio
import base64
from dataclasses import astuple
from threading import Event

import argon2
import bcrypt
import pytest
from argon2.low_level import Type

from shopkeeper.credentials.hashes import (
    MAX_PASSWORD_BYTES,
    RECOMMENDED,
    Argon2Parameters,
    Hasher,
    known_format,
)
from shopkeeper.errors import Busy, InvalidInput
from tests.credentials.world import CHEAP

SALT = base64.b64encode(b"a salt of 16 byt").decode().rstrip("=")
KEY = base64.b64encode(b"k" * 32).decode().rstrip("=")


def argon2_text(*, memory: int = 64, time: int = 1, lanes: int = 1, type_: str = "id", version: int = 19) -> str:
    return f"$argon2{type_}$v={version}$m={memory},t={time},p={lanes}${SALT}${KEY}"


def bcrypt_text(password: bytes = b"correct horse", *, prefix: bytes = b"2b") -> str:
    return bcrypt.hashpw(password[:72], bcrypt.gensalt(4)).replace(b"$2b$", b"$" + prefix + b"$").decode()


class TestHashing:
    async def test_the_right_password_matches_and_no_other(self, hasher: Hasher) -> None:
        hashed = await hasher.hash("correct horse")
        assert await hasher.verify("correct horse", hashed)
        for wrong in ("correct horse ", " correct horse", "Correct horse", "correct hors", "", "correct horse\0"):
            assert not await hasher.verify(wrong, hashed)

    async def test_the_hash_is_argon2id_with_the_parameters_and_a_salt_of_its_own(self, hasher: Hasher) -> None:
        one, other = await hasher.hash("correct horse"), await hasher.hash("correct horse")
        assert one.startswith(f"$argon2id$v=19$m={CHEAP.memory},t={CHEAP.iterations},p={CHEAP.parallelism}$")
        assert one != other

    def test_recommended_is_what_owasp_asks_for_argon2id(self) -> None:
        assert astuple(RECOMMENDED) == (19 * 1024, 2, 1, 16, 32)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("pässword-1", "pa\u0308ssword-1"),  # composed and decomposed: taken as typed, so they are two
            ("ﬁne-password", "fine-password"),
            ("password\u200b-1", "password-1"),
            ("a" * 200, "a" * 199 + "b"),
        ],
    )
    async def test_passwords_are_taken_exactly_as_typed(self, hasher: Hasher, one: str, other: str) -> None:
        hashed = await hasher.hash(one)
        assert await hasher.verify(one, hashed)
        assert not await hasher.verify(other, hashed)

    async def test_half_a_surrogate_pair_is_a_password_like_any_other(self, hasher: Hasher) -> None:
        assert await hasher.verify("half \ud83d of it", await hasher.hash("half \ud83d of it"))

    async def test_an_absurdly_long_password_is_refused_before_any_work(self, hasher: Hasher) -> None:
        with pytest.raises(InvalidInput, match="4096 bytes"):
            await hasher.hash("x" * (MAX_PASSWORD_BYTES + 1))
        assert hasher.computed == 0

    @pytest.mark.parametrize(
        "wrong",
        [
            {"memory": 0},
            {"memory": 7},
            {"memory": 1024 * 1024},
            {"iterations": 0},
            {"iterations": 65},
            {"parallelism": 0},
            {"parallelism": 65, "memory": 1024},
            {"memory": 512 * 1024, "iterations": 64},
            {"salt_length": 4},
            {"key_length": 8},
        ],
    )
    def test_parameters_are_checked_once_with_a_sentence(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="argon2: "):
            Argon2Parameters(**{"memory": 1024, "iterations": 2, "parallelism": 1, **wrong})

    def test_a_pool_without_workers_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one worker"):
            Hasher(CHEAP, workers=0, queue=1)


class TestImportedHashes:
    @pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
    async def test_bcrypt_is_verified_and_always_outdated(self, hasher: Hasher, prefix: bytes) -> None:
        hashed = bcrypt_text(prefix=prefix)
        assert known_format(hashed)
        assert await hasher.verify("correct horse", hashed)
        assert not await hasher.verify("wrong horse", hashed)
        assert hasher.outdated(hashed)

    async def test_bcrypt_of_a_password_beyond_its_72_bytes_is_verified_as_it_was_made(self, hasher: Hasher) -> None:
        long = "long " * 20
        assert await hasher.verify(long, bcrypt_text(long.encode()))
        assert not await hasher.verify(long[:71], bcrypt_text(long.encode()))

    @pytest.mark.parametrize("type_", [Type.ID, Type.I])
    @pytest.mark.parametrize("version", [16, 19])
    async def test_argon2_made_elsewhere_is_verified(self, hasher: Hasher, type_: Type, version: int) -> None:
        hashed = argon2.low_level.hash_secret(
            b"correct horse", b"some salt here", 2, 128, 2, 24, type_, version
        ).decode()
        assert known_format(hashed)
        assert await hasher.verify("correct horse", hashed)
        assert not await hasher.verify("wrong horse", hashed)
        assert hasher.outdated(hashed)

    @pytest.mark.parametrize(
        "changed",
        [
            Argon2Parameters(memory=CHEAP.memory * 2, iterations=1, parallelism=1),
            Argon2Parameters(memory=CHEAP.memory, iterations=2, parallelism=1),
            Argon2Parameters(memory=CHEAP.memory, iterations=1, parallelism=2),
            Argon2Parameters(memory=CHEAP.memory, iterations=1, parallelism=1, salt_length=24),
            Argon2Parameters(memory=CHEAP.memory, iterations=1, parallelism=1, key_length=24),
        ],
        ids=["memory", "iterations", "parallelism", "salt", "key"],
    )
    async def test_a_hash_is_outdated_when_any_parameter_has_changed(
        self, hasher: Hasher, changed: Argon2Parameters
    ) -> None:
        hashed = await hasher.hash("correct horse")
        assert not hasher.outdated(hashed)
        newer = Hasher(changed, workers=1, queue=0)
        assert newer.outdated(hashed)
        assert await newer.verify("correct horse", hashed)
        assert not newer.outdated(await newer.hash("correct horse"))
        newer.close()

    @pytest.mark.parametrize(
        "hashed",
        [
            argon2_text(memory=64 * 1024 * 1024),
            argon2_text(memory=4_294_967_295),
            argon2_text(memory=512 * 1024, time=64),
            argon2_text(time=4_294_967_295),
            argon2_text(memory=999_999, lanes=9999),
            argon2_text(memory=7),
            argon2_text(memory=64, lanes=0),
            "$2b$31$" + "a" * 53,
            "$2b$15$" + "a" * 53,
            "$2b$03$" + "a" * 53,
        ],
    )
    async def test_row_094_a_hash_that_wants_absurd_work_is_never_computed(self, hasher: Hasher, hashed: str) -> None:
        assert not known_format(hashed)
        assert not await hasher.verify("correct horse", hashed)
        assert hasher.computed == 1  # the work of one ordinary hash, so that it looks like a wrong password

    @pytest.mark.parametrize(
        "hashed",
        [
            "",
            "$",
            "$$",
            "plain",
            "$1$salt$hash",
            "$argon2id$",
            argon2_text(type_="d"),
            argon2_text(version=18),
            argon2_text() + "$more",
            argon2_text()[:-30],
            argon2_text() + "\n",
            " " + argon2_text(),
            argon2_text().replace("m=64", "m=٦٤"),
            argon2_text() + "A" * 600,
            "$2b$04$short",
            "$2x$04$" + "a" * 53,
            "$2b$04$" + "ä" * 53,
        ],
    )
    async def test_malformed_hashes_match_nothing_and_cost_the_same(self, hasher: Hasher, hashed: str) -> None:
        assert not known_format(hashed)
        assert not await hasher.verify(hashed, hashed)
        assert not await hasher.verify("", hashed)
        assert hasher.computed == 2
        assert hasher.outdated(hashed)


class TestEqualWork:
    async def test_row_072_nobody_costs_as_much_as_somebody(self, hasher: Hasher) -> None:
        hashed = await hasher.hash("correct horse")
        before = hasher.computed
        await hasher.verify("wrong", hashed)
        assert hasher.computed - before == 1
        await hasher.verify_nothing("wrong")
        assert hasher.computed - before == 2
        assert argon2.extract_parameters(hasher._nobody) == argon2.extract_parameters(hashed)

    async def test_row_076_the_hash_of_nobody_is_made_anew_and_matches_nothing(self, hasher: Hasher) -> None:
        other = Hasher(CHEAP, workers=1, queue=0)
        assert other._nobody != hasher._nobody
        assert known_format(hasher._nobody)
        for guess in ("", "password", "unknown", hasher._nobody):
            assert not await hasher.verify(guess, hasher._nobody)
        other.close()

    async def test_a_password_of_any_length_costs_one_bounded_hash(self, hasher: Hasher) -> None:
        hashed = await hasher.hash("correct horse")
        assert not await hasher.verify("x" * 1_000_000, hashed)
        await hasher.verify_nothing("x" * 1_000_000)
        assert hasher.computed == 3


class TestLimits:
    async def test_one_request_more_than_workers_and_queue_is_refused_at_once(self) -> None:
        hasher, may_end = Hasher(CHEAP, workers=2, queue=3), Event()
        under_way = [asyncio.ensure_future(hasher._run(lambda: may_end.wait(60))) for _ in range(5)]
        await asyncio.sleep(0)
        assert hasher.in_flight == 5
        for _ in range(20):
            with pytest.raises(Busy) as busy:
                await hasher.hash("one more")
            assert busy.value.retry_after >= 1
        assert not any(task.done() for task in under_way)
        assert (hasher.in_flight, hasher.refused) == (5, 20)
        may_end.set()
        await asyncio.gather(*under_way)
        assert (hasher.in_flight, hasher.computed) == (0, 5)
        assert await hasher.hash("there is room again")
        hasher.close()

    async def test_requests_are_served_in_the_order_of_their_arrival(self) -> None:
        hasher = Hasher(CHEAP, workers=1, queue=20)
        done: list[int] = []

        async def one(number: int) -> None:
            await hasher.verify_nothing("x")
            done.append(number)

        await asyncio.gather(*(one(number) for number in range(20)))
        assert done == list(range(20))
        hasher.close()

    async def test_a_cancelled_request_gives_its_place_in_the_queue_back(self) -> None:
        hasher, may_end = Hasher(CHEAP, workers=1, queue=3), Event()
        under_way = [asyncio.ensure_future(hasher._run(lambda: may_end.wait(60))) for _ in range(4)]
        await asyncio.sleep(0)
        for waiting in under_way[2:]:
            waiting.cancel()
        await asyncio.gather(*under_way[2:], return_exceptions=True)
        assert hasher.in_flight == 2
        came_later = asyncio.ensure_future(hasher.hash("correct horse"))
        may_end.set()
        assert await came_later
        assert hasher.computed == 3
        await asyncio.gather(*under_way[:2])
        hasher.close()

    async def test_a_cancelled_request_whose_work_has_begun_gives_its_place_back_when_it_ends(self) -> None:
        hasher = Hasher(CHEAP, workers=1, queue=0)
        begun, may_end = Event(), Event()

        def work() -> bool:
            begun.set()
            return may_end.wait(60)

        waiting = asyncio.ensure_future(hasher._run(work))
        await asyncio.to_thread(begun.wait)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        with pytest.raises(Busy):
            await hasher.hash("too early")
        may_end.set()
        hasher.close()
        assert (hasher.in_flight, hasher.computed) == (0, 1)

    async def test_the_event_loop_runs_while_passwords_are_hashed(self) -> None:
        hasher = Hasher(Argon2Parameters(memory=32 * 1024, iterations=8, parallelism=1), workers=1, queue=0)
        hashing = asyncio.ensure_future(hasher.hash("correct horse"))
        turns = 0
        while not hashing.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 100
        hasher.close()
