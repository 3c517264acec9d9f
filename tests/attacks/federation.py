"""The scene of attacks on social sign-in: an application with real providers, and browsers that go there and back."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx2

from shopkeeper.clock import StoppedClock
from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import migrate
from tests.attacks.scene import ADDRESS, HTML, Browser, Scene, new_address, opened
from tests.services.databases import sqlalchemy_url
from tests.services.openid_provider import CLIENT_ID, CLIENT_SECRET, Arrival, OpenIDProvider, Walker
from tests.services.other_openid_provider import OtherProvider

CALLBACK = "/self-service/methods/oidc/callback"
JSON = {"accept": "application/json"}
LOGOUT = "/self-service/methods/oidc/backchannel-logout"
NOTHING = {"identities": 0, "sessions": 0}


def section(provider_id: str, issuer: str, **more: Any) -> dict[str, Any]:
    """Return a provider's section of the configuration."""
    return {
        "id": provider_id,
        "provider": "generic",
        "label": provider_id.title(),
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "issuer_url": issuer,
        "scope": ["openid", "email", "profile"],
        **more,
    }


def configured(*providers: Mapping[str, Any], **flows: Any) -> dict[str, Any]:
    """Return settings with these providers. Their addresses may be called, and no others of this machine."""
    return {
        "clients": {"http": {"private_ip_exception_urls": [f"{each['issuer_url']}/**" for each in providers]}},
        "selfservice": {
            "methods": {"oidc": {"enabled": True, "config": {"providers": list(providers)}}},
            "flows": {
                "registration": {
                    "after": {
                        "oidc": {"hooks": [{"hook": "session"}]},
                        "password": {"hooks": [{"hook": "session"}]},
                    }
                },
                **flows,
            },
        },
    }


@dataclass(frozen=True)
class Federation:
    """An application whose providers are `idp`, panva's, and `other`, another author's."""

    scene: Scene
    provider: OpenIDProvider
    other: OtherProvider

    async def leave(self, browser: Browser, kind: str = "login", *, query: str = "", **fields: Any) -> str:
        """Open a flow, choose a provider, and return where the browser is sent."""
        flow = await browser.open_flow(kind, query)
        answer = await browser.send_flow(flow, {"method": "oidc", "provider": "idp", **fields})
        assert answer.status_code == 422, answer.text
        return str(answer.json()["redirect_browser_to"])

    def walk(self, url: str, email: str, **how: Any) -> Arrival:
        """Sign in at `idp`, in a browser that has not been there before."""
        with Walker(self.provider.issuer) as walker:
            return walker.walk(url, email, **how)

    async def come_back(self, browser: Browser, arrival: Arrival) -> httpx2.Response:
        """Follow the provider's redirect back to the application."""
        assert arrival.url.startswith(ADDRESS), arrival.url
        headers = {"accept": HTML, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        return await browser.get(arrival.path, headers=headers)

    async def sign_in(self, browser: Browser, email: str, kind: str = "login", **fields: Any) -> httpx2.Response:
        """Sign in by `idp`, from the form to the answer of the callback."""
        return await self.come_back(browser, self.walk(await self.leave(browser, kind, **fields), email))

    async def messages(self, browser: Browser, answer: httpx2.Response) -> list[int]:
        """Return the messages of the form that an answer leads to; it must be one of ours."""
        assert answer.status_code == 303, (answer.status_code, answer.text)
        place = urlsplit(answer.headers["location"])
        kind, [flow] = place.path.rpartition("/")[2], parse_qs(place.query)["flow"]
        shown = await browser.get(f"/self-service/{kind}/flows?id={flow}", headers=JSON)
        assert shown.status_code == 200, shown.text
        return [message["id"] for message in shown.json()["ui"].get("messages", [])]

    async def made(self) -> dict[str, int]:
        """Return how many identities and sessions there are."""
        return {table: len(await self.scene.rows(table)) for table in ("identities", "sessions")}


def known(federation: Federation, **claims: Any) -> str:
    """Return the address of a new person at the provider."""
    email = new_address()
    federation.provider.person(email, **claims)
    return email


@asynccontextmanager
async def federated(
    dsn: str,
    folder: Path,
    provider: OpenIDProvider,
    other: OtherProvider,
    *,
    clock: StoppedClock | None = None,
    settings: Mapping[str, Any] | None = None,
    **more: Any,
) -> AsyncIterator[Federation]:
    """Open an application with both providers. Its clock stands at the time of the machine, as the providers' do.

    `more` is added to the section of `idp`; `settings` take the place of all of this.
    """
    provider.client(
        redirect_uris=[f"{ADDRESS}{CALLBACK}/idp"], backchannel_logout_uri=f"{ADDRESS}{LOGOUT}/idp", **_of_client(more)
    )
    told = settings or configured(section("idp", provider.issuer, **more), section("other", other.issuer))
    async with opened(dsn, folder, clock or StoppedClock(datetime.now(UTC)), settings=told) as scene:
        yield Federation(scene, provider, other)


def _of_client(more: dict[str, Any]) -> dict[str, Any]:
    """Take out what is said of the client at the provider."""
    names = [name for name in more if name.startswith("id_token_signed")]
    return {name: more.pop(name) for name in names}


def with_query(url: str, **changed: str | None) -> str:
    """Return an address with other parameters; None takes one out."""
    split = urlsplit(url)
    query = {**dict(parse_qsl(split.query)), **changed}
    return split._replace(query=urlencode({name: value for name, value in query.items() if value is not None})).geturl()


def parameter(url: str, name: str) -> str:
    """Return a parameter of an address."""
    return parse_qs(urlsplit(url).query)[name][0]


async def counted(dsn: str, folder: Path, provider: OpenIDProvider) -> int:
    """Return how many SQL statements a social sign-in of a known person takes: leaving, and coming back."""
    provider.client(redirect_uris=[f"{ADDRESS}{CALLBACK}/idp"])
    provider.person(email := new_address())
    database = Database(sqlalchemy_url(dsn))
    await migrate(database)
    await database.close()
    settings = configured(section("idp", provider.issuer))
    async with opened(dsn, folder, StoppedClock(datetime.now(UTC)), settings=settings) as scene:
        seen: list[str] = []
        observed = scene.application.infrastructure.database.observed
        for _ in range(2):  # the first one registers
            seen.clear()
            browser = await scene.browser()
            flow = await browser.open_flow("login")
            with observed(seen.append):
                answer = await browser.send_flow(flow, {"method": "oidc", "provider": "idp"})
            with Walker(provider.issuer) as walker:
                arrival = walker.walk(answer.json()["redirect_browser_to"], email)
            with observed(seen.append):
                await browser.get(arrival.path, headers={"accept": HTML})
            assert await browser.whoami() is not None
        return sum(not each.startswith("BEGIN") for each in seen)
