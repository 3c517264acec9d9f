"""`selfservice.flows.settings.required_aal`: the account page wants the second factor of those who have one."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.attacks.scene import ADDRESS, APP, Browser, csrf_of, new_address
from tests.flows.conftest import JSON, Stage, Staging
from tests.flows.travelling_method import Travelling

LOGIN = f"{ADDRESS}/self-service/login/browser"


@pytest.fixture(autouse=True)
def second_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the travelling method be a second factor."""
    monkeypatch.setattr(Travelling, "facts", replace(Travelling.facts, second_factor=True))


@pytest.fixture
async def stage(staging: Staging, sqlite_dsn: str) -> AsyncIterator[Stage]:
    async with staging(sqlite_dsn) as stage:
        yield stage


async def owner_and_half(stage: Stage) -> tuple[Browser, Browser]:
    """Return a browser that gave both factors of an account, and one that gave the password only."""
    owner, half, email = await stage.scene.browser(), await stage.scene.browser(), new_address()
    await owner.sign_up(email)
    stage.provider.says("change", subject="ada")
    await owner.get(await stage.leave(owner, "settings"))
    await half.sign_in(email)
    assert half.session_cookie is not None
    return owner, half


def way_of(url: str) -> tuple[str, dict[str, list[str]]]:
    """Return an address without its query, and the query."""
    return url.partition("?")[0], parse_qs(urlsplit(url).query)


class TestOpening:
    async def test_a_single_page_app_learns_the_way(self, stage: Stage) -> None:
        _, half = await owner_and_half(stage)
        answer = await half.get("/self-service/settings/browser", headers=JSON)
        told: dict[str, Any] = answer.json()
        assert (answer.status_code, told["error"]["id"]) == (403, "session_aal2_required")
        assert told["redirect_browser_to"] == told["error"]["details"]["redirect_browser_to"] == f"{LOGIN}?aal=aal2"

    async def test_a_return_address_is_kept(self, stage: Stage) -> None:
        _, half = await owner_and_half(stage)
        answer = await half.get(f"/self-service/settings/browser?return_to={APP}/x", headers=JSON)
        place, query = way_of(answer.json()["redirect_browser_to"])
        opened = f"{ADDRESS}/self-service/settings/browser?return_to={APP}/x"
        assert (place, query) == (LOGIN, {"aal": ["aal2"], "return_to": [opened]})

    async def test_a_page_without_javascript_is_sent_there(self, stage: Stage) -> None:
        _, half = await owner_and_half(stage)
        answer = await half.get("/self-service/settings/browser")
        assert (answer.status_code, answer.headers["location"]) == (303, f"{LOGIN}?aal=aal2")

    async def test_an_app_is_refused(self, stage: Stage) -> None:
        _, half = await owner_and_half(stage)
        app, token = await stage.scene.native(), str(half.session_cookie)
        answer = await app.get("/self-service/settings/api", headers={"x-session-token": token})
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "session_aal2_required")


class TestAFlowThatIsOpen:
    async def test_is_not_shown(self, stage: Stage) -> None:
        owner, half = await owner_and_half(stage)
        flow = await owner.open_flow("settings")
        answer = await half.get(f"/self-service/settings/flows?id={flow['id']}", headers=JSON)
        place, query = way_of(answer.json()["redirect_browser_to"])
        assert (answer.status_code, place) == (403, LOGIN)
        assert query["return_to"] == [f"{ADDRESS}/account?flow={flow['id']}"]

    async def test_changes_nothing(self, stage: Stage) -> None:
        owner, half = await owner_and_half(stage)
        flow = await owner.open_flow("settings")
        change = {"method": "profile", "traits.name.first": "Eve", "csrf_token": csrf_of(flow)}
        by_json = await half.post(flow["ui"]["action"], json=change, headers=JSON)
        assert (by_json.status_code, by_json.json()["error"]["id"]) == (403, "session_aal2_required")
        by_form = await half.post(flow["ui"]["action"], data=change)
        place, query = way_of(by_form.headers["location"])
        assert (by_form.status_code, place, query["return_to"]) == (303, LOGIN, [flow["ui"]["action"]])
        shown = (await owner.get("/sessions/whoami", headers=JSON)).json()
        assert "name" not in shown["identity"]["traits"]

    async def test_can_be_used_after_the_second_factor(self, stage: Stage) -> None:
        _, half = await owner_and_half(stage)
        stage.provider.says("proof", subject="ada")
        await half.get(await stage.leave(half, "login", query="?aal=aal2"))
        flow = await half.open_flow("settings")
        change = {"method": "profile", "traits": {"email": flow["identity"]["traits"]["email"], "name": {"first": "E"}}}
        assert (await half.send_flow(flow, change)).json()["state"] == "success"


async def test_the_first_factor_is_enough_where_configured(staging: Staging, sqlite_dsn: str) -> None:
    async with staging(sqlite_dsn, selfservice={"flows": {"settings": {"required_aal": "aal1"}}}) as stage:
        _, half = await owner_and_half(stage)
        assert (await half.get("/sessions/whoami", headers=JSON)).status_code == 403, "whoami has a setting of its own"
        flow = await half.open_flow("settings")
        change = {"method": "profile", "traits": {"email": flow["identity"]["traits"]["email"], "name": {"first": "E"}}}
        assert (await half.send_flow(flow, change)).json()["state"] == "success"
