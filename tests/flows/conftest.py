"""Fixtures of the flows: an application with a method that redirects to a provider, and hooks of the test."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest

from shopkeeper.app import Extensions
from shopkeeper.app.accounts import Accounts
from shopkeeper.app.flows import FlowBinding
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.clock import StoppedClock
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.values import Identity
from shopkeeper.sessions.values import Session
from shopkeeper.signin.completion import Hooks
from shopkeeper.signin.hooks import BlockingHook, HookOrigin, Refuse, SignInHook
from shopkeeper.storage.audit import AuditEvent
from shopkeeper.storage.database import Unit

pytest.register_assert_rewrite("tests.attacks.scene")

from tests.attacks.scene import OWN_PAGE, Browser, Scene, csrf_of, opened  # noqa: E402 - its assertions must be rewritten first
from tests.flows.link_handler import LinkFlow, presented  # noqa: E402
from tests.flows.travelling_method import TRAVEL, Provider, Travelling, open_provider, travel_credential  # noqa: E402
from tests.http.pages.reading import read  # noqa: E402

JSON = {"accept": "application/json"}
FLOWS_WITHOUT_PRIVATE_GUARD: Mapping[str, Any] = {"clients": {"http": {"disallow_private_ip_ranges": False}}}


@dataclass
class Stage:
    """An application with the travelling method, its provider, and lists of hooks that the test may add to."""

    scene: Scene
    provider: Provider
    link: LinkFlow
    blocking: list[BlockingHook]
    after: list[SignInHook]

    async def customer(self, subject: str, *, email: str | None = None) -> Identity:
        """Create an account that the travelling method signs in to."""
        accounts, database = self.scene.application.accounts, self.scene.application.infrastructure.database
        new = NewIdentity(traits={"email": email or f"{subject}@example.org"}, credentials=[travel_credential(subject)])
        async with database.unit() as unit:
            return await accounts.identities.create(unit, new)

    @property
    def method(self) -> Travelling:
        """The travelling method of this application."""
        methods = self.scene.application.accounts.methods.every
        return next(method for method in methods if isinstance(method, Travelling))

    async def leave(self, browser: Browser, kind: str, *, spa: bool = True, query: str = "", **fields: Any) -> str:
        """Open a flow, submit the travelling method, go to the provider; return the address that it redirects back
        to."""
        flow = await browser.open_flow(kind, query)
        return await self.provider.send_back(await self.depart(browser, flow, spa=spa, **fields))

    async def depart(self, browser: Browser, flow: Mapping[str, Any], *, spa: bool = True, **fields: Any) -> str:
        """Submit the travelling method; return the provider's address."""
        whole = {"method": TRAVEL, "csrf_token": csrf_of(flow), **fields}
        if spa:
            answer = await browser.post(flow["ui"]["action"], json=whole, headers=JSON)
            assert answer.status_code == 422, answer.text
            return str(answer.json()["redirect_browser_to"])
        answer = await browser.post(flow["ui"]["action"], data=whole)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    async def flow(self, browser: Browser, kind: str, flow_id: str) -> dict[str, Any]:
        """Return a flow as its page sees it."""
        answer = await browser.get(f"/self-service/{kind}/flows?id={flow_id}", headers=JSON)
        return dict(answer.json())

    async def events(self, action: str) -> Sequence[AuditEvent]:
        """Return the audit events of an action, newest first."""
        infrastructure = self.scene.application.infrastructure
        async with infrastructure.database.reading() as unit:
            return await infrastructure.audit.events(unit, action=action)


Staging = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture
def staging(tmp_path: Path, clock: StoppedClock) -> Staging:
    """`async with staging(dsn, tokens={…}) as stage: …` opens a stage with settings of the test."""

    @asynccontextmanager
    async def open_(dsn: str, **settings: Any) -> AsyncIterator[Stage]:
        link, blocking, after = LinkFlow(), list[BlockingHook](), list[SignInHook]()
        async with open_provider() as provider:
            extensions = extensions_of(provider, link=link, blocking=blocking, after=after)
            merged = {**FLOWS_WITHOUT_PRIVATE_GUARD, **settings}
            async with opened(dsn, tmp_path, clock, settings=merged, extensions=extensions) as scene:
                yield Stage(scene, provider, link, blocking, after)

    return open_


@pytest.fixture
async def stage(staging: Staging, sqlite_dsn: str) -> AsyncIterator[Stage]:
    """A stage on SQLite."""
    async with staging(sqlite_dsn) as stage:
        yield stage


REGISTERING_SIGNS_IN: Mapping[str, Any] = {"registration": {"after": {"hooks": [{"hook": "session"}]}}}


@pytest.fixture
async def signing_in(staging: Staging, dsn: str) -> AsyncIterator[Stage]:
    """A stage on SQLite and on PostgreSQL where registering starts a session."""
    async with staging(dsn, selfservice={"flows": REGISTERING_SIGNS_IN}) as stage:
        yield stage


@pytest.fixture
async def either_stage(staging: Staging, dsn: str) -> AsyncIterator[Stage]:
    """A stage on SQLite and on PostgreSQL."""
    async with staging(dsn) as stage:
        yield stage


def extensions_of(
    provider: Provider, *, link: LinkFlow, blocking: list[BlockingHook], after: list[SignInHook]
) -> Extensions:
    """Return the travelling method, the flows of these tests, and the hooks for every flow and method of theirs."""

    def flows(infrastructure: Infrastructure, accounts: Accounts) -> Sequence[FlowBinding]:
        return [FlowBinding(link, presented("link"))]

    async def run_after(unit: Unit, *, session: Session, origin: HookOrigin) -> Refuse | None:
        for hook in after:
            refused = await hook(unit, session=session, origin=origin)
            if refused is not None:
                return refused
        return None

    def hooks(infrastructure: Infrastructure, accounts: Accounts) -> Hooks:
        hooked = [
            (flow, method) for flow in ("login", "registration", "recovery") for method in (TRAVEL, "password", "code")
        ]
        return Hooks(blocking=dict.fromkeys(hooked, blocking), after={key: [run_after] for key in hooked})

    return Extensions(
        facts=[Travelling.facts],
        methods=lambda infrastructure, identities: [
            Travelling(identities, http=infrastructure.http_client, provider_url=provider.url),
        ],
        flows=flows,
        hooks=hooks,
    )


def cross_site_post(browser: Browser, url: str) -> dict[str, Any]:
    """Return the arguments of a form POST that another site makes the browser send: only `SameSite=None` cookies come
    along (RFC 6265bis, section 5.6.7.2)."""
    sent = [
        f"{cookie.name}={cookie.value}"
        for cookie in browser.cookies.jar
        if str(cookie.get_nonstandard_attr("SameSite")).lower() == "none" and cookie.secure
    ]
    parts = urlsplit(url)
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "cookie": "; ".join(sent),
        "origin": "http://127.0.0.1",
        "sec-fetch-site": "cross-site",
    }
    return {
        "method": "POST",
        "url": f"{parts.scheme}://{parts.netloc}{parts.path}",
        "content": urlencode(parse_qsl(parts.query)),
        "headers": headers,
    }


async def post_across_sites(stage: Stage, browser: Browser, url: str) -> httpx2.Response:
    """POST the provider's form as a browser does (OAuth 2.0 Form Post Response Mode); return our page."""
    stranger = await stage.scene.browser()
    request = cross_site_post(browser, url)
    return await stranger.request(**request)


async def post_back(stage: Stage, browser: Browser, url: str) -> httpx2.Response:
    """POST the provider's form, and then the form of our page, from our own site."""
    page = await post_across_sites(stage, browser, url)
    assert page.status_code == 200, page.headers
    return await browser.post(url.partition("?")[0], data=read(page.text).one("form").fields(), headers=OWN_PAGE)
