"""Presets of providers: that each is whole, and what some of them make of an answer."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shopkeeper.openid.preset import ISSUER, Preset
from shopkeeper.openid.presets import PRESETS
from shopkeeper.openid.userinfo import claims_of_answer, claims_of_userinfo
from tests.openid.scripted import NONCE, REDIRECT, VERIFIER, ScriptedProvider, query

KRATOS = (
    "generic google github github-app gitlab microsoft discord slack facebook auth0 vk yandex apple spotify netid"
    " dingtalk patreon linkedin linkedin_v2 lark x line fedex-jp salesforce uaepass amazon"
)
USABLE = {name: preset for name, preset in PRESETS.items() if not preset.unsupported}
PLAIN_OAUTH2 = {name: preset for name, preset in USABLE.items() if not preset.openid}


def each(presets: dict[str, Preset]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("preset", presets.values(), ids=presets)


def test_every_provider_of_kratos_has_a_preset() -> None:
    assert PRESETS.keys() == {*KRATOS.split(), "twitch"}


def test_what_cannot_be_used_says_what_to_do() -> None:
    assert {name for name, preset in PRESETS.items() if preset.unsupported} == {"fedex-jp"}


@each(USABLE)
def test_every_address_is_https(preset: Preset) -> None:
    issuer = preset.issuer or "https://idp.example"
    endpoints = preset.endpoints_of(issuer)
    addresses = [getattr(endpoints, name) for name in type(endpoints).__dataclass_fields__]
    addresses += [issuer, *(request.url for request in preset.userinfo.further)]
    assert [address for address in addresses if address and urlsplit(address).scheme != "https"] == []
    assert not any(ISSUER in address for address in addresses if address)


@each(PLAIN_OAUTH2)
def test_oauth2_without_discovery_knows_its_endpoints_and_who_the_user_is(preset: Preset) -> None:
    endpoints = preset.endpoints_of(preset.issuer or "")
    assert endpoints.authorization
    assert endpoints.token
    assert endpoints.userinfo
    assert "sub" in preset.userinfo.claims
    assert preset.issuer
    assert "openid" not in (*preset.scope, *preset.required_scope)


@each({name: preset for name, preset in USABLE.items() if preset.openid})
def test_openid_is_always_asked_for(preset: Preset) -> None:
    assert "openid" in preset.required_scope


@pytest.mark.parametrize(
    ("name", "document", "claims"),
    [
        (
            "github",
            {
                "user": {"id": 583231, "login": "octocat", "name": None, "email": None, "html_url": "https://h"},
                "emails": [
                    {"email": "old@shop.example", "primary": False, "verified": True},
                    {"email": "cat@shop.example", "primary": True, "verified": True},
                ],
            },
            {
                "sub": "583231",
                "nickname": "octocat",
                "preferred_username": "octocat",
                "profile": "https://h",
                "email": "cat@shop.example",
                "email_verified": True,
            },
        ),
        (  # A GitHub App without the permission, or a token without the scope: nothing says that it is verified.
            "github",
            {"user": {"id": 7, "email": "cat@shop.example"}, "emails": None},
            {"sub": "7", "email": "cat@shop.example"},
        ),
        (
            "discord",
            {
                "id": "80351110224678912",
                "username": "nelly",
                "global_name": None,
                "avatar": "8342729096ea3675442027381ff50dfe",
                "email": "nelly@shop.example",
                "verified": True,
                "locale": "en-US",
            },
            {
                "sub": "80351110224678912",
                "name": "nelly",
                "nickname": "nelly",
                "preferred_username": "nelly",
                "email": "nelly@shop.example",
                "email_verified": True,
                "locale": "en-US",
                "picture": "https://cdn.discordapp.com/avatars/80351110224678912/8342729096ea3675442027381ff50dfe.png",
            },
        ),
        ("discord", {"id": "1", "avatar": None, "verified": False}, {"sub": "1", "email_verified": False}),
        (
            "facebook",
            {"id": "10", "name": "A B", "email": "a@shop.example", "picture": {"data": {"url": "https://p"}}},
            {"sub": "10", "name": "A B", "email": "a@shop.example", "picture": "https://p"},
        ),
        (
            "x",
            {"data": {"id": "2244994945", "name": "X Dev", "username": "XDev", "confirmed_email": "x@shop.example"}},
            {
                "sub": "2244994945",
                "name": "X Dev",
                "preferred_username": "XDev",
                "nickname": "XDev",
                "email": "x@shop.example",
                "email_verified": True,
            },
        ),
        (
            "vk",
            {
                "users": {"response": [{"id": 210700286, "first_name": "Lindsey", "last_name": "S"}]},
                "token": {"access_token": "t", "email": "l@shop.example"},
            },
            {"sub": "210700286", "given_name": "Lindsey", "family_name": "S", "email": "l@shop.example"},
        ),
        (
            "linkedin",
            {
                "me": {"id": "yrZCpj2Z12", "localizedFirstName": "Bob", "localizedLastName": "S"},
                "email": {"elements": [{"handle": "urn:li:1", "handle~": {"emailAddress": "bob@shop.example"}}]},
            },
            {
                "sub": "yrZCpj2Z12",
                "given_name": "Bob",
                "family_name": "S",
                "last_name": "S",
                "email": "bob@shop.example",
            },
        ),
        (
            "patreon",
            {"data": {"id": "32", "attributes": {"email": "p@shop.example", "is_email_verified": False}}},
            {"sub": "32", "email": "p@shop.example", "email_verified": False},
        ),
        (
            "yandex",
            {"id": "1000034426", "default_email": "y@shop.example", "default_avatar_id": "131652443"},
            {
                "sub": "1000034426",
                "email": "y@shop.example",
                "picture": "https://avatars.yandex.net/get-yapic/131652443/islands-200",
            },
        ),
        (
            "spotify",
            {"id": "smedjan", "display_name": "S", "images": [], "email": "s@shop.example"},
            {"sub": "smedjan", "name": "S", "nickname": "S", "email": "s@shop.example"},
        ),
        (
            "amazon",
            {"user_id": "amzn1.account.K2LI", "email": "m@shop.example", "postal_code": "98052"},
            {"sub": "amzn1.account.K2LI", "email": "m@shop.example", "zoneinfo": "98052"},
        ),
    ],
)
def test_an_answer_becomes_openid_claims(name: str, document: dict[str, Any], claims: dict[str, Any]) -> None:
    assert claims_of_userinfo(document, PRESETS[name].userinfo) == claims


@pytest.mark.parametrize("name", ["facebook", "spotify", "linkedin", "yandex", "vk", "amazon", "lark", "uaepass"])
def test_an_address_that_nobody_calls_verified_is_not(name: str) -> None:
    shape = PRESETS[name].userinfo
    assert "email_verified" not in {*shape.claims, *shape.constants, *shape.texts}
    assert not PRESETS[name].verifies_email


def test_apple_tells_the_name_beside_the_code() -> None:
    user = '{"name": {"firstName": "Ada", "lastName": "L"}, "email": "victim@shop.example"}'
    assert claims_of_answer({"user": user}, PRESETS["apple"].userinfo) == {"given_name": "Ada", "family_name": "L"}
    assert claims_of_answer({}, PRESETS["apple"].userinfo) == {}


async def test_what_a_preset_adds_to_the_token_request_replaces_nothing(idp: ScriptedProvider) -> None:
    """LINE signs ID tokens with a key that is published where it is asked for only."""
    client = idp.client(token_parameters={**PRESETS["line"].token_parameters, "code": "another"})
    await client.authenticate(query("c-1"), redirect_uri=REDIRECT, nonce=NONCE, code_verifier=VERIFIER)
    sent = next(parse_qs(body.decode()) for body in idp.server.bodies if b"grant_type" in body)
    assert (sent["id_token_key_type"], sent["code"]) == (["JWK"], ["c-1"])
