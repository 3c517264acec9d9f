"""Translates answers of a session server for our callers: its addresses become ours, and few headers pass."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from starlette.responses import Response

from shopkeeper.errors import MalformedBody
from shopkeeper.http.responses import NO_STORE, encode
from shopkeeper.http.session_server_cookies import ServerCookies
from shopkeeper.http_client import HttpResponse
from shopkeeper.openid.errors import ProviderAnswerInvalid
from shopkeeper.parsing import media_type_of, parse_json
from shopkeeper.upstream.session_answers import SessionAnswer

MAX_VALUES: Final = 20_000
"""Values of an answer in JSON: flows with many fields, and lists of sessions."""
_PASSED: Final = (
    "content-language",
    "retry-after",
    "vary",
    "x-error-code",
    "x-kratos-authenticated-identity-id",
    "x-total-count",
)
# No HTML: the server's pages would be pages of our own origin.
_TYPES: Final = frozenset({"application/json", "text/javascript", "application/javascript", "text/plain"})
_OF_ADDRESSES: Final = frozenset(
    {"action", "href", "logout_url", "redirect_browser_to", "request_url", "schema_url", "src", "url"}
)
"""The members that hold addresses (contract page section 1.3). What people have written, such as traits, is left."""
_OF_PEOPLE: Final = frozenset({"traits", "metadata_public", "transient_payload"})
_API: Final = re.compile(r"/(self-service|sessions|schemas|\.well-known/ory)(/|\?|$)")
_ADDRESS: Final = re.compile(r"[!-~]{1,8192}", re.ASCII)
_HEADER: Final = re.compile(r"[ -~]{0,1024}", re.ASCII)


class ServerAddresses:
    """Makes addresses of the session server's API ours.

    Args:
        server: its public address, without a slash at the end.
        ours: our public address, without a slash at the end.
        pages: where the pages of flows are, by kind, in place of those that the server leads to.

    >>> addresses = ServerAddresses("https://idp.test", "https://shop.test", pages={"login": "https://shop.test/in"})
    >>> addresses.ours("https://idp.test/self-service/login?flow=1"), addresses.ours("https://idp.test.evil/sessions")
    ('https://shop.test/self-service/login?flow=1', 'https://idp.test.evil/sessions')
    >>> addresses.location("https://idp.test/ui/login?flow=1", kind="login")
    'https://shop.test/in?flow=1'
    """

    def __init__(self, server: str, ours: str, *, pages: Mapping[str, str]) -> None:
        self._server, self._ours, self._pages = server, ours, dict(pages)

    def ours(self, url: str) -> str:
        """Return our address in place of one of the server's API; any other as it is."""
        rest = url[len(self._server) :]
        return self._ours + rest if url.startswith(self._server) and _API.match(rest) else url

    def location(self, url: str, *, kind: str) -> str:
        """Return where a browser is to go in place of a page of a flow or an address of the API."""
        ours = self.ours(url)
        if ours != url:
            return ours
        parts = urlsplit(url)
        flow = parse_qs(parts.query).get("flow", [""])[0]
        named = parts.path.rstrip("/").rpartition("/")[2]
        page = self._pages.get(named if named in self._pages else kind) if flow else None
        if page is None:
            return url
        return f"{page}{'&' if '?' in page else '?'}{urlencode({'flow': flow})}"

    def of_document(self, document: Any) -> Any:
        """Return a document with our addresses in its members that hold addresses."""
        if isinstance(document, list):
            return [self.of_document(each) for each in document]
        if not isinstance(document, dict):
            return document
        return {name: self._member(name, value) for name, value in document.items()}

    def _member(self, name: str, value: Any) -> Any:
        if name in _OF_PEOPLE:
            return value
        if isinstance(value, str):
            return self.ours(value) if name in _OF_ADDRESSES else value
        return self.of_document(value)


def session_response(answer: SessionAnswer, addresses: ServerAddresses) -> Response:
    """Return what a session server said of a valid session as our answer to `/sessions/whoami`."""
    document = addresses.of_document(parse_json(answer.body, most_values=MAX_VALUES))
    headers = {"Cache-Control": NO_STORE, "X-Kratos-Authenticated-Identity-Id": quote(answer.external.subject)}
    return Response(encode(document), headers=headers, media_type="application/json; charset=utf-8")


def translated(response: HttpResponse, *, addresses: ServerAddresses, cookies: ServerCookies, kind: str) -> Response:
    """Return the answer for our caller. Raises `ProviderAnswerInvalid` where it cannot be passed on."""
    headers = {"Cache-Control": NO_STORE, **_passed(response.headers)}
    location = response.headers.get("location")
    if location is not None:
        headers["Location"] = _checked(addresses.location(location, kind=kind))
    if 300 <= response.status < 400 and location is None:
        raise ProviderAnswerInvalid("The session server redirects to nowhere.", cause="redirected")
    answer = Response(_body(response, addresses, headers), response.status, headers)
    for line in cookies.received(response.set_cookies):
        answer.headers.append("Set-Cookie", line)
    return answer


def _body(response: HttpResponse, addresses: ServerAddresses, headers: dict[str, str]) -> bytes | None:
    if response.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
        return None
    if not response.body or 300 <= response.status < 400:
        return b""
    content_type = response.headers.get("content-type", "")
    media_type = media_type_of(content_type)
    if media_type not in _TYPES or not _HEADER.fullmatch(content_type):
        raise ProviderAnswerInvalid("The session server answered with another type.", cause="type")
    headers["Content-Type"] = content_type
    headers["X-Content-Type-Options"] = "nosniff"
    if media_type != "application/json":
        return response.body
    try:
        document = parse_json(response.body, most_values=MAX_VALUES)
    except MalformedBody as broken:
        raise ProviderAnswerInvalid("The session server's answer is not JSON.", cause="not_json") from broken
    return encode(addresses.of_document(document))


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _PASSED if name in headers and _HEADER.fullmatch(headers[name])}


def _checked(location: str) -> str:
    """Return an address that a browser may be sent to."""
    scheme = urlsplit(location).scheme.lower()
    if not _ADDRESS.fullmatch(location) or scheme in _RUN_BY_BROWSERS:
        raise ProviderAnswerInvalid("The session server redirects to no address.", cause="redirected")
    return location


_RUN_BY_BROWSERS: Final = frozenset({"javascript", "vbscript", "data", "blob", "filesystem", "file", "about"})
