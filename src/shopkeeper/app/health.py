"""Build the health checks, and the metrics of operations."""

from collections.abc import Mapping, Sequence

from shopkeeper import __version__
from shopkeeper.app.accounts import Accounts
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.http.health import Check, Health
from shopkeeper.http.operation_metrics import OperationMetrics
from shopkeeper.settings import revision_of
from shopkeeper.storage.cache.port import CacheDown
from shopkeeper.storage.migrate import pending
from shopkeeper.storage.outbox import Backlog
from shopkeeper.storage.sqlite_file import WritableProbe
from shopkeeper.storage.unavailable import DATABASE_ERRORS, StorageUnavailable


def build_operation_metrics(infrastructure: Infrastructure, accounts: Accounts) -> OperationMetrics:
    async def backlog() -> Sequence[Backlog] | None:
        try:
            async with infrastructure.database.reading() as unit:
                return await infrastructure.outbox.backlog(unit)
        except (*DATABASE_ERRORS, StorageUnavailable):
            return None

    return OperationMetrics(
        infrastructure.registry,
        tally=infrastructure.tally,
        clock=infrastructure.clock,
        backlog=backlog,
        pools=infrastructure.database.pools,
        sessions=accounts.sessions,
    )


def build_health(infrastructure: Infrastructure, accounts: Accounts, *, degraded: Mapping[str, Check]) -> Health:
    """Build the health routes. `degraded` are the checks of parts that outlive a change of the configuration."""
    sqlite = WritableProbe(infrastructure.database.url)

    async def database() -> str | None:
        try:
            await sqlite.require()
            waiting = await pending(infrastructure.database)
            await infrastructure.database.require_writable()
        except StorageUnavailable as failed:
            return str(failed)
        except DATABASE_ERRORS as failed:
            return f"The database does not answer ({type(failed).__name__})."
        return f"Migrations are missing ({len(waiting)}); run: shopkeeper migrate" if waiting else None

    async def cache() -> str | None:
        try:
            await infrastructure.cache.ping()
        except CacheDown:
            return "The cache does not answer: limits are counted in this process, sessions are read each time."
        return None

    return Health(
        version=__version__,
        revision=revision_of(infrastructure.settings),
        required={"database": database},
        degraded={"cache": cache, **degraded},
        registry=infrastructure.registry if infrastructure.settings.metrics.enabled else None,
        refresh=build_operation_metrics(infrastructure, accounts).refresh,
    )
