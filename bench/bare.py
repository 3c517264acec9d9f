"""The baselines: servers that answer a JSON constant of a given size, which is no work at all.

python -m bench.bare PORT SIZE KIND

KIND is `route`, a route of Starlette on Python's own event loop: what a small service in Python is made of. `asgi` and
`rsgi` are one function each, on the event loop of our server, over Granian's two protocols, with as many headers as
whoami has: the most that any application can reach.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Any

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

HEADERS = {
    "content-type": "application/json; charset=utf-8",
    "x-kratos-authenticated-identity-id": "01900000-0000-7000-8000-000000000000",
    "x-shopkeeper-store": "default",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "private, no-cache, no-store, must-revalidate",
    "x-request-id": "01900000000070008000000000000000",
}


def route(body: bytes) -> Starlette:
    """Build an app with one route that reads the body and answers a constant."""

    async def answer(request: Request) -> Response:
        if request.method == "POST":
            await request.body()
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])


def asgi(body: bytes) -> Callable[..., Any]:
    """Build an ASGI application that answers a constant."""
    headers = [(b"content-length", b"%d" % len(body)), *((k.encode(), v.encode()) for k, v in HEADERS.items())]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def rsgi(body: bytes) -> Callable[..., Any]:
    """Build an RSGI application that answers a constant."""
    headers = list(HEADERS.items())

    async def answer(scope: Any, protocol: Any) -> None:
        protocol.response_bytes(200, headers, body)

    return answer


KINDS: Mapping[str, tuple[Callable[[bytes], Any], Interfaces, Callable[..., None]]] = {
    "route": (route, Interfaces.ASGINL, asyncio.run),
    "asgi": (asgi, Interfaces.ASGINL, uvloop.run),
    "rsgi": (rsgi, Interfaces.RSGI, uvloop.run),
}


def main() -> None:
    """Serve until stopped."""
    port, size, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    build, interface, run = KINDS[kind]
    app = build(b'"' + b"x" * (size - 2) + b'"')
    run(Server(app, port=port, interface=interface, http=HTTPModes.http1, websockets=False, log_enabled=False).serve())


if __name__ == "__main__":
    main()
