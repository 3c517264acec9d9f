"""Origins (RFC 6454) whose pages may call us with our cookies: whole, or with one `*` for part of a host."""

import re
from collections.abc import Iterable

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


def _pattern(origin: str) -> str:
    before, _, after = origin.partition(ANY)
    return f"(?:{re.escape(before)}{_PART}{re.escape(after)})"
