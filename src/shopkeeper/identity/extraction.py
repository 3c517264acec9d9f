"""Extracts identifiers and addresses from traits."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from shopkeeper.identity.normalise import normalise_email, normalise_identifier, normalise_phone
from shopkeeper.identity.traits import Extension, Trait
from shopkeeper.identity.values import Via

Address = tuple[Via, str]

_NORMALISE = {Via.EMAIL: normalise_email, Via.SMS: normalise_phone}


@dataclass(frozen=True, slots=True)
class Extracted:
    """Identifiers by credential type, and addresses: normalised, without duplicates, in the order of the schema.

    `addresses` has the identifiers of the types that send messages to them, with how they are reached.
    """

    identifiers: Mapping[str, tuple[str, ...]]
    verifiable: tuple[Address, ...] = ()
    recovery: tuple[Address, ...] = ()
    addresses: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)


def extract(trait: Trait, traits: Any) -> Extracted:
    """Extract identifiers and addresses. Values that are empty after normalising are left out."""
    found = [(extension, text) for _, extension, text in marked(trait, traits)]
    types = sorted({type_ for extension, _ in found for type_ in extension.identifies})
    identifiers = {
        type_: _once(normalise_identifier(text) for extension, text in found if type_ in extension.identifies)
        for type_ in types
    }
    reached = {type_: _addresses((extension.reached.get(type_), text) for extension, text in found) for type_ in types}
    return Extracted(
        identifiers={type_: values for type_, values in identifiers.items() if values},
        verifiable=_addresses((extension.verification, text) for extension, text in found),
        recovery=_addresses((extension.recovery, text) for extension, text in found),
        addresses={type_: values for type_, values in reached.items() if values},
    )


def marked(trait: Trait, value: Any, *, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Extension, str]]:
    """Yield every value with an extension in the schema: its path, the extension, the value as text."""
    if isinstance(value, Mapping):
        for child in trait.children:
            name = child.path[-1]
            if name in value:
                yield from marked(child, value[name], path=(*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from marked(trait.items or trait, item, path=(*path, str(index)))
    elif trait.extension != Extension() and isinstance(value, str | int) and not isinstance(value, bool):
        yield path, trait.extension, str(value)


def _once(values: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


def _addresses(found: Iterator[tuple[Via | None, str]]) -> tuple[Address, ...]:
    addresses = ((via, _NORMALISE[via](text)) for via, text in found if via is not None)
    return tuple(dict.fromkeys(address for address in addresses if address[1]))
