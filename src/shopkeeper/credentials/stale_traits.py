"""Lost updates in the profile: a form that was opened before a change elsewhere must not undo it unseen.

A form is sent whole. A value that is still what the form was opened with is no wish to change it back.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shopkeeper.credentials.steps import SubmissionRejected
from shopkeeper.ui.messages import reason
from shopkeeper.ui.nodes import Node

CHANGED_MEANWHILE: Final = "The profile was changed elsewhere meanwhile. Please check it and save again."

Path = tuple[str, ...]


class ChangedMeanwhile(SubmissionRejected):
    """Raised where a submission would undo what was changed elsewhere since its form was opened.

    `names` are the fields whose values it would put back; the form is to show those of now.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        super().__init__(reason("changed_meanwhile", CHANGED_MEANWHILE))
        self.names = frozenset(names)


def put_back(opened_with: Mapping[str, Any], now: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the names of the traits that were changed since the form was opened, and that a submission wants as they
    were then.

    >>> put_back({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 3})
    ['traits.a']
    """
    then, current, sent = (dict(_leaves(traits)) for traits in (opened_with, now, wanted))
    changed = [path for path in {**then, **current} if then.get(path) != current.get(path)]
    return [_field_name(path) for path in changed if sent.get(path) == then.get(path)]


def with_values_of_now(nodes: Sequence[Node], shown: Mapping[str, tuple[Any, Any]]) -> tuple[Node, ...]:
    """Return the nodes of a form, with the current value in each field that still has the value it was opened with.

    `shown` has both values by the name of the field: that of the opening, and the current one.
    """

    def anew(node: Node) -> Node:
        then, now = shown.get(node.name, (None, None))
        untouched = node.value == then or (_is_empty(node.value) and _is_empty(then))
        return node.with_value(now) if then != now and untouched else node

    return tuple(anew(node) for node in nodes)


def _field_name(path: Path) -> str:
    return ".".join(("traits", *path))


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the values of nested traits by their paths."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*path, name))
    elif not _is_empty(value):
        yield path, value


def _is_empty(value: Any) -> bool:
    """Return whether a value is as good as none: an empty field, or an unchecked box."""
    return value is None or value is False or value == ""
