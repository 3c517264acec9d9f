"""Reads sessions: by token through the cache, by id, and as lists."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, true

from shopkeeper.clock import Clock
from shopkeeper.crypto import digest
from shopkeeper.identity.service import Identities
from shopkeeper.sessions import store as rows
from shopkeeper.sessions import with_identity
from shopkeeper.sessions.acting import Acting
from shopkeeper.sessions.cache import CachedSession, SessionCache
from shopkeeper.sessions.refresh_tokens import RefreshTokens, Replay
from shopkeeper.sessions.store import SessionRow
from shopkeeper.sessions.values import Session, WhoamiAnswer
from shopkeeper.storage.database import Database, Unit

Render = Callable[[Session], WhoamiAnswer]


@dataclass(frozen=True, slots=True)
class SessionPage:
    """A page of sessions, newest first. `next_after` is where the next page begins, None on the last page."""

    items: tuple[Session, ...]
    next_after: UUID | None = None


class SessionQueries:
    """Returns sessions with their identities.

    Args:
        render: renders the answer to whoami, once for each cached session.
        refresh: finds replaced tokens; None where refreshing is switched off.
        acting: says whether an agent may go on acting in a session; without it, none may.
    """

    def __init__(
        self,
        identities: Identities,
        database: Database,
        *,
        cache: SessionCache,
        clock: Clock,
        render: Render,
        refresh: RefreshTokens | None,
        acting: Acting | None = None,
    ) -> None:
        self._identities, self._database = identities, database
        self._cache, self._clock, self._render, self._refresh = cache, clock, render, refresh
        self._acting = acting

    async def lookup(self, token: str) -> CachedSession | None:
        """Return the session of a token, or None where it is unknown; the session may have ended."""
        key = digest(token)
        return self._cache.get(key) or await self._look_up(key, token)

    async def lookup_by_id(self, session_id: UUID) -> CachedSession | None:
        """Return a session by its id, from the cache where it is there; None where it is unknown. It may have ended."""
        key = session_id.bytes  # half as long as the digest of a token, so the two never meet
        found = self._cache.get(key)
        if found is not None:
            return found
        with self._cache.reading() as reading:
            async with self._database.unit() as unit:
                session = await with_identity.by_id(unit, session_id)
                if session is not None and session.actor is not None:
                    session = await self._acted_in(unit, session)
            if session is None:
                return None
            resolved = self.rendered(session, until=None, read_at=reading.began_at)
            self._cache.keep(key, resolved, reading)
            return resolved

    def cached(self, token: str) -> CachedSession | None:
        """Return the session of a token from the cache; it may have ended."""
        return self._cache.get(digest(token))

    async def get(self, unit: Unit, session_id: UUID) -> Session | None:
        """Return a session by its id, or None where it is unknown."""
        return await with_identity.by_id(unit, session_id)

    async def list_for(
        self,
        unit: Unit,
        identity_id: UUID,
        *,
        active: bool | None,
        exclude: UUID | None,
        size: int,
        after: UUID | None,
        skip: int,
        stores: Sequence[str] | None,
    ) -> SessionPage:
        """Return a page of an identity's sessions."""
        chosen = self.chosen(rows.of_identity(identity_id, but=exclude, stores=stores), active)
        records = await rows.list_of(unit, chosen, after=after, limit=size + 1, skip=skip)
        return await self._page(unit, records, size)

    async def list_all(
        self, unit: Unit, *, active: bool | None, size: int, after: UUID | None, stores: Sequence[str] | None
    ) -> SessionPage:
        """Return a page of all sessions."""
        whose = true() if stores is None else rows.in_stores(stores)
        records = await rows.list_of(unit, self.chosen(whose, active), after=after, limit=size + 1)
        return await self._page(unit, records, size)

    def chosen(self, whose: ColumnElement[bool], active: bool | None) -> ColumnElement[bool]:
        """Restrict a condition to sessions that may be used, or to those that may not; None restricts nothing."""
        return whose if active is None else whose & rows.that_are(active, self._clock.now())

    async def _look_up(self, key: bytes, token: str) -> CachedSession | None:
        with self._cache.reading() as reading:
            async with self._database.unit() as unit:
                session, until = await self._find(unit, key, token)
            if session is None:
                return None
            resolved = self.rendered(session, until=until, read_at=reading.began_at)
            self._cache.keep(key, resolved, reading)
            return resolved

    def rendered(self, session: Session, *, until: datetime | None, read_at: datetime) -> CachedSession:
        """Return a session with its answer to whoami, for the cache."""
        ends_at = session.expires_at if until is None else until
        return CachedSession(session=session, whoami=self._render(session), until=ends_at, read_at=read_at)

    async def _find(self, unit: Unit, key: bytes, token: str) -> tuple[Session | None, datetime | None]:
        """Return the session of a token, or of one that was replaced, and until when that one is accepted."""
        session = await with_identity.by_token(unit, key)
        if session is not None and session.actor is not None:
            return await self._acted_in(unit, session), None
        if session is not None or self._refresh is None:
            return session, None
        replaced = await self._refresh.recall(unit, token)
        if not isinstance(replaced, Replay):
            return None, None
        return await with_identity.by_id(unit, replaced.family), replaced.until

    async def _acted_in(self, unit: Unit, session: Session) -> Session | None:
        """Return a session in which an agent acts, or None where the agent may not go on.

        It ends where the agent's own session ends for not being used, and is read again then.
        """
        standing = await self._acting.standing(unit, session.id) if self._acting is not None else None
        return None if standing is None else replace(session, idle_ends_at=standing.idle_ends_at)

    async def _page(self, unit: Unit, records: list[SessionRow], size: int) -> SessionPage:
        shown = records[:size]
        owners = await self._identities.get_many(unit, list({record.identity_id for record in shown})) if shown else {}
        items = tuple(record.of(owners[record.identity_id]) for record in shown if record.identity_id in owners)
        return SessionPage(items=items, next_after=shown[-1].id if len(records) > size else None)
