"""The same callback more than once, from one browser: what came first counts, and the others lead to the same place."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import ReturnToApp
from shopkeeper.flows import store
from tests.attacks.scene import Browser, csrf_of, new_address
from tests.credentials.social import social_stage
from tests.flows.conftest import JSON, Stage, Staging
from tests.flows.test_callbacks import (
    ACCOUNT,
    ANOTHER_FORM,
    CALLBACK_COOKIE,
    REASON,
    WRONG,
    flow_of,
    messages,
    query_of,
    refused,
)
from tests.flows.test_token_exchange import EXCHANGE, begin
from tests.flows.travelling_method import TRAVEL

LEFT_AGAIN = "You have gone to a provider again since. Please finish there, or choose once more."


async def at_once(stage: Stage, browser: Browser, back: str, *, times: int = 3) -> list[httpx2.Response]:
    """Come back several times, while the first request is being answered."""
    answering = asyncio.Event()

    async def hold() -> None:
        answering.set()
        await asyncio.sleep(0.3)

    stage.method.before_step = hold
    first = asyncio.create_task(browser.get(back))
    await answering.wait()
    try:
        return [*await asyncio.gather(*(browser.get(back) for _ in range(times - 1))), await first]
    finally:
        stage.method.before_step = None


class TestAtOnce:
    async def test_all_lead_to_the_session_that_the_first_has_started(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        back = await stage.leave(browser, "login", query="?return_to=https://app.test/basket")
        answers = await at_once(stage, browser, back)
        assert answers[-1].headers["location"] == "https://app.test/basket"
        for answer in answers[:-1]:
            assert answer.headers["location"].startswith(ANOTHER_FORM)
            onward = await browser.get(answer.headers["location"])
            assert (onward.status_code, onward.headers["location"]) == (303, "https://app.test/basket")
        assert stage.provider.questions == 1
        assert len(await stage.scene.rows("sessions")) == 1
        assert await stage.scene.rows("flow_errors") == []

    async def test_all_lead_to_the_form_where_the_first_fails(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        stage.provider.says("rejected")
        answers = await at_once(stage, browser, await stage.leave(browser, "login"))
        [flow_id] = {flow_of(answer) for answer in answers}
        assert messages(await stage.flow(browser, "login", flow_id)) == [WRONG]
        assert stage.provider.questions == 1

    async def test_all_lead_to_the_form_that_asks_for_traits(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        stage.provider.says("enrolment", subject="bea", traits={"name": {"first": "Bea"}}, verified=False)
        answers = await at_once(stage, browser, await stage.leave(browser, "login"))
        [flow_id] = {flow_of(answer, "registration") for answer in answers}
        flow = await stage.flow(browser, "registration", flow_id)
        done = await browser.send_flow(flow, {"method": TRAVEL, "traits": {"email": new_address("bea")}})
        assert done.status_code == 200
        again = await browser.get(answers[0].headers["location"])
        assert again.status_code < 400

    async def test_all_lead_to_the_proof_of_the_account_that_exists(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        await stage.customer("ada", email="ada@example.org")
        stage.provider.says("enrolment", subject="other", email="ada@example.org")
        answers = await at_once(stage, browser, await stage.leave(browser, "login"))
        [flow_id] = {flow_of(answer) for answer in answers}
        assert messages(await stage.flow(browser, "login", flow_id)) == [1010016]

    async def test_all_lead_where_a_registration_without_a_session_leads(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        stage.provider.says("enrolment", subject="bea")
        back = await stage.leave(browser, "registration", traits={"email": new_address()})
        answers = await at_once(stage, browser, back)
        assert len({answer.headers["location"] for answer in answers}) == 1
        assert len(await stage.scene.rows("identities")) == 1

    async def test_all_lead_to_the_settings_where_an_account_is_linked(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        await browser.sign_up(new_address())
        stage.provider.says("change", subject="ada", proves=False)
        answers = await at_once(stage, browser, await stage.leave(browser, "settings"))
        assert len({flow_of(answer, "settings") for answer in answers}) == 1
        assert stage.provider.questions == 1


class TestLater:
    async def test_a_reload_leads_where_the_flow_has_led(self, staging: Staging, sqlite_dsn: str) -> None:
        flows = {"login": {"after": {"default_browser_return_url": "https://app.test/hello"}}}
        async with staging(sqlite_dsn, selfservice={"flows": flows}) as stage:
            browser = await stage.scene.browser()
            await stage.customer("ada")
            stage.provider.says("proof", subject="ada")
            for query, place in (("", "hello"), ("?return_to=https://app.test/basket", "basket")):
                back = await stage.leave(browser, "login", query=query)
                for _ in range(2):
                    answer = await browser.get(back)
                    assert answer.headers["location"] == f"https://app.test/{place}"
                browser.cookies.delete("ory_kratos_session")

    async def test_the_form_says_why_where_an_address_is_to_be_verified_first(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        flows = {
            "login": {"after": {"oidc": {"hooks": [{"hook": "require_verified_address"}]}}},
            "verification": {"enabled": True},
        }
        async with social_stage(sqlite_dsn, tmp_path, clock, selfservice={"flows": flows}) as stage:
            await stage.customer("ada@example.org", ("idp", "alice"))
            browser = await stage.scene.browser()
            flow = await browser.open_flow("login")
            back = stage.back(await stage.leave(browser, flow, provider="idp"))
            assert "/verification?flow=" in (await browser.get(back)).headers["location"]
            shown = await stage.flow_after(browser, await browser.get(back))
            assert (shown["id"], messages(shown)) == (flow["id"], [REASON])
            assert await browser.whoami() is None

    @pytest.mark.parametrize("cookie", ["none", "its own"])
    async def test_another_browser_is_refused(self, stage: Stage, cookie: str) -> None:
        browser, other = await stage.scene.browser(), await stage.scene.browser()
        stage.provider.says("rejected")
        back = await stage.leave(browser, "login")
        await browser.get(back)
        if cookie == "its own":
            await stage.leave(other, "login")
        assert refused(await other.get(back)) == "security_csrf_violation"

    async def test_a_state_that_was_changed_leads_nowhere(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        stage.provider.says("rejected")
        back = await stage.leave(browser, "login")
        await browser.get(back)
        state = query_of(back)["state"]
        for changed in (state[:-1], state.swapcase(), f"{state}A"):
            assert refused(await browser.get(back.replace(state, changed))) == "security_csrf_violation"

    async def test_nothing_is_learned_of_a_flow_that_was_purged(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        stage.provider.says("rejected")
        back = await stage.leave(browser, "login")
        await browser.get(back)
        infrastructure = stage.scene.application.infrastructure
        async with infrastructure.database.unit() as unit:
            assert await store.purge(unit, before=infrastructure.clock.now() + timedelta(days=1), batch=9) == 1
        assert refused(await browser.get(back)) == "security_csrf_violation"

    async def test_a_browser_that_came_for_an_app_is_told_to_return_there(self, either_stage: Stage) -> None:
        stage = either_stage
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app, webview = await begin(stage), await stage.scene.browser()
        back = await app.leave()
        code = query_of((await webview.get(back)).headers["location"])["code"]
        again = await webview.get(back)
        assert refused(again) == ReturnToApp.code
        page = (await webview.get(again.headers["location"])).text
        assert "<h1>Return to the app</h1>" in page
        assert 'class="button" href="/self-service/login/browser"' not in page
        told = await webview.get(back, headers=JSON)
        assert (told.status_code, told.headers["x-error-code"]) == (410, ReturnToApp.code)
        assert (await app.exchange(code)).status_code == 200
        assert stage.provider.questions == 1
        assert (await app.client.get(EXCHANGE, params={"init_code": "a", "return_to_code": code})).status_code == 404


class TestTwoTabs:
    @pytest.mark.parametrize("kind", ["login", "registration", "settings"])
    async def test_who_finishes_the_first_departure_is_sent_back_to_the_form(self, stage: Stage, kind: str) -> None:
        browser = await stage.scene.browser()
        if kind == "settings":
            await browser.sign_up(new_address())
        typed: dict[str, Any] = {"traits": {"email": new_address()}} if kind == "registration" else {}
        flow = await browser.open_flow(kind)
        stage.provider.says("change" if kind == "settings" else "enrolment", subject="bea")
        first, second = [await stage.provider.send_back(await stage.depart(browser, flow, **typed)) for _ in range(2)]
        answer = await browser.get(first)
        assert flow_of(answer, kind) == flow["id"]
        shown = await stage.flow(browser, kind, flow["id"])
        assert messages(shown) == [REASON]
        assert LEFT_AGAIN in shown["ui"]["messages"][0]["text"]
        assert stage.provider.questions == 0
        done = await browser.get(second)
        assert "/error" not in done.headers["location"]
        assert stage.provider.questions == 1

    async def test_another_browser_is_refused_with_either(self, stage: Stage) -> None:
        browser, other = await stage.scene.browser(), await stage.scene.browser()
        flow = await browser.open_flow("login")
        for _ in range(2):
            back = await stage.provider.send_back(await stage.depart(browser, flow))
            assert refused(await other.get(back)) == "security_csrf_violation"
        assert messages(await stage.flow(browser, "login", flow["id"])) == []
        assert csrf_of(flow)


class TestLookingAhead:
    @pytest.mark.parametrize("header", ["sec-purpose", "purpose", "x-moz", "x-purpose"])
    async def test_spends_nothing(self, stage: Stage, header: str) -> None:
        browser = await stage.scene.browser()
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        back = await stage.leave(browser, "login")
        assert (await browser.head(back)).status_code == 200
        ahead = await browser.get(back, headers={header: "prefetch;prerender"})
        assert (ahead.status_code, ahead.headers["x-error-code"]) == (503, "link_looked_ahead")
        assert ahead.headers["cache-control"] == "no-store"
        assert (ahead.headers.get_list("set-cookie"), stage.provider.questions) == ([], 0)
        assert (await browser.get(back)).headers["location"] == ACCOUNT
        assert browser.cookies.get(CALLBACK_COOKIE)

    async def test_signs_nobody_out(self, stage: Stage) -> None:
        """Regression: a page that fetched its links ahead signed its visitors out."""
        browser = await stage.scene.browser()
        await browser.sign_up(new_address())
        link = (await browser.get("/self-service/logout/browser")).json()["logout_url"]
        assert (await browser.head(link)).status_code == 200
        ahead = await browser.get(link, headers={"sec-purpose": "prefetch"})
        assert (ahead.status_code, ahead.headers["x-error-code"]) == (503, "link_looked_ahead")
        assert await browser.whoami() is not None
        await browser.get(link)
        assert await browser.whoami() is None
