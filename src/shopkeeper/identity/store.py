"""The tables of identities and all their queries.

Any number of identities is read in one query, with all that belongs to them. The database decides the uniqueness of
identifiers and addresses; `constraints.py` converts a broken constraint into an error.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    CompoundSelect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    UniqueConstraint,
    and_,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.types import TypeEngine

from shopkeeper.crypto import KeyRing
from shopkeeper.identity.builder import LONGEST_EXTERNAL_ID, LONGEST_TYPE
from shopkeeper.identity.facts import FactsByType, factors_of, facts_of
from shopkeeper.identity.normalise import LONGEST
from shopkeeper.identity.rows import (
    Addresses,
    address_rows,
    credential_row,
    identifier_rows,
    identity_row,
    to_credential,
    to_identity,
    to_recovery_address,
    to_verifiable_address,
)
from shopkeeper.identity.sealing import ConfigSealer
from shopkeeper.identity.terms import LONGEST_TERM, terms_of
from shopkeeper.identity.values import AddressStatus, Credential, Identity
from shopkeeper.storage.database import Unit
from shopkeeper.storage.parts import Part, by_part, columns_of, union_of
from shopkeeper.storage.tables import Id, Json, Moment, metadata


def _owner() -> Column[UUID]:
    return Column("identity_id", Id, ForeignKey("identities.id", ondelete="CASCADE"), nullable=False)


def _times() -> tuple[Column[datetime], Column[datetime]]:
    return Column("created_at", Moment, nullable=False), Column("updated_at", Moment, nullable=False)


def _text_in_order(length: int) -> String:
    """Return the type of text that is searched by its beginning: in the order of its bytes, as SQLite has it."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


identities = Table(
    "identities",
    metadata,
    Column("id", Id, primary_key=True),
    Column("schema_id", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    Column("state_changed_at", Moment, nullable=False),
    Column("traits", Json, nullable=False),
    Column("metadata_public", Json),
    Column("metadata_admin", Json),
    Column("external_id", String(LONGEST_EXTERNAL_ID), unique=True),
    # The credential types with a usable secret, so that the AAL of a session is computed without reading credentials.
    Column("factors", Json, nullable=False, server_default=text("'[]'")),
    *_times(),
    Index(None, "state", "id"),
)

credentials = Table(
    "credentials",
    metadata,
    Column("identity_id", Id, ForeignKey("identities.id", ondelete="CASCADE"), primary_key=True),
    Column("type", String(LONGEST_TYPE), primary_key=True),
    Column("config", Json, nullable=False),
    Column("version", Integer, nullable=False),
    *_times(),
)

credential_identifiers = Table(
    "credential_identifiers",
    metadata,
    # The identifier comes first in the key: the admin API searches by it alone, sign-in by both columns.
    Column("identifier", _text_in_order(LONGEST), primary_key=True),
    Column("type", String(LONGEST_TYPE), primary_key=True),
    Column("identity_id", Id, nullable=False),
    Column("position", Integer, nullable=False),
    ForeignKeyConstraint(["identity_id", "type"], ["credentials.identity_id", "credentials.type"], ondelete="CASCADE"),
    Index(None, "identity_id", "type"),
)

verifiable_addresses = Table(
    "verifiable_addresses",
    metadata,
    Column("id", Id, primary_key=True),
    _owner(),
    Column("via", String(16), nullable=False),
    Column("value", String(LONGEST), nullable=False),
    Column("position", Integer, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("status", String(16), nullable=False),
    Column("verified_at", Moment),
    *_times(),
    UniqueConstraint("via", "value"),
    Index(None, "identity_id"),
)

recovery_addresses = Table(
    "recovery_addresses",
    metadata,
    Column("id", Id, primary_key=True),
    _owner(),
    Column("via", String(16), nullable=False),
    Column("value", String(LONGEST), nullable=False),
    Column("position", Integer, nullable=False),
    *_times(),
    UniqueConstraint("via", "value"),
    Index(None, "identity_id"),
)

identity_terms = Table(
    "identity_terms",
    metadata,
    # Walked in this order by searches (`search.py`).
    Column("term", _text_in_order(LONGEST_TERM), primary_key=True),
    Column("identity_id", Id, ForeignKey("identities.id", ondelete="CASCADE"), primary_key=True),
    Index(None, "identity_id"),
)

Condition = Callable[[ColumnElement[UUID]], ColumnElement[bool]]


class Selector(NamedTuple):
    """The identities to read: a condition on the column that holds their ids, and the values of its bind parameters.

    There are only a few conditions (`selectors.py`), so each statement is built once per condition.
    """

    condition: Condition
    bound: Mapping[str, Any]


class IdentityStore:
    """Reads and writes identities with all that belongs to them.

    Every write of credentials computes `Identity.factors` here and stores them with the identity.

    Args:
        facts: the facts about each credential type.
        keys: seals the credentials of the types that are stored sealed. Raises `ValueError` where it is None and there
            are such types.
    """

    def __init__(self, facts: FactsByType, *, keys: KeyRing | None) -> None:
        self._facts = facts
        self._sealer = ConfigSealer([known.type for known in facts.values() if known.sealed], keys=keys)

    async def load(
        self, unit: Unit, selector: Selector, *, with_credentials: bool, lock: bool = False
    ) -> list[Identity]:
        """Return identities, ordered by id. The same queries run for unknown ones, so that the time reveals nothing.

        `lock` prevents concurrent changes until the unit ends.
        """
        if lock:
            await unit.all(_locked(selector.condition), selector.bound)
        statement = _all_of(selector.condition, with_credentials=with_credentials)
        rows, to_verify, to_recover, proving = by_part(await unit.all(statement, selector.bound), count=4)
        verifiable, recovery, proofs = _by_owner(to_verify), _by_owner(to_recover), self._credentials(proving)
        return [
            to_identity(
                row,
                [to_verifiable_address(each) for each in verifiable.get(row.id, ())],
                [to_recovery_address(each) for each in recovery.get(row.id, ())],
                proofs.get(row.id, {}),
            )
            for row in rows
        ]

    async def insert(self, unit: Unit, identity: Identity) -> Identity:
        """Insert an identity with all that belongs to it. Returns it as it is stored."""
        stored = self._with_factors(identity)
        proofs = stored.credentials.values()
        await unit.write(insert(identities).values(identity_row(stored)))
        await _insert(unit, credentials, [self._row(stored.id, credential) for credential in proofs])
        await _insert(unit, credential_identifiers, identifier_rows(stored.id, proofs))
        await _insert(unit, verifiable_addresses, address_rows(stored.id, stored.verifiable_addresses))
        await _insert(unit, recovery_addresses, address_rows(stored.id, stored.recovery_addresses))
        await _insert(unit, identity_terms, _term_rows(stored.id, terms_of(stored.traits)))
        return stored

    async def update(self, unit: Unit, before: Identity, after: Identity) -> Identity:
        """Write the differences between identities read with credentials. Returns `after` as it is stored."""
        stored = self._with_factors(after)
        row = identity_row(stored)
        if row != identity_row(before):
            await unit.write(update(identities).where(identities.c.id == row.pop("id")).values(row))
        await _update_terms(unit, before, stored)
        await self._update_credentials(unit, before, stored)
        for table, old, new in (
            (verifiable_addresses, before.verifiable_addresses, stored.verifiable_addresses),
            (recovery_addresses, before.recovery_addresses, stored.recovery_addresses),
        ):
            await _update_addresses(unit, table, before.id, old, new)
        return stored

    def _with_factors(self, identity: Identity) -> Identity:
        return replace(identity, factors=factors_of(self._facts, identity.credentials))

    def _row(self, owner: UUID, credential: Credential) -> dict[str, Any]:
        return credential_row(owner, credential, config=self._sealer.to_row(owner, credential))

    def _credentials(self, proving: Sequence[Row[Any]]) -> Mapping[UUID, dict[str, Credential]]:
        """Return the credentials by owner and type, from their rows: one for each identifier."""
        rows: dict[tuple[UUID, str], list[Row[Any]]] = defaultdict(list)
        for row in proving:
            rows[row.identity_id, row.type].append(row)
        result: dict[UUID, dict[str, Credential]] = defaultdict(dict)
        for (owner, type_), group in rows.items():
            config = self._sealer.from_row(owner, type_, group[0].config)
            version = facts_of(self._facts, type_).read_version
            result[owner][type_] = to_credential(group, config=config, read_version=version)
        return result

    async def _update_credentials(self, unit: Unit, before: Identity, after: Identity) -> None:
        """Leave rows of unchanged credentials untouched, also those that cannot be opened."""
        gone = [type_ for type_ in before.credentials if type_ not in after.credentials]
        if gone:
            await unit.write(delete(credentials).where(_of(before.id), credentials.c.type.in_(gone)))
        for type_, credential in after.credentials.items():
            known = before.credentials.get(type_)
            if known is None:
                await _insert(unit, credentials, [self._row(after.id, credential)])
            elif credential != known:
                await self._update_credential(unit, after.id, credential)
            if credential.identifiers != (known.identifiers if known else ()):
                await _replace_identifiers(unit, after.id, credential)

    async def _update_credential(self, unit: Unit, owner: UUID, credential: Credential) -> None:
        row = self._row(owner, credential)
        mine = and_(credentials.c.identity_id == owner, credentials.c.type == credential.type)
        changed = {"config": row["config"], "updated_at": credential.updated_at}
        await unit.write(update(credentials).where(mine).values(changed))


async def delete_identity(unit: Unit, identity_id: UUID) -> bool:
    """Delete an identity and all that refers to it. Returns whether it existed."""
    return (await unit.write(delete(identities).where(identities.c.id == identity_id))).rowcount > 0


async def mark_address(
    unit: Unit, address_id: UUID, *, status: AddressStatus, verified_at: datetime | None, now: datetime
) -> UUID | None:
    """Set the verification status of an address. Returns the id of its identity, or None for an unknown address."""
    done = status is AddressStatus.COMPLETED
    values = {"status": status, "verified": done, "verified_at": verified_at, "updated_at": now}
    table = verifiable_addresses
    changed = update(table).where(table.c.id == address_id).values(values).returning(table.c.identity_id)
    row = (await unit.write(changed)).first()
    return row.identity_id if row else None


async def mark_sent(unit: Unit, address_id: UUID, *, now: datetime) -> UUID | None:
    """Record that a verification mail is on its way. Returns the id of the identity, or None for an unknown address."""
    table = verifiable_addresses
    values = {"status": AddressStatus.SENT, "updated_at": now}
    changed = update(table).where(table.c.id == address_id).values(values).returning(table.c.identity_id)
    row = (await unit.write(changed)).first()
    return row.identity_id if row else None


def _by_owner(rows: Sequence[Row[Any]]) -> Mapping[UUID, Sequence[Row[Any]]]:
    found: dict[UUID, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        found[row.identity_id].append(row)
    return found


@cache
def _locked(condition: Condition) -> Select[Any]:
    return select(identities.c.id).where(condition(identities.c.id)).order_by(identities.c.id).with_for_update()


@cache
def _all_of(condition: Condition, *, with_credentials: bool) -> CompoundSelect[Any]:
    """Return the statement for identities with their addresses, and with their credentials if they are wanted."""
    named = credential_identifiers.c
    identified = credentials.outerjoin(
        credential_identifiers, and_(named.identity_id == credentials.c.identity_id, named.type == credentials.c.type)
    )
    of_credential = {**columns_of(credentials), "identifier": named.identifier, "position": named.position}
    parts = [
        Part(columns_of(identities), identities, condition(identities.c.id)),
        Part(columns_of(verifiable_addresses), verifiable_addresses, condition(verifiable_addresses.c.identity_id)),
        Part(columns_of(recovery_addresses), recovery_addresses, condition(recovery_addresses.c.identity_id)),
        Part(of_credential, identified, condition(credentials.c.identity_id)),
    ]
    return union_of(
        parts if with_credentials else parts[:3],
        _COLUMNS if with_credentials else {name: kind for name, kind in _COLUMNS.items() if name not in _OF_CREDENTIAL},
        order_by=("type", "position", "id") if with_credentials else ("position", "id"),
    )


_OF_CREDENTIAL: Final = frozenset({"type", "config", "version", "identifier"})
_COLUMNS: Final[Mapping[str, TypeEngine[Any]]] = {
    **{column.name: column.type for column in identities.c},
    **{column.name: column.type for column in verifiable_addresses.c if column.name != "id"},
    **{column.name: column.type for column in credentials.c if column.name != "identity_id"},
    "identifier": credential_identifiers.c.identifier.type,
}
"""The name `id` is the identity's or the address's; `identity_id` is the owner's."""


def _of(identity_id: UUID) -> Any:
    return credentials.c.identity_id == identity_id


async def _replace_identifiers(unit: Unit, identity_id: UUID, credential: Credential) -> None:
    table = credential_identifiers.c
    mine = and_(table.identity_id == identity_id, table.type == credential.type)
    await unit.write(delete(credential_identifiers).where(mine))
    await _insert(unit, credential_identifiers, identifier_rows(identity_id, [credential]))


async def _update_addresses(unit: Unit, table: Table, owner: UUID, before: Addresses, after: Addresses) -> None:
    """Keep the rows of addresses that stay: a verification in progress refers to them."""
    old = {row["id"]: row for row in address_rows(owner, before)}
    new = {row["id"]: row for row in address_rows(owner, after)}
    if gone := old.keys() - new.keys():
        await unit.write(delete(table).where(table.c.id.in_(gone)))
    for address_id in old.keys() & new.keys():
        if new[address_id] != old[address_id]:
            await unit.write(update(table).where(table.c.id == address_id).values(new[address_id]))
    await _insert(unit, table, [row for address_id, row in new.items() if address_id not in old])


async def _update_terms(unit: Unit, before: Identity, after: Identity) -> None:
    if before.traits == after.traits:
        return
    old, new = terms_of(before.traits), terms_of(after.traits)
    if gone := old - new:
        own = and_(identity_terms.c.identity_id == after.id, identity_terms.c.term.in_(sorted(gone)))
        await unit.write(delete(identity_terms).where(own))
    await _insert(unit, identity_terms, _term_rows(after.id, new - old))


def _term_rows(owner: UUID, terms: Collection[str]) -> list[dict[str, Any]]:
    return [{"term": term, "identity_id": owner} for term in sorted(terms)]


async def _insert(unit: Unit, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        await unit.write(insert(table), rows)
