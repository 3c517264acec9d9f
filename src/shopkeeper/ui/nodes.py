"""UI nodes: the fields of a form as data, in the shapes of Kratos' contract (`ui.nodes`, contract page section 2.3).

A node is a frozen value; filling in a value or adding a message gives a new one. `to_wire` leaves out what the contract
leaves out: `required` when false, `value` when there is none; `disabled` and `messages` are always there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shopkeeper.ui.messages import Message


@dataclass(frozen=True, slots=True)
class Node:
    """One field, button, text, picture or script of a form.

    `attributes` are in the order of the contract. `name` is how answers and messages find the node.
    """

    type: str
    group: str
    attributes: Mapping[str, Any]
    label: Message | None = None
    messages: tuple[Message, ...] = field(default_factory=tuple)

    @property
    def name(self) -> str:
        return str(self.attributes.get("name") or self.attributes.get("id") or "")

    @property
    def value(self) -> Any:
        return self.attributes.get("value")

    def with_value(self, value: Any) -> "Node":
        """The same node, filled in; `None` empties it."""
        return replace(self, attributes=_ordered({**self.attributes, "value": value}))

    def with_type(self, type_: str) -> "Node":
        """The same node as another kind of input: hidden, for example."""
        return replace(self, attributes={**self.attributes, "type": type_})

    def with_messages(self, *messages: Message) -> "Node":
        """The same node with further messages."""
        return replace(self, messages=(*self.messages, *messages))

    def without_messages(self) -> "Node":
        return replace(self, messages=())

    def to_wire(self) -> dict[str, Any]:
        """The node as JSON."""
        return {
            "type": self.type,
            "group": self.group,
            "attributes": dict(self.attributes),
            "messages": [message.to_wire() for message in self.messages],
            "meta": {"label": self.label.to_wire()} if self.label else {},
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Node":
        """The node that `to_wire` wrote."""
        label = wire["meta"].get("label")
        return cls(
            type=wire["type"],
            group=wire["group"],
            attributes=_ordered(wire["attributes"]),
            label=Message.from_wire(label) if label else None,
            messages=tuple(Message.from_wire(message) for message in wire["messages"]),
        )


def input_node(
    name: str,
    type_: str,
    *,
    group: str,
    value: Any = None,
    required: bool = False,
    autocomplete: str | None = None,
    label: Message | None = None,
    **more: Any,
) -> Node:
    """An input; `more` are further attributes by their names in the contract."""
    attributes = {"name": name, "type": type_, "value": value, "required": required, "autocomplete": autocomplete}
    return Node("input", group, _ordered({**attributes, **more, "disabled": False, "node_type": "input"}), label)


def submit_node(method: str, *, group: str | None = None, label: Message) -> Node:
    """The button that submits a form with one method."""
    return input_node("method", "submit", group=group or method, value=method, label=label)


def csrf_node(value: str = "") -> Node:
    """The hidden field with the anti-CSRF token; empty in native flows, and in storage."""
    return input_node("csrf_token", "hidden", group="default", value=value, required=True)


ORDER = (
    "name",
    "type",
    "value",
    "required",
    "autocomplete",
    "pattern",
    "minlength",
    "maxlength",
    "options",
    "onclick",
    "onclickTrigger",
    "onload",
    "onloadTrigger",
    "label",
    "disabled",
    "node_type",
)
_RANK = {name: rank for rank, name in enumerate(ORDER)}


def _ordered(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in attributes.items() if v is not None and not (k == "required" and v is False)}
    return dict(sorted(kept.items(), key=lambda item: _RANK.get(item[0], len(ORDER))))
