"""The account page: the customer who is signed in, and what they can change. It is the page of the settings flow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import NotFound
from shopkeeper.flows.flow import SETTINGS, Caller, Flow
from shopkeeper.flows.outcomes import FlowRefused
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.http.pages.devices import Device, device_of
from shopkeeper.http.pages.engine_reads import EngineReads
from shopkeeper.http.pages.forms import Form, forms_by_group
from shopkeeper.http.pages.layout import PageLayout, Place, masked
from shopkeeper.http.pages.linked_accounts import GROUP as LINKED
from shopkeeper.http.pages.linked_accounts import linked_accounts
from shopkeeper.identity.service import Identities
from shopkeeper.identity.withdrawals import Withdrawals
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Database, Unit

ORDERS: Final = 10
LAST_ORDER: Final = 10_000
RECOVERED: Final = 1060001
"""The message that asks for a new password, after a recovery."""


class AccountPages:
    """The route of the account page.

    Args:
        confirms_addresses: whether addresses can be confirmed by mail.
    """

    def __init__(
        self,
        *,
        database: Database,
        pipeline: Pipeline,
        sessions: Sessions,
        identities: Identities,
        withdrawals: Withdrawals,
        reads: EngineReads,
        layout: PageLayout,
        place: Place,
        confirms_addresses: bool,
    ) -> None:
        self._database = database
        self._pipeline = pipeline
        self._sessions = sessions
        self._identities = identities
        self._withdrawals = withdrawals
        self._reads = reads
        self._layout = layout
        self._place = place
        self._confirms_addresses = confirms_addresses

    def routes(self) -> list[Route]:
        """List the routes."""
        return [Route("/account", self._layout.with_error_page(self._show), methods=["GET"])]

    async def _show(self, request: Request) -> Response:
        """Show the page of a settings flow. Without one, or after its end, the browser is redirected to a new one."""
        caller, cookie = await self._layout.caller(request)
        session = caller.session
        if session is None:
            return self._sign_in_first()
        if session.actor is not None:
            context = {**_NO_FORMS, **await self._of_agent(request, session, store=session.store or caller.store)}
            return self._layout.answer(request, "account", context, caller=caller, cookie=cookie)
        try:
            flow = await self._pipeline.fetch(SETTINGS, request.query_params.get("flow"), caller)
        except (NotFound, FlowRefused):
            return self._layout.go(f"/self-service/{SETTINGS}/browser{_kept(request)}", cookie=cookie)
        context = {
            **self._forms(flow, caller),
            **await self._account(session),
            **await self._orders(request, session, store=session.store or caller.store),
            "confirms_addresses": self._confirms_addresses,
            "done": request.query_params.get("done"),
            "flow": str(flow.id),
        }
        caller = replace(caller, locale=self._pipeline.caller_in(flow, caller).locale)
        return self._layout.answer(request, "account", context, caller=caller, cookie=cookie)

    def _forms(self, flow: Flow, caller: Caller) -> dict[str, object]:
        """Return a form for each part of the account that can be changed, and the messages above all of them."""
        forms = forms_by_group(
            flow.nodes,
            action=f"{self._place.prefix}/self-service/{SETTINGS}?{flow.submit_query}",
            csrf_token=masked(caller.csrf_for(flow)),
        )
        focused = any(part.focused for form in forms.values() for part in form.parts)
        told = Form(action="", parts=(), messages=flow.messages, focus_messages=bool(flow.messages) and not focused)
        return {
            "forms": forms,
            "first": _first(flow, forms),
            "linked": linked_accounts(forms[LINKED].parts) if LINKED in forms else (),
            "told": told,
            "wrong": told.wrong or any(form.wrong for form in forms.values()),
        }

    async def _account(self, session: Session) -> dict[str, object]:
        async with self._database.reading() as unit:
            identity = await self._identities.require(unit, session.identity.id, credentials=True)
            devices = await self._devices(unit, session)
            has_password = "password" in identity.factors
            ended = not has_password and await self._withdrawals.ended(unit, identity.id, "password")
        return {
            "devices": devices,
            "addresses": identity.verifiable_addresses,
            "has_password": has_password,
            "password_ended": ended,
        }

    async def _of_agent(self, request: Request, session: Session, *, store: str) -> dict[str, object]:
        """Return what an agent sees of the account of a customer: the orders, and no forms."""
        return {
            **await self._orders(request, session, store=store),
            "devices": [],
            "addresses": [],
            "has_password": True,
            "password_ended": False,
            "confirms_addresses": False,
            "done": None,
            "flow": "",
        }

    async def _devices(self, unit: Unit, current: Session) -> Sequence[Device]:
        others = await self._sessions.list_for(unit, current.identity.id, active=True, exclude=current.id)
        return [device_of(current, current=True), *(device_of(session, current=False) for session in others.items)]

    async def _orders(self, request: Request, session: Session, *, store: str) -> dict[str, object]:
        """Return a page of the customer's orders; None for them where the engine does not answer."""
        start = _number(request.query_params.get("orders"))
        orders = await self._reads.orders_of(
            session.identity.id, store=store, offset=start, limit=ORDERS, page="account"
        )
        return {
            "orders": orders.items if orders is not None else None,
            "older": start + ORDERS if orders is not None and orders.cursor else None,
            "newer": max(0, start - ORDERS) if start else None,
        }

    def _sign_in_first(self) -> Response:
        back = urlencode({"return_to": f"{self._place.base_url}/account"})
        return self._layout.go(f"/self-service/login/browser?{back}")


_NO_FORMS: Final[Mapping[str, object]] = {
    "forms": {},
    "first": None,
    "linked": (),
    "told": Form(action="", parts=()),
    "wrong": False,
}


def _first(flow: Flow, forms: Mapping[str, Form]) -> str | None:
    """Return the form that comes first on the page: one with a mistake, or a new password after a recovery."""
    asked = "password" if any(message.id == RECOVERED for message in flow.messages) else None
    wrong = (group for group, form in forms.items() if form.wrong and group != LINKED)
    return next(wrong, asked if asked in forms else None)


def _kept(request: Request) -> str:
    """Return the parameters of the page that a new flow is opened with."""
    kept = {name: request.query_params[name] for name in ("return_to",) if name in request.query_params}
    return f"?{urlencode(kept)}" if kept else ""


def _number(text: str | None) -> int:
    return min(int(text), LAST_ORDER) if text and text.isdecimal() and len(text) < 7 else 0
