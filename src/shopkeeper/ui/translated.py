"""Numbered messages and the fields of forms in the reader's language: by number and context, never by sentence."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from shopkeeper.errors import Wording
from shopkeeper.languages.catalogues import translations
from shopkeeper.languages.choice import SOURCE
from shopkeeper.languages.refusals import sentence_of
from shopkeeper.ui.messages import CATALOGUE, REASON, WORDING, Message, filled_in
from shopkeeper.ui.nodes import Node

TITLE: Final = 1070002
"""The label of a field is its title in the schema. The catalogues translate the titles of our own schema."""
_GAP: Final = "{reason}"
# The name of a field in a message's context.
_PROPERTY: Final = "property"


def text_of(message: Message, language: str, *, label: Message | None = None) -> str:
    """Return the text of a message in a language; as it is where it has no translation.

    Args:
        label: the label of the message's field; it replaces the name of the property, which readers do not know.
    """
    if message.id == TITLE:
        return _look_up(message.text, message.id, language)
    if message.id not in CATALOGUE:
        return message.text
    worded = message.context.get(WORDING)
    reason = sentence_of(Wording.from_wire(worded), language) if worded else None
    sentence = CATALOGUE[message.id][1]
    if message.id == REASON or (worded and _GAP not in sentence):  # the wording is the whole sentence
        return reason or message.text
    if reason:
        message = replace(message, context={**message.context, "reason": reason})
    translated = _look_up(sentence, message.id, language)
    name = text_of(label, language) if label else ""
    if name and _PROPERTY in message.context:
        return filled_in(translated, {**message.context, _PROPERTY: name})
    return message.text if translated == sentence else filled_in(translated, message.context)


def message_in(message: Message, language: str, *, label: Message | None = None) -> Message:
    """Return a message as it is shown in a language, without the wording that is stored with it."""
    context = {name: value for name, value in message.context.items() if name != WORDING}
    text = message.text if language == SOURCE else text_of(message, language, label=label)
    return replace(message, text=text, context=context)


def messages_in(messages: Iterable[Message], language: str) -> tuple[Message, ...]:
    """Return messages in a language."""
    return tuple(message_in(message, language) for message in messages)


def node_in(node: Node, language: str) -> Node:
    """Return a field with its label and its messages in a language."""
    if language == SOURCE and not node.messages:
        return node
    return replace(
        node,
        attributes=_attributes_in(node, language),
        label=message_in(node.label, language) if node.label else None,
        messages=tuple(message_in(message, language, label=node.label) for message in node.messages),
    )


def _attributes_in(node: Node, language: str) -> dict[str, Any]:
    """Return the attributes of a node; those that hold a message themselves (`text`, `title`) are translated."""
    return {
        name: message_in(Message.from_wire(value), language).to_wire() if _is_message(value) else value
        for name, value in node.attributes.items()
    }


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and {"id", "text", "type"} <= value.keys() and isinstance(value["id"], int)


def _look_up(sentence: str, number: int, language: str) -> str:
    return translations(language, "messages").pgettext(str(number), sentence) if sentence else ""
