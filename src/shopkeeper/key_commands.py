"""The commands `shopkeeper keys …`: the keys by which the server signs tokens."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Final, TypeVar

import typer

from shopkeeper.app import build_audit, build_signing_keys
from shopkeeper.clock import SystemClock
from shopkeeper.settings import Settings, load
from shopkeeper.tally import Tally
from shopkeeper.terminal import Dev, Files, look, migrated, out, ready, require_secrets
from shopkeeper.tokens.key_rotation import FRESH, KeyRotation, Rotation
from shopkeeper.tokens.key_schedule import Turn

keys = typer.Typer(help="The keys that sign tokens: list them, or let another one sign.", no_args_is_help=True)

T = TypeVar("T")
ACTOR: Final = "command"
"""Who did it, in the audit trail."""
_MINUTES: Final = "%Y-%m-%d %H:%M"


class Algorithm(Enum):
    """The algorithms of keys."""

    ES256 = "ES256"
    EDDSA = "EdDSA"
    RS256 = "RS256"


@keys.command("list")
def list_command(config: Files = [], dev: Dev = False) -> None:  # noqa: B006 - typer's way to say "none"
    """List the keys that are published: those before, the one that signs, and those that will."""
    settings = look(config, dev=dev)
    turns = ready(lambda: asyncio.run(_with_keys(settings, KeyRotation.list_turns)))
    if not turns:
        out.print("There is no key yet: the first one is made when a token is signed.")
    for turn in turns:
        out.print(f"{turn.key.kid}  {turn.key.algorithm:5}  {turn.state:7}  {_explained(turn)}", markup=False)
    signing = next((turn.key.algorithm for turn in turns if turn.state == "current"), None)
    wanted = settings.tokens.signing.algorithm
    if signing is not None and signing != wanted and _waits(turns):
        out.print(f"tokens.signing.algorithm is {wanted}; it comes into effect with: shopkeeper keys rotate")


@keys.command("rotate")
def rotate_command(
    algorithm: Annotated[
        Algorithm | None,
        typer.Option(help="Of that key; tokens.signing.algorithm otherwise.", show_default=False),
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait until verifiers have had the time to read the key.")
    ] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="A key has leaked: no token that was signed until now is valid any more.")
    ] = False,
    config: Files = [],  # noqa: B006 - typer's way to say "none"
    dev: Dev = False,
) -> None:
    """Let the next key sign, and make another one for the time after. Tokens stay valid until they expire.

    A key signs once it has been published for 15 minutes, which is at once but for rotations that follow each other
    closely or change the algorithm.
    """
    # The secrets that seal a key must be those of the server, so they are kept where --dev makes them.
    settings = ready(lambda: load(config, os.environ, dev=dev, demo=False))
    name = algorithm.value if algorithm is not None else None

    async def rotate(own: KeyRotation) -> Rotation:
        return await (own.withdraw(name, actor=ACTOR) if withdraw else own.rotate(name, at_once=now, actor=ACTOR))

    rotation = ready(lambda: asyncio.run(_with_keys(settings, rotate)))
    _print_rotation(rotation, SystemClock().now(), withdrawn=withdraw)


def _print_rotation(rotation: Rotation, now: datetime, *, withdrawn: bool) -> None:
    named = f"{rotation.kid} ({rotation.algorithm})"
    if rotation.signs_from > now:
        planned = "A rotation is planned already: " if rotation.was_planned else ""
        out.print(f"{planned}{named} signs from {rotation.signs_from:{_MINUTES}} UTC on, when verifiers know it.")
        out.print("With --now it signs at once.")
        return
    out.print(f"{named} signs tokens now; running servers begin with it within {FRESH.seconds} seconds.")
    if withdrawn:
        out.print("All keys before are withdrawn. Verifiers notice when they read the key set again.")


def _explained(turn: Turn) -> str:
    if turn.replaced_at is not None:
        return f"replaced {turn.replaced_at:{_MINUTES}} UTC, published until its tokens have expired"
    if turn.key.signs_from is None:
        return f"waits for a rotation, published since {turn.key.created_at:{_MINUTES}} UTC"
    return f"{'signs since' if turn.state == 'current' else 'signs from'} {turn.key.signs_from:{_MINUTES}} UTC"


def _waits(turns: Sequence[Turn]) -> bool:
    return all(turn.key.signs_from is None for turn in turns if turn.state == "next")


async def _with_keys(settings: Settings, use: Callable[[KeyRotation], Awaitable[T]]) -> T:
    require_secrets(settings)
    async with migrated(settings) as database:
        clock = SystemClock()
        audit = build_audit(settings, clock, Tally())
        return await use(build_signing_keys(settings, database, clock, audit=audit).rotation)
