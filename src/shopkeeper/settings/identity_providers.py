"""Identity providers that a shop already has: the list `providers`, told apart by `kind`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from pydantic import Field

from shopkeeper.settings.identity_provider import OWN, IdentityProviderSection
from shopkeeper.settings.kratos_provider import KratosProvider
from shopkeeper.settings.oidc_provider import OidcProvider
from shopkeeper.settings.problems import KeyPath

IdentityProvider = Annotated[OidcProvider | KratosProvider, Field(discriminator="kind")]
"""One item of `providers`, told apart by `kind`."""
_KINDS: Final[Mapping[str | int, type[IdentityProviderSection]]] = {"oidc": OidcProvider, "kratos": KratosProvider}


def as_written(location: KeyPath) -> KeyPath:
    """Return the path of a setting as a file has it: pydantic puts the kind of a provider after its index."""
    return (*location[:2], *location[3:]) if _kind_in(location) else location


def kind_of_setting(location: KeyPath) -> str | None:
    """Return the other kind of provider that has the setting at pydantic's location, or None."""
    if _kind_in(location) and len(location) > 3:
        return next((str(kind) for kind, section in _KINDS.items() if location[3] in section.model_fields), None)
    return None


def _kind_in(location: KeyPath) -> bool:
    return len(location) > 2 and location[0] == "providers" and location[2] in _KINDS


def require_distinct(providers: Sequence[IdentityProviderSection], *, social: Sequence[str]) -> None:
    """Raise `ValueError` where two providers have one id, which stored links and addresses are made of.

    `social` are the ids of the providers of social sign-in: an account there and one here must not be taken for the
    same one.
    """
    seen: dict[str, str] = dict.fromkeys(social, "selfservice.methods.oidc.config.providers")
    for index, provider in enumerate(providers):
        place = f"providers[{index}]"
        if provider.id in seen:
            raise ValueError(f"{place} has the id {provider.id}, which {seen[provider.id]} has; give it its own")
        seen[provider.id] = place
    _require_one_for_each_token([provider for provider in providers if isinstance(provider, OidcProvider)])


def _require_one_for_each_token(providers: Sequence[OidcProvider]) -> None:
    """Raise `ValueError` where a token could be one of two providers: the first one would always decide."""
    issuers: dict[str, str] = {}
    for provider in providers:
        for issuer in provider.issuers:
            if issuer in issuers:
                raise ValueError(
                    f"providers has {issuers[issuer]} and {provider.id} with the issuer {issuer}, which says whose a"
                    " token is; write one provider with the audiences of both"
                )
            issuers[issuer] = provider.id
    opaque = [provider.id for provider in providers if provider.opaque_tokens != "refused"]
    if len(opaque) > 1:
        raise ValueError(
            f"providers has opaque_tokens for {opaque[0]} and {opaque[1]}; an opaque token does not say whose it is, so"
            " only one of them can have it"
        )


def require_known(
    providers: Sequence[IdentityProviderSection], *, stores: Sequence[tuple[str, str]], fronts: Sequence[str]
) -> None:
    """Raise `ValueError` where a store names no provider, or a provider no store.

    Args:
        stores: the id of each store, with the provider that it names.
        fronts: the ids of all stores, with and without their tenants.
    """
    ids = {provider.id for provider in providers}
    for index, (store, named) in enumerate(stores):
        if named != OWN and named not in ids:
            raise ValueError(
                f"stores[{index}].provider ({store}) names {named!r}, which is not among the providers; "
                "write own, or the id of one of them"
            )
    for index, provider in enumerate(providers):
        if unknown := [name for name in provider.stores if name not in fronts]:
            raise ValueError(
                f"providers[{index}].stores ({provider.id}) names {unknown[0]!r}, which is not among the stores"
            )
