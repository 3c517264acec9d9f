"""Kratos' feature flags: how a recovery continues, and the answers of former releases."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from ory_kratos_client import ContinueWithSetOrySessionToken, ContinueWithSettingsUi, RecoveryFlow

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import ADDRESS, PASSWORD, csrf_of, new_address, sign_in, sign_up, submit
from tests.flows.conftest import JSON, Stage, Staging
from tests.flows.test_hooks import code_for, selfservice

NEXT_PASSWORD = "another kettle on the shelf"


def actions(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the actions of `continue_with` by name."""
    return {each["action"]: each for each in document["continue_with"] or ()}


class TestContinueWithTransitions:
    """`use_continue_with_transitions`: what follows a recovery is in its answer, also for apps."""

    @pytest.fixture
    async def stage(self, staging: Staging, sqlite_dsn: str) -> AsyncIterator[Stage]:
        flags = {"use_continue_with_transitions": True}
        async with staging(sqlite_dsn, selfservice=selfservice(), feature_flags=flags) as stage:
            yield stage

    async def test_an_app_gets_its_session_and_chooses_a_new_password(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        await sign_up(app, email)
        flow = (await app.get("/self-service/recovery/api")).json()
        await app.post(flow["ui"]["action"], json={"method": "code", "email": email})
        given = {"method": "code", "code": await code_for(stage.scene, email, "recovery_code_valid")}
        answer = await app.post(flow["ui"]["action"], json=given)
        recovered = answer.json()
        assert (answer.status_code, recovered["id"], recovered["state"]) == (200, flow["id"], "passed_challenge")
        assert ("messages" in recovered["ui"], answer.headers.get("set-cookie")) == (False, None)
        assert [each["action"] for each in recovered["continue_with"]] == ["set_ory_session_token", "show_settings_ui"]
        read = RecoveryFlow.from_dict(recovered)
        assert read is not None
        assert [type(each.actual_instance) for each in read.continue_with or ()] == [
            ContinueWithSetOrySessionToken,
            ContinueWithSettingsUi,
        ], "the published client tells them apart"
        token = {"x-session-token": actions(recovered)["set_ory_session_token"]["ory_session_token"]}
        settings_id = actions(recovered)["show_settings_ui"]["flow"]["id"]
        shown = (await app.get(f"/self-service/settings/flows?id={settings_id}", headers=token)).json()
        assert [each["id"] for each in shown["ui"]["messages"]] == [1060001]
        chosen = {"method": "password", "password": NEXT_PASSWORD}
        app.cookies.clear()  # fetching sets an anti-CSRF cookie, and apps keep none
        saved = await app.post(shown["ui"]["action"], json=chosen, headers=token)
        assert saved.status_code == 200, saved.text
        assert (await sign_in(app, email, NEXT_PASSWORD)).status_code == 200

    async def test_a_single_page_app_gets_its_cookies_and_the_page(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        await sign_up(await stage.scene.native(), email)
        flow = await browser.open_flow("recovery")
        await browser.send_flow(flow, {"method": "code", "email": email})
        code = await code_for(stage.scene, email, "recovery_code_valid")
        answer = await browser.send_flow(flow, {"method": "code", "code": code})
        recovered = answer.json()
        assert (answer.status_code, recovered["state"], list(actions(recovered))) == (
            200,
            "passed_challenge",
            ["show_settings_ui"],
        )
        following = actions(recovered)["show_settings_ui"]["flow"]
        assert following["url"] == f"{ADDRESS}/account?flow={following['id']}"
        settings = await stage.flow(browser, "settings", following["id"])
        chosen = await browser.send_flow(settings, {"method": "password", "password": NEXT_PASSWORD})
        assert chosen.status_code == 200, chosen.text

    async def test_a_page_without_javascript_is_redirected_as_ever(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        await sign_up(await stage.scene.native(), email)
        flow = await browser.open_flow("recovery")
        await browser.send_flow(flow, {"method": "code", "email": email})
        code = await code_for(stage.scene, email, "recovery_code_valid")
        form = {"method": "code", "code": code, "csrf_token": csrf_of(flow)}
        answer = await browser.post(flow["ui"]["action"], data=form)
        assert (answer.status_code, answer.headers["location"].split("=")[0]) == (303, f"{ADDRESS}/account?flow")

    async def test_an_expired_flow_of_an_app_names_its_replacement(self, stage: Stage, clock: StoppedClock) -> None:
        app = await stage.scene.native()
        flow = (await app.get("/self-service/recovery/api")).json()
        clock.advance(hours=2)
        answer = await app.post(flow["ui"]["action"], json={"method": "code", "email": new_address()})
        told = answer.json()
        assert (answer.status_code, told["error"]["id"]) == (410, "self_service_flow_expired")
        [action] = told["error"]["details"]["continue_with"]
        assert action == {"action": "show_recovery_ui", "flow": {"id": told["use_flow_id"]}}
        fresh = (await app.get(f"/self-service/recovery/flows?id={told['use_flow_id']}")).json()
        assert [each["id"] for each in fresh["ui"]["messages"]] == [4060005]

    async def test_a_form_of_another_browser_and_a_used_one_name_their_replacements(self, stage: Stage) -> None:
        browser, other, email = await stage.scene.browser(), await stage.scene.browser(), new_address()
        await sign_up(await stage.scene.native(), email)
        flow = await browser.open_flow("recovery")
        forged = await other.post(flow["ui"]["action"], json={"method": "code", "email": email}, headers=JSON)
        assert (forged.status_code, forged.json()["error"]["id"]) == (403, "security_csrf_violation")
        assert list(actions(forged.json()["error"]["details"])) == ["show_recovery_ui"]
        await browser.send_flow(flow, {"method": "code", "email": email})
        code = await code_for(stage.scene, email, "recovery_code_valid")
        await browser.send_flow(flow, {"method": "code", "code": code})
        app = await stage.scene.native()
        flow = (await app.get("/self-service/recovery/api")).json()
        await app.post(flow["ui"]["action"], json={"method": "code", "email": email})
        code = await code_for(stage.scene, email, "recovery_code_valid")
        for _ in range(2):
            used = await app.post(flow["ui"]["action"], json={"method": "code", "code": code})
        assert (used.status_code, "id" in used.json()["error"]) == (400, False)
        [action] = used.json()["error"]["details"]["continue_with"]
        fresh = (await app.get(f"/self-service/recovery/flows?id={action['flow']['id']}")).json()
        assert (action["action"], fresh["ui"]["messages"][0]["id"]) == ("show_recovery_ui", 4060001)


class TestLegacyRequireVerifiedLoginError:
    """`legacy_require_verified_login_error`: the form says that the address is not verified."""

    @pytest.fixture
    async def stage(self, staging: Staging, sqlite_dsn: str) -> AsyncIterator[Stage]:
        flags = {"legacy_require_verified_login_error": True}
        hooks = [{"hook": "require_verified_address"}]
        settings = selfservice("require_verified_address", signs_in=False)
        settings["flows"]["login"]["after"]["code"] = {"hooks": hooks}
        async with staging(sqlite_dsn, selfservice=settings, feature_flags=flags) as stage:
            yield stage

    async def test_a_password_gets_the_form_with_the_message_and_no_mail(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        await submit(app, "registration", {"method": "password", "password": PASSWORD, "traits": {"email": email}})
        mails = len(await stage.scene.mails())
        answer = await sign_in(app, email)
        [told] = answer.json()["ui"]["messages"]
        assert (answer.status_code, told["id"], told["type"]) == (400, 4000010, "error")
        assert len(await stage.scene.mails()) == mails
        assert await stage.scene.rows("sessions") == []
        [failed] = await stage.events("sign_in.failed")
        assert failed.details["reason"] == "session_verified_address_required"

    async def test_a_browser_sees_the_message_above_the_form(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        registered = {"method": "password", "password": PASSWORD, "traits": {"email": email}}
        await submit(await stage.scene.native(), "registration", registered)
        flow = await browser.open_flow("login")
        form = {"method": "password", "identifier": email, "password": PASSWORD, "csrf_token": csrf_of(flow)}
        answer = await browser.post(flow["ui"]["action"], data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{ADDRESS}/login?flow={flow['id']}")
        shown = await stage.flow(browser, "login", flow["id"])
        assert [each["id"] for each in shown["ui"]["messages"]] == [4000010]

    async def test_other_routes_refuse_by_the_error(self, stage: Stage) -> None:
        app, email = await stage.scene.native(), new_address()
        await submit(app, "registration", {"method": "password", "password": PASSWORD, "traits": {"email": email}})
        answer = await app.post("/signin", json={"username": email, "password": PASSWORD})
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "session_verified_address_required")
        templates = [mail.template_type for mail in await stage.scene.mails()]
        assert templates.count("verification_code_valid") == 2, "the answer says that a mail is on its way"


class TestLegacyContinueWithVerificationUi:
    """`legacy_continue_with_verification_ui`: `continue_with` names the verification without the hook."""

    @pytest.mark.parametrize("legacy", [True, False])
    async def test_after_registering_and_after_a_new_address(
        self, staging: Staging, sqlite_dsn: str, legacy: bool
    ) -> None:
        flags = {"legacy_continue_with_verification_ui": legacy}
        async with staging(sqlite_dsn, selfservice=selfservice(), feature_flags=flags) as stage:
            app, browser, email, new = await stage.scene.native(), await stage.scene.browser(), *two_addresses()
            created = await sign_up(app, email)
            assert ("show_verification_ui" in actions(created)) is legacy
            token = {"x-session-token": created["session_token"]}
            flow = (await app.get("/self-service/settings/api", headers=token)).json()
            changed = {"method": "profile", "traits": {"email": new}}
            answer = (await app.post(flow["ui"]["action"], json=changed, headers=token)).json()
            assert ("show_verification_ui" in actions({"continue_with": answer.get("continue_with")})) is legacy
            form_flow = await browser.open_flow("registration")
            form = {"method": "password", "password": PASSWORD, "traits.email": new_address()}
            sent = await browser.post(form_flow["ui"]["action"], data={**form, "csrf_token": csrf_of(form_flow)})
            assert "/verification" not in sent.headers["location"], "only the hook sends a browser there"


def two_addresses() -> tuple[str, str]:
    return new_address(), new_address("new")


@pytest.mark.parametrize(("flag", "status"), [(False, 200), (True, 204)])
async def test_extending_a_session_is_answered_in_short_where_configured(
    staging: Staging, sqlite_dsn: str, clock: StoppedClock, flag: bool, status: int
) -> None:
    async with staging(sqlite_dsn, feature_flags={"faster_session_extend": flag}) as stage:
        account = await sign_up(await stage.scene.native(), new_address())
        admin, session_id = await stage.scene.admin(), account["session"]["id"]
        clock.advance(hours=1)
        answer = await admin.patch(f"/admin/sessions/{session_id}/extend")
        assert (answer.status_code, bool(answer.content)) == (status, not flag)
        extended = (await admin.get(f"/admin/sessions/{session_id}")).json()
        assert extended["expires_at"] > account["session"]["expires_at"]
