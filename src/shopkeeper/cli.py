"""The command `shopkeeper`. Without logic of its own: it reads arguments, calls one function, and prints the result."""

import asyncio
import functools
import logging
import os
import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import structlog
import typer
from rich.table import Table

from shopkeeper import __version__
from shopkeeper.app import dry_run, look_at_cache, open_database
from shopkeeper.clock import SystemClock
from shopkeeper.introspect_command import introspect_command
from shopkeeper.key_commands import keys
from shopkeeper.log_config import configure_log
from shopkeeper.mail_commands import mail
from shopkeeper.parsing import uuid_or_none
from shopkeeper.server import limits_of_process, require_ports, run, serve, work
from shopkeeper.settings import Finding, Settings, describe, findings, load, logout_uris, redirect_uris
from shopkeeper.storage.migrate import migrate, pending
from shopkeeper.storage.outbox import DeadLetter, Outbox, WaitingEvent
from shopkeeper.terminal import (
    COLOURS,
    Dev,
    Files,
    fail,
    look,
    migrated,
    migrations,
    out,
    print_labelled,
    printable,
    ready,
)

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
cli.add_typer(mail, name="mail")
cli.add_typer(keys, name="keys")
cli.command("introspect")(introspect_command)

Demo = Annotated[bool, typer.Option("--demo", help="Load a sample catalogue into the embedded shop.")]
LISTED = 100
"""The most deliveries of each kind that are listed."""


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
    ready(lambda: require_ports(settings))
    ready(lambda: asyncio.run(_migrate(settings)))
    configure_log(settings.log)
    again = functools.partial(_reload, config, dev=dev, demo=demo)
    ready(lambda: serve(again, announce=_announce))
    out.print("Stopped.")


@cli.command("migrate")
def migrate_command(config: Files = [], dev: Dev = False) -> None:  # noqa: B006 - typer's way to say "none"
    """Apply the missing migrations to the database. Safe to run repeatedly, and on several hosts at once."""
    settings = _load(config, dev=dev)
    waiting = ready(lambda: asyncio.run(_migrate(settings)))
    out.print(f"{migrations(waiting)} applied." if waiting else "The database is up to date.")


@cli.command("work")
def work_command(config: Files = [], dev: Dev = False) -> None:  # noqa: B006 - typer's way to say "none"
    """Deliver mails and other outbox events, without serving requests. For `outbox.worker: separate`."""
    settings = _checked(config, dev=dev)
    ready(lambda: asyncio.run(_look_at_database(settings)))
    configure_log(settings.log)
    again = functools.partial(_reload, config, dev=dev, demo=False)
    ready(lambda: run(work(again)))


@cli.command("doctor")
def doctor_command(
    config: Files = [],  # noqa: B006 - typer's way to say "none"
    dev: Dev = False,
    show: Annotated[bool, typer.Option("--show", help="Also print every setting that is in effect.")] = False,
) -> None:
    """Check a configuration: print what is wrong and how to fix it. Exits with 1 if the server would not start."""
    settings = look(config, dev=dev)
    if show:
        _print_settings(settings)
    found = findings(settings)
    _tell(found)
    ready(lambda: asyncio.run(_look_at_database(settings)))
    if any(finding.level == "error" for finding in found):
        raise typer.Exit(1)
    if silent := asyncio.run(look_at_cache(settings)):
        _tell([silent])
    ready(lambda: require_ports(settings, may_be_taken=True))
    limits = ready(lambda: limits_of_process(settings))
    if limits.few:
        _tell([Finding("warning", "", limits.sentence)])
    else:
        out.print(limits.sentence)
    _tell(ready(lambda: asyncio.run(dry_run(settings))))
    for provider, address in redirect_uris(settings):
        out.print(f"Register this address at {printable(provider)}: {address}", markup=False)
    for provider, purpose, address in logout_uris(settings):
        out.print(f"Where {printable(provider)} has a {purpose}, it is {address}", markup=False)
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
    settings = look(config, dev=dev)
    letters, waiting = ready(lambda: asyncio.run(_list_deliveries(settings)))
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
    settings = look(config, dev=dev)
    ready(lambda: asyncio.run(_replay(settings, event_id)))
    out.print(f"{event_id} is queued for delivery again.")


# -- what the commands share -------------------------------------------------------------------------------------------


def _load(files: list[Path], *, dev: bool, demo: bool = False) -> Settings:
    return ready(lambda: load(files, os.environ, dev=dev, demo=demo))


def _reload(files: list[Path], *, dev: bool, demo: bool) -> Settings:
    """Load the settings again: in a further process of the server, or after a change. Findings are printed at the start
    only."""
    return load(files, os.environ, dev=dev, demo=demo)


def _checked(files: list[Path], *, dev: bool, demo: bool = False) -> Settings:
    """Load the settings and print the findings. Ends the command where the server may not start with them, and prints
    then only what prevents that; `doctor` prints all."""
    settings = _load(files, dev=dev, demo=demo)
    found = findings(settings)
    errors = [finding for finding in found if finding.level == "error"]
    _tell(errors or found)
    if errors:
        fail("The server cannot start with this configuration. Fix it and check again with: shopkeeper doctor")
    _tell(ready(lambda: asyncio.run(dry_run(settings))))
    return settings


def _tell(found: list[Finding]) -> None:
    for finding in found:
        print_labelled(finding.level.capitalize(), finding.sentence, colour=COLOURS[finding.level])


def _print_settings(settings: Settings) -> None:
    table = Table("Setting", "Value", show_edge=False, pad_edge=False)
    for name, value in describe(settings):
        table.add_row(name, printable(value))
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
    if settings.dsn.kind == "memory":
        return  # each process makes its own, which is up to date
    database = open_database(settings)
    try:
        waiting = await pending(database)
    finally:
        await database.close()
    if waiting:
        out.print(f"The database needs {migrations(waiting)}: start the server, or run: shopkeeper migrate")


async def _list_deliveries(settings: Settings) -> tuple[list[DeadLetter], list[WaitingEvent]]:
    async with migrated(settings) as database, database.unit() as unit:
        outbox = Outbox(SystemClock())
        return await outbox.dead(unit, limit=LISTED + 1), await outbox.waiting(unit, limit=LISTED + 1)


async def _replay(settings: Settings, event_id: UUID) -> None:
    async with migrated(settings) as database, database.unit() as unit:
        await Outbox(SystemClock()).replay(unit, event_id)


def _print_dead_letters(letters: list[DeadLetter]) -> None:
    """Print two lines for each, because a table of ids and sentences fits no terminal."""
    for letter in letters:
        event = letter.event
        out.print(f"{event.id}  {event.topic}, given up {letter.died_at:%Y-%m-%d %H:%M} UTC, tries: {event.attempt}")
        out.print(f"  {printable(letter.last_error)}")


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
