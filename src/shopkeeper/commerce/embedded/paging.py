"""Turning pages, with a total that is counted only as far as it is cheap."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, literal, select

from shopkeeper.errors import InvalidInput
from shopkeeper.storage.database import Unit

MAX_PAGE = 100
MAX_OFFSET = 10_000
COUNT_UP_TO = 1_000


@dataclass(frozen=True, slots=True)
class Turned:
    """The rows of one page, where the next begins, and how many rows there are, up to `COUNT_UP_TO`."""

    rows: Sequence[Row[Any]]
    cursor: str | None
    total: int


async def turn(
    unit: Unit, found: Select[Any], *, order: Sequence[ColumnElement[Any]], offset: int, limit: int
) -> Turned:
    """One page of a query. Raises `InvalidInput` for a page that nobody turns to."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput(f"A page has 1 to {MAX_PAGE} entries.")
    if not 0 <= offset <= MAX_OFFSET:
        raise InvalidInput(f"A page begins at entry 0 to {MAX_OFFSET}.")
    rows = await unit.all(found.order_by(*order).offset(offset).limit(limit + 1))
    more = len(rows) > limit
    seen_the_end = not more and (rows or not offset)
    total = offset + len(rows) if seen_the_end else await _count(unit, found)
    return Turned(rows[:limit], str(offset + limit) if more else None, min(total, COUNT_UP_TO))


async def _count(unit: Unit, found: Select[Any]) -> int:
    some = found.with_only_columns(literal(1)).limit(COUNT_UP_TO).subquery()
    return int(await unit.scalar(select(func.count()).select_from(some)))
