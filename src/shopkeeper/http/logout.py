"""The routes that sign a browser or an app out: `/self-service/logout`.

Source: contract page section 2.3; OpenID Connect RP-Initiated Logout 1.0 for the way over the provider.
"""

from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper import crypto
from shopkeeper.errors import (
    InvalidInput,
)
from shopkeeper.flows.flow import Caller
from shopkeeper.flows.logout import Logout, SignedOut
from shopkeeper.flows.provider_logout import CALLBACK
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.error_page import ErrorPage
from shopkeeper.http.requests import parse_fields, prefers_json, read_body
from shopkeeper.http.responses import empty_response, json_response, redirect
from shopkeeper.http.selfservice import Leaving
from shopkeeper.http.speculation import RefusedPage, is_speculative, refuse_speculative
from shopkeeper.storage.database import Database

PROVIDER_LOGOUT: Final = "provider_logout"
"""The query parameter by which a JSON client asks for the address where the provider signs out, with `true`."""


class LogoutRoutes:
    """The routes of the logout."""

    def __init__(
        self,
        *,
        database: Database,
        logout: Logout,
        callers: CallerReader,
        cookies: CookiePolicy,
        error_page: ErrorPage,
        base_url: str,
        max_body: int,
        leaving: Leaving,
        refused_page: RefusedPage,
    ) -> None:
        self._database = database
        self._logout = logout
        self._callers = callers
        self._cookies = cookies
        self._error_page = error_page
        self._base_url = base_url
        self._max_body = max_body
        self._leaving = leaving
        self._refused_page = refused_page

    def routes(self) -> list[Route]:
        """List the routes."""
        html_safe = self._error_page.html_safe
        return [
            Route("/self-service/logout/browser", html_safe(self._link), methods=["GET"]),
            Route("/self-service/logout/api", self._native, methods=["DELETE"]),
            Route("/self-service/logout", html_safe(self._by_link), methods=["GET"]),
            Route(CALLBACK, html_safe(self._back_from_provider), methods=["GET"]),
        ]

    async def _link(self, request: Request, caller: Caller) -> Response:
        return_to = request.query_params.get("return_to")
        token = self._logout.token(caller, return_to=return_to)
        url = f"{self._base_url}/self-service/logout?token={token}"
        return json_response({"logout_url": self._callers.add_return_to(url, return_to), "logout_token": token})

    async def _by_link(self, request: Request, caller: Caller) -> Response:
        """Sign out by a link of a page. A request of a browser that fetches links ahead ends no session."""
        if request.method == "HEAD":
            return empty_response(200)
        if is_speculative(request):
            return refuse_speculative(request, self._refused_page)
        query = request.query_params
        async with self._database.unit() as unit:
            signed_out = await self._logout.by_link(
                unit, caller, token=query.get("token", ""), return_to=query.get("return_to")
            )
        answer = await self._answer(request, caller, signed_out)
        if self._callers.carries_session_cookie(request):
            for cookie in self._cookies.sign_out(new_csrf=crypto.new_csrf_token()):
                answer.headers.append("Set-Cookie", cookie)
        return answer

    async def _answer(self, request: Request, caller: Caller, signed_out: SignedOut) -> Response:
        """Lead the browser on, to the provider where that is configured. The contract answers JSON clients with 204;
        those that ask for it learn the provider's address."""
        as_json = prefers_json(request.headers)
        if as_json and request.query_params.get(PROVIDER_LOGOUT) != "true":
            return empty_response()
        at_provider = await self._logout.at_provider(signed_out)
        if as_json:
            return json_response({"redirect_browser_to": at_provider}) if at_provider else empty_response()
        if at_provider is None:
            return redirect(signed_out.next, body=True)
        # A form of ours may have led here ("sign out everywhere"), whose page lets it redirect to no other server.
        return self._leaving(redirect(at_provider), request, replace(caller, session=None, former=None))

    async def _back_from_provider(self, request: Request, caller: Caller) -> Response:
        """Lead a browser on that a provider has signed out. Nothing ends here, because the address is not secret."""
        return redirect(self._logout.after_provider(request.query_params.get("state", "")), body=True)

    async def _native(self, request: Request) -> Response:
        fields = parse_fields(await read_body(request, limit=self._max_body), "application/json")
        token = fields.get("session_token")
        if token is not None and not isinstance(token, str):
            raise InvalidInput("The field 'session_token' must be a text.")
        caller = await self._callers.of(request)
        async with self._database.unit() as unit:
            await self._logout.native(unit, caller, session_token=token or "")
        return empty_response()
