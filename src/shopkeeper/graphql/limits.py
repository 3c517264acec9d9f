"""How much one request may ask for: text, depth, aliases, and what it may cost to answer.

Depth, aliases and size are looked at before a document is validated. The cost is the number of fields in the answer, as
far as it can be told beforehand: a list multiplies what is below it by its length, which the schema says for each list
by `@listSize` (after the GraphQL cost directives specification by IBM). Where a variable sets the length, the cost is
known for each request only; so a document is measured once, into a `Cost`, and that is evaluated with the variables.
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
"""What each query and mutation costs beside its fields: it goes to the database."""


class QueryTooDeep(BadRequest):
    """Fields in fields in fields, further than any page needs."""

    code = "query_too_deep"


class TooManyAliases(BadRequest):
    """The same thing over and over under other names."""

    code = "too_many_aliases"


class QueryTooRepetitive(BadRequest):
    """The same field over and over in one selection, or in many: validating compares each with each."""

    code = "query_too_repetitive"


class QueryTooComplex(BadRequest):
    """An answer of more fields than we give at once."""

    code = "query_too_complex"


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one request may have. The published client's largest has 329 tokens, depth 10 and cost 28,838."""

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
    """How often something is answered: a number, or the variable that says.

    `at_null` is what is answered where the variable is there and is null; `assumed`, where it is not there.
    """

    assumed: int
    variable: str | None = None
    at_null: int = 0

    def given(self, variables: Mapping[str, Any]) -> int:
        """The number, read as GraphQL reads an `Int`: `100.0` is 100. What is none is refused later, unanswered."""
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
    """What a selection costs: so much, and for each list its length times what one of it costs."""

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
    """Refuses what is too deep, has too many aliases, or would take long to validate.

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
    """How many pairs of fields share a name: the library compares them to see whether they can be merged, which takes
    seconds for a thousand fields in a few kilobytes."""
    named = Counter((node.alias or node.name).value for node in fields_in(document))
    return sum(times * (times - 1) // 2 for times in named.values())


def check_cost(cost: Cost, variables: Mapping[str, Any], limits: Limits) -> None:
    """Refuses what would cost too much with these variables. Raises `QueryTooComplex`."""
    complexity = cost.given(variables)
    if complexity > limits.complexity:
        raise QueryTooComplex(
            f"The answer might have {complexity} fields; {limits.complexity} are given at most."
            " Ask for fewer fields or shorter pages."
        )


def fields_in(node: Node) -> Iterator[FieldNode]:
    """Every field that is written in a document, however deep. Not recursive, so that nothing can overflow."""
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
    """How deep selections nest. Each fragment is measured once; introspection, which is deep by nature, is left out."""

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
            self._known[name] = 0  # a fragment within itself ends here; validation refuses it
            fragment = self._fragments.get(name)
            self._known[name] = self.of(fragment.selection_set) if fragment else 0
        return self._known[name]


class Costs:
    """Measures valid documents against a schema."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema

    def of(self, operation: OperationDefinitionNode, document: DocumentNode) -> Cost:
        """What an operation costs, as a function of its variables."""
        root = self._schema.get_root_type(operation.operation)
        measuring = _Measuring(self._schema, _fragments(document), _defaults(operation))
        cost = measuring.selections(operation.selection_set, root) if root else Cost()
        return cost + Cost(ROOT_COST * len(operation.selection_set.selections))


class _Measuring:
    """One operation being measured. Each fragment is measured once for every type it is spread on."""

    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], defaults: Mapping[str, int]
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._defaults = defaults
        self._known: dict[tuple[str, str, _Sized | None], Cost] = {}

    def selections(self, node: SelectionSetNode, type_: GraphQLNamedType, sized: "_Sized | None" = None) -> Cost:
        """What is selected of a type: of an interface, what is selected of the dearest type behind it."""
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
        field = self._schema.get_field(type_, node.name.value)  # type: ignore[arg-type] # only such types have fields
        if field is None or node.selection_set is None:
            return Cost(1)
        size = list_size(field)
        below = self.selections(node.selection_set, get_named_type(field.type), self._sized(node, size))
        if sized is not None and node.name.value in sized.fields:
            below = below.times(sized.length)
        elif size is not None and not size.sized_fields:
            below = below.times(self._length(node, size))
        elif size is not None:
            below += Cost(1).times(self._length(node, size))  # what is on a page is fetched before it is asked for
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
    """The fields right below that share a length, as the items of a page do."""

    fields: tuple[str, ...]
    length: Length


def _dearest(costs: Iterable[Cost]) -> Cost:
    """The greatest of several costs; what depends on variables is added up, for nobody can compare it yet."""
    known = tuple(costs)
    return Cost(max((cost.own for cost in known), default=0), tuple(each for cost in known for each in cost.lists))


def list_size(field: GraphQLField) -> ListSize | None:
    """The `@listSize` of a field."""
    definition = field.extensions.get("strawberry-definition")
    directives: Sequence[object] = getattr(definition, "directives", ())
    return next((directive for directive in directives if isinstance(directive, ListSize)), None)


def _operations(document: DocumentNode) -> list[OperationDefinitionNode]:
    return [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}


def _defaults(operation: OperationDefinitionNode) -> dict[str, int]:
    """The default values of the operation's variables that say how long a list is."""
    written = {each.variable.name.value: _written(each.default_value) for each in operation.variable_definitions or ()}
    return {name: length for name, length in written.items() if length is not None}


def _written(value: Node | None) -> int | None:
    """The length that a value in the document itself gives a list, if it does."""
    if isinstance(value, ListValueNode):
        return len(value.values)
    return max(0, int(value.value)) if isinstance(value, IntValueNode) else None
