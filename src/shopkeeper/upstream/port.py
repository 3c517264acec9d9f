"""The port of a provider: somewhere that identities are proven by name and password, for doors that ask for both."""

from typing import Protocol

from shopkeeper.credentials.method import Proof
from shopkeeper.identity.values import Client
from shopkeeper.storage.database import Unit


class Provider(Protocol):
    """What a store names as its `provider`."""

    name: str

    async def authenticate(self, unit: Unit, *, username: str, password: str, client: Client) -> Proof:
        """Whose name and password these are.

        Raises `InvalidCredentials`, `TooManyRequests`, `IdentityDisabled` or `Busy`.
        """
        ...
