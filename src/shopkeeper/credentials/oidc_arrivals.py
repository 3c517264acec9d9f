"""What follows once an account at a provider was authenticated: its owner signs in, it registers, or it is linked.

The owner is whoever the account is linked to (`oidc_accounts.py`). An account without one registers, and may wait for
the traits that the provider has not told (`Arrival`).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from shopkeeper.clock import Clock
from shopkeeper.credentials.claims_updates import ClaimsUpdates
from shopkeeper.credentials.linked_providers import OIDC, LinkedAccount, linking
from shopkeeper.credentials.method import MethodInput
from shopkeeper.credentials.oidc_accounts import OidcAccounts
from shopkeeper.credentials.oidc_confirmations import Confirmations
from shopkeeper.credentials.oidc_context import Arrival, SocialContexts
from shopkeeper.credentials.oidc_links import OidcLinks
from shopkeeper.credentials.oidc_withheld import WithheldSignIns
from shopkeeper.credentials.provider_groups import told_groups
from shopkeeper.credentials.social_provider import SocialProvider, SocialProviders
from shopkeeper.credentials.steps import (
    CredentialChange,
    Enrolment,
    LinkOffer,
    Proof,
    SubmissionRejected,
    Unverified,
    UpstreamSession,
)
from shopkeeper.identity.memberships import GivenGroups, provider_source
from shopkeeper.identity.values import Aal, Identity, Via
from shopkeeper.openid.authenticated import Authenticated, usable_hint
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import LINKED_TO_ANOTHER, message, reason

KEPT_FOR: Final = timedelta(minutes=30)
"""How long an account that was authenticated may still be registered with, while its traits are completed."""


class OidcArrivals:
    """Turns authenticated accounts into the steps of flows.

    Args:
        accounts: finds identities by issuer and subject.
        confirmations: decides which providers confirm a session.
        contexts: seals what a flow keeps.
        withheld: finds the sign-ins that need a verified address first.
        updates: says what a sign-in changes of the identity.
    """

    def __init__(
        self,
        providers: SocialProviders,
        *,
        accounts: OidcAccounts,
        confirmations: Confirmations,
        links: OidcLinks,
        contexts: SocialContexts,
        withheld: WithheldSignIns,
        updates: ClaimsUpdates,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._accounts = accounts
        self._confirmations = confirmations
        self._links = links
        self._contexts = contexts
        self._withheld = withheld
        self._updates = updates
        self._clock = clock

    async def sign_in(
        self,
        unit: Unit,
        submission: MethodInput,
        social: SocialProvider,
        authenticated: Authenticated,
        *,
        since: datetime | None,
    ) -> Proof | Enrolment | Unverified:
        """Return the proof of the account's owner, or the enrolment of an account without one.

        Args:
            since: the earliest time of a sign-in at the provider that counts, None where any does.

        Raises:
            SubmissionRejected: the sign-in at the provider is not new enough, or proves too little.
            ProviderError: the claims cannot be mapped.
        """
        self._confirmations.require_new(social, authenticated, since=since)
        owner = await self._accounts.owner(unit, authenticated)
        aal = social.aal_of(authenticated.claims)
        if submission.requested_aal is Aal.AAL2 and aal is not Aal.AAL2:
            raise SubmissionRejected(reason("provider_one_factor", _ONE_FACTOR))
        if owner is None:
            return await self._registration(unit, submission, social, authenticated, aal)
        if submission.identity is not None and submission.identity.id == owner.id:
            linked = await self._accounts.linked(unit, owner)
            self._confirmations.require(social, owner, linked, aal=submission.requested_aal)
        proof = await self._proof(submission, owner, social, authenticated, aal)
        if submission.identity is not None:
            return proof
        return await self._withheld_from(unit, owner, authenticated, proof.verified) or proof

    async def link(
        self, unit: Unit, identity: Identity, social: SocialProvider, authenticated: Authenticated
    ) -> CredentialChange:
        """Return the change that links the account to an identity. Raises `SubmissionRejected` if it is another's, or
        would be one's whose registration was only simulated."""
        owner = await self._accounts.owner(unit, authenticated)
        simulated = await self._withheld.knows(
            unit, identity, issuer=authenticated.issuer, subject=authenticated.subject
        )
        if simulated if owner is None else owner.id != identity.id:
            raise SubmissionRejected(message(LINKED_TO_ANOTHER))
        known = self._accounts.account(owner, authenticated) if owner is not None else None
        return self._links.link(
            known or LinkedAccount(social.provider.id, authenticated.subject, authenticated.issuer),
            upstream=_upstream(social.provider.id, authenticated),
        )

    def provider_of(self, context: Mapping[str, Any]) -> SocialProvider | None:
        """Return the provider of the account that waits in a flow for more traits; None where none does."""
        arrival = self._contexts.arrival(context)
        return self._providers.get(arrival.provider) if arrival is not None else None

    async def pending_registration(
        self, unit: Unit, submission: MethodInput, social: SocialProvider
    ) -> Enrolment | Unverified | None:
        """Return the enrolment of the account that waits in a flow, with what was typed; None where the provider has to
        be asked (again). It may have been registered in another flow meanwhile."""
        arrival = self._contexts.arrival(submission.context)
        if arrival is None or arrival.provider != social.provider.id or self._clock.now() >= arrival.until:
            return None
        enrolment = self._enrolment(submission, social, arrival)
        arrived = Authenticated({}, arrival.subject, arrival.issuer)
        owner = await self._accounts.owner(unit, arrived)
        return await self._withheld_from(unit, owner, arrived, enrolment.verified) or enrolment

    async def _registration(
        self, unit: Unit, submission: MethodInput, social: SocialProvider, authenticated: Authenticated, aal: Aal
    ) -> Enrolment | Unverified:
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
            groups=_as_tuple(told_groups(social, authenticated, mapped)),
        )
        enrolment = self._enrolment(submission, social, arrival)
        if submission.identity is not None:  # refused, as the account of another identity is
            return enrolment
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

        account = self._accounts.account(owner, authenticated)
        linked_as = account.provider if account is not None else social.provider.id
        told = await self._updates.told(owner, social, authenticated, linked_as=linked_as, client=submission.client)
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
            groups=None if arrival.groups is None else GivenGroups(arrival.groups, provider_source(arrival.provider)),
            upstream=UpstreamSession(
                arrival.provider,
                arrival.issuer,
                arrival.subject,
                sid=arrival.sid,
                id_token=arrival.id_token,
                one_use=arrival.one_use,
            ),
        )


def _as_tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


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


_ONE_FACTOR = "The provider has asked for one proof only. Please give your second proof there, or choose another way."
