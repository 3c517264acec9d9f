"""How the application starts and stops."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from shopkeeper.app.application import Application, build, load_sample_data
from shopkeeper.app.application_findings import application_findings
from shopkeeper.app.reloading import Reloader
from shopkeeper.app.running import RunningApplication
from shopkeeper.settings import Finding, Settings, look_at_files_of
from shopkeeper.storage.migrate import migrate


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Application]:
    """Run the application until the context ends: receive session invalidations, deliver the outbox, run the
    cleanup."""
    async with running(settings) as run:
        yield run.application


@asynccontextmanager
async def running(settings: Settings, load: Callable[[], Settings] | None = None) -> AsyncIterator[RunningApplication]:
    """Run the application until the context ends. With `load`, which reads the settings again, it follows changes of
    their files."""
    seen = look_at_files_of(settings)  # before they are read: a change in between must not be lost
    async with AsyncExitStack() as closing:
        run = RunningApplication(await build(settings))
        infrastructure, background = run.application.infrastructure, run.application.background
        closing.push_async_callback(infrastructure.database.close)
        closing.push_async_callback(infrastructure.cache.close)
        closing.push_async_callback(run.close)
        await _begin(run.application)
        closing.push_async_callback(background.end)
        _work_in_background(run.application)
        if load is not None:
            background.start("configuration", Reloader(load, run, seen=seen).run())
        yield run


async def _begin(application: Application) -> None:
    settings = application.infrastructure.settings
    if settings.dsn.kind == "memory":
        # A database in memory begins with the process that opens it, so it cannot have been migrated before.
        await migrate(application.infrastructure.database)
    await application.listen()
    if settings.demo:
        await load_sample_data(application)


def _work_in_background(application: Application) -> None:
    application.background.start("upkeep", application.cleanup.run())
    if application.infrastructure.settings.outbox.worker == "in_process":
        application.background.start("outbox", application.worker.run())


async def dry_run(settings: Settings) -> list[Finding]:
    """Build the application and discard it, without opening anything; return findings about what it read.

    Raises what a start would raise.

    The GraphQL API is left out: no setting makes it refuse to be built, and importing it takes long.
    """
    application = await build(settings, with_graphql=False)
    found = list(await application_findings(application))
    await application.close()
    await application.infrastructure.cache.close()
    await application.infrastructure.database.close()
    return found
