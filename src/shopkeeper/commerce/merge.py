"""The rules for the lines of a guest's cart at sign-in, as functions of quantities.

A cart is a mapping of variant to quantity here. The rules:

- A variant in both carts gets the greater of the two quantities, so that merging again changes nothing and nothing is
  doubled.
- A merge only adds. It raises no line above the stock, and it lowers or removes none of the customer's own lines, even
  where the stock has fallen below them since; the check-out reports that.
- What cannot be taken (out of stock, no price in the currency of the resulting cart) is not put into the cart, and is
  reported with the quantity that was wanted. Every line of the guest's cart is in the report exactly once.
- Replacing reports the customer's lines too, because they are removed. A guest's cart of which nothing can be taken
  replaces nothing: it is merged instead, so that no customer's cart is lost to an empty one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from shopkeeper.commerce.port import Change, LineReport, MergeMode

Quantities = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MergePlan:
    """The customer's cart after the merge, and the report line by line.

    `mode` is what is done. It differs from what was asked for where nothing could replace the customer's cart.
    """

    mode: MergeMode
    quantities: Quantities
    lines: tuple[LineReport, ...]


def merge(guest: Quantities, customer: Quantities, *, stock: Quantities, priced: Collection[str]) -> MergePlan:
    """Take the guest's lines into the customer's cart.

    >>> plan = merge({"tea": 2, "pot": 1}, {"tea": 5}, stock={"tea": 9, "pot": 9}, priced={"tea", "pot"})
    >>> dict(plan.quantities)
    {'tea': 5, 'pot': 1}

    Args:
        guest: the guest's lines.
        customer: the customer's lines; empty where the guest's cart is adopted.
        stock: the stock of each variant; a variant that is missing has none.
        priced: the variants that have a price in the currency of the resulting cart.
    """
    lines = tuple(
        _merged(variant, quantity, customer.get(variant, 0), _available(variant, stock, priced), variant in priced)
        for variant, quantity in guest.items()
    )
    return MergePlan(MergeMode.MERGE, {**customer, **_taken(lines)}, lines)


def replace(guest: Quantities, customer: Quantities, *, stock: Quantities, priced: Collection[str]) -> MergePlan:
    """Replace the customer's lines by the guest's."""
    lines = tuple(
        _replacing(variant, quantity, customer.get(variant, 0), _available(variant, stock, priced), variant in priced)
        for variant, quantity in guest.items()
    )
    taken = _taken(lines)
    if not taken:
        return merge(guest, customer, stock=stock, priced=priced)
    gone = tuple(
        LineReport(variant, before=quantity, wanted=0, after=0, change=Change.REPLACED)
        for variant, quantity in customer.items()
        if variant not in guest
    )
    return MergePlan(MergeMode.REPLACE, taken, lines + gone)


def keep(guest: Quantities, customer: Quantities, *, stock: Quantities, priced: Collection[str]) -> MergePlan:
    """Leave both carts as they are."""
    lines = tuple(
        LineReport(variant, before=before, wanted=quantity, after=before, change=Change.LEFT)
        for variant, quantity in guest.items()
        for before in (customer.get(variant, 0),)
    )
    return MergePlan(MergeMode.KEEP, dict(customer), lines)


class Rule(Protocol):
    """The signature that `merge`, `replace` and `keep` share."""

    def __call__(
        self, guest: Quantities, customer: Quantities, /, *, stock: Quantities, priced: Collection[str]
    ) -> MergePlan: ...


RULES: Mapping[MergeMode, Rule] = {
    MergeMode.MERGE: merge,
    MergeMode.REPLACE: replace,
    MergeMode.KEEP: keep,
}


def _merged(variant: str, guest: int, customer: int, available: int, priced: bool) -> LineReport:
    wanted = max(guest, customer)
    after = max(customer, min(wanted, available))
    return LineReport(variant, customer, wanted, after, _change(customer, wanted, after, priced, available))


def _replacing(variant: str, guest: int, customer: int, available: int, priced: bool) -> LineReport:
    after = min(guest, available)
    return LineReport(variant, customer, guest, after, _change(customer, guest, after, priced, available))


def _change(before: int, wanted: int, after: int, priced: bool, available: int) -> Change:
    """Return the reason for a line's quantity."""
    if after < wanted:
        short = Change.LIMITED_BY_STOCK if available else Change.OUT_OF_STOCK
        return short if priced else Change.NO_PRICE_IN_CURRENCY
    if after == before:
        return Change.UNCHANGED
    if after < before:
        return Change.REPLACED
    return Change.RAISED if before else Change.ADDED


def _available(variant: str, stock: Quantities, priced: Collection[str]) -> int:
    return max(0, stock.get(variant, 0)) if variant in priced else 0


def _taken(lines: tuple[LineReport, ...]) -> dict[str, int]:
    return {line.variant_id: line.after for line in lines if line.after}
