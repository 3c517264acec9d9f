"""The cookies of sessions, anti-CSRF tokens, callbacks and anonymous visits (RFC 6265 and its successor draft).

The session cookie holds the session's token itself, which may also be sent in a header. The anti-CSRF cookie holds a
random value; the forms that it protects hold the same value, masked.

A request may have several cookies of one name: browsers tell cookies apart by name, domain and path, and send all that
match, longer paths first (RFC 6265 section 5.4). This happens after `cookies.domain` or `cookies.path` was changed,
until the earlier cookies expire, and where a neighbouring host has set one. Their values decide which of them counts.
"""

import base64
import binascii
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from shopkeeper.crypto import CSRF_BYTES

SESSION = "ory_kratos_session"
VISIT = "shopkeeper_visit"
CALLBACK = "shopkeeper_callback"
CONTINUITY = "ory_kratos_continuity"
LANGUAGE = "shopkeeper_language"
SILENCE = "shopkeeper_silence"
CALLBACK_SECONDS = 3_600
SIGNED_OUT_SECONDS = 86_400
"""How long a browser that has signed out is not signed on silently."""

MOST_VALUES = 4
"""At most so many different values of one cookie are read."""
MOST_PARENTS = 3
YEAR = 31_536_000
MOST_COOKIES = 200
"""At most so many cookies of a request are read. Browsers keep fewer for a site, and thousands would take long."""

SameSite = Literal["Strict", "Lax", "None"]
Cookies = Mapping[str, tuple[str, ...]]
"""The cookies of a request: the different values of each name, in the order in which they came."""

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[A-Za-z0-9!#$%&'()*+\-./:<=>?@\[\]^_`{|}~]*")
_PATH = re.compile(r"/[!-:<-~]*")
_DOMAIN = re.compile(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_HOST_PREFIX = "__Host-"
_CLEARED = ("Expires=Thu, 01 Jan 1970 00:00:00 GMT", "Max-Age=0")


@dataclass(frozen=True, slots=True)
class CookiePolicy:
    """The attributes of our cookies, and the `Set-Cookie` lines made with them.

    Args:
        base_url: the public address. The anti-CSRF cookie is named after it, so that two servers on one host do not
            conflict.
        domain: the domain that shares the cookies; the exact host when unset.
        secure: unset only where the public address is plain http, for development.
        persistent: whether the session cookie outlives the browser window.
        default_store: the store whose visit cookie has the plain name; those of other stores are named after them.
        silent_sign_on: whether a provider may sign browsers on silently.
    """

    base_url: str
    domain: str | None = None
    path: str = "/"
    same_site: SameSite = "Lax"
    secure: bool = True
    persistent: bool = True
    session_name: str = SESSION
    default_store: str | None = None
    silent_sign_on: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.session_name):
            raise ValueError("the session cookie's name has characters that a cookie name may not have")
        if not _PATH.fullmatch(self.path) or (self.domain is not None and not _DOMAIN.fullmatch(self.domain)):
            raise ValueError("the cookies' path or domain has characters that may not stand there")
        if self.same_site == "None" and not self.secure:
            raise ValueError("browsers refuse cookies with SameSite=None that are not Secure")
        if self.session_name.startswith(("__Host-", "__Secure-")) and not self.secure:
            raise ValueError("browsers refuse cookies with such a name that are not Secure")
        if self.session_name.startswith("__Host-") and (self.domain is not None or self.path != "/"):
            raise ValueError("browsers refuse __Host- cookies that have a domain or another path than /")

    @property
    def prefix(self) -> str:
        """The prefix of the anti-CSRF and the visit cookies.

        Browsers accept `__Host-` only for the exact host. Without it, a neighbouring host could set such a cookie, and
        sign the browser in to an attacker's account or give it an attacker's cart (login CSRF, OWASP ASVS 3.3.1). The
        prefix needs https, the path `/` and no domain. The session cookie always has its configured name.
        """
        exact = self.domain is None and self.path == "/"
        return _HOST_PREFIX if exact and self.secure and self.base_url.startswith("https://") else ""

    @property
    def csrf_name(self) -> str:
        """The name of the anti-CSRF cookie."""
        return self.prefix + _csrf_name(self.base_url)

    @property
    def callback_name(self) -> str:
        """The name of the callback cookie, which always belongs to the exact host."""
        return f"{_HOST_PREFIX}{CALLBACK}" if self.secure else CALLBACK

    @property
    def silence_name(self) -> str:
        """The name of the cookie of `set_silence`."""
        return self.prefix + SILENCE

    def set_session(self, token: str, *, expires_at: datetime, now: datetime, kept: bool | None = None) -> str:
        """Return the line that sets the session cookie. `kept` says whether it outlives the browser window; the policy
        does where it is None."""
        if not (self.persistent if kept is None else kept):
            return self._line(self.session_name, token)
        seconds = max(0, int((expires_at - now).total_seconds()))
        expires = f"Expires={format_datetime(expires_at, usegmt=True)}"
        return self._line(self.session_name, token, expires, f"Max-Age={seconds}")

    def delete_session(self) -> Sequence[str]:
        """Return the lines that delete the session cookie: for the configured domain, and for the exact host."""
        return self._deleted(self.session_name)

    def sign_out(self, *, new_csrf: bytes) -> Sequence[str]:
        """Return the lines for a browser that signs out: its session cookie goes, and forms from before are refused."""
        return [*self.delete_session(), self.set_csrf(new_csrf), *self.rest_from_silent_sign_on()]

    def rest_from_silent_sign_on(self) -> Sequence[str]:
        """Return the lines that keep a browser that has signed out from silent sign-ons for a day: the provider would
        sign it in again at the next page. None where no provider does."""
        return [self.set_silence(SIGNED_OUT_SECONDS)] if self.silent_sign_on else []

    def set_csrf(self, token: bytes) -> str:
        """Return the line that sets the anti-CSRF cookie."""
        return self._line(self.csrf_name, _encode(token), f"Max-Age={YEAR}")

    def set_callback(self, token: str) -> str:
        """Return the line that binds the browser to a flow that has redirected to another server.

        It has `SameSite=None`, because that server may send the browser back with a cross-site POST, and browsers add
        only such cookies to it. Over plain http browsers refuse `None`, so it is `Lax` there. The cookie belongs to the
        exact host.
        """
        same_site: SameSite = "None" if self.secure else "Lax"
        lifetime = f"Max-Age={CALLBACK_SECONDS}"
        return self._line(self.callback_name, token, lifetime, same_site=same_site, place=Place(None, "/"))

    def set_silence(self, seconds: int) -> str:
        """Return the line that keeps a browser from silent sign-ons for a time. It proves nothing.

        A page of another site may get it by `fetch`, as it does with the session cookie, where that has
        `SameSite=None`.
        """
        same_site: SameSite = "None" if self.same_site == "None" else "Lax"
        return self._line(self.silence_name, "1", f"Max-Age={seconds}", same_site=same_site)

    def set_continuity(self, token: str, *, expires_at: datetime, now: datetime) -> str:
        """Return the line that binds the browser to a submission that waits for a new sign-in."""
        seconds = max(0, int((expires_at - now).total_seconds()))
        expires = f"Expires={format_datetime(expires_at, usegmt=True)}"
        return self._line(CONTINUITY, token, expires, f"Max-Age={seconds}", same_site="Lax")

    def set_language(self, language: str) -> str:
        """Return the line that sets the language that the visitor has chosen. It is no secret, and proves nothing."""
        return self._line(LANGUAGE, language, f"Max-Age={YEAR}", same_site="Lax")

    def delete_continuity(self) -> str:
        """Return the line that deletes this cookie."""
        return self._line(CONTINUITY, "", *_CLEARED, same_site="Lax")

    def visit_name(self, store: str) -> str:
        """Return the name of a store's visit cookie. Each has its own, because one host may serve several stores."""
        return self.prefix + (VISIT if store == self.default_store else f"{VISIT}_{store.replace('@', '~')}")

    def visits_in(self, cookies: Cookies, *, store: str) -> Sequence[str]:
        """Return the tokens of visits to a store.

        If no cookie has the prefix, one without it counts: an earlier release set it, or the server before it had
        https, and the visitor's cart must not be lost. The next response that sets the cookie replaces it.
        """
        name = self.visit_name(store)
        return cookies.get(name) or cookies.get(name.removeprefix(self.prefix), ())

    def set_visit(self, token: str, *, store: str, expires_at: datetime, now: datetime) -> str:
        """Return the line that sets the cookie of an anonymous visit to a store."""
        lifetime = f"Max-Age={max(0, int((expires_at - now).total_seconds()))}"
        return self._line(self.visit_name(store), token, lifetime, same_site="Lax")

    def delete_visit(self, *, store: str) -> Sequence[str]:
        """Return the lines that delete the visit cookie of a store: for the configured domain, and the exact host."""
        return self._deleted(self.visit_name(store), same_site="Lax")

    def delete_leftovers(self, name: str, came: Counter[str]) -> Sequence[str]:
        """Return the lines that delete earlier cookies of the same purpose as one that is set or deleted now.

        If the request had the name more than once, the cookie is deleted in every other place where an earlier
        configuration may have set it. If the request had the name without its prefix, that cookie is deleted as well.

        Args:
            came: how often the request had each name.
        """
        lines = self._deleted_elsewhere(name) if came[name] > 1 else []
        former = name.removeprefix(self.prefix)
        if former != name and came[former]:
            lines += [self._line(former, "", *_CLEARED), *self._deleted_elsewhere(former)]
        return lines

    def delete_session_everywhere(self) -> Sequence[str]:
        """Return the lines that delete the session cookie in every place where the browser may have it."""
        return [self._line(self.session_name, "", *_CLEARED), *self._deleted_elsewhere(self.session_name)]

    def is_ours(self, name: str) -> bool:
        """Whether a cookie is a session, an anti-CSRF token, a language or a visit of ours."""
        return name in {self.session_name, self.csrf_name, LANGUAGE} or name.startswith(f"{self.prefix}{VISIT}")

    def _deleted(self, name: str, *, same_site: SameSite | None = None) -> list[str]:
        places = [self._place] if self.domain is None else [self._place, Place(None, self.path)]
        return [self._line(name, "", *_CLEARED, same_site=same_site, place=place) for place in places]

    def _deleted_elsewhere(self, name: str) -> list[str]:
        if name.startswith(_HOST_PREFIX):  # browsers keep these in one place only
            return []
        places = [place for place in _places(self.base_url, self._place) if place != self._place]
        return [self._line(name, "", *_CLEARED, place=place) for place in places]

    @property
    def _place(self) -> "Place":
        return Place(self.domain.removeprefix(".") if self.domain else None, self.path)

    def _line(
        self,
        name: str,
        value: str,
        *lifetime: str,
        same_site: SameSite | None = None,
        place: "Place | None" = None,
    ) -> str:
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value for cookie {name} has characters that a cookie value may not have")
        domain, path = place or Place(self.domain, self.path)
        parts = [f"{name}={value}", f"Path={path}"]
        if domain is not None:
            parts.append(f"Domain={domain}")
        parts += [*lifetime, "HttpOnly"]
        if self.secure:
            parts.append("Secure")
        return "; ".join([*parts, f"SameSite={same_site or self.same_site}"])


class Place(NamedTuple):
    """Browsers keep one cookie of each name per domain and path. Without a domain, a cookie is of the exact host."""

    domain: str | None
    path: str


def _places(base_url: str, now: Place) -> Sequence[Place]:
    """Return where cookies are set now, and where an earlier configuration may have set them.

    These are the host and its parents, each with `/`, with the configured path, and with the public address's path.
    """
    address = urlsplit(base_url)
    labels = (address.hostname or "").split(".")
    parents = [".".join(labels[first:]) for first in range(len(labels) - 1)] if not labels[-1].isdecimal() else []
    domains = dict.fromkeys((None, now.domain, *parents[:MOST_PARENTS]))
    paths = dict.fromkeys(("/", now.path, address.path.rstrip("/") or "/"))
    return [Place(domain, path) for domain in domains for path in paths]


def cookies_in(headers: Iterable[str]) -> Cookies:
    """Return the cookies of a request, from its `Cookie` headers: the different values of each name, in their order.

    The first `MOST_COOKIES` are read.

    >>> cookies_in(["a=1; b=2", "a=3"])
    {'a': ('1', '3'), 'b': ('2',)}
    """
    found: dict[str, tuple[str, ...]] = {}
    for pair in ";".join(headers).split(";", MOST_COOKIES)[:MOST_COOKIES]:
        name, mark, value = pair.strip(" \t").partition("=")
        if not mark or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            continue
        values = found.get(name, ())
        if value not in values and len(values) < MOST_VALUES:
            found[name] = (*values, value)
    return found


def names_in(headers: Iterable[str]) -> Counter[str]:
    """Return how often each name occurs in `Cookie` headers, whatever its values."""
    return Counter(pair.strip(" \t").partition("=")[0] for header in headers for pair in header.split(";"))


def csrf_token_in(cookie: str | None) -> bytes | None:
    """Return the value in an anti-CSRF cookie, or None where we did not set it."""
    try:
        token = base64.b64decode((cookie or "") + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return token if len(token) == CSRF_BYTES and _encode(token) == cookie else None


@lru_cache(maxsize=32)
def _csrf_name(base_url: str) -> str:
    return f"csrf_token_{hashlib.sha256(base_url.encode()).hexdigest()}"


def _encode(token: bytes) -> str:
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()
