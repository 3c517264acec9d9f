"""Accepts access tokens of our own: signed, not expired, not revoked, and good for a session and a client of now."""

from collections.abc import Collection

from shopkeeper.client import Client
from shopkeeper.errors import TokenInvalid
from shopkeeper.oauth.revoked_tokens import RevokedTokens
from shopkeeper.sessions.authentication_gate import AuthenticationGate
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.token_sources import GoesOn
from shopkeeper.tokens.access_tokens import AccessToken, AccessTokens


class AccessTokenSource:
    """A `TokenSource`. The caller must check the audience of a token.

    Args:
        clients: the ids of the configured clients: the tokens of one that was removed end with it.
        goes_on: asks about sessions that are bound to one at another server; None where there are none.
    """

    def __init__(
        self,
        tokens: AccessTokens,
        *,
        revoked: RevokedTokens,
        sessions: Sessions,
        gate: AuthenticationGate,
        clients: Collection[str],
        goes_on: GoesOn | None = None,
    ) -> None:
        self._tokens, self._revoked, self._sessions, self._gate = tokens, revoked, sessions, gate
        self._clients, self._goes_on = frozenset(clients), goes_on

    def recognises(self, token: str) -> bool:
        """Whether it has the form of an access token and names us as its issuer. No I/O."""
        return self._tokens.is_ours(token)

    async def verify(self, token: str, store: str | None, *, client: Client | None = None) -> AccessToken:
        """Return what a token says, in a store, or in any where `store` is None.

        Raises `TokenInvalid`, or what `goes_on` raises where that is unknown.
        """
        found = await self._tokens.verify(token)
        if found.client_id not in self._clients or (store is not None and found.stores and store not in found.stores):
            raise TokenInvalid
        if await self._revoked.is_revoked(found.revoked_by) or not await self._subject_may_act(found):
            raise TokenInvalid
        return found

    async def _subject_may_act(self, token: AccessToken) -> bool:
        """Whether the session of a token lasts, is of its subject, and its identity may be signed in. A service that
        has a token for itself has no session."""
        if token.session is None:
            return token.subject == token.client_id
        cached = await self._sessions.resolve_by_id(token.session)
        if cached is None or str(cached.session.identity.id) != token.subject:
            return False
        return self._gate.may_act(cached) and (self._goes_on is None or await self._goes_on(cached))
