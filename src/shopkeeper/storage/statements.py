"""Statements, their parameters and results, as far as they are the same for both kinds of database."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy import Row

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
"""The values of a statement's bind parameters, or one mapping for each of many executions."""

MakeRow = Callable[[Any], Row[Any]]


class Result(Protocol):
    """What a statement returned."""

    @property
    def rowcount(self) -> int:
        """How many rows were found or changed; -1 where that is unknown, as after many executions."""
        ...

    def all(self) -> Sequence[Row[Any]]: ...

    def first(self) -> Row[Any] | None: ...

    def scalar(self) -> Any: ...


class Fetched:
    """The rows that a driver has fetched; they are converted when they are asked for."""

    __slots__ = ("_make", "_records", "rowcount")

    def __init__(self, records: Sequence[Any], make: MakeRow, *, rowcount: int) -> None:
        self._records, self._make, self.rowcount = records, make, rowcount

    def all(self) -> Sequence[Row[Any]]:
        return [self._make(record) for record in self._records]

    def first(self) -> Row[Any] | None:
        return self._make(self._records[0]) if self._records else None

    def scalar(self) -> Any:
        row = self.first()
        return None if row is None else row[0]


def _no_row(record: object) -> Row[Any]:
    raise LookupError(record)


NOTHING: Final = Fetched((), _no_row, rowcount=0)
"""The result of a statement that was not executed."""


def to_json(document: Any) -> str:
    return msgspec.json.encode(document).decode()


def from_json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
