"""The list of every known key with its environment variable, from the models and `not_in_effect.py`."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, TypeGuard, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shopkeeper.settings.dsn import DEFAULT, Dsn
from shopkeeper.settings.not_in_effect import LATER, Later
from shopkeeper.settings.root import Settings
from shopkeeper.settings.section import SecretMark, Section
from shopkeeper.settings.values import format_duration

# Another tool's variable of the same name must not open the admin API, load sample goods or fake a version.
NOT_FROM_ENVIRONMENT: Final = frozenset({"dev", "demo", "version", "revision"})


class Kind(Enum):
    """What a key holds."""

    SCALAR = "scalar"
    LIST = "list"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Key:
    """A known setting. `[]` in its path, and `#` in its variable's name, stand for an index of a list."""

    path: str
    kind: Kind
    secret: bool
    default: str
    meaning: str
    later: Later | None = None

    @property
    def env(self) -> str | None:
        """The name of its environment variable, or None."""
        return None if self.path in NOT_FROM_ENVIRONMENT else env_name(self.path)


def env_name(path: str) -> str:
    """Return the environment variable of a path, as Kratos names it.

    >>> env_name("identity.schemas[].url")
    'IDENTITY_SCHEMAS_#_URL'
    """
    return re.sub(r"[.\-]", "_", path.replace("[]", ".#")).upper()


@cache
def known_keys() -> tuple[Key, ...]:
    """Return every key: those in effect in the order of the model, then those not in effect yet."""
    return (*_of_section(Settings, prefix=""), *_for_later())


@cache
def by_path() -> Mapping[str, Key]:
    """Return every key by its path."""
    return {key.path: key for key in known_keys()}


@cache
def sections() -> frozenset[str]:
    """Return every path that has keys below it; an item of a list of sections ends with `[]`."""
    return _holders(known_keys())


@cache
def sections_in_effect() -> frozenset[str]:
    """Return the sections that the model has: at least one key below each is in effect."""
    return _holders(key for key in known_keys() if key.later is None)


def _holders(keys: Iterable[Key]) -> frozenset[str]:
    found = set()
    for key in keys:
        steps = key.path.replace("[]", ".[]").split(".")[:-1]
        found |= {".".join(steps[:count]).replace(".[]", "[]") for count in range(1, len(steps) + 1)}
    return frozenset(found - by_path().keys())


def _of_section(section: type[Section], *, prefix: str) -> Iterator[Key]:
    for name, info in section.model_fields.items():
        yield from _of_field(prefix + name, info)


def _of_field(path: str, info: FieldInfo) -> Iterator[Key]:
    shape = _shape(info.annotation)
    if _is_section(shape):
        yield from _of_section(shape, prefix=f"{path}.")
        return
    secret = _marked(info.annotation) or any(isinstance(mark, SecretMark) for mark in info.metadata)
    yield Key(path=path, kind=_kind(shape), secret=secret, default=_default(info), meaning=info.description or "")
    if _kind(shape) is Kind.LIST:
        yield from _of_items(get_args(shape)[0], prefix=f"{path}[].")


def _of_items(annotation: Any, *, prefix: str) -> Iterator[Key]:
    """Yield the keys of the items of a list; of several kinds of items, each key once."""
    seen: set[str] = set()
    for kind in _kinds(annotation):
        for key in _of_section(kind, prefix=prefix):
            if key.path not in seen:
                seen.add(key.path)
                yield key


def _kinds(annotation: Any) -> Iterator[type[Section]]:
    """Yield the sections that an annotation stands for: one, or those of a discriminated union."""
    if get_origin(annotation) is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif get_origin(annotation) in {Union, UnionType}:
        for part in get_args(annotation):
            yield from _kinds(part)
    elif _is_section(annotation):
        yield annotation


def _shape(annotation: Any) -> Any:
    """Return the type inside `Annotated` and `| None`."""
    if get_origin(annotation) is Annotated:
        return _shape(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return _shape(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation


def _is_section(shape: Any) -> TypeGuard[type[Section]]:
    return isinstance(shape, type) and issubclass(shape, Section)


def _kind(shape: Any) -> Kind:
    return {tuple: Kind.LIST, Mapping: Kind.MAP}.get(get_origin(shape) or shape, Kind.SCALAR)


def _marked(annotation: Any) -> bool:
    """Return whether a type contains a secret."""
    marks = annotation.__metadata__ if get_origin(annotation) is Annotated else ()
    inner = get_args(annotation) if not _is_section(annotation) else ()
    return any(isinstance(mark, SecretMark) for mark in marks) or any(_marked(part) for part in inner)


def _default(info: FieldInfo) -> str:
    return "required" if info.is_required() else shown(info.default)


def shown(value: Any) -> str:
    """Return a default as a configuration file writes it."""
    if isinstance(value, tuple):
        return ", ".join(str(getattr(item, "id", item)) for item in value) or "none"
    if value is None or value == {}:
        return "unset" if value is None else "none"
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Dsn):
        return DEFAULT
    if isinstance(value, timedelta):
        return format_duration(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _for_later() -> Iterator[Key]:
    known = {key.path for key in _of_section(Settings, prefix="")}
    for later in LATER:
        for path in later.paths():
            holder = path.rpartition("[]")[0]
            if holder and holder not in known:
                known.add(holder)
                yield _later_key(holder, kind=Kind.LIST, later=later)
            yield _later_key(
                path.removesuffix(".*"), kind=Kind.MAP if path.endswith(".*") else Kind.SCALAR, later=later
            )


def _later_key(path: str, *, kind: Kind, later: Later) -> Key:
    return Key(path=path, kind=kind, secret=False, default="unset", meaning=later.meaning, later=later)
