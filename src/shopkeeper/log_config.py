"""The format and level of the log."""

import contextlib
import logging
import sys
from typing import IO, Any

import msgspec
import structlog

from shopkeeper.http.request_log import merge_request
from shopkeeper.settings.serving import Log


def _for_terminal() -> structlog.dev.ConsoleRenderer:
    """Return a text renderer with plain tracebacks, because the prettier ones print local variables such as
    passwords."""
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)


class _Forgiving:
    """Standard error, without the errors of writing to it: where its disk is full or its reader is gone, lines of the
    log are lost, and requests are answered all the same."""

    def __init__(self, stream: IO[Any]) -> None:
        self._stream = stream

    def write(self, line: Any) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure_log(settings: Log) -> None:
    """Configure the log: JSON lines for machines, or text for people; on standard error."""
    level = logging.getLevelNamesMapping()[settings.severity]
    as_json = settings.format == "json"
    stream: Any = _Forgiving(sys.stderr.buffer if as_json else sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            merge_request,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_JSON if as_json else [_for_terminal()]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(stream) if as_json else structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


_JSON = [
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(serializer=lambda event, default: msgspec.json.encode(event, enc_hook=str)),
]
