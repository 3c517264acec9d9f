"""Fixtures: a scripted provider, and a client of it."""

from collections.abc import AsyncIterator

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.http_client import GuardedClient
from shopkeeper.openid.client import OpenIDClient
from tests.openid.scripted import ScriptedProvider
from tests.services.web import serving


@pytest.fixture
async def idp(clock: StoppedClock) -> AsyncIterator[ScriptedProvider]:
    async with serving("127.0.0.1") as server, GuardedClient(private_allowed=True) as http:
        yield ScriptedProvider(server, http, clock)


@pytest.fixture
def client(idp: ScriptedProvider) -> OpenIDClient:
    return idp.client()
