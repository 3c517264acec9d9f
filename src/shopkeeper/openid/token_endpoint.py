"""Redeems codes at the token endpoint (RFC 6749 section 4.1.3, RFC 7636 section 4.5)."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

import msgspec

from shopkeeper.clock import Clock
from shopkeeper.http_client import HttpResponse
from shopkeeper.openid.authorization import refused
from shopkeeper.openid.calls import ProviderCalls, parse_object
from shopkeeper.openid.client_secret import ClientSecret
from shopkeeper.openid.errors import ProviderAnswerInvalid
from shopkeeper.openid.metadata import Metadata
from shopkeeper.openid.provider import Provider, SigningSecret, TokenShape

LONGEST_EXPIRY: Final = 10 * 365 * 24 * 3600
_OUR_MISTAKES: Final = frozenset({"invalid_client", "unauthorized_client", "incorrect_client_credentials"})
"""Errors about our client id or secret; GitHub has one of its own."""

_SPENT: Final = frozenset({"invalid_grant", "bad_verification_code"})
"""Errors about the code: used before, expired, or never given to us; GitHub has one of its own."""


class _Answer(msgspec.Struct):
    access_token: str | None = None
    token_type: str | None = None
    id_token: str | None = None
    refresh_token: str | None = None
    expires_in: int | float | str | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a code was redeemed for. `document` is the whole answer."""

    document: Mapping[str, Any] = field(repr=False)
    access_token: str | None = field(repr=False)
    id_token: str | None = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: int | None


class TokenEndpoint:
    """The token endpoint of one provider."""

    def __init__(self, provider: Provider, calls: ProviderCalls, clock: Clock) -> None:
        self._provider, self._calls = provider, calls
        self._secret = ClientSecret(provider.client_id, provider.client_secret, clock)

    @property
    def secret(self) -> str | None:
        """Our secret at the provider."""
        return self._secret.get()

    async def redeem(self, code: str, metadata: Metadata, *, redirect_uri: str, code_verifier: str | None) -> Tokens:
        """Redeem a code.

        Raises:
            AuthorizationRefused: the code is not valid, or not any more.
            ProviderAnswerInvalid: the provider does not accept our request, or answers no tokens.
            ProviderUnavailable: it did not answer in time.
        """
        needed = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        form = {**self._provider.token_parameters, **needed}
        if code_verifier is not None:
            form["code_verifier"] = code_verifier
        return tokens_of(await self.send(form, metadata), self._provider.token_shape)

    async def send(self, form: Mapping[str, str], metadata: Metadata) -> HttpResponse:
        """Send a request of any grant, with our authentication.

        Raises:
            ProviderAnswerInvalid: the provider names no token endpoint, or answered something that is no answer.
            ProviderUnavailable: it did not answer in time.
        """
        if metadata.token_endpoint is None:
            raise ProviderAnswerInvalid("The provider names no token endpoint.", cause="no_endpoint")
        headers, further = self.authentication(metadata)
        media_type, content = _encoded({**form, **further}, self._provider.token_shape)
        return await self._calls.send(
            "POST", metadata.token_endpoint, headers={"Content-Type": media_type, **headers}, content=content
        )

    def authentication(self, metadata: Metadata) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return the headers and form fields by which we authenticate (RFC 6749 section 2.3.1)."""
        client_id, secret = self._provider.client_id, self._secret.get()
        way = authentication_method(self._provider, metadata)
        if way == "none" or secret is None:
            return {}, {"client_id": client_id}
        if way == "client_secret_post":
            return {}, {"client_id": client_id, "client_secret": secret}
        # Both are form-encoded before they are joined, or a colon in them would move the border between them.
        both = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        return {"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}, {}


def authentication_method(provider: Provider, metadata: Metadata) -> str:
    """Return how we authenticate at the token endpoint.

    It is what the preset or the settings say, else what the metadata offers. A provider with metadata that names no
    way supports Basic (Discovery 1.0 section 3); one without metadata gets the secret in the form, which OAuth 2
    providers without OpenID all accept.

    Raises:
        ProviderAnswerInvalid: the provider offers no way that we have.
    """
    if provider.client_secret is None:
        return "none"
    if provider.token_auth is not None:
        return provider.token_auth
    if isinstance(provider.client_secret, SigningSecret) or not provider.discovers:
        return "client_secret_post"
    offered = metadata.token_endpoint_auth_methods_supported
    if not offered or "client_secret_basic" in offered:
        return "client_secret_basic"
    if "client_secret_post" in offered:
        return "client_secret_post"
    raise ProviderAnswerInvalid(
        "The provider accepts neither client_secret_basic nor client_secret_post.", cause="no_client_authentication"
    )


def _encoded(form: Mapping[str, str], shape: TokenShape) -> tuple[str, bytes]:
    """Return the media type and the body of a token request."""
    named = {shape.request.get(name, name): value for name, value in form.items()}
    if shape.json:
        return "application/json", msgspec.json.encode(named)
    return "application/x-www-form-urlencoded", urlencode(named).encode()


def tokens_of(response: HttpResponse, shape: TokenShape) -> Tokens:
    """Return the tokens of an answer of the token endpoint. Raises as `TokenEndpoint.redeem` does."""
    document = parse_object(response.body, what="The provider's token answer")
    document |= {ours: document[theirs] for ours, theirs in shape.answer.items() if theirs in document}
    # GitHub answers errors with 200.
    if "error" in document or response.status != HTTPStatus.OK:
        raise _failure(document, response.status)
    try:
        answer = msgspec.convert(document, _Answer)
    except msgspec.ValidationError as wrong:
        raise ProviderAnswerInvalid("The provider's token answer is not valid.", cause="token_answer") from wrong
    if answer.token_type is not None and answer.token_type.lower() != "bearer":
        raise ProviderAnswerInvalid("The provider's access token is no bearer token.", cause="token_type")
    if not answer.access_token and not answer.id_token:
        raise ProviderAnswerInvalid("The provider's token answer has no tokens.", cause="no_tokens")
    return Tokens(
        document, answer.access_token or None, answer.id_token or None, answer.refresh_token or None, _seconds(answer)
    )


def _failure(document: Mapping[str, Any], status: int) -> Exception:
    refusal = refused(document.get("error"), document.get("error_description"))
    if refusal.error in _SPENT:
        return refusal
    if refusal.error in _OUR_MISTAKES:
        return ProviderAnswerInvalid(
            "The provider does not accept the configured client id and secret.", cause="invalid_client"
        )
    return ProviderAnswerInvalid(
        f"The provider gave no tokens: it answered with {status} and '{refusal.error}'.", cause=refusal.error
    )


def _seconds(answer: _Answer) -> int | None:
    """Return `expires_in`, which some providers send as text; None where it is no number of seconds."""
    try:
        seconds = int(float(answer.expires_in)) if answer.expires_in is not None else None
    except (ValueError, OverflowError):
        return None
    return seconds if seconds is not None and 0 <= seconds <= LONGEST_EXPIRY else None
