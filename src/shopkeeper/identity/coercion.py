"""Converts form fields to traits: `traits.age=18` becomes the number 18 where the schema says number.

HTML forms have only flat names and text. Values that do not fit are kept, so that validation can report them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shopkeeper.errors import MalformedBody
from shopkeeper.identity.traits import Trait

PREFIX = "traits."
MOST_FIELDS = 500
DEEPEST = 12
_LONGEST_NUMBER = 40
_LONGEST_INDEX = 4

_BOOLEANS: Mapping[str, bool] = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


class Repeated(str):
    """The last value of a field that was sent more than once, which counts for single values, as in Kratos.

    `every` has all values, for traits that are lists.

    >>> Repeated(["a", "b"]), Repeated(["a", "b"]).every
    ('b', ('a', 'b'))
    """

    every: tuple[str, ...]

    def __new__(cls, every: Sequence[str]) -> "Repeated":
        self = super().__new__(cls, every[-1])
        self.every = tuple(every)
        return self


def repeated(pairs: Iterable[tuple[str, str]]) -> dict[str, Repeated]:
    """Return the traits that a form sent more than once, with all their values."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name.startswith(PREFIX):
            found.setdefault(name, []).append(value)
    return {name: Repeated(values) for name, values in found.items() if len(values) > 1}


def coerce(trait: Trait, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the traits of a flat form. Other fields are ignored, and empty ones count as not filled in.

    Raises `MalformedBody` for too many fields, too deep a name, or a name that is a field and a group at once.
    """
    named = {name: value for name, value in flat.items() if name.startswith(PREFIX) and _filled_in(value)}
    if len(named) > MOST_FIELDS:
        raise MalformedBody(f"A form has {MOST_FIELDS} traits at most.")
    tree: dict[str, Any] = {}
    for name, value in named.items():
        _put(tree, name.removeprefix(PREFIX).split("."), value)
    typed = _typed(trait, tree)
    return typed if isinstance(typed, dict) else {}


def _filled_in(value: Any) -> bool:
    return any(value.every) if isinstance(value, Repeated) else value != ""


def _put(tree: dict[str, Any], steps: list[str], value: Any) -> None:
    if len(steps) > DEEPEST or not all(steps):
        raise MalformedBody("The name of a trait is nested too deep, or has an empty part.")
    *groups, last = steps
    for step in groups:
        below = tree.setdefault(step, {})
        if not isinstance(below, dict):
            raise MalformedBody(f"'{step}' is a trait and a group of traits at once.")
        tree = below
    if last in tree:
        raise MalformedBody(f"'{last}' is a trait and a group of traits at once.")
    tree[last] = value


def _typed(trait: Trait | None, value: Any) -> Any:
    if trait is not None and trait.kind == "array":
        return [_typed(trait.items, item) for item in _items(value)]
    if isinstance(value, dict):
        typed = {name: _typed(trait.child(name) if trait else None, below) for name, below in value.items()}
        return {name: below for name, below in typed.items() if below != ""}  # the last of repeated values may be empty
    return _scalar(trait, str(value)) if isinstance(value, str) else value


def _items(value: Any) -> list[Any]:
    """Return the items of a list: from `traits.emails.0=…`, from `traits.emails=…` once or repeatedly, or from JSON."""
    if isinstance(value, Repeated):
        return [each for each in value.every if each]
    if isinstance(value, dict) and all(name.isdecimal() and len(name) <= _LONGEST_INDEX for name in value):
        return [value[name] for name in sorted(value, key=int)]
    return value if isinstance(value, list) else [value]


def _scalar(trait: Trait | None, text: str) -> Any:
    if trait is None:
        return text
    if trait.kind == "boolean":
        return _BOOLEANS.get(text.lower(), text)
    return _number(text, whole=trait.kind == "integer") if trait.numeric else text


def _number(text: str, *, whole: bool) -> Any:
    if len(text) > _LONGEST_NUMBER or "_" in text:
        return text
    try:
        return int(text) if whole or text.lstrip("+-").isdecimal() else float(text)
    except ValueError:
        return text
