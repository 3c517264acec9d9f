"""Paths in the tree of a configuration file, and patterns of them: `*` is any one name, `[]` any index."""

from collections.abc import Iterator
from typing import Any

from shopkeeper.settings.files import Tree, merge
from shopkeeper.settings.problems import KeyPath

Steps = tuple[str | int, ...]


def steps_of(pattern: str) -> tuple[str, ...]:
    """Return the steps of a pattern.

    >>> steps_of("stores[].hosts")
    ('stores', '[]', 'hosts')
    """
    return tuple(pattern.replace("[]", ".[]").split("."))


def pattern_of(steps: Steps) -> str:
    """Return the pattern of steps.

    >>> pattern_of(("stores", "[]", "hosts"))
    'stores[].hosts'
    """
    return ".".join(map(str, steps)).replace(".[]", "[]")


def translated(path: Steps, old: str, new: str) -> Steps | None:
    """Return a path at or below the pattern `old` as one below `new`, or None where it is elsewhere.

    >>> translated(("selfservice", "flows", "login", "request_lifespan"), "selfservice.flows.*.request_lifespan",
    ...     "selfservice.flows.*.lifespan")
    ('selfservice', 'flows', 'login', 'lifespan')
    """
    pattern = steps_of(old)
    if len(path) < len(pattern) or not all(map(_fits, path, pattern)):
        return None
    wild = iter([step for step, wanted in zip(path, pattern, strict=False) if wanted in ("*", "[]")])
    return (*(next(wild) if step in ("*", "[]") else step for step in steps_of(new)), *path[len(pattern) :])


def _fits(step: str | int, wanted: str) -> bool:
    if wanted == "[]":
        return step == "[]" or isinstance(step, int)
    return wanted in ("*", step)


def matches(tree: Any, pattern: str) -> Iterator[tuple[KeyPath, Any]]:
    """Yield each path of the tree that fits the pattern, with its value."""
    found: list[tuple[KeyPath, Any]] = [((), tree)]
    for wanted in steps_of(pattern):
        found = [
            ((*path, step), inner)
            for path, value in found
            for step, inner in _children(value, indexed=wanted == "[]")
            if _fits(step, wanted)
        ]
    yield from found


def _children(value: Any, *, indexed: bool) -> Iterator[tuple[str | int, Any]]:
    if indexed and isinstance(value, list):
        yield from enumerate(value)
    if not indexed and isinstance(value, dict):
        yield from value.items()


def value_at(tree: Any, path: KeyPath) -> Any:
    """Return the value at a path, or None."""
    for step in path:
        if isinstance(step, int):
            tree = tree[step] if isinstance(tree, list) and step < len(tree) else None
        else:
            tree = tree.get(step) if isinstance(tree, dict) else None
    return tree


def without(holder: Any, path: KeyPath) -> Any:
    """Return a copy without a path of it, and without the sections that are empty then."""
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        return [without(item, rest) if index == step else item for index, item in enumerate(holder)]
    inner = without(holder[step], rest) if rest else {}
    kept = {name: value for name, value in holder.items() if name != step}
    return {**kept, step: inner} if inner != {} else kept


def placed(holder: Any, path: KeyPath, value: Any) -> Any:
    """Return a copy with a value at a path, in place of what is there."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        return [placed(item, rest, value) if index == step else item for index, item in enumerate(holder)]
    section = holder if isinstance(holder, dict) else {}
    return {**section, step: placed(section.get(step), rest, value)}


def placed_under(tree: Tree, path: KeyPath, value: Any) -> Tree:
    """Return a copy with a value at a path, below what is there already."""
    existing = value_at(tree, path)
    if isinstance(existing, dict) and isinstance(value, dict):
        value = merge(value, existing)
    elif existing is not None:
        return tree
    result: Tree = placed(tree, path, value)
    return result
