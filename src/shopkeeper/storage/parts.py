"""One statement for rows of several tables, so that what belongs together costs one round trip to the database.

Each table is a part, whose rows have values in its own columns and NULL in those of the other parts. A join would
repeat the widest row for every row of the other tables, and multiply their numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    FromClause,
    Integer,
    Row,
    Select,
    Table,
    cast,
    literal_column,
    null,
    select,
    union_all,
)
from sqlalchemy.types import TypeEngine


class Part(NamedTuple):
    """The rows of one part: the columns that it has, by name; where they come from; and which of them."""

    columns: Mapping[str, ColumnElement[Any]]
    source: FromClause
    where: ColumnElement[bool]


def columns_of(table: Table) -> Mapping[str, ColumnElement[Any]]:
    """Return a table's columns by name."""
    return {column.name: column for column in table.c}


def union_of(
    parts: Sequence[Part], columns: Mapping[str, TypeEngine[Any]], *, order_by: Sequence[str]
) -> CompoundSelect[Any]:
    """Return the statement that reads all parts: their rows, one part after the other, each with its number in `part`.

    Args:
        columns: the columns of the result with their types; those that a part does not have are NULL.
        order_by: the columns that order the rows of a part.
    """
    return union_all(*(_select(number, part, columns) for number, part in enumerate(parts))).order_by("part", *order_by)


def by_part(rows: Sequence[Row[Any]], *, count: int) -> Sequence[Sequence[Row[Any]]]:
    """Return the rows of each of `count` parts."""
    found: list[list[Row[Any]]] = [[] for _ in range(count)]
    for row in rows:
        found[row.part].append(row)
    return found


def _select(number: int, part: Part, columns: Mapping[str, TypeEngine[Any]]) -> Select[Any]:
    # The first part decides the types of the result, so its NULLs need one.
    values = [
        part.columns[name].label(name) if name in part.columns else cast(null(), kind).label(name)
        for name, kind in columns.items()
    ]
    return (
        select(literal_column(str(number), Integer).label("part"), *values).select_from(part.source).where(part.where)
    )
