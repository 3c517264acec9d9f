"""The routes of the self-service flows: how each kind of client is answered."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.attacks.scene import (
    ADDRESS,
    HTML,
    PASSWORD,
    Browser,
    Scene,
    csrf_of,
    new_address,
    sign_up,
)
from tests.http.conftest import Opening

WRONG = "a wrong guess, once again"
JSON_AS_MANY_SEND_IT = {"content-type": "application/json; charset=utf-8"}
LANDING = f"{ADDRESS}/"
JSON = {"accept": "application/json"}
STAFF = {
    "type": "object",
    "properties": {
        "traits": {
            "type": "object",
            "properties": {
                "name": {
                    "type": "string",
                    "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}},
                }
            },
        }
    },
}


async def post(client: httpx2.AsyncClient, flow: Mapping[str, Any], **fields: Any) -> httpx2.Response:
    """Submit the flow's form as HTML does."""
    whole = {"method": "password", "csrf_token": csrf_of(flow), **fields}
    return await client.post(flow["ui"]["action"], data=whole, headers={"accept": HTML})


async def led_to(browser: Browser, answer: httpx2.Response) -> str:
    """Return where the browser ends, following every redirect on the public address."""
    for _ in range(5):
        if answer.status_code not in {302, 303} or "/self-service/" not in answer.headers["location"]:
            break
        answer = await browser.get(answer.headers["location"])
    return str(answer.headers.get("location", answer.url))


class TestNativeApps:
    """Kratos answers an app's flow in JSON, for any headers of the request."""

    async def test_a_blocked_sign_in_is_answered_in_json(self, opening: Opening, dsn: str) -> None:
        """Regression: they were redirected as browsers are, unless `Content-Type` was exactly `application/json`."""
        async with opening(dsn) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            for _ in range(6):
                answer = await self._submit(app, identifier=email, password=WRONG)
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, 429)
            assert int(answer.headers["retry-after"]) > 0

    async def test_a_disabled_account_is_answered_in_json(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            app, admin, email = await scene.native(), await scene.admin(), new_address()
            identity = (await sign_up(app, email))["identity"]["id"]
            off = [{"op": "replace", "path": "/state", "value": "inactive"}]
            await admin.patch(f"/admin/identities/{identity}", json=off)
            answer = await self._submit(app, identifier=email, password=PASSWORD)
            assert (answer.status_code, answer.headers["x-error-code"]) == (401, "identity_disabled")
            assert answer.json()["error"]["code"] == 401

    async def test_a_used_flow_is_answered_in_json(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            flow = (await app.get("/self-service/login/api")).json()
            for _ in range(2):
                answer = await self._submit(app, flow=flow, identifier=email, password=PASSWORD)
            assert (answer.status_code, answer.json()["error"]["id"]) == (410, "self_service_flow_expired")
            assert answer.json()["since"] >= 0, "it counts from the end of the flow, not from its expiry"

    async def test_an_expired_flow_is_answered_in_json(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            app = await scene.native()
            flow = (await app.get("/self-service/login/api")).json()
            scene.clock.advance(hours=2)
            answer = await self._submit(app, flow=flow, identifier="nobody", password=PASSWORD)
            assert (answer.status_code, set(answer.json()) >= {"use_flow_id", "expired_at"}) == (410, True)

    async def _submit(self, app: httpx2.AsyncClient, *, flow: Any = None, **fields: Any) -> httpx2.Response:
        opened = flow or (await app.get("/self-service/login/api")).json()
        return await app.post(
            opened["ui"]["action"],
            content=httpx2.Request("POST", ADDRESS, json={"method": "password", **fields}).content,
            headers=JSON_AS_MANY_SEND_IT,
        )


class TestUnreadableCookies:
    @pytest.mark.parametrize("cookie", ['a="x y"', "a=1; a=2", "nameless"], ids=["quoted", "twice", "nameless"])
    async def test_unreadable_cookies_still_identify_a_browser(
        self, opening: Opening, sqlite_dsn: str, cookie: str
    ) -> None:
        """Regression: what could not be parsed counted as no cookie, so a browser was taken for an app."""
        assert await self._refused(opening, sqlite_dsn, cookie)

    async def test_the_cookie_of_a_proxy_does_not_identify_a_browser(self, opening: Opening, sqlite_dsn: str) -> None:
        assert not await self._refused(opening, sqlite_dsn, '__cf_bm="x y"; cf_clearance=1')

    async def _refused(self, opening: Opening, dsn: str, cookie: str) -> bool:
        async with opening(dsn) as scene:
            app = await scene.native()
            flow = (await app.get("/self-service/login/api")).json()
            form = {"method": "password", "identifier": new_address(), "password": WRONG}
            answer = await app.post(flow["ui"]["action"], json=form, headers={"cookie": cookie})
            return bool(answer.json()["ui"]["messages"][0]["id"] == 4000001)


class TestReturnTo:
    """Regression: an address with characters that no header holds was allowed, and failed after the sign-in was
    committed."""

    WRITTEN = f"{ADDRESS}/страница?q=größe&x=%20#ä"
    SENT = f"{ADDRESS}/{quote('страница')}?q=gr%C3%B6%C3%9Fe&x=%20#%C3%A4"

    async def test_a_return_address_of_another_alphabet_is_followed_after_signing_in(
        self, opening: Opening, dsn: str
    ) -> None:
        async with opening(dsn) as scene:
            browser, email = await self._customer(scene)
            flow = await browser.open_flow("login", f"?return_to={quote(self.WRITTEN, safe='')}")
            assert flow["return_to"] == self.SENT
            answer = await post(browser, flow, identifier=email, password=PASSWORD)
            assert (answer.status_code, answer.headers["location"]) == (303, self.SENT)

    async def test_a_return_address_of_another_alphabet_is_followed_after_signing_out(
        self, opening: Opening, sqlite_dsn: str
    ) -> None:
        async with opening(sqlite_dsn) as scene:
            browser, email = await self._customer(scene)
            await browser.sign_in(email)
            link = (await browser.get("/self-service/logout/browser", headers={"accept": "application/json"})).json()
            answer = await browser.get(f"{link['logout_url']}&return_to={quote(self.WRITTEN, safe='')}")
            assert (answer.status_code, answer.headers["location"]) == (303, self.SENT)

    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_a_return_address_is_followed_at_once_in_a_session(
        self, opening: Opening, sqlite_dsn: str, kind: str
    ) -> None:
        """Regression: signed-in browsers were sent to the default page, although Kratos follows the requested
        address."""
        async with opening(sqlite_dsn) as scene:
            browser, email = await self._customer(scene)
            await browser.sign_in(email)
            path = f"/self-service/{kind}/browser?return_to={quote(self.WRITTEN, safe='')}"
            answer = await browser.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, self.SENT)

    async def test_an_allowed_address_of_another_alphabet_allows_its_encoded_form(
        self, opening: Opening, sqlite_dsn: str
    ) -> None:
        allowed = {"allowed_return_urls": ["https://other.test/страница"]}
        async with opening(sqlite_dsn, selfservice=allowed) as scene:
            browser = await scene.browser()
            encoded = f"https://other.test/{quote('страница')}/a"
            for written in ("https://other.test/страница/a", encoded):
                flow = await browser.open_flow("login", f"?return_to={quote(written, safe='')}")
                assert flow["return_to"] == encoded

    async def test_a_default_address_of_another_alphabet_does_not_fail(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn, selfservice={"default_browser_return_url": f"{ADDRESS}/größe"}) as scene:
            browser, email = await self._customer(scene)
            flow = await browser.open_flow("login")
            answer = await post(browser, flow, identifier=email, password=PASSWORD)
            assert (answer.status_code, answer.headers["location"]) == (303, f"{ADDRESS}/gr%C3%B6%C3%9Fe")

    async def _customer(self, scene: Scene) -> tuple[Browser, str]:
        browser, app, email = await scene.browser(), await scene.native(), new_address()
        await sign_up(app, email)
        return browser, email


class TestSchemas:
    @pytest.mark.parametrize("name", ["x" * 129, "%00", "unknown"], ids=["long", "null", "unknown"])
    @pytest.mark.parametrize("how", ["refresh=true", "aal=aal2"])
    async def test_the_schema_must_exist_also_in_a_session(
        self, opening: Opening, dsn: str, how: str, name: str
    ) -> None:
        """Regression: the schema was not looked up where no identifier is asked for, and PostgreSQL refused to store
        its name."""
        async with opening(dsn) as scene:
            app = await scene.native()
            token = (await sign_up(app, new_address()))["session_token"]
            path = f"/self-service/login/api?{how}&identity_schema={name}"
            answer = await app.get(path, headers={"x-session-token": token})
            assert (answer.status_code, answer.headers["x-error-code"]) == (400, "invalid_input")

    @pytest.mark.parametrize("selectable", [True, False])
    @pytest.mark.parametrize("kind", ["registration", "login"])
    async def test_visitors_choose_only_schemas_that_are_open_to_them(
        self, opening: Opening, sqlite_dsn: str, tmp_path: Path, kind: str, selectable: bool
    ) -> None:
        """Operators keep schemas of their own staff closed by leaving the key out."""
        file = tmp_path / "staff.json"
        file.write_text(json.dumps(STAFF))
        staff = {"id": "staff", "url": file.as_uri(), "selfservice_selectable": selectable}
        schemas = [{"id": "default", "url": "builtin://customer"}, staff]
        async with opening(sqlite_dsn, identity={"schemas": schemas}) as scene:
            app = await scene.native()
            answer = await app.get(f"/self-service/{kind}/api?identity_schema=staff")
            if not selectable:
                assert (answer.status_code, answer.headers["x-error-code"]) == (400, "invalid_input")
            else:
                assert (answer.status_code, answer.json()["identity_schema"]) == (200, "staff")
            default = await app.get(f"/self-service/{kind}/api?identity_schema=default")
            assert (default.status_code, default.json()["identity_schema"]) == (200, "default")
            assert "identity_schema" not in (await app.get(f"/self-service/{kind}/api")).json()


class TestPasswordIdentifier:
    @pytest.mark.parametrize(
        ("fields", "status"),
        [
            ({"password_identifier": "own"}, 200),
            ({"identifier": "", "password_identifier": "own"}, 200),
            ({"identifier": "other", "password_identifier": "own"}, 400),
            ({"password_identifier": 7}, 400),
        ],
        ids=["alone", "beside an empty one", "beside another", "no text"],
    )
    async def test_the_former_name_of_the_identifier_is_read_where_there_is_no_other(
        self, opening: Opening, sqlite_dsn: str, fields: dict[str, Any], status: int
    ) -> None:
        """Clients before v0.11 send no other, and the contract of today still has it."""
        async with opening(sqlite_dsn) as scene:
            app, addresses = await scene.native(), {"own": new_address(), "other": new_address()}
            await sign_up(app, addresses["own"])
            flow = (await app.get("/self-service/login/api")).json()
            named = {name: addresses.get(value, value) for name, value in fields.items()}
            body = {"method": "password", "password": PASSWORD, **named}
            assert (await app.post(flow["ui"]["action"], json=body)).status_code == status


class TestReloadedSubmission:
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_leads_a_browser_to_its_form_or_to_a_new_one(
        self, opening: Opening, sqlite_dsn: str, kind: str
    ) -> None:
        async with opening(sqlite_dsn) as scene:
            browser = await scene.browser()
            flow = await browser.open_flow(kind)
            again = await browser.get(flow["ui"]["action"], headers={"accept": HTML})
            assert (again.status_code, again.headers["location"]) == (303, f"{ADDRESS}/{kind}?flow={flow['id']}")
            for query in ("", "?flow=nonsense%0d%0a"):
                new = await browser.get(f"/self-service/{kind}{query}", headers={"accept": HTML})
                assert new.headers["location"] == f"{ADDRESS}/self-service/{kind}/browser"
            assert (await browser.get(flow["ui"]["action"], headers=JSON)).status_code == 501


class TestEitherMethodOfMails:
    @pytest.mark.parametrize("kind", ["recovery", "verification"])
    @pytest.mark.parametrize(("use", "method"), [("code", "link"), ("link", "code")])
    async def test_a_method_that_the_form_does_not_show_can_be_asked_for(
        self, opening: Opening, sqlite_dsn: str, kind: str, use: str, method: str
    ) -> None:
        """The seed's client knows links only, and its configuration says nothing of `use`."""
        methods = {"code": {"enabled": True}, "link": {"enabled": True}}
        flows = {kind: {"enabled": True, "use": use}}
        async with opening(sqlite_dsn, selfservice={"methods": methods, "flows": flows}) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            flow = (await app.get(f"/self-service/{kind}/api")).json()
            answer = await app.post(flow["ui"]["action"], json={"method": method, "email": email})
            assert (answer.status_code, answer.json()["state"]) == (200, "sent_email")
            template = f"{kind}_valid" if method == "link" else f"{kind}_code_valid"
            assert template in [mail.template_type for mail in await scene.mails() if mail.recipient == email]

    async def test_one_that_is_switched_off_cannot(self, opening: Opening, sqlite_dsn: str) -> None:
        methods = {"code": {"enabled": True}, "link": {"enabled": False}}
        flows = {"verification": {"enabled": True, "use": "code"}}
        async with opening(sqlite_dsn, selfservice={"methods": methods, "flows": flows}) as scene:
            app = await scene.native()
            flow = (await app.get("/self-service/verification/api")).json()
            answer = await app.post(flow["ui"]["action"], json={"method": "link", "email": new_address()})
            assert (answer.status_code, answer.json()["ui"]["messages"][0]["id"]) == (400, 4010006)


class TestAfterVerification:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", f"{ADDRESS}/"),
            (f"?return_to={ADDRESS}/one", f"{ADDRESS}/one"),
            (f"?return_to={ADDRESS}/one&after_verification_return_to={ADDRESS}/two", f"{ADDRESS}/two"),
            (f"?return_to={ADDRESS}/one&after_verification_return_to=https://evil.example/", f"{ADDRESS}/one"),
        ],
        ids=["none", "return_to", "own", "forbidden"],
    )
    async def test_a_registration_says_where_its_verification_leads(
        self, opening: Opening, sqlite_dsn: str, query: str, expected: str
    ) -> None:
        """Contract page section 1.1."""
        flows = {"verification": {"enabled": True, "use": "code"}}
        async with opening(sqlite_dsn, selfservice={"flows": flows, "methods": {"code": {"enabled": True}}}) as scene:
            browser, email = await scene.browser(), new_address()
            flow = await browser.open_flow("registration", query)
            registering = {"method": "password", "password": PASSWORD, "traits": {"email": email}}
            sent = {**registering, "csrf_token": csrf_of(flow)}
            assert (await browser.post(flow["ui"]["action"], json=sent, headers=JSON)).status_code == 200
            [opened] = [row for row in await scene.rows("flows") if row["kind"] == "verification"]
        assert (opened["return_to"] or f"{ADDRESS}/") == expected


class TestTwoTabs:
    async def test_the_second_tab_is_redirected_to_the_page_after_the_sign_in(self, opening: Opening, dsn: str) -> None:
        """Regression: signing in changes the anti-CSRF cookie, so the form of the other tab ended on the error page."""
        async with opening(dsn) as scene:
            browser, email = await scene.browser(), new_address()
            await sign_up(await scene.native(), email)
            second = await browser.open_flow("login", f"?return_to={ADDRESS}/account")
            assert (await browser.sign_in(email)).status_code == 200
            before = browser.session_cookie
            answer = await post(browser, second, identifier=email, password=PASSWORD)
            assert await led_to(browser, answer) == f"{ADDRESS}/account"
            assert browser.session_cookie == before

    async def test_a_form_that_another_browser_opened_does_nothing(self, opening: Opening, sqlite_dsn: str) -> None:
        """A browser stays signed in as the same identity, even where another site submits a form in it."""
        async with opening(sqlite_dsn) as scene:
            browser, email = await scene.browser(), new_address()
            attacker = await scene.browser()
            other = new_address("other")
            await sign_up(await scene.native(), other)
            mine = (await browser.sign_up(email)).json()["identity"]["id"]
            planted = await attacker.open_flow("login")
            answer = await post(browser, planted, identifier=other, password=PASSWORD)
            assert "set-cookie" not in answer.headers
            assert await browser.whoami() == mine

    async def test_a_single_page_app_learns_of_the_session(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn) as scene:
            browser, email = await scene.browser(), new_address()
            stale = await browser.open_flow("login")
            await browser.sign_up(email)
            answer = await browser.send_flow(stale, {"identifier": email, "password": PASSWORD})
            assert (answer.status_code, answer.json()["error"]["id"]) == (400, "session_already_available")


class TestTwoClicks:
    """Regression: the second click on 'Sign in' showed a 410 on the error page."""

    async def test_the_second_click_ends_where_the_first_does_in_its_session(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            browser, flow, form = await self._form(scene)
            first = await post(browser, flow, **form)
            second = await post(browser, flow, **form)
            assert await led_to(browser, second) == first.headers["location"]

    async def test_without_a_session_the_second_opens_a_new_form(self, opening: Opening, sqlite_dsn: str) -> None:
        """A browser that disconnected before the answer came has no session, and the flow is used up."""
        async with opening(sqlite_dsn) as scene:
            browser, flow, form = await self._form(scene)
            cookies = dict(browser.cookies)
            await post(browser, flow, **form)
            browser.cookies.clear()
            browser.cookies.update(cookies)
            second = await led_to(browser, await post(browser, flow, **form))
            assert second.startswith(f"{ADDRESS}/login?flow=")
            assert flow["id"] not in second

    async def test_a_single_page_app_learns_that_the_flow_has_ended(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn) as scene:
            browser, flow, form = await self._form(scene)
            for _ in range(2):
                answer = await browser.send_flow(flow, form)
            assert (answer.status_code, answer.json()["error"]["id"]) == (410, "self_service_flow_expired")

    async def _form(self, scene: Scene) -> tuple[Browser, dict[str, Any], dict[str, str]]:
        browser, email = await scene.browser(), new_address()
        await sign_up(await scene.native(), email)
        return browser, await browser.open_flow("login"), {"identifier": email, "password": PASSWORD}


class TestWaiting:
    async def test_typed_fields_are_kept_and_passwords_are_not(self, opening: Opening, dsn: str) -> None:
        """Regression: a form that could not be processed at the moment came back empty."""
        tight = {"registration": {"per_ip": "1/minute"}}
        async with opening(dsn, throttle=tight) as scene:
            await sign_up(await scene.native(), new_address())
            browser, email = await scene.browser(), new_address()
            flow = await browser.open_flow("registration")
            answer = await post(
                browser, flow, **{"password": PASSWORD, "traits.email": email, "traits.name.first": "Ada"}
            )
            assert answer.status_code == 302
            path = f"/self-service/registration/flows?id={flow['id']}"
            shown = (await browser.get(path)).json()
            values = {n["attributes"]["name"]: n["attributes"].get("value") for n in shown["ui"]["nodes"]}
            assert shown["ui"]["messages"][0]["id"] == 4000001
            assert (values["traits.email"], values["traits.name.first"]) == (email, "Ada")
            assert PASSWORD not in repr(await scene.rows("flows"))


class TestNextForms:
    async def test_a_finished_flow_has_no_next_form(self, opening: Opening, dsn: str) -> None:
        """Regression: the flow answered with a next form that was not stored."""
        steps = {"flows": {"registration": {"style": "profile_first", "after": {"password": {"hooks": []}}}}}
        async with opening(dsn, selfservice=steps) as scene:
            app, traits = await scene.native(), {"email": new_address()}
            flow = (await app.get("/self-service/registration/api")).json()
            profile = {"method": "profile", "traits": traits}
            whole = {"method": "password", "password": PASSWORD, "traits": traits}
            answers = [await app.post(flow["ui"]["action"], json=form) for form in (profile, whole, profile)]
            assert [answer.status_code for answer in answers] == [400, 200, 410]
            assert answers[-1].json()["error"]["id"] == "self_service_flow_expired"
