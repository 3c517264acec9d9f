"""WebSockets: who opens them, and how they are refused."""

from collections.abc import Callable
from typing import Annotated, Any

import litestar
import litestar.testing
import pytest
from fastapi import Depends, FastAPI, WebSocket
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from shopkeeper_asgi import Authenticator, SessionMiddleware, User, WhoAmI
from shopkeeper_asgi.asgi import App
from shopkeeper_asgi.fastapi import session_user
from shopkeeper_asgi.litestar import session_guard
from tests.shopkeeper_asgi.conftest import Customer, Make


def behind_the_middleware(authenticator: Authenticator) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.send_text(scope["user"].email)
        await socket.close()

    return SessionMiddleware(app, authenticator=authenticator)


def with_the_dependency(authenticator: Authenticator) -> App:
    app = FastAPI()

    @app.websocket("/")
    async def live(socket: WebSocket, user: Annotated[User, Depends(session_user(authenticator))]) -> None:
        await socket.accept()
        await socket.send_text(str(user.email))
        await socket.close()

    return app  # type: ignore[return-value]


def with_the_guard(authenticator: Authenticator) -> App:
    @litestar.websocket("/", guards=[session_guard(authenticator)])
    async def live(socket: litestar.WebSocket[User, Any, Any]) -> None:
        await socket.accept()
        await socket.send_text(str(socket.user.email))
        await socket.close()

    return litestar.Litestar([live], logging_config=None)  # type: ignore[return-value]


@pytest.mark.parametrize("build", [behind_the_middleware, with_the_dependency, with_the_guard])
class TestAdapters:
    def test_a_session_opens_it(
        self, build: Callable[[Authenticator], App], authenticator: Authenticator, customer: Customer
    ) -> None:
        client = TestClient(build(authenticator))
        with client.websocket_connect("/", headers={"session_token": customer.token}) as socket:
            assert socket.receive_text() == customer.email

    @pytest.mark.parametrize("headers", [{}, {"session_token": "ory_st_wrong"}])
    def test_others_are_refused(
        self, build: Callable[[Authenticator], App], authenticator: Authenticator, headers: dict[str, str]
    ) -> None:
        assert refused(build(authenticator), headers) in {1008, 400, 401}

    def test_an_outage_says_so(self, build: Callable[[Authenticator], App], make: Make, dead: WhoAmI) -> None:
        assert refused(build(make(dead)), {"session_token": "ory_st_a"}) in {1013, 503}

    def test_another_site_s_page_opens_none(
        self, build: Callable[[Authenticator], App], authenticator: Authenticator, customer: Customer
    ) -> None:
        headers = {"cookie": f"ory_kratos_session={customer.token}", "origin": "https://evil.example"}
        assert refused(build(authenticator), headers) in {1008, 403}


def refused(app: App, headers: dict[str, str]) -> int:
    """Return the status or the code with which a WebSocket was refused."""
    try:
        with TestClient(app).websocket_connect("/", headers=headers):
            pass
    except WebSocketDenialResponse as denial:
        return denial.status_code
    except WebSocketDisconnect as closed:
        return closed.code
    raise AssertionError("it was opened")


@pytest.mark.parametrize(
    ("extensions", "kinds"),
    [
        ({"websocket.http.response": {}}, ["websocket.http.response.start", "websocket.http.response.body"]),
        ({}, ["websocket.close"]),
    ],
)
async def test_a_refusal_is_an_answer_where_the_server_can_send_one(
    authenticator: Authenticator, extensions: dict[str, Any], kinds: list[str]
) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "headers": [], "extensions": extensions}
    await behind_the_middleware(authenticator)(scope, receive, send)
    assert [message["type"] for message in sent] == kinds
    assert sent[0].get("status", sent[0].get("code")) in {400, 1008}
    assert len(sent[0].get("reason", "").encode()) <= 123


async def test_what_is_neither_a_request_nor_a_websocket_passes(authenticator: Authenticator) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await SessionMiddleware(app, authenticator=authenticator)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
