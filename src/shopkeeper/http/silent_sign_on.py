"""The route by which a page of the shop signs its visitor on silently.

    GET /self-service/methods/oidc/silent-sign-on/{provider}?return_to=...

It is a route of its own, not a parameter of `/self-service/login/browser`: that one always leads to a form.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shopkeeper.errors import InvalidInput
from shopkeeper.flows.flow import Caller
from shopkeeper.flows.return_to import LONGEST as LONGEST_RETURN_TO
from shopkeeper.flows.silent_sign_on import SilentSignOn
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.error_page import ErrorPage
from shopkeeper.http.responses import redirect
from shopkeeper.http.speculation import is_speculative

PATH: Final = "/self-service/methods/oidc/silent-sign-on/{provider}"
LONGEST_URL: Final = 2 * LONGEST_RETURN_TO
"""Characters: the flow stores the address that opened it."""
TRIED_SECONDS: Final = 300
"""How long a browser that has tried does not leave again."""


class SilentSignOnRoutes:
    """The route."""

    def __init__(
        self, *, silent_sign_on: SilentSignOn, callers: CallerReader, cookies: CookiePolicy, error_page: ErrorPage
    ) -> None:
        self._silent_sign_on = silent_sign_on
        self._callers = callers
        self._cookies = cookies
        self._error_page = error_page

    def routes(self) -> list[Route]:
        """List the routes."""
        return [Route(PATH, self._error_page.html_safe(self._leave), methods=["GET"])]

    async def _leave(self, request: Request, caller: Caller) -> Response:
        """Send the browser to the provider, or back where it came from. Only a browser that has not tried lately, and
        that shows a whole page, leaves: a page that tries at every visit would never be seen otherwise."""
        provider, url = request.path_params["provider"], self._callers.public_url(request)
        landing = self._silent_sign_on.landing(request.query_params.get("return_to"))
        if len(url) > LONGEST_URL:
            raise InvalidInput(f"The address with its query has more than {LONGEST_URL} characters.")
        if is_speculative(request) or not _is_page(request) or self._callers.rests_from_silent_sign_on(request):
            return redirect(landing)
        left = await self._silent_sign_on.leave(provider, caller, request_url=url, landing=landing)
        answer = redirect(left.url if left is not None else landing)
        if left is not None and left.cookie is not None:
            answer.headers.append("Set-Cookie", self._cookies.set_callback(left.cookie))
        if caller.session is None:
            answer.headers.append("Set-Cookie", self._cookies.set_silence(TRIED_SECONDS))
        return answer


def _is_page(request: Request) -> bool:
    """Return whether the answer becomes a page of its own: no frame, no image, no `fetch`. Browsers that do not say are
    believed (https://www.w3.org/TR/fetch-metadata/#sec-fetch-dest-header)."""
    return request.headers.get("sec-fetch-dest", "document") == "document"
