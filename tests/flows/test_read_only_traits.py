"""Traits that the schema marks `readOnly`: whoever registers sets them, and the settings flow shows them only."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.scene import PASSWORD, Browser, csrf_of, new_address, written_schema
from tests.flows.conftest import JSON, Stage, Staging

MAIL = {"type": "string", "format": "email", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}}
NUMBER = {"type": "string", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}, "readOnly": True}
TRAITS = {
    "email": MAIL,
    "number": NUMBER,
    "club": {"type": "boolean", "readOnly": True},
    "nickname": {"type": "string"},
    "home": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "zone": {"type": "integer", "readOnly": True}},
    },
    "invoice": {"type": "object", "readOnly": True, "properties": {"city": {"type": "string"}}},
}
READ_ONLY = {"traits.number", "traits.club", "traits.home.zone", "traits.invoice.city"}


@pytest.fixture
async def stage(staging: Staging, sqlite_dsn: str, tmp_path: Path) -> AsyncIterator[Stage]:
    schemas = [{"id": "members", "url": written_schema(tmp_path, TRAITS)}]
    async with staging(sqlite_dsn, identity={"default_schema_id": "members", "schemas": schemas}) as stage:
        yield stage


async def member(stage: Stage) -> tuple[Browser, dict[str, Any], dict[str, Any]]:
    """Register with every trait in a browser; return it, the traits, and an open settings flow."""
    browser = await stage.scene.browser()
    traits = {
        "email": new_address(),
        "number": new_address("number"),
        "club": True,
        "home": {"city": "Ulm", "zone": 3},
        "invoice": {"city": "Bonn"},
    }
    flow = await browser.open_flow("registration")
    assert not {name for name, node in inputs(flow).items() if node["attributes"]["disabled"]}
    answer = await browser.send_flow(flow, {"password": PASSWORD, "traits": traits})
    assert answer.json()["identity"]["traits"] == traits
    return browser, traits, await browser.open_flow("settings")


def inputs(flow: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["attributes"]["name"]: node for node in flow["ui"]["nodes"]}


async def stored(browser: Browser) -> dict[str, Any]:
    return dict((await browser.get("/sessions/whoami", headers=JSON)).json()["identity"]["traits"])


async def test_are_shown_disabled_and_kept(stage: Stage) -> None:
    """Forms leave them out, because browsers do not send disabled fields, and apps may."""
    browser, traits, flow = await member(stage)
    shown = inputs(flow)
    assert {name for name, node in shown.items() if node["attributes"]["disabled"]} == READ_ONLY
    assert shown["traits.home.zone"]["attributes"]["value"] == 3
    form = {
        "method": "profile",
        "traits.email": traits["email"],
        "traits.home.city": "Rom",
        "csrf_token": csrf_of(flow),
    }
    assert (await browser.post(flow["ui"]["action"], data=form)).status_code == 303
    assert await stored(browser) == {**traits, "home": {"city": "Rom", "zone": 3}}
    flow = await browser.open_flow("settings")
    sent = {"method": "profile", "traits": {"email": traits["email"], "nickname": "Ada"}}
    assert (await browser.send_flow(flow, sent)).json()["state"] == "success"
    kept = {name: traits[name] for name in ("email", "number", "club", "invoice")}
    assert await stored(browser) == {**kept, "nickname": "Ada", "home": {"zone": 3}}


async def test_the_same_values_may_be_sent(stage: Stage) -> None:
    browser, traits, flow = await member(stage)
    sent = {"method": "profile", "traits": {**traits, "nickname": "Ada"}}
    assert (await browser.send_flow(flow, sent)).json()["state"] == "success"
    assert await stored(browser) == {**traits, "nickname": "Ada"}


@pytest.mark.parametrize(
    ("changed", "at"),
    [
        ({"number": "another"}, "traits.number"),
        ({"club": False}, "traits.club"),
        ({"home": {"zone": 9}}, "traits.home.zone"),
        ({"invoice": {"city": "Rom"}}, "traits.invoice.city"),
    ],
)
async def test_other_values_are_refused_at_their_field(stage: Stage, changed: Mapping[str, Any], at: str) -> None:
    browser, traits, flow = await member(stage)
    answer = await browser.send_flow(flow, {"method": "profile", "traits": {**traits, **changed}})
    shown = inputs(answer.json())
    assert answer.status_code == 400
    assert {name: [m["id"] for m in node["messages"]] for name, node in shown.items() if node["messages"]} == {
        at: [4000001]
    }
    assert shown[at]["attributes"]["value"] == inputs(flow)[at]["attributes"]["value"], "it shows what is stored"
    assert await stored(browser) == traits


async def test_a_form_cannot_change_them_either(stage: Stage) -> None:
    browser, traits, flow = await member(stage)
    form = {"method": "profile", "traits.email": traits["email"], "csrf_token": csrf_of(flow)}
    forged = {"traits.number": "another", "traits.club": "false", "traits.home.zone": "9"}
    assert (await browser.post(flow["ui"]["action"], data={**form, **forged})).status_code == 303
    assert await stored(browser) == {**traits, "home": {"zone": 3}}


async def test_an_operator_changes_them(stage: Stage) -> None:
    browser, _, _ = await member(stage)
    identity = (await browser.get("/sessions/whoami", headers=JSON)).json()["identity"]["id"]
    patch = [{"op": "replace", "path": "/traits/home/zone", "value": 7}]
    answer = await (await stage.scene.admin()).patch(f"/admin/identities/{identity}", json=patch)
    assert (answer.status_code, answer.json()["traits"]["home"]["zone"]) == (200, 7)
