"""The layout of every page: the customer who is signed in, the reader's language, the headers that isolate the page."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from shopkeeper import crypto
from shopkeeper.errors import Refusal, Wording
from shopkeeper.flows.flow import LOGIN, RECOVERY, REGISTRATION, Caller
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.pages.language_choice import LanguageChoice
from shopkeeper.http.pages.templates import PageTemplates
from shopkeeper.http.responses import NO_STORE, redirect
from shopkeeper.sessions.service import Sessions

PageEndpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Place:
    """Our public address: `base_url` without a slash at its end, and `prefix`, its path.

    Links are built from the prefix, never from a request. So they stay on the host of the page, and below the path that
    an ingress may add.
    """

    base_url: str

    @classmethod
    def at(cls, base_url: str) -> "Place":
        return cls(base_url.rstrip("/"))

    @property
    def prefix(self) -> str:
        return urlsplit(self.base_url).path

    @property
    def home(self) -> str:
        """The absolute address of our first page, for `return_to`."""
        return f"{self.base_url}/"


class PageLayout:
    """Responds with pages.

    Args:
        languages: offers the languages, and keeps the one that a customer chooses.
        form_targets: addresses that the response to a form may redirect to: where browsers may return to.
        offers: whether a store has flows of a name, so that pages lead to no others.
        takes_passwords: whether a store takes a name and a password without a flow, as the demo shop's dialogs do.
    """

    def __init__(
        self,
        *,
        templates: PageTemplates,
        callers: CallerReader,
        sessions: Sessions,
        place: Place,
        languages: LanguageChoice,
        form_targets: Iterable[str],
        offers: Callable[[str, str], bool],
        takes_passwords: Callable[[str], bool],
    ) -> None:
        self._templates = templates
        self._callers = callers
        self._sessions = sessions
        self._place = place
        self._languages = languages
        self._offers, self._takes_passwords = offers, takes_passwords
        self._own = f"'self' {_origin(place.base_url)}"
        targets = ["'self'", _origin(place.base_url), *(_origin(url) for url in form_targets)]
        self._forms = " ".join(dict.fromkeys(targets))

    async def caller(self, request: Request) -> tuple[Caller, str | None]:
        """Return the caller with an anti-CSRF token, and the cookie to set if the token is new.

        A language that a signed-in customer chooses is kept.
        """
        caller = await self._callers.of(request)
        await self._languages.remember(request, caller)
        return self._callers.with_csrf(caller)

    def sent_by_own_page(self, request: Request) -> bool:
        """Return whether a form or link of a page at our own address makes the request."""
        return self._callers.is_own_page(request)

    def answer(
        self,
        request: Request,
        name: str,
        context: Mapping[str, Any],
        *,
        caller: Caller | None = None,
        status: int = 200,
        cookie: str | None = None,
        inline_styles: bool = False,
    ) -> Response:
        """Render a page. Allow inline styles only where foreign HTML is shown in a frame without scripts."""
        language = caller.locale if caller is not None else self._callers.language_of(request)
        store = caller.store if caller is not None else self._callers.store_of(request)
        whole = {
            **self._offered(store),
            **self._signed_in(caller),
            "languages": self._languages.links(request),
            **context,
        }
        answer = Response(
            self._templates.render(name, whole, language=language), status, media_type="text/html; charset=utf-8"
        )
        answer.headers.update(self._headers(language, inline_styles=inline_styles))
        if cookie:
            answer.headers.append("Set-Cookie", cookie)
        return answer

    def with_error_page(self, endpoint: PageEndpoint) -> PageEndpoint:
        """Wrap an endpoint to show refusals as a page, and to remember the language that the request chooses."""

        async def answered(request: Request) -> Response:
            try:
                answer = await endpoint(request)
            except Refusal as refusal:
                answer = self.refused(request, refusal)
            return self.remembering(request, answer)

        return answered

    def remembering(self, request: Request, answer: Response) -> Response:
        """Have a response set the cookie of the language that the request chooses."""
        if cookie := self._callers.language_cookie(request):
            answer.headers.append("Set-Cookie", cookie)
        return answer

    def refused(self, request: Request, refusal: Refusal, *, caller: Caller | None = None) -> Response:
        """Render a refusal as a page, which knows its reader only where the caller is given."""
        problem = Problem(refusal.status, refusal.code, refusal.sentence, refusal.wording)
        answer = self.answer(request, "error", {"problem": problem}, caller=caller, status=refusal.status)
        answer.headers.update(refusal.headers)
        return answer

    def go(self, path: str, *, cookie: str | None = None) -> Response:
        """Redirect to another of our pages."""
        answer = redirect(f"{self._place.prefix}{path}")
        answer.headers["Cache-Control"] = NO_STORE
        if cookie:
            answer.headers.append("Set-Cookie", cookie)
        return answer

    def _offered(self, store: str | None) -> dict[str, Any]:
        """Return which flows the pages of a store lead to. Whether there is recovery at all, the templates know."""
        missing = [kind for kind in (LOGIN, REGISTRATION, RECOVERY) if store and not self._offers(kind, store)]
        recovery = {"recovery": False} if RECOVERY in missing else {}
        return {
            "signs_in": LOGIN not in missing,
            "registers": REGISTRATION not in missing,
            "takes_passwords": not store or self._takes_passwords(store),
            **recovery,
        }

    def _signed_in(self, caller: Caller | None) -> dict[str, Any]:
        session, csrf_token = (caller.session, masked(caller.csrf)) if caller else (None, "")
        acting = caller is not None and caller.impersonation is not None
        if session is None:
            return {"signed_in": None, "sign_out_link": None, "csrf_token": csrf_token, "acting": acting}
        link = f"{self._place.prefix}/self-service/logout?token={self._sessions.logout_token(session)}"
        return {"signed_in": session.identity, "sign_out_link": link, "csrf_token": csrf_token, "acting": acting}

    def _headers(self, language: str, *, inline_styles: bool) -> dict[str, str]:
        return {
            "Cache-Control": NO_STORE,
            "Content-Language": language,
            "Content-Security-Policy": self._policy(styles="'self' 'unsafe-inline'" if inline_styles else "'self'"),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            "Referrer-Policy": "same-origin",
            "Vary": "Accept-Language, Cookie",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }

    def _policy(self, *, styles: str) -> str:
        """Return the content security policy: all from our own origin.

        Pictures have absolute addresses with the public host.
        """
        return "; ".join(
            [
                "default-src 'self'",
                "script-src 'self'",
                f"style-src {styles}",
                f"img-src {self._own} data:",
                "object-src 'none'",
                "base-uri 'none'",
                f"form-action {self._forms}",
                "frame-ancestors 'none'",
                "require-trusted-types-for 'script'",
            ]
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, as the error page shows it."""

    status: int
    code: str
    sentence: str
    wording: Wording | None = None


def masked(token: bytes | None) -> str:
    """Return the anti-CSRF token for a form, masked differently each time."""
    return crypto.mask(token) if token else ""


def _origin(url: str) -> str:
    """Return an address as a source of a content security policy: scheme, host and port. `*.` may precede the host. Of
    an app's address it is the scheme."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}"
