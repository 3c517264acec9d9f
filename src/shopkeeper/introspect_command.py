"""The command `shopkeeper introspect`: what a caller is told about a token, and why."""

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from shopkeeper.app import Application, build
from shopkeeper.app.introspection import build_callers
from shopkeeper.commerce.stores import Stores
from shopkeeper.errors import Busy, StoreUnknown, UpstreamFailed
from shopkeeper.oauth.introspection import LONGEST_TOKEN
from shopkeeper.oauth.introspection_answers import Explanation
from shopkeeper.oauth.introspection_callers import IntrospectionCaller
from shopkeeper.settings import Settings
from shopkeeper.storage.migrate import migrate
from shopkeeper.terminal import Dev, Files, fail, look, migrated, out, printable, ready, require_secrets

ANY_CALLER: Final = IntrospectionCaller(
    "any", subject_scopes=frozenset({"customer_id", "anonymous_id", "external_user_id"})
)
"""Stands for a caller without limits where none is configured."""
_TIMES: Final = ("exp", "iat")


def introspect_command(  # noqa: PLR0917 - typer reads options from parameters
    token: Annotated[
        str,
        typer.Argument(metavar="TOKEN", help="The token; `-` reads it from the standard input: no history keeps it."),
    ],
    explain: Annotated[
        bool, typer.Option("--explain", help="Also tell what recognised the token, and which rule gave which scope.")
    ] = False,
    caller: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Whom the answer is for; needed where several callers are configured.",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(metavar="STORE", help="The store that the caller names, or store@tenant.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Files = [],  # noqa: B006 - typer's way to say "none"
    dev: Dev = False,
) -> None:
    """Show what a caller of introspection is told about a token.

    The token is verified with this configuration in this process, as the server would; providers may be asked. A
    running server may still hold an answer of the last seconds.
    """
    settings = look(config, dev=dev)
    asked = _token(token)
    known = ready(lambda: asyncio.run(_explained(settings, asked, caller=caller, store=store)))
    if as_json:
        told = {"answer": known.answer, **_explanation(known)} if explain else known.answer
        out.print(json.dumps(told, indent=2, ensure_ascii=False), markup=False)
        return
    _print(known.answer)
    if explain:
        _print_explanation(known)


def _token(given: str) -> str:
    token = sys.stdin.read(LONGEST_TOKEN + 2).strip() if given == "-" else given.strip()
    if not token:
        fail("There is no token: give it as an argument, or `-` and the token on the standard input.")
    return token


async def _explained(settings: Settings, token: str, *, caller: str | None, store: str | None) -> Explanation:
    require_secrets(settings)
    chosen = _caller(settings, caller)
    if settings.dsn.kind != "memory":
        async with migrated(settings):
            pass
    async with AsyncExitStack() as closing:
        application = await build(settings, with_graphql=False)
        closing.push_async_callback(application.infrastructure.database.close)
        closing.push_async_callback(application.infrastructure.cache.close)
        closing.push_async_callback(application.close)
        if settings.dsn.kind == "memory":
            await migrate(application.infrastructure.database)
        return await _asked(application, token, _built(application, chosen), store)


async def _asked(application: Application, token: str, caller: IntrospectionCaller, store: str | None) -> Explanation:
    try:
        front = _front(application.commerce.stores, store) if store else None
        return await application.introspection.explain(token, caller, store=front)
    except (UpstreamFailed, Busy) as unknown:
        fail(f"Whether the token is active cannot be told now: {unknown.sentence} Callers get a 503.")
    except StoreUnknown as refused:
        fail(refused.sentence)


def _front(stores: Stores, name: str) -> str:
    store, _, tenant = name.partition("@")
    return stores.choose(name=store, tenant=tenant, host=None).id


def _caller(settings: Settings, named: str | None) -> str | None:
    """Return the id of the caller that is meant; None where none is configured."""
    clients = [client.id for client in settings.tokens.clients if client.introspection is not None]
    ids = [*(caller.id for caller in settings.introspection.callers), *clients]
    if named is not None and named not in ids:
        fail(f"There is no caller {printable(named)}; those that may ask are: {', '.join(ids) or 'none'}.")
    if named is None and len(ids) > 1:
        fail(f"Several callers are configured, whose answers may differ; add --caller and one of {', '.join(ids)}.")
    return named or (ids[0] if ids else None)


def _built(application: Application, caller: str | None) -> IntrospectionCaller:
    callers = build_callers(application.infrastructure.settings, application.commerce.stores)
    return next((each for each in callers if each.id == caller), ANY_CALLER)


def _explanation(known: Explanation) -> Mapping[str, Any]:
    facts = known.facts
    return {
        "source": known.source,
        "refused": known.refused,
        "store": known.store,
        "subject": None
        if facts is None
        else {
            "kind": facts.kind.value,
            "issuer": facts.issuer,
            "subject": facts.subject,
            "provider": facts.provider,
            "groups": [*facts.groups],
            "roles": [*facts.roles],
            "audience": [*facts.audience],
            "client_id": facts.client_id,
        },
        "scopes": [
            *(
                {"scope": each, "from": "the token"}
                for each in (facts.scope if facts is not None and known.active else ())
            ),
            *({"scope": each.scope, "rule": each.rule, "also": [*each.also]} for each in known.granted),
            *({"scope": each, "from": "the subject"} for each in known.subject),
        ],
    }


def _print(answer: Mapping[str, Any]) -> None:
    width = max(map(len, answer))
    for name, value in answer.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if name in _TIMES and isinstance(value, int):
            text = f"{value}  ({datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC)"
        out.print(f"{name:{width}}  {printable(text)}", markup=False)


def _print_explanation(known: Explanation) -> None:
    told = _explanation(known)
    subject = told["subject"] or {}
    lines = {
        "Recognised by": known.source or "nothing",
        "Store": known.store or "no certain one",
        "Subject": f"{subject['kind']} {subject['subject']} of {subject['issuer']}" if subject else "unknown",
        "Provider": subject.get("provider", "unknown"),
        "Groups": ", ".join(subject.get("groups", ())) or "none",
        "Roles": ", ".join(subject.get("roles", ())) or "none",
        "Audience": ", ".join(subject.get("audience", ())) or "none",
        "Client": subject.get("client_id") or "none",
    }
    out.print()
    for name, value in lines.items():
        out.print(f"{name:13}  {printable(value)}", markup=False)
    if known.refused is not None:
        out.print(f"{'Inactive':13}  {printable(known.refused)}", markup=False)
        return
    table = Table("Scope", "Given by", show_edge=False, pad_edge=False)
    for each in told["scopes"]:
        rules = [each["rule"], *each["also"]] if "rule" in each else []
        table.add_row(printable(each["scope"]), printable(f"rule {', '.join(rules)}" if rules else each["from"]))
    out.print()
    out.print(table)
