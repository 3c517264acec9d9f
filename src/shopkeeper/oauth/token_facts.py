"""What a verified token says, whichever source verified it: one value for introspection and its explanation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from shopkeeper.errors import TokenInvalid
from shopkeeper.identity.values import Identity
from shopkeeper.oauth.linked_subjects import LinkedSubject
from shopkeeper.oauth.scope_rules import SubjectFacts, SubjectKind
from shopkeeper.sessions.authentication_gate import BY_PROVIDER, AuthenticationGate
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.token_sources import External, Verified
from shopkeeper.sessions.values import Session
from shopkeeper.tokens.access_tokens import AccessToken
from shopkeeper.tokens.sealed import AnonymousVisit

OWN: Final = "own"
"""The provider of this server's own identities, visits and tokens."""


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a verified token says.

    Args:
        provider: `own`, or the id of the provider that issued the token.
        issuer, subject: who the subject is; no other pair means the same person.
        stores: the fronts that the token is limited to; none where it is not limited.
        audience, client_id: for whom, and to whom the token was issued; a session has neither.
        scope: what the token itself grants; only own access tokens say that.
        by_rules: whether the scope rules give scopes for it, too.
        actor: who acts as the subject (RFC 8693 section 4.1).
        insufficient: why the token is not enough to be active, as a sentence; None where it is.
    """

    kind: SubjectKind
    issuer: str
    subject: str
    expires_at: datetime
    provider: str = OWN
    stores: Sequence[str] = ()
    issued_at: datetime | None = None
    audience: Sequence[str] = ()
    client_id: str | None = None
    scope: Sequence[str] = ()
    by_rules: bool = True
    groups: Sequence[str] = ()
    roles: Sequence[str] = ()
    username: str | None = None
    token_type: str = "Bearer"  # noqa: S105 - a name of RFC 6750
    actor: Mapping[str, Any] | None = field(default=None)
    insufficient: str | None = None

    def for_rules(self, store: str | None) -> SubjectFacts:
        """Return what the scope rules are asked with, in a store."""
        return SubjectFacts(
            self.kind,
            groups=self.groups,
            roles=self.roles,
            provider=self.provider,
            store=store,
            acted_for=self.actor is not None,
        )


def subject_facts_of(session: Session) -> SubjectFacts:
    """Return what the scope rules are asked with for the person of a session, in the store of the session."""
    return SubjectFacts(
        SubjectKind.CUSTOMER,
        groups=session.identity.groups,
        provider=OWN,
        store=session.store,
        acted_for=session.actor is not None,
    )


def facts_of(verified: Verified | LinkedSubject, *, own_issuer: str, gate: AuthenticationGate) -> TokenFacts:
    """Return what a verified token says.

    Args:
        own_issuer: the issuer of sessions and visits.
        gate: decides whether a person may use what stands for a sign-in.

    Raises `TokenInvalid` for kinds that stand for no shopper and no service, such as keys of the admin API.
    """
    if isinstance(verified, CachedSession):
        return _of_session(verified, own_issuer, gate)
    if isinstance(verified, AnonymousVisit):
        return _of_visit(verified, own_issuer)
    if isinstance(verified, AccessToken):
        return _of_access_token(verified)
    if isinstance(verified, LinkedSubject):
        return _of_external(verified.external, verified.identity, gate)
    raise TokenInvalid


def _of_session(cached: CachedSession, own_issuer: str, gate: AuthenticationGate) -> TokenFacts:
    session = cached.session
    subject = subject_facts_of(session)
    return TokenFacts(
        kind=subject.kind,
        issuer=own_issuer,
        subject=str(session.identity.id),
        expires_at=_earliest(cached.until, session.expires_at, session.idle_ends_at),
        stores=(session.store,) if session.store is not None else (),
        issued_at=session.issued_at,
        groups=subject.groups,
        roles=subject.roles,
        username=_address_of(session.identity),
        insufficient=_why_insufficient(cached, gate),
        actor={"sub": session.actor.subject} if session.actor is not None else None,
    )


def _why_insufficient(cached: CachedSession, gate: AuthenticationGate) -> str | None:
    if gate.may_act(cached):
        return None
    if cached.whoami.error:
        return "The session lacks the second factor that its person has."
    return "The session has ended, or its person may not sign in: the account is disabled, or has no verified address."


def _of_visit(visit: AnonymousVisit, own_issuer: str) -> TokenFacts:
    return TokenFacts(
        kind=SubjectKind.GUEST,
        issuer=own_issuer,
        subject=str(visit.guest),
        expires_at=visit.expires_at,
        stores=(visit.store,),
        issued_at=visit.issued_at,
        actor={"sub": visit.actor} if visit.actor is not None else None,
    )


def _of_access_token(token: AccessToken) -> TokenFacts:
    """Its scopes were granted when it was issued, and are all that it has: it may have fewer than its subject."""
    return TokenFacts(
        kind=SubjectKind.SERVICE if token.session is None else SubjectKind.CUSTOMER,
        issuer=token.issuer,
        subject=token.subject,
        expires_at=token.expires_at,
        stores=token.stores,
        issued_at=token.issued_at,
        audience=(token.audience,),
        client_id=token.client_id,
        scope=token.scope,
        by_rules=False,
        actor=None if token.actor is None else {"sub": token.actor},
    )


def _of_external(external: External, identity: Identity | None, gate: AuthenticationGate) -> TokenFacts:
    """The scopes of the provider mean something at the provider only, so they are left out."""
    return TokenFacts(
        kind=SubjectKind.SERVICE if external.by_application else SubjectKind.EXTERNAL,
        issuer=external.issuer,
        subject=external.subject,
        expires_at=external.expires_at,
        provider=external.provider,
        audience=external.audience,
        client_id=external.client_id,
        groups=(*external.groups, *(identity.groups if identity else ())),
        roles=external.roles,
        token_type=external.token_type,
        username=_address_of(identity) if identity else None,
        insufficient=None if identity is None or gate.may_authenticate(identity, by=[BY_PROVIDER]) else _NOT_HERE,
    )


_NOT_HERE: Final = "The account of this subject is disabled here, or has no verified address."


def _earliest(first: datetime, *others: datetime | None) -> datetime:
    return min([first, *(other for other in others if other is not None)])


def _address_of(identity: Identity) -> str | None:
    """Return the first verified address of an identity."""
    return next((each.value for each in identity.verifiable_addresses if each.verified), None)
