"""A sign-in with a remote engine: it holds no transaction during calls, never fails because of them, and merges
once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from shopkeeper.commerce.port import CartMergeReport, LineReport, Outcome, Shopper
from shopkeeper.crypto import new_id
from shopkeeper.errors import TokenInvalid, UpstreamFailed
from shopkeeper.graphql.context import Operations
from shopkeeper.identity.values import Identity
from shopkeeper.signin.cart_merge import AuthHint, PendingMerge, guest_is_closed
from shopkeeper.signin.deferred_merge import ENSURE_TOPIC, FORGET_TOPIC, MERGE_TOPIC, DeferredMerges
from shopkeeper.signin.store import MergeState, cart_merges
from shopkeeper.storage.outbox import Event
from shopkeeper.storage.outbox import outbox as events
from shopkeeper.transaction_guard import CalledInsideTransaction
from tests.commerce.remote_engine import ENSURE, FORGET, MERGE, NONSENSE, RemoteEngine, RemoteServer
from tests.commerce.stand import PLENTY, PLENTY_TOO, contents
from tests.signin.conftest import (
    GUEST,
    HASTY,
    LEASE,
    NORTH,
    OTHER_GUEST,
    Scene,
    deferred_merges,
    holds_a_transaction,
)

PENDING = CartMergeReport(Outcome.PENDING, None)
REFUSED = CartMergeReport(Outcome.REFUSED, None)

Spoil = Callable[[RemoteServer], Awaitable[None]]


def set_to(**knobs: object) -> Spoil:
    async def spoil(server: RemoteServer) -> None:
        for name, value in knobs.items():
            setattr(server, name, value)

    return spoil


async def away(server: RemoteServer) -> None:
    await server.away()


async def mend(server: RemoteServer) -> None:
    """End every failure of the engine."""
    server.delay, server.delay_answers, server.status, server.nonsense, server.at = 0, 0, None, None, None
    await server.away()
    await server.listen()


BAD_DAYS = {
    "away": away,
    "slow": set_to(delay=3),
    "slow before the merge": set_to(delay=3, at=MERGE),
    "slow after the merge": set_to(delay_answers=3, at=MERGE),
    "status 500": set_to(status=500),
    **{f"status {status} to the merge": set_to(status=status, at=MERGE) for status in (500, 502, 503, 504, 408, 429)},
    "nonsense": set_to(nonsense=NONSENSE[0]),
    **{f"{body!r} to the merge": set_to(nonsense=body, at=MERGE) for body in NONSENSE},
}


async def states(scene: Scene) -> list[str]:
    async with scene.database.unit() as unit:
        return [row.state for row in await unit.all(select(cart_merges.c.state))]


async def reports(scene: Scene) -> list[object]:
    """Return the stored reports, `None` for a merge without one."""
    async with scene.database.unit() as unit:
        return [row.report for row in await unit.all(select(cart_merges.c.report))]


async def in_flight(scene: Scene, identity: Identity, *, by: str) -> "asyncio.Task[object]":
    """Begin a merge by the request or by a worker; return when the engine has made it and not answered yet."""
    _, pending = await scene.claim(identity)
    assert isinstance(pending, PendingMerge)
    scene.server.delay_answers, scene.server.at = 0.5, MERGE
    if by == "worker":
        async with scene.database.unit() as unit:
            await scene.outbox.release(unit, pending.leased)
    merging = asyncio.create_task(scene.merger.settle(pending) if by == "request" else scene.worker().run_once())
    await scene.server.merged.wait()
    return merging


async def delete_identity(scene: Scene, identity: Identity) -> None:
    async with scene.database.unit() as unit:
        await scene.process.identities.delete(unit, identity.id, actor="admin")
        await scene.deferred.forget(unit, identity.id)


async def is_known(scene: Scene, identity: Identity) -> bool:
    """Whether the engine has a record of the customer."""
    return await scene.engine.bind(None, NORTH.customer(str(identity.id))).customers.customer() is not None


async def is_closed(scene: Scene, guest: str = GUEST) -> bool:
    async with scene.database.unit() as unit:
        return await guest_is_closed(unit, store=NORTH.id, guest=guest)


async def waiting(scene: Scene) -> list[tuple[str, str]]:
    """Return topic and key of the events that were not delivered, in their order."""
    left = select(events.c.topic, events.c.key).where(events.c.delivered_at.is_(None)).order_by(events.c.sequence)
    async with scene.database.unit() as unit:
        return [(row.topic, row.key) for row in await unit.all(left)]


async def undelivered(scene: Scene) -> int:
    return len(await waiting(scene))


class TestAnEngineThatAnswers:
    async def test_adopts_the_guests_cart_and_knows_the_customer(self, scene: Scene, ada: Identity) -> None:
        cart = await scene.fill()
        report = await scene.sign_in(ada)
        assert (report.outcome, report.cart_id) == (Outcome.ADOPTED, cart.id)
        assert [(line.variant_id, line.after) for line in report.lines] == [(PLENTY, 2)]
        assert contents(await scene.cart_of(ada)) == {PLENTY: 2}
        customer = await scene.engine.bind(None, NORTH.customer(str(ada.id))).customers.customer()
        assert customer.email == ada.email
        assert (await scene.merges(), await states(scene), await undelivered(scene)) == (1, [MergeState.DONE], 0)

    @pytest.mark.parametrize(("merge", "outcome"), [(True, Outcome.MERGED), (False, Outcome.REPLACED)])
    async def test_does_with_the_cart_what_the_client_wants(
        self, scene: Scene, ada: Identity, merge: bool, outcome: Outcome
    ) -> None:
        cart = await scene.fill()
        await scene.put(NORTH.customer(str(ada.id)), PLENTY_TOO)
        report = await scene.sign_in(ada, hint=AuthHint(old_cart_id=cart.id, merge=merge))
        assert report.outcome is outcome
        assert contents(await scene.cart_of(ada)) == {PLENTY: 2, **({PLENTY_TOO: 1} if merge else {})}

    async def test_is_asked_to_merge_nothing_where_the_guest_has_no_cart(self, scene: Scene, ada: Identity) -> None:
        assert await scene.sign_in(ada) == CartMergeReport(Outcome.NOTHING, None)
        assert await states(scene) == [MergeState.DONE]

    async def test_refuses_the_cart_of_another_guest_for_good(self, scene: Scene, ada: Identity) -> None:
        theirs = await scene.fill(OTHER_GUEST)
        assert await scene.sign_in(ada, hint=AuthHint(old_cart_id=theirs.id)) == REFUSED
        assert (await states(scene), await undelivered(scene)) == ([MergeState.REFUSED], 0)
        assert await scene.engine.bind(None, NORTH.guest(OTHER_GUEST)).carts.current() == theirs

    @pytest.mark.parametrize("name", ["\x00", "\ud800", "x" * 129, "x" * 100_000], ids=["nul", "half", "129", "long"])
    async def test_is_not_asked_for_what_cannot_be_a_cart(self, scene: Scene, ada: Identity, name: str) -> None:
        assert await scene.sign_in(ada, hint=AuthHint(old_cart_id=name)) == REFUSED
        assert not scene.server.calls
        assert not await is_closed(scene)


class TestAnEngineOnABadDay:
    @pytest.mark.parametrize("spoil", BAD_DAYS.values(), ids=BAD_DAYS)
    async def test_does_not_fail_a_sign_in_and_merges_once_when_it_is_well_again(
        self, scene: Scene, ada: Identity, spoil: Spoil
    ) -> None:
        cart = await scene.fill()
        await spoil(scene.server)
        assert await scene.sign_in(ada, merger=scene.with_engine(deadline=HASTY)) == PENDING
        assert (await states(scene), await scene.report()) == ([MergeState.PENDING], None)

        await mend(scene.server)
        assert await scene.worker().run_once() == 1
        report = await scene.report()
        assert report is not None
        assert (report.outcome, report.cart_id) == (Outcome.ADOPTED, cart.id)
        assert contents(await scene.cart_of(ada)) == {PLENTY: 2}
        assert (await scene.merges(), await undelivered(scene)) == (1, 0)

    async def test_does_not_keep_the_sign_in_for_longer_than_the_deadline(self, scene: Scene, ada: Identity) -> None:
        scene.server.delay = 60
        async with asyncio.timeout(10):
            assert await scene.sign_in(ada, merger=scene.with_engine(deadline=HASTY)) == PENDING

    @pytest.mark.parametrize("hinted", [True, False], ids=["cart named", "current cart"])
    async def test_merges_once_however_many_answers_are_lost(self, scene: Scene, ada: Identity, hinted: bool) -> None:
        cart = await scene.fill()
        scene.server.nonsense, scene.server.at = b"]", MERGE
        await scene.sign_in(ada, hint=AuthHint(old_cart_id=cart.id) if hinted else None)
        await scene.work()
        assert scene.server.calls[MERGE] >= 3
        scene.server.nonsense = None
        await scene.work()
        assert (await scene.merges(), await states(scene)) == (1, [MergeState.DONE])

    async def test_is_not_called_again_by_a_sign_in_whose_customer_has_a_merge_waiting(
        self, scene: Scene, ada: Identity
    ) -> None:
        await scene.fill(GUEST, PLENTY, 2)
        await scene.fill(OTHER_GUEST, PLENTY_TOO, 3)
        scene.server.status = 503
        assert await scene.sign_in(ada, guest=GUEST) == PENDING
        scene.server.status = None
        calls = scene.server.calls.copy()
        assert await scene.sign_in(ada, guest=OTHER_GUEST) == PENDING
        assert scene.server.calls == calls
        await scene.work()
        first, second = await scene.report(GUEST), await scene.report(OTHER_GUEST)
        assert (first.outcome, second.outcome) == (Outcome.ADOPTED, Outcome.MERGED)
        assert contents(await scene.cart_of(ada)) == {PLENTY: 2, PLENTY_TOO: 3}

    async def test_a_fault_of_the_connector_does_not_fail_a_sign_in(self, scene: Scene, ada: Identity) -> None:
        class Faulty(RemoteEngine):
            async def merge_guest_cart(self, *_: object, **__: object) -> CartMergeReport:
                raise KeyError("outcome")

        await scene.fill()
        faulty = scene.with_engine(Faulty(scene.engine._outgoing, scene.server.url))
        assert await scene.sign_in(ada, merger=faulty) == PENDING
        await scene.work()
        assert await scene.merges() == 1

    async def test_is_given_up_one_day_and_can_be_taken_up_again(self, scene: Scene, ada: Identity) -> None:
        await scene.fill()
        scene.server.status = 500
        await scene.sign_in(ada)
        for _ in range(8):
            await scene.worker().run_once()
            scene.clock.advance(hours=6)
        assert (await scene.report(), await states(scene)) == (REFUSED, [MergeState.REFUSED])
        scene.server.status = None
        async with scene.database.unit() as unit:
            (letter,) = await scene.outbox.dead(unit)
            await scene.outbox.replay(unit, letter.event.id)
        await scene.work()
        report = await scene.report()
        assert (report.outcome, await scene.merges()) == (Outcome.ADOPTED, 1)


class TestAProcessKilledBetweenCommitAndMerge:
    async def test_leaves_the_merge_to_a_worker_once_the_lease_has_ended(self, scene: Scene, ada: Identity) -> None:
        await scene.fill()
        scene.server.calls.clear()
        token, pending = await scene.claim(ada)
        assert isinstance(pending, PendingMerge)
        assert await scene.process.sessions.resolve(token) is not None
        assert await scene.worker().run_once() == 0
        assert not scene.server.calls
        await scene.work()
        report = await scene.report()
        assert (report.outcome, await scene.merges()) == (Outcome.ADOPTED, 1)

    async def test_a_request_that_was_only_late_finds_the_workers_report(self, scene: Scene, ada: Identity) -> None:
        await scene.fill()
        _, pending = await scene.claim(ada)
        await scene.work()
        report = await scene.merger.settle(pending)
        assert (report.outcome, await scene.merges()) == (Outcome.ADOPTED, 1)
        assert await scene.report() == report

    async def test_a_request_that_loses_its_lease_during_the_call_writes_nothing_twice(
        self, scene: Scene, ada: Identity
    ) -> None:
        """The worker takes over while the engine still works on the request's call: both get the one answer."""
        await scene.fill()
        _, pending = await scene.claim(ada)
        scene.server.delay_answers, scene.server.at = 1, MERGE
        late = asyncio.create_task(scene.merger.settle(pending))
        await scene.server.merged.wait()
        scene.clock.advance(seconds=LEASE.total_seconds() + 1)
        scene.server.delay_answers = 0
        await scene.work()
        by_worker = await scene.report()
        report = await late
        assert (report, await scene.merges()) == (by_worker, 1)
        assert report.outcome is Outcome.ADOPTED

    async def test_a_process_killed_before_the_commit_leaves_nothing(self, scene: Scene, ada: Identity) -> None:
        cart = await scene.fill()
        with suppress(LookupError):
            async with scene.database.unit() as unit:
                assert isinstance((await scene.begin(unit, ada))[1], PendingMerge)
                raise LookupError
        assert (await states(scene), await undelivered(scene), await is_closed(scene)) == ([], 0, False)
        assert await scene.engine.bind(None, NORTH.guest(GUEST)).carts.current() == cart


class TestAGuest:
    async def test_is_closed_by_the_sign_in_and_not_only_by_the_merge(self, scene: Scene, ada: Identity) -> None:
        await scene.fill()
        assert not await is_closed(scene)
        await scene.claim(ada)
        assert await is_closed(scene)
        assert not await is_closed(scene, OTHER_GUEST)

    async def test_a_claimed_guest_cannot_write_through_graphql(
        self, scene: Scene, ada: Identity, bob: Identity
    ) -> None:
        """Not even before the engine knows of the merge; a customer can."""

        async def add(shopper: Shopper) -> None:
            operations = Operations(open_unit=scene.database.unit, engine=scene.engine, shopper=shopper)
            async with operations.change() as session:
                await session.carts.add(cart_id=None, variant_id=PLENTY, quantity=1)

        await add(NORTH.guest(GUEST))
        await scene.claim(ada)
        calls = scene.server.calls.copy()
        with pytest.raises(TokenInvalid):
            await add(NORTH.guest(GUEST))
        assert scene.server.calls == calls
        await add(NORTH.guest(OTHER_GUEST))
        await add(NORTH.customer(str(bob.id)))

    async def test_a_guest_who_signs_in_again_gets_the_same_report(self, scene: Scene, ada: Identity) -> None:
        cart = await scene.fill()
        first = await scene.sign_in(ada)
        again = await scene.sign_in(ada, hint=AuthHint(old_cart_id=cart.id))
        assert again == CartMergeReport(Outcome.ALREADY_DONE, first.cart_id, first.lines)
        assert again.lines == (LineReport(PLENTY, 0, 2, 2, first.lines[0].change),)
        assert await scene.merges() == 1

    async def test_a_guest_who_signs_in_again_meanwhile_gets_a_pending_report(
        self, scene: Scene, ada: Identity
    ) -> None:
        await scene.fill()
        _, pending = await scene.claim(ada)
        assert await scene.sign_in(ada) == PENDING
        assert (await scene.merger.settle(pending)).outcome is Outcome.ADOPTED

    @pytest.mark.parametrize("settled", [True, False])
    async def test_a_guest_is_not_merged_for_another_customer(
        self, scene: Scene, ada: Identity, bob: Identity, settled: bool
    ) -> None:
        cart = await scene.fill()
        _, pending = await scene.claim(ada)
        if settled:
            await scene.merger.settle(pending)
        assert await scene.sign_in(bob, hint=AuthHint(old_cart_id=cart.id)) == REFUSED
        await scene.work()
        assert await scene.cart_of(bob) is None
        assert contents(await scene.cart_of(ada)) == {PLENTY: 2}
        assert await scene.merges() == 1

    async def test_a_guest_without_a_cart_has_nothing_to_merge_at_any_sign_in(
        self, scene: Scene, ada: Identity, bob: Identity
    ) -> None:
        own = await scene.put(NORTH.customer(str(ada.id)))
        for _ in range(2):
            assert await scene.sign_in(ada) == CartMergeReport(Outcome.NOTHING, own.id)
        assert await scene.sign_in(bob) == CartMergeReport(Outcome.NOTHING, None)

    @pytest.mark.parametrize("same", [True, False], ids=["the same customer", "two customers"])
    async def test_a_guest_who_signs_in_many_times_at_once_is_merged_once(
        self, scene: Scene, ada: Identity, bob: Identity, same: bool
    ) -> None:
        await scene.fill()
        scene.server.on_call = None  # other sign-ins may have a transaction open during a call
        reports = await asyncio.gather(*(scene.sign_in(ada if same or n % 2 else bob) for n in range(6)))
        outcomes = [report.outcome for report in reports]
        assert outcomes.count(Outcome.ADOPTED) == 1
        assert set(outcomes) <= {Outcome.ADOPTED, Outcome.PENDING, Outcome.ALREADY_DONE, Outcome.REFUSED}
        assert (Outcome.REFUSED in outcomes) is not same
        await scene.work()
        assert await scene.merges() == 1
        carts = [await scene.cart_of(ada), await scene.cart_of(bob)]
        assert [contents(cart) for cart in carts if cart] == [{PLENTY: 2}]


class TestASignInWithoutAGuestsCart:
    @pytest.mark.parametrize(("guest", "hint"), [(None, None), (None, AuthHint(old_cart_id="x")), (GUEST, AuthHint())])
    async def test_does_not_wait_for_the_engine_which_learns_of_the_customer_later(
        self, scene: Scene, ada: Identity, guest: str | None, hint: AuthHint | None
    ) -> None:
        assert await scene.sign_in(ada, guest=guest, hint=hint) == CartMergeReport(Outcome.NOTHING, None)
        assert not scene.server.calls
        assert (await states(scene), await is_closed(scene)) == ([], False)
        scene.server.status = 503
        await scene.worker().run_once()
        scene.server.status = None
        await scene.work()
        customer = await scene.engine.bind(None, NORTH.customer(str(ada.id))).customers.customer()
        assert (customer.email, await undelivered(scene)) == (ada.email, 0)

    async def test_does_not_delay_the_merge_of_the_next_one(self, scene: Scene, ada: Identity) -> None:
        await scene.sign_in(ada, guest=None)
        await scene.fill()
        assert (await scene.sign_in(ada)).outcome is Outcome.ADOPTED


class TestAReport:
    async def test_a_deleted_identity_loses_its_reports_and_pending_merges(self, scene: Scene, ada: Identity) -> None:
        await scene.fill(GUEST)
        await scene.fill(OTHER_GUEST)
        await scene.sign_in(ada, guest=GUEST)
        await scene.claim(ada, guest=OTHER_GUEST)
        await delete_identity(scene, ada)
        await scene.work()
        assert (await states(scene), await reports(scene)) == ([MergeState.FORGOTTEN] * 2, [None, None])
        assert (await scene.merges(), await is_closed(scene, OTHER_GUEST), await undelivered(scene)) == (1, True, 0)

    @pytest.mark.parametrize("by", ["request", "worker"])
    async def test_is_not_stored_by_a_merge_that_was_in_flight_while_its_identity_was_deleted(
        self, scene: Scene, ada: Identity, by: str
    ) -> None:
        await scene.fill()
        merging = await in_flight(scene, ada, by=by)
        await delete_identity(scene, ada)
        await merging
        assert (await states(scene), await reports(scene)) == ([MergeState.FORGOTTEN], [None])
        assert (await scene.merges(), await is_closed(scene)) == (1, True)

    async def test_is_not_stored_by_a_merge_that_is_given_up_after_its_identity_was_deleted(
        self, scene: Scene, ada: Identity
    ) -> None:
        await scene.fill()
        _, pending = await scene.claim(ada)
        async with scene.database.unit() as unit:
            await scene.deferred.forget(unit, ada.id)
            await scene.deferred.give_up(unit, pending.leased.event)
        assert (await states(scene), await reports(scene)) == ([MergeState.FORGOTTEN], [None])

    async def test_is_deleted_after_its_time(self, scene: Scene, ada: Identity) -> None:
        await scene.sign_in(ada)
        scene.clock.advance(days=10)
        await scene.sign_in(ada, guest=OTHER_GUEST)
        async with scene.database.unit() as unit:
            assert await scene.deferred.purge(unit, scene.clock.now() - timedelta(days=5), 100) == 1
        assert await scene.report(GUEST) is None
        assert await scene.report(OTHER_GUEST) == CartMergeReport(Outcome.NOTHING, None)


class TestAnEngineWhoseCustomersIdentityIsDeleted:
    async def test_forgets_the_customer(self, scene: Scene, ada: Identity) -> None:
        await scene.fill()
        await scene.sign_in(ada)
        await delete_identity(scene, ada)
        assert await is_known(scene, ada)
        await scene.work()
        assert not await is_known(scene, ada)
        assert (await scene.cart_of(ada), await undelivered(scene)) == (None, 0)

    @pytest.mark.parametrize("by", ["request", "worker"])
    async def test_forgets_the_customer_after_a_merge_that_was_in_flight(
        self, scene: Scene, ada: Identity, by: str
    ) -> None:
        await scene.fill()
        merging = await in_flight(scene, ada, by=by)
        await delete_identity(scene, ada)
        for _ in range(3):
            await scene.worker().run_once()
        assert await waiting(scene) == [(MERGE_TOPIC, str(ada.id)), (FORGET_TOPIC, str(ada.id))]
        assert not scene.server.calls[FORGET]
        await merging
        await scene.work()
        assert scene.server.calls[FORGET] == 1
        assert not await is_known(scene, ada)
        assert (await scene.cart_of(ada), await undelivered(scene)) == (None, 0)

    async def test_forgets_the_customer_after_an_update_that_was_in_flight(self, scene: Scene, ada: Identity) -> None:
        await scene.sign_in(ada, guest=None)
        scene.server.delay, scene.server.at = 0.5, ENSURE
        arrived, look = asyncio.Event(), scene.server.on_call

        async def on_call() -> None:
            await look()
            arrived.set()

        scene.server.on_call = on_call
        ensuring = asyncio.create_task(scene.worker().run_once())
        await arrived.wait()
        await delete_identity(scene, ada)
        await scene.worker().run_once()
        assert [topic for topic, _ in await waiting(scene)] == [ENSURE_TOPIC, FORGET_TOPIC]
        await ensuring
        assert await is_known(scene, ada)
        await scene.work()
        assert not await is_known(scene, ada)

    async def test_is_asked_again_until_it_answers(self, scene: Scene, ada: Identity) -> None:
        await scene.sign_in(ada, guest=None)
        await scene.work()
        await delete_identity(scene, ada)
        scene.server.status, scene.server.at = 503, FORGET
        await scene.work()
        assert await is_known(scene, ada)
        scene.server.status = None
        await scene.work()
        assert (await is_known(scene, ada), await undelivered(scene)) == (False, 0)

    async def test_is_asked_also_where_another_engine_fails(self, scene: Scene, ada: Identity) -> None:
        class Failing(RemoteEngine):
            async def forget(self, *_: object) -> None:
                raise UpstreamFailed

        failing = Failing(scene.engine._outgoing, scene.server.url)
        deferred = deferred_merges(scene, {"failing": failing, "remote": scene.engine})
        event = Event(new_id(), FORGET_TOPIC, str(ada.id), {"customer": str(ada.id)}, 1, scene.clock.now())
        with pytest.raises(UpstreamFailed):
            await deferred.on_forget_event(event)
        assert scene.server.calls[FORGET] == 1

    async def test_is_not_asked_by_an_event_where_it_shares_the_transaction(self, scene: Scene, ada: Identity) -> None:
        deferred = deferred_merges(scene, {"embedded": scene.shop.engine})
        async with scene.database.unit() as unit:
            await deferred.forget(unit, ada.id)
        assert await waiting(scene) == []


class TestOurTransactions:
    async def test_would_be_seen_by_the_engine_of_these_tests(self, scene: Scene) -> None:
        async with scene.database.unit() as unit:
            await unit.write(delete(cart_merges))
            assert await holds_a_transaction(scene.database)
        assert not await holds_a_transaction(scene.database)

    async def test_keep_the_engine_from_being_called(self, scene: Scene) -> None:
        async with scene.database.unit() as unit:
            await unit.begin()
            with pytest.raises(CalledInsideTransaction):
                await scene.engine.bind(None, NORTH.guest(GUEST)).carts.current()
        assert not scene.server.calls


@pytest.mark.parametrize(("deadline", "lease"), [(0, 30), (-1, 30), (30, 30), (31, 30)])
async def test_a_lease_must_outlast_the_deadline(scene: Scene, deadline: int, lease: int) -> None:
    with pytest.raises(ValueError, match="deadline"):
        DeferredMerges(
            stores=scene.deferred._stores,
            engines={},
            identities=scene.process.identities,
            database=scene.database,
            outbox=scene.outbox,
            clock=scene.clock,
            deadline=timedelta(seconds=deadline),
            lease=timedelta(seconds=lease),
        )
