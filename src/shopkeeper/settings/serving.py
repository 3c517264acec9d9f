"""How the server listens, responds, logs and works: `serve`, `http`, `graphql`, `log`, `cache`, `outbox`, `admin`, …"""

import hashlib
import re
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from shopkeeper.settings.known_secrets import PRINTED, digests_of_nothing, is_published
from shopkeeper.settings.listening import address_of
from shopkeeper.settings.section import SECRET, TRIMMED, Secret, Section, without_line_break
from shopkeeper.settings.values import BaseUrl, Lifespan, RateText, Size, parse_duration, parse_rate, parse_size

Port = Annotated[int, Field(ge=1, le=65_535)]
HttpMethod = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"]
LogLevel = Literal["trace", "debug", "info", "warning", "error", "fatal", "panic"]
# Published storefront clients send `connector` to `includeauthorization`.
ALLOWED_HEADERS: Final = (
    "Authorization",
    "Content-Type",
    "Accept-Language",
    "X-Session-Token",
    "connector",
    "br-acct-env",
    "forcerefresh",
    "includeauthorization",
)
SHORTEST_KEY: Final = 32
_CACHE_SCHEMES: Final = frozenset({"redis", "rediss", "valkey", "valkeys"})


class Cors(Section):
    """Which other origins may call the public API from a browser."""

    enabled: bool = Field(default=False, description="Whether other origins may call the public API")
    allowed_origins: tuple[Annotated[str, Field(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^\s/]+)$")], ...] = Field(
        default=(),
        description="Origins that may call, such as `https://shop.example.org`; one `*` may stand for part of a host",
    )
    allowed_methods: tuple[HttpMethod, ...] = Field(
        default=("POST", "GET", "PUT", "PATCH", "DELETE"), description="Methods they may use"
    )
    allowed_headers: tuple[str, ...] = Field(
        default=ALLOWED_HEADERS, description="Request headers they may send; `store_header` and `tenant_header` always"
    )
    exposed_headers: tuple[str, ...] = Field(
        default=("Content-Type",), description="Answer headers their scripts may read"
    )
    allow_credentials: bool = Field(default=True, description="Whether cookies travel with these calls")
    max_age: int = Field(default=0, ge=0, description="Seconds a browser may remember the answer to a preflight")


_ADDRESS: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def _own_host(host: str) -> str:
    """Refuse a host with more than a name or an address: requests' hosts are compared without their port."""
    name = host.strip("[]").lower()
    if not _ADDRESS.fullmatch(name) and not _is_ipv6(name):
        raise ValueError("must be a bare host such as shop.example.org or 10.0.0.7: no https://, no port, no path")
    return name


def _is_ipv6(text: str) -> bool:
    try:
        return bool(IPv6Address(text))
    except ValueError:
        return False


OwnHost = Annotated[str, AfterValidator(_own_host)]
_HOSTS: Final = (
    "Further hosts that requests may be addressed to, besides {known}; where it is set, all others are refused. "
    "With `--dev`, those and this machine's own names are the only ones in any case"
)


class _Endpoint(Section):
    """A host and a port to listen on."""

    host: str

    @property
    def address(self) -> str:
        """The address that the host stands for. Raises `UnknownHost`."""
        return address_of(self.host)


class PublicServer(_Endpoint):
    """The server of the public API."""

    base_url: BaseUrl = Field(default="http://127.0.0.1:4433/", description="Where visitors reach the public API")
    host: str = Field(
        default="0.0.0.0",  # noqa: S104 - Kratos' own
        description="Address or name to listen on, empty for every address; 127.0.0.1 with `--dev`",
    )
    port: Port = Field(default=4433, description="Port to listen on")
    allowed_hosts: tuple[OwnHost, ...] = Field(
        default=(), description=_HOSTS.format(known="the host of `base_url` and those of the stores")
    )
    cors: Cors = Cors()


class AdminServer(_Endpoint):
    """The server of the admin API."""

    base_url: BaseUrl = Field(default="http://127.0.0.1:4434/", description="Where operators reach the admin API")
    host: str = Field(
        default="0.0.0.0",  # noqa: S104 - Kratos' own
        description="Address or name to listen on, empty for every address; 127.0.0.1 with `--dev`",
    )
    port: Port = Field(default=4434, description="Port to listen on")
    allowed_hosts: tuple[OwnHost, ...] = Field(default=(), description=_HOSTS.format(known="the host of `base_url`"))


class Serve(Section):
    """Both servers."""

    public: PublicServer = PublicServer()
    admin: AdminServer = AdminServer()


class Http(Section):
    """Limits and processes of the HTTP server."""

    max_body: Size = Field(
        default=parse_size("5MB"),
        ge=1024,
        description="Largest request body of the admin API; those of self-service, `/signin` and `/signout` have 100kB",
    )
    max_bodies: Size = Field(
        default=parse_size("64MB"),
        ge=1_000_000,
        description="Bytes of all request bodies that a process holds at once; what is too much gets a 503",
    )
    workers: int = Field(default=1, ge=1, le=256, description="Server processes")


class GraphQL(Section):
    """Limits of one GraphQL request."""

    depth: int = Field(default=13, ge=1, description="Deepest nesting of fields")
    complexity: int = Field(
        default=30_000, ge=1, description="Most fields a request may come to, lists counted by their size"
    )
    aliases: int = Field(default=30, ge=0, description="Most aliases in a request")
    max_bytes: Size = Field(
        default=parse_size("200kB"), ge=1024, description="Longest request document, variables included"
    )
    introspection: bool = Field(default=False, description="Whether the schema may be asked for; on with `--dev`")
    playground: bool = Field(default=False, description="Whether the playground page is served; on with `--dev`")


def _lower(level: Any) -> Any:
    """Return a level in lower case: LOG_LEVEL is shared with other tools, some of which use capitals."""
    return level.lower() if isinstance(level, str) else level


class Log(Section):
    """The log."""

    level: Annotated[LogLevel, BeforeValidator(_lower)] = Field(
        default="info", description="The least important thing to write down"
    )
    format: Literal["json", "text"] = Field(
        default="json", description="One JSON object a line, or text; text with `--dev`"
    )

    @property
    def severity(self) -> str:
        """The level by its name in Python."""
        return {"trace": "DEBUG", "fatal": "CRITICAL", "panic": "CRITICAL"}.get(self.level, self.level.upper())


def _cache_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if text != "memory" and not _is_cache_address(text):
        raise ValueError("must be memory, redis://host:6379/0, rediss://… (TLS) or valkey://…")
    return url


def _is_cache_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in _CACHE_SCHEMES and bool(parts.netloc) and parts.port != 0
    except ValueError:  # its message may contain a part of the password
        return False


class Cache(Section):
    """Where sessions are cached and attempts are counted."""

    url: Annotated[Secret, AfterValidator(_cache_url)] = Field(
        default=SecretStr("memory"), description="`memory`, or the address of a Redis or Valkey shared by all workers"
    )

    sessions: Size = Field(
        default=parse_size("64MB"),
        ge=1_000_000,
        description="Memory for sessions that each process caches, about ten thousand; a larger cache is asked less of "
        "the database",
    )

    @property
    def in_process(self) -> bool:
        """Whether every worker process has a cache of its own."""
        return self.url.get_secret_value() == "memory"


def of_something(digest: str) -> str:
    """Refuse the SHA-256 of nothing. Raises `ValueError`."""
    if digest in digests_of_nothing():
        raise ValueError(
            "is the SHA-256 of an empty key, or of a word for none; make one with `openssl rand -hex 32` and hash that"
        )
    return digest


def hex_digest(written: str) -> str:
    """Return a SHA-256 in small hexadecimal digits. Raises `ValueError`."""
    digest = written.lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(
            'must be a SHA-256 in 64 hexadecimal digits; make it with: printf %s "$KEY" | sha256sum | cut -c1-64'
        )
    return digest


class ApiKey(Section):
    """An admin API key: stored as its SHA-256, with an id for the audit log. The key itself is never stored."""

    id: str = Field(min_length=1, max_length=64, description="The key's name in the audit log")
    hash: Annotated[str, TRIMMED, AfterValidator(hex_digest), AfterValidator(of_something)] = Field(
        repr=False, description="SHA-256 of the key, in hex, instead of the key itself"
    )
    scopes: tuple[Literal["read", "write", "impersonate"], ...] = Field(
        default=("read", "write"),
        min_length=1,
        description="What the key may do: `read`, `write`, and `impersonate`, which neither of them includes",
    )
    stores: tuple[str, ...] = Field(
        default=(),
        description="The stores that it is limited to, all when empty; `store@tenant` names one tenant",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_plain(cls, value: Any) -> Any:
        if isinstance(value, ApiKey):
            return value
        value = without_line_break(value)
        if isinstance(value, str):
            digest = key_digest(value)
            return {"id": digest[:8], "hash": digest}
        if not isinstance(value, Mapping):
            raise ValueError("must be a key of at least 32 characters, or an id with the key's SHA-256 in `hash`")
        return value


_SENDABLE: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what may follow `Bearer` (RFC 6750 section 2.1)


def key_digest(key: str) -> str:
    """Return the SHA-256 of a key that is long and random enough. Raises `ValueError`."""
    if len(key) < SHORTEST_KEY:
        raise ValueError(f"must have at least {SHORTEST_KEY} characters; make one with: openssl rand -hex 32")
    if len(set(key)) < 6:
        raise ValueError("repeats a few characters; make a random one with: openssl rand -hex 32")
    if not _SENDABLE.fullmatch(key):
        raise ValueError("has characters that no header can carry; make a random one with: openssl rand -hex 32")
    if key not in PRINTED and is_published(key):  # our own printed keys are accepted here, and reported by `findings`
        raise ValueError("looks like one from a manual, which everybody knows; make one with: openssl rand -hex 32")
    return hashlib.sha256(key.encode()).hexdigest()


class Admin(Section):
    """Who may use the admin API."""

    api_keys: Annotated[tuple[ApiKey, ...], SECRET] = Field(
        default=(),
        description="Keys for the admin API; several at once for rotation; only their SHA-256 is kept in memory",
    )

    @model_validator(mode="after")
    def _keys_differ(self) -> "Admin":
        ids = [key.id for key in self.api_keys]
        if len(set(ids)) < len(ids):
            raise ValueError("has two api_keys with the same id; give each its own, because the audit log names it")
        return self


class LoginThrottle(Section):
    """Limits on guessing passwords."""

    failures: int = Field(
        default=5, ge=1, description="Wrong passwords in a row for one name from one address until a block"
    )
    block: Lifespan = Field(
        default=parse_duration("1m"), description="Length of the first block; it doubles with each further one"
    )
    block_max: Lifespan = Field(default=parse_duration("15m"), description="Length of the longest block")
    per_ip: RateText = Field(
        default=parse_rate("30/minute"), description="Sign-in attempts from one address; 600/minute with `--dev`"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "LoginThrottle":
        if self.block_max < self.block:
            raise ValueError("has a block_max shorter than block; make block_max at least as long")
        return self


class RegistrationThrottle(Section):
    """Limits on mass registration."""

    per_ip: RateText = Field(
        default=parse_rate("10/minute"), description="Sign-ups from one address; 600/minute with `--dev`"
    )


class CodeThrottle(Section):
    """Limits on requests for one-time codes."""

    per_ip: RateText = Field(
        default=parse_rate("10/minute"), description="Codes asked for from one address; 600/minute with `--dev`"
    )
    per_recipient: RateText = Field(
        default=parse_rate("10/hour"),
        description="Codes for one recipient, asked for from all addresses together; 600/hour with `--dev`",
    )
    per_pair: RateText = Field(
        default=parse_rate("4/hour"),
        description="Codes for one recipient, asked for from one address, so that no address alone can use up the "
        "recipient's; 600/hour with `--dev`",
    )


class RefreshThrottle(Section):
    """Limits on refreshing tokens: each refresh stores the token that it replaced."""

    per_ip: RateText = Field(
        default=parse_rate("300/minute"), description="Tokens refreshed from one address; 6000/minute with `--dev`"
    )
    per_session: RateText = Field(
        default=parse_rate("30/minute"), description="Tokens refreshed of one session; 600/minute with `--dev`"
    )


class SettingsThrottle(Section):
    """Limits on what a customer submits about the own account, so that a stolen session is no way to guess."""

    per_account: RateText = Field(
        default=parse_rate("30/minute"),
        description="Settings forms that one account submits, from all addresses together; a change of an address "
        "counts twice; 600/minute with `--dev`",
    )


class ErrorThrottle(Section):
    """Limits on errors that are stored for the error page."""

    per_ip: RateText = Field(
        default=parse_rate("30/minute"),
        description="Refusals stored for browsers of one address; those beyond it are answered without the error page; "
        "600/minute with `--dev`",
    )


class ProviderThrottle(Section):
    """Limits on sign-ins at identity providers that come to nothing: each may have us ask the provider."""

    per_ip: RateText = Field(
        default=parse_rate("60/minute"),
        description="Sign-ins at [identity providers](../methods/oidc.md) that one address begins, and that bring back "
        "neither a valid code nor the provider's error, and ID tokens of apps that sign nobody in; 600/minute with "
        "`--dev`",
    )


class ProviderLogoutThrottle(Section):
    """Limits on sign-outs that identity providers tell us of."""

    per_ip: RateText = Field(
        default=parse_rate("600/minute"),
        description="[Logout tokens](../howto/provider-sign-out.md) that one address sends for one provider",
    )


class ClientThrottle(Section):
    """Limits on wrong credentials of services."""

    per_ip: RateText = Field(
        default=parse_rate("60/minute"),
        description="Wrong credentials of services (`tokens.clients`) from one address; right ones "
        "are not counted; 600/minute with `--dev`",
    )


class TokenThrottle(Section):
    """Limits on tokens that other servers are asked about in vain."""

    per_ip: RateText = Field(
        default=parse_rate("60/minute"),
        description="Tokens and cookies from one address that an identity provider or a session server is asked about, "
        "and refuses, for each of them; valid ones are not counted, and no more are asked about at once; 600/minute "
        "with `--dev`",
    )


class Throttle(Section):
    """Limits on attempts."""

    login: LoginThrottle = LoginThrottle()
    registration: RegistrationThrottle = RegistrationThrottle()
    code: CodeThrottle = CodeThrottle()
    settings: SettingsThrottle = SettingsThrottle()
    refresh: RefreshThrottle = RefreshThrottle()
    error: ErrorThrottle = ErrorThrottle()
    provider: ProviderThrottle = ProviderThrottle()
    provider_logout: ProviderLogoutThrottle = ProviderLogoutThrottle()
    client: ClientThrottle = ClientThrottle()
    token: TokenThrottle = TokenThrottle()
    trusted_proxies: int = Field(
        default=0, ge=0, le=16, description="How many proxies in front of us write `X-Forwarded-For`; 0 believes none"
    )


class Outbox(Section):
    """The worker that delivers outbox events."""

    worker: Literal["in_process", "separate"] = Field(
        default="in_process", description="`in_process`, or `separate` when `shopkeeper work` runs on its own"
    )
    poll: Lifespan = Field(default=parse_duration("1s"), description="How often to look for work that nobody announced")
    give_up_after: Lifespan = Field(
        default=parse_duration("24h"),
        description="How long an entry that fails is tried again, at least six times, before it is set aside as dead",
    )


class Metrics(Section):
    """Metrics for Prometheus."""

    enabled: bool = Field(default=True, description="Whether `/metrics` is served on the admin port")


class HttpClient(Section):
    """Our outgoing HTTP requests."""

    disallow_private_ip_ranges: bool = Field(
        default=True,
        description="Refuse to call private addresses, so that nobody can make us (Kratos' default is `false`)",
    )
    private_ip_exception_urls: tuple[str, ...] = Field(
        default=(), description="Private addresses that may be called all the same"
    )


class Clients(Section):
    """Our outgoing requests."""

    http: HttpClient = HttpClient()
