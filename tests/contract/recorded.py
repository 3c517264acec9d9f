"""Compares our answers with Kratos' recorded ones, except for the open differences.

The differences are data (`open_differences.yml`). Each of them changes what is expected, so that the rest of our answer
is compared whole; and each can be left out, which shows whether it is still needed.
"""

import copy
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from tests.contract.recorded_provider import Ground

OPEN_DIFFERENCES = Path(__file__).with_name("open_differences.yml")
GOLDEN_DIFFERENCES = Path(__file__).with_name("golden_differences.yml")
RECORDED_ADDRESS = "http://127.0.0.1:4433"
"""The public address of the recorded server."""
Exchange = dict[str, Any]
Compare = Callable[[Any, Any], list[str]]


@dataclass(frozen=True)
class Entry:
    """One open difference, in one place: `where` is a pattern of `conversation/what is said`."""

    kind: str
    why: str
    where: str = "*"
    told: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind}: {self.why} ({self.where})"

    def concerns(self, place: str) -> bool:
        return fnmatchcase(place, self.where)


def read_entries(file: Path = OPEN_DIFFERENCES) -> list[Entry]:
    """Read every entry of a data file, once for each of its places."""
    document = yaml.safe_load(file.read_text())
    assert document.keys() == KINDS.keys()
    return [entry for kind, entries in document.items() for told in entries for entry in _entries(kind, told)]


def _entries(kind: str, told: Mapping[str, Any]) -> Iterator[Entry]:
    what = {key: value for key, value in told.items() if key not in {"where", "why"}}
    places = told.get("where", "*")
    for where in [places] if isinstance(places, str) else places:
        yield Entry(kind, told["why"], where, what)


# -- what an entry does to an expected answer --------------------------------------------------------------------------


def expected(exchange: Exchange, place: str, entries: Iterable[Entry]) -> Exchange | None:
    """Return the expected answer, or None where the whole exchange belongs to a later feature."""
    wanted: Exchange | None = copy.deepcopy(exchange["response"])
    for entry in entries:
        if wanted is not None and entry.concerns(place):
            wanted = KINDS[entry.kind](wanted, entry.told)
    return wanted


def _without_nodes(response: Exchange, told: Mapping[str, Any]) -> Exchange:
    body = response["body"]
    if isinstance(body, dict) and body.get("ui", {}).get("nodes"):
        nodes = [node for node in body["ui"]["nodes"] if node["group"] != told["group"]]
        body["ui"]["nodes"] = nodes or None
    return response


def _without_exchange(response: Exchange, told: Mapping[str, Any]) -> None:
    return None


def _changed(response: Exchange, told: Mapping[str, Any]) -> Exchange:
    """`at` is a JSON pointer in which `*` matches every step; `is` replaces the value, or adds it where there is
    none and no `was`; without it the place is removed. `swapped` are the numbers of two members of a list that
    stand the other way round where the second one is as `was` says."""
    root = {"": response}
    steps = told["at"].split("/")
    if "swapped" in told:
        _swap(root, steps, *told["swapped"], was=told["was"])
        return root[""]
    if "is" in told and "was" not in told:
        _add(root, steps, told["is"])
    for holder, key in reversed(list(_places(root, steps))):
        if not _matches(told.get("was"), holder[key]):
            continue
        if "is" in told:
            holder[key] = copy.deepcopy(told["is"])
        else:
            del holder[key]
    return root[""]


def _places(value: Any, steps: Sequence[str]) -> Iterator[tuple[Any, Any]]:
    if not isinstance(value, dict | list):
        return
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    for key in keys:
        if steps[0] not in {"*", str(key)}:
            continue
        if len(steps) == 1:
            yield value, key
        else:
            yield from _places(value[key], steps[1:])


def _swap(root: Any, steps: Sequence[str], one: int, other: int, *, was: Any) -> None:
    for holder, key in _places(root, steps):
        members = holder[key]
        if isinstance(members, list) and len(members) > max(one, other) and _matches(was, members[other]):
            members[one], members[other] = members[other], members[one]


def _add(root: Any, steps: Sequence[str], value: Any) -> None:
    """Add a member that is missing to the objects that the other steps lead to."""
    for holder, key in _places(root, steps[:-1]) if len(steps) > 1 else ():
        if isinstance(holder[key], dict):
            holder[key].setdefault(steps[-1], copy.deepcopy(value))


def _matches(pattern: Any, value: Any) -> bool:
    """Whether a value is as described; of an object, only the described members count."""
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(k in value and _matches(p, value[k]) for k, p in pattern.items())
    return pattern is None or pattern == value


KINDS: Mapping[str, Callable[[Exchange, Mapping[str, Any]], Exchange | None]] = {
    "later_nodes": _without_nodes,
    "later_exchanges": _without_exchange,
    "later_parts": _changed,
    "on_purpose": _changed,
}


# -- comparing ---------------------------------------------------------------------------------------------------------


def read_compare(conversations: Path) -> Compare:
    """Import the recordings' own comparison of two answers."""
    spec = importlib.util.spec_from_file_location("recorded_compare", conversations / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    compare: Compare = module.differences
    return compare


def differences(
    name: str, kratos: Sequence[Exchange], ours: Sequence[Exchange], entries: Sequence[Entry], compare: Compare
) -> dict[str, list[str]]:
    """Return the differences of a conversation by exchange; exchanges that agree are left out."""
    found = {}
    for number, (want, got) in enumerate(zip(kratos, ours, strict=True)):
        place = f"{name}/{want['say']}"
        wanted = expected(want, place, entries)
        told = [] if wanted is None else compare(wanted, got["response"])
        if told:
            found[f"{number} {place}"] = told
    return found


def record(
    ground: Ground,
    out: Path,
    *,
    public: str,
    admin: str,
    names: Sequence[str],
    profile: str,
    authority: Path | None = None,
) -> str:
    """Hold conversations with a server and write its answers down; return the recorder's output.

    `authority` is the certificate that an https address is verified with.
    """
    command = [sys.executable, str(ground.conversations / "record.py"), str(out), profile, public, admin]
    told = subprocess.run(
        [*command, "--modules", "accounts", "operators", "social", "--only", *names],
        check=True,
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, **({"SSL_CERT_FILE": str(authority)} if authority else {})},
    )
    for name in names:
        _rename_addresses(out / profile / f"{name}.json", public, ground)
    return told.stdout


def _rename_addresses(written: Path, public: str, ground: Ground) -> None:
    """Give addresses the recorded spelling: ours in query strings, which the recorder masks elsewhere, and the
    provider's."""
    ours, recorded = quote(public, safe=""), quote(RECORDED_ADDRESS, safe="")
    if written.exists():
        written.write_text(ground.as_recorded(written.read_text().replace(ours, recorded)))
