"""The password grant (RFC 6749 section 4.3), a legacy: RFC 9700 section 2.4 says that it must not be used.

It hands a password to an application that is not the one it belongs to, and it cannot ask for a second factor. It is
here for shops whose applications ask for the passwords of their provider already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shopkeeper.clock import Clock
from shopkeeper.openid import id_token
from shopkeeper.openid.access_tokens import AccessTokens
from shopkeeper.openid.calls import parse_object
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.errors import ProviderAnswerInvalid
from shopkeeper.openid.id_token import Expected, check_id_token
from shopkeeper.openid.metadata import Metadata
from shopkeeper.openid.password_refusals import SecondFactorWanted, require_no_refusal
from shopkeeper.openid.token_claims import require_current, text_claim
from shopkeeper.openid.token_endpoint import Tokens, tokens_of

PASSWORD: Final = "password"  # noqa: S105 - the name of a grant and of its field
PASSWORD_REALM: Final = "http://auth0.com/oauth/grant-type/password-realm"  # noqa: S105
"""Auth0's grant for the passwords of one connection."""
_FACTORS: Final = frozenset({"mfa", "mca", "otp", "sms", "tel", "hwk", "swk", "sc", "fpt", "face", "iris", "retina"})
"""Values of `amr` (RFC 8176) that say of more than a password."""


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """What is asked for. `audience` and `realm` are Auth0's."""

    scope: Sequence[str]
    audience: str | None = None
    realm: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """Who the password belongs to, by a token that was verified and counts `until` then; `sid` is the provider's name
    of the session."""

    issuer: str
    subject: str
    claims: Mapping[str, Any]
    until: datetime
    sid: str | None = None


class PasswordGrant:
    """Signs in with a name and a password that are the provider's.

    Args:
        client: a client of the provider with the id and the secret of this grant.
        access_tokens: verifies the access token where the answer has no ID token.
    """

    def __init__(
        self, client: OpenIDClient, request: GrantRequest, *, access_tokens: AccessTokens, clock: Clock
    ) -> None:
        self.provider = client.provider
        self._client, self._request = client, request
        self._access_tokens, self._clock = access_tokens, clock

    async def authenticate(self, username: str, password: str) -> Granted:
        """Send name and password to the provider, and verify what it answers. Never call it inside a transaction.

        Raises:
            PasswordWrong: they are not accepted, or the account cannot sign in now.
            SecondFactorWanted: the account has a second factor.
            ProviderUnavailable: the provider is away, or is asked too often (`ProviderAskedTooOften`).
            ProviderError: its answer cannot be used, or its token is not valid.
        """
        async with self._client.conversation(for_token=True):
            metadata = await self._client.metadata_for("token", "jwks", authenticated=True)
            response = await self._client.token_endpoint.send(self._form(username, password), metadata)
            require_no_refusal(parse_object(response.body, what="The provider's token answer"))
            tokens = tokens_of(response, self.provider.token_shape)
            granted = await self._verified(tokens, metadata)
            if _FACTORS.intersection(_texts(granted.claims.get("amr"))):
                raise SecondFactorWanted(cause="amr")
            return granted

    def _form(self, username: str, password: str) -> Mapping[str, str]:
        request = self._request
        further = {"audience": request.audience, "realm": request.realm, "scope": " ".join(request.scope)}
        return {
            "grant_type": PASSWORD if request.realm is None else PASSWORD_REALM,
            "username": username,
            PASSWORD: password,
            **{name: value for name, value in further.items() if value},
        }

    async def _verified(self, tokens: Tokens, metadata: Metadata) -> Granted:
        if tokens.id_token is None:
            if tokens.access_token is None or not self._access_tokens.recognises(tokens.access_token):
                raise ProviderAnswerInvalid(
                    "The provider's answer has neither an ID token nor an access token that is a JWT: ask for the scope"
                    " openid, or for an audience.",
                    cause="no_id_token",
                )
            token = await self._access_tokens.verify(tokens.access_token)
            return Granted(token.issuer, token.subject, token.claims, token.expires_at, text_claim(token.claims, "sid"))
        signed = await self._client.verified(tokens.id_token, metadata, types=id_token.TYPES, trusted=True)
        expected = Expected(
            audiences={self.provider.client_id},
            issuer=metadata.issuer,
            nonce=None,
            access_token=tokens.access_token,
        )
        now = self._clock.now()
        issuer, subject = check_id_token(signed, expected, provider=self.provider, now=now)
        _, until = require_current(signed.claims, now=now, max_age=id_token.MAX_AGE)
        return Granted(issuer, subject, signed.claims, until, text_claim(signed.claims, "sid"))


def _texts(value: Any) -> Sequence[str]:
    several = value if isinstance(value, list) else [value]
    return [each for each in several if isinstance(each, str)]
