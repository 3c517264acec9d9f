"""Registering with another identity schema than the default one: with its traits, and no others."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from tests.credentials.social import social_stage

ADA = "ada@example.org"
TEXT = {"type": "string"}
NAME = {"type": "object", "properties": {"first": TEXT}}
JSONNET = """
local claims = std.extVar('claims');
{ identity: { traits: { email: claims.email, name: { first: claims.given_name }, nickname: 'ada' } } }
"""


def encoded(text: str) -> str:
    return f"base64://{base64.b64encode(text.encode()).decode()}"


def schema(**more: Any) -> str:
    marks = {"credentials": {"password": {"identifier": True}}, "verification": {"via": "email"}}
    email = {"type": "string", "format": "email", "ory.sh/kratos": marks}
    traits = {
        "type": "object",
        "properties": {"email": email, **more},
        "required": ["email"],
        "additionalProperties": False,
    }
    return encoded(json.dumps({"type": "object", "properties": {"traits": traits}}))


SCHEMAS: Mapping[str, Any] = {
    "default_schema_id": "customer",
    "schemas": [
        {"id": "customer", "url": schema(name=NAME)},
        {"id": "member", "url": schema(given_name=TEXT), "selfservice_selectable": True},
    ],
}


@pytest.mark.parametrize(
    ("mapper", "traits"),
    [({}, {"email": ADA, "given_name": "Ada"}), ({"mapper_url": encoded(JSONNET)}, {"email": ADA})],
    ids=["built in", "jsonnet"],
)
async def test_registers_with_its_traits_and_no_others(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, mapper: Mapping[str, Any], traits: Mapping[str, Any]
) -> None:
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=mapper, identity=SCHEMAS) as stage:
        browser = await stage.scene.browser()
        query = "?identity_schema=member"
        await stage.arrive(browser, "registration", query=query, email=ADA, given_name="Ada")
        identity = (await browser.get("/sessions/whoami")).json()["identity"]
        assert (identity["schema_id"], identity["traits"]) == ("member", traits)


async def test_asks_for_what_is_missing_in_it(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
    idp = {"mapper_url": encoded(JSONNET)}
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=idp, identity=SCHEMAS) as stage:
        browser = await stage.scene.browser()
        query = "?identity_schema=member"
        answer = await stage.arrive(browser, "registration", query=query, email="no address", given_name="Ada")
        flow = await stage.flow_after(browser, answer, "registration")
        wrong = [node["attributes"]["name"] for node in flow["ui"]["nodes"] if node["messages"]]
        assert (wrong, flow["ui"].get("messages", [])) == (["traits.email"], [])
        sent = await stage.submit(browser, flow, provider="idp", traits={"email": ADA, "given_name": "A"})
        assert sent.status_code == 200, sent.text
        assert sent.json()["identity"]["traits"] == {"email": ADA, "given_name": "A"}


async def test_what_somebody_types_is_refused_with_a_message(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    """Only what a provider tells is left out: who types a trait is told that there is none."""
    async with social_stage(sqlite_dsn, tmp_path, clock, identity=SCHEMAS) as stage:
        browser = await stage.scene.browser()
        flow = await browser.open_flow("registration", "?identity_schema=member")
        url = await stage.leave(browser, flow, provider="idp", traits={"nickname": "ada"})
        flow = await stage.flow_after(browser, await browser.get(stage.back(url, email=ADA)), "registration")
        [(place, [told])] = [
            (node["attributes"]["name"], node["messages"]) for node in flow["ui"]["nodes"] if node["messages"]
        ]
        assert (place, "nickname" in told["text"]) == ("traits", True)


async def test_signing_in_leaves_unknown_traits_alone(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
    idp = {"mapper_url": encoded(JSONNET), "update_identity_on_login": "automatic"}
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=idp, identity=SCHEMAS) as stage:
        for name in ("Ada", "Augusta"):
            browser = await stage.scene.browser()
            await stage.arrive(browser, email=ADA, given_name=name)
            identity = (await browser.get("/sessions/whoami")).json()["identity"]
            assert identity["traits"] == {"email": ADA, "name": {"first": name}}
