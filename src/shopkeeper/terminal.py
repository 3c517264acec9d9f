"""What all commands share: how they print, how they read the settings, and how an error ends them with a sentence."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console

from shopkeeper.app import Misconfigured, open_database
from shopkeeper.errors import Conflict, NotFound
from shopkeeper.notify.overrides import OverrideBroken
from shopkeeper.server import PortTaken, ServerEnded
from shopkeeper.server_limits import TooFewDescriptors
from shopkeeper.settings import Settings, SettingsError, load
from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import pending
from shopkeeper.storage.unavailable import StorageUnavailable, explained

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
COLOURS = {"error": "red", "warning": "yellow", "notice": "cyan"}
# What ends a command with one sentence: a wrong configuration, database, port or id, which only the operator can fix.
_FOR_THE_OPERATOR = (
    SettingsError,
    Misconfigured,
    StorageUnavailable,
    PortTaken,
    TooFewDescriptors,
    ServerEnded,
    NotFound,
    OverrideBroken,
    Conflict,
)
T = TypeVar("T")


def look(files: list[Path], *, dev: bool) -> Settings:
    """Load the settings for commands that only look at an installation: no file with generated secrets is written."""
    return ready(lambda: load(files, os.environ, dev=dev, demo=False, keep_secrets=False))


def ready(do: Callable[[], T]) -> T:
    """Call a function; an error that only the operator can fix ends the command with its sentence."""
    try:
        return do()
    except _FOR_THE_OPERATOR as told:
        fail(str(told))


def fail(sentence: str) -> NoReturn:
    """End the command with an error."""
    for line in sentence.splitlines():
        print_labelled("Error", line, colour=COLOURS["error"])
    raise typer.Exit(1)


def require_secrets(settings: Settings) -> None:
    """End the command where the secrets are missing with which the server seals and signs."""
    missing = [f"secrets.{name}" for name in ("default", "cipher") if not getattr(settings.secrets, name)]
    if missing:
        fail(
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not set: name the server's configuration"
            " with -c, or add --dev for the shop of `make run`."
        )


def print_labelled(label: str, sentence: str, *, colour: str) -> None:
    """Print a sentence of a kind to the error output."""
    err.print(f"{label}: ", style=colour, end="")
    err.print(printable(sentence))


def printable(text: str) -> str:
    """Replace control characters, which could give orders to the terminal: a mail server's answer, for example."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


@asynccontextmanager
async def migrated(settings: Settings) -> AsyncIterator[Database]:
    """Open the database. Ends the command where migrations are missing."""
    database = open_database(settings)
    try:
        if waiting := await pending(database):
            fail(f"The database needs {migrations(waiting)}. Run first: shopkeeper migrate")
        with explained(database.url):
            yield database
    finally:
        await database.close()


def migrations(waiting: list[str]) -> str:
    return f"{len(waiting)} migration{'s' if len(waiting) != 1 else ''}"
