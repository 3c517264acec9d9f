"""Metadata: only the configured issuer's is used; it is read once, and outlives an outage for a bounded time."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shopkeeper.http_client import GuardedClient
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import ProviderAnswerInvalid, ProviderError, ProviderUnavailable
from shopkeeper.openid.metadata import is_endpoint, parse_metadata
from shopkeeper.openid.provider import Endpoints, Provider
from tests.openid.scripted import DROP, REDIRECT, VERIFIER, WELL_KNOWN, ScriptedProvider

LEAVING = {"redirect_uri": REDIRECT, "state": "s", "nonce": "n", "code_verifier": VERIFIER}
SECURE = Provider(id="idp", preset="generic", label="", client_id="shop", issuer="https://idp.example")


class TestTheDocument:
    async def test_it_is_read_once(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        for _ in range(3):
            assert (await client.authorization_url(**LEAVING)).startswith(idp.server.url("/auth?"))
        assert idp.asked(WELL_KNOWN) == 1

    async def test_requests_at_once_share_one_reading(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        await asyncio.gather(*(client.authorization_url(**LEAVING) for _ in range(20)))
        assert idp.asked(WELL_KNOWN) == 1

    @pytest.mark.parametrize(
        ("answer", "status"), [(b"", "404 Not Found"), (b'{"issuer": "https://evil.example"}', "200 OK")]
    )
    async def test_one_that_cannot_be_used_is_read_once_in_ten_seconds(
        self, idp: ScriptedProvider, client: OpenIDClient, answer: bytes, status: str
    ) -> None:
        idp.answer(WELL_KNOWN, answer, status=status)
        for _ in range(8):
            with pytest.raises(ProviderAnswerInvalid):
                await client.authorization_url(**LEAVING)
        assert idp.asked(WELL_KNOWN) == 1
        idp.answer(WELL_KNOWN, idp.metadata())
        idp.clock.advance(seconds=10)
        assert (await client.authorization_url(**LEAVING)).startswith(idp.server.url("/auth?"))

    async def test_one_that_did_not_come_is_asked_for_again_at_once(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        idp.answer(WELL_KNOWN, b"", status="503 Service Unavailable")
        with pytest.raises(ProviderUnavailable):
            await client.authorization_url(**LEAVING)
        idp.answer(WELL_KNOWN, idp.metadata())
        assert (await client.authorization_url(**LEAVING)).startswith(idp.server.url("/auth?"))

    async def test_it_is_read_again_after_an_hour(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        await client.authorization_url(**LEAVING)
        idp.answer(WELL_KNOWN, idp.metadata(authorization_endpoint=idp.server.url("/moved")))
        idp.clock.advance(minutes=59)
        assert "/auth?" in await client.authorization_url(**LEAVING)
        idp.clock.advance(minutes=2)
        assert "/moved?" in await client.authorization_url(**LEAVING)

    @pytest.mark.parametrize("answer", [b"<html>", b'{"issuer": "https://evil.example"}'])
    async def test_a_reading_that_fails_leaves_the_former_one_for_a_day(
        self, idp: ScriptedProvider, client: OpenIDClient, answer: bytes
    ) -> None:
        await client.authorization_url(**LEAVING)
        idp.answer(WELL_KNOWN, answer)
        idp.clock.advance(hours=23)
        for _ in range(3):
            assert "/auth?" in await client.authorization_url(**LEAVING)
        assert idp.asked(WELL_KNOWN) == 2
        idp.clock.advance(hours=2)
        with pytest.raises(ProviderAnswerInvalid):
            await client.authorization_url(**LEAVING)

    async def test_after_a_failure_the_next_request_reads_again(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        idp.answer(WELL_KNOWN, b"", status="503 Service Unavailable")
        with pytest.raises(ProviderUnavailable):
            await client.authorization_url(**LEAVING)
        idp.answer(WELL_KNOWN, idp.metadata())
        assert "/auth?" in await client.authorization_url(**LEAVING)

    async def test_it_may_have_another_spelling_of_the_issuer_that_the_preset_knows(
        self, idp: ScriptedProvider
    ) -> None:
        idp.answer(WELL_KNOWN, idp.metadata(issuer="https://former.example"))
        known = idp.client(issuer_aliases=("https://former.example",))
        assert "/auth?" in await known.authorization_url(**LEAVING)
        with pytest.raises(ProviderAnswerInvalid):
            await idp.client().authorization_url(**LEAVING)

    async def test_a_provider_without_it_is_not_asked(self, idp: ScriptedProvider) -> None:
        client = idp.client(discovers=False, endpoints=Endpoints(authorization="https://github.example/authorize"))
        assert (await client.authorization_url(**LEAVING)).startswith("https://github.example/authorize?")
        assert idp.server.heads == []

    async def test_configured_endpoints_win(self, idp: ScriptedProvider) -> None:
        client = idp.client(endpoints=Endpoints(authorization="https://other.example/auth"))
        assert (await client.authorization_url(**LEAVING)).startswith("https://other.example/auth?")


class TestRefusedDocuments:
    @pytest.mark.parametrize(
        ("changed", "cause"),
        [
            ({"issuer": "https://evil.example"}, "metadata_issuer"),
            ({"issuer": DROP}, "metadata_issuer"),
            ({"issuer": None}, "metadata_issuer"),
            ({"issuer": 7}, "metadata"),
            ({"token_endpoint": 7}, "metadata"),
            ({"code_challenge_methods_supported": "S256"}, "metadata"),
            ({"jwks_uri": "ftp://idp.example/keys"}, "metadata_endpoint"),
            ({"authorization_endpoint": "javascript:alert(1)"}, "metadata_endpoint"),
            ({"end_session_endpoint": "/relative"}, "metadata_endpoint"),
            ({"authorization_endpoint": DROP}, "no_endpoint"),
        ],
    )
    async def test_what_is_wrong_with_it(
        self, idp: ScriptedProvider, client: OpenIDClient, changed: dict[str, Any], cause: str
    ) -> None:
        idp.answer(WELL_KNOWN, idp.metadata(**changed))
        with pytest.raises(ProviderAnswerInvalid) as refused:
            await client.authorization_url(**LEAVING)
        assert refused.value.cause == cause

    async def test_the_issuer_is_compared_exactly(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.answer(WELL_KNOWN, idp.metadata(issuer=idp.issuer + "/"))
        with pytest.raises(ProviderAnswerInvalid, match="must be spelled exactly") as refused:
            await client.authorization_url(**LEAVING)
        assert f"the configured {idp.issuer}, '{idp.issuer}/':" in str(refused.value.detail)

    async def test_another_issuer_is_named_in_bounds_and_on_one_line(
        self, idp: ScriptedProvider, client: OpenIDClient
    ) -> None:
        idp.answer(WELL_KNOWN, idp.metadata(issuer="https://evil.example/\n" + "x" * 5000))
        with pytest.raises(ProviderAnswerInvalid) as refused:
            await client.authorization_url(**LEAVING)
        said = str(refused.value.detail)
        assert "'https://evil.example/\\nxxx" in said
        assert len(said) < 500

    @pytest.mark.parametrize(
        ("body", "cause"),
        [
            (b"", "not_json"),
            (b"[]", "not_an_object"),
            (b'{"issuer": "\xff"}', "not_json"),
            (b"[" * 100_000, "not_json"),
            (b'{"a":' * 40 + b"1" + b"}" * 40, "not_json"),
            (json.dumps({"many": [0] * 6_000}).encode(), "not_json"),
            (b'{"x": "' + b"x" * 300_000 + b'"}', "too_large"),
        ],
    )
    async def test_what_is_no_document(
        self, idp: ScriptedProvider, client: OpenIDClient, body: bytes, cause: str
    ) -> None:
        idp.answer(WELL_KNOWN, body)
        with pytest.raises(ProviderAnswerInvalid) as refused:
            await client.authorization_url(**LEAVING)
        assert refused.value.cause == cause

    async def test_a_redirect_is_not_followed(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.answer(WELL_KNOWN, b"", status="302 Found", Location=idp.server.url("/elsewhere"))
        idp.answer("/elsewhere", idp.metadata())
        with pytest.raises(ProviderAnswerInvalid) as refused:
            await client.authorization_url(**LEAVING)
        assert (refused.value.cause, idp.asked("/elsewhere")) == ("redirected", 0)

    async def test_no_document(self, idp: ScriptedProvider, client: OpenIDClient) -> None:
        idp.answer(WELL_KNOWN, b"not here", status="404 Not Found")
        with pytest.raises(ProviderAnswerInvalid, match="404"):
            await client.authorization_url(**LEAVING)

    async def test_a_private_address_is_not_called(self, idp: ScriptedProvider) -> None:
        async with GuardedClient() as guarded:
            client = OpenIDClient(idp.provider(), http=guarded, clock=idp.clock)
            with pytest.raises(ProviderUnavailable) as refused:
                await client.authorization_url(**LEAVING)
        assert (refused.value.cause, idp.server.heads) == ("address_refused", [])

    @given(st.dictionaries(st.sampled_from(["issuer", "token_endpoint", "jwks_uri"]), st.none() | st.integers()))
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_no_document_is_an_error_of_ours(self, document: dict[str, Any]) -> None:
        with pytest.raises(ProviderError):
            parse_metadata(json.dumps(document).encode(), provider=SECURE)


class TestEndpoints:
    @pytest.mark.parametrize(
        "address",
        [
            "http://idp.example/token",
            "https:///token",
            "https://idp.example/token#fragment",
            "https://user:word@idp.example/token",
            "https://idp.example/to ken",
            "https://idp.example/to\nken",
            "https://idp.example:port/token",
            "https://idp.example/" + "x" * 3000,
            "//idp.example/token",
            "https://ïdp.example/token",
            "https://[idp.example/token",
            "",
        ],
    )
    def test_of_an_https_issuer(self, address: str) -> None:
        assert not is_endpoint(address, plain_allowed=False)
        document = json.dumps({"issuer": SECURE.issuer, "token_endpoint": address}).encode()
        with pytest.raises(ProviderAnswerInvalid):
            parse_metadata(document, provider=SECURE)

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.text(alphabet="htps:/[]@#?.a1 \n\x00\u20ac", max_size=60))
    def test_no_text_makes_it_fail(self, text: str) -> None:
        assert isinstance(is_endpoint(text, plain_allowed=True), bool)
