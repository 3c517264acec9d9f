"""An app whose sign-in a browser finishes: it gets the session with two codes, once."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx2
import pytest

from shopkeeper import crypto
from shopkeeper.clock import StoppedClock
from shopkeeper.flows.rejections import ANOTHER_ACCOUNT
from tests.attacks.scene import CART, PASSWORD, ask, fill_cart, new_address, set_cookies, visit
from tests.flows.conftest import Stage
from tests.flows.test_callbacks import CALLBACK_COOKIE, messages, query_of
from tests.flows.travelling_method import TRAVEL

APP = "https://app.test/basket"
WITH_CODE = f"return_session_token_exchange_code=true&return_to={APP}"
EXCHANGE = "/sessions/token-exchange"


async def begin(stage: Stage, kind: str = "login", query: str = WITH_CODE, **headers: str) -> "App":
    app = await stage.scene.native(**headers)
    flow = (await app.get(f"/self-service/{kind}/api?{query}")).json()
    return App(stage, app, flow, kind)


class App:
    """A native app that has opened a flow."""

    def __init__(self, stage: Stage, client: httpx2.AsyncClient, flow: Mapping[str, Any], kind: str) -> None:
        self.stage, self.client, self.flow, self.kind = stage, client, flow, kind
        self.init_code = flow.get("session_token_exchange_code", "")

    async def leave(self) -> str:
        """Submit the method and go to the provider; return the address that it redirects a browser back to."""
        typed = {"traits": {"email": new_address()}} if self.kind == "registration" else {}
        answer = await self.client.post(self.flow["ui"]["action"], json={"method": TRAVEL, **typed})
        assert answer.status_code == 422, answer.text
        return await self.stage.provider.send_back(answer.json()["redirect_browser_to"])

    async def come_back(self) -> str:
        """Leave, and come back in a browser without our cookies; return the return-to code."""
        webview = await self.stage.scene.browser()
        answer = await webview.get(await self.leave())
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(f"{APP}?code="), answer.headers
        assert not set_cookies(answer)
        return query_of(answer.headers["location"])["code"]

    async def exchange(self, return_to_code: str, *, init_code: str | None = None, **headers: str) -> httpx2.Response:
        codes = {"init_code": init_code or self.init_code, "return_to_code": return_to_code}
        return await self.client.get(EXCHANGE, params=codes, headers=headers)


class TestOpening:
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_only_the_answer_that_opens_the_flow_shows_the_code(self, stage: Stage, kind: str) -> None:
        app = await begin(stage, kind)
        fetched = (await app.client.get(f"/self-service/{kind}/flows?id={app.flow['id']}")).json()
        assert len(app.init_code) >= 43
        assert "session_token_exchange_code" not in fetched
        [row] = await stage.scene.rows("flows")
        assert row["exchange_init"] == crypto.digest(app.init_code)
        assert app.init_code not in str(row)

    @pytest.mark.parametrize(
        "path", ["login/browser?return_session_token_exchange_code=true", "login/api", "recovery/api?" + WITH_CODE]
    )
    async def test_no_other_flow_has_a_code(self, stage: Stage, path: str) -> None:
        app = await stage.scene.native(accept="application/json")
        assert "session_token_exchange_code" not in (await app.get(f"/self-service/{path}")).json()


class TestExchanging:
    async def test_gives_the_session_once(self, either_stage: Stage) -> None:
        stage = either_stage
        ada = await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app = await begin(stage, user_agent="the app")
        code = await app.come_back()
        codes = {"init_code": app.init_code, "return_to_code": code}
        assert (await app.client.head(EXCHANGE, params=codes)).content == b"", "spends nothing"
        answer = await app.exchange(code)
        assert answer.status_code == 200
        assert "no-store" in answer.headers["cache-control"]
        given = answer.json()
        assert given["session"]["identity"]["id"] == str(ada.id)
        assert [(each["method"], each["provider"]) for each in given["session"]["authentication_methods"]] == [
            (TRAVEL, "harbour")
        ]
        assert [device["user_agent"] for device in given["session"]["devices"]] == ["the app"]
        who = await app.client.get("/sessions/whoami", headers={"x-session-token": given["session_token"]})
        assert who.json()["id"] == given["session"]["id"]
        assert (await app.exchange(code)).status_code == 404

    async def test_needs_no_cookie(self, stage: Stage) -> None:
        app = await begin(stage)
        await app.leave()
        assert not app.client.cookies

    async def test_gives_the_session_of_a_registration(self, signing_in: Stage) -> None:
        stage = signing_in
        stage.provider.says("enrolment", subject="ada")
        app = await begin(stage)
        given = (await app.exchange(await app.come_back())).json()
        assert given["session"]["identity"]["traits"] == {"email": "ada@example.org"}
        assert given["session_token"].startswith("shk_st_")

    async def test_answers_a_registration_without_a_session_as_the_form_does(self, stage: Stage) -> None:
        stage.provider.says("enrolment", subject="ada")
        app = await begin(stage, "registration")
        answer = await app.exchange(await app.come_back())
        assert (answer.status_code, "session_token" in answer.json()) == (200, False)
        assert answer.json()["identity"]["traits"] == {"email": "ada@example.org"}
        assert len(await stage.scene.rows("identities")) == 1

    async def test_two_requests_at_once_get_one_session(self, either_stage: Stage) -> None:
        stage = either_stage
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app = await begin(stage)
        code = await app.come_back()
        answers = await asyncio.gather(*(app.exchange(code) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]

    @pytest.mark.parametrize("missing", ["init_code", "return_to_code"])
    async def test_needs_both_codes(self, stage: Stage, missing: str) -> None:
        app = await stage.scene.native()
        codes = {"init_code": "a", "return_to_code": "b"}
        del codes[missing]
        assert (await app.get(EXCHANGE, params=codes)).status_code == 400

    async def test_is_refused_before_the_browser_has_come_back(self, stage: Stage) -> None:
        app = await begin(stage)
        await app.leave()
        assert (await app.exchange("x")).status_code == 404
        assert (await app.exchange("x" * 5_000)).status_code == 404

    async def test_neither_code_alone_is_enough(self, stage: Stage) -> None:
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        one, other = await begin(stage), await begin(stage)
        code = await one.come_back()
        await other.come_back()
        assert (await other.exchange(code)).status_code == 404
        assert (await one.exchange(one.init_code, init_code=code)).status_code == 404
        assert (await one.exchange(code)).status_code == 200

    async def test_comes_too_late_when_the_flow_has_run_out(self, stage: Stage, clock: StoppedClock) -> None:
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app = await begin(stage)
        code = await app.come_back()
        clock.advance(hours=1)
        assert (await app.exchange(code)).status_code == 404

    @pytest.mark.parametrize("step", ["proof", "enrolment"])
    async def test_nothing_is_done_before_the_app_comes(self, either_stage: Stage, step: str) -> None:
        stage = either_stage
        if step == "proof":
            await stage.customer("ada")
        stage.provider.says(step, subject="ada")
        app = await begin(stage, "registration" if step == "enrolment" else "login")
        before = await stage.scene.rows("identities")
        code = await app.come_back()
        assert await stage.scene.rows("sessions") == []
        assert await stage.scene.rows("identities") == before
        assert stage.provider.questions == 0
        assert (await app.exchange(code)).status_code == 200
        assert stage.provider.questions == 1

    async def test_what_waits_cannot_be_read(self, stage: Stage) -> None:
        app = await begin(stage)
        back = await app.leave()
        await (await stage.scene.browser()).get(back)
        [flow] = await stage.scene.rows("flows")
        assert [value for value in query_of(back).values() if value in str(flow)] == []

    async def test_two_exchanges_at_once_finish_one_sign_in(self, either_stage: Stage) -> None:
        stage = either_stage
        stage.provider.says("enrolment", subject="ada", traits={"email": "no address"})
        app = await begin(stage, "registration")
        code = await app.come_back()
        answers = await asyncio.gather(*(app.exchange(code) for _ in range(4)))
        assert {answer.status_code for answer in answers} <= {404, 422}
        assert [answer.status_code for answer in answers].count(422) >= 1
        assert stage.provider.questions == 1

    async def test_is_recorded(self, stage: Stage) -> None:
        ada = await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app = await begin(stage)
        given = (await app.exchange(await app.come_back())).json()
        [event] = await stage.events("session.handed_over")
        assert (event.subject, event.details) == (str(ada.id), {"session": given["session"]["id"]})

    async def test_requests_are_limited_for_each_client(self, stage: Stage) -> None:
        app = await stage.scene.native()
        codes = {"init_code": "a", "return_to_code": "b"}
        statuses = [(await app.get(EXCHANGE, params=codes)).status_code for _ in range(31)]
        assert set(statuses) == {404, 429}


class TestTheGuest:
    @pytest.mark.parametrize("sent_with", ["the flow", "the exchange"])
    async def test_brings_the_cart_along(self, either_stage: Stage, sent_with: str) -> None:
        stage = either_stage
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app = await begin(stage)
        guest = (await visit(app.client))["authorization"]
        await fill_cart(app.client, guest, quantity=2)
        presents = {"authorization": f"Bearer {guest}"}
        if sent_with == "the flow":
            app.client.headers.update(presents)
        code = await app.come_back()
        app.client.headers.pop("authorization", None)
        given = (await app.exchange(code, **(presents if sent_with == "the exchange" else {}))).json()
        found = await ask(app.client, given["session_token"], CART)
        assert found["data"]["getCart"]["totalQuantity"] == 2
        assert given["cart"]["id"] == found["data"]["getCart"]["id"]

    async def test_of_the_browser_keeps_the_cart(self, stage: Stage) -> None:
        """The browser may be a stranger's: nothing of it goes into the account of the app."""
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app, browser = await begin(stage), await stage.scene.browser()
        guest = (await visit(browser))["authorization"]
        await fill_cart(browser, guest)
        answer = await browser.get(await app.leave())
        given = (await app.exchange(query_of(answer.headers["location"])["code"])).json()
        assert "cart" not in given
        assert (await ask(browser, guest, CART))["data"]["getCart"]["totalQuantity"] == 1


class TestComingBackWithoutASession:
    async def test_the_app_is_given_the_form_with_the_reason(self, either_stage: Stage) -> None:
        stage = either_stage
        stage.provider.says("enrolment", subject="ada", traits={"email": "no address"})
        app = await begin(stage, "registration")
        code = await app.come_back()
        answer = await app.exchange(code)
        assert answer.status_code == 422
        form = answer.json()
        assert form["id"] != app.flow["id"]
        shown = {node["attributes"]["name"]: node for node in form["ui"]["nodes"]}
        assert shown["traits.email"]["attributes"]["value"] == "no address"
        assert shown["traits.email"]["messages"]
        assert (await app.exchange(code)).json()["id"] == form["id"]

    async def test_the_app_goes_on_with_the_form_and_gets_its_token_at_once(
        self, either_stage: Stage, clock: StoppedClock
    ) -> None:
        stage = either_stage
        stage.provider.says("enrolment", subject="ada", traits={"email": "no address"})
        app = await begin(stage)
        code = await app.come_back()
        form = (await app.exchange(code)).json()
        fields = {"method": "password", "password": PASSWORD, "traits": {"email": new_address()}}
        done = await app.client.post(form["ui"]["action"], json=fields)
        assert done.status_code == 200, done.text
        assert (await app.exchange(code)).status_code == 404
        clock.advance(hours=23)
        who = await app.client.get("/sessions/whoami", headers={"x-session-token": done.json()["session_token"]})
        assert who.status_code == 200

    async def test_an_address_of_an_account_is_proven_in_the_app(self, stage: Stage) -> None:
        email = new_address()
        await (await stage.scene.browser()).sign_up(email)
        stage.provider.says("enrolment", subject="ada", email=email)
        app = await begin(stage)
        answer = await app.exchange(await app.come_back())
        assert (answer.status_code, messages(answer.json())) == (422, [1010016])
        fields = {"method": "password", "identifier": email, "password": PASSWORD}
        done = await app.client.post(answer.json()["ui"]["action"], json=fields)
        assert done.json()["session"]["identity"]["traits"]["email"] == email
        assert TRAVEL in [row["type"] for row in await stage.scene.rows("credentials")]

    async def test_a_flow_that_has_come_back_is_known_to_its_app_only(self, stage: Stage) -> None:
        """Whoever opened the flow has its id, and need not be the one who has signed in."""
        stage.provider.says("enrolment", subject="ada", traits={"email": "no address"})
        app = await begin(stage, "registration")
        await app.come_back()
        old = app.flow["id"]
        assert (await app.client.get(f"/self-service/registration/flows?id={old}")).status_code == 404
        sent = await app.client.post(app.flow["ui"]["action"], json={"method": TRAVEL, "traits.email": new_address()})
        assert sent.status_code == 404

    @pytest.mark.parametrize("step", ["rejected", "start_over", "refusal"])
    async def test_the_app_can_try_again(self, either_stage: Stage, step: str) -> None:
        stage = either_stage
        await stage.customer("ada")
        stage.provider.says(step)
        app = await begin(stage)
        answer = await app.exchange(await app.come_back())
        assert answer.status_code == 422
        assert messages(answer.json())
        again = App(stage, app.client, {**answer.json(), "session_token_exchange_code": app.init_code}, "login")
        stage.provider.says("proof", subject="ada")
        assert (await again.exchange(await again.come_back())).status_code == 200

    async def test_a_disabled_account_is_told_in_the_app(self, stage: Stage) -> None:
        ada = await stage.customer("ada")
        admin = await stage.scene.admin()
        assert (
            await admin.patch(
                f"/admin/identities/{ada.id}", json=[{"op": "replace", "path": "/state", "value": "inactive"}]
            )
        ).status_code == 200
        stage.provider.says("proof", subject="ada")
        app = await begin(stage)
        answer = await app.exchange(await app.come_back())
        assert (answer.status_code, bool(messages(answer.json()))) == (422, True)
        assert await stage.scene.rows("sessions") == []

    async def test_a_flow_that_ran_out_at_the_provider_is_replaced(self, stage: Stage, clock: StoppedClock) -> None:
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app = await begin(stage)
        back = await app.leave()
        clock.advance(hours=1)
        answer = await (await stage.scene.browser()).get(back)
        found = await app.exchange(query_of(answer.headers["location"])["code"])
        assert (found.status_code, messages(found.json())) == (422, [4010001])


class TestTheCallback:
    async def test_works_once(self, either_stage: Stage) -> None:
        stage = either_stage
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app = await begin(stage)
        back = await app.leave()
        webview = await stage.scene.browser()
        answers = await asyncio.gather(*(webview.get(back) for _ in range(3)))
        led = [answer for answer in answers if answer.headers["location"].startswith(APP)]
        assert len(led) == 1
        assert (await app.exchange(query_of(led[0].headers["location"])["code"])).status_code == 200

    async def test_of_a_browser_that_is_signed_in_leaves_its_session(self, stage: Stage) -> None:
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        browser = await stage.scene.browser()
        await browser.sign_up(new_address("bea"))
        bea = await browser.whoami()
        app = await begin(stage)
        answer = await browser.get(await app.leave())
        given = await app.exchange(query_of(answer.headers["location"])["code"])
        assert given.status_code == 200
        assert await browser.whoami() == bea

    async def test_asks_nothing_of_requests_that_look_ahead(self, stage: Stage) -> None:
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app = await begin(stage)
        back = await app.leave()
        webview = await stage.scene.browser()
        assert (await webview.head(back)).status_code == 200
        assert (await webview.get(back)).headers["location"].startswith(APP)


class TestASessionOfTheApp:
    async def test_is_confirmed(self, either_stage: Stage) -> None:
        stage = either_stage
        ada = await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        first = await begin(stage)
        old = (await first.exchange(await first.come_back())).json()
        app = await begin(stage, query=f"{WITH_CODE}&refresh=true", x_session_token=old["session_token"])
        given = (await app.exchange(await app.come_back())).json()
        assert (given["session"]["id"], given["session"]["identity"]["id"]) == (old["session"]["id"], str(ada.id))
        assert given["session_token"] != old["session_token"]
        who = await (await stage.scene.native()).get(
            "/sessions/whoami", headers={"x-session-token": old["session_token"]}
        )
        assert who.status_code == 401

    async def test_is_confirmed_by_its_own_account_only(self, stage: Stage) -> None:
        await stage.customer("ada")
        await stage.customer("bea")
        stage.provider.says("proof", subject="ada")
        first = await begin(stage)
        token = (await first.exchange(await first.come_back())).json()["session_token"]
        app = await begin(stage, query=f"{WITH_CODE}&refresh=true", x_session_token=token)
        stage.provider.says("proof", subject="bea")
        answer = await app.exchange(await app.come_back())
        assert (answer.status_code, messages(answer.json())) == (422, [ANOTHER_ACCOUNT])

    async def test_that_is_presented_ends(self, stage: Stage) -> None:
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        first, app = await begin(stage), await begin(stage)
        token = (await first.exchange(await first.come_back())).json()["session_token"]
        assert (await app.exchange(await app.come_back(), **{"x-session-token": token})).status_code == 200
        active = [row["active"] for row in await stage.scene.rows("sessions")]
        assert sorted(active) == [False, True]


class TestWithoutCodes:
    async def test_the_client_that_began_comes_back_with_its_cookie(self, either_stage: Stage) -> None:
        stage = either_stage
        ada = await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app = await begin(stage, query="")
        back = await app.leave()
        assert CALLBACK_COOKIE in app.client.cookies
        answer = await app.client.get(back, headers={"accept": "text/html"})
        assert answer.status_code == 200
        token = answer.json()["session_token"]
        who = await app.client.get("/sessions/whoami", headers={"x-session-token": token})
        assert who.json()["identity"]["id"] == str(ada.id)

    @pytest.mark.parametrize("again", [True, False], ids=["and its token", "alone"])
    async def test_its_guest_brings_the_cart_along(self, either_stage: Stage, again: bool) -> None:
        stage = either_stage
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app = await begin(stage, query="")
        guest = (await visit(app.client))["authorization"]
        await fill_cart(app.client, guest, quantity=2)
        app.client.headers["authorization"] = f"Bearer {guest}"
        back = await app.leave()
        if not again:
            del app.client.headers["authorization"]
        answer = (await app.client.get(back)).json()
        app.client.headers.pop("authorization", None)
        cart = (await ask(app.client, answer["session_token"], CART))["data"]["getCart"]
        assert cart["totalQuantity"] == 2
        assert (await ask(app.client, guest, CART))["data"]["getCart"] is None

    async def test_a_session_that_the_app_presents_ends(self, either_stage: Stage) -> None:
        stage = either_stage
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        first = await begin(stage, query="")
        token = (await first.client.get(await first.leave())).json()["session_token"]
        second = await begin(stage, query="")
        back = await second.leave()
        answer = await second.client.get(back, headers={"x-session-token": token})
        assert answer.json()["session_token"] != token
        rows = {str(UUID(str(row["id"]))): row["active"] for row in await stage.scene.rows("sessions")}
        assert rows.pop(answer.json()["session"]["id"])
        assert [bool(active) for active in rows.values()] == [False]

    async def test_the_app_can_submit_again_with_its_cookie(self, stage: Stage) -> None:
        email = new_address()
        await (await stage.scene.browser()).sign_up(email)
        app = await begin(stage, query="")
        await app.leave()
        answer = await app.client.post(
            app.flow["ui"]["action"], json={"method": "password", "identifier": email, "password": PASSWORD}
        )
        assert answer.status_code == 200, answer.text

    async def test_another_browser_is_refused_and_the_way_is_named(self, stage: Stage) -> None:
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        app = await begin(stage, query="")
        back = await app.leave()
        answer = await (await stage.scene.browser()).get(back, headers={"accept": "application/json"})
        assert answer.status_code == 403
        assert "return_session_token_exchange_code" in answer.text
        assert stage.provider.questions == 0

    async def test_a_provider_is_linked_to_the_session_of_the_app(self, stage: Stage) -> None:
        app = await stage.scene.native()
        registered = (await app.get("/self-service/registration/api")).json()
        fields = {"method": "password", "password": PASSWORD, "traits": {"email": new_address()}}
        token = (await app.post(registered["ui"]["action"], json=fields)).json()["session_token"]
        app.headers["x-session-token"] = token
        flow = (await app.get("/self-service/settings/api")).json()
        stage.provider.says("change", subject="ada", proves=False)
        back = await App(stage, app, flow, "settings").leave()
        del app.headers["x-session-token"]
        answer = await app.get(back)
        assert (answer.status_code, answer.json()["state"]) == (200, "success")
