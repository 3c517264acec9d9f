"""Settings of `tokens.clients`: the services that obtain tokens at `/oauth2/token`."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from shopkeeper.oauth.scope_rules import SCOPE_TOKEN, SUBJECT_SCOPES
from shopkeeper.settings.section import SECRET, TRIMMED, Section, without_line_break
from shopkeeper.settings.serving import hex_digest, key_digest, of_something
from shopkeeper.settings.values import Lifespan, parse_duration
from shopkeeper.tokens.access_tokens import LONGEST_LIFESPAN

GrantName = Literal["client_credentials", "token_exchange", "refresh_token"]
MOST_NAMES: Final = 64
"""Scopes, audiences and stores of one client."""
LARGEST_KEY_SET: Final = 65_536
_AUDIENCE: Final = r"^[\x21-\x7e]{1,256}$"


def _client_id(name: str) -> str:
    """Refuse what could be mistaken for a person: a service's id is the subject of its tokens, and so is an
    identity's."""
    try:
        UUID(name)
    except ValueError:
        return name
    raise ValueError("must not be a UUID, as the ids of identities are; give the client a name")


def _scope(scope: str) -> str:
    if not SCOPE_TOKEN.fullmatch(scope):
        raise ValueError("must be one scope: printable ASCII without spaces, quotes and backslashes (RFC 6749)")
    if scope.startswith(SUBJECT_SCOPES):
        raise ValueError("says who the subject is, which no client can be given")
    return scope


def key_set_of(value: Any) -> Any:
    """Accept the JWK set as JSON text too, as a variable of the environment or a file has it."""
    value = without_line_break(value)
    if not isinstance(value, str):
        return value
    if len(value) > LARGEST_KEY_SET:
        raise ValueError(f"must have at most {LARGEST_KEY_SET} characters")
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('must be a JWK set: {"keys": [...]}') from None


def public_keys_only(key_set: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a JWK set. Raises `ValueError` where it is none, or holds anything secret."""
    keys = key_set.get("keys")
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) for key in keys):
        raise ValueError('must be a JWK set with at least one key: {"keys": [...]}')
    if any({"d", "p", "q", "k"} & key.keys() for key in keys):
        raise ValueError("has a private or secret key; the client keeps that, and only its public key belongs here")
    return key_set


class ClientSecret(Section):
    """A secret of a client: stored as its SHA-256. The secret itself is never stored."""

    hash: Annotated[str, TRIMMED, AfterValidator(hex_digest), AfterValidator(of_something)] = Field(
        repr=False, description="SHA-256 of the secret, in hex, instead of the secret itself"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_plain(cls, value: Any) -> Any:
        if isinstance(value, ClientSecret):
            return value
        value = without_line_break(value)
        if isinstance(value, str):
            return {"hash": key_digest(value)}
        if not isinstance(value, Mapping):
            raise ValueError("must be a secret of at least 32 characters, or its SHA-256 in `hash`")
        return value


class OAuthClient(Section):
    """A service that obtains tokens."""

    id: Annotated[str, AfterValidator(_client_id)] = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
        description="The client's id (`client_id`), and the subject of the tokens that it gets for itself",
    )
    secrets: Annotated[tuple[ClientSecret, ...], SECRET] = Field(
        default=(),
        max_length=8,
        description="Its secrets, several at once for rotation; only their SHA-256 is kept in memory",
    )
    jwks: Annotated[Mapping[str, Any] | None, AfterValidator(lambda keys: keys and public_keys_only(keys))] = Field(
        default=None,
        description="Its public keys, a JWK set, where it authenticates by `private_key_jwt` in place of a secret",
    )
    grants: tuple[GrantName, ...] = Field(
        default=("client_credentials",),
        min_length=1,
        description="How it may obtain tokens: `client_credentials`, `token_exchange`, `refresh_token`",
    )
    scopes: tuple[Annotated[str, AfterValidator(_scope)], ...] = Field(
        default=(),
        max_length=MOST_NAMES,
        description="The scopes that its tokens may have: its own by `client_credentials`, and, of a person's, those "
        "that it may pass on",
    )
    audiences: tuple[Annotated[str, Field(pattern=_AUDIENCE)], ...] = Field(
        min_length=1,
        max_length=MOST_NAMES,
        description="The services that its tokens may be for; a token is for one of them",
    )
    stores: tuple[str, ...] = Field(
        default=(),
        max_length=MOST_NAMES,
        description="The stores that it is limited to, all when empty; `store@tenant` names one tenant",
    )

    @model_validator(mode="before")
    @classmethod
    def _key_set_as_text(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "jwks" in value:
            return {**value, "jwks": key_set_of(value["jwks"])}
        return value

    @model_validator(mode="after")
    def _can_authenticate(self) -> "OAuthClient":
        if bool(self.secrets) == (self.jwks is not None):
            raise ValueError("needs either secrets or jwks, so that it authenticates in one way")
        return self


class AccessTokens(Section):
    """Access tokens of our own (RFC 9068)."""

    lifespan: Lifespan = Field(
        default=parse_duration("10m"),
        le=LONGEST_LIFESPAN,
        description="How long an access token lives, an hour at most; it ends earlier with its session",
    )
