"""The inbox of a development server."""

from typing import Any

import pytest

from tests.http.pages.conftest import Visited
from tests.http.pages.reading import read

ORDER: dict[str, Any] = {
    "first_name": "Ana",
    "number": "S-7K3M-9QXT-2WFA",
    "lines": [{"name": "Kettle", "quantity": 1, "total": {"amount": 100, "currency": "EUR"}}],
    "total": {"amount": 100, "currency": "EUR"},
}


async def write(shop: Visited, recipient: str, *, first_name: str = "Ana", template: str = "welcome") -> str:
    """Queue a mail; return its id."""
    context = {**ORDER, "placed_at": shop.clock.now(), "first_name": first_name}
    async with shop.application.infrastructure.database.unit() as unit:
        mail = await shop.application.commerce.courier.queue(
            unit, template=template, recipient=recipient, context=context
        )
    return str(mail)


async def test_an_empty_inbox_says_what_would_fill_it(shop: Visited) -> None:
    page = await shop.browser().see("/inbox")
    assert page.one("div", class_="card").text == "No mail yet. Sign up, or place an order, and look again."


async def test_mails_are_listed_newest_first(either_shop: Visited) -> None:
    for name in ("ana", "ben"):
        await write(either_shop, f"{name}@example.com")
    rows = (await either_shop.browser().see("/inbox")).one("tbody").all("tr")
    assert [[cell.text for cell in row.below() if cell.tag in {"th", "td"}] for row in rows] == [
        ["Welcome to Quince & Kettle", f"{name}@example.com", "14 Mar 2026, 15:09 UTC", "waiting"]
        for name in ("ben", "ana")
    ]


async def test_many_mails_are_listed_in_pages(shop: Visited) -> None:
    for number in range(31):
        await write(shop, f"a{number}@example.com")
    browser = shop.browser()
    first = await browser.see("/inbox")
    older = await browser.see(first.one("a", class_="button plain")["href"])
    assert (len(first.one("tbody").all("tr")), len(older.one("tbody").all("tr"))) == (30, 1)
    assert older.one("a", class_="button plain").text == "Newest mails"


async def test_registering_leaves_a_mail(shop: Visited) -> None:
    browser = shop.browser()
    await browser.register("ana@example.com")
    rows = (await browser.see("/inbox")).one("tbody").all("a")
    pages = [await browser.see(row["href"]) for row in rows]
    [page] = [page for page in pages if page.one("h1").text == "Welcome to Quince & Kettle"]
    assert "is your code to confirm your address" in " ".join(each.one("h1").text for each in pages)
    assert "Hello Ana," in page.one("pre").text


async def test_a_mails_html_is_shown_in_a_sandbox(shop: Visited) -> None:
    answer = await shop.browser().get(f"/inbox/{await write(shop, 'ana@example.com')}")
    layout = read(answer.text).one("iframe")
    assert set(layout["sandbox"].split()) == {"allow-popups", "allow-popups-to-escape-sandbox"}
    assert layout["srcdoc"].startswith('<base target="_blank"><!doctype html>')
    assert "script-src 'self'; style-src 'self' 'unsafe-inline'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</iframe></pre>"])
async def test_row_089_hostile_names_stay_text_in_mails(shop: Visited, hostile: str) -> None:
    page = await shop.browser().see(f"/inbox/{await write(shop, 'ana@example.com', first_name=hostile)}")
    layout = page.one("iframe")["srcdoc"]
    assert f"Hello {hostile}," in page.one("pre").text
    assert f"Hello {hostile}," in " ".join(p.text for p in read(layout).all("p"))
    assert not read(layout).all("script")
    assert not page.all("script")


async def test_links_in_the_text_can_be_followed(shop: Visited) -> None:
    page = await shop.browser().see(f"/inbox/{await write(shop, 'ana@example.com')}")
    links = page.one("pre").all("a")
    assert links[0]["href"] == "http://shop.test/self-service/login/browser"
    assert {(link["target"], link["rel"]) for link in links} == {("_blank", "noopener noreferrer")}


@pytest.mark.parametrize("path", ["/inbox/nonsense", "/inbox/01890000-0000-7000-8000-000000000000", "/inbox?before=x"])
async def test_an_unknown_mail_is_reported(shop: Visited, path: str) -> None:
    answer = await shop.browser().get(path)
    assert (answer.status_code, read(answer.text).one("h1").text) == (404, "There is nothing here")
