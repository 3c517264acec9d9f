"""Social sign-in: signing in, registering and linking with an account at an identity provider (`oidc`, as in Kratos).

A submission names a provider, and the browser is redirected there (OpenID Connect Core 1.0 section 3.1). The provider
sends it back to `callback`. A native app may send an ID token that it got from the provider itself instead.

Issuer and subject decide who an account belongs to, and nothing else: an address that a provider tells never finds an
identity. An unknown account registers (`Enrolment`), in a login too; what follows where its address is taken is decided
by the flow.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shopkeeper.credentials import oidc_nodes as nodes
from shopkeeper.credentials.linked_providers import (
    OIDC,
    account_digests,
    added,
    extends,
    group_sources,
    without_provider,
)
from shopkeeper.credentials.method import MethodInput, MethodView
from shopkeeper.credentials.oidc_accounts import OidcAccounts
from shopkeeper.credentials.oidc_arrivals import OidcArrivals
from shopkeeper.credentials.oidc_confirmations import Confirmations
from shopkeeper.credentials.oidc_links import OidcLinks
from shopkeeper.credentials.oidc_redirects import OidcRedirects
from shopkeeper.credentials.provider_attempts import ProviderAttempts
from shopkeeper.credentials.social_provider import SocialProvider, SocialProviders
from shopkeeper.credentials.steps import (
    CredentialChange,
    Enrolment,
    FieldError,
    Form,
    NewCredential,
    Proof,
    Redirect,
    SubmissionRejected,
    Unverified,
)
from shopkeeper.errors import NotFound
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message, reason


class Oidc:
    """The method.

    Args:
        providers: those that are switched on.
        accounts: finds identities by issuer and subject.
        confirmations: decides which providers confirm a session.
        links: links and unlinks.
        redirects: sends browsers to providers, and takes what they come back with.
        arrivals: says what follows once an account was authenticated.
        attempts: limits how often an address sends ID tokens that are refused.
    """

    name = OIDC
    facts = CredentialFacts(
        OIDC,
        first_factor=True,
        removable=True,
        without=without_provider,
        added=added,
        sealed=True,
        extends=extends,
        digests=account_digests,
        group_sources=group_sources,
    )
    brings_traits = True
    omits_token = True

    def __init__(
        self,
        providers: SocialProviders,
        *,
        accounts: OidcAccounts,
        confirmations: Confirmations,
        links: OidcLinks,
        redirects: OidcRedirects,
        arrivals: OidcArrivals,
        attempts: ProviderAttempts,
    ) -> None:
        self._providers = providers
        self._accounts = accounts
        self._confirmations = confirmations
        self._links = links
        self._redirects = redirects
        self._arrivals = arrivals
        self._attempts = attempts
        second = [Aal.AAL2] if any(social.raises_to_aal2 for social in providers) else []
        self.aals: frozenset[Aal] = frozenset({Aal.AAL1, *second})

    # -- forms ---------------------------------------------------------------------------------------------------------

    async def login_form(self, unit: Unit, view: MethodView) -> Form:
        """See `LoginMethod`. Where a session is confirmed or elevated, only what is linked to its identity helps."""
        offered: Iterable[SocialProvider] = self._providers
        if view.identity is not None:
            linked = await self._accounts.linked(unit, view.identity)
            offered = self._confirmations.by(view.identity, linked, aal=view.requested_aal)
        return Form(nodes.sign_in(social.provider for social in offered), identifier="none", leads=True)

    async def registration_form(self, unit: Unit, view: MethodView) -> Form:
        """See `RegistrationMethod`. After an arrival with traits missing there is one button, which goes on with it."""
        arrived_from = self._arrivals.provider_of(view.context)
        if arrived_from is not None:
            return Form(nodes.go_on(arrived_from.provider), view.context, leads=True)
        return Form(nodes.sign_up(social.provider for social in self._providers), leads=True)

    def missing(self, submitted: Mapping[str, Any]) -> Sequence[FieldError]:
        """See `RegistrationMethod`."""
        return ()

    async def settings_form(self, unit: Unit, view: MethodView) -> Form:
        """See `SettingsMethod`. The system's browser has no part in an app's session, so an app gets no buttons to
        link. One whose browser shares its cookies can send `link` all the same."""
        if view.identity is None:
            raise TypeError("a settings form belongs to an identity")
        return self._links.form(view.identity, links=not view.native)

    # -- submissions ---------------------------------------------------------------------------------------------------

    async def submit_login(self, unit: Unit, input: MethodInput) -> Redirect | Proof | Enrolment | Unverified:  # noqa: A002
        """See `LoginMethod`. Raises `NotFound` for an unknown provider, and `ProviderError`."""
        social = self._named(input)
        if input.identity is not None:
            linked = await self._accounts.linked(unit, input.identity)
            self._confirmations.require(social, input.identity, linked, aal=input.requested_aal)
        if input.submitted.get("id_token") is not None:
            return await self._with_id_token(unit, input, social)
        return await self._redirects.leave(input, social, fresh_since=self._confirmations.since(input))

    async def submit_registration(self, unit: Unit, input: MethodInput) -> Redirect | Proof | Enrolment | Unverified:  # noqa: A002
        """See `RegistrationMethod`. Raises as `submit_login` does."""
        social = self._named(input)
        pending = await self._arrivals.pending_registration(unit, input, social)
        if pending is not None:
            return pending
        if input.submitted.get("id_token") is not None:
            return await self._with_id_token(unit, input, social)
        return await self._redirects.leave(input, social)

    async def submit_settings(self, unit: Unit, input: MethodInput) -> Redirect | CredentialChange:  # noqa: A002
        """See `SettingsMethod`. Raises as `submit_login` does."""
        identity = _signed_in(input)
        wanted, unlinked = input.text("link"), input.text("unlink")
        if wanted and unlinked:
            raise SubmissionRejected(reason("link_and_unlink", _BOTH))
        if unlinked:
            return self._links.unlink(identity, unlinked)
        if not wanted:
            raise SubmissionRejected(message(4010004))
        return await self._redirects.leave(input, self._known(wanted), links=True)

    async def callback(self, unit: Unit, input: MethodInput) -> Proof | Enrolment | Unverified | CredentialChange:  # noqa: A002
        """See `CallbackMethod`. Raises `ProviderError` and `SubmissionRejected`."""
        returned = await self._redirects.returned(input)
        social, authenticated = returned.social, returned.authenticated
        if returned.links:
            return await self._arrivals.link(unit, _signed_in(input), social, authenticated)
        return await self._arrivals.sign_in(unit, input, social, authenticated, since=returned.fresh_since)

    # -- links: see `LinkingMethod` ------------------------------------------------------------------------------------

    def linked_to(self, identity: Identity, enrolled: NewCredential) -> NewCredential:
        return self._links.linked_to(identity, enrolled)

    def confirm_form(self, owner: Identity | None, *, enrolled: NewCredential) -> Form:
        return self._links.confirm_form(owner, enrolled)

    def sign_in_form(self, owner: Identity) -> Form:
        """See `OwnersWay`."""
        return self._links.sign_in_form(owner)

    # -- coming back ---------------------------------------------------------------------------------------------------

    async def _with_id_token(
        self, unit: Unit, submission: MethodInput, social: SocialProvider
    ) -> Proof | Enrolment | Unverified:
        """Return the step for an ID token that a native app sent. Its `nonce` is one that the app has chosen."""
        token, nonce = submission.text("id_token"), submission.text("id_token_nonce")
        if not social.provider.id_token_native:
            raise SubmissionRejected(reason("id_token_not_taken", _NO_ID_TOKENS))
        if not token:
            raise SubmissionRejected(fields=[FieldError("id_token", message(4000002, property="id_token"))])
        attempt = await self._attempts.begin(submission.client)
        authenticated = await social.client.verify_id_token(token, nonce=nonce or None)
        self._attempts.answered_when_done(attempt)
        since = self._confirmations.since_opened(submission)
        return await self._arrivals.sign_in(unit, submission, social, authenticated, since=since)

    # -- shared --------------------------------------------------------------------------------------------------------

    def _named(self, submission: MethodInput) -> SocialProvider:
        """Return the provider that a submission names."""
        named = submission.text("provider")
        if not named:
            raise SubmissionRejected(fields=[FieldError("provider", message(4000002, property="provider"))])
        return self._known(named)

    def _known(self, provider_id: str) -> SocialProvider:
        social = self._providers.get(provider_id)
        if social is None:
            raise NotFound("There is no such provider here: name one of the buttons of the form.")
        return social


def _signed_in(submission: MethodInput) -> Identity:
    if submission.identity is None:
        raise TypeError("accounts are linked to the identity that is signed in")
    return submission.identity


_BOTH = "A form links or unlinks, and not both at once. Please use one of its buttons."
_NO_ID_TOKENS = "ID tokens of this provider are not accepted from apps here. Sign in through the browser instead."
