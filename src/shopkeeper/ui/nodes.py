"""UI nodes: the fields of a form as data, in the shapes of Kratos' contract (`ui.nodes`, contract page section 2.3).

A node is a frozen value; to fill in a value or add a message returns a new one. `to_wire` leaves out what the contract
leaves out: `required` when false, `value` when None; `disabled` and `messages` are always there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shopkeeper.ui.messages import Message


@dataclass(frozen=True, slots=True)
class Node:
    """One field, button, text, picture or script of a form.

    `attributes` are in the order of the contract. Submissions and messages refer to the node by `name`.
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
        """Return a copy with a value; `None` removes it."""
        return replace(self, attributes=_ordered({**self.attributes, "value": value}))

    def with_type(self, type_: str) -> "Node":
        """Return a copy of another input type, for example hidden."""
        return replace(self, attributes={**self.attributes, "type": type_})

    def with_messages(self, *messages: Message) -> "Node":
        """Return a copy with further messages."""
        return replace(self, messages=(*self.messages, *messages))

    def without_messages(self) -> "Node":
        return replace(self, messages=())

    def to_wire(self) -> dict[str, Any]:
        """Return the node as JSON."""
        return {
            "type": self.type,
            "group": self.group,
            "attributes": dict(self.attributes),
            "messages": [message.to_wire() for message in self.messages],
            "meta": {"label": self.label.to_wire()} if self.label else {},
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Node":
        """Return the node that `to_wire` wrote."""
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
    disabled: bool = False,
    **more: Any,
) -> Node:
    """Return an input; `more` are further attributes by their names in the contract."""
    attributes = {"name": name, "type": type_, "value": value, "required": required, "autocomplete": autocomplete}
    return Node("input", group, _ordered({**attributes, **more, "disabled": disabled, "node_type": "input"}), label)


def submit_node(method: str, *, group: str | None = None, label: Message) -> Node:
    """Return the button that submits a form with one method."""
    return input_node("method", "submit", group=group or method, value=method, label=label)


def csrf_node(value: str = "") -> Node:
    """Return the hidden field with the anti-CSRF token; empty in native flows, and in storage."""
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
