"""The command `shopkeeper`. Without logic of its own: it reads arguments, calls one function, and prints the result."""

import asyncio
import functools
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar
from uuid import UUID

import structlog
import typer
from rich.console import Console
from rich.table import Table

from shopkeeper import __version__
from shopkeeper.app import Misconfigured, dry_run, look_at_cache, open_database
from shopkeeper.clock import SystemClock
from shopkeeper.errors import NotFound
from shopkeeper.log_config import configure_log
from shopkeeper.parsing import uuid_or_none
from shopkeeper.server import PortTaken, ServerEnded, limits_of_process, require_ports, run, serve, work
from shopkeeper.server_limits import TooFewDescriptors
from shopkeeper.settings import Finding, Settings, SettingsError, describe, findings, load
from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import migrate, pending
from shopkeeper.storage.outbox import DeadLetter, Outbox, WaitingEvent
from shopkeeper.storage.unavailable import StorageUnavailable, explained

cli = typer.Typer(
    help="Shopkeeper: the customer account and access server for headless shops.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
graphql = typer.Typer(help="The GraphQL API.", no_args_is_help=True)
cli.add_typer(graphql, name="graphql")
outbox = typer.Typer(
    help="Deliveries that wait, fail or were given up: list them, or try one again.", no_args_is_help=True
)
cli.add_typer(outbox, name="outbox")

# Sentences and settings contain what others wrote: `[/prod]` or `:key:` must stay text.
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)

Files = Annotated[
    list[Path],
    typer.Option(
        "--config", "-c", help="A configuration file (YAML, JSON or TOML); may be repeated.", show_default=False
    ),
]
Dev = Annotated[bool, typer.Option("--dev", help="For development only: relaxes checks that production needs.")]
Demo = Annotated[bool, typer.Option("--demo", help="Load a sample catalogue into the embedded shop.")]
_COLOURS = {"error": "red", "warning": "yellow", "notice": "cyan"}
# What ends a command with one sentence: a wrong configuration, database, port or id, which only the operator can fix.
_FOR_THE_OPERATOR = (
    SettingsError,
    Misconfigured,
    StorageUnavailable,
    PortTaken,
    TooFewDescriptors,
    ServerEnded,
    NotFound,
)
LISTED = 100
"""The most deliveries of each kind that are listed."""
T = TypeVar("T")


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@cli.callback()
def before_each_command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Shopkeeper: the customer account and access server for headless shops."""
    # Until `configure_log` is called, only errors are logged, because a command prints its findings itself.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


@cli.command("serve")
def serve_command(config: Files = [], dev: Dev = False, demo: Demo = False) -> None:  # noqa: B006 - typer's way to say "none"
    """Start the server: the public API and the pages on one port, the admin API on another."""
    settings = _checked(config, dev=dev, demo=demo)
    _ready(lambda: require_ports(settings))
    _ready(lambda: asyncio.run(_migrate(settings)))
    configure_log(settings)
    again = functools.partial(_reload, config, dev=dev, demo=demo)
    _ready(lambda: serve(again, announce=_announce))
    out.print("Stopped.")


@cli.command("migrate")
def migrate_command(config: Files = [], dev: Dev = False) -> None:  # noqa: B006 - typer's way to say "none"
    """Apply the missing migrations to the database. Safe to run repeatedly, and on several hosts at once."""
    settings = _load(config, dev=dev)
    waiting = _ready(lambda: asyncio.run(_migrate(settings)))
    out.print(f"{_migrations(waiting)} applied." if waiting else "The database is up to date.")


@cli.command("work")
def work_command(config: Files = [], dev: Dev = False) -> None:  # noqa: B006 - typer's way to say "none"
    """Deliver mails and other outbox events, without serving requests. For `outbox.worker: separate`."""
    settings = _checked(config, dev=dev)
    _ready(lambda: asyncio.run(_look_at_database(settings)))
    configure_log(settings)
    again = functools.partial(_reload, config, dev=dev, demo=False)
    _ready(lambda: run(work(again)))


@cli.command("doctor")
def doctor_command(
    config: Files = [],  # noqa: B006 - typer's way to say "none"
    dev: Dev = False,
    show: Annotated[bool, typer.Option("--show", help="Also print every setting that is in effect.")] = False,
) -> None:
    """Check a configuration: print what is wrong and how to fix it. Exits with 1 if the server would not start."""
    settings = _look(config, dev=dev)
    if show:
        _print_settings(settings)
    found = findings(settings)
    _tell(found)
    _ready(lambda: asyncio.run(_look_at_database(settings)))
    if any(finding.level == "error" for finding in found):
        raise typer.Exit(1)
    if silent := asyncio.run(look_at_cache(settings)):
        _tell([silent])
    _ready(lambda: require_ports(settings, may_be_taken=True))
    limits = _ready(lambda: limits_of_process(settings))
    if limits.few:
        _tell([Finding("warning", "", limits.sentence)])
    else:
        out.print(limits.sentence)
    _ready(lambda: asyncio.run(dry_run(settings)))
    out.print("The server can start with this configuration.", style="green")


@cli.command("version")
def version_command() -> None:
    """Print the version."""
    out.print(__version__)


@graphql.command("schema")
def schema_command() -> None:
    """Print the GraphQL schema, for code generators."""
    from shopkeeper.graphql.schema import print_schema  # noqa: PLC0415 - no other command needs it

    sys.stdout.write(print_schema())


@outbox.command("list")
def outbox_list_command(config: Files = [], dev: Dev = False) -> None:  # noqa: B006 - typer's way to say "none"
    """List the deliveries that were given up, that fail and that wait, oldest first, each with its last error."""
    settings = _look(config, dev=dev)
    letters, waiting = _ready(lambda: asyncio.run(_list_deliveries(settings)))
    if not letters and not waiting:
        out.print("Nothing waits, and no delivery was given up.")
        return
    _print_dead_letters(letters[:LISTED])
    _print_waiting(waiting[:LISTED])
    if max(len(letters), len(waiting)) > LISTED:
        out.print(f"These are the first {LISTED}; there are more.")


def _id(text: str) -> UUID:
    found = uuid_or_none(text)
    if found is None:
        raise typer.BadParameter("give an id as `shopkeeper outbox list` shows it.")
    return found


@outbox.command("replay")
def outbox_replay_command(
    event_id: Annotated[UUID, typer.Argument(parser=_id, metavar="ID", help="As `shopkeeper outbox list` shows it.")],
    config: Files = [],  # noqa: B006 - typer's way to say "none"
    dev: Dev = False,
) -> None:
    """Try a delivery again that was given up. The running server delivers it, or `shopkeeper work`."""
    settings = _look(config, dev=dev)
    _ready(lambda: asyncio.run(_replay(settings, event_id)))
    out.print(f"{event_id} is queued for delivery again.")


# -- what the commands share -------------------------------------------------------------------------------------------


def _load(files: list[Path], *, dev: bool, demo: bool = False) -> Settings:
    return _ready(lambda: load(files, os.environ, dev=dev, demo=demo))


def _look(files: list[Path], *, dev: bool) -> Settings:
    """Load the settings for commands that only look at an installation: no file with generated secrets is written."""
    return _ready(lambda: load(files, os.environ, dev=dev, demo=False, keep_secrets=False))


def _reload(files: list[Path], *, dev: bool, demo: bool) -> Settings:
    """Load the settings again: in a further process of the server, or after a change. Findings are printed at the start
    only."""
    return load(files, os.environ, dev=dev, demo=demo)


def _checked(files: list[Path], *, dev: bool, demo: bool = False) -> Settings:
    """Load the settings and print the findings. Ends the command where the server may not start with them."""
    settings = _load(files, dev=dev, demo=demo)
    found = findings(settings)
    _tell(found)
    if any(finding.level == "error" for finding in found):
        _fail("The server cannot start with this configuration. Fix it and check again with: shopkeeper doctor")
    _ready(lambda: asyncio.run(dry_run(settings)))
    return settings


def _ready(do: Callable[[], T]) -> T:
    """Call a function; an error that only the operator can fix ends the command with its sentence."""
    try:
        return do()
    except _FOR_THE_OPERATOR as told:
        _fail(str(told))


def _fail(sentence: str) -> NoReturn:
    for line in sentence.splitlines():
        _print_labelled("Error", line, colour=_COLOURS["error"])
    raise typer.Exit(1)


def _tell(found: list[Finding]) -> None:
    for finding in found:
        _print_labelled(finding.level.capitalize(), finding.sentence, colour=_COLOURS[finding.level])


def _print_labelled(label: str, sentence: str, *, colour: str) -> None:
    err.print(f"{label}: ", style=colour, end="")
    err.print(_printable(sentence))


def _printable(text: str) -> str:
    """Replace control characters, which could give orders to the terminal: a mail server's answer, for example."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _print_settings(settings: Settings) -> None:
    table = Table("Setting", "Value", show_edge=False, pad_edge=False)
    for name, value in describe(settings):
        table.add_row(name, _printable(value))
    out.print(table)


def _announce(settings: Settings) -> None:
    public, admin = settings.serve.public, settings.serve.admin
    out.print(f"Shopkeeper {__version__}", style="bold", end="")
    out.print(" is running.")
    out.print(f"  Shop and public API  {public.base_url}")
    out.print(f"  Admin API            {admin.base_url}")
    if settings.dev:
        out.print(f"  Inbox for its mails  {public.base_url}inbox")
    out.print("  Stop it with Ctrl+C.")


async def _migrate(settings: Settings) -> list[str]:
    database = open_database(settings)
    try:
        waiting = await pending(database)
        await migrate(database)
    finally:
        await database.close()
    return waiting


async def _look_at_database(settings: Settings) -> None:
    database = open_database(settings)
    try:
        waiting = await pending(database)
    finally:
        await database.close()
    if waiting:
        out.print(f"The database needs {_migrations(waiting)}: start the server, or run: shopkeeper migrate")


async def _list_deliveries(settings: Settings) -> tuple[list[DeadLetter], list[WaitingEvent]]:
    async with _migrated(settings) as database, database.unit() as unit:
        outbox = Outbox(SystemClock())
        return await outbox.dead(unit, limit=LISTED + 1), await outbox.waiting(unit, limit=LISTED + 1)


async def _replay(settings: Settings, event_id: UUID) -> None:
    async with _migrated(settings) as database, database.unit() as unit:
        await Outbox(SystemClock()).replay(unit, event_id)


@asynccontextmanager
async def _migrated(settings: Settings) -> AsyncIterator[Database]:
    """Open the database. Ends the command where migrations are missing."""
    database = open_database(settings)
    try:
        if waiting := await pending(database):
            _fail(f"The database needs {_migrations(waiting)}. Run first: shopkeeper migrate")
        with explained(database.url):
            yield database
    finally:
        await database.close()


def _print_dead_letters(letters: list[DeadLetter]) -> None:
    """Print two lines for each, because a table of ids and sentences fits no terminal."""
    for letter in letters:
        event = letter.event
        out.print(f"{event.id}  {event.topic}, given up {letter.died_at:%Y-%m-%d %H:%M} UTC, tries: {event.attempt}")
        out.print(f"  {_printable(letter.last_error)}")


def _print_waiting(events: list[WaitingEvent]) -> None:
    for waiting in events:
        event = waiting.event
        if waiting.last_error is None:
            out.print(f"{event.id}  {event.topic}, waits since {event.created_at:%Y-%m-%d %H:%M} UTC", markup=False)
            continue
        out.print(
            f"{event.id}  {event.topic}, next try {waiting.next_at:%Y-%m-%d %H:%M} UTC, tries: {event.attempt}",
            markup=False,
        )
        out.print(f"  {waiting.last_error}", markup=False)


def _migrations(waiting: list[str]) -> str:
    return f"{len(waiting)} migration{'s' if len(waiting) != 1 else ''}"
