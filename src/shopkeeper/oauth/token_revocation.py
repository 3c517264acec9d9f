"""Revokes single tokens (RFC 7009). What is revoked is refused by every process at once."""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.crypto import digest
from shopkeeper.errors import TokenInvalid
from shopkeeper.oauth import refresh_token_store
from shopkeeper.oauth.client_authentication import ClientAuthentication
from shopkeeper.oauth.errors import InvalidGrant, UnsupportedTokenType
from shopkeeper.oauth.refresh_tokens import PREFIX, RefreshTokenFamilies
from shopkeeper.oauth.revoked_tokens import RevokedTokens
from shopkeeper.oauth.scopes import required
from shopkeeper.sessions.token_sources import TokenSource
from shopkeeper.storage.database import Database
from shopkeeper.tokens.access_tokens import AccessTokens

_OF_ANOTHER: Final = "This token was issued to another client."

log = structlog.get_logger("shopkeeper.oauth")


class TokenRevocation:
    """Revokes the tokens that were issued to the calling client.

    Args:
        others: recognise tokens that exist here and are not revoked here, such as those of sessions.
        providers: recognise tokens of identity providers, valid or not, which are revoked there.
    """

    def __init__(
        self,
        database: Database,
        *,
        authentication: ClientAuthentication,
        tokens: AccessTokens,
        revoked: RevokedTokens,
        families: RefreshTokenFamilies,
        others: Sequence[TokenSource],
        providers: Sequence[TokenSource] = (),
        clock: Clock,
    ) -> None:
        self._database, self._authentication, self._tokens = database, authentication, tokens
        self._revoked, self._families, self._clock = revoked, families, clock
        self._others, self._providers = tuple(others), tuple(providers)

    async def revoke(self, authorization: Sequence[str], parameters: Mapping[str, str], *, sender: Client) -> None:
        """Revoke a token. One that is unknown or has ended is revoked already (section 2.2).

        `token_type_hint` is not needed: the form of a token says what it is. When this returns, the revocation is
        stored; whatever prevents that is raised.

        Raises:
            InvalidClient, InvalidRequest: see `ClientAuthentication.authenticate`.
            InvalidGrant: the token was issued to another client; it stays valid.
            UnsupportedTokenType: a session's or a visit's token, which signing out ends; or one that has the form, or
                names the issuer, of a provider's.
        """
        client_id = await self._authentication.authenticate(authorization, parameters, ip=sender.ip)
        token = required(parameters, "token")
        if token.startswith(PREFIX):
            await self._revoke_family(token, client_id, sender)
        elif self._tokens.is_ours(token):
            await self._revoke_access_token(token, client_id, sender)
        elif any(source.recognises(token) for source in self._others):
            raise UnsupportedTokenType("This is no token of OAuth: sign out to end a session or a visit.")
        elif any(source.recognises(token) for source in self._providers):
            # Never verified: a client that may not introspect would learn from the answer whether the token is valid.
            raise UnsupportedTokenType("Tokens of this form are issued by an identity provider: revoke it there.")

    async def _revoke_family(self, token: str, client_id: str, sender: Client) -> None:
        """End the family of a refresh token, and the access tokens that it issued (section 2.1)."""
        async with self._database.unit() as unit:
            stored = await refresh_token_store.get(unit, digest(token))
            if stored is None:
                return
            if stored.client_id != client_id:
                raise InvalidGrant(_OF_ANOTHER)
            await self._families.end(unit, stored, reason="its client revoked it", ip=sender.ip)

    async def _revoke_access_token(self, token: str, client_id: str, sender: Client) -> None:
        try:
            found = await self._tokens.read(token)
        except TokenInvalid:
            return
        if found.client_id != client_id:
            raise InvalidGrant(_OF_ANOTHER)
        if found.expires_at <= self._clock.now():
            return
        async with self._database.unit() as unit:
            await self._revoked.revoke(unit, found.id, expires_at=found.expires_at)
        log.info("oauth.token_revoked", client=client_id, token=str(found.id))
