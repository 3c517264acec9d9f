"""Silent sign-on: a visitor comes back signed in, or exactly as they were."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import ADDRESS, APP, CART, EVIL, OWN_PAGE, Browser, ask, fill_cart, set_cookies, visit
from tests.http.provider_scene import IDP, JSON, Person, ProviderScene, with_provider
from tests.services.openid_provider import OpenIDProvider

HERE = f"{APP}/pears?size=2"
PATH = f"/self-service/methods/oidc/silent-sign-on/{IDP}"
SILENCE = "shopkeeper_silence"
CALLBACK = "shopkeeper_callback"


@pytest.fixture
async def scene(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, openid_provider: OpenIDProvider
) -> AsyncIterator[ProviderScene]:
    async with with_provider(sqlite_dsn, tmp_path, clock, openid_provider) as scene:
        yield scene


async def leave(browser: Browser, **headers: str) -> httpx2.Response:
    """Open the address to which a page of the shop sends its visitor."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await browser.get(PATH, params={"return_to": HERE}, headers=named)
    assert answer.status_code == 303, answer.text
    return answer


async def known(scene: ProviderScene) -> Person:
    """Return a customer who is signed in at the provider, in front of a browser that is not signed in here."""
    person = await scene.person()
    await scene.sign_in(person)
    return Person(person.email, await scene.shop.browser(), person.walker)


async def guest_with_cart(scene: ProviderScene, browser: Browser) -> str:
    """Give the browser a guest with a cart; return the guest's token."""
    app = await scene.shop.native()
    token = str((await visit(app))["authorization"]).removeprefix("Bearer ")
    await fill_cart(app, token, quantity=3)
    browser.cookies.set("__Host-shopkeeper_visit", token, domain="shop.test")
    return token


async def sign_out(scene: ProviderScene, person: Person, way: str) -> httpx2.Response:
    """Sign out in one of the ways that a browser has; return the answer that ends its own session."""
    browser = person.browser
    if way == "JSON":
        return await browser.get(await scene.sign_out_url(person), headers=JSON)
    if way == "all":
        csrf = await browser.form_of("/account")
        left = await browser.post("/account/sessions/revoke-all", data=csrf, headers=OWN_PAGE)
        return await browser.get(left.headers["location"])
    headers = {
        "the shop's button": OWN_PAGE,
        "another origin": {"sec-fetch-site": "cross-site", "origin": APP},
        "its token": {
            "sec-fetch-site": "cross-site",
            "origin": APP,
            "authorization": f"Bearer {browser.session_cookie}",
        },
        "its server": {},
    }[way]
    answer = await browser.post("/signout", json={}, headers=headers)
    assert (answer.status_code, answer.json()["customer"]) == (200, None)
    return answer


async def cart_of(scene: ProviderScene, token: str) -> Mapping[str, Any]:
    found = await ask(await scene.shop.native(), token, CART)
    return dict(found["data"]["getCart"])


def cookies_of(browser: Browser) -> dict[str, str | None]:
    """Return the browser's cookies but for the two of the way to the provider."""
    ways = (SILENCE, CALLBACK)
    return {each.name: each.value for each in browser.cookies.jar if not each.name.endswith(ways)}


class TestWhereTheProviderKnowsTheCustomer:
    async def test_signs_in_with_the_cart_and_goes_back(self, scene: ProviderScene) -> None:
        person = await known(scene)
        await guest_with_cart(scene, person.browser)
        left = await leave(person.browser)
        assert left.headers["location"].startswith(f"{scene.provider.issuer}/auth?")
        assert "prompt=none" in left.headers["location"]
        back = await person.browser.get(await scene.walk(person, left.headers["location"]))
        assert (back.status_code, back.headers["location"]) == (303, HERE)
        assert await person.browser.whoami() is not None
        cart = await cart_of(scene, person.browser.session_cookie or "")
        assert cart["totalQuantity"] == 3

    async def test_works_for_a_visitor_without_any_cookie(self, scene: ProviderScene) -> None:
        person = await known(scene)
        assert not list(person.browser.cookies.jar)
        left = await leave(person.browser)
        await person.browser.get(await scene.walk(person, left.headers["location"]))
        assert await person.browser.whoami() is not None

    async def test_does_nothing_for_a_visitor_who_is_signed_in(self, scene: ProviderScene) -> None:
        person = await scene.person()
        await scene.sign_in(person)
        before = await person.browser.whoami()
        left = await leave(person.browser)
        assert (left.headers["location"], left.headers.get_list("set-cookie")) == (HERE, [])
        assert await person.browser.whoami() == before

    async def test_registers_nobody(self, scene: ProviderScene) -> None:
        person = await scene.person()
        # Signs in at the provider, and does not come back.
        left = await leave(person.browser)
        await scene.walk(person, left.headers["location"].replace("prompt=none&", "").replace("&prompt=none", ""))
        fresh = Person(person.email, await scene.shop.browser(), person.walker)
        token, before = await guest_with_cart(scene, fresh.browser), cookies_of(fresh.browser)
        left = await leave(fresh.browser)
        arrival = await scene.walk(fresh, left.headers["location"])
        assert "code=" in arrival
        back = await fresh.browser.get(arrival)
        assert (back.headers["location"], back.headers.get_list("set-cookie")) == (HERE, [])
        assert cookies_of(fresh.browser) == before
        assert (await cart_of(scene, token))["totalQuantity"] == 3
        assert await scene.shop.rows("identities") == []


class TestWhereNobodyIsSignedIn:
    async def test_leaves_guest_cart_and_cookies_as_they_were(self, scene: ProviderScene) -> None:
        person = await scene.person()
        token, before = await guest_with_cart(scene, person.browser), cookies_of(person.browser)
        left = await leave(person.browser)
        arrival = await scene.walk(person, left.headers["location"])
        assert "error=login_required" in arrival
        back = await person.browser.get(arrival)
        assert (back.status_code, back.headers["location"]) == (303, HERE)
        assert back.headers.get_list("set-cookie") == []
        assert cookies_of(person.browser) == before
        assert (await cart_of(scene, token))["totalQuantity"] == 3
        assert await person.browser.whoami() is None
        assert await scene.shop.rows("flow_errors") == []

    async def test_goes_back_from_the_same_answer_every_time(self, scene: ProviderScene) -> None:
        """Regression: browsers that send it twice showed the error page to a visitor who had clicked nothing."""
        person = await scene.person()
        before = cookies_of(person.browser)
        arrival = await scene.walk(person, (await leave(person.browser)).headers["location"])
        answers = await asyncio.gather(*(person.browser.get(arrival) for _ in range(3)))
        for back in (*answers, await person.browser.get(arrival)):
            assert (back.status_code, back.headers["location"]) == (303, HERE)
        assert cookies_of(person.browser) == before
        assert await scene.shop.rows("flow_errors") == []

    async def test_goes_back_for_every_error_of_the_provider(self, scene: ProviderScene) -> None:
        for error in (
            "interaction_required",
            "consent_required",
            "account_selection_required",
            "server_error",
            "nonsense",
        ):
            browser = await scene.shop.browser()
            state = httpx2.URL((await leave(browser)).headers["location"]).params["state"]
            answer = {"error": error, "state": state, "iss": scene.provider.issuer}
            back = await browser.get(f"/self-service/methods/oidc/callback/{IDP}", params=answer)
            assert (back.status_code, back.headers["location"]) == (303, HERE)
            assert await browser.whoami() is None

    async def test_goes_back_where_the_provider_fails_meanwhile(self, scene: ProviderScene) -> None:
        person = await known(scene)
        arrival = await scene.walk(person, (await leave(person.browser)).headers["location"])
        scene.provider.faults(token={"status": 500})
        back = await person.browser.get(arrival)
        assert (back.status_code, back.headers["location"]) == (303, HERE)
        assert await person.browser.whoami() is None

    async def test_goes_back_where_the_form_has_run_out(self, scene: ProviderScene) -> None:
        person = await known(scene)
        arrival = await scene.walk(person, (await leave(person.browser)).headers["location"])
        scene.shop.clock.advance(hours=2)
        back = await person.browser.get(arrival)
        assert (back.status_code, back.headers["location"]) == (303, HERE)

    @pytest.mark.parametrize("known_before", [False, True], ids=["unknown", "with metadata"])
    async def test_does_not_leave_for_a_provider_that_is_away(self, scene: ProviderScene, known_before: bool) -> None:
        if known_before:
            await known(scene)
            scene.shop.clock.advance(seconds=11)
        scene.provider.faults(all={"drop": True})
        browser = await scene.shop.browser()
        token = await guest_with_cart(scene, browser)
        left = await leave(browser)
        assert left.headers["location"] == HERE
        assert set(set_cookies(left)) == {SILENCE}
        assert (await cart_of(scene, token))["totalQuantity"] == 3


class TestLoops:
    async def test_a_browser_tries_once_in_five_minutes(self, scene: ProviderScene) -> None:
        person = await scene.person()
        left = await leave(person.browser)
        assert "Max-Age=300" in set_cookies(left)[SILENCE]
        await person.browser.get(await scene.walk(person, left.headers["location"]))
        again = await leave(person.browser)
        assert (again.headers["location"], again.headers.get_list("set-cookie")) == (HERE, [])

    async def test_row_042_who_has_signed_out_is_not_signed_on_again(self, scene: ProviderScene) -> None:
        person = await known(scene)
        await person.browser.get(await scene.walk(person, (await leave(person.browser)).headers["location"]))
        signed_out = await person.browser.get(await scene.sign_out_url(person))
        assert "Max-Age=86400" in set_cookies(signed_out)[SILENCE]
        assert (await leave(person.browser)).headers["location"] == HERE

    @pytest.mark.parametrize("way", ["the shop's button", "another origin", "its token", "its server", "JSON", "all"])
    async def test_row_042_every_sign_out_of_a_browser_counts(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, openid_provider: OpenIDProvider, way: str
    ) -> None:
        """Regression: the shop's "Sign out" posts to `/signout`, and the next page signed the customer in again."""
        cors = {"serve": {"public": {"cors": {"enabled": True, "allowed_origins": [APP]}}}}
        async with with_provider(sqlite_dsn, tmp_path, clock, openid_provider, settings=cors) as scene:
            person = await scene.person()
            await scene.sign_in(person)
            signed_out = await sign_out(scene, person, way)
            assert "Max-Age=86400" in set_cookies(signed_out)[SILENCE]
            assert (await leave(person.browser)).headers["location"] == HERE

    async def test_an_app_that_signs_out_gets_no_cookie(self, scene: ProviderScene) -> None:
        person = await scene.person()
        await scene.sign_in(person)
        token = person.browser.session_cookie
        app = await scene.shop.native()
        answer = await app.post("/signout", json={}, headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.headers.get_list("set-cookie")) == (200, [])


class TestOtherSites:
    async def test_no_frame_and_nothing_that_looks_ahead_leaves(self, scene: ProviderScene) -> None:
        browser = await scene.shop.browser()
        for headers in (
            {"sec_fetch_dest": "iframe"},
            {"sec_fetch_dest": "image"},
            {"sec_fetch_dest": "empty"},
            {"sec_purpose": "prefetch"},
        ):
            left = await leave(browser, **headers)
            assert (left.headers["location"], left.headers.get_list("set-cookie")) == (HERE, [])
        assert await scene.shop.rows("flows") == []

    async def test_an_address_that_is_not_allowed_is_no_return_address(self, scene: ProviderScene) -> None:
        browser = await scene.shop.browser()
        answer = await browser.get(PATH, params={"return_to": f"{EVIL}/"})
        assert answer.headers["location"].startswith(f"{ADDRESS}/error?id=")
        assert answer.headers["x-error-code"] == "self_service_flow_return_to_forbidden"

    async def test_row_080_the_answer_of_another_browser_signs_nobody_in(self, scene: ProviderScene) -> None:
        attacker, victim = await known(scene), await scene.shop.browser()
        arrival = await scene.walk(attacker, (await leave(attacker.browser)).headers["location"])
        await leave(victim)
        await victim.get(arrival)
        assert await victim.whoami() is None

    async def test_is_off_unless_it_is_configured(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, openid_provider: OpenIDProvider
    ) -> None:
        async with with_provider(sqlite_dsn, tmp_path, clock, openid_provider, silent_sign_on=False) as scene:
            left = await leave(await scene.shop.browser())
            assert left.headers["location"] == HERE
            assert await scene.shop.rows("flows") == []
