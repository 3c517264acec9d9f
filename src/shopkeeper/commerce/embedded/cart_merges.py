"""Merging a guest's cart into a customer's: once, completely, and with a report of every line.

Everything is written in the caller's transaction, so a crash leaves either the guest's cart or the merge. Former ids
keep resolving: those of a merged guest's cart and of a replaced customer's cart lead to the cart that took their place,
for that customer only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, delete, insert, select, update

from shopkeeper.clock import Clock
from shopkeeper.commerce.embedded import cart_rows
from shopkeeper.commerce.embedded.store import CartState, cart_hand_overs, cart_lines, lock_owner
from shopkeeper.commerce.merge import RULES, MergePlan
from shopkeeper.commerce.port import (
    CartMergeReport,
    Change,
    Events,
    LineReport,
    MergeMode,
    Outcome,
    Shopper,
    ShopperKind,
)
from shopkeeper.crypto import new_id
from shopkeeper.errors import NotYours, TokenInvalid
from shopkeeper.parsing import uuid_or_none
from shopkeeper.storage.database import Unit

TOPIC = "cart.handed_over"


class CartMerges:
    """Merges carts and keeps the reports."""

    def __init__(self, clock: Clock, *, events: Events | None) -> None:
        self._clock, self._events = clock, events

    async def perform(
        self, unit: Unit, *, guest: Shopper, customer: Shopper, cart_id: str | None, mode: MergeMode
    ) -> CartMergeReport:
        """See `Engine.merge_guest_cart`."""
        _refuse_wrong_kinds(guest, customer)
        if cart_id is None:
            return await _nothing(unit, customer, mode)
        await lock_owner(unit, guest)
        await lock_owner(unit, customer)
        id_ = uuid_or_none(cart_id)
        if id_ is None:
            raise NotYours
        done = await _done_before(unit, guest, customer, id_)
        if done is not None:
            return done
        cart = await cart_rows.lock(unit, guest, id_)
        if cart is None:
            return await _own_already(unit, customer, id_)
        if await _went_to_others(unit, guest, customer):
            raise TokenInvalid
        return await self._hand_over(unit, guest, customer, cart, mode)

    async def _hand_over(
        self, unit: Unit, guest: Shopper, customer: Shopper, cart: Row[Any], mode: MergeMode
    ) -> CartMergeReport:
        theirs = await cart_rows.lock_current(unit, customer)
        settlement = await _decide(unit, cart, theirs, mode)
        if settlement.outcome is not Outcome.KEPT:
            now = self._clock.now()
            await _settle_lines(unit, settlement)
            await _settle_carts(unit, customer, settlement, now=now)
            await _remember(unit, guest, customer, settlement, now=now)
            await self._tell(unit, customer, settlement)
        return settlement.report

    async def _tell(self, unit: Unit, customer: Shopper, settlement: "_Settlement") -> None:
        if self._events is None:
            return
        payload = {
            "store": customer.store,
            "customer_id": customer.id,
            "guest_cart_id": str(settlement.guest.id),
            "cart_id": str(settlement.result.id),
            "outcome": settlement.outcome.value,
            "lines": _as_json(settlement.plan.lines),
        }
        await self._events.add(unit, TOPIC, key=customer.id, payload=payload)


async def delete_cart_merges(unit: Unit, before: datetime, batch: int = 500) -> int:
    """Delete reports of merges that were made before a moment, at most `batch`; return how many."""
    old = (
        select(cart_hand_overs.c.id).where(cart_hand_overs.c.created_at < before).order_by(cart_hand_overs.c.created_at)
    )
    await unit.begin()
    ids = [row.id for row in await unit.all(old.limit(batch).with_for_update(skip_locked=True))]
    if ids:
        await unit.write(delete(cart_hand_overs).where(cart_hand_overs.c.id.in_(ids)))
    return len(ids)


@dataclass(frozen=True, slots=True)
class _Settlement:
    """What is to be done with two carts: `result` stays, and `former`, if there is one, leads to it."""

    outcome: Outcome
    plan: MergePlan
    guest: Row[Any]
    customer: Row[Any] | None
    result: Row[Any]
    former: Row[Any] | None
    lines: Sequence[Row[Any]]

    @property
    def report(self) -> CartMergeReport:
        kept = self.outcome is Outcome.KEPT
        cart = self.customer if kept else self.result
        return CartMergeReport(self.outcome, str(cart.id) if cart else None, self.plan.lines)


_HANDED_OVER = (
    select(cart_hand_overs.c.customer_id)
    .where(cart_hand_overs.c.store == bindparam("of_store"), cart_hand_overs.c.guest_id == bindparam("of_guest"))
    .limit(1)
)
_HANDED_TO_OTHERS = _HANDED_OVER.where(cart_hand_overs.c.customer_id != bindparam("of_customer"))


async def was_merged(unit: Unit, guest: Shopper) -> bool:
    """Return whether a cart of this guest was merged into a customer's."""
    return await unit.first(_HANDED_OVER, {"of_store": guest.store, "of_guest": guest.id}) is not None


async def _went_to_others(unit: Unit, guest: Shopper, customer: Shopper) -> bool:
    bound = {"of_store": guest.store, "of_guest": guest.id, "of_customer": customer.id}
    return await unit.first(_HANDED_TO_OTHERS, bound) is not None


def _refuse_wrong_kinds(guest: Shopper, customer: Shopper) -> None:
    """Raise `NotYours` where a customer's cart would be merged, or a cart of another store."""
    kinds = (guest.kind, customer.kind)
    if kinds != (ShopperKind.GUEST, ShopperKind.CUSTOMER) or guest.store != customer.store:
        raise NotYours


async def _nothing(unit: Unit, customer: Shopper, mode: MergeMode) -> CartMergeReport:
    outcome = Outcome.KEPT if mode is MergeMode.KEEP else Outcome.NOTHING
    return CartMergeReport(outcome, await _current(unit, customer))


async def _current(unit: Unit, customer: Shopper) -> str | None:
    id_ = await cart_rows.current_id(unit, customer)
    return str(id_) if id_ else None


async def _done_before(unit: Unit, guest: Shopper, customer: Shopper, cart_id: UUID) -> CartMergeReport | None:
    done = await unit.first(
        select(cart_hand_overs).where(
            cart_hand_overs.c.guest_cart_id == cart_id,
            cart_hand_overs.c.store == guest.store,
            cart_hand_overs.c.guest_id == guest.id,
            cart_hand_overs.c.customer_id == customer.id,
        )
    )
    if done is None:
        return None
    # The resulting cart may have been ordered or replaced since.
    current = await _current(unit, customer)
    return CartMergeReport(Outcome.ALREADY_DONE, current, tuple(_line_report(line) for line in done.lines))


async def _own_already(unit: Unit, customer: Shopper, cart_id: UUID) -> CartMergeReport:
    """Report nothing to do where the cart is the customer's own already. Raises `NotYours` for any other cart."""
    if await cart_rows.resolved_id(unit, customer, cart_id) is None:
        raise NotYours
    return CartMergeReport(Outcome.NOTHING, await _current(unit, customer))


async def _decide(unit: Unit, guest: Row[Any], customer: Row[Any] | None, mode: MergeMode) -> _Settlement:
    """Read both carts and apply the rules, without writing anything."""
    asked = mode if customer is not None or mode is MergeMode.KEEP else MergeMode.MERGE
    plan, lines = await _planned(unit, guest, customer, asked)
    if plan.mode is not asked:
        # Nothing of the guest's cart has a price in its own currency, so it is merged at prices in the currency of the
        # customer's.
        plan, lines = await _planned(unit, guest, customer, plan.mode)
    if customer is None or plan.mode is MergeMode.KEEP:
        outcome = Outcome.ADOPTED if customer is None and plan.mode is not MergeMode.KEEP else Outcome.KEPT
        return _Settlement(outcome, plan, guest, customer, result=guest, former=None, lines=lines)
    if plan.mode is MergeMode.REPLACE:
        return _Settlement(Outcome.REPLACED, plan, guest, customer, result=guest, former=customer, lines=lines)
    return _Settlement(Outcome.MERGED, plan, guest, customer, result=customer, former=guest, lines=lines)


async def _planned(
    unit: Unit, guest: Row[Any], customer: Row[Any] | None, mode: MergeMode
) -> tuple[MergePlan, Sequence[Row[Any]]]:
    """Return the plan by the rules, at prices in the currency of the cart that stays, and the lines of both carts."""
    into = customer if customer is not None and mode is MergeMode.MERGE else guest
    ids = [cart.id for cart in (guest, customer) if cart is not None]
    lines = await cart_rows.lines(unit, store=guest.store, currency=into.currency, cart_ids=ids)
    plan = RULES[mode](
        _quantities(lines, guest),
        _quantities(lines, customer),
        stock={line.variant_id: line.stock or 0 for line in lines},
        priced={line.variant_id for line in lines if line.price is not None},
    )
    return plan, lines


async def _settle_lines(unit: Unit, settlement: _Settlement) -> None:
    """Move lines with their ids, so that a page that still shows the guest's cart can continue to change them."""
    stays = _by_variant(settlement.lines, settlement.guest) | _by_variant(settlement.lines, settlement.result)
    changed = [
        _line_values(stays[variant], settlement.result.id, quantity)
        for variant, quantity in settlement.plan.quantities.items()
        if (stays[variant].cart_id, stays[variant].quantity) != (settlement.result.id, quantity)
    ]
    kept = {stays[variant].id for variant in settlement.plan.quantities}
    gone = [line.id for line in _by_variant(settlement.lines, settlement.guest).values() if line.id not in kept]
    if gone:
        await unit.write(delete(cart_lines).where(cart_lines.c.id.in_(gone)))
    if changed:
        await unit.write(_SET_LINE, changed)


_SET_LINE = (
    update(cart_lines)
    .where(cart_lines.c.id == bindparam("line"))
    .values(
        cart_id=bindparam("into"),
        quantity=bindparam("so_many"),
        amount=bindparam("price"),
        list_amount=bindparam("list_price"),
    )
)


def _line_values(line: Row[Any], cart_id: UUID, quantity: int) -> dict[str, Any]:
    priced = line.price is not None
    return {
        "line": line.id,
        "into": cart_id,
        "so_many": quantity,
        "price": line.price if priced else line.amount,
        "list_price": line.list_price if priced else line.list_amount,
    }


async def _settle_carts(unit: Unit, customer: Shopper, settlement: _Settlement, *, now: datetime) -> None:
    owner = {"owner_kind": customer.kind.value, "owner_id": customer.id}
    await cart_rows.touch(unit, settlement.result.id, now=now, **owner)
    if settlement.former is not None:
        state = CartState.REPLACED if settlement.outcome is Outcome.REPLACED else CartState.MERGED
        await cart_rows.touch(
            unit, settlement.former.id, now=now, state=state, merged_into=settlement.result.id, **owner
        )


async def _remember(unit: Unit, guest: Shopper, customer: Shopper, settlement: _Settlement, *, now: datetime) -> None:
    await unit.write(
        insert(cart_hand_overs).values(
            id=new_id(),
            store=guest.store,
            guest_id=guest.id,
            customer_id=customer.id,
            guest_cart_id=settlement.guest.id,
            cart_id=settlement.result.id,
            outcome=settlement.outcome,
            lines=_as_json(settlement.plan.lines),
            created_at=now,
        )
    )


def _quantities(lines: Sequence[Row[Any]], cart: Row[Any] | None) -> dict[str, int]:
    return {variant: line.quantity for variant, line in _by_variant(lines, cart).items()}


def _by_variant(lines: Sequence[Row[Any]], cart: Row[Any] | None) -> dict[str, Row[Any]]:
    return {line.variant_id: line for line in lines if cart is not None and line.cart_id == cart.id}


def _as_json(lines: Sequence[LineReport]) -> list[dict[str, Any]]:
    return [asdict(line) for line in lines]


def _line_report(stored: Mapping[str, Any]) -> LineReport:
    return LineReport(**{**stored, "change": Change(stored["change"])})
