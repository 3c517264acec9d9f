"""Reads what the configuration refers to: `file://`, `base64://`, `https://` and `http://` addresses."""

import asyncio
import base64
import binascii
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from shopkeeper.errors import UpstreamFailed
from shopkeeper.http_client import GuardedClient

LARGEST: Final = 256 * 1024
"""Bytes of a template."""
_TIMEOUT: Final = 10.0


class Unreadable(ValueError):
    """What is referred to cannot be read. The sentence gives the reason; `line` is where it is known."""

    def __init__(self, reason: str, *, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


async def load(reference: str, client: GuardedClient) -> str:
    """Return the text at an address. Raises `Unreadable`."""
    scheme, _, rest = reference.partition("://")
    if scheme == "base64":
        try:
            raw = base64.b64decode(rest, validate=True)
        except (binascii.Error, ValueError) as broken:
            raise Unreadable("what follows base64:// is not base64") from broken
        return as_text(raw)
    if scheme == "file":
        return await asyncio.to_thread(from_file, Path(unquote(rest)))
    try:
        answer = await client.request("GET", reference, timeout=_TIMEOUT, max_bytes=LARGEST)
    except UpstreamFailed as failed:
        raise Unreadable(str(failed).rstrip(".")) from failed
    if not answer.ok:
        raise Unreadable(f"{urlsplit(reference).hostname} answered {answer.status}")
    return as_text(answer.body)


def from_file(path: Path) -> str:
    """Return the text of a file. Raises `Unreadable`."""
    try:
        with path.open("rb") as file:
            return as_text(file.read(LARGEST + 1))
    except OSError as failed:
        raise Unreadable(f"it cannot be read ({failed.strerror})") from failed


def as_text(raw: bytes) -> str:
    """Decode a template, within its limit. Raises `Unreadable`."""
    if len(raw) > LARGEST:
        raise Unreadable(f"it is larger than {LARGEST} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        raise Unreadable("it is not UTF-8", line=raw.count(b"\n", 0, broken.start) + 1) from broken
