"""A visit in a real browser, in the width of a phone and of a desktop, as a new user would try it."""

from re import compile as pattern

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect

from tests.stories.mails import wait_for_mails
from tests.stories.places import Place
from tests.stories.screen import DESK, PHONE, Screen, Screens, check, tabbed_through
from tests.stories.visitor import PASSWORD, Guests, new_address

SIZES = pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
# Tests that do not depend on the database run on one kind only.
SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
ORDER_NUMBER = pattern(r"S-\w{4}-\w{4}-\w{4}")


@pytest.fixture
def customer(guests: Guests) -> str:
    """The address of a customer with something in the cart."""
    return guests.customer(**{"QK-SALT-125": 1})[1]


# -- what people do in the shop ----------------------------------------------------------------------------------------


def put_into_cart(page: Page, name: str) -> None:
    """Search for a product and put it into the cart."""
    page.get_by_role("searchbox").fill(name)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=name).first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.get_by_role("button", name="Add to the cart").click()
    expect(page.get_by_text("In your cart:").first).to_be_visible()


def sign_up(page: Page, email: str) -> None:
    page.get_by_role("button", name="Sign up", exact=True).first.click()
    dialog = page.get_by_role("dialog", name="Create your account")
    dialog.get_by_label("E-mail").fill(email)
    dialog.get_by_label("Password").fill(PASSWORD)
    dialog.get_by_label("First name").fill("Ada")
    check(page)
    dialog.get_by_role("button", name="Sign up", exact=True).click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    page.get_by_role("button", name="Sign in", exact=True).first.click()
    dialog = page.get_by_role("dialog", name="Sign in")
    dialog.get_by_label("E-mail").fill(email)
    dialog.get_by_label("Password").fill(password)
    dialog.get_by_role("button", name="Sign in", exact=True).click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in", exact=True).first).to_be_visible()


def open_cart(page: Page, *, items: int) -> None:
    link = page.get_by_role("link", name=pattern("^Cart"))
    expect(link).to_have_text(pattern(rf"Cart\s*{items}"))
    link.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your cart")


class TestAWholeVisit:
    @SIZES
    def test_a_new_user_shops_signs_up_and_orders(self, place: Place, screens: Screens, size: ViewportSize) -> None:
        first = screens.open(size=size)
        page, email = first.go("/"), new_address()
        expect(page.get_by_role("heading", name="From every shelf")).to_be_visible()
        check(page)
        put_into_cart(page, "Breakfast mug")
        check(page)
        put_into_cart(page, "Olive oil soap")
        open_cart(page, items=2)
        check(page)

        sign_up(page, email)
        page.reload()
        open_cart(page, items=2)
        total = page.get_by_label("Total").locator(".total dd").inner_text()

        page.get_by_role("button", name="Check out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Is this right?")
        expect(page.get_by_label("Total").locator(".total dd")).to_have_text(total)
        expect(page.get_by_text(f"The confirmation goes to {email}.")).to_be_visible()
        check(page)
        page.get_by_role("button", name="Place the order").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
        check(page)
        number = page.get_by_text(ORDER_NUMBER).inner_text()
        page.get_by_role("link", name="My orders").last.click()
        expect(page.get_by_text(number)).to_be_visible()
        check(page)

        wait_for_mails(place.ledger, to=email, wanted=2)
        read_the_mail(first, email, number)

        first.go("/")
        sign_out(page)
        expect(page.get_by_role("link", name=pattern("^Cart"))).to_have_text(pattern(r"^Cart\s*$"))
        sign_in(page, email)

        second = screens.open(size=size)
        sign_in(second.go("/"), email)
        second.page.get_by_role("link", name="Account").click()
        expect(second.page.get_by_text(number)).to_be_visible()
        check(second.page)
        second.page.get_by_role("button", name=pattern("^Sign out Chrome")).click()
        expect(second.page.get_by_role("status")).to_have_text("That device is signed out.")
        expect(second.page.get_by_role("button", name=pattern("^Sign out Chrome"))).to_have_count(0)

        first.go("/account")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        first.go("/")
        expect(page.get_by_role("button", name="Sign in", exact=True).first).to_be_visible()
        second.page.reload()
        expect(second.page.get_by_role("heading", level=1)).to_have_text("Your account")

    def test_lines_that_cannot_be_merged_are_reported_one_by_one(
        self, guests: Guests, screens: Screens, customer: str
    ) -> None:
        """Two are left, and another customer takes one first."""
        page = screens.open().go("/#/product/bath-towels")
        page.get_by_label("Bath sheet").check()
        page.get_by_label("How many").fill("2")
        page.get_by_role("button", name="Add to the cart").click()
        expect(page.get_by_text("In your cart:").first).to_be_visible()
        guests.customer(**{"QK-TOWELS-SHEET": 1})[0].order()

        sign_in(page, customer)
        told = page.get_by_role("region", name="Not everything could come along")
        expect(told.get_by_role("listitem")).to_contain_text("1 of 2 are in your cart")
        check(page)
        told.get_by_role("button", name="Understood").click()
        expect(told).to_have_count(0)
        open_cart(page, items=2)
        expect(page.get_by_role("link", name="Sea salt")).to_be_visible()

    @SQLITE
    def test_an_order_without_an_account_asks_to_sign_in_and_continues(self, screens: Screens, customer: str) -> None:
        page = screens.open(size=PHONE).go("/")
        put_into_cart(page, "Breakfast mug")
        open_cart(page, items=1)
        page.get_by_role("button", name="Check out").click()
        dialog = page.get_by_role("dialog", name="Sign in")
        expect(dialog).to_contain_text("Sign in to order.")
        check(page)
        dialog.get_by_label("E-mail").fill(customer)
        dialog.get_by_label("Password").fill(PASSWORD)
        dialog.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Is this right?")

    @SQLITE
    def test_a_wrong_password_is_reported_in_the_dialog(self, screens: Screens, customer: str) -> None:
        page = screens.open().go("/")
        page.get_by_role("button", name="Sign in", exact=True).first.click()
        dialog = page.get_by_role("dialog", name="Sign in")
        dialog.get_by_label("E-mail").fill(customer)
        dialog.get_by_label("Password").fill("wrong")
        dialog.get_by_role("button", name="Sign in", exact=True).click()
        expect(dialog.get_by_role("alert")).to_contain_text("password is not right")
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()


@SQLITE
class TestTheCart:
    def test_a_cart_on_the_page_is_drawn_anew_once_somebody_has_signed_in(
        self, screens: Screens, customer: str
    ) -> None:
        """Regression: the header counted the merged cart, and the page went on showing the guest's."""
        page = screens.open().go("/")
        put_into_cart(page, "Breakfast mug")
        open_cart(page, items=1)
        sign_in(page, customer)
        expect(page.get_by_role("link", name=pattern("^Sea salt flakes"))).to_be_visible()
        expect(page.get_by_role("link", name=pattern("^Breakfast mug"))).to_be_visible()
        expect(page.get_by_text("You will be asked to sign in.")).to_have_count(0)

    def quantity(self, page: Page) -> Locator:
        return page.get_by_label("How many of Sea salt")

    @pytest.mark.parametrize("slip", ["", "-1", "1.9", "100"])
    def test_a_mistyped_number_removes_nothing(self, screens: Screens, customer: str, slip: str) -> None:
        page = screens.open(size=PHONE).go("/")
        sign_in(page, customer)
        open_cart(page, items=1)
        self.quantity(page).fill(slip)
        self.quantity(page).press("Tab")
        expect(page.get_by_role("alert").filter(has_text="0 to 99")).to_be_visible()
        expect(self.quantity(page)).to_have_value("1")
        check(page)

    @pytest.mark.parametrize("how", ["typed", "pressed"])
    def test_a_removed_line_is_reported_visibly(self, screens: Screens, customer: str, how: str) -> None:
        page = screens.open(size=PHONE).go("/")
        sign_in(page, customer)
        open_cart(page, items=1)
        if how == "typed":
            self.quantity(page).fill("0")
            self.quantity(page).press("Tab")
        else:
            page.get_by_role("button", name="Remove").click()
        expect(page.locator("#toast")).to_contain_text("Removed: Sea salt")
        expect(page.get_by_role("heading", level=1)).to_have_text("Your cart is empty")

    def test_an_emptied_cart_is_explained_when_the_session_ended_in_another_tab(
        self, screens: Screens, customer: str
    ) -> None:
        screen = screens.open(size=PHONE)
        page = screen.go("/")
        sign_in(page, customer)
        open_cart(page, items=1)
        other = screen.context.new_page()
        other.goto(screen.url)
        sign_out(other)
        page.get_by_role("button", name="One more of Sea salt").click()
        told = page.get_by_role("alert").filter(has_text="Your session has ended.")
        expect(told).to_be_visible()
        check(page)
        told.get_by_role("button", name="Sign in").click()
        dialog = page.get_by_role("dialog", name="Sign in")
        dialog.get_by_label("E-mail").fill(customer)
        dialog.get_by_label("Password").fill(PASSWORD)
        dialog.get_by_role("button", name="Sign in", exact=True).click()
        expect(self.quantity(page)).to_have_value("1")
        expect(told).to_have_count(0)

    def test_an_addition_after_the_session_ended_elsewhere_explains_it_too(
        self, screens: Screens, customer: str
    ) -> None:
        screen = screens.open()
        page = screen.go("/")
        sign_in(page, customer)
        other = screen.context.new_page()
        other.goto(screen.url)
        sign_out(other)
        put_into_cart(page, "Breakfast mug")
        expect(page.get_by_role("alert").filter(has_text="Your session has ended.")).to_be_visible()
        expect(page.get_by_role("button", name="Sign in", exact=True).first).to_be_visible()

    def test_signing_out_here_is_not_reported_as_an_ended_session(self, screens: Screens, customer: str) -> None:
        page = screens.open().go("/")
        sign_in(page, customer)
        sign_out(page)
        expect(page.locator("#toast")).to_contain_text("You are signed out.")
        expect(page.get_by_text("Your session has ended.")).to_have_count(0)

    def test_an_order_that_was_never_placed_has_no_page_of_thanks(self, screens: Screens, customer: str) -> None:
        screen = screens.open()
        page = screen.go("/")
        sign_in(page, customer)
        screen.go("/#/thanks/anything")
        expect(page.get_by_role("heading", level=1)).to_have_text("No orders yet")
        assert page.url.endswith("#/orders")

    def test_the_search_box_is_empty_where_nothing_is_searched_for(self, screens: Screens) -> None:
        page = screens.open().go("/#/search/soap")
        box = page.get_by_role("searchbox")
        expect(box).to_have_value("soap")
        page.get_by_role("link", name="Olive oil soap").first.click()
        expect(box).to_have_value("")
        page.go_back()
        expect(box).to_have_value("soap")


def read_the_mail(screen: Screen, email: str, number: str) -> None:
    """Find a mail with the same order number in the inbox of the development server."""
    page = screen.go("/inbox")
    check(page)
    row = page.get_by_role("row").filter(has_text=email).filter(has_text=number)
    expect(row).to_contain_text("sent")
    row.get_by_role("link").click()
    expect(page.locator("pre")).to_contain_text(number)
    expect(page.frame_locator("iframe").get_by_text(number).first).to_be_visible()
    check(page)


@SQLITE
class TestByKeyboard:
    def test_the_first_stop_skips_to_the_content(self, screens: Screens) -> None:
        page = screens.open().go("/self-service/login/browser")
        page.evaluate("document.activeElement.blur()")
        passed = tabbed_through(page, until="method")
        assert passed[0] == "Skip to the content"
        assert passed[-3:] == ["identifier", "password", "method"]

    def test_a_customer_signs_in_without_a_mouse(self, screens: Screens, customer: str) -> None:
        page = screens.open().go("/self-service/login/browser")
        page.get_by_label("E-mail").focus()
        page.keyboard.type(customer)
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Your account")

    def test_a_dialog_takes_the_focus_and_gives_it_back(self, screens: Screens) -> None:
        page = screens.open().go("/")
        opener = page.get_by_role("button", name="Sign in", exact=True).first
        opener.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog", name="Sign in").get_by_label("E-mail")).to_be_focused()
        page.keyboard.press("Escape")
        expect(opener).to_be_focused()


@SQLITE
class TestWithoutScripts:
    """The pages of accounts need no scripts."""

    @SIZES
    def test_an_account_registers_signs_out_and_signs_in(self, screens: Screens, size: ViewportSize) -> None:
        screen = screens.open(size=size, scripts=False)
        page, email = screen.go("/self-service/registration/browser"), new_address()
        expect(page.get_by_role("heading", level=1)).to_have_text("Create your account")
        page.get_by_label("E-mail").fill(email)
        page.get_by_label("First name").fill("Ada")
        page.get_by_role("button", name="Sign up").click()
        expect(page.get_by_label("Password")).to_be_visible()
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign up").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Your account")
        person = page.get_by_role("region", name="Who you are")
        expect(person).to_contain_text(email)
        expect(person.get_by_text("Ada", exact=True)).to_be_visible()

        page.get_by_role("main").get_by_role("link", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("signed out")
        screen.go("/account")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        page.get_by_label("E-mail").fill(email)
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in with password").click()
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.get_by_label("E-mail")).to_have_value(email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in with password").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Your account")

    def test_the_account_page_ends_every_other_session(self, screens: Screens, customer: str) -> None:
        first, second = screens.open(scripts=False), screens.open(scripts=False)
        for screen in (first, second):
            page = screen.go("/self-service/login/browser")
            page.get_by_label("E-mail").fill(customer)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in with password").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Your account")
        second.page.get_by_role("button", name="Sign out everywhere else").click()
        expect(second.page.get_by_role("status")).to_have_text("You are signed out everywhere but here.")
        first.page.reload()
        expect(first.page.get_by_role("heading", level=1)).to_have_text("Sign in")

    def test_mistakes_are_reported_at_their_field(self, screens: Screens) -> None:
        page = screens.open(scripts=False).go("/self-service/registration/browser")
        page.get_by_label("E-mail").fill(new_address())
        page.get_by_role("button", name="Sign up").click()
        page.get_by_label("Password").fill("short")
        page.get_by_role("button", name="Sign up").click()
        field = page.get_by_label("Password")
        expect(field).to_have_attribute("aria-invalid", "true")
        described = field.get_attribute("aria-describedby")
        assert described
        expect(page.locator(f"#{described}")).to_contain_text("least")

    def test_a_form_that_lost_its_cookie_ends_on_a_page_that_says_so(self, screens: Screens) -> None:
        screen = screens.open(scripts=False)
        page = screen.go("/self-service/login/browser")
        page.get_by_label("E-mail").fill("ada@example.org")
        page.get_by_label("Password").fill(PASSWORD)
        screen.context.clear_cookies()
        page.get_by_role("button", name="Sign in with password").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("That could not be let through")
        page.get_by_role("main").get_by_role("link", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")

    @pytest.mark.parametrize(
        ("path", "heading"),
        [
            ("/error", "There is nothing here"),
            ("/error?id=018f0000-0000-7000-8000-000000000000", "There is nothing here"),
            ("/self-service/logout?token=nonsense", "You are signed out"),
            ("/login?flow=018f0000-0000-7000-8000-000000000000", "Sign in"),
            ("/signed-out", "You are signed out"),
            ("/", "Quince & Kettle"),
        ],
    )
    def test_every_other_page_has_its_heading(self, screens: Screens, path: str, heading: str) -> None:
        page = screens.open(size=PHONE, scripts=False).go(path)
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)


@SQLITE
class TestEveryPage:
    """Checked in a browser with scripts, because the check is a script; the pages are the same without."""

    @pytest.mark.parametrize(
        "path",
        [
            "/self-service/login/browser",
            "/self-service/registration/browser",
            "/signed-out",
            "/error",
            "/inbox",
            "/#/all",
            "/#/category/kitchen",
            "/#/product/breakfast-mug",
            "/#/search/nothing-goes-by-this-name",
            "/#/cart",
            "/#/nowhere",
        ],
    )
    def test_is_accessible(self, screens: Screens, path: str) -> None:
        page = screens.open(size=PHONE).go(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        check(page)
