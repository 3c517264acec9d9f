"""JSON Patch (RFC 6902) with JSON Pointer (RFC 6901): applies a list of changes, all or none.

The given document is not modified. Which paths a patch may change is decided by the caller.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shopkeeper.errors import InvalidInput

MOST_OPERATIONS = 1000
MOST_COPIED = 100_000
"""How many values the `copy` operations of a patch may create: each can double the document, so thirty fill the memory.
"""

Pointer = tuple[str, ...]


class PatchFailed(InvalidInput):
    """Raised when a patch cannot be applied; the sentence names the operation, counted from 0."""


def apply(document: Any, operations: Sequence[Mapping[str, Any]]) -> Any:
    """Return the document after all operations. Raises `PatchFailed` at the first that fails.

    >>> apply({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}])
    {'foo': 'bar', 'baz': 'qux'}
    """
    if len(operations) > MOST_OPERATIONS:
        raise PatchFailed(f"A patch has {MOST_OPERATIONS} operations at most.")
    patch = _Patch(copy.deepcopy(document))
    for index, operation in enumerate(operations):
        try:
            patch.run(operation)
        except _CannotApply as failed:
            raise PatchFailed(f"Operation {index} of the patch cannot be applied: {failed}.") from failed
    return patch.document


def pointer(text: Any) -> Pointer:
    """Return the steps of a JSON Pointer. Raises `PatchFailed`.

    >>> pointer("/a~1b/m~0n/0")
    ('a/b', 'm~n', '0')
    """
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchFailed("A JSON Pointer is empty or begins with '/'.")
    if "~" in text.replace("~0", "").replace("~1", ""):
        raise PatchFailed("In a JSON Pointer '~' is followed by 0 or 1.")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])


class _CannotApply(Exception):
    """Raised when one operation does not fit the document."""


class _Patch:
    def __init__(self, document: Any) -> None:
        self.document = document
        self._copied = 0

    def run(self, operation: Mapping[str, Any]) -> None:
        name = operation.get("op")
        verb = _VERBS.get(name) if isinstance(name, str) else None
        if verb is None:
            raise _CannotApply(f"'op' is one of {', '.join(_VERBS)}")
        verb(self, pointer(operation.get("path")), operation)

    def add(self, path: Pointer, operation: Mapping[str, Any]) -> None:
        self._put(path, _value(operation))

    def remove(self, path: Pointer, _operation: Mapping[str, Any]) -> None:
        self._take(path)

    def replace(self, path: Pointer, operation: Mapping[str, Any]) -> None:
        value = _value(operation)
        if path:
            parent, key = _existing(self._parent(path), path[-1])
            parent[key] = value
        else:
            self.document = value

    def move(self, path: Pointer, operation: Mapping[str, Any]) -> None:
        source = _from(operation)
        if path != source and path[: len(source)] == source:
            raise _CannotApply("a value cannot be moved into itself")
        self._put(path, self._take(source))

    def copy(self, path: Pointer, operation: Mapping[str, Any]) -> None:
        value = self._at(_from(operation))
        self._copied += _weight(value)
        if self._copied > MOST_COPIED:
            raise _CannotApply("the patch copies too much")
        self._put(path, copy.deepcopy(value))

    def test(self, path: Pointer, operation: Mapping[str, Any]) -> None:
        if not _same_json(self._at(path), _value(operation)):
            raise _CannotApply("the value is another one")

    def _at(self, path: Pointer) -> Any:
        found = self.document
        for step in path:
            parent, key = _existing(found, step)
            found = parent[key]
        return found

    def _parent(self, path: Pointer) -> Any:
        return self._at(path[:-1])

    def _put(self, path: Pointer, value: Any) -> None:
        if not path:
            self.document = value
            return
        parent, last = self._parent(path), path[-1]
        if isinstance(parent, list):
            parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
        elif isinstance(parent, dict):
            parent[last] = value
        else:
            raise _CannotApply("there is nothing to add it to")

    def _take(self, path: Pointer) -> Any:
        if not path:
            raise _CannotApply("the whole document cannot be taken away")
        parent, key = _existing(self._parent(path), path[-1])
        return parent.pop(key)


def _existing(parent: Any, step: str) -> tuple[Any, Any]:
    """Return the container and its key for an existing value."""
    if isinstance(parent, list):
        return parent, _index(step, len(parent) - 1)
    if isinstance(parent, dict) and step in parent:
        return parent, step
    raise _CannotApply(f"there is nothing at {step[:40]!r}")


def _index(step: str, highest: int) -> int:
    plain = step.isascii() and step.isdecimal() and len(step) < 10 and (step == "0" or step[0] != "0")
    if not plain or int(step) > highest:
        raise _CannotApply(f"there is no place {step[:40]!r} in the array")
    return int(step)


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise _CannotApply("'value' is missing")
    return copy.deepcopy(operation["value"])


def _from(operation: Mapping[str, Any]) -> Pointer:
    if "from" not in operation:
        raise _CannotApply("'from' is missing")
    return pointer(operation["from"])


def _weight(value: Any) -> int:
    """Return the number of values inside a value, including itself."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(_weight(item) for item in below)


def _same_json(one: Any, other: Any) -> bool:
    """Whether two values are equal as JSON: 1 equals 1.0, but not true (RFC 6902 section 4.6)."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_json, one, other))
    return bool(one == other)


_VERBS: Mapping[str, Callable[[_Patch, Pointer, Mapping[str, Any]], None]] = {
    "add": _Patch.add,
    "remove": _Patch.remove,
    "replace": _Patch.replace,
    "move": _Patch.move,
    "copy": _Patch.copy,
    "test": _Patch.test,
}
