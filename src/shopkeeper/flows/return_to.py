"""Return addresses: where a browser goes after a flow, if the allow-list permits it (contract page section 2.6)."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, quote, urljoin, urlsplit

from shopkeeper.errors import ReturnToForbidden

# Browsers replace these by "/" or drop them, so the address that is visited would differ from the one that was checked.
_MISREAD = re.compile(r"[\x00-\x20\x7f\\]|%5c|%0[0-9a-f]", re.IGNORECASE)
# Characters that an address may contain unencoded (RFC 3986 section 2), and the sign of those that are encoded already.
_AS_IT_IS = "%:/?#[]@!$&'()*+,;="
LONGEST = 2_048
"""Characters of a return address: it is stored with flows, and part of addresses and of headers."""
_SHOWN = 100
_WEB = frozenset({"http", "https"})
# What browsers run or open by themselves. No app has them, however the allow-list names them.
_RUN_BY_BROWSERS = frozenset(
    {"javascript", "vbscript", "data", "blob", "filesystem", "file", "about", "view-source", "mailto", "ws", "wss"}
)
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?|[0-9a-f:.]+")


@dataclass(frozen=True, slots=True)
class AfterFlow:
    """The configured return addresses of one flow: by method, and for all."""

    by_method: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None


class ReturnAddresses:
    """The allow-list of return addresses, and the defaults.

    Args:
        default: the address where nothing else is configured; always allowed.
        allowed: prefixes: scheme and host must be equal (`*.` stands for one label or more), the path must begin alike.
            One with another scheme than http and https is an app's (RFC 8252 section 7.1), without stars.
        base_url: our own public address; everything at or below it is ours, and so allowed.
    """

    def __init__(self, *, default: str, allowed: Sequence[str], base_url: str) -> None:
        self._default = default
        self._allowed = [urlsplit(url) for url in (*allowed, default, base_url)]

    def check(self, wanted: str | None) -> str | None:
        """Return the address if it may be used, absolute and fit for a header; None for none. Raises
        `ReturnToForbidden`."""
        if not wanted:
            return None
        if len(wanted) > LONGEST:
            raise ReturnToForbidden(f"The return address has more than {LONGEST} characters.")
        if _MISREAD.search(wanted):
            raise ReturnToForbidden("The return address has characters that browsers misread.")
        absolute, target = self._absolute(wanted)
        if not any(_covers(allowed, target) for allowed in self._allowed):
            raise ReturnToForbidden(
                f"The return address must begin with an allowed address; {_shown(target)} is not among them. "
                "Add it to selfservice.allowed_return_urls."
            )
        return percent_encoded(absolute)

    def allowed(self, wanted: str | None) -> str | None:
        """Return the address as `check` does; None where it may not be used."""
        with suppress(ReturnToForbidden):
            return self.check(wanted)
        return None

    def after_verification(self, request_url: str) -> str | None:
        """Return where the visitor wants to go after the verification that follows a registration.

        Source: `after_verification_return_to` of `createBrowserRegistrationFlow` (contract page section 1.1). An
        address that is not allowed is ignored: the account is there by the time this is asked.
        """
        wanted = dict(parse_qsl(urlsplit(request_url).query)).get("after_verification_return_to")
        return self.allowed(wanted)

    def after(self, after: AfterFlow, *, method: str | None, return_to: str | None) -> str:
        """Return where to go now: what the flow asked for, else the method's, the flow's, or the general address."""
        return return_to or after.by_method.get(method or "") or after.default or self._default

    def wanted(self, after: AfterFlow, *, method: str, return_to: str | None) -> str | None:
        """Return where to go as in `after`; None without the general address, for flows that stay open."""
        return return_to or after.by_method.get(method) or after.default

    def _absolute(self, wanted: str) -> tuple[str, SplitResult]:
        try:
            absolute = urljoin(self._default, wanted)
            target = urlsplit(absolute)
            unreadable = target.port == 0 or not self._readable(target)
        except ValueError:
            unreadable = True
        if unreadable or "@" in target.netloc:
            raise ReturnToForbidden("The return address must be a plain http or https address, or an app's own.")
        return absolute, target

    def _readable(self, target: SplitResult) -> bool:
        if target.scheme in _WEB:
            return _plain(target.hostname)
        apps = {allowed.scheme for allowed in self._allowed} - _WEB - _RUN_BY_BROWSERS
        return target.scheme in apps and (not target.netloc or _plain(target.hostname))


def _shown(target: SplitResult) -> str:
    host = target.hostname or ""
    return host if len(host) <= _SHOWN else f"{host[:_SHOWN]}..."


def percent_encoded(url: str) -> str:
    """Return an address in ASCII, as browsers send it. What is encoded already is not encoded again.

    >>> percent_encoded("https://shop.example/größe?x=%20")
    'https://shop.example/gr%C3%B6%C3%9Fe?x=%20'
    """
    return quote(url, safe=_AS_IT_IS)


def _plain(host: str | None) -> bool:
    """Return whether all programs read a host alike. `a%23.shop.org` ends like ours, but some programs read it as
    `a`."""
    return host is not None and _HOST.fullmatch(host) is not None


def _covers(allowed: SplitResult, target: SplitResult) -> bool:
    if allowed.scheme != target.scheme:
        return False
    if target.scheme not in _WEB:
        return allowed.netloc.lower() == target.netloc.lower() and _path_covers(allowed, target)
    same_host = _host_matches(allowed.hostname or "", target.hostname or "")
    same_port = _port(allowed) == _port(target)
    return same_host and same_port and _path_covers(allowed, target)


def _path_covers(allowed: SplitResult, target: SplitResult) -> bool:
    """Compare the paths percent-encoded, so that it does not matter how each is written."""
    return _below(percent_encoded(allowed.path), percent_encoded(target.path))


def _host_matches(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and host != pattern[2:]
    return pattern == host


def _port(url: SplitResult) -> int:
    return url.port or {"http": 80, "https": 443}[url.scheme]


def _below(prefix: str, path: str) -> bool:
    plain = path.lower().replace("%2e", ".").replace("%2f", "/")
    if ".." in plain.split("/") or plain.startswith("//"):  # another program may read it differently
        return False
    whole = prefix.rstrip("/")
    return path == whole or (path or "/").startswith(whole + "/")
