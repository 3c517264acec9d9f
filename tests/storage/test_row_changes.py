"""Changes of rows in several tables: on both databases the same, on PostgreSQL in one statement."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError

from shopkeeper.storage.database import Database, broken_constraint
from shopkeeper.storage.row_changes import Kind, RowChange, differences, insert_later, put_later, update_later, write
from shopkeeper.storage.tables import Id, Json, Moment

_TABLES = MetaData()
shelves = Table("shelves", _TABLES, Column("id", Integer, primary_key=True), Column("name", String(20), unique=True))
crates = Table("crates", _TABLES, Column("id", Integer, primary_key=True))
jars = Table(
    "jars",
    _TABLES,
    Column("id", Id, primary_key=True),
    Column("shelf", ForeignKey("shelves.id"), nullable=False),
    Column("label", String(20), nullable=False),
    Column("notes", Json),
    Column("seal", LargeBinary),
    Column("filled_at", Moment),
    Column("opened", Integer, nullable=False, server_default="7"),
    UniqueConstraint("label"),
)
FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))
WHEN = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)


def jar(id_: UUID, label: str, **values: Any) -> dict[str, Any]:
    return {"id": id_, "shelf": 1, "label": label, "notes": None, "seal": None, "filled_at": None, **values}


PLUM = jar(FIRST, "plum", notes={"a": [1.5, None, True], "b": "ß\n"}, seal=b"\x00\xff\\x", filled_at=WHEN)
PEAR, APPLE = jar(SECOND, "pear", notes="a text"), jar(THIRD, "apple", notes=0)


@pytest.fixture
async def stocked(database: Database) -> AsyncIterator[Database]:
    async with database.transaction() as connection:
        await connection.run_sync(_TABLES.create_all)
    yield database
    async with database.transaction() as connection:
        await connection.run_sync(_TABLES.drop_all)


async def written(database: Database, *changes: RowChange) -> list[str]:
    """Write in a unit; return its statements."""
    seen: list[str] = []
    with database.observed(seen.append):
        async with database.unit() as unit:
            await write(unit, changes)
    return [each for each in seen if not each.startswith("BEGIN")]


def is_postgresql(database: Database) -> bool:
    return database.kind == "postgresql"


async def rows_of(database: Database, table: Table) -> list[dict[str, Any]]:
    async with database.reading() as unit:
        return [dict(row._mapping) for row in await unit.all(select(table).order_by(table.c.id))]


async def test_values_of_all_types_come_back_as_they_were_given(stocked: Database) -> None:
    shelf = RowChange(shelves, Kind.INSERT, [{"id": 1, "name": "upper"}])
    await written(stocked, shelf, RowChange(jars, Kind.INSERT, [PLUM, PEAR, APPLE]))
    assert await rows_of(stocked, jars) == [{**row, "opened": 7} for row in (PLUM, PEAR, APPLE)]
    assert await rows_of(stocked, shelves) == [{"id": 1, "name": "upper"}]


async def test_rows_are_deleted_updated_and_inserted_at_once(stocked: Database) -> None:
    await written(stocked, *differences(shelves, (), [{"id": 1, "name": "upper"}]))
    await written(stocked, *differences(jars, (), [PLUM, PEAR]))
    changes = [
        *differences(shelves, [{"id": 1, "name": "upper"}], [{"id": 1, "name": "lower"}, {"id": 2, "name": "upper"}]),
        *differences(jars, [PLUM, PEAR], [{**PEAR, "notes": None}, {**APPLE, "shelf": 2}]),
    ]
    seen = await written(stocked, *changes)
    assert len(seen) == (1 if is_postgresql(stocked) else 5)
    assert await rows_of(stocked, jars) == [
        {**PEAR, "notes": None, "opened": 7},
        {**APPLE, "shelf": 2, "opened": 7},
    ]
    async with stocked.reading() as unit:  # `None` is SQL's NULL, and no JSON
        assert await unit.scalar(text("SELECT count(*) FROM jars WHERE notes IS NULL")) == 1
    assert await rows_of(stocked, shelves) == [{"id": 1, "name": "lower"}, {"id": 2, "name": "upper"}]


async def test_what_stays_the_same_is_not_written(stocked: Database) -> None:
    assert differences(jars, [PLUM, PEAR], [PEAR, PLUM]) == []
    assert await written(stocked) == []


async def test_the_broken_constraint_is_named(stocked: Database) -> None:
    shelf = RowChange(shelves, Kind.INSERT, [{"id": 1, "name": "upper"}])
    with pytest.raises(IntegrityError) as broken:
        await written(stocked, shelf, RowChange(jars, Kind.INSERT, [PLUM, {**PEAR, "label": "plum"}]))
    assert "jars" in broken_constraint(broken.value)
    assert await rows_of(stocked, shelves) == []


class TestInsertLater:
    async def test_the_rows_of_a_unit_are_inserted_together_when_it_commits(self, stocked: Database) -> None:
        await written(stocked, RowChange(shelves, Kind.INSERT, [{"id": 1, "name": "upper"}]))
        seen: list[str] = []
        with stocked.observed(seen.append):
            async with stocked.unit() as unit:
                insert_later(unit, jars, [PLUM])
                insert_later(unit, shelves, [{"id": 2, "name": "lower"}])
                insert_later(unit, jars, [PEAR])
                assert seen == []
        assert len([each for each in seen if not each.startswith("BEGIN")]) == (1 if is_postgresql(stocked) else 2)
        assert [row["label"] for row in await rows_of(stocked, jars)] == ["plum", "pear"]
        assert [row["name"] for row in await rows_of(stocked, shelves)] == ["upper", "lower"]

    @pytest.mark.parametrize("fuller_first", [True, False])
    async def test_rows_with_values_for_other_columns_keep_them(self, stocked: Database, fuller_first: bool) -> None:
        await written(stocked, RowChange(shelves, Kind.INSERT, [{"id": 1, "name": "upper"}]))
        bare = {name: value for name, value in PEAR.items() if name != "notes"}
        async with stocked.unit() as unit:
            for row in (PLUM, bare) if fuller_first else (bare, PLUM):
                insert_later(unit, jars, [row])
            insert_later(unit, shelves, [{"id": 2, "name": "lower"}])
        found = {row["label"]: row["notes"] for row in await rows_of(stocked, jars)}
        assert found == {"plum": PLUM["notes"], "pear": None}

    async def test_updates_are_made_with_them(self, stocked: Database) -> None:
        await written(
            stocked, RowChange(shelves, Kind.INSERT, [{"id": 1, "name": "upper"}, {"id": 2, "name": "lower"}])
        )
        await written(stocked, RowChange(jars, Kind.INSERT, [PLUM]))
        seen: list[str] = []
        with stocked.observed(seen.append):
            async with stocked.unit() as unit:
                insert_later(unit, jars, [PEAR])
                update_later(unit, jars, [{"id": FIRST, "shelf": 2}])
                update_later(unit, jars, [{"id": THIRD, "shelf": 2}])  # which is not there
        assert len([each for each in seen if not each.startswith("BEGIN")]) == (1 if is_postgresql(stocked) else 2)
        found = [(row["label"], row["shelf"], row["notes"]) for row in await rows_of(stocked, jars)]
        assert found == [("plum", 2, PLUM["notes"]), ("pear", 1, PEAR["notes"])]

    @pytest.mark.parametrize("others", [False, True], ids=["alone", "with others"])
    async def test_rows_are_put_in_the_place_of_others_with_them(self, stocked: Database, others: bool) -> None:
        await written(stocked, RowChange(shelves, Kind.INSERT, [{"id": 1, "name": "upper"}]))
        async with stocked.unit() as unit:
            put_later(unit, shelves, [{"id": 1, "name": "lower"}])
            put_later(unit, shelves, [{"id": 2, "name": "upper"}])
            if others:
                insert_later(unit, jars, [PLUM])
        assert await rows_of(stocked, shelves) == [{"id": 1, "name": "lower"}, {"id": 2, "name": "upper"}]
        assert len(await rows_of(stocked, jars)) == int(others)

    async def test_a_rollback_drops_them_but_those_that_are_always_inserted(self, stocked: Database) -> None:
        with suppress(LookupError):
            async with stocked.unit() as unit:
                insert_later(unit, shelves, [{"id": 1, "name": "upper"}])
                insert_later(unit, shelves, [{"id": 2, "name": "lower"}], always=True)
                raise LookupError
        assert [row["name"] for row in await rows_of(stocked, shelves)] == ["lower"]

    @pytest.mark.parametrize("others", [False, True], ids=["alone", "with others"])
    async def test_no_rows_cost_as_many_statements_as_some(self, stocked: Database, others: bool) -> None:
        counts = []
        for number, rows in enumerate(([], [{"id": 1, "name": "upper"}])):
            seen: list[str] = []
            with stocked.observed(seen.append):
                async with stocked.unit() as unit:
                    insert_later(unit, shelves, rows)
                    if others:
                        insert_later(unit, crates, [{"id": number}])
            counts.append(len(seen))
        assert counts[0] == counts[1]
        assert [row["name"] for row in await rows_of(stocked, shelves)] == ["upper"]
