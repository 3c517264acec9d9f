"""Load at a steady rate: a fixed number of requests a second, even if the server falls behind.

A request's time is counted from the moment when it was due, not from when it could be sent. Otherwise a server that
stalls would get fewer requests in that time, and its worst moments would hardly count.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.load import Figures, Request
from bench.outcome import Unmeasured

CONNECTIONS = 8


@dataclass(slots=True)
class _Waiting:
    due: float
    request: bytes


class _Pace:
    """The requests that are due, the connections that are free, and the results.

    The connection that was free for the longest is used first: one that is idle for five seconds is closed.
    """

    def __init__(self, requests: Sequence[bytes]) -> None:
        self._requests, self._turn = requests, 0
        self._due: deque[_Waiting] = deque()
        self.free: deque[_Connection] = deque()
        self.seconds: list[float] = []
        self.failed = 0
        self._changed = asyncio.Event()

    def ask(self, due: float) -> None:
        """Add a request that is due."""
        self._turn = (self._turn + 1) % len(self._requests)
        self._due.append(_Waiting(due, self._requests[self._turn]))
        self.go_on()

    def go_on(self) -> None:
        """Send due requests on free connections."""
        while self._due and self.free:
            waiting = self._due.popleft()
            self.free.popleft().send(waiting.request, waiting.due)

    def answered(self, connection: "_Connection", *, due: float, good: bool) -> None:
        self.seconds.append(time.perf_counter() - due)
        self.failed += not good
        self.free.append(connection)
        self._changed.set()
        self.go_on()

    async def all_answered(self, wanted: int) -> None:
        """Return when this many answers have arrived."""
        while len(self.seconds) < wanted:
            self._changed.clear()
            await self._changed.wait()


class _Connection(asyncio.Protocol):
    """One kept-alive connection; reads answers with a content length."""

    def __init__(self, pace: _Pace) -> None:
        self._pace = pace
        self._read, self._due = b"", 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pace.free.append(self)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._read = b""
            self._pace.answered(self, due=self._due, good=head.startswith(b"HTTP/1.1 200"))

    def close(self) -> None:
        self._transport.close()


def send_paced(url: str, requests: Sequence[Request], *, rate: int, seconds: float) -> Figures:
    """Send `rate` requests a second for `seconds`, in turn."""
    return asyncio.run(_send_paced(url, [_as_sent(request) for request in requests], rate=rate, seconds=seconds))


def _as_sent(request: Request) -> bytes:
    body = (request.body or "").encode()
    length = {"content-length": str(len(body))} if body else {}
    headers = "".join(f"{name}: {value}\r\n" for name, value in {"host": "bench", **request.headers, **length}.items())
    return f"{request.method} {request.path} HTTP/1.1\r\n{headers}\r\n".encode() + body


async def _send_paced(url: str, requests: Sequence[bytes], *, rate: int, seconds: float) -> Figures:
    address, loop, pace = urlsplit(url), asyncio.get_running_loop(), _Pace(requests)
    open_ = [
        (await loop.create_connection(lambda: _Connection(pace), str(address.hostname), address.port or 80))[1]
        for _ in range(CONNECTIONS)
    ]
    begun, wanted = time.perf_counter(), int(rate * seconds)
    for number in range(wanted):
        due = begun + number / rate
        await asyncio.sleep(due - time.perf_counter())
        pace.ask(due)
    with suppress(TimeoutError):
        await asyncio.wait_for(pace.all_answered(wanted), timeout=10)
    for connection in open_:
        connection.close()
    return _figures(pace, wanted, time.perf_counter() - begun)


def _figures(pace: _Pace, wanted: int, seconds: float) -> Figures:
    failed = pace.failed + wanted - len(pace.seconds)
    if failed:
        raise Unmeasured(f"{failed} of {wanted} answers at a steady pace were not the wanted ones")
    taken = sorted(pace.seconds)
    return Figures(len(taken) / seconds, _at(taken, 0.5), _at(taken, 0.99), failed)


def _at(taken: list[float], share: float) -> float:
    return taken[min(len(taken) - 1, int(len(taken) * share))] * 1000
