"""All settings as one frozen value, and the values that depend on several of them."""

from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from shopkeeper.settings.courier import Courier
from shopkeeper.settings.dsn import DEFAULT, DsnText, parse_dsn
from shopkeeper.settings.feature_flags import FeatureFlags
from shopkeeper.settings.file_state import Look
from shopkeeper.settings.identity_providers import IdentityProvider, require_distinct, require_known
from shopkeeper.settings.impersonation import Impersonation
from shopkeeper.settings.introspection import Introspection, require_different_callers
from shopkeeper.settings.problems import Finding
from shopkeeper.settings.section import Section
from shopkeeper.settings.security import (
    Cookies,
    Hashers,
    Identity,
    SameSite,
    Secrets,
    Security,
    Session,
)
from shopkeeper.settings.selfservice import SelfService
from shopkeeper.settings.serving import Admin, Cache, Clients, GraphQL, Http, Log, Metrics, Outbox, Serve, Throttle
from shopkeeper.settings.shop import Store, StoreName, Tokens


@dataclass(frozen=True, slots=True)
class CookieAttributes:
    """The attributes of a cookie, after all overrides."""

    name: str
    domain: str | None
    path: str
    same_site: SameSite
    secure: bool
    persistent: bool


@dataclass(frozen=True, slots=True)
class Remarks:
    """What the loading found besides the values: keys not in effect yet, generated secrets, likely misspellings, and
    from where."""

    not_in_effect: tuple[Finding, ...] = ()
    others: tuple[Finding, ...] = ()
    files: Look = field(default_factory=dict)
    """The files that were read, configuration and values of `NAME_FILE`, and their states before that."""
    made_up: frozenset[str] = frozenset()
    """The names of the secrets that are not configured and were made up."""


def _as_text(revision: Any) -> Any:
    """Return a number or a date as text: nobody should have to quote `revision: 7`."""
    return str(revision) if isinstance(revision, int | float | date) and not isinstance(revision, bool) else revision


class Settings(Section):
    """All settings. Create it with `load`; `docs/reference/settings.md` explains each key."""

    version: str | None = Field(
        default=None, description="The Kratos release the file was written for; nothing depends on it"
    )
    revision: Annotated[str, BeforeValidator(_as_text)] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="A name of yours for this configuration, as `/admin/health/config` answers it; a hash when unset",
    )
    dsn: DsnText = Field(
        default=parse_dsn(DEFAULT), description="Where the data is kept: SQLite, PostgreSQL, or `memory`"
    )
    dev: bool = Field(default=False, description="Development: relaxes what is unsafe elsewhere; the same as `--dev`")
    demo: bool = Field(
        default=False, description="Fill the embedded shop with the sample catalogue; the same as `--demo`"
    )
    serve: Serve = Serve()
    http: Http = Http()
    log: Log = Log()
    metrics: Metrics = Metrics()
    selfservice: SelfService = SelfService()
    identity: Identity = Identity()
    session: Session = Session()
    cookies: Cookies = Cookies()
    secrets: Secrets = Secrets()
    hashers: Hashers = Hashers()
    courier: Courier = Courier()
    security: Security = Security()
    clients: Clients = Clients()
    feature_flags: FeatureFlags = FeatureFlags()
    admin: Admin = Admin()
    throttle: Throttle = Throttle()
    impersonation: Impersonation = Impersonation()
    tokens: Tokens = Tokens()
    introspection: Introspection = Introspection()
    cache: Cache = Cache()
    outbox: Outbox = Outbox()
    graphql: GraphQL = GraphQL()
    providers: tuple[IdentityProvider, ...] = Field(
        default=(), max_length=50, description="The identity providers that the shop already has"
    )
    stores: tuple[Store, ...] = Field(default=(Store(id="default"),), min_length=1, description="The shop fronts")
    default_store: StoreName = Field(
        default="default", description="The store of requests that name none; the first when unset"
    )
    store_header: str = Field(
        default="connector", pattern=r"^[A-Za-z0-9-]+$", description="Header that names the store"
    )
    tenant_header: str = Field(
        default="br-acct-env", pattern=r"^[A-Za-z0-9-]+$", description="Header that names the tenant"
    )

    _remarks: Remarks = PrivateAttr(default=Remarks())

    def model_post_init(self, context: Any, /) -> None:
        """Store the remarks of the loading."""
        if isinstance(context, Remarks):
            self._remarks = context

    @model_validator(mode="after")
    def _stores_agree(self) -> "Settings":
        ids = [store.id for store in self.stores]
        hosts = [host.lower() for store in self.stores for host in store.hosts]
        if len(set(ids)) < len(ids):
            raise ValueError("stores has two stores with the same id; give each its own")
        if len(set(hosts)) < len(hosts):
            raise ValueError("stores names a host twice; a host belongs to one store")
        fronts = {f"{store.id}@{tenant}" for store in self.stores for tenant in store.tenants}
        limited = {
            **{f"admin.api_keys[{index}]": key.stores for index, key in enumerate(self.admin.api_keys)},
            **{f"tokens.clients[{index}]": each.stores for index, each in enumerate(self.tokens.clients)},
            **{f"introspection.callers[{index}]": each.stores for index, each in enumerate(self.introspection.callers)},
        }
        for where, stores in limited.items():
            if unknown := [name for name in stores if name not in {*ids, *fronts}]:
                raise ValueError(f"{where}.stores names {unknown[0]!r}, which is not among the stores")
        if self.default_store not in ids:
            raise ValueError("default_store is not among the stores; add that store or name one of them")
        require_different_callers(self.introspection.callers, self.tokens.clients)
        named = [(store.id, store.provider) for store in self.stores]
        require_known(self.providers, stores=named, fronts=[*ids, *fronts])
        return self

    @model_validator(mode="after")
    def _providers_agree(self) -> "Settings":
        require_distinct(self.providers, social=[provider.id for provider in self.selfservice.methods.oidc.providers])
        return self

    def with_made_up_secrets_of(self, former: "Settings") -> "Settings":
        """Return these settings with the secrets that were made up for others, where they are not configured now."""
        names = self._remarks.made_up & former.remarks.made_up
        secrets = self.secrets.model_copy(update={name: getattr(former.secrets, name) for name in names})
        return self.model_copy(update={"secrets": secrets})

    @property
    def remarks(self) -> Remarks:
        """The remarks of the loading."""
        return self._remarks

    def not_in_effect(self) -> list[Finding]:
        """Return findings for the settings that have no effect yet."""
        return list(self._remarks.not_in_effect)

    @property
    def secure_cookies(self) -> bool:
        """Whether cookies are for TLS only, unless a cookie's own setting overrides it."""
        if self.cookies.secure is not None:
            return self.cookies.secure
        return self.serve.public.base_url.startswith("https://")

    def session_cookie(self) -> CookieAttributes:
        """The attributes of the session cookie."""
        own, common = self.session.cookie, self.cookies
        return CookieAttributes(
            name=own.name,
            domain=own.domain or common.domain,
            path=own.path or common.path,
            same_site=own.same_site or common.same_site,
            secure=self.secure_cookies if own.secure is None else own.secure,
            persistent=own.persistent,
        )
