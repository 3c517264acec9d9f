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
    LargeBinary,
    Row,
    Select,
    String,
    Table,
    UniqueConstraint,
    and_,
    delete,
    select,
    text,
    update,
)
from sqlalchemy.types import TypeEngine

from shopkeeper.crypto import KeyRing
from shopkeeper.identity.builder import LONGEST_EXTERNAL_ID, LONGEST_TYPE
from shopkeeper.identity.facts import FactsByType, digests_of, factors_of, facts_of, group_sources_of
from shopkeeper.identity.group_store import touch_later
from shopkeeper.identity.group_tables import MEMBERSHIP_COLUMNS, NAMED_MEMBERS, group_members
from shopkeeper.identity.memberships import still_given
from shopkeeper.identity.normalise import LONGEST
from shopkeeper.identity.rows import (
    address_rows,
    credential_row,
    identifier_rows,
    identity_row,
    membership_rows,
    to_credential,
    to_identity,
    to_recovery_address,
    to_verifiable_address,
)
from shopkeeper.identity.sealing import ConfigSealer
from shopkeeper.identity.terms import LONGEST_TERM, terms_of
from shopkeeper.identity.values import AddressStatus, Credential, Identity
from shopkeeper.languages.choice import LONGEST_TAG
from shopkeeper.storage.database import Unit
from shopkeeper.storage.parts import Part, by_part, columns_of, union_of
from shopkeeper.storage.row_changes import Kind, RowChange, differences, update_later, write
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
    Column("locale", String(LONGEST_TAG)),
    # The credential types with a usable secret, so that the AAL of a session is computed without reading credentials.
    Column("factors", Json, nullable=False, server_default=text("'[]'")),
    Column("version", Integer, nullable=False, server_default=text("1")),
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
    Column("set_at", Moment),
)

credential_identifiers = Table(
    "credential_identifiers",
    metadata,
    # The identifier comes first in the key: the admin API searches by it alone, sign-in by both columns.
    Column("identifier", _text_in_order(LONGEST), primary_key=True),
    Column("type", String(LONGEST_TYPE), primary_key=True),
    Column("identity_id", Id, nullable=False),
    Column("position", Integer, nullable=False),
    # The account at a provider that the identifier stands for: several providers of the settings may lead to one.
    Column("account_digest", LargeBinary(32)),
    ForeignKeyConstraint(["identity_id", "type"], ["credentials.identity_id", "credentials.type"], ondelete="CASCADE"),
    Index(None, "identity_id", "type"),
    Index(None, "account_digest", unique=True),
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

        `lock` prevents concurrent changes until the unit ends. On SQLite the transaction itself does, once it is open.
        """
        if lock and unit.dialect != "sqlite":
            await unit.all(_locked(selector.condition), selector.bound)
        statement = _all_of(selector.condition, with_credentials=with_credentials)
        rows, to_verify, to_recover, of_groups, proving = by_part(await unit.all(statement, selector.bound), count=5)
        verifiable, recovery, proofs = _by_owner(to_verify), _by_owner(to_recover), self._credentials(proving)
        memberships = _by_owner(of_groups)
        return [
            to_identity(
                row,
                [to_verifiable_address(each) for each in verifiable.get(row.id, ())],
                [to_recovery_address(each) for each in recovery.get(row.id, ())],
                proofs.get(row.id, {}),
                memberships.get(row.id, ()),
            )
            for row in rows
        ]

    async def insert(self, unit: Unit, identity: Identity, *, identifiers_apart: bool = False) -> Identity:
        """Insert an identity with all that belongs to it, its identifiers by a statement of their own if that is
        wanted. Returns it as it is stored."""
        stored = self._as_stored(identity)
        changes = self._changes(None, stored)
        apart = [change for change in changes if change.table is credential_identifiers and identifiers_apart]
        await write(unit, [change for change in changes if change not in apart])
        await write(unit, apart)
        touch_later(unit, before=(), after=stored.memberships, now=stored.updated_at)
        return stored

    async def update(self, unit: Unit, before: Identity, after: Identity, *, counts: bool = True) -> Identity:
        """Write the differences between identities read with credentials. Returns `after` as it is stored.

        `counts` is False for what is no change of the account, such as a new hash: then its version stays.
        """
        stored = self._as_stored(after)
        if counts and stored != before:
            stored = replace(stored, version=before.version + 1)
        await write(unit, self._changes(before, stored))
        touch_later(unit, before=before.memberships, after=stored.memberships, now=stored.updated_at)
        return stored

    def _changes(self, before: Identity | None, after: Identity) -> list[RowChange]:
        old, new = self._rows(before) if before is not None else {}, self._rows(after)
        changes = [change for table in new for change in differences(table, old.get(table, ()), new[table])]
        return [self._sealed(change) for change in changes]

    def _rows(self, identity: Identity) -> Mapping[Table, Sequence[dict[str, Any]]]:
        """Return the rows of an identity, by table. Rows of addresses keep their ids while the addresses stay: a
        verification in progress refers to them."""
        owner, proofs = identity.id, identity.credentials.values()
        return {
            identities: [identity_row(identity)],
            credentials: [credential_row(owner, credential) for credential in proofs],
            credential_identifiers: identifier_rows(owner, proofs, digests=digests_of(self._facts, proofs)),
            verifiable_addresses: address_rows(owner, identity.verifiable_addresses),
            recovery_addresses: address_rows(owner, identity.recovery_addresses),
            identity_terms: [{"term": term, "identity_id": owner} for term in sorted(terms_of(identity.traits))],
            group_members: membership_rows(owner, identity.memberships),
        }

    def _sealed(self, change: RowChange) -> RowChange:
        """Seal the configs of credentials that are written. Those that stay are not touched, so that one that cannot be
        opened is kept as it is."""
        if change.table is not credentials or change.kind is Kind.DELETE:
            return change
        to_row = self._sealer.to_row
        rows = [{**row, "config": to_row(row["identity_id"], row["type"], row["config"])} for row in change.rows]
        return change._replace(rows=rows)

    def _as_stored(self, identity: Identity) -> Identity:
        """Return the identity with what follows from its credentials: its factors, and which groups end with them."""
        credentials = identity.credentials
        sources = group_sources_of(self._facts, credentials.values()) if identity.memberships else ()
        memberships = still_given(identity.memberships, sources)
        return replace(identity, factors=factors_of(self._facts, credentials), memberships=memberships)

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


async def delete_identity(unit: Unit, identity_id: UUID) -> bool:
    """Delete an identity and all that refers to it. Returns whether it existed."""
    return (await unit.write(delete(identities).where(identities.c.id == identity_id))).rowcount > 0


async def count_changes(unit: Unit, ids: Collection[UUID], *, now: datetime) -> None:
    """Raise the version of identities that this unit has locked."""
    changed = update(identities).where(identities.c.id.in_(list(ids)))
    await unit.write(changed.values(version=identities.c.version + 1, updated_at=now))


async def lock_ids(unit: Unit, ids: Collection[UUID]) -> Sequence[UUID]:
    """Lock identities in the order of their ids until the unit ends, and return the ids of those that exist."""
    await unit.begin()
    chosen = select(identities.c.id).where(identities.c.id.in_(list(ids))).order_by(identities.c.id)
    return [row.id for row in await unit.all(chosen if unit.dialect == "sqlite" else chosen.with_for_update())]


async def set_locale(unit: Unit, identity_id: UUID, locale: str, *, unless_known: bool) -> bool:
    """Set the language of an identity, or only where it has none. Returns whether it was set."""
    chosen = identities.c.id == identity_id
    if unless_known:
        chosen &= identities.c.locale.is_(None)
    return (await unit.write(update(identities).where(chosen).values(locale=locale))).rowcount > 0


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


def mark_sent(unit: Unit, address_id: UUID, *, now: datetime) -> None:
    """Record right before the commit that a verification mail is on its way. An unknown address costs the same."""
    update_later(unit, verifiable_addresses, [{"id": address_id, "status": AddressStatus.SENT, "updated_at": now}])


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
        Part(MEMBERSHIP_COLUMNS, NAMED_MEMBERS, condition(group_members.c.identity_id)),
        Part(of_credential, identified, condition(credentials.c.identity_id)),
    ]
    return union_of(
        parts if with_credentials else parts[:4],
        _COLUMNS if with_credentials else {name: kind for name, kind in _COLUMNS.items() if name not in _OF_CREDENTIAL},
        order_by=("type", "position", "id") if with_credentials else ("position", "id"),
    )


_OF_CREDENTIAL: Final = frozenset({"type", "config", "identifier"})
_COLUMNS: Final[Mapping[str, TypeEngine[Any]]] = {
    **{column.name: column.type for column in identities.c},
    **{column.name: column.type for column in verifiable_addresses.c if column.name != "id"},
    **{column.name: column.type for column in credentials.c if column.name != "identity_id"},
    "identifier": credential_identifiers.c.identifier.type,
    **{name: column.type for name, column in MEMBERSHIP_COLUMNS.items() if name not in {"identity_id", "created_at"}},
}
"""The name `id` is the identity's or the address's; `identity_id` is the owner's."""
