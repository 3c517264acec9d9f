"""Recognises requests that no reader has asked for: HEAD, and what browsers and scanners fetch ahead.

A link that does something does nothing for them.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from shopkeeper.errors import LinkLookedAhead, Refusal
from shopkeeper.http.requests import prefers_json

RefusedPage = Callable[[Request, Refusal], Response]
"""Shows a refusal on a page of ours, at the address of the request."""

_HEADERS = ("sec-purpose", "purpose", "x-moz", "x-purpose")
_AHEAD = ("prefetch", "prerender", "preview")


def is_speculative(request: Request) -> bool:
    """Return whether a request only looks ahead (`Sec-Purpose`, https://wicg.github.io/nav-speculation/prefetch.html,
    and its older forms)."""
    if request.method == "HEAD":
        return True
    told = " ".join(request.headers.get(name, "") for name in _HEADERS).lower()
    return any(word in told for word in _AHEAD)


def refuse_speculative(request: Request, page: RefusedPage) -> Response:
    """Refuse a program that looks ahead where it is, also one that takes HTML: behind a redirect it would keep the
    error page of a reader who has not followed the link yet. Raises `LinkLookedAhead` for JSON."""
    if prefers_json(request.headers):
        raise LinkLookedAhead
    return page(request, LinkLookedAhead())
