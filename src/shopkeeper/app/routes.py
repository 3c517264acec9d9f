"""Build the routes of the public and of the admin port."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from shopkeeper import __version__
from shopkeeper.app.accounts import Accounts
from shopkeeper.app.addressing import admin_hosts, cookie_origins, cors_of, form_origins, own_origin, public_hosts
from shopkeeper.app.commerce import Commerce, build_stores
from shopkeeper.app.flows import (
    FlowBinding,
    build_flow_bindings,
    build_operator_recovery,
    build_pipeline,
    build_registrar,
    build_return_addresses,
    build_returning,
    return_urls,
)
from shopkeeper.app.impersonation import build_impersonations
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.introspection import build_introspection_endpoint
from shopkeeper.app.oauth import OAuth
from shopkeeper.app.provider_logout import build_backchannel_logout, build_logout, build_silent_sign_on
from shopkeeper.app.server_metadata import build_server_metadata
from shopkeeper.app.shop_name import shop_name
from shopkeeper.app.store_flows import build_store_handlers
from shopkeeper.app.token_sources import TokenSources
from shopkeeper.client import Client
from shopkeeper.credentials.imports import Imports
from shopkeeper.crypto import KeyRing
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.flows.store_handlers import StoreHandlers
from shopkeeper.flows.token_exchange import TokenExchange
from shopkeeper.http.admin import AdminIdentities, Operators
from shopkeeper.http.admin_auth import AdminAuthentication
from shopkeeper.http.admin_groups import AdminGroups
from shopkeeper.http.admin_impersonations import AdminImpersonations
from shopkeeper.http.admin_messages import AdminMessages
from shopkeeper.http.admin_recovery import AdminRecovery
from shopkeeper.http.admin_sessions import AdminSessions
from shopkeeper.http.admin_suppressions import AdminSuppressions
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.backchannel_logout import BackchannelLogoutRoutes
from shopkeeper.http.bounces import BounceReports
from shopkeeper.http.callbacks import CallbackRoutes
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.error_page import ErrorPage
from shopkeeper.http.forward_auth import OPTIONAL_PATH, PATH, ForwardAuth
from shopkeeper.http.health import Check, Health
from shopkeeper.http.hosts import HostRules
from shopkeeper.http.immediate import ImmediateAnswers
from shopkeeper.http.impersonation import ImpersonationRoutes
from shopkeeper.http.impersonation_gate import ImpersonationGate
from shopkeeper.http.logout import LogoutRoutes
from shopkeeper.http.metrics import Metrics
from shopkeeper.http.not_built import ADMIN, PUBLIC, not_built_routes
from shopkeeper.http.oauth_token import REVOCATION_PATH, TOKEN_PATH, OAuthTokenRoutes
from shopkeeper.http.operation_metrics import OperationMetrics
from shopkeeper.http.outcome_responses import OutcomeResponses
from shopkeeper.http.pages.assets import read_demo
from shopkeeper.http.pages.engine_reads import EngineReads
from shopkeeper.http.pages.leaving import LeavingPage
from shopkeeper.http.pages.one_click import OneClickPages, Purpose
from shopkeeper.http.pages.repeated_form import RepeatedForm
from shopkeeper.http.pages.routes import PageRoutes, PageSettings
from shopkeeper.http.pages.shown_providers import ShownProvider, ShownProviders
from shopkeeper.http.paging import PageTokens
from shopkeeper.http.public_redirects import public_redirects
from shopkeeper.http.refused_flows import RefusedFlows
from shopkeeper.http.request_limits import BodyBudget
from shopkeeper.http.request_log import RequestLog
from shopkeeper.http.route_labels import UNMATCHED, PathLabels
from shopkeeper.http.schemas import schema_routes
from shopkeeper.http.selfservice import LARGEST_BODY, SelfService
from shopkeeper.http.serializers import Serializers
from shopkeeper.http.server_metadata import server_metadata_routes
from shopkeeper.http.session_server_paths import SessionServerPaths
from shopkeeper.http.sessions import OwnSessions
from shopkeeper.http.silent_sign_on import SilentSignOnRoutes
from shopkeeper.http.speculation import RefusedPage
from shopkeeper.http.storefront import Storefront, client_refusal
from shopkeeper.http.token_exchange import TokenExchangeRoutes
from shopkeeper.http.well_known import well_known_routes
from shopkeeper.http.whoami import WhoAmI, WhoamiAtOnce, WhoamiRenderer
from shopkeeper.http.wiring import VARY_ORIGIN, RouteGroup, admin_app, public_app
from shopkeeper.identity.withdrawals import Withdrawals
from shopkeeper.languages.choice import SOURCE
from shopkeeper.oauth.introspection import Introspection
from shopkeeper.sessions.assurance import AssurancePolicy
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.impersonation import Impersonations
from shopkeeper.sessions.principal import PrincipalResolver
from shopkeeper.sessions.queries import Render
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.token_sources import ServiceKey, ServiceKeys
from shopkeeper.settings import Settings, revision_of
from shopkeeper.settings.serving import ApiKey
from shopkeeper.settings.values import parse_duration
from shopkeeper.storage.cache.port import CacheDown
from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import pending
from shopkeeper.storage.outbox import Backlog
from shopkeeper.storage.sqlite_file import WritableProbe
from shopkeeper.storage.unavailable import DATABASE_ERRORS, StorageUnavailable

WHOAMI_PATH: Final = "/sessions/whoami"
GRAPHQL_PATH: Final = "/graphql"


def build_cookie_policy(infrastructure: Infrastructure, commerce: Commerce) -> CookiePolicy:
    session, oidc = infrastructure.settings.session_cookie(), infrastructure.settings.selfservice.methods.oidc
    return CookiePolicy(
        base_url=infrastructure.settings.serve.public.base_url,
        domain=session.domain,
        path=session.path,
        same_site=session.same_site,
        secure=session.secure,
        persistent=session.persistent,
        session_name=session.name,
        default_store=commerce.stores.default.id,
        silent_sign_on=oidc.enabled and any(provider.silent_sign_on for provider in oidc.providers),
    )


def build_authenticator(
    infrastructure: Infrastructure,
    sources: TokenSources,
    commerce: Commerce,
    *,
    kept_as: str = "shopkeeper.credentials",
) -> RequestAuthenticator:
    """Build what authenticates requests. The storefront and GraphQL accept bearer tokens of sessions, of visits and of
    identity providers; whoami, self-service and the other routes of sessions accept sessions only."""
    settings = infrastructure.settings
    return RequestAuthenticator(
        stores=commerce.stores,
        resolver=PrincipalResolver(
            sessions=sources.sessions,
            visits=sources.visits,
            bearers=sources.bearers,
            vouching=sources.vouching,
            server_sessions=sources.server_sessions,
        ),
        cookies=build_cookie_policy(infrastructure, commerce),
        trusted_proxies=settings.throttle.trusted_proxies,
        trusted_origins=cookie_origins(settings),
        own_origin=own_origin(settings),
        store_header=settings.store_header,
        tenant_header=settings.tenant_header,
        server_cookie=sources.server_cookie,
        kept_as=kept_as,
    )


def build_sign_out_authenticator(
    infrastructure: Infrastructure, sources: TokenSources, commerce: Commerce
) -> RequestAuthenticator:
    """Build what authenticates requests that only end sessions: they succeed also while a session server is away."""
    return build_authenticator(
        infrastructure, sources.for_sign_out, commerce, kept_as="shopkeeper.credentials.sign_out"
    )


def session_body(infrastructure: Infrastructure) -> Callable[[AssurancePolicy], Render]:
    """Return what renders the whoami answer of a session: encoded once, and cached with the session."""
    return partial(
        WhoamiRenderer,
        serializers=Serializers(base_url=infrastructure.base_url),
        required=infrastructure.settings.session.whoami.required_aal,
        stores=build_stores(infrastructure.settings),
        clock=infrastructure.clock,
    )


def build_public(
    infrastructure: Infrastructure,
    accounts: Accounts,
    commerce: Commerce,
    authenticator: RequestAuthenticator,
    introspection: Introspection,
    *,
    sign_out: RequestAuthenticator,
    oauth: OAuth,
    bodies: BodyBudget,
    metrics: Metrics,
    health: Health,
    further_flows: Callable[[Infrastructure, Accounts], Sequence[FlowBinding]] = lambda infrastructure, accounts: (),
    with_graphql: bool = True,
) -> ASGIApp:
    registrar = build_registrar(infrastructure, accounts, commerce)
    flow_bindings = [
        *build_flow_bindings(infrastructure, accounts, registrar=registrar),
        *further_flows(infrastructure, accounts),
    ]
    handlers = build_store_handlers(
        infrastructure, accounts, [binding.handler for binding in flow_bindings], registrar=registrar
    )
    pipeline = build_pipeline(infrastructure, accounts, commerce, handlers, registrar=registrar)
    cookies, serializers = build_cookie_policy(infrastructure, commerce), Serializers(base_url=infrastructure.base_url)
    hosts = public_hosts(infrastructure.settings)
    callers_of = partial(
        CallerReader,
        cookies=cookies,
        form_origins=form_origins(infrastructure.settings, [binding.shown.ui_url for binding in flow_bindings]),
        clock=infrastructure.clock,
        base_url=infrastructure.base_url,
    )
    callers = callers_of(authenticator=authenticator)
    pages = _pages(
        infrastructure,
        accounts,
        commerce,
        flow_bindings,
        callers=callers,
        pipeline=pipeline,
    )
    impersonations = build_impersonations(infrastructure, accounts)
    route_groups: Sequence[RouteGroup] = [
        Storefront(
            database=infrastructure.database,
            visit=commerce.visit,
            authenticator=authenticator,
            sign_out=sign_out,
            cookies=cookies,
            clock=infrastructure.clock,
        ),
        *_self_service(
            infrastructure,
            accounts,
            commerce,
            flow_bindings,
            handlers=handlers,
            callers=callers,
            signing_out=callers_of(authenticator=sign_out),
            cookies=cookies,
            pipeline=pipeline,
            serializers=serializers,
            one_click=pages.one_click,
            refused_page=pages.refused,
            leaving=pages.leaving,
            repeated_form=pages.repeated_form,
        ),
        OwnSessions(
            database=infrastructure.database,
            sessions=accounts.sessions,
            authenticator=authenticator,
            serializers=serializers,
        ),
        OAuthTokenRoutes(endpoint=oauth.endpoint, revocation=oauth.revocation, authenticator=authenticator),
        pages,
        *_bounce_reports(infrastructure),
        *(_impersonation(infrastructure, impersonations, pages=pages, cookies=cookies) if impersonations else ()),
    ]
    direct: dict[str, ASGIApp] = {}
    if with_graphql:
        from shopkeeper.app.graphql import build_graphql  # noqa: PLC0415 - a fifth of all imports

        direct[GRAPHQL_PATH] = build_graphql(
            infrastructure,
            accounts,
            commerce,
            authenticator,
            registrar=registrar,
            pictures=pages.picture_url,
            metrics=metrics,
            impersonations=impersonations,
        )
    gateways = _forward_auth(infrastructure, accounts, commerce, authenticator)
    asking = _introspection(infrastructure, accounts, commerce, introspection, metrics)
    server_paths = SessionServerPaths(
        accounts.session_servers.servers,
        authenticator=authenticator,
        form_origins=form_origins(infrastructure.settings, [binding.shown.ui_url for binding in flow_bindings]),
        return_addresses=build_return_addresses(infrastructure),
        own_session=accounts.sessions.resolve,
        end_own=partial(_end_session, infrastructure.database, accounts.sessions),
        refused_page=pages.refused,
    )
    # The router tries routes in this order, so the most requested ones come first.
    routes = [
        *(Route(path, endpoint, methods=["GET", "POST"]) for path, endpoint in direct.items()),
        *server_paths.routes(),
        *not_built_routes(PUBLIC),  # before the routes of all methods' callbacks
        *(route for route_group in route_groups for route in route_group.routes()),
        *schema_routes(accounts.schemas),
        *health.public_routes(),
        *(route for gateway in gateways.values() for route in gateway.routes()),
        *server_metadata_routes(
            accounts.signing_keys, partial(build_server_metadata, infrastructure), issuer=infrastructure.base_url
        ),
        *well_known_routes(settings_url=infrastructure.settings.selfservice.flows.settings.ui_url),
    ]
    _require_free(asking, PathLabels(routes, further=[WHOAMI_PATH, GRAPHQL_PATH, *gateways]))
    if impersonations is not None:
        gate = ImpersonationGate(
            authenticator=sign_out,  # agents have sessions of ours, and the gate stands in front of sign-outs, too
            page=pages.refused_to_agent,
            shapes={"/signin": lambda request, refusal: client_refusal(refusal, language=SOURCE)},
        )
        routes = gate.guard(routes)
    return public_app(
        routes,
        hot={
            WHOAMI_PATH: WhoAmI(
                authenticator=authenticator,
                tokenizer=accounts.tokenizer,
                clock=infrastructure.clock,
                session_server=server_paths if accounts.session_servers.servers else None,
            ),
            **gateways,
            **asking,
        },
        direct=direct,
        cors=cors_of(infrastructure.settings),
        without_cors=[TOKEN_PATH, REVOCATION_PATH, *asking],
        hosts=hosts,
        cookies=cookies,
        bodies=bodies,
        metrics=metrics,
        clock=infrastructure.clock,
        page=pages.refused,
        language_of=authenticator.language_of,
        immediate=_immediate(infrastructure, accounts, commerce, hosts=hosts),
    )


async def _end_session(database: Database, sessions: Sessions, token: str, client: Client) -> bool:
    """End the session of a token; return whether the token is or was one of ours."""
    if not sessions.is_ours(token):
        return False
    async with database.unit() as unit:
        return await sessions.revoke_token(unit, token, client=client)


def _forward_auth(
    infrastructure: Infrastructure, accounts: Accounts, commerce: Commerce, authenticator: RequestAuthenticator
) -> Mapping[str, ForwardAuth]:
    """Return what answers gateways, by path."""
    return {
        path: ForwardAuth(
            authenticator=authenticator,
            stores=commerce.stores,
            store_headers=(infrastructure.settings.store_header, infrastructure.settings.tenant_header),
            tokenizer=accounts.tokenizer,
            login_url=f"{infrastructure.base_url}/self-service/login/browser",
            returns=build_return_addresses(infrastructure).allowed,
            clock=infrastructure.clock,
            optional=path == OPTIONAL_PATH,
        )
        for path in (PATH, OPTIONAL_PATH)
    }


def _introspection(
    infrastructure: Infrastructure,
    accounts: Accounts,
    commerce: Commerce,
    introspection: Introspection,
    metrics: Metrics,
) -> Mapping[str, ASGIApp]:
    configured = infrastructure.settings.introspection
    if not configured.enabled:
        return {}
    endpoint = build_introspection_endpoint(introspection, infrastructure, accounts, commerce.stores, metrics)
    return endpoint.at(configured.path)


def _require_free(paths: Collection[str], labels: PathLabels) -> None:
    """Raise `ValueError` where introspection would answer in place of another route."""
    for path in paths:
        if (route := labels.of(path)) != UNMATCHED:
            raise ValueError(
                f"introspection.path is {path}, which the route {route} has; choose one such as /oauth2/introspect"
            )


def _impersonation(
    infrastructure: Infrastructure, impersonations: Impersonations, *, pages: PageRoutes, cookies: CookiePolicy
) -> Sequence[RouteGroup]:
    routes = ImpersonationRoutes(
        database=infrastructure.database,
        impersonations=impersonations,
        one_click=pages.one_click,
        cookies=cookies,
        clock=infrastructure.clock,
        prefix=urlsplit(infrastructure.base_url).path.rstrip("/"),
    )
    return (routes,)


def _immediate(
    infrastructure: Infrastructure, accounts: Accounts, commerce: Commerce, *, hosts: HostRules
) -> Callable[[RequestLog], ASGIApp]:
    """Return what answers the simplest of the most frequent requests ahead of the app."""
    settings = infrastructure.settings
    return partial(
        ImmediateAnswers,
        routes={WHOAMI_PATH: WhoamiAtOnce(cached=_cached_of(accounts, commerce), stores=commerce.stores)},
        session_cookie=settings.session_cookie().name,
        store_headers=(settings.store_header, settings.tenant_header),
        accepts=hosts.accepts,
        further=[*([VARY_ORIGIN] if settings.serve.public.cors.enabled else []), *hosts.headers],
    )


def _cached_of(accounts: Accounts, commerce: Commerce) -> Callable[[str], CachedSession | None]:
    """Return what finds sessions that need no question to another server."""
    return commerce.bound.unbound if commerce.bound is not None else accounts.sessions.cached


def _bounce_reports(infrastructure: Infrastructure) -> Sequence[RouteGroup]:
    bounces = infrastructure.settings.courier.bounces
    if bounces.secret is None:
        return ()
    reports = BounceReports(
        database=infrastructure.database,
        cache=infrastructure.cache,
        clock=infrastructure.clock,
        provider=bounces.provider,
        secret=bounces.secret.get_secret_value(),
        tally=infrastructure.tally,
    )
    return (reports,)


def _self_service(
    infrastructure: Infrastructure,
    accounts: Accounts,
    commerce: Commerce,
    flow_bindings: Sequence[FlowBinding],
    *,
    handlers: StoreHandlers,
    callers: CallerReader,
    signing_out: CallerReader,
    cookies: CookiePolicy,
    pipeline: Pipeline,
    serializers: Serializers,
    one_click: OneClickPages,
    refused_page: RefusedPage,
    leaving: LeavingPage,
    repeated_form: RepeatedForm,
) -> tuple[RouteGroup, ...]:
    flows = infrastructure.settings.selfservice.flows
    silent_sign_on = build_silent_sign_on(infrastructure, accounts, pipeline)
    returning = build_returning(infrastructure, accounts, handlers, pipeline=pipeline)

    async def ask_first(request: Request, kind: str, action: str) -> Response:
        return await one_click.ask(request, Purpose(kind), action=action, fields={})

    error_page_for = partial(
        ErrorPage,
        database=infrastructure.database,
        clock=infrastructure.clock,
        url=flows.error.ui_url,
        budget=accounts.throttles["error"],
    )
    error_page = error_page_for(callers=callers)
    responses = OutcomeResponses(
        callers=callers,
        cookies=cookies,
        serializers=serializers,
        clock=infrastructure.clock,
        flow_responses={flow_binding.handler.name: flow_binding.shown for flow_binding in flow_bindings},
        caller_in=pipeline.caller_in,
    )
    refusals = RefusedFlows(
        pipeline=pipeline,
        responses=responses,
        callers=callers,
        cookies=cookies,
        clock=infrastructure.clock,
        base_url=serializers.base_url,
    )
    max_body = min(infrastructure.settings.http.max_body, LARGEST_BODY)
    logout_routes = LogoutRoutes(
        database=infrastructure.database,
        logout=build_logout(infrastructure, accounts, commerce),
        callers=signing_out,
        cookies=cookies,
        error_page=error_page_for(callers=signing_out),
        base_url=serializers.base_url,
        max_body=max_body,
        leaving=leaving.instead_of,
        refused_page=refused_page,
    )
    with_providers = (
        SilentSignOnRoutes(silent_sign_on=silent_sign_on, callers=callers, cookies=cookies, error_page=error_page),
        BackchannelLogoutRoutes(logout=build_backchannel_logout(infrastructure, accounts, commerce), callers=callers),
    )
    self_service = SelfService(
        pipeline=pipeline,
        callers=callers,
        cookies=cookies,
        responses=responses,
        refusals=refusals,
        error_page=error_page,
        base_url=serializers.base_url,
        kinds=[flow_binding.handler.name for flow_binding in flow_bindings],
        max_body=max_body,
        one_click=ask_first if infrastructure.settings.selfservice.methods.link.config.confirm_by_click else None,
        refused_page=refused_page,
        leaving=leaving.instead_of,
    )
    callbacks = CallbackRoutes(
        pipeline=pipeline,
        returning=returning,
        callers=callers,
        responses=responses,
        refusals=refusals,
        error_page=error_page,
        repeat_form=repeated_form.of,
        refused_page=refused_page,
    )
    exchange = TokenExchangeRoutes(
        exchange=TokenExchange(
            database=infrastructure.database,
            finish=returning.finish_for_app,
            completion=commerce.completion,
            budget=accounts.throttles["token_exchange"],
            clock=infrastructure.clock,
        ),
        callers=callers,
        responses=responses,
    )
    return self_service, logout_routes, *with_providers, error_page, callbacks, exchange


def _pages(
    infrastructure: Infrastructure,
    accounts: Accounts,
    commerce: Commerce,
    flow_bindings: Sequence[FlowBinding],
    *,
    callers: CallerReader,
    pipeline: Pipeline,
) -> PageRoutes:
    settings = infrastructure.settings
    return PageRoutes(
        PageSettings(
            base_url=infrastructure.base_url,
            ui_urls={flow_binding.handler.name: flow_binding.shown.ui_url for flow_binding in flow_bindings},
            form_targets=return_urls(settings, flow_bindings),
            demo=read_demo() if settings.demo else None,
            dev=settings.dev,
            shop_name=shop_name(settings),
            shortest_password=settings.selfservice.methods.password.config.min_password_length,
            recovery=settings.selfservice.flows.recovery.enabled,
            verification=settings.selfservice.flows.verification.enabled,
            providers=_shown_providers(accounts),
        ),
        database=infrastructure.database,
        pipeline=pipeline,
        callers=callers,
        sessions=accounts.sessions,
        identities=accounts.identities,
        withdrawals=Withdrawals(infrastructure.audit),
        reads=EngineReads(infrastructure.database, commerce.engines, commerce.stores),
        courier=commerce.courier,
        devices=commerce.devices,
        address_changes=accounts.address_changes,
    )


def _shown_providers(accounts: Accounts) -> ShownProviders:
    providers = [social.provider for social in accounts.methods.social]
    return ShownProviders({each.id: ShownProvider(each.preset, each.label) for each in providers})


def build_admin(
    infrastructure: Infrastructure,
    accounts: Accounts,
    commerce: Commerce,
    *,
    bodies: BodyBudget,
    metrics: Metrics,
    health: Health,
) -> ASGIApp:
    settings, serializers = infrastructure.settings, Serializers(base_url=infrastructure.base_url)
    pages = PageTokens(KeyRing(settings.secrets.for_pages(), purpose="page tokens"))
    operators = Operators(trusted_proxies=settings.throttle.trusted_proxies)
    route_groups: Sequence[RouteGroup] = [
        AdminIdentities(
            database=infrastructure.database,
            identities=accounts.identities,
            imports=Imports(accounts.hasher),
            serializers=serializers,
            pages=pages,
            operators=operators,
            admin_url=settings.serve.admin.base_url,
            max_body=settings.http.max_body,
        ),
        AdminGroups(
            database=infrastructure.database,
            groups=accounts.groups,
            serializers=serializers,
            pages=pages,
            operators=operators,
            admin_url=settings.serve.admin.base_url,
            max_body=settings.http.max_body,
        ),
        AdminSessions(
            database=infrastructure.database,
            sessions=accounts.sessions,
            serializers=serializers,
            pages=pages,
            operators=operators,
            max_body=settings.http.max_body,
            extends_silently=settings.feature_flags.faster_session_extend,
        ),
        AdminRecovery(
            database=infrastructure.database,
            recovery=build_operator_recovery(infrastructure, accounts),
            stores=build_stores(settings),
            operators=operators,
            max_body=settings.http.max_body,
            read_duration=parse_duration,
        ),
        AdminMessages(database=infrastructure.database, courier=accounts.courier, pages=pages, shown=settings.dev),
        AdminSuppressions(database=infrastructure.database, courier=accounts.courier, pages=pages),
    ]
    impersonations = build_impersonations(infrastructure, accounts)
    if impersonations is not None:
        route_groups = [
            *route_groups,
            AdminImpersonations(
                database=infrastructure.database,
                impersonations=impersonations,
                stores=commerce.stores,
                engines=commerce.engines,
                pages=pages,
                operators=operators,
                base_url=infrastructure.base_url,
                max_body=settings.http.max_body,
            ),
        ]
    guard = Middleware(
        AdminAuthentication,
        keys=_service_keys(settings),
        open_without_key=settings.dev,
        clock=infrastructure.clock,
    )
    routes = [
        *public_redirects(base_url=infrastructure.base_url),  # before the session of an id that is named "whoami"
        *(route for route_group in route_groups for route in route_group.routes()),
        *schema_routes(accounts.schemas),
        *not_built_routes(ADMIN),
    ]
    return admin_app(
        [*routes, *health.admin_routes()],
        guard=guard,
        hosts=admin_hosts(settings),
        bodies=bodies,
        metrics=metrics,
        clock=infrastructure.clock,
    )


def _service_keys(settings: Settings) -> ServiceKeys:
    fronts = [front.id for front in build_stores(settings).fronts]

    def key(configured: ApiKey) -> ServiceKey:
        chosen = [front for front in fronts if {front, front.partition("@")[0]} & {*configured.stores}]
        return ServiceKey(
            configured.id,
            reads="read" in configured.scopes,
            writes="write" in configured.scopes,
            stores=frozenset(chosen) if configured.stores else None,
            impersonates="impersonate" in configured.scopes,
        )

    return ServiceKeys({key(each): bytes.fromhex(each.hash) for each in settings.admin.api_keys})


def build_operation_metrics(infrastructure: Infrastructure, accounts: Accounts) -> OperationMetrics:
    async def backlog() -> Sequence[Backlog] | None:
        try:
            async with infrastructure.database.reading() as unit:
                return await infrastructure.outbox.backlog(unit)
        except (*DATABASE_ERRORS, StorageUnavailable):
            return None

    return OperationMetrics(
        infrastructure.registry,
        tally=infrastructure.tally,
        clock=infrastructure.clock,
        backlog=backlog,
        pools=infrastructure.database.pools,
        sessions=accounts.sessions,
    )


def build_health(infrastructure: Infrastructure, accounts: Accounts, *, degraded: Mapping[str, Check]) -> Health:
    """Build the health routes. `degraded` are the checks of parts that outlive a change of the configuration."""
    sqlite = WritableProbe(infrastructure.database.url)

    async def database() -> str | None:
        try:
            await sqlite.require()
            waiting = await pending(infrastructure.database)
            await infrastructure.database.require_writable()
        except StorageUnavailable as failed:
            return str(failed)
        except DATABASE_ERRORS as failed:
            return f"The database does not answer ({type(failed).__name__})."
        return f"Migrations are missing ({len(waiting)}); run: shopkeeper migrate" if waiting else None

    async def cache() -> str | None:
        try:
            await infrastructure.cache.ping()
        except CacheDown:
            return "The cache does not answer: limits are counted in this process, sessions are read each time."
        return None

    return Health(
        version=__version__,
        revision=revision_of(infrastructure.settings),
        required={"database": database},
        degraded={"cache": cache, **degraded},
        registry=infrastructure.registry if infrastructure.settings.metrics.enabled else None,
        refresh=build_operation_metrics(infrastructure, accounts).refresh,
    )
