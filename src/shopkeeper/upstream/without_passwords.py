"""Stores whose identity provider takes no passwords here: their customers sign in at the provider itself."""

from shopkeeper.client import Client
from shopkeeper.credentials.steps import Proof, Unverified
from shopkeeper.errors import FlowDisabled
from shopkeeper.storage.database import Unit


class WithoutPasswords:
    """Satisfies `PasswordProvider` by refusing every password, before it is looked at or sent anywhere."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def authenticate(self, unit: Unit, *, username: str, password: str, client: Client) -> Proof | Unverified:
        """Raise `FlowDisabled`."""
        raise FlowDisabled(
            "This store's customers sign in at their identity provider: send the token that they get there, as a bearer"
            " token or as authHint.token."
        )
