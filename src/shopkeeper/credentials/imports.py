"""Credentials that an admin gives with an identity: a password in clear, which is hashed, or a hash from elsewhere."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from shopkeeper.credentials.hashes import Hasher, known_format
from shopkeeper.credentials.method import NewCredential
from shopkeeper.errors import InvalidInput

Importer = Callable[[Mapping[str, Any]], Awaitable[NewCredential]]


class Imports:
    """Reads credentials as the admin API takes them (contract page section 4.4), one importer a type."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._importers: Mapping[str, Importer] = {"password": self._password}

    async def read(self, credentials: Mapping[str, Any]) -> list[NewCredential]:
        """What is to be stored. Raises `InvalidInput` for types and formats that cannot be imported."""
        return [await self._one(type_, given) for type_, given in credentials.items()]

    async def _one(self, type_: str, given: Any) -> NewCredential:
        importer = self._importers.get(type_)
        if importer is None:
            raise InvalidInput(f"Credentials of type '{type_[:32]}' cannot be imported; 'password' can.")
        config = given.get("config") if isinstance(given, Mapping) else None
        if not isinstance(config, Mapping):
            raise InvalidInput(f"The credential '{type_}' needs an object 'config'.")
        return await importer(config)

    async def _password(self, config: Mapping[str, Any]) -> NewCredential:
        clear, hashed = config.get("password"), config.get("hashed_password")
        if isinstance(hashed, str) and hashed and clear is None:
            if not known_format(hashed):
                raise InvalidInput("The hashed password is in no format that is known here: give argon2id or bcrypt.")
            return NewCredential("password", {"hashed_password": hashed})
        if isinstance(clear, str) and clear and hashed is None:
            return NewCredential("password", {"hashed_password": await self._hasher.hash(clear)})
        raise InvalidInput("A password credential needs one of 'password' and 'hashed_password' in its 'config'.")
