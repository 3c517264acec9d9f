"""Observes requests: each gets an id, a line in the log and a place in the metrics. None of these contains secrets.

A plain ASGI middleware, because it also covers the hot paths.
"""

import asyncio
import atexit
import logging
import re
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import structlog
import uuid_utils
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shopkeeper.errors import ERROR_HEADER, InternalError
from shopkeeper.http.metrics import Metrics
from shopkeeper.http.requests import JSON
from shopkeeper.http.responses import NO_STORE, encode, error_object, language_in
from shopkeeper.http.route_labels import PathLabels, method_label
from shopkeeper.languages.choice import LANGUAGES
from shopkeeper.languages.refusals import headers_of

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_BROKEN = {language: encode({"error": error_object(InternalError(), language=language)}) for language in LANGUAGES}
_ERROR_HEADER = ERROR_HEADER.lower().encode()
DEFAULT_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))
DEFAULT_HEADERS_OF_GET = (*DEFAULT_HEADERS, (b"cache-control", NO_STORE.encode()))
"""Default headers of every response: no sniffing, no referrer to other origins, and no storing of responses to GET."""
LATE = 0.02
"""Seconds that the log line of a request may wait, to be written together with others."""
MOST_LINES = 500

_about: ContextVar[dict[str, str] | None] = ContextVar("about_request", default=None)


def note(**facts: str) -> None:
    """Add facts to the request that is being answered: they are in every later log line about it."""
    about = _about.get()
    if about is not None:
        about.update(facts)


def merge_request(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the noted facts of the request to a log line. A processor of structlog."""
    about = _about.get()
    return {**event, **about} if about else event


class RequestLog:
    """The outermost layer of an app, which adds the default headers to every response.

    `quiet` paths, such as probes, are counted but not logged.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        name: str,
        labels: PathLabels,
        metrics: Metrics,
        log: Any,
        quiet: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._name = name
        self._labels = labels
        self._metrics = metrics
        self._log = log
        self._write = line_writer(log)
        self._quiet = quiet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        about = {"request_id": request_id}
        _about.set(about)
        usual = DEFAULT_HEADERS_OF_GET if scope["method"] == "GET" else DEFAULT_HEADERS
        seen = _Seen(send, (*usual, (b"x-request-id", request_id.encode())))
        begun = time.perf_counter()
        try:
            await self._app(scope, receive, seen.send)
        except Exception as error:
            # Unexpected errors end here: the log gets the traceback, the client gets none of it.
            self._log.error("request failed", exc_info=error)
            if not seen.begun:
                language = language_in(scope)
                headers = {ERROR_HEADER: InternalError.code, **headers_of(language)}
                await Response(_BROKEN[language], 500, headers, JSON)(scope, receive, seen.send)
        finally:
            self._tell(scope, seen, time.perf_counter() - begun, about)

    def _tell(self, scope: Scope, seen: "_Seen", seconds: float, about: Mapping[str, str]) -> None:
        path, method = self._labels.of(scope["path"]), method_label(scope["method"])
        self.record(method, path, seen.status, seconds, about, error=seen.error)

    def record(
        self, method: str, path: str, status: int, seconds: float, about: Mapping[str, str], *, error: str = ""
    ) -> None:
        """Count a response and write its line.

        Args:
            method, path: the labels of the request.
            about: further facts for the line.
            error: the error code of a refusal.
        """
        self._metrics.observe(self._name, method, path, status, seconds)
        if path in self._quiet:
            return
        facts = {
            "app": self._name,
            "method": method,
            "path": path,
            "status": status,
            "milliseconds": round(seconds * 1000, 2),
            **about,
        }
        if error:
            facts["error"] = error
        self._write(facts)


def line_writer(log: Any) -> Callable[[dict[str, Any]], None]:
    """Return the function that writes the line of a request.

    Where the log is JSON, it bypasses the log's processors, in the same format: for each request, they would take as
    long as answering whoami.
    """
    factory = structlog.get_config()["logger_factory"]
    if not isinstance(factory, structlog.BytesLoggerFactory):
        return lambda facts: log.info("request", **facts)
    if not log.is_enabled_for(logging.INFO):
        return lambda facts: None
    return _Lines(factory().info).add


class _Lines:
    """Lines of the log, written in batches: under load, writing each by itself takes longer than the response."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._waiting: list[bytes] = []
        atexit.register(self._flush)

    def add(self, facts: dict[str, Any]) -> None:
        facts.update(event="request", level="info", timestamp=datetime.now(UTC))
        if not self._waiting:
            asyncio.get_running_loop().call_later(LATE, self._flush)
        self._waiting.append(encode(facts))
        if len(self._waiting) >= MOST_LINES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            lines, self._waiting = self._waiting, []
            self._write(b"\n".join(lines))


class _Seen:
    """Passes a response on: notes its status and its error code, and adds the default headers."""

    __slots__ = ("_send", "_usual", "begun", "error", "status")

    def __init__(self, send: Send, usual: Sequence[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._usual = usual
        self.begun = False
        self.status = 500
        self.error = ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            headers = message["headers"]
            if self.status >= 400:
                self.error = next((v.decode() for k, v in headers if k == _ERROR_HEADER), "")
            given = {name for name, _ in headers}
            message["headers"] = [*headers, *(pair for pair in self._usual if pair[0] not in given)]
        await self._send(message)


def _request_id(scope: Scope) -> str:
    given = (value for name, value in scope["headers"] if name == b"x-request-id" and _REQUEST_ID.fullmatch(value))
    return request_id_of(next(given, b""))


def request_id_of(given: bytes) -> str:
    """Return the id of a request: the one that a client or a proxy gave it where it is well-formed, else a new one."""
    return given.decode() if _REQUEST_ID.fullmatch(given) else uuid_utils.uuid7().hex
