"""Searches identities by any combination of filters, with work that is bounded for every page.

A search walks one index from where the last page ended: the leading filter's, which is the most selective one that has
an index in the order of the page. At most `WALK` identities are walked, and the other filters are looked up for each of
them. So a page costs the same at any depth; a search that finds little may return a short page, even an empty one, with
a cursor to go on from.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, and_, func, literal, or_, select

from shopkeeper.errors import InvalidCursor
from shopkeeper.identity.group_tables import group_members, identity_groups
from shopkeeper.identity.store import credential_identifiers, identities, identity_terms
from shopkeeper.identity.values import State
from shopkeeper.storage.database import Unit

WALK: Final = 4_000
_LAST: Final = chr(0x10FFFF)


@dataclass(frozen=True, slots=True)
class Referring:
    """Rows that refer to identities: a filter that lets those identities through.

    Args:
        owner: the column with the ids of identities.
        condition: chooses the rows. An index begins with its columns and ends with `owner`.
    """

    owner: ColumnElement[UUID]
    condition: ColumnElement[bool]

    def ids(self, after: UUID | None) -> Select[Any]:
        """Return the query of the ids, in order."""
        query = select(self.owner.label("id")).where(self.condition).distinct().order_by(self.owner)
        return query if after is None else query.where(self.owner > after)

    def refers_to(self, identity_id: ColumnElement[UUID]) -> ColumnElement[bool]:
        """Return the condition that a row refers to an identity.

        With its limit PostgreSQL looks it up for each identity, and never joins: a join would read all rows.
        """
        found = select(literal(1)).where(self.owner == identity_id, self.condition).limit(1)
        return found.scalar_subquery().is_not(None)


@dataclass(frozen=True, slots=True)
class IdentitySearch:
    """What is searched for; all filters must match.

    Args:
        identifier: an identifier of a credential, normalised.
        exact: the identifier as it was given, where it may be one that is stored so: an account at a provider.
        prefix: how an identifier begins, normalised.
        terms: values of traits (`terms.term`).
        groups: names of groups.
        within: rows of another table that must refer to the identities, such as the sessions of a store.
    """

    identifier: str | None = None
    exact: str | None = None
    prefix: str | None = None
    state: State | None = None
    schema_id: str | None = None
    terms: Sequence[str] = ()
    groups: Sequence[str] = ()
    within: Referring | None = None

    @property
    def is_by_identifier(self) -> bool:
        """Whether the identities are in the order of the identifiers that begin so; else they are in that of ids."""
        return self.prefix is not None and not (self.identifier or self.terms or self.groups or self.within)


EVERYONE: Final = IdentitySearch()


@dataclass(frozen=True, slots=True)
class FoundIds:
    """A page of ids, and the cursor of the next page, None on the last one."""

    ids: Sequence[UUID]
    next_after: str | None


async def page_of_ids(unit: Unit, search: IdentitySearch, *, size: int, after: str | None) -> FoundIds:
    """Return a page of the ids that match. Raises `InvalidCursor` for the cursor of another kind of search."""
    lead = await _lead(unit, search, after)
    walked = lead.limit(WALK).subquery("walked")
    order = [walked.c[name] for name in _order(search)]
    query = select(*walked.c).where(*_filters(search, walked)).order_by(*order).limit(size + 1)
    found = await unit.all(query)
    if len(found) > size:
        return FoundIds([row.id for row in found[:size]], _cursor(search, found[size - 1]))
    # Fewer than a page: either all was walked, or the rest is left to the next page.
    last = await unit.first(lead.offset(WALK - 1).limit(1)) if search != EVERYONE else None
    return FoundIds([row.id for row in found], None if last is None else _cursor(search, last))


async def ids_within(unit: Unit, ids: Collection[UUID], within: Referring) -> Sequence[UUID]:
    """Return those of some ids that rows refer to."""
    query = select(identities.c.id).where(identities.c.id.in_(ids), within.refers_to(identities.c.id))
    return [row.id for row in await unit.all(query)]


async def _lead(unit: Unit, search: IdentitySearch, after: str | None) -> Select[Any]:
    """Return the query that is walked: rows with `id`, and `identifier` where they are in that order."""
    if search.is_by_identifier:
        return _by_prefix(search.prefix or "", after)
    begun = None if after is None else _id_of(after)
    if search.identifier is not None:
        return _identified(search.identifier, search.exact).ids(begun)
    leads = [
        *map(_with_term, search.terms),
        *map(_in_group, search.groups),
        *([search.within] if search.within else []),
    ]
    if leads:
        return (await _smallest(unit, leads)).ids(begun)
    everyone = select(identities.c.id).order_by(identities.c.id)
    if search.state is not None:
        everyone = everyone.where(identities.c.state == search.state.value)
    return everyone if begun is None else everyone.where(identities.c.id > begun)


async def _smallest(unit: Unit, leads: Sequence[Referring]) -> Referring:
    """Return the filter with the fewest rows; counting stops where walking would."""
    if len(leads) == 1:
        return leads[0]
    counts = [
        await unit.scalar(
            select(func.count()).select_from(select(literal(1)).where(lead.condition).limit(WALK).subquery())
        )
        for lead in leads
    ]
    return leads[counts.index(min(counts))]


def _filters(search: IdentitySearch, walked: FromClause) -> list[ColumnElement[bool]]:
    """Return the conditions on what is walked. Repeating the leading one is cheap, and right."""
    column: ColumnElement[UUID] = walked.c.id
    filters = [*map(_with_term, search.terms), *map(_in_group, search.groups)]
    if search.state is not None:
        filters.append(Referring(identities.c.id, identities.c.state == search.state.value))
    if search.schema_id is not None:
        filters.append(Referring(identities.c.id, identities.c.schema_id == search.schema_id))
    if search.within is not None:
        filters.append(search.within)
    if search.prefix is not None and not search.is_by_identifier:
        table = credential_identifiers.c
        filters.append(Referring(table.identity_id, _begins(table.identifier, search.prefix)))
    return [each.refers_to(column) for each in filters]


def _with_term(term: str) -> Referring:
    return Referring(identity_terms.c.identity_id, identity_terms.c.term == term)


def _in_group(name: str) -> Referring:
    group = select(identity_groups.c.id).where(identity_groups.c.name == name).scalar_subquery()
    return Referring(group_members.c.identity_id, group_members.c.group_id == group)


def _identified(identifier: str, exact: str | None) -> Referring:
    column = credential_identifiers.c.identifier
    named = column == identifier if exact in {None, identifier} else column.in_([identifier, exact])
    return Referring(credential_identifiers.c.identity_id, named)


def _by_prefix(prefix: str, after: str | None) -> Select[Any]:
    """Walk the identifiers. An identity with several that begin so comes once, at the first of them."""
    table, earlier = credential_identifiers.c, credential_identifiers.alias("earlier").c
    before = or_(
        earlier.identifier < table.identifier, and_(earlier.identifier == table.identifier, earlier.type < table.type)
    )
    own = and_(_begins(earlier.identifier, prefix), before)
    repeated = Referring(earlier.identity_id, own).refers_to(table.identity_id)
    query = select(table.identity_id.label("id"), table.identifier).where(_begins(table.identifier, prefix), ~repeated)
    if after is not None:
        last, last_identifier = _id_of(after), after[_ID_LENGTH:]
        further = or_(table.identifier > last_identifier, table.identity_id > last)
        query = query.where(table.identifier >= last_identifier, further)
    return query.order_by(table.identifier, table.identity_id)


def _begins(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    return and_(column >= prefix, column < prefix + _LAST)


def _order(search: IdentitySearch) -> Sequence[str]:
    return ("identifier", "id") if search.is_by_identifier else ("id",)


def _cursor(search: IdentitySearch, row: Any) -> str:
    return f"{row.id}{row.identifier}" if search.is_by_identifier else str(row.id)


_ID_LENGTH: Final = len(str(UUID(int=0)))


def _id_of(after: str) -> UUID:
    try:
        return UUID(after[:_ID_LENGTH])
    except ValueError:
        raise InvalidCursor("The page token is not one of ours; begin with the first page.") from None
