"""The pages of flows: `/login`, `/registration`, `/recovery`, `/verification`. They show a form, which is sent to
`/self-service`. The account page is the page of settings.

Without a flow, or with one that has ended or is another browser's, the browser is redirected to a new one.
"""

from collections.abc import Iterable
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.commerce.stores import STORE, TENANT
from shopkeeper.errors import FlowExpired, NotFound
from shopkeeper.flows.flow import LOGIN, VERIFICATION, Caller, Flow, FlowState, FlowType
from shopkeeper.flows.outcomes import FlowRefused
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.http.pages.engine_reads import EngineReads
from shopkeeper.http.pages.forms import Form, form_of
from shopkeeper.http.pages.layout import PageLayout, Place, masked
from shopkeeper.http.responses import redirect
from shopkeeper.identity.values import Aal

_PASSED_ON = ("return_to", "refresh", "aal", "identity_schema", STORE, TENANT)
# Marks the second request of a browser without cookies: it keeps none, and would otherwise be redirected for ever.
_COOKIE_CHECK = "cookies"


class FlowPages:
    """A page for every kind of flow, at the path of its name and rendered with the template of that name."""

    def __init__(
        self,
        *,
        kinds: Iterable[str],
        pipeline: Pipeline,
        reads: EngineReads,
        layout: PageLayout,
        place: Place,
    ) -> None:
        self._kinds = tuple(kinds)
        self._pipeline = pipeline
        self._reads = reads
        self._layout = layout
        self._place = place

    def routes(self) -> list[Route]:
        """List the routes."""
        return [self._route(kind) for kind in self._kinds]

    def _route(self, kind: str) -> Route:
        async def show(request: Request) -> Response:
            return await self._show(request, kind)

        return Route(f"/{kind}", self._layout.with_error_page(show), methods=["GET"])

    async def _show(self, request: Request, kind: str) -> Response:
        caller, cookie = await self._layout.caller(request)
        query = {name: request.query_params[name] for name in _PASSED_ON if name in request.query_params}
        flow_id = request.query_params.get("flow")
        if not flow_id:
            return self._without_flow(request, kind, caller, cookie, query)
        try:
            flow = await self._pipeline.fetch(kind, flow_id, caller)
        except NotFound:
            return self._afresh(kind, query)
        except FlowRefused as refused:
            return self._refused(refused, kind, caller, cookie, query)
        return await self._show_flow(request, flow, caller)

    def _refused(
        self, refused: FlowRefused, kind: str, caller: Caller, cookie: str | None, query: dict[str, str]
    ) -> Response:
        if isinstance(refused.refusal, FlowExpired):
            return self._afresh(kind, {**refused.flow.opened_with, **query})
        if cookie:
            return self._check_cookies(kind, query, cookie)
        return self._afresh(kind, {**self._asked(refused.flow, caller), **query})

    def _asked(self, flow: Flow, caller: Caller) -> dict[str, str]:
        """Return the parameters of another browser's flow that this browser may keep.

        These are its store, and its return address for a caller who has signed in in another tab meanwhile and is
        redirected there.
        """
        target = {"return_to": flow.return_to} if flow.return_to and caller.session is not None else {}
        return {**target, **flow.store_query}

    def _without_flow(
        self, request: Request, kind: str, caller: Caller, cookie: str | None, query: dict[str, str]
    ) -> Response:
        if cookie and _COOKIE_CHECK in request.query_params:
            return self._layout.answer(request, "no_cookies", {"kind": kind}, caller=caller)
        return self._afresh(kind, query)

    async def _show_flow(self, request: Request, flow: Flow, caller: Caller) -> Response:
        caller = self._pipeline.caller_in(flow, caller)
        further = {"return_to": flow.return_to or "", **flow.store_query}
        passed = flow.state is FlowState.PASSED_CHALLENGE
        if flow.type is FlowType.API or (flow.finished_at is not None and not passed):
            return self._afresh(flow.kind, further)
        if _has_no_use(flow, caller):
            return redirect(flow.return_to or self._pipeline.landing(flow.kind))
        form = form_of(
            flow.nodes,
            flow.shown_messages,
            action=f"{self._place.prefix}/self-service/{flow.kind}?{flow.submit_query}",
            csrf_token=masked(caller.csrf_for(flow)),
        )
        context = {
            "form": form,
            "flow_state": flow.state.value,
            "refresh": flow.refresh,
            "links": flow.links,
            "cart_stays": await self._has_cart(caller, page=flow.kind),
            "query": _query(further),
            "another_way": self._another_way(flow, form),
        }
        return self._layout.answer(request, flow.kind, context, caller=caller)

    def _another_way(self, flow: Flow, form: Form) -> str | None:
        """Return where to open another flow like this one, if an address was given that is no field any more: it may be
        mistyped. Who only confirms a session gave none, and the second step of a registration has a button back."""
        later = flow.state is FlowState.SENT_EMAIL or (flow.kind == LOGIN and not flow.refresh)
        if not form.addresses or not later:
            return None
        return f"{self._place.prefix}/self-service/{flow.kind}/browser{_query(flow.opened_with)}"

    async def _has_cart(self, caller: Caller, *, page: str) -> bool:
        """Return whether a guest has a cart with items.

        False where the engine refuses, fails or does not answer in time: the form is shown in any case.
        """
        if caller.guest is None:
            return False
        cart = await self._reads.cart_of(caller.guest, store=caller.store, page=page)
        return cart is not None and cart.quantity > 0

    def _afresh(self, kind: str, query: dict[str, str]) -> Response:
        return self._layout.go(f"/self-service/{kind}/browser{_query(query)}")

    def _check_cookies(self, kind: str, query: dict[str, str], cookie: str) -> Response:
        return self._layout.go(f"/{kind}{_query({**query, _COOKIE_CHECK: 'asked'})}", cookie=cookie)


def _has_no_use(flow: Flow, caller: Caller) -> bool:
    """Return whether the caller is signed in, and the flow would do no more than that."""
    if flow.kind == VERIFICATION or caller.session is None:
        return False
    return not flow.refresh and flow.requested_aal is Aal.AAL1


def _query(fields: dict[str, str]) -> str:
    given = {name: value for name, value in fields.items() if value}
    return f"?{urlencode(given)}" if given else ""
