"""The tables of identities and every query on them.

An identity is read in two queries, with credentials in three, however many there are. Uniqueness of identifiers and
addresses is the database's decision; `uniqueness` puts the constraint that broke into words.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    bindparam,
    delete,
    insert,
    literal,
    null,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError

from shopkeeper.errors import Conflict
from shopkeeper.identity.draft import LONGEST_EXTERNAL_ID, LONGEST_TYPE
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
from shopkeeper.identity.values import AddressStatus, Credential, Identity, RecoveryAddress, VerifiableAddress, Via
from shopkeeper.storage.database import Unit, broken_constraint
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
    # The identifier comes first: administrators search by it alone, sign-in by both.
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


class Which(NamedTuple):
    """Which identities are wanted: a condition on the column that holds their ids, and the values of its places.

    There are a handful of conditions, so the statements with each are built once.
    """

    condition: Condition
    bound: Mapping[str, Any]


def by_id(identity_id: UUID) -> Which:
    return Which(_has_id, {"wanted": identity_id})


def by_ids(ids: Collection[UUID]) -> Which:
    return Which(_has_one_of_the_ids, {"wanted": list(ids)})


def by_identifier(type_: str, identifier: str) -> Which:
    """Whose identifier this is, for one type of credential. The identifier is normalised already."""
    return Which(_has_identifier, {"wanted": identifier, "wanted_type": type_})


def by_address(via: Via, value: str) -> Which:
    """Whose address this is, to be verified or to recover an account by. The address is normalised already."""
    return Which(_has_address, {"wanted": value, "wanted_via": via.value})


def by_external_id(external_id: str) -> Which:
    return Which(_has_external_id, {"wanted": external_id})


def _has_id(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    return column == bindparam("wanted", type_=Id)


def _has_one_of_the_ids(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    return column.in_(bindparam("wanted", type_=Id, expanding=True))


def _has_identifier(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    table = credential_identifiers.c
    named = and_(table.identifier == bindparam("wanted"), table.type == bindparam("wanted_type"))
    return column == select(table.identity_id).where(named).scalar_subquery()


def _has_address(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    wanted, via = bindparam("wanted", type_=String), bindparam("wanted_via", type_=String)
    tables = (verifiable_addresses.c, recovery_addresses.c)
    owners = (select(table.identity_id).where(table.via == via, table.value == wanted) for table in tables)
    return column.in_(union_all(*owners))


def _has_external_id(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    owner = select(identities.c.id).where(identities.c.external_id == bindparam("wanted"))
    return column == owner.scalar_subquery()


async def page_of_ids(unit: Unit, *, size: int, after: UUID | None, identifier: str | None) -> Sequence[UUID]:
    """The next ids in order."""
    query = select(identities.c.id).order_by(identities.c.id).limit(size)
    if after is not None:
        query = query.where(identities.c.id > after)
    if identifier is not None:
        table = credential_identifiers.c
        query = query.where(identities.c.id.in_(select(table.identity_id).where(table.identifier == identifier)))
    return [row.id for row in await unit.all(query)]


async def load(unit: Unit, which: Which, *, with_credentials: bool, lock: bool = False) -> list[Identity]:
    """The identities, by id. The same queries run whether there are any or not, so that time does not tell.

    `lock` keeps others from changing them until the unit ends.
    """
    rows = await unit.all(_rows_of(which.condition, lock=lock), which.bound)
    verifiable, recovery = await _addresses(unit, which)
    proofs = await _credentials(unit, which) if with_credentials else {}
    return [
        to_identity(row, verifiable.get(row.id, ()), recovery.get(row.id, ()), proofs.get(row.id, {})) for row in rows
    ]


async def insert_identity(unit: Unit, identity: Identity) -> None:
    """Writes a new identity with all that belongs to it."""
    await unit.write(insert(identities).values(identity_row(identity)))
    await _insert(unit, credentials, [credential_row(identity.id, one) for one in identity.credentials.values()])
    await _insert(unit, credential_identifiers, identifier_rows(identity.id, identity.credentials.values()))
    await _insert(unit, verifiable_addresses, address_rows(identity.id, identity.verifiable_addresses))
    await _insert(unit, recovery_addresses, address_rows(identity.id, identity.recovery_addresses))


async def update_identity(unit: Unit, before: Identity, after: Identity) -> None:
    """Writes what has changed."""
    row = identity_row(after)
    await unit.write(update(identities).where(identities.c.id == row.pop("id")).values(row))
    await _update_credentials(unit, before, after)
    await _update_addresses(
        unit, verifiable_addresses, before.id, before.verifiable_addresses, after.verifiable_addresses
    )
    await _update_addresses(unit, recovery_addresses, before.id, before.recovery_addresses, after.recovery_addresses)


async def delete_identity(unit: Unit, identity_id: UUID) -> bool:
    """Removes an identity and all that refers to it; whether there was one."""
    return (await unit.write(delete(identities).where(identities.c.id == identity_id))).rowcount > 0


async def put_credential(unit: Unit, identity_id: UUID, credential: Credential) -> bool:
    """Sets the config of a credential and makes it where there is none; whether there is such an identity."""
    table = credentials.c
    mine = and_(table.identity_id == identity_id, table.type == credential.type)
    changed = {"config": dict(credential.config), "updated_at": credential.updated_at}
    if (await unit.write(update(credentials).where(mine).values(changed))).rowcount > 0:
        return True
    row = credential_row(identity_id, credential)
    values = select(*(literal(value, table[name].type) for name, value in row.items()))
    made = insert(credentials).from_select(list(row), values.where(identities.c.id == identity_id))
    return (await unit.write(made)).rowcount > 0


async def mark_address(
    unit: Unit, address_id: UUID, *, status: AddressStatus, verified_at: datetime | None, now: datetime
) -> UUID | None:
    """Sets how far the verification of an address has come; whose address it is, if anybody's."""
    done = status is AddressStatus.COMPLETED
    values = {"status": status, "verified": done, "verified_at": verified_at, "updated_at": now}
    table = verifiable_addresses
    changed = update(table).where(table.c.id == address_id).values(values).returning(table.c.identity_id)
    row = (await unit.write(changed)).first()
    return row.identity_id if row else None


@contextmanager
def uniqueness() -> Iterator[None]:
    """Turns a broken unique constraint into `Conflict`; anything else that breaks is our own mistake and passes."""
    try:
        yield
    except IntegrityError as error:
        broken = broken_constraint(error)
        for part, sentence in _TAKEN:
            if part in broken:
                raise Conflict(sentence) from error
        raise


_TAKEN = (
    ("credential_identifiers", "Another account signs in with this identifier already."),
    ("verifiable_addresses", "Another account has this address already."),
    ("recovery_addresses", "Another account has this recovery address already."),
    ("external_id", "Another account has this external id already."),
    ("pk_identities", "There is an account of this id already."),
    ("identities.id", "There is an account of this id already."),
)
"""What stands in the name of a constraint, and what it means. The first that fits."""


async def _addresses(
    unit: Unit, which: Which
) -> tuple[Mapping[UUID, Sequence[VerifiableAddress]], Mapping[UUID, Sequence[RecoveryAddress]]]:
    """Both kinds in one query."""
    to_verify: dict[UUID, list[VerifiableAddress]] = defaultdict(list)
    to_recover: dict[UUID, list[RecoveryAddress]] = defaultdict(list)
    for row in await unit.all(_addresses_of(which.condition), which.bound):
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


async def _credentials(unit: Unit, which: Which) -> Mapping[UUID, dict[str, Credential]]:
    rows: dict[tuple[UUID, str], list[Row[Any]]] = defaultdict(list)
    for row in await unit.all(_credentials_of(which.condition), which.bound):
        rows[row.identity_id, row.type].append(row)
    result: dict[UUID, dict[str, Credential]] = defaultdict(dict)
    for (owner, type_), group in rows.items():
        result[owner][type_] = to_credential(group)
    return result


async def _update_credentials(unit: Unit, before: Identity, after: Identity) -> None:
    gone = [type_ for type_ in before.credentials if type_ not in after.credentials]
    if gone:
        await unit.write(delete(credentials).where(_of(before.id), credentials.c.type.in_(gone)))
    for type_, credential in after.credentials.items():
        known = before.credentials.get(type_)
        if credential != known:
            await put_credential(unit, after.id, credential)
        if credential.identifiers != (known.identifiers if known else ()):
            await _replace_identifiers(unit, after.id, credential)


def _of(identity_id: UUID) -> Any:
    return credentials.c.identity_id == identity_id


async def _replace_identifiers(unit: Unit, identity_id: UUID, credential: Credential) -> None:
    table = credential_identifiers.c
    mine = and_(table.identity_id == identity_id, table.type == credential.type)
    await unit.write(delete(credential_identifiers).where(mine))
    await _insert(unit, credential_identifiers, identifier_rows(identity_id, [credential]))


async def _update_addresses(unit: Unit, table: Table, owner: UUID, before: Addresses, after: Addresses) -> None:
    """Addresses that stay keep their rows: a verification that is under way refers to them."""
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
