"""All pages: what they need, and their routes."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import NotFound, Refusal
from shopkeeper.flows import stored_errors
from shopkeeper.flows.flow import RECOVERY, SETTINGS, VERIFICATION, Caller
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.flows.stored_errors import StoredError
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.pages.account import AccountPages
from shopkeeper.http.pages.account_actions import AccountActions
from shopkeeper.http.pages.address_undo import AddressUndoPages
from shopkeeper.http.pages.assets import Assets, DemoAssets
from shopkeeper.http.pages.end_session import EndSessionPage
from shopkeeper.http.pages.engine_reads import EngineReads
from shopkeeper.http.pages.flow_pages import FlowPages
from shopkeeper.http.pages.inbox import InboxPages
from shopkeeper.http.pages.language_choice import LanguageChoice
from shopkeeper.http.pages.layout import PageLayout, Place, Problem
from shopkeeper.http.pages.leaving import LeavingPage
from shopkeeper.http.pages.one_click import OneClickPages
from shopkeeper.http.pages.repeated_form import RepeatedForm
from shopkeeper.http.pages.shown_providers import ShownProviders
from shopkeeper.http.pages.templates import PageTemplates
from shopkeeper.identity.address_changes import AddressChanges
from shopkeeper.identity.service import Identities
from shopkeeper.identity.withdrawals import Withdrawals
from shopkeeper.notify.courier import Courier
from shopkeeper.parsing import uuid_or_none
from shopkeeper.sessions.service import Sessions
from shopkeeper.signin.new_devices import NewDevices
from shopkeeper.storage.database import Database


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What the configuration says about the pages.

    Args:
        base_url: our public address, with a path where an ingress adds one.
        shop_name: the heading of the pages.
        ui_urls: the address of the page of each kind of flow, which may be another server's.
        shortest_password: how many characters a new password needs at least.
        form_targets: the configured addresses that browsers may return to after a flow; `*.` may stand for hosts.
        demo: the demo shop's assets; without them, the first page describes the product.
        dev: whether there is an inbox page, and whether pages link to the tools of a development server.
        recovery: whether accounts can be recovered.
        verification: whether addresses can be confirmed.
        providers: the identity providers that customers may sign in with.
        leads_away: whether the paths of self-service of a store lead to another server, which has every flow.
        takes_passwords: whether a store takes a name and a password without a flow.
    """

    base_url: str
    shop_name: str
    ui_urls: Mapping[str, str]
    shortest_password: int
    form_targets: Collection[str] = ()
    demo: DemoAssets | None = None
    dev: bool = False
    recovery: bool = False
    verification: bool = False
    providers: ShownProviders = field(default_factory=ShownProviders)
    leads_away: Callable[[str], bool] = lambda store: False
    takes_passwords: Callable[[str], bool] = lambda store: True

    @property
    def offers_recovery(self) -> bool:
        """Whether the forms to sign in lead to recovery: it needs a page as well."""
        return self.recovery and RECOVERY in self.ui_urls

    @property
    def offers_verification(self) -> bool:
        """Whether the account page leads to verification."""
        return self.verification and VERIFICATION in self.ui_urls


class PageRoutes:
    """Every page.

    Attributes:
        one_click: the pages for the routes that mailed links lead to.
        leaving: the page between a form and another server.
        repeated_form: the page that posts another site's form once more.
    """

    def __init__(
        self,
        settings: PageSettings,
        *,
        database: Database,
        pipeline: Pipeline,
        callers: CallerReader,
        sessions: Sessions,
        identities: Identities,
        withdrawals: Withdrawals,
        reads: EngineReads,
        courier: Courier,
        devices: NewDevices,
        address_changes: AddressChanges,
    ) -> None:
        place = Place.at(settings.base_url)
        assets = Assets(demo=settings.demo)
        languages = LanguageChoice(database=database, sessions=sessions, identities=identities, home=f"{place.prefix}/")
        layout = PageLayout(
            templates=PageTemplates(always=_always(place, assets, settings)),
            callers=callers,
            sessions=sessions,
            place=place,
            languages=languages,
            form_targets=tuple(settings.form_targets),
            offers=lambda kind, store: settings.leads_away(store) or pipeline.offers(kind, store=store),
            takes_passwords=settings.takes_passwords,
        )
        self.one_click = OneClickPages(layout)
        self.leaving = LeavingPage(layout)
        self.repeated_form = RepeatedForm(layout)
        self._database = database
        self._layout = layout
        self._first_page = "shop" if settings.demo else "welcome"
        self._place = place
        self._assets = assets
        self._flows = FlowPages(
            kinds=[kind for kind in settings.ui_urls if kind != SETTINGS],
            pipeline=pipeline,
            reads=reads,
            layout=layout,
            place=place,
        )
        self._account = AccountPages(
            database=database,
            pipeline=pipeline,
            sessions=sessions,
            identities=identities,
            withdrawals=withdrawals,
            reads=reads,
            layout=layout,
            place=place,
            confirms_addresses=settings.offers_verification,
        )
        self._account_actions = AccountActions(
            database=database,
            pipeline=pipeline,
            sessions=sessions,
            layout=layout,
            place=place,
            verification_url=settings.ui_urls.get(VERIFICATION, ""),
        )
        self._end_session = EndSessionPage(database=database, devices=devices, layout=layout)
        self._undo = AddressUndoPages(
            database=database, address_changes=address_changes, layout=layout, place=place, recovery=settings.recovery
        )
        self._inbox = InboxPages(database=database, courier=courier, layout=layout) if settings.dev else None

    def routes(self) -> list[Route]:
        """List the routes of every page."""
        return [
            Route("/", self._layout.with_error_page(self._first), methods=["GET"]),
            *self._flows.routes(),
            *self._account.routes(),
            *self._end_session.routes(),
            *self._undo.routes(),
            *self._account_actions.routes(),
            Route("/signed-out", self._layout.with_error_page(self._signed_out), methods=["GET"]),
            Route("/error", self._layout.with_error_page(self._error), methods=["GET"]),
            *(self._inbox.routes() if self._inbox else ()),
            *self._assets.routes(),
        ]

    def picture_url(self, name: str) -> str:
        """Return the absolute address of a demo shop's picture, because other hosts' pages show it too."""
        return f"{self._place.base_url}/shop/pictures/{_quoted(name)}.svg?v={self._assets.pictures_version}"

    def refused(self, request: Request, refusal: Refusal) -> Response:
        """Render the error page, which does not know its reader."""
        return self._refused(request, refusal)

    async def not_served(self, request: Request, refusal: Refusal) -> Response:
        """Render the error page for an address that is not served, with the account of its reader, or the button of an
        agent who acts as a customer."""
        try:
            caller, _ = await self._layout.caller(request)
        except Refusal:  # the page does not depend on what is wrong with the caller
            return self._refused(request, refusal)
        known = caller.session is not None or caller.impersonation is not None
        return self._refused(request, refusal, caller=caller if known else None)

    def _refused(self, request: Request, refusal: Refusal, *, caller: Caller | None = None) -> Response:
        if isinstance(refusal, NotFound):
            problem = {"problem": _UNKNOWN}
            answer = self._layout.answer(request, "error", problem, caller=caller, status=refusal.status)
        else:
            answer = self._layout.refused(request, refusal, caller=caller)
        return self._layout.remembering(request, answer)

    async def refused_to_agent(self, request: Request, refusal: Refusal) -> Response:
        """Render a refusal for an agent who acts as a customer: the page has the button that ends it."""
        caller, cookie = await self._layout.caller(request)
        answer = self._layout.refused(request, refusal, caller=caller)
        if cookie:
            answer.headers.append("Set-Cookie", cookie)
        return self._layout.remembering(request, answer)

    async def _first(self, request: Request) -> Response:
        caller, _ = await self._layout.caller(request)
        return self._layout.answer(request, self._first_page, {}, caller=caller)

    async def _signed_out(self, request: Request) -> Response:
        caller, _ = await self._layout.caller(request)
        return self._layout.answer(request, "signed_out", {}, caller=caller)

    async def _error(self, request: Request) -> Response:
        """Show an error that was stored when a form or a link failed. An unknown id gets a page as well."""
        caller, _ = await self._layout.caller(request)
        problem = await self._kept_problem(request.query_params.get("id") or request.query_params.get("error") or "")
        return self._layout.answer(request, "error", {"problem": problem}, caller=caller)

    async def _kept_problem(self, error_id: str) -> Problem:
        async with self._database.unit() as unit:
            kept = await stored_errors.get(unit, uuid_or_none(error_id))
        return _told(kept) if kept else _UNKNOWN


_UNKNOWN = Problem(NotFound.status, NotFound.code, "")


def _told(kept: StoredError) -> Problem:
    sentence = kept.error.get("reason") or kept.error.get("message") or ""
    status, code = kept.error.get("code"), kept.wording.code if kept.wording else kept.error.get("id", "")
    return Problem(status if isinstance(status, int) else 500, str(code), str(sentence), kept.wording)


def _always(place: Place, assets: Assets, settings: PageSettings) -> Mapping[str, object]:
    return {
        "base": place.prefix,
        "home": place.home,
        "static": f"{place.prefix}/static/{assets.version}",
        "shop_name": settings.shop_name,
        "demo": settings.demo,
        "dev": settings.dev,
        "recovery": settings.offers_recovery,
        "shortest_password": settings.shortest_password,
        "shown_providers": settings.providers,
    }


_quoted = lru_cache(maxsize=4096)(quote)
