"""Signing keys: made once, sealed, published before they sign and after, rotated without an outage."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import Conflict
from shopkeeper.jose.errors import TokenRefused
from shopkeeper.jose.keys import PrivateKey
from shopkeeper.jose.sign import sign
from shopkeeper.jose.verify import JwtRules
from shopkeeper.storage.audit import Audit, audit_events
from shopkeeper.storage.database import Database, Unit
from shopkeeper.storage.unavailable import DatabaseUnavailable
from shopkeeper.tokens import signing_key_store as store
from shopkeeper.tokens.key_reloads import AT_ONCE
from shopkeeper.tokens.key_rotation import AHEAD, FRESH
from shopkeeper.tokens.key_schedule import StoredKey
from shopkeeper.tokens.signing_key_store import signing_keys
from shopkeeper.tokens.signing_keys import USABLE, SigningKeyUnreadable
from tests.conftest import NOW, PATIENT
from tests.services.databases import sqlalchemy_url
from tests.tokens.process_keys import ProcessKeys

RULES = JwtRules(types={"at+jwt"})
KEPT = timedelta(hours=2)
OLD, NEW = "the older secret of the shop", "the newer secret of the shop"

Process = Callable[..., ProcessKeys]


@pytest.fixture
def process(database: Database, clock: StoppedClock) -> Process:
    """Build what one process of the server has: its own view of the keys in the one database."""

    def make(*secrets: str, database: Database = database, **options: Any) -> ProcessKeys:
        return ProcessKeys(database, secrets or (OLD,), **{"clock": clock, "kept_for": KEPT, **options})

    return make


class Outage:
    """Lets the readings of the keys fail, or wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._read = store.every_key
        self.away = self.holds = self.after = False
        self.reached, self._released = asyncio.Event(), asyncio.Event()
        self.met = 0
        monkeypatch.setattr(store, "every_key", self._every_key)

    def begin(self) -> None:
        self.away = True

    def hold(self, *, after: bool = False) -> None:
        """Let readings wait, before or after they have read."""
        self.holds, self.after = True, after

    def end(self) -> None:
        self.away = self.holds = False
        self._released.set()

    async def _every_key(self, unit: Unit) -> Sequence[StoredKey]:
        if self.away:
            self.met += 1
            await asyncio.sleep(0)
            raise DatabaseUnavailable(retry_after=1)
        read = await self._read(unit) if self.after else []
        if self.holds:
            self.reached.set()
            await self._released.wait()
        return read if self.after else await self._read(unit)


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    return Outage(monkeypatch)


async def token_of(keys: ProcessKeys, number: int = 0) -> str:
    return sign({"iss": "https://shop.example", "n": number}, await keys.current(), "at+jwt")


async def states(keys: ProcessKeys) -> list[tuple[str, str]]:
    return [(turn.state, turn.key.algorithm) for turn in await keys.list_turns()]


async def refusal(keys: ProcessKeys, token: str) -> str:
    with pytest.raises(TokenRefused) as refused:
        await keys.verify(token, RULES)
    return refused.value.cause


async def kids(keys: ProcessKeys) -> list[str]:
    return [each["kid"] for each in json.loads((await keys.jwks()).body)["keys"]]


class TestTheFirst:
    async def test_processes_that_start_at_once_make_one_key(self, process: Process) -> None:
        processes = [process() for _ in range(4)]
        made = await asyncio.gather(*(keys.current() for keys in processes))
        assert len({key.kid for key in made}) == 1
        assert await states(processes[0]) == [("current", "ES256"), ("next", "ES256")]

    @pytest.mark.parametrize("algorithm", ["EdDSA", "RS256"])
    async def test_the_algorithm_is_a_setting(self, process: Process, algorithm: str) -> None:
        keys = process(algorithm=algorithm)
        assert (await keys.verify(await token_of(keys), RULES))["n"] == 0
        assert await keys.algorithms() == [algorithm]

    async def test_the_private_part_is_sealed_and_never_published(self, process: Process, database: Database) -> None:
        keys = process()
        private = (await keys.current()).private_jwk()
        async with database.reading() as unit:
            rows = await unit.all(select(signing_keys))
        assert all(private["d"].encode() not in row.sealed and "d" not in row.public_jwk for row in rows)
        assert all(
            set(each) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
            for each in json.loads((await keys.jwks()).body)["keys"]
        )
        assert private["d"] not in repr(await keys.current())
        assert private["d"] not in repr(await keys.list_turns())

    async def test_a_key_in_the_row_of_another_signs_nothing(self, process: Process, database: Database) -> None:
        await process().current()
        async with database.unit() as unit:
            rows = await unit.all(select(signing_keys).order_by(signing_keys.c.number))
            await unit.write(
                update(signing_keys).where(signing_keys.c.number == rows[0].number).values(sealed=rows[1].sealed)
            )
        with pytest.raises(SigningKeyUnreadable):
            await process().current()

    async def test_no_token_costs_a_query(self, process: Process, database: Database) -> None:
        keys = process()
        await keys.current()
        seen: list[str] = []
        with database.observed(seen.append):
            for number in range(20):
                await keys.verify(await token_of(keys, number), RULES)
                await keys.jwks()
        assert seen == []


class TestRotation:
    async def test_a_published_key_signs_at_once_and_the_old_one_stays_until_its_tokens_ended(
        self, process: Process, clock: StoppedClock
    ) -> None:
        keys = process()
        old, before = await token_of(keys), await kids(keys)
        clock.advance(seconds=AHEAD.total_seconds())
        rotation = await keys.rotate()
        assert (rotation.kid, rotation.signs_from) == (before[1], clock.now())
        assert await states(keys) == [("retired", "ES256"), ("current", "ES256"), ("next", "ES256")]
        assert (await keys.current()).kid == before[1]
        clock.advance(seconds=KEPT.total_seconds())
        assert (await keys.verify(old, RULES))["n"] == 0
        clock.advance(seconds=2 * FRESH.total_seconds())
        assert await refusal(keys, old) == "unknown_key"
        assert before[0] not in await kids(keys)

    async def test_a_key_that_verifiers_cannot_know_yet_waits(self, process: Process, clock: StoppedClock) -> None:
        keys = process()
        first = await keys.current()
        rotation = await keys.rotate()
        assert rotation.signs_from == NOW + AHEAD
        assert await keys.current() == first
        assert rotation.kid in await kids(keys)
        again = await keys.rotate()
        assert (again.kid, again.signs_from, again.was_planned) == (rotation.kid, rotation.signs_from, True)
        clock.advance(seconds=AHEAD.total_seconds())
        assert (await keys.current()).kid == rotation.kid

    async def test_without_waiting(self, process: Process) -> None:
        keys, other = process(), process()
        old = await token_of(keys)
        await other.current()
        rotation = await keys.rotate(at_once=True)
        token = await token_of(keys)
        assert (await keys.current()).kid == rotation.kid
        assert (await other.verify(token, RULES))["n"] == 0
        assert (await other.verify(old, RULES))["n"] == 0

    async def test_what_was_planned_can_be_hurried(self, process: Process) -> None:
        keys = process()
        planned = await keys.rotate()
        assert (await keys.rotate(at_once=True)).kid == planned.kid
        assert (await keys.current()).kid == planned.kid

    async def test_another_algorithm_is_published_before_it_signs(self, process: Process, clock: StoppedClock) -> None:
        keys = process()
        old = await token_of(keys)
        clock.advance(days=1)
        rotation = await keys.rotate("EdDSA")
        assert rotation.signs_from == clock.now() + AHEAD
        assert await states(keys) == [("current", "ES256"), ("next", "EdDSA"), ("next", "EdDSA")]
        with pytest.raises(Conflict, match="planned"):
            await keys.rotate("RS256")
        clock.advance(seconds=AHEAD.total_seconds())
        assert (await keys.current()).algorithm == "EdDSA"
        for token in (old, await token_of(keys)):
            assert (await keys.verify(token, RULES))["n"] == 0
        assert await keys.algorithms() == ["ES256", "EdDSA"]

    async def test_rotations_at_the_same_moment_are_one_after_another(self, process: Process) -> None:
        processes = [process() for _ in range(3)]
        await processes[0].current()
        done = await asyncio.gather(*(keys.rotate(at_once=True) for keys in processes), return_exceptions=True)
        assert all(isinstance(each, Conflict) or not isinstance(each, BaseException) for each in done)
        turns = await processes[0].list_turns()
        assert [turn.state for turn in turns].count("current") == 1
        assert [turn.state for turn in turns].count("next") == 1
        assert len({turn.key.number for turn in turns}) == len(turns)

    async def test_keys_rotate_by_themselves_in_one_process_of_several(
        self, process: Process, clock: StoppedClock
    ) -> None:
        processes = [process(rotate_after=timedelta(days=90)) for _ in range(3)]
        first = await processes[0].current()
        clock.advance(days=89)
        assert await processes[0].current() == first
        clock.advance(days=1)
        found = await asyncio.gather(*(keys.current() for keys in processes))
        assert {key.kid for key in found} - {first.kid}
        clock.advance(seconds=FRESH.total_seconds())
        assert len({(await keys.current()).kid for keys in processes} - {first.kid}) == 1
        assert await states(processes[0]) == [("retired", "ES256"), ("current", "ES256"), ("next", "ES256")]

    async def test_old_keys_are_deleted(self, process: Process, database: Database, clock: StoppedClock) -> None:
        keys = process()
        for _ in range(3):
            await keys.rotate(at_once=True)
            clock.advance(seconds=1)
        clock.advance(hours=1)
        await keys.rotate(at_once=True)
        async with database.unit() as unit:
            assert await keys.purge(unit, clock.now() - timedelta(minutes=30), 100) == 3
        assert [state for state, _ in await states(keys)] == ["retired", "current", "next"]


class TestAuditTrail:
    async def test_rotations_are_recorded_once_each_with_who_did_them(
        self, process: Process, database: Database, clock: StoppedClock
    ) -> None:
        audit = Audit(clock, key=b"a key of thirty-two bytes, no less")
        processes = [process(audit=audit, rotate_after=timedelta(days=90)) for _ in range(2)]
        await processes[0].current()
        rotation = await processes[0].rotate(at_once=True, actor="command")
        clock.advance(days=91)
        for _ in range(2):
            await asyncio.gather(*(keys.current() for keys in processes))
            clock.advance(seconds=FRESH.total_seconds())
        await processes[1].withdraw(actor="command")
        async with database.reading() as unit:
            rows = await unit.all(select(audit_events).order_by(audit_events.c.id))
        assert [(row.action, row.actor) for row in rows] == [
            ("signing_keys.rotated", "command"),
            ("signing_keys.rotated", "system"),
            ("signing_keys.withdrawn", "command"),
        ]
        assert rows[0].details["kid"] == rotation.kid


class TestWithdrawing:
    async def test_nothing_that_was_signed_before_is_valid(self, process: Process, clock: StoppedClock) -> None:
        keys, other = process(), process()
        old = await token_of(other)
        await keys.withdraw()
        assert await refusal(keys, old) == "unknown_key"
        token = await token_of(keys)
        assert (await other.verify(token, RULES))["n"] == 0
        clock.advance(seconds=FRESH.total_seconds())
        assert await refusal(other, old) == "unknown_key"
        assert await states(keys) == [("current", "ES256"), ("next", "ES256")]


class TestUnreadable:
    async def test_a_lost_secret_signs_nothing_until_the_keys_are_rotated(self, process: Process) -> None:
        old = await token_of(process(OLD))
        lost = process(NEW)
        with pytest.raises(SigningKeyUnreadable):
            await lost.current()
        assert (await lost.verify(old, RULES))["n"] == 0
        await lost.rotate(at_once=True)
        assert (await lost.verify(old, RULES))["n"] == 0
        assert (await lost.verify(await token_of(lost), RULES))["n"] == 0

    async def test_a_rotated_secret_opens_what_the_older_one_sealed(self, process: Process) -> None:
        first = await process(OLD).current()
        assert await process(NEW, OLD).current() == first

    async def test_a_process_without_the_newest_secret_signs_with_the_key_before(self, process: Process) -> None:
        old, new = process(OLD), process(NEW, OLD)
        first = await old.current()
        await new.rotate(at_once=True)
        await new.rotate(at_once=True)
        again = process(OLD)
        assert (await again.current()).kid in {first.kid, *await kids(again)}
        assert (await new.verify(await token_of(again), RULES))["n"] == 0


class TestTrouble:
    async def test_the_database_may_be_away_for_a_while(
        self, process: Process, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch, database: Database
    ) -> None:
        keys, cold = process(), process()
        token = await token_of(keys)

        def away() -> Any:
            raise DatabaseUnavailable(retry_after=1)

        monkeypatch.setattr(database, "reading", away)
        clock.advance(seconds=USABLE.total_seconds() - 1)
        assert (await keys.verify(token, RULES))["n"] == 0
        with pytest.raises(DatabaseUnavailable):
            await cold.current()
        clock.advance(seconds=2)
        with pytest.raises(DatabaseUnavailable):
            await keys.current()

    async def test_a_reading_that_fails_is_no_answer_for_those_who_wait_for_it(
        self, process: Process, outage: Outage
    ) -> None:
        keys, other = process(), process()
        await keys.current()
        await other.withdraw()
        token = await token_of(other)
        outage.begin()
        found = await asyncio.gather(*(keys.verify(token, RULES) for _ in range(5)), return_exceptions=True)
        assert [type(each) for each in found] == [DatabaseUnavailable] * 5
        assert len({id(each) for each in found}) == 5
        outage.end()
        assert (await keys.verify(token, RULES))["n"] == 0

    async def test_several_at_once_use_no_keys_that_are_too_old(
        self, process: Process, clock: StoppedClock, outage: Outage
    ) -> None:
        keys = process()
        token = await token_of(keys)
        outage.begin()
        clock.advance(seconds=USABLE.total_seconds() - 1)
        assert [each["n"] for each in await asyncio.gather(*(keys.verify(token, RULES) for _ in range(5)))] == [0] * 5
        clock.advance(seconds=1)
        calls = (keys.verify(token, RULES), keys.current(), keys.jwks(), keys.verification_keys(), keys.current())
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in found] == [DatabaseUnavailable] * 5

    async def test_a_reader_that_goes_away_leaves_the_reading_to_the_next(
        self, process: Process, outage: Outage
    ) -> None:
        keys, other = process(), process()
        await keys.current()
        await other.withdraw()
        token = await token_of(other)
        outage.hold()
        first, *rest = (asyncio.create_task(keys.verify(token, RULES)) for _ in range(4))
        await outage.reached.wait()
        first.cancel()
        outage.end()
        found = await asyncio.gather(first, *rest, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert [each["n"] for each in found[1:] if isinstance(each, dict)] == [0, 0, 0]

    async def test_several_at_once_accept_nothing_that_another_process_has_withdrawn(
        self, process: Process, clock: StoppedClock
    ) -> None:
        keys, other = process(), process()
        old = await token_of(keys)
        await other.withdraw()
        clock.advance(seconds=USABLE.total_seconds() - 1)
        assert await asyncio.gather(*(refusal(keys, old) for _ in range(5))) == ["unknown_key"] * 5

    async def test_a_key_withdrawn_during_a_reading_is_noticed_in_time(
        self, process: Process, clock: StoppedClock, outage: Outage
    ) -> None:
        keys, other = process(), process()
        old = await token_of(keys)
        clock.advance(seconds=FRESH.total_seconds())
        outage.hold(after=True)
        reading = asyncio.create_task(keys.current())
        await outage.reached.wait()
        outage.holds = False
        await other.withdraw()
        clock.advance(seconds=FRESH.total_seconds())
        outage.end()
        await reading
        assert await refusal(keys, old) == "unknown_key"

    async def test_while_the_database_is_away_no_token_of_an_unknown_key_is_called_invalid(
        self, process: Process, clock: StoppedClock, outage: Outage
    ) -> None:
        keys, other = process(), process()
        await keys.current()
        await other.withdraw()
        token = await token_of(other)
        outage.begin()
        for _ in range(2 * AT_ONCE):
            with pytest.raises(DatabaseUnavailable):
                await keys.verify(token, RULES)
        assert outage.met == AT_ONCE

    async def test_tokens_of_unknown_keys_cause_few_readings(
        self, process: Process, database: Database, clock: StoppedClock
    ) -> None:
        keys = process()
        await keys.current()
        seen: list[str] = []
        with database.observed(seen.append):
            for _ in range(5 * AT_ONCE):
                assert await refusal(keys, sign({}, PrivateKey.generate(), "at+jwt")) == "unknown_key"
            assert await refusal(keys, sign({}, PrivateKey.generate(), "JWT")) == "typ"
        assert len([text for text in seen if "signing_keys" in text]) == AT_ONCE

    async def test_a_forged_signature_causes_none(self, process: Process, database: Database) -> None:
        keys = process()
        mine = await keys.current()
        forged = sign({}, PrivateKey(mine.kid, "ES256", PrivateKey.generate().key), "at+jwt")
        seen: list[str] = []
        with database.observed(seen.append):
            assert await refusal(keys, forged) == "signature"
        assert seen == []


class TestNoOutage:
    @pytest.mark.parametrize("at_once", [False, True])
    async def test_every_token_verifies_in_every_process_while_keys_rotate(
        self, process: Process, clock: StoppedClock, dsn: str, at_once: bool
    ) -> None:
        other = Database(sqlalchemy_url(dsn), deadlines=PATIENT)
        try:
            await self._rotate_and_verify([process(), process(database=other)], process, clock, at_once=at_once)
        finally:
            await other.close()

    async def _rotate_and_verify(
        self, processes: list[ProcessKeys], process: Process, clock: StoppedClock, *, at_once: bool
    ) -> None:
        signed: list[tuple[str, datetime]] = []
        rotated: set[str] = set()
        ended = asyncio.Event()

        async def work(signer: ProcessKeys, verifier: ProcessKeys) -> None:
            number = 0
            while not ended.is_set():
                token = await token_of(signer, number)
                signed.append((token, clock.now()))
                assert (await verifier.verify(token, RULES))["n"] == number
                number += 1
                await asyncio.sleep(0.001)

        async def rotate() -> None:
            for number in range(6):
                rotated.add((await processes[number % 2].rotate(at_once=at_once)).kid)
                for _ in range(20):
                    clock.advance(seconds=7 if at_once else 60)
                    await asyncio.sleep(0.002)
            ended.set()

        await asyncio.gather(work(*processes), work(*reversed(processes)), rotate())
        assert len(rotated) == 6
        assert len(signed) > 50
        for token, at in signed:
            if clock.now() - at < KEPT:
                for verifier in (*processes, process()):
                    await verifier.verify(token, RULES)
