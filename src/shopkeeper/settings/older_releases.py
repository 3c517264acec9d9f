"""Reads what older Kratos releases wrote: moves former keys to their places of today, and converts former values."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from shopkeeper.settings.catalogue import by_path
from shopkeeper.settings.files import Tree, merge
from shopkeeper.settings.former_keys import DEFAULT_SCHEMA_URL, FORMER, Former
from shopkeeper.settings.problems import Finding, KeyPath, Problem, dotted
from shopkeeper.settings.tree_paths import matches, placed, placed_under, translated, value_at, without
from shopkeeper.settings.values import format_size

_DEFAULT: Final = "default"
_HELM: Final = "kratos.config"
_ARGON2_MEMORY: Final = ("hashers", "argon2", "memory")
_VERIFY: Final = {"hook": "verify"}


@dataclass(frozen=True, slots=True)
class Renamed:
    """A tree with today's names, what to write instead of former ones, and what contradicts itself."""

    tree: Tree
    notices: tuple[Finding, ...] = ()
    problems: tuple[Problem, ...] = ()


def rename(tree: Tree) -> Renamed:
    """Move every former key to its place of today."""
    unwrapped, notices = _unwrapped(tree)
    problems: list[Problem] = []
    for former in FORMER:
        for path, value in list(matches(unwrapped, former.old)):
            unwrapped = without(unwrapped, path)
            target = translated(path, former.old, former.new) if former.new else None
            notices.append(_notice(dotted(path), former, target))
            if target is not None:
                problems += _contradictions(unwrapped, target, value, old=dotted(path))
                unwrapped = placed_under(unwrapped, target, value)
    return Renamed(unwrapped, tuple(notices), tuple(problems))


def convert(tree: Tree) -> Renamed:
    """Rewrite values that older releases wrote in another form, in a tree with today's names."""
    with_schema = _default_schema(tree)
    sized, of_memory = _memory_with_unit(with_schema.tree)
    converted, of_hooks = _without_verify_hooks(sized)
    return Renamed(converted, (*with_schema.notices, *of_memory, *of_hooks), with_schema.problems)


def _unwrapped(tree: Tree) -> tuple[Tree, list[Finding]]:
    """Return the settings in the values of Kratos' Helm chart, which are below `kratos.config`."""
    chart = tree.get("kratos")
    if not (isinstance(chart, dict) and isinstance(chart.get("config"), dict)):
        return tree, []
    ours = {path.partition(".")[0].removesuffix("[]") for path in (*by_path(), *(former.old for former in FORMER))}
    own = {name: value for name, value in tree.items() if name in ours}
    others = sorted(
        {*(tree.keys() - own.keys() - {"kratos"}), *(f"kratos.{name}" for name in chart.keys() - {"config"})}
    )
    left = f" {', '.join(others)} are for the chart and not read here." if others else ""
    sentence = f"{_HELM} is a value of Kratos' Helm chart; write what is below it into a file of its own.{left}"
    return merge(chart["config"], own), [Finding("notice", _HELM, sentence)]


def _notice(path: str, former: Former, target: KeyPath | None) -> Finding:
    advice = former.instead if target is None else f"write {dotted(target)} today"
    return Finding("notice", path, f"{path} is a key of Kratos until {former.until}; {advice}.")


def _contradictions(tree: Any, path: KeyPath, value: Any, *, old: str) -> Iterator[Problem]:
    """Yield a problem for each value that is set under both names, and differs."""
    existing = value_at(tree, path)
    if existing is None or existing == value:
        return
    if isinstance(existing, dict) and isinstance(value, dict):
        for name, inner in value.items():
            yield from _contradictions(tree, (*path, name), inner, old=f"{old}.{name}")
        return
    today = dotted(path)
    yield Problem(old, f"{old} and {today} are both set and differ; keep {today}, its name of today.")


def _default_schema(tree: Tree) -> Renamed:
    identity = tree.get("identity")
    if not isinstance(identity, dict) or "default_schema_url" not in identity:
        return Renamed(tree)
    url, schemas = identity["default_schema_url"], identity.get("schemas") or []
    kept = {name: value for name, value in identity.items() if name != "default_schema_url"}
    advice = f"write identity.schemas: [{{id: {_DEFAULT}, url: …}}] today"
    notice = Finding("notice", DEFAULT_SCHEMA_URL, f"{DEFAULT_SCHEMA_URL} is a key of Kratos until v0.8; {advice}.")
    others = schemas if isinstance(schemas, list) else [schemas]  # what is no list is refused by the model
    same = [schema for schema in others if isinstance(schema, dict) and schema.get("id") == _DEFAULT]
    if identity.get("default_schema_id", _DEFAULT) != _DEFAULT or any(schema.get("url") != url for schema in same):
        sentence = f"{DEFAULT_SCHEMA_URL} contradicts identity.default_schema_id or identity.schemas; leave it out."
        return Renamed({**tree, "identity": kept}, (notice,), (Problem(DEFAULT_SCHEMA_URL, sentence),))
    merged = others if same else [*others, {"id": _DEFAULT, "url": url}]
    return Renamed({**tree, "identity": {**kept, "schemas": merged}}, (notice,))


def _memory_with_unit(tree: Tree) -> tuple[Tree, tuple[Finding, ...]]:
    """Give Argon2's memory its unit: a bare number was in KiB until v0.5, and is refused by Kratos since."""
    path = _ARGON2_MEMORY
    written = value_at(tree, path)
    digits = str(written) if isinstance(written, int | str) and not isinstance(written, bool) else ""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 12):
        return tree, ()
    size = format_size(int(digits) * 1024)
    sentence = f"{dotted(path)} has no unit, which was KiB in Kratos until v0.5; write {size} today."
    return placed(tree, path, size), (Finding("notice", dotted(path), sentence),)


def _without_verify_hooks(tree: Any, path: KeyPath = ()) -> tuple[Any, list[Finding]]:
    """Remove the hook `verify`: addresses are verified where the verification flow is enabled."""
    kept, notices = {}, []
    for name, value in tree.items():
        place = (*path, name)
        if name == "hooks" and isinstance(value, list) and _VERIFY in value:
            sentence = (
                f"{dotted(place)} has the hook verify of Kratos until v0.5; leave it out, because"
                " selfservice.flows.verification.enabled is enough."
            )
            notices.append(Finding("notice", dotted(place), sentence))
            value = [hook for hook in value if hook != _VERIFY]  # noqa: PLW2901 - the list without it
        elif isinstance(value, dict):
            value, inner = _without_verify_hooks(value, place)  # noqa: PLW2901 - the section without them
            notices += inner
        kept[name] = value
    return kept, notices
