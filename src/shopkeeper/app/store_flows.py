"""Build the flows of each store (`flows/store_handlers.py`).

A store whose customers have their accounts at an identity provider has what the provider does not do: the account page
without ways to sign in, and confirming addresses. With `sign_in`, it has signing in and registering with exactly this
provider as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.accounts_elsewhere import build_accounts_elsewhere
from shopkeeper.app.flows import build_account_settings, build_login, build_registration
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.methods import Methods, build_oidc
from shopkeeper.app.verification import build_verification
from shopkeeper.commerce.stores import OWN
from shopkeeper.credentials.provider_attempts import ProviderAttempts
from shopkeeper.credentials.social_provider import SocialProvider
from shopkeeper.flows.handler import FlowHandler
from shopkeeper.flows.registrar import Registrar
from shopkeeper.flows.store_handlers import StoreHandlers


def build_store_handlers(
    infrastructure: Infrastructure, accounts: Accounts, own: Sequence[FlowHandler], *, registrar: Registrar
) -> StoreHandlers:
    """Return the handlers of every store; `own` are those of stores whose customers have their accounts here."""
    elsewhere = {store.provider for store in infrastructure.settings.stores if store.provider != OWN}
    return StoreHandlers(
        own,
        elsewhere=build_accounts_elsewhere(infrastructure.settings),
        of_provider={
            provider: list(_handlers_of(provider, infrastructure, accounts, registrar=registrar))
            for provider in elsewhere
        },
    )


def _handlers_of(
    provider: str, infrastructure: Infrastructure, accounts: Accounts, *, registrar: Registrar
) -> Iterator[FlowHandler]:
    yield build_account_settings(infrastructure, accounts, methods=(), keeps_names=True)
    yield build_verification(infrastructure, accounts)
    built = next((each for each in accounts.identity_providers.oidc if each.section.id == provider), None)
    social = next((each for each in accounts.identity_providers.social if each.provider.id == provider), None)
    if built is None or social is None:
        return
    methods = _methods_of(social, infrastructure, accounts)
    login = build_login(infrastructure, accounts, methods)
    login.settings = replace(login.settings, identifier_first=False)
    yield login
    if built.section.provisioning.create:
        registration = build_registration(
            infrastructure, accounts, methods, registrar=registrar.among(methods.for_registration)
        )
        registration.settings = replace(registration.settings, two_steps=False)
        yield registration


def _methods_of(social: SocialProvider, infrastructure: Infrastructure, accounts: Accounts) -> Methods:
    """Return social sign-in with one provider as the only method."""
    attempts = ProviderAttempts(accounts.throttles["provider"])
    oidc = build_oidc(infrastructure, accounts.identities, [social], attempts, other_ways=())
    return Methods([oidc], accounts.methods.by_mail, [social])
