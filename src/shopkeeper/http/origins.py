"""Origins (RFC 6454) whose pages may call us with our cookies: whole, or with one `*` for part of a host."""

import re
from collections.abc import Iterable, Mapping
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


def is_from_foreign_page(headers: Mapping[str, str], trusted: Origins) -> bool:
    """Return whether a browser says that a page which is not trusted sends this request. No page can set these headers.

    Browsers send `Origin` with every POST, and `Sec-Fetch-Site` too where the address is https or this machine's
    (Fetch, section 3.2; Fetch Metadata Request Headers). Where an origin is hidden (`null`), or was lost on the way,
    `Sec-Fetch-Site` decides; for browsers without either, before 2020, `Referer` does. A request without all three
    comes from a program, or from such a browser that hides them: there the anti-CSRF token alone decides.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is None and site is None:
        referer = headers.get("referer")
        return referer is not None and origin_of(referer) not in trusted
    if origin is None or origin == "null":
        return site not in {"same-origin", "none"}
    same = site == "same-origin" and origin_of(origin) == origin and host_of(origin) == _host(headers)
    return origin not in trusted and not same


def _host(headers: Mapping[str, str]) -> str:
    """Return the host that a request is addressed to. A server has more names than are configured: its stores', and in
    development this machine's."""
    return host_of(f"//{headers.get('host', '')}")


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _pattern(origin: str) -> str:
    before, _, after = origin.partition(ANY)
    return f"(?:{re.escape(before)}{_PART}{re.escape(after)})"
