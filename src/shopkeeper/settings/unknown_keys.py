"""Sorts a tree before validation: keys in effect, keys not in effect yet, and unknown keys."""

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from shopkeeper.settings.catalogue import Kind, by_path, known_keys, sections, sections_in_effect
from shopkeeper.settings.files import Tree
from shopkeeper.settings.not_in_effect import HOOKS_LATER, Later
from shopkeeper.settings.problems import Finding, KeyPath, Problem, dotted

_REFERENCE: Final = "docs/reference/settings.md"
_DROP: Final = object()
# How similar names must be to count as a misspelling, and to be worth a guess.
_SLIP: Final = 0.8
_GUESS: Final = 0.6


@dataclass(slots=True)
class Sorted:
    """The result of sorting: `tree` for the model, `later` for keys not in effect yet, and problems."""

    tree: Tree = field(default_factory=dict)
    later: list[tuple[Later, KeyPath, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def sort(tree: Tree) -> Sorted:
    """Remove from a tree what the model does not know, and say why."""
    result = Sorted()
    result.tree = _section(tree, (), result)
    return result


def _section(section: Mapping[str, Any], path: KeyPath, result: Sorted) -> Tree:
    kept = {name: _value(value, (*path, name), result) for name, value in section.items()}
    return {name: value for name, value in kept.items() if value is not _DROP}


def _value(value: Any, path: KeyPath, result: Sorted) -> Any:
    place = dotted(tuple("[]" if isinstance(step, int) else step for step in path)).replace(".[]", "[]")
    key = by_path().get(place)
    if key is None:
        return _inner(value, path, place, result)
    if key.kind is Kind.LIST and isinstance(value, list) and f"{place}[]" in sections():
        # Of a list that is not in effect yet, report unknown fields only: the list itself is reported below.
        inner = result if key.later is None else Sorted(problems=result.problems)
        value = [_item(item, (*path, index), inner) for index, item in enumerate(value)]
    if key.later is not None:
        result.later.append((key.later, path, value))
        return _DROP
    return value


def _inner(value: Any, path: KeyPath, place: str, result: Sorted) -> Any:
    if place not in sections():
        result.problems += unknown(value, path)
        return _DROP
    if isinstance(value, dict):
        # An empty section counts as set: its presence may switch a feature on, with every default.
        kept = _section(value, path, result)
        return kept if kept or place in sections_in_effect() else _DROP
    result.problems.append(Problem(dotted(path), f"{dotted(path)} must be a section with names and values."))
    return _DROP


def _item(item: Any, path: KeyPath, result: Sorted) -> Any:
    """Return an item, sorted if it is a section. The model validates others, such as a plain API key."""
    return _section(item, path, result) if isinstance(item, dict) else item


def unknown(value: Any, path: KeyPath) -> Iterator[Problem]:
    """Yield one problem for an unknown name: about its only descendant, if there is just one, or about itself."""
    while isinstance(value, dict) and len(value) == 1:
        ((name, value),) = value.items()
        path = (*path, name)
    meant = nearest(path)
    advice = f"did you mean {meant}?" if meant else f"see {_REFERENCE}."
    yield Problem(dotted(path), f"{dotted(path)} is not a known setting; {advice}")


def nearest(path: KeyPath) -> str | None:
    """Return the known path that was most likely meant: a misspelled step, the same last name elsewhere, or a guess."""
    place = ".".join("[]" if isinstance(step, int) else step for step in path)
    return _step_by_step(path, _SLIP) or _same_name(place) or _step_by_step(path, _GUESS) or _alike(place, by_path())


def _step_by_step(path: KeyPath, likeness: float) -> str | None:
    corrected: list[str] = []
    for step in path:
        name = "[]" if isinstance(step, int) else step
        like = difflib.get_close_matches(name, _below().get(".".join(corrected), ()), n=1, cutoff=likeness)
        if not like:
            return None
        corrected += like
    return dotted(
        tuple(given if isinstance(given, int) else right for given, right in zip(path, corrected, strict=True))
    )


def _same_name(place: str) -> str | None:
    last = place.rpartition(".")[2]
    same = [key.path for key in known_keys() if key.later is None and key.path.rpartition(".")[2] == last]
    return _alike(place, same, likeness=0.0)


def _alike(place: str, paths: Iterable[str], *, likeness: float = _GUESS) -> str | None:
    return next(iter(difflib.get_close_matches(place, list(paths), n=1, cutoff=likeness)), None)


@cache
def _below() -> Mapping[str, Collection[str]]:
    """Return the names that may follow, by path."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in by_path():
        steps = path.replace("[]", ".[]").split(".")
        for depth, step in enumerate(steps):
            found[".".join(steps[:depth])].add(step)
    return found


def not_in_effect(later: Iterable[tuple[Later, KeyPath, Any]]) -> Iterator[Finding]:
    """Yield one finding for each feature that is configured and does not exist, now or ever."""
    by_row: dict[Later, list[tuple[KeyPath, Any]]] = defaultdict(list)
    for row, path, value in later:
        by_row[row].append((path, value))
    for row, entries in by_row.items():
        wanted = [dotted(path) for path, value in entries if value not in row.same]
        if wanted and _switched_on(row, entries):
            yield _waiting(row, wanted)


def _switched_on(row: Later, entries: Iterable[tuple[KeyPath, Any]]) -> bool:
    return row.switch is None or any(path[-1] == row.switch and value is True for path, value in entries)


def _waiting(row: Later, wanted: list[str]) -> Finding:
    place = row.where if row.keys else wanted[0]
    below = sorted({path.removeprefix(place).lstrip(".") for path in wanted} - {""})
    names = f" (set: {', '.join(below)})" if below else ""
    if row.never:
        return Finding("warning", place, f"{place}{names} has no effect, and will have none: {row.never}.")
    sentence = f"{place}{names} is not in effect yet; it is about {row.what}. It may stay, but do not count on it."
    return Finding("warning", place, sentence)


def hooks_not_in_effect(tree: Mapping[str, Any], path: KeyPath = ()) -> Iterator[Finding]:
    """Yield one finding for each hook in a list that is not run yet."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from hooks_not_in_effect(value, (*path, name))
        elif name == "hooks" and isinstance(value, list):
            yield from _hooks(value, (*path, name))


def _hooks(hooks: Iterable[Any], path: KeyPath) -> Iterator[Finding]:
    for index, entry in enumerate(hooks):
        hook = entry.get("hook") if isinstance(entry, dict) else None
        if isinstance(hook, str) and hook in HOOKS_LATER:
            place = dotted((*path, index))
            sentence = (
                f"{place} is not in effect yet; the hook {hook} is about {HOOKS_LATER[hook]}. Do not count on it."
            )
            yield Finding("warning", place, sentence)
