"""Rows 3, 5, 6, 10 and 88: tokens and metadata of a provider that must not be believed."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx2
import pytest
from joserfc import jws
from joserfc.jwk import OctKey

from tests.attacks.federation import (
    LOGOUT,
    NOTHING,
    Federation,
    known,
    parameter,
)
from tests.attacks.scene import EVIL, Browser, new_address
from tests.services.openid_provider import CLIENT_ID
from tests.services.web import Server, says

NOT_OURS: list[dict[str, Any]] = [
    {"aud": "another-client"},
    {"aud": [CLIENT_ID, "another"], "azp": "another"},
    {"iss": "https://another.test"},
    {"sub": ""},
    {"sub": None},
    {"nonce": None},
    {"nonce": "another"},
    {"exp": 1},
    {"iat": 4_102_444_800, "exp": 4_102_444_900},
]
NO_LOGOUT_TOKEN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"typ": "at+jwt"}, {}),
    ({"typ": "secevent+jwt"}, {}),
    ({"typ": "JWT"}, {"events": None}),
    ({}, {"events": None}),
    ({}, {"nonce": "n"}),
    ({"typ": "logout+jwt"}, {"nonce": "n"}),
    ({"typ": "logout+jwt"}, {"events": {}}),
    ({"typ": "logout+jwt"}, {"events": None}),
    ({"typ": "logout+jwt"}, {"aud": "another"}),
    ({"typ": "logout+jwt"}, {"iss": "https://another.test"}),
    ({"typ": "logout+jwt"}, {"sub": None}),
    ({"typ": "logout+jwt"}, {"jti": None}),
    ({"typ": "logout+jwt"}, {"iat": 1, "exp": 2}),
]
"""Headers, and what is changed of the claims."""


def _unsigned(claims: dict[str, Any]) -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims))
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), ""])


def _hmac(key: bytes, kid: str, claims: dict[str, Any]) -> str:
    return jws.serialize_compact(
        {"alg": "HS256", "kid": kid}, json.dumps(claims), OctKey.import_key(key), algorithms=["HS256"]
    )


class TestTokens:
    """What a token endpoint answers is not believed for coming from there; nor is what an app sends."""

    async def _refused(self, federation: Federation, forge: Callable[[dict[str, Any]], str]) -> None:
        browser, answer = await self._given(federation, forge)
        assert await federation.messages(browser, answer)
        assert await federation.made() == NOTHING

    async def _given(
        self, federation: Federation, forge: Callable[[dict[str, Any]], str]
    ) -> tuple[Browser, httpx2.Response]:
        """Let the token endpoint answer with this ID token; return the browser and its last answer."""
        browser, provider = await federation.scene.browser(), federation.provider
        url = await federation.leave(browser)
        arrival = federation.walk(url, known(federation))
        now = int(datetime.now(UTC).timestamp())
        good = {
            "iss": provider.issuer,
            "aud": CLIENT_ID,
            "sub": "somebody",
            "email": new_address(),
            "iat": now,
            "exp": now + 300,
            "nonce": parameter(url, "nonce"),
        }
        body = {"access_token": "x", "token_type": "Bearer", "expires_in": 300, "id_token": forge(good)}
        provider.faults(token={"body": json.dumps(body)})
        return browser, await federation.come_back(browser, arrival)

    async def test_a_token_with_all_that_is_checked_is_taken(self, federation: Federation) -> None:
        """So that the tests below refuse for the reason that they name."""
        browser, _ = await self._given(federation, federation.provider.sign)
        assert await browser.whoami() is not None

    async def test_row_003_a_public_key_in_json_is_no_hmac_secret(self, federation: Federation) -> None:
        keys = federation.provider.published_keys()
        key = next(key for key in keys if key["alg"] == "RS256")
        for secret in (json.dumps(key, separators=(",", ":")), json.dumps({"keys": keys}), key["n"]):
            await self._refused(federation, partial(_hmac, secret.encode(), key["kid"]))

    async def test_row_005_an_unsigned_token_is_refused(self, federation: Federation) -> None:
        await self._refused(federation, _unsigned)

    async def test_row_006_a_key_that_the_token_brings_along_is_not_believed(self, federation: Federation) -> None:
        jwk = federation.provider.published_keys()[0]
        header = {"kid": "unknown", "jwk": jwk, "jku": f"{EVIL}/keys", "x5u": f"{EVIL}/chain"}
        await self._refused(federation, lambda good: federation.provider.sign(good, header=header))

    async def test_row_010_claims_that_are_not_ours_are_refused(self, federation: Federation) -> None:
        """ASVS 10.5.1 and 10.5.4, and the rest of OpenID Connect Core 1.0, section 3.1.3.7."""
        for changed in NOT_OURS:
            await self._refused(federation, partial(self._signed, federation, changed))

    def _signed(self, federation: Federation, changed: dict[str, Any], good: dict[str, Any]) -> str:
        return federation.provider.sign({**good, **changed})

    async def test_an_app_cannot_sign_in_with_a_token_for_another_client(self, federation: Federation) -> None:
        federation.provider.person(email := new_address())
        app = await federation.scene.native()
        for claims in ({"aud": "another"}, {"aud": CLIENT_ID, "iss": federation.other.issuer}):
            token = federation.provider.sign({"sub": f"sub-{email.split('@')[0]}", **claims})
            flow = (await app.get("/self-service/login/api")).json()
            answer = await app.post(flow["ui"]["action"], json={"method": "oidc", "provider": "idp", "id_token": token})
            assert answer.status_code in {400, 502}, answer.text
            assert token not in answer.text
        assert await federation.made() == NOTHING


class TestAddresses:
    """Row 88, and ASVS 10.5.3: what a provider writes into its metadata leads nowhere inside."""

    @pytest.fixture
    async def inside(self) -> AsyncIterator[Server]:
        """A server of this machine that is no provider."""
        server = Server("127.0.0.1", answers={"/keys": says(b'{"keys": []}'), "/token": says(b"{}")})
        listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        yield server
        listening.close()
        for task in list(server.open):
            if task is not None:
                task.cancel()
        await listening.wait_closed()

    async def _metadata(self, federation: Federation) -> dict[str, Any]:
        async with httpx2.AsyncClient() as client:
            answer = await client.get(f"{federation.provider.issuer}/.well-known/openid-configuration")
        return dict(answer.json())

    @pytest.mark.parametrize("endpoint", ["token_endpoint", "jwks_uri"])
    async def test_row_088_endpoints_in_metadata_do_not_lead_inside(
        self, federation: Federation, inside: Server, endpoint: str
    ) -> None:
        told = await self._metadata(federation)
        path = "/token" if endpoint == "token_endpoint" else "/keys"
        told = {**told, endpoint: inside.url(path)}
        federation.provider.faults(**{".well-known/openid-configuration": {"body": json.dumps(told)}})
        await self._fails(federation)
        assert inside.heads == []

    @pytest.mark.parametrize("path", [".well-known/openid-configuration", "jwks", "token"])
    async def test_row_088_redirects_are_not_followed(self, federation: Federation, inside: Server, path: str) -> None:
        fault = {"status": 302, "headers": {"location": inside.url("/keys")}, "body": ""}
        federation.provider.faults(**{path: fault})
        await self._fails(federation)
        assert inside.heads == []

    @pytest.mark.parametrize("issuer", ["https://another.test", "with a slash", None])
    async def test_metadata_of_another_issuer_are_refused(self, federation: Federation, issuer: str | None) -> None:
        """ASVS 10.5.3."""
        told = {**await self._metadata(federation), "issuer": issuer}
        if issuer == "with a slash":
            told["issuer"] = f"{federation.provider.issuer}/"
        federation.provider.faults(**{".well-known/openid-configuration": {"body": json.dumps(told)}})
        await self._fails(federation)

    async def _fails(self, federation: Federation) -> None:
        """Sign in, which must end with an answer that is not ours to blame for, and with nothing made."""
        browser = await federation.scene.browser()
        flow = await browser.open_flow("login")
        answer = await browser.send_flow(flow, {"method": "oidc", "provider": "idp"})
        if answer.status_code == 422:
            arrival = federation.walk(answer.json()["redirect_browser_to"], known(federation))
            assert await federation.messages(browser, await federation.come_back(browser, arrival))
        else:
            assert answer.status_code == 502, answer.text
        assert (await browser.whoami(), await federation.made()) == (None, NOTHING)


class TestBackChannelLogout:
    """ASVS 10.5.5, and OpenID Connect Back-Channel Logout 1.0, section 2.6."""

    EVENT = "http://schemas.openid.net/event/backchannel-logout"

    async def test_a_token_that_is_no_logout_token_ends_nothing(self, federation: Federation) -> None:
        browser, good = await self._signed_in(federation)
        for header, changed in NO_LOGOUT_TOKEN:
            token = federation.provider.sign({**good, **changed}, header=header)
            answer = await self._send(federation, token)
            assert answer.status_code == 400, (header, changed)
            assert token not in answer.text
            assert await browser.whoami() is not None, (header, changed)

    @pytest.mark.parametrize("header", [{"typ": "logout+jwt"}, {"typ": "JWT"}, {}])
    async def test_a_logout_token_ends_the_sessions_once(self, federation: Federation, header: dict[str, Any]) -> None:
        browser, good = await self._signed_in(federation)
        token = federation.provider.sign(good, header=header)
        assert (await self._send(federation, token)).status_code in {200, 204}
        assert await browser.whoami() is None

    async def test_another_providers_callback_takes_no_token_of_this_one(self, federation: Federation) -> None:
        browser, good = await self._signed_in(federation)
        token = federation.provider.sign(good, header={"typ": "logout+jwt"})
        assert (await self._send(federation, token, to="other")).status_code == 400
        assert await browser.whoami() is not None

    async def _signed_in(self, federation: Federation) -> tuple[Browser, dict[str, Any]]:
        browser, sub = await federation.scene.browser(), new_address("sub")
        await federation.sign_in(browser, known(federation, sub=sub))
        assert await browser.whoami() is not None
        return browser, {"aud": CLIENT_ID, "sub": sub, "jti": new_address("jti"), "events": {self.EVENT: {}}}

    async def _send(self, federation: Federation, token: str, *, to: str = "idp") -> httpx2.Response:
        app = await federation.scene.native()
        return await app.post(f"{LOGOUT}/{to}", data={"logout_token": token})
