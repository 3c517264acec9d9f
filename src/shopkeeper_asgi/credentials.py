"""Where the token of a request is: headers, `Authorization: Bearer` (RFC 6750), cookies.

An application gets its headers from a client, so their values are only used where each character is one that tokens
consist of: nothing that could end a header or begin another one goes on to the provider.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from shopkeeper_asgi.errors import CrossSiteRequest, TokenAmbiguous, TokenInvalid, TokenMissing

HEADERS: Final = ("session_token", "x-session-token")
MAX_TOKEN: Final = 16 * 1024
"""Characters of a token. Servers rarely accept longer header lines."""
MAX_COOKIES: Final = 4
"""Different values of one cookie that go on to the provider, which knows the valid one."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_OWN: Final = frozenset({"same-origin", "none"})
"""What browsers say in `Sec-Fetch-Site` of a page of this very origin, and of what a person has typed."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""The syntax `b64token` of RFC 6750 section 2.1."""
_COOKIE_VALUE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")
"""The syntax `cookie-octet` of RFC 6265 section 4.1.1."""
_COOKIE_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")

Header = tuple[str, str]
"""Name and value. Names may be in any case."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A token as it was presented, well-formed and not yet verified.

    Args:
        values: the token. A cookie may have been sent with several values.
        cookie: the cookie's name, None for a token in a header.
    """

    values: tuple[str, ...]
    cookie: str | None = None

    @property
    def token(self) -> str:
        return self.values[0]

    def __repr__(self) -> str:
        return f"Credential(cookie={self.cookie!r})"  # without the token, which must not get into a log


class CredentialReader:
    """Finds the token of a request: first in the headers, in their order, then as a bearer, then in the cookies.

    Args:
        headers: names of headers. A name with an underscore is found with a dash, too, because nginx drops names with
            an underscore unless `underscores_in_headers` is on.
        bearer: whether `Authorization: Bearer` is read.
        cookies: names of cookies.
        origins: origins, such as `https://www.shop.example`, whose pages may send the cookie although they are others.
    """

    def __init__(
        self,
        *,
        headers: Sequence[str] = HEADERS,
        bearer: bool = True,
        cookies: Sequence[str] = (),
        origins: Sequence[str] = (),
    ) -> None:
        if isinstance(headers, str) or isinstance(cookies, str) or isinstance(origins, str):
            raise TypeError("`headers`, `cookies` and `origins` are lists of names, not one name")
        odd = [name for name in (*headers, *cookies) if not _COOKIE_NAME.fullmatch(name)]
        if odd:
            raise ValueError(f"this is not the name of a header or a cookie: {odd[0]!r}")
        if not (headers or bearer or cookies):
            raise ValueError("there is no place where a token could be: name a header or a cookie")
        self._places = {spelling: at for at, name in enumerate(headers) for spelling in _spellings(name)}
        self.headers, self.bearer, self.cookies = tuple(headers), bearer, tuple(cookies)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._of_interest = {*self._places, "authorization", "cookie", "origin", "sec-fetch-site", "host"}

    def read(self, headers: Iterable[Header], *, method: str = "GET", websocket: bool = False) -> Credential | None:
        """Return the token of a request, None without one.

        Raises `TokenInvalid` for a malformed one, `TokenAmbiguous`, and `CrossSiteRequest` for a cookie that a page of
        another origin sends with a WebSocket or a method that changes something.
        """
        found: dict[str, list[str]] = {}
        for name, value in headers:
            lowered = name.lower()
            if lowered in self._of_interest:
                found.setdefault(lowered, []).append(value.strip(" \t"))
        token = self._in_headers(found) or self._as_bearer(found)
        if token is not None:
            return Credential((_well_formed(token),))
        credential = self._in_cookies(found)
        if credential is not None and (websocket or method.upper() not in _SAFE) and self._is_cross_site(found):
            raise CrossSiteRequest
        return credential

    def require(self, credential: Credential | None) -> Credential:
        """Raises `TokenMissing` for None, with a sentence that names the places."""
        if credential is None:
            places = [f"in the header {name}" for name in self.headers[:1]]
            places += ["as Authorization: Bearer"] if self.bearer else []
            places += [f"in the cookie {name}" for name in self.cookies[:1]]
            raise TokenMissing(f"The request has no session token: send it {' or '.join(places)}.")
        return credential

    def _in_headers(self, found: dict[str, list[str]]) -> str | None:
        presented = sorted((at, value) for name, at in self._places.items() for value in found.get(name, ()) if value)
        if not presented:
            return None
        first = presented[0][0]
        return _one({value for at, value in presented if at == first})

    def _as_bearer(self, found: dict[str, list[str]]) -> str | None:
        if not self.bearer:
            return None
        tokens = set()
        for value in found.get("authorization", ()):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer" and token.strip(" "):
                tokens.add(token.strip(" "))
        return _one(tokens) if tokens else None

    def _in_cookies(self, found: dict[str, list[str]]) -> Credential | None:
        if not self.cookies or "cookie" not in found:
            return None
        sent: dict[str, list[str]] = {}
        for line in found["cookie"]:
            for pair in line.split(";"):
                name, _, value = pair.partition("=")
                sent.setdefault(name.strip(" \t"), []).append(value.strip(" \t"))
        for name in self.cookies:
            values = tuple(dict.fromkeys(value for value in sent.get(name, ()) if value))[:MAX_COOKIES]
            if values:
                if not all(len(value) <= MAX_TOKEN and _COOKIE_VALUE.fullmatch(value) for value in values):
                    raise TokenInvalid("The session cookie is malformed.")
                return Credential(values, cookie=name)
        return None

    def _is_cross_site(self, found: dict[str, list[str]]) -> bool:
        """Whether a page of another origin sends the request. Programs that are no browsers send neither header.

        Pages of a sibling host (`same-site`) are others, too: their origins can be listed.
        """
        origin = found.get("origin", [""])[0].lower()
        if origin in self._origins:
            return False
        if "sec-fetch-site" in found:
            return any(value.lower() not in _OWN for value in found["sec-fetch-site"])
        return bool(origin) and _host_of(origin) != found.get("host", [""])[0].lower()


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _spellings(name: str) -> set[str]:
    lowered = name.lower()
    return {lowered, lowered.replace("_", "-")}


def _one(tokens: set[str]) -> str:
    if len(tokens) > 1:
        raise TokenAmbiguous
    return next(iter(tokens))


def _well_formed(token: str) -> str:
    if len(token) > MAX_TOKEN:
        raise TokenInvalid("The session token is too long.")
    if not _TOKEN.fullmatch(token):
        raise TokenInvalid("The session token is malformed.")
    return token
