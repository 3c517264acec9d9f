"""Signing out: by link for browsers, by session token for native apps. Revoking is the sessions room's; this is the
order of the steps."""

from typing import Protocol
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.errors import Forbidden, SessionInactive
from shopkeeper.flows.flow import Caller
from shopkeeper.flows.return_to import AfterFlow, ReturnAddresses
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Unit


class Ending(Protocol):
    """The part of the sessions room that signing out needs."""

    def logout_token(self, session: Session) -> str: ...

    def check_logout_token(self, session: Session, token: str) -> bool: ...

    async def revoke(self, unit: Unit, session_id: UUID, *, by: str, client: Client | None = None) -> bool: ...

    async def revoke_token(self, unit: Unit, token: str, *, client: Client | None = None) -> bool: ...


class Logout:
    """Signs out. `after` are the configured return addresses."""

    def __init__(self, *, sessions: Ending, return_addresses: ReturnAddresses, after: AfterFlow) -> None:
        self._sessions = sessions
        self._return = return_addresses
        self._after = after

    def token(self, caller: Caller, *, return_to: str | None) -> str:
        """The token that makes a logout link work for this very session. Raises `SessionInactive`."""
        self._return.check(return_to)
        session = caller.session or caller.former
        if session is None:
            raise SessionInactive("There is no session to sign out of.")
        return self._sessions.logout_token(session)

    async def by_link(self, unit: Unit, caller: Caller, *, token: str, return_to: str | None) -> str:
        """Ends the browser's session and tells where to go. Without a session there is nothing left to do.

        Raises `Forbidden` where the token belongs to another session: nobody is signed out by another site's link.
        """
        target = self._return.after(self._after, method=None, return_to=self._return.check(return_to))
        # Whichever store the address names: the cookie that is taken away is the same for all of them.
        session = caller.session or caller.former
        if session is None:
            return target
        if not self._sessions.check_logout_token(session, token):
            raise Forbidden(
                "The logout link belongs to another session; get a new one from /self-service/logout/browser."
            )
        await self._sessions.revoke(unit, session.id, by=str(session.identity.id), client=caller.client)
        return target

    async def native(self, unit: Unit, caller: Caller, *, session_token: str) -> None:
        """Ends the session of a token; once more changes nothing. Raises `Forbidden` for a token that is not ours."""
        if not session_token or not await self._sessions.revoke_token(unit, session_token, client=caller.client):
            raise Forbidden("The session token is not one of ours.")
