"""The page behind the link in mails about new sign-ins: one button ends that session.

Opening the page changes nothing, because mail scanners and browsers open links ahead. The token is the proof; no
session is needed, because the mail may be read on another device.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.http.pages.layout import PageLayout
from shopkeeper.http.requests import FORM, parse_fields, read_body
from shopkeeper.parsing import media_type_of
from shopkeeper.signin.new_devices import PATH, NewDevices
from shopkeeper.storage.database import Database

MAX_BODY: Final = 2_000
LONGEST_TOKEN: Final = 100


class EndSessionPage:
    """The routes of the page."""

    def __init__(self, *, database: Database, devices: NewDevices, layout: PageLayout) -> None:
        self._database = database
        self._devices = devices
        self._layout = layout

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route(PATH, self._layout.with_error_page(self._ask), methods=["GET"]),
            Route(PATH, self._layout.with_error_page(self._end), methods=["POST"]),
        ]

    async def _ask(self, request: Request) -> Response:
        caller, _ = await self._layout.caller(request)
        token = request.query_params.get("token", "")
        async with self._database.reading() as unit:
            usable = len(token) <= LONGEST_TOKEN and await self._devices.pending(unit, token)
        context = {"state": "ask" if usable else "over", "token": token if usable else ""}
        return self._layout.answer(request, "end_session", context, caller=caller)

    async def _end(self, request: Request) -> Response:
        body = await read_body(request, limit=MAX_BODY)
        kind = media_type_of(request.headers.get("content-type"))
        token = str((parse_fields(body, FORM) if kind == FORM else {}).get("token", ""))
        caller, _ = await self._layout.caller(request)
        async with self._database.unit() as unit:
            ended = len(token) <= LONGEST_TOKEN and await self._devices.end(unit, token, client=caller.client)
        context = {"state": "ended" if ended else "over", "token": ""}
        return self._layout.answer(request, "end_session", context, caller=caller)
