"""Kratos' recorded conversations, held with our server: every answer matches whole, the open differences aside."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import Launch
from tests.contract.recorded import Entry, Exchange, differences, read_compare, read_entries, record

PROFILE = "base"
NAMES = ("native_registration", "native_login", "html", "admin")
ENTRIES = read_entries()


@dataclass(frozen=True)
class Talks:
    """The conversations as Kratos had them, and as we have them."""

    kratos: Mapping[str, list[Exchange]]
    ours: Mapping[str, list[Exchange]]
    conversations: Path

    def differences(self, name: str, entries: list[Entry]) -> dict[str, list[str]]:
        compare = read_compare(self.conversations)
        return differences(name, self.kratos[name], self.ours[name], entries, compare)


@pytest.fixture(scope="module")
def talks(
    launch_for_module: Launch,
    module_dsn: str,
    profiles: Path,
    conversations: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Talks:
    shop = launch_for_module(config=profiles / f"{PROFILE}.yml", dsn=module_dsn)
    out = tmp_path_factory.mktemp("ours")
    said = record(conversations, out, public=shop.public, admin=shop.admin, names=NAMES, profile=PROFILE)
    assert "STOPPED" not in said, said
    return Talks(_read(conversations / "recorded" / PROFILE), _read(out / PROFILE), conversations)


def _read(folder: Path) -> Mapping[str, Any]:
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_exchange_matches(talks: Talks, name: str) -> None:
    found = talks.differences(name, ENTRIES)
    assert not found, "\n".join(f"{place}\n    " + "\n    ".join(lines) for place, lines in found.items())


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_an_open_difference_is_still_one(talks: Talks, entry: Entry) -> None:
    """An entry that is not needed any more is struck from the list."""
    others = [other for other in ENTRIES if other is not entry]
    needed = [name for name in NAMES if talks.differences(name, others) != talks.differences(name, ENTRIES)]
    assert needed, f"no exchange needs this entry of open_differences.yml any more: {entry}"
