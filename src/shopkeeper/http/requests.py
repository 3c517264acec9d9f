"""Reads requests: the client, the headers, the body. All input is bounded here."""

import ipaddress
import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

from shopkeeper.client import Client, without_port
from shopkeeper.errors import MalformedBody, Refusal
from shopkeeper.identity.coercion import repeated
from shopkeeper.parsing import gather, media_type_of, parse_accept, parse_json, uuid_or_none

MAX_FIELDS = 2_000
MAX_USER_AGENT = 512
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

_BEARER = re.compile(r"Bearer +(?:Bearer +)?([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)

log = structlog.get_logger(__name__)


def client_of(scope: Scope, *, trusted_proxies: int) -> Client:
    """Return the client of a request.

    `X-Forwarded-For` is trusted only as far as our own proxies wrote it: with `n` trusted proxies, the n-th entry from
    the right is the client; anything further left was written by the client itself.
    """
    host, port = scope.get("client") or ("", None)
    headers = Headers(scope=scope)
    forwarded = [part.strip() for line in headers.getlist("x-forwarded-for") for part in line.split(",")]
    agent = headers.get("user-agent", "")[:MAX_USER_AGENT]
    if trusted_proxies and len(forwarded) >= trusted_proxies:
        believed = _address(forwarded[-trusted_proxies])
        if believed is not None:
            return Client(ip=believed, user_agent=agent)
        _tell_unreadable_proxy()
    return Client(ip=_address(host) or "0.0.0.0", port=port, user_agent=agent)  # noqa: S104 - no address, not a bind


@cache
def _tell_unreadable_proxy() -> None:
    """Warn once, because each request would repeat it.

    The log gets nothing of the header, which may hold a person's address.
    """
    log.warning("client.address_unreadable", consequence="all who come through this proxy share one budget")


def _address(text: str) -> str | None:
    """Return an address in one spelling, or None.

    Drops the port that some proxies write, and the zone, which clients can make up.
    """
    try:
        return str(ipaddress.ip_address(without_port(text).partition("%")[0]))
    except ValueError:
        return None


def bearer_of(header: str | None) -> str | None:
    """Return the token of an `Authorization` header (RFC 6750 section 2.1); None for other or malformed schemes.

    The scheme may occur twice: the published shop client sends it so when it refreshes.

    >>> bearer_of("Bearer Bearer abc"), bearer_of("Basic abc"), bearer_of("Bearer a b")
    ('abc', None, None)
    """
    found = _BEARER.fullmatch(header.strip(" ")) if header else None
    return found[1] if found else None


def prefers_json(headers: Headers) -> bool:
    """Return whether to respond in JSON: by `Accept`, or because the body is exactly JSON (contract page 2.1)."""
    if headers.get("content-type", "") == JSON:
        return True
    accepted = dict(parse_accept(headers.get("accept", "")))
    return accepted.get(JSON, 0.0) > accepted.get("text/html", 0.0)


def require_uuid(text: str, *, otherwise: Refusal) -> UUID:
    """Return the UUID of a text. Raises the given refusal if it is not a UUID."""
    found = uuid_or_none(text)
    if found is None:
        raise otherwise
    return found


async def read_body(request: Request, *, limit: int) -> bytes:
    """Return the body. Raises `PayloadTooLarge`, without reading further, if it exceeds the limit."""
    return await gather(request.stream(), declared=request.headers.get("content-length"), limit=limit)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty body is an empty object. Raises `MalformedBody`."""
    document = parse_json(body) if body.strip() else {}
    if not isinstance(document, dict):
        raise MalformedBody(message="The body must be a JSON object.")
    return document


def parse_fields(body: bytes, content_type: str) -> Mapping[str, Any]:
    """Return the fields of a form or of a JSON object. Raises `MalformedBody`, also for any other content type.

    Other types are refused because browsers can send text/plain to other sites without a CORS preflight.
    """
    if not has_fields(content_type):
        raise MalformedBody(message=f"Send the fields as {JSON} or {FORM}.")
    return parse_object(body) if is_json(content_type) else _parse_form(body)


def has_fields(content_type: str) -> bool:
    """Return whether a content type is that of a form or of JSON."""
    return media_type_of(content_type) in {JSON, FORM}


def is_json(content_type: str) -> bool:
    """Return whether a content type is that of JSON."""
    return media_type_of(content_type) == JSON


def _parse_form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except (ValueError, UnicodeDecodeError) as broken:
        raise MalformedBody(message="The form cannot be read, or has too many fields.") from broken
    return {**dict(pairs), **repeated(pairs)}
