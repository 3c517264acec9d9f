"""Token sources: which tokens are accepted, each kind with the same two methods.

Each route group has a list of sources. Only the first source that recognises a token by its form decides, so that a
token which one source refuses is not accepted by another.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.crypto import digest, same
from shopkeeper.errors import TokenInvalid
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.errors import SessionEnded
from shopkeeper.sessions.service import Sessions
from shopkeeper.tokens.access_tokens import AccessToken
from shopkeeper.tokens.sealed import AnonymousVisit, SealedTokens


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A key of the admin API, by its id.

    Args:
        reads: whether it may read.
        writes: whether it may change anything.
        impersonates: whether agents may act as customers and guests by it.
        stores: the ids of the fronts that it is limited to; None for everything.
    """

    id: str
    reads: bool = True
    writes: bool = True
    stores: frozenset[str] | None = None
    impersonates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """A subject of another issuer whose token was verified. It maps to a local identity by (issuer, subject) only.

    Args:
        provider: the id of the configured identity provider.
        claims: what the provider says, verified.
        audience: for whom the token was issued; one of them is configured here. Empty where the provider does not say.
        client_id: the application that the token was issued to, None where the provider does not say.
        groups, roles: what the provider says of the subject, in the claims that the settings name.
        token_type: `Bearer`, or what the provider says; `session` for a session of a session server.
        groups_left_out: whether the provider left groups out because they are too many (Entra's overage).
        by_application: whether the token is an application's own and speaks for no person (RFC 6749 section 4.4). It
            never becomes an identity.
    """

    provider: str
    issuer: str
    subject: str
    claims: Mapping[str, Any]
    expires_at: datetime
    audience: tuple[str, ...] = ()
    client_id: str | None = None
    scope: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    token_type: str = "Bearer"  # noqa: S105 - a kind of token
    groups_left_out: bool = False
    by_application: bool = False


SESSION: Final = "session"
"""The `token_type` of a session of a session server."""

Verified = CachedSession | AnonymousVisit | ServiceKey | External | AccessToken


GoesOn = Callable[[CachedSession], Awaitable[bool]]
"""Says whether a session may still be used that is bound to one at another server. May raise a refusal."""


class TokenSource(Protocol):
    """One kind of token."""

    def recognises(self, token: str) -> bool:
        """Whether a token has the form of this kind, or an unverified issuer of this kind. No I/O."""
        ...

    async def verify(self, token: str, store: str | None, *, client: Client | None = None) -> Verified:
        """Return what a token stands for in a store, or in any store where `store` is None.

        `client` has sent it, and is limited in what other servers are asked about for it; None for callers of ours.
        Raises `TokenInvalid`.
        """
        ...


def source_of(sources: Sequence[TokenSource], token: str) -> TokenSource:
    """Return the first source that recognises a token. Raises `TokenInvalid` where there is none."""
    for source in sources:
        if source.recognises(token):
            return source
    raise TokenInvalid


async def verify(sources: Sequence[TokenSource], token: str, store: str | None) -> Verified:
    """Verify a token with the first source that recognises it. Raises `TokenInvalid`."""
    return await source_of(sources, token).verify(token, store)


class SessionTokens:
    """The tokens of sessions: opaque, with a prefix.

    Args:
        goes_on: asks about sessions that are bound to one at another server; None where there are none.
    """

    def __init__(self, sessions: Sessions, *, goes_on: GoesOn | None = None) -> None:
        self._sessions, self._goes_on = sessions, goes_on

    def recognises(self, token: str) -> bool:
        return self._sessions.is_ours(token)

    async def verify(self, token: str, store: str | None, *, client: Client | None = None) -> CachedSession:
        """Return the session of a token.

        Raises `SessionEnded` where no usable session has it, and `TokenInvalid` where it belongs to another store.
        """
        cached = await self._sessions.resolve(token)
        if cached is None:
            raise SessionEnded
        if store is not None and not cached.session.at_home_in(store):
            raise TokenInvalid
        if self._goes_on is not None and not await self._goes_on(cached):
            raise SessionEnded
        return cached

    def unasked(self) -> "SessionTokens":
        """Return the source of the same tokens that asks no session server: a sign-out must not depend on one."""
        return SessionTokens(self._sessions)


class VisitTokens:
    """The sealed tokens of anonymous visits.

    Args:
        agent_in: returns the agent of an impersonation that may still be used, or None; None where there are none.
    """

    def __init__(
        self, sealed: SealedTokens, *, agent_in: Callable[[UUID], Awaitable[str | None]] | None = None
    ) -> None:
        self._sealed, self._agent_in = sealed, agent_in

    def recognises(self, token: str) -> bool:
        return self._sealed.is_ours(token)

    async def verify(self, token: str, store: str | None, *, client: Client | None = None) -> AnonymousVisit:
        visit = self._sealed.read(token) if store is None else self._sealed.verify(token, store=store)
        if visit.impersonation is None:
            return visit
        agent = await self._agent_in(visit.impersonation) if self._agent_in is not None else None
        if agent is None:
            raise TokenInvalid
        return replace(visit, actor=agent)


_KEY: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class ServiceKeys:
    """The keys of the admin API: several at once for rotation, stored as hashes, compared in constant time.

    `digests` has each key with its SHA-256.
    """

    def __init__(self, digests: Mapping[ServiceKey, bytes]) -> None:
        self._digests = dict(digests)

    def __len__(self) -> int:
        return len(self._digests)

    def recognises(self, token: str) -> bool:
        """Whether an `Authorization` header can carry the token: keys have no prefix."""
        return _KEY.fullmatch(token) is not None

    async def verify(self, token: str, store: str | None, *, client: Client | None = None) -> ServiceKey:
        """Compare with every key, so that the time reveals neither which one matches nor whether one does.

        No key that is empty or that a header cannot carry matches, whatever the hashes are.
        """
        if not self.recognises(token):
            raise TokenInvalid
        given = digest(token)
        matching = [key for key, known in self._digests.items() if same(given, known)]
        if not matching:
            raise TokenInvalid
        return matching[0]
