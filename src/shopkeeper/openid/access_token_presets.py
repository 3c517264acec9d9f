"""Providers whose access tokens are accepted, as data: where the tokens of each differ from RFC 9068.

An access token is told from an ID token by what only one of them has. RFC 9068 has the type `at+jwt` for it; tokens
with the type `JWT`, or without a type, must have the `marks` of their preset, and none of the claims of a sign-in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

AT_JWT: Final = "at+jwt"
_RFC_9068: Final = frozenset({AT_JWT, "jwt"})
_WITHOUT_TYPE: Final = frozenset({AT_JWT, "jwt", None})


APPLICATIONS: Final[Mapping[str, str]] = {"gty": "client-credentials", "idtyp": "app"}
"""Claims by which any provider's token is an application's own, whatever the preset: only the provider sets them."""
APPLICATION_NAMES: Final[Mapping[str, str]] = {"sub": "*@clients", "preferred_username": "service-account-*"}
"""Names of applications at Auth0 and Keycloak. At other providers a person may have chosen such a name, so it proves
neither a person nor an application there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessTokenPreset:
    """What the access tokens of a kind of provider look like, by the name that `preset` has in the settings.

    Args:
        label: its name, for people.
        issuer_slash: whether its issuer ends with a slash, also where the settings leave it out.
        types: the values of the header `typ` that are accepted, in lower case; None stands for a header without it.
        marks: claims of which an access token without the type `at+jwt` has at least one, each with the value that it
            has; None accepts any. No ID token of this provider has one.
        audience_claims: where the audience is; of several claims, the first that is there.
        subject_claim: the claim that names a person, and never another one later.
        sign_in_subject: the claim of ID tokens that names the same person.
        client_claims, scope_claims: where the client and the scopes are; the first that is there counts.
        groups_claim, roles_claim: where groups and roles are, unless the settings say otherwise; None for nowhere.
        sign_in_claims: claims that only ID tokens have; a token of type `JWT` that has one is refused.
        applications: claims by which a token says that it is an application's own, each with its value, besides
            `APPLICATIONS`; `*` stands for any text.
        application_without: a claim that only the tokens of persons have; None where that tells nothing.
        shares_audience: whether access tokens may name our own client as their audience, as ID tokens do.
    """

    label: str
    issuer_slash: bool = False
    types: frozenset[str | None] = _RFC_9068
    marks: Mapping[str, str | None] = field(default_factory=lambda: dict.fromkeys(("scope", "scp", "client_id")))
    audience_claims: tuple[str, ...] = ("aud",)
    subject_claim: str = "sub"
    sign_in_subject: str = "sub"
    client_claims: tuple[str, ...] = ("client_id", "azp", "appid", "cid")
    scope_claims: tuple[str, ...] = ("scope", "scp")
    groups_claim: str | None = "groups"
    roles_claim: str | None = None
    sign_in_claims: tuple[str, ...] = ("nonce", "at_hash", "c_hash", "s_hash")
    applications: Mapping[str, str] = field(default_factory=dict)
    application_without: str | None = None
    shares_audience: bool = False


ACCESS_TOKEN_PRESETS: Final[Mapping[str, AccessTokenPreset]] = {
    # RFC 7519 section 5.1 leaves the type to the issuer: without one, a token has to have the same marks as a `JWT`.
    "generic": AccessTokenPreset(label="OpenID Connect", types=_WITHOUT_TYPE, roles_claim="roles"),
    # https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles. The default profile has the type JWT; an
    # application's own token has the grant in `gty`, and `@clients` behind its name.
    "auth0": AccessTokenPreset(
        label="Auth0",
        issuer_slash=True,
        groups_claim=None,
        applications={"gty": "client-credentials", "sub": "*@clients"},
    ),
    # https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference. `sub` is another one for each
    # application, so a person is `oid` in the tenant `tid`. An API that is its own client has one id for both, so only
    # `appid` (v1), `azp` (v2) and `scp` tell access tokens from ID tokens.
    "entra": AccessTokenPreset(
        label="Microsoft Entra",
        marks=dict.fromkeys(("scp", "appid", "azp")),
        subject_claim="oid",
        sign_in_subject="oid",
        client_claims=("azp", "appid"),
        scope_claims=("scp",),
        roles_claim="roles",
        applications={"idtyp": "app"},
        application_without="scp",
        shares_audience=True,
    ),
    # https://www.keycloak.org/docs/latest/server_admin/. Every kind of token says in `typ` among its claims what it is;
    # until release 25, access tokens repeat the nonce of the sign-in.
    "keycloak": AccessTokenPreset(
        label="Keycloak",
        marks={"typ": "Bearer"},
        sign_in_claims=("at_hash", "c_hash", "s_hash"),
        client_claims=("azp", "client_id"),
        roles_claim="realm_access.roles",
        applications={"preferred_username": "service-account-*"},
    ),
    # https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html.
    # Access tokens have no audience, unless the application asked for a resource: then the client stands for it.
    "cognito": AccessTokenPreset(
        label="Amazon Cognito",
        types=_WITHOUT_TYPE,
        marks={"token_use": "access"},
        audience_claims=("aud", "client_id"),
        client_claims=("client_id",),
        groups_claim="cognito:groups",
        application_without="username",
        shares_audience=True,
    ),
    # https://developer.okta.com/docs/api/openapi/okta-oauth/guides/overview/#access-token. `sub` is the name with which
    # a person signs in, which can be changed and given to another one; `uid` is the person, and the `sub` of ID tokens.
    "okta": AccessTokenPreset(
        label="Okta",
        types=_WITHOUT_TYPE,
        marks={"cid": None},
        subject_claim="uid",
        client_claims=("cid",),
        scope_claims=("scp",),
        application_without="uid",
    ),
}
"""Every preset; `docs/reference/identity-providers.md` has a row for each."""
