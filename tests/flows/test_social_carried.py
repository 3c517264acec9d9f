"""What was sent before the browser left for a provider is there when it comes back."""

import json
from typing import Any

import pytest

from shopkeeper.flows.carried import LARGEST
from tests.attacks.scene import csrf_of
from tests.flows.conftest import JSON, Stage
from tests.flows.test_callbacks import messages
from tests.flows.travelling_method import TRAVEL


class TestWhatWasSent:
    @pytest.mark.parametrize("spa", [False, True], ids=["html", "spa"])
    async def test_reaches_the_callback(self, either_stage: Stage, spa: bool) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        stage.provider.says("rejected")
        typed: dict[str, Any] = {"traits.name.first": "Bea"}
        if spa:
            typed = {"traits": {"name": {"first": "Bea"}}, "transient_payload": {"coupon": "plum"}, "other": "x"}
        await browser.get(await stage.leave(browser, "registration", spa=spa, **typed))
        *_, seen = stage.method.received
        assert seen.traits is not None
        assert seen.traits.values == {"name": {"first": "Bea"}}
        assert seen.transient_payload == ({"coupon": "plum"} if spa else {})
        assert "other" not in seen.submitted
        assert "csrf_token" not in seen.submitted

    async def test_needs_not_be_whole_where_the_provider_brings_the_rest(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        stage.provider.says("enrolment", subject="bea", email="bea@example.org")
        await browser.get(await stage.leave(browser, "registration", traits={"email": 7}))
        [row] = await stage.scene.rows("identities")
        assert json.loads(row["traits"]) == {"email": "bea@example.org"}

    async def test_is_kept_from_the_first_of_two_departures(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        stage.provider.says("rejected")
        flow = await browser.open_flow("login")
        await stage.depart(browser, flow, transient_payload={"coupon": "plum"})
        await browser.get(await stage.provider.send_back(await stage.depart(browser, flow)))
        assert stage.method.received[-1].transient_payload == {"coupon": "plum"}

    async def test_is_bounded(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow("login")
        large = {"method": TRAVEL, "csrf_token": csrf_of(flow), "transient_payload": {"a": "b" * LARGEST}}
        answer = await browser.post(flow["ui"]["action"], json=large, headers=JSON)
        assert (answer.status_code, messages(answer.json())) == (400, [4000001])
        assert str(LARGEST) in answer.json()["ui"]["messages"][0]["text"]
        [row] = await stage.scene.rows("flows")
        assert row["callback_state"] is None
