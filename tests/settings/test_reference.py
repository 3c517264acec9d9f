"""A setting without documentation fails the build."""

from collections import Counter
from pathlib import Path

import pytest

from shopkeeper.settings import Key, known_keys
from shopkeeper.settings.environment import slots
from shopkeeper.settings.reference import table

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md"


def test_the_reference_has_every_setting_as_it_is() -> None:
    documented = set(REFERENCE.read_text(encoding="utf-8").splitlines())
    missing = [line for line in table().splitlines() if line not in documented]
    assert missing == [], "print the table with `python -m shopkeeper.settings.reference` and put it into the page"


def test_the_reference_has_no_setting_that_is_gone() -> None:
    page = REFERENCE.read_text(encoding="utf-8").partition("## Every setting")[2]
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert [row for row in rows if row not in table().splitlines()] == []


@pytest.mark.parametrize("key", known_keys(), ids=lambda key: key.path)
def test_every_setting_says_what_it_is_for(key: Key) -> None:
    assert len(key.meaning) > 2


def test_no_two_settings_share_a_name_or_a_variable() -> None:
    keys = known_keys()
    assert [path for path, count in Counter(key.path for key in keys).items() if count > 1] == []
    assert [env for env, count in Counter(key.env for key in keys if key.env).items() if count > 1] == []


def test_no_secret_file_shares_a_name_with_a_setting() -> None:
    names = slots()
    assert [name for name, slot in names.items() if slot.secret and f"{name}_FILE" in names] == []
