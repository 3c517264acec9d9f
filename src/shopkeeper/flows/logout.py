"""Signing out: by link for browsers, by session token for native apps. `sessions/` revokes; this module has the order
of the steps."""

from typing import Protocol
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.errors import Forbidden, SessionInactive
from shopkeeper.flows.flow import Caller
from shopkeeper.flows.return_to import AfterFlow, ReturnAddresses
from shopkeeper.sessions.values import Session
from shopkeeper.storage.database import Unit


class Ending(Protocol):
    """The part of `Sessions` that signing out needs."""

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
        """Return the token that makes a logout link work for this session only. Raises `SessionInactive`."""
        self._return.check(return_to)
        session = caller.session or caller.former
        if session is None:
            raise SessionInactive("There is no session to sign out of.")
        return self._sessions.logout_token(session)

    async def by_link(self, unit: Unit, caller: Caller, *, token: str, return_to: str | None) -> str:
        """End the browser's session and return where it goes; without a session there is nothing to end.

        Raises `Forbidden` where the token belongs to another session, so that another site cannot sign the browser out
        by a link.
        """
        target = self._return.after(self._after, method=None, return_to=self._return.check(return_to))
        # `former` is a session of another store: the cookie that is deleted is the same for all stores.
        session = caller.session or caller.former
        if session is None:
            return target
        if not self._sessions.check_logout_token(session, token):
            raise Forbidden(
                "The logout link belongs to another session; get a new one from /self-service/logout/browser."
            )
        for each in {
            session.id,
            *(double.id for double in caller.doubles if double.identity.id == session.identity.id),
        }:
            await self._sessions.revoke(unit, each, by=str(session.identity.id), client=caller.client)
        return target

    async def native(self, unit: Unit, caller: Caller, *, session_token: str) -> None:
        """End the session of a token; repeating it changes nothing. Raises `Forbidden` for an unknown token."""
        if not session_token or not await self._sessions.revoke_token(unit, session_token, client=caller.client):
            raise Forbidden("The session token is not one of ours.")
