"""Whether a provider answers: asked before a browser is sent there for something that it can do without."""

import asyncio

import pytest

from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import ProviderUnavailable
from shopkeeper.openid.provider import Endpoints
from tests.openid.scripted import WELL_KNOWN, ScriptedProvider

AWAY = {"status": "503 Service Unavailable"}


async def test_one_call_counts_for_ten_seconds(idp: ScriptedProvider, client: OpenIDClient) -> None:
    await client.end_session_url(id_token_hint=None, post_logout_redirect_uri=None, state=None)
    before = idp.asked(WELL_KNOWN)
    await asyncio.gather(*(client.reach() for _ in range(20)))
    assert idp.asked(WELL_KNOWN) == before + 1
    idp.clock.advance(seconds=10)
    await client.reach()
    assert idp.asked(WELL_KNOWN) == before + 2


async def test_metadata_of_a_provider_that_is_away_do_not_count(idp: ScriptedProvider, client: OpenIDClient) -> None:
    await client.reach()
    idp.clock.advance(seconds=10)
    idp.answer(WELL_KNOWN, b"", **AWAY)
    with pytest.raises(ProviderUnavailable):
        await client.reach()
    # A sign-in that somebody asks for still finds its way.
    url = await client.end_session_url(id_token_hint=None, post_logout_redirect_uri=None, state=None)
    assert url is not None
    idp.answer(WELL_KNOWN, idp.metadata())
    await client.reach()


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "400 Bad Request", "404 Not Found"])
async def test_without_metadata_any_answer_of_the_page_that_signs_in_counts(idp: ScriptedProvider, status: str) -> None:
    endpoints = Endpoints(authorization=idp.server.url("/auth"), token=idp.server.url("/token"))
    client = idp.client(discovers=False, endpoints=endpoints)
    idp.answer("/auth", b"a page", status=status, location=idp.server.url("/elsewhere"))
    await client.reach()
    assert idp.asked("/auth") == 1
    assert idp.asked(WELL_KNOWN) == 0
