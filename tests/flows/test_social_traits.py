"""An enrolment whose traits are incomplete: they are asked for, and the provider is not asked again."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.attacks.scene import Browser, new_address
from tests.flows.conftest import JSON, Stage
from tests.flows.test_callbacks import flow_of, messages
from tests.flows.travelling_method import TRAVEL

LACKING: Mapping[str, Any] = {"name": {"first": "Bea"}}


async def asked_for_traits(stage: Stage, browser: Browser, kind: str, *, query: str = "", **fields: Any) -> Any:
    """Arrive without an address; return the registration flow that asks for it."""
    stage.provider.says("enrolment", subject="bea", traits=LACKING, verified=False)
    answer = await browser.get(await stage.leave(browser, kind, query=query, **fields))
    assert answer.status_code in {302, 303}
    return await stage.flow(browser, "registration", flow_of(answer, "registration"))


def shown(flow: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    nodes = flow["ui"]["nodes"]
    return [(node["group"], node["attributes"]["name"], node["attributes"].get("value")) for node in nodes]


class TestIncompleteTraits:
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_are_asked_for_in_a_registration_with_what_is_known(self, either_stage: Stage, kind: str) -> None:
        """As in the golden answer `registration/*/oidc/missing-fields`: the button, then every trait, nothing else."""
        browser = await either_stage.scene.browser()
        flow = await asked_for_traits(either_stage, browser, kind)
        [button, csrf, email, first, *_] = flow["ui"]["nodes"]
        assert (button["group"], button["meta"]["label"]["id"]) == (TRAVEL, 1040003)
        assert csrf["attributes"]["name"] == "csrf_token"
        assert [each["id"] for each in email["messages"]] == [4000002]
        assert ("default", "traits.name.first", "Bea") in shown(flow), first
        assert {group for group, *_ in shown(flow)} == {TRAVEL, "default"}
        assert (flow["active"], flow["state"], messages(flow)) == (TRAVEL, "choose_method", [])
        assert await either_stage.scene.rows("identities") == []

    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_complete_the_account_without_leaving_again(self, signing_in: Stage, kind: str) -> None:
        stage, browser = signing_in, await signing_in.scene.browser()
        flow = await asked_for_traits(stage, browser, kind, query="?return_to=https://app.test/basket")
        email = new_address("bea")
        answer = await browser.send_flow(flow, {"method": TRAVEL, "traits": {"email": email, "name": {"first": "B"}}})
        assert (answer.status_code, answer.json()["identity"]["traits"]["email"]) == (200, email)
        assert answer.json()["continue_with"][-1]["redirect_browser_to"] == "https://app.test/basket"
        assert await browser.whoami() is not None
        assert len(stage.provider.visits) == 1
        again = await stage.scene.browser()
        stage.provider.says("arrive", subject="bea")
        await again.get(await stage.leave(again, "login"))
        assert await again.whoami() == answer.json()["identity"]["id"]

    async def test_are_asked_for_until_they_are_right(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        flow = await asked_for_traits(stage, browser, "login")
        wrong = await browser.send_flow(flow, {"method": TRAVEL, "traits": {"email": "no address"}})
        assert wrong.status_code == 400
        assert ("default", "traits.email", "no address") in shown(wrong.json())
        assert wrong.json()["id"] == flow["id"]
        right = await browser.send_flow(wrong.json(), {"method": TRAVEL, "traits": {"email": new_address("bea")}})
        assert right.status_code == 200

    async def test_end_the_login_that_led_there(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow("login")
        stage.provider.says("enrolment", subject="bea", traits=LACKING)
        await browser.get(await stage.provider.send_back(await stage.depart(browser, flow)))
        dead = await browser.send_flow(flow, {"method": TRAVEL})
        assert (dead.status_code, dead.json()["error"]["id"]) == (410, "self_service_flow_expired")

    async def test_keep_what_the_client_has_sent_before(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        flow = await asked_for_traits(stage, browser, "login", transient_payload={"coupon": "plum"})
        await browser.send_flow(flow, {"method": TRAVEL, "traits": {"email": new_address("bea")}})
        assert stage.method.received[-1].query == {}
        assert stage.method.received[-1].transient_payload == {"coupon": "plum"}

    async def test_are_not_shown_with_what_the_method_remembers(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        flow = await asked_for_traits(stage, browser, "login")
        answer = await browser.get(f"/self-service/registration/flows?id={flow['id']}", headers=JSON)
        assert "told" not in json.dumps(answer.json()), "the context never leaves the server"
