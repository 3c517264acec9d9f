"""Terms: the traits by which identities can be searched for, one short text for each value (`name.first=ada`).

A term joins the path of a trait and its value, because the database plans one column of exact values better than two
columns that depend on each other. All items of a list are values of the list's path. Terms are folded, so that capitals
make no difference.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

import msgspec

from shopkeeper.identity.normalise import fold

LONGEST_TERM: Final = 400
"""Characters of a path and its value together; longer values are not searched for."""
MOST_TERMS: Final = 100
"""Terms of one identity; further values are not searched for."""


def term(path: str, value: Any) -> str | None:
    """Return the term of a value, or None where it is too long.

    >>> term("name.first", "Ada"), term("customer.vip", True), term("shoe", 44)
    ('name.first=ada', 'customer.vip=true', 'shoe=44')
    """
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(path) + len(text) >= LONGEST_TERM:
        return None
    folded = fold(f"{path}={text}")
    return folded if len(folded) <= LONGEST_TERM else None


def terms_of(traits: Mapping[str, Any]) -> frozenset[str]:
    """Return the terms of an identity.

    >>> sorted(terms_of({"email": "ada@example.org", "tags": ["Gold", "old shop"], "age": None}))
    ['email=ada@example.org', 'tags=gold', 'tags=old shop']
    """
    every = (term(path, value) for path, value in _values(traits, ""))
    return frozenset(islice((each for each in every if each is not None), MOST_TERMS))


def _values(document: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(document, Mapping):
        for name, value in document.items():
            yield from _values(value, f"{path}.{name}" if path else name)
    elif isinstance(document, list | tuple):
        for value in document:
            yield from _values(value, path)
    elif document is not None:
        yield path, document
