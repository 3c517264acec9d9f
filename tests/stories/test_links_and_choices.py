"""A shop that mails links with a button before them, and asks who wants to stay signed in; in a browser, in German.

What the customer does on the pages is done without JavaScript. Only the shop itself needs it, to fill a cart.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.services.shopkeeper_server import Commerce
from tests.stories.conftest import Launch
from tests.stories.screen import PHONE, Screen, Screens, check
from tests.stories.visitor import PASSWORD, new_address

SETTINGS = {
    "session": {"lifespan": "12h", "keep_signed_in": {"enabled": True, "lifespan": "720h"}},
    "selfservice": {
        "flows": {"recovery": {"use": "link"}, "registration": {"style": "unified"}},
        "methods": {
            "link": {"enabled": True, "config": {"confirm_by_click": True}},
            "password": {"config": {"haveibeenpwned_enabled": False}},
        },
    },
}
ACCOUNT, RECOVERY = "Ihr Konto", "Zurück in Ihr Konto"


@pytest.fixture(scope="module")
def shop(launch_for_module: Launch) -> Commerce:
    return launch_for_module(config=SETTINGS, dsn="memory", demo=True)


@pytest.fixture
def screens(browser: Browser, shop: Commerce) -> Iterator[Screens]:
    screens = Screens(browser, shop.public)
    yield screens
    screens.close()


@pytest.fixture
def customer(screens: Screens) -> str:
    """The address of a customer."""
    email = new_address()
    page = phone(screens).go("/self-service/registration/browser")
    page.get_by_label("E-Mail").fill(email)
    page.get_by_label("Passwort").fill(PASSWORD)
    page.get_by_role("button", name="Registrieren").first.click()
    expect(heading(page)).to_have_text(ACCOUNT)
    return email


def phone(screens: Screens, *, scripts: bool = False) -> Screen:
    return screens.open(size=PHONE, scripts=scripts, locale="de-DE")


def heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


def mailed_link(screen: Screen, email: str) -> str:
    """Return the link of the newest mail to an address, as the inbox shows it."""
    tab = screen.context.new_page()
    tab.goto(f"{screen.url}/inbox")
    tab.get_by_role("row").filter(has_text=email).first.get_by_role("link").click()
    found = re.search(r"https?://\S+/self-service/recovery\S+", tab.locator("pre").inner_text())
    tab.close()
    assert found is not None
    return found[0]


def test_a_link_that_is_opened_on_another_device_brings_the_cart_there(screens: Screens, customer: str) -> None:
    desk = phone(screens, scripts=True)
    page = desk.go("/#/product/breakfast-mug")
    page.get_by_role("button", name="In den Warenkorb").click()
    expect(page.get_by_text("Im Warenkorb:").first).to_be_visible()
    page = desk.go(f"/self-service/recovery/browser?return_to={desk.url}/account")
    page.get_by_label("E-Mail").fill(customer)
    page.get_by_role("button", name="Weiter").click()
    expect(page.get_by_role("button", name="Neuen Link senden")).to_be_visible()
    link = mailed_link(desk, customer)

    other = phone(screens)
    page = other.page
    page.goto(link)
    page.reload()  # opening it spends nothing
    expect(heading(page)).to_have_text(RECOVERY)
    check(page)
    page.get_by_role("button", name="Anmelden und neues Passwort wählen").click()
    expect(heading(page)).to_have_text(ACCOUNT)
    page.get_by_label("Neues Passwort").fill(f"{PASSWORD}-anew")
    page.get_by_role("region", name="Passwort wählen").get_by_role("button", name="Speichern").click()
    expect(page.get_by_role("region", name="Passwort ändern")).to_be_visible()
    cart = other.context.request.post(
        f"{other.url}/graphql", data={"query": "{ getCart { totalQuantity } }"}, headers={"Origin": other.url}
    )
    assert cart.json() == {"data": {"getCart": {"totalQuantity": 1}}}

    page = phone(screens).page
    page.goto(link)
    page.get_by_role("button", name="Anmelden und neues Passwort wählen").click()
    expect(page.get_by_text("Dieser Link ist falsch, abgelaufen oder schon benutzt.")).to_be_visible()


@pytest.mark.parametrize(("kept", "lifespan"), [(True, timedelta(days=30)), (False, None)], ids=["kept", "not kept"])
def test_who_wants_to_stay_signed_in_gets_a_cookie_that_lasts(
    screens: Screens, customer: str, kept: bool, lifespan: timedelta | None
) -> None:
    screen = phone(screens)
    page = screen.go("/self-service/login/browser")
    page.get_by_label("Angemeldet bleiben").set_checked(kept)
    page.get_by_label("E-Mail").fill(customer)
    page.get_by_label("Passwort").fill("not the password")
    page.get_by_role("button", name="Mit Passwort anmelden").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.get_by_label("Angemeldet bleiben").is_checked() is kept
    page.get_by_label("Passwort").fill(PASSWORD)
    page.get_by_role("button", name="Mit Passwort anmelden").click()
    expect(heading(page)).to_have_text(ACCOUNT)
    [ends] = [each["expires"] for each in screen.context.cookies() if each["name"] == "ory_kratos_session"]
    if lifespan is None:
        assert ends == -1  # with the browser window
    else:
        left = datetime.fromtimestamp(ends, UTC) - datetime.now(UTC)
        assert lifespan - timedelta(minutes=10) < left <= lifespan
