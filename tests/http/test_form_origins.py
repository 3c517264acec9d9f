"""Which pages may send a form, and which may call us with our cookies: `Origin`, `Sec-Fetch-Site` and `Referer`."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shopkeeper.http.origins import Origins, Sender, origin_of, sender_of
from tests.attacks.scene import ADDRESS, APP, EVIL, PASSWORD, Browser, Scene, csrf_of, new_address, sign_up
from tests.http.conftest import Opening

JSON = {"accept": "application/json"}
PAGES, SPA, SHOPS = "https://pages.test", "https://spa.test:8443", "https://a.shops.test"
CORS = {"enabled": True, "allowed_origins": [SPA, "https://*.shops.test"]}
SETTINGS: dict[str, Any] = {
    "serve": {"public": {"cors": CORS}},
    "selfservice": {
        "allowed_return_urls": [f"{APP}:443/after", "/own", "https://*.back.test/x", "shop-app://done"],
        "flows": {"login": {"ui_url": f"{PAGES}/login"}, "registration": {"ui_url": f"{PAGES}:8443/up"}},
    },
    "stores": [{"id": "kettle"}, {"id": "quince", "hosts": ["quince.test"]}],
    "default_store": "kettle",
}
OWN_SITE, CROSS = {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "cross-site"}

TRUSTED = {
    "our page": {"origin": ADDRESS, **OWN_SITE},
    "our page over plain http": {"origin": ADDRESS},
    "a flow's page": {"origin": PAGES, "sec-fetch-site": "cross-site"},
    "another flow's page": {"origin": f"{PAGES}:8443", "sec-fetch-site": "cross-site"},
    "a page to return to": {"origin": APP, "sec-fetch-site": "same-site"},
    "a page to return to, by a star": {"origin": "https://x.back.test", **CROSS},
    "a page of CORS": {"origin": SPA, **CROSS},
    "a page of CORS, by a star": {"origin": SHOPS, **CROSS},
    "a page at another name of ours": {"origin": "https://quince.test", "host": "quince.test", **OWN_SITE},
    "a page at another port behind a proxy": {"origin": "https://quince.test:444", "host": "quince.test", **OWN_SITE},
    "a hidden origin of ours": {"origin": "null", **OWN_SITE},
    "a hidden origin of no page": {"origin": "null", "sec-fetch-site": "none"},
    "a lost origin of ours": OWN_SITE,
    "a lost origin of no page": {"sec-fetch-site": "none"},
    "an old browser": {"referer": f"{ADDRESS}/login?flow=1"},
    "an old browser at a flow's page": {"referer": f"{PAGES}/login?flow=1"},
    "a program": {},
}
FOREIGN = {
    "another site": {"origin": EVIL, **CROSS},
    "a neighbouring host": {"origin": "https://evil.shop.test", "sec-fetch-site": "same-site"},
    "another port": {"origin": f"{ADDRESS}:8443", "sec-fetch-site": "same-site"},
    "another scheme": {"origin": ADDRESS.replace("https", "http"), **CROSS},
    "a longer host": {"origin": f"{ADDRESS}.evil.test", **CROSS},
    "an origin that no browser writes": {"origin": f"{ADDRESS}/", **OWN_SITE},
    "a headline that does not fit": {"origin": EVIL, **OWN_SITE},
    "an older browser": {"origin": EVIL},
    "a name of ours over plain http": {"origin": "http://quince.test", "host": "quince.test"},
    "a frame": {"origin": "null", **CROSS},
    "a frame at a neighbour": {"origin": "null", "sec-fetch-site": "same-site"},
    "a frame in an older browser": {"origin": "null"},
    "an app's scheme": {"origin": "shop-app://done", **CROSS},
    "a lost origin": CROSS,
    "a lost origin of a neighbour": {"sec-fetch-site": "same-site"},
    "an unknown site": {"sec-fetch-site": "elsewhere"},
    "an old browser elsewhere": {"referer": f"{EVIL}/?{ADDRESS}"},
    "an old browser with a broken referer": {"referer": "https://[shop.test"},
    "an empty origin": {"origin": "", **OWN_SITE},
    "a star": {"origin": "*", **CROSS},
}

OF_FORMS_ONLY = {
    "a flow's page",
    "another flow's page",
    "a page to return to",
    "a page to return to, by a star",
    "a hidden origin of no page",
    "a lost origin of no page",
    "an old browser at a flow's page",
}


@pytest.fixture
async def scene(opening: Opening, sqlite_dsn: str) -> AsyncIterator[Scene]:
    async with opening(sqlite_dsn, **SETTINGS) as scene:
        yield scene


async def submitted(browser: Browser, kind: str, headers: dict[str, str], **fields: Any) -> Any:
    """Open a flow with this browser's cookies and submit it with its token, from some page."""
    flow = await browser.open_flow(kind)
    body = {"method": "password", "csrf_token": csrf_of(flow), **fields}
    return await browser.post(flow["ui"]["action"], json=body, headers={**JSON, **headers})


class TestForms:
    @pytest.mark.parametrize("headers", TRUSTED.values(), ids=TRUSTED)
    async def test_are_taken_from_our_pages_and_configured_ones(self, scene: Scene, headers: dict[str, str]) -> None:
        browser, email = await scene.browser(), new_address()
        await sign_up(await scene.native(), email)
        answer = await submitted(browser, "login", headers, identifier=email, password=PASSWORD)
        assert (answer.status_code, browser.session_cookie is not None) == (200, True), answer.text

    @pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
    async def test_row_047_are_refused_from_any_other_page_whatever_token_they_have(
        self, scene: Scene, headers: dict[str, str]
    ) -> None:
        """Regression: with an anti-CSRF cookie that a neighbouring host had set, its form signed the browser in as the
        attacker."""
        browser, email = await scene.browser(), new_address()
        await sign_up(await scene.native(), email)
        answer = await submitted(browser, "login", headers, identifier=email, password=PASSWORD)
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "security_csrf_violation")
        assert answer.json()["error"]["details"] == {
            "reject_reason": "the request comes from a page whose origin is not allowed"
        }
        assert browser.session_cookie is None

    async def test_row_047_are_refused_in_every_format(self, scene: Scene) -> None:
        browser, rows = await scene.browser(), len(await scene.rows("identities"))
        for kind in ("login", "registration"):
            flow = await browser.open_flow(kind)
            form = {
                "method": "password",
                "csrf_token": csrf_of(flow),
                "traits.email": new_address(),
                "password": PASSWORD,
            }
            page = await browser.post(flow["ui"]["action"], data=form, headers=FOREIGN["another site"])
            assert (page.status_code, page.headers["x-error-code"]) == (303, "security_csrf_violation")
            assert "/error?id=" in page.headers["location"]
        assert len(await scene.rows("identities")) == rows

    async def test_row_047_are_refused_at_the_account_page(self, scene: Scene) -> None:
        browser, email = await scene.browser(), new_address()
        await sign_up(await scene.native(), email)
        await browser.sign_in(email)
        form = await browser.form_of("/account")
        for path in ("revoke", "revoke-others"):
            url = f"/account/sessions/{path}"
            refused = await browser.post(url, data=form, headers=FOREIGN["a neighbouring host"])
            assert (refused.status_code, refused.headers["x-error-code"]) == (403, "security_csrf_violation")
        assert (await browser.post(url, data=form, headers=TRUSTED["our page"])).status_code == 303

    async def test_of_native_flows_keep_their_own_refusal(self, scene: Scene) -> None:
        """As recorded of Kratos: an app sends no `Origin`, and an `Origin` of any page is a 400 in the form."""
        app = await scene.native()
        for headers in (FOREIGN["another site"], TRUSTED["our page"]):
            flow = (await app.get("/self-service/login/api")).json()
            fields = {"method": "password", "identifier": new_address(), "password": PASSWORD}
            answer = await app.post(flow["ui"]["action"], json=fields, headers=headers)
            assert (answer.status_code, [each["id"] for each in answer.json()["ui"]["messages"]]) == (400, [4000001])


async def test_row_047_calls_with_our_cookies_are_judged_as_forms_are_but_for_two_differences(scene: Scene) -> None:
    """Pages of flows may not call, as CORS lets them read no answer, and nothing is accepted that no page sends.

    Regression: `Referer` was not looked at, nor whether an `Origin` fits to `Sec-Fetch-Site: same-origin`."""
    browser = await scene.browser()
    await browser.sign_up(new_address())
    judged = {**TRUSTED, **FOREIGN}
    answers = {name: await browser.delete("/sessions", headers={**JSON, **judged[name]}) for name in judged}
    refused = {name for name, answer in answers.items() if answer.status_code == 403}
    assert refused == {*FOREIGN, *OF_FORMS_ONLY}
    assert {answers[name].status_code for name in ("our page", "a page of CORS", "a program")} == {200}


@pytest.mark.parametrize(
    ("headers", "sender"),
    [
        ({b"origin": ADDRESS, b"sec-fetch-site": "same-origin"}, Sender.OWN_PAGE),
        ({b"origin": ADDRESS}, Sender.OWN_PAGE),
        ({b"sec-fetch-site": "same-origin"}, Sender.OWN_PAGE),
        ({b"origin": "null", b"sec-fetch-site": "same-origin"}, Sender.OWN_PAGE),
        ({b"origin": ADDRESS, b"sec-fetch-site": "cross-site"}, Sender.TRUSTED_PAGE),
        ({b"origin": ADDRESS, b"sec-fetch-site": "none"}, Sender.TRUSTED_PAGE),
        ({b"origin": SPA, b"sec-fetch-site": "cross-site"}, Sender.TRUSTED_PAGE),
        ({b"referer": f"{ADDRESS}/login"}, Sender.TRUSTED_PAGE),
        ({b"origin": EVIL}, Sender.FOREIGN_PAGE),
        ({b"origin": "null"}, Sender.FOREIGN_PAGE),
        ({b"referer": EVIL}, Sender.FOREIGN_PAGE),
        ({b"sec-fetch-site": "none"}, Sender.USER),
        ({b"origin": "null", b"sec-fetch-site": "none"}, Sender.USER),
        ({}, Sender.PROGRAM),
    ],
)
def test_who_makes_a_request(headers: dict[bytes, str], sender: Sender) -> None:
    assert sender_of(headers.get, own=ADDRESS, trusted=Origins([ADDRESS, SPA])) is sender


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://shop.test", "https://shop.test"),
        ("HTTPS://Shop.Test:443/x?y#z", "https://shop.test"),
        ("http://shop.test:80/", "http://shop.test"),
        ("http://shop.test:8080/", "http://shop.test:8080"),
        ("https://user:word@shop.test/", "https://shop.test"),
        ("https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
        ("https://gemüse.test/", "https://xn--gemse-mva.test"),
        ("shop-app://done", None),
        ("javascript:alert(1)", None),
        ("//shop.test", None),
        ("/account", None),
        ("https://", None),
        ("https://shop.test:x/", None),
        ("https://[shop.test", None),
        ("null", None),
        ("", None),
    ],
)
def test_the_origin_of_an_address_is_written_as_browsers_write_it(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


def test_a_star_in_cors_trusts_no_form() -> None:
    assert sender_of({b"origin": EVIL}.get, own=ADDRESS, trusted=Origins(["*"])) is Sender.FOREIGN_PAGE
