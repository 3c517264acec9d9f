"""Limits what requests may send and hold: the query, the headers, the time of a body, the bytes of all bodies.

The limits of one body stand where it is read (`requests.read_body`); those of connections and of headers in
`server_limits.py`.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shopkeeper.clock import Clock
from shopkeeper.errors import AddressTooLong, BodyIncomplete, Busy, HeadersTooLarge, NotFound, RequestTimeout
from shopkeeper.http.responses import in_each_language, language_in

BODY_WITHIN: Final = 30.0
"""Seconds for a whole body to arrive (Kratos' limit)."""
UNCOUNTED: Final = 16_384
"""Bytes of each body that are not counted: the connections bound them, and small requests are served also while large
ones fill the rest."""
RETRY_AFTER: Final = 2
LONGEST_QUERY: Final = 8_192
"""Bytes. Parsing takes a microsecond for each of its pairs, and flows store the address that opened them."""
LARGEST_HEADERS: Final = 32_768
"""Bytes of all headers together. The parser, which reads ahead, refuses only what is about twice as large."""


class BodyBudget:
    """Counts the bytes of bodies that requests hold in this process.

    Args:
        total: how many bytes all bodies together may have, but for the first `UNCOUNTED` of each.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self.held = 0

    def take(self, size: int) -> None:
        """Count bytes. Raises `Busy` where they are more than are left."""
        if self.held + size > self._total:
            raise Busy("The server receives too many large requests at once. Try again soon.", retry_after=RETRY_AFTER)
        self.held += size

    def give_back(self, size: int) -> None:
        """Count bytes as free again."""
        self.held -= size


class BodyLimits:
    """Bounds the body of each request: its time, its share of the budget, and that it arrives whole.

    Reading the body raises `RequestTimeout`, `Busy`, or `BodyIncomplete` where the client hangs up or breaks its
    framing. A slow sender so cannot keep a request open, and many of them cannot fill the memory.
    """

    def __init__(self, app: ASGIApp, *, budget: BodyBudget, within: float = BODY_WITHIN) -> None:
        self._app = app
        self._budget = budget
        self._within = within

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Arriving(receive, self._budget, deadline=asyncio.get_running_loop().time() + self._within)
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._budget.give_back(body.counted)


class _Arriving:
    """The body of one request."""

    __slots__ = ("_budget", "_deadline", "_receive", "_received", "_whole", "counted")

    def __init__(self, receive: Receive, budget: BodyBudget, *, deadline: float) -> None:
        self._receive, self._budget, self._deadline = receive, budget, deadline
        self._received = 0
        self._whole = False
        self.counted = 0

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as late:
            raise RequestTimeout from late
        if message["type"] == "http.disconnect":
            raise BodyIncomplete
        self._count(len(message.get("body", b"")))
        self._whole = not message.get("more_body", False)
        return message

    def _count(self, size: int) -> None:
        self._received += size
        more = max(0, self._received - UNCOUNTED) - self.counted
        if more > 0:
            self._budget.take(more)
            self.counted += more


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that no path has. The pattern of a route ends with `$`, before which a line break may stand: routes, and
what guards them by the path, would differ."""


class HeadLimits:
    """Refuses a path with control characters, a query that is too long and headers that are too large, before anything
    parses them.

    Args:
        longest_query: bytes of the query.
    """

    def __init__(self, app: ASGIApp, *, clock: Clock, longest_query: int = LONGEST_QUERY) -> None:
        self._app = app
        self._longest_query = longest_query
        self._not_found = in_each_language(NotFound(), clock=clock)
        self._long_query = in_each_language(AddressTooLong(), clock=clock)
        self._large_headers = in_each_language(HeadersTooLarge(), clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self._app
        if _CONTROL.search(scope.get("path", "")):
            answer = self._not_found[language_in(scope)]
        elif len(scope.get("query_string", b"")) > self._longest_query:
            answer = self._long_query[language_in(scope)]
        elif scope["type"] == "http" and _size_of(scope["headers"]) > LARGEST_HEADERS:
            answer = self._large_headers[language_in(scope)]
        await answer(scope, receive, send)


def _size_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
    return size
