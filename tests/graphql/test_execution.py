"""The executor's fast path: its answers are those of the library, which resolves field by field."""

from typing import Any

import pytest
import strawberry
from graphql import DocumentNode, ExecutionResult, Executor, parse

from shopkeeper.graphql.execution import FastPathExecutor, Plans
from shopkeeper.graphql.fields import resolved


@strawberry.interface
class Plant:
    name: str

    @resolved("Its name in capitals.")
    def label(self) -> str:
        return self.name.upper()


@strawberry.type
class Tree(Plant):
    height: float
    fruit: list[str | None]


@strawberry.type
class Herb(Plant):
    smell: str | None = None

    @resolved("Fails for mint.")
    def leaves(self) -> int | None:
        if self.name == "mint":
            raise LookupError("nobody counted them")
        return 7

    @resolved("Always fails to be a number.")
    def weight(self) -> int | None:
        return "heavy"  # type: ignore[return-value] # what a careless resolver might do


@strawberry.type
class Garden:
    plants: list[Plant]
    first: Plant | None
    owner: strawberry.Private[str] = "Ada"

    @resolved("Waits.")
    async def visitors(self) -> int:
        return 3

    @resolved("Takes an argument.")
    def plant(self, at: int = 0) -> Plant:
        return self.plants[at]

    @resolved("Never there, though it should be.")
    def gate(self) -> Herb:
        return None  # type: ignore[return-value] # as above


APPLE = Tree(name="apple", height=4.5, fruit=["red", None])
MINT, THYME = Herb(name="mint", smell="fresh"), Herb(name="thyme")


@strawberry.type
class Query:
    @resolved("A garden.")
    def garden(self) -> Garden | None:
        return Garden(plants=[APPLE, MINT, THYME], first=None)


SCHEMA = strawberry.Schema(Query, types=[Tree, Herb])._schema

DOCUMENTS = [
    pytest.param("{ garden { plants { name label __typename } first { name } } }", id="an interface"),
    pytest.param("{ garden { plants { ... on Tree { height fruit } ... on Herb { smell } } } }", id="inline fragments"),
    pytest.param("{ garden { a: plants { b: name } c: plants { d: label } } }", id="aliases"),
    pytest.param("{ garden { plants { name } plants { label } } }", id="fields that are merged"),
    pytest.param(
        "{ garden { ...G } } fragment G on Garden { plants { ...P } } fragment P on Plant { name }", id="spreads"
    ),
    pytest.param(
        "{ garden { plants { name @skip(if: true) label @include(if: false) __typename } } }", id="directives"
    ),
    pytest.param("{ garden { visitors plants { name } } }", id="something that waits beside"),
    pytest.param("{ garden { plant(at: 1) { name } plants { label } } }", id="something with an argument beside"),
    pytest.param("{ garden { plants { name ... on Herb { leaves } } } }", id="an exception below"),
    pytest.param("{ garden { plants { name ... on Herb { weight } } } }", id="a value that does not fit"),
    pytest.param("{ garden { plants { name } gate { name } } }", id="a null where none may be"),
    pytest.param("{ garden { plants { name } gate { __typename } } }", id="the same, and nothing is read of it"),
    pytest.param("{ garden { __typename first { __typename } } }", id="a null where it may be"),
]


async def answer(
    document: DocumentNode, plans: Plans, *, by: type[FastPathExecutor] = FastPathExecutor
) -> ExecutionResult:
    executor = by.build(SCHEMA, document, plans=plans.for_one_request())
    assert isinstance(executor, Executor)
    result: Any = executor.execute_operation()
    return result if isinstance(result, ExecutionResult) else await result


class ByTheBook(FastPathExecutor):
    """Executes everything as the library does."""

    collect_and_execute_subfields = Executor.collect_and_execute_subfields


class TestTheShortCut:
    @pytest.mark.parametrize("text", DOCUMENTS)
    async def test_answers_what_the_library_answers(self, text: str) -> None:
        document, plans = parse(text), Plans(lasting="@" not in text)
        by_the_book = (await answer(document, Plans(), by=ByTheBook)).formatted
        assert by_the_book.get("data") or by_the_book.get("errors")
        for _ in range(2):  # the second time from the cache
            assert (await answer(document, plans)).formatted == by_the_book

    async def test_is_computed_once_for_a_document(self) -> None:
        document, plans = parse("{ garden { plants { name } } }"), Plans(lasting=True)
        await answer(document, plans)
        known = dict(plans.known)
        await answer(document, plans)
        assert plans.known == known
        assert any(plan is not None for plan in known.values())

    async def test_is_computed_anew_where_variables_leave_fields_out(self) -> None:
        text = "query($bare: Boolean!) { garden { plants { name label @skip(if: $bare) } } }"
        document, plans = parse(text), Plans(lasting=False)
        answers = []
        for bare in (True, False):
            executor = FastPathExecutor.build(
                SCHEMA, document, raw_variable_values={"bare": bare}, plans=plans.for_one_request()
            )
            assert isinstance(executor, Executor)
            result: Any = executor.execute_operation()
            answers.append(sorted(result.data["garden"]["plants"][0]))
        assert answers == [["name"], ["label", "name"]]
        assert plans.known == {}

    async def test_is_not_taken_for_fields_that_wait(self) -> None:
        document, plans = parse("{ garden { visitors } }"), Plans(lasting=True)
        assert (await answer(document, plans)).data == {"garden": {"visitors": 3}}
        assert list(plans.known.values()) == [None]
