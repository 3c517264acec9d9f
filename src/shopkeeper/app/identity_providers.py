"""Build the identity providers that a shop already has: their clients, their token sources, and who becomes whom."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from shopkeeper.app.authentication_gate import build_gate
from shopkeeper.app.claims_mappers import MapperUnusable, build_mapper
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.own_credentials import build_own_credentials
from shopkeeper.app.social_providers import MICROSOFT, provider_of
from shopkeeper.clock import Clock
from shopkeeper.credentials.attempts import AttemptGuard
from shopkeeper.credentials.claims_mapping import ClaimsMapper
from shopkeeper.credentials.social_provider import SocialProvider
from shopkeeper.identity.schema import Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.openid.access_token import AccessTokenRules
from shopkeeper.openid.access_tokens import AccessTokens
from shopkeeper.openid.calls import Limits
from shopkeeper.openid.client import OpenIDClient
from shopkeeper.openid.password_grant import GrantRequest, PasswordGrant
from shopkeeper.openid.preset import Preset
from shopkeeper.openid.presets import PRESETS
from shopkeeper.openid.provider import TENANT, Endpoints, Provider
from shopkeeper.sessions.assurance import AssurancePolicy
from shopkeeper.settings import Settings
from shopkeeper.settings.identity_provider import OWN, IdentityProviderSection
from shopkeeper.settings.kratos_provider import KratosProvider
from shopkeeper.settings.oidc_provider import SHARED_TENANTS, OidcProvider
from shopkeeper.upstream.oidc import MembershipClaims, OidcTokens
from shopkeeper.upstream.own_credentials import OwnCredentials
from shopkeeper.upstream.passwords import ProviderPasswords
from shopkeeper.upstream.port import PasswordProvider
from shopkeeper.upstream.provisioning import Provisioning, ProvisioningRules
from shopkeeper.upstream.refused_tokens import RefusedTokens
from shopkeeper.upstream.token_questions import TokenQuestions
from shopkeeper.upstream.verified_token_cache import VerifiedTokenCache

PLACE: Final = "providers"
LIMITS: Final = Limits(call=3.0, patience=0.3, conversation=5.0)
"""Callers with a token wait for a shorter time than a person who signs in."""
_SOCIAL_PRESETS: Final = {"auth0": "auth0", "entra": "microsoft"}
"""The presets of social sign-in that a provider's sign-in follows; all others follow the standard."""
_TENANT_ISSUER: Final = f"{MICROSOFT}/{TENANT}/v2.0"
_V1_ISSUER: Final = f"https://sts.windows.net/{TENANT}/"


class IdentityProviderUnusable(ValueError):
    """An identity provider cannot be built. The sentence names its place in the settings, and ends the start."""

    def __init__(self, index: int, section: IdentityProviderSection, key: str, reason: str) -> None:
        super().__init__(f"{PLACE}[{index}].{key} ({section.id}) {reason}.")


@dataclass(frozen=True, slots=True)
class BuiltOidcProvider:
    """One provider of kind `oidc`; `place` is that of its mapper in the settings."""

    place: str
    section: OidcProvider
    client: OpenIDClient
    mapper: ClaimsMapper
    source: OidcTokens
    grant: PasswordGrant | None


@dataclass(frozen=True, slots=True)
class IdentityProviders:
    """The identity providers, in the order of the settings.

    Args:
        social: those that customers sign in at in their browsers.
        provisioning: finds and makes the identities of all their subjects.
    """

    oidc: Sequence[BuiltOidcProvider]
    social: Sequence[SocialProvider]
    provisioning: Provisioning

    @property
    def signing_in(self) -> Sequence[Provider]:
        """The providers that customers sign in at in their browsers."""
        return [social.provider for social in self.social]

    @property
    def sources(self) -> Mapping[str, OidcTokens]:
        """What verifies the access tokens of each provider, by its id."""
        return {built.section.id: built.source for built in self.oidc}

    async def close(self) -> None:
        """End what still runs for callers that have gone."""
        for built in self.oidc:
            await built.source.close()


async def build_identity_providers(
    infrastructure: Infrastructure, schemas: Schemas, identities: Identities, *, questions: Mapping[str, TokenQuestions]
) -> IdentityProviders:
    """Build the providers, with the limits of each by its id. None is called yet, so that one that is down stops no
    start.

    Raises:
        IdentityProviderUnusable: a mapper cannot be read or is no Jsonnet.
    """
    sections = [
        (index, section)
        for index, section in enumerate(infrastructure.settings.providers)
        if isinstance(section, OidcProvider)
    ]
    asked = [provider_of(section) for section in infrastructure.settings.selfservice.methods.oidc.providers]
    asked += [identity_provider_of(section) for _, section in sections if section.sign_in]
    built = [
        await _built(index, section, infrastructure, schemas, asked, questions=questions[section.id])
        for index, section in sections
    ]
    of_stores = {store.provider for store in infrastructure.settings.stores}
    # An identity is one person in all stores: where one of them has accounts of its own, an account that has not
    # verified its address may be a customer's who signs in there.
    takes_over = of_stores - {OWN} if OWN not in of_stores else set()
    rules = {each.section.id: _provisioning_rules(each) for each in built}
    for index, server in enumerate(infrastructure.settings.providers):
        if isinstance(server, KratosProvider):
            rules[server.id] = await _rules_of_session_server(index, server, infrastructure, schemas)
    rules = {id_: replace(rule, takes_over=id_ in takes_over) for id_, rule in rules.items()}
    return IdentityProviders(
        oidc=built,
        social=[_social(each) for each in built if each.section.sign_in],
        provisioning=Provisioning(
            database=infrastructure.database,
            clock=infrastructure.clock,
            identities=identities,
            rules=rules,
            gate=build_gate(infrastructure),
        ),
    )


async def _rules_of_session_server(
    index: int, section: KratosProvider, infrastructure: Infrastructure, schemas: Schemas
) -> ProvisioningRules:
    try:
        mapper = await build_mapper(section.provisioning.mapper_url, infrastructure, schemas, provider=section.id)
    except MapperUnusable as unusable:
        raise IdentityProviderUnusable(index, section, "provisioning.mapper_url", str(unusable)) from unusable
    return ProvisioningRules(
        create=section.provisioning.create,
        mapper=mapper,
        schema_id=section.provisioning.schema_id,
        issuer=section.issuer,
    )


def _social(built: BuiltOidcProvider) -> SocialProvider:
    section = built.section
    return SocialProvider(
        built.client,
        built.mapper,
        updates_identity=section.update_identity_on_login == "automatic",
        groups_claim=section.groups_claim,
        roles_claim=section.roles_claim,
    )


async def _built(
    index: int,
    section: OidcProvider,
    infrastructure: Infrastructure,
    schemas: Schemas,
    asked: Sequence[Provider],
    *,
    questions: TokenQuestions,
) -> BuiltOidcProvider:
    try:
        mapper = await build_mapper(section.provisioning.mapper_url, infrastructure, schemas, provider=section.id)
    except MapperUnusable as unusable:
        raise IdentityProviderUnusable(index, section, "provisioning.mapper_url", str(unusable)) from unusable
    client = OpenIDClient(
        identity_provider_of(section),
        http=infrastructure.http_client,
        clock=infrastructure.clock,
        limits=LIMITS,
        tally=infrastructure.tally,
        others=[other for other in asked if other.id != section.id],
    )
    source = token_source_of(
        section,
        client,
        clock=infrastructure.clock,
        stores=fronts_of(section, infrastructure.settings),
        others=[each.token_prefix for each in infrastructure.settings.providers if isinstance(each, KratosProvider)],
        own=build_own_credentials(infrastructure.settings),
        questions=questions,
    )
    grant = _password_grant(section, infrastructure) if section.password_grant.enabled else None
    return BuiltOidcProvider(f"{PLACE}[{index}].provisioning.mapper_url", section, client, mapper, source, grant)


def _password_grant(section: OidcProvider, infrastructure: Infrastructure) -> PasswordGrant:
    """Build the password grant, with a client of its own: guesses at passwords, which a provider answers with 429, must
    not open the circuit breakers of all other calls."""
    given = section.password_grant
    ours = {"client_id": given.client_id, "client_secret": given.client_secret} if given.client_id is not None else {}
    provider = identity_provider_of(section.model_copy(update=ours))
    granting = replace(provider, endpoints=replace(provider.endpoints, token=given.token_url))
    client = OpenIDClient(
        granting,
        http=infrastructure.http_client,
        clock=infrastructure.clock,
        limits=LIMITS,
        tally=infrastructure.tally,
    )
    return PasswordGrant(
        client,
        GrantRequest(given.scope, given.audience, given.realm),
        access_tokens=AccessTokens(client, access_token_rules(section), clock=infrastructure.clock),
        clock=infrastructure.clock,
    )


def build_password_providers(
    providers: IdentityProviders, *, guard: AttemptGuard, assurance: AssurancePolicy
) -> Mapping[str, PasswordProvider]:
    """Return what takes a name and a password in the stores of each provider that lets us."""
    return {
        built.section.id: ProviderPasswords(
            built.grant,
            guard=guard,
            tokens=built.source,
            provisioning=providers.provisioning,
            assurance=assurance,
        )
        for built in providers.oidc
        if built.grant is not None
    }


def token_source_of(
    section: OidcProvider,
    client: OpenIDClient,
    *,
    clock: Clock,
    stores: Collection[str],
    questions: TokenQuestions,
    own: OwnCredentials,
    others: Collection[str] = (),
) -> OidcTokens:
    """Return what verifies the access tokens of a provider.

    Args:
        stores: the fronts that take them.
        others: what the tokens of session servers begin with.
        own: our tokens and keys, which are sent nowhere.
    """
    return OidcTokens(
        AccessTokens(client, access_token_rules(section), clock=clock),
        opaque=section.opaque_tokens,
        membership=MembershipClaims(
            groups=section.groups_claim or section.facts.groups_claim,
            roles=section.roles_claim or section.facts.roles_claim,
        ),
        stores=stores,
        own=own,
        others=others,
        jwts=VerifiedTokenCache(clock=clock, ceiling=section.cache),
        opaques=VerifiedTokenCache(clock=clock, ceiling=section.opaque_cache),
        refused=RefusedTokens(clock=clock, ceiling=section.opaque_cache),
        questions=questions,
    )


def access_token_rules(section: OidcProvider) -> AccessTokenRules:
    """Return what the access tokens of a configured provider must be like."""
    preset = section.facts
    return AccessTokenRules(
        preset=preset,
        audiences=frozenset(section.audiences),
        clients=frozenset(section.allowed_clients),
        subject_claim=section.subject_claim or preset.subject_claim,
        scope_claims=(section.scope_claim,) if section.scope_claim else preset.scope_claims,
        leeway=section.clock_skew,
    )


def _provisioning_rules(built: BuiltOidcProvider) -> ProvisioningRules:
    section, provider = built.section, built.client.provider
    return ProvisioningRules(
        create=section.provisioning.create,
        mapper=built.mapper,
        schema_id=section.provisioning.schema_id,
        issuer=provider.issuer if provider.issuer_template is None else None,
        more=built.source.userinfo if section.claims_from == "userinfo" else None,
        known=_social(built),
    )


def identity_provider_of(section: OidcProvider) -> Provider:
    """Return the provider that a section of the settings configures."""
    preset = PRESETS[_SOCIAL_PRESETS.get(section.preset, "generic")]
    secret = section.client_secret.get_secret_value() if section.client_secret is not None else ""
    provider = Provider(
        id=section.id,
        preset=_SOCIAL_PRESETS.get(section.preset, "generic"),
        label=section.label or section.id,
        client_id=section.client_id or "",
        client_secret=secret or None,
        issuer=_issuer(section),
        endpoints=Endpoints(jwks=section.jwks_url, introspection=section.introspection_url),
        scope=preset.scope,
        subject_claim=section.subject_claim or section.facts.sign_in_subject,
        **_with_pkce(preset, secret).facts(),
    )
    return _of_tenants(provider, section) if section.preset == "entra" else provider


def _with_pkce(preset: Preset, secret: str) -> Preset:
    """Return the preset with a proof key for every code (RFC 9700 section 2.1.1)."""
    return replace(preset, pkce="force", token_auth=preset.token_auth if secret else "none")


def _issuer(section: OidcProvider) -> str:
    if section.preset == "entra":
        return f"{MICROSOFT}/{section.tenant}/v2.0"
    issuer = section.issuer or ""
    return f"{issuer.rstrip('/')}/" if section.facts.issuer_slash else issuer


def _of_tenants(provider: Provider, section: OidcProvider) -> Provider:
    """Return the provider with the issuers of its tenants: those of v2 tokens, and of v1 tokens as aliases.

    https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer
    """
    tenants = section.allowed_tenants if section.tenant in SHARED_TENANTS else (section.tenant or "",)
    return replace(
        provider,
        issuer_template=_TENANT_ISSUER,
        template_aliases=(_V1_ISSUER,),
        allowed_tenants=frozenset(tenants),
    )


def fronts_of(section: IdentityProviderSection, settings: Settings) -> frozenset[str]:
    """Return the ids of the fronts that take a provider's tokens.

    A store with an identity provider of its own takes the tokens of that one only, unless the settings say otherwise.
    """
    fronts = {store.id: [f"{store.id}@{tenant}" for tenant in store.tenants] or [store.id] for store in settings.stores}
    if section.stores:
        named = {front for name in section.stores for front in fronts.get(name, [name])}
        return frozenset(named)
    taking = [store.id for store in settings.stores if store.provider in {OWN, section.id}]
    return frozenset(front for store in taking for front in fronts[store])
