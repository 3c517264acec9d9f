"""Pagination, with a total that is counted only as far as it is cheap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, Select, bindparam, func, literal, select

from shopkeeper.errors import InvalidInput
from shopkeeper.storage.database import Unit

MAX_PAGE = 100
MAX_OFFSET = 10_000
COUNT_UP_TO = 1_000


@dataclass(frozen=True, slots=True)
class Turned:
    """The rows of one page, the cursor of the next page, and the total number of rows, up to `COUNT_UP_TO`."""

    rows: Sequence[Row[Any]]
    cursor: str | None
    total: int


class Pages:
    """The statements for the pages of a query, built once; what differs is bound."""

    def __init__(self, found: Select[Any], *, order: Sequence[ColumnElement[Any]]) -> None:
        some = found.with_only_columns(literal(1)).limit(COUNT_UP_TO).subquery()
        self._count = select(func.count()).select_from(some)
        self._page = found.order_by(*order).offset(_place("page_offset")).limit(_place("page_rows"))

    async def turn(self, unit: Unit, bound: Mapping[str, Any], *, offset: int, limit: int) -> Turned:
        """Return one page. Raises `InvalidInput` where `limit` or `offset` is out of bounds."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidInput(f"A page has 1 to {MAX_PAGE} entries.")
        if not 0 <= offset <= MAX_OFFSET:
            raise InvalidInput(f"A page begins at entry 0 to {MAX_OFFSET}.")
        rows = await unit.all(self._page, {**bound, "page_offset": offset, "page_rows": limit + 1})
        more = len(rows) > limit
        seen_the_end = not more and (rows or not offset)
        total = offset + len(rows) if seen_the_end else int(await unit.scalar(self._count, bound))
        return Turned(rows[:limit], str(offset + limit) if more else None, min(total, COUNT_UP_TO))


def _place(name: str) -> Any:
    return bindparam(name, type_=Integer)
