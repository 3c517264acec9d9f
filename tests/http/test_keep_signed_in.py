""" "Keep me signed in": two lifespans and two kinds of cookies, by a choice on the form."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import PASSWORD, Browser, Scene, csrf_of, new_address, set_cookies, sign_up
from tests.credentials.social import social_stage
from tests.http.conftest import Opening

KEEPING = {"keep_signed_in": {"enabled": True, "lifespan": "720h"}, "idle_lifespan": "12h"}
CODES = {"methods": {"code": {"passwordless_enabled": True}}}
FIRST = {"flows": {"login": {"style": "identifier_first"}}}
LONG, SHORT = timedelta(days=30), timedelta(days=1)


def box(flow: dict[str, Any]) -> Any:
    """Return the checkbox of a form, or None."""
    return next((n for n in flow["ui"]["nodes"] if n["attributes"].get("name") == "keep_signed_in"), None)


def is_kept(answer: httpx2.Response) -> bool:
    """Whether an answer has signed in with a persistent cookie."""
    assert answer.status_code == 200, answer.text
    return "Max-Age" in set_cookies(answer)["ory_kratos_session"]


async def lifespan(scene: Scene, browser: Browser) -> timedelta:
    """Return how long the session lives, as it is stored."""
    assert await browser.whoami()
    session = (await browser.get("/sessions/whoami")).json()["id"]
    async with scene.application.infrastructure.database.unit() as unit:
        found = await scene.application.accounts.sessions.require(unit, UUID(session))
    return found.expires_at - found.issued_at


class TestWherePeopleMayChoose:
    @pytest.mark.parametrize(
        ("choice", "kept"), [(True, True), ("true", True), ("on", True), (False, False), (7, False)]
    )
    async def test_it_decides_the_lifespan_and_the_cookie(
        self, opening: Opening, sqlite_dsn: str, choice: Any, kept: bool
    ) -> None:
        async with opening(sqlite_dsn, session=KEEPING) as scene:
            email = new_address()
            await sign_up(await scene.native(), email)
            browser = await scene.browser()
            flow = await browser.open_flow("login")
            assert box(flow)["attributes"]["type"] == "checkbox"
            assert box(flow)["attributes"]["value"] is False
            sent = {"identifier": email, "password": PASSWORD, "keep_signed_in": choice}
            assert is_kept(await browser.send_flow(flow, sent)) is kept
            assert await lifespan(scene, browser) == (LONG if kept else SHORT)

    async def test_no_choice_keeps_nobody(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn, session=KEEPING) as scene:
            browser, email = await scene.browser(), new_address()
            assert not is_kept(await browser.sign_up(email))
            assert await lifespan(scene, browser) == SHORT

    async def test_unused_only_the_kept_one_stays(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn, session=KEEPING) as scene:
            kept, other, email = await scene.browser(), await scene.browser(), new_address()
            flow = await kept.open_flow("registration")
            traits = {"password": PASSWORD, "traits": {"email": email}, "keep_signed_in": True}
            assert is_kept(await kept.send_flow(flow, traits))
            assert not is_kept(await other.sign_in(email))
            scene.clock.advance(hours=12)
            assert await kept.whoami()
            assert await other.whoami() is None

    async def test_it_survives_a_mistake(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn, session=KEEPING) as scene:
            email = new_address()
            await sign_up(await scene.native(), email)
            browser = await scene.browser()
            flow = await browser.open_flow("login")
            wrong = {"identifier": email, "password": "a wrong one of some length", "keep_signed_in": True}
            again = (await browser.send_flow(flow, wrong)).json()
            assert box(again)["attributes"]["value"] is True
            assert is_kept(await browser.send_flow(again, {"identifier": email, "password": PASSWORD}))

    async def test_it_survives_both_steps_of_a_code(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn, session=KEEPING, selfservice=CODES) as scene:
            email = new_address()
            await sign_up(await scene.native(), email)
            browser = await scene.browser()
            flow = await browser.open_flow("login")
            asked = {"method": "code", "identifier": email, "keep_signed_in": True}
            sent = (await browser.send_flow(flow, asked)).json()
            assert box(sent)["attributes"]["value"] is True
            [mail, *_] = await scene.mails()
            [code] = re.findall(r"\b\d{6}\b", mail.body)[:1]
            answer = await browser.send_flow(sent, {"method": "code", "identifier": email, "code": code})
            assert is_kept(answer)
            assert await lifespan(scene, browser) == LONG

    async def test_it_survives_an_identifier_first_form(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn, session=KEEPING, selfservice=FIRST) as scene:
            email = new_address()
            await sign_up(await scene.native(), email)
            browser = await scene.browser()
            flow = await browser.open_flow("login")
            first = {"method": "identifier_first", "identifier": email, "keep_signed_in": True}
            second = (await browser.send_flow(flow, first)).json()
            assert box(second)["attributes"]["value"] is True
            assert is_kept(await browser.send_flow(second, {"identifier": email, "password": PASSWORD}))

    async def test_confirming_a_session_takes_over_its_choice(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn, session=KEEPING) as scene:
            browser, email = await scene.browser(), new_address()
            flow = await browser.open_flow("registration")
            traits = {"password": PASSWORD, "traits": {"email": email}, "keep_signed_in": True}
            assert is_kept(await browser.send_flow(flow, traits))
            confirming = await browser.open_flow("login", "?refresh=true")
            assert box(confirming) is None
            again = await browser.send_flow(confirming, {"identifier": email, "password": PASSWORD})
            assert is_kept(again)

    async def test_the_page_has_a_labelled_box_in_the_readers_language(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn, session=KEEPING) as scene:
            browser = await scene.browser(accept_language="de")
            flow = await browser.open_flow("login")
            assert box(flow)["meta"]["label"] == {"id": 1079001, "text": "Angemeldet bleiben", "type": "info"}


class TestWhereTheyMayNot:
    async def test_nothing_is_shown_and_the_field_means_nothing(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn, session={"cookie": {"persistent": False}}) as scene:
            browser, email = await scene.browser(), new_address()
            flow = await browser.open_flow("registration")
            assert box(flow) is None
            traits = {"password": PASSWORD, "traits": {"email": email}, "keep_signed_in": True}
            assert not is_kept(await browser.send_flow(flow, traits))
            assert await lifespan(scene, browser) == SHORT


async def test_the_choice_goes_along_to_a_provider_and_back(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    """As our page sends it: the button of the provider belongs to the form with the checkbox, and names no method."""
    async with social_stage(sqlite_dsn, tmp_path, clock, session=KEEPING) as stage:
        await stage.customer(new_address(), ("idp", "alice"))
        browser = await stage.scene.browser()
        flow = await browser.open_flow("login")
        sent = {"csrf_token": csrf_of(flow), "identifier": "", "password": "", "keep_signed_in": ["false", "true"]}
        answer = await browser.post(flow["ui"]["action"], data={**sent, "provider": "idp"})
        back = await browser.get(stage.back(answer.headers["location"]))
        assert "Max-Age" in set_cookies(back)["ory_kratos_session"]
        assert await lifespan(stage.scene, browser) == LONG
