"""The commands `shopkeeper mail …`: previews, dead letters, and addresses that get no mail."""

import asyncio
import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from shopkeeper.app.mail import load_templates, template_findings
from shopkeeper.app.shop_name import shop_name
from shopkeeper.clock import SystemClock
from shopkeeper.http_client import GuardedClient
from shopkeeper.languages.choice import LANGUAGES, SOURCE
from shopkeeper.notify import store, suppressions
from shopkeeper.notify.courier import requeue
from shopkeeper.notify.samples import samples
from shopkeeper.notify.templates import TEMPLATES
from shopkeeper.notify.values import Mail, MessagePage, Status, Suppression
from shopkeeper.parsing import uuid_or_none
from shopkeeper.settings import Settings
from shopkeeper.settings.selfservice import CodeMethod, LinkMethod
from shopkeeper.storage.outbox import Outbox
from shopkeeper.terminal import COLOURS, Dev, Files, fail, look, migrated, out, print_labelled, printable, ready

LISTED = 100
mail = typer.Typer(help="Mails: look at them, and send again what could not be sent.", no_args_is_help=True)
Locale = StrEnum("Locale", {locale: locale for locale in LANGUAGES})  # type: ignore[misc]

_ENGLISH = Locale(SOURCE)


class Format(StrEnum):
    """What a preview shows."""

    TEXT = "text"
    HTML = "html"


@mail.command("preview")
def preview_command(  # noqa: PLR0917 - typer reads options from parameters
    type_: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="The mail; without one, all are listed.", show_default=False)
    ] = None,
    locale: Annotated[Locale, typer.Option(help="The language.")] = _ENGLISH,
    format_: Annotated[Format, typer.Option("--format", help="Which of its two bodies.")] = Format.TEXT,
    into: Annotated[
        Path | None, typer.Option("--out", help="A folder for files of every mail, or of TYPE.", show_default=False)
    ] = None,
    config: Files = [],  # noqa: B006 - typer's way to say "none"
    dev: Dev = False,
) -> None:
    """Show mails with sample values, in the templates that the configuration chooses. Nothing is sent."""
    if type_ is not None and type_ not in TEMPLATES:
        fail(f"There is no mail {printable(type_)}; there are {', '.join(sorted(TEMPLATES))}.")
    settings = look(config, dev=dev)
    mails = ready(lambda: asyncio.run(_rendered(settings, [type_] if type_ else sorted(TEMPLATES), locale=locale)))
    for finding in template_findings(settings):
        print_labelled(finding.level.capitalize(), finding.sentence, colour=COLOURS[finding.level])
    if into is not None:
        ready(lambda: _write(into, mails, locale=locale))
        out.print(f"{2 * len(mails)} files are in {into}.")
    elif type_ is not None:
        (shown,) = mails.values()
        out.print(f"Subject: {shown.subject}\n")
        out.print(shown.html if format_ is Format.HTML else shown.text, end="")
    else:
        width = max(map(len, mails))
        for name, shown in mails.items():
            out.print(f"{name:{width}}  {shown.subject}")


@mail.command("dead")
def dead_command(config: Files = [], dev: Dev = False) -> None:  # noqa: B006 - typer's way to say "none"
    """List the mails that were abandoned, newest first, each with its last error."""
    settings = look(config, dev=dev)
    page = ready(lambda: asyncio.run(_abandoned(settings)))
    if not page.items:
        out.print("No mail was abandoned.")
    for message in page.items:
        at = f"{message.updated_at:%Y-%m-%d %H:%M} UTC"
        out.print(f"{message.id}  {message.template_type} to {printable(message.recipient)}, abandoned {at}")
        left = "" if message.sendable else " (it held a code, so it cannot be sent again)"
        out.print(f"  {printable(message.last_error or 'no answer')}{left}")
    if page.before is not None:
        out.print(f"These are the newest {LISTED}; there are more.")


def _id(text: str) -> UUID:
    found = uuid_or_none(text)
    if found is None:
        raise typer.BadParameter("give an id as `shopkeeper mail dead` shows it.")
    return found


@mail.command("resend")
def resend_command(
    message_id: Annotated[UUID, typer.Argument(parser=_id, metavar="ID", help="As `shopkeeper mail dead` shows it.")],
    config: Files = [],  # noqa: B006 - typer's way to say "none"
    dev: Dev = False,
) -> None:
    """Send an abandoned mail again. The running server delivers it, or `shopkeeper work`."""
    settings = look(config, dev=dev)
    ready(lambda: asyncio.run(_resend(settings, message_id)))
    out.print(f"{message_id} is queued again.")


@mail.command("suppressed")
def suppressed_command(config: Files = [], dev: Dev = False) -> None:  # noqa: B006 - typer's way to say "none"
    """List the addresses that get no mail, with the reason."""
    settings = look(config, dev=dev)
    found = ready(lambda: asyncio.run(_suppressed(settings)))
    if not found:
        out.print("No address is suppressed.")
    for one in found[:LISTED]:
        told = f": {printable(one.detail)}" if one.detail else ""
        out.print(f"{printable(one.address)}  {one.reason}, {one.source}, {one.created_at:%Y-%m-%d %H:%M} UTC{told}")
    if len(found) > LISTED:
        out.print(f"These are the first {LISTED}; there are more.")


@mail.command("allow")
def allow_command(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="As `shopkeeper mail suppressed` shows it.")],
    config: Files = [],  # noqa: B006 - typer's way to say "none"
    dev: Dev = False,
) -> None:
    """Let an address get mails again. Those that were abandoned meanwhile are sent with `shopkeeper mail resend`."""
    settings = look(config, dev=dev)
    if not ready(lambda: asyncio.run(_allow(settings, address))):
        fail(f"{printable(address)} is not suppressed.")
    out.print(f"{printable(address)} gets mails again.")


async def _rendered(settings: Settings, names: Sequence[str], *, locale: str) -> dict[str, Mail]:
    http = settings.clients.http
    async with GuardedClient(
        private_allowed=not http.disallow_private_ip_ranges, exceptions=http.private_ip_exception_urls
    ) as client:
        templates = await load_templates(settings, client)
    known = samples(base_url=settings.serve.public.base_url.rstrip("/"), shop_name=shop_name(settings))
    methods = settings.selfservice.methods
    return {
        name: templates.render(
            name,
            # As long as such a mail is good for with these settings.
            {**known, "expires_in_minutes": _minutes(methods.code if "_code_" in name else methods.link)},
            locale=locale,
        )
        for name in names
    }


def _minutes(method: CodeMethod | LinkMethod) -> int:
    return max(1, math.ceil(method.config.lifespan.total_seconds() / 60))


def _write(folder: Path, mails: dict[str, Mail], *, locale: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, shown in mails.items():
            (folder / f"{name}.{locale}.txt").write_text(f"{shown.subject}\n\n{shown.text}", encoding="utf-8")
            (folder / f"{name}.{locale}.html").write_text(shown.html, encoding="utf-8")
    except OSError as failed:
        fail(f"{folder} cannot be written to ({failed.strerror}).")


async def _abandoned(settings: Settings) -> MessagePage:
    async with migrated(settings) as database, database.unit() as unit:
        return await store.page(unit, status=Status.ABANDONED, recipient=None, before=None, limit=LISTED)


async def _resend(settings: Settings, message_id: UUID) -> None:
    clock = SystemClock()
    async with migrated(settings) as database, database.unit() as unit:
        await requeue(unit, message_id, outbox=Outbox(clock), clock=clock)


async def _suppressed(settings: Settings) -> Sequence[Suppression]:
    async with migrated(settings) as database, database.unit() as unit:
        return await suppressions.page(unit, after=None, limit=LISTED + 1)


async def _allow(settings: Settings, address: str) -> bool:
    async with migrated(settings) as database, database.unit() as unit:
        return await suppressions.remove(unit, address)
