"""Documents: the texts of queries, parsed, measured and validated once, then cached.

Parsing and validating take most of a query's time, and a storefront keeps sending the same few texts. Everything is
bounded before the step that it would slow down: the text before it is parsed, the shape before it is validated. What is
cached is charged with the memory that it takes, not with the length of its text.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    GraphQLSyntaxError,
    InlineFragmentNode,
    Node,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    get_introspection_query,
    parse,
    specified_rules,
    validate,
)

from shopkeeper.errors import Refusal, Unauthenticated
from shopkeeper.graphql.cost import Cost, Measuring, default_lengths
from shopkeeper.graphql.errors import SYNTAX, as_invalid, formatted, told
from shopkeeper.graphql.execution import Plans
from shopkeeper.graphql.limits import Limits, check_cost, check_shape, fields_in, operations_in, refuse_empty_selections

MOST_KEPT = 1_000
MOST_BYTES = 24_000_000
"""The memory of all cached documents together. One that takes more than a tenth of it is not cached."""

BYTES_OF_A_CHARACTER = 6
"""The text itself, at four bytes where it has characters outside of the BMP, and the values that were read from it."""
BYTES_OF_A_TOKEN = 1_200
"""A token and the nodes that begin with it."""
BYTES_OF_A_SELECTION = 3_000
"""What the executor keeps of a selection, written out, for all the types that it is applied to."""
BYTES_OF_A_TERM = 400
BYTES_OF_A_DOCUMENT = 40_000
BYTES_OF_A_MISTAKE = 4_000

LONGEST_LABEL = 64
"""Characters of an operation's name in the log."""

MOST_MISTAKES = 10
"""Reported for one document."""

FROM_STRANGERS = 8_000
"""Characters of a document without a token, which can only be about the schema. The usual introspection has 1,800."""
TOKENS_FROM_STRANGERS = 600

UNAUTHENTICATED = "This needs authentication: POST /signin gives every visitor a token."


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document.

    Attributes:
        kind: `query` or `mutation`.
        label: the name that its client gave it, shortened; empty where it has none. Clients choose it freely.
        field: the first field that it asks for: one of the schema's, so that there is a bounded number of them.
        cost: its cost as a function of its variables.
        defaults: the lengths that the default values of its variables give to lists.
        about_schema: whether it queries the schema only.
    """

    kind: str
    label: str
    field: str
    cost: Cost
    defaults: Mapping[str, Any]
    about_schema: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that may be executed, or the errors why it may not be.

    `plans` are the executor's cached plans; they are valid for this document only. `charge` is at least the memory in
    bytes that all of it takes, plans included.
    """

    document: DocumentNode = field(default_factory=DocumentNode)
    errors: tuple[Mapping[str, Any], ...] = ()
    operations: Mapping[str | None, Operation] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    plans: Plans = field(default_factory=Plans)
    charge: int = 0

    def chosen(self, name: str | None) -> Operation | None:
        """Return the named operation, or the only one; None where there is no such operation, or a choice of several.

        graphql-core refuses to execute the document then.
        """
        if name:
            return self.operations.get(name)
        return next(iter(self.operations.values())) if len(self.operations) == 1 else None


class Documents:
    """Prepares documents for one schema.

    Args:
        schema: the schema that documents are validated against.
        limits: the limits that documents must keep.
        introspection: whether documents may query the schema itself. Without it, errors suggest no names either.
        most_kept: how many documents are cached.

    Attributes:
        kept_bytes: the charges of all cached documents together.
    """

    def __init__(
        self, schema: GraphQLSchema, *, limits: Limits, introspection: bool, most_kept: int = MOST_KEPT
    ) -> None:
        self._schema = schema
        self._limits = limits
        self._suggest = introspection
        self._rules = list(specified_rules) if introspection else [*specified_rules, NoSchemaIntrospectionCustomRule]
        self._most_about_schema = _usual_introspection(schema) * 5 // 4 if introspection else limits.complexity
        self._kept: OrderedDict[str, Prepared] = OrderedDict()
        self._most_kept = most_kept
        self.kept_bytes = 0

    def prepare(self, text: str) -> Prepared:
        """Return the document of a text, from the cache if it is there."""
        known = self._kept.get(text)
        if known is not None:
            self._kept.move_to_end(text)
            return known
        prepared = self._prepared(text, tokens=self._limits.tokens)
        self._keep(text, prepared)
        return prepared

    def prepare_for_stranger(self, text: str) -> Prepared:
        """Return the document of a caller without a token, who may query the schema only, and fills no cache.

        Raises `Unauthenticated` for any other document, before it is measured or validated.
        """
        if len(text) > FROM_STRANGERS:
            raise Unauthenticated(UNAUTHENTICATED, topic="visit")
        return self._prepared(text, tokens=min(TOKENS_FROM_STRANGERS, self._limits.tokens), stranger=True)

    def check_cost(self, operation: Operation, variables: Mapping[str, Any]) -> None:
        """Raise `QueryTooComplex` for an operation that costs too much with these variables.

        Queries of the schema have a limit of their own: a quarter more than the usual introspection query costs.
        """
        most = self._most_about_schema if operation.about_schema else self._limits.complexity
        check_cost(operation.cost, {**operation.defaults, **variables}, most)

    def _prepared(self, text: str, *, tokens: int, stranger: bool = False) -> Prepared:
        try:
            document = parse(text, max_lexical_tokens=tokens, max_comments=self._limits.comments)
            refuse_empty_selections(document)
            about_schema = [_about_schema(node) for node in operations_in(document)]
            if stranger and not all(about_schema):
                raise Unauthenticated(UNAUTHENTICATED, topic="visit")
            # Tools that read the schema use no aliases, which would multiply its long lists.
            limits = replace(self._limits, aliases=0) if self._suggest and any(about_schema) else self._limits
            selections = check_shape(document, limits)
            return self._validated(text, document, selections)
        except GraphQLSyntaxError as wrong:
            return _refused(text, formatted(wrong, SYNTAX))
        except Unauthenticated:
            raise
        except Refusal as refusal:
            return _refused(text, told(refusal))

    def _validated(self, text: str, document: DocumentNode, selections: int) -> Prepared:
        invalid = validate(
            self._schema, document, self._rules, max_errors=MOST_MISTAKES, hide_suggestions=not self._suggest
        )
        if invalid:
            return _refused(text, *(as_invalid(error) for error in invalid))
        operations = _measured(self._schema, document)
        return Prepared(
            document=document,
            operations=operations,
            asked=frozenset(node.name.value for node in fields_in(document)),
            plans=Plans(lasting="@" not in text),
            charge=_charge(text, document, selections, operations.values()),
        )

    def _keep(self, text: str, prepared: Prepared) -> None:
        if prepared.charge > MOST_BYTES // 10:
            return
        self._kept[text] = prepared
        self.kept_bytes += prepared.charge
        while self.kept_bytes > MOST_BYTES or len(self._kept) > self._most_kept:
            _, forgotten = self._kept.popitem(last=False)
            self.kept_bytes -= forgotten.charge


def _refused(text: str, *errors: Mapping[str, Any]) -> Prepared:
    charge = BYTES_OF_A_DOCUMENT + BYTES_OF_A_CHARACTER * len(text) + BYTES_OF_A_MISTAKE * len(errors)
    return Prepared(errors=errors, charge=charge)


def _charge(text: str, document: DocumentNode, selections: int, operations: Iterable[Operation]) -> int:
    return (
        BYTES_OF_A_DOCUMENT
        + BYTES_OF_A_CHARACTER * len(text)
        + BYTES_OF_A_TOKEN * _tokens(document)
        + BYTES_OF_A_SELECTION * selections
        + BYTES_OF_A_TERM * sum(len(each.cost.terms) + len(each.defaults) for each in operations)
    )


def _tokens(document: DocumentNode) -> int:
    """Count the tokens of a document, comments included: all of them are kept, as a linked list."""
    count, token = 0, document.loc.start_token if document.loc else None
    while token is not None:
        count, token = count + 1, token.next
    return count


def _measured(schema: GraphQLSchema, document: DocumentNode) -> Mapping[str | None, Operation]:
    measuring = Measuring(schema, document)
    return {
        node.name.value if node.name else None: Operation(
            kind=node.operation.value,
            label=node.name.value[:LONGEST_LABEL] if node.name else "",
            field=_first_field(node, document),
            cost=measuring.operation(node),
            defaults=default_lengths(node),
            about_schema=_about_schema(node),
        )
        for node in operations_in(document)
    }


def _first_field(operation: OperationDefinitionNode, document: DocumentNode) -> str:
    """Return the name of the first field of a valid operation, through any fragments."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    first: Node = operation.selection_set.selections[0]
    while not isinstance(first, FieldNode):
        fragment = fragments[first.name.value] if isinstance(first, FragmentSpreadNode) else first
        assert isinstance(fragment, FragmentDefinitionNode | InlineFragmentNode)  # noqa: S101 - for the type checker
        first = fragment.selection_set.selections[0]
    return first.name.value


def _about_schema(operation: OperationDefinitionNode) -> bool:
    """Return whether an operation queries the schema only."""
    return all(
        isinstance(node, FieldNode) and node.name.value.startswith("__") for node in operation.selection_set.selections
    )


def _usual_introspection(schema: GraphQLSchema) -> int:
    """Return the cost of the introspection query that all tools send."""
    query = get_introspection_query(specified_by_url=True, input_value_deprecation=True, schema_description=True)
    [operation] = _measured(schema, parse(query)).values()
    return operation.cost.given({})
