"""A shop whose engine has carts and nothing else: what it supports works, the rest is refused in one sentence."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shopkeeper.clock import StoppedClock
from tests.commerce.stand import CartsOnly
from tests.graphql.shop import ADD, CHECK_OUT, GET_CART, ME, ORDERS, Client, opened

ITEM = "QK-KETTLE-NAV"


@pytest.fixture
async def bare(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Client, Client]]:
    """A visitor and a customer."""
    monkeypatch.chdir(tmp_path)
    async with opened(sqlite_dsn, tmp_path, clock, engines={"embedded": CartsOnly(clock)}) as stand:
        yield await stand.visitor(), await stand.customer("ada@example.org")


async def test_carts_can_be_filled_and_shown_without_a_catalogue(bare: tuple[Client, Client]) -> None:
    visitor, _ = bare
    cart = (await visitor.data(ADD, input={"itemId": ITEM, "quantity": 2}))["addToCart"]["cart"]
    assert (cart["totalQuantity"], cart["entries"][0]["items"]) == (2, [])
    assert (await visitor.data(GET_CART))["getCart"] == cart


@pytest.mark.parametrize(
    "query",
    [
        '{ findItemsByKeyword(text: "tea") { total } }',
        '{ findItemsByIds(ids: ["tea"]) { total } }',
        '{ findItemById(id: "tea") { slug } }',
        "{ findCategories { id } }",
    ],
    ids=["searching", "by ids", "by id", "categories"],
)
async def test_a_missing_catalogue_is_refused(bare: tuple[Client, Client], query: str) -> None:
    visitor, _ = bare
    refused = await visitor.refusal(query)
    assert refused["extensions"]["code"] == "UNSUPPORTED"
    assert refused["message"] == "This shop's engine has no catalogue of its own."


async def test_missing_orders_are_refused(bare: tuple[Client, Client]) -> None:
    _, customer = bare
    for refused in (await customer.refusal(ORDERS), await customer.refusal(CHECK_OUT, cart="any")):
        assert refused["extensions"]["code"] == "UNSUPPORTED"


async def test_a_customer_is_known_without_the_engine(bare: tuple[Client, Client]) -> None:
    _, customer = bare
    assert (await customer.data(ME))["getCurrentCustomer"]["email"] == "ada@example.org"
