"""Data source names: parses Kratos' form once, and converts it for SQLAlchemy."""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, unquote

from pydantic import BeforeValidator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from shopkeeper.settings.section import SECRET

DEFAULT: Final = "sqlite://./var/shopkeeper.db"
# SQLite's memdb: one database for all connections of the process, with real locks, deleted with the last connection.
_SHARED_MEMORY: Final = "sqlite+aiosqlite:///file:/shopkeeper?vfs=memdb&uri=true"
_MEMORY_NAMES: Final = frozenset({":memory:", "/:memory:", "file::memory:"})

# Options of Kratos' SQLite driver; ours always opens read-write with foreign keys on.
_SQLITE_OPTIONS: Final = frozenset({"_fk", "_foreign_keys", "cache", "mode", "_journal_mode", "_busy_timeout"})
# Further options of Kratos' pool; our pool always keeps its connections.
_POOL_OPTIONS_WITHOUT_EFFECT: Final = ("max_idle_conns", "max_conn_lifetime", "max_conn_idle_time")
_POOL_OPTIONS: Final = frozenset({"max_conns", *_POOL_OPTIONS_WITHOUT_EFFECT})
_TLS_OPTIONS: Final = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey"})
_TLS_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_HOST: Final = re.compile(r"[\w.-]*|[0-9a-f:.]+(%\w+)?", re.IGNORECASE)
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9a-f]{2})", re.IGNORECASE)
# Options of libpq, such as the directory of a Unix socket.
_DRIVER_OPTIONS: Final = frozenset({"host", "port"})


@dataclass(frozen=True, slots=True, repr=False)
class Dsn:
    """A database that can be opened. Its text forms never contain the password."""

    kind: Literal["memory", "sqlite", "postgres"]
    sqlalchemy_url: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def pool_size(self) -> int:
        """The number of connections to hold: Kratos' `max_conns`, or 10."""
        return int(self.options.get("max_conns", "10"))

    @property
    def without_effect(self) -> tuple[str, ...]:
        """The options that are known and have no effect here."""
        return tuple(name for name in _POOL_OPTIONS_WITHOUT_EFFECT if name in self.options)

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database, or None."""
        database = make_url(self.sqlalchemy_url).database if self.kind == "sqlite" else None
        return Path(database) if database else None

    def connect_args(self) -> dict[str, Any]:
        """The driver's arguments besides the address: how far to trust a PostgreSQL server's certificate."""
        mode = self.options.get("sslmode")
        if self.kind != "postgres" or mode is None:
            return {}
        files = [self.options.get(name) for name in ("sslrootcert", "sslcert", "sslkey")]
        return {"ssl": _tls_context(mode, *files) if any(files) else mode}

    def __str__(self) -> str:
        if self.kind == "memory":
            return "memory"
        url = make_url(self.sqlalchemy_url)
        plain = URL.create(url.drivername, url.username, url.password, url.host, url.port, url.database)
        return plain.render_as_string(hide_password=True)

    def __repr__(self) -> str:
        return f"Dsn({str(self)!r})"


def parse_dsn(text: object) -> Dsn:
    """Parse a data source name as Kratos writes it.

    >>> parse_dsn("sqlite:///srv/shop.db?_fk=true").sqlalchemy_url
    'sqlite+aiosqlite:////srv/shop.db'
    """
    if isinstance(text, Dsn):
        return text
    if not isinstance(text, str) or not text:
        raise ValueError(_KNOWN_FORMS)
    if text == "memory":
        return Dsn(kind="memory", sqlalchemy_url=_SHARED_MEMORY)
    scheme, found, rest = text.partition("://")
    reader = _READERS.get(scheme.lower())
    if not found or reader is None:
        raise ValueError(_KNOWN_FORMS)
    return reader(rest)


def _sqlite(rest: str) -> Dsn:
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    _refuse_unknown(options, _SQLITE_OPTIONS)
    name = unquote(path)
    if name in _MEMORY_NAMES or options.get("mode") == "memory":
        return Dsn(kind="memory", sqlalchemy_url=_SHARED_MEMORY)
    if options.get("mode") == "ro":
        raise ValueError("asks for a read-only database; Shopkeeper writes, so leave mode=ro out")
    if not name.removeprefix("file:"):
        raise ValueError("names no file; write sqlite:///folder/shopkeeper.db or sqlite://./var/shopkeeper.db")
    url = URL.create("sqlite+aiosqlite", database=name.removeprefix("file:"))
    return Dsn(kind="sqlite", sqlalchemy_url=url.render_as_string(hide_password=False))


def _postgres(rest: str) -> Dsn:
    _refuse_raw_password(rest)
    try:
        url = make_url("postgresql+asyncpg://" + rest)
    except (ArgumentError, ValueError) as broken:
        raise ValueError(f"cannot be read; write {_POSTGRES_FORM}") from broken
    if not _HOST.fullmatch(url.host or "") or "@" in (url.database or ""):
        raise ValueError(f"has a host that cannot be one; {_ENCODE}")
    query = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    _refuse_unknown(query, _POOL_OPTIONS | _TLS_OPTIONS | _DRIVER_OPTIONS)
    if not url.database:
        raise ValueError(f"names no database; write {_POSTGRES_FORM}")
    options = {name: value for name, value in query.items() if name not in _DRIVER_OPTIONS}
    _check_postgres(options)
    url = url.set(query={name: value for name, value in query.items() if name in _DRIVER_OPTIONS})
    return Dsn(kind="postgres", sqlalchemy_url=url.render_as_string(hide_password=False), options=options)


def _refuse_raw_password(rest: str) -> None:
    """Refuse an unescaped `@` in a password: it would be cut there, and its rest shown as host, database or option."""
    if rest.count("@") > 1:
        raise ValueError(f"has more than one @; {_ENCODE}")
    if _BROKEN_ESCAPE.search(rest):
        raise ValueError("has a % that no two hexadecimal digits follow; write a % of the password as %25")


def _check_postgres(options: Mapping[str, str]) -> None:
    connections = options.get("max_conns", "10")
    if not (connections.isascii() and connections.isdigit() and 1 <= int(connections) <= 1_000):
        raise ValueError("has max_conns outside 1 to 1000; write for example max_conns=20")
    if options.get("sslmode", "prefer") not in _TLS_MODES:
        raise ValueError(f"has an unknown sslmode; it is one of {', '.join(_TLS_MODES)}")
    if "sslmode" not in options and options.keys() & _TLS_OPTIONS:
        raise ValueError("names certificates but no sslmode; add sslmode=verify-full")


def _refuse_unknown(options: Mapping[str, str], known: frozenset[str]) -> None:
    unknown = sorted(options.keys() - known)
    if unknown:
        raise ValueError(f"has the unknown option {unknown[0]}; known are {', '.join(sorted(known))}")


def _unsupported(name: str) -> Callable[[str], Dsn]:
    def refuse(_rest: str) -> Dsn:
        raise ValueError(f"names {name}, which is not supported; use {_POSTGRES_FORM} or sqlite:///folder/file.db")

    return refuse


def _tls_context(mode: str, root: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=root)
    context.check_hostname = mode == "verify-full"
    if mode not in {"verify-ca", "verify-full"}:
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


_POSTGRES_FORM: Final = "postgres://user:password@host:5432/database?sslmode=verify-full"
_ENCODE: Final = "write the password percent-encoded: @ as %40, / as %2F, : as %3A, % as %25"
_KNOWN_FORMS: Final = f"must be memory, sqlite:///folder/file.db or {_POSTGRES_FORM}"
_READERS: Final[Mapping[str, Callable[[str], Dsn]]] = {
    "sqlite": _sqlite,
    "sqlite3": _sqlite,
    "postgres": _postgres,
    "postgresql": _postgres,
    "mysql": _unsupported("MySQL"),
    "cockroach": _unsupported("CockroachDB"),
    "cockroachdb": _unsupported("CockroachDB"),
}

DsnText = Annotated[Dsn, BeforeValidator(parse_dsn), SECRET]
