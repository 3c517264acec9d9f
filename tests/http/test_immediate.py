"""Immediate answers: byte for byte what the app answers, and only to requests that are simple."""

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from starlette.types import ASGIApp, Message, Scope

from shopkeeper.http.immediate import ImmediateAnswers
from tests.attacks.scene import Scene, new_address, sign_up
from tests.http.conftest import Opening

Headers = Sequence[tuple[bytes, bytes]]

WHOAMI = "/sessions/whoami"
STORES = {"stores": [{"id": "kettle"}, {"id": "quince", "hosts": ["quince.test"]}], "default_store": "kettle"}
HOST = (b"host", b"shop.test")
ID = (b"x-request-id", b"request-0001")
UNKNOWN = b"shk_st_" + b"x" * 43
"""A token of the right form that no session has."""
JUNK = [(b"accept", b"*/*"), (b"x-forwarded-for", b"203.0.113.9"), (b"sec-fetch-site", b"cross-site")]


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    """The log's output, configured as the server does for machines."""
    written = io.BytesIO()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer(serializer=lambda event, default: json.dumps(event).encode())],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(written),
    )
    yield written
    structlog.reset_defaults()


@dataclass(frozen=True)
class Answered:
    """A response, its line in the log without its times, and how often it was counted in the metrics."""

    messages: Sequence[Message]
    line: Mapping[str, Any]
    counted: int


@dataclass(frozen=True)
class Door:
    """A public app with immediate answers, and the token of a session that is in the cache."""

    scene: Scene
    token: bytes
    log: io.BytesIO

    @property
    def app(self) -> ImmediateAnswers:
        app = self.scene.application.public
        assert isinstance(app, ImmediateAnswers)
        return app

    def is_immediate(self, scope: Scope) -> bool:
        """Return whether the app is not asked for the answer."""
        found = self.app._read(scope)
        return found is not None and self.app._ask(self.app._routes[WHOAMI], found) is not None

    async def ask(self, app: ASGIApp, scope: Scope) -> Answered:
        counted, messages = self._counted(), []
        self._lines()

        async def send(message: Message) -> None:
            messages.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        await app(dict(scope), receive, send)
        [line] = self._lines()
        facts = {name: fact for name, fact in line.items() if name not in {"milliseconds", "timestamp"}}
        return Answered(messages, facts, self._counted() - counted)

    def _lines(self) -> list[dict[str, Any]]:
        """Return the lines of the log since the last call."""
        self.app._app._write.__self__._flush()  # type: ignore[attr-defined]  # the writer of JSON lines
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        self.log.truncate(0)
        self.log.seek(0)
        return lines

    def _counted(self) -> float:
        """Return how many requests were counted."""
        families = self.scene.application.infrastructure.registry.collect()
        samples = (sample for family in families for sample in family.samples)
        return sum(sample.value for sample in samples if sample.name == "shopkeeper_http_requests_total")


@pytest.fixture
async def door(opening: Opening, sqlite_dsn: str, log: io.BytesIO) -> AsyncIterator[Door]:
    async with opening(sqlite_dsn, **STORES) as scene:
        yield await _door(scene, log)


async def _door(scene: Scene, log: io.BytesIO) -> Door:
    client = await scene.native()
    token = (await sign_up(client, new_address()))["session_token"]
    assert (await client.get(WHOAMI, headers={"x-session-token": token})).status_code == 200
    return Door(scene, token.encode(), log)


def whoami(*headers: tuple[bytes, bytes], method: str = "GET", query: bytes = b"", path: str = WHOAMI) -> Scope:
    """Return the scope of a request, with an id, so that both answers have the same."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": query,
        "headers": [*headers, ID],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 4433),
    }


def simple(token: bytes) -> Mapping[str, Scope]:
    """Return requests that are answered immediately."""
    cookie = b"ory_kratos_session=" + token
    return {
        "a bearer": whoami(HOST, (b"authorization", b"Bearer " + token)),
        "a bearer, as the published client sends it": whoami(HOST, (b"authorization", b"bearer Bearer " + token)),
        "a session token": whoami(HOST, (b"x-session-token", token)),
        "a cookie": whoami(HOST, (b"cookie", cookie)),
        "a cookie among others": whoami(HOST, (b"cookie", b"a=1;  " + cookie + b" ; b=caf\xc3\xa9; c")),
        "further headers": whoami(*JUNK, (b"x-session-token", token), HOST, *JUNK),
        "an address as host": whoami((b"host", b"[::1]:4433"), (b"x-session-token", token)),
    }


def unusual(token: bytes) -> Mapping[str, Scope]:
    """Return requests that are left to the app."""
    cookie, own = (b"cookie", b"ory_kratos_session=" + token), (b"x-session-token", token)
    return {
        "no token": whoami(HOST),
        "an unknown token": whoami(HOST, (b"x-session-token", UNKNOWN)),
        "a token that is none": whoami(HOST, (b"x-session-token", b"caf\xe9")),
        "an empty token": whoami(HOST, (b"x-session-token", b"")),
        "another scheme": whoami(HOST, (b"authorization", b"Basic " + token)),
        "two bearers": whoami(HOST, (b"authorization", b"Bearer " + token), (b"authorization", b"Bearer " + token)),
        "two kinds of token": whoami(HOST, own, cookie),
        "a dead bearer beside a cookie": whoami(HOST, (b"authorization", b"Bearer " + UNKNOWN), cookie),
        "a cookie that begins with a space": whoami(HOST, (b"cookie", b"ory_kratos_session= " + token)),
        "two Cookie headers": whoami(HOST, cookie, cookie),
        "a session cookie that comes twice": whoami(HOST, (b"cookie", cookie[1] + b"; " + cookie[1])),
        "a session cookie whose name is longer": whoami(HOST, (b"cookie", b"not_" + cookie[1])),
        "a session cookie within another": whoami(HOST, (b"cookie", b'a="; ' + cookie[1][:-1] + b'"')),
        "no host": whoami(own),
        "two hosts": whoami(HOST, HOST, own),
        "the host of another store": whoami((b"host", b"quince.test"), own),
        "another store by header": whoami(HOST, own, (b"connector", b"quince")),
        "an unknown store": whoami(HOST, own, (b"connector", b"nowhere")),
        "another store by address": whoami(HOST, own, query=b"store=quince"),
        "a page of some origin": whoami(HOST, own, (b"origin", b"https://evil.test")),
        "a body": whoami(HOST, own, (b"content-length", b"3")),
        "a body in chunks": whoami(HOST, own, (b"transfer-encoding", b"chunked")),
        "a large header": whoami(HOST, own, (b"x-large", b"x" * 8_192)),
        "a header with a long name": whoami(HOST, own, (b"x" * 8_192, b"")),
        "another method": whoami(HOST, own, method="POST"),
        "HEAD": whoami(HOST, own, method="HEAD"),
    }


async def test_immediate_answers_are_those_of_the_app(door: Door) -> None:
    """Headers and their order, body, log line and metrics."""
    for name, scope in simple(door.token).items():
        assert door.is_immediate(scope), name
        immediate = await door.ask(door.app, scope)
        assert immediate == await door.ask(door.app._app, scope), name
        assert (immediate.messages[0]["status"], immediate.counted) == (200, 1), name


async def test_requests_that_are_not_simple_are_left_to_the_app(door: Door) -> None:
    for name, scope in unusual(door.token).items():
        assert not door.is_immediate(scope), name
        assert await door.ask(door.app, scope) == await door.ask(door.app._app, scope), name


async def test_a_path_beside_the_route_is_left_to_the_app(door: Door) -> None:
    scope = whoami(HOST, (b"x-session-token", door.token), path="/sessions/whoami/x")
    assert await door.ask(door.app, scope) == await door.ask(door.app._app, scope)


async def test_cross_origin_calls_vary_by_origin_immediately_too(
    opening: Opening, sqlite_dsn: str, log: io.BytesIO
) -> None:
    cors = {"cors": {"enabled": True, "allowed_origins": ["https://app.test"]}}
    async with opening(sqlite_dsn, serve={"public": cors}) as scene:
        door = await _door(scene, log)
        for name, scope in simple(door.token).items():
            assert door.is_immediate(scope), name
            immediate = await door.ask(door.app, scope)
            assert immediate == await door.ask(door.app._app, scope), name
            assert (b"vary", b"Origin") in immediate.messages[0]["headers"]


async def test_a_missing_second_factor_is_answered_alike(
    opening: Opening, sqlite_dsn: str, log: io.BytesIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second factor can be enrolled yet, so every session counts as lacking one."""
    async with opening(sqlite_dsn) as scene:
        monkeypatch.setattr(type(scene.application.accounts.assurance), "satisfied_by", lambda *_, **__: False)
        client = await scene.native()
        token = (await sign_up(client, new_address()))["session_token"]
        assert (await client.get(WHOAMI, headers={"x-session-token": token})).status_code == 403
        door, scope = Door(scene, token.encode(), log), whoami(HOST, (b"x-session-token", token.encode()))
        assert door.is_immediate(scope)
        immediate = await door.ask(door.app, scope)
        assert immediate == await door.ask(door.app._app, scope)
        assert immediate.line["error"] == "session_aal2_required"


async def test_a_session_that_has_ended_is_not_answered_from_memory(door: Door) -> None:
    scope = whoami(HOST, (b"x-session-token", door.token))
    assert door.is_immediate(scope)
    door.scene.clock.advance(days=2)
    assert not door.is_immediate(scope)
    assert (await door.ask(door.app, scope)).messages[0]["status"] == 401


async def test_a_revoked_session_is_not_answered_from_memory(door: Door) -> None:
    scope = whoami(HOST, (b"x-session-token", door.token))
    client = await door.scene.native()
    answer = await client.request("DELETE", "/self-service/logout/api", json={"session_token": door.token.decode()})
    assert answer.status_code == 204
    assert not door.is_immediate(scope)


async def test_an_error_in_an_immediate_route_is_left_to_the_app(door: Door) -> None:
    def broken(token: str, *, host: str) -> None:
        raise ZeroDivisionError

    scope = whoami(HOST, (b"x-session-token", door.token))
    whole = ImmediateAnswers(
        door.app._app, routes={WHOAMI: broken}, session_cookie="ory_kratos_session", store_headers=()
    )
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await whole(scope, send, send)
    assert messages[0]["status"] == 200
    assert b"immediate answer failed" in door.log.getvalue()
