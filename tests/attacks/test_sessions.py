"""Rows 38 to 42: fixation of sessions and flows, shared browsers, dead tokens, data of others."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.attacks.conftest import Opening
from tests.attacks.scene import (
    CART,
    ME,
    ORDERS,
    OWN_PAGE,
    PASSWORD,
    Browser,
    Scene,
    ask,
    csrf_of,
    fill_cart,
    new_address,
    set_cookies,
    sign_in,
    sign_up,
    visit,
)

JSON = {"accept": "application/json"}


class TestFixation:
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_row_038_a_planted_flow_cannot_be_finished_by_the_victim(self, scene: Scene, kind: str) -> None:
        attacker, victim = await scene.browser(), await scene.browser()
        planted = await attacker.open_flow(kind)
        own = await victim.open_flow(kind)
        fields = {"identifier": "a@example.org", "password": PASSWORD, "traits": {"email": "a@example.org"}}
        answer = await victim.send_flow(planted, {**fields, "csrf_token": csrf_of(own)})
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "security_csrf_violation")
        assert victim.session_cookie is None

    async def test_row_038_a_planted_flow_cannot_be_looked_into_by_the_attacker(self, scene: Scene) -> None:
        victim, attacker = await scene.browser(), await scene.browser()
        flow = await victim.open_flow("login")
        await attacker.open_flow("login")
        answer = await attacker.get(f"/self-service/login/flows?id={flow['id']}", headers=JSON)
        assert answer.status_code == 403
        assert "csrf_token" not in answer.text or "value" not in answer.text

    @pytest.mark.parametrize("domain", [None, "shop.test"])
    async def test_row_038_a_planted_csrf_cookie_beside_the_own_one_counts_for_nothing(
        self, opening: Opening, sqlite_dsn: str, domain: str | None
    ) -> None:
        """A neighbouring host can set a cookie for the domain that both share; the browser then sends two. With the
        prefix `__Host-` it cannot; without it, its form is refused for its origin."""
        async with opening(sqlite_dsn, cookies={"domain": domain} if domain else {}) as scene:
            attacker, victim, app = await scene.browser(), await scene.browser(), await scene.native()
            flow = await attacker.open_flow("login")
            await victim.open_flow("login")
            [name] = [name for name in victim.cookies if "csrf_token_" in name]
            pair = (f"{name}={attacker.cookies[name]}", f"{name}={victim.cookies[name]}")
            fields = {"method": "password", "identifier": "a", "password": "b", "csrf_token": csrf_of(flow)}
            page = {"origin": "https://evil.shop.test", "sec-fetch-site": "same-site"} if domain else {}
            for both in (pair, pair[::-1]):
                headers = {"cookie": "; ".join(both), **JSON, **page}
                answer = await app.post(flow["ui"]["action"], json=fields, headers=headers)
                assert answer.status_code == 403

    async def test_row_038_signing_in_gives_new_values_for_every_cookie(self, scene: Scene) -> None:
        browser, email = await scene.browser(), new_address()
        await browser.sign_up(email)
        before = dict(browser.cookies)
        answer = await browser.sign_in(email, query="?refresh=true")
        assert answer.status_code == 200
        assert set(browser.cookies) == set(before)
        assert all(browser.cookies[name] != value for name, value in before.items())

    async def test_row_038_the_storefront_gives_a_new_anti_csrf_value_too(self, scene: Scene) -> None:
        """Regression: `/signin` and `/signout` kept the previous value, which an attacker may have planted."""
        browser, email = await scene.browser(), new_address()
        await sign_up(await scene.native(), email)
        await browser.open_flow("login")
        values = [_csrf_value(browser)]
        for path, body in (("/signin", {"username": email, "password": PASSWORD}), ("/signout", {})):
            answer = await browser.post(path, json=body, headers=OWN_PAGE)
            assert {"csrf_token", "ory_kratos_session", "shopkeeper_visit"} <= set_cookies(answer).keys()
            values.append(_csrf_value(browser))
        assert len(set(values)) == 3

    async def test_row_038_a_refreshed_token_leaves_the_forms_of_other_tabs_good(
        self, opening: Opening, sqlite_dsn: str
    ) -> None:
        async with opening(sqlite_dsn, tokens={"refresh": {"enabled": True}}) as scene:
            browser = await scene.browser()
            await browser.sign_up(new_address())
            answer = await browser.post("/signin", json={"type": "refresh"}, headers=OWN_PAGE)
            assert answer.status_code == 200
            assert "csrf_token" not in set_cookies(answer)

    async def test_row_038_the_token_before_signing_in_anew_is_dead(self, scene: Scene) -> None:
        browser, app, email = await scene.browser(), await scene.native(), new_address()
        await browser.sign_up(email)
        known_to_the_attacker = browser.session_cookie or ""
        await browser.sign_in(email, query="?refresh=true")
        assert await _alive(app, known_to_the_attacker) is False

    async def test_row_038_a_session_cookie_of_the_attackers_making_stays_a_stranger(self, scene: Scene) -> None:
        browser, app, email = await scene.browser(), await scene.native(), new_address()
        await sign_up(app, email)
        planted = f"shk_st_{'A' * 43}"
        browser.cookies.set("ory_kratos_session", planted, domain="shop.test")
        await browser.post("/signin", json={"username": email, "password": PASSWORD}, headers=OWN_PAGE)
        assert await _alive(app, planted) is False

    async def test_row_038_a_planted_guest_learns_nothing_of_the_customer_afterwards(self, scene: Scene) -> None:
        """The victim signs in as the attacker's guest: the attacker keeps a guest's token, and nothing more."""
        app, email = await scene.native(), new_address()
        await sign_up(app, email)
        planted = (await visit(app))["authorization"]
        cart = await fill_cart(app, planted)
        victim = await scene.native(authorization=f"Bearer {planted}")
        customer = await visit(victim, username=email, password=PASSWORD, authHint={"oldCartId": cart})
        assert customer["cart"]["outcome"] != "nothing"
        seen = await ask(app, planted, CART, id=customer["cart"]["id"])
        assert seen["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert (await ask(app, planted, ME))["data"]["getCurrentCustomer"] is None

    async def test_row_038_an_app_flow_is_refused_to_a_browser(self, scene: Scene) -> None:
        """Apps send no CSRF token, so a form on another site must not be able to use their flows."""
        app, browser = await scene.native(), await scene.browser()
        flow = (await app.get("/self-service/login/api")).json()
        await browser.open_flow("login")
        answer = await browser.post(flow["ui"]["action"], json={"method": "password"}, headers=JSON)
        assert (answer.status_code, answer.headers["x-error-code"]) == (400, "flow_invalid")
        assert answer.json()["ui"]["messages"][0]["id"] == 4000001
        assert "set-cookie" not in answer.headers


class TestSharedBrowser:
    async def test_row_039_the_second_user_of_a_browser_gets_nothing_of_the_first(self, scene: Scene) -> None:
        browser, first, second = await scene.browser(), new_address("first"), new_address("second")
        app = await scene.native()
        await sign_up(app, second)
        one = (await browser.sign_up(first)).json()["identity"]["id"]
        taken = browser.session_cookie or ""
        await _sign_out(browser)
        assert await browser.whoami() is None
        assert (await browser.sign_in(second)).status_code == 200
        assert await browser.whoami() not in {None, one}
        assert browser.session_cookie != taken
        assert await _alive(app, taken) is False

    async def test_row_039_a_form_that_one_left_open_is_not_submitted_as_another(self, scene: Scene) -> None:
        """The page of a flow from before a sign-in carries the CSRF token of that time."""
        browser, email = await scene.browser(), new_address()
        stale = await browser.open_flow("login")
        await browser.sign_up(email)
        await _sign_out(browser)
        answer = await browser.send_flow(stale, {"identifier": email, "password": PASSWORD})
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "security_csrf_violation")

    async def test_row_039_a_form_from_before_signing_out_at_the_storefront_is_worth_nothing(
        self, scene: Scene
    ) -> None:
        browser, email = await scene.browser(), new_address()
        await sign_up(await scene.native(), email)
        stale = await browser.open_flow("login")
        await browser.post("/signin", json={"username": email, "password": PASSWORD}, headers=OWN_PAGE)
        await browser.post("/signout", json={}, headers=OWN_PAGE)
        answer = await browser.send_flow(stale, {"identifier": email, "password": PASSWORD})
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "security_csrf_violation")

    async def test_row_039_a_login_over_a_session_must_be_asked_for(self, scene: Scene) -> None:
        browser = await scene.browser()
        flow = await browser.open_flow("login")
        await browser.sign_up(new_address())
        answer = await browser.get("/self-service/login/browser", headers=JSON)
        assert (answer.status_code, answer.json()["error"]["id"]) == (400, "session_already_available")
        assert flow["id"]

    async def test_row_039_who_confirms_a_session_must_be_its_owner(self, scene: Scene) -> None:
        """A refresh requires the password of the signed-in identity; the right password of another one confirms
        nothing."""
        browser, app, other = await scene.browser(), await scene.native(), new_address("other")
        await sign_up(app, other)
        await browser.sign_up(new_address())
        before = browser.session_cookie
        answer = await browser.sign_in(other, query="?refresh=true")
        assert answer.status_code == 400
        assert browser.session_cookie == before

    @pytest.mark.parametrize("missing", ["ory_kratos_session", "csrf_token_"])
    async def test_row_039_a_missing_cookie_gives_nobody_elses_session(self, scene: Scene, missing: str) -> None:
        browser = await scene.browser()
        await browser.sign_up(new_address())
        for name in [name for name in browser.cookies if missing in name]:
            browser.cookies.delete(name)
        answer = await browser.post("/account/sessions/revoke-others", data={"csrf_token": "x"})
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "security_csrf_violation")


class TestCarriers:
    """Whoami parses requests by itself, for speed. Its result must be that of every other route."""

    @pytest.mark.parametrize(
        ("headers", "found"),
        [
            ([("x-session-token", ""), ("authorization", "Bearer GOOD")], 200),
            ([("x-session-token", "shk_st_bad"), ("authorization", "Bearer GOOD")], 401),
            ([("x-session-token", "GOOD"), ("authorization", "Bearer shk_st_bad")], 200),
            ([("x-session-token", ""), ("x-session-token", "GOOD")], 401),
            ([("authorization", "Bearer GOOD"), ("authorization", "Bearer shk_st_bad")], 200),
            ([("authorization", "Basic GOOD"), ("authorization", "Bearer GOOD")], 401),
            ([("cookie", "ory_kratos_session=shk_st_bad"), ("authorization", "Bearer GOOD")], 200),
            ([("cookie", "a=b"), ("cookie", "ory_kratos_session=GOOD")], 200),
        ],
    )
    async def test_row_039_are_read_alike_at_every_door(
        self, scene: Scene, headers: list[tuple[str, str]], found: int
    ) -> None:
        app = await scene.native()
        token = (await sign_up(app, new_address()))["session_token"]
        carried = [(name, value.replace("GOOD", token)) for name, value in headers]
        paths = ("/sessions/whoami", "/sessions")
        assert [(await app.get(path, headers=carried)).status_code for path in paths] == [found, found]


class TestDeadTokens:
    """After each way in which a session can end, every route refuses its token at once."""

    async def test_row_040_the_browser_signs_out_by_link(self, scene: Scene) -> None:
        browser = await scene.browser()
        await browser.sign_up(new_address())
        token = browser.session_cookie or ""
        await _sign_out(browser)
        await _dead_everywhere(scene, token)

    async def test_row_040_an_app_signs_out(self, scene: Scene) -> None:
        app = await scene.native()
        token = (await sign_up(app, new_address()))["session_token"]
        answer = await app.request("DELETE", "/self-service/logout/api", json={"session_token": token})
        assert answer.status_code == 204
        await _dead_everywhere(scene, token)

    async def test_row_040_a_storefront_signs_out(self, scene: Scene) -> None:
        app, email = await scene.native(), new_address()
        await sign_up(app, email)
        token = (await visit(app, username=email, password=PASSWORD))["authorization"]
        assert (await app.post("/signout", json={}, headers={"authorization": f"Bearer {token}"})).status_code == 200
        await _dead_everywhere(scene, token)

    async def test_row_040_another_device_revokes_it(self, scene: Scene) -> None:
        app, email = await scene.native(), new_address()
        one, other = await sign_up(app, email), (await sign_in(app, email)).json()
        session = other["session"]["id"]
        answer = await app.delete(f"/sessions/{session}", headers={"x-session-token": one["session_token"]})
        assert answer.status_code == 204
        await _dead_everywhere(scene, other["session_token"])
        assert await _alive(app, one["session_token"]) is True

    async def test_row_040_another_device_revokes_all_others(self, scene: Scene) -> None:
        app, email = await scene.native(), new_address()
        one, other = await sign_up(app, email), (await sign_in(app, email)).json()
        assert (await app.delete("/sessions", headers={"x-session-token": one["session_token"]})).status_code == 200
        await _dead_everywhere(scene, other["session_token"])

    async def test_row_040_signing_in_ends_all_others_where_the_shop_wants_it(
        self, opening: Opening, sqlite_dsn: str
    ) -> None:
        hook = {"login": {"after": {"password": {"hooks": [{"hook": "revoke_active_sessions"}]}}}}
        async with opening(sqlite_dsn, selfservice={"flows": hook}) as scene:
            app, email = await scene.native(), new_address()
            former = (await sign_up(app, email))["session_token"]
            for _ in range(3):
                newest = (await sign_in(app, email)).json()["session_token"]
                assert await _alive(app, former) is False
                assert await _alive(app, newest) is True
                former = newest
            ended = [row for row in await scene.rows("audit_events") if row["action"] == "session.revoked"]
        assert all(row["client"] for row in ended)
        # Those that had ended before are neither written nor counted again.
        assert [json.loads(row["details"])["count"] for row in ended] == [1, 1, 1]

    async def test_row_040_the_account_page_revokes_all_others(self, scene: Scene) -> None:
        browser, app, email = await scene.browser(), await scene.native(), new_address()
        await browser.sign_up(email)
        other = (await sign_in(app, email)).json()["session_token"]
        form = await browser.form_of("/account")
        answer = await browser.post("/account/sessions/revoke-others", data={"csrf_token": form["csrf_token"]})
        assert answer.status_code == 303
        await _dead_everywhere(scene, other)
        assert await browser.whoami() is not None

    @pytest.mark.parametrize("how", ["revoked", "all deleted", "disabled", "account deleted", "password changed"])
    async def test_row_040_an_admin_ends_it(self, scene: Scene, how: str) -> None:
        app, admin, email = await scene.native(), await scene.admin(), new_address()
        account = await sign_up(app, email)
        identity, session = account["identity"]["id"], account["session"]["id"]
        new = {"schema_id": "default", "state": "active", "traits": {"email": email}}
        calls: dict[str, tuple[str, str, Any]] = {
            "revoked": ("DELETE", f"/admin/sessions/{session}", None),
            "all deleted": ("DELETE", f"/admin/identities/{identity}/sessions", None),
            "disabled": ("PUT", f"/admin/identities/{identity}", {**new, "state": "inactive"}),
            "account deleted": ("DELETE", f"/admin/identities/{identity}", None),
            "password changed": (
                "PUT",
                f"/admin/identities/{identity}",
                {**new, "credentials": {"password": {"config": {"password": "quite another plum shelf"}}}},
            ),
        }
        method, path, body = calls[how]
        answer = await admin.request(method, path, json=body)
        assert answer.status_code in {200, 204}, answer.text
        await _dead_everywhere(scene, account["session_token"])

    async def test_row_040_a_disabled_account_is_refused_at_every_way_in(self, scene: Scene) -> None:
        app, admin, email = await scene.native(), await scene.admin(), new_address()
        identity = (await sign_up(app, email))["identity"]["id"]
        patch = [{"op": "replace", "path": "/state", "value": "inactive"}]
        assert (await admin.patch(f"/admin/identities/{identity}", json=patch)).status_code == 200
        assert (await sign_in(app, email)).status_code == 401
        assert (await app.post("/signin", json={"username": email, "password": PASSWORD})).status_code == 401

    async def test_row_040_a_refreshed_familys_former_tokens_die_with_it(
        self, opening: Opening, sqlite_dsn: str
    ) -> None:
        async with opening(sqlite_dsn, tokens={"refresh": {"enabled": True}}) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            first = (await visit(app, username=email, password=PASSWORD))["authorization"]
            headers = {"authorization": f"Bearer {first}"}
            second = (await app.post("/signin", json={"type": "refresh"}, headers=headers)).json()["authorization"]
            await app.post("/signout", json={}, headers={"authorization": f"Bearer {second}"})
            for token in (first, second):
                await _dead_everywhere(scene, token)
                again = await app.post(
                    "/signin", json={"type": "refresh"}, headers={"authorization": f"Bearer {token}"}
                )
                assert again.status_code == 403

    async def test_row_040_time_ends_it(self, scene: Scene) -> None:
        app = await scene.native()
        account = await sign_up(app, new_address())
        scene.clock.advance(days=1)
        await _dead_everywhere(scene, account["session_token"])


class TestOthersData:
    async def test_row_041_lists_hold_the_callers_own_only(self, scene: Scene) -> None:
        app = await scene.native()
        one, other = await sign_up(app, new_address("one")), await sign_up(app, new_address("other"))
        listed = await app.get("/sessions", headers={"x-session-token": one["session_token"]})
        assert (listed.json(), listed.headers["x-total-count"]) == ([], "0")
        orders = await ask(app, one["session_token"], ORDERS)
        assert orders["data"]["findOrders"]["total"] == 0
        assert other["identity"]["id"] not in listed.text + json.dumps(orders)

    async def test_row_041_another_users_session_is_told_apart_from_none_by_nothing(self, scene: Scene) -> None:
        app = await scene.native()
        one, other = await sign_up(app, new_address("one")), await sign_up(app, new_address("other"))
        headers = {"x-session-token": one["session_token"]}
        theirs = await app.delete(f"/sessions/{other['session']['id']}", headers=headers)
        nobodys = await app.delete(f"/sessions/{uuid4()}", headers=headers)
        assert (theirs.status_code, theirs.content) == (nobodys.status_code, nobodys.content)
        assert await _alive(app, other["session_token"]) is True

    async def test_row_041_another_users_cart_is_told_apart_from_none_by_nothing(self, scene: Scene) -> None:
        app = await scene.native()
        one, other = (await visit(app))["authorization"], (await visit(app))["authorization"]
        cart = await fill_cart(app, other)
        theirs, nobodys = await ask(app, one, CART, id=cart), await ask(app, one, CART, id=str(uuid4()))
        assert theirs["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert theirs == nobodys

    async def test_row_041_the_health_of_the_public_port_tells_no_details(self, scene: Scene) -> None:
        app = await scene.native()
        assert (await app.get("/health/ready")).json() == {"status": "ok"}
        assert (await app.get("/metrics")).status_code == 404
        assert (await app.get("/version")).status_code == 404


class TestCleared:
    """Signing out deletes every cookie that identifies a visitor, also where its session is dead or unknown."""

    async def test_row_042_signed_in(self, scene: Scene) -> None:
        browser = await scene.browser()
        await browser.sign_up(new_address())
        answer = await _sign_out(browser)
        cleared = set_cookies(answer)
        assert "Max-Age=0" in cleared["ory_kratos_session"]
        assert browser.session_cookie is None

    async def test_row_042_from_the_storefront(self, scene: Scene) -> None:
        browser = await scene.browser()
        await browser.sign_up(new_address())
        answer = await browser.post("/signout", json={}, headers=OWN_PAGE)
        assert "Max-Age=0" in set_cookies(answer)["ory_kratos_session"]
        assert "__Host-shopkeeper_visit" in browser.cookies

    @pytest.mark.parametrize("state", ["revoked elsewhere", "run out", "never ours"])
    async def test_row_042_from_the_storefront_with_a_dead_cookie(self, scene: Scene, state: str) -> None:
        browser = await scene.browser()
        await browser.sign_up(new_address())
        await _make_dead(scene, browser, state)
        answer = await browser.post("/signout", json={}, headers=OWN_PAGE)
        assert answer.status_code == 200
        assert browser.session_cookie is None

    @pytest.mark.parametrize("state", ["revoked elsewhere", "run out", "never ours"])
    async def test_row_042_by_link_with_a_dead_cookie(self, scene: Scene, state: str) -> None:
        """Kratos leaves the dead cookie in place; here it is deleted."""
        browser = await scene.browser()
        await browser.sign_up(new_address())
        link = (await browser.get("/self-service/logout/browser", headers=JSON)).json()["logout_url"]
        await _make_dead(scene, browser, state)
        answer = await browser.get(link)
        assert answer.status_code == 303
        assert browser.session_cookie is None

    async def test_row_042_signing_in_takes_the_visit_away(self, scene: Scene) -> None:
        browser, app, email = await scene.browser(), await scene.native(), new_address()
        await sign_up(app, email)
        await browser.post("/signin", json={}, headers=OWN_PAGE)
        assert "__Host-shopkeeper_visit" in browser.cookies
        await browser.sign_in(email)
        assert "__Host-shopkeeper_visit" not in browser.cookies


async def _make_dead(scene: Scene, browser: Browser, state: str) -> None:
    if state == "never ours":
        browser.cookies.set("ory_kratos_session", f"shk_st_{'A' * 43}", domain="shop.test")
    elif state == "run out":
        scene.clock.advance(days=1)
    else:
        admin = await scene.admin()
        session = (await browser.get("/sessions/whoami")).json()["id"]
        assert (await admin.delete(f"/admin/sessions/{session}")).status_code == 204


async def _sign_out(browser: Browser) -> Any:
    link = (await browser.get("/self-service/logout/browser", headers=JSON)).json()["logout_url"]
    answer = await browser.get(link)
    assert answer.status_code == 303
    return answer


async def _alive(app: Any, token: str) -> bool:
    answer = await app.get("/sessions/whoami", headers={"x-session-token": token})
    return bool(answer.status_code == 200)


async def _dead_everywhere(scene: Scene, token: str) -> None:
    """Assert that each route refuses the token with each carrier, and that it gives no more rights than a guest has."""
    app = await scene.native()
    carriers = [
        {"x-session-token": token},
        {"authorization": f"Bearer {token}"},
        {"cookie": f"ory_kratos_session={token}"},
    ]
    for headers in carriers:
        for path in ("/sessions/whoami", "/sessions", "/self-service/logout/browser"):
            assert (await app.get(path, headers={**headers, **JSON})).status_code == 401, (path, headers)
        assert (await app.delete("/sessions", headers=headers)).status_code == 401
        told = (await app.post("/graphql", json={"query": ME}, headers=headers)).json()
        assert told["errors"][0]["extensions"]["code"] in {"UNAUTHENTICATED", "TOKEN_INVALID"}
    page = await app.get("/account", headers={"cookie": f"ory_kratos_session={token}"})
    assert (page.status_code, page.headers["location"].partition("?")[0]) == (303, "/self-service/login/browser")
    signing_in = await app.post("/signin", json={}, headers={"authorization": f"Bearer {token}"})
    assert signing_in.status_code == 401


def _csrf_value(browser: Browser) -> str:
    [value] = [value for name, value in browser.cookies.items() if "csrf_token_" in name]
    return str(value)
