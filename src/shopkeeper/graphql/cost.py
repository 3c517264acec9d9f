"""The cost of an operation: the number of fields in its answer, as far as it is known beforehand.

A list multiplies what is below it by its length, which the schema declares by `@listSize` (after the GraphQL cost
directives specification by IBM). Where a variable sets the length, the cost is known for each request only. A document
is therefore measured once, into a `Cost`, which is evaluated with the variables.

Measuring must stay cheap whatever a document looks like: every selection set is measured once for each type that it is
applied to, however often it is spread, and terms with the same variables are added up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import strawberry
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
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

MOST = 2**31 - 1
"""The greatest `Int` of GraphQL."""

MOST_COUNTED = 2**53
"""Costs stop here, so that nested lists cannot make numbers that take long to multiply."""

MOST_TERMS = 100
"""Terms of one cost. Each takes lists of its own whose lengths are variables; the published client's most is one."""

MOST_DIGITS = 10
"""Digits of the greatest `Int`."""


class QueryTooComplex(BadRequest):
    """The answer would have too many fields."""

    code = "query_too_complex"


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


@dataclass(frozen=True, slots=True, order=True)
class VariableLength:
    """The length of a list that a variable sets; `assumed` where the variable is absent or null."""

    variable: str
    assumed: int

    def given(self, variables: Mapping[str, Any]) -> int:
        """Return the length, read as a GraphQL `Int`: `100.0` is 100. Other values are refused before execution."""
        value = variables.get(self.variable)
        if isinstance(value, list):
            return len(value)
        if isinstance(value, int | float) and 0 <= value <= MOST:
            return int(value)
        return self.assumed


Lengths = tuple[VariableLength, ...]
"""The lengths that multiply one term, sorted; a length may occur several times."""

PAGE = VariableLength("", 0)
"""The length of the page that a selection set belongs to, until the field of the page is measured. No variable has this
name."""


@dataclass(frozen=True, slots=True)
class Cost:
    """A polynomial: how often each product of lengths is counted. The empty product counts what needs no variable.

    >>> Cost({(): 3, (VariableLength("n", 20),): 2}).given({"n": 100})
    203
    """

    terms: Mapping[Lengths, int] = field(default_factory=dict)

    def given(self, variables: Mapping[str, Any]) -> int:
        """Return the number of fields with these values of the variables."""
        total = 0
        for lengths, count in self.terms.items():
            for length in lengths:
                count = min(count * length.given(variables), MOST_COUNTED)  # noqa: PLW2901 - a running product
            total += count
        return min(total, MOST_COUNTED)

    def times(self, length: "int | VariableLength") -> "Cost":
        """Return the cost of so many of this."""
        if isinstance(length, VariableLength):
            return Cost({tuple(sorted((*lengths, length))): count for lengths, count in self.terms.items()})
        return Cost({lengths: min(count * length, MOST_COUNTED) for lengths, count in self.terms.items()})

    def on_page(self, length: "int | VariableLength") -> "Cost":
        """Return the cost with the length of its page put in for `PAGE`."""
        if not any(PAGE in lengths for lengths in self.terms):
            return self
        below = {
            tuple(each for each in lengths if each != PAGE): n for lengths, n in self.terms.items() if PAGE in lengths
        }
        beside = {lengths: count for lengths, count in self.terms.items() if PAGE not in lengths}
        return total((Cost(beside), Cost(below).times(length)))


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum of several costs. Raises `QueryTooComplex` where it depends on too many variables."""
    terms: dict[Lengths, int] = {}
    for cost in costs:
        for lengths, count in cost.terms.items():
            terms[lengths] = min(terms.get(lengths, 0) + count, MOST_COUNTED)
        _require_few(terms)
    return Cost(terms)


def dearest(costs: Iterable[Cost]) -> Cost:
    """Return a cost that is at least each of several costs, whatever the variables are. Raises like `total`."""
    terms: dict[Lengths, int] = {}
    for cost in costs:
        for lengths, count in cost.terms.items():
            terms[lengths] = max(terms.get(lengths, 0), count)
        _require_few(terms)
    return Cost(terms)


def _require_few(terms: Mapping[Lengths, int]) -> None:
    if len(terms) > MOST_TERMS:
        raise QueryTooComplex("The lengths of too many lists are variables; ask in several requests.")


FIELD = Cost({(): 1})
ROOT_FIELD = Cost({(): 1 + ROOT_COST})


class Measuring:
    """Measures the operations of one valid document.

    Args:
        schema: the schema of the document.
        document: the document.

    Attributes:
        measured: how many selection sets were measured so far, each once for each type.
    """

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._roots = {schema.query_type, schema.mutation_type, schema.subscription_type}
        self._introspected = introspected_lengths(schema)
        self._known: dict[tuple[int, str, tuple[str, ...]], Cost] = {}

    @property
    def measured(self) -> int:
        return len(self._known)

    def operation(self, operation: OperationDefinitionNode) -> Cost:
        """Return the cost of an operation, as a function of its variables. Raises `QueryTooComplex`."""
        root = self._schema.get_root_type(operation.operation)
        return self._selections(operation.selection_set, root, ()) if root else Cost()

    def _selections(self, node: SelectionSetNode, type_: GraphQLNamedType, sized: tuple[str, ...]) -> Cost:
        """Return the cost of a selection set. `sized` are its fields that are as long as the page."""
        key = (id(node), type_.name, sized)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._measured(node, type_, sized)
        return known

    def _measured(self, node: SelectionSetNode, type_: GraphQLNamedType, sized: tuple[str, ...]) -> Cost:
        """An interface costs as much as its most expensive type."""
        if is_abstract_type(type_):
            return dearest(self._selections(node, each, sized) for each in self._schema.get_possible_types(type_))
        return total(self._each(node, type_, sized))

    def _each(self, node: SelectionSetNode, type_: GraphQLNamedType, sized: tuple[str, ...]) -> Iterator[Cost]:
        for selection in node.selections:
            if isinstance(selection, FieldNode):
                yield self._field(selection, type_, sized)
                continue
            part = self._fragments[selection.name.value] if isinstance(selection, FragmentSpreadNode) else selection
            assert isinstance(part, InlineFragmentNode | FragmentDefinitionNode)  # noqa: S101 - for the type checker
            if self._applies(part, type_):
                yield self._selections(part.selection_set, type_, sized)

    def _applies(self, node: InlineFragmentNode | FragmentDefinitionNode, type_: GraphQLNamedType) -> bool:
        if node.type_condition is None or node.type_condition.name.value == type_.name:
            return True
        wider = self._schema.get_type(node.type_condition.name.value)
        return is_abstract_type(wider) and is_object_type(type_) and self._schema.is_sub_type(wider, type_)

    def _field(self, node: FieldNode, type_: GraphQLNamedType, sized: tuple[str, ...]) -> Cost:
        field_ = self._schema.get_field(type_, node.name.value)  # type: ignore[arg-type] # a type with fields
        own = ROOT_FIELD if type_ in self._roots else FIELD
        if field_ is None or node.selection_set is None:
            return own
        size = list_size(field_)
        page = tuple(size.sized_fields or ()) if size is not None else ()
        below = self._selections(node.selection_set, get_named_type(field_.type), page)
        if size is not None and page:
            length = _length(node, size)
            # A page's items are fetched even if they are not selected.
            below = total((below.on_page(length), FIELD.times(length)))
        if node.name.value in sized:
            below = below.times(PAGE)
        elif size is not None and not page:
            below = below.times(_length(node, size))
        elif type_.name.startswith("__"):
            below = below.times(self._introspected.get(node.name.value, 1))
        return total((own, below))


def _length(node: FieldNode, size: ListSize) -> int | VariableLength:
    cutting = size.slicing_arguments or ()
    for argument in node.arguments or ():
        if argument.name.value not in cutting:
            continue
        if isinstance(argument.value, VariableNode):
            return VariableLength(argument.value.name.value, size.assumed_size)
        length = written(argument.value)
        if length is not None:
            return length
    return size.assumed_size


@cache
def introspected_lengths(schema: GraphQLSchema) -> Mapping[str, int]:
    """Return how long the lists of the introspection of a schema are at most, by the name of their field."""
    types = schema.type_map.values()
    fields = [field_ for type_ in types if isinstance(type_, _WITH_FIELDS) for field_ in type_.fields.values()]
    return {
        "types": len(types),
        "directives": len(schema.directives),
        "fields": max((len(type_.fields) for type_ in types if isinstance(type_, _WITH_FIELDS)), default=0),
        "inputFields": max(
            (len(type_.fields) for type_ in types if isinstance(type_, GraphQLInputObjectType)), default=0
        ),
        "enumValues": max((len(type_.values) for type_ in types if isinstance(type_, GraphQLEnumType)), default=0),
        "interfaces": max((len(type_.interfaces) for type_ in types if isinstance(type_, _WITH_FIELDS)), default=0),
        "possibleTypes": max(
            (len(schema.get_possible_types(each)) for each in types if is_abstract_type(each)), default=0
        ),
        "args": max((len(having.args) for having in (*fields, *schema.directives)), default=0),
    }


_WITH_FIELDS = (GraphQLObjectType, GraphQLInterfaceType)


def list_size(field_: GraphQLField) -> ListSize | None:
    """Return the `@listSize` of a field."""
    definition = field_.extensions.get("strawberry-definition")
    directives: Sequence[object] = getattr(definition, "directives", ())
    return next((directive for directive in directives if isinstance(directive, ListSize)), None)


def default_lengths(operation: OperationDefinitionNode) -> dict[str, Any]:
    """Return the default values of the operation's variables that can be lengths of lists."""
    defaults = {each.variable.name.value: each.default_value for each in operation.variable_definitions or ()}
    found = {name: written(value) for name, value in defaults.items()}
    return {name: length for name, length in found.items() if length is not None}


def written(value: Node | None) -> int | None:
    """Return the length that a literal value gives a list, or None."""
    if isinstance(value, ListValueNode):
        return len(value.values)
    if isinstance(value, IntValueNode):
        return min(max(0, int(value.value)), MOST) if len(value.value) <= MOST_DIGITS + 1 else MOST
    return None
