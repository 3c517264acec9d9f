"""Build the routes of the public port."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from starlette.routing import Route
from starlette.types import ASGIApp

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.addressing import cors_of, form_origins, public_hosts
from shopkeeper.app.authentication import build_cookie_policy
from shopkeeper.app.commerce import Commerce
from shopkeeper.app.flows import (
    FlowBinding,
    build_flow_bindings,
    build_pipeline,
    build_registrar,
    build_return_addresses,
)
from shopkeeper.app.impersonation import build_impersonations
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.introspection import build_introspection_endpoint
from shopkeeper.app.oauth import OAuth
from shopkeeper.app.pages import build_pages
from shopkeeper.app.self_service import build_self_service
from shopkeeper.app.server_metadata import build_server_metadata
from shopkeeper.app.store_flows import build_store_handlers
from shopkeeper.client import Client
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.bounces import BounceReports
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.forward_auth import OPTIONAL_PATH, PATH, ForwardAuth
from shopkeeper.http.health import Health
from shopkeeper.http.hosts import HostRules
from shopkeeper.http.immediate import ImmediateAnswers
from shopkeeper.http.impersonation import ImpersonationRoutes
from shopkeeper.http.impersonation_gate import ImpersonationGate
from shopkeeper.http.metrics import Metrics
from shopkeeper.http.not_built import PUBLIC, not_built_routes
from shopkeeper.http.oauth_token import REVOCATION_PATH, TOKEN_PATH, OAuthTokenRoutes
from shopkeeper.http.pages.routes import PageRoutes
from shopkeeper.http.request_limits import BodyBudget
from shopkeeper.http.request_log import RequestLog
from shopkeeper.http.route_labels import UNMATCHED, PathLabels
from shopkeeper.http.schemas import schema_routes
from shopkeeper.http.serializers import Serializers
from shopkeeper.http.server_metadata import server_metadata_routes
from shopkeeper.http.session_server_paths import SessionServerPaths
from shopkeeper.http.sessions import OwnSessions
from shopkeeper.http.storefront import Storefront, client_refusal
from shopkeeper.http.well_known import well_known_routes
from shopkeeper.http.whoami import WhoAmI, WhoamiAtOnce
from shopkeeper.http.wiring import VARY_ORIGIN, RouteGroup, public_app
from shopkeeper.languages.choice import SOURCE
from shopkeeper.oauth.introspection import Introspection
from shopkeeper.sessions.cache import CachedSession
from shopkeeper.sessions.impersonation import Impersonations
from shopkeeper.sessions.service import Sessions
from shopkeeper.storage.database import Database

WHOAMI_PATH: Final = "/sessions/whoami"
GRAPHQL_PATH: Final = "/graphql"


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
    pages = build_pages(
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
        *build_self_service(
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
        page=pages.not_served,
        language_of=authenticator.language_of,
        immediate=_immediate(infrastructure, accounts, commerce, hosts=hosts),
    )


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


async def _end_session(database: Database, sessions: Sessions, token: str, client: Client) -> bool:
    """End the session of a token; return whether the token is or was one of ours."""
    if not sessions.is_ours(token):
        return False
    async with database.unit() as unit:
        return await sessions.revoke_token(unit, token, client=client)
