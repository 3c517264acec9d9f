"""The HTTP client for calls to other servers, guarded against server-side request forgery (SSRF).

Host names are resolved here, every address is checked, and the connection goes to the checked address, so DNS rebinding
between check and connection has no effect. The certificate is still verified against the name. Redirects are followed
only on request, and then every hop is checked. Responses are limited in time and size.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore2
import httpx2
import structlog

from shopkeeper.errors import UpstreamFailed, in_seconds
from shopkeeper.transaction_guard import refuse_inside_transaction

TIMEOUT: Final = 5.0
MAX_BYTES: Final = 1024 * 1024
MAX_REDIRECTS: Final = 3
CONNECTIONS: Final = 100
_MOMENT: Final = 1.0
"""Seconds for a body that does not matter."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Resolves a host to its addresses, as text. Raises `OSError` where there are none."""


log = structlog.get_logger("shopkeeper.http_client")


class HttpCallFailed(UpstreamFailed):
    """Raised when another server did not answer, not in time, or with too large a response."""

    code = "outgoing_failed"
    message = "Another server did not answer as it should."


class HttpResponseTooLarge(HttpCallFailed):
    """Raised when another server answered with more bytes than are read."""


class HttpCallRefused(UpstreamFailed):
    """Raised when the address must not be called: it is private, or not an HTTP address."""

    code = "outgoing_refused"
    message = "The address is one that this server does not call."


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response, read completely. Header names are in lower case; the values of a repeated header are joined.

    `set_cookies` has each `Set-Cookie` line by itself, because these cannot be joined (RFC 6265 section 3).
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    set_cookies: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the status means success."""
        return 200 <= self.status < 300


class GuardedClient:
    """Calls other servers, but none on private networks.

    Args:
        private_allowed: allows every address. This is Kratos' default; here only where
            `clients.http.disallow_private_ip_ranges` is false.
        exceptions: patterns of addresses that may be private, as in Kratos' `clients.http.private_ip_exception_urls`:
            `*` matches anything without a dot or a slash, `**` matches anything. Query and fragment are ignored.
        networks: private networks that may be called, such as `10.20.0.0/16`.
        timeout: seconds for a whole call, from name resolution to the last byte.
        max_bytes: the maximum size of a response.
        verify: the TLS context; by default with the system's certificate authorities.
        resolve: resolves names; by default the system's resolver.

    >>> async with GuardedClient(exceptions=["http://hooks.internal/**"]) as client:  # doctest: +SKIP
    ...     response = await client.request("POST", "http://hooks.internal/after-sign-up", content=b"{}")
    """

    def __init__(
        self,
        *,
        private_allowed: bool = False,
        exceptions: Iterable[str] = (),
        networks: Iterable[str] = (),
        timeout: float = TIMEOUT,
        max_bytes: int = MAX_BYTES,
        verify: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        self._timeout, self._max_bytes = timeout, max_bytes
        self._client = httpx2.AsyncClient(
            transport=_Transport(
                ["**"] if private_allowed else list(exceptions),
                context=verify or _system_authorities(),
                guarded=_GuardedBackend(resolve or _resolve, [ipaddress.ip_network(network) for network in networks]),
            ),
            headers={"User-Agent": "shopkeeper", "Accept-Encoding": "identity"},
            # All requests share one client, so a cookie from one response must not be sent with another request.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            max_redirects=MAX_REDIRECTS,
            trust_env=False,
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the bound of the call; becomes asyncio.timeout below
        max_bytes: int | None = None,
        follow_redirects: bool = False,
        status_is_enough: bool = False,
    ) -> HttpResponse:
        """Send a request and read the whole response, regardless of its status.

        With `status_is_enough`, a response whose body is too large, too slow, compressed or cut off has what came of
        the body, and is no failure: for calls that must not be repeated because of it.

        Raises `HttpCallRefused` or `HttpCallFailed`; their details name the host but not the path, which may hold a
        secret. Raises `CalledInsideTransaction` while a transaction of the caller is open.
        """
        refuse_inside_transaction("Another server")
        try:
            return await self._call(
                method,
                url,
                seconds=timeout if timeout is not None else self._timeout,
                max_bytes=max_bytes if max_bytes is not None else self._max_bytes,
                headers=headers,
                content=content,
                follow_redirects=follow_redirects,
                status_is_enough=status_is_enough,
            )
        except UpstreamFailed as failed:
            # Where no caller handles it, this line is all that operators see of it.
            log.info("outgoing.failed", reason=failed.detail)
            raise

    async def _call(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        max_bytes: int,
        headers: Mapping[str, str] | None,
        content: bytes | None,
        follow_redirects: bool,
        status_is_enough: bool,
    ) -> HttpResponse:
        host = _host(url)
        try:
            async with asyncio.timeout(seconds):
                request = self._client.build_request(method, url, headers=headers, content=content, timeout=seconds)
                response = await self._client.send(request, stream=True, follow_redirects=follow_redirects)
                if not status_is_enough:
                    return await _read(response, host, max_bytes)
            return await _read_some(response, max_bytes)
        except (TimeoutError, httpx2.TimeoutException, httpcore2.TimeoutException) as late:
            raise HttpCallFailed(f"{host} did not answer within {in_seconds(seconds)}.") from late
        except (httpx2.UnsupportedProtocol, httpcore2.UnsupportedProtocol, httpx2.InvalidURL) as odd:
            raise HttpCallRefused(f"{host} led to something that is not an http or https address.") from odd
        except httpx2.TooManyRedirects as circle:
            raise HttpCallFailed(f"{host} redirected more than {MAX_REDIRECTS} times.") from circle
        except (httpx2.HTTPError, httpcore2.NetworkError, httpcore2.ProtocolError) as broken:
            raise HttpCallFailed(f"The connection to {host} failed.") from broken

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def __aenter__(self) -> "GuardedClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _host(url: str) -> str:
    """Return the host of an http or https URL, for use in error sentences. Raises `HttpCallRefused` for other URLs."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        usable = parts.scheme in {"http", "https"} and httpx2.URL(url).host != ""
    except (ValueError, httpx2.InvalidURL) as odd:
        raise HttpCallRefused("The address cannot be read; it must be like https://host/path.") from odd
    if not host or not usable:
        raise HttpCallRefused("The address must begin with http:// or https:// and name a host.")
    return host


async def _read(response: httpx2.Response, host: str, max_bytes: int) -> HttpResponse:
    try:
        # We request no compression: a small response that unpacks to a large one would evade the size limit.
        if response.headers.get("content-encoding", "identity") != "identity":
            raise HttpCallFailed(f"{host} sent a compressed answer, which was not asked for.")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > max_bytes:
                raise HttpResponseTooLarge(f"{host} sent more than {max_bytes} bytes.")
        set_cookies = tuple(response.headers.get_list("set-cookie"))
        return HttpResponse(response.status_code, dict(response.headers), bytes(body), set_cookies)
    finally:
        await response.aclose()


async def _read_some(response: httpx2.Response, max_bytes: int) -> HttpResponse:
    """Read what comes of a body within a moment, so that the connection may be used again. Raises nothing."""
    body = bytearray()
    with contextlib.suppress(TimeoutError, httpx2.HTTPError, httpcore2.NetworkError, httpcore2.ProtocolError):
        async with asyncio.timeout(_MOMENT):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > max_bytes:
                    break
    with contextlib.suppress(httpx2.HTTPError, httpcore2.NetworkError, httpcore2.ProtocolError):
        await response.aclose()
    readable = response.headers.get("content-encoding", "identity") == "identity"
    return HttpResponse(response.status_code, dict(response.headers), bytes(body[:max_bytes]) if readable else b"")


@cache
def _system_authorities() -> ssl.SSLContext:
    """Return the TLS context of all clients, because reading the system's authorities takes 20 ms."""
    return ssl.create_default_context()


class _Transport(httpx2.AsyncBaseTransport):
    """Sends requests through two separate pools: a connection opened for an exception serves no other address."""

    def __init__(
        self, patterns: Sequence[str], *, context: ssl.SSLContext, guarded: httpcore2.AsyncNetworkBackend
    ) -> None:
        self._exceptions = [_compile(pattern) for pattern in patterns]
        self._trusted = _pool(context, httpcore2.AnyIOBackend())
        self._guarded = _pool(context, guarded)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        answer = await self._pool_for(url).handle_async_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx2.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    async def aclose(self) -> None:
        await self._trusted.aclose()
        await self._guarded.aclose()

    def _pool_for(self, url: httpx2.URL) -> httpcore2.AsyncConnectionPool:
        # Compare without user, query and fragment: a caller can add those freely, and they must not help to match a
        # pattern.
        plain = str(url.copy_with(userinfo=b"", query=None, fragment=None))
        return self._trusted if any(pattern.fullmatch(plain) for pattern in self._exceptions) else self._guarded


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._answer.stream, AsyncIterable)  # noqa: S101 - the pool is an asynchronous one
        async for chunk in self._answer.stream:
            yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to permitted addresses only. It works below TLS, so the certificate is verified against the name."""

    def __init__(self, resolve: Resolve, networks: Sequence[Network]) -> None:
        self._resolve, self._networks = resolve, networks
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._judged(host, port)
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError:
                continue
        return await self._network.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
        raise HttpCallRefused(f"{path} is a socket of this machine.")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    async def _judged(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as unknown:
            raise HttpCallFailed(f"{host} cannot be found: there is no address by that name.") from unknown
        if not addresses:
            raise HttpCallFailed(f"{host} cannot be found: there is no address by that name.")
        # One private address among public ones is refused: an honest name does not resolve to both.
        if not all(self._permitted(address) for address in addresses):
            raise HttpCallRefused(
                f"{host} is on a private network, where this server does not call; "
                "if it should, add the address to clients.http.private_ip_exception_urls."
            )
        return addresses

    def _permitted(self, address: str) -> bool:
        return is_public(address) or any(_within(address, network) for network in self._networks)


def _within(address: str, network: Network) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False


def _pool(context: ssl.SSLContext, backend: httpcore2.AsyncNetworkBackend) -> httpcore2.AsyncConnectionPool:
    return httpcore2.AsyncConnectionPool(
        ssl_context=context,
        max_connections=CONNECTIONS,
        max_keepalive_connections=CONNECTIONS // 5,
        keepalive_expiry=5.0,
        network_backend=backend,
    )


async def _resolve(host: str, port: int) -> Sequence[str]:
    # The C library also accepts 2130706433, 0177.0.0.1 and 127.1; the address that it returns is checked.
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# Not public either, although Python 3.11 calls some of them global; also Azure's WireServer.
NEVER: Final = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)


def is_public(address: str) -> bool:
    """Whether an address is reachable from the public Internet. Addresses that are not known to be public are not.

    >>> is_public("1.1.1.1"), is_public("169.254.169.254"), is_public("::ffff:127.0.0.1")
    (True, False, False)
    """
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(number, ipaddress.IPv6Address):
        inner = _inner(number)
        if inner is None:
            return number in GLOBAL_UNICAST and _is_global(number)
        number = inner
    return _is_global(number)


def _is_global(number: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    special = number.is_multicast or number.is_reserved or any(number in network for network in NEVER)
    return number.is_global and not special


def _inner(number: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address in an IPv6 address (mapped, 6to4 of RFC 3056, NAT64 of RFC 6052), or None."""
    if number in NAT64:
        return ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
    return number.ipv4_mapped or number.sixtofour


_WILDCARDS: Final = {"**": ".*", "*": "[^./]*"}


def _compile(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join(_WILDCARDS.get(part) or re.escape(part) for part in parts))
