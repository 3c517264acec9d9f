"""Build what authenticates requests, and the cookies and the whoami answer that belong to it."""

from collections.abc import Callable
from functools import partial

from shopkeeper.app.addressing import cookie_origins, own_origin
from shopkeeper.app.commerce import Commerce, build_stores
from shopkeeper.app.infrastructure import Infrastructure
from shopkeeper.app.token_sources import TokenSources
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.serializers import Serializers
from shopkeeper.http.whoami import WhoamiRenderer
from shopkeeper.sessions.assurance import AssurancePolicy
from shopkeeper.sessions.principal import PrincipalResolver
from shopkeeper.sessions.queries import Render


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
