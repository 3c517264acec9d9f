"""The one HTTP client that leaves the house, guarded against being sent to where only we can reach (SSRF).

Names are resolved here, every address is judged, and the connection goes to the very address that was judged: a name
that changes its mind between the two (DNS rebinding) gains nothing. The certificate is still checked against the name.
Redirects are not followed unless asked for, and then every hop is judged anew. Answers are bounded in time and size.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore2
import httpx2

from shopkeeper.errors import UpstreamFailed
from shopkeeper.transaction_guard import refuse_inside_transaction

TIMEOUT: Final = 5.0
MAX_BYTES: Final = 1024 * 1024
MAX_REDIRECTS: Final = 3
CONNECTIONS: Final = 100

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Finds the addresses of a host, as text. Raises `OSError` where there are none."""


class HttpCallFailed(UpstreamFailed):
    """The other side did not answer, or not in time, or with more than we read."""

    code = "outgoing_failed"
    message = "Another server did not answer as it should."


class HttpCallRefused(UpstreamFailed):
    """We do not go there: the address is private, or no HTTP address at all."""

    code = "outgoing_refused"
    message = "The address is one that this server does not call."


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What the other side answered, read to the end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300


class GuardedClient:
    """Calls other servers, but none on our own side of the wall.

    Args:
        private_allowed: lets every address pass; Kratos' default, and ours only where
            `clients.http.disallow_private_ip_ranges` is set to false.
        exceptions: patterns of addresses that may be private, as in Kratos' `clients.http.private_ip_exception_urls`:
            `*` stands for anything without a dot or a slash, `**` for anything. Query and fragment do not count.
        networks: private networks that may be called nevertheless, such as `10.20.0.0/16`.
        timeout: seconds for a whole call, from the first look-up to the last byte.
        max_bytes: how much of an answer is read.
        verify: the TLS context; the system's certificate authorities by default.
        resolve: how names become addresses; the system's resolver by default.

    >>> async with Outgoing(exceptions=["http://hooks.internal/**"]) as outgoing:  # doctest: +SKIP
    ...     reply = await outgoing.request("POST", "http://hooks.internal/after-sign-up", content=b"{}")
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
                context=verify or ssl.create_default_context(),
                guarded=_GuardedBackend(resolve or _resolve, [ipaddress.ip_network(network) for network in networks]),
            ),
            headers={"User-Agent": "shopkeeper", "Accept-Encoding": "identity"},
            # One client serves everybody; a cookie that one answer sets must not travel with another's request.
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
        timeout: float | None = None,  # noqa: ASYNC109 - it is the bound of the call, and becomes asyncio.timeout below
        max_bytes: int | None = None,
        follow_redirects: bool = False,
    ) -> HttpResponse:
        """Sends one request and reads the whole answer, whatever its status.

        Raises `HttpCallRefused` or `HttpCallFailed`; their sentences name the host and never the path, which may hold
        a secret. Raises `CalledInsideTransaction` while a transaction of the caller is open.
        """
        refuse_inside_transaction("Another server")
        host = _host(url)
        seconds = timeout if timeout is not None else self._timeout
        try:
            async with asyncio.timeout(seconds):
                request = self._client.build_request(method, url, headers=headers, content=content, timeout=seconds)
                response = await self._client.send(request, stream=True, follow_redirects=follow_redirects)
                return await _read(response, host, max_bytes if max_bytes is not None else self._max_bytes)
        except (TimeoutError, httpx2.TimeoutException, httpcore2.TimeoutException) as late:
            raise HttpCallFailed(f"{host} did not answer within {seconds:g} seconds.") from late
        except (httpx2.UnsupportedProtocol, httpcore2.UnsupportedProtocol, httpx2.InvalidURL) as odd:
            raise HttpCallRefused(f"{host} led to something that is not an http or https address.") from odd
        except httpx2.TooManyRedirects as circle:
            raise HttpCallFailed(f"{host} redirected more than {MAX_REDIRECTS} times.") from circle
        except (httpx2.HTTPError, httpcore2.NetworkError, httpcore2.ProtocolError) as broken:
            raise HttpCallFailed(f"The connection to {host} failed.") from broken

    async def close(self) -> None:
        """Ends every connection."""
        await self._client.aclose()

    async def __aenter__(self) -> "GuardedClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _host(url: str) -> str:
    """The host of an address that may be called at all; names it in every sentence."""
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
        # We asked for no compression: a small answer that unpacks to a large one would walk past the size limit.
        if response.headers.get("content-encoding", "identity") != "identity":
            raise HttpCallFailed(f"{host} sent a compressed answer, which was not asked for.")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > max_bytes:
                raise HttpCallFailed(f"{host} sent more than {max_bytes} bytes.")
        return HttpResponse(response.status_code, dict(response.headers), bytes(body))
    finally:
        await response.aclose()


class _Transport(httpx2.AsyncBaseTransport):
    """Two pools that share nothing: a connection opened for an exception is never used for anything else."""

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
        # Without user, query and fragment: what the caller can add freely must not help to match a pattern.
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
    """Connects to public addresses only; it sits below TLS, so that the certificate is checked against the name."""

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
        # One private address among public ones is reason enough: an honest name does not lead to both.
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
    # The C library also reads 2130706433, 0177.0.0.1 and 127.1 as addresses; what it makes of them is judged.
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# Not for the Internet either, though Python 3.11 calls some of them global; and Azure's own WireServer.
NEVER: Final = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)


def is_public(address: str) -> bool:
    """Whether anybody on the Internet could call this address too. What is not known to be public is not.

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
    """The IPv4 address that an IPv6 address stands for: mapped, 6to4 (RFC 3056) or NAT64 (RFC 6052)."""
    if number in NAT64:
        return ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
    return number.ipv4_mapped or number.sixtofour


_WILDCARDS: Final = {"**": ".*", "*": "[^./]*"}


def _compile(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join(_WILDCARDS.get(part) or re.escape(part) for part in parts))
