"""Selects identities by id, identifier, address or external id.

Each selector is a condition with bind parameters, so that `store.py` builds each statement once per condition.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, LargeBinary, Select, String, and_, bindparam, select, tuple_, union_all

from shopkeeper.identity.address_change_store import address_changes
from shopkeeper.identity.store import (
    Selector,
    credential_identifiers,
    identities,
    recovery_addresses,
    verifiable_addresses,
)
from shopkeeper.identity.unique_names import UniqueNames, queryable
from shopkeeper.identity.values import Via
from shopkeeper.storage.tables import Id, Moment


def by_id(identity_id: UUID) -> Selector:
    return Selector(_has_id, {"wanted": identity_id})


def by_ids(ids: Collection[UUID]) -> Selector:
    return Selector(_has_one_of_the_ids, {"wanted": list(ids)})


def by_identifier(type_: str, identifier: str) -> Selector:
    """Select the identity with this identifier for a credential type. The identifier is normalised already."""
    return Selector(_has_identifier, {"wanted": identifier, "wanted_type": type_})


def by_exact_identifiers(type_: str, identifiers: Collection[str], *, digest: bytes | None) -> Selector:
    """Select the identities with one of these identifiers, or with what has this digest (`CredentialFacts.digests`)."""
    bound = {"wanted": [queryable(each) for each in identifiers], "wanted_type": type_, "wanted_digest": digest}
    return Selector(_has_exact_identifier, bound)


def by_address(via: Via, value: str) -> Selector:
    """Select the identities with this verifiable or recovery address. The address is normalised already."""
    return Selector(_has_address, {"wanted": value, "wanted_via": via.value})


def by_unique_names(
    names: UniqueNames, *, reserved: Collection[str] = (), reserved_since: datetime | None = None
) -> Selector:
    """Select the identities with one of these identifiers or addresses and, where there is a moment, those that one of
    the mailboxes `reserved` is reserved for since a later one."""
    bound = {
        **_bound_pairs("identifiers", [(name, type_) for type_, name in names.identifiers]),
        **_bound_pairs("addresses", [(via.value, value) for via, value in names.addresses]),
    }
    if reserved_since is None:
        return Selector(_has_unique_name, bound)
    former = {"wanted_mailboxes": list(reserved), "changed_since": reserved_since}
    return Selector(_has_or_reserves_unique_name, {**bound, **former})


def for_recovery(via: Via, value: str, since: datetime) -> Selector:
    """Select the identities that this address can recover: which has it, or had it until a change since a moment, after
    which no address was confirmed yet. The address is normalised already."""
    return Selector(_recoverable, {"wanted": value, "wanted_via": via.value, "changed_since": since})


def by_external_id(external_id: str) -> Selector:
    return Selector(_has_external_id, {"wanted": external_id})


def _has_id(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    return column == bindparam("wanted", type_=Id)


def _has_one_of_the_ids(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    return column.in_(bindparam("wanted", type_=Id, expanding=True))


def _has_identifier(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    table = credential_identifiers.c
    named = and_(table.identifier == bindparam("wanted"), table.type == bindparam("wanted_type"))
    return column == select(table.identity_id).where(named).scalar_subquery()


def _has_exact_identifier(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    table = credential_identifiers.c
    wanted = table.identifier.in_(bindparam("wanted", type_=String, expanding=True))
    named = select(table.identity_id).where(wanted, table.type == bindparam("wanted_type"))
    digest = bindparam("wanted_digest", type_=LargeBinary)
    return column.in_(union_all(named, select(table.identity_id).where(table.account_digest == digest)))


def _has_address(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    wanted, via = bindparam("wanted", type_=String), bindparam("wanted_via", type_=String)
    tables = (verifiable_addresses.c, recovery_addresses.c)
    owners = (select(table.identity_id).where(table.via == via, table.value == wanted) for table in tables)
    return column.in_(union_all(*owners))


def _has_unique_name(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    return column.in_(union_all(*_owners()))


def _has_or_reserves_unique_name(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    former = address_changes.c
    reserved = select(former.identity_id).where(
        former.address.in_(bindparam("wanted_mailboxes", type_=String, expanding=True)),
        former.created_at > bindparam("changed_since", type_=Moment),
        former.ended_at.is_(None),
    )
    return column.in_(union_all(*_owners(), reserved))


def _owners() -> Sequence[Select[tuple[UUID]]]:
    name = credential_identifiers.c
    owners = [select(name.identity_id).where(_one_of(name.identifier, name.type, "identifiers"))]
    for table in (verifiable_addresses.c, recovery_addresses.c):
        owners.append(select(table.identity_id).where(_one_of(table.via, table.value, "addresses")))
    return owners


def _one_of(first: ColumnElement[str], second: ColumnElement[str], pairs: str) -> ColumnElement[bool]:
    """Return whether two columns have the values of one of these pairs. SQLite finds rows by lists of single values
    only: without them it would read the whole table, beside an index of both columns."""
    return and_(
        first.in_(bindparam(f"{pairs}_first", type_=String, expanding=True)),
        second.in_(bindparam(f"{pairs}_second", type_=String, expanding=True)),
        tuple_(first, second).in_(bindparam(pairs, expanding=True)),
    )


def _bound_pairs(name: str, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the values of the parameters of `_one_of`."""
    return {name: pairs, f"{name}_first": [pair[0] for pair in pairs], f"{name}_second": [pair[1] for pair in pairs]}


def _recoverable(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    wanted, via = bindparam("wanted", type_=String), bindparam("wanted_via", type_=String)
    current, former, confirmed = recovery_addresses.c, address_changes.c, verifiable_addresses.c
    confirmed_since = select(confirmed.id).where(
        confirmed.identity_id == former.identity_id, confirmed.verified_at >= former.created_at
    )
    has = select(current.identity_id).where(current.via == via, current.value == wanted)
    had = select(former.identity_id).where(
        former.via == via,
        former.address == wanted,
        former.ended_at.is_(None),
        former.created_at > bindparam("changed_since", type_=Moment),
        ~confirmed_since.exists(),
    )
    return column.in_(union_all(has, had))


def _has_external_id(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    owner = select(identities.c.id).where(identities.c.external_id == bindparam("wanted"))
    return column == owner.scalar_subquery()
