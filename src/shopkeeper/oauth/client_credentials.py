"""The grant `client_credentials`: a service obtains a token for itself (RFC 6749 section 4.4)."""

from shopkeeper.oauth.errors import InvalidScope
from shopkeeper.oauth.grant_types import CLIENT_CREDENTIALS
from shopkeeper.oauth.grants import GrantRequest, Issued
from shopkeeper.oauth.scopes import asked_scopes, audience_of, granted_scopes
from shopkeeper.tokens.access_tokens import AccessTokens, TokenTooLong


class ClientCredentialsGrant:
    """Issues a token of which the client is the subject. There is no refresh token: the client can ask again."""

    grant_type = CLIENT_CREDENTIALS

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens

    async def issue(self, request: GrantRequest) -> Issued:
        """See `Grant`."""
        client = request.client
        audience = audience_of(request.parameters, allowed=client.audiences)
        scope = granted_scopes(asked_scopes(request.parameters), allowed=client.scopes)
        try:
            token, said = await self._tokens.issue(
                subject=client.id,
                client_id=client.id,
                audience=audience,
                scope=scope,
                stores=sorted(client.stores or ()),
            )
        except TokenTooLong as too_long:
            raise InvalidScope("These are too many scopes for one token: ask for fewer.") from too_long
        return Issued(token, said)
