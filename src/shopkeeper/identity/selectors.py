"""Selects identities by id, identifier, address or external id.

Each selector is a condition with bind parameters, so that `store.py` builds each statement once per condition.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, String, and_, bindparam, select, union_all

from shopkeeper.identity.address_change_store import address_changes
from shopkeeper.identity.store import (
    Selector,
    credential_identifiers,
    identities,
    recovery_addresses,
    verifiable_addresses,
)
from shopkeeper.identity.values import Via
from shopkeeper.storage.tables import Id, Moment


def by_id(identity_id: UUID) -> Selector:
    return Selector(_has_id, {"wanted": identity_id})


def by_ids(ids: Collection[UUID]) -> Selector:
    return Selector(_has_one_of_the_ids, {"wanted": list(ids)})


def by_identifier(type_: str, identifier: str) -> Selector:
    """Select the identity with this identifier for a credential type. The identifier is normalised already."""
    return Selector(_has_identifier, {"wanted": identifier, "wanted_type": type_})


def by_address(via: Via, value: str) -> Selector:
    """Select the identities with this verifiable or recovery address. The address is normalised already."""
    return Selector(_has_address, {"wanted": value, "wanted_via": via.value})


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


def _has_address(column: ColumnElement[UUID]) -> ColumnElement[bool]:
    wanted, via = bindparam("wanted", type_=String), bindparam("wanted_via", type_=String)
    tables = (verifiable_addresses.c, recovery_addresses.c)
    owners = (select(table.identity_id).where(table.via == via, table.value == wanted) for table in tables)
    return column.in_(union_all(*owners))


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
