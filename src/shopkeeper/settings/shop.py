"""The shop itself: `stores` and the visitors' `tokens`."""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from shopkeeper.settings.oauth_clients import AccessTokens, OAuthClient
from shopkeeper.settings.scope_rules import MOST_RULES, ScopeRule
from shopkeeper.settings.section import Section
from shopkeeper.settings.token_signing import TokenSigning
from shopkeeper.settings.values import Duration, Lifespan, parse_duration

StoreName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
# A store's id joins both names with one character, and its database column has 128.
TenantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
# The key of a project or a store at an engine; commercetools allows 2 to 36 and 2 to 256 of these characters.
EngineKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,256}$")]
_HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)


def _host(host: str) -> str:
    """Refuse a host with more than a name: requests' hosts are compared without port, so it would never match."""
    name = host.lower()
    if not _HOST.fullmatch(name):
        raise ValueError("must be a bare host such as shop.example.org: no https://, no port, no path, no [::1]")
    return name


HostName = Annotated[str, AfterValidator(_host)]


class Store(Section):
    """One store."""

    id: StoreName = Field(description="The store's name, as clients send it in the store header")
    hosts: tuple[HostName, ...] = Field(default=(), description="Hosts that mean this store when no header says")
    tenants: tuple[TenantName, ...] = Field(
        default=(),
        description="Names the tenant header may carry; tenants share nothing, and the first is for requests without",
    )
    provider: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        default="own",
        description="Where its customers sign in, and nowhere else: `own`, or the id of one of the `providers`",
    )
    engine: Literal["embedded"] = Field(default="embedded", description="Where its carts and orders live")
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(
        default="EUR", description="ISO 4217 code of its currency"
    )
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] = Field(
        default="DE", description="ISO 3166 code of its country"
    )
    locale: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")] = Field(
        default="en", description="BCP 47 tag of its language"
    )
    project_key: EngineKey | None = Field(
        default=None, description="The key of its project at the engine: `{projectKey}` of scope rules"
    )
    store_key: EngineKey | None = Field(default=None, description="Its key at the engine: `{storeKey}` of scope rules")


class AnonymousTokens(Section):
    """Tokens of visitors without an account."""

    lifespan: Lifespan = Field(
        default=parse_duration("30d"),
        description="How long an anonymous visit, and so its cart, can be picked up again",
    )


class RefreshTokens(Section):
    """Refresh tokens, of sessions and of the clients of `/oauth2/token`."""

    enabled: bool = Field(
        default=False,
        description="Whether sessions have refresh tokens; `TOKEN_REFRESH_ENABLED` in the environment says so, too. "
        "Clients of `/oauth2/token` have them by their grant `refresh_token`",
    )
    lifespan: Lifespan = Field(
        default=parse_duration("30d"), description="How long refresh tokens can be used, of sessions and of clients"
    )
    replay_window: Duration = Field(
        default=parse_duration("10s"), description="How long a used token still answers with its one successor"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "RefreshTokens":
        if self.replay_window >= self.lifespan:
            raise ValueError("has a replay_window as long as its lifespan; make the lifespan longer")
        return self


class Tokens(Section):
    """The visitors' tokens, and those of services."""

    anonymous: AnonymousTokens = AnonymousTokens()
    refresh: RefreshTokens = RefreshTokens()
    scope_rules: tuple[ScopeRule, ...] = Field(
        default=(), max_length=MOST_RULES, description="Which scopes a subject's groups, roles, provider and store give"
    )
    access: AccessTokens = AccessTokens()
    signing: TokenSigning = TokenSigning()
    clients: tuple[OAuthClient, ...] = Field(
        default=(), max_length=1_000, description="The services that obtain tokens at `/oauth2/token`"
    )

    @model_validator(mode="after")
    def _clients_differ(self) -> "Tokens":
        ids = [client.id for client in self.clients]
        if len(set(ids)) < len(ids):
            raise ValueError("has two clients with the same id; give each its own")
        return self
