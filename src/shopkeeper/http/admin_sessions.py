"""The admin API: sessions (contract page section 1.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import BadRequest, NotFound
from shopkeeper.http.admin import Operators, require_id
from shopkeeper.http.admin_input import SessionsBody, active_or_not, body_of, refuse_unserved
from shopkeeper.http.admin_scopes import stores_of
from shopkeeper.http.paging import PageTokens, numbered_page, page_size
from shopkeeper.http.responses import empty_response, json_response
from shopkeeper.http.serializers import Serializers
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Database, Unit

_EXPANDABLE: Final = frozenset({"identity", "devices"})


class AdminSessions:
    """`/sessions`, and the sessions of an identity, on the admin port.

    `extends_silently` answers an extended session by 204, without its body (`feature_flags.faster_session_extend`).
    """

    def __init__(
        self,
        *,
        database: Database,
        sessions: Sessions,
        serializers: Serializers,
        pages: PageTokens,
        operators: Operators,
        max_body: int,
        extends_silently: bool,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._serializers = serializers
        self._pages = pages
        self._operators = operators
        self._max_body = max_body
        self._extends_silently = extends_silently

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/sessions", self._list, methods=["GET"]),
            Route("/sessions", self._end_many, methods=["POST"]),
            Route("/sessions/{id}", self._read, methods=["GET"]),
            Route("/sessions/{id}", self._revoke, methods=["DELETE"]),
            Route("/sessions/{id}/extend", self._extend, methods=["PATCH"]),
            Route("/identities/{id}/sessions", self._list_of, methods=["GET"]),
            Route("/identities/{id}/sessions", self._delete_of, methods=["DELETE"]),
        ]

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        refuse_unserved(query, served=("active", "expand", "page_size", "page_token"))
        size, active = page_size(query.get("page_size")), active_or_not(query.get("active"))
        async with self._database.unit() as unit:
            after = self._pages.open(query.get("page_token"), of="sessions")
            page = await self._sessions.list_all(
                unit, page_size=size, after=after, active=active, stores=stores_of(request)
            )
        chosen = {name: query.getlist(name) for name in ("active", "expand") if name in query}
        again = {"page_size": str(size), **chosen}
        links = self._pages.links("/admin/sessions", again, of="sessions", next_after=page.next_after)
        shown = self._expanded(query.getlist("expand"), page.items)
        return json_response(shown, headers={"Link": links})

    async def _end_many(self, request: Request) -> Response:
        """End many sessions; `more` says that another request is needed, because each has bounded work."""
        body, by = await body_of(request, SessionsBody, limit=self._max_body), self._operators.of(request)
        chosen = replace(body.read(), stores=stores_of(request))
        async with self._database.unit() as unit:
            ended = await self._sessions.end_many(
                unit, chosen, delete=body.action == "delete", by=by.name, client=by.client
            )
        return json_response({"processed": ended.count, "more": ended.more})

    async def _list_of(self, request: Request) -> Response:
        identity_id, query = require_id(request.path_params["id"]), request.query_params
        refuse_unserved(query, served=("active", "page", "page_size", "page_token", "per_page"))
        page, active, stores = numbered_page(query), active_or_not(query.get("active")), stores_of(request)
        async with self._database.unit() as unit:
            count = await self._sessions.count_for(unit, identity_id, active=active, stores=stores)
            found = await self._sessions.list_for(
                unit, identity_id, active=active, page_size=page.size, skip=page.skip, stores=stores
            )
        # The contract always links a next and a previous page of this list.
        links = page.links(f"/admin/identities/{identity_id}/sessions", "first", "next", "prev")
        return json_response(
            [self._serializers.session_in_list(session) for session in found.items],
            headers={"X-Total-Count": str(count), "Link": links},
        )

    async def _delete_of(self, request: Request) -> Response:
        identity_id, by = require_id(request.path_params["id"]), self._operators.of(request)
        async with self._database.unit() as unit:
            stores = stores_of(request)
            await self._sessions.delete_for(unit, identity_id, stores=stores, by=by.name, client=by.client)
        return empty_response()

    async def _read(self, request: Request) -> Response:
        async with self._database.unit() as unit:
            session = await self._require(unit, request)
        [shown] = self._expanded(request.query_params.getlist("expand"), [session])
        return json_response(shown)

    async def _revoke(self, request: Request) -> Response:
        by = self._operators.of(request)
        async with self._database.unit() as unit:
            session = await self._require(unit, request)
            if not await self._sessions.revoke(unit, session.id, by=by.name, client=by.client):
                raise NotFound
        return empty_response()

    async def _extend(self, request: Request) -> Response:
        by = self._operators.of(request)
        async with self._database.unit() as unit:
            session = await self._require(unit, request)
            session = await self._sessions.extend(unit, session.id, by=by.name, client=by.client)
        return empty_response() if self._extends_silently else json_response(self._serializers.session(session))

    async def _require(self, unit: Unit, request: Request) -> Session:
        session_id = require_id(request.path_params["id"])
        return await self._sessions.require(unit, session_id, stores=stores_of(request))

    def _expanded(self, wanted: Sequence[str], sessions: Sequence[Session]) -> list[Mapping[str, Any]]:
        """Return sessions as an admin sees them, with identity and devices only where `wanted` names them."""
        if unknown := set(wanted) - _EXPANDABLE:
            raise BadRequest(f"'expand' takes identity and devices, not {min(unknown)[:40]!r}.")
        bare = sessions if "devices" in wanted else [replace(session, devices=()) for session in sessions]
        shown = self._serializers.session if "identity" in wanted else self._serializers.session_alone
        return [shown(session) for session in bare]
