"""An application with pages, and a browser."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.app import Application, build
from shopkeeper.clock import StoppedClock
from shopkeeper.commerce.embedded import demo
from shopkeeper.commerce.embedded.load import load as load_catalogue
from shopkeeper.settings import load
from tests.http.pages.reading import Element, read

ADDRESS = "http://shop.test"
PASSWORD = "a kettle on the plum shelf"
# The header with which a browser marks what a script of our own page sends.
OWN_SCRIPT = {"Sec-Fetch-Site": "same-origin", "Accept": "application/json"}
CSRF_COOKIE = "csrf_token_"


class Browser(httpx2.AsyncClient):
    """A browser: it keeps cookies, follows redirects where asked to, and fills in forms. It runs no scripts."""

    async def see(self, path: str) -> Element:
        """Return a page, after any redirects; it must exist."""
        answer = await self.get(path, follow_redirects=True)
        assert answer.status_code == 200, answer.text
        return read(answer.text)

    async def submit(self, form: Element, typed: Mapping[str, str], *, button: str | None = None) -> Element:
        """Submit a form; return the page that it leads to."""
        answer = await self.post_form(form, typed, button=button)
        assert answer.status_code == 200, answer.text
        return read(answer.text)

    async def post_form(self, form: Element, typed: Mapping[str, str], *, button: str | None = None) -> httpx2.Response:
        buttons = [each for each in form.all("button") if button is None or each.text == button]
        pressed = {buttons[0]["name"]: buttons[0]["value"]} if buttons and buttons[0].has("name") else {}
        fields = {**form.fields(), **typed, **pressed}
        return await self.post(form["action"], data=fields, follow_redirects=True)

    async def register(
        self, email: str, *, query: str = "", first_name: str = "Ana", button: str = "Sign up"
    ) -> Element:
        """Register on the pages, in two steps; return the page after it. The browser is signed in then."""
        profile = await self.see(f"/self-service/registration/browser{query}")
        typed = {"traits.email": email, "traits.name.first": first_name}
        password = await self.submit(profile.one("form"), typed, button=button)
        return await self.submit(password.all("form")[0], {"password": PASSWORD}, button=button)

    async def sign_in(self, email: str, *, query: str = "") -> Element:
        """Sign in; return the page after it."""
        page = await self.see(f"/self-service/login/browser{query}")
        return await self.submit(page.one("form"), {"identifier": email, "password": PASSWORD})

    async def sign_in_by_script(self, email: str | None = None) -> None:
        """Do what the storefront's script does: begin an anonymous visit, or with credentials a customer's."""
        credentials = {"username": email, "password": PASSWORD} if email else {}
        answer = await self.post("/signin", json=credentials, headers=OWN_SCRIPT)
        assert answer.status_code == 200, answer.text

    async def ask(self, query: str, **variables: Any) -> Any:
        """Send an operation of the storefront's script; return its data."""
        body = {"query": query, "variables": variables}
        answer = await self.post("/graphql", json=body, headers=OWN_SCRIPT)
        assert "errors" not in answer.json(), answer.text
        return answer.json()["data"]


@dataclass(frozen=True)
class Visited:
    """An application, and ways to open browsers of it."""

    application: Application
    clock: StoppedClock

    def browser(self, *, host: str = ADDRESS, ip: str = "127.0.0.1", **headers: str) -> Browser:
        html = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language": "en"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        transport = httpx2.ASGITransport(app=self.application.public, client=(ip, 40_000))
        return Browser(transport=transport, base_url=host, headers={**html, **named})


Visiting = Callable[..., AbstractAsyncContextManager[Visited]]


@pytest.fixture
def visiting(tmp_path: Path, clock: StoppedClock) -> Visiting:
    """`async with visiting(dsn) as visited: …` opens an application; further arguments are settings."""

    @asynccontextmanager
    async def visit(dsn: str, *, dev: bool = True, with_demo: bool = False, **settings: Any) -> AsyncIterator[Visited]:
        file = tmp_path / "shop.json"
        file.write_text(json.dumps({**_config(dsn), **settings}))
        application = await build(load([file], {}, dev=dev, demo=with_demo), clock=clock)
        try:
            if with_demo:
                await _stock(application)
            yield Visited(application, clock)
        finally:
            application.accounts.hasher.close()
            await application.infrastructure.http_client.close()
            await application.infrastructure.jsonnet.close()
            await application.infrastructure.cache.close()
            await application.infrastructure.database.close()

    return visit


@pytest.fixture
async def shop(visiting: Visiting, sqlite_dsn: str) -> AsyncIterator[Visited]:
    """An application with the demo shop, on SQLite."""
    async with visiting(sqlite_dsn, with_demo=True) as visited:
        yield visited


@pytest.fixture
async def either_shop(visiting: Visiting, dsn: str) -> AsyncIterator[Visited]:
    """An application with the demo shop, on SQLite and on PostgreSQL."""
    async with visiting(dsn, with_demo=True) as visited:
        yield visited


async def _stock(application: Application) -> None:
    async with application.infrastructure.database.unit() as unit:
        await load_catalogue(unit, store=application.infrastructure.settings.default_store, catalogue=_catalogue())


@cache
def _catalogue() -> demo.Catalogue:
    return demo.read_catalogue()


def _config(dsn: str) -> dict[str, Any]:
    return {
        "dsn": dsn,
        "serve": {"public": {"base_url": f"{ADDRESS}/"}},
        "selfservice": {
            "methods": {"password": {"config": {"haveibeenpwned_enabled": False}}},
            "flows": {"registration": {"after": {"password": {"hooks": [{"hook": "session"}]}}}},
        },
        "secrets": {"default": ["a secret for the tests of pages"], "cipher": ["0123456789abcdef0123456789abcdef"]},
        "hashers": {"argon2": {"memory": "8KB", "iterations": 1}},
    }
