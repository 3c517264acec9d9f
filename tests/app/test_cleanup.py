"""What the application deletes by itself."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, insert, select

from shopkeeper.app import opened
from shopkeeper.crypto import new_id
from shopkeeper.flows import store as flow_store
from shopkeeper.storage.cleanup import BATCH
from shopkeeper.storage.outbox import outbox
from tests.app.test_application import settings

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def test_more_errors_than_a_batch_are_deleted_where_no_flow_is_old(tmp_path: Path, dsn: str) -> None:
    """Regression: errors were deleted with flows, a batch at a time, until no old flow was left: mostly after the
    first."""
    async with opened(settings(tmp_path, dsn)) as application:
        async with application.infrastructure.database.unit() as unit:
            for _ in range(BATCH + 100):
                await flow_store.add_error(unit, error_id=new_id(), error={"code": 403}, at=LONG_AGO)
        assert (await application.cleanup.run_once())["flow errors"] == BATCH + 100


async def test_what_was_given_up_is_kept_for_thirty_days(tmp_path: Path, dsn: str) -> None:
    now = datetime.now(UTC)
    async with opened(settings(tmp_path, dsn)) as application:
        database = application.infrastructure.database
        async with database.unit() as unit:
            for days in (29, 31):
                then = now - timedelta(days=days)
                letter = {"id": new_id(), "topic": "nobody", "key": "k", "payload": {}, "attempts": 9}
                await unit.write(
                    insert(outbox), [{**letter, "created_at": then, "available_at": then, "died_at": then}]
                )
        assert (await application.cleanup.run_once())["dead letters"] == 1
        async with database.reading() as unit:
            left = await unit.first(select(func.count().label("rows")).where(outbox.c.topic == "nobody"))
    assert left is not None
    assert left.rows == 1
