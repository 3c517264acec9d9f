"""Reads the caller of a flow: a request as a `Caller`, for all self-service routes and pages."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.crypto import new_csrf_token
from shopkeeper.errors import Refusal, StoreUnknown
from shopkeeper.flows.flow import Caller
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.cookies import CONTINUITY, CookiePolicy, Cookies, csrf_token_in
from shopkeeper.http.origins import Origins, Sender
from shopkeeper.http.responses import error_response
from shopkeeper.http.speculation import is_speculative
from shopkeeper.languages.choice import LANGUAGE_PARAMETER, SOURCE, offered, storable

# A proxy in front of us adds these cookies to every request, so they do not show that a browser sent it.
_PROXY_COOKIES = ("__cf", "_cf", "cf_")
_KNOWN_PAGES = frozenset({Sender.OWN_PAGE, Sender.TRUSTED_PAGE})
_SAYS_PAGE = ("origin", "sec-fetch-site")


class CallerReader:
    """Reads requests of self-service flows.

    Args:
        authenticator: reads client, session, guests and store.
        form_origins: the origins whose pages may send forms: of our pages, and of those that are configured.
    """

    def __init__(
        self,
        *,
        authenticator: RequestAuthenticator,
        cookies: CookiePolicy,
        form_origins: Origins,
        clock: Clock,
        base_url: str,
    ) -> None:
        self._authenticator = authenticator
        self._cookies = cookies
        self._form_origins = form_origins
        self._clock = clock
        self._base_url = base_url.rstrip("/")

    async def of(self, request: Request) -> Caller:
        """Return the caller. An invalid token is not refused here: the caller then has no session.

        Raises `StoreUnknown`.
        """
        authenticator = self._authenticator
        store, cookies = authenticator.store_of(request), authenticator.cookies_of(request)
        session, sender = await authenticator.session_of(request), authenticator.sender_of(request, self._form_origins)
        caller = Caller(
            client=authenticator.client_of(request),
            store=store.id,
            wished_language=authenticator.wished_language_of(request),
            csrf_tokens=self._csrf_tokens(cookies),
            from_browser="origin" in request.headers
            or _has_cookies(authenticator.cookie_lines_of(request), but=self._cookies.callback_name),
            session=session,
            former=await authenticator.any_session_of(request),
            guests=await authenticator.guests_of(request),
            callback_cookies=cookies.get(self._cookies.callback_name, ()),
            continuity_cookies=cookies.get(CONTINUITY, ()),
            from_foreign_page=sender is Sender.FOREIGN_PAGE,
            # `Referer` alone is not enough: some programs between browser and server change it.
            from_known_page=sender in _KNOWN_PAGES and any(name in request.headers for name in _SAYS_PAGE),
            doubles=await authenticator.doubles_of(request),
            impersonation=await authenticator.impersonation_of(request),
        )
        return caller.speaking(default=offered(store.locale))

    def is_own_page(self, request: Request) -> bool:
        """Return whether a browser says that a page at our own address makes the request."""
        return self._authenticator.sender_of(request, self._form_origins) is Sender.OWN_PAGE

    def client_of(self, request: Request) -> Client:
        """Return the client of a request."""
        return self._authenticator.client_of(request)

    def _csrf_tokens(self, cookies: Cookies) -> tuple[bytes, ...]:
        """Return the values of the anti-CSRF cookie; none where a cookie that browsers keep once comes twice."""
        values = cookies.get(self._cookies.csrf_name, ())
        if self._cookies.prefix and len(values) > 1:
            return ()
        return tuple(token for value in values if (token := csrf_token_in(value)))

    def carries_session_cookie(self, request: Request) -> bool:
        """Return whether the request has a session cookie, valid or not: signing out deletes it."""
        return self._cookies.session_name in self._authenticator.cookies_of(request)

    def rests_from_silent_sign_on(self, request: Request) -> bool:
        """Return whether the browser has tried a silent sign-on lately, or has signed out."""
        return self._cookies.silence_name in self._authenticator.cookies_of(request)

    def with_csrf(self, caller: Caller, *, when: bool = True) -> tuple[Caller, str | None]:
        """Return the caller with an anti-CSRF token, and the cookie to set if it had none."""
        if caller.csrf is not None or not when:
            return caller, None
        token = new_csrf_token()
        return replace(caller, csrf_tokens=(token,)), self._cookies.set_csrf(token)

    def with_fresh_csrf(self, caller: Caller) -> Caller:
        """Return the caller with a token for a flow that takes the place of another one. A page of another site gets
        none: browsers keep their cookie back from it, and must not lose it to the answer."""
        if caller.csrf is not None or caller.from_foreign_page:
            return caller
        return replace(caller, fresh_csrf=new_csrf_token())

    def public_url(self, request: Request) -> str:
        """Return the request's public address: from the configured base URL, never from `Host`."""
        query = request.scope["query_string"].decode("latin-1")
        path = request.scope["path"]
        return f"{self._base_url}{quote(path)}" + (f"?{query}" if query else "")

    def add_return_to(self, url: str, return_to: str | None) -> str:
        """Return the address with a `return_to`, if there is one."""
        return f"{url}&return_to={quote(return_to, safe='')}" if return_to else url

    def language_of(self, request: Request) -> str:
        """Return the language of what the sender of a request reads."""
        return self._authenticator.language_of(request)

    def store_of(self, request: Request) -> str | None:
        """Return the id of the store of a request; None where it names one that there is not."""
        try:
            return self._authenticator.store_of(request).id
        except StoreUnknown:
            return None

    def language_cookie(self, request: Request) -> str | None:
        """Return the cookie that remembers the language that a request chooses; None where it chooses none."""
        chosen = chosen_language(request)
        return self._cookies.set_language(chosen) if chosen is not None else None

    def refuse(self, refusal: Refusal, *, headers: Mapping[str, str] | None = None, language: str = SOURCE) -> Response:
        """Return a refusal in the contract's shape, in a language."""
        answer = error_response(refusal, clock=self._clock, language=language)
        answer.headers.update(dict(headers or {}))
        return answer


def chosen_language(request: Request) -> str | None:
    """Return the language that the address of a request chooses; None for a request that only looks ahead."""
    chosen = storable(request.query_params.get(LANGUAGE_PARAMETER))
    return None if chosen is None or is_speculative(request) else chosen


def _has_cookies(lines: Iterable[str], *, but: str) -> bool:
    """Return whether there is any cookie, readable or not, besides those of a proxy, and the one that binds an app that
    comes back by itself: native apps never send another one."""
    pairs = (pair.strip() for line in lines for pair in line.split(";"))
    return any(pair and not pair.startswith((*_PROXY_COOKIES, f"{but}=")) for pair in pairs)
