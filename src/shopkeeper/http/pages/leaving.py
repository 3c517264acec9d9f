"""The page between a form of ours and another server, where that authenticates the visitor.

Browsers apply `form-action` of a page's content security policy to every redirect that follows its form (Chromium and
WebKit do, Firefox does not). A provider may redirect further, to servers that only it knows, so that no list of
allowed addresses is complete, and a wide one would let injected forms send passwords anywhere. A page of our own ends
the chain: it loads the other server's page itself, without a script. It replaces itself in the browser's history.
"""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from shopkeeper.flows.flow import Caller
from shopkeeper.http.pages.layout import PageLayout


@dataclass(frozen=True, slots=True)
class LeavingPage:
    """Shows the page."""

    layout: PageLayout = field(repr=False)

    def instead_of(self, redirect: Response, request: Request, caller: Caller) -> Response:
        """Return a redirect to another server as a page, with its cookies, where a page of ours has sent the form.

        For other senders it stays a redirect: pages of the shop's own have their own policy, and clients follow it.
        """
        if redirect.status_code != 303 or not self.layout.sent_by_own_page(request):
            return redirect
        url = redirect.headers["Location"]
        page = self.layout.answer(request, "leaving", {"url": url, "host": urlsplit(url).hostname}, caller=caller)
        for cookie in redirect.headers.getlist("Set-Cookie"):
            page.headers.append("Set-Cookie", cookie)
        return page
