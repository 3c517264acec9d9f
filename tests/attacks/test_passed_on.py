"""Rows 43, 44 and 46: what callers, and the server behind, can do where paths of self-service are passed on."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.http.session_server_cookies import ServerCookies
from tests.attacks.scene import ADDRESS, EVIL, HERE, Scene, opened, sign_up, visit
from tests.services.web import Server, says, serving

KETTLE = {"connector": "kettle"}
"""A store of this server's own identities."""
LOGIN = "/self-service/login/api"
FORM = "/self-service/login"
JSON = {"content_type": "application/json"}
ELSEWHERE = [
    "/self-service/../admin/identities",
    "/self-service/%2e%2e/admin/identities",
    "/self-service/..%2fadmin%2fidentities",
    "/self-service/login/..;/admin",
    "/self-service//evil.test/x",
    "/self-service/login%0d%0aHost:%20evil.test",
    "/self-service/login%20HTTP/1.1",
    "/self-service/login%3fx=y",
    "/self-service/login%23x",
    "/self-service/login\\..\\admin",
    "/self-service/@evil.test",
    "/sessions/.",
    "/sessions/..",
    "/sessions/.hidden",
    "/schemas/a/b/c/d/e/f/g",
    "//evil.test/self-service/login",
    "/admin/identities",
    "/identities",
    "/health/ready",
    "/metrics",
    "http://evil.test/self-service/login",
    "self-service/login",
    "*",
    "",
]
"""Paths that a session server must not be asked for; the HTTP server decodes them."""
ALLOWED = {
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "origin",
    "purpose",
    "sec-purpose",
    "user-agent",
    "x-forwarded-for",
    "x-session-token",
}
"""What may arrive at the server behind; `connection` and `accept-encoding` are those of our own client."""


@dataclass(frozen=True)
class Behind:
    """The shop, and a scripted server behind it."""

    shop: Scene
    server: Server

    @property
    def names(self) -> ServerCookies:
        return ServerCookies("idp", secure=True)

    async def raw(self, path: str, query: bytes = b"") -> int:
        """Send a request line that no client would; return the status."""
        status: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            status.extend([message["status"]] if "status" in message else [])

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "root_path": "",
            "headers": [(b"host", b"shop.test")],
            "client": (HERE, 1),
            "server": ("shop.test", 443),
        }
        await self.shop.application.public(scope, receive, send)
        return status[0]

    def arrived(self) -> tuple[str, dict[str, str]]:
        """Return the target and the headers of the last request."""
        first, *lines = self.server.heads[-1].rstrip("\r\n").split("\r\n")
        pairs = [line.partition(": ") for line in lines]
        assert len(pairs) == len({name.lower() for name, _, _ in pairs})
        return first.split(" ")[1], {name.lower(): value for name, _, value in pairs}


@pytest.fixture
async def behind(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Behind]:
    async with serving("127.0.0.1") as server:
        for path in (LOGIN, FORM, "/sessions/whoami", "/sessions", "/self-service/login/browser"):
            server.answers[path] = says(b"{}", **JSON)
        settings = {
            "providers": [{"kind": "kratos", "id": "idp", "public_url": server.url("/"), "self_service": "proxy"}],
            "stores": [{"id": "default", "provider": "idp"}, {"id": "kettle"}],
            "clients": {"http": {"private_ip_exception_urls": [server.url("/**")]}},
        }
        async with opened(sqlite_dsn, tmp_path, clock, settings=settings) as shop:
            yield Behind(shop, server)


class TestRequests:
    async def test_row_043_an_address_that_the_caller_writes_is_not_passed_on(self, behind: Behind) -> None:
        lies = {"x-forwarded-for": "1.2.3.4, 5.6.7.8", "x-real-ip": "1.2.3.4", "true-client-ip": "1.2.3.4"}
        lies |= {"cf-connecting-ip": "1.2.3.4", "forwarded": "for=1.2.3.4"}
        await (await behind.shop.native()).get(LOGIN, headers=lies)
        _, headers = behind.arrived()
        assert headers["x-forwarded-for"] == HERE
        assert not {*lies} - {"x-forwarded-for"} & {*headers}
        assert "1.2.3.4" not in behind.server.heads[-1]

    async def test_row_044_no_header_names_another_host(self, behind: Behind) -> None:
        lies = {"host": "evil.test", "x-forwarded-host": "evil.test", "x-host": "evil.test", "x-original-url": "/evil"}
        lies |= {"x-forwarded-proto": "ftp", "x-forwarded-prefix": "/evil", "x-rewrite-url": "/evil"}
        answer = await (await behind.shop.native()).get(LOGIN, headers=lies)
        target, headers = behind.arrived()
        assert (answer.status_code, target) == (200, LOGIN)
        assert headers["host"] == f"127.0.0.1:{behind.server.port}"
        assert "evil" not in behind.server.heads[-1]

    async def test_row_046_headers_of_one_connection_end_here(self, behind: Behind) -> None:
        lies = {
            "connection": "close, x-session-token",
            "keep-alive": "timeout=9",
            "proxy-authorization": "Basic YTpi",
            "proxy-connection": "keep-alive",
            "te": "trailers",
            "trailer": "x-evil",
            "upgrade": "h2c",
            "http2-settings": "AAMAAABkAARAAAAAAAIAAAAA",
            "x_session_token": "ory_st_evil",
            "x-kratos-authenticated-identity-id": "evil",
            "x-http-method-override": "DELETE",
            "x-forwarded-uri": "/evil",
            "x-forwarded-method": "DELETE",
        }
        await (await behind.shop.native()).post(f"{FORM}?flow=1", json={"method": "password"}, headers=lies)
        _, headers = behind.arrived()
        assert {*headers} <= ALLOWED
        assert "evil" not in behind.server.heads[-1]
        assert behind.server.heads[-1].startswith(f"POST {FORM}?flow=1 ")

    async def test_row_046_no_path_leads_elsewhere(self, behind: Behind) -> None:
        for path in ELSEWHERE:
            await behind.raw(unquote(path))
            assert behind.server.heads == [], path

    async def test_row_046_no_query_ends_the_request_line(self, behind: Behind) -> None:
        for query in (b"a=\r\nHost: evil.test", b"a=\x0bb", b"a=b#c", b"a=b c", b"a=\xff"):
            assert await behind.raw(LOGIN, query) == 400, query
        assert behind.server.heads == []

    async def test_row_046_our_own_credentials_stay_here(self, behind: Behind) -> None:
        app = await behind.shop.native()
        ours = (await sign_up(await behind.shop.native(**KETTLE), "ada@example.org"))["session_token"]
        guest = (await visit(app))["authorization"]
        cookies = (
            f"ory_kratos_session={ours}; __Host-shopkeeper_visit={guest}; csrf_token=x; {behind.names.name('theirs')}=1"
        )
        for token in ({"x-session-token": ours}, {"authorization": f"Bearer {ours}"}):
            await app.get("/sessions", headers={"cookie": cookies, **token})
            head = behind.server.heads[-1]
            assert ours not in head
            assert guest not in head
            assert behind.arrived()[1]["cookie"] == "theirs=1"

    async def test_row_046_a_planted_cookie_is_not_passed_on(self, behind: Behind) -> None:
        name = behind.names.name("ory_kratos_session")
        await (await behind.shop.native()).get("/sessions", headers={"cookie": f"{name}=mine; {name}=planted"})
        assert "cookie" not in behind.arrived()[1]

    async def test_row_046_a_large_body_is_not_passed_on(self, behind: Behind) -> None:
        answer = await (await behind.shop.native()).post(f"{FORM}?flow=1", content=b"a" * 200_000)
        assert answer.status_code == 413
        assert behind.server.heads == []

    async def test_row_046_a_gateways_request_is_asked_about_and_not_repeated(self, behind: Behind) -> None:
        app, path = await behind.shop.native(), "/sessions/whoami"
        foreign = await app.post(path, content=b"a" * 1000, headers={"x-session-token": "of-another-form"})
        assert (foreign.status_code, behind.server.heads) == (401, [])
        # The answer is read, and this is no session.
        answer = await app.post(path, content=b"a" * 1000, headers={"x-session-token": "ory_st_usual"})
        assert answer.status_code == 503
        assert behind.server.heads[-1].startswith("GET /sessions/whoami ")
        assert behind.server.bodies[-1] == b""


class TestAnswers:
    async def test_no_cookie_of_ours_can_be_set(self, behind: Behind) -> None:
        lines = [
            "ory_kratos_session=evil; Domain=shop.test; Path=/; SameSite=None",
            "__Host-shopkeeper_visit=evil; Path=/",
        ]
        for line in lines:
            behind.server.answers[LOGIN] = says(b"{}", set_cookie=line, **JSON)
            [written] = (await (await behind.shop.native()).get(LOGIN)).headers.get_list("set-cookie")
            assert written.startswith("__Host-kratos_")
            assert "domain" not in written.lower()
            assert "; Secure" in written

    async def test_what_is_no_cookie_is_left_out(self, behind: Behind) -> None:
        app = await behind.shop.native()
        for line in ("a", "=b", "a b=c", "a=b\x01", "a=" + "b" * 9_000, 'a="b"'):
            behind.server.answers[LOGIN] = says(b"{}", set_cookie=line, **JSON)
            assert "set-cookie" not in (await app.get(LOGIN)).headers, line

    async def test_headers_that_rule_our_origin_are_left_out(self, behind: Behind) -> None:
        rules = {
            "access_control_allow_origin": EVIL,
            "access_control_allow_credentials": "true",
            "clear_site_data": '"*"',
            "content_security_policy": "evil",
            "strict_transport_security": "max-age=0",
            "refresh": f"0; url={EVIL}",
            "link": f"<{EVIL}>; rel=preload",
            "server": "evil",
            "x_accel_redirect": "/evil",
        }
        behind.server.answers[LOGIN] = says(b"{}", **JSON, **rules)
        answer = await (await behind.shop.native()).get(LOGIN)
        assert answer.status_code == 200
        assert "evil" not in str(answer.headers).lower()
        assert "clear-site-data" not in answer.headers
        assert answer.headers["x-content-type-options"] == "nosniff"

    async def test_an_answer_that_is_none_of_the_api_is_an_outage(self, behind: Behind) -> None:
        app = await behind.shop.native()
        answers: list[tuple[bytes, dict[str, str]]] = [
            (b"<script>", {"content_type": "text/html"}),
            (b"<svg>", {"content_type": "image/svg+xml"}),
            (b"{}", {}),
            (b"{", JSON),
            (b"[" * 10_000, JSON),
            (b" " * 1_100_000, JSON),
            (b"{}", {**JSON, "content_encoding": "gzip"}),
        ]
        for body, headers in answers:
            behind.server.answers[LOGIN] = says(body, **headers)
            answer = await app.get(LOGIN)
            assert (answer.status_code, answer.headers["x-error-code"]) == (503, "session_server_unavailable"), body[:9]
            assert b"script" not in answer.content

    async def test_no_redirect_to_what_browsers_run(self, behind: Behind) -> None:
        app, path = await behind.shop.native(), "/self-service/login/browser"
        for location in ("javascript:alert(1)", "data:text/html,x", "https://x/\x7f", "", "file:///etc/x"):
            behind.server.answers[path] = says(b"", status="303 See Other", location=location)
            answer = await app.get(path)
            assert answer.status_code == 503, location
            assert "location" not in answer.headers

    async def test_a_redirect_is_passed_on_and_not_followed(self, behind: Behind) -> None:
        inner = behind.server.url("/metadata")
        behind.server.answers["/self-service/login/browser"] = says(b"", status="303 See Other", location=inner)
        answer = await (await behind.shop.native()).get("/self-service/login/browser")
        assert (answer.status_code, answer.headers["location"]) == (303, inner)
        assert len(behind.server.heads) == 1

    async def test_addresses_become_ours_and_what_people_write_does_not(self, behind: Behind) -> None:
        there = behind.server.url("/self-service/login?flow=1")
        flow = {"ui": {"action": there}, "identity": {"traits": {"url": there, "action": there}}, "note": there}
        behind.server.answers[LOGIN] = says(json.dumps(flow).encode(), **JSON)
        shown = (await (await behind.shop.native()).get(LOGIN)).json()
        assert shown["ui"]["action"] == f"{ADDRESS}/self-service/login?flow=1"
        assert shown["identity"]["traits"] == {"url": there, "action": there}
        assert shown["note"] == there

    async def test_only_addresses_of_the_api_become_ours(self, behind: Behind) -> None:
        app = await behind.shop.native()
        for suffix in ("@evil.test/self-service/login", ".evil.test/self-service/login", "/admin"):
            there = behind.server.url("") + suffix
            behind.server.answers[LOGIN] = says(json.dumps({"action": there}).encode(), **JSON)
            assert (await app.get(LOGIN)).json() == {"action": there}
