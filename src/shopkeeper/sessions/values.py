"""Sessions, devices and principals as the rest of the server sees them: frozen values, no rows."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.identity.values import Aal, Identity


@dataclass(frozen=True, slots=True)
class AuthenticationMethod:
    """One proof that was given for a session.

    `method` is what clients read: a credential type such as `password`, or `code_recovery`. `provider` names the
    identity provider that proved the identity, such as the one of an `oidc` sign-in.
    """

    method: str
    aal: Aal
    completed_at: datetime
    provider: str | None = None

    def renews(self, earlier: "AuthenticationMethod") -> bool:
        """Whether this proof is `earlier` given again: the same method, level and provider."""
        return (self.method, self.aal, self.provider) == (earlier.method, earlier.aal, earlier.provider)


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

    def with_proof(self, proof: AuthenticationMethod) -> "Session":
        """The session after a further proof. A proof given again replaces its earlier one, so the list stays short."""
        others = tuple(method for method in self.authentication_methods if not proof.renews(method))
        return replace(
            self,
            aal=max(self.aal, proof.aal),
            authentication_methods=(*others, proof),
            authenticated_at=proof.completed_at,
        )

    def valid_at(self, now: datetime) -> bool:
        """Whether the session may still be used."""
        return self.active and self.identity.active and now < self.expires_at

    def at_home_in(self, store: str) -> bool:
        """Whether the session counts in a store: the one it was started in, or all where it was started in none."""
        return self.store is None or self.store == store


class WhoamiAnswer(NamedTuple):
    """The answer to `/sessions/whoami` for one session: its HTTP status and its body, encoded once."""

    status: int
    body: bytes


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
