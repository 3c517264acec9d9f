"""Build what knows the stores whose customers have their accounts at an identity provider."""

from collections.abc import Callable, Collection

from shopkeeper.app.commerce import build_stores
from shopkeeper.app.identity_providers import identity_provider_of
from shopkeeper.commerce.stores import OWN
from shopkeeper.flows.store_handlers import AccountsElsewhere
from shopkeeper.settings import Settings
from shopkeeper.settings.identity_provider import IdentityProviderSection
from shopkeeper.settings.kratos_provider import KratosProvider
from shopkeeper.settings.oidc_provider import OidcProvider


def build_accounts_elsewhere(settings: Settings) -> AccountsElsewhere:
    stores = build_stores(settings)

    def provider_of(store: str) -> str | None:
        front = stores.find(store)
        return front.provider if front is not None and front.provider != OWN else None

    return AccountsElsewhere(
        provider_of,
        names={section.id: _name(section) for section in settings.providers},
        everywhere=all(front.provider != OWN for front in stores.fronts),
    )


def stores_led_away(settings: Settings) -> Callable[[str], bool]:
    """Return what tells the stores whose paths of self-service are passed on, or lead, to another server."""
    away = {
        section.id
        for section in settings.providers
        if isinstance(section, KratosProvider) and section.self_service != "off"
    }
    return _with_provider_in(away, settings)


def stores_with_passwords(settings: Settings) -> Callable[[str], bool]:
    """Return what tells the stores that take a name and a password without a flow (`POST /signin`)."""
    granting = {
        section.id
        for section in settings.providers
        if isinstance(section, OidcProvider) and section.password_grant.enabled
    }
    return _with_provider_in({OWN, *granting}, settings)


def _with_provider_in(providers: Collection[str], settings: Settings) -> Callable[[str], bool]:
    stores = build_stores(settings)

    def has(store: str) -> bool:
        front = stores.find(store)
        return front is not None and front.provider in providers

    return has


def _name(section: IdentityProviderSection) -> str:
    """Return what customers are told of a provider: what it is called, and where it is."""
    if isinstance(section, OidcProvider):
        return f"{section.label or section.id} ({identity_provider_of(section).issuer})"
    return f"{section.id} ({section.public_url})" if isinstance(section, KratosProvider) else section.id
