"""The limits of one request."""

import gc
import tracemalloc
from dataclasses import replace

import pytest
from graphql import get_introspection_query

from shopkeeper.errors import Unauthenticated
from shopkeeper.graphql.cost import QueryTooComplex
from shopkeeper.graphql.documents import MOST_BYTES, MOST_MISTAKES, Documents, Prepared
from shopkeeper.graphql.errors import LONGEST_MESSAGE
from shopkeeper.graphql.schema import core_schema
from tests.graphql import published
from tests.graphql.shop import LIMITS


def documents(*, introspection: bool = False, **limits: int) -> Documents:
    return Documents(core_schema(), limits=replace(LIMITS, **limits), introspection=introspection)


def code(prepared: Prepared) -> str:
    return str(prepared.errors[0]["extensions"]["code"])


def spread(levels: int, times: int, leaf: str, *, on: str) -> str:
    """Return fragments of which each spreads the next so many times; the last one selects the leaf."""
    each = [f"fragment F{n} on {on} {{ {f'...F{n + 1} ' * times}}} " for n in range(levels)]
    return "".join(each) + f"fragment F{levels} on {on} {{ {leaf} }}"


CATALOGUE = [
    pytest.param(name, text, id=name)
    for name, text in vars(published).items()
    if isinstance(text, str) and text.startswith(("query", "mutation"))
]


class TestThePublishedClient:
    @pytest.mark.parametrize(("name", "text"), CATALOGUE)
    def test_stays_within_the_limits(self, name: str, text: str) -> None:
        several = documents()
        prepared = several.prepare(text)
        assert prepared.errors == ()
        operation = prepared.chosen(None)
        assert operation is not None
        several.check_cost(operation, {})


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


class TestAliases:
    def test_are_counted_in_the_whole_document(self) -> None:
        text = "{ getCart { " + " ".join(f"a{n}: id" for n in range(31)) + " } }"
        assert code(documents().prepare(text)) == "TOO_MANY_ALIASES"
        assert documents(aliases=31).prepare(text).errors == ()

    def test_are_counted_in_fragments(self) -> None:
        text = "{ getCart { ...A } } fragment A on Cart { " + " ".join(f"a{n}: id" for n in range(31)) + " }"
        assert code(documents().prepare(text)) == "TOO_MANY_ALIASES"


class TestRepetition:
    """Row 16 of the first look: a fragment costs what it is, written out, before anything is validated."""

    PAGES = 'findItemsByKeyword(text: "", limit: $n) { total }'

    @pytest.mark.parametrize("levels", [5, 8, 60])
    def test_fragments_that_multiply_are_refused(self, levels: int) -> None:
        text = "query($n: Int) { ...F0 } " + spread(levels, 10, self.PAGES, on="Query")
        assert code(documents().prepare(text)) == "QUERY_TOO_REPETITIVE"

    def test_fragments_that_nothing_spreads_are_counted_too(self) -> None:
        text = "{ getCart { id } } " + spread(60, 2, "id", on="Cart")
        assert code(documents().prepare(text)) == "QUERY_TOO_REPETITIVE"

    def test_each_operation_counts(self) -> None:
        fragments = spread(40, 1, "id", on="Cart")
        text = " ".join(f"query Q{n} {{ getCart {{ ...F0 }} }}" for n in range(50)) + fragments
        assert documents().prepare(text).errors == ()
        assert code(documents(selections=2_000).prepare(text)) == "QUERY_TOO_REPETITIVE"

    def test_a_fragment_may_be_spread_often(self) -> None:
        fields = " ".join(f"e{n}: entries {{ listPrice {{ ...P }} purchasePrice {{ ...P }} }}" for n in range(20))
        text = f"{{ getCart {{ {fields} }} }} fragment P on Price {{ moneyAmounts {{ amount currency }} }}"
        assert documents().prepare(text).errors == ()

    def test_inline_fragments_nest_as_deep_as_the_stack_allows(self) -> None:
        text = "{ getCart { ...F0 } } " + spread(150, 1, "id", on="Cart")
        assert code(documents().prepare(text)) == "QUERY_TOO_DEEP"


class TestStrangers:
    """Callers without a token may query the schema only, and are refused before anything else is measured."""

    @pytest.mark.parametrize("text", ["{ getCart { id } }", "{ __typename getCart { id } }", "{ nonsense }"])
    def test_are_refused_the_shop(self, text: str) -> None:
        with pytest.raises(Unauthenticated):
            documents(introspection=True).prepare_for_stranger(text)

    def test_long_documents_are_not_even_read(self) -> None:
        with pytest.raises(Unauthenticated):
            documents(introspection=True).prepare_for_stranger("{ __typename } #" + "x" * 10_000)

    def test_may_query_the_schema_and_fill_no_cache(self) -> None:
        several = documents(introspection=True)
        assert several.prepare_for_stranger(get_introspection_query()).errors == ()
        assert several.kept_bytes == 0


class TestMistakes:
    def test_are_few(self) -> None:
        text = "{ getCart { " + " ".join(f"wrong{n}" for n in range(500)) + " } }"
        assert len(documents().prepare(text).errors) <= MOST_MISTAKES + 1

    def test_are_short(self) -> None:
        [error] = documents().prepare("{ getCart { " + "x" * 100_000 + " } }").errors
        assert len(error["message"]) <= LONGEST_MESSAGE + 1

    @pytest.mark.parametrize("digits", [11, 5_000, 150_000])
    @pytest.mark.parametrize(
        "text",
        [
            'query {{ findItemsByKeyword(text: "", limit: {}) {{ total }} }}',
            'query($n: Int = {}) {{ findItemsByKeyword(text: "", limit: $n) {{ total }} }}',
        ],
        ids=["literal", "default"],
    )
    def test_a_giant_number_is_the_callers_mistake(self, text: str, digits: int) -> None:
        [error] = documents().prepare(text.format("9" * digits)).errors
        assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert "999" not in error["message"]
        assert "Python" not in error["message"]
        assert "sys." not in error["message"]


class TestSize:
    def test_many_comments_are_not_read_to_the_end(self) -> None:
        assert code(documents().prepare("{ getCart { id } }" + "#\n" * 50_000)) == "GRAPHQL_PARSE_FAILED"

    def test_many_tokens_are_not_read_to_the_end(self) -> None:
        assert code(documents().prepare("{ getCart { " + "id " * 4_000 + "} }")) == "GRAPHQL_PARSE_FAILED"


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
        texts = [f"{{ getCart {{ id }} }} #{'x' * 150_000}{number}" for number in range(40)]
        kept = [several.prepare(text) for text in texts]
        assert sum(prepared.charge for prepared in kept) > MOST_BYTES
        assert MOST_BYTES / 2 < several.kept_bytes <= MOST_BYTES

    def test_a_document_that_takes_much_memory_is_not_kept_at_all(self) -> None:
        several = documents()
        prepared = several.prepare("{ getCart { " + "...F " * 900 + "} } fragment F on Cart { id state }")
        assert prepared.errors == ()
        assert prepared.charge > MOST_BYTES / 10
        assert several.kept_bytes == 0

    @pytest.mark.parametrize(
        "text",
        [
            published.BY_KEYWORD,
            "{ getCart { id } }",
            "{ getCart { id } } #" + "☕" * 50_000,
            "{ getCart { id } }" + "#\n" * 900,
            '{ findItemById(id: "' + "☕" * 50_000 + '") { slug } }',
            "{ findItemsByIds(ids: [" + '"a" ' * 1_900 + "]) { total } }",
            "{ findItemsByIds(ids: [" + "$a " * 900 + "]) { total } }",
            "{ getCart { " + "wrong " * 1_900 + "} }",
            "{ getCart { " + " ".join(f"{'x' * 1_000}{n}" for n in range(20)) + "} }",
            "{ getCart { " + "...F " * 90 + "} } fragment F on Cart { entries { id quantity } }",
            "{" * 150,
        ],
        ids=lambda text: text[:30],
    )
    def test_a_document_is_charged_at_least_its_memory(self, text: str) -> None:
        several = documents()
        several.prepare("{ getCart { state } }")
        tracemalloc.start()
        try:
            prepared = several.prepare(text)
            gc.collect()
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taken <= prepared.charge

    def test_the_cache_is_charged_what_its_documents_are(self) -> None:
        several = documents()
        kept = [several.prepare(f"{{ a{n}: getCart {{ id }} }}") for n in range(10)]
        assert several.kept_bytes == sum(prepared.charge for prepared in kept)


class TestIntrospection:
    def test_has_a_limit_of_its_own(self) -> None:
        several = documents(introspection=True)
        usual = several.prepare(get_introspection_query(input_value_deprecation=True)).chosen(None)
        greedy = several.prepare("{ __schema { types { fields { args { type { fields { args { name } } } } } } } }")
        assert usual is not None
        several.check_cost(usual, {})
        with pytest.raises(QueryTooComplex):
            several.check_cost(greedy.operations[None], {})

    def test_is_not_repeated_under_aliases(self) -> None:
        text = "{ __schema { a: types { name } b: types { name } } }"
        assert code(documents(introspection=True).prepare(text)) == "TOO_MANY_ALIASES"

    def test_is_refused_where_it_is_off(self) -> None:
        assert code(documents().prepare("{ __schema { types { name } } }")) == "GRAPHQL_VALIDATION_FAILED"
        assert documents().prepare("{ getCart { __typename } }").errors == ()

    def test_wrong_names_are_corrected_only_where_it_is_on(self) -> None:
        [error] = documents().prepare("{ getCard { id } }").errors
        assert "getCart" not in error["message"]
        [error] = documents(introspection=True).prepare("{ getCard { id } }").errors
        assert "getCart" in error["message"]


EMPTY = [
    *("{}", "query{}", "query A{}", "mutation{}", "{ }", "{#x\n}", "{...{}}", "{...F} fragment F on Query{}"),
    *('{findItemsByKeyword(text:""){items{}}}', "mutation{createCart(createCartInput:{}){}}", "{__schema{}}"),
]


@pytest.mark.parametrize("text", EMPTY)
@pytest.mark.parametrize("introspection", [False, True])
def test_row_093_braces_that_select_nothing_are_a_mistake(text: str, introspection: bool) -> None:
    """Regression: graphql-core parses them. A stranger's were a 500, and nested ones were executed."""
    for prepare in (documents(introspection=introspection).prepare, documents().prepare_for_stranger):
        prepared = prepare(text)
        assert code(prepared) == "GRAPHQL_PARSE_FAILED"
        assert "Expected a selection" in prepared.errors[0]["message"]
