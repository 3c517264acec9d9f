"""Seeing inside: every request gets an id, a line in the log and a place in the metrics; secrets get into none of them.

A plain ASGI middleware, because it stands before the hot paths as well.
"""

import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
import uuid_utils
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shopkeeper.errors import Broken
from shopkeeper.http.answering import ERROR_HEADER, encode, error_object
from shopkeeper.http.labels import PathLabels, method_label
from shopkeeper.http.reading import JSON

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BROKEN = encode({"error": error_object(Broken())})
_ERROR_HEADER = ERROR_HEADER.lower().encode()


class Metrics:
    """What is counted: requests by door, verb and status, and how long they took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        labels = ["app", "method", "path", "status"]
        self.requests = Counter("shopkeeper_http_requests", "HTTP requests answered.", labels, registry=registry)
        self.seconds = Histogram(
            "shopkeeper_http_request_seconds",
            "Seconds from a request's first byte to its answer's.",
            labels[:3],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._children: dict[tuple[str, str, str, int], tuple[Any, Any]] = {}

    def observe(self, app: str, method: str, path: str, status: int, seconds: float) -> None:
        """Counts one answer."""
        key = (app, method, path, status)
        children = self._children.get(key)
        if children is None:
            children = (self.requests.labels(app, method, path, str(status)), self.seconds.labels(app, method, path))
            self._children[key] = children
        children[0].inc()
        children[1].observe(seconds)


class Observing:
    """The outermost layer of an app. `quiet` paths, such as probes, are counted but not logged."""

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
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        seen = _Seen(send, request_id.encode())
        begun = time.perf_counter()
        try:
            await self._app(scope, receive, seen.send)
        except Exception as error:
            # The outermost layer: whatever nobody foresaw ends here, told in the log and not to the client.
            self._log.error("request failed", exc_info=error)
            if not seen.begun:
                await Response(_BROKEN, 500, {ERROR_HEADER: Broken.code}, JSON)(scope, receive, seen.send)
        finally:
            self._tell(scope, seen, time.perf_counter() - begun)

    def _tell(self, scope: Scope, seen: "_Seen", seconds: float) -> None:
        path, method = self._labels.of(scope["path"]), method_label(scope["method"])
        self._metrics.observe(self._name, method, path, seen.status, seconds)
        if path in self._quiet:
            return
        facts = {
            "app": self._name,
            "method": method,
            "path": path,
            "status": seen.status,
            "milliseconds": round(seconds * 1000, 2),
        }
        self._write({**facts, "error": seen.error} if seen.error else facts)


def line_writer(log: Any) -> Callable[[dict[str, Any]], None]:
    """Writes the line of a request. It goes straight out where the log is JSON, and looks as all others do.

    There is one for each request, and the way through the log's processors takes as long as answering whoami.
    """
    factory = structlog.get_config()["logger_factory"]
    if not isinstance(factory, structlog.BytesLoggerFactory):
        return lambda facts: log.info("request", **facts)
    if not log.is_enabled_for(logging.INFO):
        return lambda facts: None
    out = factory()

    def write(facts: dict[str, Any]) -> None:
        context = structlog.contextvars.get_contextvars()
        out.info(encode({**facts, "event": "request", **context, "level": "info", "timestamp": datetime.now(UTC)}))

    return write


class _Seen:
    """Watches an answer go by: its status, its error code; and puts the request's id on it."""

    __slots__ = ("_request_id", "_send", "begun", "error", "status")

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send = send
        self._request_id = request_id
        self.begun = False
        self.status = 500
        self.error = ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            if self.status >= 400:
                self.error = next((v.decode() for k, v in message["headers"] if k == _ERROR_HEADER), "")
            message["headers"] = [*message["headers"], (b"x-request-id", self._request_id)]
        await self._send(message)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return uuid_utils.uuid7().hex
