"""Logout tokens (OpenID Connect Back-Channel Logout 1.0 section 2.6)."""

from datetime import timedelta
from typing import Any

import pytest

from shopkeeper.openid.authenticated import LogoutToken
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import ProviderTokenInvalid
from tests.openid.scripted import DROP, NONCE, ScriptedProvider, signed

EVENT = "http://schemas.openid.net/event/backchannel-logout"


async def cause_of(client: OpenIDClient, token: str) -> str:
    with pytest.raises(ProviderTokenInvalid) as refused:
        await client.verify_logout_token(token)
    return refused.value.cause


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_logout_token(idp: ScriptedProvider, client: OpenIDClient, algorithm: str) -> None:
    token = signed(idp.logout_claims(), algorithm=algorithm, typ="logout+jwt")
    now = idp.clock.now().replace(microsecond=0)
    assert await client.verify_logout_token(token) == LogoutToken(
        idp.issuer, "alice", "s1", "j1", now, now + timedelta(hours=1)
    )


@pytest.mark.parametrize(("changed", "found"), [({"sub": DROP}, (None, "s1")), ({"sid": DROP}, ("alice", None))])
async def test_subject_or_session_is_enough(
    idp: ScriptedProvider, client: OpenIDClient, changed: dict[str, Any], found: Any
) -> None:
    told = await client.verify_logout_token(signed(idp.logout_claims(**changed), typ="logout+jwt"))
    assert (told.subject, told.sid) == found


async def test_the_subject_is_the_claim_that_the_accounts_are_kept_by(idp: ScriptedProvider) -> None:
    client = idp.client(subject_claim="oid")
    told = await client.verify_logout_token(signed(idp.logout_claims(), typ="logout+jwt"))
    assert (told.subject, told.sid) == (None, "s1")


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"iss": "https://evil.example"}, "issuer"),
        ({"aud": "other"}, "audience"),
        ({"events": DROP}, "events"),
        ({"events": {}}, "events"),
        ({"events": {EVENT: None}}, "events"),
        ({"events": {EVENT: {}}, "nonce": NONCE}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"events": [EVENT]}, "events"),
        ({"events": EVENT}, "events"),
        ({"jti": DROP}, "jti"),
        ({"jti": 7}, "jti"),
        ({"jti": "j" * 256}, "jti"),
        ({"iat": DROP}, "iat"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"exp": 1}, "expired"),
        ({"exp": DROP, "iat": 1}, "expired"),
        ({"exp": DROP, "iat": 253_402_300_799}, "clock"),
        ({"sub": DROP, "sid": DROP}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sid": ["s"]}, "sid"),
    ],
)
async def test_what_is_refused(
    idp: ScriptedProvider, client: OpenIDClient, changed: dict[str, Any], cause: str
) -> None:
    assert await cause_of(client, signed(idp.logout_claims(**changed), typ="logout+jwt")) == cause


async def test_one_from_long_ago(idp: ScriptedProvider, client: OpenIDClient) -> None:
    token = signed(idp.logout_claims(), typ="logout+jwt")
    idp.clock.advance(minutes=12)
    assert await cause_of(client, token) == "too_old"


# The type is recommended only (section 2.4).
TYPES: list[dict[str, Any]] = [{}, {"typ": "JWT"}, {"typ": "logout+jwt"}, {"typ": "application/logout+jwt"}]


@pytest.mark.parametrize("header", TYPES)
async def test_a_token_with_and_without_a_type(
    idp: ScriptedProvider, client: OpenIDClient, header: dict[str, Any]
) -> None:
    assert (await client.verify_logout_token(signed(idp.logout_claims(), **header))).sid == "s1"


@pytest.mark.parametrize("typ", ["secevent+jwt", "at+jwt", "dpop+jwt", "", 7])
async def test_a_token_of_another_type(idp: ScriptedProvider, client: OpenIDClient, typ: Any) -> None:
    assert await cause_of(client, signed(idp.logout_claims(), typ=typ)) == "typ"


@pytest.mark.parametrize("header", TYPES)
async def test_an_id_token_ends_nothing(idp: ScriptedProvider, client: OpenIDClient, header: dict[str, Any]) -> None:
    for claims in (idp.claims(), idp.claims(jti="j1", sid="s1"), idp.claims(nonce=DROP, jti="j1", sid="s1")):
        assert await cause_of(client, signed(claims, **header)) == "events"
    disguised = idp.claims(jti="j1", events={EVENT: {}})
    assert await cause_of(client, signed(disguised, **header)) == "nonce"


async def test_a_token_without_an_end_ends_soon(idp: ScriptedProvider, client: OpenIDClient) -> None:
    token = signed(idp.logout_claims(exp=DROP))
    now = idp.clock.now().replace(microsecond=0)
    assert (await client.verify_logout_token(token)).expires_at == now + timedelta(minutes=10)
    idp.clock.advance(minutes=12)
    assert await cause_of(client, token) == "expired"


async def test_it_signs_nobody_in(idp: ScriptedProvider, client: OpenIDClient) -> None:
    for header in ({}, {"typ": "logout+jwt"}):
        with pytest.raises(ProviderTokenInvalid) as refused:
            await client.verify_id_token(signed(idp.logout_claims(), **header), nonce=None)
        assert refused.value.cause == "typ"
