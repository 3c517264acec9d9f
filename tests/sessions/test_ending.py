"""Ending many sessions at once: in batches, seen by every process, and in the audit trail."""

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.sessions import ending
from shopkeeper.sessions.ending import ChosenSessions
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database
from tests.sessions.conftest import answers, audited, change, enrol, process, refuses, sign_in


@pytest.mark.parametrize("delete", [False, True])
async def test_the_sessions_of_identities_end_in_every_process(
    database: Database, cache: Cache, clock: StoppedClock, delete: bool
) -> None:
    here, there = process(database, cache, clock), process(database, cache, clock)
    await here.sessions.listen()
    await there.sessions.listen()
    ada, bob = await enrol(database, clock), await enrol(database, clock)
    tokens = [(await sign_in(database, here.sessions, one)).token for one in (ada, ada, bob)]
    assert await answers(there.sessions, tokens) == [True, True, True]
    chosen = ChosenSessions(identities=[ada.id])
    ended = await change(database, here.sessions.end_many, chosen, delete=delete, by="admin:ops")
    assert (ended.count, ended.more) == (2, False)
    assert await answers(here.sessions, tokens) == [False, False, True]
    for token in tokens[:2]:
        await refuses(there, token)
    assert await answers(there.sessions, tokens) == [False, False, True]
    [event] = await audited(database, clock, actor="admin:ops")
    assert (event.action, event.subject) == ("session.revoked", str(ada.id))
    assert event.details == {"deleted" if delete else "count": 2}
    async with database.unit() as unit:
        assert await here.sessions.count_for(unit, ada.id) == (0 if delete else 2)
    for each in (here, there):
        await each.sessions.close()


async def test_all_sessions_end_batch_by_batch(
    database: Database, cache: Cache, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending.end, "__kwdefaults__", {"batch": 2})
    one = process(database, cache, clock)
    ada = await enrol(database, clock)
    tokens = [(await sign_in(database, one.sessions, ada)).token for _ in range(5)]
    ended = [await change(database, one.sessions.end_many, ChosenSessions(), delete=False, by="ops") for _ in range(4)]
    assert [(each.count, each.more) for each in ended] == [(2, True), (2, True), (1, False), (0, False)]
    assert await answers(one.sessions, tokens) == [False] * 5


async def test_sessions_are_chosen_by_their_ids_and_within_one_store(
    database: Database, cache: Cache, clock: StoppedClock
) -> None:
    one = process(database, cache, clock)
    ada = await enrol(database, clock)
    fruit, other, books = [
        await sign_in(database, one.sessions, ada, store=store) for store in ("fruit", "fruit", "books")
    ]
    tokens = [each.token for each in (fruit, other, books)]
    chosen = ChosenSessions(sessions=[fruit.session.id, books.session.id], stores=["fruit"])
    await change(database, one.sessions.end_many, chosen, delete=False, by="ops")
    assert await answers(one.sessions, tokens) == [False, True, True]
