"""Row 93: what strangers send is bounded by bytes, and what they break off causes neither a 500 nor a traceback."""

import asyncio
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from shopkeeper.errors import BodyIncomplete, Busy
from shopkeeper.flows import stored_errors
from shopkeeper.http.cookies import MOST_COOKIES, cookies_in
from shopkeeper.http.request_limits import LARGEST_HEADERS, LONGEST_QUERY, UNCOUNTED, BodyBudget, BodyLimits
from shopkeeper.http.requests import read_body
from shopkeeper.http.selfservice import LARGEST_BODY
from tests.attacks.conftest import Opening
from tests.attacks.scene import ADDRESS, THERE, Scene, new_address, sign_up
from tests.attacks.wire import request, send
from tests.services.shopkeeper_server import Commerce

JSON = b"Content-Type: application/json\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
CHUNKED = JSON + b"Transfer-Encoding: chunked\r\n"
NOWHERE = "/self-service/login?flow=6f1c1d0e-0000-4000-8000-000000000000"


def posted(path: str, *, headers: bytes, body: bytes = b"") -> bytes:
    """Return a POST with exactly these headers: `Content-Length` is theirs to say."""
    return request(path, method="POST", headers=headers) + body


class TestBrokenBodies:
    @pytest.mark.parametrize("path", ["/signin", "/graphql"])
    @pytest.mark.parametrize(
        "chunks",
        [b"zz\r\n{}\r\n0\r\n\r\n", b"1\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}0\r\n\r\n"],
        ids=["no number", "too long", "negative", "no line break"],
    )
    def test_row_093_broken_chunks_are_a_400(self, server: Commerce, path: str, chunks: bytes) -> None:
        answer = send(server.public, posted(path, headers=CHUNKED, body=chunks))
        assert (answer.status, answer.header("x-error-code")) == (400, "body_incomplete")

    @pytest.mark.parametrize("path", ["/signin", "/graphql"])
    @pytest.mark.parametrize(
        ("length", "expected"),
        [(b"9" * 4_401, {400}), (b"0" * 4_401 + b"2", {200}), (b"0" * 4_400 + b"9" * 7, {413}), (b"-1", {400})],
        ids=["4,401 digits", "4,401 zeros before", "4,400 zeros before", "negative"],
    )
    def test_row_093_a_length_of_thousands_of_digits_is_no_500(
        self, server: Commerce, path: str, length: bytes, expected: set[int]
    ) -> None:
        headers = JSON + b"Content-Length: " + length + b"\r\n"
        assert send(server.public, posted(path, headers=headers, body=b"{}")).status in expected

    def test_row_093_who_hangs_up_in_the_middle_leaves_no_error_in_the_log(self, server: Commerce) -> None:
        for path in ("/signin", "/graphql", "/signout"):
            for headers, body in ((JSON + b"Content-Length: 20\r\n", b'{"a":'), (CHUNKED, b"5\r\n{")):
                _hang_up(server.public, posted(path, headers=headers, body=body))
        # A later request on the same loop: when it is answered, those before it are over.
        assert send(server.public, request("/health/alive")).status == 200
        assert "request failed" not in server.log
        assert "Traceback" not in server.log

    async def test_row_093_a_body_that_is_broken_off_is_refused_and_counted_no_more(self) -> None:
        messages: list[Message] = [
            {"type": "http.request", "body": b"x" * 50_000, "more_body": True},
            {"type": "http.disconnect"},
        ]
        budget = BodyBudget(100_000)
        with pytest.raises(BodyIncomplete):
            await _read(messages, budget=budget)
        assert budget.held == 0


class TestBodies:
    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("application/json", b'{"method": "password", "identifier": "%s"}' % (b"x" * LARGEST_BODY)),
            ("application/x-www-form-urlencoded", b"method=password&identifier=" + b"x" * LARGEST_BODY),
        ],
    )
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_row_093_a_submission_has_100_kilobytes_at_most(
        self, scene: Scene, kind: str, content_type: str, body: bytes
    ) -> None:
        app = await scene.native()
        flow = (await app.get(f"/self-service/{kind}/api")).json()
        for cut, expected in ((len(body), 413), (LARGEST_BODY, 400)):
            answer = await app.post(
                f"/self-service/{kind}?flow={flow['id']}",
                content=body[:cut],
                headers={"content-type": content_type, "accept": "application/json"},
            )
            assert answer.status_code == expected

    async def test_row_093_the_admin_api_takes_larger_bodies(self, scene: Scene) -> None:
        admin = await scene.admin()
        body = {"schema_id": "default", "traits": {"email": "a@example.org"}, "metadata_admin": "x" * 2_000_000}
        assert (await admin.post("/admin/identities", json=body)).status_code == 201

    @pytest.mark.parametrize("path", [NOWHERE, "/self-service/login", "/self-service/registration?flow=x"])
    def test_row_093_the_flow_is_looked_up_before_the_body_is_read(self, server: Commerce, path: str) -> None:
        """The answer comes although the body never does."""
        headers = JSON + b"Accept: application/json\r\nContent-Length: 99000\r\n"
        answer = send(server.public, posted(path, headers=headers, body=b'{"method": "'))
        assert answer.status in {400, 404}

    async def test_row_093_multipart_is_refused_unread(self, scene: Scene) -> None:
        app = await scene.native()
        flow = (await app.get("/self-service/login/api")).json()

        kind = {"content-type": "multipart/form-data; boundary=x", "accept": "application/json"}
        answer = await app.post(f"/self-service/login?flow={flow['id']}", content=_unread(), headers=kind)
        assert answer.status_code == 400
        assert "application/json" in answer.json()["ui"]["messages"][0]["text"]


class TestBudget:
    async def test_row_093_large_bodies_share_a_total(self) -> None:
        budget = BodyBudget(100_000)
        first = asyncio.create_task(_read(_half_sent(60_000 + UNCOUNTED), budget=budget))
        await asyncio.sleep(0)
        with pytest.raises(Busy) as refused:
            await _read(_half_sent(60_000 + UNCOUNTED), budget=budget)
        assert refused.value.retry_after >= 1
        assert budget.held == 60_000
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert budget.held == 0

    async def test_row_093_small_bodies_are_served_while_the_total_is_used_up(self) -> None:
        budget = BodyBudget(10)
        whole: list[Message] = [{"type": "http.request", "body": b"x" * UNCOUNTED, "more_body": False}]
        assert await _read(whole, budget=budget) == UNCOUNTED

    async def test_row_093_where_the_total_is_used_up_the_answer_says_when_to_come_back(self, scene: Scene) -> None:
        token = (await (app := await scene.native()).post("/signin", json={})).json()["authorization"]
        budget = scene.application.bodies
        budget.take(scene.application.infrastructure.settings.http.max_bodies - 100)
        large, headers = {"query": "{a}", "x": "y" * 90_000}, {"authorization": f"Bearer {token}"}
        flow = (await app.get("/self-service/login/api")).json()
        for path, body in (
            ("/signin", {"username": "y" * 90_000}),
            ("/graphql", large),
            (f"/self-service/login?flow={flow['id']}", large),
        ):
            answer = await app.post(path, json=body, headers=headers if path == "/graphql" else {})
            assert (answer.status_code, answer.headers["x-error-code"]) == (503, "busy")
            assert int(answer.headers["retry-after"]) >= 1
        assert (await app.post("/signin", json={})).status_code == 200


class TestRows:
    """What strangers make the database keep."""

    async def test_row_093_a_return_address_has_2048_characters_at_most(self, scene: Scene) -> None:
        browser = await scene.browser()
        for size, code in ((2_048, None), (2_049, "self_service_flow_return_to_forbidden")):
            address = f"{ADDRESS}/".ljust(size, "a")
            answer = await browser.get("/self-service/login/browser", params={"return_to": address})
            assert (answer.status_code, answer.headers.get("x-error-code")) == (303, code)

    async def test_row_093_a_stored_error_has_four_kilobytes_at_most(self, scene: Scene) -> None:
        browser = await scene.browser()
        for address in (f"https://{'a.' * 900}evil.test/", "https://evil.test/".ljust(1_000, "ä"), "x" * 8_000):
            await browser.get("/self-service/login/browser", params={"return_to": address})
        await browser.get(f"/self-service/login/browser?aal={'x' * 8_000}")
        rows = await scene.rows("flow_errors")
        assert len(rows) == 4
        assert all(len(repr(row["error"])) < 4_500 for row in rows)

    async def test_row_093_the_large_part_of_an_error_is_left_out(self, scene: Scene) -> None:
        error = {"id": "a", "code": 400, "status": "Bad Request", "reason": "x" * 5_000, "message": "b"}
        async with scene.application.infrastructure.database.unit() as unit:
            kept = await stored_errors.keep(unit, error, clock=scene.clock)
        assert kept.error == {"id": "a", "code": 400, "status": "Bad Request", "message": "b"}

    async def test_row_093_so_many_errors_of_an_address_are_stored(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn, throttle={"error": {"per_ip": "3/minute"}}) as scene:
            browser = await scene.browser()
            refused = [await browser.get("/self-service/login/browser?return_to=https://evil.test") for _ in range(5)]
            assert [answer.status_code for answer in refused] == [303, 303, 303, 400, 400]
            assert {answer.headers["x-error-code"] for answer in refused} == {"self_service_flow_return_to_forbidden"}
            assert len(await scene.rows("flow_errors")) == 3
            other = await scene.browser(ip=THERE)
            assert (await other.get("/self-service/login/browser?return_to=https://evil.test")).status_code == 303

    @pytest.mark.parametrize("budget", ["per_ip", "per_session"])
    async def test_row_093_refreshing_has_a_brake(self, opening: Opening, sqlite_dsn: str, budget: str) -> None:
        refreshing = {"refresh": {"enabled": True}}
        async with opening(sqlite_dsn, throttle={"refresh": {budget: "3/minute"}}, tokens=refreshing) as scene:
            app, email = await scene.native(), new_address()
            token = (await sign_up(app, email))["session_token"]
            for _ in range(3):
                token = (await _refresh(app, token)).json()["authorization"]
            refused = await _refresh(app, token)
            assert (refused.status_code, refused.headers["x-error-code"]) == (429, "too_many_requests")
            assert int(refused.headers["retry-after"]) >= 1
            assert len(await scene.rows("replaced_tokens")) == 3
            scene.clock.advance(seconds=120)
            assert (await _refresh(app, token)).status_code == 200


class TestHeads:
    async def test_row_093_headers_have_32_kilobytes_together(self, scene: Scene) -> None:
        app = await scene.native()
        for size, expected in ((LARGEST_HEADERS - 500, 401), (LARGEST_HEADERS, 431)):
            answer = await app.get("/sessions/whoami", headers={"x-a": "a" * (size // 2), "x-b": "b" * (size // 2)})
            assert answer.status_code == expected

    def test_row_093_the_parser_keeps_no_400_kilobytes_of_headers(self, server: Commerce) -> None:
        sent = request("/sessions/whoami", headers=b"X-Big: " + b"a" * 390_000 + b"\r\n")
        assert send(server.public, sent).status == 431

    async def test_row_093_a_query_has_eight_kilobytes_at_most(self, scene: Scene) -> None:
        app = await scene.native()
        for path in ("/sessions/whoami", "/self-service/errors", "/graphql"):
            answer = await app.get(f"{path}?x={'a' * LONGEST_QUERY}")
            assert (answer.status_code, answer.headers["x-error-code"]) == (414, "address_too_long")

    def test_row_093_a_long_list_of_cookies_is_read_to_a_number(self) -> None:
        lines = ["; ".join(f"a{i}=1" for i in range(45_000)), "b=1"]
        assert len(cookies_in(lines)) == MOST_COOKIES

    async def test_row_093_the_servers_own_cookies_count_among_a_hundred_others(self, scene: Scene) -> None:
        browser = await scene.browser()
        await browser.sign_up("ada@example.org")
        others = "; ".join(f"a{i}=1" for i in range(100))
        cookie = f"{others}; ory_kratos_session={browser.session_cookie}"
        answer = await (await scene.native()).get("/sessions/whoami", headers={"cookie": cookie})
        assert answer.status_code == 200


async def _refresh(app: httpx2.AsyncClient, token: str) -> httpx2.Response:
    return await app.post("/signin", json={"type": "refresh"}, headers={"authorization": f"Bearer {token}"})


def _half_sent(size: int) -> list[Message]:
    return [{"type": "http.request", "body": b"x" * size, "more_body": True}]


async def _read(messages: list[Message], *, budget: BodyBudget) -> int:
    """Read a body of these messages behind the limits, and wait for more where they end; return its size."""
    size = 0

    async def endpoint(scope: Scope, receive: Receive, send_: Send) -> None:
        nonlocal size
        size = len(await read_body(Request(scope, receive), limit=1_000_000))

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def ignored(message: Message) -> None:
        raise AssertionError("the endpoint sends nothing")

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    await BodyLimits(endpoint, budget=budget)(scope, receive, ignored)
    return size


async def _unread() -> AsyncIterator[bytes]:
    raise AssertionError("the body was read")
    yield b""


def _hang_up(url: str, sent: bytes) -> None:
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as line:
        line.sendall(sent)
