"""What only the embedded shop promises: few queries, few rows, its own search, loading, and retention."""

import dataclasses
import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
import pytest
from sqlalchemy import delete, select, update

from shopkeeper.clock import StoppedClock
from shopkeeper.commerce.embedded.demo import read_catalogue
from shopkeeper.commerce.embedded.engine import EmbeddedEngine
from shopkeeper.commerce.embedded.load import load
from shopkeeper.commerce.embedded.orders import order_number
from shopkeeper.commerce.embedded.retention import delete_former_carts
from shopkeeper.commerce.embedded.search import fold
from shopkeeper.commerce.embedded.store import (
    cart_hand_overs,
    cart_lines,
    carts,
    categories,
    order_lines,
    orders,
    prices,
    product_categories,
    products,
    variants,
)
from shopkeeper.commerce.errors import (
    CartChanged,
    CartFull,
    CurrencyMismatch,
    OutOfStock,
    QuantityInvalid,
    TooManyCarts,
)
from shopkeeper.commerce.port import Engine, MergeMode, Money, Outcome, Sort
from shopkeeper.errors import InternalError, InvalidInput, NotYours, Refusal
from shopkeeper.storage.database import Database
from tests.commerce.stand import (
    ARTICLES,
    EUROS_ONLY,
    FEW,
    PLENTY,
    PLENTY_TOO,
    SOLD_OUT,
    Stand,
    catalogue,
    contents,
    customer,
    guest,
    product,
    report,
    statements,
    variant,
)

CATALOGUE_TABLES = (categories, products, product_categories, variants, prices)


async def restock(shop: Stand, *products_, store: str = "north") -> None:
    async with shop.database.unit() as unit:
        await load(unit, store=store, catalogue=catalogue(*products_))


def test_the_embedded_engine_shares_our_transaction(clock: StoppedClock):
    engine: Engine = EmbeddedEngine(clock)
    assert (engine.name, engine.shares_transaction) == ("embedded", True)


async def test_the_embedded_engine_is_not_bound_without_a_unit_of_work(clock: StoppedClock):
    engine: Engine = EmbeddedEngine(clock)
    merge = engine.merge_guest_cart(None, guest=guest(), customer=customer(), cart_id=None, mode=MergeMode.MERGE)
    with pytest.raises(ValueError, match="unit of work"):
        engine.bind(None, guest())
    for call in (merge, engine.forget(None, customer().id)):
        with pytest.raises(ValueError, match="unit of work"):
            await call


class TestSearching:
    @pytest.fixture
    async def shop(self, shop: Stand) -> Stand:
        await restock(
            shop,
            product(
                "creme", variant("C-1"), name="Crème brûlée dish", description="Oven-proof.", keywords=("dessert",)
            ),
            product("torch", variant("T-1"), name="Kitchen torch", description="For a crème brûlée that cracks."),
            product("dish-soap", variant("D-1"), name="Washing-up soap", description="For every dish."),
            product("dishes", variant("S-1"), name="Dish", description="Plain."),
            product("odd", variant("O-1"), name="100% cotton_cloth", description="50/50 \\ wool"),
        )
        return shop

    async def found(self, shop: Stand, text: str) -> list[str]:
        return [product.id for product in (await shop.catalogue.find_products(guest(), text=text)).items]

    @pytest.mark.parametrize(
        ("text", "ids"),
        [
            pytest.param("BRULEE", ["creme", "torch"], id="without case and accents, the name first"),
            pytest.param("Crème  Brûlée", ["creme", "torch"], id="with accents and too many spaces"),
            pytest.param("dish", ["dishes", "creme", "dish-soap"], id="a name that begins so, one with it, the rest"),
            pytest.param("cracks torch", ["torch"], id="every word, wherever it is"),
            pytest.param("dessert", ["creme"], id="by keyword"),
            pytest.param("t-1", ["torch"], id="by SKU"),
            pytest.param("100%", ["odd"], id="a percent sign is a percent sign"),
            pytest.param("n_c", ["odd"], id="an underscore is an underscore"),
            pytest.param("50/50 \\", ["odd"], id="so are slashes"),
            pytest.param("%", ["odd"], id="not everything"),
            pytest.param("' OR 1=1 --", [], id="nor is a quote an end"),
            pytest.param("\x00crème\ud800", ["creme", "torch"], id="what cannot be stored is passed over"),
        ],
    )
    async def test_finds_products_by_text(self, shop: Stand, text: str, ids: list[str]):
        assert await self.found(shop, text) == ids

    @pytest.mark.parametrize("text", ["", "   ", "\x00", None])
    async def test_without_words_finds_all_in_the_shops_order(self, shop: Stand, text: str):
        found = await self.found(shop, text)
        assert (found[0], found[-1], len(found)) == ("creme", "odd", 9)

    async def test_refuses_a_text_that_is_too_long(self, shop: Stand):
        with pytest.raises(InvalidInput):
            await self.found(shop, "word " * 100)

    async def test_sorts_names_alike_on_every_database(self, shop: Stand):
        found = await shop.catalogue.find_products(guest(), sort=Sort.NAME)
        assert [fold(each.name) for each in found.items] == sorted(fold(each.name) for each in found.items)

    async def test_counts_up_to_a_thousand(self, shop: Stand):
        await restock(shop, *(product(f"p{number}", variant(f"P-{number}")) for number in range(1010)))
        first = await shop.catalogue.find_products(guest(), limit=10)
        last = await shop.catalogue.find_products(guest(), offset=1015, limit=10)
        assert (first.total, last.total, last.cursor) == (1000, 1000, None)
        assert len(last.items) == 4


class TestShelves:
    async def test_a_category_holds_the_products_of_the_categories_below_it(self, shop: Stand):
        async with shop.database.unit() as unit:
            await unit.write(
                update(categories)
                .where(categories.c.store == "north", categories.c.id == "pantry")
                .values(parent_id="kitchen", slug="larder")
            )
        found = await shop.catalogue.find_products(guest(), category_id="kitchen")
        assert {each.id for each in found.items} == {"tea", "honey", "jam", "stove"}
        assert len((await shop.catalogue.find_products(guest(), category_id="larder")).items) == 3
        listed = await shop.catalogue.categories(guest())
        assert [(each.id, each.parent_id) for each in listed] == [("kitchen", None), ("pantry", "kitchen")]


class TestQueries:
    """The number of queries does not grow with the number of results."""

    @pytest.fixture
    async def shop(self, shop: Stand) -> Stand:
        many = (product(f"p{n}", variant(f"P-{n}-A"), variant(f"P-{n}-B"), keywords=("many",)) for n in range(60))
        await restock(shop, *many)
        return shop

    async def test_a_longer_page_of_products_takes_no_more_queries(self, shop: Stand):
        for limit, text in ((1, None), (50, None), (50, "many")):
            with statements(shop.database) as seen:
                await shop.catalogue.find_products(guest(), text=text, limit=limit)
            assert len(seen) == 3, seen

    async def test_more_products_and_variants_by_name_take_no_more_queries(self, shop: Stand):
        with statements(shop.database) as seen:
            await shop.catalogue.products(guest(), [f"p{n}" for n in range(60)])
        assert len(seen) == 2, seen
        with statements(shop.database) as seen:
            await shop.catalogue.variants(guest(), [f"P-{n}-A" for n in range(60)])
        assert len(seen) == 1, seen

    async def test_a_longer_cart_takes_no_more_queries(self, shop: Stand):
        for number in range(20):
            cart = await shop.add(guest(), f"P-{number}-A")
        with statements(shop.database) as seen:
            await shop.carts.current(guest())
        assert len(seen) == 1, seen
        with statements(shop.database) as seen:
            await shop.carts.require(guest(), cart.id)
        assert len(seen) == 1, seen

    async def test_a_longer_merge_order_or_page_of_orders_takes_no_more_queries(self, shop: Stand):
        counts = set()
        for name, many in (("a", 2), ("b", 30)):
            for number in range(many):
                cart = await shop.add(guest(name), f"P-{number}-A")
                await shop.add(customer(name), f"P-{number}-B")
            with statements(shop.database) as handing:
                await shop.merge_guest_cart(
                    guest=guest(name), customer=customer(name), cart_id=cart.id, mode=MergeMode.MERGE
                )
            current = await shop.carts.current(customer(name))
            with statements(shop.database) as drafting:
                draft = await shop.orders.check_out(customer(name), cart_id=current.id)
            with statements(shop.database) as placing:
                await shop.place(customer(name), order_id=draft.id)
            with statements(shop.database) as listing:
                await shop.orders.orders(customer(name))
            counts.add((len(handing), len(drafting), len(placing), len(listing)))
        assert len(counts) == 1, counts

    async def test_more_names_than_a_page_has_are_refused(self, shop: Stand):
        with pytest.raises(InvalidInput):
            await shop.catalogue.products(guest(), [f"p{n}" for n in range(501)])


class TestRows:
    async def test_rows_appear_with_the_first_line_of_the_cart_and_not_before(self, shop: Stand):
        await shop.carts.current(guest())
        await shop.merge_guest_cart(guest=guest(), customer=customer(), cart_id=None, mode=MergeMode.MERGE)
        assert await shop.count(carts, cart_lines, cart_hand_overs) == 0
        await shop.add(guest())
        assert await shop.count(carts, cart_lines) == 2

    @pytest.mark.parametrize(
        ("article", "quantity", "currency"),
        [("NO-SUCH", 1, "EUR"), (SOLD_OUT, 1, "EUR"), (EUROS_ONLY, 1, "USD"), (PLENTY, 0, "EUR"), (PLENTY, 1, "euro")],
    )
    async def test_a_refusal_writes_no_rows_even_if_the_caller_catches_it(
        self, shop: Stand, article: str, quantity: int, currency: str
    ):
        async with shop.database.unit() as unit:
            with pytest.raises(Refusal):
                await shop.engine.bind(unit, guest(currency=currency)).carts.add(
                    cart_id=None, variant_id=article, quantity=quantity
                )
        assert await shop.count(carts, cart_lines) == 0

    async def test_a_refused_order_changes_no_rows_even_if_the_caller_catches_it(self, shop: Stand):
        await shop.add(customer(), PLENTY)
        cart = await shop.add(customer(), FEW, 2)
        draft = await shop.orders.check_out(customer(), cart_id=cart.id)
        await shop.set_stock(FEW, 1)
        async with shop.database.unit() as unit:
            with pytest.raises(OutOfStock):
                await shop.engine.bind(unit, customer()).orders.place(order_id=draft.id, profile=None)
        assert [await shop.stock(PLENTY), await shop.stock(FEW)] == [1000, 1]


class TestCarts:
    async def test_a_cart_takes_a_limited_number_of_different_variants(self, shop: Stand, clock: StoppedClock):
        small = Stand(shop.database, EmbeddedEngine(clock, max_lines=2, max_quantity=3)).carts
        for article in (PLENTY, PLENTY_TOO, PLENTY):
            cart = await small.add(guest(), cart_id=None, variant_id=article, quantity=1)
        with pytest.raises(CartFull):
            await small.add(guest(), cart_id=None, variant_id=FEW, quantity=1)
        with pytest.raises(QuantityInvalid, match="1 to 3"):
            await small.add(guest(), cart_id=None, variant_id=PLENTY, quantity=2)
        assert contents(cart) == {PLENTY: 2, PLENTY_TOO: 1}

    async def test_a_shopper_has_a_limited_number_of_carts(self, shop: Stand, clock: StoppedClock):
        small = Stand(shop.database, EmbeddedEngine(clock, max_carts=2)).carts
        for article in (PLENTY, FEW):
            cart = await small.create(guest())
            await small.add(guest(), cart_id=cart.id, variant_id=article, quantity=1)
        with pytest.raises(TooManyCarts, match="continue with one of them"):
            await small.create(guest())
        emptied = await small.current(guest())
        await small.remove(guest(), cart_id=emptied.id, line_id=emptied.lines[0].id)
        assert (await small.create(guest())).id == emptied.id
        assert await shop.count(carts) == 2

    async def test_carts_of_other_shoppers_do_not_count_towards_the_limit(self, shop: Stand, clock: StoppedClock):
        small = Stand(shop.database, EmbeddedEngine(clock, max_carts=1)).carts
        for shopper in (guest("ann"), guest("bob"), guest("ann", store="south"), customer()):
            await small.add(shopper, cart_id=None, variant_id=PLENTY, quantity=1)
        with pytest.raises(TooManyCarts):
            await small.create(guest("ann"))

    @pytest.mark.parametrize("currency", ["", "eur", "EURO", "ÄÄÄ", "\x00\x00\x00"])
    async def test_carts_begin_in_a_real_currency_only(self, shop: Stand, currency: str):
        with pytest.raises(InvalidInput):
            await shop.carts.create(guest(currency=currency))

    async def test_carts_show_todays_prices(self, shop: Stand):
        cart = await shop.add(guest(), PLENTY, 2)
        await restock(shop, product("tea", variant(PLENTY, price={"EUR": 199, "USD": 5})))
        assert (await shop.carts.require(guest(), cart.id)).total == Money(398, "EUR")

    async def test_a_line_whose_article_is_gone_stays_in_the_cart_and_is_not_ordered(self, shop: Stand):
        cart = await shop.add(customer(), PLENTY, 2)
        async with shop.database.unit() as unit:
            await unit.write(delete(products).where(products.c.id == "tea"))
        kept = await shop.carts.require(customer(), cart.id)
        assert (contents(kept), kept.total) == ({PLENTY: 2}, Money(500, "EUR"))
        with pytest.raises(OutOfStock):
            await shop.orders.check_out(customer(), cart_id=cart.id)
        assert (await shop.carts.remove(customer(), cart_id=cart.id, line_id=kept.lines[0].id)).lines == ()

    async def test_variants_are_added_by_sku_or_id(self, shop: Stand):
        async with shop.database.unit() as unit:
            await unit.write(update(variants).where(variants.c.id == FEW).values(sku="few-again"))
        assert contents(await shop.add(guest(), "few-again")) == {FEW: 1}
        assert list(await shop.catalogue.variants(guest(), ["few-again"])) == ["few-again"]

    async def test_carts_hold_no_floats(self, shop: Stand):
        cart = await shop.add(customer(), PLENTY_TOO, 7)
        await shop.orders.check_out(customer(), cart_id=cart.id)
        money = [
            select(cart_lines.c.amount, cart_lines.c.list_amount),
            select(prices.c.amount, prices.c.list_amount),
            select(orders.c.total),
        ]
        found = {type(value) for query in money for row in await shop.rows(query) for value in row}
        assert found == {int}


def chore(shop: Stand, name: str) -> Callable[..., Awaitable[int]]:
    """Return a retention rule of the engine as cleanup calls it, in a unit of its own."""
    retention_rules = shop.engine.retention_rules(guest_lifespan=timedelta(days=30))
    [delete] = [chore.delete for chore in retention_rules if chore.name == name]

    async def call(before: datetime, batch: int = 500) -> int:
        async with shop.database.unit() as unit:
            return await delete(unit, before, batch)

    return call


class TestExpiry:
    async def test_takes_old_carts_of_guests_in_batches_and_nothing_else(self, shop: Stand, clock: StoppedClock):
        for number in range(5):
            await shop.add(guest(f"g{number}"))
        theirs = await shop.add(customer())
        clock.advance(days=30)
        young = await shop.add(guest("young"))
        expire = chore(shop, "guests' carts")
        before = clock.now() - timedelta(days=1)
        assert [await expire(before, 3), await expire(before, 3), await expire(before, 3)] == [3, 2, 0]
        assert await shop.count(carts) == 2
        assert await shop.count(cart_lines) == 2
        assert await shop.carts.current(customer()) == theirs
        assert await shop.carts.current(guest("young")) == young

    async def test_leaves_a_merged_cart_alone(self, shop: Stand, clock: StoppedClock):
        mine = await shop.add(guest())
        await shop.merge_guest_cart(guest=guest(), customer=customer(), cart_id=mine.id, mode=MergeMode.MERGE)
        clock.advance(days=400)
        assert await chore(shop, "guests' carts")(clock.now()) == 0
        assert contents(await shop.carts.current(customer())) == {PLENTY: 1}

    async def test_forgets_old_merges_but_not_where_their_carts_lead(self, shop: Stand, clock: StoppedClock):
        theirs = await shop.add(customer(), FEW)
        mine = await shop.add(guest())
        await shop.merge_guest_cart(guest=guest(), customer=customer(), cart_id=mine.id, mode=MergeMode.MERGE)
        forget = chore(shop, "hand-overs")
        assert await forget(clock.now()) == 0
        clock.advance(days=400)
        assert await forget(clock.now()) == 1
        assert (await shop.carts.require(customer(), mine.id)).id == theirs.id
        again = await shop.merge_guest_cart(guest=guest(), customer=customer(), cart_id=mine.id, mode=MergeMode.MERGE)
        assert (again.outcome, again.cart_id) == (Outcome.NOTHING, theirs.id)

    async def test_forgets_former_carts_last_links_first(self, shop: Stand, clock: StoppedClock):
        theirs = await shop.add(customer(), FEW)
        for name, mode in (("one", MergeMode.MERGE), ("two", MergeMode.REPLACE)):
            mine = await shop.add(guest(name))
            await shop.merge_guest_cart(guest=guest(name), customer=customer(), cart_id=mine.id, mode=mode)
        clock.advance(days=400)
        await shop.add(customer("cora"))
        forget = chore(shop, "former carts")
        before = clock.now() - timedelta(days=399)
        assert [await forget(before), await forget(before), await forget(before)] == [1, 1, 0]
        assert (await shop.carts.current(customer())).id == mine.id
        with pytest.raises(NotYours):
            await shop.carts.require(customer(), theirs.id)

    async def test_forgets_former_carts_only_when_they_are_old(self, shop: Stand, clock: StoppedClock):
        await shop.add(customer(), FEW)
        mine = await shop.add(guest())
        await shop.merge_guest_cart(guest=guest(), customer=customer(), cart_id=mine.id, mode=MergeMode.MERGE)
        assert await chore(shop, "former carts")(clock.now()) == 0

    async def test_forgets_old_drafts_and_no_order(self, shop: Stand, clock: StoppedClock):
        for name in ("a", "b", "c"):
            cart = await shop.add(customer(name))
            await shop.orders.check_out(customer(name), cart_id=cart.id)
        bought = await shop.add(customer("d"))
        order = await shop.orders.check_out(customer("d"), cart_id=bought.id)
        await shop.place(customer("d"), order_id=order.id)
        clock.advance(days=30)
        young = await shop.add(customer("e"))
        draft = await shop.orders.check_out(customer("e"), cart_id=young.id)
        forget = chore(shop, "order drafts")
        before = clock.now() - timedelta(days=1)
        assert [await forget(before, 2), await forget(before, 2), await forget(before, 2)] == [2, 1, 0]
        assert await shop.count(orders) == 2
        assert await shop.count(order_lines) == 2
        assert await shop.orders.require_order(customer("e"), draft.id) == draft
        assert await shop.orders.check_out(customer("c"), cart_id=cart.id), "its cart can still be ordered"


@pytest.mark.parametrize("dsn", ["sqlite"], indirect=True)
async def test_looking_for_former_carts_reads_no_further_than_those(database: Database, clock: StoppedClock):
    with statements(database) as seen:
        async with database.unit() as unit:
            await delete_former_carts(unit, clock.now(), 10)
    async with database.transaction() as connection:
        [asked] = seen
        plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", ("",) * asked.count("?"))
        assert "ix_carts_state_updated_at" in str(plan.all())


class TestHandOvers:
    async def test_a_merge_that_is_rolled_back_later_leaves_no_trace(self, shop: Stand):
        """The sign-in around a cart merge may still be refused; then the cart is the guest's, as before."""
        mine = await shop.add(guest(), PLENTY, 2)

        async def sign_in_that_is_refused_at_last() -> None:
            async with shop.database.unit() as unit:
                await shop.engine.merge_guest_cart(
                    unit, guest=guest(), customer=customer(), cart_id=mine.id, mode=MergeMode.MERGE
                )
                raise NotYours

        with pytest.raises(NotYours):
            await sign_in_that_is_refused_at_last()
        assert await shop.count(cart_hand_overs) == 0
        assert await shop.events("cart.handed_over") == []
        assert await shop.add(guest(), PLENTY) == dataclasses.replace(
            mine, version=2, lines=(msgspec.structs.replace(mine.lines[0], quantity=3),)
        )

    async def test_a_merge_that_can_replace_nothing_uses_the_prices_of_the_cart_that_stays(self, shop: Stand):
        mine = await shop.add(guest(currency="USD"), PLENTY, 2)
        theirs = await shop.add(customer(), FEW)
        await restock(shop, product("tea", variant(PLENTY, price={"EUR": 240})))
        done = await shop.merge_guest_cart(
            guest=guest(currency="USD"), customer=customer(), cart_id=mine.id, mode=MergeMode.REPLACE
        )
        assert (done.outcome, done.cart_id) == (Outcome.MERGED, theirs.id)
        assert report(done) == {PLENTY: (0, 2, 2, "added")}
        cart = await shop.carts.current(customer())
        assert (contents(cart), cart.total) == ({FEW: 1, PLENTY: 2}, Money(250 + 2 * 240, "EUR"))

    async def test_a_merge_leaves_no_line_behind(self, shop: Stand):
        await shop.add(customer(), PLENTY, 2)
        await shop.add(guest(), PLENTY, 5)
        mine = await shop.add(guest(), FEW, 1)
        await shop.merge_guest_cart(guest=guest(), customer=customer(), cart_id=mine.id, mode=MergeMode.MERGE)
        assert await shop.count(cart_lines) == 2

    async def test_a_merge_ends_a_draft_of_the_cart_that_it_replaces(self, shop: Stand):
        theirs = await shop.add(customer(), FEW, 2)
        draft = await shop.orders.check_out(customer(), cart_id=theirs.id)
        mine = await shop.add(guest(), PLENTY, 1)
        await shop.merge_guest_cart(guest=guest(), customer=customer(), cart_id=mine.id, mode=MergeMode.REPLACE)
        with pytest.raises(CartChanged):
            await shop.place(customer(), order_id=draft.id)

    async def test_a_merge_and_an_order_work_without_an_outbox(self, shop: Stand, clock: StoppedClock):
        quiet = Stand(shop.database, EmbeddedEngine(clock))
        mine = await quiet.add(guest(), PLENTY)
        done = await quiet.merge_guest_cart(guest=guest(), customer=customer(), cart_id=mine.id, mode=MergeMode.MERGE)
        draft = await quiet.orders.check_out(customer(), cart_id=done.cart_id)
        await quiet.place(customer(), order_id=draft.id)
        assert await shop.events("order.placed") == []


class TestOrders:
    async def test_are_not_placed_at_a_price_that_was_not_shown(self, shop: Stand):
        cart = await shop.add(customer(), PLENTY, 2)
        draft = await shop.orders.check_out(customer(), cart_id=cart.id)
        await restock(shop, product("tea", variant(PLENTY, price={"EUR": 900})))
        with pytest.raises(CartChanged):
            await shop.place(customer(), order_id=draft.id)
        new = await shop.orders.check_out(customer(), cart_id=cart.id)
        assert (await shop.place(customer(), order_id=new.id)).total == Money(1800, "EUR")

    async def test_keep_what_was_ordered_when_the_catalogue_changes(self, shop: Stand):
        cart = await shop.add(customer(), PLENTY, 2)
        draft = await shop.orders.check_out(customer(), cart_id=cart.id)
        placed = await shop.place(customer(), order_id=draft.id)
        await restock(shop, product("tea", variant(PLENTY, price={"EUR": 900}), name="Something else"))
        assert await shop.orders.require_order(customer(), placed.id) == placed

    def test_have_numbers_that_can_be_read_out_and_not_guessed(self):
        numbers = {order_number() for _ in range(500)}
        assert len(numbers) == 500
        assert all(re.fullmatch(r"S(-[2-9A-HJ-NP-Z]{4}){3}", number) for number in numbers)

    async def test_try_another_number_when_one_is_taken(self, shop: Stand, clock: StoppedClock):
        numbers = iter(["S-1", "S-1", "S-1", "S-2"])
        numbered = Stand(shop.database, EmbeddedEngine(clock, number=lambda: next(numbers)))
        drafts = []
        for shopper in (customer("cleo"), customer("dan")):
            cart = await shop.add(shopper)
            drafts.append(await numbered.orders.check_out(shopper, cart_id=cart.id))
        assert [draft.number for draft in drafts] == ["S-1", "S-2"]

    async def test_give_up_where_every_number_is_taken(self, shop: Stand, clock: StoppedClock):
        numbered = Stand(shop.database, EmbeddedEngine(clock, number=lambda: "S-1"))
        one, two = await shop.add(customer("cleo")), await shop.add(customer("dan"))
        await numbered.orders.check_out(customer("cleo"), cart_id=one.id)
        with pytest.raises(InternalError):
            await numbered.orders.check_out(customer("dan"), cart_id=two.id)


class TestLoading:
    async def test_loading_twice_changes_nothing(self, shop: Stand):
        before = [await shop.rows(select(table)) for table in CATALOGUE_TABLES]
        async with shop.database.unit() as unit:
            await load(unit, store="north", catalogue=ARTICLES)
        after = [await shop.rows(select(table)) for table in CATALOGUE_TABLES]
        assert [sorted(map(repr, rows)) for rows in after] == [sorted(map(repr, rows)) for rows in before]

    async def test_brings_all_but_the_stock_up_to_date(self, shop: Stand):
        await shop.set_stock(PLENTY, 7)
        await restock(
            shop, product("tea", variant(PLENTY, name="500 g", stock=4000, price={"EUR": 900}), category="kitchen")
        )
        tea = (await shop.catalogue.products(guest(), ["tea"]))["tea"]
        assert [(each.name, each.price.amount, each.stock) for each in tea.variants] == [("500 g", 900, 7)]
        assert tea.category_ids == ("kitchen",)
        south = (await shop.catalogue.products(guest(store="south"), ["tea"]))["tea"]
        assert [each.sku for each in south.variants] == [PLENTY, PLENTY_TOO]

    async def test_stops_the_sale_of_what_left_the_file(self, shop: Stand):
        await shop.add(guest(), PLENTY_TOO)
        await restock(shop, product("tea", variant(PLENTY)))
        with pytest.raises(CurrencyMismatch):
            await shop.add(guest("bob"), PLENTY_TOO)
        assert contents(await shop.carts.current(guest())) == {PLENTY_TOO: 1}

    @pytest.mark.parametrize("amount", [1.5, -1, 10**13, True])
    async def test_refuses_prices_that_are_not_minor_units(self, database: Database, amount: float):
        with pytest.raises(ValueError, match="minor units"):
            async with database.unit() as unit:
                await load(
                    unit, store="north", catalogue=catalogue(product("tea", variant(PLENTY, price={"EUR": amount})))
                )
        async with database.unit() as unit:
            assert await unit.first(select(products)) is None

    async def test_takes_the_demo_shop(self, database: Database, clock: StoppedClock):
        demo = read_catalogue()
        async with database.unit() as unit:
            await load(unit, store="default", catalogue=demo)
        shop = Stand(database, EmbeddedEngine(clock))
        shopper = guest(store="default")
        assert [each.id for each in await shop.catalogue.categories(shopper)] == [each.id for each in demo.categories]
        assert (await shop.catalogue.find_products(shopper, limit=1)).total == len(demo.products)
        kettles = (await shop.catalogue.find_products(shopper, text="kettle")).items
        assert kettles[0].id == "whistling-kettle"
        assert {each.sku for each in kettles[0].variants} == {
            each.sku for kettle in demo.products if kettle.id == "whistling-kettle" for each in kettle.variants
        }
        quince = next(each for each in kettles[0].variants if each.stock)
        assert (await shop.add(shopper, quince.sku)).total == quince.price
