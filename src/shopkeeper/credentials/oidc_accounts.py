"""Whose an account at a provider is: the identity that it is linked to, by issuer and subject."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from shopkeeper.credentials.claims_mapping import Mapped
from shopkeeper.credentials.linked_providers import OIDC, LinkedAccount, account_digest, linked_accounts, linking
from shopkeeper.credentials.social_provider import SocialProvider, SocialProviders
from shopkeeper.credentials.steps import Effect, SubmissionRejected
from shopkeeper.errors import Conflict
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Identity
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.storage.database import Unit
from shopkeeper.ui.messages import reason

log = structlog.get_logger("shopkeeper.oidc")


class OidcAccounts:
    """Finds identities by their accounts at providers, and says what new ones are made of."""

    def __init__(self, identities: Identities, providers: SocialProviders) -> None:
        self._identities = identities
        self._providers = providers

    async def linked(self, unit: Unit, identity: Identity) -> Sequence[LinkedAccount]:
        """Return the accounts that are linked to an identity, which may have been read without credentials."""
        if OIDC not in identity.factors:
            return ()
        if OIDC not in identity.credentials:
            identity = await self._identities.require(unit, identity.id, credentials=True)
        return linked_accounts(identity.credentials.get(OIDC))

    async def owner(self, unit: Unit, authenticated: Authenticated) -> Identity | None:
        """Return the identity that an account is linked to; None where there is none.

        Raises `SubmissionRejected` where the account's identifier is taken by a link that is not this account: the
        provider's id was configured to mean another issuer, or the link cannot be opened.
        """
        found = await self._identities.find_by_exact_identifiers(
            unit,
            type=OIDC,
            identifiers=self._providers.identifiers_of(authenticated),
            digest=account_digest(authenticated.issuer, authenticated.subject),
        )
        # A link that names the issuer comes before an imported one, which may mean the same account.
        linked = [(each, account) for each in found if (account := self.account(each, authenticated)) is not None]
        owner = min(linked, key=lambda pair: pair[1].issuer is None, default=(None, None))[0]
        if found and owner is None:
            log.warning("oidc.link_is_not_this_account", identities=[str(each.id) for each in found])
            raise SubmissionRejected(reason("provider_link_unusable", _UNUSABLE))
        return owner

    async def new(self, social: SocialProvider, authenticated: Authenticated, *, schema_id: str | None) -> Mapped:
        """Return what a new identity is made of, for an unknown account. Raises as `ClaimsMapper.map` does.

        Traits that its schema does not have are left out: no form shows them, so they could not be corrected.
        """
        mapped = await social.mapper.map(authenticated, schema_id=schema_id)
        schema = self._identities.schemas.require(schema_id)
        return replace(mapped, traits=schema.without_unknown(mapped.traits))

    def account(self, identity: Identity, authenticated: Authenticated) -> LinkedAccount | None:
        linked = linked_accounts(identity.credentials.get(OIDC))
        return next((each for each in linked if self._providers.are_same(each, authenticated)), None)

    def settling_issuer(self, owner: Identity, authenticated: Authenticated) -> Effect | None:
        """Return the effect that stores the issuer of an imported link, so that another issuer under the provider's id
        does not get it later."""
        account = self.account(owner, authenticated)
        if account is None or account.issuer is not None:
            return None

        async def settle(unit: Unit) -> None:
            now = await self._identities.lock(unit, owner.id)
            known = linked_accounts(now.credentials.get(OIDC))
            settled = [
                LinkedAccount(each.provider, each.subject, authenticated.issuer, each.more)
                if each.issuer is None and self._providers.are_same(each, authenticated)
                else each
                for each in known
            ]
            if settled == known:
                return
            try:
                await self._identities.set_credential_config(unit, owner.id, OIDC, linking(settled).config)
            except Conflict as taken:  # linked to another identity meanwhile
                raise SubmissionRejected(reason("provider_link_unusable", _UNUSABLE)) from taken

        return settle


_UNUSABLE = (
    "Your account at this provider cannot be used here at the moment. Please sign in another way, and tell the shop."
)
