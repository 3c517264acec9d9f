"""Which hosts the ports answer for, and which origins' pages may call them: from the settings."""

from collections.abc import Iterable, Mapping, Sequence

from shopkeeper.http.health import MONITORED
from shopkeeper.http.hosts import HostRules, host_of
from shopkeeper.http.origins import Origins, origin_of
from shopkeeper.settings import Settings
from shopkeeper.settings.serving import AdminServer, PublicServer


def own_origin(settings: Settings) -> str:
    """Return the origin of our own pages."""
    return origin_of(settings.serve.public.base_url) or ""


def cookie_origins(settings: Settings) -> Origins:
    """Return the origins whose pages may call the storefront, GraphQL and `/sessions` with our cookies: ours, and those
    of CORS, as no other page could read the answers."""
    return Origins({own_origin(settings), *_cors_origins(settings)})


def form_origins(settings: Settings, ui_urls: Iterable[str]) -> Origins:
    """Return the origins whose pages may submit self-service flows: ours, those of the flows' pages, those of allowed
    return addresses, and those of CORS."""
    selfservice = settings.selfservice
    urls = [*ui_urls, selfservice.flows.error.ui_url, *selfservice.allowed_return_urls]
    named = {origin for origin in map(origin_of, urls) if origin is not None}
    return Origins({own_origin(settings), *named, *_cors_origins(settings)})


def _cors_origins(settings: Settings) -> Sequence[str]:
    cors = settings.serve.public.cors
    return cors.allowed_origins if cors.enabled else ()


def public_hosts(settings: Settings) -> HostRules:
    """Return how requests to the public port must be addressed."""
    stores = [host for store in settings.stores for host in store.hosts]
    return _hosts(settings, settings.serve.public, setting="serve.public.allowed_hosts", further=stores)


def admin_hosts(settings: Settings) -> HostRules:
    """Return how requests to the admin port must be addressed."""
    return _hosts(settings, settings.serve.admin, setting="serve.admin.allowed_hosts", further=())


def _hosts(
    settings: Settings, server: PublicServer | AdminServer, *, setting: str, further: Sequence[str]
) -> HostRules:
    """Return the rules of a port. In development, when the admin API and the mails may be open to all, hosts are always
    checked; otherwise where `allowed_hosts` is set."""
    https = server.base_url.startswith("https://")
    if settings.dev:
        both = (settings.serve.public, settings.serve.admin)
        stores = [host for store in settings.stores for host in store.hosts]
        names = [name for port in both for name in (host_of(port.base_url), *port.allowed_hosts)]
        return HostRules([*names, *stores], setting=setting, loopback=True, https=https)
    names = [host_of(server.base_url), *server.allowed_hosts, *further]
    return HostRules(names if server.allowed_hosts else None, setting=setting, any_path=MONITORED, https=https)


def cors_of(settings: Settings) -> Mapping[str, object] | None:
    """Return the arguments of the CORS middleware; None where CORS is off."""
    cors = settings.serve.public.cors
    if not cors.enabled:
        return None
    origins = Origins(cors.allowed_origins)
    return {
        "allow_origins": origins.exact,
        "allow_origin_regex": origins.pattern,
        "allow_methods": cors.allowed_methods,
        # Without these two, a shop on another origin could not send the store headers, which may have been renamed.
        "allow_headers": (*cors.allowed_headers, settings.store_header, settings.tenant_header),
        "expose_headers": (*cors.exposed_headers, "X-Request-Id", "X-Error-Code", "Retry-After"),
        "allow_credentials": cors.allow_credentials,
        "max_age": cors.max_age,
    }
