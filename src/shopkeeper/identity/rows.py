"""Converts identities to rows and back; no other module knows both forms."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from shopkeeper.identity.memberships import Membership
from shopkeeper.identity.values import (
    AddressStatus,
    Credential,
    Identity,
    RecoveryAddress,
    State,
    VerifiableAddress,
    Via,
)

Addresses = Sequence[VerifiableAddress | RecoveryAddress]


def identity_row(identity: Identity) -> dict[str, Any]:
    return {
        "id": identity.id,
        "schema_id": identity.schema_id,
        "state": identity.state.value,
        "state_changed_at": identity.state_changed_at,
        "traits": dict(identity.traits),
        "metadata_public": identity.metadata_public,
        "metadata_admin": identity.metadata_admin,
        "external_id": identity.external_id,
        "locale": identity.locale,
        "factors": sorted(identity.factors),
        "version": identity.version,
        "created_at": identity.created_at,
        "updated_at": identity.updated_at,
    }


def credential_row(owner: UUID, credential: Credential) -> dict[str, Any]:
    """Return the row with the config as it is read; `ConfigSealer` seals it for some types."""
    return {
        "identity_id": owner,
        "type": credential.type,
        "config": credential.config,
        "version": credential.version,
        "created_at": credential.created_at,
        "updated_at": credential.updated_at,
        "set_at": credential.set_at,
    }


def identifier_rows(
    owner: UUID, given: Iterable[Credential], *, digests: Mapping[tuple[str, str], bytes]
) -> list[dict[str, Any]]:
    """Return the rows in the order of what is unique in them: two accounts that want each other's names wait for each
    other in one order, instead of in a ring that the database ends with an error. `digests` are by type and identifier.
    """
    rows = [
        {
            "identity_id": owner,
            "type": credential.type,
            "identifier": identifier,
            "position": position,
            "account_digest": digests.get((credential.type, identifier)),
        }
        for credential in given
        for position, identifier in enumerate(credential.identifiers)
    ]
    return sorted(rows, key=lambda row: (row["type"], row["identifier"]))


def address_rows(owner: UUID, addresses: Addresses) -> list[dict[str, Any]]:
    """Return the rows in the order of what is unique in them, see `identifier_rows`."""
    rows = [
        {**asdict(address), "identity_id": owner, "position": position} for position, address in enumerate(addresses)
    ]
    return sorted(rows, key=lambda row: (row["via"], row["value"]))


def membership_rows(owner: UUID, memberships: Iterable[Membership]) -> list[dict[str, Any]]:
    return [
        {
            "identity_id": owner,
            "group_id": membership.group_id,
            "source": membership.source,
            "created_at": membership.created_at,
        }
        for membership in memberships
    ]


def to_identity(
    row: Row[Any],
    verifiable: Sequence[VerifiableAddress],
    recovery: Sequence[RecoveryAddress],
    proofs: Mapping[str, Credential],
    memberships: Sequence[Row[Any]] = (),
) -> Identity:
    return Identity(
        id=row.id,
        schema_id=row.schema_id,
        state=State(row.state),
        state_changed_at=row.state_changed_at,
        traits=row.traits,
        metadata_public=row.metadata_public,
        metadata_admin=row.metadata_admin,
        external_id=row.external_id,
        verifiable_addresses=tuple(verifiable),
        recovery_addresses=tuple(recovery),
        created_at=row.created_at,
        updated_at=row.updated_at,
        credentials=proofs,
        locale=row.locale,
        factors=frozenset(row.factors),
        memberships=to_memberships(memberships),
        version=row.version,
    )


def to_memberships(rows: Iterable[Row[Any]]) -> tuple[Membership, ...]:
    """Return memberships in the order of the groups' names."""
    return tuple(sorted(Membership(row.group_name, row.source, row.group_id, row.created_at) for row in rows))


def to_verifiable_address(row: Row[Any]) -> VerifiableAddress:
    return VerifiableAddress(
        id=row.id,
        value=row.value,
        via=Via(row.via),
        verified=row.verified,
        status=AddressStatus(row.status),
        verified_at=row.verified_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def to_recovery_address(row: Row[Any]) -> RecoveryAddress:
    return RecoveryAddress(
        id=row.id, value=row.value, via=Via(row.via), created_at=row.created_at, updated_at=row.updated_at
    )


def to_credential(rows: Sequence[Row[Any]], *, config: Mapping[str, Any], read_version: int) -> Credential:
    """Return the credential of its rows, one per identifier. `config` is their config, opened where it is sealed.

    `read_version` is the minimum version to show. Kratos answers 0 for a new `webauthn` credential and 1 afterwards,
    because it upgrades the stored form when it reads. Clients have seen both, so both are kept.
    """
    first = rows[0]
    return Credential(
        type=first.type,
        identifiers=tuple(row.identifier for row in rows if row.identifier is not None),
        config=config,
        version=max(first.version, read_version),
        created_at=first.created_at,
        updated_at=first.updated_at,
        set_at=first.set_at,
    )
