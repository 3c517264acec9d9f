"""An identity as the rest of the house sees it: frozen values, no rows. Shapes follow Kratos' identity object."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


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
class Client:
    """Where a request comes from, as far as we believe it."""

    ip: str
    user_agent: str = ""
    port: int | None = None

    @property
    def address(self) -> str:
        """The address as Kratos prints it in a device: that of IPv6 in brackets, where a port follows."""
        if self.port is None:
            return self.ip
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def without_port(address: str) -> str:
    """The network address in what `Client.address` printed, or a proxy wrote into a header.

    >>> [without_port(text) for text in ("192.0.2.7:5000", "[2001:db8::1]:5000", "[2001:db8::1]", "2001:db8::1")]
    ['192.0.2.7', '2001:db8::1', '2001:db8::1', '2001:db8::1']
    """
    found = _WITH_PORT.fullmatch(address)
    return (found["ipv6"] or found["other"] or "") if found else address


_WITH_PORT = re.compile(r"\[(?P<ipv6>[^\]]*)\](?::\d{1,5})?|(?P<other>[^:]*):\d{1,5}")


@dataclass(frozen=True, slots=True)
class VerifiableAddress:
    """An address whose owner may prove that it is theirs."""

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
    """An address by which an account is recovered."""

    id: UUID
    value: str
    via: Via
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Credential:
    """What proves an identity. `config` is the method's own, may hold hashes, and leaves the house for admins only."""

    type: str
    identifiers: tuple[str, ...]
    config: Mapping[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


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
    factors: frozenset[str] = frozenset()
    """The credential types with a usable secret, as they are stored with the identity: known without credentials."""

    @property
    def active(self) -> bool:
        return self.state is State.ACTIVE

    @property
    def email(self) -> str | None:
        """The first e-mail address: verifiable ones first, then those for recovery, then the trait of that name."""
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
    def email_verified(self) -> bool:
        """Whether that address was proven by its owner."""
        email = self.email
        return any(address.verified and address.value == email for address in self.verifiable_addresses)
