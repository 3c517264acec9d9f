"""The reference pages are complete: every error, every message, every module, and every difference with its test."""

import importlib
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import shopkeeper
from shopkeeper.errors import Refusal
from shopkeeper.graphql.errors import code_of
from shopkeeper.ui.messages import CATALOGUE
from tests.docs.pages import ROOT

DOCS = ROOT / "docs"
ARCHITECTURE = DOCS / "architecture.md"
DIFFERENCES = DOCS / "reference" / "kratos-differences.md"
PROOF = re.compile(r"`(tests/[\w/]+\.py)::(?:Test\w+::)?(test_\w+)`")
PLACE = re.compile(r"`((?:src/shopkeeper|tests|docs|bench)/[\w./-]*|(?:[a-z_]+/)+[\w.]*\.(?:py|yml|json|txt))`")


def rows(page: Path) -> list[list[str]]:
    """Return the rows of every table of a page, with the marks of code removed from the cells."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]


def refusals(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    """Yield every refusal that can be raised, in every module."""
    for each in kind.__subclasses__():
        if not each.__name__.startswith("_") and each.__module__.startswith("shopkeeper."):
            yield each
        yield from refusals(each)


def import_the_house() -> None:
    for module in pkgutil.walk_packages(shopkeeper.__path__, "shopkeeper."):
        if "__main__" not in module.name and ".migrations." not in module.name:
            importlib.import_module(module.name)


def test_every_refusal_is_in_the_page_of_errors() -> None:
    import_the_house()
    listed = {tuple(row[:3]) for row in rows(DOCS / "reference" / "errors.md")}
    there = {(kind.code, str(kind.status), graphql_code(kind)) for kind in refusals()}
    assert sorted(there - listed) == []


def graphql_code(kind: type[Refusal]) -> str:
    return code_of(kind.__new__(kind))


def test_the_page_of_errors_lists_no_removed_error() -> None:
    import_the_house()
    codes = {kind.code for kind in refusals()}
    listed = {row[0] for row in rows(DOCS / "reference" / "errors.md") if len(row) > 2 and row[1].isdigit()}
    assert sorted(listed - codes) == []


def test_the_page_of_messages_is_the_catalogue() -> None:
    listed = {int(row[0]): tuple(row[1:3]) for row in rows(DOCS / "reference" / "messages.md") if row[0].isdigit()}
    assert listed == {number: (kind, text) for number, (kind, text) in CATALOGUE.items()}


def test_every_difference_has_a_test() -> None:
    listed = [row for row in rows(DIFFERENCES) if len(row) == 4 and row[0] not in {"Kratos", "---"}]
    assert len(listed) > 10
    assert [row[0] for row in listed if not PROOF.search(f"`{row[3]}`".replace("``", "`"))] == []


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_a_test_that_a_page_names_is_there(page: Path) -> None:
    named = PROOF.findall(page.read_text(encoding="utf-8"))
    assert [f"{file}::{test}" for file, test in named if not has_test(ROOT / file, test)] == []


def has_test(file: Path, test: str) -> bool:
    return file.exists() and re.search(rf"def {test}\b", file.read_text(encoding="utf-8")) is not None


# -- the page about the architecture -----------------------------------------------------------------------------------


def test_every_package_is_on_the_page_about_the_architecture() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    application = ROOT / "src" / "shopkeeper"
    rooms = [
        entry for entry in application.iterdir() if not entry.name.startswith(("_", ".")) and entry.name != "py.typed"
    ]
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in rooms]
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def test_the_layers_on_the_page_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [application] = [contract for contract in contracts if contract["id"] == "house"]
    assert "\n".join(application["layers"]) in ARCHITECTURE.read_text(encoding="utf-8")


def test_every_file_that_the_page_names_is_there() -> None:
    named = set(PLACE.findall(ARCHITECTURE.read_text(encoding="utf-8")))
    assert len(named) > 20
    assert sorted(place for place in named if not is_there(place)) == []


def is_there(place: str) -> bool:
    return (ROOT / place).exists() or (ROOT / "src" / "shopkeeper" / place).exists()
