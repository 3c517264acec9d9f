"""Detects what JSON can express but a database cannot store.

These are NUL characters (PostgreSQL), lone surrogates, numbers that are infinite or too large, and documents nested so
deeply that traversing them is an attack.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from shopkeeper.storage.text_limits import storable

DEEPEST = 32
_LARGEST = 2**63

Path = tuple[str, ...]


def unstorable(value: Any, path: Path = ()) -> tuple[Path, str] | None:
    """Return where a JSON value cannot be stored and why, or None where it can.

    >>> unstorable({"name": {"first": "A\\x00"}})
    (('name', 'first'), 'This has a character that cannot be kept.')
    """
    if isinstance(value, Mapping):
        return _in_object(value, path)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _first(((str(index), item) for index, item in enumerate(value)), path)
    return (path, reason) if (reason := _reason(value)) else None


def _in_object(value: Mapping[str, Any], path: Path) -> tuple[Path, str] | None:
    for name in value:
        if reason := _reason(name):
            return path, reason
    return _first(value.items(), path)


def _first(items: Any, path: Path) -> tuple[Path, str] | None:
    if len(path) >= DEEPEST:
        return path, "This is nested too deep."
    return next((found for name, item in items if (found := unstorable(item, (*path, name)))), None)


def _reason(value: Any) -> str | None:
    if isinstance(value, str):
        return None if storable(value) else "This has a character that cannot be kept."
    if isinstance(value, int):
        return "This number is too large." if abs(value) >= _LARGEST else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "This number has no end."
    return None
