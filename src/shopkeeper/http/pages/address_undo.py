"""Undoing a change of address by the link that went to the former address: a page with one button."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.http.pages.layout import PageLayout, Place
from shopkeeper.http.pages.one_click import OneClickPages, Purpose, Shown
from shopkeeper.http.pages.own_forms import read_own_form
from shopkeeper.identity.address_changes import AddressChanges, UndoEnded
from shopkeeper.notify.account_notices import UNDO_PATH
from shopkeeper.storage.database import Database

LONGEST_TOKEN: Final = 100


class AddressUndoPages:
    """The routes of the page. Only the button does something: programs that read mails open links.

    Args:
        recovery: whether accounts can be recovered, which is how the customer gets a new password.
    """

    def __init__(
        self,
        *,
        database: Database,
        address_changes: AddressChanges,
        layout: PageLayout,
        place: Place,
        recovery: bool,
    ) -> None:
        self._database = database
        self._changes = address_changes
        self._layout = layout
        self._pages = OneClickPages(layout)
        self._place = place
        self._recovery = recovery

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route(UNDO_PATH, self._layout.with_error_page(self._ask), methods=["GET"]),
            Route(UNDO_PATH, self._layout.with_error_page(self._undo), methods=["POST"]),
        ]

    async def _ask(self, request: Request) -> Response:
        token = _bounded(request.query_params.get("token"))
        try:
            async with self._database.reading() as unit:
                offer = await self._changes.offer(unit, token)
        except UndoEnded:
            return await self._pages.over(request, Purpose.UNDO_ADDRESS)
        return await self._pages.ask(
            request,
            Purpose.UNDO_ADDRESS,
            action=f"{self._place.prefix}{UNDO_PATH}",
            fields={"token": token},
            shown=Shown(address=offer.address, at=offer.at),
        )

    async def _undo(self, request: Request) -> Response:
        caller, fields = await read_own_form(request, self._layout)
        token = _bounded(fields.get("token"))
        try:
            async with self._database.unit() as unit:
                undone = await self._changes.undo(unit, token, client_ip=caller.client.ip, recovery=self._recovery)
        except UndoEnded:
            return await self._pages.over(request, Purpose.UNDO_ADDRESS)
        flow = "recovery" if self._recovery else "login"
        next_url = f"{self._place.prefix}/self-service/{flow}/browser"
        return await self._pages.done(request, Purpose.UNDO_ADDRESS, account=undone.id, next_url=next_url)


def _bounded(token: Any) -> str:
    return token if isinstance(token, str) and len(token) <= LONGEST_TOKEN else ""
