"""The pages do what they show: what is printed is sent, run and answered, from the top of each page to its end."""

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from shopkeeper.cli import cli
from tests.docs.pages import ROOT, Step, all_blocks, blocks, pages, steps
from tests.docs.reading import Reader, reasons, unread
from tests.docs.terminal import NothingCaptured, Terminal
from tests.services.shopkeeper_server import Commerce

MAKE = re.compile(r"^([a-z-]+):", re.MULTILINE)
TELLING = [page for page in pages() if {"console", "graphql", "python", "sql"} & {b.info for b in blocks(page)}]

NOT_RUN: list[str] = [
    "CONTRIBUTING.md: it runs this test among the others",
    "README.md: it starts the server that the other examples are read against",
    "README.md: it runs this test among the others",
    "README.md: it needs your configuration, with a database and a mail server",
    "docs/howto/coming-from-kratos.md: it needs your configuration",
    "docs/howto/commercetools-introspection.md: it starts the server that the steps below are tried with",
    "docs/howto/commercetools-introspection.md: for commercetools",
    "docs/howto/commercetools-introspection.md: it needs the database that the configuration names",
    "docs/howto/gateways.md: for nginx",
    "docs/howto/gateways.md: for Traefik",
    "docs/howto/gateways.md: for Envoy",
    "docs/howto/gateways.md: for Oathkeeper",
    "docs/howto/impersonation.md: it needs the session of an agent",
    "docs/howto/in-front-of-kratos.md: it needs a session of your server",
    "docs/howto/in-front-of-kratos.md: it needs a session of your server",
    "docs/howto/keep-your-identity-provider.md: it needs a token of your provider",
    "docs/howto/keep-your-identity-provider.md: it starts the provider",
    "docs/howto/keep-your-identity-provider.md: it starts the server",
    "docs/howto/keep-your-identity-provider.md: it needs the provider",
    "docs/howto/keep-your-identity-provider.md: it needs the provider",
    "docs/howto/keep-your-identity-provider.md: for Auth0",
    "docs/howto/mails.md: it needs a signature",
    "docs/howto/native-apps.md: it needs a token of a provider",
    "docs/howto/observe.md: a line of the log",
    "docs/howto/observe.md: for Prometheus",
    "docs/howto/observe.md: the answer while a cache is away",
    "docs/howto/observe.md: it needs a mail that was given up",
    "docs/howto/observe.md: it needs a mail that was given up",
    "docs/howto/production.md: it needs the database and the cache that the configuration names",
    "docs/howto/production.md: for the administrator of a PostgreSQL server",
    "docs/howto/production.md: for PgBouncer",
    "docs/howto/production.md: it needs the database that the configuration names",
    "docs/howto/production.md: it needs the database that the configuration names",
    "docs/howto/production.md: for nginx",
    "docs/howto/production.md: for nginx",
    "docs/howto/production.md: for Kubernetes",
    "docs/howto/protect-a-fastapi-route.md: it installs packages",
    "docs/howto/provider-sign-out.md: for the pages of your shop",
    "docs/howto/sessions-as-jwt.md: a part of the configuration",
    "docs/howto/sessions-as-jwt.md: it needs the configuration above",
    "docs/howto/sessions-as-jwt.md: it writes keys into the folder",
    "docs/howto/signing-keys.md: keys and times differ",
    "docs/howto/signing-keys.md: it needs your configuration",
    "docs/howto/signing-keys.md: it needs your configuration",
    "docs/howto/social-sign-in.md: it starts the provider that the steps below are tried with",
    "docs/howto/social-sign-in.md: it starts the server that the steps below are tried with",
    "docs/howto/tokens-for-services.md: each secret differs",
    "docs/howto/tokens-for-services.md: it starts the server that the steps below are tried with",
    "docs/methods/code.md: a part of a schema; the whole one is in custom-schema.md",
    "docs/methods/oidc.md: it needs a provider",
    "docs/methods/oidc.md: it needs a provider's token",
    "docs/methods/oidc.md: a part of an identity",
    "docs/reference/bench.md: it takes minutes",
    "docs/reference/bench.md: it takes minutes",
    "docs/reference/bench.md: it takes minutes",
    "docs/reference/messages.md: a message in an answer, for its form",
    "docs/stories/visit.md: it starts the server that the other examples are read against",
    "examples/express-shop/README.md: it starts the server that the examples are read against",
    "examples/express-shop/README.md: it installs packages and starts the backend that the steps below are tried with",
    "examples/fastapi-shop/README.md: it starts the server that the examples are read against",
    "examples/fastapi-shop/README.md: it installs packages and starts the backend that the steps below are tried with",
    "src/shopkeeper_asgi/README.md: it installs the package",
]
"""Every block of every page that is not run, with its reason. Add one only where running it is impossible here."""


@pytest.mark.parametrize("page", TELLING, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_shows(
    page: Path, addresses_of: Callable[[Path], Mapping[str, str]], shop: Commerce, tmp_path: Path
) -> None:
    Reader(addresses_of(page), tmp_path, database=shop.folder / "var" / "shopkeeper.db").read(page)


def test_every_block_is_run_or_the_page_says_why_not() -> None:
    assert [line for page in pages() for line in unread(page)] == []


def test_what_is_not_run_is_known() -> None:
    assert [line for page in pages() for line in reasons(page)] == NOT_RUN


def test_the_stories_leave_nothing_out_but_what_starts_the_server() -> None:
    left_out = [block for page in pages() if page.parent.name == "stories" for block in blocks(page) if block.not_run]
    assert [block.text for block in left_out] == ["$ TOKEN_REFRESH_ENABLED=true make run\n"]


def test_a_variable_is_not_taken_from_an_answer_that_lacks_it(addresses: Mapping[str, str], tmp_path: Path) -> None:
    with pytest.raises(NothingCaptured):
        Terminal(addresses, tmp_path).run("TOKEN=$(curl -s http://127.0.0.1:4433/health/alive | jq .nothing)")


# -- commands that are shown and not run -------------------------------------------------------------------------------


def shown(program: str) -> list[Step]:
    typed = [step for block in all_blocks("console") for step in steps(block)]
    return [step for step in typed if program in shlex.split(step.command, comments=True)[:4]]


@pytest.mark.parametrize("step", shown("shopkeeper"), ids=lambda step: step.where)
def test_a_command_that_is_shown_is_one_of_ours(step: Step) -> None:
    words = shlex.split(step.command, comments=True)
    command: Any = typer.main.get_command(cli)
    rest = words[words.index("shopkeeper") + 1 :]
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert [word for word in rest if word.startswith("-") and word not in {"-", *known}] == []


def test_every_target_of_make_that_is_shown_is_there() -> None:
    targets = set(MAKE.findall((ROOT / "Makefile").read_text()))
    asked = [word for step in shown("make") for word in shlex.split(step.command, comments=True)[1:] if word != "make"]
    assert [word for word in asked if "=" not in word and word not in targets] == []
