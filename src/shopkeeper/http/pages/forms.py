"""A flow's nodes as an HTML form: the element of each, the messages that describe it, and the focus.

Each node is rendered by its type; nothing here depends on a method's name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shopkeeper.flows import keep_signed_in
from shopkeeper.ui.messages import Message
from shopkeeper.ui.nodes import Node

_KINDS: Mapping[str, str] = {"hidden": "hidden", "submit": "submit", "checkbox": "checkbox", "button": "scripted"}
_TYPES = frozenset({"text", "password", "email", "tel", "url", "number", "date", "datetime-local"})
_MAILED_CODE = "one-time-code"
# For an address, passwords' managers look for a name to sign in with.
_FILLED_IN: Mapping[str, str] = {"identifier": "username", "email": "email", "code": _MAILED_CODE}
_SHARED = "default"
PROVIDER: Final = "provider"
"""The name of the buttons of identity providers, and the kind of those that name one."""
_FILLED_BY_HAND = frozenset({"field", "choice", "checkbox"})
_SCHEMES = ("https://", "http://", "/")
_PICTURES = ("https://", "http://", "/", "data:image/")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form, ready to be rendered. `kind` names the macro that renders it."""

    kind: str
    id: str
    group: str
    name: str
    type: str
    attributes: Mapping[str, Any]
    label: Message | None
    messages: tuple[Message, ...]
    focused: bool = False
    primary: bool = False

    @property
    def value(self) -> Any:
        return self.attributes.get("value", "")

    @property
    def leads_away(self) -> bool:
        """Whether the part is a button that leads to another step. A provider's button without a provider's name sends
        the form that asks for what the provider has not told."""
        return self.kind == "submit" and self.name not in {"method", PROVIDER}

    @property
    def sends_address_again(self) -> bool:
        """Whether the part holds an e-mail address of an earlier step: a hidden field, or a button that mails again."""
        if self.kind == "submit":
            return self.name == "email"
        return self.kind == "hidden" and (self.name == "identifier" or self.attributes.get("autocomplete") == "email")

    @property
    def autocomplete(self) -> str | None:
        """What browsers may fill in (HTML, autofill): as the contract says, else by the kind of field."""
        return self.attributes.get("autocomplete") or _FILLED_IN.get(self.name) or _FILLED_IN.get(self.type)

    @property
    def heading(self) -> Message | None:
        """The label of a link, which is written as its title."""
        return self.label or _message(self.attributes.get("title"))

    @property
    def provider(self) -> str:
        """What the identity provider of a button is called; empty for other parts."""
        return str(self.label.context.get(PROVIDER, "")) if self.label else ""

    @property
    def one_time_code(self) -> bool:
        """Whether the field takes a mailed code. The contract does not say so in every flow."""
        return _one_time_code(self.attributes)

    @property
    def invalid(self) -> bool:
        return any(message.type == "error" for message in self.messages)

    @property
    def described_by(self) -> str:
        """The ids of what is said of this field: its messages, else what a new password needs."""
        if self.asks_new_password and not self.messages:
            return f"{self.id}-needs"
        return " ".join(f"{self.id}-message-{number}" for number in range(1, len(self.messages) + 1))

    @property
    def asks_new_password(self) -> bool:
        return self.type == "password" and self.autocomplete == "new-password"


@dataclass(frozen=True, slots=True)
class Form:
    """A form. `focus_messages` says that the messages above it get the focus."""

    action: str
    parts: tuple[Part, ...]
    messages: tuple[Message, ...] = ()
    focus_messages: bool = False
    check_in_browser: bool = field(default=True)

    @property
    def main(self) -> tuple[Part, ...]:
        """The parts that belong to the form itself."""
        apart = (*self.turns, *self.providers)
        return tuple(part for part in self.parts if part not in apart)

    @property
    def providers(self) -> tuple[Part, ...]:
        """The buttons of identity providers, in the order of the nodes, which is the one that the shop has configured.

        No field has to be filled in for them. Where the form has fields and no button of its own, they belong to it.
        """
        seen = {part.kind for part in self.parts if not part.leads_away}
        if seen & _FILLED_BY_HAND and "submit" not in seen:
            return ()
        return tuple(part for part in self.parts if part.kind == PROVIDER)

    @property
    def keeps_signed_in(self) -> bool:
        """Whether there is a choice to be kept signed in, which holds for the buttons of providers as well."""
        return any(part.name == keep_signed_in.FIELD and part.kind == "checkbox" for part in self.parts)

    @property
    def completes(self) -> str | None:
        """The id of the provider whose sign-in the form completes, by asking for what it has not told."""
        return next((str(part.value) for part in self.parts if part.name == PROVIDER and part.kind == "submit"), None)

    @property
    def asks(self) -> bool:
        """Whether something of the form itself is seen."""
        return any(part.kind not in {"hidden", "scripted"} for part in self.main)

    @property
    def turns(self) -> tuple[Part, ...]:
        """The buttons that lead to another step.

        Each is a form of its own, with the hidden fields and its method (the group): no field has to be filled in for
        it.
        """
        return tuple(part for part in self.parts if part.leads_away)

    @property
    def known(self) -> tuple[Part, ...]:
        """The hidden fields that another step is sent with; its button names the method."""
        return tuple(part for part in self.parts if part.kind == "hidden" and part.name != "method")

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that were given in an earlier step and are sent again, as they were typed."""
        given = [part.value for part in self.parts if part.sends_address_again]
        return tuple(dict.fromkeys(str(value) for value in given if value))

    @property
    def code_filled_in(self) -> bool:
        """Whether the mailed code is in its field already: the reader has followed the link of the mail."""
        return any(part.kind == "field" and part.one_time_code and part.value for part in self.parts)

    @property
    def ends(self) -> bool:
        """Whether nothing is left to be sent: a link leads on."""
        kinds = {part.kind for part in self.parts}
        return "link" in kinds and "submit" not in kinds

    @property
    def wrong(self) -> bool:
        """Whether the form has an error to show."""
        return any(m.type == "error" for m in self.messages) or any(part.invalid for part in self.parts)


def form_of(
    nodes: Sequence[Node], messages: Sequence[Message], *, action: str, csrf_token: str, ids: str = "field"
) -> Form:
    """Return the form of some nodes, with the anti-CSRF token, which is never stored.

    `ids` begins the ids of its elements, so that a page can have several forms.
    """
    shown = [node.with_value(csrf_token) if node.name == "csrf_token" else node for node in nodes]
    wrong = any(m.type == "error" for m in messages)
    parts = tuple(_parts(_arranged(shown), focus_code=not wrong, ids=ids))
    return Form(
        action=action,
        parts=parts,
        messages=tuple(messages),
        focus_messages=wrong and not any(part.focused for part in parts),
        # With several methods in one form, an empty field of one must not block the button of another.
        check_in_browser=sum(part.kind == "submit" and part.name == "method" for part in parts) <= 1,
    )


def forms_by_group(nodes: Sequence[Node], *, action: str, csrf_token: str) -> Mapping[str, Form]:
    """Return a form for each group of nodes, in their order; each has the nodes of the group `default` as well.

    A group that shows nothing without scripts has none.
    """
    shared = [node for node in nodes if node.group == _SHARED]
    groups = dict.fromkeys(node.group for node in nodes if node.group != _SHARED and _shown(node))
    return {
        group: form_of(
            [*shared, *(node for node in nodes if node.group == group)],
            (),
            action=action,
            csrf_token=csrf_token,
            ids=group,
        )
        for group in groups
    }


def _shown(node: Node) -> bool:
    return _kind(node) not in {"hidden", "scripted"}


def _arranged(nodes: Sequence[Node]) -> Sequence[Node]:
    """Return the nodes; buttons of methods without a field come after those of methods with one, and the choice to be
    kept signed in ahead of all buttons, behind the fields. The nodes of providers come first in the contract; the
    button that completes a registration belongs behind the fields.

    A browser presses the first button of a form when Enter is pressed in a field (HTML, implicit submission). In a
    password field, that must not be the button that sends a code.
    """
    with_fields = {node.group for node in nodes if _visible(node)}
    bare = [node for node in nodes if _chooses_method(node) and node.group not in with_fields]
    kept = [node for node in nodes if node.name == keep_signed_in.FIELD]
    bare += [node for node in nodes if _completes(node)]
    others = [*(node for node in nodes if node not in bare and node not in kept), *bare]
    first = next((i for i, node in enumerate(others) if _chooses_method(node) or _completes(node)), len(others))
    return [*others[:first], *kept, *others[first:]]


def _chooses_method(node: Node) -> bool:
    return node.attributes.get("type") == "submit" and node.name == "method"


def _completes(node: Node) -> bool:
    """Return whether a button sends what a provider has not told: it has the provider's id and no provider's name."""
    return node.name == PROVIDER and _kind(node) == "submit"


def _parts(nodes: Sequence[Node], *, focus_code: bool, ids: str) -> Iterator[Part]:
    first_wrong = next((i for i, node in enumerate(nodes) if _visible(node) and _wrong(node)), -1)
    codes = [i for i, node in enumerate(nodes) if _visible(node) and _one_time_code(node.attributes)]
    focused = codes[0] if codes and focus_code and first_wrong < 0 else first_wrong
    buttons = [i for i, node in enumerate(nodes) if node.attributes.get("type") == "submit"]
    main = next((i for i in buttons if _chooses_method(nodes[i])), next(iter(buttons), -1))
    for position, node in enumerate(nodes):
        yield Part(
            kind=_kind(node),
            id=f"{ids}-{position}",
            group=node.group,
            name=node.name,
            type=_type(node),
            attributes=_safe(node),
            label=node.label,
            messages=node.messages,
            focused=position == focused,
            primary=position == main,
        )


def _kind(node: Node) -> str:
    """Return the macro of a node.

    Unknown input types are text fields; nodes that need scripts are left to their pages.
    """
    if node.type != "input":
        return {"text": "text", "img": "picture", "a": "link"}.get(node.type, "scripted")
    if node.attributes.get("options"):
        return "choice"
    if node.name == PROVIDER and node.label is not None and PROVIDER in node.label.context:
        return PROVIDER
    return _KINDS.get(str(node.attributes.get("type")), "field")


def _type(node: Node) -> str:
    type_ = str(node.attributes.get("type"))
    return type_ if type_ in _TYPES else "text"


def _visible(node: Node) -> bool:
    return _kind(node) in _FILLED_BY_HAND


def _one_time_code(attributes: Mapping[str, Any]) -> bool:
    return attributes.get("autocomplete") == _MAILED_CODE or attributes.get("name") == "code"


def _wrong(node: Node) -> bool:
    return any(message.type == "error" for message in node.messages)


def _message(wire: object) -> Message | None:
    return Message.from_wire(wire) if isinstance(wire, Mapping) else None


def _safe(node: Node) -> Mapping[str, Any]:
    """Return the attributes without a password, which is never shown again, and without addresses that run scripts."""
    kept = dict(node.attributes)
    if kept.get("type") == "password":
        kept.pop("value", None)
    for name, schemes in (("href", _SCHEMES), ("src", _PICTURES)):
        if name in kept and not str(kept[name]).lower().startswith(schemes):
            kept[name] = ""
    return kept
