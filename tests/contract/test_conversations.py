"""Kratos' recorded conversations, held with our server: every answer matches whole, except for the open differences."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.contract.conftest import Launch
from tests.contract.recorded import Compare, Entry, Exchange, differences, read_compare, read_entries, record
from tests.services.server import locked

PROFILE = "base"
NAMES = ("native_registration", "native_login", "html", "admin", "code_sign_in")
ENTRIES = read_entries()


@dataclass(frozen=True)
class Talks:
    """The conversations with Kratos, and with our server."""

    kratos: Mapping[str, list[Exchange]]
    ours: Mapping[str, list[Exchange]]
    compare: Compare

    def differences(self, name: str, entries: Sequence[Entry] = ENTRIES) -> dict[str, list[str]]:
        return differences(name, self.kratos[name], self.ours[name], entries, self.compare)


@pytest.fixture
def talks(run: Run, launch: Launch, dsn: str, profiles: Path, conversations: Path) -> Talks:
    """Hold the conversations once a run with each database; all processes of the run read the written answers."""
    out = run.folder / f"conversations-{dsn.partition(':')[0]}"
    with locked(out.with_suffix(".lock")):
        if not (out / "said").exists():
            shop = launch(config=profiles / f"{PROFILE}.yml", dsn=dsn)
            said = record(conversations, out, public=shop.public, admin=shop.admin, names=NAMES, profile=PROFILE)
            (out / "said").write_text(said)
    assert "STOPPED" not in (out / "said").read_text(), (out / "said").read_text()
    return Talks(_read(conversations / "recorded" / PROFILE), _read(out / PROFILE), read_compare(conversations))


def _read(folder: Path) -> Mapping[str, list[Exchange]]:
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_exchange_matches(talks: Talks, name: str) -> None:
    found = talks.differences(name)
    assert not found, "\n".join(f"{place}\n    " + "\n    ".join(lines) for place, lines in found.items())


def test_no_open_difference_is_out_of_date(talks: Talks) -> None:
    """An entry that is no longer needed must be removed from the list."""
    whole = {name: talks.differences(name) for name in NAMES}
    stale = [str(entry) for entry in ENTRIES if not _needed(entry, talks, whole)]
    assert not stale, "strike from open_differences.yml what no exchange needs: " + "; ".join(stale)


def _needed(entry: Entry, talks: Talks, whole: Mapping[str, dict[str, list[str]]]) -> bool:
    others = [other for other in ENTRIES if other is not entry]
    return any(talks.differences(name, others) != whole[name] for name in NAMES)
