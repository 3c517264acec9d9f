"""The engine's part of a sign-in: it gets a customer, and the guest's cart is merged into the customer's.

What a merge does is defined in `commerce/port.py`; this module decides which merge is asked for, and when: within the
sign-in's transaction where the engine shares it, otherwise after the commit (`deferred_merge.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from shopkeeper.commerce.port import CartMergeReport, Engine, MergeMode, Outcome, Shopper
from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.errors import NotYours, TokenInvalid
from shopkeeper.sessions.values import Session
from shopkeeper.signin import store as merges
from shopkeeper.signin.deferred_merge import DeferredMerges, PendingMerge, profile_of
from shopkeeper.storage.database import Unit

_NO_GUEST = ""
"""The guest id of a sign-in without a guest, who has no cart."""

log = structlog.get_logger("shopkeeper.visit")


@dataclass(frozen=True, slots=True)
class AuthHint:
    """What the client wants done with the guest's cart at sign-in.

    No `old_cart_id`: the guest's cart is ignored. `merge` true: merged into the customer's latest cart; false: it
    replaces that cart.
    """

    old_cart_id: str | None = None
    merge: bool = True

    @property
    def mode(self) -> MergeMode:
        return MergeMode.MERGE if self.merge else MergeMode.REPLACE


class CartMerger:
    """Creates the engine's customer at a sign-in, and merges the guest's cart.

    >>> async with database.unit() as unit:  # doctest: +SKIP
    ...     merged = await merger.within(unit, session, guest=guest, hint=hint)
    >>> if isinstance(merged, PendingMerge):  # doctest: +SKIP
    ...     merged = await merger.settle(merged)  # after the commit
    """

    def __init__(self, *, stores: Stores, engines: Mapping[str, Engine], deferred: DeferredMerges) -> None:
        self._stores = stores
        self._engines = engines
        self._deferred = deferred

    async def within(
        self,
        unit: Unit,
        session: Session,
        *,
        guest: str | None,
        hint: AuthHint | None = None,
        knows_customer: bool = False,
    ) -> CartMergeReport | PendingMerge | None:
        """Merge in the sign-in's transaction, or claim the merge that `settle` makes after the commit.

        Args:
            knows_customer: whether an earlier sign-in to this store has told the engine of the customer as it is now.

        Without a hint the guest's current cart is merged; where there is none, `cart_id` of the report is None. Returns
        None for a session without a store. For a remote engine a sign-in without a guest's cart costs no call: the
        worker ensures the customer, and `cart_id` of the report is None.

        A cart must not keep customers out of their account: one that cannot be merged is left alone, and the report
        says that it was refused, but not why. A cart id that a client has stored is often outdated, or a former
        visitor's; and a caller who guesses ids must not learn which of them exist.
        """
        if session.store is None:
            return None
        store = self._stores.require(session.store)
        if self._engines[store.engine].shares_transaction:
            return await self._merge(unit, session, store, guest=guest, hint=hint, knows_customer=knows_customer)
        wanted = hint or AuthHint()
        if guest and (hint is None or hint.old_cart_id):
            return await self._deferred.claim(
                unit, session.identity, store=store, guest=guest, cart_id=wanted.old_cart_id, mode=wanted.mode
            )
        return await self._deferred.ensure_later(unit, session.identity, store=store)

    async def settle(self, pending: PendingMerge) -> CartMergeReport:
        """Make a claimed merge, after the commit and with no transaction open. See `DeferredMerges.settle`."""
        return await self._deferred.settle(pending)

    async def _merge(
        self,
        unit: Unit,
        session: Session,
        store: Store,
        *,
        guest: str | None,
        hint: AuthHint | None,
        knows_customer: bool,
    ) -> CartMergeReport:
        customer = store.customer(str(session.identity.id))
        customers = None if knows_customer else self._engine(store).bind(unit, customer).customers
        if customers is not None:
            await customers.ensure(profile_of(session.identity))
        wanted = hint or await self._current(unit, store, guest)
        if wanted is None:
            return CartMergeReport(Outcome.NOTHING, None)
        try:
            return await self._by_hint(unit, store, customer, guest=guest, hint=wanted)
        except (TokenInvalid, NotYours) as refused:
            log.warning("visit.cart_left_alone", code=refused.code, session_id=str(session.id))
            nothing = await self._by_hint(unit, store, customer, guest=None, hint=AuthHint())
            return replace(nothing, outcome=Outcome.REFUSED)

    async def _current(self, unit: Unit, store: Store, guest: str | None) -> AuthHint | None:
        """Return the hint that merges the guest's current cart; None where there is none."""
        cart = await self._engine(store).bind(unit, store.guest(guest)).carts.current() if guest else None
        return AuthHint(old_cart_id=cart.id) if cart else None

    async def _by_hint(
        self, unit: Unit, store: Store, customer: Shopper, *, guest: str | None, hint: AuthHint
    ) -> CartMergeReport:
        """Merge by the hint. Without a guest, no cart is the guest's, even if one is named."""
        return await self._engine(store).merge_guest_cart(
            unit,
            guest=store.guest(guest or _NO_GUEST),
            customer=customer,
            cart_id=hint.old_cart_id if guest else None,
            mode=hint.mode,
        )

    def _engine(self, store: Store) -> Engine:
        return self._engines[store.engine]


async def guest_is_closed(unit: Unit, *, store: str, guest: str) -> bool:
    """Return whether a sign-in has claimed a guest whose cart is in a remote engine. Such a guest's token may not
    write.

    An engine that shares our transaction checks this itself, in its own record of merges.
    """
    return await merges.exists(unit, store=store, guest=guest)


__all__ = ["AuthHint", "CartMerger", "PendingMerge", "guest_is_closed", "profile_of"]
