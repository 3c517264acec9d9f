"""A configured provider as the method of social sign-in uses it: its client, and what its claims say of a person."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shopkeeper.credentials.claims_mapping import ClaimsMapper
from shopkeeper.credentials.linked_providers import LinkedAccount, identifier_of
from shopkeeper.identity.values import Aal
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.provider import Provider


@dataclass(frozen=True, slots=True)
class SocialProvider:
    """A provider that is switched on.

    Args:
        updates_identity: whether each sign-in brings the identity up to date with the provider's claims.
        groups_claim, roles_claim: where the claims list the groups of a person, and the roles, which become groups, too
            (`openid/claim_paths.py`); None where they are not read.
    """

    client: OpenIDClient
    mapper: ClaimsMapper
    updates_identity: bool = False
    groups_claim: str | None = None
    roles_claim: str | None = None

    @property
    def provider(self) -> Provider:
        return self.client.provider

    @property
    def gives_aal2(self) -> bool:
        """Whether its tokens can say that two factors were used."""
        return bool(self.provider.aal2_acr_values or self.provider.aal2_amr_values)

    @property
    def raises_to_aal2(self) -> bool:
        """Whether it can raise a session, which takes a sign-in that is a new one."""
        return self.gives_aal2 and self.provider.reauthenticates

    def aal_of(self, claims: Mapping[str, Any]) -> Aal:
        """Return the level that verified claims stand for: the values that mean two factors are configured."""
        acr, amr = claims.get("acr"), claims.get("amr")
        methods = amr if isinstance(amr, list | tuple) else ()
        by_class = isinstance(acr, str) and acr in self.provider.aal2_acr_values
        return Aal.AAL2 if by_class or any(each in self.provider.aal2_amr_values for each in methods) else Aal.AAL1


class SocialProviders:
    """The providers that are switched on, in the order of the settings."""

    def __init__(self, providers: Iterable[SocialProvider]) -> None:
        self._by_id = {social.provider.id: social for social in providers}

    def __iter__(self) -> Iterator[SocialProvider]:
        return iter(self._by_id.values())

    def get(self, provider_id: str) -> SocialProvider | None:
        return self._by_id.get(provider_id)

    def identifiers_of(self, authenticated: Authenticated) -> Sequence[str]:
        """Return the identifiers under which an account may be linked: by each provider of its issuer."""
        ids = (id_ for id_, social in self._by_id.items() if social.provider.issues(authenticated.issuer))
        return [identifier_of(id_, authenticated.subject) for id_ in ids]

    def are_same(self, linked: LinkedAccount, authenticated: Authenticated) -> bool:
        """Return whether a linked account is the one that was authenticated: of its issuer, with its subject.

        An entry without issuer, which was imported, has that of the provider of its id.
        """
        if linked.subject != authenticated.subject:
            return False
        if linked.issuer is not None:
            return linked.issuer == authenticated.issuer
        configured = self._by_id.get(linked.provider)
        return configured is not None and configured.provider.issues(authenticated.issuer)
