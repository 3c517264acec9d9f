"""A change of the account while another tab takes something out of the same settings flow: it does not come back."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shopkeeper.flows.account_changes import AccountChanges
from tests.attacks.scene import PASSWORD, Browser, csrf_of, new_address
from tests.flows.conftest import JSON, Stage, Staging

Meanwhile = Callable[[], Awaitable[None]]


def in_the_middle(monkeypatch: pytest.MonkeyPatch, act: Meanwhile) -> None:
    """Do something between the first change's reading of its flow and its transaction."""
    apply, left = AccountChanges.apply, [act]

    async def interrupted(self: AccountChanges, *given: Any) -> Any:
        if left:
            await left.pop()()
        return await apply(self, *given)

    monkeypatch.setattr(AccountChanges, "apply", interrupted)


async def save_name(browser: Browser, flow: dict[str, Any], email: str) -> None:
    traits = {"email": email, "name": {"first": "Ada"}}
    fields = {"method": "profile", "traits": traits, "csrf_token": csrf_of(flow)}
    answer = await browser.post(flow["ui"]["action"], json=fields, headers=JSON)
    assert (answer.status_code, answer.json()["state"]) == (200, "success")


async def settings_row(stage: Stage) -> dict[str, Any]:
    [row] = [row for row in await stage.scene.rows("flows") if row["kind"] == "settings"]
    return row


async def test_the_state_of_a_callback_works_once(either_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, email = either_stage, new_address()
    browser = await stage.scene.browser()
    await browser.sign_up(email)
    stage.provider.says("rejected")
    flow = await browser.open_flow("settings")
    back = await stage.provider.send_back(await stage.depart(browser, flow))

    async def come_back() -> None:
        assert (await browser.get(back)).status_code == 303

    in_the_middle(monkeypatch, come_back)
    await save_name(browser, flow, email)
    assert (await settings_row(stage))["callback_state"] is None
    asked = stage.provider.questions
    await browser.get(back)
    assert stage.provider.questions == asked


async def test_a_submission_that_was_paused_is_done_once(
    staging: Staging, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staging(dsn, selfservice={"flows": {"settings": {"privileged_session_max_age": "10m"}}}) as stage:
        await paused_and_resumed(stage, monkeypatch)


async def paused_and_resumed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    email = new_address()
    browser = await stage.scene.browser()
    await browser.sign_up(email)
    flow = await browser.open_flow("settings")
    stage.scene.clock.advance(minutes=20)
    fields = {"method": "password", "password": "one more plum kettle", "csrf_token": csrf_of(flow)}
    assert (await browser.post(flow["ui"]["action"], data=fields)).status_code == 303
    login = await browser.open_flow("login", "?refresh=true")
    assert (await browser.send_flow(login, {"identifier": email, "password": PASSWORD})).status_code == 200
    flow = await stage.flow(browser, "settings", flow["id"])
    assert "_paused" in str((await settings_row(stage))["context"])

    async def resume() -> None:
        assert (await browser.get(f"/self-service/settings?flow={flow['id']}")).status_code == 303

    in_the_middle(monkeypatch, resume)
    fields = {"method": "profile", "traits": {"email": email, "name": {"first": "Ada"}}, "csrf_token": csrf_of(flow)}
    await browser.post(flow["ui"]["action"], json=fields, headers=JSON)
    assert "_paused" not in str((await settings_row(stage))["context"])
