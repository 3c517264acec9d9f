"""Sending a browser to a provider, and taking what it comes back with."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shopkeeper.credentials import oidc_confirmations
from shopkeeper.credentials.linked_providers import OIDC
from shopkeeper.credentials.method import MethodInput
from shopkeeper.credentials.oidc_context import Departure, SocialContexts
from shopkeeper.credentials.provider_attempts import ProviderAttempts
from shopkeeper.credentials.social_provider import SocialProvider, SocialProviders
from shopkeeper.credentials.steps import Redirect, SubmissionRejected
from shopkeeper.credentials.upstream_parameters import upstream_parameters
from shopkeeper.identity.values import Aal
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.openid.errors import AuthorizationRefused
from shopkeeper.openid.id_token import redirect_nonce
from shopkeeper.ui.messages import reason

CALLBACK_PATH: Final = f"/self-service/methods/{OIDC}/callback"


@dataclass(frozen=True, slots=True)
class Returned:
    """A browser that a provider has sent back, with the account that was authenticated; `links` and `fresh_since` as in
    `Departure`."""

    social: SocialProvider
    authenticated: Authenticated
    links: bool
    fresh_since: datetime | None


class OidcRedirects:
    """Redirects browsers to providers.

    Args:
        contexts: seals what the flow keeps meanwhile.
        attempts: limits how often an address leaves without coming back with an answer of the provider.
        base: our address that providers send browsers back to, without a path.
    """

    def __init__(
        self, providers: SocialProviders, *, contexts: SocialContexts, attempts: ProviderAttempts, base: str
    ) -> None:
        self._providers = providers
        self._contexts = contexts
        self._attempts = attempts
        self._base = base.rstrip("/")

    async def leave(
        self,
        submission: MethodInput,
        social: SocialProvider,
        *,
        links: bool = False,
        fresh_since: datetime | None = None,
    ) -> Redirect:
        if submission.callback is None:
            raise TypeError("a submission that leaves has a callback")
        provider, attempt = social.provider, await self._attempts.begin(submission.client)
        departure = Departure(
            provider.id,
            nonce=redirect_nonce(),
            code_verifier=await social.client.new_code_verifier(),
            redirect_uri=f"{self._base}{CALLBACK_PATH}/{provider.id}",
            links=links,
            parameters=_parameters(submission, social, fresh=fresh_since is not None),
            fresh_since=fresh_since,
            attempt=attempt,
        )
        url = await social.client.authorization_url(
            redirect_uri=departure.redirect_uri,
            state=submission.callback.state,
            nonce=departure.nonce,
            code_verifier=departure.code_verifier,
            parameters=departure.parameters,
        )
        return Redirect(url, self._contexts.departing(submission.flow_id, departure))

    async def returned(self, submission: MethodInput) -> Returned:
        """Redeem what a browser came back with. Raises `ProviderError` and `SubmissionRejected`.

        The path must be that of the provider that the browser was sent to: another one's answer redeemed there would
        give its code away (mix-up, RFC 9700 section 4.4).
        """
        departure = self._contexts.departure(submission.flow_id, submission.context)
        answer = dict(submission.query)
        came_from = answer.pop("provider", None)
        if departure is None or came_from != departure.provider:
            raise SubmissionRejected(reason("provider_not_awaited", _NOT_AWAITED))
        social = self._providers.get(departure.provider)
        if social is None:
            raise SubmissionRejected(reason("provider_off", _OFF))
        try:
            authenticated = await social.client.authenticate(
                answer,
                redirect_uri=departure.redirect_uri,
                nonce=departure.nonce,
                code_verifier=departure.code_verifier,
            )
        except AuthorizationRefused:
            # A code that is refused at the token endpoint may be made up, and has cost a call there: it stays counted.
            if "error" in answer:
                await self._attempts.answered(departure.attempt)
            raise
        await self._attempts.answered(departure.attempt)
        return Returned(social, authenticated, departure.links, departure.fresh_since)


def _parameters(submission: MethodInput, social: SocialProvider, *, fresh: bool) -> Mapping[str, str]:
    """Return what the request adds: what the client asks for, and what the flow needs."""
    needed = dict(oidc_confirmations.parameters(social.provider, fresh=fresh))
    if submission.requested_aal is Aal.AAL2 and social.provider.aal2_acr_values:
        needed["acr_values"] = " ".join(social.provider.aal2_acr_values)
    return {**upstream_parameters(submission.submitted), **needed}


_NOT_AWAITED = "This answer of a provider is not the one that was waited for. Please begin again."
_OFF = "Signing in with this provider has been switched off here. Please choose another way."
