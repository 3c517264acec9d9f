"""Rows 47, 48 and 50: requests from pages of other sites, open redirects, and answers that other sites could read."""

import json
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from shopkeeper.http.origins import Origins
from shopkeeper.settings import findings, load
from tests.attacks.conftest import Opening
from tests.attacks.scene import (
    ADDRESS,
    APP,
    EVIL,
    OTHER_PAGE,
    OWN_PAGE,
    PASSWORD,
    Browser,
    Scene,
    new_address,
    set_cookies,
    sign_up,
)

JSON = {"accept": "application/json"}
# What a page of another site can make a browser send without a preflight request (Fetch, section 2.2.2), and near
# misses.
SIMPLE = [
    "",
    "text/plain",
    "text/plain; charset=utf-8",
    "text/plain; application/json",
    "text/plain, application/json",
    "application/json, text/plain",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; x=application/json",
    "multipart/form-data; boundary=x",
    "application/jsonx",
]
CHANGES = {
    "/signin": b"{}",
    "/signout": b"{}",
    "/graphql": b'{"query": "mutation { createCart(createCartInput: {}) { code } }"}',
}
FOREIGN = {
    "another site": OTHER_PAGE,
    "a neighbouring host": {"sec-fetch-site": "same-site", "origin": "https://evil.shop.test"},
    "a frame without an origin": {"sec-fetch-site": "cross-site", "origin": "null"},
    "an older browser": {"origin": EVIL},
    "another scheme": {"origin": ADDRESS.replace("https", "http")},
    "another port": {"origin": f"{ADDRESS}:8443"},
    "a longer host": {"origin": f"{ADDRESS}.evil.test"},
    "a typed address": {"sec-fetch-site": "none"},
}


class TestSimpleRequests:
    @pytest.mark.parametrize("kind", SIMPLE)
    @pytest.mark.parametrize("path", CHANGES)
    async def test_row_047_json_from_a_form_of_another_site_is_not_read(
        self, scene: Scene, path: str, kind: str
    ) -> None:
        browser = await _signed_in(scene)
        headers = {**({"content-type": kind} if kind else {}), **OWN_PAGE}
        answer = await browser.post(path, content=CHANGES[path], headers=headers)
        assert answer.status_code == 400
        assert "set-cookie" not in answer.headers
        assert await browser.whoami() is not None
        assert await scene.rows("carts") == []

    @pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
    @pytest.mark.parametrize("path", CHANGES)
    async def test_row_047_a_foreign_page_may_not_use_the_cookies(
        self, scene: Scene, path: str, foreign: dict[str, str]
    ) -> None:
        browser = await _signed_in(scene)
        answer = await browser.post(
            path, content=CHANGES[path], headers={"content-type": "application/json", **foreign}
        )
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
        assert await browser.whoami() is not None
        assert await scene.rows("carts") == []

    @pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
    async def test_row_047_a_foreign_page_may_not_end_sessions(self, scene: Scene, foreign: dict[str, str]) -> None:
        browser = await _signed_in(scene)
        session = (await browser.get("/sessions/whoami")).json()["id"]
        assert (await browser.delete("/sessions", headers=foreign)).status_code == 403
        assert (await browser.delete(f"/sessions/{session}", headers=foreign)).status_code == 403

    async def test_row_047_a_foreign_page_cannot_sign_a_browser_in(self, scene: Scene) -> None:
        """Login CSRF: the victim would fill the attacker's account with an address and a card."""
        app, email = await scene.native(), new_address("attacker")
        await sign_up(app, email)
        browser = await scene.browser()
        body = {"username": email, "password": PASSWORD}
        answer = await browser.post("/signin", json=body, headers=OTHER_PAGE)
        assert "set-cookie" not in answer.headers
        flow = (await app.get("/self-service/login/api")).json()
        fields = {"method": "password", "identifier": email, "password": PASSWORD}
        answer = await browser.post(flow["ui"]["action"], data=fields, headers=OTHER_PAGE)
        assert "set-cookie" not in answer.headers
        assert dict(browser.cookies) == {}

    @pytest.mark.parametrize("kind", ["login", "registration"])
    @pytest.mark.parametrize("token", ["", "x", "A" * 88], ids=["none", "short", "made up"])
    async def test_row_047_a_flow_takes_no_form_without_its_token(self, scene: Scene, kind: str, token: str) -> None:
        browser, app, email = await scene.browser(), await scene.native(), new_address()
        await sign_up(app, email)
        flow = await browser.open_flow(kind)
        fields = {"identifier": email, "password": PASSWORD, "traits": {"email": new_address()}, "csrf_token": token}
        answer = await browser.send_flow(flow, fields)
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "security_csrf_violation")
        assert browser.session_cookie is None

    @pytest.mark.parametrize("path", ["/account/sessions/revoke", "/account/sessions/revoke-others"])
    @pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json"])
    async def test_row_047_the_account_pages_forms_need_their_token(self, scene: Scene, path: str, kind: str) -> None:
        browser = await _signed_in(scene)
        body = b'{"csrf_token": "x"}' if kind == "application/json" else b"csrf_token=x&session=x"
        answer = await browser.post(path, content=body, headers={"content-type": kind, **OTHER_PAGE})
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "security_csrf_violation")

    @pytest.mark.parametrize("token", ["", "x", f"shk_lo_{'A' * 43}"], ids=["none", "short", "made up"])
    async def test_row_047_a_logout_link_works_for_its_session_only(self, scene: Scene, token: str) -> None:
        browser, other = await _signed_in(scene), await _signed_in(scene)
        theirs = (await other.get("/self-service/logout/browser", headers=JSON)).json()["logout_token"]
        for tried in (token, theirs):
            answer = await browser.get(f"/self-service/logout?token={tried}", headers=JSON)
            assert answer.status_code == 403
        assert await browser.whoami() is not None

    async def test_row_047_nothing_changes_by_a_get(self, scene: Scene) -> None:
        """A GET without a token leaves sessions, carts and accounts unchanged."""
        browser = await _signed_in(scene)
        kept = {table: await scene.rows(table) for table in ("sessions", "carts", "identities", "orders")}
        routes = (
            "/self-service/login/browser /self-service/registration/browser /self-service/logout/browser /sessions"
            " /sessions/whoami /account /login /registration /signed-out /error / /signin /signout /graphql /schemas"
        )
        for path in routes.split():
            await browser.get(path, headers=OTHER_PAGE)
        assert {table: await scene.rows(table) for table in kept} == kept


class TestOtherOrigins:
    """CORS: which origins may read our answers and act with our cookies."""

    PROBES = (
        EVIL,
        "null",
        f"{APP}.evil.test",
        f"{APP}:8443",
        APP.replace("https", "http"),
        APP.upper(),
        f"{APP}/",
        "https://evilshops.test",
        "https://shops.test.evil.test",
        "https://shops.test",
        "https://a%2eshops.test",
        "https://a@b.shops.test",
        "https://evil.test/.shops.test",
        "https://evil.test?.shops.test",
        "https://",
        "*",
    )

    @pytest.mark.parametrize("origin", PROBES)
    @pytest.mark.parametrize("path", ["/sessions/whoami", "/sessions", "/graphql", "/self-service/login/browser"])
    async def test_row_047_an_origin_that_is_not_named_reads_nothing(
        self, opening: Opening, sqlite_dsn: str, path: str, origin: str
    ) -> None:
        cors = {"enabled": True, "allowed_origins": [APP, "https://*.shops.test"]}
        async with opening(sqlite_dsn, serve={"public": {"cors": cors}}) as scene:
            app = await scene.native()
            answer = await app.get(path, headers={"origin": origin, **JSON})
            asked = {"origin": origin, "access-control-request-method": "POST"}
            preflight = await app.options(path, headers=asked)
        assert "access-control-allow-origin" not in answer.headers
        assert "origin" in answer.headers["vary"].lower()
        assert (preflight.status_code, preflight.headers.get("access-control-allow-origin")) == (400, None)

    @pytest.mark.parametrize("origin", [APP, "https://a.shops.test", "https://a-b.c.shops.test"])
    @pytest.mark.parametrize("path", ["/sessions/whoami", "/graphql"])
    async def test_row_047_an_origin_that_is_named_is_let_in_by_its_own_name(
        self, opening: Opening, sqlite_dsn: str, path: str, origin: str
    ) -> None:
        cors = {"enabled": True, "allowed_origins": [APP, "https://*.shops.test"]}
        async with opening(sqlite_dsn, serve={"public": {"cors": cors}}) as scene:
            browser = await _signed_in(scene)
            answer = await browser.get("/sessions/whoami", headers={"origin": origin})
            asked = {"origin": origin, "access-control-request-method": "POST"}
            preflight = await browser.options(path, headers=asked)
            written = await browser.post(
                "/graphql",
                json={"query": "{ getCart { id } }"},
                headers={"origin": origin, "sec-fetch-site": "cross-site"},
            )
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, origin)
        assert written.json() == {"data": {"getCart": None}}

    @pytest.mark.parametrize(
        "origin", ["*", "https://*", "https://*.org", "https://*shops.test", "https://*.*.test", "http://*:*"]
    )
    def test_row_047_a_star_that_lets_strangers_in_stops_the_start(self, tmp_path: Any, origin: str) -> None:
        file = tmp_path / "shop.json"
        file.write_text(json.dumps({"serve": {"public": {"cors": {"enabled": True, "allowed_origins": [origin]}}}}))
        found = findings(load([file], {}, dev=False, demo=False))
        named = [finding for finding in found if finding.path.startswith("serve.public.cors.allowed_origins")]
        assert [finding.level for finding in named] == ["error"]

    def test_row_047_a_star_vouches_for_no_page_that_acts(self) -> None:
        """Where no cookies travel, every origin may read. A request with a cookie is never trusted because of `*`."""
        assert EVIL not in Origins(["*"])
        assert "*" not in Origins(["*"])


# `return_to`, in every form that has caused an open redirect in some product.
HOSTS = (
    "//evil.test",
    "///evil.test",
    "////evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "\\/evil.test",
    "/\t/evil.test",
    "\t//evil.test",
    "/\n/evil.test",
    "/\r/evil.test",
    " //evil.test",
    "//\\evil.test",
    "https:evil.test\\@shop.test",
    "http:evil.test",
    "http:/evil.test",
    "http:///evil.test",
    "https:///evil.test",
    "https:\\\\evil.test",
    "https:/\\evil.test",
    "https://evil.test",
    "https://evil.test/",
    "https://evil.test:443/",
    "https://evil.test?shop.test",
    "https://evil.test#shop.test",
    "https://evil.test\\.shop.test",
    "https://evil.test%00.shop.test",
    "https://evil.test%2f.shop.test",
    "https://evil.test%23.app.test",
    "https://evil.test/https://shop.test",
    "https://shop.test.evil.test",
    "https://shop.test@evil.test",
    "https://shop.test:443@evil.test",
    "https://shop.test%40evil.test",
    "https://shop.test%2eevil.test",
    "https://shop.test\\@evil.test",
    "https://shop.test\t.evil.test",
    "https://shop.test\x00.evil.test",
    "https://shop.test:80",
    "https://shop.test:8443/",
    "https://shop.test:0/",
    "https://shop.test:99999/",
    "https://shop.test:x/",
    "https://shop.tests/",
    "https://shop.tes",
    "https://evilshop.test",
    "https://sub.shop.test",
    "https://shop%2etest@evil.test",
    "https://user@shop.test/",
    "https://user:word@shop.test/",
    "https://@shop.test/",
    "https://[::1]/",
    "https://[shop.test]/",
    "https://[shop.test/",
    "https://0x7f000001/",
    "https://2130706433/",
    "https://127.1/",
    "https://。evil.test",
    "https://shop。test/",
    "https://ｓhop.test.evil.test/",
    "https://shop.test／.evil.test",
    "https://shop.test℀.evil.test",
    "http://shop.test/",
    "HTTP://shop.test/",
    "ftp://shop.test/",
    "ws://shop.test/",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "javascript://shop.test/%0aalert(1)",
    "javascript://shop.test/\nalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "blob:https://shop.test/x",
    "file:///etc/passwd",
    "about:blank",
    "mailto:x@evil.test",
    "view-source:https://shop.test/",
    "://evil.test",
    ":evil.test",
    "https:",
    "https://",
    "https:/",
    "//",
    "//:80",
    "///",
    "https://app.test.evil.test",
    "https://app.test:444/",
    "http://app.test/",
    "https://a.app.test/",
    "https://appatest/",
)
WRAPPERS = ("{}", "{}/x", "{}/..", "{}?next=https://shop.test/", "{}#https://shop.test/")
ALL = tuple(dict.fromkeys(wrapper.format(host) for wrapper in WRAPPERS for host in HOSTS))
FOLLOWED = ("{}/x/../..", "{}/%2e%2e/", "{}/..%2f..", "{}/%2E%2E%2F", "{}/.%2e/")


class TestReturnTo:
    """Where a browser is sent after a flow."""

    def test_row_048_there_are_many_of_them(self) -> None:
        assert len(ALL) >= 400

    async def test_row_048_none_leads_away_from_where_it_may(self, scene: Scene) -> None:
        """Each is refused, or becomes an address of ours. The address in the answer is where a browser is sent
        later."""
        app = await scene.native()
        for wanted in ALL:
            answer = await app.get(f"/self-service/login/api?return_to={quote(wanted, safe='')}")
            if answer.status_code == 200:
                _require_ours(wanted, answer.json()["return_to"])
            else:
                assert answer.json()["error"]["id"] == "self_service_flow_return_to_forbidden", wanted

    @pytest.mark.parametrize("path", ["login/browser", "registration/browser", "registration/api", "logout/browser"])
    async def test_row_048_every_door_asks_the_same_list(self, scene: Scene, path: str) -> None:
        app = await scene.native(accept="application/json")
        for wanted in HOSTS:
            answer = await app.get(f"/self-service/{path}?return_to={quote(wanted, safe='')}")
            if answer.status_code == 200:
                _require_ours(wanted, answer.json()["return_to"])
            else:
                # An address that is ours after all passes the list; the next check finds no session to sign out.
                allowed = {"self_service_flow_return_to_forbidden", "session_inactive"}
                assert answer.json()["error"]["id"] in allowed, wanted

    async def test_row_048_signing_out_asks_the_same_list(self, scene: Scene) -> None:
        browser = await _signed_in(scene)
        link = (await browser.get("/self-service/logout/browser", headers=JSON)).json()["logout_url"]
        answer = await browser.get(f"{link}&return_to={quote(EVIL)}")
        assert answer.headers["location"].startswith(f"{ADDRESS}/error?id=")
        assert await browser.whoami() is not None

    @pytest.mark.parametrize("path", FOLLOWED)
    async def test_row_048_a_path_below_an_allowed_one_stays_below(
        self, opening: Opening, sqlite_dsn: str, path: str
    ) -> None:
        allowed = f"{APP}/shop"
        async with opening(sqlite_dsn, selfservice={"allowed_return_urls": [allowed]}) as scene:
            app = await scene.native()
            wanted = quote(path.format(allowed), safe="")
            answer = await app.get(f"/self-service/login/api?return_to={wanted}")
        assert answer.status_code == 400

    @pytest.mark.parametrize(
        "host", ["evil.test%23.app.test", "evil.test%2f.app.test", "evil.test\\.app.test", "a:b.app.test"]
    )
    async def test_row_048_a_host_below_a_starred_one_is_plain(
        self, opening: Opening, sqlite_dsn: str, host: str
    ) -> None:
        async with opening(sqlite_dsn, selfservice={"allowed_return_urls": ["https://*.app.test"]}) as scene:
            app = await scene.native()
            fine = await app.get(f"/self-service/login/api?return_to={quote('https://a.app.test/', safe='')}")
            answer = await app.get(f"/self-service/login/api?return_to={quote(f'https://{host}/', safe='')}")
        assert (fine.status_code, answer.status_code) == (200, 400)

    async def test_row_048_the_last_step_uses_what_was_checked(self, scene: Scene) -> None:
        """`return_to` beside the submit, or in the form, does not change where the flow leads."""
        browser, app, email = await scene.browser(), await scene.native(), new_address()
        await sign_up(app, email)
        flow = await browser.open_flow("login", f"?return_to={quote(APP + '/x', safe='')}")
        form = {"identifier": email, "password": PASSWORD, "return_to": EVIL}
        answer = await browser.send_flow(
            {**flow, "ui": {**flow["ui"], "action": f"{flow['ui']['action']}&return_to={EVIL}"}}, form
        )
        assert [step["redirect_browser_to"] for step in answer.json()["continue_with"]] == [f"{APP}/x"]


class TestReadableTokens:
    async def test_row_050_no_answer_to_a_get_holds_a_token(self, scene: Scene) -> None:
        """A script element, an image or a style of another site can fetch each of these with the browser's cookies."""
        browser = await _signed_in(scene)
        secret = browser.session_cookie or "-"
        [csrf] = [value for name, value in browser.cookies.items() if "csrf_token_" in name]
        routes = "/sessions/whoami /sessions /account / /self-service/logout/browser /schemas /login /signed-out"
        for path in routes.split():
            answer = await browser.get(path, headers={"accept": "*/*"})
            assert secret not in answer.text, path
            assert csrf not in answer.text, path
            assert "shk_st_" not in answer.text, path

    async def test_row_050_signing_in_and_out_are_posts(self, scene: Scene) -> None:
        browser = await _signed_in(scene)
        for path in ("/signin", "/signout"):
            answer = await browser.get(path)
            assert (answer.status_code, answer.headers["x-error-code"]) == (405, "method_not_allowed")

    async def test_row_050_json_is_never_sniffed_as_a_script(self, scene: Scene) -> None:
        app = await scene.native(accept="application/json")
        for path in ("/self-service/login/browser", "/sessions/whoami", "/schemas", "/graphql", "/nowhere"):
            answer = await app.get(path)
            assert answer.headers["content-type"].startswith("application/json"), path
            assert answer.headers["x-content-type-options"] == "nosniff", path

    async def test_row_050_the_csrf_token_looks_different_each_time(self, scene: Scene) -> None:
        """Compressed pages reveal repeated secrets by their length (BREACH)."""
        browser = await scene.browser()
        flow = await browser.open_flow("login")
        again = (await browser.get(f"/self-service/login/flows?id={flow['id']}", headers=JSON)).json()
        assert [n["attributes"]["value"] for n in flow["ui"]["nodes"] if n["attributes"]["name"] == "csrf_token"] != [
            n["attributes"]["value"] for n in again["ui"]["nodes"] if n["attributes"]["name"] == "csrf_token"
        ]

    async def test_row_050_only_own_pages_are_given_cookies_by_the_storefront(self, scene: Scene) -> None:
        app, email = await scene.native(), new_address()
        await sign_up(app, email)
        body = {"username": email, "password": PASSWORD}
        foreign = await app.post("/signin", json=body)
        assert set_cookies(foreign) == {}
        own = await (await scene.browser()).post("/signin", json=body, headers=OWN_PAGE)
        assert "HttpOnly" in set_cookies(own)["ory_kratos_session"]


async def _signed_in(scene: Scene) -> Browser:
    browser = await scene.browser()
    await browser.sign_up(new_address())
    return browser


def _require_ours(wanted: str, given: str) -> None:
    parts = urlsplit(given)
    assert f"{parts.scheme}://{parts.netloc}" in {ADDRESS, APP}, (wanted, given)
    assert not set(given) & set("\\\t\r\n\x00 "), (wanted, given)
    assert not parts.path.startswith("//"), (wanted, given)
