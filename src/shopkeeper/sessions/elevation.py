"""Elevates a session: adds a proof to it, while its id stays the same.

A browser gets a new token, because a token that was worth one factor must not become worth two (session fixation, OWASP
ASVS 7.2.4); the old one is refused from the commit on. A native app keeps its token, because the contract's answers
carry none.
"""

from dataclasses import dataclass
from uuid import UUID

from shopkeeper import crypto
from shopkeeper.clock import Clock
from shopkeeper.errors import IdentityDisabled, SessionInactive
from shopkeeper.sessions import store as rows
from shopkeeper.sessions.cache import SessionCache
from shopkeeper.sessions.errors import refuse_impersonated
from shopkeeper.sessions.queries import SessionQueries
from shopkeeper.sessions.refresh_tokens import RefreshTokens
from shopkeeper.sessions.values import AuthenticationMethod, Session
from shopkeeper.storage.database import Unit


@dataclass(frozen=True, slots=True)
class ElevatedSession:
    """A session with a further proof. `token` is its new token, or `None` where the old one stays valid."""

    session: Session
    token: str | None


class SessionElevation:
    """Adds proofs to sessions.

    Args:
        tokens: families of replaced tokens; None where refreshing is switched off.
        token_prefix: the prefix of session tokens.
    """

    def __init__(
        self,
        *,
        reader: SessionQueries,
        cache: SessionCache,
        clock: Clock,
        tokens: RefreshTokens | None,
        token_prefix: str,
    ) -> None:
        self._reader, self._cache, self._clock = reader, cache, clock
        self._tokens, self._prefix = tokens, token_prefix

    async def elevate(
        self, unit: Unit, session_id: UUID, proof: AuthenticationMethod, *, new_token: bool
    ) -> ElevatedSession:
        """Add the proof under a lock, so that two concurrent proofs are both stored.

        Raises `SessionInactive` where the session has ended meanwhile, and `IdentityDisabled`.
        """
        session = (await self.locked(unit, session_id)).with_proof(proof)
        token = crypto.new_token(self._prefix) if new_token else None
        await rows.save_proofs(unit, session, token_hash=crypto.digest(token) if token else None)
        if token is not None and self._tokens is not None:
            await self._tokens.withdraw(unit, session_id)
        unit.after_commit_or_doubt(lambda: self._cache.announce([session_id]))
        return ElevatedSession(session, token)

    async def keep(self, unit: Unit, session: Session, *, new_token: bool) -> ElevatedSession:
        """Hold a live session until the unit ends, with a new token if that is wanted.

        Raises `SessionInactive` or `NotWhileImpersonating`.
        """
        refuse_impersonated(session)
        token = crypto.new_token(self._prefix) if new_token else None
        token_hash = crypto.digest(token) if token else None
        if not await rows.hold(unit, session.id, now=self._clock.now(), token_hash=token_hash):
            raise SessionInactive
        if token is not None and self._tokens is not None:
            await self._tokens.withdraw(unit, session.id)
        if token is not None:
            unit.after_commit_or_doubt(lambda: self._cache.announce([session.id]))
        return ElevatedSession(session, token)

    async def locked(self, unit: Unit, session_id: UUID) -> Session:
        """Lock a session and return it as it is now.

        Raises `SessionInactive`, `IdentityDisabled` or `NotWhileImpersonating`.
        """
        session = await self._reader.get(unit, session_id) if await rows.lock(unit, session_id) else None
        if session is None:
            raise SessionInactive
        if not session.identity.active:
            raise IdentityDisabled
        if not session.valid_at(self._clock.now()):
            raise SessionInactive
        refuse_impersonated(session)
        return session
