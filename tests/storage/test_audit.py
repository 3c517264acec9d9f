from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from shopkeeper.clock import StoppedClock
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Database, Unit

KEY = bytes(range(32))
WHERE = "192.0.2.7"


@pytest.fixture
def audit(clock: StoppedClock) -> Audit:
    return Audit(clock, key=KEY)


async def record(audit: Audit, unit: Unit, action: str = "session.started", **other: Any) -> None:
    values: dict[str, Any] = {"outcome": "done", "actor": "ada", "subject": "ada", "client_ip": WHERE, **other}
    await audit.record(unit, action, **values)


class TestRecording:
    async def test_an_event_comes_back_as_it_was_written(
        self, database: Database, audit: Audit, clock: StoppedClock
    ) -> None:
        async with database.unit() as unit:
            await record(audit, unit, "identity.created", subject=None, details={"method": "password", "aal": 1})
        async with database.reading() as unit:
            (event,) = await audit.events(unit)
        assert (event.at, event.action, event.outcome) == (clock.now(), "identity.created", "done")
        assert (event.actor, event.subject, event.client) == ("ada", None, audit.client(WHERE))
        assert event.details == {"method": "password", "aal": 1}

    @pytest.mark.parametrize(("always", "kept"), [(False, 0), (True, 1)], ids=["with the change", "always"])
    async def test_of_a_rolled_back_unit_only_what_is_always_recorded_is_kept(
        self, database: Database, audit: Audit, always: bool, kept: int
    ) -> None:
        with suppress(LookupError):
            async with database.unit() as unit:
                await record(audit, unit, "sign_in.failed", always=always)
                raise LookupError
        async with database.unit() as unit:
            assert len(await audit.events(unit)) == kept

    async def test_what_is_always_recorded_is_recorded_once_when_the_unit_commits(
        self, database: Database, audit: Audit
    ) -> None:
        async with database.unit() as unit:
            await record(audit, unit, always=True)
        async with database.unit() as unit:
            assert len(await audit.events(unit)) == 1

    @pytest.mark.parametrize("fails", [False, True], ids=["committed", "rolled back"])
    async def test_the_events_of_a_unit_are_one_statement(self, database: Database, audit: Audit, fails: bool) -> None:
        seen: list[str] = []
        with database.observed(seen.append), suppress(LookupError):
            async with database.unit() as unit:
                await record(audit, unit, "session.started")
                await audit.record_each(
                    unit, "session.revoked", outcome="done", actor="ada", client_ip=WHERE, details={"b": {}, "c": {}}
                )
                await record(audit, unit, "sign_in.failed", always=True)
                await record(audit, unit, "sign_in.failed", always=True)
                if fails:
                    raise LookupError
        assert [each.split()[0] for each in seen if not each.startswith("BEGIN")] == ["INSERT"]
        async with database.reading() as unit:
            kept = [event.action for event in await audit.events(unit)]
        refused = ["sign_in.failed", "sign_in.failed"]
        assert kept == (refused if fails else [*refused, "session.revoked", "session.revoked", "session.started"])

    async def test_a_savepoint_undoes_its_events_but_those_that_are_always_recorded(
        self, database: Database, audit: Audit
    ) -> None:
        async with database.unit() as unit:
            with suppress(LookupError):
                async with unit.savepoint():
                    await record(audit, unit, "session.started")
                    await record(audit, unit, "sign_in.failed", always=True)
                    raise LookupError
        async with database.reading() as unit:
            assert [event.action for event in await audit.events(unit)] == ["sign_in.failed"]


class TestAddresses:
    async def test_no_address_is_kept(self, database: Database, audit: Audit) -> None:
        async with database.unit() as unit:
            await record(audit, unit)
        async with database.reading() as unit:
            row = await unit.first(text("SELECT * FROM audit_events"))
        assert WHERE not in str(row)

    @pytest.mark.parametrize("same", ["2001:db8::1", "2001:DB8:0:0:0:0:0:1", "2001:0db8::0001"])
    def test_one_address_has_one_hash_however_it_is_written(self, audit: Audit, same: str) -> None:
        assert audit.client(same) == audit.client("2001:db8::1")

    def test_an_address_that_came_through_a_socket_for_both_kinds_is_the_same(self, audit: Audit) -> None:
        assert audit.client("::ffff:192.0.2.7") == audit.client(WHERE)

    def test_other_addresses_and_other_keys_have_other_hashes(self, audit: Audit, clock: StoppedClock) -> None:
        assert audit.client("192.0.2.8") != audit.client(WHERE)
        assert Audit(clock, key=KEY[::-1]).client(WHERE) != audit.client(WHERE)

    def test_what_is_no_address_is_hashed_as_it_is(self, audit: Audit) -> None:
        assert len(audit.client("unix:")) == 32

    def test_a_short_key_is_refused(self, clock: StoppedClock) -> None:
        with pytest.raises(ValueError, match="16 bytes"):
            Audit(clock, key=b"short")


class TestReading:
    async def test_pages_follow_each_other_newest_first(self, database: Database, audit: Audit) -> None:
        async with database.unit() as unit:
            for number in range(5):
                await record(audit, unit, details={"number": number})
        async with database.reading() as unit:
            first = await audit.events(unit, limit=2)
            rest = await audit.events(unit, before=first[-1].id)
        assert [event.details["number"] for event in first + rest] == [4, 3, 2, 1, 0]

    @pytest.mark.parametrize("asked", ["action", "actor", "subject", "client"])
    async def test_events_are_found_by_action_actor_subject_and_client(
        self, database: Database, audit: Audit, asked: str
    ) -> None:
        async with database.unit() as unit:
            await record(audit, unit)
            wanted = {"action": "x", "actor": "x", "subject": "x", "client": audit.client("192.0.2.99")}[asked]
            name = {"client": "client_ip"}.get(asked, asked)
            await record(audit, unit, **{name: "192.0.2.99" if asked == "client" else "x"})
        async with database.reading() as unit:
            (event,) = await audit.events(unit, **{asked: wanted})  # type: ignore[arg-type]
        assert getattr(event, asked) == wanted

    async def test_old_events_are_deleted_in_batches(
        self, database: Database, audit: Audit, clock: StoppedClock
    ) -> None:
        purged = []
        async with database.unit() as unit:
            for _ in range(3):
                await record(audit, unit)
            clock.advance(days=1)
            await record(audit, unit, "session.revoked")
        async with database.unit() as unit:
            for _ in range(3):
                purged.append(await audit.purge(unit, before=clock.now() - timedelta(hours=1), batch=2))
            assert [event.action for event in await audit.events(unit)] == ["session.revoked"]
        assert purged == [2, 1, 0]
