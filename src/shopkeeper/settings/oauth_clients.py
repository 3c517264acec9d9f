"""Settings of `tokens.clients`: the services that obtain tokens at `/oauth2/token`."""

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from shopkeeper.oauth.scope_rules import SCOPE_TOKEN, SUBJECT_SCOPES
from shopkeeper.settings.introspection_rights import IntrospectionRights
from shopkeeper.settings.section import SECRET, Section
from shopkeeper.settings.service_credentials import MOST_KEYS, PublicKeys, ServiceKey
from shopkeeper.settings.values import Lifespan, parse_duration
from shopkeeper.tokens.access_tokens import LONGEST_LIFESPAN

GrantName = Literal["client_credentials", "token_exchange", "refresh_token"]
MOST_NAMES: Final = 64
"""Scopes, audiences and stores of one client."""
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


class OAuthClient(Section):
    """A service that obtains tokens."""

    id: Annotated[str, AfterValidator(_client_id)] = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
        description="The client's id (`client_id`), and the subject of the tokens that it gets for itself",
    )
    secrets: Annotated[tuple[ServiceKey, ...], SECRET] = Field(
        default=(),
        max_length=MOST_KEYS,
        description="Its secrets, several at once for rotation; only their SHA-256 is kept in memory",
    )
    jwks: PublicKeys = Field(
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
    introspection: IntrospectionRights | None = Field(
        default=None,
        description="What it may learn by introspection, of tokens of its stores; it may not ask when unset. It "
        "authenticates there as here, or with a secret as bearer key",
    )

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
