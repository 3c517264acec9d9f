"""Sessions are started, found by their token, listed, extended, ended and deleted."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from shopkeeper.client import Client, without_port
from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import digest, new_id
from shopkeeper.errors import IdentityDisabled, NotFound
from shopkeeper.identity.values import Aal, Identity, State
from shopkeeper.sessions.errors import SessionIsCurrent
from shopkeeper.sessions.store import replaced_tokens, sessions
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.tables import metadata
from tests.sessions.conftest import (
    AUDIT_KEY,
    CLIENT,
    LIFESPAN,
    Process,
    Undone,
    answers,
    audited,
    change,
    enrol,
    process,
    rendered,
    sign_in,
    undo,
)


@pytest.fixture
def cache(clock: StoppedClock) -> Cache:
    """Results here do not depend on the kind of cache; `test_two_processes.py` has both."""
    return MemoryCache(clock)


class TestStarting:
    async def test_gives_a_session_as_it_was_proven(self, database: Database, one: Process, ada: Identity) -> None:
        started = await sign_in(database, one.sessions, ada)
        resolved = await one.sessions.resolve(started.token)
        assert resolved is not None
        assert resolved.session == started.session
        assert resolved.whoami == rendered(started.session)
        assert started.token.startswith("shk_st_")
        assert started.session.expires_at == started.session.issued_at + LIFESPAN
        assert [(proof.method, proof.aal) for proof in started.session.authentication_methods] == [
            ("password", Aal.AAL1)
        ]
        assert [(d.ip_address, d.user_agent) for d in started.session.devices] == [("203.0.113.7:50123", "Browser/1.0")]

    async def test_gives_another_token_each_time(self, database: Database, one: Process, ada: Identity) -> None:
        tokens = {(await sign_in(database, one.sessions, ada)).token for _ in range(5)}
        assert len(tokens) == 5
        assert all(await answers(one.sessions, sorted(tokens)))

    async def test_a_session_carries_no_credentials(self, database: Database, one: Process, ada: Identity) -> None:
        started = await sign_in(database, one.sessions, ada)
        resolved = await one.sessions.resolve(started.token)
        assert resolved is not None
        assert ada.credentials
        assert (started.session.identity.credentials, resolved.session.identity.credentials) == ({}, {})

    async def test_is_refused_to_an_account_that_is_switched_off(
        self, database: Database, one: Process, clock: StoppedClock
    ) -> None:
        off = await enrol(database, clock, state=State.INACTIVE)
        with pytest.raises(IdentityDisabled):
            await sign_in(database, one.sessions, off)

    async def test_a_start_that_is_rolled_back_leaves_no_session(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        options = {"method": "password", "aal": Aal.AAL1, "client": CLIENT, "store": None}
        with pytest.raises(Undone) as undone:
            await undo(database, one.sessions.start, ada, **options)
        assert await answers(one.sessions, [undone.value.given.token]) == [False]

    async def test_keeps_very_long_user_agents_short(self, database: Database, one: Process, ada: Identity) -> None:
        client = Client(ip="2001:db8::1", user_agent="x" * 10_000)
        async with database.unit() as unit:
            started = await one.sessions.start(unit, ada, method="code", aal=Aal.AAL1, client=client, store=None)
        resolved = await one.sessions.resolve(started.token)
        assert resolved is not None
        assert resolved.session.devices == started.session.devices
        assert len(started.session.devices[0].user_agent) == 512

    @pytest.mark.parametrize(("ip", "shown"), [("203.0.113.7", "203.0.113.7:5"), ("2001:db8::1", "[2001:db8::1]:5")])
    async def test_addresses_are_kept_apart_from_their_ports(
        self, database: Database, one: Process, ada: Identity, ip: str, shown: str
    ) -> None:
        client = Client(ip=ip, port=5)
        async with database.unit() as unit:
            started = await one.sessions.start(unit, ada, method="code", aal=Aal.AAL1, client=client, store=None)
        [device] = started.session.devices
        assert (device.ip_address, without_port(device.ip_address)) == (shown, ip)

    async def test_row_038_ends_the_session_that_was_presented(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        before = await sign_in(database, one.sessions, ada)
        after = await sign_in(database, one.sessions, ada, replacing=before.session)
        assert before.token != after.token
        assert await answers(one.sessions, [before.token, after.token]) == [False, True]

    async def test_two_that_replace_each_others_session_do_not_deadlock(
        self, database: Database, one: Process, clock: StoppedClock, ada: Identity
    ) -> None:
        """Regression: each locked the other's session first, and waited for its own in `revoke_active_sessions`."""
        bob = await enrol(database, clock)
        former = {each.id: await sign_in(database, one.sessions, each) for each in (ada, bob)}
        started = {ada.id: asyncio.Event(), bob.id: asyncio.Event()}

        async def swap(to: Identity, other: Identity) -> str:
            async with database.unit() as unit:
                await one.identities.lock(unit, to.id)
                session = await one.sessions.start(
                    unit,
                    to,
                    method="password",
                    aal=Aal.AAL1,
                    client=CLIENT,
                    store="fruit",
                    replacing=former[other.id].session,
                )
                started[to.id].set()
                with suppress(TimeoutError):  # the other one may have to wait until this transaction ends
                    await asyncio.wait_for(started[other.id].wait(), 0.3)
                await one.sessions.revoke_others(unit, session.session, client=CLIENT)
            return session.token

        tokens = await asyncio.gather(swap(ada, bob), swap(bob, ada))
        assert await answers(one.sessions, tokens) == [True, True]
        assert await answers(one.sessions, [each.token for each in former.values()]) == [False, False]

    async def test_a_replacing_start_and_the_end_of_all_sessions_do_not_deadlock(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        """The newest session is replaced, while another request ends all of them from the oldest on."""
        former = [await sign_in(database, one.sessions, ada) for _ in range(4)]
        started = asyncio.Event()

        async def start_and_revoke() -> str:
            async with database.unit() as unit:
                session = await one.sessions.start(
                    unit,
                    ada,
                    method="password",
                    aal=Aal.AAL1,
                    client=CLIENT,
                    store="fruit",
                    replacing=former[-1].session,
                )
                started.set()
                await asyncio.sleep(0.3)
                await one.sessions.revoke_others(unit, session.session, client=CLIENT)
            return session.token

        async def revoke_all() -> int:
            await started.wait()
            return int(await change(database, one.sessions.revoke_all, ada.id, by="admin"))

        token, ended = await asyncio.gather(start_and_revoke(), revoke_all())
        assert ended == 5
        assert await answers(one.sessions, [token, *(each.token for each in former)]) == [False] * 5


class TestTokens:
    async def test_are_kept_as_hashes_only(self, database: Database, one: Process, ada: Identity) -> None:
        started = await sign_in(database, one.sessions, ada)
        successor = await one.sessions.refresh(started.token, store="fruit")
        secrets = [token.removeprefix("shk_st_") for token in (started.token, successor.token)]
        for table in metadata.sorted_tables:
            async with database.unit() as unit:
                kept = repr([tuple(row) for row in await unit.all(select(table))])
            assert not any(secret in kept for secret in secrets), table.name
        async with database.unit() as unit:
            assert await unit.scalar(select(sessions.c.token_hash)) == digest(successor.token)

    @pytest.mark.parametrize(
        "change_of",
        [
            str.upper,
            str.lower,
            str.swapcase,
            lambda token: token[:-1],
            lambda token: token[1:],
            lambda token: token + "=",
            lambda token: token + " ",
            lambda token: " " + token,
            lambda token: token + "\x00",
            lambda token: token.removeprefix("shk_st_"),
            lambda token: "shk_st_" + token,
            lambda token: token.replace("_", "%5F"),
            lambda token: token[:-1] + "\ud800",
            lambda token: digest(token).hex(),
            lambda token: "shk_st_" + digest(token).hex(),
            lambda token: "",
        ],
    )
    async def test_row_011_in_any_other_spelling_are_strangers(
        self, database: Database, one: Process, ada: Identity, change_of: Any
    ) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        assert await one.sessions.resolve(change_of(token)) is None
        assert await answers(one.sessions, [token]) == [True]

    async def test_end_with_the_session_to_the_second(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        clock.advance(seconds=LIFESPAN.total_seconds() - 1)
        assert await answers(one.sessions, [token]) == [True]
        clock.advance(seconds=1)
        assert await answers(one.sessions, [token]) == [False]

    async def test_are_refused_for_an_account_that_was_switched_off(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        assert await answers(one.sessions, [token]) == [True]
        off = [{"op": "replace", "path": "/state", "value": "inactive"}]
        await change(database, one.identities.patch, ada.id, off)
        assert await answers(one.sessions, [token]) == [False]

    async def test_are_refused_for_an_account_that_is_gone(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        assert await answers(one.sessions, [token]) == [True]
        await change(database, one.identities.delete, ada.id)
        assert await answers(one.sessions, [token]) == [False]
        async with database.unit() as unit:
            assert await unit.first(select(sessions)) is None

    async def test_show_changed_traits_at_once(self, database: Database, one: Process, ada: Identity) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        await one.sessions.resolve(token)
        renamed = [{"op": "add", "path": "/traits/name", "value": "Ada"}]
        await change(database, one.identities.patch, ada.id, renamed)
        resolved = await one.sessions.resolve(token)
        assert resolved is not None
        assert b'"name":"Ada"' in resolved.whoami.body


class TestEnding:
    async def test_one_session_leaves_the_others(self, database: Database, one: Process, ada: Identity) -> None:
        first, second = [await sign_in(database, one.sessions, ada) for _ in range(2)]
        assert await change(database, one.sessions.revoke, first.session.id, by="admin")
        assert await answers(one.sessions, [first.token, second.token]) == [False, True]

    async def test_ending_twice_changes_nothing(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        session = (await sign_in(database, one.sessions, ada)).session
        for _ in range(2):
            assert await change(database, one.sessions.revoke, session.id, by="admin")
            clock.advance(minutes=1)
        assert len(await audited(database, clock, action="session.revoked")) == 1

    async def test_ending_an_unknown_session_is_reported(self, database: Database, one: Process) -> None:
        assert not await change(database, one.sessions.revoke, new_id(), by="admin")

    async def test_an_end_that_is_rolled_back_ends_nothing(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        started = await sign_in(database, one.sessions, ada)
        with pytest.raises(Undone):
            await undo(database, one.sessions.revoke, started.session.id, by="admin")
        assert await answers(one.sessions, [started.token]) == [True]

    async def test_ending_by_token_accepts_ended_sessions_and_no_unknown_tokens(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        token = (await sign_in(database, one.sessions, ada)).token
        revoke = one.sessions.revoke_token
        assert [await change(database, revoke, token) for _ in range(2)] == [True, True]
        assert await answers(one.sessions, [token]) == [False]
        assert not await change(database, revoke, "ory_st_rubbish")
        assert not await change(database, revoke, "")

    async def test_ending_by_a_former_token_works_too(self, database: Database, one: Process, ada: Identity) -> None:
        first = await sign_in(database, one.sessions, ada)
        second = await one.sessions.refresh(first.token, store="fruit")
        assert await change(database, one.sessions.revoke_token, first.token)
        assert await answers(one.sessions, [first.token, second.token]) == [False, False]

    async def test_the_others_counts_as_kratos_does(self, database: Database, one: Process, ada: Identity) -> None:
        mine, ended, other = [await sign_in(database, one.sessions, ada) for _ in range(3)]
        await change(database, one.sessions.revoke, ended.session.id, by="admin")
        assert await change(database, one.sessions.revoke_others, mine.session) == 2
        assert await answers(one.sessions, [mine.token, ended.token, other.token]) == [True, False, False]

    async def test_ending_all_of_one_identity_ends_none_of_another(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        bea = await enrol(database, clock)
        hers = [(await sign_in(database, one.sessions, ada)).token for _ in range(2)]
        beas = (await sign_in(database, one.sessions, bea)).token
        assert await change(database, one.sessions.revoke_all, ada.id, by="admin") == 2
        assert await answers(one.sessions, [*hers, beas]) == [False, False, True]

    async def test_ending_for_an_identity_spares_the_session_that_changed_it(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        mine, other = [await sign_in(database, one.sessions, ada) for _ in range(2)]
        await change(database, one.sessions.end_for, ada.id, mine.session.id)
        assert await answers(one.sessions, [mine.token, other.token]) == [True, False]
        await change(database, one.sessions.end_for, ada.id)
        assert await answers(one.sessions, [mine.token]) == [False]

    async def test_ending_an_own_session_refuses_the_current_one(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        mine, other = [await sign_in(database, one.sessions, ada) for _ in range(2)]
        with pytest.raises(SessionIsCurrent):
            await change(database, one.sessions.revoke_own, mine.session, mine.session.id)
        await change(database, one.sessions.revoke_own, mine.session, other.session.id)
        await change(database, one.sessions.revoke_own, mine.session, new_id())
        assert await answers(one.sessions, [mine.token, other.token]) == [True, False]

    async def test_row_041_somebody_elses_is_passed_over(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        mine = await sign_in(database, one.sessions, ada)
        beas = await sign_in(database, one.sessions, await enrol(database, clock))
        await change(database, one.sessions.revoke_own, mine.session, beas.session.id)
        assert await answers(one.sessions, [beas.token]) == [True]

    async def test_deleting_sessions_reports_when_there_were_none(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        tokens = [(await sign_in(database, one.sessions, ada)).token for _ in range(2)]
        await answers(one.sessions, tokens)
        assert await change(database, one.sessions.delete_for, ada.id) == 2
        assert await answers(one.sessions, tokens) == [False, False]
        with pytest.raises(NotFound):
            await change(database, one.sessions.delete_for, ada.id)


class TestExtending:
    async def test_gives_the_whole_lifespan_again(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        started = await sign_in(database, one.sessions, ada)
        clock.advance(hours=20)
        await one.sessions.resolve(started.token)
        extended = await change(database, one.sessions.extend, started.session.id)
        assert extended.expires_at == clock.now() + LIFESPAN
        clock.advance(hours=23)
        resolved = await one.sessions.resolve(started.token)
        assert resolved is not None
        assert resolved.session.expires_at == extended.expires_at

    async def test_waits_until_it_is_time(
        self, database: Database, cache: Cache, ada: Identity, clock: StoppedClock
    ) -> None:
        one = process(database, cache, clock, earliest_extend=timedelta(hours=1))
        started = await sign_in(database, one.sessions, ada)
        clock.advance(hours=23)
        assert await change(database, one.sessions.extend, started.session.id) == started.session
        clock.advance(seconds=1)
        extended = await change(database, one.sessions.extend, started.session.id)
        assert extended.expires_at == clock.now() + LIFESPAN

    async def test_does_not_bring_back_what_has_ended(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        revoked, expired = [await sign_in(database, one.sessions, ada) for _ in range(2)]
        await change(database, one.sessions.revoke, revoked.session.id, by="admin")
        assert not (await change(database, one.sessions.extend, revoked.session.id)).active
        clock.advance(hours=24)
        assert (await change(database, one.sessions.extend, expired.session.id)).expires_at == clock.now()
        assert await answers(one.sessions, [revoked.token, expired.token]) == [False, False]

    async def test_extending_an_unknown_session_is_reported(self, database: Database, one: Process) -> None:
        with pytest.raises(NotFound):
            await change(database, one.sessions.extend, new_id())


class TestListing:
    async def test_shows_the_others_newest_first(self, database: Database, one: Process, ada: Identity) -> None:
        mine, *others = [(await sign_in(database, one.sessions, ada)).session for _ in range(4)]
        await change(database, one.sessions.revoke, others[1].id, by="admin")
        page = await change(database, one.sessions.list_for, ada.id, active=True, exclude=mine.id)
        assert page.items == (others[2], others[0])
        assert page.next_after is None
        assert await change(database, one.sessions.count_for, ada.id, active=True, exclude=mine.id) == 2
        assert await change(database, one.sessions.count_for, ada.id) == 4

    async def test_the_list_marks_ended_sessions(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        expired = (await sign_in(database, one.sessions, ada)).session
        clock.advance(hours=24)
        live, revoked = [(await sign_in(database, one.sessions, ada)).session for _ in range(2)]
        await change(database, one.sessions.revoke, revoked.id, by="admin")
        listed = one.sessions.list_for
        assert [s.id for s in (await change(database, listed, ada.id, active=True)).items] == [live.id]
        assert [s.id for s in (await change(database, listed, ada.id, active=False)).items] == [revoked.id, expired.id]
        assert [s.active for s in (await change(database, listed, ada.id)).items] == [False, True, True]

    async def test_goes_on_where_a_page_ended(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        bea = await enrol(database, clock)
        started = [(await sign_in(database, one.sessions, who)).session for who in (ada, bea, ada, bea, ada)]
        seen, after = [], None
        for size in (2, 2, 2):
            page = await change(database, one.sessions.list_all, page_size=size, after=after)
            seen += page.items
            after = page.next_after
        assert seen == list(reversed(started))
        assert after is None

    async def test_pages_of_numbers_work_for_one_identity(
        self, database: Database, one: Process, ada: Identity
    ) -> None:
        started = [(await sign_in(database, one.sessions, ada)).session for _ in range(5)]
        page = await change(database, one.sessions.list_for, ada.id, page_size=2, skip=2)
        assert page.items == (started[2], started[1])

    async def test_the_list_of_an_unknown_identity_is_empty(self, database: Database, one: Process) -> None:
        assert (await change(database, one.sessions.list_for, new_id())).items == ()
        assert (await change(database, one.sessions.list_all)).items == ()

    async def test_shows_every_device(self, database: Database, one: Process, ada: Identity) -> None:
        started = await sign_in(database, one.sessions, ada)
        more = replace(started.session.devices[0], id=new_id(), user_agent="Other/2.0")
        async with database.unit() as unit:
            stored = [{**asdict(device), "id": str(device.id)} for device in (*started.session.devices, more)]
            await unit.write(update(sessions).values(devices=stored))
        expected = (*started.session.devices, more)
        assert (await change(database, one.sessions.require, started.session.id)).devices == expected
        page = await change(database, one.sessions.list_all, page_size=1)
        assert [s.devices for s in page.items] == [expected]

    async def test_an_unknown_id_finds_no_session(self, database: Database, one: Process) -> None:
        assert await change(database, one.sessions.get, new_id()) is None
        with pytest.raises(NotFound):
            await change(database, one.sessions.require, new_id())


class TestForgetting:
    async def test_takes_a_bounded_number_the_oldest_first(
        self, database: Database, cache: Cache, ada: Identity, clock: StoppedClock
    ) -> None:
        one = process(database, cache, clock, refresh=False)
        old = []
        for _ in range(3):
            old.append((await sign_in(database, one.sessions, ada)).session.id)
            clock.advance(minutes=1)
        clock.advance(hours=24)
        live = (await sign_in(database, one.sessions, ada)).session.id
        purge = one.sessions.purge_expired
        assert await change(database, purge, clock.now(), 2) == 2
        left = [s.id for s in (await change(database, one.sessions.list_for, ada.id)).items]
        assert left == [live, old[2]]
        assert [await change(database, purge, clock.now(), 2) for _ in range(2)] == [1, 0]

    async def test_spares_what_can_still_be_refreshed(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        first = await sign_in(database, one.sessions, ada)
        await one.sessions.refresh(first.token, store="fruit")
        clock.advance(hours=24, days=7)
        assert await change(database, one.sessions.purge_expired, clock.now(), 10) == 0
        clock.advance(seconds=1)
        assert await change(database, one.sessions.purge_expired, clock.now(), 10) == 1
        async with database.unit() as unit:
            assert await unit.first(select(replaced_tokens)) is None


class TestLogoutLinks:
    async def test_are_good_for_their_own_session(self, database: Database, one: Process, ada: Identity) -> None:
        mine, other = [(await sign_in(database, one.sessions, ada)).session for _ in range(2)]
        token = one.sessions.logout_token(mine)
        assert one.sessions.check_logout_token(mine, token)
        assert not one.sessions.check_logout_token(other, token)

    async def test_are_no_session_tokens(self, database: Database, one: Process, ada: Identity) -> None:
        started = await sign_in(database, one.sessions, ada)
        token = one.sessions.logout_token(started.session)
        assert await one.sessions.resolve(token) is None
        assert not one.sessions.check_logout_token(started.session, started.token)
        assert started.token not in token

    @pytest.mark.parametrize(
        "change_of", [str.upper, lambda token: token[:-1], lambda token: token + "=", lambda _: ""]
    )
    async def test_row_011_in_another_spelling_are_refused(
        self, database: Database, one: Process, ada: Identity, change_of: Any
    ) -> None:
        session = (await sign_in(database, one.sessions, ada)).session
        assert not one.sessions.check_logout_token(session, change_of(one.sessions.logout_token(session)))

    async def test_outlive_a_refresh(self, database: Database, one: Process, ada: Identity) -> None:
        started = await sign_in(database, one.sessions, ada)
        token = one.sessions.logout_token(started.session)
        refreshed = await one.sessions.refresh(started.token, store="fruit")
        assert one.sessions.check_logout_token(refreshed.session, token)


class TestAudit:
    async def test_the_audit_names_who_started_and_who_ended_a_session(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        started = await sign_in(database, one.sessions, ada)
        for act in (one.sessions.extend, one.sessions.revoke):
            await change(database, act, started.session.id, by="key:7", client=CLIENT)
        told = await audited(database, clock)
        who, place = str(ada.id), Audit(clock, key=AUDIT_KEY).client(CLIENT.ip)
        assert [(e.action, e.outcome, e.actor, e.subject, e.client) for e in told] == [
            ("session.started", "success", who, who, place),
            ("session.extended", "success", "key:7", who, place),
            ("session.revoked", "success", "key:7", who, place),
        ]
        assert {event.details["session"] for event in told} == {str(started.session.id)}

    @pytest.mark.parametrize("how", ["token", "own", "others", "all", "deleted"])
    async def test_the_subject_of_a_revocation_is_always_the_identity(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock, how: str
    ) -> None:
        mine, other = [await sign_in(database, one.sessions, ada) for _ in range(2)]
        acts: dict[str, Callable[[Unit], Awaitable[object]]] = {
            "token": lambda unit: one.sessions.revoke_token(unit, mine.token, client=CLIENT),
            "own": lambda unit: one.sessions.revoke_own(unit, mine.session, other.session.id, client=CLIENT),
            "others": lambda unit: one.sessions.revoke_others(unit, mine.session, client=CLIENT),
            "all": lambda unit: one.sessions.revoke_all(unit, ada.id, by=str(ada.id), client=CLIENT),
            "deleted": lambda unit: one.sessions.delete_for(unit, ada.id, by=str(ada.id), client=CLIENT),
        }
        await change(database, acts[how])
        [event] = await audited(database, clock, action="session.revoked")
        who = str(ada.id)
        assert (event.actor, event.subject) == (who, who)
        assert event.client == Audit(clock, key=AUDIT_KEY).client(CLIENT.ip)

    async def test_the_audit_holds_no_token(
        self, database: Database, one: Process, ada: Identity, clock: StoppedClock
    ) -> None:
        started = await sign_in(database, one.sessions, ada)
        await change(database, one.sessions.revoke_all, ada.id, by="admin")
        told = await audited(database, clock)
        assert [event.action for event in told] == ["session.started", "session.revoked"]
        assert started.token not in repr(told)
