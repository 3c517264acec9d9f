"""The public API's addresses on the admin port: a client that has the admin port's address only is sent on by 307, as
Kratos does (contract page section 1.2).

Nothing leads the other way: the public port does not tell strangers where the admin API is.
"""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.http.responses import redirect

_PATHS: Final = ("/self-service/{rest:path}", "/sessions/whoami")
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def public_redirects(*, base_url: str) -> Sequence[Route]:
    """List the routes. `base_url` is the public address, without a slash at its end."""

    async def send_on(request: Request) -> Response:
        query = request.url.query
        return redirect(f"{base_url}{request.scope['path']}{f'?{query}' if query else ''}", status=307)

    return [Route(path, send_on, methods=list(_METHODS)) for path in _PATHS]
