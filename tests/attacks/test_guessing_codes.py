"""Rows 71 and 75: guessing the codes that recovery and verification mail."""

import re
from typing import Any

import httpx2
import pytest

from tests.attacks.conftest import Opening
from tests.attacks.scene import THERE, Scene, new_address, sign_up

TRIES = 2
SETTINGS: dict[str, Any] = {
    "selfservice": {
        "methods": {"code": {"enabled": True, "config": {"max_submissions": TRIES}}},
        "flows": {name: {"enabled": True, "use": "code"} for name in ("recovery", "verification")},
    },
    "throttle": {
        "login": {"failures": TRIES, "per_ip": "1000/minute"},
        "code": {"per_ip": "1000/minute", "per_pair": "1000/hour", "per_recipient": "1000/hour"},
    },
}


async def asked(app: httpx2.AsyncClient, kind: str, email: str) -> str:
    """Open a flow and ask for a code; return the address that codes are sent to."""
    flow = (await app.get(f"/self-service/{kind}/api")).json()
    action = str(flow["ui"]["action"])
    assert (await app.post(action, json={"method": "code", "email": email})).json()["state"] == "sent_email"
    return action


async def newest_code(scene: Scene, kind: str) -> str:
    mail = next(mail for mail in await scene.mails() if mail.template_type == f"{kind}_code_valid")
    return re.findall(r"\b\d{6}\b", mail.subject)[0]


async def wrong(app: httpx2.AsyncClient, action: str) -> tuple[int, list[int], str | None]:
    """Send a code that is wrong; return status, messages and how long to wait."""
    answer = await app.post(action, json={"method": "code", "code": "no code"})
    told = answer.json()
    ui = told.get("ui", {})
    return answer.status_code, [each["id"] for each in ui.get("messages", ())], answer.headers.get("retry-after")


@pytest.mark.parametrize("kind", ["recovery", "verification"])
class TestGuesses:
    async def test_row_071_wrong_codes_for_an_address_count_over_all_flows_whether_it_has_an_account_or_not(
        self, opening: Opening, dsn: str, kind: str
    ) -> None:
        async with opening(dsn, **SETTINGS) as scene:
            attacker, owner = await scene.native(), await scene.native(ip=THERE)
            known, told = new_address(), []
            await sign_up(owner, known)
            for email in (known, new_address()):
                answers = []
                for _ in range(3):
                    action = await asked(attacker, kind, email)
                    answers += [await wrong(attacker, action) for _ in range(TRIES)]
                told.append(answers)
            assert [status for status, *_ in told[0]] == [200] * 2 * TRIES + [429] * TRIES
            assert told[0] == told[1]
            action = await asked(owner, kind, known)
            right = {"method": "code", "code": await newest_code(scene, kind)}
            assert (await owner.post(action, json=right)).status_code in {200, 422}

    async def test_row_071_a_block_ends_and_spends_none_of_the_flows_tries(
        self, opening: Opening, sqlite_dsn: str, kind: str
    ) -> None:
        async with opening(sqlite_dsn, **SETTINGS) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            for _ in range(2):
                action = await asked(app, kind, email)
                for _ in range(TRIES):
                    await wrong(app, action)
            action = await asked(app, kind, email)
            right = {"method": "code", "code": await newest_code(scene, kind)}
            blocked = [await app.post(action, json=right) for _ in range(TRIES + 1)]
            assert {answer.status_code for answer in blocked} == {429}
            scene.clock.advance(seconds=int(blocked[-1].headers["retry-after"]))
            assert (await app.post(action, json=right)).status_code in {200, 422}

    async def test_row_071_a_flow_ends_after_so_many_wrong_codes_and_another_code_goes_on(
        self, opening: Opening, sqlite_dsn: str, kind: str
    ) -> None:
        async with opening(sqlite_dsn, **SETTINGS) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            action = await asked(app, kind, email)
            code = await newest_code(scene, kind)
            for _ in range(TRIES):
                await wrong(app, action)
            late = await app.post(action, json={"method": "code", "code": code}, follow_redirects=False)
            assert late.status_code in {303, 410}
            app = await scene.native()  # without the cookie of the form that took the flow's place
            action = await asked(app, kind, email)
            right = {"method": "code", "code": await newest_code(scene, kind)}
            assert (await app.post(action, json=right)).status_code in {200, 422}

    async def test_row_075_every_wrong_code_leaves_an_audit_event_and_no_code(
        self, opening: Opening, sqlite_dsn: str, kind: str
    ) -> None:
        async with opening(sqlite_dsn, **SETTINGS) as scene:
            app, email = await scene.native(), new_address()
            identity_id = (await sign_up(app, email))["identity"]["id"]
            for address in (email, new_address("nobody")):
                action = await asked(app, kind, address)
                await wrong(app, action)
            infrastructure = scene.application.infrastructure
            async with infrastructure.database.reading() as unit:
                events = await infrastructure.audit.events(unit, action=f"{kind}.failed")
            assert [event.subject for event in events] == [None, identity_id]
            assert {event.outcome for event in events} == {"refused"}
            assert [event.details for event in events] == [{"method": "code", "reason": "wrong_credentials"}] * 2
