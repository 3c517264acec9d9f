"""Pages with one button, for what a mailed link asks for."""

from datetime import datetime
from uuid import uuid4

import pytest
from starlette.requests import Request

from shopkeeper import crypto
from shopkeeper.app.authentication import build_authenticator, build_cookie_policy
from shopkeeper.app.oauth import build_oauth
from shopkeeper.app.token_sources import build_token_sources
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.cookies import csrf_token_in
from shopkeeper.http.origins import Origins
from shopkeeper.http.pages.language_choice import LanguageChoice
from shopkeeper.http.pages.layout import PageLayout, Place
from shopkeeper.http.pages.one_click import NOTHING, OneClickPages, Purpose, Shown
from shopkeeper.languages.choice import LANGUAGES
from tests.http.pages.conftest import ADDRESS, Visited
from tests.http.pages.reading import Element, read
from tests.http.pages.test_forms import TEMPLATES

PURPOSES = pytest.mark.parametrize("purpose", list(Purpose))


def pages_of(shop: Visited) -> OneClickPages:
    infrastructure, accounts = shop.application.infrastructure, shop.application.accounts
    callers = CallerReader(
        authenticator=build_authenticator(
            infrastructure,
            build_token_sources(infrastructure, accounts, build_oauth(infrastructure, accounts)),
            shop.application.commerce,
        ),
        cookies=build_cookie_policy(infrastructure, shop.application.commerce),
        form_origins=Origins([ADDRESS]),
        clock=shop.clock,
        base_url=ADDRESS,
    )
    return OneClickPages(
        PageLayout(
            templates=TEMPLATES,
            callers=callers,
            sessions=accounts.sessions,
            place=Place.at(ADDRESS),
            languages=LanguageChoice(
                database=infrastructure.database, sessions=accounts.sessions, identities=accounts.identities, home="/"
            ),
            form_targets=(),
            offers=lambda kind, store: True,
            takes_passwords=lambda store: True,
        )
    )


def request_of(language: str = "en") -> Request:
    headers = [(b"host", b"shop.test"), (b"accept-language", language.encode())]
    scope = {"type": "http", "method": "GET", "path": "/link", "query_string": b"token=secret", "headers": headers}
    return Request({**scope, "client": ("127.0.0.1", 40_000), "scheme": "http", "server": ("shop.test", 80)})


async def ask(shop: Visited, purpose: Purpose, *, language: str = "en", shown: Shown = NOTHING) -> Element:
    page = await pages_of(shop).ask(
        request_of(language), purpose, action="/link", fields={"token": "secret"}, shown=shown
    )
    return read(bytes(page.body).decode())


@PURPOSES
async def test_nothing_but_the_button_sends_the_token(shop: Visited, purpose: Purpose) -> None:
    page = await ask(shop, purpose)
    form = page.one("main").one("form")
    assert (form["method"], form["action"], form.fields()["token"]) == ("post", "/link", "secret")
    assert len(form.all("button")) == 1
    places = [each.get(name) or "" for each in page.below() for name in ("href", "src") if each.has(name)]
    # The same question in another language.
    assert [place for place in places if "secret" in place] == [f"?token=secret&lang={each}" for each in LANGUAGES]
    assert page.all("script") == []


async def test_the_form_has_this_browsers_token(shop: Visited) -> None:
    answer = await pages_of(shop).ask(request_of(), Purpose.RECOVERY, action="/link", fields={})
    sent = read(bytes(answer.body).decode()).one("main").one("form").fields()["csrf_token"]
    cookie = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert crypto.unmask(sent) == csrf_token_in(cookie)


@PURPOSES
async def test_no_other_site_and_no_cache_learns_the_token(shop: Visited, purpose: Purpose) -> None:
    answer = await pages_of(shop).ask(request_of(), purpose, action="/link", fields={"token": "secret"})
    assert answer.headers["referrer-policy"] == "strict-origin"
    assert "no-store" in answer.headers["cache-control"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_the_facts_that_help_to_decide_are_shown_as_text(shop: Visited) -> None:
    shown = Shown(address="a<b>@example.com", at=datetime.fromisoformat("2026-03-01T10:00Z"))
    page = await ask(shop, Purpose.UNDO_ADDRESS, language="de", shown=shown)
    assert [each.text for each in page.all("dd")] == ["a<b>@example.com", "1. März 2026, 10:00 UTC"]
    assert page.one("h1").text == "Änderung Ihrer Adresse rückgängig machen"


async def test_a_link_of_no_use_says_what_to_do_next(shop: Visited) -> None:
    answer = await pages_of(shop).over(request_of("de"), Purpose.UNDO_ADDRESS)
    page = read(bytes(answer.body).decode())
    assert (answer.status_code, page.one("h1").text) == (404, "Dieser Link gilt nicht mehr")
    assert page.one("main").one("a")["href"] == "/account"


async def test_afterwards_a_new_password_can_be_chosen(shop: Visited) -> None:
    answer = await pages_of(shop).done(
        request_of(), Purpose.UNDO_ADDRESS, account=uuid4(), next_url="/self-service/recovery/browser"
    )
    page = read(bytes(answer.body).decode())
    assert page.one("a", href="/self-service/recovery/browser").text == "Choose a new password"
    assert page.one("p", role="status").text
    assert page.one("main").all("form") == []
