"""Build what proves identities and what is issued for it: identities, methods, sessions, tokens, throttles."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from shopkeeper.app.credential_facts import CREDENTIAL_FACTS
from shopkeeper.app.identity_providers import IdentityProviders, build_identity_providers
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.mail import build_courier
from shopkeeper.app.methods import Methods, build_by_mail, build_code, build_methods, build_policy
from shopkeeper.app.session_servers import SessionServers, build_session_servers
from shopkeeper.app.session_tokenizer import build_session_tokenizer
from shopkeeper.app.signing_keys import build_signing_keys
from shopkeeper.app.social_providers import build_social_providers
from shopkeeper.credentials.attempts import AttemptGuard
from shopkeeper.credentials.hashes import Argon2Parameters, Hasher
from shopkeeper.credentials.method import Method
from shopkeeper.credentials.policy import PasswordPolicy
from shopkeeper.credentials.provider_attempts import ProviderAttempts
from shopkeeper.crypto import KeyRing, derive
from shopkeeper.errors import UpstreamFailed
from shopkeeper.flows import registrants
from shopkeeper.identity.address_changes import AddressChanges
from shopkeeper.identity.changes import AccessListener, Listener
from shopkeeper.identity.facts import CredentialFacts, FactsByType, types_from_traits
from shopkeeper.identity.group_names import group_name_of
from shopkeeper.identity.groups import Groups
from shopkeeper.identity.schema import Schemas
from shopkeeper.identity.sealing import PURPOSE
from shopkeeper.identity.service import Identities
from shopkeeper.notify.courier import Courier
from shopkeeper.sessions.acting import Acting, Agents
from shopkeeper.sessions.assurance import AssurancePolicy
from shopkeeper.sessions.lifetimes import Lifetimes
from shopkeeper.sessions.queries import Render
from shopkeeper.sessions.refresh import RefreshBudgets
from shopkeeper.sessions.refresh_tokens import RefreshTokens
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.tokenizer import SessionTokenizer
from shopkeeper.signin import provider_session_store
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import CacheDown
from shopkeeper.throttle import Throttle
from shopkeeper.tokens.key_rotation import KeyRotation
from shopkeeper.tokens.sealed import SealedTokens
from shopkeeper.tokens.signing_keys import SigningKeys
from shopkeeper.upstream.token_questions import TokenQuestions

_OF_ONE_FORM: Final = 2
"""How many times the wrong codes of one form an address may have over all forms of recovery and verification, until a
block: who has used up a form asks for another code, and goes on with it."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Identities, and everything that proves them or is issued for them."""

    schemas: Schemas
    identities: Identities
    groups: Groups
    address_changes: AddressChanges
    hasher: Hasher
    policy: PasswordPolicy
    methods: Methods
    sessions: Sessions
    tokenizer: SessionTokenizer
    assurance: AssurancePolicy
    sealed: SealedTokens
    signing_keys: SigningKeys
    key_rotation: KeyRotation
    acting: Acting | None
    """Agents who act as others; None where that is switched off."""
    throttles: Mapping[str, Throttle]
    courier: Courier
    session_servers: SessionServers
    identity_providers: IdentityProviders
    on_deleted: list[Listener]
    """Called with each deleted identity. What is built later and stores data about identities adds its listener
    here."""


async def build_accounts(
    infrastructure: Infrastructure,
    *,
    render: Callable[[AssurancePolicy], Render],
    further_facts: Sequence[CredentialFacts] = (),
    further_methods: Callable[[Infrastructure, Identities], Sequence[Method]] = lambda infrastructure, identities: (),
) -> Accounts:
    """Build the accounts.

    Args:
        render: builds what renders the whoami answer of a session, which is cached with the session.
        further_facts, further_methods: those of `Extensions`.
    """
    settings, clock = infrastructure.settings, infrastructure.clock
    facts = {**CREDENTIAL_FACTS, **{known.type: known for known in further_facts}}
    schemas = await _schemas(infrastructure, facts)
    listeners: list[Listener] = []
    on_access_revoked: list[AccessListener] = []
    on_deleted: list[Listener] = []
    identities = Identities(
        schemas,
        facts=facts,
        keys=KeyRing(settings.secrets.for_sealing(), purpose=PURPOSE),
        clock=clock,
        audit=infrastructure.audit,
        events=infrastructure.outbox,
        listeners=listeners,
        on_access_revoked=on_access_revoked,
        on_deleted=on_deleted,
    )
    budgets = {
        "login": settings.throttle.login.per_ip,
        "registration": settings.throttle.registration.per_ip,
        "settings": settings.throttle.settings.per_account,
        "code": settings.throttle.code.per_ip,
        "error": settings.throttle.error.per_ip,
        "provider": settings.throttle.provider.per_ip,
        "provider_logout": settings.throttle.provider_logout.per_ip,
        "token_exchange": settings.throttle.login.per_ip,
        "client": settings.throttle.client.per_ip,
        "refresh": settings.throttle.refresh.per_ip,
        "refresh_session": settings.throttle.refresh.per_session,
        "code_recipient": settings.throttle.code.per_recipient,
        "code_pair": settings.throttle.code.per_pair,
        "registrant": registrants.PER_CLIENT,
        "impersonation": settings.impersonation.limit,
    }
    throttles = {name: _throttle(infrastructure, name, per_ip=str(per_ip)) for name, per_ip in budgets.items()}
    throttles["mailed_code"] = _throttle(
        infrastructure,
        "mailed_code",
        per_ip=str(settings.throttle.login.per_ip),
        failures=_OF_ONE_FORM
        * max(settings.throttle.login.failures, settings.selfservice.methods.code.config.max_submissions),
    )
    argon2, pool = settings.hashers.argon2, settings.hashers.pool
    hasher = Hasher(
        Argon2Parameters(
            memory=argon2.memory_kib,
            iterations=argon2.iterations,
            parallelism=argon2.parallelism,
            salt_length=argon2.salt_length,
            key_length=argon2.key_length,
        ),
        workers=pool.workers or usable_cores(),
        queue=pool.queue,
    )
    policy = build_policy(infrastructure)
    guard = AttemptGuard(throttle=throttles["login"], audit=infrastructure.audit)
    courier = await build_courier(infrastructure)
    code = build_code(infrastructure, identities, courier=courier, throttles=throttles, guard=guard)
    address_changes = AddressChanges(identities, clock=clock)
    by_mail = build_by_mail(
        infrastructure,
        identities,
        address_changes=address_changes,
        courier=courier,
        throttles=throttles,
        guard=AttemptGuard(throttle=throttles["mailed_code"], audit=infrastructure.audit),
    )
    questions = {
        provider.id: TokenQuestions(
            _throttle(infrastructure, f"token.{provider.id}", per_ip=str(settings.throttle.token.per_ip))
        )
        for provider in settings.providers
    }
    identity_providers = await build_identity_providers(infrastructure, schemas, identities, questions=questions)
    social = [
        *await build_social_providers(infrastructure, schemas, others=identity_providers.signing_in),
        *identity_providers.social,
    ]
    methods = build_methods(
        infrastructure,
        identities,
        hasher=hasher,
        policy=policy,
        guard=guard,
        code=code,
        by_mail=by_mail,
        social=social,
        attempts=ProviderAttempts(throttles["provider"]),
    )
    methods = replace(methods, every=[*methods.every, *further_methods(infrastructure, identities)])
    assurance = AssurancePolicy(methods.second_factors)
    budgets_of_refresh = RefreshBudgets(by_address=throttles["refresh"], by_session=throttles["refresh_session"])
    acting = _acting(infrastructure)
    session_servers = build_session_servers(infrastructure, questions=questions)
    sessions = _sessions(
        infrastructure,
        identities,
        render=render(assurance),
        budgets=budgets_of_refresh,
        signs_in_elsewhere=bool(social or settings.providers),
        acting=acting,
    )
    listeners.append(sessions.invalidate_identity)
    on_access_revoked.append(sessions.end_for)
    own_keys = build_signing_keys(settings, infrastructure.database, clock, audit=infrastructure.audit)
    return Accounts(
        schemas=schemas,
        identities=identities,
        groups=Groups(identities, clock=clock, audit=infrastructure.audit),
        address_changes=address_changes,
        hasher=hasher,
        policy=policy,
        methods=methods,
        sessions=sessions,
        tokenizer=await build_session_tokenizer(infrastructure),
        assurance=assurance,
        sealed=SealedTokens(settings.secrets.for_sealing(), clock=clock, lifespan=settings.tokens.anonymous.lifespan),
        signing_keys=own_keys.signing,
        key_rotation=own_keys.rotation,
        acting=acting,
        throttles=throttles,
        courier=courier,
        session_servers=session_servers,
        identity_providers=identity_providers,
        on_deleted=on_deleted,
    )


def usable_cores() -> int:
    """Return the number of cores that this process may run on: in a container often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def _schemas(infrastructure: Infrastructure, facts: FactsByType) -> Schemas:
    async def fetch(url: str) -> bytes:
        reply = await infrastructure.http_client.request("GET", url)
        if not reply.ok:
            raise UpstreamFailed(f"The identity schema at {url} was answered with status {reply.status}.")
        return reply.body

    configured = infrastructure.settings.identity
    sources = [(schema.id, schema.location) for schema in configured.schemas]
    return await Schemas.load(
        sources,
        configured.default_schema_id,
        from_traits=types_from_traits(facts),
        selectable=[schema.id for schema in configured.schemas if schema.selfservice_selectable],
        fetch=fetch,
    )


def _acting(infrastructure: Infrastructure) -> Acting | None:
    settings = infrastructure.settings
    if not settings.impersonation.enabled:
        return None
    keys = [key.id for key in settings.admin.api_keys if "impersonate" in key.scopes]
    return Acting(
        infrastructure.database,
        infrastructure.clock,
        infrastructure.audit,
        infrastructure.tally,
        keys=frozenset(keys or (["dev"] if settings.dev and not settings.admin.api_keys else [])),
        agents=Agents(
            ids=frozenset(settings.impersonation.agents),
            groups=frozenset(map(group_name_of, settings.impersonation.agent_groups)),
            named=settings.impersonation.named_agents,
        ),
        protected_groups=frozenset(map(group_name_of, settings.impersonation.protected_groups)),
    )


def _sessions(
    infrastructure: Infrastructure,
    identities: Identities,
    *,
    render: Render,
    budgets: RefreshBudgets,
    signs_in_elsewhere: bool,
    acting: Acting | None,
) -> Sessions:
    settings = infrastructure.settings
    refresh = settings.tokens.refresh
    return Sessions(
        identities,
        infrastructure.database,
        cache=infrastructure.cache,
        clock=infrastructure.clock,
        lifetimes=Lifetimes(
            lifespan=settings.session.lifespan,
            kept=settings.session.keep_signed_in.lifespan,
            absolute=settings.session.absolute_lifespan,
            idle=settings.session.idle_lifespan,
            most=settings.session.max_per_identity,
        ),
        earliest_extend=settings.session.earliest_possible_extend,
        audit=infrastructure.audit,
        render=render,
        logout_secrets=settings.secrets.for_cookies(),
        cache_capacity=settings.cache.sessions,
        refresh=RefreshTokens(
            clock=infrastructure.clock,
            lifespan=refresh.lifespan,
            replay_window=refresh.replay_window,
        )
        if refresh.enabled
        else None,
        refresh_budgets=budgets,
        tally=infrastructure.tally,
        forget=provider_session_store.forget if signs_in_elsewhere else None,
        acting=acting,
    )


def _throttle(infrastructure: Infrastructure, name: str, *, per_ip: str, failures: int | None = None) -> Throttle:
    """Build a throttle. All have the same rules for failures, and the number of sign-in unless `failures` says another;
    requests that cannot be wrong only spend the address's budget."""
    login = infrastructure.settings.throttle.login
    return Throttle(
        infrastructure.cache,
        spare=MemoryCache(infrastructure.clock),
        down=CacheDown,
        clock=infrastructure.clock,
        key=derive(infrastructure.settings.secrets.for_all_else()[0], purpose="throttle"),
        name=name,
        failures=failures or login.failures,
        block=login.block,
        block_max=login.block_max,
        per_ip=per_ip,
    )
