"""Prepared queries: rows and values as SQLAlchemy has them, from the driver itself."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Select, String, Table, bindparam, insert, select
from sqlalchemy.exc import OperationalError, StatementError

from shopkeeper.crypto import new_id
from shopkeeper.storage.database import Database
from shopkeeper.storage.sqlite_connections import ReadInThread
from shopkeeper.storage.sqlite_statements import MOST_LISTED, PreparedQueries
from shopkeeper.storage.tables import Id, Json, Moment

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String),
    Column("number", Integer),
    Column("about", Json),
    Column("made_at", Moment),
)
NAMED = select(things).where(things.c.name == bindparam("of_name", type_=String)).order_by(things.c.number)
ANY = select(things.c.number).where(things.c.name.in_(bindparam("names", expanding=True))).order_by(things.c.number)
SINCE = select(things.c.number).where(
    things.c.made_at <= bindparam("now"), things.c.made_at.in_(bindparam("moments", expanding=True))
)
BY_ID = select(things.c.number.label("so_many")).where(things.c.id == bindparam("of_id", type_=Id), things.c.number > 0)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}")
    async with database.transaction() as connection:
        await connection.run_sync(metadata.create_all)
        made = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
        rows = [
            {"id": new_id(), "name": f"n{n % 5}", "number": n, "about": {"n": [n]}, "made_at": made} for n in range(20)
        ]
        await connection.execute(insert(things), rows)
    yield database
    await database.close()


async def both(database: Database, query: Select[Any], given: dict[str, Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the rows of SQLAlchemy, and those of the prepared query."""
    reads: Any = database._backend.reads
    assert isinstance(reads, ReadInThread)
    slowly = reads.connection.execute(query, given).all()
    for _ in range(2):
        prepared = reads._prepared.of(query)
    return slowly, prepared.run(reads.connection.connection.driver_connection, given).all()


class TestPreparedQueries:
    async def test_values_and_columns_are_converted(self, database: Database) -> None:
        slowly, quickly = await both(database, NAMED, {"of_name": "n3"})
        assert quickly == slowly
        assert [row._mapping for row in quickly] == [row._mapping for row in slowly]
        assert quickly[0].about == {"n": [3]}
        assert quickly[0].made_at.tzinfo is not None

    async def test_constants_and_labels_are_kept(self, database: Database) -> None:
        [first, *_], _ = await both(database, NAMED, {"of_name": "n1"})
        slowly, quickly = await both(database, BY_ID, {"of_id": first.id})
        assert [row.so_many for row in quickly] == [row.so_many for row in slowly] == [1]

    @pytest.mark.parametrize("names", [["n1"], ["n1", "n2"], ["n1", "n2", "n4"], ["n0"] * 9, ["no"]])
    async def test_lists_of_any_length(self, database: Database, names: list[str]) -> None:
        slowly, quickly = await both(database, ANY, {"names": names})
        assert quickly == slowly

    @pytest.mark.parametrize("names", [[], ["n1"] * (MOST_LISTED + 1)], ids=["empty", "long"])
    async def test_other_lists_are_left_to_sqlalchemy(self, database: Database, names: list[str]) -> None:
        with pytest.raises(LookupError):
            await both(database, ANY, {"names": names})
        async with database.reading() as unit:
            slowly, *quickly = [await unit.all(ANY, {"names": names}) for _ in range(3)]
        assert quickly == [slowly, slowly]

    async def test_values_of_our_own_types_are_converted_in_and_out_of_lists(self, database: Database) -> None:
        """Regression: a moment outside of a list was compared as another text than the stored one."""
        made = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
        for now, found in ((made, 20), (made - timedelta(microseconds=1), 0)):
            slowly, quickly = await both(database, SINCE, {"now": now, "moments": [made, made]})
            assert quickly == slowly
            assert len(quickly) == found

    @pytest.mark.parametrize("column", ["id", "name", "number", "made_at", "about"])
    @pytest.mark.parametrize("is_null", [True, False])
    async def test_a_value_of_each_type_is_found_as_it_was_stored(
        self, database: Database, column: str, is_null: bool
    ) -> None:
        async with database.reading() as unit:
            [stored] = await unit.all(select(things).where(things.c.number == 7))
        query = select(things.c.number).where(things.c[column] == bindparam("value", type_=things.c[column].type))
        value = None if is_null else getattr(stored, column)
        slowly, quickly = await both(database, query, {"value": value})
        assert quickly == slowly
        assert ((7,) in quickly) is not is_null

    async def test_a_missing_value_is_reported_by_sqlalchemy(self, database: Database) -> None:
        async with database.reading() as unit:
            for _ in range(3):
                with pytest.raises(StatementError):
                    await unit.all(NAMED, {})

    async def test_a_failing_query_is_reported_by_sqlalchemy(self, database: Database) -> None:
        missing = select(Table("missing", MetaData(), Column("id", Integer)))
        async with database.reading() as unit:
            for _ in range(3):
                with pytest.raises(OperationalError):
                    await unit.all(missing)

    async def test_few_texts_are_compiled(self, database: Database) -> None:
        reads: Any = database._backend.reads
        for length in range(1, 200):
            await reads.read(ANY, {"names": ["n1"] * length})
        assert len(reads._prepared.of(ANY)._by_length) <= 9

    def test_a_query_that_is_built_for_one_call_is_not_prepared(self) -> None:
        prepared = PreparedQueries(Any)  # type: ignore[arg-type] # no dialect is needed to prepare nothing
        for number in range(10):
            assert prepared.of(select(things).where(things.c.number == number)) is None
        assert len(prepared._known) == 0
