"""What all other parts are built on, from storage to the guarded HTTP client."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from shopkeeper.client import names_this_machine
from shopkeeper.clock import Clock, SystemClock
from shopkeeper.crypto import derive
from shopkeeper.http_client import GuardedClient
from shopkeeper.jsonnet.evaluator import Jsonnet
from shopkeeper.settings import Finding, Settings
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache, CacheDown
from shopkeeper.storage.database import Database
from shopkeeper.storage.outbox import Outbox
from shopkeeper.tally import Tally


@dataclass(frozen=True, slots=True)
class Infrastructure:
    """What all other parts are built on."""

    settings: Settings
    clock: Clock
    database: Database
    cache: Cache
    outbox: Outbox
    audit: Audit
    http_client: GuardedClient
    jsonnet: Jsonnet
    registry: CollectorRegistry
    tally: Tally
    base_url: str


def build_infrastructure(
    settings: Settings, clock: Clock, *, listeners: Mapping[str, Collection[str]]
) -> Infrastructure:
    tally = Tally()
    return Infrastructure(
        settings=settings,
        clock=clock,
        database=open_database(settings),
        cache=_cache(settings, clock),
        outbox=Outbox(clock, listeners=listeners),
        audit=build_audit(settings, clock, tally),
        http_client=_http_client(settings),
        jsonnet=Jsonnet(),
        registry=CollectorRegistry(),
        tally=tally,
        base_url=_base_url(settings),
    )


def build_infrastructure_again(former: Infrastructure, settings: Settings) -> Infrastructure:
    """Build the infrastructure for other settings, on the same database, cache and outbox; on the same client, too,
    where its settings are the same, because deliveries may be under way on it, and on the same Jsonnet."""
    same_client = settings.clients == former.settings.clients and (
        list(_test_providers(settings)) == list(_test_providers(former.settings))
    )
    return replace(
        former,
        settings=settings,
        audit=build_audit(settings, former.clock, former.tally),
        http_client=former.http_client if same_client else _http_client(settings),
        registry=CollectorRegistry(),  # the collectors of the former application belong to the former one
        base_url=_base_url(settings),
    )


def build_audit(settings: Settings, clock: Clock, tally: Tally) -> Audit:
    return Audit(clock, key=derive(settings.secrets.for_all_else()[0], purpose="audit"), tally=tally)


def _http_client(settings: Settings) -> GuardedClient:
    http = settings.clients.http
    return GuardedClient(
        private_allowed=not http.disallow_private_ip_ranges,
        exceptions=(*http.private_ip_exception_urls, *_test_providers(settings)),
    )


def _test_providers(settings: Settings) -> Iterator[str]:
    """Yield patterns of the providers on this machine, which `--dev` may call without a setting that allows it."""
    social = [provider.issuer_url for provider in settings.selfservice.methods.oidc.providers]
    for address in (*social, *(provider.address for provider in settings.providers)) if settings.dev else ():
        parts = urlsplit(address or "")
        if names_this_machine(parts.hostname or ""):
            yield f"{parts.scheme}://{parts.netloc}/**"


def _base_url(settings: Settings) -> str:
    return settings.serve.public.base_url.rstrip("/")


def _cache(settings: Settings, clock: Clock) -> Cache:
    if settings.cache.in_process:
        return MemoryCache(clock)
    from shopkeeper.storage.cache.redis import RedisCache  # noqa: PLC0415 - a large driver, only imported if used

    return RedisCache(settings.cache.url.get_secret_value())


async def look_at_cache(settings: Settings) -> Finding | None:
    """Return a warning where the configured cache does not answer; the server starts without it."""
    cache = _cache(settings, SystemClock())
    try:
        await cache.ping()
    except CacheDown as failed:
        return Finding(
            "warning",
            "cache.url",
            f"cache.url: {failed}; check its address, user and password. Without it, limits are counted in each process"
            " and sessions are read from the database each time.",
        )
    finally:
        await cache.close()
    return None


def open_database(settings: Settings) -> Database:
    """Create the database of the settings without connecting to it."""
    dsn = settings.dsn
    return Database(dsn.sqlalchemy_url, pool_size=dsn.pool_size, connect_args=dsn.connect_args())
