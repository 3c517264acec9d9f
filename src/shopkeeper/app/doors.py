"""The doors: their lists, for the public and for the admin port, and what each is given."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp

from shopkeeper import __version__
from shopkeeper.app.background import Background
from shopkeeper.app.conversations import (
    Conversation,
    build_conversations,
    build_pipeline,
    build_registrar,
    build_return_addresses,
    return_urls,
)
from shopkeeper.app.ground import Foundation
from shopkeeper.app.people import People
from shopkeeper.app.shop import Shop, build_stores
from shopkeeper.credentials.imports import Imports
from shopkeeper.crypto import KeyRing
from shopkeeper.flows.logout import Logout
from shopkeeper.flows.pipeline import Pipeline
from shopkeeper.flows.registrar import Registrar
from shopkeeper.flows.return_to import AfterFlow
from shopkeeper.graphql.door import GraphQLDoor
from shopkeeper.graphql.limits import Limits
from shopkeeper.graphql.signing_up import SigningUp
from shopkeeper.http.admin import AdminIdentities, AdminSessions, Operators
from shopkeeper.http.admin_auth import AdminAuthentication
from shopkeeper.http.admin_messages import AdminMessages
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.caller_reader import CallerReader
from shopkeeper.http.health import Health
from shopkeeper.http.observing import Metrics
from shopkeeper.http.origins import Origins
from shopkeeper.http.pages.assets import read_demo
from shopkeeper.http.pages.door import Pages
from shopkeeper.http.paging import PageTokens
from shopkeeper.http.schemas import schema_routes
from shopkeeper.http.selfservice import SelfService
from shopkeeper.http.sessions import OwnSessions
from shopkeeper.http.shapes import Shapes
from shopkeeper.http.storefront import Storefront
from shopkeeper.http.whoami import WhoAmI, WhoamiRenderer
from shopkeeper.http.wiring import Door, admin_app, public_app
from shopkeeper.sessions.assurance import AssurancePolicy
from shopkeeper.sessions.cookies import CookiePolicy
from shopkeeper.sessions.principal import PrincipalResolver
from shopkeeper.sessions.reading import Render
from shopkeeper.sessions.token_sources import ServiceKeys, SessionTokens, VisitTokens
from shopkeeper.settings import Settings
from shopkeeper.settings.serving import GraphQL
from shopkeeper.storage.cache.port import CacheDown
from shopkeeper.storage.migrate import pending
from shopkeeper.storage.unavailable import DATABASE_ERRORS, StorageUnavailable


def build_cookie_policy(ground: Foundation, shop: Shop) -> CookiePolicy:
    session = ground.settings.session_cookie()
    return CookiePolicy(
        base_url=ground.settings.serve.public.base_url,
        domain=session.domain,
        path=session.path,
        same_site=session.same_site,
        secure=session.secure,
        persistent=session.persistent,
        session_name=session.name,
        default_store=shop.stores.default.id,
    )


def build_authenticator(ground: Foundation, people: People, shop: Shop) -> RequestAuthenticator:
    """Who is asking. The storefront and GraphQL accept bearers of sessions and of visits; whoami, self-service and the
    other routes of sessions accept sessions only."""
    settings, public = ground.settings, ground.settings.serve.public
    own = "/".join(ground.base_url.split("/")[:3])
    sessions, visits = SessionTokens(people.sessions), VisitTokens(people.sealed)
    return RequestAuthenticator(
        stores=shop.stores,
        resolver=PrincipalResolver(sessions=sessions, visits=visits, bearers=(sessions, visits)),
        cookies=build_cookie_policy(ground, shop),
        trusted_proxies=settings.throttle.trusted_proxies,
        trusted_origins=Origins({own, *(public.cors.allowed_origins if public.cors.enabled else ())}),
        own_origin=own,
        store_header=settings.store_header,
        tenant_header=settings.tenant_header,
    )


def session_body(ground: Foundation) -> Callable[[AssurancePolicy], Render]:
    """How whoami answers a session: encoded once, and kept with it."""
    return partial(
        WhoamiRenderer,
        shapes=Shapes(base_url=ground.base_url),
        required=ground.settings.session.whoami.required_aal,
        stores=build_stores(ground.settings),
        clock=ground.clock,
    )


def build_public(
    ground: Foundation,
    people: People,
    shop: Shop,
    authenticator: RequestAuthenticator,
    *,
    metrics: Metrics,
    health: Health,
    further_flows: Callable[[Foundation, People], Sequence[Conversation]] = lambda ground, people: (),
) -> ASGIApp:
    registrar = build_registrar(ground, people, shop)
    conversations = [*build_conversations(ground, people, registrar=registrar), *further_flows(ground, people)]
    pipeline = build_pipeline(ground, people, shop, conversations, registrar=registrar)
    cookies, shapes = build_cookie_policy(ground, shop), Shapes(base_url=ground.base_url)
    callers = CallerReader(authenticator=authenticator, cookies=cookies, clock=ground.clock, base_url=ground.base_url)
    pages = _pages(ground, people, shop, conversations, authenticator=authenticator, callers=callers, pipeline=pipeline)
    doors: Sequence[Door] = [
        Storefront(
            database=ground.database,
            visit=shop.visit,
            authenticator=authenticator,
            cookies=cookies,
            clock=ground.clock,
        ),
        _self_service(
            ground, people, conversations, callers=callers, cookies=cookies, pipeline=pipeline, shapes=shapes
        ),
        OwnSessions(database=ground.database, sessions=people.sessions, authenticator=authenticator, shapes=shapes),
        pages,
    ]
    graphql = _graphql(ground, people, shop, authenticator, registrar=registrar, pictures=pages.picture_url)
    # The router tries them in this order, so what shops ask most stands first.
    routes = [
        Route("/graphql", graphql, methods=["GET", "POST"]),
        *(route for door in doors for route in door.routes()),
        *schema_routes(people.schemas),
        *health.public_routes(),
    ]
    return public_app(
        routes,
        hot={"/sessions/whoami": WhoAmI(authenticator=authenticator, clock=ground.clock)},
        cors=_cors(ground.settings),
        metrics=metrics,
        clock=ground.clock,
        page=pages.refused,
    )


def _self_service(
    ground: Foundation,
    people: People,
    conversations: Sequence[Conversation],
    *,
    callers: CallerReader,
    cookies: CookiePolicy,
    pipeline: Pipeline,
    shapes: Shapes,
) -> SelfService:
    flows = ground.settings.selfservice.flows
    logout = Logout(
        sessions=people.sessions,
        return_addresses=build_return_addresses(ground),
        after=AfterFlow(default=flows.logout.after.default_browser_return_url),
    )
    return SelfService(
        database=ground.database,
        pipeline=pipeline,
        logout=logout,
        callers=callers,
        cookies=cookies,
        shapes=shapes,
        clock=ground.clock,
        presentations={conversation.handler.name: conversation.shown for conversation in conversations},
        error_url=flows.error.ui_url,
        max_body=ground.settings.http.max_body,
    )


def _pages(
    ground: Foundation,
    people: People,
    shop: Shop,
    conversations: Sequence[Conversation],
    *,
    authenticator: RequestAuthenticator,
    callers: CallerReader,
    pipeline: Pipeline,
) -> Pages:
    settings = ground.settings
    return Pages(
        database=ground.database,
        pipeline=pipeline,
        kinds=[conversation.handler.name for conversation in conversations],
        callers=callers,
        authenticator=authenticator,
        sessions=people.sessions,
        engines=shop.engines,
        stores=shop.stores,
        courier=shop.courier,
        base_url=ground.base_url,
        form_targets=return_urls(settings, conversations),
        demo=read_demo() if settings.demo else None,
        dev=settings.dev,
    )


def _graphql(
    ground: Foundation,
    people: People,
    shop: Shop,
    authenticator: RequestAuthenticator,
    *,
    registrar: Registrar,
    pictures: Callable[[str], str],
) -> GraphQLDoor:
    settings = ground.settings.graphql
    kept = {field.name for field in people.schemas.default.fields()}
    return GraphQLDoor(
        database=ground.database,
        identify=authenticator.principal_of,
        stores=shop.stores,
        engines=shop.engines,
        signing_up=SigningUp(registrar=registrar, kept=kept),
        pictures=pictures,
        limits=build_limits(settings),
        introspection=settings.introspection,
        playground=settings.playground,
    )


def build_limits(graphql: GraphQL) -> Limits:
    """How much one GraphQL request may ask for."""
    return Limits(body=graphql.max_bytes, depth=graphql.depth, aliases=graphql.aliases, complexity=graphql.complexity)


def _cors(settings: Settings) -> Mapping[str, object] | None:
    cors = settings.serve.public.cors
    if not cors.enabled:
        return None
    origins = Origins(cors.allowed_origins)
    return {
        "allow_origins": origins.exact,
        "allow_origin_regex": origins.pattern,
        "allow_methods": cors.allowed_methods,
        # Without these two no shop on another origin could say which store it is, whatever they were renamed to.
        "allow_headers": (*cors.allowed_headers, settings.store_header, settings.tenant_header),
        "expose_headers": (*cors.exposed_headers, "X-Request-Id", "X-Error-Code", "Retry-After"),
        "allow_credentials": cors.allow_credentials,
        "max_age": cors.max_age,
    }


def build_admin(ground: Foundation, people: People, *, metrics: Metrics, health: Health) -> ASGIApp:
    settings, shapes = ground.settings, Shapes(base_url=ground.base_url)
    pages = PageTokens(KeyRing(settings.secrets.for_pages(), purpose="page tokens"))
    operators = Operators(trusted_proxies=settings.throttle.trusted_proxies)
    doors: Sequence[Door] = [
        AdminIdentities(
            database=ground.database,
            identities=people.identities,
            imports=Imports(people.hasher),
            shapes=shapes,
            pages=pages,
            operators=operators,
            admin_url=settings.serve.admin.base_url,
            max_body=settings.http.max_body,
        ),
        AdminSessions(
            database=ground.database, sessions=people.sessions, shapes=shapes, pages=pages, operators=operators
        ),
        AdminMessages(database=ground.database, courier=people.courier, pages=pages, shown=settings.dev),
    ]
    guard = Middleware(
        AdminAuthentication,
        keys=ServiceKeys({key.id: bytes.fromhex(key.hash) for key in settings.admin.api_keys}),
        open_without_key=settings.dev,
        clock=ground.clock,
    )
    routes = [*(route for door in doors for route in door.routes()), *schema_routes(people.schemas)]
    return admin_app([*routes, *health.admin_routes()], guard=guard, metrics=metrics, clock=ground.clock)


def build_health(ground: Foundation, background: Background) -> Health:
    async def database() -> str | None:
        try:
            waiting = await pending(ground.database)
        except (*DATABASE_ERRORS, StorageUnavailable) as failed:
            return f"The database does not answer ({type(failed).__name__})."
        return f"{len(waiting)} migrations have not run: shopkeeper migrate" if waiting else None

    async def cache() -> str | None:
        try:
            await ground.cache.ping()
        except CacheDown:
            return "The cache does not answer: limits are counted in this process, sessions are read each time."
        return None

    return Health(
        version=__version__,
        required={"database": database},
        degraded={"cache": cache, "background": background.check},
        registry=ground.registry if ground.settings.metrics.enabled else None,
    )
