"""The client of one provider: where a sign-in goes, what comes back, and whether it is true."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from shopkeeper.openid.authenticated import Authenticated, LogoutToken
from shopkeeper.openid.provider import Provider

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class OpenIDClient(Protocol):
    """Signs users in at one provider (OpenID Connect Core 1.0 section 3.1, RFC 6749 section 4.1).

    Every method but `close` may call the provider, so none may be called inside a transaction. Each raises
    `ProviderUnavailable` where the provider is away, after ten seconds at most.
    """

    provider: Provider

    async def authorization_url(
        self,
        *,
        redirect_uri: str,
        state: str,
        nonce: str,
        code_verifier: str,
        parameters: Mapping[str, str] = _NONE,
    ) -> str:
        """Return where to send the browser.

        Args:
            nonce: comes back in the ID token; a random text of the caller.
            code_verifier: the PKCE verifier (RFC 7636 section 4.1), 43 to 128 characters; always made by the caller,
                and used where the provider's PKCE mode says so.
            parameters: what the request adds: `prompt`, `login_hint`, `hd`, `acr_values`, `auth_type`. It cannot
                replace what the protocol needs.
        """
        ...

    async def authenticate(
        self, query: Mapping[str, str], *, redirect_uri: str, nonce: str, code_verifier: str
    ) -> Authenticated:
        """Redeem the authorization answer in the query or form of the callback. `state` was checked by the caller.

        Raises:
            AuthorizationRefused: the provider sent an error instead of a code.
            ProviderAnswerInvalid: an answer is not what the protocol says, or its `iss` is another provider's.
            ProviderTokenInvalid: the ID token is not valid.
        """
        ...

    async def verify_id_token(self, token: str, *, nonce: str | None) -> Authenticated:
        """Verify an ID token that a native app got from the provider. `nonce` None accepts tokens without one only.

        Raises:
            ProviderTokenInvalid: it is not valid, or was made for another application.
        """
        ...

    async def verify_logout_token(self, token: str) -> LogoutToken:
        """Verify a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.6).

        Raises:
            ProviderTokenInvalid: it is not valid.
        """
        ...

    async def end_session_url(
        self, *, id_token_hint: str | None, post_logout_redirect_uri: str | None, state: str | None
    ) -> str | None:
        """Return where to send the browser to sign out at the provider, None where the provider offers no such place.

        OpenID Connect RP-Initiated Logout 1.0 section 2.
        """
        ...
