"""Access tokens of an identity provider that speaks OpenID Connect, as a `TokenSource`.

A JWT is known by its issuer, which is unverified then and only chooses; everything else about it is verified by
`openid/access_tokens.py`. What is no JWT goes to a provider only where that is configured for opaque tokens.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import structlog

from shopkeeper.client import Client
from shopkeeper.crypto import digest
from shopkeeper.errors import TokenInvalid
from shopkeeper.openid.access_token import AccessToken
from shopkeeper.openid.access_tokens import LONGEST_TOKEN, AccessTokens
from shopkeeper.openid.claim_paths import ClaimedNames, Reading, claimed_names
from shopkeeper.openid.errors import ProviderError, ProviderTokenInvalid
from shopkeeper.sessions.token_sources import External
from shopkeeper.upstream.errors import IdentityProviderUnavailable
from shopkeeper.upstream.own_credentials import OwnCredentials
from shopkeeper.upstream.refused_tokens import RefusedTokens
from shopkeeper.upstream.token_questions import TokenQuestions
from shopkeeper.upstream.verified_token_cache import VerifiedTokenCache

log = structlog.get_logger("shopkeeper.upstream")

OpaqueTokens = Literal["refused", "introspection", "userinfo"]
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
"""A token that an `Authorization` header can carry (RFC 6750 section 2.1)."""


@dataclass(frozen=True, slots=True)
class MembershipClaims:
    """Where a provider's tokens say what their subject belongs to; None for nowhere."""

    groups: str | None = None
    roles: str | None = None


class OidcTokens:
    """The access tokens of one provider.

    Args:
        opaque: how tokens that are no JWT are verified.
        others: what the tokens of other servers begin with. They are not sent to this provider.
        own: our tokens and keys, which are not sent there either.
        stores: the ids of the fronts that take its tokens.
        jwts, opaques: cache what was verified.
        refused: keeps which opaque tokens the provider has just refused.
        questions: limits how often the provider is asked about opaque tokens in vain.
    """

    def __init__(
        self,
        tokens: AccessTokens,
        *,
        opaque: OpaqueTokens,
        membership: MembershipClaims,
        stores: Collection[str],
        own: OwnCredentials,
        others: Collection[str] = (),
        jwts: VerifiedTokenCache,
        opaques: VerifiedTokenCache,
        refused: RefusedTokens,
        questions: TokenQuestions,
    ) -> None:
        self._tokens, self._opaque, self._membership = tokens, opaque, membership
        self._stores = frozenset(stores)
        self._own, self._others = own, tuple(others)
        self._jwts, self._opaques, self._refused, self._questions = jwts, opaques, refused, questions

    @property
    def provider(self) -> str:
        """The id of the configured provider."""
        return self._tokens.provider.id

    def recognises(self, token: str) -> bool:
        """Whether a token was verified before, is a JWT of this provider's issuer, or is opaque where it takes such."""
        if self._is_jwt(token):
            return self._jwts.holds(token) or self._tokens.recognises(token)
        return self._opaque != "refused" and self._may_be_opaque(token)

    def takes(self, token: str, store: str) -> bool:
        """Whether a store takes tokens of this form. No I/O."""
        return store in self._stores and self.recognises(token)

    async def verify(self, token: str, store: str | None, *, client: Client | None = None) -> External:
        """Return the subject of a token.

        Raises:
            TooManyRequests: the client has had the provider asked about too many opaque tokens in vain.
            TokenInvalid: the token is not valid, not for us, or not for this store.
            IdentityProviderUnavailable: it cannot be verified now.
        """
        if store is not None and store not in self._stores:
            raise TokenInvalid("The tokens of this identity provider are not for this store.")
        try:
            if self._is_jwt(token):
                return await self._jwts.get(token, lambda: self._by_signature(token))
            if not self._may_be_opaque(token):
                raise TokenInvalid
            return await self._opaques.get(token, lambda: self._by_asking(token, client))
        except ProviderTokenInvalid as invalid:
            raise TokenInvalid(invalid.detail) from invalid
        except ProviderError as failure:
            raise IdentityProviderUnavailable.because(failure) from failure

    def vouched(self, issuer: str, subject: str, claims: Mapping[str, Any], *, expires_at: datetime) -> External:
        """Return the subject of claims that were verified already, such as those of an ID token of this provider."""
        return External(
            provider=self.provider,
            issuer=issuer,
            subject=subject,
            claims=claims,
            expires_at=expires_at,
            **self._membership_in(claims),
        )

    async def userinfo(self, external: External, token: str) -> Mapping[str, Any]:
        """Return what the provider's userinfo says of the subject of a verified token. Raises as `verify` does."""
        try:
            return await self._tokens.userinfo_of(token, subject=external.subject)
        except ProviderTokenInvalid as invalid:
            raise TokenInvalid(invalid.detail) from invalid
        except ProviderError as failure:
            raise IdentityProviderUnavailable.because(failure) from failure

    async def close(self) -> None:
        """End what still runs for callers that have gone."""
        await self._jwts.close()
        await self._opaques.close()

    def _is_jwt(self, token: str) -> bool:
        return token.count(".") == 2 and len(token) <= LONGEST_TOKEN

    def _may_be_opaque(self, token: str) -> bool:
        readable = len(token) <= LONGEST_TOKEN and _BEARER.fullmatch(token) is not None
        return readable and not token.startswith(self._others) and not self._own.has(token)

    async def _by_signature(self, token: str) -> External:
        return self._external(await self._tokens.verify(token))

    async def _by_asking(self, token: str, client: Client | None) -> External:
        if self._opaque == "refused":
            raise TokenInvalid
        ask = self._tokens.introspect if self._opaque == "introspection" else self._tokens.by_userinfo
        key = digest(token)
        if self._refused.has(key):
            raise TokenInvalid
        try:
            async with self._questions.of(client):
                return self._external(await ask(token))
        except ProviderTokenInvalid:
            self._refused.add(key)
            raise

    def _external(self, token: AccessToken) -> External:
        return External(
            provider=self.provider,
            issuer=token.issuer,
            subject=token.subject,
            claims=token.claims,
            expires_at=token.expires_at,
            audience=token.audience,
            client_id=token.client_id,
            scope=token.scope,
            by_application=token.by_application,
            **self._membership_in(token.claims),
        )

    def _membership_in(self, claims: Mapping[str, Any]) -> Mapping[str, Any]:
        groups = self._names(claims, self._membership.groups)
        return {
            "groups": groups.names,
            "roles": self._names(claims, self._membership.roles).names,
            "groups_left_out": groups.reading is not Reading.COMPLETE,
        }

    def _names(self, claims: Mapping[str, Any], path: str | None) -> ClaimedNames:
        if path is None:
            return ClaimedNames()
        names = claimed_names(claims, path)
        if names.reading is not Reading.COMPLETE:
            # Entra leaves groups out where they are more than 200: configure it to emit those of the application only.
            log.warning("provider.names_incomplete", provider=self.provider, claim=path, reading=names.reading.value)
        return names
