"""Calls to the provider: bounded in time and size, without redirects, which could carry a token elsewhere."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from shopkeeper_asgi.breaker import Breaker
from shopkeeper_asgi.errors import ProviderUnavailable

MAX_BYTES: Final = 256 * 1024
CONNECTIONS: Final = 100
LONGEST_SENTENCE: Final = 500
LONGEST_WAIT: Final = 3600
_TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read completely. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the JSON object of the answer, empty where it is none. A member that comes twice is none either."""
        try:
            return parse_object(self.body)
        except ValueError:
            return {}

    def unavailable(self, who: str) -> ProviderUnavailable:
        """Return the error for an answer of an unexpected status; the provider's `Retry-After` goes on."""
        wait = self.headers.get("retry-after", "")
        seconds = int(wait) if wait.isascii() and wait.isdigit() and len(wait) <= len(str(LONGEST_WAIT)) else 5
        return ProviderUnavailable(f"{who} answered {self.status}", retry_after=min(max(seconds, 1), LONGEST_WAIT))


class HttpClient:
    """Calls the provider.

    Args:
        tls: the TLS context, where the system's certificate authorities do not do.
        proxy: the URL of an HTTP proxy. The environment is not asked.

    `breaker` is told of answers here; who gives a call up tells it that there was none.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, proxy: str | None = None) -> None:
        self.breaker = Breaker()
        self._client = httpx2.AsyncClient(
            headers={"user-agent": "shopkeeper-asgi", "accept": "application/json", "accept-encoding": "identity"},
            verify=tls or _system_authorities(),
            proxy=proxy,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # all users share this client
            limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS // 5),
            timeout=None,
        )

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer, whatever its status. Raises `ProviderUnavailable`."""
        self.breaker.require_closed()
        host = urlsplit(url).netloc
        for left in reversed(range(_TRIES)):
            try:
                async with self._client.stream(method, url, headers=headers, data=form) as response:
                    answer = await _read(response, host)
                self.breaker.answered()
                return answer
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError) as closed:
                # The server may have closed a connection that was kept; every call here may be repeated.
                if not left:
                    raise ProviderUnavailable(f"{host} closed the connection") from closed
            except httpx2.HTTPError as failed:
                raise ProviderUnavailable(f"{host}: {type(failed).__name__}") from failed
        raise AssertionError("unreachable")

    async def close(self) -> None:
        await self._client.aclose()


@cache
def _system_authorities() -> ssl.SSLContext:
    """Return one context for all clients, because reading the system's authorities takes 20 ms."""
    return ssl.create_default_context()


async def _read(response: httpx2.Response, host: str) -> Answer:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ProviderUnavailable(f"{host} sent a compressed answer, which was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BYTES:
            raise ProviderUnavailable(f"{host} sent more than {MAX_BYTES} bytes")
    return Answer(response.status_code, dict(response.headers), bytes(body))


def parse_object(text: bytes) -> dict[str, Any]:
    """Return a JSON object. Raises `ValueError` for everything else, also for members that come twice."""
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as deep:
        raise ValueError("nested too deeply") from deep
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member comes twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def checked_url(url: str) -> str:
    """Return an http or https URL with a host. Raises `ValueError` for another one, or one with a password in it."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        raise ValueError(f"this must be like https://host/path, without a name and a password: {url!r}")
    return url


def sentence(value: Any) -> str | None:
    """Return a provider's sentence in one line of bounded length, None where there is none."""
    if not isinstance(value, str):
        return None
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in value[: 2 * LONGEST_SENTENCE]).split())
    return line[:LONGEST_SENTENCE] or None
