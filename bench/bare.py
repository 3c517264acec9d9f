"""The baseline: the same server and the same router, answering a JSON constant of a given size.

python -m bench.bare PORT SIZE
"""

import asyncio
import sys

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def app(size: int) -> Starlette:
    """Build an app with one route that reads the body and answers `size` bytes of JSON."""
    body = b'"' + b"x" * (size - 2) + b'"'

    async def answer(request: Request) -> Response:
        if request.method == "POST":
            await request.body()
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])


def main() -> None:
    """Serve until stopped."""
    port, size = int(sys.argv[1]), int(sys.argv[2])
    options = {"http": HTTPModes.http1, "websockets": False, "log_enabled": False}
    server = Server(app(size), port=port, interface=Interfaces.ASGINL, **options)
    asyncio.run(server.serve())


if __name__ == "__main__":
    main()
