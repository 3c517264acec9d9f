"""Limits of one request: text, depth, aliases, and the cost of its answer.

Depth, aliases and size are checked before a document is validated. The cost is the number of fields in the answer, as
far as it is known beforehand: a list multiplies what is below it by its length, which the schema declares by
`@listSize` (after the GraphQL cost directives specification by IBM). Where a variable sets the length, the cost is
known for each request only. A document is therefore measured once, into a `Cost`, which is evaluated with the
variables.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import strawberry
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_abstract_type,
    is_object_type,
)
from strawberry import UNSET
from strawberry.schema_directive import Location

from shopkeeper.errors import BadRequest

ROOT_COST = 10
"""The cost of each query and mutation besides its fields: it queries the database."""


class QueryTooDeep(BadRequest):
    """The query nests its fields too deep."""

    code = "query_too_deep"


class TooManyAliases(BadRequest):
    """The query has too many aliases."""

    code = "too_many_aliases"


class QueryTooRepetitive(BadRequest):
    """The query repeats a field too often: validation compares each pair of fields with the same name."""

    code = "query_too_repetitive"


class QueryTooComplex(BadRequest):
    """The answer would have too many fields."""

    code = "query_too_complex"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one request. The published client's largest has 329 tokens, depth 10 and cost 28,838."""

    body: int
    depth: int
    aliases: int
    complexity: int
    tokens: int = 2_000
    repeats: int = 5_000


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    name="listSize",
    description="How long a list is taken to be when the cost of a request is counted: as long as the argument that"
    " cuts it says, or as the list that is given there, else as long as is usual.",
)
class ListSize:
    assumed_size: int = strawberry.directive_field(name="assumedSize")
    slicing_arguments: list[str] | None = strawberry.directive_field(name="slicingArguments", default=UNSET)
    sized_fields: list[str] | None = strawberry.directive_field(name="sizedFields", default=UNSET)


MOST = 2**31 - 1
"""The greatest `Int` of GraphQL."""


@dataclass(frozen=True, slots=True)
class Length:
    """The length of a list: a number, or the variable that sets it.

    `at_null` is the length where the variable is null; `assumed`, where it is absent.
    """

    assumed: int
    variable: str | None = None
    at_null: int = 0

    def given(self, variables: Mapping[str, Any]) -> int:
        """Return the length, read as a GraphQL `Int`: `100.0` is 100. Other values are refused before execution."""
        if self.variable is None or self.variable not in variables:
            return self.assumed
        value = variables[self.variable]
        if isinstance(value, list):
            return len(value)
        if isinstance(value, int | float) and 0 <= value <= MOST:
            return int(value)
        return max(self.assumed, self.at_null)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a selection: a number, and for each list its length times the cost of one of its items."""

    own: int = 0
    lists: tuple[tuple[Length, "Cost"], ...] = ()

    def given(self, variables: Mapping[str, Any]) -> int:
        return self.own + sum(length.given(variables) * cost.given(variables) for length, cost in self.lists)

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.own + other.own, self.lists + other.lists)

    def times(self, length: Length) -> "Cost":
        if length.variable is None:
            return Cost(self.own * length.assumed, tuple((each, cost.times(length)) for each, cost in self.lists))
        return Cost(0, ((length, self),))


def check_shape(document: DocumentNode, limits: Limits) -> None:
    """Refuse a document that is too deep, has too many aliases, or would take long to validate.

    Raises `QueryTooDeep`, `TooManyAliases` or `QueryTooRepetitive`.
    """
    depths = _Depths(document)
    try:
        deepest = max((depths.of(operation.selection_set) for operation in _operations(document)), default=0)
    except RecursionError:
        deepest = limits.depth + 1
    if deepest > limits.depth:
        raise QueryTooDeep(f"The query nests deeper than {limits.depth} fields; ask in two steps.")
    aliases = sum(1 for field in fields_in(document) if field.alias is not None)
    if aliases > limits.aliases:
        raise TooManyAliases(f"The query has {aliases} aliases; {limits.aliases} are taken at most.")
    if _repeats(document) > limits.repeats:
        raise QueryTooRepetitive("The query asks for the same fields too often; ask for each once.")


def _repeats(document: DocumentNode) -> int:
    """Count the pairs of fields that share a name.

    graphql-core checks whether each pair can be merged, which takes seconds for a thousand fields in a few kilobytes.
    """
    named = Counter((node.alias or node.name).value for node in fields_in(document))
    return sum(times * (times - 1) // 2 for times in named.values())


def check_cost(cost: Cost, variables: Mapping[str, Any], limits: Limits) -> None:
    """Raise `QueryTooComplex` for an operation that costs too much with these variables."""
    complexity = cost.given(variables)
    if complexity > limits.complexity:
        raise QueryTooComplex(
            f"The answer might have {complexity} fields; {limits.complexity} are given at most."
            " Ask for fewer fields or shorter pages."
        )


def fields_in(node: Node) -> Iterator[FieldNode]:
    """Yield every field of a document, at any depth.

    Not recursive, so that a deep document cannot overflow the stack.
    """
    pending: list[Node] = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, FieldNode):
            yield current
        if isinstance(current, DocumentNode):
            pending.extend(current.definitions)
        selections = getattr(current, "selection_set", None)
        if selections is not None:
            pending.extend(selections.selections)


class _Depths:
    """Measures how deep selections nest.

    Each fragment is measured once; introspection, which nests deep, is not counted.
    """

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = _fragments(document)
        self._known: dict[str, int] = {}

    def of(self, selections: SelectionSetNode) -> int:
        return max((self._selection(selection) for selection in selections.selections), default=0)

    def _selection(self, node: Node) -> int:
        if isinstance(node, FieldNode):
            deeper = node.selection_set is not None and not node.name.value.startswith("__")
            return 1 + (self.of(node.selection_set) if deeper and node.selection_set else 0)
        if isinstance(node, InlineFragmentNode):
            return self.of(node.selection_set)
        return self._fragment(node.name.value) if isinstance(node, FragmentSpreadNode) else 0

    def _fragment(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = 0  # ends the recursion of a cyclic fragment, which validation refuses
            fragment = self._fragments.get(name)
            self._known[name] = self.of(fragment.selection_set) if fragment else 0
        return self._known[name]


class Costs:
    """Measures valid documents against a schema."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema

    def of(self, operation: OperationDefinitionNode, document: DocumentNode) -> Cost:
        """Return the cost of an operation, as a function of its variables."""
        root = self._schema.get_root_type(operation.operation)
        measuring = _Measuring(self._schema, _fragments(document), _defaults(operation))
        cost = measuring.selections(operation.selection_set, root) if root else Cost()
        return cost + Cost(ROOT_COST * len(operation.selection_set.selections))


class _Measuring:
    """One operation being measured. Each fragment is measured once for each type it is spread on."""

    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], defaults: Mapping[str, int]
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._defaults = defaults
        self._known: dict[tuple[str, str, _Sized | None], Cost] = {}

    def selections(self, node: SelectionSetNode, type_: GraphQLNamedType, sized: "_Sized | None" = None) -> Cost:
        """Return the cost of a selection. An interface costs as much as its most expensive type."""
        if is_abstract_type(type_):
            return _dearest(self.selections(node, each, sized) for each in self._schema.get_possible_types(type_))
        cost = Cost()
        for selection in node.selections:
            cost += self._selection(selection, type_, sized)
        return cost

    def _selection(self, node: Node, type_: GraphQLNamedType, sized: "_Sized | None") -> Cost:
        if isinstance(node, FieldNode):
            return self._field(node, type_, sized)
        if isinstance(node, InlineFragmentNode):
            return self.selections(node.selection_set, type_, sized) if self._applies(node, type_) else Cost()
        return self._fragment(node.name.value, type_, sized) if isinstance(node, FragmentSpreadNode) else Cost()

    def _fragment(self, name: str, type_: GraphQLNamedType, sized: "_Sized | None") -> Cost:
        key = (name, type_.name, sized)
        if key not in self._known:
            fragment = self._fragments[name]
            applies = self._applies(fragment, type_)
            self._known[key] = self.selections(fragment.selection_set, type_, sized) if applies else Cost()
        return self._known[key]

    def _applies(self, node: InlineFragmentNode | FragmentDefinitionNode, type_: GraphQLNamedType) -> bool:
        if node.type_condition is None or node.type_condition.name.value == type_.name:
            return True
        wider = self._schema.get_type(node.type_condition.name.value)
        return is_abstract_type(wider) and is_object_type(type_) and self._schema.is_sub_type(wider, type_)

    def _field(self, node: FieldNode, type_: GraphQLNamedType, sized: "_Sized | None") -> Cost:
        field = self._schema.get_field(type_, node.name.value)  # type: ignore[arg-type] # a type with fields
        if field is None or node.selection_set is None:
            return Cost(1)
        size = list_size(field)
        below = self.selections(node.selection_set, get_named_type(field.type), self._sized(node, size))
        if sized is not None and node.name.value in sized.fields:
            below = below.times(sized.length)
        elif size is not None and not size.sized_fields:
            below = below.times(self._length(node, size))
        elif size is not None:
            below += Cost(1).times(self._length(node, size))  # a page's items are fetched even if not selected
        return Cost(1) + below

    def _sized(self, node: FieldNode, size: ListSize | None) -> "_Sized | None":
        if size is None or not size.sized_fields:
            return None
        return _Sized(tuple(size.sized_fields), self._length(node, size))

    def _length(self, node: FieldNode, size: ListSize) -> Length:
        cutting = size.slicing_arguments or ()
        values = [argument.value for argument in node.arguments or () if argument.name.value in cutting]
        for value in values:
            if isinstance(value, VariableNode):
                name = value.name.value
                return Length(self._defaults.get(name, size.assumed_size), name, at_null=size.assumed_size)
            length = _written(value)
            if length is not None:
                return Length(length)
        return Length(size.assumed_size)


@dataclass(frozen=True, slots=True)
class _Sized:
    """The fields directly below that share a length, such as the items of a page."""

    fields: tuple[str, ...]
    length: Length


def _dearest(costs: Iterable[Cost]) -> Cost:
    """Return the greatest of several costs.

    Parts that depend on variables are added up: they cannot be compared yet.
    """
    known = tuple(costs)
    return Cost(max((cost.own for cost in known), default=0), tuple(each for cost in known for each in cost.lists))


def list_size(field: GraphQLField) -> ListSize | None:
    """Return the `@listSize` of a field."""
    definition = field.extensions.get("strawberry-definition")
    directives: Sequence[object] = getattr(definition, "directives", ())
    return next((directive for directive in directives if isinstance(directive, ListSize)), None)


def _operations(document: DocumentNode) -> list[OperationDefinitionNode]:
    return [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}


def _defaults(operation: OperationDefinitionNode) -> dict[str, int]:
    """Return the default values of the operation's variables, as lengths of lists."""
    written = {each.variable.name.value: _written(each.default_value) for each in operation.variable_definitions or ()}
    return {name: length for name, length in written.items() if length is not None}


def _written(value: Node | None) -> int | None:
    """Return the length that a literal value gives a list, or None."""
    if isinstance(value, ListValueNode):
        return len(value.values)
    return max(0, int(value.value)) if isinstance(value, IntValueNode) else None
