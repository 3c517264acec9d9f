"""An application with social sign-in at two providers, and a browser that goes there and comes back.

A provider answers what a test has set for the next visitor: who it is, and with which claims.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.oidc import Oidc
from shopkeeper.credentials.steps import NewCredential
from shopkeeper.http_client import GuardedClient
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Identity
from tests.attacks.scene import Browser, Scene, csrf_of, opened
from tests.openid.scripted import CLIENT_ID, SECRET, ScriptedProvider, signed
from tests.services.web import says, serving

JSON = {"accept": "application/json"}
CALLBACK = "https://shop.test/self-service/methods/oidc/callback"
SETTINGS: Mapping[str, Any] = {
    "clients": {"http": {"disallow_private_ip_ranges": False}},
    "selfservice": {"flows": {"registration": {"after": {"oidc": {"hooks": [{"hook": "session"}]}}}}},
}


@dataclass
class SocialStage:
    """An application, and the two providers: `idp`, and `other` which has another issuer."""

    scene: Scene
    idp: ScriptedProvider
    other: ScriptedProvider
    tokens: dict[str, str] = field(default_factory=dict)
    """ID tokens by the codes that they are redeemed with."""

    @property
    def method(self) -> Oidc:
        return next(each for each in self.scene.application.accounts.methods.every if isinstance(each, Oidc))

    @property
    def identities(self) -> Identities:
        return self.scene.application.accounts.identities

    def provider(self, name: str) -> ScriptedProvider:
        return self.other if name == "other" else self.idp

    async def customer(
        self, email: str, *linked: tuple[str, str], issuer: bool = True, password: str | None = None
    ) -> Identity:
        """Create an account that is linked to these accounts, pairs of provider and subject."""
        entries = [
            {"provider": name, "subject": subject, **({"issuer": self.provider(name).issuer} if issuer else {})}
            for name, subject in linked
        ]
        identifiers = [f"{name}:{subject}" for name, subject in linked]
        credentials = [NewCredential("oidc", {"providers": entries}, identifiers)] if linked else []
        if password is not None:
            hashed = await self.scene.application.accounts.hasher.hash(password)
            credentials.append(NewCredential("password", {"hashed_password": hashed}))
        async with self.scene.application.infrastructure.database.unit() as unit:
            return await self.identities.create(unit, NewIdentity(traits={"email": email}, credentials=credentials))

    async def read(self, identity: Identity) -> Identity:
        async with self.scene.application.infrastructure.database.reading() as unit:
            return await self.identities.require(unit, identity.id, credentials=True)

    async def leave(self, browser: httpx2.AsyncClient, flow: Mapping[str, Any], **fields: Any) -> str:
        """Submit a flow; return the provider's address that the browser is sent to."""
        answer = await self.submit(browser, flow, **fields)
        assert answer.status_code == 422, answer.text
        return str(answer.json()["redirect_browser_to"])

    async def submit(self, browser: httpx2.AsyncClient, flow: Mapping[str, Any], **fields: Any) -> httpx2.Response:
        whole = {"method": "oidc", "csrf_token": csrf_of(flow), **fields}
        return await browser.post(flow["ui"]["action"], json=whole, headers=JSON)

    def back(self, url: str, *, subject: str = "alice", provider: str = "idp", **claims: Any) -> str:
        """Have the provider know its next visitor, who signs in there now; return where it sends the browser back to.

        As the standard has it, only who asks for `max_age` is told when the visitor has signed in.
        """
        asked = dict(parse_qsl(urlsplit(url).query))
        scripted = self.provider(provider)
        code = f"c-{len(self.tokens) + 1}"
        told = {"auth_time": int(scripted.clock.now().timestamp()), **claims} if "max_age" in asked else claims
        self.tokens[code] = signed(scripted.claims(sub=subject, nonce=asked["nonce"], **told))

        async def redeem(writer: asyncio.StreamWriter) -> None:
            sent = dict(parse_qsl(scripted.server.bodies[-1].decode()))
            document = scripted.tokens(self.tokens[sent["code"]])
            await says(json.dumps(document).encode())(writer)

        scripted.answer("/token", redeem)
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def id_token(self, *, subject: str = "alice", nonce: str = "n-1", **claims: Any) -> str:
        """Return an ID token that a native app has got from the provider `idp`."""
        return signed(self.idp.claims(sub=subject, nonce=nonce, **claims))

    async def arrive(
        self, browser: Browser, kind: str = "login", *, query: str = "", provider: str = "idp", **claims: Any
    ) -> httpx2.Response:
        """Open a flow, go to a provider, and come back as one of its users."""
        url = await self.leave(browser, await browser.open_flow(kind, query), provider=provider)
        return await browser.get(self.back(url, provider=provider, **claims))

    async def flow_after(self, browser: Browser, answer: httpx2.Response, kind: str = "login") -> dict[str, Any]:
        """Return the flow whose page an answer leads to."""
        assert answer.status_code in (302, 303), answer.text
        flow = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["flow"]
        return dict((await browser.get(f"/self-service/{kind}/flows?id={flow}", headers=JSON)).json())


@asynccontextmanager
async def social_stage(
    dsn: str,
    folder: Path,
    clock: StoppedClock,
    *,
    idp: Mapping[str, Any] | None = None,
    more: Sequence[Mapping[str, Any]] = (),
    also: Sequence[str] = (),
    **settings: Any,
) -> AsyncIterator[SocialStage]:
    """Open an application with the providers `idp` and `other`.

    Args:
        idp: further settings of the first one.
        more: further providers.
        also: further ids under which the first provider is configured.
        settings: further sections of the settings.
    """
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(GuardedClient(private_allowed=True))
        servers = [await stack.enter_async_context(serving("127.0.0.1")) for _ in range(2)]
        first, second = (ScriptedProvider(server, http, clock) for server in servers)
        providers = [section(first, "idp", "Example IdP", **(idp or {})), section(second, "other", "Other"), *more]
        providers += [section(first, name, name) for name in also]
        oidc = {"enabled": True, "config": {"providers": providers}}
        configured = _merged(SETTINGS, {"selfservice": {"methods": {"oidc": oidc}}})
        scene = await stack.enter_async_context(opened(dsn, folder, clock, settings=_merged(configured, settings)))
        yield SocialStage(scene, first, second)


def section(scripted: ScriptedProvider, name: str, label: str, **more: Any) -> Mapping[str, Any]:
    """Return the settings of a provider."""
    return {
        "id": name,
        "provider": "generic",
        "label": label,
        "client_id": CLIENT_ID,
        "client_secret": SECRET,
        "issuer_url": scripted.issuer,
        **more,
    }


def _merged(one: Any, other: Any) -> Any:
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return other
    return {**one, **{name: _merged(one.get(name, {}), value) for name, value in other.items()}}
