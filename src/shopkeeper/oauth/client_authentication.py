"""Authenticates services, by one of the methods that an endpoint takes.

    one method only -> the first that the request uses -> compared with the client's secrets, or verified

Only wrong credentials are counted: a stranger behind the same address blocks no service, and a right secret costs no
question to the cache. Secrets are long and random, so the count limits the work and the noise of guessing.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote_plus

from shopkeeper.crypto import digest, same
from shopkeeper.oauth.clients import ClientCredentials
from shopkeeper.oauth.errors import InvalidClient, InvalidRequest
from shopkeeper.throttle import Throttle

LONGEST_CREDENTIALS: Final = 8_192
"""Characters of an `Authorization` header, and of a secret in the form."""
_UNREADABLE: Final = "The Basic credentials cannot be read: form-encode id and secret, join them by a colon, base64."
_NO_SECRET: Final = (b"\0" * 32,)
"""Compared with in place of an unknown client's secrets."""


class Presented(NamedTuple):
    """What a request authenticates with.

    Args:
        header: its `Authorization` header; empty where there is none.
        parameters: the parameters in its form, each once.
    """

    header: str
    parameters: Mapping[str, str]


class Method(Protocol):
    """A way to authenticate.

    Args:
        name: as the server's metadata name it (RFC 8414 section 2); empty for one that is agreed on elsewhere.
        scheme: the scheme of `Authorization` that it uses; empty where it uses the form.
        parameters: the parameters of the form that are credentials of it.
    """

    name: str
    scheme: str
    parameters: frozenset[str]

    async def client_of(self, presented: Presented) -> str | None:
        """Return the id of the client; None where a request does not use this method.

        Raises:
            InvalidClient: the credentials are wrong, or cannot be read.
            InvalidRequest: the request contradicts itself.
        """


class ClientAuthentication:
    """Authenticates the clients of an endpoint.

    Args:
        methods: the methods that it takes; of several that use the same header, the first that knows it decides.
        throttle: limits wrong credentials of an address.
    """

    def __init__(self, methods: Sequence[Method], *, throttle: Throttle) -> None:
        self._methods, self._throttle = tuple(methods), throttle
        self._in_forms = tuple(method.parameters for method in methods if method.parameters)
        self.names = [method.name for method in methods if method.name]
        self.schemes = [method.scheme for method in methods if method.scheme]

    async def authenticate(self, authorization: Sequence[str], parameters: Mapping[str, str], *, ip: str) -> str:
        """Return the id of the client that sends a request; wrong credentials are counted.

        Never call it while a transaction is open.

        Args:
            authorization: every `Authorization` header of the request.
            parameters: the parameters in its form, each once.

        Raises:
            InvalidRequest: several methods at once.
            InvalidClient: no credentials, or wrong ones.
            TooManyRequests: this address has sent too many wrong ones.
        """
        try:
            return await self.identify(authorization, parameters)
        except InvalidClient:
            await self.count_wrong(ip)
            raise

    async def identify(self, authorization: Sequence[str], parameters: Mapping[str, str]) -> str:
        """Return the client as `authenticate` does, and count nothing."""
        methods_used = len(authorization)
        for names in self._in_forms:
            methods_used += not names.isdisjoint(parameters)
        if methods_used > 1:
            raise InvalidRequest("Authenticate by one method only.")
        presented = Presented(authorization[0] if authorization else "", parameters)
        for method in self._methods:
            client_id = await method.client_of(presented)
            if client_id is not None:
                return client_id
        raise InvalidClient(f"Authenticate the client, by one of: {', '.join(self.names)}.")

    async def count_wrong(self, ip: str) -> None:
        """Count wrong credentials of an address. Raises `TooManyRequests`."""
        await self._throttle.spend(ip)


class _Secrets:
    """The secrets of clients, by id."""

    def __init__(self, clients: Mapping[str, ClientCredentials]) -> None:
        self._of_client = {each.id: each.secrets for each in clients.values() if each.secrets}

    def require(self, client_id: str, *spellings: str) -> str:
        """Return the id of a client that one of the spellings is a secret of. Raises `InvalidClient`.

        Every secret is compared, so that the time tells neither which one matches nor whether the client exists.
        """
        secrets = self._of_client.get(client_id)
        presented = [digest(each[:LONGEST_CREDENTIALS]) for each in spellings]
        matches = [same(each, known) for each in presented for known in secrets or _NO_SECRET]
        if secrets is None or not any(matches) or max(map(len, spellings)) > LONGEST_CREDENTIALS:
            raise InvalidClient
        return client_id


class SecretInHeader:
    """`client_secret_basic`: id and secret by HTTP Basic (RFC 6749 section 2.3.1).

    Both are form-encoded before base64; many clients leave that out, so the secret may be as it is, too.
    """

    name, scheme, parameters = "client_secret_basic", "Basic", frozenset[str]()

    def __init__(self, clients: Mapping[str, ClientCredentials]) -> None:
        self._secrets = _Secrets(clients)

    async def client_of(self, presented: Presented) -> str | None:
        scheme, _, credentials = presented.header.strip(" ").partition(" ")
        if scheme.lower() != "basic":
            return None
        if len(credentials) > LONGEST_CREDENTIALS:
            raise InvalidClient
        client_id, secret = _id_and_secret(credentials.strip(" "))
        if presented.parameters.get("client_id", client_id) != client_id:
            raise InvalidRequest("client_id is another client than the credentials are of.")
        return self._secrets.require(client_id, secret, unquote_plus(secret))


def _id_and_secret(credentials: str) -> tuple[str, str]:
    """Return id and secret of Basic credentials, the secret as it is. Raises `InvalidClient`.

    >>> _id_and_secret(base64.b64encode(b"shop%3A1:a+b%25").decode())
    ('shop:1', 'a+b%25')
    """
    try:
        client_id, colon, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as broken:
        raise InvalidClient(_UNREADABLE) from broken
    if not colon:
        raise InvalidClient(_UNREADABLE)
    return unquote_plus(client_id), secret


class SecretInForm:
    """`client_secret_post`: id and secret in the form (RFC 6749 section 2.3.1)."""

    name, scheme, parameters = "client_secret_post", "", frozenset({"client_secret"})

    def __init__(self, clients: Mapping[str, ClientCredentials]) -> None:
        self._secrets = _Secrets(clients)

    async def client_of(self, presented: Presented) -> str | None:
        secret = presented.parameters.get("client_secret")
        if secret is None:
            return None
        return self._secrets.require(presented.parameters.get("client_id", ""), secret)


class BearerKey:
    """A secret as a bearer token (RFC 6750 section 2.1), which says by itself whose it is."""

    name, scheme, parameters = "Bearer", "Bearer", frozenset[str]()

    def __init__(self, clients: Mapping[str, ClientCredentials]) -> None:
        self._keys = [(each.id, known) for each in clients.values() for known in each.secrets]

    async def client_of(self, presented: Presented) -> str | None:
        scheme, _, key = presented.header.partition(" ")
        if scheme.lower() != "bearer":
            return None
        if len(key) > LONGEST_CREDENTIALS:
            raise InvalidClient
        found = _matching(self._keys, key.strip(" "))
        if found is None:
            raise InvalidClient
        return found


class WholeHeader:
    """An agreed value of the `Authorization` header, compared as it is, with every scheme: commercetools sends what
    it was given as `authorizationHeader`."""

    name, scheme, parameters = "", "", frozenset[str]()

    def __init__(self, clients: Mapping[str, ClientCredentials]) -> None:
        self._values = [(each.id, known) for each in clients.values() for known in each.authorization]

    async def client_of(self, presented: Presented) -> str | None:
        if not presented.header or len(presented.header) > LONGEST_CREDENTIALS:
            return None
        return _matching(self._values, presented.header)


def _matching(known: Sequence[tuple[str, bytes]], text: str) -> str | None:
    """Return the id that a text belongs to. All are compared, so that the time does not tell which one matches."""
    presented = digest(text)
    found = [client_id for client_id, each in known if same(presented, each)]
    return found[0] if found else None
