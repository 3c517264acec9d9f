"""A guest's cart and a recovery by mail: it comes along in the guest's browser, and by link in the guest's network."""

import re

import pytest

from tests.attacks.scene import CART, HERE, OWN_PAGE, THERE, Browser, Scene, csrf_of, new_address, sign_up
from tests.flows.conftest import JSON, Staging
from tests.http.test_stores import guest_with_cart

LINKS = {
    "methods": {"link": {"enabled": True}},
    "flows": {"recovery": {"enabled": True, "use": "link"}},
}


async def recovery_link(scene: Scene, browser: Browser, email: str) -> str:
    """Ask for a recovery in a browser; return the path of the mailed link."""
    flow = await browser.open_flow("recovery")
    fields = {"method": "link", "email": email, "csrf_token": csrf_of(flow)}
    assert (await browser.post(flow["ui"]["action"], json=fields, headers=JSON)).json()["state"] == "sent_email"
    [mail] = [mail for mail in await scene.mails() if mail.template_type == "recovery_valid"]
    return re.findall(r"/self-service/recovery\?\S+", mail.body)[0]


async def cart_of(browser: Browser) -> tuple[str, int] | None:
    """Return the id and the size of the cart that a browser's cookies lead to."""
    cart = (await browser.post("/graphql", json={"query": CART}, headers=OWN_PAGE)).json()["data"]["getCart"]
    return (cart["id"], cart["totalQuantity"]) if cart else None


@pytest.fixture
def email() -> str:
    return new_address()


class TestByLinkOnAnotherDevice:
    async def test_in_the_guests_network_the_cart_comes_along(self, staging: Staging, dsn: str, email: str) -> None:
        async with staging(dsn, selfservice=LINKS) as stage:
            account = await sign_up(await stage.scene.native(), email)
            desk, phone = await stage.scene.browser(ip=HERE), await stage.scene.browser(ip=HERE)
            cart = await guest_with_cart(desk)
            opened = await phone.get(await recovery_link(stage.scene, desk, email))
            assert (opened.status_code, "/account?flow=" in opened.headers["location"]) == (303, True)
            assert await phone.whoami() == account["identity"]["id"]
            assert await cart_of(phone) == (cart, 1)
            assert (await cart_of(desk), await desk.whoami()) == (None, None)

    async def test_it_is_added_to_the_customers_own_cart(self, staging: Staging, sqlite_dsn: str, email: str) -> None:
        async with staging(sqlite_dsn, selfservice=LINKS) as stage:
            owner = await stage.scene.browser()
            await guest_with_cart(owner)
            await owner.sign_up(email)
            desk, phone = await stage.scene.browser(), await stage.scene.browser()
            await guest_with_cart(desk)
            own = await cart_of(owner)
            await phone.get(await recovery_link(stage.scene, desk, email))
            assert own is not None
            assert await cart_of(phone) == (own[0], 1)

    async def test_elsewhere_it_stays_with_the_guest(self, staging: Staging, sqlite_dsn: str, email: str) -> None:
        async with staging(sqlite_dsn, selfservice=LINKS) as stage:
            await sign_up(await stage.scene.native(), email)
            desk, phone = await stage.scene.browser(ip=HERE), await stage.scene.browser(ip=THERE)
            cart = await guest_with_cart(desk)
            await phone.get(await recovery_link(stage.scene, desk, email))
            assert await phone.whoami() is not None
            assert (await cart_of(phone), await cart_of(desk)) == (None, (cart, 1))
            await desk.sign_in(email)
            assert await cart_of(desk) == (cart, 1)

    async def test_the_phones_own_cart_comes_along_wherever_it_is(
        self, staging: Staging, sqlite_dsn: str, email: str
    ) -> None:
        async with staging(sqlite_dsn, selfservice=LINKS) as stage:
            await sign_up(await stage.scene.native(), email)
            desk, phone = await stage.scene.browser(ip=HERE), await stage.scene.browser(ip=THERE)
            cart = await guest_with_cart(phone)
            await phone.get(await recovery_link(stage.scene, desk, email))
            assert await cart_of(phone) == (cart, 1)
