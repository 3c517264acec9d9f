"""Styles, scripts and pictures: cached for good where their address names their version."""

import pytest

from shopkeeper.commerce.embedded.demo import read_pictures
from tests.http.pages.conftest import Visited

FOR_GOOD = "public, max-age=31536000, immutable"


async def addresses(shop: Visited) -> list[str]:
    page = await shop.browser().see("/")
    return [*(link["href"] for link in page.all("link", rel="stylesheet")), page.one("script", type="module")["src"]]


async def test_what_a_page_asks_for_is_cached_for_good(shop: Visited) -> None:
    kinds = {}
    for address in await addresses(shop):
        answer = await shop.browser().get(address)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, FOR_GOOD)
        assert answer.headers["x-content-type-options"] == "nosniff"
        kinds[address.rpartition("/")[2]] = answer.headers["content-type"]
    assert kinds == {
        "pages.css": "text/css; charset=utf-8",
        "shop.css": "text/css; charset=utf-8",
        "shop.js": "text/javascript; charset=utf-8",
    }


async def test_another_versions_address_is_served_and_not_cached(shop: Visited) -> None:
    answer = await shop.browser().get("/static/0123456789abcdef/pages.css")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, no-cache")


async def test_an_unchanged_asset_is_not_sent_again(shop: Visited) -> None:
    address = (await addresses(shop))[0]
    tag = (await shop.browser().get(address)).headers["etag"]
    again = await shop.browser().get(address, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await shop.browser().get(address, headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/x/nothing.css",
        "/static/x/../pages/base.html.j2",
        "/static/x/%2e%2e/pages/base.html.j2",
        "/static/x//etc/passwd",
        "/static/x/pages.css/..",
        "/static/x/",
        "/shop/pictures/..%2fmark.svg",
        "/shop/pictures/whistling-kettle",
        "/shop/pictures/nothing.svg",
    ],
)
async def test_an_unknown_asset_is_not_served(shop: Visited, path: str) -> None:
    assert (await shop.browser().get(path)).status_code == 404


async def test_every_product_has_its_picture(shop: Visited) -> None:
    browser = shop.browser()
    for name, picture in read_pictures().items():
        answer = await browser.get(f"/shop/pictures/{name}.svg")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml; charset=utf-8")
        assert answer.content == picture


async def test_a_picture_opened_by_itself_can_load_and_run_nothing(shop: Visited) -> None:
    for path in ("/shop/pictures/whistling-kettle.svg", "/shop/mark.svg"):
        policy = (await shop.browser().get(path)).headers["content-security-policy"]
        assert policy == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
