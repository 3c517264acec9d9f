"""The account page: the sessions and orders of the signed-in identity, and of no other."""

import asyncio
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.http.pages.broken_engine import BREAKING, Breaking, broken, reported
from tests.http.pages.conftest import ADDRESS, PASSWORD, Browser, Visited
from tests.http.pages.reading import Element, read

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1"
ADD = """mutation($quantity: Int!) {
  addToCart(addToCartInput: {itemId: "QK-SAUCEPAN-12", quantity: $quantity}) { cart { id } }
}"""
DRAFT = "mutation($cart: String!) { checkOut(cartId: $cart) { order { id } } }"
PLACE = "mutation($id: String!) { placeOrder(id: $id) { order { orderNumber } } }"
ANA = "ana@example.com"
SETTINGS = "/self-service/settings"
NEW_PASSWORD = "another kettle, on the quince shelf"


def devices(page: Element) -> list[str]:
    return [item.one("p", class_="strong").text for item in page.one("section", aria_labelledby="devices").all("li")]


def form_to(page: Element, action: str) -> Element:
    """Return the first form that posts to an address."""
    return next(form for form in page.all("form") if form["action"].startswith(action))


def flow_of(page: Element) -> str:
    """Return the id of the settings flow that an account page shows."""
    return parse_qs(urlsplit(form_to(page, SETTINGS)["action"]).query)["flow"][0]


async def signed_in(browser: Browser) -> bool:
    return (await browser.see("/account")).one("h1").text == "Your account"


async def order(browser: Browser, *, quantity: int = 2) -> str:
    """Order saucepans; return the order's number."""
    cart = (await browser.ask(ADD, quantity=quantity))["addToCart"]["cart"]["id"]
    draft = (await browser.ask(DRAFT, cart=cart))["checkOut"]["order"]["id"]
    return str((await browser.ask(PLACE, id=draft))["placeOrder"]["order"]["orderNumber"])


class TestWho:
    async def test_a_visitor_is_asked_to_sign_in_and_comes_back(self, shop: Visited) -> None:
        await shop.browser().register(ANA)
        browser = shop.browser()
        page = await browser.see("/account")
        back = await browser.submit(page.one("form"), {"identifier": ANA, "password": PASSWORD})
        assert back.one("h1").text == "Your account"

    async def test_says_who_is_signed_in(self, shop: Visited) -> None:
        page = await shop.browser().register(ANA)
        facts = {div.one("dt").text: div.one("dd").text for div in page.one("dl").all("div")}
        assert facts == {"Name": "Ana", "E-mail": f"{ANA} not confirmed yet", "Customer since": "March 14, 2026"}

    @pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}"])
    async def test_row_089_hostile_traits_stay_text(self, shop: Visited, hostile: str) -> None:
        page = await shop.browser(User_Agent=hostile).register(ANA, first_name=hostile)
        assert page.one("dl").all("dd")[0].text == hostile
        assert devices(page) == [f"{hostile} this one"]
        assert not page.all("script")

    async def test_the_link_signs_out(self, shop: Visited) -> None:
        browser = shop.browser()
        page = await browser.register(ANA)
        link = page.one("section", aria_labelledby="who").all("a")[-1]
        assert (await browser.see(link["href"])).one("h1").text == "You are signed out"
        assert (await browser.get("/account")).headers["location"].startswith("/self-service/login/browser")


class TestDevices:
    async def test_sessions_are_listed_with_the_current_one_first(self, shop: Visited) -> None:
        await shop.browser(User_Agent=IPHONE).register(ANA)
        browser = shop.browser(User_Agent=FIREFOX)
        await browser.sign_in(ANA)
        assert devices(await browser.see("/account")) == ["Firefox · Linux this one", "Safari · iPhone"]

    @pytest.mark.parametrize("ip", ["203.0.113.7", "2001:db8::1:5"])
    async def test_sessions_are_shown_with_their_whole_addresses(self, shop: Visited, ip: str) -> None:
        """Regression: a port behind an IPv6 address was taken for a part of it, and a part of it for a port."""
        browser = shop.browser(ip=ip)
        await browser.register(ANA)
        page = await browser.see("/account")
        [device] = page.one("section", aria_labelledby="devices").all("li")
        assert device.one("p", class_="small").text.endswith(f" · {ip}")

    async def test_without_others_there_is_nothing_to_sign_out(self, shop: Visited) -> None:
        page = await shop.browser().register(ANA)
        actions = {form["action"] for form in page.one("section", aria_labelledby="devices").all("form")}
        assert actions == {"/account/sessions/revoke-all"}

    async def test_one_session_is_signed_out(self, either_shop: Visited) -> None:
        phone, laptop, tablet = (either_shop.browser(User_Agent=name) for name in ("Phone", "Laptop", "Tablet"))
        await phone.register(ANA)
        await tablet.sign_in(ANA)
        await laptop.sign_in(ANA)
        own = await laptop.see("/account")
        chosen = next(form for form in own.all("form") if "Phone" in (form.one("button").get("aria-label") or ""))
        after = await laptop.submit(chosen, {})
        assert after.one("p", role="status").text == "That device is signed out."
        assert devices(after) == ["Laptop this one", "Tablet"]
        assert not await signed_in(phone)
        assert await signed_in(tablet)

    async def test_all_sessions_but_the_current_one_are_signed_out(self, either_shop: Visited) -> None:
        phone, laptop = either_shop.browser(), either_shop.browser(User_Agent="Laptop")
        await phone.register(ANA)
        await laptop.sign_in(ANA)
        form = (await laptop.see("/account")).one("form", action="/account/sessions/revoke-others")
        after = await laptop.submit(form, {})
        assert after.one("p", role="status").text == "You are signed out everywhere but here."
        assert devices(after) == ["Laptop this one"]
        assert not await signed_in(phone)

    @pytest.mark.parametrize("path", ["/account/sessions/revoke", "/account/sessions/revoke-others"])
    @pytest.mark.parametrize("token", [None, "", "forged", "AAAA"])
    async def test_a_form_that_another_site_made_is_refused(self, shop: Visited, path: str, token: str | None) -> None:
        phone, laptop = shop.browser(), shop.browser()
        await phone.register(ANA)
        await laptop.sign_in(ANA)
        others = (await laptop.see("/account")).one("input", name="session")["value"]
        fields = {"session": others, **({} if token is None else {"csrf_token": token})}
        answer = await laptop.post(path, data=fields)
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "security_csrf_violation")
        assert await signed_in(phone)

    async def test_fields_that_do_not_come_from_a_form_are_refused(self, shop: Visited) -> None:
        phone, laptop = shop.browser(), shop.browser()
        await phone.register(ANA)
        await laptop.sign_in(ANA)
        fields = form_to(await laptop.see("/account"), "/account/sessions/revoke").fields()
        answer = await laptop.post("/account/sessions/revoke", json=fields)
        assert answer.status_code == 403
        assert await signed_in(phone)

    async def test_a_session_of_another_identity_is_not_ended(self, shop: Visited) -> None:
        ana, ben = shop.browser(), shop.browser()
        await ana.register(ANA)
        await shop.browser().sign_in(ANA)
        await ben.register("ben@example.com")
        await shop.browser().sign_in("ben@example.com")
        hers = (await ana.see("/account")).one("input", name="session")["value"]
        form = form_to(await ben.see("/account"), "/account/sessions/revoke")
        await ben.submit(form, {"session": hers})
        assert len(devices(await ana.see("/account"))) == 2

    async def test_an_unknown_session_is_reported(self, shop: Visited) -> None:
        await shop.browser().register(ANA)
        browser = shop.browser()
        await browser.sign_in(ANA)
        form = form_to(await browser.see("/account"), "/account/sessions/revoke")
        answer = await browser.post_form(form, {"session": "nonsense"})
        assert answer.status_code == 404
        assert read(answer.text).one("h1").text == "There is nothing here"

    async def test_everything_is_signed_out_this_browser_too(self, shop: Visited) -> None:
        phone, laptop = shop.browser(), shop.browser()
        await phone.register(ANA)
        await laptop.sign_in(ANA)
        form = form_to(await laptop.see("/account"), "/account/sessions/revoke-all")
        assert (await laptop.submit(form, {})).one("h1").text == "You are signed out"
        assert not await signed_in(laptop)
        assert not await signed_in(phone)


class TestChanges:
    """Each part of the page is a form of the settings flow."""

    async def test_the_profile_is_saved_and_said_so(self, shop: Visited) -> None:
        browser = shop.browser(Accept_Language="de")
        page = await browser.register(ANA, button="Registrieren")
        saved = await browser.submit(profile_of(page), {"traits.name.first": "Änne"})
        assert saved.one("p", class_="notice success").text == "Ihre Änderungen sind gespeichert."
        assert saved.one("div", class_="notices").has("autofocus")
        assert saved.one("dl").all("dd")[0].text == "Änne"
        assert profile_of(saved).one("input", name="traits.name.first")["value"] == "Änne"

    async def test_a_mistake_stands_at_its_field_which_gets_the_focus(self, shop: Visited) -> None:
        browser = shop.browser()
        page = await browser.submit(password_of(await browser.register(ANA)), {"password": "short"})
        field = password_of(page).one("input", name="password")
        assert (field["aria-invalid"], field["autocomplete"]) == ("true", "new-password")
        assert page.one("p", id=field["aria-describedby"]).text.startswith("The password needs at least")
        assert [each.get("id") for each in page.below() if each.has("autofocus")] == [field["id"]]
        assert page.one("title").text.startswith("Mistake: ")

    async def test_a_new_password_is_the_one_that_signs_in(self, shop: Visited) -> None:
        browser, other = shop.browser(), shop.browser()
        saved = await browser.submit(password_of(await browser.register(ANA)), {"password": NEW_PASSWORD})
        assert saved.one("p", class_="notice success").text == "Your changes have been saved."
        login = await other.see("/self-service/login/browser")
        page = await other.submit(login.one("form"), {"identifier": ANA, "password": NEW_PASSWORD})
        assert page.one("h1").text == "Your account"
        # The page goes on with the new anti-CSRF token.
        again = await browser.submit(profile_of(saved), {"traits.name.first": "Bea"})
        assert again.one("dl").all("dd")[0].text == "Bea"

    async def test_after_a_while_it_asks_who_it_is_and_then_does_what_was_typed(self, shop: Visited) -> None:
        browser = shop.browser()
        await browser.register(ANA)
        shop.clock.advance(hours=2)
        asked = await browser.submit(password_of(await browser.see("/account")), {"password": NEW_PASSWORD})
        assert asked.one("h1").text == "Confirm that it is you"
        done = await browser.submit(asked.all("form")[0], {"password": PASSWORD})
        assert done.one("p", class_="notice success").text == "Your changes have been saved."
        other = shop.browser()
        login = await other.see("/self-service/login/browser")
        page = await other.submit(login.one("form"), {"identifier": ANA, "password": NEW_PASSWORD})
        assert page.one("h1").text == "Your account"

    async def test_after_a_recovery_the_new_password_comes_first(self, shop: Visited) -> None:
        await shop.browser().register(ANA)
        browser = shop.browser()
        asked = await browser.submit((await browser.see("/self-service/recovery/browser")).one("form"), {"email": ANA})
        code = re.findall(r"\b\d{6}\b", (await browser.get("/inbox")).text)[0]
        page = await browser.submit(asked.one("main").all("form")[0], {"code": code})
        assert headings(page)[:2] == ["Choose a password", "Who you are"]
        wrong = await browser.submit(password_of(page), {"password": "short"})
        assert headings(wrong)[:2] == ["Choose a password", "Who you are"]
        saved = await browser.submit(password_of(wrong), {"password": NEW_PASSWORD})
        assert headings(saved)[:2] == ["Who you are", "Your details"]
        assert len(set(headings(page))) == len(headings(page)) == len(headings(saved))

    async def test_undoing_a_change_of_address_signs_out_here_too(self, shop: Visited) -> None:
        browser = shop.browser()
        page = await browser.register(ANA)
        asked = await browser.submit(form_to(page, "/account/addresses/confirm"), {})
        code = re.findall(r"\b\d{6}\b", (await browser.get("/inbox")).text)[0]
        await browser.submit(asked.one("main").all("form")[0], {"code": code})
        page = await browser.see("/account")
        await browser.submit(profile_of(page), {"traits.email": "ana@elsewhere.example"})
        inbox = await browser.see("/inbox")
        told = next(row for row in inbox.all("tr")[1:] if "was changed" in row.text)
        mail = await browser.get(told.one("a")["href"])
        [link] = set(re.findall(r"/account/undo-address\?token=[\w-]+", mail.text))
        asked = await browser.see(link)
        assert asked.one("main").all("dd")[0].text == ANA
        done = await browser.submit(asked.one("main").one("form"), {})
        assert done.one("h1").text == "The change is undone"
        assert [each.text for each in done.one("header").all("a")[1:]] == ["Shop", "Sign in", "Sign up"]
        again = await browser.get(link)
        assert read(again.text).one("h1").text == "This link cannot be used any more"

    async def test_password_managers_learn_whose_password_it_is(self, shop: Visited) -> None:
        form = password_of(await shop.browser().register(ANA))
        name = form.one("input", autocomplete="username")
        assert (name["value"], name.has("hidden"), name.has("name")) == (ANA, True, False)

    async def test_ids_and_labels_are_unique_on_the_page(self, shop: Visited) -> None:
        page = await shop.browser().register(ANA)
        ids = [each["id"] for each in page.below() if each.has("id")]
        assert len(ids) == len(set(ids))
        assert {label["for"] for label in page.all("label")} <= set(ids)

    async def test_the_flow_of_another_account_opens_ones_own(self, shop: Visited) -> None:
        ana, ben = shop.browser(), shop.browser()
        hers = flow_of(await ana.register(ANA))
        await ben.register("ben@example.com", first_name="Ben")
        page = await ben.see(f"/account?flow={hers}")
        assert flow_of(page) != hers
        assert page.one("dl").all("dd")[0].text == "Ben"


class TestAddresses:
    async def test_an_address_is_confirmed_by_a_code_that_a_button_sends(self, shop: Visited) -> None:
        browser = shop.browser()
        page = await browser.register(ANA)
        assert addresses(page) == [f"{ANA} not confirmed yet"]
        asked = await browser.submit(form_to(page, "/account/addresses/confirm"), {})
        assert asked.one("h1").text == "Look into your mail"
        inbox = await browser.get("/inbox")
        code = re.findall(r"\b\d{6}\b", inbox.text)[0]
        done = await browser.submit(asked.one("main").all("form")[0], {"code": code})
        assert done.one("h1").text == "Your address is confirmed"
        assert addresses(await browser.see(done.one("main").one("a")["href"])) == [f"{ANA} confirmed"]

    async def test_the_link_of_the_mail_leaves_nothing_but_a_click(self, shop: Visited) -> None:
        browser = shop.browser()
        page = await browser.register(ANA)
        assert page.one("dl").one("a")["href"] == "#addresses"
        inbox = await browser.see("/inbox")
        told = next(row for row in inbox.all("tr")[1:] if "confirm" in row.text)
        mail = await browser.get(told.one("a")["href"])
        link = re.findall(r"/self-service/verification\?flow=[\w-]+&amp;code=\d+", mail.text)[0]
        asked = (await browser.see(link.replace("&amp;", "&"))).one("main")
        assert (asked.one("h1").text, asked.all("button")[0].text) == ("Confirm your address", "Confirm the address")
        assert "Look into" not in asked.text
        done = await browser.submit(asked.all("form")[0], {})
        assert done.one("h1").text == "Your address is confirmed"

    @pytest.mark.parametrize(
        ("signed_in", "text"), [(False, "Choose a new password"), (True, "Sign out and choose a new one")]
    )
    async def test_a_password_that_has_ended_can_be_chosen_anew(
        self, shop: Visited, signed_in: bool, text: str
    ) -> None:
        """Who is signed in to another account signs out for that: recovery is for those who are not."""
        await shop.browser().register(ANA)
        owner = shop.browser(ip="198.51.100.7")
        if signed_in:
            await owner.register("bea@example.com")
        page = await owner.see("/self-service/verification/browser")
        asked = await owner.submit(page.one("main").one("form"), {"email": ANA})
        code = re.findall(r"\b\d{6}\b", (await owner.get("/inbox")).text)[0]
        done = (await owner.submit(asked.one("main").all("form")[0], {"code": code})).one("main")
        assert done.one("h1").text == "Your address is confirmed"
        assert "close this page" not in done.text
        link = done.one("p", class_="aside").one("a")
        assert link.text == text
        assert (await owner.see(link["href"])).one("h1").text == "Get back into your account"

    async def test_a_form_that_another_site_made_sends_nothing(self, shop: Visited) -> None:
        browser = shop.browser()
        await browser.register(ANA)
        answer = await browser.post("/account/addresses/confirm", data={"address": ANA, "csrf_token": "forged"})
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "security_csrf_violation")


def addresses(page: Element) -> list[str]:
    return [each.one("p", class_="strong").text for each in page.one("section", aria_labelledby="addresses").all("li")]


def headings(page: Element) -> list[str]:
    return [each.text for each in page.one("main").all("h2")]


def profile_of(page: Element) -> Element:
    return page.one("section", aria_labelledby="profile-heading").one("form")


def password_of(page: Element) -> Element:
    return page.one("section", aria_labelledby="password-heading").one("form")


class TestOrders:
    async def test_an_account_without_orders_says_so(self, shop: Visited) -> None:
        page = await shop.browser().register(ANA)
        assert "You have not ordered anything yet." in page.one("section", aria_labelledby="orders").text

    async def test_orders_are_listed_with_their_lines(self, either_shop: Visited) -> None:
        browser = either_shop.browser()
        await browser.register(ANA)
        number = await order(browser)
        page = (await browser.see("/account")).one("section", aria_labelledby="orders")
        assert page.one("summary").text == f"{number} March 14, 2026 €69.80"
        assert page.one("ul", class_="lines").text == "2 × Enamel saucepan with lid, 1.2 litres €69.80"

    async def test_the_cart_from_before_signing_in_can_be_ordered(self, shop: Visited) -> None:
        """Here the server's own pages merge the cart, instead of the script."""
        browser = shop.browser()
        await browser.sign_in_by_script()
        cart = (await browser.ask(ADD, quantity=2))["addToCart"]["cart"]["id"]
        await browser.register(ANA, query=f"?return_to={ADDRESS}/account")
        kept = (await browser.ask("{ getCart { id totalQuantity } }"))["getCart"]
        assert kept == {"id": cart, "totalQuantity": 2}

    async def test_orders_are_shown_page_by_page(self, shop: Visited) -> None:
        browser = shop.browser()
        await browser.register(ANA)
        numbers = [await order(browser, quantity=1) for _ in range(12)]
        first = (await browser.see("/account")).one("section", aria_labelledby="orders")
        older = await browser.see(first.one("a")["href"])
        listed = [
            summary.one("span", class_="strong").text for summary in (*first.all("summary"), *older.all("summary"))
        ]
        assert listed == numbers[::-1]
        newer = older.one("section", aria_labelledby="orders").one("a")
        assert newer.text == "Newer orders"
        assert len((await browser.see(newer["href"])).all("summary")) == 10

    @BREAKING
    async def test_the_page_is_shown_also_where_the_engine_gives_no_orders(
        self, shop: Visited, monkeypatch: pytest.MonkeyPatch, breaking: Breaking, level: str
    ) -> None:
        """Regression: without its orders nobody could sign out a lost device."""
        browser = shop.browser()
        await browser.register(ANA)
        with broken(shop.application, monkeypatch, breaking) as logs:
            async with asyncio.timeout(20):
                page = await browser.see("/account")
        assert len(devices(page)) == 1
        orders = page.one("section", aria_labelledby="orders")
        assert orders.one("p", role="status").text == "Your orders cannot be shown just now. Please try again later."
        assert "not ordered anything" not in orders.text
        assert reported(logs) == [("account", level)]

    @pytest.mark.parametrize("start", ["-1", "x", "99999999999999", "1e3", "１２"])
    async def test_a_page_of_orders_out_of_range_is_no_fault(self, shop: Visited, start: str) -> None:
        browser = shop.browser()
        flow = flow_of(await browser.register(ANA))
        page = await browser.see(f"/account?flow={flow}&orders={start}")
        assert page.one("section", aria_labelledby="orders")
