"""Compares a server's answer with the one on a page. The page may leave parts out, and marks them with `…`.

In JSON, the text "…" stands for any value, `…` within a text for any part of it, an entry "…" in a list for any number
of further entries, and a member "…" of an object for any number of further members.
"""

import json
import re
from typing import Any

ANY = "…"


def differences(shown: str, said: str) -> list[str]:
    """Return how an output differs from the one shown; empty where it matches."""
    try:
        expected = json.loads(shown)
    except json.JSONDecodeError:
        return [] if _alike(shown.strip(), said.strip()) else [f"shown:\n{shown}\nsaid:\n{said}"]
    try:
        return list_differences(expected, json.loads(said))
    except json.JSONDecodeError:
        return [f"the page shows JSON, and this was said: {said}"]


def list_differences(shown: Any, said: Any, place: str = "") -> list[str]:
    """Return how a JSON value differs from the one shown."""
    if shown == ANY:
        return []
    if isinstance(shown, str) and isinstance(said, str):
        return [] if _alike(shown, said) else [f"{place}: {shown!r} is shown, {said!r} was said"]
    if isinstance(shown, dict) and isinstance(said, dict):
        return _of_objects(shown, said, place)
    if isinstance(shown, list) and isinstance(said, list):
        return _of_lists(shown, said, place)
    same = type(shown) is type(said) and shown == said
    return [] if same else [f"{place}: {shown!r} is shown, {said!r} was said"]


def _of_objects(shown: dict[str, Any], said: dict[str, Any], place: str) -> list[str]:
    more_allowed = ANY in shown
    missing = [f"{place}.{name}: shown, and not said" for name in shown if name not in said and name != ANY]
    further = [f"{place}.{name}: said, and not shown" for name in said if name not in shown and not more_allowed]
    both = [name for name in shown if name in said]
    return [
        *missing,
        *further,
        *(d for name in both for d in list_differences(shown[name], said[name], f"{place}.{name}")),
    ]


def _of_lists(shown: list[Any], said: list[Any], place: str) -> list[str]:
    wanted = [entry for entry in shown if entry != ANY]
    more_allowed = len(wanted) < len(shown)
    if len(said) < len(wanted) or (len(said) > len(wanted) and not more_allowed):
        return [f"{place}: {len(wanted)} entries are shown, {len(said)} were said"]
    return [
        d
        for i, (one, other) in enumerate(zip(wanted, said, strict=False))
        for d in list_differences(one, other, f"{place}[{i}]")
    ]


def _alike(shown: str, said: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in shown.split(ANY))
    return re.fullmatch(pattern, said, re.DOTALL) is not None
