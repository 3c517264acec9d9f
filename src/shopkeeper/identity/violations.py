"""Converts schema violations to numbered messages: JSON Schema's keywords to Kratos' numbers and contexts.

The keywords are those of draft-07 section 6, and of section 7 for `format`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jsonschema_rs import ValidationError

from shopkeeper.identity.formats import UNCHECKED_EMAIL
from shopkeeper.ui.messages import Message, message, reason

UNKNOWN: Final = ("additionalProperties", "unevaluatedProperties")
"""The keywords that refuse properties which a schema does not have; their errors name these."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A schema violation: its path in the traits, its message, and the message's context."""

    path: tuple[str, ...]
    message_id: int
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the form's node; `traits` where the traits as a whole violate the schema."""
        return ".".join(("traits", *self.path))

    @property
    def message(self) -> Message:
        return message(self.message_id, **self.context)


def generic(path: tuple[str, ...], sentence: str) -> Violation:
    """Return a violation of a rule without a message number of its own."""
    return Violation(path, *_reason("unstorable", sentence))


def _reason(topic: str, sentence: str, **parameters: Any) -> tuple[int, dict[str, Any]]:
    told = reason(topic, sentence, **parameters)
    return told.id, dict(told.context)


def too_long(path: tuple[str, ...], *, limit: int, actual: int) -> Violation:
    """Return a violation for a value that is too long."""
    return Violation(path, 4000017, {"max_length": limit, "actual_length": actual})


def violations(errors: Iterable[ValidationError]) -> list[Violation]:
    """Return the errors as violations, formats first: "not an e-mail address" helps more than "too short"."""
    ordered = sorted(errors, key=lambda error: error.kind.name != "format")
    return [_violation(error) for error in ordered]


def _violation(error: ValidationError) -> Violation:
    keyword = error.kind.name
    path = tuple(str(step) for step in error.instance_path[1:])
    if keyword == "required" and error.instance_path:
        path = (*path, str(error.kind.value))
    number, context = _RULES.get(keyword, _unnumbered)(error)
    return Violation(path, number, context)


Rule = Callable[[ValidationError], tuple[int, dict[str, Any]]]


def _limit(number: int, name: str) -> Rule:
    return lambda error: (number, {name: error.kind.value, "actual": error.instance})


def _count(number: int, name: str, actual: str) -> Rule:
    return lambda error: (number, {name: error.kind.value, actual: _size(error.instance)})


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | dict) else 0


def _format(error: ValidationError) -> tuple[int, dict[str, Any]]:
    number = _FORMATS.get(str(error.kind.value))
    if number is None:
        return _reason("format", "This does not have the form of a {format}.", format=str(error.kind.value))
    return number, {"value": error.instance}


def _type(error: ValidationError) -> tuple[int, dict[str, Any]]:
    return 4000026, {"allowed_types": list(error.kind.value), "actual_type": _TYPES.get(type(error.instance), "number")}


def _const(error: ValidationError) -> tuple[int, dict[str, Any]]:
    expected = error.kind.value
    return (4000030, {}) if isinstance(expected, list | dict) else (4000029, {"expected": expected})


def _unique(error: ValidationError) -> tuple[int, dict[str, Any]]:
    seen: dict[str, int] = {}
    for index, item in enumerate(error.instance if isinstance(error.instance, list) else ()):
        first = seen.setdefault(json.dumps(item, sort_keys=True), index)
        if first != index:
            return 4000025, {"index_a": first, "index_b": index}
    return 4000025, {}


def _unexpected(error: ValidationError) -> tuple[int, dict[str, Any]]:
    return _reason("unknown_field", "There is no field of this name here: {names}.", names=_listed(error.kind.value))


def _enum(error: ValidationError) -> tuple[int, dict[str, Any]]:
    return _reason("choice", "Choose one of these: {values}.", values=_listed(error.kind.value))


def _listed(values: Iterable[Any], *, at_most: int = 10) -> str:
    shown = [str(value)[:40] for value in values]
    return ", ".join(shown[:at_most]) + (", …" if len(shown) > at_most else "")


def _unnumbered(error: ValidationError) -> tuple[int, dict[str, Any]]:
    return _reason("rule", "This does not fit the rule '{rule}' of the schema.", rule=error.kind.name)


_RULES: Mapping[str, Rule] = {
    "required": lambda error: (4000002, {"property": error.kind.value}),
    "minLength": _count(4000003, "min_length", "actual_length"),
    "maxLength": _count(4000017, "max_length", "actual_length"),
    "pattern": lambda error: (4000004, {"pattern": error.kind.value}),
    "minimum": _limit(4000018, "minimum"),
    "exclusiveMinimum": _limit(4000019, "exclusive_minimum"),
    "maximum": _limit(4000020, "maximum"),
    "exclusiveMaximum": _limit(4000021, "exclusive_maximum"),
    "multipleOf": _limit(4000022, "base"),
    "maxItems": _count(4000023, "max_items", "actual_items"),
    "minItems": _count(4000024, "min_items", "actual_items"),
    "uniqueItems": _unique,
    "type": _type,
    "const": _const,
    "format": _format,
    **dict.fromkeys(UNKNOWN, _unexpected),
    "enum": _enum,
}
_FORMATS: Mapping[str, int] = {"email": 4000040, UNCHECKED_EMAIL: 4000040, "tel": 4000041}
_TYPES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
