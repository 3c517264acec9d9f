"""Rows 38, 48, 49 and 80, at sign-ins that an app begins and a browser finishes: the two may be different people's."""

from typing import Any

import pytest

from tests.attacks.scene import EVIL, PASSWORD, new_address, set_cookies
from tests.flows import conftest as flows
from tests.flows.conftest import Stage
from tests.flows.test_callbacks import query_of
from tests.flows.test_token_exchange import APP, WITH_CODE, App, begin
from tests.flows.travelling_method import TRAVEL

staging, stage = flows.staging, flows.stage
SESSION_OF = {"session_token", "session"}


async def victim_signs_in(stage: Stage, attacker: App) -> str:
    """Have a victim, in a browser of their own, sign in at the provider whose address the attacker has sent; return
    where the browser is led."""
    victim = await stage.scene.browser()
    answer = await victim.get(await attacker.leave())
    assert not set_cookies(answer)
    return str(answer.headers["location"])


class TestAFlowThatAnAttackerHasOpened:
    """The attacker opens a flow as an app, and sends the provider's address to the victim."""

    async def test_row_038_and_080_gives_the_attacker_no_session(self, stage: Stage) -> None:
        await stage.customer("victim")
        stage.provider.says("proof", subject="victim")
        attacker = await begin(stage)
        address = await victim_signs_in(stage, attacker)
        assert address.startswith(f"{APP}?code="), "the other code goes to the shop's own app on the victim's device"
        for guess in (attacker.init_code, attacker.flow["id"], "", "x"):
            answer = await attacker.exchange(guess)
            assert answer.status_code in {400, 404}
            assert not SESSION_OF & answer.json().keys()

    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_row_038_and_080_lets_the_attacker_finish_no_registration_of_the_victim(
        self,
        stage: Stage,
        kind: str,
    ) -> None:
        """The provider's answer lacks an address. Whoever goes on with the flow chooses it, and has the account."""
        stage.provider.says("enrolment", subject="victim", traits={"name": {"first": "Vic"}}, verified=False)
        attacker = await begin(stage, kind)
        await victim_signs_in(stage, attacker)
        fields: dict[str, Any] = {"method": TRAVEL, "traits": {"email": new_address("attacker")}}
        for each in ("login", "registration"):
            shown = await attacker.client.get(f"/self-service/{each}/flows?id={attacker.flow['id']}")
            sent = await attacker.client.post(f"/self-service/{each}?flow={attacker.flow['id']}", json=fields)
            assert (shown.status_code, sent.status_code) in {(404, 404), (200, 410)}
            assert "Vic" not in shown.text + sent.text
        assert await stage.scene.rows("identities") == []

    async def test_row_038_and_080_links_nothing_of_the_victim_to_the_attackers_account(
        self,
        stage: Stage,
    ) -> None:
        """The provider's address is that of an account, which its owner may prove. The attacker is such an owner."""
        email = new_address("attacker")
        await (await stage.scene.browser()).sign_up(email)
        stage.provider.says("enrolment", subject="victim", email=email)
        attacker = await begin(stage)
        await victim_signs_in(stage, attacker)
        fields = {"method": "password", "identifier": email, "password": PASSWORD}
        sent = await attacker.client.post(attacker.flow["ui"]["action"], json=fields)
        assert sent.status_code == 404
        assert TRAVEL not in [row["type"] for row in await stage.scene.rows("credentials")]


async def test_row_080_an_answer_for_an_attackers_app_signs_no_browser_in(stage: Stage) -> None:
    """The attacker leaves with an app, signs in at the provider, and has a victim's browser open the callback."""
    await stage.customer("attacker")
    stage.provider.says("proof", subject="attacker")
    attacker, victim = await begin(stage), await stage.scene.browser()
    await victim.sign_up(new_address("victim"))
    before = await victim.whoami()
    answer = await victim.get(await attacker.leave())
    assert not set_cookies(answer)
    assert await victim.whoami() == before


async def test_row_080_without_codes_the_answer_needs_the_cookie_of_the_client_that_left(
    stage: Stage,
) -> None:
    await stage.customer("ada")
    stage.provider.says("proof", subject="ada")
    app, other = await begin(stage, query=""), await begin(stage, query="")
    back = await app.leave()
    await other.leave()
    for stranger in (other.client, await stage.scene.native(), await stage.scene.browser()):
        answer = await stranger.get(back, headers={"accept": "application/json"})
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "security_csrf_violation")
    assert await stage.scene.rows("sessions") == []
    assert (await app.client.get(back)).status_code == 200


@pytest.mark.parametrize(
    "wanted", [f"{EVIL}/", "javascript://app.test", "evil://app.test", "https://app.test@evil.test"]
)
async def test_row_048_codes_go_to_no_address_that_is_not_allowed(stage: Stage, wanted: str) -> None:
    app = await stage.scene.native()
    answer = await app.get(f"/self-service/login/api?{WITH_CODE.partition('&')[0]}&return_to={wanted}")
    assert answer.json()["error"]["id"] == "self_service_flow_return_to_forbidden"


async def test_row_049_no_log_has_a_code_or_a_state(
    stage: Stage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await stage.customer("ada")
    stage.provider.says("proof", subject="ada")
    app = await begin(stage)
    back = await app.leave()
    answer = await (await stage.scene.browser()).get(back)
    code = query_of(answer.headers["location"])["code"]
    given = (await app.exchange(code)).json()
    logged = capsys.readouterr()
    assert "/sessions/token-exchange" in logged.out
    secrets = [app.init_code, code, given["session_token"], *query_of(back).values()]
    assert [secret for secret in secrets if secret in logged.out + logged.err] == []
