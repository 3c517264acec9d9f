"""The traits of a schema as a tree, with references resolved, `allOf` merged and `ory.sh/kratos` extensions read.

It is built once, when the schema is loaded; forms, extraction and coercion traverse it. Only references within the
document are followed (`#/…`, RFC 6901): a schema must not make this server call another one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from shopkeeper.identity.values import Via

KEYWORD = "ory.sh/kratos"

FromTraits = Mapping[str, Via | None]
"""The credential types whose identifiers are traits, with how these are reached where the schema gives no `via`; None
where identifiers are not addresses."""

_NUMBERS = frozenset({"integer", "number"})
_ROUNDS = 2


class Unreadable(ValueError):
    """Raised when a schema cannot be interpreted; the message says why."""


@dataclass(frozen=True, slots=True)
class Extension:
    """What the schema says about a trait beyond its form: which identifier and which address it is.

    `reached` has the credential types that send messages to this identifier, and how.
    """

    identifies: frozenset[str] = frozenset()
    reached: Mapping[str, Via] = field(default_factory=dict)
    verification: Via | None = None
    recovery: Via | None = None


@dataclass(frozen=True, slots=True)
class Trait:
    """A trait: its path, its schema with references and `allOf` merged, and its children.

    `read_only` says that the schema, or that of an object around it, has `readOnly`.
    """

    path: tuple[str, ...]
    schema: Mapping[str, Any]
    required: bool
    extension: Extension = field(default_factory=Extension)
    children: tuple["Trait", ...] = ()
    items: "Trait | None" = None
    read_only: bool = False

    @property
    def kind(self) -> str:
        """The JSON type; of several types, the first that is not null."""
        declared = self.schema.get("type", "object" if self.children else "array" if self.items else "")
        kinds = [declared] if isinstance(declared, str) else [kind for kind in declared if kind != "null"]
        return str(kinds[0]) if kinds else ""

    @property
    def numeric(self) -> bool:
        return self.kind in _NUMBERS

    def child(self, name: str) -> "Trait | None":
        """Return the child with this name, or None."""
        return next((child for child in self.children if child.path[-1] == name), None)

    def leaves(self) -> Iterator["Trait"]:
        """Yield every trait that is one form field, in the order of the schema."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()


def read_traits(document: Mapping[str, Any], *, from_traits: FromTraits) -> Trait:
    """Return the tree of `properties.traits`. Raises `Unreadable`."""
    root = _Reader(document, from_traits)
    properties = root.merged(document, ())[0].get("properties")
    if not isinstance(properties, Mapping) or not isinstance(properties.get("traits"), Mapping):
        raise Unreadable("it must be an object with 'properties', and 'traits' among them")
    return root.trait((), properties["traits"], required=True, read_only=False, followed=())


class _Reader:
    def __init__(self, document: Mapping[str, Any], from_traits: FromTraits) -> None:
        self._document = document
        self._from_traits = from_traits

    def trait(
        self, path: tuple[str, ...], node: Any, *, required: bool, read_only: bool, followed: tuple[str, ...]
    ) -> Trait:
        schema, followed = self.merged(node, followed)
        read_only = read_only or schema.get("readOnly") is True
        needed = schema.get("required", ())
        properties = schema.get("properties", {})
        children = tuple(
            self.trait(
                (*path, name), child, required=required and name in needed, read_only=read_only, followed=followed
            )
            for name, child in properties.items()
        )
        items = schema.get("items")
        inside = None
        if isinstance(items, dict):
            inside = self.trait((*path, "*"), items, required=False, read_only=read_only, followed=followed)
        extension = _extension(path, schema.get(KEYWORD), from_traits=self._from_traits)
        return Trait(path, schema, required, extension, children, inside, read_only)

    def merged(self, node: Any, followed: tuple[str, ...]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """Return a schema with its reference and its `allOf` merged, and the references followed so far."""
        if not isinstance(node, Mapping):
            return {}, followed
        result: dict[str, Any] = {}
        reference = node.get("$ref")
        # A schema may contain itself, so each reference is followed a bounded number of times.
        if isinstance(reference, str) and followed.count(reference) < _ROUNDS:
            below, followed = self.merged(self._at(reference), (*followed, reference))
            result = _merge(result, below)
        for part in node.get("allOf", ()):
            below, followed = self.merged(part, followed)
            result = _merge(result, below)
        return _merge(result, node), followed

    def _at(self, reference: str) -> Any:
        if reference != "#" and not reference.startswith("#/"):
            raise Unreadable(f"the reference {reference!r} leads out of the document; only '#/…' is followed")
        found: Any = self._document
        for step in reference.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (KeyError, IndexError, TypeError, ValueError) as nothing:
                raise Unreadable(f"the reference {reference!r} leads nowhere") from nothing
        return found


def _merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    properties = {**one.get("properties", {}), **other.get("properties", {})}
    required = [*one.get("required", ()), *other.get("required", ())]
    joined = {"properties": properties, "required": required}
    return {**one, **other, **{name: value for name, value in joined.items() if value}}


def _extension(path: tuple[str, ...], declared: Any, *, from_traits: FromTraits) -> Extension:
    if declared is None:
        return Extension()
    if not isinstance(declared, Mapping):
        raise Unreadable(f"'{KEYWORD}' of the trait {'.'.join(path)!r} must be an object")
    credentials = _object(path, declared, "credentials")
    identifies = {name for name in from_traits if _object(path, credentials, name).get("identifier") is True}
    reached = {
        name: _via(path, _object(path, credentials, name), default=default)
        for name, default in from_traits.items()
        if name in identifies and default is not None
    }
    return Extension(
        identifies=frozenset(identifies),
        reached={name: via for name, via in reached.items() if via is not None},
        verification=_via(path, _object(path, declared, "verification")),
        recovery=_via(path, _object(path, declared, "recovery")),
    )


def _object(path: tuple[str, ...], within: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = within.get(name, {})
    if not isinstance(found, Mapping):
        raise Unreadable(f"'{name}' in '{KEYWORD}' of the trait {'.'.join(path)!r} must be an object")
    return found


def _via(path: tuple[str, ...], within: Mapping[str, Any], *, default: Via | None = None) -> Via | None:
    told = within.get("via")
    if told is None:
        return default
    if told not in list(Via):
        raise Unreadable(f"the trait {'.'.join(path)!r} is reached via {told!r}: only 'email' and 'sms' are known")
    return Via(told)
