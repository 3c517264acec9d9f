"""How requests must be addressed: to exactly one host, to one of ours where that is checked, and over TLS under https.

A name that an attacker points at this machine (DNS rebinding) makes a browser treat the attacker's page as one of our
own, but its requests still carry the attacker's name in `Host`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shopkeeper.client import names_this_machine, without_port
from shopkeeper.clock import Clock
from shopkeeper.errors import BadRequest, HostNotAllowed, Refusal
from shopkeeper.http.responses import error_response, language_in
from shopkeeper.http.route_labels import trim

LONGEST: Final = 261
"""Bytes of a `Host`: 255 of a name (RFC 1035 section 2.3.4), and a port."""
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")
"""A year of https only (RFC 6797). Neighbouring hosts are not included: they are not ours to decide about."""
MOST_REMEMBERED: Final = 64
"""How many accepted hosts are remembered as they are written, because nearly all requests have the same few."""

_WITHOUT_HOST: Final = frozenset({"1.0", "1"})  # as ASGI has it, and as Granian writes it
# RFC 9112 section 3.2: uri-host [ ":" port ]; of the characters of a registered name, those that host names have.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")


def refuse_malformed_host(hosts: Sequence[bytes], *, http_version: str) -> Refusal | None:
    """Return the refusal of a request without exactly one valid `Host` (RFC 9112 section 3.2), or None.

    HTTP/1.0 has no such header, but two of them are refused there as well: the servers in between may have read
    different ones. An empty one counts as none: the HTTP server adds it where there is none.

    >>> refuse_malformed_host([b"shop.test:443"], http_version="1.1"), refuse_malformed_host([], http_version="1.0")
    (None, None)
    """
    if not any(hosts) and len(hosts) < 2 and http_version in _WITHOUT_HOST:
        return None
    if len(hosts) != 1 or not hosts[0]:
        return BadRequest("A request has exactly one Host header.")
    if len(hosts[0]) > LONGEST or not _HOST.fullmatch(hosts[0]):
        return BadRequest("The Host header is not a host name or an address, with or without a port.")
    return None


class HostRules:
    """How the requests to one port must be addressed, for the middleware and for hot paths before it.

    Args:
        names: the host names and addresses, without ports, that the port answers for; None answers for every host.
        setting: the setting that adds a host, for the sentence of the refusal.
        loopback: whether the names of this machine itself are answered for as well.
        any_path: paths that are answered to every well-formed host, as the router knows them.
        https: whether the port's public address is https.
    """

    def __init__(
        self,
        names: Iterable[str] | None,
        *,
        setting: str = "",
        loopback: bool = False,
        any_path: frozenset[str] = frozenset(),
        https: bool = False,
    ) -> None:
        self._names = None if names is None else frozenset(_plain(name) for name in names)
        self._setting = setting
        self._loopback = loopback
        self._any_path = any_path
        self._accepted: set[bytes] = set()
        self.headers: Sequence[tuple[bytes, bytes]] = (HSTS,) if https else ()
        """The headers to add to every response."""

    def accepts(self, host: bytes) -> bool:
        """Return whether requests with this one `Host` are answered, for every path."""
        if host in self._accepted:
            return True
        accepted = self.refusal([host], http_version="1.1", path="") is None
        if accepted and len(self._accepted) < MOST_REMEMBERED:
            self._accepted.add(host)
        return accepted

    def refusal(self, hosts: Sequence[bytes], *, http_version: str, path: str) -> Refusal | None:
        """Return the refusal of a request with these `Host` headers, or None."""
        malformed = refuse_malformed_host(hosts, http_version=http_version)
        if malformed is not None or self._names is None or trim(path, prefix="/admin") in self._any_path:
            return malformed
        name = _plain(without_port(hosts[0].decode("ascii"))) if hosts else ""
        if name in self._names or (self._loopback and names_this_machine(name)):
            return None
        return HostNotAllowed(
            f"This server does not answer for the host '{name[:64]}': use its own address, or add the host to "
            f"{self._setting}."
        )


def host_of(url: str) -> str:
    """Return the host of an address as browsers send it: in ASCII (RFC 5891), without a port.

    >>> host_of("https://gemüse.example:8443/account")
    'xn--gemse-mva.example'
    """
    try:
        name = urlsplit(url).hostname or ""
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except ValueError:  # a malformed address, or a name that no browser can send
        return ""


def _plain(name: str) -> str:
    return name.strip("[]").rstrip(".").lower()


class HostCheck:
    """Refuses requests by their `Host`, and adds `Strict-Transport-Security` to every response under an https address.

    It stands before CORS, so that no page learns anything under a host that is not ours.
    """

    def __init__(self, app: ASGIApp, *, rules: HostRules, clock: Clock) -> None:
        self._app = app
        self._rules = rules
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        refusal = self._rules.refusal(hosts, http_version=scope["http_version"], path=scope["path"])
        app = self._app if refusal is None else error_response(refusal, clock=self._clock, language=language_in(scope))
        await app(scope, receive, _with_headers(self._rules.headers, send) if self._rules.headers else send)


def _with_headers(headers: Sequence[tuple[bytes, bytes]], send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return with_headers
