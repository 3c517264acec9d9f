"""The cookies of a session server whose paths this server passes on: renamed, so that none of ours is among them.

The browser keeps each under a name that begins alike for one provider, and for no other. Only cookies with such a name
are sent to the session server, under the name that it gave them. Whatever domain and path it asked for, they belong to
our host.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Final

from shopkeeper.http.cookies import Cookies
from shopkeeper.sessions.principal import ServerCookie
from shopkeeper.upstream.kratos import SessionServer

MOST_LINES: Final = 20
"""`Set-Cookie` lines of one response that are passed on."""
LONGEST: Final = 8_192
"""Characters of a line. Browsers keep no cookie of more than 4,096 bytes."""
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_VALUE: Final = re.compile(r"[A-Za-z0-9!#$%&'()*+\-./:<=>?@\[\]^_`{|}~]*", re.ASCII)
_MAX_AGE: Final = re.compile(r"-?\d{1,12}", re.ASCII)
_DATE: Final = re.compile(r"[A-Za-z0-9,: +-]{1,40}", re.ASCII)
_SAME_SITE: Final = {"lax": "Lax", "strict": "Strict", "none": "None"}


class ServerCookies:
    """Renames the cookies of one session server.

    Args:
        provider: the provider's id.
        secure: whether our public address is https.

    >>> ServerCookies("idp", secure=True).name("ory_kratos_session")
    '__Host-kratos_0c1eeccc_ory_kratos_session'
    """

    def __init__(self, provider: str, *, secure: bool) -> None:
        self._secure = secure
        # Of the id, a digest: ids may begin alike, and have characters that some clients do not expect in names.
        named = hashlib.sha256(provider.encode()).hexdigest()[:8]
        self._prefix = f"{'__Host-' if secure else ''}kratos_{named}_"

    def name(self, name: str) -> str:
        """Return the name of the server's cookie at our host."""
        return self._prefix + name

    def sent(self, cookies: Cookies) -> Iterator[tuple[str, str]]:
        """Yield the name and the value of each cookie for the session server, out of those of a request.

        One that came with several values was planted by a neighbouring host, and which one is unknown: it is left out.
        """
        for name, values in cookies.items():
            if name.startswith(self._prefix) and len(name) > len(self._prefix) and len(values) == 1:
                yield name.removeprefix(self._prefix), values[0]

    def received(self, lines: Sequence[str]) -> Iterator[str]:
        """Yield the `Set-Cookie` lines for the browser; what is no cookie as RFC 6265 has it is left out."""
        for line in lines[:MOST_LINES]:
            renamed = self._renamed(line) if len(line) <= LONGEST else None
            if renamed is not None:
                yield renamed

    def _renamed(self, line: str) -> str | None:
        pair, *attributes = line.split(";")
        name, mark, value = pair.strip(" \t").partition("=")
        if not mark or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            return None
        parts = [f"{self.name(name)}={value}", "Path=/", "HttpOnly"]
        given = {key.strip().lower(): text.strip() for key, _, text in (each.partition("=") for each in attributes)}
        if _MAX_AGE.fullmatch(given.get("max-age", "")):
            parts.append(f"Max-Age={given['max-age']}")
        if _DATE.fullmatch(given.get("expires", "")):
            parts.append(f"Expires={given['expires']}")
        if self._secure:
            parts.append("Secure")
        same_site = _SAME_SITE.get(given.get("samesite", "").lower(), "Lax")
        # Browsers refuse SameSite=None without Secure.
        parts.append(f"SameSite={same_site if self._secure or same_site != 'None' else 'Lax'}")
        return "; ".join(parts)


class ServerCookieFinder:
    """Finds the session cookie of a store's session server: one that was passed on, or one of a domain that both share.

    Args:
        servers: the session servers that stores take, with their cookies, in the order of the settings.
        own_prefix: what our own session tokens begin with. A cookie with such a value is a session of ours that has
            ended, unless the server's tokens begin alike, and is not shown to the server.
    """

    def __init__(self, servers: Sequence[tuple[SessionServer, ServerCookies]], *, own_prefix: str) -> None:
        self._servers, self._own_prefix = servers, own_prefix

    def __call__(self, cookies: Cookies, store: str) -> ServerCookie | None:
        """Return the cookie; None where there is none, or several of which it is unknown which one is meant."""
        for server, renamed in self._servers:
            if store not in server.stores:
                continue
            passed_on = [pair for pair in renamed.sent(cookies) if server.names(pair[0])]
            found = passed_on or list(self._shared(server, cookies))
            if len(found) == 1:
                return ServerCookie(server.id, *found[0])
        return None

    def _shared(self, server: SessionServer, cookies: Cookies) -> Iterator[tuple[str, str]]:
        like_ours = server.token_prefix == self._own_prefix
        for name, values in cookies.items():
            if server.names(name):
                yield from ((name, each) for each in values if like_ours or not each.startswith(self._own_prefix))
