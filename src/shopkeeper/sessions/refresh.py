"""Refreshes a session: its token is replaced by a successor, and the session stays the same.

Clients of a shop hold one token, which they use for access and for refreshing, also some time after it has expired,
because only then do they notice. So a session's tokens form a family (`sessions/refresh_tokens.py`).
"""

from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

import structlog

from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.crypto import digest, new_token
from shopkeeper.errors import TokenInvalid, TooManyRequests
from shopkeeper.refunds import refunded_when_busy
from shopkeeper.sessions import store as rows
from shopkeeper.sessions.cache import CachedSession, Reading, SessionCache
from shopkeeper.sessions.lifetimes import Lifetimes
from shopkeeper.sessions.queries import SessionQueries
from shopkeeper.sessions.refresh_tokens import RefreshTokens, Replay, Reuse
from shopkeeper.sessions.revocation import Revocation
from shopkeeper.sessions.values import Session
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Database, Unit
from shopkeeper.tally import Tally

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IssuedSession:
    """A session with its token, which is available only here.

    `since_change` is whether another session of a new one's identity began in its store since the identity's profile
    changed last: what a sign-in tells the store's engine of a customer, it knows.
    """

    session: Session
    token: str
    since_change: bool = False


class Budget(Protocol):
    """Counts attempts of a source."""

    async def spend(self, source: str) -> None:
        """Count one. Raises `TooManyRequests`."""
        ...


@dataclass(frozen=True, slots=True)
class RefreshBudgets:
    """How often an address, and how often a session, may be refreshed: each time, the replaced token is stored."""

    by_address: Budget
    by_session: Budget


class SessionRefresh:
    """Replaces each token at most once.

    Args:
        tally: counts refreshes by their outcome.
        budgets: limits how often is refreshed; None limits nothing.
        lifetimes: how long a session lives after it was refreshed.
        token_prefix: the prefix of session tokens.
    """

    def __init__(
        self,
        database: Database,
        *,
        reader: SessionQueries,
        cache: SessionCache,
        tokens: RefreshTokens,
        revocation: Revocation,
        budgets: RefreshBudgets | None,
        tally: Tally,
        clock: Clock,
        lifetimes: Lifetimes,
        audit: Audit,
        token_prefix: str,
    ) -> None:
        self._database, self._reader, self._cache, self._tokens = database, reader, cache, tokens
        self._revocation = revocation
        self._budgets, self._tally = budgets, tally
        self._clock, self._lifetimes, self._audit, self._prefix = clock, lifetimes, audit, token_prefix

    async def refresh(self, token: str, *, store: str, client: Client | None = None) -> IssuedSession:
        """Return a new token for the session, or the family's newest token where this one was replaced before.

        It runs in a unit of its own, because the end of a family must be stored although the request is refused.

        Raises `TokenInvalid`, and `TooManyRequests` where the budget of the address or of the session is spent.
        """
        try:
            async with refunded_when_busy():
                if self._budgets is not None and client is not None:
                    await self._budgets.by_address.spend(client.ip)
                with self._cache.reading() as reading:
                    async with self._database.unit() as unit:
                        rotated = await self._rotate(unit, token, store, reading)
                        started = rotated or await self._presented_again(unit, token, store, client=client)
        except TooManyRequests:
            self._tally.count("refreshes", "throttled")
            raise
        self._tally.count("refreshes", "replaced" if rotated else "repeated" if started else "refused")
        if started is None:
            raise TokenInvalid
        return started

    async def _rotate(self, unit: Unit, token: str, store: str, reading: Reading) -> IssuedSession | None:
        known = await self._reader.lookup(token)
        if known is not None and self._may_go_on(known.session, store):
            if self._budgets is not None:
                await self._budgets.by_session.spend(str(known.session.id))
            return await self._replace(unit, token, known, reading)
        return None

    def _may_go_on(self, session: Session, store: str) -> bool:
        ends_at = self._tokens.last_moment(begun_at=session.issued_at, expires_at=session.expires_at)
        now = self._clock.now()
        lasting = now < min(ends_at, self._lifetimes.last_moment(session)) and not session.idle_at(now)
        usable = session.actor is None and session.active and session.identity.active
        return usable and session.at_home_in(store) and lasting

    async def _replace(self, unit: Unit, token: str, known: CachedSession, reading: Reading) -> IssuedSession | None:
        """Return None where another request replaced the token first, or the session was just revoked."""
        successor, session = new_token(self._prefix), self._prolonged(known.session)
        expires_at, idle_ends_at = session.expires_at, session.idle_ends_at
        if not await rows.replace_token(
            unit, digest(token), digest(successor), expires_at=expires_at, idle_ends_at=idle_ends_at
        ):
            return None
        await self._tokens.replace(unit, token, successor=successor, family=session.id)
        resolved = self._reader.rendered(session, until=None, read_at=known.read_at)
        unit.after_commit(
            lambda: self._cache.announce_and_keep(digest(successor), resolved, reading),
            if_unknown=lambda: self._cache.announce([session.id]),
        )
        return IssuedSession(session, successor)

    def _prolonged(self, session: Session) -> Session:
        now, last = self._clock.now(), session.issued_at + self._tokens.lifespan
        expires_at = self._lifetimes.expiry(
            issued_at=session.issued_at, now=now, kept=session.kept, ends_by=session.ends_by
        )
        expires_at = min(expires_at, last)
        return replace(
            session,
            expires_at=max(session.expires_at, expires_at),
            idle_ends_at=self._lifetimes.idle_end(now=now, kept=session.kept),
        )

    async def _presented_again(
        self, unit: Unit, token: str, store: str, *, client: Client | None
    ) -> IssuedSession | None:
        again = await self._tokens.recall(unit, token)
        if isinstance(again, Reuse):
            await self._end(unit, again.family, client=client)
        if not isinstance(again, Replay):
            return None
        session = await self._reader.get(unit, again.family)
        if session is None or not self._may_go_on(session, store):
            return None
        return IssuedSession(session, await self._tokens.newest(unit, again))

    async def _end(self, unit: Unit, family: UUID, *, client: Client | None) -> None:
        owner = await rows.owner_of(unit, family)
        # Announced again where it has ended before: the answer to that commit, and its announcement, may be lost.
        unit.after_commit_or_doubt(lambda: self._cache.announce([family]))
        if not await self._revocation.revoke(unit, rows.with_id(family)):
            return
        log.warning("session.token_reused", session=str(family))
        await self._audit.record(
            unit,
            "session.revoked",
            outcome="success",
            actor="system",
            subject=str(owner),
            client_ip=client.ip if client else None,
            details={"session": str(family), "reason": "a replaced token was presented again"},
        )
