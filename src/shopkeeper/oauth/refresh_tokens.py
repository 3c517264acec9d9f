"""The grant `refresh_token`: families of tokens in which each has one successor (RFC 9700 section 4.14.2).

A token that was replaced answers with the same successor for a short window, because a lost answer and a retry are no
theft. Presented later by its client, it is a copy that was kept: the family ends, and with it the access
tokens that it issued. A family belongs to one client, one audience and one session, and ends with each of them.

The successor is stored sealed with a key that only the replaced token yields, so the database holds no usable token.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from shopkeeper.clock import Clock
from shopkeeper.crypto import KeyRing, digest, new_id, new_token
from shopkeeper.oauth import refresh_token_store as store
from shopkeeper.oauth.client_sessions import ClientSessions
from shopkeeper.oauth.errors import InvalidGrant
from shopkeeper.oauth.grant_types import REFRESH_TOKEN
from shopkeeper.oauth.grants import (
    ACCESS_TOKEN_TYPE,
    GrantRequest,
    Issued,
    SessionGrant,
    issue_for_session,
)
from shopkeeper.oauth.refresh_token_store import SessionDeleted, StoredRefreshToken
from shopkeeper.oauth.revoked_tokens import RevokedTokens
from shopkeeper.oauth.scopes import asked_scopes, audience_of, common_scopes, granted_scopes, required
from shopkeeper.refunds import refunded_when_busy
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.database import Database, Unit
from shopkeeper.throttle import Throttle
from shopkeeper.tokens.access_tokens import LONGEST_LIFESPAN, AccessTokens

PREFIX: Final = "shk_rt_"
MOST_HOPS: Final = 50
"""How many successors are followed within one window; only a faulty client refreshes that often."""
_UNUSABLE: Final = "The refresh_token is not valid, has ended, or was issued to another client."

log = structlog.get_logger("shopkeeper.oauth")


class RefreshTokenFamilies:
    """Starts families, and ends them.

    Args:
        lifespan: how long a family lives, however often it is refreshed.
    """

    def __init__(
        self,
        database: Database,
        *,
        tokens: AccessTokens,
        revoked: RevokedTokens,
        audit: Audit,
        clock: Clock,
        lifespan: timedelta,
    ) -> None:
        self._database, self._tokens, self._revoked = database, tokens, revoked
        self._audit, self._clock, self._lifespan = audit, clock, lifespan

    async def start(self, granted: SessionGrant) -> Issued:
        """Issue an access token and a refresh token for a session.

        Raises `InvalidScope`, and `SessionDeleted` where the session was deleted meanwhile.
        """
        family, token = new_id(), new_token(PREFIX)
        access, said = await issue_for_session(self._tokens, replace(granted, lineage=[family]))
        stored = StoredRefreshToken(
            token_hash=digest(token),
            family=family,
            client_id=granted.client.id,
            session_id=granted.session.id,
            audience=granted.audience,
            scope=" ".join(granted.scope),
            expires_at=self._clock.now() + self._lifespan,
        )
        async with self._database.unit() as unit:
            await store.add(unit, stored)
        return Issued(access, said, refresh_token=token, issued_token_type=ACCESS_TOKEN_TYPE)

    async def end(self, unit: Unit, stored: StoredRefreshToken, *, reason: str, ip: str) -> None:
        """End a family: its refresh tokens, and the access tokens that it issued."""
        await self._revoked.revoke(unit, stored.family, expires_at=self._clock.now() + LONGEST_LIFESPAN)
        if await store.remove_family(unit, stored.family):
            await self._audit.record(
                unit,
                "oauth.family_revoked",
                outcome="success",
                actor=f"client:{stored.client_id}",
                subject=None,
                client_ip=ip,
                details={"client": stored.client_id, "session": str(stored.session_id), "reason": reason},
            )


class RefreshTokenGrant:
    """Issues the successor of a refresh token, and an access token with the family's scopes or fewer.

    Args:
        replay_window: how long a replaced token answers with its successor.
        budget: limits how often a family is refreshed, because each time a row is stored.
    """

    grant_type = REFRESH_TOKEN

    def __init__(
        self,
        database: Database,
        *,
        tokens: AccessTokens,
        families: RefreshTokenFamilies,
        sessions: ClientSessions,
        replay_window: timedelta,
        budget: Throttle,
        clock: Clock,
    ) -> None:
        self._database, self._tokens, self._families, self._sessions = database, tokens, families, sessions
        self._replay_window, self._budget, self._clock = replay_window, budget, clock

    async def issue(self, request: GrantRequest) -> Issued:
        """See `Grant`. The family ends also where the request is refused: that runs in a unit of its own."""
        token = required(request.parameters, "refresh_token")
        asked = asked_scopes(request.parameters)
        async with refunded_when_busy():
            stored = await self._usable(token, request)
            # A family is for one audience (RFC 8707 section 2.2): it may be named, and no other.
            audience = audience_of(request.parameters, allowed=[stored.audience])
            session = await self._sessions.of_id(stored.session_id, request.client)
            if session is None:
                raise InvalidGrant(_UNUSABLE)
            # Of the family's scopes, those that client and person still have.
            allowed = common_scopes(stored.scope.split(), self._sessions.scopes(session, request.client))
            scope = granted_scopes(asked, allowed=allowed)
            await self._budget.spend(str(stored.family))
            granted = SessionGrant(session, request.client, audience, scope, lineage=[stored.family])
            # Signed first: where that fails, the client still has a token that was not replaced.
            access, said = await issue_for_session(self._tokens, granted)
            successor = await self._renew(token, stored)
        return Issued(access, said, refresh_token=successor)

    async def _usable(self, token: str, request: GrantRequest) -> StoredRefreshToken:
        """Return a token of this client that has not expired. One of another client is left as it is."""
        async with self._database.unit() as unit:
            stored = await store.get(unit, digest(token)) if token.startswith(PREFIX) else None
        if stored is None or stored.client_id != request.client.id or stored.expires_at <= self._clock.now():
            raise InvalidGrant(_UNUSABLE)
        if stored.audience not in request.client.audiences:
            raise InvalidGrant(_UNUSABLE)
        if self._is_reused(stored):
            await self._end(stored, request)
            raise InvalidGrant(_UNUSABLE)
        return stored

    async def _renew(self, token: str, stored: StoredRefreshToken) -> str:
        """Return the one successor of a token: a new one, or the newest where it was replaced a moment ago."""
        successor = await self._replace(token, stored) if stored.replaced_at is None else None
        if successor is None:
            successor = await self._newest(token)
        if successor is None:
            raise InvalidGrant(_UNUSABLE)
        return successor

    async def _replace(self, token: str, stored: StoredRefreshToken) -> str | None:
        """Return None where another request replaced the token first, or the family has ended meanwhile."""
        successor = new_token(PREFIX)
        sealed = _ring(token).seal(successor.encode(), context=stored.family.bytes)
        following = replace(stored, token_hash=digest(successor))
        try:
            async with self._database.unit() as unit:
                await store.add(unit, following)
                if not await store.replace(unit, stored.token_hash, at=self._clock.now(), successor=sealed):
                    raise _NotReplaced
        except (_NotReplaced, SessionDeleted):
            return None
        return successor

    async def _newest(self, token: str) -> str | None:
        """Follow the successors of a token to the one that is not replaced; None where the family has ended."""
        async with self._database.unit() as unit:
            for _ in range(MOST_HOPS):
                stored = await store.get(unit, digest(token))
                if stored is None or stored.replaced_at is None or stored.successor is None:
                    return token if stored is not None else None
                token = _ring(token).open(stored.successor, context=stored.family.bytes).decode()
        return None

    def _is_reused(self, stored: StoredRefreshToken) -> bool:
        return stored.replaced_at is not None and stored.replaced_at + self._replay_window <= self._clock.now()

    async def _end(self, stored: StoredRefreshToken, request: GrantRequest) -> None:
        log.warning("oauth.refresh_token_reused", client=stored.client_id, session=str(stored.session_id))
        async with self._database.unit() as unit:
            await self._families.end(unit, stored, reason="a replaced token was presented again", ip=request.sender.ip)


class _NotReplaced(Exception):
    """Rolls a successor back that does not come to be one."""


def _ring(token: str) -> KeyRing:
    return KeyRing([token], purpose="oauth/successor")
