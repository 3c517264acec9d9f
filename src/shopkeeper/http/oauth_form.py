"""Reads requests of the OAuth endpoints: the headers that matter, and the parameters of a form, each once."""

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope

from shopkeeper.errors import BodyIncomplete
from shopkeeper.http.multipart import MULTIPART, is_multipart, parse_multipart
from shopkeeper.http.requests import FORM
from shopkeeper.oauth.errors import InvalidRequest
from shopkeeper.parsing import gather, media_type_of

LARGEST_FORM: Final = 65_536
MOST_PARAMETERS: Final = 32
_HEADERS: Final = frozenset({b"content-type", b"content-length", b"accept"})
_USUAL: Final = re.compile(rb"token=([A-Za-z0-9._~-]+)")
"""The form of nearly all requests for introspection, in which nothing is encoded."""


class Head:
    """The headers that matter here, read in one pass. The first of a repeated one counts, but for `authorization`.

    Args:
        authorization: every `Authorization` header.
    """

    __slots__ = ("authorization", "first")

    def __init__(self, scope: Scope) -> None:
        self.authorization: list[str] = []
        self.first: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.authorization.append(value.decode("latin-1"))
            elif name in _HEADERS:
                self.first.setdefault(name, value.decode("latin-1"))

    @property
    def accept(self) -> str:
        """What the client prefers."""
        return self.first.get(b"accept", "")


async def read_form(
    receive: Receive, head: Head, *, multipart: bool = False, lists: Collection[str] = ()
) -> Mapping[str, str]:
    """Return the parameters of a form; none where there is no body. One without a value counts as missing (RFC 6749
    section 3.1).

    Args:
        multipart: whether the form may be multipart/form-data, too.
        lists: the parameters that may be repeated. Their values are joined by a space, each once.

    Raises:
        InvalidRequest: it cannot be read, repeats a parameter, or has too many.
        PayloadTooLarge: it is too long; the rest is not read.
        MalformedBody: it is no multipart form, or ends too early.
    """
    content_type = head.first.get(b"content-type", "")
    message = await receive()
    if content_type == FORM and (usual := _usual(message)):
        return usual
    body = await gather(_chunks(receive, first=message), declared=head.first.get(b"content-length"), limit=LARGEST_FORM)
    if not body:
        return {}
    if media_type_of(content_type) == FORM:
        return parameters_in(body, lists=lists)
    if multipart and is_multipart(content_type):
        return _parameters(parse_multipart(body, content_type), lists)
    raise InvalidRequest(f"Send the parameters as {FORM}{f' or {MULTIPART}' if multipart else ''}.")


def _usual(message: Message) -> Mapping[str, str] | None:
    """Return the parameters of the usual form, without general parsing."""
    body = message.get("body", b"")
    if message.get("more_body", False) or len(body) > LARGEST_FORM:
        return None
    found = _USUAL.fullmatch(body)
    return {"token": found[1].decode("ascii")} if found else None


def parameters_in(encoded: bytes, *, lists: Collection[str] = ()) -> Mapping[str, str]:
    """Return the parameters of an urlencoded form or of a query. `lists` is as for `read_form`.

    Raises `InvalidRequest`.
    """
    try:
        pairs = parse_qsl(
            encoded.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS, errors="strict"
        )
    except ValueError as broken:
        raise InvalidRequest("The parameters cannot be read, or are too many.") from broken
    return _parameters(pairs, lists)


def _parameters(pairs: Sequence[tuple[str, str]], lists: Collection[str]) -> Mapping[str, str]:
    if len(pairs) > MOST_PARAMETERS:
        raise InvalidRequest("There are too many parameters.")
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in found and name not in lists:
            raise InvalidRequest("Send each parameter once.")
        found.setdefault(name, []).append(value)
    joined = {name: " ".join(dict.fromkeys(value for value in values if value)) for name, values in found.items()}
    return {name: value for name, value in joined.items() if value}


async def _chunks(receive: Receive, *, first: Message) -> AsyncIterator[bytes]:
    message, more = first, True
    while more:
        if message["type"] == "http.disconnect":
            raise BodyIncomplete
        more = message.get("more_body", False)
        yield message.get("body", b"")
        if more:
            message = await receive()
