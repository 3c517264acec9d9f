"""What all pages have in common: headers, language, errors; and the pages without a form."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from shopkeeper.http.pages import DemoAssets
from shopkeeper.http.pages.shown_providers import ShownProviders
from shopkeeper.http.pages.templates import PageTemplates
from tests.http.pages.conftest import ADDRESS, Visited, Visiting
from tests.http.pages.reading import read

PATHS = ["/", "/login", "/registration", "/account", "/signed-out", "/error", "/inbox"]


class TestHeaders:
    @pytest.mark.parametrize("path", PATHS)
    async def test_a_page_is_sent_with_strict_security_headers(self, shop: Visited, path: str) -> None:
        answer = await shop.browser().get(path, follow_redirects=True)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "same-origin"

    @pytest.mark.parametrize("path", PATHS)
    async def test_the_policy_lets_nothing_in_from_elsewhere(self, shop: Visited, path: str) -> None:
        answer = await shop.browser().get(path, follow_redirects=True)
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'self'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": f"'self' {ADDRESS} data:",
            "object-src": "'none'",
            "base-uri": "'none'",
            "form-action": f"'self' {ADDRESS}",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
        }

    @pytest.mark.parametrize("path", PATHS)
    async def test_a_page_needs_nothing_that_the_policy_forbids(self, shop: Visited, path: str) -> None:
        page = await shop.browser().see(path)
        assert not [e for e in page.below() if e.has("style") or any(name.startswith("on") for name in e.attributes)]
        assert not page.all("style")
        assert {e.get("type") for e in page.all("script") if not e.has("src")} <= {"application/json"}

    async def test_a_form_may_lead_to_the_addresses_that_browsers_return_to(
        self, visiting: Visiting, sqlite_dsn: str
    ) -> None:
        allowed = ["https://shop.example.org/after/login", "https://*.example.net:8443/"]
        async with visiting(sqlite_dsn, selfservice={"allowed_return_urls": allowed}) as visited:
            policy = (await visited.browser().get("/signed-out")).headers["content-security-policy"]
        assert f"form-action 'self' {ADDRESS} https://shop.example.org https://*.example.net:8443;" in policy


class TestNowhere:
    async def test_an_unknown_path_is_a_page_for_browsers_and_json_for_programs(self, shop: Visited) -> None:
        browser = shop.browser()
        page = await browser.get("/nowhere", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert read(page.text).one("h1").text == "There is nothing here"
        assert "There is no such page here, or what it showed is gone by now." in page.text
        for accept in ("*/*", "application/json"):
            answer = await browser.get("/nowhere", headers={"accept": accept})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404)


class TestShape:
    @pytest.mark.parametrize("path", PATHS)
    async def test_a_page_has_landmarks_a_title_and_a_skip_link(self, shop: Visited, path: str) -> None:
        page = await shop.browser().see(path)
        assert page.one("html")["lang"] == "en"
        assert page.one("a", class_="skip")["href"] == "#main"
        assert page.one("main")["id"] == "main"
        assert page.one("header").all("nav")
        assert page.one("footer")
        assert page.one("title").text
        assert page.one("meta", name="viewport")["content"] == "width=device-width, initial-scale=1"

    @pytest.mark.parametrize("path", PATHS)
    async def test_every_reference_to_an_id_finds_exactly_one(self, shop: Visited, path: str) -> None:
        page = await shop.browser().see(path)
        ids = [element["id"] for element in page.below() if element.has("id")]
        assert len(ids) == len(set(ids))
        for name in ("for", "aria-labelledby", "aria-describedby"):
            assert {id_ for e in page.below() for id_ in (e.get(name) or "").split()} <= set(ids)

    @pytest.mark.parametrize("path", PATHS)
    async def test_every_field_and_button_has_a_name(self, shop: Visited, path: str) -> None:
        page = await shop.browser().see(path)
        labelled = {label["for"] for label in page.all("label") if label.has("for")}
        inside = {id(field) for label in page.all("label") for field in label.below()}
        fields = [e for e in page.below() if e.tag in {"input", "select"} and e.get("type") != "hidden"]
        # The script names the quantity field of a cart line after its product.
        unnamed = [
            e for e in fields if e.get("id") not in labelled and id(e) not in inside and e.get("data-act") != "set"
        ]
        assert unnamed == []
        assert [b for b in page.all("button") if not b.text and not b.has("aria-label")] == []


class TestErrors:
    async def test_a_stored_error_is_shown(self, shop: Visited) -> None:
        browser = shop.browser()
        answer = await browser.get("/self-service/login/browser?return_to=https://evil.example/")
        page = await browser.see(answer.headers["location"])
        assert page.one("h1").text == "That did not work"
        assert "evil.example is not among them" in page.one("main").text
        assert "400 self_service_flow_return_to_forbidden" in page.one("main").text

    @pytest.mark.parametrize(
        "query", ["", "?id=", "?id=nonsense", "?id=01890000-0000-7000-8000-000000000000", "?error=x"]
    )
    async def test_an_unknown_error_has_a_page_too(self, shop: Visited, query: str) -> None:
        page = await shop.browser().see(f"/error{query}")
        assert page.one("h1").text == "There is nothing here"

    async def test_a_refusal_on_a_page_is_a_page(self, shop: Visited) -> None:
        answer = await shop.browser(connector="no-such-store").get("/account")
        assert (answer.status_code, answer.headers["x-error-code"]) == (400, "store_unknown")
        assert "no store called" in read(answer.text).one("main").text

    async def test_row_089_an_error_with_markup_stays_text(self, shop: Visited) -> None:
        answer = await shop.browser(connector="<script>alert(1)</script>").get("/signed-out")
        assert not read(answer.text).all("script")
        assert "&lt;script&gt;" in answer.text


class TestSignedOut:
    async def test_the_page_shows_where_to_continue(self, shop: Visited) -> None:
        page = await shop.browser().see("/signed-out")
        assert page.one("h1").text == "You are signed out"
        assert [a["href"] for a in page.one("main").all("a")] == ["/", "/self-service/login/browser"]

    async def test_the_page_does_not_say_so_in_a_session(self, shop: Visited) -> None:
        browser = shop.browser()
        await browser.register("ana@example.com")
        assert (await browser.see("/signed-out")).one("h1").text == "You are signed in"


class TestFirstPage:
    async def test_without_a_demo_shop_the_page_says_where_to_click(self, visiting: Visiting, sqlite_dsn: str) -> None:
        async with visiting(sqlite_dsn) as visited:
            page = await visited.browser().see("/")
            assert (await visited.browser().get("/shop/mark.svg")).status_code == 404
        assert page.one("h1").text == "Shopkeeper"
        assert {a["href"] for a in page.one("main").all("a")} == {
            "/self-service/registration/browser",
            "/self-service/login/browser",
            "/account",
            "/inbox",
            "/graphql",
        }

    async def test_the_heading_is_the_name_that_mails_are_signed_with(
        self, visiting: Visiting, sqlite_dsn: str
    ) -> None:
        async with visiting(sqlite_dsn, courier={"smtp": {"from_name": "Corner & Sons"}}) as visited:
            page = await visited.browser().see("/")
            assert page.one("h1").text == "Corner & Sons"
            assert [each.text for each in page.all("title")] == ["Corner & Sons"]
            assert visited.application.commerce.courier._always["shop_name"] == "Corner & Sons"

    async def test_outside_dev_nothing_of_development_is_shown(self, visiting: Visiting, sqlite_dsn: str) -> None:
        keys = {"api_keys": ["Zx81mPq0LrT5vWy3KcD7nHb2GfJ9sAe4"]}
        async with visiting(sqlite_dsn, dev=False, admin=keys) as visited:
            page = await visited.browser().see("/")
            assert (await visited.browser().get("/inbox")).status_code == 404
        assert not [a for a in page.all("a") if a["href"] in {"/inbox", "/graphql"}]

    @pytest.mark.parametrize(
        ("dialog", "kind", "link"),
        [("sign-in", "login", "All ways to sign in"), ("sign-up", "registration", "All ways to sign up")],
    )
    async def test_the_shops_dialogs_link_to_the_page_with_every_method(
        self, shop: Visited, dialog: str, kind: str, link: str
    ) -> None:
        browser = shop.browser()
        anchor = (await browser.see("/")).one("dialog", id=dialog).all("a")
        [anchor] = [each for each in anchor if each.text == link]
        target = urlsplit(anchor["href"])
        assert (target.path, target.query) == (f"/self-service/{kind}/browser", "return_to=http%3A//shop.test/")
        if kind == "login":
            page = await browser.see(anchor["href"])
            assert [each.text for each in page.all("button")] == ["Sign in with password", "Send sign-in code"]

    async def test_the_demo_shop_has_a_text_for_browsers_without_scripts(self, shop: Visited) -> None:
        note = (await shop.browser().see("/")).one("noscript")
        assert [a["href"] for a in note.all("a")] == [
            "/self-service/login/browser",
            "/self-service/registration/browser",
            "/account",
        ]


def test_row_089_a_shop_name_with_markup_stays_text_also_inside_json() -> None:
    hostile = "</script><script>alert('1')</script><!--"
    demo = DemoAssets(hostile, hostile, b"<svg/>", {})
    always: dict[str, Any] = {
        "base": "",
        "home": "/",
        "static": "/static/x",
        "shop_name": hostile,
        "demo": demo,
        "dev": False,
        "recovery": True,
        "shown_providers": ShownProviders(),
        "languages": (),
    }
    nobody = {"signed_in": None, "sign_out_link": None, "csrf_token": "", "acting": False}
    page = read(PageTemplates(always=always).render("shop", nobody, language="en"))
    assert [script.get("type") for script in page.all("script")] == ["module", "application/json"]
    assert json.loads(page.one("script", id="words-said").inside[0])["shop"] == hostile  # type: ignore[arg-type]
