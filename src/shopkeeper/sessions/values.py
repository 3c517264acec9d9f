"""Sessions, devices and principals as frozen values, independent of database rows."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.errors import Refusal
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.languages.choice import SOURCE


@dataclass(frozen=True, slots=True)
class AuthenticationMethod:
    """One proof that was given for a session.

    `method` is what clients read: a credential type such as `password`, or `code_recovery`. `provider` names the
    identity provider that proved the identity, for example in an `oidc` sign-in. `ends_at` is when a proof ends that
    does not last, such as the token of another issuer; None for all others.
    """

    method: str
    aal: Aal
    completed_at: datetime
    provider: str | None = None
    ends_at: datetime | None = None

    def renews(self, earlier: "AuthenticationMethod") -> bool:
        """Whether this proof repeats `earlier`: the same method, AAL and provider."""
        return (self.method, self.aal, self.provider) == (earlier.method, earlier.aal, earlier.provider)


@dataclass(frozen=True, slots=True)
class Device:
    """A device that a session was authenticated on."""

    id: UUID
    ip_address: str
    user_agent: str
    location: str


@dataclass(frozen=True, slots=True)
class Actor:
    """The agent who acts in a customer's session (impersonation; the actor of RFC 8693 section 1.1).

    `identity_id` and `session_id` are those of an agent who is signed in here; an agent whom only an admin key vouches
    for has a `name` instead. `key` is the id of the admin key that started it.
    """

    key: str
    identity_id: UUID | None = None
    session_id: UUID | None = None
    name: str | None = None

    @property
    def subject(self) -> str:
        """The agent as text: the identity's id, or the key with the name that it vouches for."""
        return str(self.identity_id) if self.identity_id is not None else f"{self.key}:{self.name}"


@dataclass(frozen=True, slots=True)
class Session:
    """An authenticated visit. It does not include the token: only the token's hash is stored, in the row.

    `idle_ends_at` is when it ends unless it is used before. `kept` is whether its person chose to be kept signed in;
    None where there was no choice. `locale` is the language that its person has chosen or asked for, None if unknown.
    `actor` is the agent who acts as its identity: such a session is short, shops, and changes nothing of the account.
    """

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
    idle_ends_at: datetime | None = None
    kept: bool | None = None
    locale: str | None = None
    actor: Actor | None = None

    @property
    def known_locale(self) -> str | None:
        """The language of its person: of this session, else of the identity; None where neither is known."""
        return self.locale or self.identity.locale

    @property
    def ends_by(self) -> datetime | None:
        """When it ends at the latest, because one of its proofs ends then; None where none does."""
        return min((proof.ends_at for proof in self.authentication_methods if proof.ends_at is not None), default=None)

    def with_proof(self, proof: AuthenticationMethod) -> "Session":
        """Return the session with a further proof. A repeated proof replaces the earlier one to keep the list short."""
        others = tuple(method for method in self.authentication_methods if not proof.renews(method))
        return replace(
            self,
            aal=max(self.aal, proof.aal),
            authentication_methods=(*others, proof),
            authenticated_at=proof.completed_at,
        )

    def valid_at(self, now: datetime) -> bool:
        """Whether the session may still be used."""
        return self.active and self.identity.active and now < self.expires_at and not self.idle_at(now)

    def idle_at(self, now: datetime) -> bool:
        """Whether the session has ended because it was not used."""
        return self.idle_ends_at is not None and self.idle_ends_at <= now

    def at_home_in(self, store: str) -> bool:
        """Whether the session counts in a store: in the one it was started in, or in all if it was started in none."""
        return self.store is None or self.store == store


class WhoamiAnswer(NamedTuple):
    """The answer to `/sessions/whoami` for one session, encoded once.

    `principal` is the identity's id as text. Where the answer is a refusal, `error` is its code, and `refusal` what is
    worded anew for a request that asks for another language than `language`.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    principal: str
    error: str = ""
    language: str = SOURCE
    refusal: Refusal | None = None

    def with_token(self, token: str) -> "WhoamiAnswer":
        """Return the answer of a session with a JSON Web Token made of it (`tokenize_as`)."""
        body = b'%s,"tokenized":"%s"}' % (self.body[:-1], token.encode())
        others = (header for header in self.headers if header[0] != b"content-length")
        return self._replace(body=body, headers=((b"content-length", b"%d" % len(body)), *others))


class PrincipalKind(StrEnum):
    """The kinds of principals."""

    NOBODY = "nobody"
    ANONYMOUS = "anonymous"
    CUSTOMER = "customer"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Voucher:
    """Who vouches for a customer without a session of ours.

    Args:
        provider: the id of the provider in the settings.
        aal: the assurance of the session at a session server; None for other providers, which tell none.
    """

    provider: str
    issuer: str
    aal: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request, resolved once per request.

    `subject` is the guest's id for an anonymous visitor and the identity's id for a customer, as text. A customer has a
    session, or `vouched`, the identity that another issuer vouches for, and `voucher`, which that is. `by_cookie` means
    that only a cookie, which a browser sends automatically, proves the principal: a change then needs an anti-CSRF
    token.
    `impersonation` is the id of the impersonation by which an agent acts as this principal.
    """

    kind: PrincipalKind
    subject: str
    store: str
    client: Client
    session: Session | None = None
    by_cookie: bool = False
    vouched: Identity | None = None
    voucher: Voucher | None = None
    impersonation: UUID | None = None

    @property
    def identity(self) -> Identity | None:
        """The identity of a customer, None for others."""
        return self.session.identity if self.session is not None else self.vouched

    @property
    def signed_in(self) -> bool:
        return self.kind is PrincipalKind.CUSTOMER
