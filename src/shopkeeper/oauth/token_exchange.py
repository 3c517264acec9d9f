"""The grant of token exchange: a session, or a token of one, becomes a token for one service (RFC 8693).

subject token valid? -> may this client have it? -> audience -> scopes: of the rules, the client, the subject token
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from shopkeeper.errors import TokenInvalid
from shopkeeper.oauth.access_token_source import AccessTokenSource
from shopkeeper.oauth.client_sessions import ClientSessions
from shopkeeper.oauth.clients import OAuthClient
from shopkeeper.oauth.errors import InvalidRequest
from shopkeeper.oauth.grant_types import REFRESH_TOKEN, TOKEN_EXCHANGE
from shopkeeper.oauth.grants import (
    ACCESS_TOKEN_TYPE,
    SESSION_TOKEN_TYPE,
    GrantRequest,
    Issued,
    SessionGrant,
    issue_for_session,
)
from shopkeeper.oauth.refresh_token_store import SessionDeleted
from shopkeeper.oauth.refresh_tokens import RefreshTokenFamilies
from shopkeeper.oauth.scopes import asked_scopes, audience_of, common_scopes, granted_scopes, required
from shopkeeper.sessions.values import Session
from shopkeeper.tokens.access_tokens import MOST_LINEAGE, AccessToken, AccessTokens

LONGEST_SUBJECT_TOKEN: Final = 8_192
_UNUSABLE: Final = "The subject_token is not valid, has ended, or is not for this client."


class TokenExchangeGrant:
    """Issues a token for a session, with at most what the person and the client may do.

    A subject token that is an access token must have been issued to this client, or be for the audience of its name;
    what is issued for it has at most its scopes, does not outlive it, and is revoked with it and its lineage.

    Args:
        sessions: those that something may be issued for.
        families: start refresh tokens, for clients that may refresh.
    """

    grant_type = TOKEN_EXCHANGE

    def __init__(
        self,
        tokens: AccessTokens,
        *,
        source: AccessTokenSource,
        sessions: ClientSessions,
        families: RefreshTokenFamilies,
    ) -> None:
        self._tokens, self._source, self._sessions, self._families = tokens, source, sessions, families

    async def issue(self, request: GrantRequest) -> Issued:
        """See `Grant`. An unusable subject token is an `invalid_request` (section 2.2.2)."""
        parameters = request.parameters
        if "actor_token" in parameters or "actor_token_type" in parameters:
            raise InvalidRequest("An actor_token is not accepted: who acts is a fact of the session.")
        if parameters.get("requested_token_type", ACCESS_TOKEN_TYPE) != ACCESS_TOKEN_TYPE:
            raise InvalidRequest(f"Only requested_token_type={ACCESS_TOKEN_TYPE} is issued.")
        token, kind = required(parameters, "subject_token"), required(parameters, "subject_token_type")
        if len(token) > LONGEST_SUBJECT_TOKEN:
            raise InvalidRequest(_UNUSABLE)
        if kind == SESSION_TOKEN_TYPE:
            return await self._for_session(request, _required(await self._sessions.of_token(token, request.client)))
        if kind == ACCESS_TOKEN_TYPE:
            return await self._for_access_token(request, await self._access_token(token, request.client))
        raise InvalidRequest(f"subject_token_type must be {SESSION_TOKEN_TYPE} or {ACCESS_TOKEN_TYPE}.")

    async def _access_token(self, token: str, client: OAuthClient) -> AccessToken:
        if not self._source.recognises(token):
            raise InvalidRequest(_UNUSABLE)
        try:
            found = await self._source.verify(token, None)
        except TokenInvalid as invalid:
            raise InvalidRequest(_UNUSABLE) from invalid
        if client.id not in {found.client_id, found.audience}:
            raise InvalidRequest(_UNUSABLE)
        return found

    async def _for_session(self, request: GrantRequest, session: Session) -> Issued:
        granted = _granted(request, session, allowed=self._sessions.scopes(session, request.client))
        # Who acts for another gets nothing that can be renewed: the session is never prolonged, either.
        if REFRESH_TOKEN in request.client.grants and session.actor is None:
            try:
                return await self._families.start(granted)
            except SessionDeleted as deleted:
                raise InvalidRequest(_UNUSABLE) from deleted
        token, said = await issue_for_session(self._tokens, granted)
        return Issued(token, said, issued_token_type=ACCESS_TOKEN_TYPE)

    async def _for_access_token(self, request: GrantRequest, subject: AccessToken) -> Issued:
        """Issue what dies with the subject token. There is no refresh token: a token that lives minutes must not turn
        into one that lives as long as the session."""
        if subject.session is None:
            raise InvalidRequest("A service asks for a token of its own with grant_type=client_credentials.")
        if len(subject.revoked_by) > MOST_LINEAGE:
            raise InvalidRequest(f"A token is exchanged for another at most {MOST_LINEAGE} times in a row.")
        session = _required(await self._sessions.of_id(subject.session, request.client))
        of_now = self._sessions.scopes(session, request.client)
        granted = _granted(request, session, allowed=common_scopes(of_now, subject.scope))
        granted = replace(granted, lineage=subject.revoked_by)
        token, said = await issue_for_session(self._tokens, granted, until=subject.expires_at)
        return Issued(token, said, issued_token_type=ACCESS_TOKEN_TYPE)


def _required(session: Session | None) -> Session:
    if session is None:
        raise InvalidRequest(_UNUSABLE)
    return session


def _granted(request: GrantRequest, session: Session, *, allowed: Sequence[str]) -> SessionGrant:
    audience = audience_of(request.parameters, allowed=request.client.audiences)
    scope = granted_scopes(asked_scopes(request.parameters), allowed=allowed)
    return SessionGrant(session, request.client, audience=audience, scope=scope)
