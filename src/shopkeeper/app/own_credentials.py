"""The keys and secrets of the settings that no identity provider gets to see as a bearer token."""

from collections.abc import Iterator

from shopkeeper.crypto import digest
from shopkeeper.settings import Settings
from shopkeeper.settings.oidc_provider import OidcProvider
from shopkeeper.upstream.own_credentials import OwnCredentials


def build_own_credentials(settings: Settings) -> OwnCredentials:
    """Build what knows them: keys of the admin API, of introspection and of OAuth clients, and our own secrets at
    providers, which only the provider in question may know."""
    hashes = {bytes.fromhex(each) for each in _hashes(settings)}
    return OwnCredentials(hashes | {digest(secret) for secret in _secrets_at_providers(settings) if secret})


def _hashes(settings: Settings) -> Iterator[str]:
    for key in settings.admin.api_keys:
        yield key.hash
    for caller in settings.introspection.callers:
        yield from (key.hash for key in caller.keys)
        yield from (value.hash for value in caller.authorization)
    for client in settings.tokens.clients:
        for secret in client.secrets:
            yield secret.hash


def _secrets_at_providers(settings: Settings) -> Iterator[str]:
    for provider in settings.providers:
        if isinstance(provider, OidcProvider):
            for secret in (provider.client_secret, provider.password_grant.client_secret):
                if secret is not None:
                    yield secret.get_secret_value()
    for social in settings.selfservice.methods.oidc.providers:
        if social.client_secret is not None:
            yield social.client_secret.get_secret_value()
