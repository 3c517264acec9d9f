"""Mails at the admin port: `/courier/messages`, read-only (contract page section 1.2).

Subjects and bodies may hold one-time codes, so they are shown with `--dev` only, as in Kratos.
"""

from collections.abc import Mapping
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import BadRequest, NotFound
from shopkeeper.http.admin import require_id
from shopkeeper.http.admin_input import refuse_unserved
from shopkeeper.http.paging import PageTokens, page_size
from shopkeeper.http.responses import json_response
from shopkeeper.http.serializers import moment
from shopkeeper.notify.courier import Courier
from shopkeeper.notify.values import CourierMessage, Dispatch, Status
from shopkeeper.storage.database import Database

PATH: Final = "/admin/courier/messages"
REDACTED: Final = "<redacted-unless-dev-mode>"
OTHER_TEMPLATE: Final = "stub"
TEMPLATE_TYPES: Final[Mapping[str, str]] = dict.fromkeys(
    (
        "welcome",
        "sign_up_attempt",
        "order_placed",
        "password_changed",
        "sign_in_linked",
        "address_wanted",
        "address_changed",
        "new_device",
        "support_access",
    ),
    OTHER_TEMPLATE,
)
"""Mails of ours by the names of the contract. Its clients know no other names; the other mails bear them already."""


class AdminMessages:
    """The routes of mails.

    Args:
        shown: whether subjects and bodies are shown.
    """

    def __init__(self, *, database: Database, courier: Courier, pages: PageTokens, shown: bool) -> None:
        self._database = database
        self._courier = courier
        self._pages = pages
        self._shown = shown

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/courier/messages", self._list, methods=["GET"]),
            Route("/courier/messages/{id}", self._read, methods=["GET"]),
        ]

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        refuse_unserved(query, served=("page_size", "page_token", "recipient", "status"))
        size, status, recipient = page_size(query.get("page_size")), _status(query), query.get("recipient") or None
        before = self._pages.open(query.get("page_token"), of="messages")
        async with self._database.unit() as unit:
            page = await self._courier.messages(unit, status=status, recipient=recipient, before=before, limit=size)
        chosen = {name: query[name] for name in ("recipient", "status") if query.get(name)}
        again = {"page_size": str(size), **chosen}
        links = self._pages.links(PATH, again, of="messages", next_after=page.before)
        return json_response([self._message(message) for message in page.items], headers={"Link": links})

    async def _read(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            try:
                message = await self._courier.message(unit, require_id(request.path_params["id"]))
                attempts = await self._courier.dispatches(unit, message.id)
            except NotFound:
                raise NotFound from None  # the contract gives no reason here
        tried = {"dispatches": [_dispatch(attempt) for attempt in attempts]} if attempts else {}
        return json_response({**self._message(message), **tried})

    def _message(self, message: CourierMessage) -> Mapping[str, Any]:
        return {
            "id": str(message.id),
            "status": message.status,
            "type": message.type,
            "recipient": message.recipient,
            "body": message.body if self._shown else REDACTED,
            "subject": message.subject if self._shown else REDACTED,
            "template_type": TEMPLATE_TYPES.get(message.template_type, message.template_type),
            "channel": message.channel,
            "send_count": message.send_count,
            "created_at": moment(message.created_at),
            "updated_at": moment(message.updated_at),
        }


def _dispatch(attempt: Dispatch) -> Mapping[str, Any]:
    at = moment(attempt.created_at)
    named = {"id": str(attempt.id), "message_id": str(attempt.message_id), "created_at": at, "updated_at": at}
    if attempt.error is None:
        return {**named, "status": "success"}
    return {**named, "status": "failed", "error": {"message": attempt.error}}


def _status(query: QueryParams) -> Status | None:
    wanted = query.get("status")
    if not wanted:
        return None
    if wanted not in list(Status):
        raise BadRequest(f"'status' is one of: {', '.join(Status)}.")
    return Status(wanted)
