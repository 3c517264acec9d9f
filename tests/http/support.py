"""A shop with a support tool: an agent, a customer, and the tool's admin key."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import KEY, OWN_PAGE, Browser, Scene, new_address, opened, sign_up

TOOL = "t5Jq8wLz3nVx6bRk1mHs9cFd2gPy4aEo"
REASON = "The customer called: the cart does not load (ticket 4711)."


@dataclass(frozen=True)
class Person:
    """Somebody with an account and a session."""

    id: str
    email: str
    token: str

    @classmethod
    async def register(cls, scene: Scene, name: str) -> "Person":
        email = new_address(name)
        answer = await sign_up(await scene.native(), email)
        return cls(answer["identity"]["id"], email, answer["session_token"])


@dataclass(frozen=True)
class Shop:
    """The application, the people, and the tool that calls the admin port."""

    scene: Scene
    agent: Person
    customer: Person
    tool: httpx2.AsyncClient

    async def start(self, *, whom: str | None = None, query: str = "", **body: Any) -> httpx2.Response:
        """Ask for an impersonation: of the customer by the agent, unless the test says otherwise."""
        asked = {"session_token": self.agent.token, "reason": REASON, **body}
        return await self.tool.post(f"/admin/identities/{whom or self.customer.id}/impersonations{query}", json=asked)

    async def started(self, **body: Any) -> dict[str, Any]:
        """Start an impersonation, which must succeed."""
        answer = await self.start(**body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def started_as_guest(self, cart: str) -> dict[str, Any]:
        asked = {"session_token": self.agent.token, "reason": REASON}
        answer = await self.tool.post(f"/admin/guests/by/cart/{cart}/impersonations", json=asked)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def acting_browser(self, started: Mapping[str, Any]) -> Browser:
        """Follow the link of an impersonation in a new browser, and press the button."""
        browser = await self.scene.browser()
        answer = await follow(browser, started["browser_link"])
        assert answer.status_code == 303, answer.text
        return browser

    async def whoami(self, token: str) -> httpx2.Response:
        return await (await self.scene.native()).get("/sessions/whoami", headers={"x-session-token": token})

    async def audited(self, action: str) -> list[dict[str, Any]]:
        return [row for row in await self.scene.rows("audit_events") if row["action"] == action]


async def follow(browser: Browser, link: str) -> httpx2.Response:
    """Open a link of an impersonation and press its button."""
    parts = urlsplit(link)
    fields = await browser.form_of(f"{parts.path}?{parts.query}")
    return await browser.post("/impersonation", data=fields, headers=OWN_PAGE)


def settings(*, further: Mapping[str, Any] | None = None, **impersonation: Any) -> dict[str, Any]:
    tool = {"id": "tool", "hash": hashlib.sha256(TOOL.encode()).hexdigest(), "scopes": ["impersonate"]}
    return {
        "admin": {"api_keys": [KEY, tool]},
        "impersonation": {"enabled": True, **impersonation},
        **(further or {}),
    }


@asynccontextmanager
async def open_shop(
    dsn: str, folder: Path, clock: StoppedClock, *, further: Mapping[str, Any] | None = None, **changes: Any
) -> AsyncIterator[Shop]:
    """Open a shop. The agent registers first, because the configuration names agents by their ids."""
    at_first = {name: value for name, value in (further or {}).items() if name not in {"admin", "impersonation"}}
    async with opened(dsn, folder, clock, settings=at_first) as before:
        agent = await Person.register(before, "agent")
    chosen = settings(further=further, **{"agents": [agent.id], **changes})
    async with opened(dsn, folder, clock, settings=chosen) as scene:
        customer = await Person.register(scene, "ada")
        yield Shop(scene, agent, customer, await scene.admin(key=TOOL))
