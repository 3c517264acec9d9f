"""The sessions that tokens are issued for, and the scopes that a token of one can have: the same for each grant."""

from collections.abc import Callable, Sequence
from uuid import UUID

from shopkeeper.oauth.clients import OAuthClient
from shopkeeper.oauth.scopes import common_scopes
from shopkeeper.sessions.authentication_gate import AuthenticationGate
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.token_sources import GoesOn
from shopkeeper.sessions.values import Session

PersonScopes = Callable[[Session], Sequence[str]]
"""Returns the scopes that the scope rules give the person of a session."""


class ClientSessions:
    """Finds the session that a client wants a token for, if it may have one: the session lasts, its person may be
    signed in, and the client serves its store.

    Args:
        goes_on: asks about sessions that are bound to one at another server; None where there are none.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        gate: AuthenticationGate,
        person_scopes: PersonScopes,
        goes_on: GoesOn | None = None,
    ) -> None:
        self._sessions, self._gate, self._person_scopes, self._goes_on = sessions, gate, person_scopes, goes_on

    async def of_token(self, token: str, client: OAuthClient) -> Session | None:
        """Return the session of a token, or None. Presenting the token is a use of the session."""
        return await self._usable(await self._sessions.resolve(token), client)

    async def of_id(self, session_id: UUID, client: OAuthClient) -> Session | None:
        """Return the session with an id, or None."""
        return await self._usable(await self._sessions.resolve_by_id(session_id), client)

    def scopes(self, session: Session, client: OAuthClient) -> tuple[str, ...]:
        """Return the scopes that client and person both have now."""
        return common_scopes(client.scopes, self._person_scopes(session))

    async def _usable(self, cached: CachedSession | None, client: OAuthClient) -> Session | None:
        if cached is None or not self._gate.may_act(cached) or not client.may_serve(cached.session.store):
            return None
        if self._goes_on is not None and not await self._goes_on(cached):
            return None
        return cached.session
