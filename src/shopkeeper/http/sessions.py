"""The door to sessions: whoami, listing and revoking one's own (contract page sections 1.1 and 3).

Whoami is a hot path: a plain ASGI callable ahead of the router, answering bytes that were encoded once per session.
"""

from collections.abc import Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from shopkeeper.clock import Clock
from shopkeeper.commerce.stores import Stores
from shopkeeper.errors import BadRequest, StoreUnknown, Unauthenticated
from shopkeeper.http.answering import empty_answer, json_answer, refusal_answer
from shopkeeper.http.observing import note
from shopkeeper.http.paging import numbered_page
from shopkeeper.http.reading import require_uuid
from shopkeeper.http.shapes import Shapes
from shopkeeper.http.visitors import Visitors
from shopkeeper.sessions.cache import Resolved
from shopkeeper.sessions.cookies import CookiePolicy, cookies_in
from shopkeeper.sessions.principal import Carriers, bearer_of, tokens_of
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Database

_TOKEN_HEADERS = (b"x-session-token", b"authorization")


class WhoAmI:
    """`/sessions/whoami`, for every HTTP method, so that gateways can ask it with the method they were asked.

    A request that names a store, by header or host, is answered for that store: a session of another one is none there.
    Whoever names none reads in the header `X-Shopkeeper-Store` where the session is at home.
    """

    def __init__(
        self,
        *,
        sessions: Sessions,
        cookies: CookiePolicy,
        clock: Clock,
        stores: Stores,
        store_header: str,
        tenant_header: str,
    ) -> None:
        self._sessions = sessions
        self._cookies = cookies
        self._stores = stores
        self._store_header, self._tenant_header = store_header.lower().encode(), tenant_header.lower().encode()
        self._wanted = frozenset({*_TOKEN_HEADERS, self._store_header, self._tenant_header, b"host"})
        self._refusal = refusal_answer(Unauthenticated("There is no valid session with this request."), clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        resolved = await self._resolved(scope)
        if resolved is None:
            await self._refusal(scope, receive, send)
            return
        identity = str(resolved.session.identity.id)
        note(principal=identity)
        headers = [
            (b"content-type", b"application/json; charset=utf-8"),
            (b"content-length", b"%d" % len(resolved.whoami)),
            (b"x-kratos-authenticated-identity-id", identity.encode()),
        ]
        if resolved.session.store is not None:
            headers.append((b"x-shopkeeper-store", resolved.session.store.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else resolved.whoami})

    async def _resolved(self, scope: Scope) -> Resolved | None:
        carriers, headers = self._read(scope)
        for token in tokens_of(carriers):
            resolved = await self._sessions.resolve(token)
            if resolved is not None and self._at_home(resolved.session, headers):
                return resolved
        return None

    def _at_home(self, session: Session, headers: Mapping[bytes, str]) -> bool:
        try:
            named = self._stores.named(
                name=headers.get(self._store_header),
                tenant=headers.get(self._tenant_header),
                host=headers.get(b"host"),
            )
        except StoreUnknown:
            return False
        return named is None or session.at_home_in(named.id)

    def _read(self, scope: Scope) -> tuple[Carriers, Mapping[bytes, str]]:
        """What `Visitors.carriers_of` reads, and the headers that tell of a store, in one pass."""
        cookies: list[str] = []
        first: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name == b"cookie":
                cookies.append(value.decode("latin-1"))
            elif name in self._wanted:
                first.setdefault(name, value.decode("latin-1"))
        carriers = Carriers(
            session_token=first.get(b"x-session-token"),
            session_cookie=cookies_in(cookies).get(self._cookies.session_name) if cookies else None,
            bearer=bearer_of(first.get(b"authorization")),
        )
        return carriers, first


class OwnSessions:
    """`/sessions`: the other sessions of whoever asks."""

    def __init__(self, *, database: Database, sessions: Sessions, visitors: Visitors, shapes: Shapes) -> None:
        self._database = database
        self._sessions = sessions
        self._visitors = visitors
        self._shapes = shapes

    def routes(self) -> list[Route]:
        """Every route of this door."""
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
        # The contract's links name the number of what there is, where that is less than a page.
        shown = replace(page, size=min(page.size, count))
        return json_answer(
            [self._shapes.session_in_list(session) for session in found.items],
            headers={"X-Total-Count": str(count), "Link": shown.links("/sessions", *rels)},
        )

    async def _revoke_others(self, request: Request) -> Response:
        self._visitors.refuse_foreign_page(request)
        current = await self._require(request)
        async with self._database.unit() as unit:
            client = self._visitors.client_of(request)
            count = await self._sessions.revoke_others(unit, current, client=client)
        return json_answer({"count": count})

    async def _revoke(self, request: Request) -> Response:
        self._visitors.refuse_foreign_page(request)
        current = await self._require(request)
        no_id = BadRequest(message="The session id is not a UUID.")
        session_id = require_uuid(request.path_params["id"], otherwise=no_id)
        client = self._visitors.client_of(request)
        async with self._database.unit() as unit:
            await self._sessions.revoke_own(unit, current, session_id, client=client)
        return empty_answer(headers={"Content-Type": "application/json; charset=utf-8"})

    async def _require(self, request: Request) -> Session:
        session = await self._visitors.session_of(request)
        if session is None:
            raise Unauthenticated("There is no valid session with this request.")
        return session
