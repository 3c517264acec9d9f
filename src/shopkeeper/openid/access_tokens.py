"""Verifies the access tokens of one provider: as JWT, by its introspection (RFC 7662), or by its userinfo."""

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from shopkeeper.clock import Clock
from shopkeeper.jose.verify import JwtRules, check_header, unverified_issuer
from shopkeeper.openid.access_token import AccessToken, AccessTokenRules, check_access_token, check_introspection
from shopkeeper.openid.calls import parse_object
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import ProviderAnswerInvalid
from shopkeeper.openid.token_claims import require_text
from shopkeeper.openid.token_endpoint import Tokens
from shopkeeper.openid.tokens import as_provider_error
from shopkeeper.openid.userinfo import claims_of_userinfo

LONGEST_TOKEN: Final = 16 * 1024
"""Characters of an access token: one of Entra with 200 groups has 14,000."""
WITHOUT_EXP: Final = timedelta(minutes=5)
"""How long a token counts of whose end the provider says nothing."""


class AccessTokens:
    """The access tokens of one provider. No method may be called inside a transaction.

    Args:
        client: the client of the provider, whose metadata, keys and circuit breakers it shares.
    """

    def __init__(self, client: OpenIDClient, rules: AccessTokenRules, *, clock: Clock) -> None:
        self.provider = client.provider
        self._client, self._rules, self._clock = client, rules, clock
        self._header = JwtRules(
            types=rules.preset.types, algorithms=client.provider.algorithms, max_bytes=LONGEST_TOKEN
        )

    def recognises(self, token: str) -> bool:
        """Whether a token is a JWT that names an issuer of this provider. It is not verified, and nothing is called."""
        issuer = unverified_issuer(token, max_bytes=LONGEST_TOKEN)
        return issuer is not None and self.provider.account_issuer(issuer) is not None

    async def verify(self, token: str) -> AccessToken:
        """Verify an access token that is a JWT.

        Raises:
            ProviderTokenInvalid: it is not one of this provider for us, or not valid now.
            ProviderUnavailable: the provider's keys could not be read.
            ProviderAnswerInvalid: its metadata or keys cannot be used.
        """
        async with self._client.conversation(for_token=True):
            with as_provider_error():
                header = check_header(token, self._header)
            metadata = await self._client.metadata_for("jwks")
            signed = await self._client.verified(token, metadata, types=self._header.types, trusted=False)
            return self._counted(
                check_access_token(
                    signed,
                    header.typ,
                    self._rules,
                    provider=self.provider,
                    announced=metadata.issuer,
                    now=self._clock.now(),
                )
            )

    async def introspect(self, token: str) -> AccessToken:
        """Ask the provider about an opaque access token, with our credentials there (RFC 7662 section 2.1).

        Raises:
            ProviderTokenInvalid: it is not active, or not for us.
            ProviderUnavailable: the provider does not answer.
            ProviderAnswerInvalid: its answer cannot be used, or it does not let us ask.
        """
        async with self._client.conversation(for_token=True):
            answer = await self._ask(token)
            now = self._clock.now()
            return self._counted(
                check_introspection(answer, self._rules, provider=self.provider, now=now, without_exp=WITHOUT_EXP)
            )

    async def by_userinfo(self, token: str) -> AccessToken:
        """Ask the provider's userinfo endpoint whose opaque token it is. For whom the token is, nothing says.

        Raises as `introspect` does.
        """
        async with self._client.conversation(for_token=True):
            claims = await self._userinfo(token)
            return self._counted(
                AccessToken(
                    issuer=self.provider.issuer,
                    subject=require_text(claims, self._rules.subject_claim),
                    claims=claims,
                    audience=(),
                    client_id=None,
                    scope=("openid",),
                    expires_at=self._clock.now() + WITHOUT_EXP,
                    by_application=False,
                )
            )

    async def userinfo_of(self, token: str, *, subject: str) -> Mapping[str, Any]:
        """Return what userinfo says of the person of a verified access token.

        Raises:
            ProviderAnswerInvalid: it says something of another person, or cannot be used.
            ProviderTokenInvalid: the provider does not accept the token there.
            ProviderUnavailable: the provider does not answer.
        """
        async with self._client.conversation(for_token=True):
            claims = await self._userinfo(token)
            if claims.get(self._rules.subject_claim, claims.get("sub")) != subject:
                raise ProviderAnswerInvalid("The provider's userinfo is about another user.", cause="userinfo_subject")
            return claims

    async def _ask(self, token: str) -> Mapping[str, Any]:
        metadata = await self._client.metadata_for("introspection", authenticated=True)
        endpoint = metadata.introspection_endpoint
        if endpoint is None:
            raise ProviderAnswerInvalid("The provider names no introspection endpoint.", cause="no_endpoint")
        headers, form = self._client.token_endpoint.authentication(metadata)
        response = await self._client.calls.send(
            "POST",
            endpoint,
            headers={"Content-Type": "application/x-www-form-urlencoded", **headers},
            content=urlencode({"token": token, "token_type_hint": "access_token", **form}).encode(),
        )
        if response.status != HTTPStatus.OK:
            raise ProviderAnswerInvalid(
                f"The provider does not let us introspect tokens: it answered with {response.status}.",
                cause="introspection_status",
            )
        return parse_object(response.body, what="The provider's introspection")

    async def _userinfo(self, token: str) -> Mapping[str, Any]:
        metadata = await self._client.metadata(for_token=True)
        tokens = Tokens(document={}, access_token=token, id_token=None, refresh_token=None, expires_in=None)
        document = await self._client.userinfo.read(
            metadata.userinfo_endpoint, tokens, secret=self._client.token_endpoint.secret, strangers=True
        )
        return claims_of_userinfo(document, self.provider.userinfo)

    def _counted(self, token: AccessToken) -> AccessToken:
        self._client.count("verified")
        return token
