"""The terminal sessions of the pages work, and print what the pages show."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from shopkeeper.cli import cli
from tests.docs.likeness import differences
from tests.docs.pages import ROOT, Step, all_blocks, blocks, pages, steps
from tests.docs.terminal import Terminal

TYPED = re.compile(r"(curl|[A-Za-z_]\w*=.*) ?")
MAKE = re.compile(r"^([a-z-]+):", re.MULTILINE)


def sessions(page: Path) -> list[Step]:
    """Return the commands of a page that need a running server."""
    found = [step for block in blocks(page, "console") for step in steps(block)]
    return [step for step in found if TYPED.match(step.command) and step.command.split()[-1:] != ["run"]]


TELLING = [page for page in pages() if sessions(page)]


@pytest.mark.parametrize("page", TELLING, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_session_prints_what_the_page_shows(page: Path, addresses: Mapping[str, str]) -> None:
    terminal = Terminal(addresses)
    for step in sessions(page):
        said = terminal.run(step.command)
        found = differences(step.shown, said) if step.shown else []
        assert not found, f"{step.where}: $ {step.command}\n" + "\n".join(found)


def test_the_pages_about_visits_and_accounts_have_sessions() -> None:
    told = {page.name for page in TELLING}
    assert {"visit.md", "accounts.md"} <= told


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
    assert [word for word in rest if word.startswith("-") and word not in known] == []


def test_every_target_of_make_that_is_shown_is_there() -> None:
    targets = set(MAKE.findall((ROOT / "Makefile").read_text()))
    asked = [word for step in shown("make") for word in shlex.split(step.command, comments=True)[1:] if word != "make"]
    assert [word for word in asked if "=" not in word and word not in targets] == []
