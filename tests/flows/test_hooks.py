"""The hooks that are configuration only: what a sign-in needs, and what it is followed by."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.attacks.scene import ADDRESS, PASSWORD, Scene, csrf_of, new_address, sign_in, sign_up, submit
from tests.flows.conftest import Stage, Staging

CODE = re.compile(r"\b([0-9]{6})\b")
PER_RECIPIENT = 10
"""The default of `throttle.code.per_recipient`, an hour."""
CODES = {"code": {"passwordless_enabled": True}}


def selfservice(*login: str, recovery: tuple[str, ...] = (), signs_in: bool = True) -> Mapping[str, Any]:
    """Return settings with these hooks after signing in with a password, and after recovery."""

    def hooks(*names: str) -> dict[str, Any]:
        return {"hooks": [{"hook": name} for name in names]}

    flows = {
        "login": {"after": {"password": hooks(*login)}},
        "registration": {"style": "unified", "after": {"password": hooks(*(("session",) if signs_in else ()))}},
        "recovery": {"enabled": True, "after": hooks(*recovery)},
        "verification": {"enabled": True},
    }
    return {"flows": flows, "methods": {**CODES, "password": {"config": {"haveibeenpwned_enabled": False}}}}


async def code_for(scene: Scene, address: str, template: str) -> str:
    """Return the newest code of a template that went to an address."""
    mails = [mail for mail in await scene.mails() if (mail.recipient, mail.template_type) == (address, template)]
    return CODE.findall(mails[0].body)[0]


class TestRequireVerifiedAddress:
    @pytest.fixture
    async def stage(self, staging: Staging, dsn: str) -> AsyncIterator[Stage]:
        async with staging(dsn, selfservice=selfservice("require_verified_address", signs_in=False)) as stage:
            yield stage

    async def test_a_sign_in_is_refused_until_the_mailed_code_was_given(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        registered = {"method": "password", "password": PASSWORD, "traits": {"email": email}}
        assert (await submit(app, "registration", registered)).status_code == 200
        refused = await sign_in(app, email)
        error = refused.json()["error"]
        assert (refused.status_code, error["id"]) == (403, "session_verified_address_required")
        [action] = error["details"]["continue_with"]
        flow = action["flow"]
        assert (action["action"], flow["verifiable_address"]) == ("show_verification_ui", email)
        code = await code_for(stage.scene, email, "verification_code_valid")
        given = {"method": "code", "code": code}
        verified = await app.post(f"/self-service/verification?flow={flow['id']}", json=given)
        assert verified.json()["state"] == "passed_challenge"
        assert (await sign_in(app, email)).status_code == 200

    async def test_no_session_is_left_behind(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        await submit(app, "registration", {"method": "password", "password": PASSWORD, "traits": {"email": email}})
        await sign_in(app, email)
        assert await stage.scene.rows("sessions") == []
        [failed] = await stage.events("sign_in.failed")
        assert failed.details["reason"] == "session_verified_address_required"

    async def test_a_browser_goes_to_the_verification_page_and_can_use_its_flow(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        flow = await browser.open_flow("registration")
        await browser.send_flow(flow, {"password": PASSWORD, "traits": {"email": email}})
        login = await browser.open_flow("login")
        form = {"method": "password", "identifier": email, "password": PASSWORD, "csrf_token": csrf_of(login)}
        answer = await browser.post(login["ui"]["action"], data=form)
        location = answer.headers["location"]
        assert (answer.status_code, location.split("=")[0]) == (303, f"{ADDRESS}/verification?flow")
        shown = await stage.flow(browser, "verification", location.split("=")[1])
        assert shown["state"] == "sent_email"
        assert browser.session_cookie is None

    async def test_a_wrong_password_tells_nothing_of_it(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        await submit(app, "registration", {"method": "password", "password": PASSWORD, "traits": {"email": email}})
        wrong = await sign_in(app, email, "some other password")
        assert (wrong.status_code, wrong.json()["ui"]["messages"][0]["id"]) == (400, 4000006)

    async def test_the_storefront_refuses_too(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        await submit(app, "registration", {"method": "password", "password": PASSWORD, "traits": {"email": email}})
        answer = await app.post("/signin", json={"username": email, "password": PASSWORD})
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "session_verified_address_required")

    async def test_refused_sign_ins_do_not_fill_an_inbox(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        await submit(app, "registration", {"method": "password", "password": PASSWORD, "traits": {"email": email}})
        answers = [await sign_in(app, email) for _ in range(12)]
        assert {answer.status_code for answer in answers} == {403}
        mails = [mail for mail in await stage.scene.mails() if mail.template_type == "verification_code_valid"]
        assert 2 <= len(mails) <= 11


class TestVerificationAfterSigningIn:
    @pytest.fixture
    async def stage(self, staging: Staging, sqlite_dsn: str) -> AsyncIterator[Stage]:
        settings = selfservice("verification", "show_verification_ui")
        async with staging(sqlite_dsn, selfservice=settings) as stage:
            yield stage

    async def test_an_app_is_told_of_the_flow(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        await sign_up(app, email)
        answer = (await sign_in(app, email)).json()
        [action] = [each for each in answer["continue_with"] if each["action"] == "show_verification_ui"]
        assert action["flow"]["verifiable_address"] == email

    async def test_a_browser_is_sent_there_signed_in(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        await sign_up(await stage.scene.native(), email)
        login = await browser.open_flow("login")
        form = {"method": "password", "identifier": email, "password": PASSWORD, "csrf_token": csrf_of(login)}
        answer = await browser.post(login["ui"]["action"], data=form)
        assert answer.headers["location"].startswith(f"{ADDRESS}/verification?flow=")
        assert (await stage.flow(browser, "verification", answer.headers["location"].split("=")[1]))["ui"]
        assert browser.session_cookie

    async def test_mails_to_one_mailbox_have_an_end_and_flows_open_without(self, stage: Stage) -> None:
        """Addresses with a tag share the budget of their mailbox; what was waiting is not marked as mailed again."""
        tag, accounts = new_address("ada"), []
        for n in range(3):
            accounts.append(tag.replace("@", f"+{n}@"))
            await sign_up(await stage.scene.native(ip=f"198.51.100.{n}"), accounts[-1])
        for n in range(8):
            for email in accounts:
                answer = await sign_in(await stage.scene.native(ip=f"203.0.113.{n}"), email)
                [action] = [e for e in answer.json()["continue_with"] if e["action"] == "show_verification_ui"]
                flow = await (await stage.scene.native()).get(
                    f"/self-service/verification/flows?id={action['flow']['id']}"
                )
                assert (answer.status_code, flow.json()["state"]) == (200, "sent_email")
        sent = [m for m in await stage.scene.mails() if m.template_type == "verification_code_valid"]
        assert len(sent) == PER_RECIPIENT
        refused = [e for e in await stage.events("code.sent") if e.details.get("reason") == "too_many_requests"]
        assert refused

    async def test_one_client_alone_cannot_use_up_the_mails_of_a_mailbox(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        await sign_up(app, email)
        for _ in range(12):
            await sign_in(app, email)
        before = len(await stage.scene.mails())
        asked = {"method": "code", "email": email}
        assert (await submit(await stage.scene.native(), "verification", asked)).status_code == 200
        assert len(await stage.scene.mails()) == before + 1

    async def test_a_verified_address_is_left_alone(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        created = await sign_up(app, email)
        flow = next(row for row in await stage.scene.rows("flows") if row["kind"] == "verification")
        code = await code_for(stage.scene, email, "verification_code_valid")
        await app.post(f"/self-service/verification?flow={flow['id']}", json={"method": "code", "code": code})
        assert created["session_token"]
        assert (await sign_in(app, email)).json()["continue_with"] is None


@pytest.mark.parametrize(("hooks", "status"), [((), 200), (("revoke_active_sessions",), 401)])
async def test_recovering_ends_other_sessions_where_configured(
    staging: Staging, sqlite_dsn: str, hooks: tuple[str, ...], status: int
) -> None:
    async with staging(sqlite_dsn, selfservice=selfservice(recovery=hooks)) as stage:
        app, email = await stage.scene.native(), new_address()
        created = await sign_up(app, email)
        verification = next(row for row in await stage.scene.rows("flows") if row["kind"] == "verification")
        code = await code_for(stage.scene, email, "verification_code_valid")
        await app.post(f"/self-service/verification?flow={verification['id']}", json={"method": "code", "code": code})
        browser = await stage.scene.browser()
        flow = await browser.open_flow("recovery")
        await browser.send_flow(flow, {"method": "code", "email": email})
        code = await code_for(stage.scene, email, "recovery_code_valid")
        recovered = await browser.send_flow(flow, {"method": "code", "code": code})
        assert recovered.status_code == 422
        settings_id = recovered.json()["redirect_browser_to"].partition("flow=")[2]
        shown = (await stage.flow(browser, "settings", settings_id))["ui"]["messages"]
        assert [(each["id"], each["context"]) for each in shown] == [(1060001, {"minutes": 60})]
        whoami = await app.get("/sessions/whoami", headers={"x-session-token": created["session_token"]})
        assert whoami.status_code == status


class TestAnAddressThatItsOwnerNeverProved:
    """Somebody registers another person's address with a password of their own and waits (pre-hijacking)."""

    @pytest.fixture
    async def stage(self, staging: Staging, dsn: str) -> AsyncIterator[Stage]:
        async with staging(dsn, selfservice=selfservice()) as stage:
            yield stage

    async def test_the_owner_s_sign_in_by_code_ends_what_the_stranger_has(self, stage: Stage) -> None:
        stranger, owner, email = await stage.scene.native(), await stage.scene.native(), new_address()
        created = await sign_up(stranger, email)
        flow = (await owner.get("/self-service/login/api")).json()
        action = flow["ui"]["action"]
        await owner.post(action, json={"method": "code", "identifier": email})
        code = await code_for(stage.scene, email, "login_code_valid")
        signed_in = await owner.post(action, json={"method": "code", "identifier": email, "code": code})
        assert signed_in.status_code == 200, signed_in.text
        whoami = await stranger.get("/sessions/whoami", headers={"x-session-token": created["session_token"]})
        assert whoami.status_code == 401
        assert (await sign_in(stranger, email)).status_code == 400

    async def test_a_password_of_a_proven_account_stays(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        await sign_up(app, email)
        verification = next(row for row in await stage.scene.rows("flows") if row["kind"] == "verification")
        code = await code_for(stage.scene, email, "verification_code_valid")
        await app.post(f"/self-service/verification?flow={verification['id']}", json={"method": "code", "code": code})
        flow = (await app.get("/self-service/login/api")).json()
        await app.post(flow["ui"]["action"], json={"method": "code", "identifier": email})
        code = await code_for(stage.scene, email, "login_code_valid")
        fields = {"method": "code", "identifier": email, "code": code}
        assert (await app.post(flow["ui"]["action"], json=fields)).status_code == 200
        assert (await sign_in(app, email)).status_code == 200


class TestRegisteringWithoutASession:
    """A browser on our own pages is shown the login form; free and taken addresses look the same."""

    @pytest.fixture
    async def stage(self, staging: Staging, sqlite_dsn: str) -> AsyncIterator[Stage]:
        async with staging(sqlite_dsn, selfservice=selfservice(signs_in=False)) as stage:
            yield stage

    async def test_it_says_that_the_account_can_be_used_with_the_address_filled_in(self, stage: Stage) -> None:
        email = new_address()
        free, taken = [await self._registered(stage, email, password) for password in (PASSWORD, "another one of mine")]
        assert free == taken == ([1040090], email)

    async def test_a_return_address_is_kept(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow("registration", "?return_to=https://app.test/x")
        form = {"method": "password", "password": PASSWORD, "traits.email": new_address(), "csrf_token": csrf_of(flow)}
        answer = await browser.post(flow["ui"]["action"], data=form)
        assert answer.headers["location"] == "https://app.test/x"

    async def _registered(self, stage: Stage, email: str, password: str) -> tuple[list[int], str]:
        """Register in a browser; return the messages of the page that follows, and the identifier in its form."""
        browser = await stage.scene.browser()
        flow = await browser.open_flow("registration")
        form = {"method": "password", "password": password, "traits.email": email, "csrf_token": csrf_of(flow)}
        answer = await browser.post(flow["ui"]["action"], data=form)
        place, _, flow_id = answer.headers["location"].partition("?flow=")
        assert (answer.status_code, place) == (303, f"{ADDRESS}/login"), answer.headers["location"]
        ui = (await stage.flow(browser, "login", flow_id))["ui"]
        [identifier] = [n["attributes"]["value"] for n in ui["nodes"] if n["attributes"]["name"] == "identifier"]
        return [message["id"] for message in ui["messages"]], identifier
