"""Cart merges with engines that do not share our transaction: claimed with the sign-in, made after its commit.

1. `claim`, in the sign-in's transaction, writes the row of `cart_merges`, which closes the guest's token, and an outbox
   event that is leased to this request.
2. `settle`, after the commit and with no transaction open, calls the engine within a deadline. It writes the report and
   settles the event, or releases the event.
3. The outbox worker delivers events that were released, and those of a killed process once their lease has ended. An
   event has one holder at a time, so request and worker never merge at once; the engine gets the row's id as
   idempotency key, so that an attempt whose answer was lost is not made twice.

A sign-in never fails because of the engine. A client that got `PENDING` reads the report by signing in again with the
token of the same guest: `claim` returns what became of the first one.

When an identity is deleted, its merges end in the same transaction, and remote engines are asked to forget it by an
event that waits behind everything that may still create the customer there (`forget`).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from shopkeeper.clock import Clock
from shopkeeper.commerce.port import CartMergeReport, Engine, MergeMode, Outcome, Profile, Shopper
from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.errors import Refusal
from shopkeeper.identity.names import names_of
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Identity
from shopkeeper.signin import store as merges
from shopkeeper.signin.store import CartMerge, MergeState
from shopkeeper.storage.database import Database, Unit, to_the_end
from shopkeeper.storage.outbox import Event, LeasedEvent, Outbox
from shopkeeper.storage.outbox_worker import Subscriber
from shopkeeper.storage.text_limits import storable
from shopkeeper.storage.unavailable import DATABASE_ERRORS

MERGE_TOPIC: Final = "cart.merge"
ENSURE_TOPIC: Final = "customer.ensure"
FORGET_TOPIC: Final = "customer.forget"
DEADLINE: Final = timedelta(seconds=2)
LEASE: Final = timedelta(seconds=30)

_PENDING: Final = CartMergeReport(Outcome.PENDING, None)
_REFUSED: Final = CartMergeReport(Outcome.REFUSED, None)
_NOTHING: Final = CartMergeReport(Outcome.NOTHING, None)
_PASSING: Final = frozenset({408, 429})
"""Statuses below 500 that ask for another attempt."""

log = structlog.get_logger("shopkeeper.visit")


@dataclass(frozen=True, slots=True)
class PendingMerge:
    """A merge that the sign-in has claimed, for `settle` after the commit."""

    merge: CartMerge
    leased: LeasedEvent
    profile: Profile


@dataclass(frozen=True, slots=True)
class _Finished:
    """The engine's final answer to a merge."""

    state: MergeState
    report: CartMergeReport


class DeferredMerges:
    """Claims, makes and reports cart merges with remote engines.

    Args:
        deadline: how long a sign-in waits for all calls of the engine together.
        lease: how long the event stays with the request. It must be longer than the deadline; a worker takes over the
            merge of a killed process after this time.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        engines: Mapping[str, Engine],
        identities: Identities,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        deadline: timedelta = DEADLINE,
        lease: timedelta = LEASE,
    ) -> None:
        if not timedelta(0) < deadline < lease:
            raise ValueError("the deadline of a cart merge must be positive and shorter than its lease")
        self._stores, self._engines, self._identities = stores, engines, identities
        self._database, self._outbox, self._clock = database, outbox, clock
        self._deadline, self._lease = deadline, lease
        self._remote = [engine for engine in engines.values() if not engine.shares_transaction]

    # -- in the sign-in's transaction ----------------------------------------------------------------------------------

    async def claim(
        self, unit: Unit, identity: Identity, *, store: Store, guest: str, cart_id: str | None, mode: MergeMode
    ) -> PendingMerge | CartMergeReport:
        """Claim a guest for the customer who signs in. Return what `settle` needs, or the report that exists already.

        `cart_id` is None where the client named no cart: the guest's current one is merged. The same customer gets the
        report of the first claim again (`ALREADY_DONE`, `PENDING` or `REFUSED`), another customer `REFUSED`. Where the
        guest had no cart, both get `NOTHING`. An id that no cart can have is refused without claiming the guest.
        """
        if cart_id is not None and not (storable(cart_id) and len(cart_id) <= merges.MAX_ID):
            return await self.ensure_later(unit, identity, store=store, report=_REFUSED)
        customer = str(identity.id)
        asked = CartMerge(store=store.id, guest=guest, customer=customer, cart_id=cart_id, mode=mode)
        merge = await merges.claim(unit, asked, now=self._clock.now())
        if merge.id != asked.id:
            return await self.ensure_later(unit, identity, store=store, report=_again(merge, customer))
        leased = await self._outbox.add_leased(
            unit, MERGE_TOPIC, key=customer, payload={"merge_id": str(merge.id)}, lease=self._lease
        )
        return PendingMerge(merge, leased, profile_of(identity))

    async def ensure_later(
        self, unit: Unit, identity: Identity, *, store: Store, report: CartMergeReport = _NOTHING
    ) -> CartMergeReport:
        """Queue that the engine creates or updates its customer, where no merge does so; return the report unchanged.

        The event has a key of its own, so that it never delays the customer's merges, which ensure the customer
        themselves.
        """
        customer = str(identity.id)
        payload = {"store": store.id, "customer": customer}
        await self._outbox.add(unit, ENSURE_TOPIC, key=_ensure_key(customer), payload=payload)
        return report

    # -- in the transaction that deletes the identity ------------------------------------------------------------------

    async def forget(self, unit: Unit, identity_id: UUID) -> None:
        """Delete the reports of a deleted identity, end what is pending, and queue that remote engines forget it.

        A merge or an `ensure` that is under way could create the customer again. The event waits behind both: first
        under the key of the `ensure` events, then under that of the merges. Nothing is queued where no store has a
        remote engine.
        """
        customer = str(identity_id)
        await merges.forget(unit, customer, now=self._clock.now())
        if self._remote:
            await self._queue_forget(unit, customer, key=_ensure_key(customer))

    async def _queue_forget(self, unit: Unit, customer: str, *, key: str) -> None:
        await self._outbox.add(unit, FORGET_TOPIC, key=key, payload={"customer": customer})

    # -- after the commit ----------------------------------------------------------------------------------------------

    async def settle(self, pending: PendingMerge) -> CartMergeReport:
        """Merge now, if the engine answers within the deadline; otherwise leave it to the worker and return `PENDING`.

        Call it with no transaction open. It raises neither for the engine nor for the database: the sign-in has
        committed.
        """
        try:
            return await self._settled(pending)
        except asyncio.CancelledError:
            await to_the_end(self._release(pending))
            raise
        except DATABASE_ERRORS as failed:  # the event stays leased, and a worker takes it when the lease ends
            log.warning("visit.cart_merge_not_written", merge_id=str(pending.merge.id), error=type(failed).__name__)
            return _PENDING

    async def _settled(self, pending: PendingMerge) -> CartMergeReport:
        async with self._database.reading() as unit:
            first = await self._outbox.is_first(unit, pending.leased)
        finished = await self._attempt(pending) if first else None
        async with self._database.unit() as unit:
            if finished is None:
                await self._outbox.release(unit, pending.leased)
                merge = await merges.get(unit, pending.merge.id)  # a worker may have been faster
                return _report(merge) if merge else _PENDING
            if await self._outbox.settle(unit, pending.leased):
                await self._finish(unit, pending.merge.id, finished)
        return finished.report

    async def _attempt(self, pending: PendingMerge) -> _Finished | None:
        """Return the engine's final answer, or None where the worker has to ask again."""
        patience = min(self._deadline, self._outbox.time_left(pending.leased))
        try:
            async with asyncio.timeout(patience.total_seconds()):
                return await self._merged(pending.merge, pending.profile)
        except (TimeoutError, Refusal) as failed:
            log.warning("visit.cart_merge_postponed", merge_id=str(pending.merge.id), error=type(failed).__name__)
        except Exception:  # a fault of a connector must not fail a committed sign-in
            log.exception("visit.cart_merge_postponed", merge_id=str(pending.merge.id))
        return None

    async def _release(self, pending: PendingMerge) -> None:
        async with self._database.unit() as unit:
            await self._outbox.release(unit, pending.leased)

    # -- in the worker -------------------------------------------------------------------------------------------------

    async def on_merge_event(self, event: Event) -> None:
        """Handle the outbox events of `cart.merge`. Raises what the engine raises where it is to be tried again."""
        async with self._database.reading() as unit:
            merge = await merges.get(unit, UUID(event.payload["merge_id"]))
            identity = await self._identities.get(unit, UUID(merge.customer)) if merge else None
        if merge is None or merge.state in {MergeState.DONE, MergeState.FORGOTTEN}:
            log.debug("visit.cart_merge_finished_before", merge_id=event.payload["merge_id"])
            return
        finished = _Finished(MergeState.REFUSED, _REFUSED)
        if identity is not None:
            finished = await self._merged(merge, profile_of(identity))
        async with self._database.unit() as unit:
            await self._finish(unit, merge.id, finished)

    async def on_ensure_event(self, event: Event) -> None:
        """Handle the outbox events of `customer.ensure`. No customer is created for an identity that was deleted
        meanwhile."""
        store = self._stores.require(event.payload["store"])
        async with self._database.reading() as unit:
            identity = await self._identities.get(unit, UUID(event.payload["customer"]))
        if identity is not None:
            await self._ensure(store, store.customer(str(identity.id)), profile_of(identity))

    async def on_forget_event(self, event: Event) -> None:
        """Handle the outbox events of `customer.forget`: have every remote engine forget, also where another one fails.

        Raises the failure of one of them; all are asked again then.
        """
        customer = event.payload["customer"]
        if event.key == _ensure_key(customer):
            async with self._database.unit() as unit:
                await self._queue_forget(unit, customer, key=customer)
            return
        asked = (engine.forget(None, customer) for engine in self._remote)
        for failed in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(failed, BaseException):
                raise failed

    async def give_up(self, unit: Unit, event: Event) -> None:
        """Store that a merge is not tried again. Replaying its dead letter tries it again."""
        await self._finish(unit, UUID(event.payload["merge_id"]), _Finished(MergeState.REFUSED, _REFUSED))

    def subscribers(self) -> Mapping[str, Subscriber]:
        """Return the handlers of the three topics, for the worker."""
        return {
            MERGE_TOPIC: Subscriber(self.on_merge_event, give_up=self.give_up),
            ENSURE_TOPIC: Subscriber(self.on_ensure_event),
            FORGET_TOPIC: Subscriber(self.on_forget_event),
        }

    # -- afterwards ----------------------------------------------------------------------------------------------------

    async def purge(self, unit: Unit, before: datetime, batch: int) -> int:
        """Delete merges that ended before a moment, at most `batch`; return how many."""
        return await merges.purge(unit, before=before, batch=batch)

    # -- the engine ----------------------------------------------------------------------------------------------------

    async def _merged(self, merge: CartMerge, profile: Profile) -> _Finished:
        """Ensure the customer and merge the cart. Raises where another attempt may succeed."""
        store = self._stores.require(merge.store)
        guest, customer = store.guest(merge.guest), store.customer(merge.customer)
        await self._ensure(store, customer, profile)
        try:
            report = await self._merge_cart(self._engines[store.engine], merge, guest=guest, customer=customer)
        except Refusal as refused:
            if refused.status >= 500 or refused.status in _PASSING:
                raise
            log.warning("visit.cart_left_alone", code=refused.code, merge_id=str(merge.id))
            return _Finished(MergeState.REFUSED, _REFUSED)
        return _Finished(MergeState.DONE, report)

    async def _ensure(self, store: Store, customer: Shopper, profile: Profile) -> None:
        customers = self._engines[store.engine].bind(None, customer).customers
        if customers is not None:
            await customers.ensure(profile)

    async def _merge_cart(
        self, engine: Engine, merge: CartMerge, *, guest: Shopper, customer: Shopper
    ) -> CartMergeReport:
        cart_id = merge.cart_id
        if cart_id is None:
            cart_id = await self._current_cart(engine, merge, guest)
        return await engine.merge_guest_cart(
            None, guest=guest, customer=customer, cart_id=cart_id, mode=merge.mode, idempotency_key=str(merge.id)
        )

    async def _current_cart(self, engine: Engine, merge: CartMerge, guest: Shopper) -> str | None:
        """Return the guest's current cart, and keep its id in the row: after a merge whose answer was lost the guest
        has no cart any more, and the next attempt must send the same request under its idempotency key."""
        cart = await engine.bind(None, guest).carts.current()
        if cart is None:
            return None
        async with self._database.unit() as unit:
            await merges.name_cart(unit, merge.id, cart.id)
        return cart.id

    async def _finish(self, unit: Unit, merge_id: UUID, finished: _Finished) -> None:
        await merges.finish(unit, merge_id, finished.state, finished.report, now=self._clock.now())


def profile_of(identity: Identity) -> Profile:
    """Return the data of an identity that an engine gets."""
    names = names_of(identity)
    return Profile(str(identity.id), identity.email, names.first, names.last)


def _ensure_key(customer: str) -> str:
    return f"{ENSURE_TOPIC}/{customer}"


def _report(merge: CartMerge) -> CartMergeReport:
    if merge.state is MergeState.PENDING:
        return _PENDING
    return merge.report or _REFUSED


def _again(merge: CartMerge, customer: str) -> CartMergeReport:
    """Return the report for a sign-in whose guest was claimed before. The first customer's cart is not shown to
    others."""
    report = _report(merge)
    if merge.customer != customer:
        return _NOTHING if report.outcome is Outcome.NOTHING else _REFUSED
    if report.outcome is Outcome.NOTHING:
        return report
    return replace(report, outcome=Outcome.ALREADY_DONE) if merge.state is MergeState.DONE else report
