"""The inbox of a development server: every mail that was written, so that no mail server is needed."""

from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import NotFound
from shopkeeper.http.pages.layout import PageLayout
from shopkeeper.http.requests import require_uuid
from shopkeeper.notify.courier import Courier
from shopkeeper.storage.database import Database

PAGE = 30


class InboxPages:
    """The routes of the inbox."""

    def __init__(self, *, database: Database, courier: Courier, layout: PageLayout) -> None:
        self._database = database
        self._courier = courier
        self._layout = layout

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/inbox", self._layout.with_error_page(self._list), methods=["GET"]),
            Route("/inbox/{id}", self._layout.with_error_page(self._show), methods=["GET"]),
        ]

    async def _list(self, request: Request) -> Response:
        caller, _ = await self._layout.caller(request)
        before = request.query_params.get("before")
        start = _mail_id(before) if before else None
        async with self._database.unit() as unit:
            page = await self._courier.messages(unit, before=start, limit=PAGE)
        context = {"mails": page.items, "before": page.before, "first_page": not before}
        return self._layout.answer(request, "inbox", context, caller=caller)

    async def _show(self, request: Request) -> Response:
        caller, _ = await self._layout.caller(request)
        async with self._database.unit() as unit:
            mail = await self._courier.message(unit, _mail_id(request.path_params["id"]))
        return self._layout.answer(request, "mail", {"mail": mail}, caller=caller, inline_styles=True)


def _mail_id(text: str) -> UUID:
    return require_uuid(text, otherwise=NotFound("There is no such message."))
