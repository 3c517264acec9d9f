"""The account page: the customer who is signed in, their devices and their orders."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.client import without_port
from shopkeeper.commerce.binding import engine_session
from shopkeeper.commerce.port import Engine, Order, Page
from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.errors import NotFound
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.pages.devices import device_name
from shopkeeper.http.pages.engine_reads import read_or_none
from shopkeeper.http.pages.layout import PageLayout, Place
from shopkeeper.http.pages.own_forms import read_own_form
from shopkeeper.http.requests import require_uuid
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Database, Unit

ORDERS = 10
LAST_ORDER = 10_000


@dataclass(frozen=True, slots=True)
class Device:
    """A session as its owner sees it."""

    id: str
    name: str
    address: str
    since: datetime
    until: datetime
    current: bool


class AccountPages:
    """The routes of the account page."""

    def __init__(
        self,
        *,
        database: Database,
        sessions: Sessions,
        engines: Mapping[str, Engine],
        stores: Stores,
        authenticator: RequestAuthenticator,
        layout: PageLayout,
        place: Place,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._engines = engines
        self._stores = stores
        self._authenticator = authenticator
        self._layout = layout
        self._place = place

    def routes(self) -> list[Route]:
        """List the routes."""
        revoke, others = self._layout.with_error_page(self._revoke), self._layout.with_error_page(self._revoke_others)
        return [
            Route("/account", self._layout.with_error_page(self._show), methods=["GET"]),
            Route("/account/sessions/revoke", revoke, methods=["POST"]),
            Route("/account/sessions/revoke-others", others, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        caller, cookie = await self._layout.caller(request)
        if caller.session is None:
            return self._sign_in_first()
        start = _number(request.query_params.get("orders"))
        async with self._database.unit() as unit:
            devices = await self._devices(unit, caller.session)
        store = self._store(request, caller.session)
        orders = await read_or_none(self._orders(store, caller.session, start), page="account")
        context = {
            "devices": devices,
            "orders": orders.items if orders is not None else None,
            "older": start + ORDERS if orders is not None and orders.cursor else None,
            "newer": max(0, start - ORDERS) if start else None,
            "done": request.query_params.get("done"),
        }
        return self._layout.answer(request, "account", context, caller=caller, cookie=cookie)

    async def _devices(self, unit: Unit, current: Session) -> list[Device]:
        others = await self._sessions.list_for(unit, current.identity.id, active=True, exclude=current.id)
        return [_device(current, current=True), *(_device(session, current=False) for session in others.items)]

    async def _orders(self, store: Store, session: Session, start: int) -> Page[Order]:
        engine, shopper = self._engines[store.engine], store.customer(str(session.identity.id))
        async with engine_session(engine, shopper, open_unit=self._database.unit) as bound:
            return await bound.orders.orders(offset=start, limit=ORDERS) if bound.orders is not None else Page(())

    def _store(self, request: Request, session: Session) -> Store:
        return self._stores.require(session.store) if session.store else self._authenticator.store_of(request)

    async def _revoke(self, request: Request) -> Response:
        caller, fields = await read_own_form(request, self._layout)
        if caller.session is None:
            return self._sign_in_first()
        session_id = require_uuid(str(fields.get("session")), otherwise=NotFound("There is no such session."))
        async with self._database.unit() as unit:
            await self._sessions.revoke_own(unit, caller.session, session_id, client=caller.client)
        return self._layout.go("/account?done=one#devices")

    async def _revoke_others(self, request: Request) -> Response:
        caller, _ = await read_own_form(request, self._layout)
        if caller.session is None:
            return self._sign_in_first()
        async with self._database.unit() as unit:
            await self._sessions.revoke_others(unit, caller.session, client=caller.client)
        return self._layout.go("/account?done=others#devices")

    def _sign_in_first(self) -> Response:
        back = urlencode({"return_to": f"{self._place.base_url}/account"})
        return self._layout.go(f"/self-service/login/browser?{back}")


def _device(session: Session, *, current: bool) -> Device:
    latest = session.devices[-1] if session.devices else None
    return Device(
        id=str(session.id),
        name=device_name(latest.user_agent if latest else ""),
        address=without_port(latest.ip_address) if latest else "",
        since=session.authenticated_at,
        until=session.expires_at,
        current=current,
    )


def _number(text: str | None) -> int:
    return min(int(text), LAST_ORDER) if text and text.isdecimal() and len(text) < 7 else 0
