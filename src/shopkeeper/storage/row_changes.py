"""Changes of rows in several tables, written with as few statements as the database takes.

What is written together costs one round trip to PostgreSQL: one statement, with a part for each table (`WITH … AS
(INSERT …)`), whose rows are one JSON parameter each, so that its text depends on no number of rows. SQLite has no such
statement; it is in this process, and takes one for each table.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    Delete,
    Executable,
    FromClause,
    Insert,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    false,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from shopkeeper.storage.tables import Json
from shopkeeper.storage.unit import Unit

Values = Mapping[str, Any]
"""A row: the values of its columns, by name."""


class Kind(StrEnum):
    """What is done to rows."""

    DELETE = "delete"
    UPDATE = "update"
    INSERT = "insert"
    PUT = "put"
    """Insert, in place of the row of the same primary key if there is one."""


class RowChange(NamedTuple):
    """Rows of one table, and what is done to them. All have values for the same columns.

    Rows are deleted and updated by their primary key; those to delete need no other values. A change without rows takes
    as many statements as one with rows, so that nobody can tell them apart by the time.
    """

    table: Table
    kind: Kind
    rows: Sequence[Values]


def differences(table: Table, before: Iterable[Values], after: Iterable[Values]) -> list[RowChange]:
    """Return what makes the rows of a table those that they are to be. Rows that stay the same are left alone."""
    old, new = _by_key(table, before), _by_key(table, after)
    found = (
        RowChange(table, Kind.DELETE, [_key_of(table, row) for key, row in old.items() if key not in new]),
        RowChange(table, Kind.UPDATE, [row for key, row in new.items() if key in old and row != old[key]]),
        RowChange(table, Kind.INSERT, [row for key, row in new.items() if key not in old]),
    )
    return [change for change in found if change.rows]


async def write(unit: Unit, changes: Iterable[RowChange]) -> None:
    """Write changes, of each kind one for each table at most. Tables that others refer to come first.

    Raises `IntegrityError` where a constraint breaks.
    """
    # What makes room comes first: SQLite checks after each row whether it is unique.
    ordered = sorted(changes, key=lambda change: _ORDER.index(change.kind))
    if unit.dialect == "postgresql" and len(ordered) > 1:
        shapes = tuple(_Shape(change.table, change.kind, _columns(change)) for change in ordered)
        given = {_rows_of(number): [_as_json(row) for row in change.rows] for number, change in enumerate(ordered)}
        await unit.write(_together(shapes), given)
        return
    for change in ordered:
        if change.rows:
            statement = _alone(change.table, change.kind, unit.dialect)
            await unit.write(statement, [_bound(change, row) for row in change.rows])
        else:
            await unit.write(_nothing(change.table))


def insert_later(unit: Unit, table: Table, rows: Sequence[Values], *, always: bool = False) -> None:
    """Insert rows right before the unit commits, together with those of other callers and tables.

    For rows that nothing in the unit reads, and whose constraints no caller has to handle.

    Args:
        always: insert them even after a rollback.
    """
    unit.collect(RowChange(table, Kind.INSERT, rows), write=_write_collected, always=always)


def put_later(unit: Unit, table: Table, rows: Sequence[Values]) -> None:
    """Insert whole rows in place of those of the same primary keys, at the same time as `insert_later`.

    No two rows of a unit may have the same key.
    """
    unit.collect(RowChange(table, Kind.PUT, rows), write=_write_collected)


def update_later(unit: Unit, table: Table, rows: Sequence[Values]) -> None:
    """Update rows that the unit has not inserted by `insert_later`, at the same time as that."""
    unit.collect(RowChange(table, Kind.UPDATE, rows), write=_write_collected)


async def _write_collected(unit: Unit, collected: Sequence[RowChange]) -> None:
    together: dict[tuple[str, Kind, tuple[str, ...]], RowChange] = {}
    for change in collected:
        key = change.table.name, change.kind, _columns(change)
        known = together.get(key, change._replace(rows=()))
        together[key] = known._replace(rows=[*known.rows, *change.rows])
    # In one order, so that there are few statements.
    await write(unit, [together[key] for key in sorted(together)])


_ORDER: Final = (Kind.DELETE, Kind.UPDATE, Kind.INSERT, Kind.PUT)
_MOST_STATEMENTS: Final = 500
_INSERT: Final[Mapping[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


def _by_key(table: Table, rows: Iterable[Values]) -> dict[tuple[Any, ...], Values]:
    return {tuple(_key_of(table, row).values()): row for row in rows}


def _key_of(table: Table, row: Values) -> Values:
    return {column.name: row[column.name] for column in table.primary_key}


# -- one table ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=_MOST_STATEMENTS)
def _alone(table: Table, kind: Kind, dialect: str) -> Executable:
    """Return the statement for the rows of one table. The columns to set are its further parameters."""
    keyed = and_(*(column == bindparam(f"of_{column.name}", type_=column.type) for column in table.primary_key))
    match kind:
        case Kind.DELETE:
            return delete(table).where(keyed)
        case Kind.UPDATE:
            return update(table).where(keyed)
        case Kind.INSERT:
            return insert(table)
        case Kind.PUT:
            return _putting(table, _INSERT[dialect](table))


@lru_cache(maxsize=_MOST_STATEMENTS)
def _nothing(table: Table) -> Executable:
    return delete(table).where(false())


def _bound(change: RowChange, row: Values) -> Values:
    """Return the parameters of `_alone` for a row."""
    if change.kind in {Kind.INSERT, Kind.PUT}:
        return row
    key = _key_of(change.table, row)
    to_set = {name: value for name, value in row.items() if name not in key} if change.kind is Kind.UPDATE else {}
    return {**to_set, **{f"of_{name}": value for name, value in key.items()}}


# -- several tables ----------------------------------------------------------------------------------------------------


class _Shape(NamedTuple):
    """What the text of a part depends on."""

    table: Table
    kind: Kind
    columns: tuple[str, ...]


def _columns(change: RowChange) -> tuple[str, ...]:
    return tuple(change.rows[0]) if change.rows else tuple(column.name for column in change.table.c)


@lru_cache(maxsize=_MOST_STATEMENTS)
def _together(shapes: Sequence[_Shape]) -> Executable:
    # PostgreSQL runs parts that nothing reads from the last to the first. It does not promise that, and nothing depends
    # on it but this: where two constraints break, the error names the same one as that of single statements.
    parts = [_part(number, shape) for number, shape in enumerate(shapes)]
    return select(literal(1)).add_cte(*reversed(parts))


def _part(number: int, shape: _Shape) -> CTE:
    rows = bindparam(_rows_of(number), type_=Json)
    like_the_table: ColumnElement[Any] = literal_column(f"NULL::{shape.table.name}")
    given = func.jsonb_populate_recordset(like_the_table, rows).table_valued(*shape.table.c).alias(f"given_{number}")
    return _statement(shape, given).cte(f"part_{number}")


def _statement(shape: _Shape, given: FromClause) -> Delete | Update | Insert:
    table, kind, columns = shape
    keyed = and_(*(column == given.c[column.name] for column in table.primary_key))
    match kind:
        case Kind.DELETE:
            return delete(table).where(keyed)
        case Kind.UPDATE:
            to_set = [name for name in columns if not table.c[name].primary_key]
            return update(table).where(keyed).values({name: given.c[name] for name in to_set})
        case Kind.INSERT:
            return insert(table).from_select(columns, select(*(given.c[name] for name in columns)))
        case Kind.PUT:
            rows = select(*(given.c[name] for name in columns))
            return _putting(table, postgresql.insert(table).from_select(columns, rows))


def _putting(table: Table, adding: Any) -> Insert:
    key = [column.name for column in table.primary_key]
    replaced = {column.name: adding.excluded[column.name] for column in table.c if column.name not in key}
    whole: Insert = adding.on_conflict_do_update(index_elements=key, set_=replaced)
    return whole


def _rows_of(number: int) -> str:
    return f"rows_{number}"


def _as_json(row: Values) -> Values:
    """Return a row as PostgreSQL reads its values from JSON."""
    return {name: f"\\x{value.hex()}" if isinstance(value, bytes) else value for name, value in row.items()}
