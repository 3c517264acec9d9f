"""Fixtures of the providers: the stages of the conformance suite, and applications with real providers."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.http_client import GuardedClient
from tests.attacks.scene import opened
from tests.upstream.stages import (
    HERE,
    STAGES,
    IntrospectionStage,
    JwtStage,
    OtherStage,
    OwnStage,
    Stage,
    UserinfoStage,
)

STORES = [{"id": HERE}, {"id": "quince"}]
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
    async with GuardedClient(private_allowed=True) as http:
        if request.param == "other":
            yield OtherStage(request.getfixturevalue("other_openid_provider"), http)
        else:
            yield _OF_NPM[request.param](request.getfixturevalue("openid_provider"), http)
