"""Each page offers the three languages by links to itself, and remembers the one that is chosen."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from shopkeeper.languages.choice import LANGUAGES, NAMES
from tests.http.pages.conftest import ADDRESS, Browser, Visited, Visiting
from tests.http.pages.reading import Element, read

ANA = "ana@example.org"
CHOICE = "shopkeeper_language"
PATHS = [
    "/",
    "/self-service/login/browser",
    "/signed-out",
    "/error?id=stub:500",
    "/inbox",
    "/nowhere",
    "/login?cookies=asked",
]


async def seen(browser: Browser, path: str) -> Element:
    """Return a page, whatever its status, after any redirects."""
    return read((await browser.get(path, follow_redirects=True)).text)


def links_of(page: Element) -> dict[str, Element]:
    return {link["hreflang"]: link for link in page.one("footer").all("a") if link.has("hreflang")}


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_links_to_itself_in_each_language(shop: Visited, path: str) -> None:
    browser = shop.browser()
    answer = await browser.get(path, follow_redirects=True)
    links = links_of(read(answer.text))
    assert {language: (link["lang"], link.text) for language, link in links.items()} == {
        language: (language, name) for language, name in NAMES.items()
    }
    assert [language for language, link in links.items() if link.has("aria-current")] == ["en"]
    for language, link in links.items():
        url = answer.url.join(link["href"])
        again = await browser.get(str(url))
        assert (again.status_code, again.headers["content-language"]) == (answer.status_code, language)
        page = read(again.text)
        assert page.one("html")["lang"] == language
        assert [key for key, each in links_of(page).items() if each.has("aria-current")] == [language]
        assert url.path == answer.url.path
        assert [pair for pair in url.params.multi_items() if pair[0] != "lang"] == answer.url.params.multi_items()


async def test_a_choice_is_remembered_on_every_page_and_by_the_api(shop: Visited) -> None:
    browser = shop.browser()
    page = await seen(browser, "/signed-out")
    answer = await browser.get("/signed-out" + links_of(page)["es"]["href"])
    [line] = [line for line in answer.headers.get_list("set-cookie") if line.startswith(CHOICE)]
    assert line == f"{CHOICE}=es; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"
    assert (await seen(browser, "/self-service/login/browser")).one("html")["lang"] == "es"
    flow = (await browser.get("/self-service/login/browser", headers={"accept": "application/json"})).headers
    assert flow["content-language"] == "es"
    again = await browser.get("/signed-out?lang=en")
    assert again.headers["content-language"] == "en"
    assert (await seen(browser, "/signed-out")).one("html")["lang"] == "en"


async def test_a_flow_that_another_site_opens_is_in_the_language_it_names(shop: Visited) -> None:
    browser = shop.browser()
    assert (await seen(browser, "/self-service/registration/browser?lang=de")).one("html")["lang"] == "de"
    assert browser.cookies[CHOICE] == "de"


@pytest.mark.parametrize(
    "query", ["lang=fr", "lang=DE", "lang=", "lang=de-AT", "lang=de%0d%0aSet-Cookie:+a=b", "lang=https://evil.example/"]
)
async def test_nothing_but_an_offered_language_can_be_chosen(shop: Visited, query: str) -> None:
    browser = shop.browser()
    answer = await browser.get(f"/signed-out?{query}")
    assert (answer.status_code, answer.headers["content-language"]) == (200, "en")
    assert CHOICE not in str(answer.headers.get_list("set-cookie"))
    browser.cookies.set(CHOICE, "fr")
    assert (await browser.get("/signed-out")).headers["content-language"] == "en"


@pytest.mark.parametrize("path", ["//evil.example/", "/%2f%2fevil.example/", "/error?id=1&next=https://evil.example/"])
async def test_the_links_never_lead_to_another_site(shop: Visited, path: str) -> None:
    answer = await shop.browser().get(f"{ADDRESS}{path}")
    links = links_of(read(answer.text))
    assert len(links) == len(LANGUAGES)
    for link in links.values():
        target = urlsplit(link["href"])
        assert (target.scheme, target.netloc, target.path) == ("", "", "")
        assert str(answer.url.join(link["href"])).startswith(f"{ADDRESS}/")


async def test_a_page_that_answers_a_form_links_to_the_first_page(shop: Visited) -> None:
    answer = await shop.browser().post("/account/end-session", data={"token": "unknown"})
    assert {link["href"] for link in links_of(read(answer.text)).values()} == {f"/?lang={each}" for each in LANGUAGES}


async def test_what_only_looks_ahead_chooses_nothing(shop: Visited) -> None:
    browser = shop.browser()
    await browser.register(ANA)
    for headers in ({"sec-purpose": "prefetch"}, {"x-moz": "prefetch"}):
        await browser.get("/?lang=es", headers=headers)
    await browser.head("/?lang=es")
    assert CHOICE not in browser.cookies
    assert await kept(shop) == ("en", "en")


async def test_a_customers_choice_is_kept_with_the_session_and_the_identity(either_shop: Visited) -> None:
    browser = either_shop.browser()
    await browser.register(ANA)
    assert await kept(either_shop) == ("en", "en")
    await browser.get("/?lang=de", headers={"sec-fetch-site": "cross-site"})
    assert await kept(either_shop) == ("en", "en")
    account = await browser.get("/account?lang=es", headers={"sec-fetch-site": "same-origin"}, follow_redirects=True)
    assert (account.status_code, account.headers["content-language"]) == (200, "es")
    assert await kept(either_shop) == ("es", "es")
    # Programs that send neither the cookie nor a language get it from the session at once, cached or not.
    [token] = [value for name, value in browser.cookies.items() if name == "ory_kratos_session"]
    app = either_shop.browser(Accept_Language="")
    answer = await app.get("/self-service/settings/api", headers={"x-session-token": token})
    assert answer.headers["content-language"] == "es"


async def test_a_flow_is_shown_in_the_language_of_its_store(visiting: Visiting, sqlite_dsn: str) -> None:
    stores = [{"id": "kettle", "locale": "en"}, {"id": "quitte", "locale": "de-AT"}]
    async with visiting(sqlite_dsn, stores=stores, default_store="kettle") as visited:
        browser = visited.browser(Accept_Language="fr")
        assert (await seen(browser, "/self-service/login/browser")).one("html")["lang"] == "en"
        answer = await browser.get("/self-service/login/browser?store=quitte", follow_redirects=True)
        assert "store" not in dict(parse_qsl(answer.url.query.decode()))
        assert answer.headers["content-language"] == "de"
        flow = dict(parse_qsl(answer.url.query.decode()))["flow"]
        fetched = await browser.get(f"/self-service/login/flows?id={flow}")
        assert fetched.headers["content-language"] == "de"
        assert "Passwort" in fetched.text


async def kept(shop: Visited) -> tuple[str, str]:
    """Return the language of the only session, and that of the only identity."""
    async with shop.application.infrastructure.database.transaction() as connection:
        found = [
            (await connection.exec_driver_sql(f"SELECT locale FROM {table}")).scalar_one()
            for table in ("sessions", "identities")
        ]
    return found[0], found[1]


async def test_an_app_that_names_a_language_gets_no_cookie_which_would_make_it_a_browser(shop: Visited) -> None:
    app = shop.browser(Accept="application/json")
    flow = (await app.get("/self-service/login/api?lang=de")).json()
    answer = await app.post(f"/self-service/login?flow={flow['id']}&lang=de", json={"method": "password"})
    assert "Bitte ausfüllen" in answer.text
    assert answer.headers["content-language"] == "de"
    assert CHOICE not in app.cookies
