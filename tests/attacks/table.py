"""Lists the tests of docs/security.md row by row; `python -m tests.attacks.table` writes the list into the page."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- tests: begin -->\n", "<!-- tests: end -->\n"
ROWS = range(1, 97)
_TEST = re.compile(r"def (test_row_(\d{3})(?:_and_(\d{3}))?_\w+)\(")


def by_row() -> Mapping[int, list[str]]:
    """Return the names of all tests that are named after a row, by row."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, *rows in _TEST.findall(path.read_text("utf-8")):
            for row in filter(None, rows):
                found[int(row)].add(name)
    return {row: sorted(names) for row, names in sorted(found.items())}


def printed() -> str:
    """Return the text that belongs between the marks of the page."""
    return "".join(_printed_row(row, names) for row, names in by_row().items())


def _printed_row(row: int, names: list[str]) -> str:
    return f"- **{row}**\n" + "".join(f"  - `{name}`\n" for name in names)


def states() -> Iterator[tuple[int, str, str]]:
    """Yield the rows of the page's table: number, whether it applies (`now`, `later`, `no`), and the reason."""
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0].isdigit():
            yield int(cells[0]), cells[2], cells[3]


def shown() -> str:
    """Return the text that is between the marks now."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


def write() -> None:
    """Write the list of tests into the page."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + printed() + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    write()
