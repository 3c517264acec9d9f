"""What the published client sends, with its own field names, from the first search to the order."""

from typing import Any

from tests.graphql import published as client_of
from tests.graphql.shop import PASSWORD, Client, Stand


async def whole_cart(client: Client) -> dict[str, Any]:
    """Build a cart of three lines as the client does: with id and code in one text, and nulls for the rest."""
    found = await client.data(client_of.BY_KEYWORD, query="tea", offset=0, limit=3, queryHint=None, sortFields=None)
    cart: dict[str, Any] = {"id": None}
    for item in found["findItemsByKeyword"]["items"]:
        names = item["variants"][0]["itemId"]
        wanted = {
            "cartId": cart["id"],
            "itemId": f"{names['id']}___{names['code']}",
            "quantity": 2,
            "customAttrs": None,
        }
        cart = (await client.data(client_of.ADD_TO_CART, input=wanted, cartHint=None))["addToCart"]["cart"]
    return cart


class TestThePublishedClient:
    async def test_searches_browses_and_looks_at_items(self, small_stand: Stand) -> None:
        visitor = await small_stand.visitor()
        page = (await visitor.data(client_of.BY_KEYWORD, query="tea"))["findItemsByKeyword"]
        assert page["count"] == len(page["items"]) > 1
        assert (page["offset"], page["limit"], page["facetResult"], page["queryHint"]) == (0, 20, None, None)
        item = page["items"][0]
        both = f"{item['itemId']['id']}___{item['itemId']['code']}"
        assert (await visitor.data(client_of.BY_ID, id=both))["findItemById"] == item
        assert (await visitor.data(client_of.BY_SLUG, slug=item["slug"]))["findItemBySlug"] == item
        ids = [each["itemId"]["id"] for each in page["items"]]
        by_ids = (await visitor.data(client_of.BY_IDS, ids=[*ids[::-1], "nothing", ids[0]]))["findItemsByIds"]
        assert [each["itemId"]["id"] for each in by_ids["items"]] == ids[::-1]
        assert by_ids["total"] == len(ids)

    async def test_turns_the_pages_of_many_ids(self, small_stand: Stand) -> None:
        visitor = await small_stand.visitor()
        everything = (await visitor.data(client_of.BY_KEYWORD, query="", limit=7))["findItemsByKeyword"]["items"]
        ids = [each["itemId"]["id"] for each in everything]
        wanted = [*ids, "nothing", *(f"unknown-{n}" for n in range(80))]
        pages = [
            (await visitor.data(client_of.BY_IDS, ids=wanted, offset=offset, limit=5))["findItemsByIds"]
            for offset in (0, 5, 85)
        ]
        assert [each["itemId"]["id"] for page in pages for each in page["items"]] == ids
        assert [page["total"] for page in pages] == [88, 85, 85]

    async def test_browses_the_categories(self, small_stand: Stand) -> None:
        visitor = await small_stand.visitor()
        shelves = (await visitor.data(client_of.CATEGORIES))["findCategories"]
        assert len(shelves) >= 6
        shelf = shelves[-1]
        by_id = await visitor.data(client_of.CATEGORY_BY_ID, id=shelf["id"])
        by_slug = await visitor.data(client_of.CATEGORY_BY_SLUG, slug=shelf["slug"])
        by_ids = await visitor.data(client_of.CATEGORIES_BY_IDS, ids=[shelf["id"], "nowhere"])
        assert by_id["findCategoryById"] == by_slug["findCategoryBySlug"] == shelf
        assert by_ids["findCategoriesByIds"] == [shelf]
        items = (await visitor.data(client_of.BY_CATEGORY, categoryId=shelf["id"], limit=5))["findItemsByCategory"]
        assert items["count"] == 5
        assert {each["id"] for item in items["items"] for each in item["categories"]} == {shelf["id"]}
        assert (await visitor.data(client_of.CATEGORY_BY_ID, id="nowhere"))["findCategoryById"] is None

    async def test_turns_pages_by_offset(self, small_stand: Stand) -> None:
        visitor = await small_stand.visitor()
        whole, second = [
            (await visitor.data(client_of.BY_KEYWORD, query="", offset=offset, limit=limit))["findItemsByKeyword"]
            for offset, limit in ((0, 6), (3, 3))
        ]
        assert second["items"] == whole["items"][3:]
        assert second["total"] == whole["total"] > 60

    async def test_sorts_by_price_and_by_name(self, small_stand: Stand) -> None:
        visitor = await small_stand.visitor()
        prices, names = [
            (await visitor.data(client_of.BY_KEYWORD, query="", limit=30, sortFields=sort))["findItemsByKeyword"]
            for sort in ("price desc", "name")
        ]
        amounts = [item["purchasePrice"]["moneyAmounts"][0]["amount"] for item in prices["items"]]
        assert amounts == sorted(amounts, reverse=True)
        assert amounts[0] > amounts[-1]
        assert [item["displayName"][0] for item in names["items"]] == sorted(
            item["displayName"][0] for item in names["items"]
        )
        error = await visitor.refusal(client_of.BY_KEYWORD, query="", sortFields="weather")
        assert error["extensions"]["code"] == "INVALID_INPUT"

    async def test_shops_registers_and_orders(self, small_stand: Stand) -> None:
        visitor = await small_stand.visitor()
        cart = await whole_cart(visitor)
        assert cart["totalQuantity"] == 6
        assert (await visitor.data(client_of.GET_CART, id=cart["id"], cartHint=None))["getCart"] == cart
        entry = cart["entries"][0]["id"]
        changed = {"cartId": cart["id"], "entryId": entry, "quantity": 1, "discountCodes": [], "customAttrs": None}
        assert (await visitor.data(client_of.UPDATE_CART, input=changed))["updateCart"]["cart"]["totalQuantity"] == 5
        taken = {"cartId": cart["id"], "entryId": entry, "discountCodes": None}
        assert (
            len((await visitor.data(client_of.REMOVE_FROM_CART, input=taken))["removeFromCart"]["cart"]["entries"]) == 2
        )

        who = {"email": "ada@example.org", "password": PASSWORD, "firstName": "Ada", "middleName": "", "lastName": "L"}
        signed_up = (await visitor.data(client_of.SIGN_UP, input=who))["signUp"]
        assert signed_up["code"] == "OK"
        await visitor.sign_in(username="ada@example.org", password=PASSWORD, authHint={"oldCartId": cart["id"]})
        me = (await visitor.data(client_of.CURRENT_CUSTOMER))["getCurrentCustomer"]
        assert me == signed_up["customer"]
        assert (me["firstName"], me["middleName"], me["lastName"]) == ("Ada", None, "L")

        draft = (await visitor.data(client_of.CHECK_OUT, cartId=cart["id"], cartHint=None))["checkOut"]["order"]
        assert (draft["draft"], draft["federatedCheckoutUrl"]) == (True, None)
        order = (await visitor.data(client_of.PLACE_ORDER, id=draft["id"], orderNumber=None))["placeOrder"]["order"]
        assert [line["quantity"] for line in order["orderItems"]] == [2, 2]
        assert (await visitor.data(client_of.ORDERS))["findOrders"]["orders"] == [order]
        assert (await visitor.data(client_of.ORDER_BY_ID, id=order["id"]))["getOrderById"] == order
        by_number = await visitor.data(client_of.ORDER_BY_NUMBER, orderNumber=order["orderNumber"])
        assert by_number["getOrderByOrderNumber"] == order

    async def test_begins_a_cart_of_its_own(self, small_stand: Stand) -> None:
        visitor = await small_stand.visitor()
        wanted = {"currency": "GBP", "country": "GB", "customerEmail": None, "oldCartId": None}
        cart = (await visitor.data(client_of.CREATE_CART, input=wanted))["createCart"]["cart"]
        assert (cart["totalQuantity"], cart["active"], cart["entries"], cart["discounts"]) == (0, True, [], [])
        assert cart["totalPurchasePrice"]["moneyAmounts"] == [
            {"channelId": None, "displayValue": "£0.00", "currency": "GBP", "amount": 0.0}
        ]
