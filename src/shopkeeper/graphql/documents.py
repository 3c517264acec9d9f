"""Documents: the texts of queries, parsed, measured and validated once, then cached.

Parsing and validating take most of a query's time, and a storefront keeps sending the same few texts.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLSchema,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    parse,
    specified_rules,
    validate,
)

from shopkeeper.errors import Refusal
from shopkeeper.graphql.errors import formatted, told
from shopkeeper.graphql.execution import Plans
from shopkeeper.graphql.limits import Cost, Costs, Limits, check_shape, fields_in

MOST_KEPT = 1_000
MOST_CHARACTERS = 400_000
"""Of all cached texts together. A parsed document takes about 45 times the memory of its text."""

MOST_MISTAKES = 20
"""Reported for one document, because each message may repeat the whole value that is wrong."""

SYNTAX = "GRAPHQL_PARSE_FAILED"
INVALID = "GRAPHQL_VALIDATION_FAILED"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that may be executed, or the errors why it may not be.

    `plans` are the executor's cached plans; they are valid for this document only.
    """

    document: DocumentNode = field(default_factory=DocumentNode)
    errors: tuple[Mapping[str, Any], ...] = ()
    costs: Mapping[str | None, Cost] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    about_schema: bool = False
    plans: Plans = field(default_factory=Plans)

    def cost(self, name: str | None) -> Cost:
        """Return the cost of the named operation, or of the only one.

        An unknown operation costs 0: it is refused later.
        """
        if name:
            return self.costs.get(name, Cost())
        return next(iter(self.costs.values()), Cost())


class Documents:
    """Prepares documents for one schema.

    Args:
        schema: the schema that documents are validated against.
        limits: the limits that documents must keep.
        introspection: whether documents may query the schema itself. Without it, errors suggest no names either.
        most_kept: how many documents are cached.
    """

    def __init__(
        self, schema: GraphQLSchema, *, limits: Limits, introspection: bool, most_kept: int = MOST_KEPT
    ) -> None:
        self._schema = schema
        self._limits = limits
        self._suggest = introspection
        self._rules = list(specified_rules) if introspection else [*specified_rules, NoSchemaIntrospectionCustomRule]
        self._costs = Costs(schema)
        self._kept: OrderedDict[str, Prepared] = OrderedDict()
        self._most_kept = most_kept
        self.kept_characters = 0

    def prepare(self, text: str) -> Prepared:
        """Return the document of a text, from the cache if it is there."""
        known = self._kept.get(text)
        if known is not None:
            self._kept.move_to_end(text)
            return known
        prepared = self._prepared(text)
        self._keep(text, prepared)
        return prepared

    def _prepared(self, text: str) -> Prepared:
        try:
            document = parse(text, max_lexical_tokens=self._limits.tokens)
            check_shape(document, self._limits)
        except GraphQLSyntaxError as wrong:
            return Prepared(errors=(formatted(wrong, SYNTAX),))
        except Refusal as refusal:
            return Prepared(errors=(told(refusal),))
        invalid = validate(
            self._schema, document, self._rules, max_errors=MOST_MISTAKES, hide_suggestions=not self._suggest
        )
        if invalid:
            return Prepared(errors=tuple(formatted(error, INVALID) for error in invalid))
        return self._measured(document, lasting="@" not in text)

    def _measured(self, document: DocumentNode, *, lasting: bool) -> Prepared:
        operations = _operations(document)
        return Prepared(
            document=document,
            costs={_name(node): self._costs.of(node, document) for node in operations},
            asked=frozenset(node.name.value for node in fields_in(document)),
            about_schema=all(_about_schema(node) for node in operations),
            plans=Plans(lasting=lasting),
        )

    def _keep(self, text: str, prepared: Prepared) -> None:
        if len(text) > MOST_CHARACTERS // 10:
            return
        self._kept[text] = prepared
        self.kept_characters += len(text)
        while self.kept_characters > MOST_CHARACTERS or len(self._kept) > self._most_kept:
            forgotten, _ = self._kept.popitem(last=False)
            self.kept_characters -= len(forgotten)


def _operations(document: DocumentNode) -> list[OperationDefinitionNode]:
    return [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]


def _name(operation: OperationDefinitionNode) -> str | None:
    return operation.name.value if operation.name else None


def _about_schema(operation: OperationDefinitionNode) -> bool:
    """Return whether an operation queries the schema only."""
    return all(
        isinstance(node, FieldNode) and node.name.value.startswith("__") for node in operation.selection_set.selections
    )
