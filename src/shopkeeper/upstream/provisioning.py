"""The identity of a person for whom another issuer vouches: found by issuer and subject, made at the first sign-in.

Nothing else finds an identity: an address in a token never does, because its provider may not have verified it, or may
have given it to another person since. Only an account that has never verified any address keeps nobody out: see
`ProvisioningRules.takes_over`.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog

from shopkeeper.client import Client
from shopkeeper.clock import Clock
from shopkeeper.credentials.claims_mapping import ClaimsMapper, MappingFailed
from shopkeeper.credentials.claims_updates import ClaimsUpdates, Told
from shopkeeper.credentials.linked_providers import (
    OIDC,
    LinkedAccount,
    account_digest,
    identifier_of,
    linked_accounts,
    linking,
)
from shopkeeper.credentials.social_provider import SocialProvider
from shopkeeper.crypto import digest
from shopkeeper.errors import Conflict, IdentityDisabled, InvalidInput, NotFound, Refusal, TokenInvalid
from shopkeeper.identity.builder import AddressInput, NewIdentity
from shopkeeper.identity.normalise import normalise_identifier
from shopkeeper.identity.service import Identities
from shopkeeper.identity.unique_names import UniqueNames
from shopkeeper.identity.values import Identity, Via
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.openid.errors import ProviderUnavailable
from shopkeeper.openid.merged_claims import merged_claims
from shopkeeper.sessions.authentication_gate import BY_PROVIDER, AuthenticationGate
from shopkeeper.sessions.token_sources import External
from shopkeeper.storage.database import Database, Unit
from shopkeeper.upstream.errors import AddressUnverified, IdentityProviderUnavailable, SubjectUnknown
from shopkeeper.upstream.recent_refusals import RecentRefusals

log = structlog.get_logger("shopkeeper.upstream")

MoreClaims = Callable[[External, str], Awaitable[Mapping[str, Any]]]
"""Returns further claims about a verified subject by its token; it may call the provider."""
_SWITCHED_OFF: Final = "The account is switched off; the shop's operator can switch it on again."


@dataclass(frozen=True, slots=True)
class ProvisioningRules:
    """What becomes of the unknown subjects of one provider.

    Args:
        create: whether they get an identity.
        mapper: makes it of claims.
        schema_id: its schema; None for the default one.
        issuer: the only issuer of the provider's accounts, None where it has several. An imported link, which names no
            issuer, means an account of this one.
        more: further claims for a new identity, such as those of userinfo.
        known: what a sign-in takes from the claims of who is known; None where it takes nothing.
        takes_over: whether an account that was registered with an address that was never verified becomes that of who
            has verified it at the provider. It does where the customers of every store have their accounts at a
            provider: nobody there could prove another account.
    """

    create: bool
    mapper: ClaimsMapper
    schema_id: str | None = None
    issuer: str | None = None
    more: MoreClaims | None = None
    known: SocialProvider | None = None
    takes_over: bool = False


class Provisioning:
    """Finds and makes the identities of external subjects.

    Args:
        rules: by the id of the provider.
        gate: decides whether an identity may be signed in.
    """

    def __init__(
        self,
        *,
        database: Database,
        identities: Identities,
        rules: Mapping[str, ProvisioningRules],
        gate: AuthenticationGate,
        clock: Clock,
    ) -> None:
        self._refused = RecentRefusals(clock=clock)
        self._database, self._identities, self._rules, self._gate = database, identities, dict(rules), gate
        self._updates = ClaimsUpdates(identities)

    async def find(self, unit: Unit, external: External) -> Identity | None:
        """Return the identity that an account is linked to, with its credentials; None where there is none."""
        found = await self._identities.find_by_exact_identifiers(
            unit,
            type=OIDC,
            identifiers=[identifier_of(external.provider, external.subject)],
            digest=account_digest(external.issuer, external.subject),
        )
        owners = [identity for identity in found if self._is_linked(identity, external)]
        # A link that names the issuer comes before an imported one, which may mean the same account.
        return min(owners, key=lambda identity: not self._is_named(identity, external), default=None)

    async def identity_of(self, external: External, *, token: str | None, client: Client) -> Identity:
        """Return the active identity of a person. Never call it while a transaction is open.

        Args:
            token: the one that was verified, with which the provider tells more of a new person; None where the claims
                are all that it tells.

        Raises:
            IdentityProviderUnavailable: what the provider says of a new person cannot be read now.
            TokenInvalid: an application and no person is the subject.
            SubjectUnknown: there is no identity, and none is made.
            IdentityDisabled: it is switched off.
        """
        if external.by_application:
            raise TokenInvalid("This is the token of an application: send one that speaks for a person.")
        async with self._database.reading() as unit:
            identity = await self.find(unit, external)
        if identity is None:
            identity = await self._made_unless_refused(external, token, client)
        if not identity.active:
            raise IdentityDisabled(_SWITCHED_OFF)
        return identity

    async def customer_of(self, external: External, *, token: str | None, client: Client) -> Identity:
        """Return the identity of an external subject who acts without a session here. Raises as `identity_of` does.

        Who signs in is asked for a verified address by the hooks of the sign-in, which begin its verification. Here
        nothing is begun.

        Raises:
            AddressUnverified: signing in so needs a verified address, and the identity has none.
        """
        identity = await self.identity_of(external, token=token, client=client)
        if not self._gate.may_authenticate(identity, by=[BY_PROVIDER]):
            raise AddressUnverified
        return identity

    async def told(self, identity: Identity, external: External, *, token: str | None, client: Client) -> Told:
        """Return what a sign-in changes of an identity by the provider's claims, as a sign-in in a browser does: it
        verifies addresses, replaces the groups that the provider gives, and updates traits where the settings say so.

        The provider is asked for further claims only where something may come of it, and the sign-in goes on without
        them where it does not tell them now.
        """
        rules = self._rules.get(external.provider)
        if rules is None or rules.known is None:
            return Told()
        known, more = rules.known, dict[str, Any]()
        if known.updates_identity or known.mapper.gives_groups or known.groups_claim or known.roles_claim:
            with suppress(Refusal):
                more = dict(await self._more(external, token, rules))
        authenticated = _authenticated(external, more)
        return await self._updates.told(identity, known, authenticated, linked_as=external.provider, client=client)

    def is_linked(self, identity: Identity, external: External) -> bool:
        """Return whether an identity, read with its credentials, has the account of an external subject."""
        return self._is_linked(identity, external)

    async def _made_unless_refused(self, external: External, token: str | None, client: Client) -> Identity:
        """Make an identity, unless that was refused a moment ago for the same token. Another token may tell more."""
        key = digest("\0".join((external.issuer, external.subject, token or "")))
        self._refused.repeat(key)
        try:
            return await self._make(external, token, client)
        except (SubjectUnknown, TokenInvalid) as refused:
            self._refused.keep(key, refused)
            raise

    async def _make(self, external: External, token: str | None, client: Client) -> Identity:
        rules = self._rules.get(external.provider)
        if rules is None or not rules.create:
            raise SubjectUnknown("Ask the shop for an account; this provider's customers do not get one by themselves.")
        new = await self._mapped(external, token, rules)
        try:
            async with self._database.unit() as unit:
                return await self._identities.create(unit, new, actor="provider", client_ip=client.ip)
        except Conflict as taken:
            identity = await self._made_meanwhile(external)
            if identity is None and rules.takes_over:
                identity = await self._taken_over(new, client)
            if identity is None:
                raise SubjectUnknown(_ADDRESS_TAKEN) from taken
            return identity
        except InvalidInput as missing:
            log.warning("provider.claims_make_no_identity", provider=external.provider)
            raise SubjectUnknown(_TOO_LITTLE) from missing

    async def _made_meanwhile(self, external: External) -> Identity | None:
        """Return the identity that another request has made at the same time, None where it was not this one."""
        async with self._database.reading() as unit:
            return await self.find(unit, external)

    async def _taken_over(self, new: NewIdentity, client: Client) -> Identity | None:
        """Return the account that was registered with an address of a new identity, as who has verified the address at
        the provider has it: with the provider's traits, and without the ways to sign in and the sessions of before.
        None where there is no such account, or any address of it was verified before."""
        verified = [(address.via, address.value) for address in new.verifiable_addresses if address.verified]
        if not verified:
            return None
        links = {credential.type: credential for credential in new.credentials}
        try:
            async with self._database.unit() as unit:
                found = await self._identities.find_owner(unit, UniqueNames.of(addresses=verified))
                owner = await self._identities.lock(unit, found.id) if found is not None else None
                if owner is None or not (owner.active and _never_verified(owner, verified)):
                    return None
                owner = await self._identities.apply_proof(
                    unit, owner, verified=verified, takes_over=True, actor="provider", client_ip=client.ip
                )
                owner = await self._identities.change_traits(
                    unit, owner, new.traits, actor="provider", client_ip=client.ip
                )
                return await self._identities.change_locked_credentials(
                    unit, owner, links, actor="provider", client_ip=client.ip
                )
        except (Conflict, InvalidInput, NotFound):
            return None  # another of its names is yet another account's, or the account has gone

    async def _mapped(self, external: External, token: str | None, rules: ProvisioningRules) -> NewIdentity:
        authenticated = _authenticated(external, await self._more(external, token, rules))
        try:
            mapped = await rules.mapper.map(authenticated, schema_id=rules.schema_id)
        except MappingFailed as failed:
            raise SubjectUnknown(_TOO_LITTLE) from failed
        except ProviderUnavailable as busy:
            raise IdentityProviderUnavailable.because(busy) from busy
        schema = self._identities.schemas.require(rules.schema_id)
        account = LinkedAccount(external.provider, external.subject, external.issuer)
        return NewIdentity(
            traits=schema.without_unknown(mapped.traits),
            schema_id=rules.schema_id,
            metadata_public=mapped.metadata_public,
            metadata_admin=mapped.metadata_admin,
            credentials=[linking([account])],
            verifiable_addresses=[AddressInput(value, via, verified=True) for via, value in mapped.verified_addresses],
        )

    @staticmethod
    async def _more(external: External, token: str | None, rules: ProvisioningRules) -> Mapping[str, Any]:
        return await rules.more(external, token) if rules.more is not None and token is not None else {}

    def _is_linked(self, identity: Identity, external: External) -> bool:
        rules = self._rules.get(external.provider)
        imported = rules is not None and rules.issuer == external.issuer
        return self._is_named(identity, external) or any(
            account.provider == external.provider and account.subject == external.subject and account.issuer is None
            for account in linked_accounts(identity.credentials.get(OIDC))
            if imported
        )

    @staticmethod
    def _is_named(identity: Identity, external: External) -> bool:
        return any(
            (account.issuer, account.subject) == (external.issuer, external.subject)
            for account in linked_accounts(identity.credentials.get(OIDC))
        )


def _authenticated(external: External, more: Mapping[str, Any]) -> Authenticated:
    # What the token says was verified for us; userinfo adds to it.
    claims = merged_claims(external.claims, more)
    return Authenticated(claims, external.subject, external.issuer, raw_claims=claims)


def _never_verified(owner: Identity, addresses: Collection[tuple[Via, str]]) -> bool:
    """Return whether an account, read with its credentials, has one of these addresses, no address of it was ever
    verified, and it is linked to no provider: a linked account has a person already, whatever its address is now."""
    wanted = {(via, normalise_identifier(value)) for via, value in addresses}
    has_one = any((each.via, each.value) in wanted for each in owner.verifiable_addresses)
    return owner.unverified and has_one and not linked_accounts(owner.credentials.get(OIDC))


_TOO_LITTLE: Final = (
    "The provider's claims do not make an account here: the shop's operator finds in the log what they lack."
)
_ADDRESS_TAKEN: Final = (
    "An account here has your e-mail address, or another of your names, already: sign in to it, and link this provider."
)
