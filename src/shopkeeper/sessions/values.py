"""A session, a device and a principal as the rest of the house sees them: frozen values, no rows."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from shopkeeper.identity.values import Aal, Client, Identity


@dataclass(frozen=True, slots=True)
class AuthenticationMethod:
    """One proof that was given for a session."""

    method: str
    aal: Aal
    completed_at: datetime


@dataclass(frozen=True, slots=True)
class Device:
    """A device that a session was authenticated on."""

    id: UUID
    ip_address: str
    user_agent: str
    location: str


@dataclass(frozen=True, slots=True)
class Session:
    """An authenticated visit. The token itself is not in here: only its hash is kept, in the row."""

    id: UUID
    identity: Identity
    active: bool
    aal: Aal
    authentication_methods: tuple[AuthenticationMethod, ...]
    authenticated_at: datetime
    issued_at: datetime
    expires_at: datetime
    devices: tuple[Device, ...]
    store: str | None = None

    def valid_at(self, now: datetime) -> bool:
        """Whether the session may still be used."""
        return self.active and self.identity.active and now < self.expires_at

    def at_home_in(self, store: str) -> bool:
        """Whether the session counts in a store: the one it was started in, or all where it was started in none."""
        return self.store is None or self.store == store


class PrincipalKind(StrEnum):
    """Who may be asking."""

    NOBODY = "nobody"
    ANONYMOUS = "anonymous"
    CUSTOMER = "customer"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, resolved once per request at the door.

    `subject` is the guest's id for an anonymous visitor and the identity's id for a customer, as text. `by_cookie` says
    that only a cookie proves it, which a browser sends by itself: a change needs proof against forgery then.
    """

    kind: PrincipalKind
    subject: str
    store: str
    client: Client
    session: Session | None = None
    by_cookie: bool = False

    @property
    def signed_in(self) -> bool:
        return self.kind is PrincipalKind.CUSTOMER
