"""Who takes part in a flow: a request read into a `Caller`, once, for every self-service door."""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from shopkeeper.clock import Clock
from shopkeeper.errors import Refusal
from shopkeeper.flows.flow import Caller
from shopkeeper.http.answering import refusal_answer
from shopkeeper.http.visitors import Visitors
from shopkeeper.sessions.cookies import CookiePolicy, cookies_in, csrf_token_in, new_csrf_token

# Cookies that a proxy in front of us adds to every request; they say nothing about who sends it.
_PROXY_COOKIES = ("__cf", "_cf", "cf_")


class Callers:
    """Reads requests of self-service flows. `visitors` reads what all doors share: client, session, guest, store."""

    def __init__(self, *, visitors: Visitors, cookies: CookiePolicy, clock: Clock, base_url: str) -> None:
        self._visitors = visitors
        self._cookies = cookies
        self._clock = clock
        self._base_url = base_url.rstrip("/")

    async def of(self, request: Request) -> Caller:
        """The caller, as plain facts. A token that is not valid is no session; it is not refused here."""
        cookies = cookies_in(request.headers.getlist("cookie"))
        store = self._visitors.store_of(request)
        return Caller(
            client=self._visitors.client_of(request),
            store=store.id,
            locale=store.locale,
            csrf=csrf_token_in(cookies.get(self._cookies.csrf_name)),
            from_browser=_sent_by_browser(request),
            session=await self._visitors.session_of(request),
            former=await self._visitors.any_session_of(request),
            guests=self._visitors.guests_of(request),
        )

    def carries_session_cookie(self, request: Request) -> bool:
        """Whether there is a session cookie with the request, good or not: one to take away at signing out."""
        return self._cookies.session_name in cookies_in(request.headers.getlist("cookie"))

    def with_csrf(self, caller: Caller, *, when: bool = True) -> tuple[Caller, str | None]:
        """The caller with an anti-CSRF token, and the cookie to set where there was none."""
        if caller.csrf is not None or not when:
            return caller, None
        token = new_csrf_token()
        return replace(caller, csrf=token), self._cookies.csrf_line(token)

    def public_url(self, request: Request) -> str:
        """The request's own address as the public sees it: from the configured base URL, never from `Host`."""
        query = request.scope["query_string"].decode("latin-1")
        path = request.scope["path"]
        return f"{self._base_url}{quote(path)}" + (f"?{query}" if query else "")

    def add_return_to(self, url: str, return_to: str | None) -> str:
        """The address with a `return_to` of its own."""
        return f"{url}&return_to={quote(return_to, safe='')}" if return_to else url

    def refuse(self, refusal: Refusal, *, headers: Mapping[str, str] | None = None) -> Response:
        """A refusal in the contract's shape."""
        answer = refusal_answer(refusal, clock=self._clock)
        answer.headers.update(dict(headers or {}))
        return answer


def _sent_by_browser(request: Request) -> bool:
    """Whether there is an `Origin` or any cookie, readable or not, but those of a proxy: apps never send either."""
    pairs = (pair.strip() for line in request.headers.getlist("cookie") for pair in line.split(";"))
    return "origin" in request.headers or any(pair and not pair.startswith(_PROXY_COOKIES) for pair in pairs)
