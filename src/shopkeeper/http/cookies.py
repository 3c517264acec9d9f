"""The cookies of sessions, anti-CSRF tokens, callbacks and anonymous visits (RFC 6265 and its successor draft).

The session cookie holds the session's token itself, which may also be sent in a header. The anti-CSRF cookie holds a
random value; the forms that it protects hold the same value, masked.
"""

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Literal

SESSION = "ory_kratos_session"
VISIT = "shopkeeper_visit"
CALLBACK = "shopkeeper_callback"
CALLBACK_SECONDS = 3_600
CSRF_BYTES = 32
YEAR = 31_536_000

SameSite = Literal["Strict", "Lax", "None"]

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[A-Za-z0-9!#$%&'()*+\-./:<=>?@\[\]^_`{|}~]*")
_PATH = re.compile(r"/[!-:<-~]*")
_DOMAIN = re.compile(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
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
    """

    base_url: str
    domain: str | None = None
    path: str = "/"
    same_site: SameSite = "Lax"
    secure: bool = True
    persistent: bool = True
    session_name: str = SESSION
    default_store: str | None = None

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
    def csrf_name(self) -> str:
        """The name of the anti-CSRF cookie."""
        return _csrf_name(self.base_url)

    @property
    def callback_name(self) -> str:
        """The name of the callback cookie.

        Browsers accept the prefix from the exact host only, so that a neighbouring host cannot set the cookie and sign
        the browser in to an attacker's account (login CSRF, OWASP ASVS 3.3.1).
        """
        return f"__Host-{CALLBACK}" if self.secure else CALLBACK

    def set_session(self, token: str, *, expires_at: datetime, now: datetime) -> str:
        """Return the line that sets the session cookie."""
        if not self.persistent:
            return self._line(self.session_name, token)
        seconds = max(0, int((expires_at - now).total_seconds()))
        expires = f"Expires={format_datetime(expires_at, usegmt=True)}"
        return self._line(self.session_name, token, expires, f"Max-Age={seconds}")

    def delete_session(self) -> str:
        """Return the line that deletes the session cookie."""
        return self._line(self.session_name, "", *_CLEARED)

    def set_csrf(self, token: bytes) -> str:
        """Return the line that sets the anti-CSRF cookie."""
        return self._line(self.csrf_name, _encode(token), f"Max-Age={YEAR}")

    def set_callback(self, token: str) -> str:
        """Return the line that binds the browser to a flow that has redirected to another server.

        `SameSite=None`, because that server may send the browser back with a cross-site POST, to which browsers add no
        other cookies. Over plain http, where browsers refuse that, it is Lax. It belongs to the exact host.
        """
        same_site: SameSite = "None" if self.secure else "Lax"
        own = replace(self, domain=None, path="/")
        return own._line(self.callback_name, token, f"Max-Age={CALLBACK_SECONDS}", same_site=same_site)

    def visit_name(self, store: str) -> str:
        """Return the name of a store's visit cookie: on one host, a visit to one store must not end that to another."""
        return VISIT if store == self.default_store else f"{VISIT}_{store.replace('@', '~')}"

    def set_visit(self, token: str, *, store: str, expires_at: datetime, now: datetime) -> str:
        """Return the line that sets the cookie of an anonymous visit to a store."""
        lifetime = f"Max-Age={max(0, int((expires_at - now).total_seconds()))}"
        return self._line(self.visit_name(store), token, lifetime, same_site="Lax")

    def delete_visit(self, *, store: str) -> str:
        """Return the line that deletes the cookie of an anonymous visit to a store."""
        return self._line(self.visit_name(store), "", *_CLEARED, same_site="Lax")

    def _line(self, name: str, value: str, *lifetime: str, same_site: SameSite | None = None) -> str:
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value for cookie {name} has characters that a cookie value may not have")
        parts = [f"{name}={value}", f"Path={self.path}"]
        if self.domain is not None:
            parts.append(f"Domain={self.domain}")
        parts += [*lifetime, "HttpOnly"]
        if self.secure:
            parts.append("Secure")
        return "; ".join([*parts, f"SameSite={same_site or self.same_site}"])


def cookies_in(headers: Iterable[str]) -> Mapping[str, str]:
    """Return the cookies of a request, from its `Cookie` headers.

    A name that occurs twice with different values is left out: one of them was planted from a neighbouring host or
    path, and they cannot be distinguished.

    >>> cookies_in(["a=1; b=2", "a=3"])
    {'b': '2'}
    """
    found: dict[str, str] = {}
    doubtful: set[str] = set()
    for pair in (pair for header in headers for pair in header.split(";")):
        name, mark, value = pair.strip(" \t").partition("=")
        if not mark or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            continue
        if found.setdefault(name, value) != value:
            doubtful.add(name)
    return {name: value for name, value in found.items() if name not in doubtful}


def new_csrf_token() -> bytes:
    """Return a new random value for the anti-CSRF cookie."""
    return secrets.token_bytes(CSRF_BYTES)


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
