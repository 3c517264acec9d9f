"""What the settings of social sign-in say of each provider, with its preset."""

from typing import Any, Final

from shopkeeper.openid.preset import OPENID, Preset
from shopkeeper.openid.provider import Provider, SigningSecret, UserinfoRequest, UserinfoShape
from shopkeeper.settings.openid_providers import OpenIDProvider

_MICROSOFT: Final = "https://login.microsoftonline.com"
_GRAPH: Final = UserinfoRequest("me", "https://graph.microsoft.com/v1.0/me?$select=id")
_PERSONAL_ACCOUNTS: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The tenant of all personal accounts at Microsoft."""
_SUBJECT_OF_GRAPH: Final = "graph_id"


def provider_of(section: OpenIDProvider) -> Provider:
    """Return the provider that a section of the settings configures."""
    preset = section.preset
    issuer = _issuer(section)
    endpoints = preset.endpoints_of(issuer)
    fields: dict[str, Any] = {
        "id": section.id,
        "preset": section.provider,
        "label": section.label or (section.id if section.provider == "generic" else preset.label),
        "client_id": section.client_id,
        "client_secret": _secret(section, issuer),
        "issuer": issuer,
        "discovers": preset.openid,
        "discovery_url": preset.discovery_url,
        "endpoints": type(endpoints)(
            authorization=section.auth_url or endpoints.authorization,
            token=section.token_url or endpoints.token,
            userinfo=endpoints.userinfo,
            jwks=endpoints.jwks,
            end_session=endpoints.end_session,
        ),
        "scope": _scope(section),
        "requested_claims": section.requested_claims or preset.requested_claims,
        "pkce": preset.pkce if section.pkce == "auto" else section.pkce,
        "claims_source": preset.claims_source if section.claims_source == "id_token" else section.claims_source,
        "userinfo": preset.userinfo,
        "issuer_aliases": preset.issuer_aliases if issuer == preset.issuer else (),
        "authorization_parameters": _authorization_parameters(section),
        "token_auth": preset.token_auth if section.client_secret or section.apple_private_key else "none",
        "token_parameters": preset.token_parameters,
        "sends_nonce": preset.sends_nonce,
        "additional_audiences": section.additional_id_token_audiences,
        "id_token_native": preset.openid and preset.id_token_native,
        "aal2_acr_values": section.aal2_acr_values,
        "aal2_amr_values": section.aal2_amr_values,
        "linking": "automatic" if section.account_linking_mode == "automatic" else "confirm",
    }
    return Provider(**{**fields, **_microsoft(section)})


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


def _microsoft(section: OpenIDProvider) -> dict[str, Any]:
    """Return what depends on the tenant, whose id is part of the issuer.

    https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer
    """
    tenant = section.microsoft_tenant
    if tenant is None:
        return {}
    fields: dict[str, Any] = {"issuer": f"{_MICROSOFT}/{_PERSONAL_ACCOUNTS if tenant == 'consumers' else tenant}/v2.0"}
    if tenant != "consumers" and not _is_tenant_id(tenant):
        fields |= {"issuer_template": f"{_MICROSOFT}/{{tenantid}}/v2.0", "id_token_native": False}
    if tenant == "organizations":
        fields["refused_tenants"] = frozenset({_PERSONAL_ACCOUNTS})
    return fields | _microsoft_subject(section)


def _microsoft_subject(section: OpenIDProvider) -> dict[str, Any]:
    if section.subject_source == "oid":
        return {"subject_claim": "oid"}
    if section.subject_source == "me":
        shape = UserinfoShape(
            name="user",
            further=(_GRAPH,),
            claims={
                _SUBJECT_OF_GRAPH: "me.id",
                **{name: f"user.{name}" for name in ("sub", "name", "given_name", "family_name", "email", "picture")},
            },
        )
        scope = tuple(dict.fromkeys((*_scope(section), "User.Read")))
        return {"userinfo": shape, "claims_source": "userinfo", "subject_claim": _SUBJECT_OF_GRAPH, "scope": scope}
    return {}


def _is_tenant_id(tenant: str) -> bool:
    digits = tenant.replace("-", "")
    return len(tenant) == 36 and len(digits) == 32 and all(digit in "0123456789abcdefABCDEF" for digit in digits)
