"""Every page that a shopper can get, as the application renders it: for checks that hold of all of them."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from shopkeeper.http.pages.forms import form_of
from shopkeeper.http.pages.one_click import Purpose, Shown
from shopkeeper.ui.messages import Message, message
from shopkeeper.ui.nodes import Node, csrf_node, input_node
from tests.http.pages.conftest import Browser, Visited
from tests.http.pages.reading import Element, read
from tests.http.pages.test_forms import SIGN_IN, TEMPLATES
from tests.http.pages.test_forms import WRONG as WRONG_FIELD
from tests.http.pages.test_linked_accounts import account_page, button
from tests.http.pages.test_provider_buttons import IDENTIFIER, PASSWORD, provider

EMAIL = "donaudampfschifffahrtsgesellschaftskapitaen@lange-adressen.example"
WRONG = "not the password"
GOOD = "one more kettle on the shelf"


# A shop whose flows look different: in other steps, by link, with a choice, and without a session after registering.
OTHERWISE: Mapping[str, Any] = {
    "session": {"keep_signed_in": {"enabled": True}},
    "selfservice": {
        "flows": {
            "login": {"style": "identifier_first"},
            "registration": {"style": "unified", "after": {"password": {"hooks": []}}},
            "recovery": {"use": "link"},
            "verification": {"use": "link"},
        },
        "methods": {"link": {"enabled": True}, "password": {"config": {"haveibeenpwned_enabled": False}}},
    },
}


async def collect(shop: Visited, language: str) -> Mapping[str, str]:
    """Return the pages of the demo shop by their names, in one language."""
    return {
        **await _visitors(shop, language),
        **await _signing_in(shop, language),
        **await _registering(shop, language),
        **await _recovering(shop, language),
        **await _confirming(shop, language),
        **await _customers(shop, language),
        **_one_click(language),
        **_providers(language),
    }


async def collect_otherwise(shop: Visited, language: str) -> Mapping[str, str]:
    """Return the pages that look different in a shop with the settings `OTHERWISE`."""
    walk = Walk(shop, language)
    await walk.see("one-step-registration", "/self-service/registration/browser")
    await walk.send("one-step-registration-weak", "one-step-registration", {"traits.email": EMAIL, "password": "short"})
    await walk.send("registered-without-session", "one-step-registration-weak", {"password": GOOD})
    await walk.send("second-step", "registered-without-session", {"identifier": EMAIL})
    await walk.send("second-step-wrong", "second-step", {"password": WRONG})
    for kind in ("recovery", "verification"):
        await walk.see(kind, f"/self-service/{kind}/browser")
        await walk.send(f"{kind}-link", kind, {"email": EMAIL})
        del walk.pages[kind]
    return walk.pages


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
    await walk.see("no-cookies", "/login?cookies=asked")
    await walk.see("inbox", "/inbox")
    return walk.pages


async def _signing_in(shop: Visited, language: str) -> Mapping[str, str]:
    walk = Walk(shop, language)
    await walk.see("login", "/self-service/login/browser")
    await walk.send("login-empty", "login", {})
    await walk.send("error", "login", {"csrf_token": ""})
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
    await walk.send("registration-code", "registration-weak", {}, button=1)
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
    await walk.send("account-saved", "account", {"password": GOOD}, form=password)
    await walk.see("refresh", "/self-service/login/browser?refresh=true")
    await walk.see("signed-in-after-all", "/signed-out")
    await walk.see("mails", "/inbox")
    return {**walk.pages, **await _mailed(shop, language)}


async def _mailed(shop: Visited, language: str) -> Mapping[str, str]:
    """Return what the mails of a customer lead to."""
    address = f"{language}-2.{EMAIL}"
    walk = Walk(shop, language)
    await walk.see("recovery-again", "/self-service/recovery/browser")
    await walk.send("recovery-asked", "recovery-again", {"email": address})
    await walk.send("recovered", "recovery-asked", {"code": await _newest(walk, r"\b\d{6}\b")})
    await walk.see("verification-again", "/self-service/verification/browser")
    await walk.send("verification-asked", "verification-again", {"email": address})
    await walk.see("mail", await _newest(walk, r"/inbox/[\w-]{36}"))
    [link, *_] = re.findall(r"/self-service/verification\?flow=[\w-]+&amp;code=\d+", walk.pages["mail"])
    await walk.see("verification-by-link", link.replace("&amp;", "&"))
    await walk.send("verified", "verification-by-link", {})
    return {name: walk.pages[name] for name in ("recovered", "mail", "verification-by-link", "verified")}


async def _newest(walk: Walk, pattern: str) -> str:
    """Return the first match in the inbox, which has the newest mail first."""
    return re.findall(pattern, (await walk.browser.get("/inbox")).text)[0]


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
    ending = {state: drawn("end_session", {"state": state, "token": "1"}, language) for state in ("ask", "ended")}
    return {**pages, **{f"end-session-{state}": page for state, page in ending.items()}}


def _providers(language: str) -> Mapping[str, str]:
    """Return the pages of social sign-in, which the demo shop has only once a provider is configured."""
    presets = ("google", "apple", "github", "discord", "spotify", "twitch", "facebook", "idp")
    labels = {"idp": "Kundenkonto der Stadtwerke Donaudampfschifffahrtsgesellschaft"}
    several = [provider(each, labels.get(each, each.title())) for each in presets]
    missing = input_node("traits.email", "email", group="default", label=message(1070002, title="E-mail"))
    taken = message(1010016, provider="Google", duplicate_identifier=EMAIL)
    known = input_node("identifier", "hidden", group="default", value=EMAIL)
    go_on = input_node("provider", "submit", group="oidc", value="google", label=message(1040003))
    sign_in = [csrf_node(), IDENTIFIER, PASSWORD, SIGN_IN]
    linked = [button("unlink", "google", "Google", disabled=True), button("link", "idp", labels["idp"])]
    leaving = {"url": "https://idp.example/authorize", "host": "idp.example"}
    return {
        "providers": flow_page("login", [*several, *sign_in], language),
        "providers-alone": flow_page("login", [several[0]], language),
        "provider-left-out": flow_page("registration", [go_on, missing.with_messages(WRONG_FIELD)], language),
        "provider-taken": flow_page(
            "login", [known, several[2], *sign_in[2:]], language, messages=(taken,), links=True
        ),
        "provider-linked": account_page([csrf_node(), *linked], language=language, provider="shop-google"),
        "repeated-form": _still(drawn("repeated_form", {"fields": {"code": "1"}}, language)),
        "leaving": drawn("leaving", leaving, language).replace('content="0; url=', 'content="99999; url='),
    }


def _still(page: str) -> str:
    """Return a page without the script that sends its form."""
    return page.replace("<script ", '<script type="text/plain" ')


def flow_page(
    kind: str, nodes: Sequence[Node], language: str, *, messages: tuple[Message, ...] = (), links: bool = False
) -> str:
    """Render the page of a flow with some nodes; `links` says whether a way to sign in waits for the proof."""
    form = form_of(nodes, messages, action="/", csrf_token="masked")
    context = {"form": form, "refresh": False, "links": links, "cart_stays": False, "query": "", "another_way": None}
    return drawn(kind, {**context, "flow_state": "choose_method", "recovery": True}, language)


def drawn(name: str, context: Mapping[str, Any], language: str) -> str:
    """Render a page of nobody in particular."""
    nobody = {"signed_in": None, "sign_out_link": None, "csrf_token": "", "acting": False}
    return TEMPLATES.render(name, {**nobody, **context}, language=language)
