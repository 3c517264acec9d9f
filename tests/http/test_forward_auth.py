"""Forward authentication: what gateways are told about a request, by a real nginx too."""

import os
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shopkeeper.jose.keys import PrivateKey
from tests.attacks.scene import ADDRESS, APP, HTML, Scene, new_address, sign_up
from tests.docs.pages import ROOT
from tests.http.conftest import Opening
from tests.http.test_tokenized_sessions import jwks
from tests.services.asgi import listening
from tests.services.nginx import start_nginx
from tests.services.server import free_port

NGINX = (ROOT / "docs" / "howto" / "gateways.md").read_text("utf-8").split("```nginx\n")[1].partition("```")[0]
EMPTY = {
    "x-kratos-authenticated-identity-id": "",
    "x-shopkeeper-identity-id": "",
    "x-shopkeeper-session-id": "",
    "x-shopkeeper-store": "",
    "x-shopkeeper-aal": "",
    "x-shopkeeper-email": "",
    "x-shopkeeper-email-verified": "",
    "x-shopkeeper-provider": "",
    "x-shopkeeper-issuer": "",
}
TEMPLATES = {"orders": {"jwks_url": jwks(PrivateKey.generate().private_jwk())}}
SETTINGS: dict[str, Any] = {"session": {"whoami": {"tokenizer": {"templates": TEMPLATES}}}}
FORWARDED = {"x-forwarded-proto": "https", "x-forwarded-host": "app.test", "x-forwarded-uri": "/cart?a=1&b=2"}


@pytest.fixture
async def scene(opening: Opening, sqlite_dsn: str) -> AsyncIterator[Scene]:
    async with opening(sqlite_dsn, **SETTINGS) as scene:
        yield scene


def told(answer: httpx2.Response) -> dict[str, str]:
    """Return the headers about the session."""
    return {name: answer.headers[name] for name in EMPTY if name in answer.headers}


@pytest.mark.parametrize("carried", ["x-session-token", "authorization", "cookie"])
async def test_a_session_is_told_in_headers(scene: Scene, carried: str) -> None:
    app, email = await scene.native(), new_address()
    signed_up = await sign_up(app, email)
    token, session = signed_up["session_token"], signed_up["session"]
    values = {"x-session-token": token, "authorization": f"Bearer {token}", "cookie": f"ory_kratos_session={token}"}
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW"):
        answer = await app.request(method, "/forward-auth", headers={carried: values[carried]})
        assert (answer.status_code, answer.content) == (200, b"")
        assert "no-store" in answer.headers["cache-control"]
        assert told(answer) == {
            "x-kratos-authenticated-identity-id": session["identity"]["id"],
            "x-shopkeeper-identity-id": session["identity"]["id"],
            "x-shopkeeper-session-id": session["id"],
            "x-shopkeeper-store": "default",
            "x-shopkeeper-aal": "aal1",
            "x-shopkeeper-email": email,
            "x-shopkeeper-email-verified": "false",
            "x-shopkeeper-provider": "",
            "x-shopkeeper-issuer": "",
        }


async def test_without_a_session_it_is_refused(scene: Scene) -> None:
    app = await scene.native()
    for headers in ({}, {"x-session-token": "shk_st_unknown"}, {"authorization": "Basic YTpi"}):
        answer = await app.get("/forward-auth", headers=headers)
        assert (answer.status_code, told(answer)) == (401, {})
        assert answer.json()["error"]["code"] == 401


async def test_where_it_is_optional_all_headers_are_there_and_empty(scene: Scene) -> None:
    """A gateway copies them over what the visitor has sent under these names."""
    app = await scene.native()
    answer = await app.get("/forward-auth-optional", headers={"x-shopkeeper-identity-id": "me"})
    assert (answer.status_code, told(answer)) == (200, EMPTY)
    signed_up = await sign_up(app, new_address())
    answer = await app.get("/forward-auth-optional", headers={"x-session-token": signed_up["session_token"]})
    assert answer.headers["x-shopkeeper-session-id"] == signed_up["session"]["id"]


async def test_an_ended_session_is_refused_at_once(scene: Scene) -> None:
    app = await scene.native()
    headers = {"x-session-token": (await sign_up(app, new_address()))["session_token"]}
    assert (await app.get("/forward-auth", headers=headers)).status_code == 200
    ended = await app.request("DELETE", "/self-service/logout/api", json={"session_token": headers["x-session-token"]})
    assert ended.status_code == 204
    assert (await app.get("/forward-auth", headers=headers)).status_code == 401


async def test_a_gateway_gets_a_token_made_of_the_session(scene: Scene) -> None:
    app = await scene.native()
    headers = {"x-session-token": (await sign_up(app, new_address()))["session_token"]}
    answer = await app.get("/forward-auth?tokenize_as=orders", headers=headers)
    scheme, _, token = answer.headers["authorization"].partition(" ")
    assert (scheme, token.count(".")) == ("Bearer", 2)
    assert (await app.get("/forward-auth?tokenize_as=nope", headers=headers)).status_code == 400
    below = await app.get("/forward-auth/shop?tokenize_as=orders", headers=headers)
    assert (below.status_code, below.headers.get("authorization")) == (200, None)


async def test_a_browser_is_sent_to_the_sign_in(scene: Scene) -> None:
    app, back = await scene.native(), f"{APP}/cart?a=1&b=2"
    for headers, return_to in (
        (FORWARDED, back),
        ({**FORWARDED, "x-forwarded-host": "evil.test"}, None),
        ({**FORWARDED, "x-forwarded-proto": "javascript"}, None),
        ({**FORWARDED, "x-forwarded-uri": "/" + "x" * 4000}, None),
        ({"x-forwarded-uri": "/cart"}, None),
        ({**FORWARDED, "sec-fetch-mode": "navigate"}, back),
    ):
        answer = await app.get("/forward-auth?redirect=login", headers={"accept": HTML, **headers})
        assert answer.status_code == 302, headers
        location = urlsplit(answer.headers["location"])
        assert location._replace(query="").geturl() == f"{ADDRESS}/self-service/login/browser", headers
        assert parse_qs(location.query).get("return_to") == ([return_to] if return_to else None), headers


async def test_what_is_no_page_is_refused_in_place(scene: Scene) -> None:
    app = await scene.native()
    for path, headers in (
        ("/forward-auth", {"accept": HTML}),
        ("/forward-auth/?redirect=login", {"accept": HTML}),
        ("/forward-auth/cart?redirect=login", {"accept": HTML}),
        ("/forward-auth?redirect=login", {"accept": "application/json"}),
        ("/forward-auth?redirect=login", {"accept": HTML, "x-forwarded-method": "POST"}),
        ("/forward-auth?redirect=login", {"accept": HTML, "sec-fetch-mode": "cors"}),
    ):
        assert (await app.get(path, headers=headers)).status_code == 401, (path, headers)


SPELLINGS = [
    "/forward-auth?skip=1",
    "/forward-auth?next=/health/alive",
    "/forward-auth/health/alive",
    "/forward-auth/-optional",
    "/forward-auth/%2e%2e/forward-auth-optional",
    "/forward-auth/..;/forward-auth-optional",
    "/forward-auth//forward-auth-optional",
    "/forward-auth%2f..%2fforward-auth-optional",
    "/forward-auth/%23/forward-auth-optional",
    "/forward-auth/static/logo.png",
    "/forward-auth/.well-known/acme",
    "/forward-auth/shop?optional=true&optional=1",
]


UNTRUSTED: list[dict[str, str]] = [
    {},
    {"x-forwarded-uri": "/health/alive", "x-original-url": "/health/alive", "x-rewrite-url": "/health/alive"},
    {"x-forwarded-uri": "/admin/../public", "x-forwarded-method": "OPTIONS"},
    {"user-agent": "kube-probe/1.30", "x-forwarded-user": "admin", "remote-user": "admin"},
    {"x-kratos-authenticated-identity-id": "1", "x-shopkeeper-identity-id": "1"},
    {"x_session_token": "shk_st_x", "session_token": "shk_st_x"},
    {"connection": "close, x-session-token, x-shopkeeper-identity-id"},
]


async def test_row_046_no_spelling_of_a_request_gets_past_a_gateway(scene: Scene) -> None:
    app = await scene.native()
    for headers, method, path in product(UNTRUSTED, ("GET", "OPTIONS", "HEAD"), SPELLINGS):
        answer = await app.request(method, path, headers=headers)
        assert answer.status_code in {401, 404}, (method, path, headers)
        assert told(answer) == {}


async def test_row_046_the_store_is_not_the_visitors_to_choose(opening: Opening, sqlite_dsn: str) -> None:
    stores = [{"id": "kettle"}, {"id": "fruit", "hosts": ["fruit.test"]}]
    async with opening(sqlite_dsn, stores=stores, default_store="kettle") as scene:
        app = await scene.native(connector="kettle")
        token = (await sign_up(app, new_address()))["session_token"]
        del app.headers["connector"]
        for path, headers, status in [
            ("/forward-auth", {}, 200),
            ("/forward-auth?store=kettle", {}, 200),
            ("/forward-auth?store=kettle", {"host": "fruit.test"}, 200),
            ("/forward-auth", {"host": "fruit.test"}, 401),
            ("/forward-auth/orders?store=kettle", {"host": "fruit.test"}, 401),
            ("/forward-auth", {"host": "fruit.test", "connector": "kettle"}, 401),
            ("/forward-auth?store=fruit", {"connector": "kettle"}, 401),
            ("/forward-auth?store=unknown", {}, 401),
            ("/forward-auth/orders?store=unknown", {"connector": "unknown"}, 200),
        ]:
            answer = await app.get(path, headers={"x-session-token": token, **headers})
            assert answer.status_code == status, (path, headers)


async def test_a_name_that_no_header_can_carry_is_encoded(scene: Scene) -> None:
    app = await scene.native()
    signed_up = await sign_up(app, "zoë@exämple.org")
    answer = await app.get("/forward-auth", headers={"x-session-token": signed_up["session_token"]})
    assert answer.headers["x-shopkeeper-email"].isascii()
    assert answer.headers["x-shopkeeper-email"].startswith("zo%C3%AB@")


async def _seen(request: Request) -> Response:
    return JSONResponse(
        {name: value for name, value in request.headers.items() if name.startswith(("x-", "cookie", "auth"))}
    )


async def test_row_046_a_real_nginx_asks_before_it_passes_on(scene: Scene, tmp_path: Path) -> None:
    """The example of the page, as printed."""
    shop, behind = free_port(), free_port()
    site = NGINX.replace("127.0.0.1:4433", f"127.0.0.1:{shop}").replace("127.0.0.1:8000", f"127.0.0.1:{behind}")
    application = Starlette(routes=[Route("/{path:path}", _seen)])
    folder = tmp_path / "nginx"
    folder.mkdir()
    email = new_address()
    signed_up = await sign_up(await scene.native(), email)
    async with listening(scene.application.public, shop), listening(application, behind):
        nginx = start_nginx(site, folder=folder, owner=os.getpid())
        try:
            async with httpx2.AsyncClient(base_url=nginx.url) as client:
                forged = dict.fromkeys(EMPTY, "admin")
                for headers in ({}, forged, {"session_token": signed_up["session_token"]}):
                    assert (await client.get("/profile", headers=headers)).status_code == 401
                for path in (
                    "/_session",
                    "/profile/../_session",
                    "/profile?x=/health/alive",
                    "//profile",
                    "/%2e/profile",
                ):
                    assert (await client.get(path)).status_code in {401, 404}, path
                cookie = {"cookie": f"ory_kratos_session={signed_up['session_token']}"}
                seen = (await client.get("/profile", headers={**forged, **cookie})).json()
                assert seen["x-shopkeeper-identity-id"] == signed_up["session"]["identity"]["id"]
                assert seen["x-shopkeeper-email"] == email
                assert "admin" not in seen.values()
                assert {"cookie", "x-session-token", "authorization"}.isdisjoint(seen)
        finally:
            nginx.stop()
