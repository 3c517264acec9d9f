"""What every engine promises through the port, on every database."""

import dataclasses
from uuid import uuid4

import pytest

from shopkeeper.commerce.errors import (
    CartChanged,
    CartClosed,
    CartEmpty,
    CurrencyMismatch,
    OutOfStock,
    QuantityInvalid,
)
from shopkeeper.commerce.port import Cart, MergeMode, Money, Order, OrderState, Outcome, Profile, ShopperKind, Sort
from shopkeeper.commerce.stores import Store
from shopkeeper.errors import InvalidInput, NotFound, NotYours, TokenInvalid, Unauthenticated
from tests.commerce.stand import (
    EUROS_ONLY,
    FEW,
    FEW_LEFT,
    PLENTY,
    PLENTY_TOO,
    SOLD_OUT,
    Stand,
    contents,
    customer,
    guest,
    report,
)

NOT_IDS = ["", "no-cart", "\x00", "\ud800", "0" * 5000, str(uuid4())]


class TestASession:
    async def test_knows_its_shopper(self, stand: Stand):
        async with stand.session(guest("bob", currency="USD")) as session:
            assert session.shopper == guest("bob", currency="USD")

    async def test_reads_what_it_has_written(self, stand: Stand):
        async with stand.session(customer()) as session:
            assert await session.carts.current() is None
            begun = await session.carts.add(cart_id=None, variant_id=PLENTY, quantity=1)
            cart = await session.carts.change(cart_id=begun.id, line_id=begun.lines[0].id, quantity=3)
            assert await session.carts.current() == cart
            order = await session.orders.check_out(cart_id=cart.id)
            assert await session.orders.require_order(order.id) == order
        assert contents(await stand.carts.current(customer())) == {PLENTY: 3}

    async def test_a_session_of_one_shopper_shows_nothing_of_another(self, stand: Stand):
        async with stand.session(guest("ann")) as ann, stand.session(guest("bob", store="south")) as bob:
            cart = await ann.carts.add(cart_id=None, variant_id=PLENTY, quantity=1)
            assert await bob.carts.current() is None
            assert await ann.carts.current() == cart


class TestACatalogue:
    async def test_gives_products_with_their_variants_in_the_shoppers_currency(self, stand: Stand):
        tea = (await stand.catalogue.products(guest(currency="USD"), ["tea"]))["tea"]
        assert [(variant.sku, variant.price) for variant in tea.variants] == [
            (PLENTY, Money(300, "USD")),
            (PLENTY_TOO, Money(550, "USD")),
        ]
        assert tea.category_ids == ("pantry",)

    async def test_hides_what_has_no_price_in_that_currency(self, stand: Stand):
        assert await stand.catalogue.products(guest(currency="USD"), ["stove"]) == {}
        assert await stand.catalogue.variants(guest(currency="USD"), [EUROS_ONLY]) == {}
        found = await stand.catalogue.find_products(guest(currency="USD"))
        assert "stove" not in {product.id for product in found.items}

    async def test_prices_variants_in_the_currency_that_is_asked_for(self, stand: Stand):
        found = await stand.catalogue.variants(guest(currency="EUR"), [PLENTY, EUROS_ONLY], currency="USD")
        assert {sku: variant.price for sku, (_, variant) in found.items()} == {PLENTY: Money(300, "USD")}
        tea, _ = found[PLENTY]
        assert {variant.price.currency for variant in tea.variants} == {"USD"}

    async def test_leaves_unknown_names_out(self, stand: Stand):
        found = await stand.catalogue.products(guest(), ["tea", *NOT_IDS])
        assert list(found) == ["tea"]
        assert list(await stand.catalogue.variants(guest(), [PLENTY, *NOT_IDS])) == [PLENTY]

    async def test_finds_nothing_where_nothing_was_asked_for(self, stand: Stand):
        assert await stand.catalogue.products(guest(), []) == {}
        assert await stand.catalogue.variants(guest(), []) == {}

    async def test_finds_by_word_and_category(self, stand: Stand):
        assert [p.id for p in (await stand.catalogue.find_products(guest(), text="HONEY")).items] == ["honey"]
        assert [p.id for p in (await stand.catalogue.find_products(guest(), category_id="kitchen")).items] == ["stove"]
        assert (await stand.catalogue.find_products(guest(), text="honey", category_id="kitchen")).items == ()
        assert (await stand.catalogue.find_products(guest(), category_id="no such shelf")).items == ()

    async def test_turns_pages_without_overlap(self, stand: Stand):
        first = await stand.catalogue.find_products(guest(), sort=Sort.NAME, limit=3)
        rest = await stand.catalogue.find_products(guest(), sort=Sort.NAME, offset=int(first.cursor), limit=3)
        assert [p.id for p in first.items + rest.items] == ["honey", "jam", "stove", "tea"]
        assert (first.total, rest.total, rest.cursor) == (4, 4, None)

    @pytest.mark.parametrize(
        ("sort", "ids"),
        [(Sort.PRICE_ASC, ["honey", "jam", "tea", "stove"]), (Sort.PRICE_DESC, ["stove", "honey", "jam", "tea"])],
    )
    async def test_sorts_by_the_cheapest_variant(self, stand: Stand, sort: Sort, ids: list[str]):
        assert [p.id for p in (await stand.catalogue.find_products(guest(), sort=sort)).items] == ids

    @pytest.mark.parametrize("page", [{"limit": 0}, {"limit": 10**9}, {"offset": -1}, {"offset": 2**70}])
    async def test_refuses_pages_that_cannot_be(self, stand: Stand, page: dict[str, int]):
        with pytest.raises(InvalidInput):
            await stand.catalogue.find_products(guest(), **page)

    async def test_lists_its_categories(self, stand: Stand):
        assert [category.id for category in await stand.catalogue.categories(guest())] == ["pantry", "kitchen"]


class TestACart:
    async def test_begins_with_the_first_thing_put_into_it(self, stand: Stand):
        assert await stand.carts.current(guest()) is None
        cart = await stand.add(guest(), PLENTY, 2)
        assert contents(cart) == {PLENTY: 2}
        assert await stand.carts.current(guest()) == cart
        assert await stand.carts.require(guest(), cart.id) == cart

    async def test_adds_up(self, stand: Stand):
        await stand.add(guest(), PLENTY, 2)
        await stand.add(guest(), PLENTY_TOO, 1)
        cart = await stand.add(guest(), PLENTY, 3)
        assert contents(cart) == {PLENTY: 5, PLENTY_TOO: 1}
        assert (cart.quantity, cart.total, cart.list_total) == (6, Money(1749, "EUR"), Money(1749, "EUR"))

    async def test_counts_its_versions(self, stand: Stand):
        first = await stand.add(guest())
        second = await stand.add(guest(), cart_id=first.id)
        assert second.version > first.version

    async def test_keeps_the_currency_it_began_with(self, stand: Stand):
        cart = await stand.carts.create(guest(currency="USD"))
        cart = await stand.add(guest(currency="EUR"), cart_id=cart.id)
        assert cart.currency == "USD"
        assert cart.total == Money(300, "USD")

    async def test_refuses_what_is_not_sold_in_its_currency(self, stand: Stand):
        cart = await stand.carts.create(guest(currency="USD"))
        with pytest.raises(CurrencyMismatch):
            await stand.add(guest(currency="EUR"), EUROS_ONLY, cart_id=cart.id)
        assert contents(await stand.carts.require(guest(), cart.id)) == {}

    async def test_refuses_what_the_shop_does_not_have(self, stand: Stand):
        for name in NOT_IDS:
            with pytest.raises(NotFound):
                await stand.add(guest(), name)
        assert await stand.carts.current(guest()) is None

    @pytest.mark.parametrize("quantity", [0, -1, -(2**63), 100, 2**31, 2**63, 10**30])
    async def test_refuses_impossible_quantities(self, stand: Stand, quantity: int):
        with pytest.raises(QuantityInvalid):
            await stand.add(guest(), PLENTY, quantity)
        assert await stand.carts.current(guest()) is None

    async def test_refuses_more_in_one_line_than_it_takes(self, stand: Stand):
        cart = await stand.add(guest(), PLENTY, 99)
        with pytest.raises(QuantityInvalid):
            await stand.add(guest(), PLENTY, 1)
        for quantity in (-1, 100):
            with pytest.raises(QuantityInvalid):
                await stand.carts.change(guest(), cart_id=cart.id, line_id=cart.lines[0].id, quantity=quantity)
        assert await stand.carts.current(guest()) == cart

    async def test_refuses_more_than_is_left_and_says_how_many_that_is(self, stand: Stand):
        cart = await stand.add(guest(), FEW, 3)
        with pytest.raises(OutOfStock) as refused:
            await stand.add(guest(), FEW, 3)
        assert refused.value.status == 409
        assert refused.value.details["lines"] == [{"variant_id": FEW, "name": "Honey", "wanted": 6, "left": FEW_LEFT}]
        with pytest.raises(OutOfStock):
            await stand.carts.change(guest(), cart_id=cart.id, line_id=cart.lines[0].id, quantity=FEW_LEFT + 1)
        with pytest.raises(OutOfStock):
            await stand.add(guest(), SOLD_OUT)
        assert contents(await stand.carts.current(guest())) == {FEW: 3}

    async def test_sets_and_removes_lines(self, stand: Stand):
        cart = await stand.add(guest(), PLENTY, 2)
        cart = await stand.add(guest(), PLENTY_TOO, 2)
        one, two = (line.id for line in cart.lines)
        assert contents(await stand.carts.change(guest(), cart_id=cart.id, line_id=one, quantity=7))[PLENTY] == 7
        assert contents(await stand.carts.change(guest(), cart_id=cart.id, line_id=one, quantity=0)) == {PLENTY_TOO: 2}
        assert contents(await stand.carts.remove(guest(), cart_id=cart.id, line_id=two)) == {}
        with pytest.raises(NotFound):
            await stand.carts.remove(guest(), cart_id=cart.id, line_id=two)

    async def test_knows_only_its_own_lines(self, stand: Stand):
        mine = await stand.add(guest("ann"))
        other = await stand.add(guest("bob"))
        for line_id in (other.lines[0].id, *NOT_IDS):
            with pytest.raises(NotFound):
                await stand.carts.remove(guest("ann"), cart_id=mine.id, line_id=line_id)
        assert await stand.carts.current(guest("bob")) == other

    async def test_an_empty_cart_is_returned_again_instead_of_a_new_one(self, stand: Stand, clock):
        empty = await stand.carts.create(guest())
        clock.advance(minutes=1)
        full = await stand.add(guest("ann"), cart_id=(await stand.carts.create(guest(currency="USD"))).id)
        clock.advance(minutes=1)
        again = await stand.carts.create(guest())
        assert again.id == empty.id != full.id
        assert (await stand.carts.current(guest())).id == empty.id
        assert (await stand.carts.create(guest("bob"))).id != empty.id

    async def test_of_two_carts_the_one_that_changed_last_is_current(self, stand: Stand, clock):
        one = await stand.add(guest())
        clock.advance(minutes=1)
        two = await stand.carts.create(guest())
        assert (await stand.carts.current(guest())).id == two.id
        clock.advance(minutes=1)
        await stand.add(guest(), cart_id=one.id)
        assert (await stand.carts.current(guest())).id == one.id

    async def test_holds_no_fractions_of_money(self, stand: Stand):
        cart = await stand.add(guest(), PLENTY_TOO, 3)
        amounts = [cart.total.amount, cart.list_total.amount, *(line.price.amount for line in cart.lines)]
        assert {type(amount) for amount in amounts} == {int}


class TestSomebodyElsesCart:
    async def test_is_refused_like_one_that_does_not_exist(self, stand: Stand):
        theirs = await stand.add(guest("bob"))
        answers = set()
        for cart_id in (theirs.id, *NOT_IDS):
            with pytest.raises(NotYours) as refused:
                await stand.carts.require(guest("ann"), cart_id)
            answers.add((refused.value.code, refused.value.sentence, str(refused.value.details)))
        assert len(answers) == 1

    @pytest.mark.parametrize(
        "stranger",
        [
            pytest.param(guest("ann"), id="another guest"),
            pytest.param(customer("cleo"), id="a customer"),
            pytest.param(guest("bob", store="south"), id="the same guest in another store"),
            pytest.param(
                dataclasses.replace(guest("bob"), kind=ShopperKind.CUSTOMER), id="a customer of the guest's id"
            ),
        ],
    )
    async def test_cannot_be_read_or_written(self, stand: Stand, stranger):
        theirs = await stand.add(guest("bob"), PLENTY, 2)
        line_id = theirs.lines[0].id
        with pytest.raises(NotYours):
            await stand.carts.require(stranger, theirs.id)
        with pytest.raises(NotYours):
            await stand.add(stranger, cart_id=theirs.id)
        with pytest.raises(NotYours):
            await stand.carts.change(stranger, cart_id=theirs.id, line_id=line_id, quantity=5)
        with pytest.raises(NotYours):
            await stand.carts.remove(stranger, cart_id=theirs.id, line_id=line_id)
        assert await stand.carts.current(stranger) is None
        assert await stand.carts.require(guest("bob"), theirs.id) == theirs

    async def test_cannot_be_checked_out(self, stand: Stand):
        theirs = await stand.add(customer("cleo"))
        with pytest.raises(NotYours):
            await stand.orders.check_out(customer("dan"), cart_id=theirs.id)

    async def test_cannot_be_taken_at_sign_in(self, stand: Stand):
        guests = await stand.add(guest("bob"))
        customers = await stand.add(customer("cleo"))
        for mode in MergeMode:
            for cart_id in (guests.id, customers.id, *NOT_IDS):
                with pytest.raises(NotYours):
                    await stand.merge_guest_cart(
                        guest=guest("ann"), customer=customer("dan"), cart_id=cart_id, mode=mode
                    )
        assert await stand.carts.require(guest("bob"), guests.id) == guests
        assert await stand.carts.require(customer("cleo"), customers.id) == customers


async def cart_merge(stand: Stand, cart_id: str | None, mode: MergeMode = MergeMode.MERGE, to: str = "cleo"):
    return await stand.merge_guest_cart(guest=guest(), customer=customer(to), cart_id=cart_id, mode=mode)


class TestAHandOver:
    async def test_gives_the_cart_to_a_customer_without_one_under_its_own_id(self, stand: Stand):
        mine = await stand.add(guest(), PLENTY, 2)
        done = await cart_merge(stand, mine.id)
        assert (done.outcome, done.cart_id) == (Outcome.ADOPTED, mine.id)
        assert report(done) == {PLENTY: (0, 2, 2, "added")}
        theirs = await stand.carts.current(customer())
        assert (theirs.id, contents(theirs)) == (mine.id, {PLENTY: 2})

    async def test_merges_into_the_customers_cart_with_the_greater_quantities(self, stand: Stand):
        await stand.add(customer(), PLENTY, 4)
        theirs = await stand.add(customer(), FEW, 2)
        await stand.add(guest(), PLENTY, 1)
        await stand.add(guest(), PLENTY_TOO, 1)
        mine = await stand.add(guest(), FEW, 4)
        done = await cart_merge(stand, mine.id)
        assert (done.outcome, done.cart_id) == (Outcome.MERGED, theirs.id)
        assert report(done) == {
            PLENTY: (4, 4, 4, "unchanged"),
            PLENTY_TOO: (0, 1, 1, "added"),
            FEW: (2, 4, 4, "raised"),
        }
        assert contents(await stand.carts.current(customer())) == {PLENTY: 4, PLENTY_TOO: 1, FEW: 4}

    async def test_replaces_the_customers_cart_and_says_what_gave_way(self, stand: Stand):
        theirs = await stand.add(customer(), FEW, 2)
        mine = await stand.add(guest(), PLENTY, 1)
        done = await cart_merge(stand, mine.id, MergeMode.REPLACE)
        assert (done.outcome, done.cart_id) == (Outcome.REPLACED, mine.id)
        assert report(done) == {PLENTY: (0, 1, 1, "added"), FEW: (2, 0, 0, "replaced")}
        current = await stand.carts.current(customer())
        assert (current.id, contents(current)) == (mine.id, {PLENTY: 1})
        assert await stand.carts.require(customer(), theirs.id) == current

    async def test_never_replaces_a_cart_by_an_empty_one(self, stand: Stand):
        theirs = await stand.add(customer(), FEW, 2)
        mine = await stand.carts.create(guest())
        done = await cart_merge(stand, mine.id, MergeMode.REPLACE)
        assert (done.outcome, done.cart_id, done.lines) == (Outcome.MERGED, theirs.id, ())
        assert contents(await stand.carts.current(customer())) == {FEW: 2}

    async def test_leaves_both_carts_alone_on_request(self, stand: Stand):
        theirs = await stand.add(customer(), FEW, 2)
        mine = await stand.add(guest(), FEW, 1)
        done = await cart_merge(stand, mine.id, MergeMode.KEEP)
        assert (done.outcome, done.cart_id) == (Outcome.KEPT, theirs.id)
        assert report(done) == {FEW: (2, 1, 2, "left")}
        assert await stand.carts.current(customer()) == theirs
        assert contents(await stand.add(guest(), FEW, 1)) == {FEW: 2}
        assert mine.id == (await stand.carts.current(guest())).id

    @pytest.mark.parametrize("mode", MergeMode)
    async def test_ignores_the_guests_cart_where_none_is_named(self, stand: Stand, mode: MergeMode):
        theirs = await stand.add(customer(), FEW, 2)
        mine = await stand.add(guest(), FEW, 1)
        done = await cart_merge(stand, None, mode)
        assert done.outcome is (Outcome.KEPT if mode is MergeMode.KEEP else Outcome.NOTHING)
        assert (done.cart_id, done.lines) == (theirs.id, ())
        assert await stand.carts.current(guest()) == mine

    async def test_a_merge_of_the_customers_own_cart_does_nothing(self, stand: Stand):
        theirs = await stand.add(customer(), FEW, 2)
        for mode in (MergeMode.MERGE, MergeMode.REPLACE):
            done = await cart_merge(stand, theirs.id, mode)
            assert (done.outcome, done.cart_id, done.lines) == (Outcome.NOTHING, theirs.id, ())
        assert await stand.carts.current(customer()) == theirs
        assert (await stand.add(guest())).id != theirs.id

    async def test_reports_each_line_that_cannot_be_taken(self, stand: Stand):
        dollars = customer(currency="USD")
        await stand.add(dollars, PLENTY, 1)
        for article, quantity in ((EUROS_ONLY, 1), (PLENTY_TOO, 3), (FEW, 4)):
            mine = await stand.add(guest(currency="EUR"), article, quantity)
        await stand.set_stock(PLENTY_TOO, 0)
        await stand.set_stock(FEW, 2)
        done = await cart_merge(stand, mine.id)
        assert report(done) == {
            EUROS_ONLY: (0, 1, 0, "no_price_in_currency"),
            PLENTY_TOO: (0, 3, 0, "out_of_stock"),
            FEW: (0, 4, 2, "limited_by_stock"),
        }
        theirs = await stand.carts.current(dollars)
        assert contents(theirs) == {PLENTY: 1, FEW: 2}
        assert {line.price.currency for line in theirs.lines} == {"USD"}
        assert theirs.total == Money(900, "USD")

    async def test_limits_an_adopted_cart_by_stock_too(self, stand: Stand):
        await stand.add(guest(), PLENTY_TOO, 3)
        mine = await stand.add(guest(), FEW, 4)
        await stand.set_stock(PLENTY_TOO, 0)
        await stand.set_stock(FEW, 2)
        done = await cart_merge(stand, mine.id)
        assert report(done) == {PLENTY_TOO: (0, 3, 0, "out_of_stock"), FEW: (0, 4, 2, "limited_by_stock")}
        assert contents(await stand.carts.current(customer())) == {FEW: 2}

    async def test_keeps_a_line_of_the_customers_though_it_has_sold_out(self, stand: Stand):
        await stand.add(customer(), FEW, 3)
        mine = await stand.add(guest(), FEW, 4)
        await stand.set_stock(FEW, 0)
        done = await cart_merge(stand, mine.id)
        assert report(done) == {FEW: (3, 4, 3, "out_of_stock")}
        assert contents(await stand.carts.current(customer())) == {FEW: 3}

    @pytest.mark.parametrize("mode", [MergeMode.MERGE, MergeMode.REPLACE])
    @pytest.mark.parametrize("has_cart", [True, False], ids=["customer has a cart", "customer has none"])
    async def test_done_twice_changes_nothing_and_reports_the_same(self, stand: Stand, mode: MergeMode, has_cart: bool):
        if has_cart:
            await stand.add(customer(), FEW, 2)
        mine = await stand.add(guest(), PLENTY, 2)
        first = await cart_merge(stand, mine.id, mode)
        before = await stand.carts.current(customer())
        again = await cart_merge(stand, mine.id, mode)
        assert again == dataclasses.replace(first, outcome=Outcome.ALREADY_DONE)
        assert await stand.carts.current(customer()) == before

    async def test_done_again_after_an_order_names_no_closed_cart(self, stand: Stand):
        mine = await stand.add(guest())
        done = {"guest": guest(), "customer": customer(), "cart_id": mine.id, "mode": MergeMode.MERGE}
        assert (await stand.merge_guest_cart(**done)).cart_id == mine.id
        draft = await stand.orders.check_out(customer(), cart_id=mine.id)
        await stand.place(customer(), order_id=draft.id)
        own = {**done, "guest": guest("bob")}
        for repeated, outcome in ((done, Outcome.ALREADY_DONE), (own, Outcome.NOTHING)):
            again = await stand.merge_guest_cart(**repeated)
            assert (again.outcome, again.cart_id) == (outcome, None)
        new = await stand.add(customer())
        for repeated in (done, own):
            assert (await stand.merge_guest_cart(**repeated)).cart_id == new.id

    async def test_done_again_after_another_names_the_cart_that_took_its_place(self, stand: Stand):
        first = {"guest": guest("ann"), "customer": customer(), "mode": MergeMode.REPLACE}
        one = await stand.add(guest("ann"))
        await stand.merge_guest_cart(**first, cart_id=one.id)
        two = await stand.add(guest("bob"), FEW)
        await stand.merge_guest_cart(**{**first, "guest": guest("bob")}, cart_id=two.id)
        again = await stand.merge_guest_cart(**first, cart_id=one.id)
        assert (again.outcome, again.cart_id) == (Outcome.ALREADY_DONE, two.id)

    async def test_makes_the_old_id_lead_to_the_new_cart_for_its_owner_alone(self, stand: Stand):
        theirs = await stand.add(customer(), FEW, 2)
        mine = await stand.add(guest(), PLENTY, 2)
        await cart_merge(stand, mine.id)
        assert (await stand.carts.require(customer(), mine.id)).id == theirs.id
        cart = await stand.add(customer(), PLENTY_TOO, cart_id=mine.id)
        assert (cart.id, contents(cart)) == (theirs.id, {FEW: 2, PLENTY: 2, PLENTY_TOO: 1})
        for stranger in (guest(), guest("bob"), customer("dan")):
            with pytest.raises(NotYours):
                await stand.carts.require(stranger, mine.id)

    async def test_the_old_id_leads_to_the_current_cart_through_many_merges(self, stand: Stand):
        ids = []
        for name, mode in (
            ("a", MergeMode.MERGE),
            ("b", MergeMode.REPLACE),
            ("c", MergeMode.MERGE),
            ("d", MergeMode.REPLACE),
        ):
            cart = await stand.add(guest(name), PLENTY, 1)
            await stand.merge_guest_cart(guest=guest(name), customer=customer(), cart_id=cart.id, mode=mode)
            ids.append(cart.id)
        current = await stand.carts.current(customer())
        assert current.id == ids[-1]
        assert {(await stand.carts.require(customer(), old)).id for old in ids} == {current.id}

    async def test_keeps_the_ids_of_the_guests_lines(self, stand: Stand):
        await stand.add(customer(), FEW, 2)
        mine = await stand.add(guest(), PLENTY, 2)
        await cart_merge(stand, mine.id)
        cart = await stand.carts.change(customer(), cart_id=mine.id, line_id=mine.lines[0].id, quantity=9)
        assert contents(cart) == {FEW: 2, PLENTY: 9}

    @pytest.mark.parametrize("mode", [MergeMode.MERGE, MergeMode.REPLACE])
    async def test_a_merge_closes_the_guest(self, stand: Stand, mode: MergeMode):
        await stand.add(customer(), FEW, 2)
        mine = await stand.add(guest(), PLENTY, 2)
        await cart_merge(stand, mine.id, mode)
        before = await stand.carts.current(customer())
        assert await stand.carts.current(guest()) is None
        with pytest.raises(NotYours):
            await stand.carts.require(guest(), mine.id)
        with pytest.raises(TokenInvalid):
            await stand.carts.create(guest())
        for cart_id in (None, mine.id):
            with pytest.raises(TokenInvalid):
                await stand.add(guest(), cart_id=cart_id)
        with pytest.raises(TokenInvalid):
            await stand.carts.remove(guest(), cart_id=mine.id, line_id=mine.lines[0].id)
        assert await stand.carts.current(customer()) == before

    async def test_is_not_repeated_for_another_customer(self, stand: Stand):
        mine = await stand.add(guest(), PLENTY, 2)
        await cart_merge(stand, mine.id, to="cleo")
        with pytest.raises(NotYours):
            await cart_merge(stand, mine.id, to="dan")
        assert await stand.carts.current(customer("dan")) is None

    async def test_a_second_cart_of_a_guest_is_merged_for_the_same_customer_only(self, stand: Stand):
        one = await stand.add(guest(), PLENTY, 2)
        two = await stand.add(guest(), FEW, 1, cart_id=(await stand.carts.create(guest())).id)
        await cart_merge(stand, one.id, to="cleo")
        with pytest.raises(TokenInvalid):
            await cart_merge(stand, two.id, to="dan")
        assert (await cart_merge(stand, two.id, to="cleo")).outcome is Outcome.MERGED
        assert contents(await stand.carts.current(customer())) == {PLENTY: 2, FEW: 1}

    async def test_never_takes_a_customers_cart_nor_crosses_stores(self, stand: Stand):
        theirs = await stand.add(customer("dan"), PLENTY, 2)
        mine = await stand.add(guest(), PLENTY, 2)
        pairs = [
            (customer("dan"), customer("cleo"), theirs.id),
            (guest(), guest("bob"), mine.id),
            (guest(), customer(store="south"), mine.id),
        ]
        for giver, taker, cart_id in pairs:
            with pytest.raises(NotYours):
                await stand.merge_guest_cart(guest=giver, customer=taker, cart_id=cart_id, mode=MergeMode.MERGE)
        assert await stand.carts.require(customer("dan"), theirs.id) == theirs
        assert await stand.carts.require(guest(), mine.id) == mine

    async def test_after_an_order_begins_with_a_cart_of_its_own(self, stand: Stand):
        await ordered(stand, customer(), PLENTY, 1)
        mine = await stand.add(guest(), FEW, 1)
        done = await cart_merge(stand, mine.id)
        assert (done.outcome, done.cart_id) == (Outcome.ADOPTED, mine.id)

    async def test_a_merge_done_twice_writes_one_event(self, stand: Stand):
        mine = await stand.add(guest(), PLENTY, 2)
        await cart_merge(stand, mine.id)
        await cart_merge(stand, mine.id)
        [event] = await stand.events("cart.handed_over")
        assert event.key == customer().id
        assert event.payload["outcome"] == "adopted"
        assert event.payload["cart_id"] == mine.id
        assert [line["variant_id"] for line in event.payload["lines"]] == [PLENTY]


async def ordered(stand: Stand, shopper, variant_id: str, quantity: int) -> Order:
    cart: Cart = await stand.add(shopper, variant_id, quantity)
    draft = await stand.orders.check_out(shopper, cart_id=cart.id)
    return await stand.place(shopper, order_id=draft.id)


class TestAnOrder:
    async def test_is_drafted_and_placed(self, stand: Stand):
        await stand.add(customer(), PLENTY, 2)
        cart = await stand.add(customer(), FEW, 3)
        draft = await stand.orders.check_out(customer(), cart_id=cart.id)
        assert (draft.state, draft.placed_at, draft.cart_id) == (OrderState.DRAFT, None, cart.id)
        assert [(line.sku, line.name, line.quantity, line.total) for line in draft.lines] == [
            (PLENTY, "Tea, 100 g", 2, Money(500, "EUR")),
            (FEW, "Honey", 3, Money(750, "EUR")),
        ]
        assert draft.total == Money(1250, "EUR") == cart.total
        order = await stand.place(customer(), order_id=draft.id)
        assert order == dataclasses.replace(draft, state=OrderState.PLACED, placed_at=order.placed_at)
        assert order.placed_at is not None

    async def test_takes_the_stock_when_it_is_placed_and_not_before(self, stand: Stand):
        cart = await stand.add(customer(), FEW, 3)
        draft = await stand.orders.check_out(customer(), cart_id=cart.id)
        assert await stand.stock(FEW) == FEW_LEFT
        await stand.place(customer(), order_id=draft.id)
        assert await stand.stock(FEW) == FEW_LEFT - 3
        assert await stand.stock(FEW, store="south") == FEW_LEFT

    async def test_closes_the_cart(self, stand: Stand):
        order = await ordered(stand, customer(), PLENTY, 2)
        assert await stand.carts.current(customer()) is None
        closed = await stand.carts.require(customer(), order.cart_id)
        assert not closed.active
        with pytest.raises(CartClosed):
            await stand.add(customer(), cart_id=closed.id)
        with pytest.raises(CartClosed):
            await stand.carts.remove(customer(), cart_id=closed.id, line_id=closed.lines[0].id)
        with pytest.raises(CartClosed):
            await stand.orders.check_out(customer(), cart_id=closed.id)
        assert (await stand.add(customer())).id != closed.id

    async def test_placed_twice_is_placed_once(self, stand: Stand):
        order = await ordered(stand, customer(), FEW, 2)
        assert await stand.place(customer(), order_id=order.id) == order
        assert await stand.stock(FEW) == FEW_LEFT - 2
        assert len(await stand.events("order.placed")) == 1

    async def test_asked_for_again_is_the_same_draft_until_the_cart_changes(self, stand: Stand):
        cart = await stand.add(customer(), FEW, 2)
        draft = await stand.orders.check_out(customer(), cart_id=cart.id)
        assert await stand.orders.check_out(customer(), cart_id=cart.id) == draft
        await stand.add(customer(), FEW, 1)
        with pytest.raises(CartChanged):
            await stand.place(customer(), order_id=draft.id)
        new = await stand.orders.check_out(customer(), cart_id=cart.id)
        assert new.total == Money(750, "EUR")
        with pytest.raises(NotYours):
            await stand.place(customer(), order_id=draft.id)

    async def test_short_of_stock_takes_nothing_and_names_every_short_line(self, stand: Stand):
        await stand.add(customer(), PLENTY, 1)
        await stand.add(customer(), PLENTY_TOO, 4)
        cart = await stand.add(customer(), FEW, 5)
        draft = await stand.orders.check_out(customer(), cart_id=cart.id)
        await stand.set_stock(PLENTY_TOO, 0)
        await stand.set_stock(FEW, 2)
        with pytest.raises(OutOfStock) as refused:
            await stand.place(customer(), order_id=draft.id)
        assert {line["variant_id"]: (line["wanted"], line["left"]) for line in refused.value.details["lines"]} == {
            PLENTY_TOO: (4, 0),
            FEW: (5, 2),
        }
        assert [await stand.stock(article) for article in (PLENTY, PLENTY_TOO, FEW)] == [1000, 0, 2]
        assert (await stand.orders.require_order(customer(), draft.id)).state is OrderState.DRAFT
        assert (await stand.carts.current(customer())).id == cart.id
        assert await stand.events("order.placed") == []
        with pytest.raises(OutOfStock):
            await stand.orders.check_out(customer(), cart_id=cart.id)

    async def test_an_order_of_nothing_is_refused(self, stand: Stand):
        cart = await stand.carts.create(customer())
        with pytest.raises(CartEmpty):
            await stand.orders.check_out(customer(), cart_id=cart.id)

    async def test_needs_a_customer(self, stand: Stand):
        cart = await stand.add(guest())
        for ask in (
            stand.orders.check_out(guest(), cart_id=cart.id),
            stand.place(guest(), order_id=str(uuid4())),
            stand.orders.orders(guest()),
            stand.orders.require_order(guest(), str(uuid4())),
        ):
            with pytest.raises(Unauthenticated, match="authentication"):
                await ask

    async def test_another_customers_order_is_refused_like_an_unknown_one(self, stand: Stand):
        theirs = await ordered(stand, customer("dan"), PLENTY, 1)
        for order_id in (theirs.id, theirs.number, *NOT_IDS):
            with pytest.raises(NotYours):
                await stand.orders.require_order(customer("cleo"), order_id)
            with pytest.raises(NotYours):
                await stand.place(customer("cleo"), order_id=order_id)
        with pytest.raises(NotYours):
            await stand.orders.require_order(customer("dan", store="south"), theirs.id)
        assert (await stand.orders.orders(customer("cleo"))).items == ()

    async def test_is_found_by_id_and_by_number(self, stand: Stand):
        order = await ordered(stand, customer(), PLENTY, 1)
        assert await stand.orders.require_order(customer(), order.id) == order
        assert await stand.orders.require_order(customer(), order.number) == order

    async def test_is_listed_once_placed_newest_first(self, stand: Stand, clock):
        placed = []
        for quantity in (1, 2, 3):
            placed.append(await ordered(stand, customer(), PLENTY, quantity))
            clock.advance(minutes=1)
        cart = await stand.add(customer(), PLENTY, 9)
        await stand.orders.check_out(customer(), cart_id=cart.id)
        page = await stand.orders.orders(customer(), limit=2)
        rest = await stand.orders.orders(customer(), offset=int(page.cursor), limit=2)
        assert list(page.items + rest.items) == placed[::-1]
        assert (page.total, rest.total, rest.cursor) == (3, 3, None)

    async def test_is_announced_in_the_language_of_its_store(self, stand: Stand):
        shopper = Store(id="north", locale="de-AT").customer("identity-cleo")
        await ordered(stand, shopper, PLENTY, 1)
        [event] = await stand.events("order.placed")
        assert event.payload["locale"] == "de-AT"

    async def test_is_announced_with_all_that_a_mail_needs(self, stand: Stand):
        profile = Profile(customer().id, "cleo@example.org", "Cleo", "Quist")
        await stand.customers.ensure(customer(), profile)
        order = await ordered(stand, customer(), PLENTY, 2)
        [event] = await stand.events("order.placed")
        assert event.key == customer().id
        assert event.payload["number"] == order.number
        assert (event.payload["total"], event.payload["currency"]) == (500, "EUR")
        assert event.payload["lines"] == [
            {"sku": PLENTY, "name": "Tea, 100 g", "quantity": 2, "price": 250, "total": 500}
        ]
        assert event.payload["customer"] == {
            "id": customer().id,
            "email": "cleo@example.org",
            "first_name": "Cleo",
            "last_name": "Quist",
        }

    async def test_is_announced_with_the_current_address_and_not_that_of_the_last_sign_in(self, stand: Stand):
        await stand.customers.ensure(customer(), Profile(customer().id, "old@example.org", "Cleo"))
        cart = await stand.add(customer())
        draft = await stand.orders.check_out(customer(), cart_id=cart.id)
        await stand.place(customer(), order_id=draft.id, profile=Profile(customer().id, "new@example.org", "Cléo"))
        [event] = await stand.events("order.placed")
        told = event.payload["customer"]
        assert (told["email"], told["first_name"], told["last_name"]) == ("new@example.org", "Cléo", None)
        assert (await stand.customers.customer(customer())).email == "new@example.org"


class TestACustomer:
    async def test_a_forgotten_customer_leaves_orders_and_nothing_else(self, stand: Stand):
        for store in ("north", "south"):
            shopper = customer(store=store)
            await stand.customers.ensure(shopper, Profile(shopper.id, "cleo@example.org", "Cleo"))
            await ordered(stand, shopper, PLENTY, 1)
            open_cart = await stand.add(shopper)
            await stand.orders.check_out(shopper, cart_id=open_cart.id)
        neighbour = await stand.customers.ensure(customer("dora"), Profile(customer("dora").id, "dora@example.org"))
        await stand.forget(customer().id)
        for shopper in (customer(), customer(store="south")):
            assert await stand.customers.customer(shopper) is None
            assert await stand.carts.current(shopper) is None
            assert (await stand.orders.orders(shopper)).total == 1
        assert await stand.customers.customer(customer("dora")) == neighbour

    async def test_an_unknown_customer_can_be_forgotten_and_a_known_one_twice(self, stand: Stand):
        await stand.forget("identity-unknown")
        await stand.customers.ensure(customer(), Profile(customer().id, "cleo@example.org"))
        for _ in range(2):
            await stand.forget(customer().id)
            assert await stand.customers.customer(customer()) is None

    async def test_a_customer_is_forgotten_with_the_merges_of_their_carts(self, stand: Stand):
        await stand.customers.ensure(customer(), Profile(customer().id, "cleo@example.org"))
        for name in ("ann", "bob"):
            mine = await stand.add(guest(name))
            mode = MergeMode.MERGE if name == "ann" else MergeMode.REPLACE
            await stand.merge_guest_cart(guest=guest(name), customer=customer(), cart_id=mine.id, mode=mode)
        await stand.forget(customer().id)
        assert await stand.carts.current(customer()) is None

    async def test_is_made_once_and_kept_up_to_date(self, stand: Stand):
        assert await stand.customers.customer(customer()) is None
        first = await stand.customers.ensure(customer(), Profile(customer().id, "cleo@example.org", "Cleo"))
        again = await stand.customers.ensure(customer(), Profile(customer().id, "cleo@example.org", "Cleo"))
        moved = await stand.customers.ensure(customer(), Profile(customer().id, "new@example.org", "Cleo", "Quist"))
        assert again == first
        assert (moved.id, moved.email, moved.last_name) == (first.id, "new@example.org", "Quist")
        assert await stand.customers.customer(customer()) == moved

    async def test_belongs_to_one_store(self, stand: Stand):
        north = await stand.customers.ensure(customer(), Profile(customer().id, None))
        south = await stand.customers.ensure(customer(store="south"), Profile(customer().id, None))
        assert north.id != south.id

    async def test_is_no_guest(self, stand: Stand):
        await stand.customers.ensure(customer(), Profile(guest().id, None))
        assert await stand.customers.customer(guest()) is None
