"""Sessions of ours that end with a session at a session server: those that a customer got for a token of that server.

The token is kept sealed with our session (`provider_sessions.py`). Each use of our session asks the server about it, as
far as its answer is not cached (`upstream/session_answers.py`), so that an end there is noticed as late as that allows.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from shopkeeper.errors import SecondFactorRequired, TokenInvalid
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Session
from shopkeeper.signin.provider_sessions import ProviderSessions
from shopkeeper.storage.database import Database
from shopkeeper.upstream.kratos import KratosSessions

MOST: Final = 10_000
"""Tokens that are kept in memory, so that a use of a session costs no query."""


class BoundSessions:
    """Asks whether the sessions that ours are bound to go on.

    Args:
        servers: the sessions of each server, by the id of its provider.
    """

    def __init__(
        self,
        servers: Mapping[str, KratosSessions],
        *,
        database: Database,
        sessions: Sessions,
        provider_sessions: ProviderSessions,
    ) -> None:
        self._servers = servers
        self._database = database
        self._sessions = sessions
        self._provider_sessions = provider_sessions
        self._tokens: OrderedDict[UUID, str] = OrderedDict()

    def server_of(self, session: Session) -> str | None:
        """Return the provider of the server that a session is bound to, None for one that is bound to none."""
        named = (method.provider for method in session.authentication_methods if method.provider is not None)
        return next((provider for provider in named if provider in self._servers), None)

    def unbound(self, token: str) -> CachedSession | None:
        """Return the session of a token if it is cached and bound to none: it needs no question."""
        cached = self._sessions.cached(token)
        return cached if cached is not None and self.server_of(cached.session) is None else None

    async def goes_on(self, cached: CachedSession) -> bool:
        """Return whether a session may still be used; one that may not is ended. Never call it while a transaction is
        open.

        Raises `SessionServerUnavailable` where that is unknown.
        """
        session = cached.session
        provider = self.server_of(session)
        if provider is None:
            return True
        token = await self._token_of(session, provider)
        try:
            if token is not None:
                await self._servers[provider].verify(token, None)
                return True
        except SecondFactorRequired:
            return False  # the server wants more now; that session goes on, and may count again
        except TokenInvalid:
            pass
        await self._end(session)
        return False

    async def end_there(self, session: Session) -> None:
        """Sign out the session that one of ours is bound to. Raises `SessionServerUnavailable`."""
        provider = self.server_of(session)
        token = await self._token_of(session, provider) if provider is not None else None
        if provider is not None and token is not None:
            await self._servers[provider].end(token)

    async def _token_of(self, session: Session, provider: str) -> str | None:
        """Return the server's token; None where the secret that sealed it is gone, or another server is meant now."""
        kept = self._tokens.get(session.id)
        if kept is not None:
            self._tokens.move_to_end(session.id)
            return kept
        async with self._database.reading() as unit:
            known = await self._provider_sessions.of(unit, [session.id])
        issuer = self._servers[provider].server.public_url
        token = next((one.id_token for one in known if one.provider == provider and one.issuer == issuer), None)
        if token is not None:
            self._tokens[session.id] = token
            while len(self._tokens) > MOST:
                self._tokens.popitem(last=False)
        return token

    async def _end(self, session: Session) -> None:
        self._tokens.pop(session.id, None)
        async with self._database.unit() as unit:
            await self._sessions.revoke(unit, session.id, by="provider")
