"""Social sign-in: signing in, registering and linking with an account at an identity provider (`oidc`, as in Kratos).

A submission names a provider, and the browser is redirected there (OpenID Connect Core 1.0 section 3.1). The provider
sends it back to `callback`. A native app may send an ID token that it got from the provider itself instead.

Issuer and subject decide who an account belongs to, and nothing else: an address that a provider tells never finds an
identity. An unknown account registers (`Enrolment`), in a login too; what follows where its address is taken is decided
by the flow.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from shopkeeper.clock import Clock
from shopkeeper.credentials import oidc_nodes as nodes
from shopkeeper.credentials.claims_updates import ClaimsUpdates
from shopkeeper.credentials.linked_providers import (
    OIDC,
    LinkedAccount,
    account_digests,
    added,
    extends,
    linking,
    without_provider,
)
from shopkeeper.credentials.method import MethodInput, MethodView
from shopkeeper.credentials.oidc_accounts import OidcAccounts
from shopkeeper.credentials.oidc_confirmations import Confirmations
from shopkeeper.credentials.oidc_context import Arrival, SocialContexts
from shopkeeper.credentials.oidc_links import OF_ANOTHER, OidcLinks
from shopkeeper.credentials.oidc_redirects import OidcRedirects
from shopkeeper.credentials.oidc_withheld import WithheldSignIns
from shopkeeper.credentials.provider_attempts import ProviderAttempts
from shopkeeper.credentials.social_provider import SocialProvider, SocialProviders
from shopkeeper.credentials.steps import (
    CredentialChange,
    Enrolment,
    FieldError,
    Form,
    LinkOffer,
    NewCredential,
    Proof,
    Redirect,
    SubmissionRejected,
    Unverified,
    UpstreamSession,
)
from shopkeeper.errors import NotFound
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.values import Aal, Identity, Via
from shopkeeper.openid.authenticated import Authenticated, usable_hint
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import message, reason

KEPT_FOR: Final = timedelta(minutes=30)
"""How long an account that was authenticated may still be registered with, while its traits are completed."""


class Oidc:
    """The method.

    Args:
        providers: those that are switched on.
        accounts: finds identities by issuer and subject.
        confirmations: decides which providers confirm a session.
        links: links and unlinks.
        redirects: sends browsers to providers, and takes what they come back with.
        attempts: limits how often an address sends ID tokens that are refused.
        contexts: seals what the flow keeps.
        withheld: finds the sign-ins that need a verified address first.
        updates: says what a sign-in changes of the identity.
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
        attempts: ProviderAttempts,
        contexts: SocialContexts,
        withheld: WithheldSignIns,
        updates: ClaimsUpdates,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._accounts = accounts
        self._confirmations = confirmations
        self._links = links
        self._redirects = redirects
        self._attempts = attempts
        self._contexts = contexts
        self._withheld = withheld
        self._updates = updates
        self._clock = clock
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
        arrival = self._contexts.arrival(view.context)
        arrived = self._providers.get(arrival.provider) if arrival is not None else None
        if arrived is not None:
            return Form(nodes.go_on(arrived.provider), view.context, leads=True)
        return Form(nodes.sign_up(social.provider for social in self._providers), leads=True)

    def missing(self, submitted: Mapping[str, Any]) -> Sequence[FieldError]:
        """See `RegistrationMethod`."""
        return ()

    async def settings_form(self, unit: Unit, view: MethodView) -> Form:
        """See `SettingsMethod`. The system's browser has no part in an app's session, so an app cannot link."""
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
        arrival = self._contexts.arrival(input.context)
        if arrival is not None and arrival.provider == social.provider.id and self._clock.now() < arrival.until:
            return self._enrolment(input, social, arrival)
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
            return await self._link(unit, _signed_in(input), social, authenticated)
        return await self._arrived(unit, input, social, authenticated, since=returned.fresh_since)

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
        await self._attempts.answered(attempt)
        since = self._confirmations.since_opened(submission)
        return await self._arrived(unit, submission, social, authenticated, since=since)

    async def _arrived(
        self,
        unit: Unit,
        submission: MethodInput,
        social: SocialProvider,
        authenticated: Authenticated,
        *,
        since: datetime | None,
    ) -> Proof | Enrolment | Unverified:
        self._confirmations.require_new(social, authenticated, since=since)
        owner = await self._accounts.owner(unit, authenticated)
        aal = social.aal_of(authenticated.claims)
        if submission.requested_aal is Aal.AAL2 and aal is not Aal.AAL2:
            raise SubmissionRejected(reason("provider_one_factor", _ONE_FACTOR))
        if owner is not None:
            if submission.identity is not None and submission.identity.id == owner.id:
                linked = await self._accounts.linked(unit, owner)
                self._confirmations.require(social, owner, linked, aal=submission.requested_aal)
            proof = await self._proof(submission, owner, social, authenticated, aal)
            if submission.identity is not None:
                return proof
            return await self._withheld_from(unit, owner, authenticated, proof.verified) or proof
        mapped = await self._accounts.new(social, authenticated, schema_id=submission.schema_id)
        arrival = Arrival(
            social.provider.id,
            authenticated.subject,
            authenticated.issuer,
            until=self._clock.now() + KEPT_FOR,
            traits=mapped.traits,
            metadata_public=mapped.metadata_public,
            metadata_admin=mapped.metadata_admin,
            verified=tuple((via.value, value) for via, value in mapped.verified_addresses),
            sid=authenticated.sid,
            id_token=usable_hint(authenticated.id_token),
            one_use=authenticated.one_use,
            aal=aal,
        )
        enrolment = self._enrolment(submission, social, arrival)
        return await self._withheld_from(unit, None, authenticated, enrolment.verified) or enrolment

    async def _withheld_from(
        self,
        unit: Unit,
        owner: Identity | None,
        authenticated: Authenticated,
        verified: Collection[tuple[Via, str]],
    ) -> Unverified | None:
        return await self._withheld.of(
            unit, owner, issuer=authenticated.issuer, subject=authenticated.subject, verified=verified
        )

    async def _proof(
        self,
        submission: MethodInput,
        owner: Identity,
        social: SocialProvider,
        authenticated: Authenticated,
        aal: Aal,
    ) -> Proof:
        def still_valid(now: Identity) -> bool:
            return self._accounts.account(now, authenticated) is not None

        told = await self._updates.told(owner, social, authenticated, client=submission.client)
        return Proof(
            owner.id,
            OIDC,
            aal,
            still_valid=still_valid,
            provider=social.provider.id,
            verified=told.verified,
            effect=self._accounts.settling_issuer(owner, authenticated),
            upstream=_upstream(social.provider.id, authenticated),
            update=told.update,
        )

    def _enrolment(self, submission: MethodInput, social: SocialProvider, arrival: Arrival) -> Enrolment:
        """Return the enrolment of an account. What was typed wins over what the provider told; only addresses that the
        provider has verified count as verified."""
        typed = submission.traits.values if submission.traits is not None else {}
        account = LinkedAccount(arrival.provider, arrival.subject, arrival.issuer)
        return Enrolment(
            _merged(arrival.traits, typed),
            (linking([account]),),
            method=OIDC,
            verified=tuple((Via(via), value) for via, value in arrival.verified),
            context=self._contexts.arrived(arrival),
            metadata_public=arrival.metadata_public,
            metadata_admin=arrival.metadata_admin,
            aal=arrival.aal,
            provider=arrival.provider,
            when_simulated=self._withheld.remembering(issuer=arrival.issuer, subject=arrival.subject),
            link=LinkOffer(social.provider.label, automatic=social.provider.linking == "automatic"),
            upstream=UpstreamSession(
                arrival.provider,
                arrival.issuer,
                arrival.subject,
                sid=arrival.sid,
                id_token=arrival.id_token,
                one_use=arrival.one_use,
            ),
        )

    async def _link(
        self, unit: Unit, identity: Identity, social: SocialProvider, authenticated: Authenticated
    ) -> CredentialChange:
        owner = await self._accounts.owner(unit, authenticated)
        if owner is not None and owner.id != identity.id:
            raise SubmissionRejected(message(OF_ANOTHER))
        known = self._accounts.account(owner, authenticated) if owner is not None else None
        return self._links.link(
            known or LinkedAccount(social.provider.id, authenticated.subject, authenticated.issuer),
            upstream=_upstream(social.provider.id, authenticated),
        )

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


def _upstream(provider_id: str, authenticated: Authenticated) -> UpstreamSession:
    return UpstreamSession(
        provider_id,
        authenticated.issuer,
        authenticated.subject,
        sid=authenticated.sid,
        id_token=authenticated.id_token,
        one_use=authenticated.one_use,
    )


def _merged(told: Mapping[str, Any], typed: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the traits with those that were typed in the place of those that were told. An empty field was not typed.

    >>> _merged({"email": "ada@example.org", "name": {"first": "Ada"}}, {"email": "", "name": {"last": "Fox"}})
    {'email': 'ada@example.org', 'name': {'first': 'Ada', 'last': 'Fox'}}
    """
    merged = dict(told)
    for name, value in typed.items():
        known = merged.get(name)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            merged[name] = _merged(known, value)
        elif value not in ("", None) or name not in merged:
            merged[name] = value
    return {name: value for name, value in merged.items() if value not in ("", None)}


_BOTH = "A form links or unlinks, and not both at once. Please use one of its buttons."
_NO_ID_TOKENS = "ID tokens of this provider are not accepted from apps here. Sign in through the browser instead."
_ONE_FACTOR = "The provider has asked for one proof only. Please give your second proof there, or choose another way."
