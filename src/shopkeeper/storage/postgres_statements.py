"""Turns SQLAlchemy's statements into SQL text and values for asyncpg, and asyncpg's records into rows.

SQLAlchemy compiles a statement once. Its own execution of a compiled statement takes longer than PostgreSQL does, so
only its compiler, its types and its rows are used.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from asyncpg import Attribute, Record  # type: ignore[import-untyped]  # asyncpg carries no types
from sqlalchemy import JSON, Executable, Row
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine
from sqlalchemy.util import LRUCache

from shopkeeper.storage.statement_cache import StatementCache
from shopkeeper.storage.statements import Fetched, MakeRow, from_json, to_json

MOST_TEXTS: Final = 1_000
"""Compiled SQL texts that are kept."""

Describe = Callable[[], Sequence[Attribute]]
_Process = Callable[[Any], Any]


class _Plan:
    """What all statements of one structure share: SQL text, placeholders, and how their rows are made."""

    __slots__ = ("_compiled", "_dialect", "_make_row", "_slots", "_sql", "defaults", "required")

    def __init__(self, compiled: SQLCompiler, dialect: PGDialect_asyncpg) -> None:
        self._compiled, self._dialect = compiled, dialect
        self.required = {name for bind, name in compiled.bind_names.items() if bind.required}
        self.defaults = _defaults(compiled)
        self._sql: str | None = None
        self._slots: list[tuple[str, _Process | None]] = []
        if not (compiled.post_compile_params or compiled.literal_execute_params):
            self._sql = compiled.string
            self._slots = _slots(compiled.positiontup, compiled._bind_processors)
        self._make_row: MakeRow | None = None

    def sql_and_values(self, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
        if self._sql is not None:
            return self._sql, _processed(self._slots, values)
        # The text depends on the values: `IN` has as many placeholders as its list has items.
        expanded = self._compiled.construct_expanded_state(values, escape_names=False)
        processors = {**self._compiled._bind_processors, **expanded.processors}
        return expanded.statement, _processed(_slots(expanded.positiontup, processors), expanded.parameters)

    def row_maker(self, describe: Describe) -> MakeRow:
        if self._make_row is not None:
            return self._make_row
        columns, attributes = self._compiled._result_columns, describe()
        if len(columns) != len(attributes):  # plain SQL text, whose columns may change with its tables
            return self._new_row_maker([each.name for each in attributes], [None] * len(attributes), attributes)
        self._make_row = self._new_row_maker(
            [column.keyname for column in columns], [column.type for column in columns], attributes
        )
        return self._make_row

    def _new_row_maker(
        self, names: Sequence[str], types: Sequence[TypeEngine[Any] | None], attributes: Sequence[Attribute]
    ) -> MakeRow:
        processors: list[Any] = [self._converter(kind, column) for kind, column in zip(types, attributes, strict=True)]
        metadata = SimpleResultMetaData(names)
        return partial(Row, metadata, processors if any(processors) else None, metadata._key_to_index)

    def _converter(self, kind: TypeEngine[Any] | None, attribute: Attribute) -> _Process | None:
        if isinstance(kind, JSON) or attribute.type.name in {"json", "jsonb"}:
            return from_json
        return None if kind is None else kind._cached_result_processor(self._dialect, attribute.type.oid)


class BoundStatement:
    """A compiled statement with the values that are part of it; parameters are added with each execution."""

    __slots__ = ("_constants", "_plan")

    def __init__(self, plan: _Plan, constants: Mapping[str, Any]) -> None:
        self._plan, self._constants = plan, {**constants, **plan.defaults}

    def sql_and_values(self, parameters: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """Return the SQL text and the values of its placeholders.

        Raises `InvalidRequestError` where a parameter is missing.
        """
        if not self._plan.required <= parameters.keys():
            missing = ", ".join(sorted(self._plan.required - parameters.keys()))
            raise InvalidRequestError(f"A value is required for bind parameter {missing}")
        return self._plan.sql_and_values({**self._constants, **parameters} if parameters else self._constants)

    def result(self, records: Sequence[Record], *, describe: Describe, rowcount: int) -> Fetched:
        """Convert the records of an execution; `describe` returns their columns, which takes its time."""
        return Fetched(records, self._plan.row_maker(describe), rowcount=rowcount)


class Compiler:
    """Compiles each statement once.

    A statement that is a module's constant is found by its identity, which takes no time. One that is built for each
    call is found by its structure, which takes about as long as PostgreSQL takes to execute it.
    """

    def __init__(self) -> None:
        self._dialect = PGDialect_asyncpg(json_serializer=to_json)  # type: ignore[no-untyped-call]  # it has no types
        self._texts: LRUCache[Any, Any] = LRUCache(MOST_TEXTS)
        self._plans: LRUCache[SQLCompiler, _Plan] = LRUCache(MOST_TEXTS)
        self._known: StatementCache[dict[tuple[str, ...], BoundStatement]] = StatementCache()

    def bound(self, statement: Executable, names: tuple[str, ...]) -> BoundStatement:
        """Return a compiled statement; `names` are those of its parameters, which an INSERT's text depends on."""
        by_names = self._known.get(statement)
        if by_names is None:
            by_names = self._known.on_second_use(statement, dict)
        if by_names is None:
            return self._compile(statement, names)
        found = by_names.get(names)
        if found is None:
            found = by_names[names] = self._compile(statement, names)
        return found

    def _compile(self, statement: Any, names: tuple[str, ...]) -> BoundStatement:
        compiled, extracted, constants, _ = statement._compile_w_cache(
            self._dialect, compiled_cache=self._texts, column_keys=sorted(names)
        )
        values = compiled.construct_params(
            extracted_parameters=extracted, escape_names=False, _check=False, _collected_params=constants
        )
        plan: _Plan | None = self._plans.get(compiled)
        if plan is None:
            plan = self._plans[compiled] = _Plan(compiled, self._dialect)
        return BoundStatement(plan, values)


def _slots(order: Sequence[str] | None, processors: Mapping[str, Any]) -> list[tuple[str, _Process | None]]:
    return [(name, processors.get(name)) for name in order or ()]


def _processed(slots: Sequence[tuple[str, _Process | None]], values: Mapping[str, Any]) -> list[Any]:
    return [values[name] if process is None else process(values[name]) for name, process in slots]


def _defaults(compiled: SQLCompiler) -> dict[str, Any]:
    """Return the values of columns that a statement leaves to Python. Raises `TypeError` unless they are constants."""
    found = {}
    prefetched = [
        *((column, column.default) for column in compiled.insert_prefetch),
        *((column, column.onupdate) for column in compiled.update_prefetch),
    ]
    for column, default in prefetched:
        if default is None or not default.is_scalar:
            raise TypeError(f"The default of {column} must be a constant, or the database's.")
        found[compiled._within_exec_param_key_getter(column)] = default.arg  # type: ignore[attr-defined]  # scalar
    return found


COMPILER: Final = Compiler()
"""What is compiled does not depend on the database, so all of a process share it."""
