"""What is kept for statements is bounded, whatever it refers to."""

import gc

from sqlalchemy import Select, column, select, table
from sqlalchemy.dialects.sqlite import dialect

from shopkeeper.storage.postgres_statements import MOST_TEXTS, Compiler
from shopkeeper.storage.sqlite_statements import PreparedQueries
from shopkeeper.storage.statement_cache import MOST_STATEMENTS, StatementCache

SLACK = 1.5
"""SQLAlchemy's cache drops its oldest entries when it is half as large again as it may be."""


def query(number: int) -> Select[tuple[object]]:
    return select(column(f"c{number}")).select_from(table("t"))


def test_what_is_used_once_is_not_kept_and_what_is_used_last_is() -> None:
    cache: StatementCache[str] = StatementCache(most=4)
    once, often = query(0), query(1)
    assert cache.on_second_use(once, lambda: "once") is None
    assert cache.on_second_use(often, lambda: "often") is None
    assert cache.on_second_use(often, lambda: "often") == "often"
    for number in range(20):
        other = query(number)
        assert [cache.on_second_use(other, lambda: "other") for _ in range(2)] == [None, "other"]
        assert cache.get(often) == "often"
    assert len(cache) <= 4 * SLACK
    assert cache.get(once) is None


def test_compiled_statements_are_bounded_although_they_refer_to_each_other() -> None:
    compiler = Compiler()
    for number in range(2 * MOST_TEXTS):
        statement = query(number)
        for _ in range(2):
            compiler.bound(statement, ())
    assert len(compiler._plans) <= MOST_TEXTS * SLACK
    assert len(compiler._known) <= MOST_STATEMENTS * SLACK


def test_statements_that_are_built_for_one_call_are_collected() -> None:
    compiler = Compiler()
    for _ in range(100):
        compiler.bound(query(1), ())
    gc.collect()
    assert (len(compiler._plans), len(compiler._known), len(compiler._known._seen)) == (1, 0, 1)


def test_prepared_queries_of_sqlite_are_bounded() -> None:
    prepared = PreparedQueries(dialect())  # type: ignore[no-untyped-call]
    for number in range(2 * MOST_STATEMENTS):
        statement = query(number)
        assert [prepared.of(statement) is None for _ in range(2)] == [True, False]
    assert len(prepared._known) <= MOST_STATEMENTS * SLACK
