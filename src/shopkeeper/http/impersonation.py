"""The browser of an agent: the link that sets the cookie, and the button that ends acting as a customer.

A link works once, for a minute, and holds the token sealed, so that an address in a history is worth nothing. Opening
it changes nothing: it shows whom the agent will act as, and a button. So no program that looks ahead spends it, and no
other site's page can make a browser act.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.clock import Clock
from shopkeeper.crypto import new_csrf_token
from shopkeeper.errors import NotFound
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.pages.layout import PageLayout
from shopkeeper.http.pages.one_click import OneClickPages, Purpose
from shopkeeper.http.pages.own_forms import read_own_form
from shopkeeper.sessions.impersonation import Impersonations, UsedLink
from shopkeeper.sessions.impersonation_store import Kind
from shopkeeper.storage.database import Database

PATH: Final = "/impersonation"
LONGEST_LINK: Final = 1_000


class ImpersonationRoutes:
    """The routes of an agent's browser."""

    def __init__(
        self,
        *,
        database: Database,
        impersonations: Impersonations,
        one_click: OneClickPages,
        cookies: CookiePolicy,
        clock: Clock,
        prefix: str,
    ) -> None:
        self._database = database
        self._impersonations = impersonations
        self._one_click = one_click
        self._layout: PageLayout = one_click.layout
        self._cookies = cookies
        self._clock = clock
        self._prefix = prefix

    def routes(self) -> list[Route]:
        """List the routes."""
        safe = self._layout.with_error_page
        return [
            Route(PATH, safe(self._ask), methods=["GET"]),
            Route(PATH, safe(self._begin), methods=["POST"]),
            Route(f"{PATH}/end", safe(self._end), methods=["POST"]),
        ]

    async def _ask(self, request: Request) -> Response:
        link = request.query_params.get("link", "")
        if not link or len(link) > LONGEST_LINK:
            return await self._one_click.over(request, Purpose.IMPERSONATION)
        return await self._one_click.ask(
            request, Purpose.IMPERSONATION, action=f"{self._prefix}{PATH}", fields={"link": link}
        )

    async def _begin(self, request: Request) -> Response:
        _, fields = await read_own_form(request, self._layout)
        link = str(fields.get("link", ""))
        try:
            async with self._database.unit() as unit:
                used = await self._impersonations.follow_link(unit, link[:LONGEST_LINK])
        except NotFound:
            return await self._one_click.over(request, Purpose.IMPERSONATION)
        answer = self._layout.go("/" if used.impersonation.kind is Kind.GUEST else "/account")
        for cookie in self._set(used):
            answer.headers.append("Set-Cookie", cookie)
        return answer

    async def _end(self, request: Request) -> Response:
        caller, _ = await read_own_form(request, self._layout)
        answer = self._layout.go("/signed-out")
        if caller.impersonation is None:
            return answer
        async with self._database.unit() as unit:
            found = await self._impersonations.require(unit, caller.impersonation)
            await self._impersonations.end(unit, found.id, by=found.actor.subject, client=caller.client)
        gone = self._cookies.delete_visit(store=found.store) if found.kind is Kind.GUEST else ()
        for cookie in (*gone, *self._cookies.sign_out(new_csrf=new_csrf_token())):
            answer.headers.append("Set-Cookie", cookie)
        return answer

    def _set(self, used: UsedLink) -> list[str]:
        """Return the cookies of a browser that begins. Forms opened by its former visitor are refused."""
        about, now, csrf = used.impersonation, self._clock.now(), self._cookies.set_csrf(new_csrf_token())
        if about.kind is Kind.CUSTOMER:
            return [self._cookies.set_session(used.token, expires_at=about.expires_at, now=now, kept=False), csrf]
        visit = self._cookies.set_visit(used.token, store=about.store, expires_at=about.expires_at, now=now)
        return [*self._cookies.delete_session(), visit, csrf]
