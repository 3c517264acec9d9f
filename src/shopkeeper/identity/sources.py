"""Loads identity schemas from `file://`, `base64://` and `http(s)://`: once, at the start, at most 1 MB each."""

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

LARGEST = 1024 * 1024

Fetch = Callable[[str], Awaitable[bytes]]
"""Fetches a document from another server, with the guarded HTTP client."""


class SchemaBroken(ValueError):
    """Raised when an identity schema cannot be used. The sentence says which and why, and ends the start."""

    def __init__(self, schema_id: str, reason: str) -> None:
        super().__init__(f"The identity schema {schema_id!r} cannot be used: {reason}.")
        self.schema_id = schema_id
        self.reason = reason


async def load_document(schema_id: str, url: str, *, fetch: Fetch | None) -> dict[str, Any]:
    """Return the document at a URL. Raises `SchemaBroken`."""
    raw = await _read(schema_id, url, fetch)
    if len(raw) > LARGEST:
        raise SchemaBroken(schema_id, f"it is larger than {LARGEST} bytes")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as broken:
        raise SchemaBroken(schema_id, f"it is not JSON ({broken})") from broken
    if not isinstance(document, dict):
        raise SchemaBroken(schema_id, "it is not a JSON object")
    return document


async def _read(schema_id: str, url: str, fetch: Fetch | None) -> bytes:
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "file":
        return await asyncio.to_thread(_from_file, schema_id, rest)
    if separator and scheme == "base64":
        return _from_base64(schema_id, rest)
    if separator and scheme in {"http", "https"} and fetch is not None:
        return await fetch(url)
    raise SchemaBroken(schema_id, "its URL must begin with file://, base64://, https:// or http://")


def _from_file(schema_id: str, place: str) -> bytes:
    path = Path(unquote(place)).expanduser()
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as failed:
        raise SchemaBroken(schema_id, f"the file {path} cannot be read ({failed.strerror})") from failed


def _from_base64(schema_id: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as broken:
        raise SchemaBroken(schema_id, "what follows base64:// is not base64") from broken
