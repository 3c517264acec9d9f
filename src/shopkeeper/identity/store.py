"""The tables of identities and all their queries.

Any number of identities is read in two queries, with credentials in three. The database decides the uniqueness of
identifiers and addresses; `constraints.py` converts a broken constraint into an error.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
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
    null,
    select,
    text,
    union_all,
    update,
)

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
from shopkeeper.identity.values import AddressStatus, Credential, Identity, RecoveryAddress, VerifiableAddress
from shopkeeper.storage.database import Unit
from shopkeeper.storage.tables import Id, Json, Moment, metadata


def _owner() -> Column[UUID]:
    return Column("identity_id", Id, ForeignKey("identities.id", ondelete="CASCADE"), nullable=False)


def _times() -> tuple[Column[datetime], Column[datetime]]:
    return Column("created_at", Moment, nullable=False), Column("updated_at", Moment, nullable=False)


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
    Column("identifier", String(LONGEST), primary_key=True),
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

Condition = Callable[[ColumnElement[UUID]], ColumnElement[bool]]


class Selector(NamedTuple):
    """The identities to read: a condition on the column that holds their ids, and the values of its bind parameters.

    There are only a few conditions (`selectors.py`), so each statement is built once per condition.
    """

    condition: Condition
    bound: Mapping[str, Any]


async def page_of_ids(unit: Unit, *, size: int, after: UUID | None, identifier: str | None) -> Sequence[UUID]:
    """Return the next ids in order."""
    query = select(identities.c.id).order_by(identities.c.id).limit(size)
    if after is not None:
        query = query.where(identities.c.id > after)
    if identifier is not None:
        table = credential_identifiers.c
        query = query.where(identities.c.id.in_(select(table.identity_id).where(table.identifier == identifier)))
    return [row.id for row in await unit.all(query)]


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
        rows = await unit.all(_rows_of(selector.condition, lock=lock), selector.bound)
        verifiable, recovery = await _addresses(unit, selector)
        proofs = await self._credentials(unit, selector) if with_credentials else {}
        return [
            to_identity(row, verifiable.get(row.id, ()), recovery.get(row.id, ()), proofs.get(row.id, {}))
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
        return stored

    async def update(self, unit: Unit, before: Identity, after: Identity) -> Identity:
        """Write the differences between identities read with credentials. Returns `after` as it is stored."""
        stored = self._with_factors(after)
        row = identity_row(stored)
        if row != identity_row(before):
            await unit.write(update(identities).where(identities.c.id == row.pop("id")).values(row))
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

    async def _credentials(self, unit: Unit, selector: Selector) -> Mapping[UUID, dict[str, Credential]]:
        rows: dict[tuple[UUID, str], list[Row[Any]]] = defaultdict(list)
        for row in await unit.all(_credentials_of(selector.condition), selector.bound):
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


async def _addresses(
    unit: Unit, selector: Selector
) -> tuple[Mapping[UUID, Sequence[VerifiableAddress]], Mapping[UUID, Sequence[RecoveryAddress]]]:
    """Return verifiable and recovery addresses, read with one query."""
    to_verify: dict[UUID, list[VerifiableAddress]] = defaultdict(list)
    to_recover: dict[UUID, list[RecoveryAddress]] = defaultdict(list)
    for row in await unit.all(_addresses_of(selector.condition), selector.bound):
        if row.status is None:
            to_recover[row.identity_id].append(to_recovery_address(row))
        else:
            to_verify[row.identity_id].append(to_verifiable_address(row))
    return to_verify, to_recover


@cache
def _rows_of(condition: Condition, *, lock: bool) -> Select[Any]:
    found = select(identities).where(condition(identities.c.id)).order_by(identities.c.id)
    return found.with_for_update() if lock else found


@cache
def _addresses_of(condition: Condition) -> CompoundSelect[Any]:
    verifiable, recovery = verifiable_addresses.c, recovery_addresses.c
    unproven = (null().label("verified"), null().label("status"), null().label("verified_at"))
    return union_all(
        select(*_common(verifiable_addresses), verifiable.verified, verifiable.status, verifiable.verified_at).where(
            condition(verifiable.identity_id)
        ),
        select(*_common(recovery_addresses), *unproven).where(condition(recovery.identity_id)),
    ).order_by("position")


@cache
def _credentials_of(condition: Condition) -> Select[Any]:
    named = credential_identifiers.c
    joined = credentials.outerjoin(
        credential_identifiers,
        and_(named.identity_id == credentials.c.identity_id, named.type == credentials.c.type),
    )
    return (
        select(credentials, named.identifier)
        .select_from(joined)
        .where(condition(credentials.c.identity_id))
        .order_by(credentials.c.type, named.position)
    )


def _common(table: Table) -> tuple[Column[Any], ...]:
    c = table.c
    return c.id, c.identity_id, c.via, c.value, c.position, c.created_at, c.updated_at


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


async def _insert(unit: Unit, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        await unit.write(insert(table), rows)
