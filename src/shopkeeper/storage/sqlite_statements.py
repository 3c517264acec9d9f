"""Prepared queries: statements that are built once are also compiled once, and run by SQLite's driver itself.

SQLAlchemy takes longer to execute a small query than SQLite takes to answer it: it looks the statement up by its shape,
collects parameters, and builds a context for each execution. Here the text, the order of the parameters, and the
conversions of values and columns are determined once for each statement object. Rows are SQLAlchemy's.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Row, Select
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.result import SimpleResultMetaData

from shopkeeper.storage.statement_cache import StatementCache
from shopkeeper.storage.statements import Fetched

Convert = Callable[[Any], Any]
Values = Mapping[str, Any]

MOST_LISTED = 512
"""Values of one list. Longer lists are left to SQLAlchemy."""


Parameter = tuple[str, int | None, Any, Convert | None]
"""One `?` of a statement: the name of its value, the place in a list, the value where none is given, and how a value is
converted."""


class PreparedQuery:
    """One query, compiled for each length of its lists.

    Lists are filled up to the next power of two with their last value, so that there are few lengths.
    """

    def __init__(self, query: Select[Any], dialect: Dialect) -> None:
        self._compiled = query.compile(dialect=dialect)
        columns = self._compiled._result_columns
        metadata = SimpleResultMetaData([column.keyname for column in columns])
        convert: list[Any] = [column.type._cached_result_processor(dialect, None) for column in columns]
        self._row = partial(Row, metadata, convert if any(convert) else None, metadata._key_to_index)
        self._lists = [bind.key for bind in self._compiled.binds.values() if bind.expanding]
        self._required = {bind.key for bind in self._compiled.binds.values() if bind.required}
        self._by_length: dict[tuple[int, ...], tuple[str, Sequence[Parameter]]] = {}

    def run(self, connection: sqlite3.Connection, given: Values) -> Fetched:
        """Return the rows. Raises the driver's exceptions, and `LookupError` for what only SQLAlchemy can run."""
        if not self._required <= given.keys():
            raise LookupError
        lengths = tuple(_rounded(given[name]) for name in self._lists) if self._lists else ()
        known = self._by_length.get(lengths)
        if known is None:
            known = self._by_length[lengths] = self._expanded(given, lengths)
        text, parameters = known
        rows = connection.execute(text, [_value(given, *each) for each in parameters]).fetchall()
        return Fetched(rows, self._row, rowcount=len(rows))

    def _expanded(self, given: Values, lengths: tuple[int, ...]) -> tuple[str, Sequence[Parameter]]:
        sample = {name: [None] * length for name, length in zip(self._lists, lengths, strict=True)}
        state = self._compiled.construct_expanded_state({**given, **sample})
        entries = {
            entry: (name, place) for name, all_ in state.parameter_expansion.items() for place, entry in enumerate(all_)
        }
        constants = self._compiled.construct_params(_check=False)
        parameters: list[Parameter] = []
        for position in state.positiontup or ():
            name, place = entries.get(position, (position, None))
            # The expanded state has the converters of lists only.
            convert: Any = state.processors.get(position) or self._compiled._bind_processors.get(name)
            constant = constants.get(name)
            fixed = convert(constant) if convert is not None and constant is not None else constant
            parameters.append((self._compiled.binds[name].key, place, fixed, convert))
        return state.statement, parameters


def _value(given: Values, name: str, place: int | None, constant: Any, convert: Convert | None) -> Any:
    if name not in given:
        return constant
    value = given[name]
    if place is not None:
        value = value[place] if place < len(value) else value[-1]
    return value if convert is None else convert(value)


class PreparedQueries:
    """The prepared queries of one database. A query is prepared when the same object is run for the second time."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._known: StatementCache[PreparedQuery] = StatementCache()

    def of(self, query: object) -> PreparedQuery | None:
        """Return the prepared query, or None where SQLAlchemy is to run it."""
        if not isinstance(query, Select):
            return None
        known = self._known.get(query)
        return known or self._known.on_second_use(query, lambda: PreparedQuery(query, self._dialect))


def _rounded(values: Sequence[Any]) -> int:
    """Return the length to which a list is filled up. Raises `LookupError` for an empty or a very long one."""
    if not 0 < len(values) <= MOST_LISTED:
        raise LookupError
    return 1 << (len(values) - 1).bit_length()
