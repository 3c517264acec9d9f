"""A shop with a real OpenID provider, and people who sign in there."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import ADDRESS, Browser, Scene, csrf_of, new_address, opened
from tests.services.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIDProvider, Walker

IDP = "idp"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
BACKCHANNEL = f"/self-service/methods/oidc/backchannel-logout/{IDP}"
LOGOUT_CALLBACK = f"{ADDRESS}/self-service/methods/oidc/logout/callback"
NOWHERE = "http://127.0.0.1:9/"
"""Where the provider's logout tokens go in tests that send their own."""
JSON = {"accept": "application/json"}


@dataclass(frozen=True)
class Person:
    """A person in front of a browser, which has a session at the provider as well."""

    email: str
    browser: Browser
    walker: Walker


@dataclass(frozen=True)
class ProviderScene:
    """The application, and its provider."""

    shop: Scene
    provider: OpenIDProvider
    walkers: ExitStack = field(repr=False)

    async def person(self, email: str | None = None) -> Person:
        """Return a person whom the provider knows, signed in nowhere."""
        email = email or new_address()
        self.provider.person(email)
        return Person(email, await self.shop.browser(), self.walkers.enter_context(Walker(self.provider.issuer)))

    async def sign_in(self, person: Person) -> httpx2.Response:
        """Sign in at the provider, if that asks, and come back."""
        flow = await person.browser.open_flow("login")
        sent = {"method": "oidc", "provider": IDP, "csrf_token": csrf_of(flow)}
        answer = await person.browser.post(flow["ui"]["action"], json=sent, headers=JSON)
        assert answer.status_code == 422, answer.text
        arrival = await self.walk(person, answer.json()["redirect_browser_to"])
        back = await person.browser.get(arrival)
        assert person.browser.session_cookie, back.headers
        return back

    async def walk(self, person: Person, url: str) -> str:
        """Follow an address at the provider; return the address below ours where it leads back to."""
        arrival = await asyncio.to_thread(person.walker.walk, url, person.email)
        assert arrival.url.startswith(ADDRESS), arrival.url
        return arrival.path

    async def confirm_sign_out(self, person: Person, url: str) -> str:
        """Confirm at the provider to sign out there; return the address below ours where that leads back to."""
        back = await asyncio.to_thread(person.walker.sign_out, url)
        assert back.startswith(ADDRESS), back
        return back.removeprefix(ADDRESS)

    async def sign_out_url(self, person: Person, *, return_to: str | None = None) -> str:
        asked = {"return_to": return_to} if return_to else {}
        answer = await person.browser.get("/self-service/logout/browser", params=asked)
        return str(answer.json()["logout_url"])

    def logout_token(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """Return a logout token that the provider signs; None takes a claim away."""
        told = {"aud": CLIENT_ID, "jti": new_address("jti"), "events": {EVENT: {}}, **claims}
        typed = {"typ": "logout+jwt"} if header is None else header
        kept = {name: value for name, value in told.items() if value is not None}
        return self.provider.sign(kept, header=typed)

    async def tell(self, token: str, *, path: str = BACKCHANNEL) -> httpx2.Response:
        """Post a logout token as the provider does."""
        server = await self.shop.native(ip="192.0.2.80")
        return await server.post(path, data={"logout_token": token})

    async def claims_of(self, person: Person) -> dict[str, Any]:
        """Return the claims of the ID token that the person's session began with."""
        application = self.shop.application
        session = (await person.browser.get("/sessions/whoami")).json()["id"]
        async with application.infrastructure.database.reading() as unit:
            [began] = await application.commerce.provider_sessions.of(unit, [UUID(session)])
        assert began.id_token is not None
        return payload_of(began.id_token)


def payload_of(token: str) -> dict[str, Any]:
    """Return the claims of a token, unverified."""
    return dict(json.loads(base64.urlsafe_b64decode(f"{token.split('.')[1]}==")))


def settings_of(provider: OpenIDProvider, **section: Any) -> dict[str, Any]:
    """Return the settings of a shop with this provider."""
    told = {
        "id": IDP,
        "provider": "generic",
        "issuer_url": provider.issuer,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "scope": ["openid", "email"],
        "rp_initiated_logout": True,
        "silent_sign_on": True,
        **section,
    }
    return {
        "clients": {"http": {"disallow_private_ip_ranges": False}},
        "selfservice": {
            "methods": {"oidc": {"enabled": True, "config": {"providers": [told]}}},
            "flows": {"registration": {"after": {"oidc": {"hooks": [{"hook": "session"}]}}}},
        },
    }


@asynccontextmanager
async def with_provider(
    dsn: str,
    folder: Path,
    clock: StoppedClock,
    provider: OpenIDProvider,
    *,
    listener: str = NOWHERE,
    settings: Mapping[str, Any] | None = None,
    **section: Any,
) -> AsyncIterator[ProviderScene]:
    """Open a shop with the provider, and put its clock to the provider's. `listener` is where its logout tokens go."""
    # Forward only: a browser drops the cookies of a provider whose clock is behind.
    clock.advance(seconds=max(0.0, (datetime.now(UTC) - clock.now()).total_seconds()))
    provider.client(
        redirect_uris=[f"{ADDRESS}/self-service/methods/oidc/callback/{IDP}"],
        post_logout_redirect_uris=[LOGOUT_CALLBACK],
        backchannel_logout_uri=listener,
        backchannel_logout_session_required=True,
    )
    whole = {**settings_of(provider, **section), **(settings or {})}
    async with opened(dsn, folder, clock, settings=whole) as shop:
        with ExitStack() as walkers:
            yield ProviderScene(shop, provider, walkers)
