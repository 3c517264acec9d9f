"""JSON Patch (RFC 6902) with JSON Pointer (RFC 6901): applies a list of changes, all or none.

The given document is not modified. Which paths a patch may change is decided by the caller. The operations are those of
the package `jsonpatch`; here are the bounds, the refusals, and the parents that `add` creates in the identity API.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
from jsonpatch import (
    JsonPatch,
    JsonPatchConflict,
    JsonPatchException,
    JsonPatchPathNotFound,
    JsonPatchTestFailed,
    JsonPointer,
    JsonPointerException,
)
from jsonpointer import EndOfList

from shopkeeper.errors import InvalidInput, MalformedBody
from shopkeeper.parsing import MAX_DEPTH, require_bounded

MOST_OPERATIONS: Final = 1000
MOST_COPIED: Final = 1_000_000
"""Bytes that the `copy` operations of a patch may copy: each can double the document, so thirty fill the memory."""
LARGEST_RESULT: Final = 5_000_000
"""Bytes of the document after a patch, as JSON: as many as a request that replaces it may send."""
MOST_VALUES: Final = 300_000

_VERBS: Final = ("add", "remove", "replace", "move", "copy", "test")
_WITH_VALUE: Final = frozenset({"add", "replace", "test"})
_WITH_FROM: Final = frozenset({"move", "copy"})
_IN_ARRAY: Final = re.compile(r"-|0|[1-9][0-9]*")

Pointer = tuple[str, ...]


class PatchFailed(InvalidInput):
    """Raised when a patch cannot be applied; the sentence names the operation, counted from 0."""


class _CannotApply(Exception):
    """Raised when one operation does not fit the document."""


def apply(document: Any, operations: Sequence[Mapping[str, Any]], *, create_parents: bool = False) -> Any:
    """Return the document after all operations. Raises `PatchFailed` at the first that fails.

    `create_parents` makes `add` create the objects and arrays on its path that are missing or null, as Kratos does;
    RFC 6902 (section 4.1) refuses such an operation.

    >>> apply({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}])
    {'foo': 'bar', 'baz': 'qux'}
    >>> apply({"foo": None}, [{"op": "add", "path": "/foo/baz", "value": "qux"}], create_parents=True)
    {'foo': {'baz': 'qux'}}
    """
    if len(operations) > MOST_OPERATIONS:
        raise PatchFailed(f"A patch has {MOST_OPERATIONS} operations at most.")
    patched, copied = copy.deepcopy(document), 0
    for index, operation in enumerate(operations):
        try:
            _require_complete(operation)
            if create_parents and operation["op"] == "add":
                _create_parents(patched, pointer(operation["path"]))
            if operation["op"] == "copy":
                copied += _size_of_copy(patched, operation, left=MOST_COPIED - copied)
            patched = _run(patched, operation)
        except _CannotApply as failed:
            raise PatchFailed(f"Operation {index} of the patch cannot be applied: {failed}.") from failed
        except RecursionError as deep:
            raise PatchFailed(f"Operation {index} of the patch meets a document that nests too deep.") from deep
    _require_result_bounded(patched)
    return patched


def pointer(text: Any) -> Pointer:
    """Return the steps of a JSON Pointer. Raises `PatchFailed`, also for one with more steps than a document may have.

    >>> pointer("/a~1b/m~0n/0")
    ('a/b', 'm~n', '0')
    """
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchFailed("A JSON Pointer is empty or begins with '/'.")
    if text.count("/") > MAX_DEPTH:
        raise PatchFailed(f"A JSON Pointer has {MAX_DEPTH} steps at most.")
    try:
        return tuple(JsonPointer(text).parts)
    except JsonPointerException as broken:
        raise PatchFailed("In a JSON Pointer '~' is followed by 0 or 1.") from broken


def _require_complete(operation: Mapping[str, Any]) -> None:
    """Raise `_CannotApply` or `PatchFailed` where a member is missing or unreadable."""
    verb = operation.get("op")
    if not isinstance(verb, str) or verb not in _VERBS:
        raise _CannotApply(f"'op' is one of {', '.join(_VERBS)}")
    pointer(operation.get("path"))
    if verb in _WITH_VALUE and "value" not in operation:
        raise _CannotApply("'value' is missing")
    if verb in _WITH_FROM:
        if "from" not in operation:
            raise _CannotApply("'from' is missing")
        pointer(operation["from"])


def _create_parents(document: Any, path: Pointer) -> None:
    """Create what is missing or null on the path to the parent: an array where the next step is an index, else an
    object. Elements of arrays are not created: an index far beyond the end would fill the memory."""
    found = document
    for step, following in pairwise(path):
        key: Any = step
        if isinstance(found, list):
            if not _IN_ARRAY.fullmatch(step) or step == "-" or len(step) > 9 or int(step) >= len(found):
                return
            key = int(step)
        elif not isinstance(found, dict):
            return
        value = found[key] if isinstance(found, list) else found.get(key)
        if value is None:
            value = found[key] = [] if _IN_ARRAY.fullmatch(following) else {}
        found = value


def _size_of_copy(document: Any, operation: Mapping[str, Any], *, left: int) -> int:
    """Return how many bytes of JSON the operation copies. Raises `_CannotApply` where they are more than are left."""
    size = len(msgspec.json.encode(_resolved(document, operation["from"])))
    if size > left:
        raise _CannotApply("the patch copies too much")
    return size


def _resolved(document: Any, path: str) -> Any:
    try:
        found = JsonPointer(path).resolve(document)
    except JsonPointerException as missing:
        raise _CannotApply(_nothing_at(path)) from missing
    if isinstance(found, EndOfList):  # `-` is where `add` appends; nothing is there
        raise _CannotApply(_nothing_at(path))
    return found


def _run(document: Any, operation: Mapping[str, Any]) -> Any:
    """Apply one operation in place. Raises `_CannotApply`, with nothing of the document in its sentence."""
    try:
        return JsonPatch([operation]).apply(document, in_place=True)
    except (JsonPatchException, JsonPointerException) as failed:
        raise _CannotApply(_reason(failed, operation)) from failed


def _reason(failed: Exception, operation: Mapping[str, Any]) -> str:
    verb = operation["op"]
    match failed:
        case JsonPatchTestFailed():
            return "the value is another one"
        case JsonPatchConflict() if verb == "move" and not isinstance(failed, JsonPatchPathNotFound):
            return "a value cannot be moved into itself, or to a place that is not there"
        case JsonPatchConflict() if not operation["path"]:
            return "the whole document cannot be taken away"
        case _ if verb == "add":
            return f"there is no object or array to add it to at {_shown(operation['path'])}"
        case _:
            return _nothing_at(operation["from" if verb in _WITH_FROM else "path"])


def _nothing_at(path: str) -> str:
    return f"there is nothing at {_shown(path)}"


def _shown(path: str) -> str:
    return repr(path if len(path) <= 80 else f"{path[:77]}...")


def _require_result_bounded(document: Any) -> None:
    """Raise `PatchFailed` for a document that no request may send: otherwise patches could grow it at will."""
    try:
        require_bounded(document, most_values=MOST_VALUES)
    except MalformedBody as unbounded:
        raise PatchFailed("After the patch the document would nest too deep or have too many fields.") from unbounded
    if len(msgspec.json.encode(document)) > LARGEST_RESULT:
        raise PatchFailed(f"After the patch the document would have more than {LARGEST_RESULT} bytes.")
