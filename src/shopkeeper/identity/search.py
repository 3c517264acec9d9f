"""Searches identities: a page of their ids, by any combination of filters, in one indexed order.

Every search walks one index from where the last page ended, so that a page costs the same at any depth; what else is
asked for is looked up for each identity on the way. The most selective filter that has an index of its own leads.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, literal, or_, select

from shopkeeper.errors import InvalidCursor
from shopkeeper.identity.store import Condition, credential_identifiers, identities, identity_terms
from shopkeeper.identity.values import State
from shopkeeper.storage.database import Unit

_LAST: Final = chr(0x10FFFF)


@dataclass(frozen=True, slots=True)
class IdentitySearch:
    """What is searched for; all filters must match.

    Args:
        identifier: an identifier of a credential, normalised.
        prefix: how an identifier begins, normalised. The identities are in the order of these identifiers.
        terms: values of traits (`terms.term`).
        within: a condition on the ids of identities, such as a session in some store.
    """

    identifier: str | None = None
    prefix: str | None = None
    state: State | None = None
    schema_id: str | None = None
    terms: Sequence[str] = ()
    within: Condition | None = None


EVERYONE: Final = IdentitySearch()


@dataclass(frozen=True, slots=True)
class FoundIds:
    """A page of ids, and the cursor of the next page, None on the last one."""

    ids: Sequence[UUID]
    next_after: str | None


async def page_of_ids(unit: Unit, search: IdentitySearch, *, size: int, after: str | None) -> FoundIds:
    """Return a page of the ids that match. Raises `InvalidCursor` for the cursor of another kind of search."""
    query = _by_id(search, after) if search.prefix is None else _by_prefix(search, search.prefix, after)
    found = await unit.all(query.limit(size + 1))
    page = found[:size]
    last = page[-1] if len(found) > size else None
    cursor = None if last is None else f"{last.id}{last.identifier if search.prefix is not None else ''}"
    return FoundIds([row.id for row in page], cursor)


async def ids_within(unit: Unit, ids: Collection[UUID], within: Condition) -> Sequence[UUID]:
    """Return those of some ids that meet a condition."""
    query = select(identities.c.id).where(identities.c.id.in_(ids), within(identities.c.id))
    return [row.id for row in await unit.all(query)]


def _by_id(search: IdentitySearch, after: str | None) -> Select[Any]:
    """Walk the terms where a trait is searched for, else the identities."""
    leading, others = search.terms[:1], search.terms[1:]
    column: ColumnElement[UUID] = identity_terms.c.identity_id if leading else identities.c.id
    query = select(column.label("id")).order_by(column)
    if leading:
        query = query.where(identity_terms.c.term == leading[0])
    if after is not None:
        query = query.where(column > _id_of(after))
    return query.where(*_filters(search, column, others=others, is_identity=not leading))


def _by_prefix(search: IdentitySearch, prefix: str, after: str | None) -> Select[Any]:
    """Walk the identifiers. An identity with several that begin so comes once, at the first of them."""
    table, earlier = credential_identifiers.c, credential_identifiers.alias("earlier").c
    before = or_(
        earlier.identifier < table.identifier, and_(earlier.identifier == table.identifier, earlier.type < table.type)
    )
    repeated = select(literal(1)).where(
        earlier.identity_id == table.identity_id, _begins(earlier.identifier, prefix), before
    )
    query = select(table.identity_id.label("id"), table.identifier).where(
        _begins(table.identifier, prefix), ~repeated.exists()
    )
    if after is not None:
        last, last_identifier = _id_of(after), after[_ID_LENGTH:]
        further = or_(table.identifier > last_identifier, table.identity_id > last)
        query = query.where(table.identifier >= last_identifier, further)
    query = query.where(*_filters(search, table.identity_id, others=search.terms, is_identity=False))
    return query.order_by(table.identifier, table.identity_id)


def _begins(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    return and_(column >= prefix, column < prefix + _LAST)


def _filters(
    search: IdentitySearch, column: ColumnElement[UUID], *, others: Sequence[str], is_identity: bool
) -> list[ColumnElement[bool]]:
    """Return the conditions beside the leading one, on the column with the ids."""
    own = [
        *([identities.c.state == search.state.value] if search.state is not None else []),
        *([identities.c.schema_id == search.schema_id] if search.schema_id is not None else []),
    ]
    chosen: list[ColumnElement[bool]] = [*own]
    if own and not is_identity:
        chosen = [select(literal(1)).where(identities.c.id == column, *own).exists()]
    for each in others:
        table = identity_terms.alias().c
        chosen.append(select(literal(1)).where(table.term == each, table.identity_id == column).exists())
    if search.identifier is not None:
        named = credential_identifiers.alias().c
        chosen.append(column.in_(select(named.identity_id).where(named.identifier == search.identifier)))
    if search.within is not None:
        chosen.append(search.within(column))
    return chosen


_ID_LENGTH: Final = len(str(UUID(int=0)))


def _id_of(after: str) -> UUID:
    try:
        return UUID(after[:_ID_LENGTH])
    except ValueError:
        raise InvalidCursor("The page token is not one of ours; begin with the first page.") from None
