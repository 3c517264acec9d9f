"""What the application deletes by itself."""

from datetime import UTC, datetime
from pathlib import Path

from shopkeeper.app import opened
from shopkeeper.crypto import new_id
from shopkeeper.flows import store as flow_store
from shopkeeper.storage.cleanup import BATCH
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
