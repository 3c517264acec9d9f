"""Filling a form again: it shows what was typed, but never passwords, tokens or buttons, and messages at their
nodes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from shopkeeper.credentials.steps import FieldError, SubmissionRejected
from shopkeeper.flows.flow import Flow
from shopkeeper.ui.messages import reason
from shopkeeper.ui.nodes import Node, input_node

LONGEST_VALUE: Final = 10_000
"""The most characters of one field, because what was typed is stored with the flow before the caller is known."""

_NEVER_FILLED: Final = frozenset({"password", "submit", "button"})
# The identifier is shown as it was sent last, and empty where it was not sent, unless the form itself sets it.
_EMPTIED: Final = frozenset({"identifier"})
_PLAIN: Final = frozenset({"csrf_token", "method"})


def filled(flow: Flow, fields: Mapping[str, Any]) -> Flow:
    """Return the flow with what was typed and without the messages of the last submission."""
    values = flatten(fields)
    nodes = [_filled(node.without_messages(), values) for node in flow.nodes]
    if flow.identity_id is not None and isinstance(fields.get("traits"), Mapping):
        # The form of an account shows what is stored; traits in JSON replace all of it.
        nodes = [_emptied(node, values) for node in nodes]
    return replace(flow, nodes=tuple(nodes), messages=())


def with_mistakes(flow: Flow, rejected: SubmissionRejected) -> Flow:
    """Return the flow with the messages of a rejected submission, above the form and at its nodes."""
    nodes = [_with_errors(node, rejected.fields) for node in _with_places(flow.nodes, rejected.fields)]
    return replace(flow, nodes=tuple(nodes), messages=rejected.general, transient_payload=None)


def flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested fields by their dotted names: `{"traits": {"email": "a"}}` becomes `{"traits.email": "a"}`."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value})
    return flat


def refuse_long_values(flow: Flow, fields: Mapping[str, Any]) -> None:
    """Raise `SubmissionRejected` for a value that is too long to be stored and shown again."""
    if has_long_values(flow, fields):
        too_long = reason(
            "field_too_long", "A field of the form has more than {limit} characters.", limit=LONGEST_VALUE
        )
        raise SubmissionRejected(too_long, filled=False)


def has_long_values(flow: Flow, fields: Mapping[str, Any]) -> bool:
    values = flatten(fields)
    kept = [node.name for node in flow.nodes if node.type == "input" and node.attributes["type"] not in _NEVER_FILLED]
    return any(len(str(_shown(values[name]))) > LONGEST_VALUE for name in kept if name in values)


def _filled(node: Node, values: Mapping[str, Any]) -> Node:
    kept = node.type != "input" or node.attributes["type"] in _NEVER_FILLED or node.name in _PLAIN or _disabled(node)
    if kept or values.get(node.name) is None:
        return node.with_value("") if node.name in _EMPTIED and node.attributes["type"] != "hidden" else node
    return node.with_value(_shown(values[node.name]))


def _emptied(node: Node, values: Mapping[str, Any]) -> Node:
    left_out = node.name.startswith("traits.") and values.get(node.name) is None and not _disabled(node)
    return node.with_value(None) if left_out else node


def _disabled(node: Node) -> bool:
    return node.attributes.get("disabled") is True


def _shown(value: Any) -> Any:
    """Return a value as a form shows it: plain values as they are, anything else as the JSON text that was sent."""
    if isinstance(value, str):
        return str(value)  # where it was sent more than once, the last one
    return value if isinstance(value, int | float | bool) else json.dumps(value, separators=(",", ":"))


def _with_errors(node: Node, errors: Sequence[FieldError]) -> Node:
    return node.with_messages(*(error.message for error in errors if error.name == node.name))


def _with_places(nodes: Sequence[Node], errors: Sequence[FieldError]) -> list[Node]:
    """Return the nodes, with further ones after the default group for messages that have no node of their own."""
    places = list(nodes)
    known = {node.name for node in nodes}
    for name in dict.fromkeys(error.name for error in errors if error.name not in known):
        last = max((i for i, node in enumerate(places) if node.group == "default"), default=-1)
        places.insert(last + 1, input_node(name, "text", group="default"))
    return places
