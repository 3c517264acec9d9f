"""Build what ties sign-ins and sign-outs here to those at identity providers."""

from collections.abc import Mapping

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.commerce import Commerce
from shopkeeper.app.flows import build_return_addresses
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.crypto import KeyRing
from shopkeeper.flows.backchannel_logout import BackchannelLogout
from shopkeeper.flows.logout import Logout
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.flows.provider_logout import CALLBACK, PURPOSE, ProviderLogout
from shopkeeper.flows.return_to import AfterFlow
from shopkeeper.flows.silent_sign_on import SilentSignOn
from shopkeeper.openid.client import OpenIDClient


def build_logout(infrastructure: Infrastructure, accounts: Accounts, commerce: Commerce) -> Logout:
    """Build the sign-out, which leads on to the providers that are configured so."""
    after = infrastructure.settings.selfservice.flows.logout.after
    return Logout(
        sessions=accounts.sessions,
        return_addresses=build_return_addresses(infrastructure),
        after=AfterFlow(default=after.default_browser_return_url),
        providers=_provider_logout(infrastructure, accounts, commerce),
    )


def _provider_logout(infrastructure: Infrastructure, accounts: Accounts, commerce: Commerce) -> ProviderLogout | None:
    settings, clients = infrastructure.settings, _clients(accounts)
    oidc = settings.selfservice.methods.oidc
    led_to = [provider.id for provider in oidc.providers if provider.rp_initiated_logout and provider.id in clients]
    if not led_to:
        return None
    base = (oidc.config.base_redirect_uri or infrastructure.base_url).rstrip("/")
    return ProviderLogout(
        {provider_id: clients[provider_id] for provider_id in led_to},
        provider_sessions=commerce.provider_sessions,
        keys=KeyRing(settings.secrets.for_sealing(), purpose=PURPOSE),
        clock=infrastructure.clock,
        callback_url=f"{base}{CALLBACK}",
    )


def build_backchannel_logout(
    infrastructure: Infrastructure, accounts: Accounts, commerce: Commerce
) -> BackchannelLogout:
    """Build what ends sessions by the logout tokens of providers."""
    return BackchannelLogout(
        _clients(accounts),
        database=infrastructure.database,
        sessions=accounts.sessions,
        provider_sessions=commerce.provider_sessions,
        throttle=accounts.throttles["provider_logout"],
    )


def build_silent_sign_on(infrastructure: Infrastructure, accounts: Accounts, pipeline: Pipeline) -> SilentSignOn:
    """Build the silent sign-on with the providers that are configured so."""
    oidc, clients = infrastructure.settings.selfservice.methods.oidc, _clients(accounts)
    silent = [provider.id for provider in oidc.providers if provider.silent_sign_on and provider.id in clients]
    return SilentSignOn(pipeline, clients={provider_id: clients[provider_id] for provider_id in silent})


def _clients(accounts: Accounts) -> Mapping[str, OpenIDClient]:
    """Return the providers with OpenID Connect: others know no logout tokens, no sign-out and no `prompt`."""
    return {social.provider.id: social.client for social in accounts.methods.social if social.provider.has_id_token}
