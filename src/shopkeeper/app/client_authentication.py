"""Build the authentication of services: what each has in the settings, and the methods of each endpoint."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.http.oauth_token import REVOCATION_PATH, TOKEN_PATH
from shopkeeper.jose.keys import KeySet
from shopkeeper.oauth.client_assertions import SignedAssertion
from shopkeeper.oauth.client_authentication import (
    BearerKey,
    ClientAuthentication,
    Method,
    SecretInForm,
    SecretInHeader,
    WholeHeader,
)
from shopkeeper.oauth.clients import ClientCredentials
from shopkeeper.settings import Settings
from shopkeeper.settings.oauth_clients import OAuthClient

CLIENT_METHODS: Final = (SecretInHeader.name, SecretInForm.name, SignedAssertion.name)
CALLER_METHODS: Final = (*CLIENT_METHODS, BearerKey.name)
"""The methods of the OAuth endpoints, and those of introspection, as the server's metadata name them."""


def build_client_authentication(infrastructure: Infrastructure, accounts: Accounts) -> ClientAuthentication:
    """Return that of `tokens.clients`. Raises `ValueError` where a key of a client cannot be used."""
    clients = _by_id(client_credentials(infrastructure.settings))
    return ClientAuthentication(_methods(clients, infrastructure), throttle=accounts.throttles["client"])


def build_caller_authentication(infrastructure: Infrastructure, accounts: Accounts) -> ClientAuthentication:
    """Return that of introspection: the same methods, and those of engines. Raises `ValueError`, as the other."""
    callers = _by_id(caller_credentials(infrastructure.settings))
    # A whole value comes first: it may look like credentials of another method.
    methods: Sequence[Method] = [WholeHeader(callers), BearerKey(callers), *_methods(callers, infrastructure)]
    return ClientAuthentication(methods, throttle=accounts.throttles["client"])


def client_credentials(settings: Settings) -> Iterable[ClientCredentials]:
    """Yield what each of `tokens.clients` authenticates with."""
    for client in settings.tokens.clients:
        yield _of_client(client)


def caller_credentials(settings: Settings) -> Iterable[ClientCredentials]:
    """Yield what each caller of introspection authenticates with: those of its own, and clients that may ask."""
    for client in settings.tokens.clients:
        if client.introspection is not None:
            yield _of_client(client)
    for caller in settings.introspection.callers:
        yield ClientCredentials(
            caller.id,
            secrets=tuple(bytes.fromhex(key.hash) for key in caller.keys),
            keys=_keys(caller.jwks, of=f"the caller {caller.id!r} (introspection.callers)"),
            authorization=tuple(bytes.fromhex(value.hash) for value in caller.authorization),
        )


def _of_client(client: OAuthClient) -> ClientCredentials:
    return ClientCredentials(
        client.id,
        secrets=tuple(bytes.fromhex(secret.hash) for secret in client.secrets),
        keys=_keys(client.jwks, of=f"the client {client.id!r} (tokens.clients)"),
    )


def _keys(jwks: Mapping[str, Any] | None, *, of: str) -> KeySet | None:
    if jwks is None:
        return None
    keys = KeySet.of_jwks(jwks)
    if len(keys) < len(jwks["keys"]):
        raise ValueError(f"a key of {of} is weak, unreadable, not to sign, or there twice")
    return keys


def _by_id(credentials: Iterable[ClientCredentials]) -> Mapping[str, ClientCredentials]:
    return {each.id: each for each in credentials}


def _methods(clients: Mapping[str, ClientCredentials], infrastructure: Infrastructure) -> Sequence[Method]:
    # An assertion may be for any of the endpoints: they are one server, where each counts once.
    paths = ("", TOKEN_PATH, REVOCATION_PATH, infrastructure.settings.introspection.path)
    assertion = SignedAssertion(
        clients,
        audiences=[f"{infrastructure.base_url}{path}" for path in paths],
        database=infrastructure.database,
        clock=infrastructure.clock,
    )
    return [SecretInHeader(clients), SecretInForm(clients), assertion]
