"""Traits as fields of a form: the type of the input, its label, its choices (contract page section 2.3)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from shopkeeper.identity.traits import Trait
from shopkeeper.ui.messages import Message, message
from shopkeeper.ui.nodes import Node, input_node

MOST_OPTIONS = 500

_BY_FORMAT: Mapping[str, str] = {
    "date-time": "datetime-local",
    "date": "date",
    "email": "email",
    "tel": "tel",
    "uri": "url",
}
_BY_KIND: Mapping[str, str] = {"number": "number", "integer": "number", "boolean": "checkbox"}
_AUTOCOMPLETE: Mapping[str, str] = {"email": "email", "tel": "tel", "url": "url"}


@dataclass(frozen=True, slots=True)
class Field:
    """A trait as a form field. `identifies` has the credential types that it is an identifier of; `read_only` says that
    the owner of an account cannot change it."""

    name: str
    type: str
    title: str | None
    required: bool
    options: tuple[Any, ...] = ()
    autocomplete: str | None = None
    pattern: str | None = None
    identifies: frozenset[str] = frozenset()
    read_only: bool = False

    @property
    def path(self) -> tuple[str, ...]:
        """The steps to the trait."""
        return tuple(self.name.split(".")[1:])

    @property
    def label(self) -> Message | None:
        """The label from the schema's title, or None where it has none."""
        return message(1070002, title=self.title, name=self.name) if self.title else None

    def node(self, *, group: str = "default", value: Any = None, disabled: bool = False) -> Node:
        """Return the input node of this field."""
        return input_node(
            self.name,
            self.type,
            group=group,
            value=value,
            required=self.required,
            autocomplete=self.autocomplete,
            label=self.label,
            pattern=self.pattern,
            options=[{"value": option} for option in self.options] or None,
            disabled=disabled,
        )


def fields_of(traits: Trait) -> tuple[Field, ...]:
    """Return the fields of all traits, in the order of the schema."""
    return tuple(_field(trait) for trait in traits.leaves() if trait.path)


def identifier_label(fields: Collection[Field], types: Collection[str] | None = None) -> Message:
    """Return the label of the identifier on a login form: its title where there is only one, else a general label.

    `types` are the credential types of the form; any where None.
    """
    identifying = [field for field in fields if field.identifies]
    candidates = [field.label for field in identifying if types is None or field.identifies & set(types)]
    only = candidates[0] if len(candidates) == 1 else None
    return only or message(1070004)


def _field(trait: Trait) -> Field:
    kind = str(_BY_KIND.get(trait.kind) or _BY_FORMAT.get(str(trait.schema.get("format")), "text"))
    inside = trait.items.extension if trait.items else trait.extension
    title, options = trait.schema.get("title"), trait.schema.get("enum") or ()
    pattern = trait.schema.get("pattern")
    return Field(
        name=".".join(("traits", *trait.path)),
        type=kind,
        title=title if isinstance(title, str) else None,
        required=trait.required,
        options=tuple(options[:MOST_OPTIONS]),
        autocomplete=_AUTOCOMPLETE.get(kind),
        pattern=pattern if isinstance(pattern, str) else None,
        identifies=trait.extension.identifies | inside.identifies,
        read_only=trait.read_only,
    )
