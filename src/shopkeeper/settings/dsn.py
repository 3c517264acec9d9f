"""Data source names: parses Kratos' form once, and converts it for SQLAlchemy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, unquote

from pydantic import BeforeValidator
from sqlalchemy.engine import URL, make_url

from shopkeeper.settings.dsn_options import POOL, SQLITE, PassedOver, passed_over, pool_size, refuse_unknown
from shopkeeper.settings.postgres_dsn import FORM as POSTGRES_FORM
from shopkeeper.settings.postgres_dsn import PostgresDsn, parse_postgres
from shopkeeper.settings.section import SECRET, without_line_break

DEFAULT: Final = "sqlite://./var/shopkeeper.db"
# SQLite's memdb: one database for all connections of the process, with real locks, deleted with the last connection.
_SHARED_MEMORY: Final = "sqlite+aiosqlite:///file:/shopkeeper?vfs=memdb&uri=true"
_MEMORY_NAMES: Final = frozenset({":memory:", "/:memory:", "file::memory:"})
_READ_ONLY: Final = (("mode", "ro"), ("immutable", "1"), ("immutable", "true"), ("_query_only", "1"))


@dataclass(frozen=True, slots=True, repr=False)
class Dsn:
    """A database that can be opened. Its text forms never contain the password."""

    kind: Literal["memory", "sqlite", "postgres"]
    sqlalchemy_url: str
    options: Mapping[str, str] = field(default_factory=dict)
    server: PostgresDsn | None = None

    @property
    def pool_size(self) -> int:
        """The number of connections to hold: Kratos' `max_conns`, or 10."""
        return pool_size(self.options)

    @property
    def passed_over(self) -> tuple[PassedOver, ...]:
        """The options that are known and have no effect here, each with the reason."""
        return passed_over(self.options, postgres=self.kind == "postgres")

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database, or None."""
        database = make_url(self.sqlalchemy_url).database if self.kind == "sqlite" else None
        return Path(database) if database else None

    def connect_args(self) -> dict[str, Any]:
        """The driver's arguments besides the address: how to reach, trust and set up a PostgreSQL server."""
        return {} if self.server is None else self.server.connect_args()

    def __str__(self) -> str:
        if self.kind == "memory":
            return "memory"
        url = make_url(self.sqlalchemy_url)
        plain = URL.create(url.drivername, url.username, url.password, url.host, url.port, url.database)
        return f"{plain.render_as_string(hide_password=True)}{self._not_in_address}"

    @property
    def _not_in_address(self) -> str:
        """The servers that the form of an address has no place for: a Unix socket, and every host but the first."""
        if self.server is None:
            return ""
        further = ", ".join(self.server.further_hosts)
        socket = self.server.socket
        told = [*((socket,) if socket else ()), *((f"and {further}",) if further else ())]
        return f" ({' '.join(told)})" if told else ""

    def __repr__(self) -> str:
        return f"Dsn({str(self)!r})"


def parse_dsn(text: object) -> Dsn:
    """Parse a data source name as Kratos writes it.

    >>> parse_dsn("sqlite:///srv/shop.db?_fk=true").sqlalchemy_url
    'sqlite+aiosqlite:////srv/shop.db'
    """
    if isinstance(text, Dsn):
        return text
    text = without_line_break(text)
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
    refuse_unknown(options, SQLITE.keys() | POOL.keys())
    name = unquote(path)
    if name in _MEMORY_NAMES or options.get("mode") == "memory":
        return Dsn(kind="memory", sqlalchemy_url=_SHARED_MEMORY, options=options)
    if any(options.get(option) == value for option, value in _READ_ONLY):
        raise ValueError("asks for a read-only database; Shopkeeper writes, so leave mode=ro and immutable out")
    if not name.removeprefix("file:"):
        raise ValueError("names no file; write sqlite:///folder/shopkeeper.db or sqlite://./var/shopkeeper.db")
    url = URL.create("sqlite+aiosqlite", database=name.removeprefix("file:"))
    pool_size(options)  # refuses what is no number, although a file has one writer
    return Dsn(kind="sqlite", sqlalchemy_url=url.render_as_string(hide_password=False), options=options)


def _postgres(rest: str) -> Dsn:
    server, options = parse_postgres(rest)
    return Dsn(kind="postgres", sqlalchemy_url=server.sqlalchemy_url, options=options, server=server)


def _unsupported(name: str) -> Callable[[str], Dsn]:
    def refuse(_rest: str) -> Dsn:
        raise ValueError(f"names {name}, which is not supported; use {POSTGRES_FORM} or sqlite:///folder/file.db")

    return refuse


_KNOWN_FORMS: Final = f"must be memory, sqlite:///folder/file.db or {POSTGRES_FORM}"
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
