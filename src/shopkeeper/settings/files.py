"""Reads configuration files: YAML, JSON or TOML, merged in the order they are given."""

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from shopkeeper.settings.problems import Problem, SettingsError

Tree = dict[str, Any]
LARGEST: Final = 8 * 1024 * 1024
"""Bytes of a configuration file, or of a file with a secret. A schema of a megabyte fits in, as `base64://`."""
MOST_VALUES: Final = 100_000
"""Values of a file, repeated parts of YAML written out: a few lines of anchors can come to billions."""


def read_files(files: Iterable[Path]) -> tuple[Tree, list[Problem]]:
    """Return all files as one tree, later ones over earlier ones, lists replaced; and the problems of the files."""
    tree: Tree = {}
    problems: list[Problem] = []
    for file in files:
        try:
            tree = merge(tree, _read(file))
        except SettingsError as error:
            problems += error.problems
    return tree, problems


def read_text(file: Path) -> str:
    """Return the text of a file. Raises `SettingsError` with its own sentence."""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise _unreadable(file, f"is larger than {LARGEST} bytes; name a configuration")
        return content.decode("utf-8-sig").replace("\r\n", "\n")  # some editors begin a file with a byte order mark
    except OSError as broken:
        raise _unreadable(file, f"cannot be read: {(broken.strerror or 'unknown error').lower()}") from broken
    except ValueError as broken:
        raise _unreadable(file, "is not UTF-8 text; save it as UTF-8") from broken


def merge(under: Tree, over: Mapping[str, Any]) -> Tree:
    """Merge one tree over another."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _read(file: Path) -> Tree:
    text = read_text(file)
    if not text.strip():
        raise _unreadable(file, "is empty; write settings into it, or start without it")
    tree = _PARSERS.get(file.suffix.lower(), _yaml)(file, text)
    if tree is None:
        raise _unreadable(file, "holds no settings; write some into it, or start without it")
    if not isinstance(tree, dict):
        raise _unreadable(file, "must be a section with names and values, such as `dsn: memory`")
    try:
        if _counted(tree) > MOST_VALUES:
            raise _unreadable(file, f"has more than {MOST_VALUES} values; look for anchors that repeat each other")
        return set_only(tree)
    except RecursionError as broken:
        raise _unreadable(file, "contains itself; write the repeated part out") from broken


def _counted(value: Any, so_far: int = 0) -> int:
    """Return how many values there are, those of repeated parts each time; counting ends soon after `MOST_VALUES`."""
    so_far += 1
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        if so_far > MOST_VALUES:
            break
        so_far = _counted(each, so_far)
    return so_far


WITH_NULL: Final = frozenset({"requested_claims"})
"""Sections in which null is a value: OpenID Connect asks for a claim by it (Core 1.0, 5.5.1)."""


def set_only(section: Mapping[Any, Any]) -> Tree:
    """Remove null values: they mean that nothing was set."""
    return {
        str(name): value if name in WITH_NULL else _set_only(value)
        for name, value in section.items()
        if value is not None
    }


def _set_only(value: Any) -> Any:
    if isinstance(value, list):
        return [_set_only(item) for item in value]
    return set_only(value) if isinstance(value, dict) else value


def _unreadable(file: Path, why: str) -> SettingsError:
    return SettingsError([Problem(path=str(file), sentence=f"{file} {why}.")])


class _Loader(yaml.SafeLoader):
    """YAML that refuses repeated names: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.value == "<<":
                continue
            if name.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the name {name.value} is there twice; keep one of them", name.start_mark
                )
            seen.add(name.value)
        return super().construct_mapping(node, deep=deep)


def _yaml(file: Path, text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except yaml.MarkedYAMLError as broken:
        mark = broken.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _unreadable(file, f"is not valid YAML: {where}{broken.problem or 'it cannot be parsed'}") from broken
    except (yaml.YAMLError, ValueError, RecursionError) as broken:
        raise _unreadable(file, "is not valid YAML; look for characters that cannot be printed") from broken


def _json(file: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as broken:
        why = f"is not valid JSON: line {broken.lineno}, column {broken.colno}: {broken.msg.lower()}"
        raise _unreadable(file, why) from broken
    except (ValueError, RecursionError) as broken:
        raise _unreadable(file, "is not usable JSON; look for very long numbers and very deep nesting") from broken


def _toml(file: Path, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as broken:
        raise _unreadable(file, f"is not valid TOML: {str(broken)[:1].lower()}{str(broken)[1:]}") from broken


_PARSERS: Final[Mapping[str, Callable[[Path, str], Any]]] = {".json": _json, ".toml": _toml}
