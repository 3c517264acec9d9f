"""Credentials in an identity that an admin submits: a plain password, which is hashed, or a hash from another system;
and accounts at identity providers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from shopkeeper.credentials.hashes import Hasher, known_format
from shopkeeper.credentials.linked_providers import MOST_LINKED, LinkedAccount, linking
from shopkeeper.credentials.steps import NewCredential
from shopkeeper.errors import InvalidInput, UnknownField

LONGEST_PROVIDER_ID: Final = 64
LONGEST_SUBJECT: Final = 255
"""Characters (OpenID Connect Core 1.0 section 2)."""
LONGEST_ISSUER: Final = 2_048

Importer = Callable[[Any], Awaitable[NewCredential]]

_T = TypeVar("_T")


class Given(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A credential as an admin submits it. Its read-only members are accepted and ignored, so that a credential can
    be imported as it was exported: identifiers follow from its config or from the traits.
    """

    type: Any = None
    identifiers: Any = None
    version: Any = None
    created_at: Any = None
    updated_at: Any = None


class PasswordConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A password, or its hash."""

    password: str | None = None
    hashed_password: str | None = None
    use_password_migration_hook: bool = False


class GivenPassword(Given, forbid_unknown_fields=True, kw_only=True):
    """A password credential as an admin submits it."""

    config: PasswordConfig


class ProviderAccount(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An account at a provider. Tokens, which Kratos exports, are not kept.

    Without `issuer` it is an account of whichever issuer the provider of this id has.
    """

    provider: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_PROVIDER_ID)]
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_SUBJECT)]
    issuer: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ISSUER)] | None = None
    use_auto_link: bool = False
    organization: Literal[""] | None = None
    initial_id_token: Any = None
    initial_access_token: Any = None
    initial_refresh_token: Any = None


class OidcConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Accounts at providers."""

    providers: Annotated[list[ProviderAccount], msgspec.Meta(min_length=1, max_length=MOST_LINKED)]


class GivenOidc(Given, forbid_unknown_fields=True, kw_only=True):
    """A social sign-in credential as an admin submits it."""

    config: OidcConfig


class Imports:
    """Reads credentials in the form of the admin API (contract page section 4.4), with one importer for each type."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._importers: Mapping[str, Importer] = {"oidc": self._oidc, "password": self._password}

    async def read(self, credentials: Mapping[str, Any]) -> list[NewCredential]:
        """Return the credentials to store. Raises `InvalidInput` for types and formats that cannot be imported, and
        `UnknownField` for unknown fields."""
        return [await self._one(type_, given) for type_, given in credentials.items()]

    async def _one(self, type_: str, given: Any) -> NewCredential:
        importer = self._importers.get(type_)
        if importer is None:
            raise InvalidInput(f"Credentials of type '{type_[:32]}' cannot be imported; 'oidc' and 'password' can.")
        return await importer(given)

    async def _oidc(self, given: Any) -> NewCredential:
        accounts = _read(given, GivenOidc, name="oidc").config.providers
        if any(account.use_auto_link for account in accounts):
            raise InvalidInput("'use_auto_link' is not known here: an account is linked by its subject, never by mail.")
        linked = [LinkedAccount(account.provider, account.subject, account.issuer) for account in accounts]
        if len({account.identifier for account in linked}) < len(linked):
            raise InvalidInput("The credential 'oidc' names the same account at a provider twice.")
        return linking(linked)

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
