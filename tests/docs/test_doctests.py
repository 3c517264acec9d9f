"""The examples in docstrings work."""

import doctest
import importlib
from pathlib import Path

import pytest

import shopkeeper

PACKAGE = Path(shopkeeper.__file__).parent


def modules() -> list[str]:
    """Return every module with an example."""
    files = sorted(file for file in PACKAGE.rglob("*.py") if ">>> " in file.read_text(encoding="utf-8"))
    paths = [file.relative_to(PACKAGE.parent).with_suffix("") for file in files]
    return [".".join(part for part in path.parts if part != "__init__") for path in paths]


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_work(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert outcome.failed == 0
