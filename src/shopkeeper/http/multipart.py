"""Reads forms of the media type multipart/form-data (RFC 7578), of bounded size, that hold texts and no files."""

import re
from collections.abc import Sequence
from email.message import Message
from typing import Final

from shopkeeper.errors import MalformedBody
from shopkeeper.parsing import media_type_of

MULTIPART: Final = "multipart/form-data"
MOST_PARTS: Final = 100
_LARGEST_HEAD: Final = 2_048
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")
_NAME: Final = re.compile(rb'(?i)content-disposition:[ \t]*form-data[ \t]*;(?:[^\r\n]*[; \t])?name="([^"\r\n]*)"')


def is_multipart(content_type: str) -> bool:
    """Return whether a content type is that of a multipart form."""
    return media_type_of(content_type) == MULTIPART


def parse_multipart(body: bytes, content_type: str) -> Sequence[tuple[str, str]]:
    """Return the fields of a form in their order. Raises `MalformedBody`.

    >>> parse_multipart(b'--x\\r\\nContent-Disposition: form-data; name="a"\\r\\n\\r\\nb\\r\\n--x--\\r\\n',
    ...                 "multipart/form-data; boundary=x")
    [('a', 'b')]
    """
    first, *parts = (b"\r\n" + body).split(b"\r\n--" + _boundary(content_type), MOST_PARTS + 1)
    closed = bool(parts) and parts.pop().startswith(b"--")
    if first.strip() or not closed:
        raise MalformedBody("The form does not begin or end with its boundary, or has too many parts.")
    return [_field(part) for part in parts]


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if boundary is None or not _BOUNDARY.fullmatch(boundary):
        raise MalformedBody(f"The content type {MULTIPART} needs a boundary.")
    return boundary.encode("ascii")


def _field(part: bytes) -> tuple[str, str]:
    """Return name and text of a part, which begins after its boundary and ends before the line break of the next."""
    padding, line_break, rest = part.partition(b"\r\n")
    head, blank, content = rest.partition(b"\r\n\r\n")
    name = _NAME.search(head[:_LARGEST_HEAD])
    if padding.strip(b" \t") or not line_break or not blank or name is None:
        raise MalformedBody("A part of the form has no name that can be read.")
    try:
        return name[1].decode(), content.decode()
    except UnicodeDecodeError as binary:
        raise MalformedBody("A part of the form is not text.") from binary
