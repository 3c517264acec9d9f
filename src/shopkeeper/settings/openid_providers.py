"""Social sign-in: `selfservice.methods.oidc`."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, TypeAdapter, ValidationError, model_validator

from shopkeeper.openid.preset import Preset
from shopkeeper.openid.presets import PRESETS
from shopkeeper.settings.section import Secret, Section
from shopkeeper.settings.values import BaseUrl, Reference

# One segment of a callback's path, and no colon, because identifiers are `<id>:<subject>`.
_ID: Final = re.compile(r"(?!\.+$)[A-Za-z0-9._~-]{1,64}", re.ASCII)
_URL: Final = re.compile(r"https?://[^\s/?#@]+[^\s?#@]*", re.ASCII)
_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_ENDPOINT: Final = re.compile(r"https?://[^\s/?#@]+[^\s#]*", re.ASCII)
_TENANT: Final = re.compile(r"[A-Za-z0-9.-]{1,255}", re.ASCII)
_SWITCH: Final = TypeAdapter(bool)
_APPLE_KEY: Final = ("apple_team_id", "apple_private_key_id", "apple_private_key")


def _provider_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError("may have letters, digits and - _ . ~ only, at most 64, because it is part of an address")
    return value


def _known_provider(value: str) -> str:
    if value not in PRESETS:
        like = difflib.get_close_matches(value.lower(), PRESETS, n=1)
        advice = f"{like[0]} is the nearest" if like else "write generic for any OpenID provider"
        raise ValueError(f"is not a provider that is known here; {advice}")
    if PRESETS[value].unsupported:
        raise ValueError(f"is {value}, which does not work here: {PRESETS[value].unsupported}")
    return value


def _issuer(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError("must be an https:// address without query, exactly as the provider writes its issuer")
    if value.rstrip("/").endswith(_WELL_KNOWN):
        raise ValueError(f"is the address of the metadata; leave {_WELL_KNOWN} out, which is added to the issuer")
    return value


def _endpoint(value: str) -> str:
    if not _ENDPOINT.fullmatch(value):
        raise ValueError("must be an https:// address")
    return value


def _tenant(value: str) -> str:
    if not _TENANT.fullmatch(value):
        raise ValueError("must be common, organizations, consumers, a tenant's id or one of its domains")
    return value


def _requested_claims(claims: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    if not claims.keys() <= {"id_token", "userinfo"}:
        raise ValueError("has claims of id_token and userinfo, and nothing else")
    return claims


ClaimPath = Annotated[str, Field(min_length=1, max_length=512)]
EndpointUrl = Annotated[str, AfterValidator(_endpoint)]
IssuerUrl = Annotated[str, AfterValidator(_issuer)]


class OpenIDProvider(Section):
    """An identity provider that customers may sign in with."""

    id: Annotated[str, AfterValidator(_provider_id)] = Field(
        description="Its name in addresses and stored credentials; keep it once customers have signed in"
    )
    provider: Annotated[str, AfterValidator(_known_provider)] = Field(
        description="Which [provider](providers.md) it is; `generic` for any with OpenID Connect"
    )
    label: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="Its name on buttons; unset, the provider's, or the id of a `generic` one"
    )
    client_id: str = Field(min_length=1, max_length=512, description="Our id at the provider")
    client_secret: Secret | None = Field(default=None, description="Our secret there; Apple has a key in its place")
    issuer_url: IssuerUrl | None = Field(
        default=None, description="The provider's issuer, required for `generic`; its metadata is read from there"
    )
    auth_url: EndpointUrl | None = Field(default=None, description="The authorization endpoint, in place of its own")
    token_url: EndpointUrl | None = Field(
        default=None, description="The token endpoint, in place of the provider's own"
    )
    mapper_url: Reference | None = Field(
        default=None,
        description="Jsonnet that makes an identity of the provider's claims, as a `file://`, `base64://` or "
        "`https://` address; unset, [ours](providers.md#mappers)",
    )
    scope: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        default=(), max_length=50, description="What to ask the provider for; unset, what [its row](providers.md) says"
    )
    requested_claims: Annotated[Mapping[str, Mapping[str, Any]], AfterValidator(_requested_claims)] = Field(
        default={}, description="The `claims` parameter of OpenID Connect, section 5.5"
    )
    claims_source: Literal["id_token", "userinfo"] = Field(
        default="id_token", description="Whether claims are read from the ID token or from the userinfo endpoint"
    )
    subject_source: Literal["userinfo", "me", "oid"] = Field(
        default="userinfo",
        description="Microsoft: the claim `sub`, or `oid`, which is the id in Graph (`me`), too",
    )
    microsoft_tenant: Annotated[str, AfterValidator(_tenant)] | None = Field(
        default=None,
        description="Microsoft: a tenant, or `common`, `organizations` or `consumers` for several; required there",
    )
    apple_team_id: str | None = Field(default=None, max_length=100, description="Apple: the id of your team")
    apple_private_key_id: str | None = Field(default=None, max_length=100, description="Apple: the id of the key")
    apple_private_key: Secret | None = Field(
        default=None, description="Apple: the key in PEM, which signs our client secret"
    )
    additional_id_token_audiences: tuple[str, ...] = Field(
        default=(), max_length=20, description="Further client ids whose ID tokens native apps may send"
    )
    pkce: Literal["auto", "never", "force"] = Field(
        default="auto",
        description="Proof key for the code (RFC 7636): where the provider knows it, never, or always",
    )
    aal2_acr_values: tuple[str, ...] = Field(
        default=(), max_length=20, description="Values of the claim `acr` that count as two factors"
    )
    aal2_amr_values: tuple[str, ...] = Field(
        default=(), max_length=20, description="Values in the claim `amr` that count as two factors"
    )
    reauthenticates: bool | None = Field(
        default=None,
        description="Whether it signs somebody in anew for `max_age=0` and says when in `auth_time`, which "
        "[confirming a session](../methods/oidc.md#confirming-a-session) wants; unset, as [its row](providers.md) says",
    )
    account_linking_mode: Literal["confirm_with_existing_credential", "automatic"] = Field(
        default="confirm_with_existing_credential",
        description="What happens where an account has the address already: its owner proves it by signing in, or "
        "`automatic`, which links where the provider and we have verified the address",
    )
    update_identity_on_login: Literal["never", "automatic"] = Field(
        default="never",
        description="Whether each sign-in brings traits and metadata up to date with the provider's claims "
        "(`automatic`); identifiers and addresses stay in any case",
    )
    groups_claim: ClaimPath | None = Field(
        default=None,
        description="Where the claims list the groups of a customer, such as `groups`; each sign-in replaces those "
        "that the provider gave. Unset, only a mapper gives groups",
    )
    roles_claim: ClaimPath | None = Field(
        default=None,
        description="Where the claims list roles, such as `realm_access.roles`; they become groups of the same names",
    )
    silent_sign_on: bool = Field(
        default=False, description="Whether pages may ask the provider for a sign-in without showing anything"
    )
    rp_initiated_logout: bool = Field(
        default=False, description="Whether signing out here leads to the provider's sign-out, too"
    )

    @model_validator(mode="before")
    @classmethod
    def _without_empty_texts(cls, section: Any) -> Any:
        """Leave out empty texts: exports of Kratos' configuration have every key, and an empty text is not set."""
        if not isinstance(section, dict):
            return section
        return {name: value for name, value in section.items() if value is not None and value != ""}

    @property
    def preset(self) -> Preset:
        """What is known of the provider."""
        return PRESETS[self.provider]

    @model_validator(mode="after")
    def _whole(self) -> "OpenIDProvider":
        for fault in (self._missing(), self._misplaced()):
            if fault:
                raise ValueError(f"({self.id}) {fault}")
        return self

    def _missing(self) -> str | None:
        if self.provider == "apple":
            missing = [name for name in _APPLE_KEY if not getattr(self, name)]
            return f"needs {' and '.join(missing)}, from the key that you made at Apple" if missing else None
        if not _is_set(self.client_secret) and self.pkce != "force":
            return "needs client_secret, or pkce: force where the provider gives none"
        if self.preset.issuer is None and not self.issuer_url:
            return "needs issuer_url, the address that the provider's metadata is read from"
        if self.provider == "microsoft" and not self.microsoft_tenant:
            return "needs microsoft_tenant: common, organizations, consumers or the id of your tenant"
        return None

    def _misplaced(self) -> str | None:
        if self.provider == "apple" and _is_set(self.client_secret):
            return "has a client_secret, which Apple does not know; leave it out, apple_private_key makes it"
        if self.provider != "apple" and any(getattr(self, name) for name in _APPLE_KEY):
            return "has a key of Apple, and is not Apple; leave out what begins with apple_"
        if self.provider != "microsoft" and self.microsoft_tenant:
            return "has microsoft_tenant, and is not microsoft; leave it out"
        if self.reauthenticates and not self.preset.openid:
            return "has reauthenticates, but it issues no ID tokens that could say when; leave it out"
        for begin, advice in self.preset.refused_scopes.items():
            if found := [scope for scope in self.scope if scope.startswith(begin)]:
                return f"has the scope {found[0]}, which is of {advice}"
        return None


def _is_set(secret: SecretStr | None) -> bool:
    return secret is not None and bool(secret.get_secret_value())


def _is_on(given: Any) -> bool:
    """Return whether a switch is on; also for a value that is none, which is told as such."""
    try:
        return _SWITCH.validate_python(given)
    except ValidationError:
        return True


class OpenIDConfig(Section):
    """The providers."""

    base_redirect_uri: BaseUrl | None = Field(
        default=None,
        description="What the addresses begin with that providers lead back to; `serve.public.base_url` when unset",
    )
    providers: tuple[OpenIDProvider, ...] = Field(
        default=(), max_length=50, description="The providers, in the order of their buttons"
    )

    @model_validator(mode="after")
    def _distinct(self) -> "OpenIDConfig":
        first: dict[str, int] = {}
        for index, provider in enumerate(self.providers):
            if first.setdefault(provider.id, index) != index:
                raise ValueError(
                    f"has providers[{first[provider.id]}] and providers[{index}] with the id {provider.id}; "
                    "give each its own"
                )
        return self


class OpenIDMethod(Section):
    """Social sign-in."""

    enabled: bool = Field(default=False, description="Whether customers may sign in with other providers' accounts")
    config: OpenIDConfig = OpenIDConfig()

    @model_validator(mode="before")
    @classmethod
    def _without_unused_providers(cls, section: Any) -> Any:
        """Leave out the providers while the method is off: files that prepare it have values that are still to come."""
        config = section.get("config") if isinstance(section, dict) else None
        if not isinstance(config, dict) or _is_on(section.get("enabled", False)):
            return section
        return {**section, "config": {name: value for name, value in config.items() if name != "providers"}}

    @property
    def providers(self) -> tuple[OpenIDProvider, ...]:
        """The providers that customers may sign in with; none where the method is off."""
        return self.config.providers if self.enabled else ()
