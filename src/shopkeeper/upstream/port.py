"""The ports of a provider: where identities are proven. A provider implements those that it supports.

`PasswordProvider` takes name and password, for routes that ask for both. Tokens of other issuers are verified by a
`TokenSource` (`sessions/token_sources.py`). Providers that a browser is redirected to are a method of sign-in
(`credentials/oidc.py`).
"""

from typing import Protocol

from shopkeeper.client import Client
from shopkeeper.credentials.steps import Proof, Unverified
from shopkeeper.storage.database import Unit


class PasswordProvider(Protocol):
    """A provider that proves an identity by name and password; a store names it as its `provider`."""

    name: str

    async def authenticate(self, unit: Unit, *, username: str, password: str, client: Client) -> Proof | Unverified:
        """Prove the identity of this name by its password. Only reads with the unit.

        `Unverified` says that signing in needs a verified address first.

        Raises `InvalidCredentials`, `TooManyRequests`, `Busy`, or `UpstreamFailed` where the provider does not answer.
        """
        ...
