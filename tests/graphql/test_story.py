"""A visit over GraphQL: anonymous, a cart, an account, the merged cart, an order; on both databases."""

from uuid import UUID

from sqlalchemy import select, update

from shopkeeper.commerce.embedded.store import variants
from shopkeeper.storage.outbox import outbox
from tests.graphql.shop import (
    ADD,
    CHECK_OUT,
    GET_CART,
    GET_ORDER,
    ME,
    ORDERS,
    PASSWORD,
    PLACE,
    REMOVE,
    SIGN_UP,
    UPDATE,
    Client,
    Stand,
    statements,
)


async def some(client: Client) -> list[str]:
    """Return the ids of variants to shop for."""
    found = await client.data(
        'query { findItemsByKeyword(text: "", limit: 8) { items { variants { itemId { id } } } } }'
    )
    return [item["variants"][0]["itemId"]["id"] for item in found["findItemsByKeyword"]["items"]]


class TestAVisit:
    async def test_a_visit_leads_from_the_first_page_to_the_order(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        assert (await visitor.data(ME))["getCurrentCustomer"] is None
        assert (await visitor.data(GET_CART))["getCart"] is None

        first, second, *_ = await some(visitor)
        cart = (await visitor.data(ADD, input={"itemId": first, "quantity": 2}))["addToCart"]["cart"]
        assert cart["totalQuantity"] == 2
        cart = (await visitor.data(ADD, input={"itemId": second, "cartId": cart["id"]}))["addToCart"]["cart"]
        assert [entry["quantity"] for entry in cart["entries"]] == [2, 1]
        assert [entry["items"][0]["itemId"]["id"] for entry in cart["entries"]] == [first, second]

        signed_up = (await visitor.data(SIGN_UP, input={"email": "ada@example.org", "password": PASSWORD}))["signUp"]
        assert (signed_up["code"], signed_up["success"]) == ("OK", True)
        assert (await visitor.data(ME))["getCurrentCustomer"] is None, "signing up does not sign in"

        hint = {"oldCartId": cart["id"], "mergeWithExistingCustomerCart": "true"}
        await visitor.sign_in(username="ada@example.org", password=PASSWORD, authHint=hint)
        me = (await visitor.data(ME))["getCurrentCustomer"]
        assert me == {"id": signed_up["customer"]["id"], "email": "ada@example.org", "firstName": None}
        kept = (await visitor.data(GET_CART))["getCart"]
        assert (kept["id"], kept["totalQuantity"]) == (cart["id"], 3)

        draft = (await visitor.data(CHECK_OUT, cart=kept["id"]))["checkOut"]["order"]
        assert (draft["draft"], draft["status"]) == (True, "DRAFT")
        assert draft["totalAmount"][0]["centAmount"] == kept["totalPurchasePrice"]["moneyAmounts"][0]["centAmount"]
        assert (await visitor.data(ORDERS))["findOrders"]["orders"] == [], "a draft is no order yet"

        order = (await visitor.data(PLACE, order=draft["id"]))["placeOrder"]["order"]
        assert (order["draft"], order["status"], order["email"]) == (False, "PLACED", "ada@example.org")
        assert order["creationDate"] == "2026-03-14T15:09:26.000Z"
        assert (await visitor.data(PLACE, order=draft["id"]))["placeOrder"]["order"] == order, "twice changes nothing"
        assert (await visitor.data(ORDERS))["findOrders"]["orders"] == [order]
        assert (await visitor.data(GET_ORDER, id=order["id"]))["getOrderById"] == order
        by_number = "query($n: String!) { getOrderByOrderNumber(orderNumber: $n) { id } }"
        found = await visitor.data(by_number, n=order["orderNumber"])
        assert found["getOrderByOrderNumber"]["id"] == order["id"]
        assert (await visitor.data(GET_CART))["getCart"] is None, "the cart was ordered"
        assert (await visitor.data(GET_CART, id=kept["id"]))["getCart"]["state"] == "ORDERED"

    async def test_a_guests_token_is_spent_once_its_cart_was_merged(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        guest = Client(visitor.http, dict(visitor.headers))
        first, *_ = await some(visitor)
        cart = (await visitor.data(ADD, input={"itemId": first}))["addToCart"]["cart"]
        await visitor.data(SIGN_UP, input={"email": "ada@example.org", "password": PASSWORD})
        await visitor.sign_in(username="ada@example.org", password=PASSWORD, authHint={"oldCartId": cart["id"]})

        error = await guest.refusal(ADD, input={"itemId": first})

        assert error["extensions"]["code"] == "TOKEN_INVALID"
        assert (await visitor.data(GET_CART))["getCart"]["totalQuantity"] == 1

    async def test_a_token_that_was_signed_out_is_refused(self, stand: Stand) -> None:
        customer = await stand.customer("ada@example.org")
        await customer.http.post("/signout", json={}, headers=customer.headers)

        refused = await customer.refusal(ME)
        assert refused["extensions"]["code"] == "UNAUTHENTICATED"
        assert "authentication" in refused["message"]


class TestAnAddressThatChanged:
    async def test_an_address_changed_since_the_sign_in_gets_the_confirmation_of_the_order(self, stand: Stand) -> None:
        customer = await stand.customer("old@example.org")
        item, *_ = await some(customer)
        cart = (await customer.data(ADD, input={"itemId": item}))["addToCart"]["cart"]
        draft = (await customer.data(CHECK_OUT, cart=cart["id"]))["checkOut"]["order"]
        ada = UUID((await customer.data(ME))["getCurrentCustomer"]["id"])
        moved = [{"op": "replace", "path": "/traits/email", "value": "new@example.org"}]
        async with stand.infrastructure.database.unit() as unit:
            await stand.accounts.identities.patch(unit, ada, moved)
        assert (await customer.data(PLACE, order=draft["id"]))["placeOrder"]["order"]["email"] == "new@example.org"
        async with stand.infrastructure.database.unit() as unit:
            event = await unit.first(select(outbox.c.payload).where(outbox.c.topic.startswith("order.placed")))
        assert event is not None
        assert event.payload["customer"]["email"] == "new@example.org"


class TestCarts:
    async def test_reading_writes_nothing(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        with statements() as seen:
            await visitor.data(GET_CART)
            await visitor.data(ME)
        assert len(seen) == 1
        assert seen[0].lstrip().upper().startswith("SELECT")

    async def test_an_entry_is_changed_and_taken_out(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        first, second, *_ = await some(visitor)
        await visitor.data(ADD, input={"itemId": first})
        cart = (await visitor.data(ADD, input={"itemId": second}))["addToCart"]["cart"]
        one, other = (entry["id"] for entry in cart["entries"])

        changed = await visitor.data(UPDATE, input={"cartId": cart["id"], "entryId": one, "quantity": 3})
        assert changed["updateCart"]["cart"]["totalQuantity"] == 4
        taken = await visitor.data(REMOVE, input={"cartId": cart["id"], "entryId": other})
        assert [entry["id"] for entry in taken["removeFromCart"]["cart"]["entries"]] == [one]
        emptied = await visitor.data(UPDATE, input={"cartId": cart["id"], "entryId": one, "quantity": 0})
        assert emptied["updateCart"]["cart"]["entries"] == []

    async def test_an_item_may_be_named_with_its_code(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        first, *_ = await some(visitor)
        cart = (await visitor.data(ADD, input={"itemId": f"{first}___whatever"}))["addToCart"]["cart"]
        assert cart["entries"][0]["items"][0]["itemId"]["id"] == first

    async def test_a_cart_keeps_the_currency_it_began_with(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        create = "mutation($c: String) { createCart(createCartInput: {currency: $c}) { cart { id } } }"
        created = (await visitor.data(create, c="USD"))["createCart"]["cart"]
        first, *_ = await some(visitor)
        cart = (await visitor.data(ADD, input={"itemId": first, "cartId": created["id"]}))["addToCart"]["cart"]
        assert cart["totalPurchasePrice"]["moneyAmounts"][0]["currency"] == "USD"
        assert cart["entries"][0]["items"][0]["itemId"]["id"] == first, "the item is looked up in the cart's currency"

    async def test_mutations_of_one_request_are_transactions_of_their_own(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        first, *_ = await some(visitor)
        answer = await visitor.ask(
            """mutation($good: AddToCartInput!, $bad: AddToCartInput!) {
              before: addToCart(addToCartInput: $good) { success }
              refused: addToCart(addToCartInput: $bad) { success }
              after: addToCart(addToCartInput: $good) { cart { totalQuantity } }
            }""",
            good={"itemId": first},
            bad={"itemId": first, "quantity": 1000},
        )
        [error] = answer["errors"]
        assert (error["path"], error["extensions"]["code"]) == (["refused"], "QUANTITY_INVALID")
        assert answer["data"]["refused"] is None
        assert answer["data"]["after"]["cart"]["totalQuantity"] == 2
        assert (await visitor.data(GET_CART))["getCart"]["totalQuantity"] == 2

    async def test_what_is_out_of_stock_says_how_many_are_left(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        found = await visitor.data(
            """query { findItemsByKeyword(text: "", limit: 100) {
              items { variants { itemId { id } availability { availableQuantity } } } } }"""
        )
        variants = [each for item in found["findItemsByKeyword"]["items"] for each in item["variants"]]
        scarce = min(variants, key=lambda each: each["availability"]["availableQuantity"])
        left = scarce["availability"]["availableQuantity"]
        error = await visitor.refusal(ADD, input={"itemId": scarce["itemId"]["id"], "quantity": left + 1})
        assert error["extensions"]["code"] == "OUT_OF_STOCK"
        [line] = error["extensions"]["lines"]
        assert (line["variantId"], line["wanted"], line["left"]) == (scarce["itemId"]["id"], left + 1, left)

    async def test_attributes_that_the_engine_would_drop_are_refused(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        first, *_ = await some(visitor)
        error = await visitor.refusal(ADD, input={"itemId": first, "customAttrs": [{"name": "engraving"}]})
        assert error["extensions"]["code"] == "INVALID_INPUT"
        assert "customAttrs" in error["message"]


class TestStores:
    async def test_prices_are_those_of_the_store(self, small_stand: Stand) -> None:
        await small_stand.stock("pence")
        english = await small_stand.visitor(connector="pence")
        found = await english.data(PRICE)
        [amount] = found["findItemById"]["purchasePrice"]["moneyAmounts"]
        assert (amount["currency"], amount["displayValue"]) == ("GBP", "£6.00")
        assert (amount["amount"], amount["centAmount"]) == (6.0, 600)

    async def test_prices_are_printed_in_the_language_of_the_request(self, small_stand: Stand) -> None:
        german = await small_stand.visitor(**{"accept-language": "de-DE,de;q=0.9,en;q=0.5"})
        [amount] = (await german.data(PRICE))["findItemById"]["purchasePrice"]["moneyAmounts"]
        assert amount["displayValue"] == "6,90\xa0€"

    async def test_a_token_counts_in_its_own_store_only(self, small_stand: Stand) -> None:
        visitor = await small_stand.visitor()
        visitor.headers["connector"] = "pence"
        assert (await visitor.refusal(ME))["extensions"]["code"] == "TOKEN_INVALID"

    async def test_an_unknown_store_is_refused(self, small_stand: Stand) -> None:
        stranger = small_stand.client(connector="nowhere")
        assert (await stranger.refusal(ME))["extensions"]["code"] == "STORE_UNKNOWN"


PRICE = """
query { findItemById(id: "quince-jelly") {
  purchasePrice { moneyAmounts { amount centAmount currency displayValue } } } }
"""


class TestAddingAProduct:
    """Whoever has only a product's id gets its first variant, as commercetools' master variant."""

    PRODUCTS = """query { findItemsByKeyword(text: "", limit: 30) { items {
      itemId { id code } variants { itemId { id code } master }
    } } }"""

    async def product(self, visitor: Client) -> tuple[str, list[str]]:
        """Return the id of a product that has several variants, and theirs."""
        found = await visitor.data(self.PRODUCTS)
        item = next(each for each in found["findItemsByKeyword"]["items"] if len(each["variants"]) > 1)
        assert item["variants"][0]["master"]
        return item["itemId"]["id"], [variant["itemId"]["id"] for variant in item["variants"]]

    async def test_takes_its_first_variant(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        product, [first, *_] = await self.product(visitor)
        for item in (product, f"{product}___a-slug"):
            cart = (await visitor.data(ADD, input={"itemId": item}))["addToCart"]["cart"]
            [entry] = cart["entries"]
            assert entry["items"][0]["itemId"]["id"] == first
        assert cart["totalQuantity"] == 2

    async def test_takes_it_in_stock_or_not(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        product, [first, *_] = await self.product(visitor)
        async with stand.infrastructure.database.unit() as unit:
            await unit.write(update(variants).where(variants.c.id == first).values(stock=0))
        error = await visitor.refusal(ADD, input={"itemId": product})
        assert error["extensions"]["code"] == "OUT_OF_STOCK"

    async def test_a_variant_named_like_a_product_comes_first(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        product, [*_, last] = await self.product(visitor)
        async with stand.infrastructure.database.unit() as unit:
            await unit.write(update(variants).where(variants.c.id == last).values(sku=product))
        cart = (await visitor.data(ADD, input={"itemId": product}))["addToCart"]["cart"]
        assert cart["entries"][0]["items"][0]["itemId"]["id"] == last
