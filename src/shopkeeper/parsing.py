"""What comes in, whichever door it comes through: bodies, headers and ids, read with bounds and no further.

Whoever sends them is not trusted: a body ends at a size, a document at a depth and a number of values.
"""

from collections.abc import AsyncIterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from shopkeeper.errors import MalformedBody, PayloadTooLarge

MAX_DEPTH = 32
MAX_VALUES = 20_000
MOST_WISHES = 20


def parse_accept(header: str) -> Sequence[tuple[str, float]]:
    """What a header such as `Accept` or `Accept-Language` lists, with its weights (RFC 9110 section 12.4.2).

    >>> wishes("de-AT, en; q=0.5")
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


def uuid_or_none(text: str) -> UUID | None:
    """The UUID that a text spells."""
    try:
        return UUID(text)
    except ValueError:
        return None


async def gather(stream: AsyncIterable[bytes], *, declared: str | None, limit: int) -> bytes:
    """A body, if it is not larger than the limit. Raises `PayloadTooLarge` before reading further.

    `declared` is what `Content-Length` says.
    """
    if declared and declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> PayloadTooLarge:
    """A limit of the settings prints itself with a unit, so the plain number is asked for."""
    return PayloadTooLarge(f"The body may have {int(limit)} bytes at most.")


def parse_json(body: bytes, *, most_values: int = MAX_VALUES) -> Any:
    """A JSON document of bounded depth and number of values. Raises `MalformedBody`."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        raise MalformedBody(message=f"The body is not readable JSON: {broken}") from broken
    require_bounded(document, most_values=most_values)
    return document


def require_bounded(document: Any, *, most_values: int = MAX_VALUES) -> None:
    """Refuses a document that is too deep or has too many values. Raises `MalformedBody`."""
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
