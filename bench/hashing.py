"""Hashing without a server: hashes to seed with, and the most hashes in a second."""

import asyncio
import time

from shopkeeper.credentials.hashes import RECOMMENDED, Argon2Parameters, Hasher


def hash_of(password: str, parameters: Argon2Parameters = RECOMMENDED) -> str:
    """Return a password's hash."""
    hasher = Hasher(parameters, workers=1, queue=1)
    try:
        return asyncio.run(hasher.hash(password))
    finally:
        hasher.close()


def hashes_alone(threads: int, *, seconds: float) -> float:
    """Return how many passwords a second the server's own pool verifies in a process that does nothing else."""
    return asyncio.run(_hashes_alone(threads, seconds=seconds))


async def _hashes_alone(threads: int, *, seconds: float) -> float:
    hasher = Hasher(RECOMMENDED, workers=threads, queue=threads)
    hashed, before = await hasher.hash("quince"), hasher.computed
    begun = time.perf_counter()

    async def verify() -> None:
        while time.perf_counter() < begun + seconds:
            await hasher.verify("quince", hashed)

    await asyncio.gather(*(verify() for _ in range(2 * threads)))
    computed, taken = hasher.computed - before, time.perf_counter() - begun
    hasher.close()
    return computed / taken
