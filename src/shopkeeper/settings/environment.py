"""Reads the environment: Kratos' names (a path in capitals joined with `_`), and `NAME_FILE` for every secret."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from shopkeeper.settings.catalogue import NOT_FROM_ENVIRONMENT, Key, Kind, env_name, known_keys
from shopkeeper.settings.files import WITH_NULL, Tree, read_text, set_only
from shopkeeper.settings.former_keys import DEFAULT_SCHEMA_URL, former_variables
from shopkeeper.settings.problems import Finding, KeyPath, Problem, SettingsError

# Other names for our settings.
ALIASES: Final = {"TOKEN_REFRESH_ENABLED": "TOKENS_REFRESH_ENABLED"}
_INDEX: Final = re.compile(r"(?<=_)\d{1,4}(?=_|$)", re.ASCII)
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
# How similar two names must be to count as a misspelling.
_SLIP: Final = 0.88


@dataclass(frozen=True, slots=True)
class Slot:
    """What a variable can set: a key, or one item of a list."""

    path: str
    kind: Kind
    secret: bool
    later: bool


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of ours that is set. `target` is its canonical name; `in_file` says whether it names a file."""

    name: str
    target: str
    slot: Slot
    in_file: bool

    @property
    def path(self) -> KeyPath:
        """The path, with the indices in the variable's name."""
        indices = iter(_INDEX.findall(self.target))
        steps = self.slot.path.replace("[]", ".[]").split(".")
        return tuple(int(next(indices)) if step == "[]" else step for step in steps)


@cache
def slots() -> Mapping[str, Slot]:
    """Return every known variable, with `#` for an index."""
    found = {}
    for key in known_keys():
        if key.path not in NOT_FROM_ENVIRONMENT:
            found[env_name(key.path)] = Slot(key.path, key.kind, key.secret, later=key.later is not None)
        if key.kind is Kind.LIST:
            item = f"{key.path}[]"
            found[env_name(item)] = Slot(item, _item_kind(key), key.secret, later=key.later is not None)
    found[env_name(DEFAULT_SCHEMA_URL)] = Slot(DEFAULT_SCHEMA_URL, Kind.SCALAR, secret=False, later=False)
    return found


def _item_kind(key: Key) -> Kind:
    """Return the kind of a list's items: a section is JSON; a secret may be plain text."""
    has_fields = any(other.path.startswith(f"{key.path}[].") for other in known_keys())
    return Kind.MAP if has_fields and not key.secret else Kind.SCALAR


def find_variables(environ: Mapping[str, str]) -> list[Variable]:
    """Return our variables that are set and not empty. A list precedes its items."""
    found = [variable for name, text in environ.items() if text.rstrip("\r\n") and (variable := _variable(name))]
    return sorted(found, key=lambda variable: (len(variable.path), variable.path, variable.name))


def _variable(name: str) -> Variable | None:
    for stem in (name, name.removesuffix("_FILE")):
        target = ALIASES.get(stem) or _today(stem) or stem
        slot = slots().get(_INDEX.sub("#", target))
        if slot is not None and (stem == name or slot.secret):
            return Variable(name=name, target=target, slot=slot, in_file=stem != name)
    return None


def _today(name: str) -> str | None:
    """Return today's name of a variable of an older release, with its indices; None for other variables."""
    found = former_variables().get(_INDEX.sub("#", name))
    if found is None:
        return None
    indices = iter(_INDEX.findall(name))
    return re.sub("#", lambda _: next(indices), found[0])


def former_names(variables: Iterable[Variable]) -> Iterator[Finding]:
    """Yield a notice for each variable with the name of an older release."""
    for variable in variables:
        stem = variable.name.removesuffix("_FILE") if variable.in_file else variable.name
        found = former_variables().get(_INDEX.sub("#", stem))
        if found is not None:
            today = f"{variable.target}_FILE" if variable.in_file else variable.target
            sentence = f"{variable.name} is a name of Kratos until {found[1].until}; set {today} today."
            yield Finding("notice", variable.name, sentence)


def over(tree: Tree, variables: Iterable[Variable], environ: Mapping[str, str]) -> tuple[Tree, list[Problem]]:
    """Return the tree with the variables merged over it, and the problems."""
    seen: dict[str, str] = {}
    problems: list[Problem] = []
    for variable in variables:
        try:
            _refuse_both(seen.setdefault(variable.target, variable.name), variable.name)
            value = _value(variable, _text(variable, environ[variable.name]))
            tree = _placed(tree, variable.path, value, name=variable.name)
        except SettingsError as error:
            problems += error.problems
    return tree, problems


def _refuse_both(first: str, second: str) -> None:
    if first != second:
        raise _wrong(second, f"{first} and {second} are both set; keep one of them.")


def _text(variable: Variable, text: str) -> str:
    """Return the value of a variable: of what it holds, or of the file that it names. Line breaks at the end, which no
    setting has, are not part of it."""
    text = text.rstrip("\r\n")
    if not variable.in_file:
        return text
    try:
        content = read_text(Path(text)).rstrip("\r\n")
    except SettingsError as error:
        raise _wrong(variable.name, f"{variable.name}: {error.problems[0].sentence}") from error
    if not content:
        raise _wrong(variable.name, f"{variable.name}: {text} is empty; write the secret into it.")
    return content


def _value(variable: Variable, text: str) -> Any:
    """Return the value of a variable's text.

    Scalars of the model stay text for pydantic; for a key that is not in effect yet, JSON is parsed if it is valid.
    """
    kind = variable.slot.kind
    if kind is Kind.LIST:
        return _list(variable, text) if text.lstrip().startswith("[") else [part.strip() for part in text.split(",")]
    if kind is Kind.MAP:
        return _json(variable, text, dict, '{"name": "value"}')
    return _loosely(text) if variable.slot.later and not variable.slot.secret else text


def _list(variable: Variable, text: str) -> Any:
    return _json(variable, text, list, '["first", "second"]')


def _json(variable: Variable, text: str, shape: type, example: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as broken:
        raise _wrong(variable.name, f"{variable.name} is not valid JSON; write it like {example}.") from broken
    if not isinstance(value, shape):
        raise _wrong(variable.name, f"{variable.name} has the wrong shape; write it like {example}.")
    has_null = variable.slot.path.rpartition(".")[2] in WITH_NULL
    return set_only(value) if isinstance(value, dict) and not has_null else value


def _placed(holder: Any, path: Sequence[str | int], value: Any, *, name: str) -> Any:
    """Return a copy of the holder with a value at a path below it."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        section = holder if isinstance(holder, dict) else {}
        return {**section, step: _placed(section.get(step), rest, value, name=name)}
    items = list(holder) if isinstance(holder, list) else []
    if step > len(items):
        raise _wrong(name, f"{name} leaves a gap: the list has {len(items)} before it; number from 0 without gaps.")
    inner = items[step] if step < len(items) else None
    return [*items[:step], _placed(inner, rest, value, name=name), *items[step + 1 :]]


def _wrong(name: str, sentence: str) -> SettingsError:
    return SettingsError([Problem(path=name, sentence=sentence)])


def slips(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield findings for variables that look like ours and are not read."""
    ours = {name.partition("_")[0] for name in slots()}
    for name in sorted(environ):
        if name.partition("_")[0] in ours and _variable(name) is None:
            yield from _slip(name)
    if environ.get("DEV", "").lower() in _TRUE:
        yield Finding("warning", "DEV", "DEV is not read from the environment; start with --dev if you mean it.")


def _slip(name: str) -> Iterator[Finding]:
    if (plain := name.removesuffix("_FILE")) != name and _variable(plain):
        yield Finding("warning", name, f"{name} is not read: only secrets have a _FILE form; set {plain} itself.")
        return
    like = difflib.get_close_matches(_INDEX.sub("#", name), slots(), n=1, cutoff=_SLIP)
    if like:
        meant = like[0].replace("#", "0")
        yield Finding("warning", name, f"{name} is not a name we know and is not read; did you mean {meant}?")


def _loosely(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
