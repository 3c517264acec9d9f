"""Every page that a shopper can get, as the application renders it: for checks that hold of all of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shopkeeper.http.pages.one_click import Purpose, Shown
from tests.http.pages.conftest import Browser, Visited
from tests.http.pages.reading import Element, read
from tests.http.pages.test_forms import TEMPLATES

EMAIL = "donaudampfschifffahrtsgesellschaftskapitaen@lange-adressen.example"
WRONG = "not the password"


async def collect(shop: Visited, language: str) -> Mapping[str, str]:
    """Return the pages by their names, in one language."""
    return {
        **await _visitors(shop, language),
        **await _signing_in(shop, language),
        **await _registering(shop, language),
        **await _recovering(shop, language),
        **await _confirming(shop, language),
        **await _customers(shop, language),
        **_one_click(language),
    }


class Walk:
    """A browser that keeps the pages it gets."""

    def __init__(self, shop: Visited, language: str) -> None:
        self.browser: Browser = shop.browser(Accept_Language=language)
        self.pages: dict[str, str] = {}

    async def see(self, name: str, path: str) -> None:
        answer = await self.browser.get(path, follow_redirects=True)
        self.pages[name] = answer.text

    async def send(self, name: str, previous: str, typed: Mapping[str, str], *, form: int = 0, button: int = 0) -> None:
        """Press a button of the form of a page, by its number, and keep what comes."""
        sent = read(self.pages[previous]).one("main").all("form")[form]
        pressed = sent.all("button")[button]
        named = {pressed["name"]: pressed["value"]} if pressed.has("name") else {}
        data = {**sent.fields(), **typed, **named}
        self.pages[name] = (await self.browser.post(sent["action"], data=data, follow_redirects=True)).text


async def _visitors(shop: Visited, language: str) -> Mapping[str, str]:
    walk = Walk(shop, language)
    await walk.see("signed-out", "/signed-out")
    await walk.see("end-session", "/account/end-session?token=used-before")
    await walk.see("nothing-here", "/nothing/here")
    await walk.see("error", "/error?id=stub:500")
    await walk.see("no-cookies", "/login?cookies=asked")
    await walk.see("inbox", "/inbox")
    return walk.pages


async def _signing_in(shop: Visited, language: str) -> Mapping[str, str]:
    walk = Walk(shop, language)
    await walk.see("login", "/self-service/login/browser")
    await walk.send("login-empty", "login", {})
    await walk.send("login-wrong", "login", {"identifier": EMAIL, "password": WRONG})
    await walk.send("login-code", "login", {"identifier": EMAIL}, button=1)
    await walk.send("login-code-wrong", "login-code", {"code": "000000"})
    return walk.pages


async def _registering(shop: Visited, language: str) -> Mapping[str, str]:
    walk = Walk(shop, language)
    await walk.see("registration", "/self-service/registration/browser")
    await walk.send("registration-wrong", "registration", {"traits.email": "nonsense"})
    await walk.send("registration-password", "registration-wrong", {"traits.email": f"{language}.{EMAIL}"})
    await walk.send("registration-weak", "registration-password", {"password": "short"})
    return walk.pages


async def _recovering(shop: Visited, language: str) -> Mapping[str, str]:
    walk = Walk(shop, language)
    await walk.see("recovery", "/self-service/recovery/browser")
    await walk.send("recovery-wrong", "recovery", {"email": "nonsense"})
    await walk.send("recovery-code", "recovery", {"email": EMAIL})
    await walk.send("recovery-code-wrong", "recovery-code", {"code": "000000"})
    return walk.pages


async def _confirming(shop: Visited, language: str) -> Mapping[str, str]:
    walk = Walk(shop, language)
    await walk.see("verification", "/self-service/verification/browser")
    await walk.send("verification-wrong", "verification", {"email": "nonsense"})
    await walk.send("verification-code", "verification", {"email": EMAIL})
    await walk.send("verification-code-wrong", "verification-code", {"code": "000000"})
    return walk.pages


async def _customers(shop: Visited, language: str) -> Mapping[str, str]:
    await shop.browser(User_Agent="Firefox/130.0 on Linux").register(f"{language}-2.{EMAIL}")
    walk = Walk(shop, language)
    await walk.browser.sign_in(f"{language}-2.{EMAIL}")
    await walk.see("account", "/account")
    password = next(
        n for n, form in enumerate(read(walk.pages["account"]).one("main").all("form")) if _is_password(form)
    )
    await walk.send("account-weak", "account", {"password": "short"}, form=password)
    await walk.send("account-saved", "account", {"password": "one more kettle on the shelf"}, form=password)
    await walk.see("refresh", "/self-service/login/browser?refresh=true")
    await walk.see("signed-in-after-all", "/signed-out")
    await walk.see("mails", "/inbox")
    return walk.pages


def _is_password(form: Element) -> bool:
    return any(field.get("name") == "password" for field in form.all("input"))


def _one_click(language: str) -> Mapping[str, str]:
    shown = Shown(address=EMAIL, at=datetime.fromisoformat("2026-03-01T10:00Z"))
    pages: dict[str, str] = {}
    for purpose in Purpose:
        asked = {"state": "asked", "action": "/", "fields": {"token": "1"}, "shown": shown}
        pages[f"click-{purpose}"] = drawn("one_click", {"purpose": purpose.value, **asked}, language)
    undone = {"purpose": Purpose.UNDO_ADDRESS.value, "next": "/"}
    pages |= {f"undo-{state}": drawn("one_click", {**undone, "state": state}, language) for state in ("done", "over")}
    ending = {
        state: drawn("end_session", {"state": state, "token": "1"}, language) for state in ("ask", "ended", "over")
    }
    return {**pages, **{f"end-session-{state}": page for state, page in ending.items()}}


def drawn(name: str, context: Mapping[str, Any], language: str) -> str:
    """Render a page of nobody in particular."""
    nobody = {"signed_in": None, "sign_out_link": None, "csrf_token": ""}
    return TEMPLATES.render(name, {**nobody, **context}, language=language)
