"""Identity providers of kind `oidc`: any issuer of OpenID Connect whose access tokens the shop's clients send."""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from shopkeeper.openid.access_token_presets import ACCESS_TOKEN_PRESETS, AccessTokenPreset
from shopkeeper.settings.identity_provider import IdentityProviderSection
from shopkeeper.settings.openid_providers import EndpointUrl, IssuerUrl
from shopkeeper.settings.section import Secret, Section
from shopkeeper.settings.values import Duration, parse_duration

SHARED_TENANTS: Final = frozenset({"common", "organizations"})
_TENANT_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_LONGEST_SKEW: Final = parse_duration("5m")
_LONGEST_CACHE: Final = parse_duration("1h")

_Name = Annotated[str, Field(min_length=1, max_length=512)]
_Scopes = tuple[Annotated[str, Field(min_length=1, max_length=200)], ...]


def _tenant(value: str) -> str:
    value = value.lower()
    if value not in SHARED_TENANTS and not _TENANT_ID.fullmatch(value):
        raise ValueError("must be the id of a tenant, or common or organizations together with allowed_tenants")
    return value


def _tenant_id(value: str) -> str:
    if not _TENANT_ID.fullmatch(value.lower()):
        raise ValueError("must be the id of a tenant, as its overview in Microsoft Entra shows it")
    return value.lower()


def _skew(value: object) -> object:
    if parse_duration(value) > _LONGEST_SKEW:
        raise ValueError("must be at most 5m")
    return value


def _cache(value: object) -> object:
    if parse_duration(value) > _LONGEST_CACHE:
        raise ValueError("must be at most 1h")
    return value


class PasswordGrant(Section):
    """Signing in with a password that is the provider's: a legacy of applications that ask for it themselves."""

    enabled: bool = Field(
        default=False,
        description="Whether stores with this provider send passwords to it (legacy: RFC 9700 says that it must not "
        "be used)",
    )
    token_url: EndpointUrl | None = Field(default=None, description="The token endpoint; the provider's own when unset")
    client_id: _Name | None = Field(default=None, description="Our id for this grant; `client_id` when unset")
    client_secret: Secret | None = Field(default=None, description="Our secret for this grant")
    audience: _Name | None = Field(default=None, description="The API that the token is asked for (Auth0)")
    scope: _Scopes = Field(default=("openid", "profile", "email"), max_length=50, description="What is asked for")
    realm: _Name | None = Field(
        default=None, description="The connection whose passwords they are (Auth0's `password-realm`)"
    )


class OidcProvider(IdentityProviderSection):
    """An identity provider that speaks OpenID Connect."""

    kind: Literal["oidc"] = Field(
        description="What it is: `oidc` for any OpenID provider, `kratos` for a server with Kratos' API"
    )
    preset: Literal["auth0", "cognito", "entra", "generic", "keycloak", "okta"] = Field(
        default="generic", description="Whose tokens they are: [what differs](identity-providers.md) is known"
    )
    label: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="Its name for shoppers; the id when unset"
    )
    issuer: IssuerUrl | None = Field(
        default=None, description="Its issuer, exactly as its tokens have it; required but for `entra`"
    )
    tenant: Annotated[str, AfterValidator(_tenant)] | None = Field(
        default=None, description="Entra: the id of the tenant, or `organizations` for those of `allowed_tenants`"
    )
    allowed_tenants: tuple[Annotated[str, AfterValidator(_tenant_id)], ...] = Field(
        default=(), max_length=1000, description="Entra: the ids of the tenants whose tokens are accepted"
    )
    client_id: _Name | None = Field(default=None, description="Our id at the provider: for all that asks it")
    client_secret: Secret | None = Field(default=None, description="Our secret there")
    audiences: tuple[_Name, ...] = Field(
        min_length=1,
        max_length=50,
        description="The audiences of access tokens that are accepted: the shop's API, as the provider names it",
    )
    allowed_clients: tuple[_Name, ...] = Field(
        default=(),
        max_length=200,
        description="The applications whose tokens are accepted (`client_id`, `azp`, `appid`, `cid`); all when unset",
    )
    subject_claim: _Name | None = Field(
        default=None, description="The claim that names a person, and no other one ever; unset, that of the preset"
    )
    groups_claim: _Name | None = Field(
        default=None, description="Where groups are among the claims, such as `realm_access.groups`; unset, the preset"
    )
    roles_claim: _Name | None = Field(
        default=None, description="Where roles are among the claims, such as `realm_access.roles`; unset, the preset"
    )
    scope_claim: _Name | None = Field(
        default=None, description="Where scopes are among the claims; unset, `scope` or `scp`"
    )
    opaque_tokens: Literal["refused", "introspection", "userinfo"] = Field(
        default="refused",
        description="How tokens that are no JWT are verified: by the provider's introspection (RFC 7662), or by its "
        "userinfo, which cannot tell for whom a token is",
    )
    introspection_url: EndpointUrl | None = Field(
        default=None, description="The introspection endpoint; the provider's own when unset"
    )
    jwks_url: EndpointUrl | None = Field(
        default=None, description="The keys of its tokens, which need no metadata then; its own when unset"
    )
    claims_from: Literal["token", "userinfo"] = Field(
        default="token",
        description="What a new identity is made of: the claims of the access token, or those of the userinfo endpoint",
    )
    clock_skew: Annotated[Duration, AfterValidator(_skew)] = Field(
        default=parse_duration("60s"), description="How much its clock and ours may differ; at most 5m"
    )
    cache: Annotated[Duration, AfterValidator(_cache)] = Field(
        default=parse_duration("5m"),
        description="How long a verified JWT is not verified again, and never beyond its end; at most 1h",
    )
    opaque_cache: Annotated[Duration, AfterValidator(_cache)] = Field(
        default=parse_duration("10s"),
        description="How long an opaque token counts without asking the provider again; `0` asks each time",
    )
    update_identity_on_login: Literal["never", "automatic"] = Field(
        default="never",
        description="Whether each sign-in, in a browser, by password or by token (`POST /signin`), brings traits and "
        "metadata up to date with the provider's claims (`automatic`); identifiers and addresses stay in any case",
    )
    sessions_outlive_tokens: bool = Field(
        default=False,
        description="Whether a session that `POST /signin` gives for an access token lasts as long as every other, and "
        "not only until the token ends",
    )
    sign_in: bool = Field(
        default=False,
        description="Whether customers sign in at it in their browser (code with PKCE), as with a social provider",
    )
    password_grant: PasswordGrant = PasswordGrant()

    @property
    def address(self) -> str | None:
        """Where the provider is, as far as the settings say."""
        return self.issuer

    @property
    def issuers(self) -> tuple[str, ...]:
        """What chooses this provider for a token: its issuer, or each of its tenants."""
        if self.preset != "entra":
            return ((self.issuer or "").rstrip("/"),)
        return self.allowed_tenants if self.tenant in SHARED_TENANTS else (self.tenant or "",)

    @property
    def facts(self) -> AccessTokenPreset:
        """What is known of the provider's access tokens."""
        return ACCESS_TOKEN_PRESETS[self.preset]

    @model_validator(mode="after")
    def _whole(self) -> "OidcProvider":
        for fault in (self._missing(), self._misplaced(), self._taken_for_id_tokens()):
            if fault:
                raise ValueError(f"({self.id}) {fault}")
        return self

    def _missing(self) -> str | None:
        if self.preset == "entra":
            if self.tenant is None:
                return "needs tenant: the id of your tenant, or organizations together with allowed_tenants"
            if self.tenant in SHARED_TENANTS and not self.allowed_tenants:
                return "needs allowed_tenants: without it, the tokens of every organisation in the world are accepted"
        elif self.issuer is None:
            return "needs issuer, exactly as its tokens have it in iss"
        needs_client = {
            "sign_in": self.sign_in,
            "opaque_tokens: introspection": self.opaque_tokens == "introspection",
            "password_grant": self.password_grant.enabled and self.password_grant.client_id is None,
        }
        needed = next((name for name, needs in needs_client.items() if needs), None)
        return f"needs client_id for {needed}" if needed and self.client_id is None else None

    def _misplaced(self) -> str | None:
        if self.preset == "entra" and self.issuer is not None:
            return "has issuer, which Entra's tenant makes; leave it out"
        if self.preset != "entra" and (self.tenant or self.allowed_tenants):
            return "has a tenant, and is not entra; leave tenant and allowed_tenants out"
        if self.tenant is not None and self.tenant not in SHARED_TENANTS and self.allowed_tenants:
            return "has allowed_tenants beside one tenant; write tenant: organizations, or leave allowed_tenants out"
        return None

    def _taken_for_id_tokens(self) -> str | None:
        ours = {self.client_id, self.password_grant.client_id, *self.allowed_clients}
        shared = [audience for audience in self.audiences if audience in ours]
        if shared and not self.facts.shares_audience:
            return (
                f"has the client {shared[0]} among its audiences, which is the audience of ID tokens; name the API "
                "that access tokens are for"
            )
        return None
