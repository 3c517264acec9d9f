"""Password hashing: argon2id (RFC 9106) in a bounded pool, bcrypt for imported hashes, equal work for unknown accounts.

A hash takes memory and time on purpose, so the number of concurrent hashes is limited: one more than that is refused at
once with `Busy`, because an unbounded queue turns overload into an outage.
"""

import re
import secrets
from asyncio import wrap_future
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from threading import Lock
from typing import Final, TypeVar

import argon2
import bcrypt
from argon2.low_level import ARGON2_VERSION, Type, hash_secret, verify_secret

from shopkeeper.errors import Busy, InvalidInput

Result = TypeVar("Result")

MAX_PASSWORD_BYTES: Final = 4096
# A stored hash contains its own cost parameters. Above these limits it is not honest, even if an admin imported it.
MAX_MEMORY_KIB: Final = 512 * 1024
MAX_TIME: Final = 64
MAX_MEMORY_TIMES_TIME: Final = 2 * 1024 * 1024
MAX_LANES: Final = 64
MAX_BCRYPT_COST: Final = 14
MAX_HASH_LENGTH: Final = 512
BCRYPT_BYTES: Final = 72


@dataclass(frozen=True, slots=True)
class Argon2Parameters:
    """The cost of an argon2id hash; memory in KiB, lengths in bytes."""

    memory: int
    iterations: int
    parallelism: int
    salt_length: int = 16
    key_length: int = 32

    def __post_init__(self) -> None:
        if not 8 <= self.salt_length <= 64 or not 16 <= self.key_length <= 64:
            raise ValueError("argon2: the salt must have 8 to 64 bytes and the key 16 to 64")
        if not _bearable(self.memory, self.iterations, self.parallelism):
            raise ValueError(
                f"argon2: at most {MAX_MEMORY_KIB // 1024} MiB of memory, {MAX_TIME} iterations and {MAX_LANES} lanes, "
                f"and memory times iterations at most {MAX_MEMORY_TIMES_TIME // 1024} MiB; "
                "memory at least 8 KiB for each lane"
            )


def _bearable(memory: int, time: int, lanes: int) -> bool:
    return (
        1 <= lanes <= MAX_LANES
        and 8 * lanes <= memory <= MAX_MEMORY_KIB
        and 1 <= time <= MAX_TIME
        and memory * time <= MAX_MEMORY_TIMES_TIME
    )


RECOMMENDED: Final = Argon2Parameters(memory=19 * 1024, iterations=2, parallelism=1)
"""OWASP's choice for argon2id; some 20 ms of one core."""


class Hasher:
    """Hashes and verifies passwords.

    Args:
        parameters: for new hashes.
        workers: how many hashes are computed at the same time, each on a thread of its own.
        queue: how many more may wait, first come, first served.

    >>> hasher = Hasher(RECOMMENDED, workers=2, queue=64)  # doctest: +SKIP
    >>> await hasher.verify("open sesame", await hasher.hash("open sesame"))  # doctest: +SKIP
    True
    """

    def __init__(self, parameters: Argon2Parameters = RECOMMENDED, *, workers: int, queue: int) -> None:
        if workers < 1 or queue < 0:
            raise ValueError("password hashing needs at least one worker, and a queue of 0 or more")
        self._parameters = parameters
        self._limit = workers + queue
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="password")
        self._counting = Lock()
        self._nobody = _hash_of_nothing(parameters)
        self.in_flight = 0
        """Hashes being computed or waiting."""
        self.computed = 0
        """Hashes computed since the start."""
        self.refused = 0
        """Hashes refused since the start because the queue was full."""

    async def hash(self, password: str) -> str:
        """Return a new hash, with a salt of its own. Raises `Busy`, or `InvalidInput` for a password that is too
        long."""
        raw = _encode(password)
        if len(raw) > MAX_PASSWORD_BYTES:
            raise InvalidInput(
                f"A password may have {MAX_PASSWORD_BYTES} bytes at most.",
                topic="password_length",
                parameters={"limit": MAX_PASSWORD_BYTES},
            )
        return await self._run(lambda: _argon2id(raw, self._parameters))

    async def verify(self, password: str, hashed: str) -> bool:
        """Return whether the password is the one that was hashed. Raises `Busy`.

        The answer takes as long as a real one when the format of the hash is unknown or its cost is above the limits.
        """
        raw = _encode(password)
        verifier = _verifier(hashed)
        if verifier is None or len(raw) > MAX_PASSWORD_BYTES:
            await self.verify_nothing(password)
            return False
        return await self._run(lambda: verifier(raw, hashed.encode("ascii")))

    async def verify_nothing(self, password: str) -> None:
        """Do the work of a verification that cannot succeed: for accounts that do not exist or have no password."""
        raw = _encode(password)[:MAX_PASSWORD_BYTES]
        await self._run(lambda: _verify_argon2(raw, self._nobody.encode("ascii")))

    def outdated(self, hashed: str) -> bool:
        """Return whether a hash was made with other parameters than new ones, and should be replaced at the next
        sign-in."""
        parts = _ARGON2.fullmatch(hashed)
        if parts is None or parts["type"] != "id" or int(parts["version"]) != ARGON2_VERSION:
            return True
        costs = tuple(int(parts[name]) for name in ("memory", "time", "lanes"))
        lengths = tuple(_decoded_length(parts[name]) for name in ("salt", "key"))
        return (*costs, *lengths) != astuple(self._parameters)

    def close(self) -> None:
        """End the threads; waiting hashes are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await wrap_future(self._submit(work))

    def _submit(self, work: Callable[[], Result]) -> "Future[Result]":
        with self._counting:
            if self.in_flight >= self._limit:
                self.refused += 1
                raise Busy("More people are signing in than this server can serve; try again.", retry_after=1)
            self.in_flight += 1
        future = self._pool.submit(work)
        # Called also where the waiting caller was cancelled; where the work had begun, only once that has ended.
        future.add_done_callback(self._give_back)
        return future

    def _give_back(self, future: "Future[Result]") -> None:
        with self._counting:
            self.in_flight -= 1
            self.computed += not future.cancelled()


def known_format(hashed: str) -> bool:
    """Return whether a hash can be verified here: of a known format, complete, and within the cost limits."""
    return _verifier(hashed) is not None


def _encode(password: str) -> bytes:
    # JSON can contain half a surrogate pair. It is a password like any other, not an error.
    return password.encode("utf-8", "surrogatepass")


Verifier = Callable[[bytes, bytes], bool]


def _verifier(hashed: str) -> Verifier | None:
    if len(hashed) > MAX_HASH_LENGTH:
        return None
    prefix = hashed[: hashed.find("$", 1) + 1]
    understands, verifier = _FORMATS.get(prefix, (None, None))
    return verifier if understands is not None and understands(hashed) else None


_B64: Final = "[A-Za-z0-9+/]"
_ARGON2: Final = re.compile(
    r"\$argon2(?P<type>id|i)\$v=(?P<version>16|19)"
    r"\$m=(?P<memory>[0-9]{1,9}),t=(?P<time>[0-9]{1,9}),p=(?P<lanes>[0-9]{1,9})"
    rf"\$(?P<salt>{_B64}{{11,86}})\$(?P<key>{_B64}{{22,86}})"
)
_BCRYPT: Final = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}")


def _understands_argon2(hashed: str) -> bool:
    parts = _ARGON2.fullmatch(hashed)
    if parts is None or any(len(parts[name]) % 4 == 1 for name in ("salt", "key")):
        return False
    return _bearable(int(parts["memory"]), int(parts["time"]), int(parts["lanes"]))


def _understands_bcrypt(hashed: str) -> bool:
    parts = _BCRYPT.fullmatch(hashed)
    return parts is not None and 4 <= int(parts["cost"]) <= MAX_BCRYPT_COST


def _verify_argon2(raw: bytes, hashed: bytes) -> bool:
    type_ = Type.ID if hashed.startswith(b"$argon2id$") else Type.I
    with suppress(argon2.exceptions.VerificationError):
        return verify_secret(hashed, raw, type_)
    return False


def _verify_bcrypt(raw: bytes, hashed: bytes) -> bool:
    # bcrypt hashes the first 72 bytes only; the next sign-in replaces this hash by one of the whole password.
    with suppress(ValueError):
        return bcrypt.checkpw(raw[:BCRYPT_BYTES], hashed)
    return False


_FORMATS: Final[Mapping[str, tuple[Callable[[str], bool], Verifier]]] = {
    "$argon2id$": (_understands_argon2, _verify_argon2),
    "$argon2i$": (_understands_argon2, _verify_argon2),
    "$2a$": (_understands_bcrypt, _verify_bcrypt),
    "$2b$": (_understands_bcrypt, _verify_bcrypt),
    "$2y$": (_understands_bcrypt, _verify_bcrypt),
}
"""The formats of stored hashes, by prefix: what checks that a hash is complete and within the limits, and what verifies
it."""


def _argon2id(raw: bytes, parameters: Argon2Parameters) -> str:
    return hash_secret(
        raw,
        secrets.token_bytes(parameters.salt_length),
        time_cost=parameters.iterations,
        memory_cost=parameters.memory,
        parallelism=parameters.parallelism,
        hash_len=parameters.key_length,
        type=Type.ID,
    ).decode("ascii")


def _hash_of_nothing(parameters: Argon2Parameters) -> str:
    """Return a hash that no password matches: its key is random and made anew for each process."""
    costs = f"m={parameters.memory},t={parameters.iterations},p={parameters.parallelism}"
    salt, key = (
        b64encode(secrets.token_bytes(length)).rstrip(b"=").decode()
        for length in (parameters.salt_length, parameters.key_length)
    )
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salt}${key}"


def _decoded_length(text: str) -> int:
    return len(text) * 3 // 4
