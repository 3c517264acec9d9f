"""The limits of one request."""

from dataclasses import replace

import pytest
from graphql import get_introspection_query

from shopkeeper.graphql.documents import MOST_CHARACTERS, Documents, Prepared
from shopkeeper.graphql.limits import QueryTooComplex, check_cost
from shopkeeper.graphql.schema import core_schema
from tests.graphql import published
from tests.graphql.shop import LIMITS


def documents(*, introspection: bool = False, **limits: int) -> Documents:
    return Documents(core_schema(), limits=replace(LIMITS, **limits), introspection=introspection)


def code(prepared: Prepared) -> str:
    return str(prepared.errors[0]["extensions"]["code"])


def cost(text: str, **variables: object) -> int:
    prepared = documents().prepare(text)
    assert not prepared.errors
    return prepared.cost(None).given(variables)


CATALOGUE = [
    pytest.param(name, text, id=name)
    for name, text in vars(published).items()
    if isinstance(text, str) and text.startswith(("query", "mutation"))
]


class TestThePublishedClient:
    @pytest.mark.parametrize(("name", "text"), CATALOGUE)
    def test_stays_within_the_limits(self, name: str, text: str) -> None:
        prepared = documents().prepare(text)
        assert prepared.errors == ()
        check_cost(prepared.cost(None), {}, LIMITS)


class TestDepth:
    def test_counts_through_fragments(self) -> None:
        text = """
          query { getCart { ...A } }
          fragment A on Cart { entries { ...B } }
          fragment B on CartEntry { items { ... on ItemVariant { mainItem { itemId { id } } } } }
        """
        assert documents(depth=6).prepare(text).errors == ()
        assert code(documents(depth=5).prepare(text)) == "QUERY_TOO_DEEP"

    def test_leaves_introspection_out(self) -> None:
        assert documents(introspection=True, depth=3).prepare(get_introspection_query()).errors == ()

    @pytest.mark.parametrize("deep", [150, 5_000])
    def test_is_refused_however_deep(self, deep: int) -> None:
        text = "{ getCart " * deep + "{ id }" + "}" * deep
        assert code(documents(tokens=100_000).prepare(text)) in {"QUERY_TOO_DEEP", "GRAPHQL_PARSE_FAILED"}

    def test_is_refused_through_a_long_chain_of_fragments(self) -> None:
        chain = "".join(f"fragment F{n} on Cart {{ ...F{n + 1} }} " for n in range(1_000))
        text = "{ getCart { ...F0 } } " + chain + "fragment F1000 on Cart { id }"
        assert documents(tokens=100_000).prepare(text).errors

    def test_ends_where_fragments_refer_to_themselves(self) -> None:
        text = "{ getCart { ...A } } fragment A on Cart { id ...B } fragment B on Cart { state ...A }"
        assert code(documents().prepare(text)) == "GRAPHQL_VALIDATION_FAILED"

    def test_is_measured_at_once_where_fragments_double_themselves(self) -> None:
        doubling = "".join(f"fragment F{n} on Cart {{ ...F{n + 1} ... {{ ...F{n + 1} }} }} " for n in range(60))
        text = "{ getCart { ...F0 } } " + doubling + "fragment F60 on Cart { id }"
        assert documents().prepare(text).cost(None).given({}) > 1


class TestAliases:
    def test_are_counted_in_the_whole_document(self) -> None:
        text = "{ getCart { " + " ".join(f"a{n}: id" for n in range(31)) + " } }"
        assert code(documents().prepare(text)) == "TOO_MANY_ALIASES"
        assert documents(aliases=31).prepare(text).errors == ()

    def test_are_counted_in_fragments(self) -> None:
        text = "{ getCart { ...A } } fragment A on Cart { " + " ".join(f"a{n}: id" for n in range(31)) + " }"
        assert code(documents().prepare(text)) == "TOO_MANY_ALIASES"


class TestSize:
    def test_many_tokens_are_not_read_to_the_end(self) -> None:
        assert code(documents().prepare("{ getCart { " + "id " * 4_000 + "} }")) == "GRAPHQL_PARSE_FAILED"


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
        prepared = documents().prepare(published.BY_KEYWORD)
        check_cost(prepared.cost("Items"), {"limit": 100}, LIMITS)
        with pytest.raises(QueryTooComplex, match="30000 are given at most"):
            check_cost(prepared.cost("Items"), {"limit": 1_000_000}, LIMITS)

    def test_each_operation_has_its_own_cost(self) -> None:
        prepared = documents().prepare("query A { getCart { id } } query B { getCart { id state } }")
        assert prepared.cost("B").given({}) == prepared.cost("A").given({}) + 1
        assert prepared.cost("C").given({}) == 0


class TestMemory:
    def test_a_document_is_prepared_once(self) -> None:
        several = documents()
        assert several.prepare("{ getCart { id } }") is several.prepare("{ getCart { id } }")

    def test_the_document_unused_for_longest_is_dropped_first(self) -> None:
        several = Documents(core_schema(), limits=LIMITS, introspection=False, most_kept=2)
        first, second = several.prepare("{ getCart { id } }"), several.prepare("{ getCart { state } }")
        assert several.prepare("{ getCart { id } }") is first
        several.prepare("{ getCart { active } }")
        assert several.prepare("{ getCart { id } }") is first
        assert several.prepare("{ getCart { state } }") is not second

    def test_long_documents_do_not_fill_the_memory(self) -> None:
        several = documents()
        texts = [f"{{ getCart {{ id }} }} #{'x' * 30_000}{number}" for number in range(40)]
        for text in texts:
            several.prepare(text)
        assert several.kept_characters <= MOST_CHARACTERS

    def test_a_giant_document_is_not_kept_at_all(self) -> None:
        several = documents()
        several.prepare("{ getCart { id } } #" + "x" * MOST_CHARACTERS)
        assert several.kept_characters == 0


class TestIntrospection:
    def test_is_refused_where_it_is_off(self) -> None:
        assert code(documents().prepare("{ __schema { types { name } } }")) == "GRAPHQL_VALIDATION_FAILED"
        assert documents().prepare("{ getCart { __typename } }").errors == ()

    def test_wrong_names_are_corrected_only_where_it_is_on(self) -> None:
        [error] = documents().prepare("{ getCard { id } }").errors
        assert "getCart" not in error["message"]
        [error] = documents(introspection=True).prepare("{ getCard { id } }").errors
        assert "getCart" in error["message"]
