"""The routes of the caller's own sessions: list and revoke them (contract page sections 1.1 and 3)."""

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import BadRequest, Unauthenticated
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.paging import numbered_page
from shopkeeper.http.requests import require_uuid
from shopkeeper.http.responses import empty_response, json_response
from shopkeeper.http.serializers import Serializers
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Database


class OwnSessions:
    """`/sessions`: the other sessions of the caller."""

    def __init__(
        self, *, database: Database, sessions: Sessions, authenticator: RequestAuthenticator, serializers: Serializers
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._authenticator = authenticator
        self._serializers = serializers

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/sessions", self._list, methods=["GET"]),
            Route("/sessions", self._revoke_others, methods=["DELETE"]),
            Route("/sessions/{id}", self._revoke, methods=["DELETE"]),
        ]

    async def _list(self, request: Request) -> Response:
        current = await self._require(request)
        page, identity_id = numbered_page(request.query_params), current.identity.id
        async with self._database.unit() as unit:
            count = await self._sessions.count_for(unit, identity_id, active=True, exclude=current.id)
            found = await self._sessions.list_for(
                unit, identity_id, active=True, exclude=current.id, page_size=page.size, skip=page.skip
            )
        rels = ["first", *(["next"] if found.next_after else []), *(["prev"] if page.number else [])]
        # If there are fewer sessions than a page holds, the contract's links have that number as the page size.
        shown = replace(page, size=min(page.size, count))
        return json_response(
            [self._serializers.session_in_list(session) for session in found.items],
            headers={"X-Total-Count": str(count), "Link": shown.links("/sessions", *rels)},
        )

    async def _revoke_others(self, request: Request) -> Response:
        self._authenticator.refuse_foreign_page(request)
        current = await self._require(request)
        async with self._database.unit() as unit:
            client = self._authenticator.client_of(request)
            count = await self._sessions.revoke_others(unit, current, client=client)
        return json_response({"count": count})

    async def _revoke(self, request: Request) -> Response:
        self._authenticator.refuse_foreign_page(request)
        current = await self._require(request)
        no_id = BadRequest(message="The session id is not a UUID.")
        session_id = require_uuid(request.path_params["id"], otherwise=no_id)
        client = self._authenticator.client_of(request)
        async with self._database.unit() as unit:
            await self._sessions.revoke_own(unit, current, session_id, client=client)
        return empty_response(headers={"Content-Type": "application/json; charset=utf-8"})

    async def _require(self, request: Request) -> Session:
        session = await self._authenticator.session_of(request)
        if session is None:
            raise Unauthenticated("There is no valid session with this request.")
        return session
