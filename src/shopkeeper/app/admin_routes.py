"""Build the routes of the admin port."""

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.types import ASGIApp

from shopkeeper.app.accounts import Accounts
from shopkeeper.app.addressing import admin_hosts
from shopkeeper.app.commerce import Commerce, build_stores
from shopkeeper.app.flows import (
    build_operator_recovery,
)
from shopkeeper.app.impersonation import build_impersonations
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.credentials.imports import Imports
from shopkeeper.crypto import KeyRing
from shopkeeper.http.admin import AdminIdentities, Operators
from shopkeeper.http.admin_auth import AdminAuthentication
from shopkeeper.http.admin_groups import AdminGroups
from shopkeeper.http.admin_impersonations import AdminImpersonations
from shopkeeper.http.admin_messages import AdminMessages
from shopkeeper.http.admin_recovery import AdminRecovery
from shopkeeper.http.admin_sessions import AdminSessions
from shopkeeper.http.admin_suppressions import AdminSuppressions
from shopkeeper.http.health import Health
from shopkeeper.http.metrics import Metrics
from shopkeeper.http.not_built import ADMIN, not_built_routes
from shopkeeper.http.paging import PageTokens
from shopkeeper.http.public_redirects import public_redirects
from shopkeeper.http.request_limits import BodyBudget
from shopkeeper.http.schemas import schema_routes
from shopkeeper.http.serializers import Serializers
from shopkeeper.http.wiring import RouteGroup, admin_app
from shopkeeper.sessions.token_sources import ServiceKey, ServiceKeys
from shopkeeper.settings import Settings
from shopkeeper.settings.serving import ApiKey
from shopkeeper.settings.values import parse_duration


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
