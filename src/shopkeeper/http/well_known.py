"""Well-known addresses (RFC 8615)."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.http.responses import redirect


def well_known_routes(*, settings_url: str) -> Sequence[Route]:
    """List the routes: `change-password` leads password managers to the settings page (W3C, as Kratos since 26.2)."""

    async def change_password(request: Request) -> Response:
        return redirect(settings_url, body=True)

    return [Route("/.well-known/change-password", change_password, methods=["GET"])]
