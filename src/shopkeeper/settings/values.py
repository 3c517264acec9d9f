"""Formats of values: Go durations, sizes, rates and addresses. Each is a type for a field."""

import re
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

NANOSECONDS: Final = {
    "d": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ns": 1,
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|μs|ns|d|h|m|s)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+", re.ASCII)
LONGEST: Final = timedelta(days=36_500)

# As in Kratos, a kB and a KiB are both 1024 bytes.
BYTES: Final = {unit: 1024**power for power, unit in enumerate(("b", "kb", "mb", "gb"))} | {
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_SIZE = re.compile(r"(\d{1,12})\s*([a-z]{1,3})", re.ASCII | re.IGNORECASE)

SECONDS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_RATE = re.compile(r"(\d{1,9})\s*/\s*(second|minute|hour|day)", re.ASCII)
_ANY_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://[^\s]+", re.ASCII | re.IGNORECASE)
_REFERENCE = re.compile(r"(file|base64|https?)://\S+", re.ASCII)
# An app's own scheme without a host, as RFC 8252 section 7.1 has it: com.example.app:/back.
_APP_ADDRESS = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:/(?!/)[^\s\\]*", re.ASCII | re.IGNORECASE)
_LOCAL_PATH = re.compile(r"/(?![/\\])[^\s\\]*", re.ASCII)


def parse_duration(text: object) -> timedelta:
    """Parse a Go duration; days are allowed too.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    if isinstance(text, timedelta):
        return text
    if text == "0":
        return timedelta()
    if not isinstance(text, str) or len(text) > 60 or not _DURATION.fullmatch(text):
        raise ValueError("must be a duration with a unit, such as 500ms, 30s, 1h30m or 30d")
    total = sum(Fraction(amount) * NANOSECONDS[unit] for amount, unit in _DURATION_PART.findall(text))
    if total > LONGEST / timedelta(microseconds=1) * 1000:
        raise ValueError("must be at most 36500d")
    return timedelta(microseconds=-(-total // 1000))


def format_duration(duration: timedelta) -> str:
    """Format a duration so that `parse_duration` parses the same one.

    >>> format_duration(timedelta(minutes=90))
    '1h30m'
    """
    left = duration // timedelta(microseconds=1) * 1000
    parts = []
    days = ("d",) if duration >= timedelta(days=2) else ()  # Kratos' files write a day as 24h
    for unit in (*days, "h", "m", "s", "ms", "us"):
        amount, left = divmod(left, NANOSECONDS[unit])
        parts.append(f"{amount}{unit}" if amount else "")
    return "".join(parts) or "0s"


def _lasting(duration: timedelta) -> timedelta:
    if duration <= timedelta():
        raise ValueError("must be longer than 0s")
    return duration


class Bytes(int):
    """A number of bytes that prints itself with a unit."""

    def __str__(self) -> str:
        return format_size(self)


def parse_size(text: object) -> Bytes:
    """Parse a number of bytes, with or without a unit.

    >>> parse_size("128MB") == 128 * 1024 * 1024
    True
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return Bytes(text)
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 15:
        return Bytes(text)
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[2].lower() not in BYTES:
        raise ValueError("must be a size such as 512B, 100kB, 19MiB or 1GB")
    return Bytes(int(found[1]) * BYTES[found[2].lower()])


def format_size(size: int) -> str:
    """Format a size in the largest unit that keeps it whole.

    >>> format_size(19 * 1024 * 1024)
    '19MB'
    """
    for unit in ("GB", "MB", "kB"):
        if size and size % BYTES[unit.lower()] == 0:
            return f"{size // BYTES[unit.lower()]}{unit}"
    return f"{int(size)}B"


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of events in a period: `30/minute`."""

    count: int
    period: str

    @property
    def per(self) -> timedelta:
        """The length of the period."""
        return timedelta(seconds=SECONDS[self.period])

    def __str__(self) -> str:
        return f"{self.count}/{self.period}"


def parse_rate(text: object) -> Rate:
    """Parse a rate.

    >>> parse_rate("30/minute").per
    datetime.timedelta(seconds=60)
    """
    if isinstance(text, Rate):
        return text
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[1]) == 0:
        raise ValueError("must be a rate such as 30/minute; the periods are second, minute, hour and day")
    return Rate(count=int(found[1]), period=found[2])


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if (
        not usable
        or parts.query
        or parts.fragment
        or parts.username
        or any(mark.isspace() or mark == "\\" for mark in text)
    ):
        raise ValueError("must be an http or https address with a host, such as https://account.example.org/")
    return text if text.endswith("/") else text + "/"


def _page_url(text: str) -> str:
    if not (_ANY_SCHEME.fullmatch(text) or _LOCAL_PATH.fullmatch(text)):
        raise ValueError("must be a whole address (https://…) or a path that begins with one slash")
    return text


def _return_url(text: str) -> str:
    return text if _APP_ADDRESS.fullmatch(text) else _page_url(text)


def _reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise ValueError("must be a file://, base64://, https:// or http:// address; a path needs file:// before it")
    return text


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Lifespan = Annotated[timedelta, BeforeValidator(parse_duration), AfterValidator(_lasting)]
Size = Annotated[Bytes, BeforeValidator(parse_size)]
RateText = Annotated[Rate, BeforeValidator(parse_rate)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
PageUrl = Annotated[str, AfterValidator(_page_url)]
ReturnUrl = Annotated[str, AfterValidator(_return_url)]
Reference = Annotated[str, AfterValidator(_reference)]
