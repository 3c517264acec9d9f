"""The admin API: agents who act as customers and guests. These routes are ours, not Kratos'.

They need an admin key with the scope `impersonate`, which the support tool holds, and the session of the agent.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.commerce.errors import Unsupported
from shopkeeper.commerce.port import Engine, KnowsGuestsOfCarts
from shopkeeper.commerce.stores import STORE, TENANT, Store, Stores
from shopkeeper.errors import BadRequest, InvalidInput, NotFound
from shopkeeper.http.admin import Operators, require_id
from shopkeeper.http.admin_input import active_or_not, body_of, refuse_unserved
from shopkeeper.http.admin_scopes import stores_of
from shopkeeper.http.paging import PageTokens, page_size
from shopkeeper.http.requests import require_uuid
from shopkeeper.http.responses import empty_response, json_response
from shopkeeper.http.serializers import moment
from shopkeeper.sessions.impersonation import Asked, Impersonations, StartedImpersonation
from shopkeeper.sessions.impersonation_store import Impersonation
from shopkeeper.storage.database import Database

LINK_PATH: Final = "/impersonation"
"""Where a browser follows the link, on the public port."""
_LIST: Final = "impersonations"
_FILTERS: Final = ("active", "identity", "agent", "page_size", "page_token")


class ImpersonationBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Who acts, and why."""

    reason: str
    session_token: str | None = None
    agent: str | None = None


class AdminImpersonations:
    """The routes of impersonations on the admin port.

    Args:
        engines: find the guest of a cart.
        base_url: the public address, which the links for browsers lead to.
    """

    def __init__(
        self,
        *,
        database: Database,
        impersonations: Impersonations,
        stores: Stores,
        engines: Mapping[str, Engine],
        pages: PageTokens,
        operators: Operators,
        base_url: str,
        max_body: int,
    ) -> None:
        self._database = database
        self._impersonations = impersonations
        self._stores = stores
        self._engines = engines
        self._pages = pages
        self._operators = operators
        self._base_url = base_url.rstrip("/")
        self._max_body = max_body

    def routes(self) -> list[Route]:
        """List the routes."""
        return [
            Route("/identities/{id}/impersonations", self._start, methods=["POST"]),
            Route("/guests/by/cart/{id}/impersonations", self._start_as_guest, methods=["POST"]),
            Route("/impersonations", self._list, methods=["GET"]),
            Route("/impersonations/{id}", self._read, methods=["GET"]),
            Route("/impersonations/{id}", self._end, methods=["DELETE"]),
        ]

    async def _start(self, request: Request) -> Response:
        identity_id, asked = require_id(request.path_params["id"]), await self._asked(request)
        return self._answer(await self._impersonations.start(identity_id, asked))

    async def _start_as_guest(self, request: Request) -> Response:
        cart_id, asked = require_id(request.path_params["id"]), await self._asked(request)
        guest = await self._guest_of(cart_id, self._stores.require(asked.store))
        return self._answer(await self._impersonations.start_as_guest(guest, asked))

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        refuse_unserved(query, served=_FILTERS)
        size, active = page_size(query.get("page_size")), active_or_not(query.get("active"))
        async with self._database.reading() as unit:
            found = await self._impersonations.page(
                unit,
                active=active,
                identity_id=_id(request, "identity"),
                agent_id=_id(request, "agent"),
                stores=stores_of(request),
                after=self._pages.open(query.get("page_token"), of=_LIST),
                limit=size + 1,
            )
        next_after = found[size - 1].id if len(found) > size else None
        chosen = {name: query[name] for name in ("active", "identity", "agent") if query.get(name)}
        again = {**chosen, "page_size": str(size)}
        links = self._pages.links("/admin/impersonations", again, of=_LIST, next_after=next_after)
        return json_response([_shown(each) for each in found[:size]], headers={"Link": links})

    async def _read(self, request: Request) -> Response:
        async with self._database.reading() as unit:
            found = await self._impersonations.require(
                unit, require_id(request.path_params["id"]), stores=stores_of(request)
            )
        return json_response(_shown(found))

    async def _end(self, request: Request) -> Response:
        """End an impersonation. Ending again answers the same."""
        by, id_ = self._operators.of(request), require_id(request.path_params["id"])
        async with self._database.unit() as unit:
            await self._impersonations.require(unit, id_, stores=stores_of(request))
            await self._impersonations.end(unit, id_, by=by.name, client=by.client)
        return empty_response()

    async def _asked(self, request: Request) -> Asked:
        """Return what is asked for. The store is chosen by query only: the admin port's host names none."""
        body, query, by = await body_of(request, ImpersonationBody, limit=self._max_body), request.query_params, None
        by, stores = self._operators.of(request), stores_of(request)
        front = self._stores.choose(name=query.get(STORE), tenant=query.get(TENANT), host=None)
        if stores is not None and front.id not in stores:
            raise NotFound("This key is limited to other stores: name one of them by 'store'.")
        if body.session_token is not None and body.agent is not None:
            raise InvalidInput("Send either 'session_token' or 'agent'.")
        return Asked(
            key=request.scope["admin"],
            store=front.id,
            reason=body.reason,
            client=by.client,
            session_token=body.session_token,
            agent=body.agent,
            key_stores=stores,
        )

    async def _guest_of(self, cart_id: UUID, store: Store) -> UUID:
        engine = self._engines[store.engine]
        if not isinstance(engine, KnowsGuestsOfCarts):
            raise Unsupported("This store's engine cannot tell whose a cart is.")
        async with self._database.reading() as unit:
            guest = await engine.guest_of_cart(unit, store=store.id, cart_id=cart_id)
        if guest is None:
            raise NotFound("No guest has such an open cart in this store; a customer's is found by the identity.")
        return guest

    def _answer(self, started: StartedImpersonation) -> Response:
        link = f"{self._base_url}{LINK_PATH}?link={quote(started.link)}"
        shown = {**_shown(started.impersonation), "session_token": started.token, "browser_link": link}
        return json_response(shown, 201, headers={"Cache-Control": "no-store"})


def _id(request: Request, name: str) -> UUID | None:
    text = request.query_params.get(name)
    return require_uuid(text, otherwise=BadRequest(f"'{name}' must be an id, a UUID.")) if text else None


def _shown(one: Impersonation) -> Mapping[str, Any]:
    return {
        "id": str(one.id),
        "kind": one.kind.value,
        "store": one.store,
        "identity_id": str(one.identity_id) if one.identity_id else None,
        "guest_id": str(one.guest_id) if one.guest_id else None,
        "agent": {
            "identity_id": str(one.actor.identity_id) if one.actor.identity_id else None,
            "session_id": str(one.actor.session_id) if one.actor.session_id else None,
            "name": one.actor.name,
            "key": one.actor.key,
        },
        "reason": one.reason,
        "orders": one.orders,
        "started_at": moment(one.started_at),
        "expires_at": moment(one.expires_at),
        "ended_at": moment(one.ended_at) if one.ended_at else None,
        "ended_by": one.ended_by,
    }
