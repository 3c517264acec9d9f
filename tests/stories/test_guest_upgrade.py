"""A guest with a cart becomes a customer on the pages, in German, in a real browser: the cart comes along each time."""

from re import compile as pattern
from re import search

import pytest
from playwright.sync_api import Page, expect

from tests.stories.screen import PHONE, Screen, Screens, check
from tests.stories.visitor import PASSWORD, Guests, new_address

SQLITE = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


@pytest.fixture
def customer(guests: Guests) -> str:
    """The address of a customer with an empty cart."""
    return guests.customer()[1]


def come_with_a_cart(screens: Screens) -> Screen:
    """Come as a German guest with a phone, and put a mug into the cart."""
    screen = screens.open(size=PHONE, locale="de-DE")
    page = screen.go("/#/product/breakfast-mug")
    page.get_by_role("button", name="In den Warenkorb").click()
    expect(page.get_by_text("Im Warenkorb:").first).to_be_visible()
    return screen


def open_form(screen: Screen, kind: str) -> Page:
    """Open a form that leads back to the shop."""
    page = screen.go(f"/self-service/{kind}/browser?return_to={screen.url}/")
    expect(page.get_by_text("Was in Ihrem Warenkorb liegt, bleibt darin.")).to_be_visible()
    check(page)
    return page


def expect_cart(page: Page) -> None:
    """Expect to be in the shop, signed in, with the mug in the cart."""
    expect(page.get_by_role("button", name="Abmelden")).to_be_visible()
    link = page.get_by_role("link", name=pattern("^Warenkorb"))
    expect(link).to_have_text(pattern(r"Warenkorb\s*1"))


def mailed_code(screen: Screen, email: str) -> str:
    """Return the code of the newest mail to an address, as the inbox shows it."""
    tab = screen.context.new_page()
    tab.goto(f"{screen.url}/inbox")
    tab.get_by_role("row").filter(has_text=email).first.get_by_role("link").click()
    found = search(r"\b\d{6}\b", tab.locator("pre").inner_text())
    tab.close()
    assert found is not None
    return found[0]


@SQLITE
class TestTheCartComesAlong:
    def test_to_a_new_account(self, screens: Screens) -> None:
        screen = come_with_a_cart(screens)
        page = open_form(screen, "registration")
        page.get_by_label("E-Mail").fill(new_address())
        page.get_by_role("button", name="Registrieren").click()
        page.get_by_label("Passwort").fill(PASSWORD)
        page.get_by_role("button", name="Registrieren").first.click()
        expect_cart(page)

    def test_to_an_account_that_signs_in_with_its_password(self, screens: Screens, customer: str) -> None:
        screen = come_with_a_cart(screens)
        page = open_form(screen, "login")
        page.get_by_label("E-Mail").fill(customer)
        page.get_by_label("Passwort").fill(PASSWORD)
        page.get_by_role("button", name="Mit Passwort anmelden").click()
        expect_cart(page)

    def test_to_an_account_that_signs_in_with_a_code(self, screens: Screens, customer: str) -> None:
        screen = come_with_a_cart(screens)
        page = open_form(screen, "login")
        page.get_by_label("E-Mail").fill(customer)
        page.get_by_role("button", name="Code zum Anmelden senden").click()
        page.get_by_label("Code zum Anmelden").fill(mailed_code(screen, customer))
        page.get_by_role("button", name="Weiter").click()
        expect_cart(page)

    def test_to_an_account_whose_password_was_forgotten(self, screens: Screens, customer: str) -> None:
        screen = come_with_a_cart(screens)
        page = open_form(screen, "login")
        page.get_by_role("link", name="Passwort vergessen?").click()
        expect(page.get_by_text("Was in Ihrem Warenkorb liegt, bleibt darin.")).to_be_visible()
        page.get_by_label("E-Mail").fill(customer)
        page.get_by_role("button", name="Weiter").click()
        check(page)
        page.get_by_label("Code zur Wiederherstellung").fill(mailed_code(screen, customer))
        page.get_by_role("button", name="Weiter").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Ihr Konto")
        check(page)
        page.get_by_role("textbox", name="Passwort").fill(f"{PASSWORD}-anew")
        page.get_by_role("region", name="Passwort wählen").get_by_role("button", name="Speichern").click()
        expect_cart(page)
