"""What an operation costs: as a function of its variables, merged and bounded, and never less than it really is."""

from collections.abc import Mapping
from typing import Any

import pytest
import strawberry
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_abstract_type,
    parse,
    validate,
)
from hypothesis import given
from hypothesis import strategies as st

from shopkeeper.graphql.cost import (
    MOST_COUNTED,
    MOST_TERMS,
    ROOT_COST,
    ListSize,
    Measuring,
    QueryTooComplex,
    default_lengths,
    list_size,
    written,
)
from shopkeeper.graphql.documents import Documents
from shopkeeper.graphql.fields import resolved
from shopkeeper.graphql.limits import operations_in
from shopkeeper.graphql.schema import core_schema
from tests.graphql import published
from tests.graphql.shop import LIMITS
from tests.graphql.test_limits import spread


def documents() -> Documents:
    return Documents(core_schema(), limits=LIMITS, introspection=False)


def cost(text: str, **variables: object) -> int:
    prepared = documents().prepare(text)
    assert not prepared.errors
    operation = prepared.chosen(None)
    assert operation is not None
    return operation.cost.given({**operation.defaults, **variables})


class TestCost:
    def test_a_page_costs_its_length_times_what_is_on_it(self) -> None:
        text = 'query($n: Int) { findItemsByKeyword(text: "", limit: $n) { total items { slug displayName } } }'
        assert cost(text, n=100) - cost(text, n=99) == 1 + 2
        assert cost(text) == cost(text, n=20), "no variable: the default of the page"

    def test_a_literal_and_a_default_count_like_a_variable(self) -> None:
        field = "{ items { slug } } }"
        literal = 'query { findItemsByKeyword(text: "", limit: 50) ' + field
        default = 'query($n: Int = 50) { findItemsByKeyword(text: "", limit: $n) ' + field
        variable = 'query($n: Int) { findItemsByKeyword(text: "", limit: $n) ' + field
        assert cost(literal) == cost(default) == cost(variable, n=50)

    def test_what_is_asked_for_by_id_costs_as_much_as_there_are_ids(self) -> None:
        field = "{ total items { slug } } }"
        variable = "query($ids: [String!]!) { findItemsByIds(ids: $ids, limit: 1) " + field
        literal = 'query { findItemsByIds(ids: ["a", "b", "c"]) ' + field
        assert cost(variable, ids=["any"] * 500) - cost(variable, ids=["any"]) == 499 * 2
        default = 'query($ids: [String!]! = ["a", "b", "c"]) { findItemsByIds(ids: $ids) ' + field
        assert cost(literal) == cost(default) == cost(variable, ids=["a", "b", "c"])

    def test_a_page_of_which_only_the_total_is_selected_costs_its_full_length(self) -> None:
        text = 'query($n: Int) { findItemsByKeyword(text: "", limit: $n) { total } }'
        assert cost(text, n=100) - cost(text, n=1) == 99

    def test_lists_within_a_page_multiply(self) -> None:
        flat = 'query($n: Int) { findItemsByKeyword(text: "", limit: $n) { items { slug } } }'
        deep = 'query($n: Int) { findItemsByKeyword(text: "", limit: $n) { items { slug variants { master } } } }'
        assert cost(deep, n=100) - cost(flat, n=100) == 100 * (1 + 3)

    def test_of_an_interface_the_dearest_type_counts(self) -> None:
        both = "... on Item { slug displayName } ... on ItemVariant { master }"
        one = "... on Item { slug displayName }"
        entries = "query {{ getCart {{ entries {{ items {{ displayName {} }} }} }} }}"
        assert cost(entries.format(both)) == cost(entries.format(one)) > cost(entries.format("__typename"))

    def test_a_field_under_several_aliases_costs_as_often(self) -> None:
        once = 'query { a: findItemsByKeyword(text: "") { items { slug } } }'
        twice = 'query { a: findItemsByKeyword(text: "") { items { slug } } b: findItemsByKeyword(text: "") { total } }'
        assert cost(twice) > cost(once)

    @pytest.mark.parametrize("limit", [-5, 0, "many", None, 1.5, True])
    def test_a_length_of_null_neither_lowers_the_cost_nor_fails(self, limit: object) -> None:
        assert cost('query($n: Int) { findItemsByKeyword(text: "", limit: $n) { total } }', n=limit) > 0

    def test_too_high_a_cost_is_refused_with_the_numbers(self) -> None:
        several = documents()
        operation = several.prepare(published.BY_KEYWORD).chosen("Items")
        assert operation is not None
        several.check_cost(operation, {"limit": 100})
        with pytest.raises(QueryTooComplex, match="30000 are given at most"):
            several.check_cost(operation, {"limit": 1_000_000})

    def test_each_operation_has_its_own_cost(self) -> None:
        prepared = documents().prepare("query A { getCart { id } } query B { getCart { id state } }")
        assert prepared.operations["B"].cost.given({}) == prepared.operations["A"].cost.given({}) + 1
        assert prepared.chosen("C") is prepared.chosen(None) is None

    def test_a_query_costs_as_much_in_a_fragment(self) -> None:
        many = " ".join(f'i{n}: findItemById(id: "x") {{ slug }}' for n in range(20))
        assert cost(f"{{ {many} }}") == cost(f"{{ ...F }} fragment F on Query {{ {many} }}") == 20 * (ROOT_COST + 2)


@strawberry.interface
class Node:
    name: str

    @resolved("Others.", directives=[ListSize(assumed_size=3, slicing_arguments=["first"])])
    def others(self, first: int = 3) -> list["Node"]:
        raise NotImplementedError

    @resolved("One page.", directives=[ListSize(assumed_size=5, slicing_arguments=["limit"], sized_fields=["nodes"])])
    def page(self, limit: int = 5) -> "NodePage":
        raise NotImplementedError


@strawberry.type
class Leaf(Node):
    @resolved("Always four.", directives=[ListSize(assumed_size=4)])
    def twins(self) -> list["Leaf"]:
        raise NotImplementedError


@strawberry.type
class Branch(Node):
    @resolved("The nearest.")
    def next(self) -> Node:
        raise NotImplementedError


@strawberry.type
class NodePage:
    total: int
    nodes: list[Node]
    leaves: list[Leaf]


@strawberry.type
class Query:
    @resolved("The first.")
    def node(self) -> Node:
        raise NotImplementedError

    @resolved("The first leaf.")
    def leaf(self) -> Leaf:
        raise NotImplementedError


SCHEMA = strawberry.Schema(Query, types=[Leaf, Branch])._schema
BELOW: Mapping[str, Mapping[str, str]] = {
    "Query": {"node": "Node", "leaf": "Leaf"},
    "Node": {"name": "", "others(first: @)": "Node", "page(limit: @)": "NodePage"},
    "Leaf": {"name": "", "others(first: @)": "Node", "page(limit: @)": "NodePage", "twins": "Leaf"},
    "Branch": {"name": "", "next": "Node", "page(limit: @)": "NodePage"},
    "NodePage": {"total": "", "nodes": "Node", "leaves": "Leaf"},
}
APPLICABLE: Mapping[str, tuple[str, ...]] = {
    "Query": ("Query",),
    "Node": ("Node", "Leaf", "Branch"),
    "Leaf": ("Node", "Leaf"),
    "Branch": ("Node", "Branch"),
    "NodePage": ("NodePage",),
}
LENGTHS = st.sampled_from(["0", "1", "7", "$a", "$b", "$c"])
VALUES = st.one_of(st.integers(0, 200), st.sampled_from([None, 3.0, [1, 2, 3]]))


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw a document whose fragments spread later ones any number of times."""
    homes = draw(st.lists(st.sampled_from(["Query", "Node", "Leaf", "Branch", "NodePage"]), max_size=5))

    def selections(type_: str, *, after: int, depth: int) -> str:
        spreads = [f"...F{n}" for n, home in enumerate(homes) if n >= after and home in APPLICABLE[type_]]
        leaves = [name for name, below in BELOW[type_].items() if not below] or ["__typename"]
        choices: list[str] = [draw(st.sampled_from(leaves))]
        for _ in range(draw(st.integers(0, 3)) if depth else 0):
            kind = draw(st.sampled_from(["field", "spread", "inline"]))
            if kind == "spread" and spreads:
                choices.append(draw(st.sampled_from(spreads)))
            elif kind == "inline":
                home = draw(st.sampled_from(APPLICABLE[type_]))
                choices.append(f"... on {home} {{ {selections(home, after=after, depth=depth - 1)} }}")
            else:
                name, below = draw(st.sampled_from(sorted(BELOW[type_].items())))
                alias = f"f{draw(st.integers(0, 10**9))}: "
                inner = f" {{ {selections(below, after=after, depth=depth - 1)} }}" if below else ""
                choices.append(alias + name.replace("@", draw(LENGTHS)) + inner)
        return " ".join(choices)

    operation = f"query($a: Int, $b: Int = 9, $c: Int = 0) {{ {selections('Query', after=0, depth=4)} }}"
    fragments = [
        f"fragment F{n} on {home} {{ {selections(home, after=n + 1, depth=2)} }}" for n, home in enumerate(homes)
    ]
    return " ".join([operation, *fragments])


class Straightforward:
    """Counts the fields of an answer one by one, with every fragment written out and every list as long as it is."""

    def __init__(self, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._variables = variables

    def of(self, node: SelectionSetNode, type_: Any, page: tuple[tuple[str, ...], int] = ((), 0)) -> int:
        if is_abstract_type(type_):
            return max(self.of(node, each, page) for each in SCHEMA.get_possible_types(type_))
        return sum(self._one(selection, type_, page) for selection in node.selections)

    def _one(self, node: Any, type_: Any, page: tuple[tuple[str, ...], int]) -> int:
        if isinstance(node, FieldNode):
            return self._field(node, type_, page)
        part = node if isinstance(node, InlineFragmentNode) else self._fragments[node.name.value]
        assert isinstance(node, InlineFragmentNode | FragmentSpreadNode)
        wanted = SCHEMA.get_type(part.type_condition.name.value)
        fits = wanted is type_ or (is_abstract_type(wanted) and SCHEMA.is_sub_type(wanted, type_))
        return self.of(part.selection_set, type_, page) if fits else 0

    def _field(self, node: FieldNode, type_: Any, page: tuple[tuple[str, ...], int]) -> int:
        one = 1 + (ROOT_COST if type_ is SCHEMA.query_type else 0)
        definition = SCHEMA.get_field(type_, node.name.value)
        if node.selection_set is None or definition is None:
            return one
        size = list_size(definition)
        length = self._length(node, size) if size else 1
        sized = tuple(size.sized_fields or ()) if size else ()
        below = self.of(node.selection_set, get_named_type(definition.type), (sized, length))
        if node.name.value in page[0]:
            return one + page[1] * below
        return one + length + below if sized else one + length * below

    def _length(self, node: FieldNode, size: ListSize) -> int:
        for argument in node.arguments or ():
            value: Any = argument.value
            if isinstance(value, VariableNode):
                value = self._variables.get(value.name.value)
                value = len(value) if isinstance(value, list) else value
                return size.assumed_size if value is None else int(value)
            return int(written(value) or 0)
        return size.assumed_size


class TestAnyDocument:
    @given(text=texts(), variables=st.dictionaries(st.sampled_from("abc"), VALUES))
    def test_never_costs_less_than_its_fields_counted_one_by_one(self, text: str, variables: dict[str, Any]) -> None:
        document = parse(text)
        [operation] = operations_in(document)
        all_ = {**default_lengths(operation), **variables}
        merged = Measuring(SCHEMA, document).operation(operation).given(all_)
        one_by_one = Straightforward(document, all_).of(operation.selection_set, SCHEMA.query_type)
        assert merged >= min(one_by_one, MOST_COUNTED)
        if "Node" not in text.replace("NodePage", "") and "node" not in text and "others" not in text:
            assert merged == one_by_one, "without interfaces nothing is estimated"

    @given(texts())
    def test_is_measured_by_selection_sets_not_by_spreads(self, text: str) -> None:
        document = parse(text)
        [operation] = operations_in(document)
        measuring = Measuring(SCHEMA, document)
        measuring.operation(operation)
        # Each once for an interface and its two types, and once more for those on a page.
        assert measuring.measured <= text.count("{") * 3 * 2


class TestBounds:
    def test_a_fragment_is_measured_once(self) -> None:
        """The document of the first look: 10 to the 8 spreads of a page whose length is a variable."""
        page = 'findItemsByKeyword(text: "", limit: $n) { total }'
        document = parse("query($n: Int) { ...F0 } " + spread(8, 10, page, on="Query"))
        assert validate(core_schema(), document) == []
        [operation] = operations_in(document)
        measuring = Measuring(core_schema(), document)
        found = measuring.operation(operation)
        assert measuring.measured == 11
        assert len(found.terms) == 2
        assert found.given({"n": 20}) == 10**8 * (ROOT_COST + 1 + 1 + 20)

    def test_a_fragment_is_measured_once_for_all_operations(self) -> None:
        several = " ".join(f"query Q{n} {{ getCart {{ ...F0 }} }}" for n in range(50))
        document = parse(several + spread(30, 1, "id", on="Cart"))
        measuring = Measuring(core_schema(), document)
        for operation in operations_in(document):
            measuring.operation(operation)
        assert measuring.measured == 2 * 50 + 31

    def test_a_fragment_is_measured_once_for_all_lengths(self) -> None:
        pages = " ".join(f'p{n}: findItemsByKeyword(text: "", limit: {n}) {{ ...P }}' for n in range(50))
        document = parse(
            f"{{ {pages} }} fragment P on ItemsPageResult {{ items {{ ...I }} }} fragment I on Item {{ slug }}"
        )
        [operation] = operations_in(document)
        measuring = Measuring(core_schema(), document)
        assert measuring.operation(operation).given({}) == sum(ROOT_COST + 1 + n + 1 + n for n in range(50))
        assert measuring.measured == 1 + 50 + 3

    def test_interfaces_within_interfaces_are_measured_once(self) -> None:
        text = "{ node { " + "others { " * 12 + "name" + " }" * 12 + " } }"
        document = parse(text)
        [operation] = operations_in(document)
        measuring = Measuring(SCHEMA, document)
        measuring.operation(operation)
        assert measuring.measured == 1 + 13 * 3

    def test_too_many_variables_are_refused(self) -> None:
        pages = " ".join(f'p{n}: findItemsByKeyword(text: "", limit: $n{n}) {{ total }}' for n in range(MOST_TERMS + 1))
        document = parse(f"{{ {pages} }}")
        [operation] = operations_in(document)
        with pytest.raises(QueryTooComplex):
            Measuring(core_schema(), document).operation(operation)

    def test_nested_lists_end_at_the_greatest_cost(self) -> None:
        text = "{ leaf { " + "others(first: 2147483647) { ... on Leaf { " * 12 + "name" + " } }" * 12 + " } }"
        document = parse(text)
        [operation] = operations_in(document)
        assert Measuring(SCHEMA, document).operation(operation).given({}) == MOST_COUNTED
