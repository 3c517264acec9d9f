"""Rows 43 to 46: proxies between the server and the visitor, and headers that visitors forge to imitate them."""

import json
from typing import Any

import pytest
from starlette.requests import Request
from structlog.testing import capture_logs

from shopkeeper.http.requests import _tell_unreadable_proxy, client_of
from tests.attacks.conftest import Opening
from tests.attacks.scene import ADDRESS, EVIL, HERE, KEY, PASSWORD, THERE, Scene, new_address, sign_in, sign_up
from tests.attacks.wire import request, send
from tests.services.shopkeeper_server import Commerce

POISON = {
    "host": "evil.test",
    "x-forwarded-host": "evil.test",
    "x-forwarded-proto": "ftp",
    "x-forwarded-port": "1",
    "x-forwarded-prefix": "/evil.test",
    "x-forwarded-server": "evil.test",
    "x-original-host": "evil.test",
    "x-host": "evil.test",
    "forwarded": "for=1.2.3.4;host=evil.test;proto=ftp",
    "x-original-url": "/evil.test",
    "x-rewrite-url": "/evil.test",
}


class TestClientAddress:
    @pytest.mark.parametrize(
        ("proxies", "forwarded", "believed"),
        [
            pytest.param(0, ["1.2.3.4"], HERE, id="no proxy of ours: nobody is believed"),
            pytest.param(0, ["1.2.3.4, 5.6.7.8"], HERE, id="nor two"),
            pytest.param(1, [], HERE, id="a proxy that wrote nothing"),
            pytest.param(1, ["5.6.7.8"], "5.6.7.8", id="one proxy"),
            pytest.param(1, ["1.2.3.4, 5.6.7.8"], "5.6.7.8", id="one proxy, and what the visitor wrote before it"),
            pytest.param(1, ["1.2.3.4", "5.6.7.8"], "5.6.7.8", id="in a header of its own"),
            pytest.param(2, ["1.2.3.4, 5.6.7.8, 9.9.9.9"], "5.6.7.8", id="two proxies"),
            pytest.param(2, ["5.6.7.8"], HERE, id="fewer entries than proxies: somebody went around them"),
            pytest.param(1, ["1.2.3.4, nonsense"], HERE, id="nonsense"),
            pytest.param(1, ["1.2.3.4, "], HERE, id="empty"),
            pytest.param(1, ["unknown"], HERE, id="unknown"),
            pytest.param(1, ["_hidden"], HERE, id="obfuscated"),
            pytest.param(1, ["5.6.7.8:4711"], "5.6.7.8", id="with a port"),
            pytest.param(1, ["5.6.7.8:nonsense"], HERE, id="with a port that is none"),
            pytest.param(1, ["[2001:db8::1]:4711"], "2001:db8::1", id="IPv6 with a port"),
            pytest.param(1, ["[2001:db8::1]nonsense"], HERE, id="IPv6 with nonsense behind it"),
            pytest.param(1, ["2001:db8::1"], "2001:db8::1", id="IPv6"),
            pytest.param(1, ["[2001:db8::1]"], "2001:db8::1", id="IPv6 in brackets"),
            pytest.param(1, ["2001:0DB8:0:0::1"], "2001:db8::1", id="IPv6 at length"),
            pytest.param(1, ["fe80::1%eth0"], "fe80::1", id="IPv6 with a zone, which anybody invents"),
            pytest.param(1, ["fe80::1%a"], "fe80::1", id="and another"),
            pytest.param(1, ["0x7f.1"], HERE, id="hexadecimal"),
            pytest.param(1, ["2130706433"], HERE, id="a number"),
            pytest.param(1, ["5.6.7.8\x00"], HERE, id="NUL"),
        ],
    )
    def test_row_043_only_what_our_own_proxies_wrote_is_believed(
        self, proxies: int, forwarded: list[str], believed: str
    ) -> None:
        headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
        lies = [(b"x-real-ip", b"1.1.1.1"), (b"forwarded", b"for=1.1.1.1"), (b"x-client-ip", b"1.1.1.1")]
        scope = {"type": "http", "headers": [*headers, *lies], "client": (HERE, 1)}
        assert client_of(scope, trusted_proxies=proxies).ip == believed

    def test_an_unreadable_proxy_header_is_logged_once(self) -> None:
        """All visitors share the proxy's budget then, and without the log the reason would be unknown."""
        _tell_unreadable_proxy.cache_clear()
        scope = {"type": "http", "headers": [(b"x-forwarded-for", b"unknown")], "client": (HERE, 1)}
        with capture_logs() as told:
            for _ in range(3):
                client_of(scope, trusted_proxies=1)
        assert [line["event"] for line in told] == ["client.address_unreadable"]

    async def test_row_043_another_address_in_a_header_gives_no_further_guesses(self, scene: Scene) -> None:
        email = new_address()
        await sign_up(await scene.native(), email)
        statuses = []
        for number in range(8):
            app = await scene.native(x_forwarded_for=f"192.0.2.{number}", x_real_ip=f"192.0.2.{number}")
            statuses.append((await sign_in(app, email, "a wrong guess, again")).status_code)
        assert statuses == [400] * 5 + [429] * 3

    async def test_row_043_behind_a_proxy_each_visitor_has_guesses_of_their_own(
        self, opening: Opening, sqlite_dsn: str
    ) -> None:
        async with opening(sqlite_dsn, throttle={"trusted_proxies": 1}) as scene:
            email = new_address()
            await sign_up(await scene.native(), email)
            liar = await scene.native()
            for number in range(5):
                liar.headers["x-forwarded-for"] = f"192.0.2.{number}, {THERE}"
                assert (await sign_in(liar, email, "a wrong guess, again")).status_code == 400
            assert (await sign_in(liar, email, PASSWORD)).status_code == 429
            owner = await scene.native(x_forwarded_for=f"{THERE}, {HERE}")
            assert (await sign_in(owner, email, PASSWORD)).status_code == 200

    @pytest.mark.parametrize("interface", ["2001:db8:1:2::1", "2001:db8:1:2:ffff::1"])
    async def test_row_043_a_whole_ipv6_network_has_one_budget(
        self, opening: Opening, sqlite_dsn: str, interface: str
    ) -> None:
        async with opening(sqlite_dsn, throttle={"login": {"per_ip": "2/minute"}}) as scene:
            for number in range(2):
                app = await scene.native(ip=f"2001:db8:1:2::{number + 10}")
                assert (await sign_in(app, new_address(), "x")).status_code == 400
            assert (await sign_in(await scene.native(ip=interface), new_address(), "x")).status_code == 429
            elsewhere = await scene.native(ip="2001:db8:1:3::1")
            assert (await sign_in(elsewhere, new_address(), "x")).status_code == 400


class TestPoisonedLinks:
    """Links lead to the configured address, even where a request names another host."""

    @pytest.mark.parametrize("path", ["login/browser", "registration/browser", "login/api", "registration/api"])
    async def test_row_044_flows(self, scene: Scene, path: str) -> None:
        app = await scene.native()
        answer = await app.get(f"/self-service/{path}", headers={**POISON, "accept": "application/json"})
        assert answer.json()["ui"]["action"].startswith(f"{ADDRESS}/")
        assert answer.json()["request_url"].startswith(f"{ADDRESS}/")
        _require_clean(answer)

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/login",
            "/account",
            "/signed-out",
            "/error",
            "/self-service/login/browser",
            "/self-service/registration/browser",
            "/self-service/logout/browser",
            "/self-service/logout",
            "/self-service/login/browser?return_to=https://evil.example",
            "/schemas",
            "/nowhere/",
            "/self-service/login/browser/",
        ],
    )
    async def test_row_044_pages_and_redirects(self, scene: Scene, path: str) -> None:
        browser = await scene.browser()
        answer = await browser.get(path, headers=POISON)
        _require_clean(answer)
        assert answer.headers.get("location", "/").startswith(("/", f"{ADDRESS}/"))

    async def test_row_044_the_logout_link(self, scene: Scene) -> None:
        browser = await scene.browser()
        await browser.sign_up(new_address())
        answer = await browser.get("/self-service/logout/browser", headers={**POISON, "accept": "application/json"})
        assert answer.json()["logout_url"].startswith(f"{ADDRESS}/self-service/logout?")

    async def test_row_044_mails(self, scene: Scene) -> None:
        app = await scene.native(**{name.replace("-", "_"): value for name, value in POISON.items()})
        await sign_up(app, new_address())
        [mail] = await scene.mails()
        assert ADDRESS in mail.body
        assert "evil.test" not in mail.body + mail.html + mail.subject

    async def test_row_044_the_admin_port(self, scene: Scene) -> None:
        admin = await scene.admin()
        body = {"schema_id": "default", "traits": {"email": new_address()}}
        answer = await admin.post("/admin/identities", json=body, headers=POISON)
        assert answer.status_code == 201
        _require_clean(answer)
        _require_clean(await admin.get("/admin/identities?page_size=1", headers=POISON))

    async def test_row_044_a_forged_host_chooses_no_store_that_has_none_such(self, scene: Scene) -> None:
        app = await scene.native(host="evil.test")
        assert (await app.post("/signin", json={})).status_code == 200
        unknown = await app.post("/signin", json={}, headers={"connector": "evil.test"})
        assert unknown.json()["errors"][0]["extensions"]["code"] == "STORE_UNKNOWN"


HOSTS = [
    "a/b",
    "a?b",
    "a#b",
    "a?/sessions/whoami",
    "x@evil.test",
    "[::1",
    "a b",
    "",
    "a\x09b",
    "é",
    "a:b:c",
    "x" * 5000,
]


class TestMalformedHost:
    @pytest.mark.parametrize("host", HOSTS)
    def test_row_045_a_malformed_host_opens_no_admin_path(self, server: Commerce, host: str) -> None:
        for path in ("/admin/identities", "/health/alive/../identities", "/metrics"):
            answer = send(server.admin, request(path, host=host))
            assert answer.status in {400, 401}, answer.head

    @pytest.mark.parametrize("host", HOSTS)
    def test_row_045_a_malformed_host_changes_no_answer(self, server: Commerce, host: str) -> None:
        answer = send(server.public, request("/sessions/whoami", host=host))
        assert answer.status == 400, answer.head
        opened = send(
            server.public, request("/self-service/login/browser", host=host, headers=b"Accept: text/html\r\n")
        )
        assert (opened.status, opened.header("set-cookie")) == (400, None)

    @pytest.mark.parametrize("host", HOSTS)
    async def test_row_045_a_malformed_host_is_refused_behind_another_server_too(self, scene: Scene, host: str) -> None:
        """Not every server in front refuses such a host, and an address that is built from it has another path."""
        seen: list[dict[str, Any]] = []
        answers: list[bytes] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def note(message: Any) -> None:
            seen.append(message) if message["type"] == "http.response.start" else answers.append(message["body"])

        scope = _scope("/self-service/login/browser", host=host)
        assert Request(scope).headers["host"] == host.encode("utf-8").decode("latin-1")
        await scene.application.public(scope, receive, note)
        assert seen[0]["status"] == 400
        assert b"set-cookie" not in dict(seen[0]["headers"])
        reason = json.loads(b"".join(answers))["error"]["reason"]
        assert reason.startswith("The Host header is not a host name" if host else "A request has exactly one Host")

    @pytest.mark.parametrize("port", ["public", "admin"])
    @pytest.mark.parametrize(
        ("head", "status"),
        [
            (b"HTTP/1.1\r\nHost: shop.test\r\nHost: shop.test", 400),
            (b"HTTP/1.1\r\nHost: shop.test\r\nhost: evil.test", 400),
            (b"HTTP/1.1\r\nAccept: */*", 400),
            (b"HTTP/1.0\r\nHost: shop.test\r\nHost: evil.test", 400),
            (b"HTTP/1.0\r\nAccept: */*", 200),
            (b"HTTP/1.0\r\nHost: shop.test", 200),
            (b"HTTP/1.1\r\nHost: shop.test", 200),
        ],
    )
    def test_row_045_a_request_has_exactly_one_host(
        self, server: Commerce, head: bytes, status: int, port: str
    ) -> None:
        """RFC 9112 section 3.2. HTTP/1.0, which some load balancers' probes speak, does not need one."""
        answer = send(getattr(server, port), b"GET /health/alive " + head + b"\r\nConnection: close\r\n\r\n")
        assert answer.status == status, answer.head
        if status == 400:
            assert "exactly one Host header" in answer.body

    @pytest.mark.parametrize("line", [b"GET http://evil.test/admin/identities HTTP/1.1", b"GET * HTTP/1.1"])
    def test_row_045_a_request_line_of_another_form_opens_nothing(self, server: Commerce, line: bytes) -> None:
        answer = send(server.admin, line + b"\r\nHost: evil.test\r\nConnection: close\r\n\r\n")
        assert answer.status in {400, 401, 404}, answer.head


ADMIN_TRICKS = [
    "/identities",
    "/admin/identities",
    "/admin/../identities",
    "/admin/./identities",
    "/admin//identities",
    "//identities",
    "//admin/identities",
    "/admin/identities/",
    "/admin/identities//",
    "/Admin/Identities",
    "/%61dmin/identities",
    "/admin%2fidentities",
    "/admin/%69dentities",
    "/health/alive/../../identities",
    "/health/alive/%2e%2e/%2e%2e/identities",
    "/health/alive%2f..%2f..%2fidentities",
    "/health/alive;/identities",
    "/health/alive%00/identities",
    "/health/alive%23/../../identities",
    "/version/..;/identities",
    "/version\\..\\identities",
    "/admin/version/../identities",
    "/admin/admin/identities",
    "/identities?/health/alive",
    "/identities;/health/alive",
    "/identities%3f/health/alive",
    "/metrics",
    "/admin/metrics",
    "/metrics/prometheus",
    "/sessions",
    "/schemas",
]
FORGED = [
    b"X-Original-URL: /health/alive\r\n",
    b"X-Rewrite-URL: /version\r\n",
    b"X-Forwarded-Uri: /health/alive\r\n",
    b"X-Forwarded-Prefix: /health\r\n",
    b"X-HTTP-Method-Override: GET\r\n",
    b"User-Agent: GoogleHC/1.0\r\n",
    b"User-Agent: kube-probe/1.30\r\n",
    b"X-Forwarded-For: 127.0.0.1\r\n",
    b"X_Authorization: Bearer x\r\n",
    b"Connection: close, Authorization\r\n",
    b"Authorization: Bearer\r\n",
    b"Authorization: Bearer \r\n",
    b"Authorization: Basic " + KEY.encode() + b"\r\n",
    b"Authorization: " + KEY.encode() + b"\r\n",
    b"Authorization: Bearer " + KEY.lower().encode() + b"\r\n",
    b"Authorization: Bearer " + KEY[:-1].encode() + b"\r\n",
    b"Authorization: Bearer " + KEY.encode() + b"=\r\n",
    b"Authorization: Bearer x\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n",
    b"Cookie: authorization=Bearer " + KEY.encode() + b"\r\n",
    b"X-Session-Token: " + KEY.encode() + b"\r\n",
]


class TestPaths:
    @pytest.mark.parametrize("path", ADMIN_TRICKS)
    def test_row_046_no_spelling_of_a_path_goes_around_the_key(self, server: Commerce, path: str) -> None:
        """Where a path has a control character, there is nothing for who has the key either."""
        assert send(server.admin, request(path)).status == (404 if "%00" in path else 401)

    @pytest.mark.parametrize("headers", FORGED, ids=[line.decode("latin-1").strip() for line in FORGED])
    def test_row_046_no_header_stands_for_the_key(self, server: Commerce, headers: bytes) -> None:
        assert send(server.admin, request("/admin/identities", headers=headers)).status == 401

    @pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY", "get"])
    def test_row_046_no_method_goes_around_the_key(self, server: Commerce, method: str) -> None:
        assert send(server.admin, request("/admin/identities", method=method)).status == 401

    def test_row_046_the_key_itself_works(self, server: Commerce) -> None:
        answer = send(server.admin, request("/admin/identities", headers=f"Authorization: Bearer {KEY}\r\n".encode()))
        assert answer.status == 200

    @pytest.mark.parametrize(
        "path",
        [
            "/sessions//whoami",
            "//sessions/whoami",
            "/x/../sessions/whoami",
            "/sessions/./whoami",
            "/Sessions/whoami",
            "/sessions/whoami;x",
            "/sessions/whoami%00",
            "/sessions/whoami/x",
            "/admin/sessions/whoami",
        ],
    )
    def test_row_046_only_the_exact_path_is_answered_ahead_of_the_router(self, server: Commerce, path: str) -> None:
        """A gateway that allows `/sessions/whoami` must not pass a path that this server reads differently. Slashes at
        the end are the only exception, as for every other path."""
        app = _account(server)
        answer = send(server.public, request(path, headers=f"X-Session-Token: {app}\r\n".encode()))
        assert answer.status in {400, 404, 405}, answer.head
        assert "x-kratos-authenticated-identity-id" not in answer.head.lower()

    @pytest.mark.parametrize("path", ["/identities", "/admin/identities", "/metrics", "/version", "/inbox"])
    def test_row_046_the_public_port_knows_nothing_of_the_admin_port(self, server: Commerce, path: str) -> None:
        answer = send(server.public, request(path, headers=f"Authorization: Bearer {KEY}\r\n".encode()))
        assert answer.status == 404

    @pytest.mark.parametrize(
        "path",
        [
            "/static/x/../../../../../../etc/passwd",
            "/static/x/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
            "/static/x//etc/passwd",
            "/static/x/..%5c..%5cetc/passwd",
            "/shop/pictures/..%2f..%2fmark.svg",
            "/shop/pictures/%00.svg",
            "/schemas/..%2f..%2f..%2fetc%2fpasswd",
            "/schemas/file:%2f%2f%2fetc%2fpasswd",
            "/schemas/ZmlsZTovLy9ldGMvcGFzc3dk",
        ],
    )
    def test_row_046_no_path_leads_into_the_file_system(self, server: Commerce, path: str) -> None:
        answer = send(server.public, request(path))
        assert answer.status == 404
        assert "root:" not in answer.body

    async def test_row_046_strangers_paths_and_methods_do_not_fill_the_metrics(self, scene: Scene) -> None:
        """Each label is kept for ever, so a path that a visitor makes up must not become one."""
        stranger, app = await scene.admin(key=None), await scene.native()
        for number in range(50):
            await stranger.get(f"/admin/x{number}")
            await app.get(f"/y{number}")
            await app.delete(f"/sessions/{number}")
            await app.request(f"MADE{number}", "/sessions/whoami")
        metrics = (await (await scene.admin()).get("/metrics")).text
        counted = [line for line in metrics.splitlines() if line.startswith("shopkeeper_http_requests_total")]
        assert len(counted) <= 10
        assert not any(word in metrics for word in ("/x1", "/y1", "MADE"))


def _scope(path: str, *, host: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", host.encode("utf-8")), (b"accept", b"application/json")],
        "client": (HERE, 1),
        "server": ("shop.test", 443),
        "state": {},
    }


def _require_clean(answer: Any) -> None:
    assert EVIL.partition("//")[2] not in answer.text
    assert "evil.test" not in str(answer.headers)
    assert "ftp://" not in answer.text


def _account(server: Commerce) -> str:
    opened = send(server.public, request("/self-service/registration/api"))
    action = json.loads(opened.body)["id"]
    body = json.dumps({"method": "password", "password": PASSWORD, "traits": {"email": new_address()}}).encode()
    path = f"/self-service/registration?flow={action}"
    answer = send(server.public, request(path, method="POST", headers=b"Content-Type: application/json\r\n", body=body))
    return str(json.loads(answer.body)["session_token"])
