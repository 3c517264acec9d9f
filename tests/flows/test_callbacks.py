"""A method that redirects to another server and comes back: what each step means there, and which answers are
accepted."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import update

from shopkeeper import crypto
from shopkeeper.errors import UpstreamFailed
from shopkeeper.flows import store
from shopkeeper.flows.rejections import ANOTHER_ACCOUNT
from shopkeeper.http.cookies import CookiePolicy
from tests.attacks.scene import PASSWORD, Browser, csrf_of, fill_cart, new_address, set_cookies, visit, written_schema
from tests.flows.conftest import JSON, Stage, Staging, post_across_sites, post_back
from tests.flows.travelling_method import TRAVEL
from tests.http.pages.reading import read

CALLBACKS = f"https://shop.test/self-service/methods/{TRAVEL}/callback"
CALLBACK_COOKIE = "__Host-shopkeeper_callback"
ACCOUNT = "https://shop.test/account"
ANOTHER_FORM = "https://shop.test/self-service/login/browser"
WRONG, CODE_WRONG, EXPIRED, REASON = 4000006, 4010008, 4010001, 4000001


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def flow_of(answer: httpx2.Response, kind: str = "login") -> str:
    """Return the id of the flow whose page the browser is sent to."""
    address = answer.headers["location"]
    page = {"settings": "account"}.get(kind, kind)
    assert address.startswith(f"https://shop.test/{page}?flow="), address
    return query_of(address)["flow"]


def messages(flow: dict[str, Any]) -> Sequence[int]:
    return [each["id"] for each in flow["ui"].get("messages", ())]


def refused(answer: httpx2.Response) -> str:
    """Return the code of a refusal, which a browser sees on the error page."""
    assert answer.headers["location"].startswith("https://shop.test/error?id="), answer.headers
    return str(answer.headers["x-error-code"])


async def methods_of(browser: Browser) -> Sequence[tuple[str, str, str | None]]:
    """Return the proofs of a browser's session."""
    session = (await browser.get("/sessions/whoami")).json()
    return [(each["method"], each["aal"], each.get("provider")) for each in session["authentication_methods"]]


class TestLeaving:
    @pytest.mark.parametrize("spa", [False, True], ids=["html", "spa"])
    async def test_binds_the_browser_with_a_cookie_of_its_own(self, stage: Stage, spa: bool) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow("login")
        whole = {"method": TRAVEL, "csrf_token": csrf_of(flow)}
        sent: dict[str, Any] = {"json": whole, "headers": JSON} if spa else {"data": whole}
        answer = await browser.post(flow["ui"]["action"], **sent)
        assert answer.status_code == (422 if spa else 303)
        line = set_cookies(answer)[CALLBACK_COOKIE.removeprefix("__Host-")]
        assert {"Path=/", "HttpOnly", "Secure", "SameSite=None"} <= set(line.split("; "))
        [csrf] = [cookie.value for cookie in browser.cookies.jar if "csrf_token" in cookie.name]
        assert browser.cookies[CALLBACK_COOKIE] != csrf

    def test_over_plain_http_the_cookie_is_one_that_browsers_accept(self) -> None:
        line = CookiePolicy(base_url="http://localhost:4433/", secure=False).set_callback("a")
        assert "SameSite=Lax" in line
        assert "Secure" not in line

    async def test_stores_neither_the_state_nor_the_cookie(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow("login")
        state = query_of(await stage.depart(browser, flow))["state"]
        [row] = await stage.scene.rows("flows")
        assert (row["callback_method"], row["callback_state"]) == (TRAVEL, crypto.digest(state))
        assert row["callback_binding"] == crypto.digest(browser.cookies[CALLBACK_COOKIE])
        assert state not in str(row)
        assert browser.cookies[CALLBACK_COOKIE] not in str(row)

    async def test_two_tabs_of_a_browser_do_not_disturb_each_other(self, stage: Stage) -> None:
        await stage.customer("ada")
        browser = await stage.scene.browser()
        stage.provider.says("proof", subject="ada")
        first, second = [await stage.leave(browser, "login") for _ in range(2)]
        assert first != second
        assert (await browser.get(first)).headers["location"] == ACCOUNT
        await browser.get(second)
        assert await browser.whoami() is not None


class TestAProof:
    @pytest.mark.parametrize("spa", [False, True], ids=["html", "spa"])
    async def test_signs_in(self, either_stage: Stage, spa: bool) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        ada = await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        answer = await browser.get(await stage.leave(browser, "login", spa=spa))
        assert (answer.status_code, answer.headers["location"]) == (303, ACCOUNT)
        assert {"ory_kratos_session", "csrf_token"} <= set(set_cookies(answer))
        assert await browser.whoami() == str(ada.id)
        assert await methods_of(browser) == [(TRAVEL, "aal1", "harbour")]

    async def test_leads_to_the_return_address_of_the_flow(self, stage: Stage) -> None:
        await stage.customer("ada")
        browser = await stage.scene.browser()
        stage.provider.says("proof", subject="ada")
        back = await stage.leave(browser, "login", query="?return_to=https://app.test/basket")
        assert (await browser.get(back)).headers["location"] == "https://app.test/basket"

    async def test_a_proof_in_a_registration_flow_signs_in_to_the_existing_account(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        ada = await stage.customer("ada")
        stage.provider.says("arrive", subject="ada")
        back = await stage.leave(browser, "registration", traits={"email": new_address()})
        assert (await browser.get(back)).status_code == 303
        assert await browser.whoami() == str(ada.id)
        assert len(await stage.scene.rows("identities")) == 1

    async def test_a_proof_of_an_unknown_subject_is_a_mistake_in_the_form(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        stage.provider.says("proof", subject="unknown")
        answer = await browser.get(await stage.leave(browser, "login"))
        assert messages(await stage.flow(browser, "login", flow_of(answer))) == [WRONG]


class TestAFormThatIsPosted:
    """OAuth 2.0 Form Post Response Mode: a POST from another site, to which browsers add no Lax cookies."""

    async def test_is_posted_again_by_our_page_and_signs_in(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        ada = await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        answer = await post_back(stage, browser, await stage.leave(browser, "login", spa=False))
        assert (answer.status_code, answer.headers["location"]) == (303, ACCOUNT)
        assert await browser.whoami() == str(ada.id)

    async def test_our_page_spends_nothing_and_sets_no_cookie(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        stage.provider.says("proof", subject="ada")
        answer = await post_across_sites(stage, browser, await stage.leave(browser, "login"))
        assert not set_cookies(answer)
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert stage.provider.questions == 0
        page = read(answer.text)
        assert page.one("form").get("action") is None
        assert page.one("button").text == "Continue"
        assert "form-action" not in answer.headers["content-security-policy"]
        script = await browser.get(page.one("script")["src"])
        assert script.status_code == 200

    async def test_the_posted_fields_reach_the_method_and_no_address(self, stage: Stage) -> None:
        """Apple sends the name only with the first sign-in, as a field beside the code."""
        browser = await stage.scene.browser()
        stage.provider.says("rejected")
        back = await stage.leave(browser, "login")
        name = '{"name": {"firstName": "Ada", "lastName": "<b>"}}'
        answer = await post_back(stage, browser, f"{back}&{urlencode({'user': name})}")
        assert stage.method.received[-1].query["user"] == name
        assert query_of(back)["code"] not in answer.headers["location"]

    @pytest.mark.parametrize("posted", [False, True], ids=["get", "post"])
    async def test_the_cart_of_the_visit_comes_along(self, stage: Stage, posted: bool) -> None:
        await stage.customer("ada")
        browser, app = await stage.scene.browser(), await stage.scene.native()
        token = (await visit(app))["authorization"].removeprefix("Bearer ")
        cart = await fill_cart(app, token, quantity=3)
        browser.cookies.set("shopkeeper_visit", token, domain="shop.test")
        stage.provider.says("proof", subject="ada")
        back = await stage.leave(browser, "login")
        answer = await (post_back(stage, browser, back) if posted else browser.get(back))
        assert "Max-Age=0" in set_cookies(answer)["shopkeeper_visit"]
        identity = await browser.whoami()
        owners = {str(UUID(str(row["id"]))): row["owner_id"] for row in await stage.scene.rows("carts")}
        assert owners[cart] == identity

    @pytest.mark.parametrize(
        ("fields", "code"),
        [({"code": "a" * 32_000}, "body_too_large"), ({str(n): "a" for n in range(33)}, "invalid_input")],
        ids=["long", "many"],
    )
    async def test_a_form_that_is_too_large_is_refused(self, stage: Stage, fields: dict[str, str], code: str) -> None:
        stranger = await stage.scene.browser()
        assert refused(await stranger.post(CALLBACKS, data={"state": "b", **fields})) == code

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"code=%ff%fe&state=b", "application/x-www-form-urlencoded"),
            (b"code=a", "text/plain"),
            (b'{"code": "\\ud800", "state": "\\ud800"}', "application/json"),
            (b'{"code": ["a"], "state": {"b": 1}}', "application/json"),
            (b"[]", "application/json"),
        ],
    )
    async def test_a_form_that_cannot_be_read_is_refused(self, stage: Stage, body: bytes, content_type: str) -> None:
        stranger = await stage.scene.browser()
        answer = await stranger.post(CALLBACKS, content=body, headers={"content-type": content_type})
        if answer.headers.get("location", "").startswith(CALLBACKS):
            answer = await stranger.get(answer.headers["location"])
        assert answer.status_code < 500
        assert answer.headers["x-error-code"] in {"malformed_body", "security_csrf_violation"}


class TestAsking:
    async def test_shows_the_form_of_the_same_flow_and_goes_on_from_there(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        ada = await stage.customer("ada")
        stage.provider.says("ask", subject="ada", word="plum")
        back = await stage.leave(browser, "login")
        answer = await browser.get(back)
        assert answer.status_code == 303
        flow = await stage.flow(browser, "login", flow_of(answer))
        assert (messages(flow), flow["active"]) == ([1010014], TRAVEL)
        assert "word" in [node["attributes"]["name"] for node in flow["ui"]["nodes"]]
        wrong = await browser.send_flow(flow, {"method": TRAVEL, "word": "pear"})
        assert (wrong.status_code, messages(wrong.json())) == (400, [CODE_WRONG])
        right = await browser.send_flow(wrong.json(), {"method": TRAVEL, "word": "plum"})
        assert right.status_code == 200
        assert await browser.whoami() == str(ada.id)

    async def test_keeps_the_anti_csrf_token_in_the_form(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        stage.provider.says("ask", subject="ada", word="plum")
        answer = await browser.get(await stage.leave(browser, "login"))
        flow = await stage.flow(browser, "login", flow_of(answer))
        forged = await browser.send_flow(flow, {"method": TRAVEL, "word": "plum", "csrf_token": "x"})
        assert (forged.status_code, forged.headers["x-error-code"]) == (403, "security_csrf_violation")


class TestLeavingAgain:
    async def test_takes_a_new_state_and_the_old_one_is_worth_nothing(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        ada = await stage.customer("ada")
        stage.provider.says("redirect")
        first = await stage.leave(browser, "login")
        answer = await browser.get(first)
        assert answer.status_code == 303
        stage.provider.says("proof", subject="ada")
        second = await stage.provider.send_back(answer.headers["location"])
        assert query_of(first)["state"] != query_of(second)["state"]
        code = query_of(second)["code"]
        replayed = await browser.get(f"{CALLBACKS}?{urlencode({'code': code, 'state': query_of(first)['state']})}")
        assert messages(await stage.flow(browser, "login", flow_of(replayed))) == [REASON]
        assert stage.provider.questions == 1
        await browser.get(second)
        assert await browser.whoami() == str(ada.id)


class TestStartingOver:
    async def test_opens_a_replacement_and_the_old_flow_is_dead(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        stage.provider.says("start_over")
        flow = await browser.open_flow("login", "?return_to=https://app.test/basket")
        back = await stage.provider.send_back(await stage.depart(browser, flow))
        answer = await browser.get(back)
        fresh = await stage.flow(browser, "login", flow_of(answer))
        assert fresh["id"] != flow["id"]
        assert (messages(fresh), fresh["return_to"]) == ([CODE_WRONG], "https://app.test/basket")
        dead = await browser.send_flow(flow, {"method": TRAVEL})
        assert (dead.status_code, dead.json()["error"]["id"]) == (410, "self_service_flow_expired")


class TestAnEnrolment:
    async def test_an_enrolment_in_a_login_flow_registers_and_signs_in(self, signing_in: Stage) -> None:
        stage, browser = signing_in, await signing_in.scene.browser()
        stage.provider.says("arrive", subject="bea", email="bea@example.org")
        answer = await browser.get(await stage.leave(browser, "login"))
        assert (answer.status_code, answer.headers["location"]) == (303, ACCOUNT)
        session = (await browser.get("/sessions/whoami")).json()
        assert session["identity"]["traits"] == {"email": "bea@example.org"}
        assert [each["verified"] for each in session["identity"]["verifiable_addresses"]] == [True]
        assert await methods_of(browser) == [(TRAVEL, "aal1", "harbour")]
        again = await stage.scene.browser()
        await again.get(await stage.leave(again, "login"))
        assert await again.whoami() == session["identity"]["id"]

    async def test_an_enrolment_in_a_registration_flow_signs_in_only_where_configured(
        self, staging: Staging, sqlite_dsn: str
    ):
        after = {"hooks": [{"hook": "session"}]}
        for number, flows in enumerate(({}, {"registration": {"after": after}})):
            async with staging(sqlite_dsn, selfservice={"flows": flows}) as stage:
                browser = await stage.scene.browser()
                stage.provider.says("enrolment", subject=f"bea{number}")
                back = await stage.leave(browser, "registration", traits={"email": new_address()})
                assert (await browser.get(back)).status_code == 303
                assert (await browser.whoami() is not None) == (number == 1)
                assert len(await stage.scene.rows("identities")) == number + 1

    async def test_an_enrolment_is_refused_where_registration_is_switched_off(
        self, staging: Staging, sqlite_dsn: str
    ) -> None:
        async with staging(sqlite_dsn, selfservice={"flows": {"registration": {"enabled": False}}}) as stage:
            browser = await stage.scene.browser()
            stage.provider.says("arrive", subject="bea")
            answer = await browser.get(await stage.leave(browser, "login"))
            flow = await stage.flow(browser, "login", flow_of(answer))
            assert messages(flow) == [4010090]
            assert await stage.scene.rows("identities") == []
            await stage.customer("ada")
            stage.provider.says("arrive", subject="ada")
            await browser.get(await stage.provider.send_back(await stage.depart(browser, flow)))
            assert await browser.whoami() is not None

    async def test_a_taken_address_of_a_method_that_does_not_link_is_reported_where_registering_signs_in(
        self, signing_in: Stage
    ) -> None:
        stage, browser = signing_in, await signing_in.scene.browser()
        await stage.customer("ada", email="ada@example.org")
        stage.provider.says("enrolment", subject="other", email="ada@example.org", links=False)
        answer = await browser.get(await stage.leave(browser, "login"))
        assert messages(await stage.flow(browser, "login", flow_of(answer))) == [4000007]
        assert await browser.whoami() is None

    async def test_an_address_that_is_taken_meanwhile_is_kept_secret(self, staging: Staging, postgres_dsn: str) -> None:
        """Regression: the form reported it to a client that registered at the same moment as the owner."""
        async with staging(postgres_dsn) as stage:
            browser, taken = await stage.scene.browser(), list[str]()

            async def register_the_same(unit: object) -> None:
                if not taken:
                    taken.append(str((await stage.customer("ada", email="ada@example.org")).id))

            stage.method.effect = register_the_same
            stage.provider.says("enrolment", subject="other", email="ada@example.org")
            back = await stage.leave(browser, "registration", traits={"email": new_address()})
            answer = await browser.get(back)
            assert messages(await stage.flow(browser, "login", flow_of(answer, "login"))) == [1040090]
            assert [str(row["id"]) for row in await stage.scene.rows("identities")] == taken
            assert [mail.recipient for mail in await stage.scene.mails()] == ["ada@example.org"]

    async def test_an_enrolment_with_invalid_traits_creates_nothing(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        stage.provider.says("enrolment", subject="bea", traits={"email": "no address"})
        answer = await browser.get(await stage.leave(browser, "login"))
        assert answer.status_code < 400
        assert await stage.scene.rows("identities") == []
        assert await browser.whoami() is None

    async def test_what_its_traits_lack_is_asked_for_in_the_form(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        stage.provider.says("enrolment", subject="bea", traits={"name": {"first": "Bea"}})
        answer = await browser.get(await stage.leave(browser, "registration", traits={"email": new_address()}))
        flow = await stage.flow(browser, "registration", flow_of(answer, "registration"))
        told = {node["attributes"]["name"]: [each["id"] for each in node["messages"]] for node in flow["ui"]["nodes"]}
        assert told["traits.email"] == [4000002]
        assert await stage.scene.rows("identities") == []

    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_an_identifier_of_the_method_that_another_account_has_is_told_as_taken(
        self, either_stage: Stage, kind: str
    ) -> None:
        """Regression: only the identifiers of the traits were looked up, and the answer was 500."""
        stage, browser = either_stage, await either_stage.scene.browser()
        await stage.customer("ada")
        stage.provider.says("enrolment", subject="ada", email="other@example.org")
        traits = {"traits": {"email": new_address()}} if kind == "registration" else {}
        answer = await browser.get(await stage.leave(browser, kind, **traits))
        assert answer.status_code == 303
        assert messages(await stage.flow(browser, "login", flow_of(answer, "login"))) == [1040090]
        assert len(await stage.scene.rows("identities")) == 1
        assert await browser.whoami() is None


class TestARejection:
    async def test_shows_the_form_and_uses_up_the_state(self, signing_in: Stage) -> None:
        stage, browser = signing_in, await signing_in.scene.browser()
        stage.provider.says("rejected")
        back = await stage.leave(browser, "login")
        answer = await browser.get(back)
        assert answer.status_code == 303
        flow = await stage.flow(browser, "login", flow_of(answer))
        assert messages(flow) == [WRONG]
        assert flow_of(await browser.get(back)) == flow["id"]
        assert stage.provider.questions == 1
        stage.provider.says("arrive", subject="bea")
        await browser.get(await stage.provider.send_back(await stage.depart(browser, flow)))
        assert await browser.whoami() is not None

    async def test_a_refusal_is_shown_in_the_form_and_uses_up_the_state(self, signing_in: Stage) -> None:
        stage, browser = signing_in, await signing_in.scene.browser()
        stage.provider.says("refusal")
        back = await stage.leave(browser, "login")
        flow = await stage.flow(browser, "login", flow_of(await browser.get(back)))
        assert messages(flow) == [REASON]
        assert flow["ui"]["messages"][0]["text"] == UpstreamFailed.message
        assert "harbour" not in json.dumps(flow)
        assert flow_of(await browser.get(back)) == flow["id"]
        assert stage.provider.questions == 1
        stage.provider.says("arrive", subject="bea")
        await browser.get(await stage.provider.send_back(await stage.depart(browser, flow)))
        assert await browser.whoami() is not None


class TestWhoComesBack:
    async def test_a_state_works_once(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        back = await stage.leave(browser, "login")
        await browser.get(back)
        session = browser.session_cookie
        again = await browser.get(back)
        assert (again.status_code, again.headers["location"]) == (303, ACCOUNT), "a reload leads where the first led"
        assert (stage.provider.questions, browser.session_cookie) == (1, session)
        browser.cookies.delete("ory_kratos_session")
        assert (await browser.get(back)).headers["location"] == ANOTHER_FORM
        assert stage.provider.questions == 1
        browser.cookies.delete(CALLBACK_COOKIE)
        assert refused(await browser.get(back)) == "security_csrf_violation"

    async def test_of_two_callbacks_at_once_one_is_accepted(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        back = await stage.leave(browser, "login")
        answers = await asyncio.gather(*(browser.get(back) for _ in range(5)))
        places = sorted(answer.headers["location"] for answer in answers)
        # Browsers that are signed in by now are led on from there; these requests were sent without the session.
        assert places == [ACCOUNT, *[ANOTHER_FORM] * 4]
        assert stage.provider.questions == 1
        assert len(await stage.scene.rows("sessions")) == 1

    @pytest.mark.parametrize("cookie", ["none", "its own", "the anti-CSRF cookies alone"])
    async def test_another_browser_is_refused_and_the_right_one_can_still_come_back(
        self, stage: Stage, cookie: str
    ) -> None:
        await stage.customer("ada")
        browser, other = await stage.scene.browser(), await stage.scene.browser()
        stage.provider.says("proof", subject="ada")
        back = await stage.leave(browser, "login")
        if cookie == "its own":
            await stage.leave(other, "login")
        elif cookie == "the anti-CSRF cookies alone":
            other.cookies.update({k: v for k, v in browser.cookies.items() if "csrf_token" in k})
        answer = await other.get(back)
        assert refused(answer) == "security_csrf_violation"
        assert (other.session_cookie, stage.provider.questions) == (None, 0)
        await browser.get(back)
        assert await browser.whoami() is not None

    @pytest.mark.parametrize(
        "state", [None, "", "x", "x" * 5_000, "\x00", "\ud800".encode("utf-8", "surrogatepass")], ids=repr
    )
    async def test_a_callback_without_a_known_state_is_refused(self, stage: Stage, state: str | None) -> None:
        browser = await stage.scene.browser()
        await stage.leave(browser, "login")
        query = urlencode({"code": "a" * 32} | ({} if state is None else {"state": state}))
        assert refused(await browser.get(f"{CALLBACKS}?{query}")) == "security_csrf_violation"
        told = await browser.get(f"{CALLBACKS}?{query}", headers=JSON)
        assert (told.status_code, told.json()["error"]["id"]) == (403, "security_csrf_violation")
        assert stage.provider.questions == 0

    @pytest.mark.parametrize("method", ["password", "unknown"])
    async def test_a_callback_of_another_method_is_refused(self, stage: Stage, method: str) -> None:
        browser = await stage.scene.browser()
        back = await stage.leave(browser, "login")
        elsewhere = back.replace(f"/{TRAVEL}/", f"/{method}/")
        assert refused(await browser.get(elsewhere)) == "security_csrf_violation"

    async def test_a_callback_at_a_path_with_a_control_character_leads_nowhere(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        back = await stage.leave(browser, "login")
        assert (await browser.get(back.replace(f"/{TRAVEL}/", f"/{TRAVEL}%00/"))).status_code == 404
        assert stage.provider.questions == 0

    async def test_a_callback_after_the_flow_has_expired_leads_to_a_new_one(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        back = await stage.leave(browser, "login")
        stage.scene.clock.advance(hours=2)
        fresh = await stage.flow(browser, "login", flow_of(await browser.get(back)))
        assert messages(fresh) == [EXPIRED]
        assert (browser.session_cookie, stage.provider.questions) == (None, 0)
        assert (await browser.get(back)).headers["location"] == ANOTHER_FORM
        assert stage.provider.questions == 0

    async def test_a_callback_to_a_flow_that_has_ended_meanwhile_does_nothing(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        await browser.sign_up(email)
        browser.cookies.clear()
        stage.provider.says("arrive", subject="bea")
        flow = await browser.open_flow("login")
        back = await stage.provider.send_back(await stage.depart(browser, flow))
        await browser.send_flow(flow, {"identifier": email, "password": PASSWORD})
        owner = await browser.whoami()
        answer = await browser.get(back)
        assert answer.headers["location"] == "https://shop.test/self-service/login/browser"
        assert (await browser.whoami(), stage.provider.questions) == (owner, 0)


class TestConfirmingASession:
    async def test_a_session_is_confirmed_by_a_proof_of_its_identity(self, stage: Stage) -> None:
        ada = await stage.customer("ada")
        browser = await self._signed_in(stage)
        await browser.get(await stage.leave(browser, "login", query="?refresh=true"))
        assert await browser.whoami() == str(ada.id)

    @pytest.mark.parametrize("query", ["?refresh=true", "?aal=aal2"])
    @pytest.mark.parametrize("step", ["proof", "enrolment"])
    async def test_a_step_that_leads_to_another_identity_confirms_nothing(
        self, stage: Stage, query: str, step: str
    ) -> None:
        ada = await stage.customer("ada")
        if step == "proof":
            await stage.customer("bea")
        browser = await self._signed_in(stage)
        session = browser.session_cookie
        stage.provider.says(step, subject="bea")
        answer = await browser.get(await stage.leave(browser, "login", query=query))
        assert messages(await stage.flow(browser, "login", flow_of(answer))) == [ANOTHER_ACCOUNT]
        assert (await browser.whoami(), browser.session_cookie) == (str(ada.id), session)
        assert len(await stage.events("sign_in.failed")) == (1 if step == "proof" else 0)

    async def test_a_second_factor_elevates_the_session(self, either_stage: Stage) -> None:
        stage = either_stage
        await stage.customer("ada")
        browser = await self._signed_in(stage)
        before = (await browser.get("/sessions/whoami")).json()
        old = browser.session_cookie
        answer = await browser.get(await stage.leave(browser, "login", query="?aal=aal2"))
        assert answer.status_code == 303
        after = (await browser.get("/sessions/whoami")).json()
        assert (after["id"], after["authenticator_assurance_level"]) == (before["id"], "aal2")
        assert browser.session_cookie != old
        assert await methods_of(browser) == [(TRAVEL, "aal1", "harbour"), (TRAVEL, "aal2", "harbour")]

    async def _signed_in(self, stage: Stage) -> Browser:
        browser = await stage.scene.browser()
        stage.provider.says("proof", subject="ada")
        await browser.get(await stage.leave(browser, "login"))
        assert browser.session_cookie is not None
        return browser


class TestChangingCredentials:
    async def test_elevates_the_session_under_its_own_id_and_gives_the_browser_another_token(
        self, either_stage: Stage
    ) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        await browser.sign_up(new_address())
        before, old = (await browser.get("/sessions/whoami")).json(), browser.session_cookie
        stage.provider.says("change", subject="ada")
        answer = await browser.get(await stage.leave(browser, "settings"))
        flow = await stage.flow(browser, "settings", flow_of(answer, "settings"))
        assert flow["state"] == "success"
        assert "ada" in [node["attributes"].get("value") for node in flow["ui"]["nodes"]]
        after = (await browser.get("/sessions/whoami")).json()
        assert (after["id"], after["authenticator_assurance_level"]) == (before["id"], "aal2")
        assert [each[:2] for each in await methods_of(browser)] == [("password", "aal1"), (TRAVEL, "aal2")]
        app = await stage.scene.native()
        assert (await app.get("/sessions/whoami", headers={"x-session-token": str(old)})).status_code == 401

    @pytest.mark.parametrize("posted", [False, True], ids=["get", "post"])
    async def test_spares_the_session_that_does_it_and_ends_the_others(self, either_stage: Stage, posted: bool) -> None:
        stage, email = either_stage, new_address()
        browser, other = await stage.scene.browser(), await stage.scene.browser()
        await browser.sign_up(email)
        await other.sign_in(email)
        await self._change(stage, browser, subject="ada", posted=posted)
        assert await other.whoami() is not None, "a credential that is added takes nothing from anyone"
        await self._change(stage, browser, subject="bea", posted=posted)
        assert await browser.whoami() is not None
        assert await other.whoami() is None

    async def test_a_change_without_a_proof_leaves_the_level_unchanged_and_gives_the_browser_another_token(
        self, stage: Stage
    ) -> None:
        browser = await stage.scene.browser()
        await browser.sign_up(new_address())
        token = browser.session_cookie
        await self._change(stage, browser, subject="ada", proves=False)
        assert browser.session_cookie not in {token, None}
        assert [each[:2] for each in await methods_of(browser)] == [("password", "aal1")]

    async def test_removes_a_credential_that_signs_in_no_more(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        await browser.sign_up(new_address())
        await self._change(stage, browser, subject="ada")
        await self._change(stage, browser, subject=None)
        assert await browser.whoami() is not None
        other = await stage.scene.browser()
        stage.provider.says("proof", subject="ada")
        answer = await other.get(await stage.leave(other, "login"))
        assert messages(await stage.flow(other, "login", flow_of(answer))) == [WRONG]

    async def test_removing_the_last_way_to_sign_in_is_refused_and_rolls_back(
        self, staging: Staging, sqlite_dsn: str, tmp_path: Path
    ) -> None:
        schema = {"id": "plain", "url": written_schema(tmp_path, {"email": {"type": "string"}})}
        async with staging(sqlite_dsn, identity={"schemas": [schema], "default_schema_id": "plain"}) as stage:
            await stage.customer("ada")
            browser = await stage.scene.browser()
            stage.provider.says("proof", subject="ada")
            await browser.get(await stage.leave(browser, "login"))
            stage.provider.says("change", subject=None)
            back = await stage.leave(browser, "settings")
            before = await stage.scene.rows("credentials")
            answer = await browser.get(back)
            assert messages(await stage.flow(browser, "settings", flow_of(answer, "settings"))) == [REASON]
            assert await stage.scene.rows("credentials") == before
            assert await methods_of(browser) == [(TRAVEL, "aal1", "harbour")]

    async def test_a_change_in_a_session_of_another_account_is_refused(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        await browser.sign_up(new_address())
        stage.provider.says("change", subject="ada")
        back = await stage.leave(browser, "settings")
        browser.cookies.delete("ory_kratos_session")
        await browser.sign_up(new_address("bea"))
        assert refused(await browser.get(back)) == "security_identity_mismatch"
        assert stage.provider.questions == 0

    @pytest.mark.parametrize("step", ["proof", "enrolment"])
    async def test_a_step_that_leads_to_another_identity_signs_nobody_in(self, stage: Stage, step: str) -> None:
        browser = await stage.scene.browser()
        ada = (await browser.sign_up(new_address())).json()["identity"]["id"]
        if step == "proof":
            await stage.customer("bea")
        session = browser.session_cookie
        stage.provider.says(step, subject="bea")
        answer = await browser.get(await stage.leave(browser, "settings"))
        assert messages(await stage.flow(browser, "settings", flow_of(answer, "settings"))) == [ANOTHER_ACCOUNT]
        assert (await browser.whoami(), browser.session_cookie) == (ada, session)

    async def test_a_change_in_a_session_that_is_revoked_meanwhile_is_refused(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        ada = UUID((await browser.sign_up(new_address())).json()["identity"]["id"])
        application = stage.scene.application

        async def revoke() -> None:
            async with application.infrastructure.database.unit() as unit:
                await application.accounts.sessions.revoke_all(unit, ada, by="admin")

        stage.provider.says("change", subject="ada", proves=False)
        back = await stage.leave(browser, "settings")
        stage.method.before_step = revoke
        assert "/self-service/login/browser" in (await browser.get(back)).headers["location"]
        assert TRAVEL not in [row["type"] for row in await stage.scene.rows("credentials")]

    async def test_a_change_is_not_lost_where_the_form_is_stored_meanwhile(self, either_stage: Stage) -> None:
        stage, browser = either_stage, await either_stage.scene.browser()
        await browser.sign_up(new_address())
        database = stage.scene.application.infrastructure.database

        async def store_the_form() -> None:
            async with database.unit() as unit:
                await unit.write(update(store.flows).values(version=store.flows.c.version + 1))

        stage.provider.says("change", subject="ada")
        back = await stage.leave(browser, "settings")
        stage.method.before_step = store_the_form
        answer = await browser.get(back)
        assert (await stage.flow(browser, "settings", flow_of(answer, "settings")))["state"] == "success"
        assert TRAVEL in [row["type"] for row in await stage.scene.rows("credentials")]

    async def test_a_change_without_a_session_is_refused(self, stage: Stage) -> None:
        browser = await stage.scene.browser()
        await browser.sign_up(new_address())
        stage.provider.says("change", subject="ada")
        back = await stage.leave(browser, "settings")
        browser.cookies.delete("ory_kratos_session")
        assert "/self-service/login/browser" in (await browser.get(back)).headers["location"]

    async def _change(self, stage: Stage, browser: Browser, *, posted: bool = False, **told: Any) -> None:
        stage.provider.says("change", **told)
        back = await stage.leave(browser, "settings")
        answer = await (post_back(stage, browser, back) if posted else browser.get(back))
        flow_of(answer, "settings")


class TestTheErrorPage:
    @pytest.mark.parametrize(
        ("language", "said", "way_on"),
        [
            ("en", "was begun elsewhere", "Back to sign in"),
            ("de", "anderswo begonnen", "Zurück zur Anmeldung"),
            ("es", "empezó en otro sitio", "Volver a iniciar sesión"),
        ],
    )
    async def test_leads_back_to_the_form_after_an_answer_that_is_not_awaited(
        self, stage: Stage, language: str, said: str, way_on: str
    ) -> None:
        browser = await stage.scene.browser(accept_language=language)
        answer = await browser.get(f"{CALLBACKS}?state=unknown&code=1")
        page = read((await browser.get(answer.headers["location"])).text)
        assert said in page.one("main").text
        link = next(link for link in page.one("main").all("a") if link.text == way_on)
        assert link["href"] == "/self-service/login/browser"

    async def test_says_that_the_sign_in_was_begun_in_another_browser(self, stage: Stage) -> None:
        await stage.customer("ada")
        stage.provider.says("proof", subject="ada")
        back = await stage.leave(await stage.scene.browser(), "login")
        other = await stage.scene.browser(accept_language="de")
        page = read((await other.get((await other.get(back)).headers["location"])).text)
        assert "in einem anderen Browser begonnen" in page.one("main").text
