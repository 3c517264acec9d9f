"""Parses untrusted bodies, headers and ids, with limits on size, depth and number of values."""

import difflib
from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from shopkeeper.errors import MalformedBody, PayloadTooLarge

MAX_DEPTH = 32
MAX_VALUES = 20_000
MOST_WISHES = 20
LONGEST_NAME = 64
"""Characters of a misspelt name that are compared, because comparing takes the square of them."""
_LONGEST_SIZE = 18
"""Digits of a size, which is below an exabyte."""


def parse_accept(header: str) -> Sequence[tuple[str, float]]:
    """Parse a header such as `Accept` or `Accept-Language` into its items and weights (RFC 9110 section 12.4.2).

    >>> parse_accept("de-AT, en; q=0.5")
    [('de-at', 1.0), ('en', 0.5)]
    """
    parts = (part.strip().lower().partition(";") for part in header.split(",")[:MOST_WISHES])
    return [(wish.strip(), _weight(parameters)) for wish, _, parameters in parts]


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return _share(value)
    return 1.0


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        return 0.0
    return share if 0 <= share <= 1 else 0.0


def media_type_of(content_type: str | None) -> str:
    """Return the media type of a `Content-Type` in lower case, without its parameters (RFC 9110 section 8.3.1); "" for
    none.

    >>> media_type_of("Application/JSON; charset=utf-8"), media_type_of(None)
    ('application/json', '')
    """
    return (content_type or "").partition(";")[0].strip().lower()


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was most likely meant, or None.

    >>> nearest_name("user", ["username", "password"]), nearest_name("x", ["username"])
    ('username', None)
    """
    return next(iter(difflib.get_close_matches(name[:LONGEST_NAME], list(known), n=1)), None)


def uuid_or_none(text: str) -> UUID | None:
    """Return the UUID that a text spells, or None."""
    try:
        return UUID(text)
    except ValueError:
        return None


async def gather(stream: AsyncIterable[bytes], *, declared: str | None, limit: int) -> bytes:
    """Read a body of at most `limit` bytes. Raises `PayloadTooLarge` before reading further.

    `declared` is the value of `Content-Length`.
    """
    if declared and _exceeds(declared, limit):
        raise _too_large(limit)
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _exceeds(digits: str, limit: int) -> bool:
    """Return whether decimal digits spell a number above the limit. They may be so many that `int` refuses them."""
    if not digits.isdecimal():
        return False
    significant = digits.lstrip("0")
    return len(significant) > _LONGEST_SIZE or int(significant or "0") > limit


def _too_large(limit: int) -> PayloadTooLarge:
    """Name the limit in plain bytes: a limit from the settings would print itself with a unit."""
    return PayloadTooLarge(f"The body may have {int(limit)} bytes at most.")


def parse_json(body: bytes, *, most_values: int = MAX_VALUES) -> Any:
    """Parse a JSON document of bounded depth and number of values. Raises `MalformedBody`."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        raise MalformedBody(message=f"The body is not readable JSON: {broken}") from broken
    require_bounded(document, most_values=most_values)
    return document


def require_bounded(document: Any, *, most_values: int = MAX_VALUES) -> None:
    """Check that a document is not too deep and has not too many values. Raises `MalformedBody`."""
    level, depth, seen = [document], 0, 0
    while level:
        depth, seen = depth + 1, seen + len(level)
        if depth > MAX_DEPTH or seen > most_values:
            raise MalformedBody(message="The body nests too deep or has too many fields.")
        level = [child for parent in level for child in _children(parent)]


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
