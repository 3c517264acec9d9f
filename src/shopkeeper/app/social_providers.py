"""Build the providers of social sign-in: what the settings say of each, with its preset, and its mapper."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from shopkeeper.app.claims_mappers import MapperUnusable, build_mapper
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.credentials.claims_mapping import ClaimsMapper
from shopkeeper.credentials.social_provider import SocialProvider
from shopkeeper.identity.schema import Schemas
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.client_secret import require_signing_key
from shopkeeper.openid.preset import OPENID, Preset
from shopkeeper.openid.provider import Provider, SigningSecret
from shopkeeper.settings.openid_providers import OpenIDProvider

PLACE: Final = "selfservice.methods.oidc.config.providers"
MICROSOFT: Final = "https://login.microsoftonline.com"
_PERSONAL_ACCOUNTS: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant of all personal accounts at Microsoft."""


class ProviderUnusable(ValueError):
    """A provider cannot be built. The sentence names its place in the settings, and ends the start."""

    def __init__(self, index: int, section: OpenIDProvider, key: str, reason: str) -> None:
        super().__init__(f"{PLACE}[{index}].{key} ({section.id}) {reason}.")


async def build_social_providers(
    infrastructure: Infrastructure, schemas: Schemas, others: Sequence[Provider] = ()
) -> Sequence[SocialProvider]:
    """Build the providers in the order of the settings. None is called yet, so that one that is down stops no start.

    `others` are providers that customers sign in at as well. Raises:
        ProviderUnusable: a mapper cannot be read or is no Jsonnet, or a key cannot sign.
    """
    found = []
    sections = infrastructure.settings.selfservice.methods.oidc.providers
    providers = [provider_of(section) for section in sections]
    for index, (section, provider) in enumerate(zip(sections, providers, strict=True)):
        _require_key(index, section, provider)
        client = OpenIDClient(
            provider,
            http=infrastructure.http_client,
            clock=infrastructure.clock,
            tally=infrastructure.tally,
            others=[other for other in (*providers, *others) if other is not provider],
        )
        mapper = await _mapper(index, section, infrastructure, schemas)
        updates = section.update_identity_on_login == "automatic"
        found.append(
            SocialProvider(
                client,
                mapper,
                updates_identity=updates,
                groups_claim=section.groups_claim,
                roles_claim=section.roles_claim,
            )
        )
    return found


def _require_key(index: int, section: OpenIDProvider, provider: Provider) -> None:
    if isinstance(provider.client_secret, SigningSecret):
        try:
            require_signing_key(provider.client_secret)
        except ValueError as wrong:
            raise ProviderUnusable(index, section, "apple_private_key", str(wrong)) from wrong


async def _mapper(
    index: int, section: OpenIDProvider, infrastructure: Infrastructure, schemas: Schemas
) -> ClaimsMapper:
    try:
        return await build_mapper(section.mapper_url, infrastructure, schemas, provider=section.id)
    except MapperUnusable as unusable:
        raise ProviderUnusable(index, section, "mapper_url", str(unusable)) from unusable


def provider_of(section: OpenIDProvider) -> Provider:
    """Return the provider that a section of the settings configures."""
    preset = _as_configured(section)
    issuer = _issuer(section)
    endpoints = preset.endpoints_of(issuer)
    provider = Provider(
        id=section.id,
        preset=section.provider,
        label=section.label or (section.id if section.provider == "generic" else preset.label),
        client_id=section.client_id,
        client_secret=_secret(section, issuer),
        issuer=issuer,
        discovers=preset.openid,
        endpoints=replace(
            endpoints,
            authorization=section.auth_url or endpoints.authorization,
            token=section.token_url or endpoints.token,
        ),
        scope=_scope(section),
        additional_audiences=section.additional_id_token_audiences,
        id_token_native=preset.openid,
        aal2_acr_values=section.aal2_acr_values,
        aal2_amr_values=section.aal2_amr_values,
        linking="automatic" if section.account_linking_mode == "automatic" else "confirm",
        **preset.facts(),
    )
    if section.microsoft_tenant is None:
        return provider
    of_tenant = _of_tenant(provider, section.microsoft_tenant.lower())
    return of_tenant if section.subject_source == "userinfo" else _with_object_id(of_tenant)


def _as_configured(section: OpenIDProvider) -> Preset:
    """Return the preset with the facts that the settings change. Its issuer and scope stay as they are."""
    preset = section.preset
    return replace(
        preset,
        requested_claims=section.requested_claims or preset.requested_claims,
        pkce=preset.pkce if section.pkce == "auto" else section.pkce,
        claims_source=preset.claims_source if section.claims_source == "id_token" else section.claims_source,
        issuer_aliases=preset.issuer_aliases if _issuer(section) == preset.issuer else (),
        authorization_parameters=_authorization_parameters(section),
        token_auth=preset.token_auth if section.client_secret or section.apple_private_key else "none",
        reauthenticates=preset.reauthenticates if section.reauthenticates is None else section.reauthenticates,
    )


def _issuer(section: OpenIDProvider) -> str:
    preset = section.preset
    configured = section.issuer_url if preset.configurable_issuer else None
    issuer = configured or preset.issuer or ""
    return f"{issuer.rstrip('/')}/" if preset.issuer_slash else issuer


def _secret(section: OpenIDProvider, issuer: str) -> str | SigningSecret | None:
    if section.apple_private_key is not None:
        # In a variable of the environment, the line breaks of a PEM are often written as \n.
        key = section.apple_private_key.get_secret_value().replace("\\n", "\n")
        team, key_id = section.apple_team_id or "", section.apple_private_key_id or ""
        return SigningSecret(key=key, key_id=key_id, issuer=team, audience=issuer)
    secret = section.client_secret
    return (secret.get_secret_value() or None) if secret is not None else None


def _scope(section: OpenIDProvider) -> tuple[str, ...]:
    preset = section.preset
    asked = dict.fromkeys((*preset.required_scope, *(section.scope or preset.scope)))
    return tuple(scope for scope in asked if _is_scope(scope, preset))


def _is_scope(scope: str, preset: Preset) -> bool:
    """Return whether the provider knows a scope. OAuth 2 without OpenID has no ID token to ask for."""
    return scope not in preset.scope_parameters and (preset.openid or scope != OPENID)


def _authorization_parameters(section: OpenIDProvider) -> dict[str, str]:
    preset = section.preset
    parameters = dict(preset.authorization_parameters)
    for scope in section.scope:
        parameters |= preset.scope_parameters.get(scope, {})
    return parameters


def _of_tenant(provider: Provider, tenant: str) -> Provider:
    """Return the provider of one of Microsoft's tenants, or of many: the tenant's id is part of the issuer.

    https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer
    """
    named = _PERSONAL_ACCOUNTS if tenant == "consumers" else tenant
    provider = replace(provider, issuer=f"{MICROSOFT}/{named}/v2.0")
    if _is_tenant_id(named):
        return provider
    refused = frozenset({_PERSONAL_ACCOUNTS} if tenant == "organizations" else ())
    template = f"{MICROSOFT}/{{tenantid}}/v2.0"
    return replace(provider, issuer_template=template, id_token_native=False, refused_tenants=refused)


def _with_object_id(provider: Provider) -> Provider:
    """Return the provider with the claim `oid` as the subject, which is the id that Graph tells of a person (`me`).

    https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
    """
    return replace(provider, subject_claim="oid", scope=tuple(dict.fromkeys((*provider.scope, "profile"))))


def _is_tenant_id(tenant: str) -> bool:
    digits = tenant.replace("-", "")
    return len(tenant) == 36 and len(digits) == 32 and all(digit in "0123456789abcdef" for digit in digits)
