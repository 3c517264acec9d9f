"""No N+1: the number of queries does not grow with the number of results."""

from tests.graphql import published
from tests.graphql.shop import ADD, CHECK_OUT, ORDERS, PLACE, Client, Stand, statements


async def counted(client: Client, query: str, /, **variables: object) -> int:
    """Return how many queries a warm request takes."""
    await client.data(query, **variables)
    with statements() as seen:
        await client.data(query, **variables)
    assert all(each.lstrip().upper().startswith(("SELECT", "WITH")) for each in seen)
    return len(seen)


async def filled(client: Client, lines: int) -> str:
    """Fill a cart with so many lines; return its id."""
    found = await client.data(
        'query($n: Int) { findItemsByKeyword(text: "", limit: $n) { items { variants { itemId { id } } } } }', n=lines
    )
    cart = ""
    for item in found["findItemsByKeyword"]["items"]:
        added = await client.data(ADD, input={"itemId": item["variants"][0]["itemId"]["id"]})
        cart = added["addToCart"]["cart"]["id"]
    return cart


class TestQueriesCounted:
    async def test_a_page_of_products_takes_as_many_as_a_short_one(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        few = await counted(visitor, published.BY_KEYWORD, query="", limit=2)
        many = await counted(visitor, published.BY_KEYWORD, query="", limit=20)
        assert many == few <= 5

    async def test_what_is_not_asked_for_is_not_fetched(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        bare = await counted(visitor, 'query { findItemsByKeyword(text: "") { items { slug } } }')
        shelved = await counted(visitor, 'query { findItemsByKeyword(text: "") { items { slug categories { id } } } }')
        assert shelved == bare + 1

    async def test_a_cart_of_ten_lines_takes_as_many_as_one_of_one(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        assert await counted(visitor, published.GET_CART) == 1
        await filled(visitor, 1)
        few = await counted(visitor, published.GET_CART)
        await filled(visitor, 10)
        many = await counted(visitor, published.GET_CART)
        assert many == few <= 4

    async def test_a_cart_without_its_items_takes_one(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        await filled(visitor, 10)
        assert await counted(visitor, "{ getCart { id totalQuantity entries { id quantity } } }") == 1

    async def test_orders_take_as_many_for_any_number_of_lines(self, stand: Stand) -> None:
        customer = await stand.customer("ada@example.org")
        counts = []
        for lines in (1, 3, 5):
            cart = await filled(customer, lines)
            draft = (await customer.data(CHECK_OUT, cart=cart))["checkOut"]["order"]["id"]
            await customer.data(PLACE, order=draft)
            counts.append(await counted(customer, ORDERS))
        assert counts[0] == counts[1] == counts[2] <= 5

    async def test_an_item_under_many_aliases_is_fetched_once(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        names = [item for item in ("quince-jelly", "breakfast-tea", "heather-honey") for _ in range(5)]
        fields = " ".join(f'i{n}: findItemById(id: "{name}") {{ slug }}' for n, name in enumerate(names))
        once = await counted(visitor, '{ findItemById(id: "quince-jelly") { slug } }')
        assert await counted(visitor, f"{{ {fields} }}") == once

    async def test_the_current_customer_takes_none(self, stand: Stand) -> None:
        customer = await stand.customer("ada@example.org")
        assert await counted(customer, published.CURRENT_CUSTOMER) == 0
