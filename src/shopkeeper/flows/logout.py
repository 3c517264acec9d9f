"""Signing out: by link for browsers, by session token for native apps. `sessions/` revokes; this module has the order
of the steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from shopkeeper.client import Client
from shopkeeper.errors import Forbidden, SessionInactive
from shopkeeper.flows.flow import Caller
from shopkeeper.flows.provider_logout import ProviderLogout
from shopkeeper.flows.return_to import AfterFlow, ReturnAddresses
from shopkeeper.sessions.values import Session
from shopkeeper.signin.provider_sessions import ProviderSession
from shopkeeper.storage.database import Unit


class Ending(Protocol):
    """The part of `Sessions` that signing out needs."""

    def logout_token(self, session: Session) -> str: ...

    def check_logout_token(self, session: Session, token: str) -> bool: ...

    async def revoke(self, unit: Unit, session_id: UUID, *, by: str, client: Client | None = None) -> bool: ...

    async def revoke_token(self, unit: Unit, token: str, *, client: Client | None = None) -> bool: ...


@dataclass(frozen=True, slots=True)
class SignedOut:
    """The browser's session has ended.

    Args:
        next: where the browser goes.
        provider_sessions: the sessions at providers that it began with, the newest first.
    """

    next: str
    provider_sessions: Sequence[ProviderSession] = ()


class Logout:
    """Signs out.

    Args:
        after: the configured return addresses.
        providers: leads on to the sign-out of a provider, where one is configured so.
    """

    def __init__(
        self,
        *,
        sessions: Ending,
        return_addresses: ReturnAddresses,
        after: AfterFlow,
        providers: ProviderLogout | None = None,
    ) -> None:
        self._sessions = sessions
        self._return = return_addresses
        self._after = after
        self._providers = providers

    def token(self, caller: Caller, *, return_to: str | None) -> str:
        """Return the token that makes a logout link work for this session only. Raises `SessionInactive`."""
        self._return.check(return_to)
        session = caller.session or caller.former
        if session is None:
            raise SessionInactive("There is no session to sign out of.")
        return self._sessions.logout_token(session)

    async def by_link(self, unit: Unit, caller: Caller, *, token: str, return_to: str | None) -> SignedOut:
        """End the browser's session; without a session there is nothing to end.

        Raises `Forbidden` where the token belongs to another session, so that another site cannot sign the browser out
        by a link.
        """
        target = self._return.after(self._after, method=None, return_to=self._return.check(return_to))
        # `former` is a session of another store: the cookie that is deleted is the same for all stores.
        session = caller.session or caller.former
        if session is None:
            return SignedOut(target)
        if not self._sessions.check_logout_token(session, token):
            raise Forbidden(
                "The logout link belongs to another session; get a new one from /self-service/logout/browser."
            )
        doubles = (double.id for double in caller.doubles if double.identity.id == session.identity.id)
        ending = sorted({session.id, *doubles})
        known = await self._providers.sessions_of(unit, ending) if self._providers is not None else ()
        for each in ending:
            await self._sessions.revoke(unit, each, by=str(session.identity.id), client=caller.client)
        return SignedOut(target, known)

    async def at_provider(self, signed_out: SignedOut) -> str | None:
        """Return where the provider signs the browser out, and sends it back from; None where none does.

        Call it after the commit: the session has ended by then, whatever becomes of the provider.
        """
        if self._providers is None:
            return None
        return await self._providers.sign_out_url(signed_out.provider_sessions, back_to=signed_out.next)

    def after_provider(self, state: str) -> str:
        """Return where a browser goes that a provider has signed out: where it wanted when it left, if its `state` is
        ours and the address is still allowed."""
        wanted = self._providers.back_to(state) if self._providers is not None else None
        return self._return.after(self._after, method=None, return_to=self._return.allowed(wanted))

    async def native(self, unit: Unit, caller: Caller, *, session_token: str) -> None:
        """End the session of a token; repeating it changes nothing. Raises `Forbidden` for an unknown token."""
        if not session_token or not await self._sessions.revoke_token(unit, session_token, client=caller.client):
            raise Forbidden("The session token is not one of ours.")
