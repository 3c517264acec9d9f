"""Fixtures of the providers: the stages of the conformance suite, and applications with real providers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.http_client import GuardedClient
from tests.attacks.scene import Scene, opened
from tests.services.openid_provider import OpenIDProvider
from tests.upstream.kratos_scene import in_front
from tests.upstream.stages import (
    API,
    BACK,
    ELSEWHERE,
    HERE,
    STAGES,
    IntrospectionStage,
    JwtStage,
    KratosStage,
    OtherStage,
    OwnStage,
    Stage,
    UserinfoStage,
)

GRANTS = ["authorization_code", "refresh_token", "password", "client_credentials"]
STORES = [{"id": HERE}, {"id": ELSEWHERE}]
_OF_NPM: dict[str, Callable[..., Stage]] = {
    "jwt": JwtStage,
    "introspection": IntrospectionStage,
    "userinfo": UserinfoStage,
}


@pytest.fixture
async def http() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(private_allowed=True) as http:
        yield http


@pytest.fixture(params=STAGES)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """A provider of each kind."""
    if request.param == "own":
        dsn, clock = request.getfixturevalue("sqlite_dsn"), StoppedClock(datetime.now(UTC))
        settings = {"stores": STORES, "default_store": HERE}
        async with opened(dsn, tmp_path, clock, settings=settings) as scene:
            yield OwnStage(scene)
        return
    if request.param == "kratos":
        provider = {"cache_for": "0s", "deadline": "500ms", "stores": [HERE]}
        run, clock = request.getfixturevalue("run"), StoppedClock(datetime.now(UTC))
        async with in_front(run, tmp_path, clock, provider=provider, stores=STORES, default_store=HERE) as in_front_of:
            yield KratosStage(in_front_of)
        return
    async with GuardedClient(private_allowed=True) as http:
        if request.param == "other":
            yield OtherStage(request.getfixturevalue("other_openid_provider"), http)
        else:
            yield _OF_NPM[request.param](request.getfixturevalue("openid_provider"), http)


@pytest.fixture
async def open_shop(
    sqlite_dsn: str, tmp_path: Path, openid_provider: OpenIDProvider
) -> AsyncIterator[Callable[..., Awaitable[Scene]]]:
    """Open an application whose store takes the tokens of the OpenID provider; `more` changes the provider's section,
    `settings` all others."""
    openid_provider.client(redirect_uris=[BACK], grant_types=GRANTS)
    async with AsyncExitStack() as closing:

        async def open_shop(
            *others: Mapping[str, Any], settings: Mapping[str, Any] | None = None, **more: Any
        ) -> Scene:
            section = {
                "id": "idp",
                "kind": "oidc",
                "issuer": openid_provider.issuer,
                "audiences": [API],
                "cache": "0s",
                **more,
            }
            given = {
                "clients": {"http": {"disallow_private_ip_ranges": False}},
                "providers": [section, *others],
                "stores": [{"id": HERE, "provider": "idp"}, {"id": ELSEWHERE}, {"id": "plum"}],
                "default_store": HERE,
                **(settings or {}),
            }
            clock = StoppedClock(datetime.now(UTC))
            scene = await closing.enter_async_context(opened(sqlite_dsn, tmp_path, clock, settings=given))
            closing.push_async_callback(scene.application.accounts.identity_providers.close)
            return scene

        yield open_shop
