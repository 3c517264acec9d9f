"""Identities as frozen values, independent of database rows. Their fields follow Kratos' identity object."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from shopkeeper.identity.memberships import Membership


class Aal(StrEnum):
    """Authenticator assurance level (NIST SP 800-63B): one factor, or two."""

    AAL1 = "aal1"
    AAL2 = "aal2"


class State(StrEnum):
    """Whether an identity may sign in."""

    ACTIVE = "active"
    INACTIVE = "inactive"


class Via(StrEnum):
    """How an address is reached."""

    EMAIL = "email"
    SMS = "sms"


class AddressStatus(StrEnum):
    """How far the verification of an address has come."""

    PENDING = "pending"
    SENT = "sent"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class VerifiableAddress:
    """An address that its owner can verify."""

    id: UUID
    value: str
    via: Via
    verified: bool
    status: AddressStatus
    verified_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RecoveryAddress:
    """An address for recovering the account."""

    id: UUID
    value: str
    via: Via
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Credential:
    """What proves an identity. `config` belongs to the method, may hold hashes, and is shown only in the admin API."""

    type: str
    identifiers: tuple[str, ...]
    config: Mapping[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime
    set_at: datetime | None = None
    """When its secret was set last. Other identifiers and a new hash of the same password do not move it. None in rows
    from before this was stored."""

    @property
    def set_since(self) -> datetime:
        """The latest moment at which its secret may have been set."""
        return self.set_at or self.updated_at


@dataclass(frozen=True, slots=True)
class Identity:
    """A person's account."""

    id: UUID
    schema_id: str
    state: State
    state_changed_at: datetime
    traits: Mapping[str, Any]
    metadata_public: Any
    metadata_admin: Any
    external_id: str | None
    verifiable_addresses: tuple[VerifiableAddress, ...]
    recovery_addresses: tuple[RecoveryAddress, ...]
    created_at: datetime
    updated_at: datetime
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    locale: str | None = None
    """The language of its person; None where it is not known."""
    factors: frozenset[str] = frozenset()
    """The credential types with a usable secret. They are stored with the identity, so credentials need not be read."""
    memberships: tuple[Membership, ...] = ()
    """The groups that it is in, with who gave each."""
    version: int = 1
    """Counts its changes, so that one that was made from an older state can be refused."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of its groups, each once, in order."""
        return tuple(sorted({each.group for each in self.memberships}))

    @property
    def active(self) -> bool:
        return self.state is State.ACTIVE

    @property
    def email(self) -> str | None:
        """The first e-mail address: a verifiable one, else one for recovery, else the trait `email`."""
        addresses: tuple[VerifiableAddress | RecoveryAddress, ...] = (
            *self.verifiable_addresses,
            *self.recovery_addresses,
        )
        for address in addresses:
            if address.via is Via.EMAIL:
                return address.value
        trait = self.traits.get("email")
        return trait if isinstance(trait, str) else None

    @property
    def unverified(self) -> bool:
        """Whether it has addresses that could be verified, and none of them is."""
        known = self.verifiable_addresses
        return bool(known) and not any(address.verified for address in known)

    @property
    def address_to_verify(self) -> str | None:
        """The first e-mail address that is not verified yet; None where there is none."""
        pending = (each.value for each in self.verifiable_addresses if each.via is Via.EMAIL and not each.verified)
        return next(pending, None)

    def outranked(self, via: Via, value: str) -> bool:
        """Whether this address of the account was never verified, and another one is.

        Anybody can enter somebody else's address beside their own. So without a session such an address proves nothing:
        neither whoever entered it nor its owner may get the other's account.
        """
        own = [each for each in self.verifiable_addresses if (each.via, each.value) == (via, value)]
        return any(not each.verified for each in own) and any(each.verified for each in self.verifiable_addresses)

    @property
    def email_verified(self) -> bool:
        """Whether `email` is a verified address."""
        email = self.email
        return any(address.verified and address.value == email for address in self.verifiable_addresses)
