"""A stranger who reads a page from top to bottom and does what is printed there, and nothing else.

What a request consists of is taken from the page alone: an example cannot be sent in another way than it is shown. Each
kind of block has one reader here; a block of another kind must say on the page why it is not run:

    <!-- not run: it needs a mail server -->
    ```console
    …
"""

import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from tests.docs.likeness import differences
from tests.docs.pages import ROOT, Block, Step, blocks, steps
from tests.docs.terminal import Terminal

CONFIGURATION = {"yaml", "json schema", "jsonnet"}
"""The info strings of what is loaded, by `test_settings.py`, or evaluated, by `test_jsonnet.py`."""
ANSWERS = {"graphql": "json", "python": "text"}
"""What must follow a block: what the server answers, or the program prints."""
_OF_THE_SHELL = {"mkdir", "openssl", "export", "test", "tr"}
"""Programs of the system. A block that begins each command with one of them is given to the system's shell."""
_HEADER = re.compile(r"# (?P<name>[a-z-]+): (?P<value>.*)\n")
"""A header of a GraphQL request, or its `variables`: the comments in the first lines of a document."""


class Reader:
    """Reads one page.

    Args:
        addresses: the real addresses of the servers behind those on the pages.
        folder: an empty folder to work in.
        database: the file of the server's database.
    """

    def __init__(self, addresses: Mapping[str, str], folder: Path, *, database: Path) -> None:
        self._addresses = addresses
        self._folder = folder
        self._database = database
        self._terminal = Terminal(addresses, folder)

    def read(self, page: Path) -> None:
        """Do what the page prints. Raises `AssertionError` where the outcome is not the one that it shows."""
        told = blocks(page)
        for block, following in pairwise([*told, Block(page, 0, "", "")]):
            if block.not_run is not None:
                continue
            match block.info:
                case "console":
                    self._type(block)
                case "graphql":
                    _compare(following, self._ask(block), str(block))
                case "python":
                    _compare(following, self._run(block), str(block))
                case "sql":
                    self._query(block)

    def _type(self, block: Block) -> None:
        typed = steps(block)
        if {shlex.split(step.command)[0] for step in typed} <= _OF_THE_SHELL:
            self._give_to_the_shell(typed)
            return
        for step in typed:
            said = self._terminal.run(step.command)
            found = differences(step.shown, said)
            assert not found, f"{step.where}: $ {step.command}\n" + "\n".join(found)

    def _give_to_the_shell(self, typed: list[Step]) -> None:
        script = "\n".join(step.command for step in typed)
        said = subprocess.run(
            ["/bin/sh", "-eu", "-c", script], cwd=self._folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert said.returncode == 0, f"{typed[0].where}: {said.stderr}"
        assert not differences("".join(step.shown for step in typed), said.stdout), typed[0].where

    def _ask(self, block: Block) -> str:
        headers, variables, at = [], "{}", 0
        while (line := _HEADER.match(block.text, at)) is not None:
            at = line.end()
            if line["name"] == "variables":
                variables = line["value"]
            else:
                headers.append((line["name"], self._terminal.filled(line["value"])))
        return self._terminal.ask(block.text, headers=headers, variables=variables)

    def _run(self, block: Block) -> str:
        text = block.text
        for shown, real in self._addresses.items():
            text = text.replace(shown, real)
        file = self._folder / "example.py"
        file.write_text(text, encoding="utf-8")
        done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{block}: {done.stderr}"
        return done.stdout

    def _query(self, block: Block) -> None:
        """Ask the server's database. It must understand the query; what it finds differs each time."""
        connection = sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)
        try:
            connection.execute(block.text)
        finally:
            connection.close()


def _compare(shown: Block, said: str, where: str) -> None:
    found = differences(shown.text, said)
    assert not found, f"{where}:\n" + "\n".join(found)


def unread(page: Path) -> list[str]:
    """Return the blocks of a page that nobody reads and that do not say why; empty where all is well."""
    told = blocks(page)
    answered = {id(following) for block, following in pairwise(told) if ANSWERS.get(block.info) == following.info}
    unanswered = [
        f"{block}: no answer is shown below it"
        for block, following in pairwise([*told, Block(page, 0, "", "")])
        if block.info in ANSWERS and block.not_run is None and ANSWERS[block.info] != following.info
    ]
    known = {"console", "graphql", "python", "sql", "text", *CONFIGURATION}
    unknown = [
        f"{block}: {block.info or 'nothing'} is not run, and the page does not say why"
        for block in told
        if block.info not in known and id(block) not in answered and block.not_run is None
    ]
    return [*unanswered, *unknown]


def reasons(page: Path) -> list[str]:
    """Return why blocks of a page are not run."""
    return [f"{page.relative_to(ROOT)}: {block.not_run}" for block in blocks(page) if block.not_run is not None]
