"""At the admin port: addresses that get no mail, and sending an abandoned mail again. Both are ours, not Kratos'."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import NotFound
from shopkeeper.http.admin import require_id
from shopkeeper.http.admin_input import refuse_unserved
from shopkeeper.http.paging import PageTokens, page_size
from shopkeeper.http.responses import empty_response, json_response
from shopkeeper.http.serializers import moment
from shopkeeper.notify import suppressions
from shopkeeper.notify.courier import Courier
from shopkeeper.notify.values import Suppression
from shopkeeper.storage.database import Database
from shopkeeper.storage.text_limits import storable

PATH: Final = "/admin/courier/suppressions"
_LIST: Final = "suppressions"


class AdminSuppressions:
    """The routes of suppressed addresses and of abandoned mails."""

    def __init__(self, *, database: Database, courier: Courier, pages: PageTokens) -> None:
        self._database = database
        self._courier = courier
        self._pages = pages

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/courier/suppressions", self._list, methods=["GET"]),
            Route("/courier/suppressions/{address:path}", self._remove, methods=["DELETE"]),
            Route("/courier/messages/{id}/resend", self._resend, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        refuse_unserved(query, served=("page_size", "page_token"))
        size, after = page_size(query.get("page_size")), self._pages.open_text(query.get("page_token"), of=_LIST)
        async with self._database.reading() as unit:
            found = await suppressions.page(unit, after=after, limit=size + 1)
        next_after = found[size - 1].address if len(found) > size else None
        links = self._pages.links(PATH, {"page_size": str(size)}, of=_LIST, next_after=next_after, first="")
        return json_response([_shown(one) for one in found[:size]], headers={"Link": links})

    async def _remove(self, request: Request) -> Response:
        address = request.path_params["address"]
        async with self._database.unit() as unit:
            if not storable(address) or not await suppressions.remove(unit, address):
                raise NotFound("This address is not suppressed.")
        return empty_response()

    async def _resend(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            await self._courier.resend(unit, require_id(request.path_params["id"]))
        return empty_response()


def _shown(one: Suppression) -> Mapping[str, Any]:
    return {
        "address": one.address,
        "reason": one.reason,
        "source": one.source,
        "detail": one.detail,
        "created_at": moment(one.created_at),
    }
