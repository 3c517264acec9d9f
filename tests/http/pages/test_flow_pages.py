"""The pages of login and registration: every visitor gets a form of a flow of their own, and can complete it."""

import asyncio
import math
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shopkeeper.ui.messages import message
from tests.http.pages.broken_engine import BREAKING, Breaking, broken, reported
from tests.http.pages.conftest import ADDRESS, CSRF_COOKIE, Browser, Visited, Visiting
from tests.http.pages.reading import Element, read

KINDS = pytest.mark.parametrize("kind", ["login", "registration"])
BELOW_A_PATH = {"public": {"base_url": "https://example.org/shop/"}}
ADD = 'mutation { addToCart(addToCartInput: {itemId: "QK-SALT-125"}) { success } }'
SENDING = [
    ("login", "unified", "identifier", "Send sign-in code"),
    ("login", "identifier_first", "identifier", "Send sign-in code"),
    ("registration", "unified", "traits.email", "Send sign-up code"),
    ("registration", "profile_first", "traits.email", "Send sign-up code"),
]
NOBODYS = "01890000-0000-7000-8000-000000000000"


class TestComing:
    @KINDS
    async def test_a_page_without_a_flow_opens_one(self, shop: Visited, kind: str) -> None:
        answer = await shop.browser().get(f"/{kind}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/self-service/{kind}/browser")

    @KINDS
    @pytest.mark.parametrize("flow", [NOBODYS, "nonsense", "%00", "🫖" * 50])
    async def test_a_page_with_an_unknown_flow_opens_another(self, shop: Visited, kind: str, flow: str) -> None:
        page = await shop.browser().see(f"/{kind}?flow={flow}")
        assert page.one("form")["action"].startswith(f"/self-service/{kind}?flow=")

    async def test_a_new_flow_keeps_the_parameters_of_the_page(self, shop: Visited) -> None:
        answer = await shop.browser().get("/login?refresh=true&return_to=http%3A%2F%2Fshop.test%2Fx&evil=1")
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        assert query == {"return_to": [f"{ADDRESS}/x"], "refresh": ["true"]}

    @KINDS
    async def test_an_expired_flow_is_replaced(self, shop: Visited, kind: str) -> None:
        browser = shop.browser()
        old = (await browser.see(f"/self-service/{kind}/browser?return_to={ADDRESS}/x")).one("form")["action"]
        shop.clock.advance(hours=2)
        answer = await browser.get(f"/{kind}?{urlsplit(old).query}", follow_redirects=True)
        fresh = read(answer.text).one("form")["action"]
        assert fresh != old
        assert f"return_to={ADDRESS}/x" in str(answer.history[1].request.url).replace("%3A", ":").replace("%2F", "/")

    @KINDS
    async def test_another_browsers_flow_is_replaced(self, shop: Visited, kind: str) -> None:
        theirs = (await shop.browser().see(f"/self-service/{kind}/browser")).one("form")["action"]
        mine = shop.browser()
        await mine.see(f"/self-service/{kind}/browser")
        assert (await mine.see(f"/{kind}?{urlsplit(theirs).query}")).one("form")["action"] != theirs

    async def test_another_browsers_flow_is_replaced_also_on_the_first_visit(self, shop: Visited) -> None:
        theirs = (await shop.browser().see("/self-service/login/browser")).one("form")["action"]
        page = await shop.browser().see(f"/login?{urlsplit(theirs).query}")
        assert page.one("form")["action"] != theirs

    async def test_a_browser_without_cookies_gets_an_error_and_no_endless_redirects(self, shop: Visited) -> None:
        browser = shop.browser()
        answer = await browser.get("/self-service/login/browser")
        for _ in range(4):
            browser.cookies.clear()
            if answer.status_code == 200:
                break
            answer = await browser.get(answer.headers["location"])
        assert read(answer.text).one("h1").text == "Your browser keeps no cookies"

    async def test_a_native_apps_flow_is_not_shown_in_a_browser(self, shop: Visited) -> None:
        native = (await shop.browser(Accept="application/json").get("/self-service/login/api")).json()
        page = await shop.browser().see(f"/login?flow={native['id']}")
        assert native["id"] not in page.one("form")["action"]

    async def test_a_signed_in_browser_is_redirected(self, shop: Visited) -> None:
        await shop.browser().register("ana@example.com")
        browser = shop.browser()
        page = await browser.see(f"/self-service/login/browser?return_to={ADDRESS}/signed-out")
        flow = urlsplit(page.one("form")["action"]).query
        await browser.sign_in_by_script("ana@example.com")
        answer = await browser.get(f"/login?{flow}")
        assert answer.status_code == 303
        answer = await browser.get(answer.headers["location"])
        assert (answer.status_code, answer.headers["location"]) == (303, f"{ADDRESS}/signed-out")


class TestTheWayThrough:
    async def test_an_account_registers_in_two_steps_and_signs_in(self, either_shop: Visited) -> None:
        registered = await either_shop.browser().register("ana@example.com")
        assert registered.one("h1").text == "Your account"
        signed_in = await either_shop.browser().sign_in("ana@example.com", query=f"?return_to={ADDRESS}/signed-out")
        assert signed_in.one("h1").text == "You are signed in"

    async def test_an_account_registers_and_signs_in_with_mailed_codes(self, shop: Visited) -> None:
        browser = shop.browser()
        profile = await browser.see("/self-service/registration/browser")
        choice = await browser.submit(profile.one("form"), {"traits.email": "ana@example.com"}, button="Sign up")
        asked = await browser.submit(choice.all("form")[0], {}, button="Send sign-up code")
        page = await browser.submit(asked.all("form")[0], {"code": await _mailed_code(browser)})
        assert page.one("h1").text == "Your account"
        browser = shop.browser()
        login = await browser.see("/self-service/login/browser")
        asked = await browser.submit(login.one("form"), {"identifier": "ana@example.com"}, button="Send sign-in code")
        wrong = await browser.submit(asked.all("form")[0], {"code": "wrong"})
        assert wrong.one("p", role="alert").text == message(4010008).text
        again = await browser.submit(wrong.all("form")[1], {})
        page = await browser.submit(again.all("form")[0], {"code": await _mailed_code(browser)})
        assert page.one("h1").text == "Your account"

    @pytest.mark.parametrize(("kind", "style", "field", "button"), SENDING)
    async def test_after_a_code_was_sent_the_address_is_shown_and_can_be_changed(
        self, visiting: Visiting, sqlite_dsn: str, kind: str, style: str, field: str, button: str
    ) -> None:
        async with visiting(sqlite_dsn, with_demo=True, **_styled(kind, style)) as visited:
            browser = visited.browser()
            page = await browser.see(f"/self-service/{kind}/browser?return_to={ADDRESS}/signed-out")
            assert not _another_way(page)
            if not [each for each in page.all("button") if each.text == button]:
                page = await browser.submit(page.one("form"), {field: "ana@exmaple.com"})
                assert [each.text for each in page.one("main").all("strong")] == ["ana@exmaple.com"]
                assert len(_another_way(page)) == (kind == "login")
            sent = await browser.submit(page.all("form")[0], {field: "ana@exmaple.com"}, button=button)
            assert [each.text for each in sent.one("main").all("strong")] == ["ana@exmaple.com"]
            wrong = await browser.submit(sent.all("form")[0], {"code": "wrong"})
            assert [each.text for each in wrong.one("main").all("strong")] == ["ana@exmaple.com"]
            afresh = await browser.see(_another_way(wrong)[0])
        assert afresh.one("input", name=field)["type"] != "hidden"
        assert _kept_beside(afresh) == [{"return_to": [f"{ADDRESS}/signed-out"]}]

    async def test_to_confirm_a_session_another_way_keeps_that_purpose(self, shop: Visited) -> None:
        browser = shop.browser()
        await browser.register("ana@example.com")
        form = await browser.see("/self-service/login/browser?refresh=true")
        asked = await browser.submit(form.all("form")[1], {}, button="Send code to ana@example.com")
        assert [each.text for each in asked.one("main").all("strong")] == ["ana@example.com"]
        assert (await browser.see(_another_way(asked)[0])).one("h1").text == "Confirm that it is you"

    async def test_confirming_a_session_says_so_once_and_whose_it_is(self, shop: Visited) -> None:
        browser = shop.browser()
        await browser.register("ana@example.com")
        page = (await browser.see("/self-service/login/browser?refresh=true")).one("main")
        assert (page.one("h1").text, page.all("p", role="alert")) == ("Confirm that it is you", [])
        assert page.one("strong").text == "ana@example.com"
        assert message(1010003).text not in page.text

    async def test_who_confirms_a_session_and_forgot_the_password_signs_out_for_a_new_one(self, shop: Visited) -> None:
        browser = shop.browser()
        await browser.register("ana@example.com")
        page = (await browser.see("/self-service/login/browser?refresh=true")).one("main")
        link = next(each for each in page.all("a") if each.text == "Sign out and choose a new one")
        assert (await browser.see(link["href"])).one("h1").text == "Get back into your account"

    async def test_an_account_without_a_password_is_not_asked_for_one(self, shop: Visited) -> None:
        """Regression: a password from before the address was confirmed ends at a sign-in by code; the form asked
        for it all the same, and refused it."""
        await shop.browser().register("ana@example.com")
        browser = shop.browser()
        login = await browser.see("/self-service/login/browser")
        asked = await browser.submit(login.one("form"), {"identifier": "ana@example.com"}, button="Send sign-in code")
        account = await browser.submit(asked.all("form")[0], {"code": await _mailed_code(browser)})
        own = account.one("section", aria_labelledby="password-heading")
        assert (own.one("h2").text, own.all("p")[0].text.partition(":")[0]) == (
            "Choose a password",
            "Your account has no password at present",
        )
        page = await browser.see("/self-service/login/browser?refresh=true")
        assert [each.text for each in page.one("main").all("button")] == ["Send code to ana@example.com"]
        assert page.one("main").all("input", name="password") == []

    async def test_a_mailed_link_is_sent_again_by_a_button_that_says_so(
        self, visiting: Visiting, sqlite_dsn: str
    ) -> None:
        by_link = {"flows": {"verification": {"use": "link"}}, "methods": {"link": {"enabled": True}}}
        async with visiting(sqlite_dsn, with_demo=True, selfservice=by_link) as visited:
            browser = visited.browser()
            page = await browser.see("/self-service/verification/browser")
            assert page.one("main").one("button").text == "Continue"
            sent = await browser.submit(page.one("main").one("form"), {"email": "ana@example.com"})
        assert sent.one("main").one("button").text == "Send another link"
        assert _another_way(sent) == []

    async def test_a_session_is_confirmed_with_a_mailed_code(self, shop: Visited) -> None:
        browser = shop.browser()
        await browser.register("ana@example.com")
        form = await browser.see("/self-service/login/browser?refresh=true")
        asked = await browser.submit(form.all("form")[1], {}, button="Send code to ana@example.com")
        page = await browser.submit(asked.all("form")[0], {"code": await _mailed_code(browser)})
        assert page.one("h1").text == "Your account"

    async def test_a_wrong_password_is_reported_above_the_form_which_keeps_what_was_typed(self, shop: Visited) -> None:
        browser = shop.browser()
        form = (await browser.see("/self-service/login/browser")).one("form")
        page = await browser.submit(form, {"identifier": "ana@example.com", "password": "not hers"})
        assert (
            page.one("p", role="alert").text == "The account or the password is not right. Please check both for slips."
        )
        assert page.one("title").text.startswith("Mistake: Sign in")
        assert page.one("div", class_="notices").has("autofocus")
        assert page.one("input", name="identifier")["value"] == "ana@example.com"
        assert not page.one("input", name="password").has("value")

    async def test_a_mistake_in_a_field_stands_at_the_field(self, shop: Visited) -> None:
        browser = shop.browser()
        form = (await browser.see("/self-service/registration/browser")).one("form")
        page = await browser.submit(form, {"traits.email": "nonsense"}, button="Sign up")
        field = page.one("input", name="traits.email")
        assert field["aria-invalid"] == "true"
        assert field.has("autofocus")
        assert page.one("p", id=field["aria-describedby"]).text == "This is not an e-mail address: nonsense"

    async def test_back_leads_from_the_password_to_the_profile(self, shop: Visited) -> None:
        browser = shop.browser()
        form = (await browser.see("/self-service/registration/browser")).one("form")
        second = await browser.submit(form, {"traits.email": "ana@example.com"}, button="Sign up")
        first = await browser.submit(second.all("form")[1], {})
        assert first.one("input", name="traits.email", type="email")["value"] == "ana@example.com"
        assert not first.all("input", name="password")

    async def test_the_return_address_is_kept_from_login_to_registration(self, shop: Visited) -> None:
        page = await shop.browser().see(f"/self-service/login/browser?return_to={ADDRESS}/signed-out")
        assert _kept_beside(page) == [{"return_to": [f"{ADDRESS}/signed-out"]}]

    async def test_a_form_without_its_token_is_refused_on_a_page(self, shop: Visited) -> None:
        browser = shop.browser()
        form = (await browser.see("/self-service/login/browser")).one("form")
        page = await browser.submit(form, {"identifier": "a", "password": "b", "csrf_token": "forged"})
        assert page.one("h1").text == "That could not be let through"
        assert "403 security_csrf_violation" in page.one("main").text

    @pytest.mark.parametrize(
        ("language", "told"),
        [
            ("en", "That was a little too often. Try again in {wait}."),
            ("de", "Das war etwas zu oft. Versuchen Sie es in {wait} noch einmal."),
            ("es", "Han sido demasiadas solicitudes en poco tiempo. Vuelve a probar dentro de {wait}."),
        ],
    )
    async def test_codes_asked_for_too_often_are_refused_in_the_visitors_language(
        self, visiting: Visiting, sqlite_dsn: str, language: str, told: str
    ) -> None:
        limits = {"code": {"per_pair": "2/hour"}}
        async with visiting(sqlite_dsn, with_demo=True, throttle=limits) as visited:
            browser = visited.browser(Accept_Language=language)
            page = await browser.see("/self-service/login/browser")
            flow = urlsplit(page.one("form")["action"]).query.removeprefix("flow=")
            pressed = {"identifier": "ana@example.com", "method": "code"}
            for _ in range(3):
                page = await browser.submit(page.all("form")[0], {**pressed, "resend": "code"}, button="none")
            as_program = {"accept": "application/json", "accept-language": "en"}
            answer = await browser.get(f"/self-service/login/flows?id={flow}", headers=as_program)
        (stored,) = answer.json()["ui"]["messages"]
        seconds = re.fullmatch(r"Too many attempts\. Try again in (\d+) seconds\.", stored["text"])
        assert seconds is not None
        assert stored["context"] == {"reason": stored["text"]}
        assert page.one("p", role="alert").text == told.format(wait=f"{math.ceil(int(seconds[1]) / 60)} min")

    @pytest.mark.parametrize(
        ("language", "heading", "told", "onward"),
        [
            (
                "en",
                "This account is switched off",
                "Only the shop can switch it on again. Please ask its customer service.",
                "To the shop",
            ),
            (
                "de",
                "Dieses Konto ist abgeschaltet",
                "Dieses Konto kann nur der Shop wieder freischalten. Bitte fragen Sie dort beim Kundendienst nach.",
                "Zum Shop",
            ),
        ],
    )
    async def test_a_disabled_account_is_named_and_not_sent_round_in_circles(
        self, shop: Visited, language: str, heading: str, told: str, onward: str
    ) -> None:
        await shop.browser().register("ana@example.com")
        await _disable(shop, "ana@example.com")
        page = await shop.browser(Accept_Language=language).sign_in("ana@example.com")
        main = page.one("main")
        assert main.one("h1").text == heading
        assert main.all("p")[0].text == told
        assert [(a.text, a["class"], a["href"]) for a in main.all("a")] == [(onward, "button", "/")]

    async def test_the_anti_csrf_token_looks_different_every_time(self, shop: Visited) -> None:
        browser = shop.browser()
        first = await browser.see("/self-service/login/browser")
        again = await browser.see(f"/login?{urlsplit(first.one('form')['action']).query}")
        tokens = {page.one("input", name="csrf_token")["value"] for page in (first, again)}
        assert len(tokens) == 2
        assert not any(cookie.value in tokens for cookie in browser.cookies.jar if cookie.name.startswith(CSRF_COOKIE))

    async def test_a_guest_reads_that_the_cart_stays(self, shop: Visited) -> None:
        browser = shop.browser()
        await browser.sign_in_by_script()
        await browser.ask(ADD)
        for kind in ("login", "registration"):
            page = await browser.see(f"/self-service/{kind}/browser")
            assert page.one("p", class_="hint").text == "What you have put in your cart stays in it."

    @KINDS
    @BREAKING
    async def test_a_guest_gets_the_form_also_where_the_engine_gives_no_cart(
        self, shop: Visited, monkeypatch: pytest.MonkeyPatch, kind: str, breaking: Breaking, level: str
    ) -> None:
        """Regression: a fault of a connector was a 500, and a remote engine was waited for without a deadline."""
        browser = shop.browser()
        await browser.sign_in_by_script()
        with broken(shop.application, monkeypatch, breaking) as logs:
            async with asyncio.timeout(20):
                page = await browser.see(f"/self-service/{kind}/browser")
        assert page.one("form")["action"].startswith(f"/self-service/{kind}?flow=")
        assert not page.all("p", class_="hint")
        assert reported(logs) == [(kind, level)]

    async def test_an_empty_cart_is_not_mentioned(self, shop: Visited) -> None:
        browser = shop.browser()
        await browser.sign_in_by_script()
        page = await browser.see("/self-service/registration/browser")
        assert not page.all("p", class_="hint")


class TestBelowAPath:
    """Behind an ingress that strips a prefix, every address on a page has that prefix."""

    @pytest.mark.parametrize("path", ["/", "/self-service/login/browser", "/signed-out", "/error", "/inbox"])
    async def test_every_link_has_the_prefix(self, visiting: Visiting, sqlite_dsn: str, path: str) -> None:
        async with visiting(sqlite_dsn, with_demo=True, serve=BELOW_A_PATH) as visited:
            browser = visited.browser(host="https://example.org")
            answer = await browser.get(path)
            while answer.status_code == 303:
                assert urlsplit(answer.headers["location"]).path.startswith("/shop/")
                answer = await browser.get(
                    urlsplit(answer.headers["location"])._replace(netloc="", scheme="").geturl()[5:]
                )
            assert answer.status_code == 200
            page = read(answer.text)
            places = [e.get(name) or "" for e in page.below() for name in ("href", "src", "action") if e.has(name)]
            assert places
            assert [
                place for place in places if not place.startswith(("/shop/", "#", "?", "https://example.org/shop/"))
            ] == []


async def test_a_forged_host_leads_nowhere(visiting: Visiting, sqlite_dsn: str) -> None:
    async with visiting(sqlite_dsn, dev=False, with_demo=True) as shop:
        browser = shop.browser(host="http://evil.example")
        answer = await browser.get("/self-service/login/browser")
        assert answer.headers["location"].startswith(f"{ADDRESS}/login?flow=")
        for path in ("/", "/login", "/signed-out", "/account", "/error"):
            answer = await browser.get(path, headers={"X-Forwarded-Host": "evil.example"})
            assert "evil.example" not in answer.text + str(answer.headers.get("location"))


async def _mailed_code(browser: Browser) -> str:
    """Return the code in the newest mail of the development inbox."""
    inbox = await browser.get("/inbox")
    return re.findall(r"\b\d{6}\b", inbox.text)[0]


def _another_way(page: Element) -> list[str]:
    """Return the addresses of the links that open another flow after a code was sent."""
    return [each["href"] for each in page.all("a") if each.text == "Use another address or another way"]


def _kept_beside(page: Element) -> list[dict[str, list[str]]]:
    """Return the different parameters of the links beside a form, which lead to other flows."""
    links = [link for aside in page.all("p", class_="aside") for link in aside.all("a")]
    kept = [parse_qs(urlsplit(link["href"]).query) for link in links]
    return [query for position, query in enumerate(kept) if query not in kept[:position]]


async def _disable(shop: Visited, email: str) -> None:
    """Disable an account, as an operator does."""
    identities = shop.application.accounts.identities
    async with shop.application.infrastructure.database.unit() as unit:
        found = await identities.find_by_identifier(unit, type="password", identifier=email)
        assert found is not None
        await identities.patch(unit, found.id, [{"op": "replace", "path": "/state", "value": "inactive"}])


def _styled(kind: str, style: str) -> dict[str, Any]:
    """Return the settings that show the form of a flow in one or in two steps."""
    return {"selfservice": {"flows": {kind: {"style": style}}}}
