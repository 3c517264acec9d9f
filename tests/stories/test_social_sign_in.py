"""docs/howto/social-sign-in.md, step by step in a real browser, with its provider and its configuration."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from re import compile as pattern

import pytest
import yaml
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.conftest import Run
from tests.services.databases import new_sqlite
from tests.services.openid_provider import OpenIDProvider, start_openid_provider
from tests.services.server import free_port
from tests.services.shopkeeper_server import Commerce
from tests.services.try_provider import TOLD
from tests.stories.conftest import Launch
from tests.stories.places import new_folder
from tests.stories.screen import DESK, PHONE, Screens, check
from tests.stories.test_visit_browser import open_cart, put_into_cart, sign_up
from tests.stories.visitor import PASSWORD, new_address

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "social-sign-in.md"
CONFIGURATION = PAGE.with_suffix(".yml")
SHOP, PROVIDER = "127.0.0.1:4433", "127.0.0.1:4460"


@dataclass(frozen=True)
class Ground:
    """The shop and the provider of the page, on free ports."""

    shop: Commerce
    provider: OpenIDProvider

    def new_person(self) -> str:
        """Return the address of a person as `ada@example.org` is one."""
        self.provider.person(email := new_address(), password="kettle", name="Ada Pear", given_name="Ada")
        return email


@pytest.fixture(scope="module")
def ground(run: Run, launch_for_module: Launch) -> Iterator[Ground]:
    port, theirs = free_port(), free_port()
    told = TOLD.read_text().replace(SHOP, f"127.0.0.1:{port}")
    provider = start_openid_provider(owner=os.getpid(), port=theirs, told=json.loads(told))
    config = CONFIGURATION.read_text().replace(PROVIDER, f"127.0.0.1:{theirs}")
    dsn = new_sqlite(run.folder, new_folder(run.folder))
    yield Ground(launch_for_module(config=yaml.safe_load(config), dsn=dsn, demo=True, public_port=port), provider)
    provider.stop()


@pytest.fixture
def screens(browser: Browser, ground: Ground) -> Iterator[Screens]:
    screens = Screens(browser, ground.shop.public)
    yield screens
    screens.close()


def sign_in_there(page: Page, ground: Ground, email: str) -> None:
    """Sign in at the provider, which the browser has been led to, and come back."""
    page.wait_for_url(f"{ground.provider.issuer}/**")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill("kettle")
    page.get_by_role("button", name=pattern("^Sign in and share")).click()
    page.wait_for_url(f"{ground.shop.public}/**")


def sign_out_there(page: Page, ground: Ground) -> None:
    """Sign out at the provider, which ends the session at the shop."""
    page.get_by_role("link", name="Sign out here").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    expect(page.get_by_text("You have signed out at the provider.")).to_be_visible()
    page.goto(ground.shop.public)
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_the_steps_of_the_page(ground: Ground, screens: Screens, size: ViewportSize) -> None:
    page = screens.open(size=size).go("/")
    put_into_cart(page, "Breakfast mug")

    page.goto(f"{ground.shop.public}/login")
    check(page)
    page.get_by_role("button", name="Sign in with Test provider").click()
    sign_in_there(page, ground, ground.new_person())
    page.goto(ground.shop.public)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    open_cart(page, items=1)

    page.goto(ground.provider.issuer)
    sign_out_there(page, ground)

    sign_up(page, new_address())
    page.goto(f"{ground.shop.public}/account")
    page.get_by_role("button", name="Link Test provider", exact=True).click()
    sign_in_there(page, ground, ground.new_person())
    expect(page.get_by_role("button", name="Unlink Test provider")).to_be_visible()
    check(page)
    page.get_by_role("button", name="Unlink Test provider").click()
    expect(page.get_by_role("button", name="Link Test provider", exact=True)).to_be_visible()

    page.goto(ground.provider.issuer)
    sign_out_there(page, ground)


def test_the_step_that_links_by_the_address(ground: Ground, screens: Screens) -> None:
    ground.provider.person(ben := new_address(), password="kettle", name="Ben Plum", email_verified=False)
    page = screens.open(size=DESK).go("/")
    sign_up(page, ben)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in", exact=True).first.click()
    page.get_by_role("link", name="All ways to sign in").click()
    page.get_by_role("button", name="Sign in with Test provider").click()
    sign_in_there(page, ground, ben)
    expect(page.get_by_role("heading", name="You have an account already")).to_be_visible()
    expect(page.get_by_role("button", name="Sign in with Test provider")).to_have_count(0)
    page.get_by_label("Password").fill("not this one, surely 17")
    page.get_by_role("button", name="Sign in with password").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("heading", name="You have an account already")).to_be_visible()
    check(page)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in with password").click()
    page.goto(f"{ground.shop.public}/account")
    expect(page.get_by_role("button", name="Unlink Test provider")).to_be_visible()


def test_the_page_names_what_is_on_the_screens() -> None:
    told = PAGE.read_text()
    for said in (
        "Sign in with Test provider",
        "Unlink",
        "Link",
        "Sign out here",
        "All ways to sign in",
        "You have an account already",
        "Sign in with password",
    ):
        assert f"**{said}**" in told
    for address in (PROVIDER, SHOP, "make provider", "docs/howto/social-sign-in.yml", "ada@example.org", "kettle"):
        assert address in told
    assert json.loads(TOLD.read_text())["port"] == int(PROVIDER.rpartition(":")[2])
    assert PROVIDER in CONFIGURATION.read_text()
