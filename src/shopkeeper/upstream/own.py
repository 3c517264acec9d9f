"""The provider `own`: identities of our own store, proven by password."""

from typing import Protocol

from shopkeeper.client import Client
from shopkeeper.credentials.steps import Proof, Unverified
from shopkeeper.errors import FlowDisabled
from shopkeeper.storage.database import Unit


class PasswordCheck(Protocol):
    """The part of the password method that needs no flow."""

    async def authenticate(
        self, unit: Unit, *, identifier: str, password: str, client: Client
    ) -> Proof | Unverified: ...


class OwnProvider:
    """Satisfies `PasswordProvider`; `password` is None where the method is disabled."""

    name = "own"

    def __init__(self, password: PasswordCheck | None) -> None:
        self._password = password

    async def authenticate(self, unit: Unit, *, username: str, password: str, client: Client) -> Proof | Unverified:
        """See `PasswordProvider`. Raises `FlowDisabled` where passwords are disabled."""
        if self._password is None:
            raise FlowDisabled("Signing in with a password is switched off here.")
        return await self._password.authenticate(unit, identifier=username, password=password, client=client)
