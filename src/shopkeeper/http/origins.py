"""Origins (RFC 6454), and which page makes a request.

Two lists of origins are trusted (`app/addressing.py` makes them), by one function, `sender_of`:

- **Forms** of self-service are taken from the pages that show them, which may be at other origins than ours: those of
  each `ui_url`, of allowed return addresses and of CORS. A form also proves itself with its anti-CSRF token.
- **Calls** of the storefront, GraphQL and `/sessions` are taken from the origins of CORS only, because browsers let no
  other page read the answers. No token proves a call, so a request of no page, which a browser never makes as a POST
  of JSON or a DELETE, is refused as well; a form, where `Origin` was lost on the way, has its token.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from urllib.parse import urlsplit

from shopkeeper.http.hosts import host_of

ANY = "*"
_PART = r"[a-z0-9-]+(?:\.[a-z0-9-]+)*"


class Origins:
    """The configured origins. `exact` and `pattern` are arguments of Starlette's CORS middleware.

    >>> origins = Origins(["https://shop.example.org", "https://*.example.net"])
    >>> [origin in origins for origin in ("https://shop.example.org", "https://a.b.example.net", "null", None)]
    [True, True, False, False]
    >>> "https://example.net" in origins or "https://a.example.net.evil.test" in origins
    False
    """

    def __init__(self, configured: Iterable[str]) -> None:
        known = list(configured)
        self.exact = frozenset(origin for origin in known if origin == ANY or ANY not in origin)
        wide = [_pattern(origin) for origin in known if origin not in self.exact]
        self.pattern = "|".join(wide) or None
        self._wide = re.compile(self.pattern) if self.pattern else None

    def __contains__(self, origin: object) -> bool:
        """Return whether an origin is trusted. `*` alone opens public reads to all origins, and trusts no page."""
        if not isinstance(origin, str) or origin == ANY:
            return False
        return origin in self.exact or (self._wide is not None and self._wide.fullmatch(origin) is not None)


def origin_of(url: str) -> str | None:
    """Return the origin of an http or https address as browsers send it, or None for any other address.

    >>> origin_of("https://Shop.example.org:443/path"), origin_of("https://*.example.org"), origin_of("/path")
    ('https://shop.example.org', 'https://*.example.org', None)
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = host_of(url)
    if parts.scheme not in _DEFAULT_PORTS or not host:
        return None
    named = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{named}" + (f":{port}" if port not in {None, _DEFAULT_PORTS[parts.scheme]} else "")


class Sender(Enum):
    """Who makes a request, as far as a browser says. No page can set the headers that it says so with."""

    OWN_PAGE = auto()
    """A page at the origin that the request is addressed to."""
    TRUSTED_PAGE = auto()
    """A page of one of the given origins."""
    FOREIGN_PAGE = auto()
    """Any other page, or one that the browser hides."""
    USER = auto()
    """No page: somebody typed the address, or opened it from a bookmark."""
    PROGRAM = auto()
    """No browser, or one from before 2020 that hides everything."""


def sender_of(header: Callable[[bytes], str | None], *, own: str, trusted: Origins) -> Sender:
    """Return who makes a request.

    Browsers send `Origin` with every POST and DELETE, and `Sec-Fetch-Site` too where the address is https or this
    machine's (Fetch, section 3.2; Fetch Metadata Request Headers). A trusted `Origin` counts whatever `Sec-Fetch-Site`
    says. Where an origin is hidden (`null`), or was lost on the way, `Sec-Fetch-Site` decides; for browsers without
    either, before 2020, `Referer` does.

    Args:
        header: returns a header by its name in lower case.
        own: the origin of our public address.
        trusted: the origins whose pages may make this kind of request.
    """
    origin, site = header(b"origin"), header(b"sec-fetch-site")
    if origin is None and site is None:
        return _sender_by_referer(header(b"referer"), trusted)
    if origin is None or origin == "null":
        return _HIDDEN.get(site, Sender.FOREIGN_PAGE)
    if site == "same-origin" and (origin in trusted or _is_at(header(b"host"), origin)):
        return Sender.OWN_PAGE
    if site is None and origin == own:
        return Sender.OWN_PAGE
    return Sender.TRUSTED_PAGE if origin in trusted else Sender.FOREIGN_PAGE


_HIDDEN: Mapping[str | None, Sender] = {"same-origin": Sender.OWN_PAGE, "none": Sender.USER}


def _sender_by_referer(referer: str | None, trusted: Origins) -> Sender:
    if referer is None:
        return Sender.PROGRAM
    return Sender.TRUSTED_PAGE if origin_of(referer) in trusted else Sender.FOREIGN_PAGE


def _is_at(host: str | None, origin: str) -> bool:
    """Return whether a request is addressed to the host of an origin. A server has more names than are configured: its
    stores', and in development this machine's."""
    return origin_of(origin) == origin and host_of(origin) == host_of(f"//{host or ''}")


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _pattern(origin: str) -> str:
    before, _, after = origin.partition(ANY)
    return f"(?:{re.escape(before)}{_PART}{re.escape(after)})"
