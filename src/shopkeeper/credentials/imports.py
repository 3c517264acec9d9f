"""Credentials in an identity that an admin submits: a plain password, which is hashed, or a hash from another
system."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec

from shopkeeper.credentials.hashes import Hasher, known_format
from shopkeeper.credentials.steps import NewCredential
from shopkeeper.errors import InvalidInput, UnknownField

Importer = Callable[[Any], Awaitable[NewCredential]]

_T = TypeVar("_T")


class PasswordConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A password, or its hash."""

    password: str | None = None
    hashed_password: str | None = None
    use_password_migration_hook: bool = False


class GivenPassword(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A password credential as an admin submits it."""

    config: PasswordConfig


class Imports:
    """Reads credentials in the form of the admin API (contract page section 4.4), with one importer for each type."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._importers: Mapping[str, Importer] = {"password": self._password}

    async def read(self, credentials: Mapping[str, Any]) -> list[NewCredential]:
        """Return the credentials to store. Raises `InvalidInput` for types and formats that cannot be imported, and
        `UnknownField` for unknown fields."""
        return [await self._one(type_, given) for type_, given in credentials.items()]

    async def _one(self, type_: str, given: Any) -> NewCredential:
        importer = self._importers.get(type_)
        if importer is None:
            raise InvalidInput(f"Credentials of type '{type_[:32]}' cannot be imported; 'password' can.")
        return await importer(given)

    async def _password(self, given: Any) -> NewCredential:
        config = _read(given, GivenPassword, name="password").config
        if config.use_password_migration_hook:
            raise InvalidInput("There is no password migration hook here: give 'password' or 'hashed_password'.")
        clear, hashed = config.password, config.hashed_password
        if hashed and clear is None:
            if not known_format(hashed):
                raise InvalidInput("The hashed password is in no format that is known here: give argon2id or bcrypt.")
            return NewCredential("password", {"hashed_password": hashed})
        if clear and hashed is None:
            return NewCredential("password", {"hashed_password": await self._hasher.hash(clear)})
        raise InvalidInput("A password credential needs one of 'password' and 'hashed_password' in its 'config'.")


def _read(given: Any, type_: type[_T], *, name: str) -> _T:
    try:
        return msgspec.convert(given, type_)
    except msgspec.ValidationError as invalid:
        sentence = str(invalid)
        if "unknown field" in sentence:
            raise UnknownField(
                message=f"The credential '{name}' has a field that is not known here: {sentence}"
            ) from None
        raise InvalidInput(f"The credential '{name}' is not what is expected: {sentence}") from None
