"""The retention rules of the embedded shop: for guests' carts, merged carts, reports of merges, and drafts."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import and_, exists

from shopkeeper.commerce.embedded import cart_rows, order_rows
from shopkeeper.commerce.embedded.cart_merges import delete_cart_merges
from shopkeeper.commerce.embedded.store import CartState, carts
from shopkeeper.commerce.port import ShopperKind
from shopkeeper.storage.cleanup import RetentionRule
from shopkeeper.storage.database import Unit

A_LONG_TIME = timedelta(days=400)
DRAFTS = timedelta(days=30)

_OF_GUESTS = carts.c.owner_kind == ShopperKind.GUEST.value
_LEADING_HERE = carts.alias("leading_here")
# Only customers have such carts. A cart is deleted after the former carts that lead to it.
_FORMER = and_(
    carts.c.state.in_((CartState.MERGED, CartState.REPLACED)),
    ~exists().where(_LEADING_HERE.c.merged_into == carts.c.id),
)


def retention_rules(*, guest_lifespan: timedelta) -> Sequence[RetentionRule]:
    """Return the retention rules. A guest's token lasts for `guest_lifespan`, and may be renewed once it runs."""
    # A token that was renewed just before it ended lasts for twice its lifespan. A guest's cart is kept as long, and so
    # is the report of its merge, which is what refuses the guest's token afterwards.
    renewed = 2 * guest_lifespan
    return [
        RetentionRule("guests' carts", renewed, expire_guest_carts),
        RetentionRule("hand-overs", max(A_LONG_TIME, renewed), delete_cart_merges),
        RetentionRule("former carts", A_LONG_TIME, delete_former_carts),
        RetentionRule("order drafts", DRAFTS, delete_drafts),
    ]


async def expire_guest_carts(unit: Unit, before: datetime, batch: int = 500) -> int:
    """Delete guests' carts that have not changed since `before`, at most `batch`; return how many."""
    return await cart_rows.delete_old(unit, _OF_GUESTS, before=before, batch=batch)


async def delete_former_carts(unit: Unit, before: datetime, batch: int = 500) -> int:
    """Delete customers' carts that another cart replaced before a moment, at most `batch`; return how many.

    From then on their ids no longer lead to the other cart.
    """
    return await cart_rows.delete_old(unit, _FORMER, before=before, batch=batch)


async def delete_drafts(unit: Unit, before: datetime, batch: int = 500) -> int:
    """Delete drafts that were created before a moment and never placed, at most `batch`; return how many."""
    return await order_rows.delete_drafts(unit, before=before, batch=batch)
