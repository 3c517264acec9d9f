"""What a sign-in with a provider changes of an identity: it verifies addresses, replaces the groups that the provider
gives, and brings the identity up to date.

Up to date (`update_identity_on_login`) are traits and metadata. A trait that holds an identifier or an address never
changes: the account would be recovered by somebody whom only the provider knows, an address that the owner has changed
here would come back with the next sign-in, and two linked providers would take turns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from shopkeeper.client import Client
from shopkeeper.credentials.claims_mapping import Mapped
from shopkeeper.credentials.provider_groups import told_groups
from shopkeeper.credentials.social_provider import SocialProvider
from shopkeeper.credentials.steps import Update
from shopkeeper.errors import InvalidInput
from shopkeeper.identity.memberships import GivenGroups, group_names, provider_source
from shopkeeper.identity.schema import Schema
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Identity, Via
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.openid.errors import ProviderError
from shopkeeper.storage.database import Unit

log = structlog.get_logger("shopkeeper.oidc")

_LEFT_OUT: Final = ("", None)


@dataclass(frozen=True, slots=True)
class _Profile:
    """What a provider can change of an identity."""

    traits: Mapping[str, Any]
    metadata_public: Any
    metadata_admin: Any


@dataclass(frozen=True, slots=True)
class Told:
    """What a provider's claims change of an identity that is known.

    Args:
        verified: addresses that are verified.
        update: runs in the transaction of the sign-in; None where the identity is as the provider says.
    """

    verified: Sequence[tuple[Via, str]] = ()
    update: Update | None = None


class ClaimsUpdates:
    """Maps the claims of known identities."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    async def told(
        self,
        owner: Identity,
        social: SocialProvider,
        authenticated: Authenticated,
        *,
        linked_as: str,
        client: Client,
    ) -> Told:
        """Return what a provider changes of an identity that was read with its addresses.

        The sign-in goes on without a change where the mapper fails, or makes what the identity's schema refuses.

        Args:
            linked_as: the id of the provider that the account is linked under, whose groups these are.
        """
        mapped = await self._mapped(owner, social, authenticated)
        names = told_groups(social, authenticated, mapped)
        updates = []
        if mapped is not None and social.updates_identity:
            updates.append(self._update(owner, mapped, provider=social.provider.id, client=client))
        if names is not None:
            given = GivenGroups(names, provider_source(linked_as))
            updates.append(self._giving(owner, given, provider=social.provider.id, client=client))
        return Told(mapped.verified_addresses if mapped is not None else (), _together(updates))

    async def _mapped(self, owner: Identity, social: SocialProvider, authenticated: Authenticated) -> Mapped | None:
        """Return what the mapper makes of the claims; None where nothing of it is wanted, or it fails."""
        verified = all(address.verified for address in owner.verifiable_addresses)
        if verified and not (social.updates_identity or social.mapper.gives_groups):
            return None
        try:
            return await social.mapper.map(authenticated, identity=owner)
        except (ProviderError, InvalidInput):  # the latter where the schema was taken out of the settings
            return None

    def _giving(self, owner: Identity, given: GivenGroups, *, provider: str, client: Client) -> Update | None:
        """Return the change that replaces the groups of a source; None where they are so already."""
        before = {each.group for each in owner.memberships if each.source == given.source}
        if before == {*group_names(given)}:
            return None

        async def give(unit: Unit, identity: Identity) -> Identity:
            try:
                return await self._identities.give_groups(
                    unit, identity, given, actor=f"provider:{provider}", client_ip=client.ip
                )
            except InvalidInput as too_many:  # before anything was written
                log.warning("oidc.groups_not_given", identity=str(identity.id), provider=provider, code=too_many.code)
                return identity

        return give

    def _update(self, owner: Identity, mapped: Mapped, *, provider: str, client: Client) -> Update | None:
        if self._new_profile(owner, mapped, provider=provider) is None:
            return None

        async def update(unit: Unit, identity: Identity) -> Identity:
            profile = self._new_profile(identity, mapped, provider=provider)
            if profile is None:
                return identity
            try:
                return await self._identities.change_profile(
                    unit,
                    identity,
                    traits=profile.traits,
                    metadata_public=profile.metadata_public,
                    metadata_admin=profile.metadata_admin,
                    actor=f"provider:{provider}",
                    client_ip=client.ip,
                )
            except InvalidInput as invalid:  # before anything was written
                log.warning("oidc.update_not_valid", identity=str(identity.id), provider=provider, code=invalid.code)
                return identity

        return update

    def _new_profile(self, identity: Identity, mapped: Mapped, *, provider: str) -> _Profile | None:
        """Return the profile that a provider's claims make, None where it is the one that the identity has."""
        try:
            schema = self._identities.schemas.require(identity.schema_id)
        except InvalidInput:  # the schema was taken out of the settings
            return None
        told = schema.without_unknown(mapped.traits)
        traits, kept = _without_addresses(schema, identity.traits, merged(identity.traits, told))
        if kept:
            log.info("oidc.addresses_not_updated", identity=str(identity.id), provider=provider, traits=kept)
        before = _Profile(identity.traits, identity.metadata_public, identity.metadata_admin)
        after = _Profile(
            traits,
            before.metadata_public if mapped.metadata_public is None else mapped.metadata_public,
            before.metadata_admin if mapped.metadata_admin is None else mapped.metadata_admin,
        )
        return after if after != before else None


def _together(updates: Sequence[Update | None]) -> Update | None:
    """Return the update that makes several, one after the other; None where there is none."""
    wanted = [update for update in updates if update is not None]
    if not wanted:
        return None

    async def update(unit: Unit, identity: Identity) -> Identity:
        for each in wanted:
            identity = await each(unit, identity)
        return identity

    return update


def merged(known: Mapping[str, Any], told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return traits with what a provider tells of them. What it does not tell, or tells empty, stays.

    >>> merged({"name": {"first": "Ada", "last": "Fox"}, "team": "a"}, {"name": {"last": "Pear"}, "team": ""})
    {'name': {'first': 'Ada', 'last': 'Pear'}, 'team': 'a'}
    """
    result = dict(known)
    for name, value in told.items():
        before = known.get(name)
        if isinstance(value, Mapping):
            result[name] = merged(before if isinstance(before, Mapping) else {}, value)
        elif value not in _LEFT_OUT:
            result[name] = value
    return result


def _without_addresses(
    schema: Schema, before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[Mapping[str, Any], list[str]]:
    """Return the new traits with those as before whose identifiers or addresses differ, and the names of these."""
    old, new = schema.marked_traits(before), schema.marked_traits(after)
    kept = sorted(name for name in {**old, **new} if old.get(name) != new.get(name))
    as_before = {name: before[name] for name in kept if name in before}
    return {**{name: value for name, value in after.items() if name not in kept}, **as_before}, kept
