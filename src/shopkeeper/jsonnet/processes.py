"""The worker processes that evaluate Jsonnet: started when they are needed, killed when they take too much."""

import asyncio
import contextlib
import os
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from shopkeeper.jsonnet import worker
from shopkeeper.jsonnet.errors import JsonnetTooExpensive, JsonnetUnavailable

_KEPT_ENVIRONMENT: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What Python may need to start. Everything else stays here, because the server's environment has its secrets."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an evaluation may take.

    Kratos waits for one second, too. The values below leave room for a busy machine: a mail of 20 kB takes 2 ms, a
    worker's start 100 ms and 22 MB.
    """

    seconds: float = 5.0
    starting: float = 20.0
    """Seconds for the start of a process."""
    waiting: float = 10.0
    """Seconds for a process that is free."""
    memory: int = 256 * 1024 * 1024
    """Bytes of a process. Kept by Linux only; elsewhere the time is the limit."""
    source: int = 256 * 1024
    """Bytes of Jsonnet."""
    input: int = 1024 * 1024
    """Bytes of all arguments and variables."""
    output: int = 1024 * 1024
    """Bytes of the resulting JSON."""


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process and its pipes."""

    process: Process
    requests: StreamWriter
    answers: StreamReader


class _Ended(Exception):
    """Raised where a process has ended before it answered."""


class WorkerProcesses:
    """Some worker processes, each of which evaluates one snippet at a time.

    Args:
        most: how many there may be at once.
    """

    def __init__(self, limits: Limits, *, most: int) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(most)
        self._idle: list[_Worker] = []

    async def ask(self, request: Any) -> Any:
        """Return a worker's answer. Raises `JsonnetTooExpensive` and `JsonnetUnavailable`."""
        try:
            await asyncio.wait_for(self._free.acquire(), self._limits.waiting)
        except TimeoutError:
            raise JsonnetUnavailable("Jsonnet has too much to evaluate at once") from None
        try:
            return await self._ask(request)
        finally:
            self._free.release()

    async def close(self) -> None:
        """End the processes. Further requests start new ones."""
        while self._idle:
            await _kill(self._idle.pop())

    async def _ask(self, request: Any) -> Any:
        if self._idle:
            with contextlib.suppress(_Ended):  # it may have been killed since
                return await self._ask_one(self._idle.pop(), request)
        try:
            return await self._ask_one(await self._start(), request)
        except _Ended:
            raise JsonnetTooExpensive(f"it needs more than {self._limits.memory // 1024**2} MB of memory") from None

    async def _ask_one(self, process: _Worker, request: Any) -> Any:
        try:
            async with asyncio.timeout(self._limits.seconds):
                answer = await self._exchange(process, request)
        except BaseException as ended:
            # What is still to come from this process would be taken for the answer to another request.
            await _kill(process)
            if isinstance(ended, TimeoutError):
                raise JsonnetTooExpensive(f"it takes longer than {self._limits.seconds:g} s") from None
            if isinstance(ended, EOFError | ConnectionError):
                raise _Ended from None
            raise
        self._idle.append(process)
        return answer

    async def _exchange(self, process: _Worker, request: Any) -> Any:
        text = msgspec.json.encode(request)
        process.requests.write(len(text).to_bytes(worker.LENGTH, "big") + text)
        await process.requests.drain()
        return await self._answer(process)

    async def _answer(self, process: _Worker) -> Any:
        length = int.from_bytes(await process.answers.readexactly(worker.LENGTH), "big")
        if length > 2 * self._limits.output:  # JSON within JSON: every quote and line break of the inner is escaped
            raise JsonnetTooExpensive(f"its result is larger than {self._limits.output} bytes")
        return msgspec.json.decode(await process.answers.readexactly(length))

    async def _start(self) -> _Worker:
        found = find_spec("_gojsonnet")
        if found is None or found.origin is None:
            raise JsonnetUnavailable("Jsonnet needs the package gojsonnet, which is made for Linux (glibc) and macOS")
        started = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(worker.__file__),
            str(Path(found.origin).parent),
            str(self._limits.memory),
            str(int(self._limits.seconds) + 1),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,  # a crash of Go prints the values that it was working on
            env={"GOMAXPROCS": "1"} | {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
            start_new_session=True,  # Ctrl-C is for the server, which may still need it
        )
        process = _Worker(started, cast(StreamWriter, started.stdin), cast(StreamReader, started.stdout))
        try:
            async with asyncio.timeout(self._limits.starting):
                await self._answer(process)
        except BaseException as failed:
            await _kill(process)
            if isinstance(failed, TimeoutError | EOFError):
                raise JsonnetUnavailable("the process that evaluates Jsonnet does not start") from failed
            raise
        return process


async def _kill(worker: _Worker) -> None:
    with contextlib.suppress(ProcessLookupError):
        worker.process.kill()
    await asyncio.shield(worker.process.wait())
