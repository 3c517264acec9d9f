"""Recognises requests that no reader has asked for: HEAD, and what browsers and scanners fetch ahead.

A link that does something does nothing for them.
"""

from starlette.requests import Request

_HEADERS = ("sec-purpose", "purpose", "x-moz", "x-purpose")
_AHEAD = ("prefetch", "prerender", "preview")


def is_speculative(request: Request) -> bool:
    """Return whether a request only looks ahead (`Sec-Purpose`, https://wicg.github.io/nav-speculation/prefetch.html,
    and its older forms)."""
    if request.method == "HEAD":
        return True
    told = " ".join(request.headers.get(name, "") for name in _HEADERS).lower()
    return any(word in told for word in _AHEAD)
