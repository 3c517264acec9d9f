"""One configured identity provider, as data: what its preset and its section in the settings say."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Final, Literal

ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
"""Algorithms by which a provider may sign its tokens (RFC 7518 section 3.1, RFC 8037): never `none`, never HMAC.

`Ed25519` is the newer name of EdDSA with this curve (RFC 9864), the only one that is accepted.
"""

TENANT: Final = "{tenantid}"
_UNPROVEN: Final = frozenset({"given_name", "family_name", "name"})
"""Claims that may be taken from the authorization answer, which the shopper's browser can change."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of a provider. None where it has none, or where discovery tells it."""

    authorization: str | None = None
    token: str | None = None
    userinfo: str | None = None
    jwks: str | None = None
    end_session: str | None = None
    introspection: str | None = None


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A client secret that is a short-lived JWT, signed by our own key when it is needed (Sign in with Apple).

    Args:
        key: the private key, as PEM.
        key_id: the `kid` that the provider gave the key.
        issuer: the `iss` of the JWT; Apple's team id.
        audience: the `aud` of the JWT.
        lifetime: how long a JWT is valid. Apple accepts six months at most.
    """

    key: str = field(repr=False)
    key_id: str
    issuer: str
    audience: str = "https://appleid.apple.com"
    algorithm: str = "ES256"
    lifetime: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class UserinfoRequest:
    """A request that reads more about the user. Its answer is found under `name` in the paths of `UserinfoShape`."""

    name: str
    url: str
    optional: bool = False
    """Whether a refusal of the provider (403 and 404) is no failure; then its paths lead to nothing."""


Path = str
"""Leads to a value in an answer: names, or numbers of an array, between dots.

`?name` is the first element of an array whose member `name` is true: `emails.?primary.email`.
"""


@dataclass(frozen=True, slots=True)
class UserinfoShape:
    """How the userinfo endpoint of a provider is asked, and how its answer becomes OpenID claims.

    The standard one sends a GET with a bearer token (OpenID Connect Core 1.0 section 5.3), and takes the answer as the
    claims. Headers and parameters may have these placeholders: `{access_token}`, and `{appsecret_proof}` (Facebook's,
    an HMAC of the access token with the client secret).

    Args:
        claims: where each claim is found in the answer; of several paths, the first that leads to a value. Where it is
            empty, the answer is the claims; else the answer's own members are no claims, and are found in
            `Authenticated.raw_claims` only.
        texts: claims that are made of others, such as `https://cdn.example/{sub}/{avatar}.png`: the placeholders are
            paths into the answer, and the claim is left out where one leads to nothing.
        constants: claims that this provider's answers always have, such as `email_verified`.
        headers: further headers of each request.
        parameters: query parameters of each request.
        bearer: the name in the `Authorization` header; None where the token is sent only as `headers` or `parameters`
            say.
        further: further requests. With any, or with `name`, paths begin with the name of the request.
        name: the name of the answer itself in paths; empty where paths begin within it.
        token: the name under which paths find the answer of the token endpoint (VK tells the address there).
        answer: claims of the authorization answer: a path for each, into its parameters read as JSON (Apple's `user`).
            Names only, because the browser can change them.
    """

    claims: Mapping[str, Path | tuple[Path, ...]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    bearer: str | None = "Bearer"
    further: tuple[UserinfoRequest, ...] = ()
    name: str = ""
    token: str = ""
    answer: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unproven := set(self.answer) - _UNPROVEN:
            raise ValueError(f"a browser must not decide about {', '.join(sorted(unproven))}")
        if (self.further or self.token) and not self.name:
            raise ValueError("several answers need a name each")


OPENID_USERINFO: Final = UserinfoShape()


@dataclass(frozen=True, slots=True)
class TokenShape:
    """How the token endpoint of a provider is asked, and how its answer is read.

    The standard one gets a form, with the names of RFC 6749 sections 4.1.3 and 5.1.

    Args:
        json: whether it gets a JSON object in place of the form.
        request: its names of what is sent, by ours (`client_id: clientId`).
        answer: its names of what it answers, by ours (`access_token: accessToken`).
    """

    json: bool = False
    request: Mapping[str, str] = field(default_factory=dict)
    answer: Mapping[str, str] = field(default_factory=dict)


OAUTH2_TOKENS: Final = TokenShape()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFacts:
    """What a preset knows of its providers, and holds of a configured one too.

    Args:
        requested_claims: the `claims` parameter (OpenID Connect Core 1.0 section 5.5); empty where it is not sent.
        pkce: `auto` uses S256 where the provider's metadata offers it.
        claims_source: `userinfo` asks the userinfo endpoint also where there is an ID token.
        userinfo: how userinfo is asked and read.
        issuer_aliases: other spellings of the issuer in ID tokens (Google's without https), authorization answers
            and metadata.
        authorization_parameters: further parameters of the authorization request (`response_mode: form_post`).
        token_auth: how we authenticate at the token endpoint; None does it as the metadata says.
        token_parameters: further parameters of the token request.
        token_shape: how the token endpoint is asked and read.
        sends_nonce: whether the provider repeats the nonce in its ID tokens. False sends none.
        reauthenticates: whether it signs a person in anew for `max_age=0`, and tells when by `auth_time` (OpenID
            Connect Core 1.0 sections 2 and 3.1.2.1).
        confirming: what the request to one that does not has instead, so that it asks the person something.
    """

    requested_claims: Mapping[str, Any] = field(default_factory=dict)
    pkce: Literal["auto", "never", "force"] = "auto"
    claims_source: Literal["id_token", "userinfo"] = "id_token"
    userinfo: UserinfoShape = OPENID_USERINFO
    issuer_aliases: tuple[str, ...] = ()
    authorization_parameters: Mapping[str, str] = field(default_factory=dict)
    token_auth: Literal["client_secret_basic", "client_secret_post", "none"] | None = None
    token_parameters: Mapping[str, str] = field(default_factory=dict)
    token_shape: TokenShape = OAUTH2_TOKENS
    sends_nonce: bool = True
    reauthenticates: bool = False
    confirming: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return these fields by their names, to make a `Provider` of a preset."""
        return {each.name: getattr(self, each.name) for each in fields(ProviderFacts)}


@dataclass(frozen=True, slots=True)
class Provider(ProviderFacts):
    """One configured provider. Its further fields are those of `ProviderFacts`.

    Args:
        id: its name in the settings, in addresses and in stored credentials.
        preset: the name of the preset, such as `google`.
        label: what a button says.
        client_id: our name at the provider.
        client_secret: our secret there, text or made on demand; None for a public client.
        issuer: who vouches for subjects, together with them the key of an account; also of OAuth 2 providers without
            OpenID (`https://github.com`).
        discovers: whether metadata is read from `issuer` and `/.well-known/openid-configuration`.
        endpoints: these win over discovered ones.
        scope: what we ask for. With `openid` among it, an ID token is required.
        subject_claim: the claim that is the subject (Microsoft's `oid`).
        issuer_template: of a provider for many tenants: what its metadata and its tokens name as their issuer, with
            `{tenantid}` where a token has its tenant (the claim `tid`).
        template_aliases: other forms of the issuer that tokens of the same accounts have (Microsoft's v1 tokens).
        refused_tenants: tenants of such a provider whose tokens are refused.
        allowed_tenants: the only tenants whose tokens are accepted; None for all.
        additional_audiences: client ids of our native apps, whose ID tokens are accepted as well.
        id_token_native: whether a native app may hand in an ID token itself.
        aal2_acr_values: values of `acr` that mean two factors.
        aal2_amr_values: values of `amr` that mean two factors.
        linking: what happens where an account with a verified address of the claims exists.
        algorithms: by which ID tokens may be signed.

    Raises:
        ValueError: an algorithm is none of `ALGORITHMS`, or a template has no `{tenantid}`.
    """

    id: str
    preset: str
    label: str
    client_id: str
    issuer: str
    client_secret: str | SigningSecret | None = field(default=None, repr=False)
    discovers: bool = True
    endpoints: Endpoints = Endpoints()
    scope: tuple[str, ...] = ("openid",)
    subject_claim: str = "sub"
    issuer_template: str | None = None
    template_aliases: tuple[str, ...] = ()
    refused_tenants: frozenset[str] = frozenset()
    allowed_tenants: frozenset[str] | None = None
    additional_audiences: tuple[str, ...] = ()
    id_token_native: bool = False
    aal2_acr_values: tuple[str, ...] = ()
    aal2_amr_values: tuple[str, ...] = ()
    linking: Literal["confirm", "automatic"] = "confirm"
    algorithms: tuple[str, ...] = ALGORITHMS

    def __post_init__(self) -> None:
        if unsafe := set(self.algorithms) - set(ALGORITHMS):
            raise ValueError(f"ID tokens signed by {', '.join(sorted(unsafe))} are not accepted")
        if not self.algorithms:
            raise ValueError("no algorithm is allowed")
        for template in (self.issuer_template, *self.template_aliases):
            if template is not None and template.count(TENANT) != 1:
                raise ValueError(f"the template of issuers needs {TENANT} once: {template}")

    @property
    def has_id_token(self) -> bool:
        """Whether the provider answers a sign-in with an ID token: it speaks OpenID, and not only OAuth 2."""
        return "openid" in self.scope

    def issues(self, issuer: str) -> bool:
        """Return whether accounts of an issuer are this provider's: its own, or one of its tenants.

        >>> microsoft = Provider(
        ...     id="microsoft", preset="microsoft", label="", client_id="shop",
        ...     issuer="https://login.microsoftonline.com/common/v2.0",
        ...     issuer_template="https://login.microsoftonline.com/{tenantid}/v2.0",
        ... )
        >>> microsoft.issues("https://login.microsoftonline.com/9188/v2.0"), microsoft.issues("https://login.example/9188/v2.0")
        (True, False)
        """
        return issuer == self.issuer or self.tenant_of(issuer) is not None

    def is_known_as(self, issuer: str) -> bool:
        """Return whether the provider may call itself so, in metadata (Discovery 1.0 section 4.3) and in authorization
        answers (RFC 9207 section 2): by an issuer of its accounts, or by another spelling of it."""
        return issuer in self.issuer_aliases or self.issues(issuer)

    def tenant_of(self, issuer: str) -> str | None:
        """Return the tenant in an issuer, None where it is none of the template."""
        return _tenant_in(issuer, self.issuer_template)

    def account_issuer(self, iss: str) -> str | None:
        """Return the issuer of the accounts that a token with this `iss` is about, None where they are not this
        provider's. Several spellings mean the same accounts, and only one of them is part of their key.

        >>> entra = Provider(
        ...     id="entra", preset="entra", label="", client_id="shop",
        ...     issuer="https://login.microsoftonline.com/organizations/v2.0",
        ...     issuer_template="https://login.microsoftonline.com/{tenantid}/v2.0",
        ...     template_aliases=("https://sts.windows.net/{tenantid}/",), allowed_tenants=frozenset({"9188"}),
        ... )
        >>> entra.account_issuer("https://sts.windows.net/9188/")
        'https://login.microsoftonline.com/9188/v2.0'
        >>> entra.account_issuer("https://sts.windows.net/77/")
        """
        if self.issuer_template is None:
            return self.issuer if iss == self.issuer or iss in self.issuer_aliases else None
        tenant = self.tenant_of_token(iss)
        return self.issuer_template.replace(TENANT, tenant) if tenant is not None and self.admits(tenant) else None

    def tenant_of_token(self, iss: str) -> str | None:
        """Return the tenant in the `iss` of a token, None where it has none of the forms."""
        found = (_tenant_in(iss, template) for template in (self.issuer_template, *self.template_aliases))
        return next((tenant for tenant in found if tenant is not None), None)

    def issuers_of(self, tenant: str) -> frozenset[str]:
        """Return every form of the issuer of a tenant."""
        forms = (self.issuer_template, *self.template_aliases)
        return frozenset(template.replace(TENANT, tenant) for template in forms if template is not None)

    def admits(self, tenant: str) -> bool:
        """Return whether the tokens of a tenant are accepted."""
        allowed = self.allowed_tenants is None or tenant in self.allowed_tenants
        return allowed and tenant not in self.refused_tenants


def _tenant_in(issuer: str, template: str | None) -> str | None:
    if template is None:
        return None
    before, _, after = template.partition(TENANT)
    tenant = issuer.removeprefix(before).removesuffix(after)
    whole = issuer == before + tenant + after and len(issuer) >= len(before) + len(after)
    return tenant if whole and tenant and "/" not in tenant else None
