"""What others read to use this server's tokens: its public keys (RFC 7517) and its metadata (RFC 8414)."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.http.responses import encode
from shopkeeper.tokens.signing_keys import CACHED_BY_VERIFIERS, SigningKeys

_CACHING: Final = f"public, max-age={int(CACHED_BY_VERIFIERS.total_seconds())}"
_METADATA: Final = "/.well-known/oauth-authorization-server"


def server_metadata_routes(
    signing_keys: SigningKeys, metadata: Callable[[Sequence[str]], Mapping[str, object]], *, issuer: str
) -> Sequence[Route]:
    """List the routes. Of an issuer with a path, clients look for the metadata below it and behind it (RFC 8414
    section 3.1).

    Args:
        metadata: returns the document, given the algorithms by which this server signs.
    """

    async def jwks(request: Request) -> Response:
        published = await signing_keys.jwks()
        return _public(request, published.body, published.etag)

    async def describe(request: Request) -> Response:
        body = encode(metadata(await signing_keys.algorithms()))
        return _public(request, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    behind = urlsplit(issuer).path.rstrip("/")
    paths = dict.fromkeys((_METADATA, _METADATA + behind))
    return [
        Route("/.well-known/jwks.json", jwks, methods=["GET"]),
        *(Route(path, describe, methods=["GET"]) for path in paths),
    ]


def _public(request: Request, body: bytes, etag: str) -> Response:
    """Return a document that everybody may read and keep, or 304 to who has it (RFC 9110 section 13.1.2)."""
    headers = {"Cache-Control": _CACHING, "ETag": etag}
    if _has(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _has(if_none_match: str, etag: str) -> bool:
    known = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return etag in known or "*" in known
