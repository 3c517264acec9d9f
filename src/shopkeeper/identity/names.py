"""Reads a person's names from their traits. Schemas are the shop's own, so traits may hold any JSON value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shopkeeper.identity.values import Identity


@dataclass(frozen=True, slots=True)
class Names:
    """First and last name, where they are texts."""

    first: str | None
    last: str | None


def names_of(identity: Identity) -> Names:
    """Return the names, for mails and engines."""
    return Names(text_at(identity.traits, "name", "first"), text_at(identity.traits, "name", "last"))


def text_at(traits: Mapping[str, Any], *path: str) -> str | None:
    """Return the text at a path in traits, or None where there is no text.

    >>> text_at({"name": {"first": "Ada", "last": ["Lovelace"]}}, "name", "first")
    'Ada'
    >>> text_at({"name": {"first": "Ada", "last": ["Lovelace"]}}, "name", "last") is None
    True
    """
    value: Any = traits
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None
