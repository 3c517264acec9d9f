"""The rules of merging, as properties that hold for any two carts."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopkeeper.commerce.merge import RULES, MergePlan, keep, merge, replace
from shopkeeper.commerce.port import Change, LineReport, MergeMode

VARIANTS = [f"v{number}" for number in range(8)]
lines = st.dictionaries(st.sampled_from(VARIANTS), st.integers(1, 99), max_size=8)
stocks = st.dictionaries(st.sampled_from(VARIANTS), st.integers(0, 120))
priced_ones = st.sets(st.sampled_from(VARIANTS))
modes = st.sampled_from(sorted(MergeMode))


def by_variant(plan: MergePlan) -> dict[str, LineReport]:
    return {line.variant_id: line for line in plan.lines}


def reordered(quantities: Mapping[str, int]) -> dict[str, int]:
    return dict(reversed(quantities.items()))


class TestEveryMode:
    @given(lines, lines, stocks, priced_ones, modes)
    def test_reports_every_line_of_the_guest_exactly_once(self, guest, customer, stock, priced, mode):
        plan = RULES[mode](guest, customer, stock=stock, priced=priced)
        named = [line.variant_id for line in plan.lines]
        assert len(named) == len(set(named))
        assert set(guest) <= set(named)

    @given(lines, lines, stocks, priced_ones, modes)
    def test_reports_what_the_cart_held_and_holds(self, guest, customer, stock, priced, mode):
        plan = RULES[mode](guest, customer, stock=stock, priced=priced)
        for line in plan.lines:
            assert line.before == customer.get(line.variant_id, 0)
            assert line.after == plan.quantities.get(line.variant_id, 0)

    @given(lines, lines, stocks, priced_ones, modes)
    def test_accounts_for_every_difference(self, guest, customer, stock, priced, mode):
        plan = RULES[mode](guest, customer, stock=stock, priced=priced)
        for variant in {*customer, *plan.quantities} - {line.variant_id for line in plan.lines}:
            assert plan.quantities.get(variant) == customer.get(variant)

    @given(lines, lines, stocks, priced_ones, modes)
    def test_does_not_depend_on_the_order_of_lines(self, guest, customer, stock, priced, mode):
        plan = RULES[mode](guest, customer, stock=stock, priced=priced)
        other = RULES[mode](reordered(guest), reordered(customer), stock=stock, priced=priced)
        assert dict(plan.quantities) == dict(other.quantities)
        assert by_variant(plan) == by_variant(other)

    @given(lines, lines, stocks, priced_ones, modes)
    def test_changes_nothing_when_done_again(self, guest, customer, stock, priced, mode):
        once = RULES[mode](guest, customer, stock=stock, priced=priced)
        twice = RULES[mode](guest, once.quantities, stock=stock, priced=priced)
        assert dict(twice.quantities) == dict(once.quantities)

    @given(lines, lines, stocks, priced_ones, modes)
    def test_holds_whole_positive_quantities(self, guest, customer, stock, priced, mode):
        plan = RULES[mode](guest, customer, stock=stock, priced=priced)
        assert all(type(quantity) is int and quantity > 0 for quantity in plan.quantities.values())

    @given(lines, lines, stocks, priced_ones, modes)
    def test_a_line_that_is_less_than_wanted_says_why(self, guest, customer, stock, priced, mode):
        short = {Change.LIMITED_BY_STOCK, Change.OUT_OF_STOCK, Change.NO_PRICE_IN_CURRENCY, Change.LEFT}
        plan = RULES[mode](guest, customer, stock=stock, priced=priced)
        for line in plan.lines:
            assert line.after >= line.wanted or line.change in short


class TestMerging:
    @given(lines, lines, stocks, priced_ones)
    def test_never_lowers_or_loses_a_line_of_the_customers(self, guest, customer, stock, priced):
        after = merge(guest, customer, stock=stock, priced=priced).quantities
        assert all(after[variant] >= quantity for variant, quantity in customer.items())

    @given(lines, lines, stocks, priced_ones)
    def test_never_takes_more_than_the_greater_quantity(self, guest, customer, stock, priced):
        after = merge(guest, customer, stock=stock, priced=priced).quantities
        assert all(quantity <= max(guest.get(v, 0), customer.get(v, 0)) for v, quantity in after.items())

    @given(lines, lines, stocks, priced_ones)
    def test_never_raises_a_line_above_the_stock_or_without_a_price(self, guest, customer, stock, priced):
        after = merge(guest, customer, stock=stock, priced=priced).quantities
        for variant, quantity in after.items():
            if quantity > customer.get(variant, 0):
                assert quantity <= stock.get(variant, 0)
                assert variant in priced

    @given(lines, lines)
    def test_with_enough_stock_each_line_has_the_greater_quantity(self, guest, customer):
        plenty = dict.fromkeys(VARIANTS, 99)
        after = merge(guest, customer, stock=plenty, priced=VARIANTS).quantities
        assert dict(after) == {v: max(guest.get(v, 0), customer.get(v, 0)) for v in {*guest, *customer}}

    @pytest.mark.parametrize(
        ("guest", "customer", "stock", "priced", "after", "change"),
        [
            pytest.param(2, 0, 9, True, 2, Change.ADDED, id="new to the customer"),
            pytest.param(5, 2, 9, True, 5, Change.RAISED, id="more than the customer had"),
            pytest.param(2, 5, 9, True, 5, Change.UNCHANGED, id="less than the customer had"),
            pytest.param(2, 2, 9, True, 2, Change.UNCHANGED, id="the same: not doubled"),
            pytest.param(8, 0, 3, True, 3, Change.LIMITED_BY_STOCK, id="more than there are"),
            pytest.param(8, 2, 3, True, 3, Change.LIMITED_BY_STOCK, id="raised as far as the stock goes"),
            pytest.param(8, 5, 3, True, 5, Change.LIMITED_BY_STOCK, id="stock fell below the customer's own line"),
            pytest.param(2, 0, 0, True, 0, Change.OUT_OF_STOCK, id="sold out"),
            pytest.param(8, 5, 0, True, 5, Change.OUT_OF_STOCK, id="sold out, the customer keeps their line"),
            pytest.param(2, 0, 9, False, 0, Change.NO_PRICE_IN_CURRENCY, id="not sold in the currency"),
        ],
    )
    def test_each_case_reports_its_own_change(self, guest, customer, stock, priced, after, change):
        plan = merge(
            {"v": guest},
            {"v": customer} if customer else {},
            stock={"v": stock},
            priced={"v"} if priced else (),
        )
        assert plan.lines == (LineReport("v", customer, max(guest, customer), after, change),)


class TestReplacing:
    @given(lines, lines, stocks, priced_ones)
    def test_leaves_only_what_the_guest_had(self, guest, customer, stock, priced):
        plan = replace(guest, customer, stock=stock, priced=priced)
        if plan.mode is MergeMode.REPLACE:
            assert set(plan.quantities) <= set(guest)
            assert all(quantity <= min(guest[v], stock.get(v, 0)) for v, quantity in plan.quantities.items())

    @given(lines, lines, stocks, priced_ones)
    def test_reports_the_lines_that_give_way_too(self, guest, customer, stock, priced):
        plan = replace(guest, customer, stock=stock, priced=priced)
        if plan.mode is MergeMode.REPLACE:
            gone = {line.variant_id for line in plan.lines if line.change is Change.REPLACED and not line.after}
            assert gone == set(customer) - set(guest)

    @given(lines, stocks)
    def test_nothing_replaces_nothing(self, customer, stock):
        plan = replace({}, customer, stock=stock, priced=VARIANTS)
        assert plan.mode is MergeMode.MERGE
        assert dict(plan.quantities) == customer

    def test_a_cart_of_which_nothing_can_be_had_replaces_nothing(self):
        plan = replace({"sold out": 2}, {"tea": 1}, stock={"tea": 5}, priced={"sold out", "tea"})
        assert plan.mode is MergeMode.MERGE
        assert dict(plan.quantities) == {"tea": 1}
        assert plan.lines == (LineReport("sold out", 0, 2, 0, Change.OUT_OF_STOCK),)

    def test_a_smaller_quantity_of_the_guest_wins(self):
        plan = replace({"tea": 1}, {"tea": 4, "pot": 2}, stock={"tea": 9, "pot": 9}, priced={"tea", "pot"})
        assert dict(plan.quantities) == {"tea": 1}
        assert plan.lines == (
            LineReport("tea", 4, 1, 1, Change.REPLACED),
            LineReport("pot", 2, 0, 0, Change.REPLACED),
        )


class TestKeeping:
    @given(lines, lines, stocks, priced_ones)
    def test_leaves_the_customers_cart_alone(self, guest, customer, stock, priced):
        plan = keep(guest, customer, stock=stock, priced=priced)
        assert dict(plan.quantities) == customer
        assert {line.change for line in plan.lines} <= {Change.LEFT}
