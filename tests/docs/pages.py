"""Our pages as data: their fenced blocks, their links, their headings, and their terminal sessions."""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {"node_modules", "var", "build", "dist"}
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^\n]*) -->\n *$")
_LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(?P<title>.+?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its info string, its text, its place on the page, and why it is not run, if the page says so."""

    page: Path
    line: int
    info: str
    text: str
    not_run: str | None = None

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Step:
    """A command of a terminal session, and the output that the page shows."""

    command: str
    shown: str
    where: str


def pages() -> list[Path]:
    """Return every Markdown page of the project."""
    return sorted(_pages(ROOT))


def _pages(folder: Path) -> Iterator[Path]:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            if not entry.name.startswith(".") and entry.name not in NOT_OURS:
                yield from _pages(Path(entry.path))
        elif entry.name.endswith(".md"):
            yield Path(entry.path)


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Return the fenced blocks of a page, of one language or of all."""
    text = page.read_text(encoding="utf-8")
    found = [_block(page, text, match) for match in _FENCE.finditer(text)]
    return [block for block in found if language in {None, block.language}]


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    indent, lines = match["indent"], match["text"].splitlines()
    unindented = "".join(f"{line.removeprefix(indent)}\n" for line in lines)
    marked = _NOT_RUN.search(text[: match.start()])
    reason = marked["reason"] if marked else None
    return Block(page, text.count("\n", 0, match.start()) + 1, match["info"].strip(), unindented, reason)


def all_blocks(language: str) -> list[Block]:
    """Return every block of a language, on every page."""
    return [block for page in pages() for block in blocks(page, language)]


def steps(block: Block) -> list[Step]:
    """Return the commands of a terminal session: each begins with `$ `; a backslash or an open quote continues it."""
    found: list[Step] = []
    for at, line in enumerate(block.text.splitlines(), start=1):
        last = found[-1] if found else None
        if last is not None and last.command.endswith("\\"):
            found[-1] = Step(f"{last.command[:-1]}{line.strip()}", last.shown, last.where)
        elif last is not None and not _whole(last.command):
            found[-1] = Step(f"{last.command}\n{line}", last.shown, last.where)
        elif line.startswith("$ "):
            found.append(Step(line[2:], "", f"{block.page.relative_to(ROOT)}:{block.line + at}"))
        elif last is not None:
            found[-1] = Step(last.command, f"{last.shown}{line}\n", last.where)
    return found


def _whole(command: str) -> bool:
    """Whether every quote of a command is closed."""
    try:
        return bool(shlex.split(command, comments=True))
    except ValueError:
        return False


def links(page: Path) -> list[str]:
    """Return the targets of a page's links; text in code is no link."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [match["target"] for match in _LINK.finditer(re.sub(r"`[^`\n]*`", "", text))]


def anchors(page: Path) -> set[str]:
    """Return the names that links may use behind `#`, made as GitHub makes them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = (re.sub(r"[^\w\- ]", "", match["title"].lower()) for match in _HEADING.finditer(text))
    return {title.replace(" ", "-") for title in titles}
