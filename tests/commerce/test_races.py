"""Concurrent calls: nothing is lost, nothing is doubled, nothing is sold twice."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import pytest

from shopkeeper.commerce.embedded.store import cart_hand_overs, cart_lines, carts, customers
from shopkeeper.commerce.errors import OutOfStock
from shopkeeper.commerce.port import MergeMode, OrderState, Outcome, Profile
from shopkeeper.errors import NotYours, Refusal, TokenInvalid
from tests.commerce.stand import FEW, FEW_LEFT, PLENTY, PLENTY_TOO, Stand, contents, customer, guest


async def at_once(*calls: Awaitable[Any]) -> list[Any]:
    """Make calls at once and return every answer. A refusal is an answer; any other exception fails the test."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Refusal):
            raise answer
    return answers


def kinds(answers: list[Any]) -> Counter[type]:
    return Counter(type(answer) for answer in answers)


class TestCartsAtOnce:
    async def test_fifty_adds_to_one_cart_all_count(self, shop: Stand):
        cart = await shop.carts.create(guest())
        await at_once(*(shop.add(guest(), [PLENTY, PLENTY_TOO][n % 2], cart_id=cart.id) for n in range(50)))
        after = await shop.carts.require(guest(), cart.id)
        assert contents(after) == {PLENTY: 25, PLENTY_TOO: 25}
        assert after.version == 51

    async def test_first_adds_begin_one_cart_together(self, shop: Stand):
        await at_once(*(shop.add(guest(), PLENTY) for _ in range(20)))
        assert contents(await shop.carts.current(guest())) == {PLENTY: 20}
        assert await shop.count(carts) == 1

    async def test_empty_carts_are_begun_once(self, shop: Stand):
        begun = await at_once(*(shop.carts.create(guest()) for _ in range(10)))
        assert len({cart.id for cart in begun}) == 1
        assert await shop.count(carts) == 1

    async def test_adds_stop_at_the_stock(self, shop: Stand):
        answers = await at_once(*(shop.add(guest(), FEW) for _ in range(12)))
        assert kinds(answers)[OutOfStock] == 12 - FEW_LEFT
        assert contents(await shop.carts.current(guest())) == {FEW: FEW_LEFT}

    async def test_two_removals_of_a_line_remove_it_once(self, shop: Stand):
        await shop.add(guest(), PLENTY_TOO)
        cart = await shop.add(guest(), PLENTY)
        answers = await at_once(
            *(shop.carts.remove(guest(), cart_id=cart.id, line_id=cart.lines[0].id) for _ in range(4))
        )
        assert sum(isinstance(answer, Refusal) for answer in answers) == 3
        assert contents(await shop.carts.current(guest())) == {PLENTY: 1}


class TestOrdersAtOnce:
    async def test_twenty_customers_and_five_pieces_make_five_orders(self, shop: Stand):
        shoppers = [customer(f"c{number}") for number in range(20)]
        drafts = []
        for shopper in shoppers:
            cart = await shop.add(shopper, FEW)
            drafts.append(await shop.orders.check_out(shopper, cart_id=cart.id))
        answers = await at_once(
            *(shop.place(shopper, order_id=draft.id) for shopper, draft in zip(shoppers, drafts, strict=True))
        )
        assert kinds(answers)[OutOfStock] == 20 - FEW_LEFT
        placed = [answer for answer in answers if not isinstance(answer, Refusal)]
        assert [order.state for order in placed] == [OrderState.PLACED] * FEW_LEFT
        assert len({order.number for order in placed}) == FEW_LEFT
        assert await shop.stock(FEW) == 0
        assert len(await shop.events("order.placed")) == FEW_LEFT

    async def test_orders_of_the_same_variants_in_another_order_do_not_deadlock(self, shop: Stand):
        drafts = []
        for number in range(12):
            shopper = customer(f"c{number}")
            for article in (PLENTY, PLENTY_TOO)[:: 1 if number % 2 else -1]:
                cart = await shop.add(shopper, article)
            drafts.append((shopper, await shop.orders.check_out(shopper, cart_id=cart.id)))
        answers = await at_once(*(shop.place(shopper, order_id=draft.id) for shopper, draft in drafts))
        assert not any(isinstance(answer, Refusal) for answer in answers)
        assert [await shop.stock(PLENTY), await shop.stock(PLENTY_TOO)] == [988, 988]

    async def test_one_draft_placed_many_times_is_one_order(self, shop: Stand):
        cart = await shop.add(customer(), FEW, 2)
        draft = await shop.orders.check_out(customer(), cart_id=cart.id)
        answers = await at_once(*(shop.place(customer(), order_id=draft.id) for _ in range(8)))
        assert len({answer.number for answer in answers}) == 1
        assert await shop.stock(FEW) == FEW_LEFT - 2
        assert len(await shop.events("order.placed")) == 1

    async def test_many_check_outs_make_one_draft(self, shop: Stand):
        cart = await shop.add(customer(), FEW, 2)
        drafts = await at_once(*(shop.orders.check_out(customer(), cart_id=cart.id) for _ in range(8)))
        assert len({draft.id for draft in drafts}) == 1

    async def test_check_outs_adds_and_placings_never_order_what_was_not_drafted(self, shop: Stand):
        cart = await shop.add(customer(), PLENTY, 1)
        draft = await shop.orders.check_out(customer(), cart_id=cart.id)
        await at_once(
            *(shop.add(customer(), PLENTY, cart_id=cart.id) for _ in range(4)),
            *(shop.orders.check_out(customer(), cart_id=cart.id) for _ in range(4)),
            *(shop.place(customer(), order_id=draft.id) for _ in range(4)),
        )
        for order in (await shop.orders.orders(customer())).items:
            assert order == dataclasses.replace(draft, state=OrderState.PLACED, placed_at=order.placed_at)


class TestHandOversAtOnce:
    @pytest.mark.parametrize("mode", [MergeMode.MERGE, MergeMode.REPLACE])
    async def test_one_cart_is_merged_once_for_one_customer(self, shop: Stand, mode: MergeMode):
        await shop.add(customer(), PLENTY_TOO, 1)
        mine = await shop.add(guest(), PLENTY, 2)
        answers = await at_once(
            *(shop.merge_guest_cart(guest=guest(), customer=customer(), cart_id=mine.id, mode=mode) for _ in range(8))
        )
        outcomes = Counter(answer.outcome for answer in answers)
        assert outcomes[Outcome.ALREADY_DONE] == 7
        assert len({answer.lines for answer in answers}) == 1
        assert await shop.count(cart_hand_overs) == 1
        assert len(await shop.events("cart.handed_over")) == 1

    async def test_one_cart_is_merged_for_one_of_several_customers(self, shop: Stand):
        mine = await shop.add(guest(), PLENTY, 2)
        takers = [customer(f"c{number}") for number in range(8)]
        answers = await at_once(
            *(
                shop.merge_guest_cart(guest=guest(), customer=taker, cart_id=mine.id, mode=MergeMode.MERGE)
                for taker in takers
            )
        )
        assert kinds(answers)[NotYours] == 7
        owners = [taker for taker in takers if await shop.carts.current(taker)]
        assert len(owners) == 1
        assert await shop.count(carts, cart_lines) == 2

    async def test_several_carts_end_in_one_cart_for_a_customer_without_one(self, shop: Stand):
        guests = [guest(f"g{number}") for number in range(8)]
        handed = [await shop.add(each, PLENTY, number + 1) for number, each in enumerate(guests)]
        await at_once(
            *(
                shop.merge_guest_cart(guest=each, customer=customer(), cart_id=cart.id, mode=MergeMode.MERGE)
                for each, cart in zip(guests, handed, strict=True)
            )
        )
        current = await shop.carts.current(customer())
        assert contents(current) == {PLENTY: 8}
        assert {(await shop.carts.require(customer(), cart.id)).id for cart in handed} == {current.id}

    async def test_a_merge_beside_adds_of_the_guest_loses_nothing(self, shop: Stand):
        """An add is either in the merged cart, or it was refused as too late."""
        mine = await shop.carts.create(guest())
        answers = await at_once(
            *(shop.add(guest(), PLENTY) for _ in range(6)),
            shop.merge_guest_cart(guest=guest(), customer=customer(), cart_id=mine.id, mode=MergeMode.MERGE),
            *(shop.add(guest(), PLENTY) for _ in range(6)),
        )
        refused = kinds(answers)[TokenInvalid]
        current = await shop.carts.current(customer())
        assert contents(current).get(PLENTY, 0) == 12 - refused
        assert await shop.carts.current(guest()) is None

    async def test_a_merge_beside_adds_of_the_customer_loses_nothing(self, shop: Stand):
        theirs = await shop.add(customer(), PLENTY_TOO, 1)
        guests = [guest(f"g{number}") for number in range(4)]
        handed = [await shop.add(each, FEW, 1) for each in guests]
        modes = [MergeMode.MERGE, MergeMode.REPLACE, MergeMode.MERGE, MergeMode.REPLACE]
        answers = await at_once(
            *(shop.add(customer(), PLENTY, cart_id=theirs.id) for _ in range(5)),
            *(
                shop.merge_guest_cart(guest=each, customer=customer(), cart_id=cart.id, mode=mode)
                for each, cart, mode in zip(guests, handed, modes, strict=True)
            ),
            *(shop.add(customer(), PLENTY, cart_id=theirs.id) for _ in range(5)),
        )
        assert not any(isinstance(answer, Refusal) for answer in answers)
        current = await shop.carts.current(customer())
        assert contents(current)[FEW] == 1
        assert (await shop.carts.require(customer(), theirs.id)).id == current.id


class TestCustomersAtOnce:
    async def test_a_customer_is_created_once(self, shop: Stand):
        profile = Profile(customer().id, "cleo@example.org")
        made = await at_once(*(shop.customers.ensure(customer(), profile) for _ in range(8)))
        assert len({each.id for each in made}) == 1
        assert await shop.count(customers) == 1
