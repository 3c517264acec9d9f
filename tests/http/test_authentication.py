"""A request is authenticated once: its cookies are parsed once, and each of its session tokens is resolved once."""

import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from shopkeeper.http import cookies
from shopkeeper.sessions.service import Sessions
from tests.attacks.scene import HTML, ME, OWN_PAGE, PASSWORD, Browser, Scene, csrf_of, new_address
from tests.http.conftest import Opening

JSON = {"accept": "application/json"}


@pytest.fixture
async def scene(opening: Opening, sqlite_dsn: str) -> AsyncIterator[Scene]:
    async with opening(sqlite_dsn, tokens={"refresh": {"enabled": True}}) as scene:
        yield scene


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count how often cookies are parsed, in every module that imported the function, and how often sessions are
    resolved."""
    seen: Counter[str] = Counter()
    resolve = Sessions.resolve

    async def counting(self: Sessions, token: str) -> Any:
        seen["resolved"] += 1
        return await resolve(self, token)

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is cookies.cookies_in.__code__:
            seen["parsed"] += 1

    with monkeypatch.context() as patched:
        patched.setattr(Sessions, "resolve", counting)
        sys.setprofile(profile)
        try:
            yield seen
        finally:
            sys.setprofile(None)


@pytest.fixture
async def customer(scene: Scene) -> Browser:
    """A browser that is signed in, and has been a guest before."""
    browser = await scene.browser()
    await browser.post("/signin", json={}, headers=OWN_PAGE)
    await browser.sign_up(new_address())
    return browser


class TestOnce:
    async def test_a_login_is_authenticated_once(
        self, scene: Scene, customer: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        email = new_address("other")
        await (await scene.browser()).sign_up(email)
        flow = await customer.open_flow("login", "?refresh=true")
        body = {"method": "password", "csrf_token": csrf_of(flow), "identifier": email, "password": PASSWORD}
        with counted(monkeypatch) as seen:
            answer = await customer.post(flow["ui"]["action"], json=body, headers=JSON)
        assert answer.status_code in {200, 400}
        assert seen == {"parsed": 1, "resolved": 1}

    @pytest.mark.parametrize(
        ("method", "path", "headers", "body"),
        [
            ("GET", "/self-service/login/browser", JSON, None),
            ("GET", "/self-service/logout/browser", JSON, None),
            ("GET", "/self-service/registration/browser", {"accept": HTML}, None),
            ("GET", "/sessions", {}, None),
            ("DELETE", "/sessions", OWN_PAGE, None),
            ("GET", "/sessions/whoami", {}, None),
            ("GET", "/account", {"accept": HTML}, None),
            ("GET", "/", {"accept": HTML}, None),
            ("POST", "/graphql", OWN_PAGE, {"query": ME}),
            ("POST", "/signin", OWN_PAGE, {}),
            ("POST", "/signout", OWN_PAGE, {}),
            ("POST", "/signin", OWN_PAGE, {"username": "unknown@example.org", "password": PASSWORD}),
        ],
    )
    async def test_any_other_request_of_a_customer_is_authenticated_once(
        self,
        customer: Browser,
        monkeypatch: pytest.MonkeyPatch,
        method: str,
        path: str,
        headers: dict[str, str],
        body: dict[str, Any] | None,
    ) -> None:
        with counted(monkeypatch) as seen:
            answer = await customer.request(method, path, headers=headers, json=body)
        assert answer.status_code < 500
        assert seen == {"parsed": 1, "resolved": 1}

    @pytest.mark.parametrize("path", ["/signin", "/signout"])
    async def test_a_dead_cookie_behind_a_guests_bearer_is_resolved_once_at_most(
        self, scene: Scene, customer: Browser, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        """Signing in ends the session of the cookie, so that is looked up, once, and not found."""
        guest = (await (await scene.native()).post("/signin", json={})).json()["authorization"]
        scene.clock.advance(days=2)
        headers = {**OWN_PAGE, "authorization": f"Bearer {guest}"}
        with counted(monkeypatch) as seen:
            answer = await customer.post(path, json={}, headers=headers)
        assert answer.status_code == 200
        assert seen["parsed"] == 1
        assert seen["resolved"] <= 1

    async def test_refreshing_a_token_resolves_none_beforehand(
        self, customer: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with counted(monkeypatch) as seen:
            answer = await customer.post("/signin", json={"type": "refresh"}, headers=OWN_PAGE)
        assert answer.status_code == 200
        assert seen == {"parsed": 1}


async def test_both_tokens_of_a_request_are_resolved(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Kratos' paths a dead cookie does not hide a valid bearer token."""
    browser = await scene.browser()
    await browser.sign_up(new_address())
    headers = {"authorization": f"Bearer {browser.session_cookie}", "cookie": f"ory_kratos_session=shk_st_{'a' * 43}"}
    app = await scene.native()
    for path in ("/sessions", "/sessions/whoami"):
        with counted(monkeypatch) as seen:
            answer = await app.get(path, headers=headers)
        assert (answer.status_code, seen) == (200, {"parsed": 1, "resolved": 2})
