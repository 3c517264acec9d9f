"""Statements as asyncpg gets them, and its records as rows: the same as SQLAlchemy's own execution would give."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert, literal, select, text, update
from sqlalchemy.exc import InvalidRequestError

from shopkeeper.storage.database import Database
from shopkeeper.storage.postgres_statements import Compiler
from shopkeeper.storage.tables import Id, Json, Moment
from tests.services.databases import sqlalchemy_url

things = Table(
    "things",
    MetaData(),
    Column("number", Integer, primary_key=True),
    Column("name", String, nullable=False, default="nameless"),
    Column("id", Id),
    Column("document", Json),
    Column("at", Moment),
    Column("changes", Integer, onupdate=7),
)
BY_NAMES = select(things.c.number).where(things.c.name.in_(bindparam("names", expanding=True))).order_by("number")
RENAME = update(things).where(things.c.number == bindparam("which")).values(name=bindparam("new"))


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    database = Database(sqlalchemy_url(postgres_dsn))
    async with database.transaction() as connection:
        await connection.run_sync(things.create)
    yield database
    await database.close()


async def test_values_come_back_as_they_were(database: Database) -> None:
    elsewhere = timezone(timedelta(hours=5))
    row = {
        "number": 1,
        "id": uuid4(),
        "document": {"text": "žluťoučký", "list": [1, None, 1.5], "deep": {}},
        "at": datetime(2026, 3, 14, 15, 9, tzinfo=elsewhere),
    }
    async with database.unit() as unit:
        assert (await unit.write(insert(things), row)).rowcount == 1
        await unit.write(insert(things).values(number=2, name="two", document=None))
    async with database.unit() as unit:
        one, two = await unit.all(select(things).order_by(things.c.number))
    assert one._asdict() == {**row, "name": "nameless", "at": row["at"].astimezone(UTC), "changes": None}
    assert tuple(two) == (2, "two", None, None, None, None)


async def test_an_update_sets_what_its_column_says(database: Database) -> None:
    async with database.unit() as unit:
        await unit.write(insert(things), {"number": 1, "name": "old"})
        await unit.write(RENAME, {"which": 1, "new": "new"})
        assert tuple(await unit.first(select(things.c.name, things.c.changes)) or ()) == ("new", 7)


async def test_lists_of_any_length_are_found(database: Database) -> None:
    async with database.unit() as unit:
        await unit.write(insert(things), [{"number": number, "name": f"n{number}"} for number in range(5)])
    async with database.unit() as unit:
        for names in ([], ["n1"], ["n1", "n3", "n4", "n9"], ["n2"]):
            expected = [int(name[1]) for name in names if name != "n9"]
            assert [row.number for row in await unit.all(BY_NAMES, {"names": names})] == expected
            built_now = select(things.c.number).where(things.c.name.in_(names)).order_by(things.c.number)
            assert [row.number for row in await unit.all(built_now)] == expected


async def test_statements_of_one_structure_keep_their_own_values(database: Database) -> None:
    async with database.unit() as unit:
        for number in range(3):
            assert await unit.scalar(select(literal(number) + number)) == 2 * number


async def test_many_executions_change_many_rows(database: Database) -> None:
    async with database.unit() as unit:
        await unit.write(insert(things), [{"number": 1}, {"number": 2}])
        done = await unit.write(RENAME, [{"which": 1, "new": "one"}, {"which": 2, "new": "two"}])
        assert done.rowcount == -1
        assert (await unit.write(RENAME, [{"which": 2, "new": "zwei"}])).rowcount == 1
    async with database.unit() as unit:
        assert [row.name for row in await unit.all(select(things.c.name).order_by(things.c.number))] == ["one", "zwei"]


async def test_plain_text_has_rows_with_names_and_documents(database: Database) -> None:
    async with database.unit() as unit:
        row = await unit.first(text("SELECT 1 AS one, '{\"a\": [1]}'::jsonb AS document"))
    assert row is not None
    assert (row.one, row.document) == (1, {"a": [1]})


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(InvalidRequestError, match="which"):
        Compiler().bound(RENAME, ("new",)).sql_and_values({"new": "x"})


def test_a_default_that_is_computed_for_each_row_is_refused() -> None:
    """Only constants are filled in here, and a column would silently be left out."""
    computed: Any = Table("computed", MetaData(), Column("id", Id, primary_key=True, default=uuid4))
    with pytest.raises(TypeError, match=r"computed\.id"):
        Compiler().bound(insert(computed), ())
