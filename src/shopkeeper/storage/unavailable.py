"""Explains why the database cannot be used, in one sentence for the operator. It never contains a password."""

import getpass
import os
import socket
import sqlite3
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from asyncpg import (  # type: ignore[import-untyped]  # asyncpg carries no types
    InterfaceError,
    InvalidCachedStatementError,
    PostgresError,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shopkeeper.errors import Busy
from shopkeeper.storage.server_address import shown
from shopkeeper.storage.tls import ServerRefused


class DatabaseUnavailable(Busy):
    """Raised when the database cannot be reached, does not answer in time, or has ended a transaction because another
    one was in its way, as in a deadlock. The request may be sent again."""

    message = "The database does not answer just now."


class CommitUnknown(DatabaseUnavailable):
    """Raised when the connection was lost before the answer to a commit came: the change was made, or it was not.

    The same must not be tried again without looking.
    """

    topic = "unconfirmed"
    message = "The database has not confirmed the change. It may have been made: look before you send it again."


class RetryAtOnce(DatabaseUnavailable):
    """Raised when a statement had no effect for a reason that may be over: its connection was cut or is outdated, or
    another transaction was in the way. In a new transaction the same may succeed at once."""


DATABASE_ERRORS: Final = (
    DBAPIError,
    PoolTimeout,
    PostgresError,
    InterfaceError,
    sqlite3.Error,
    OSError,
    DatabaseUnavailable,
)
"""All exceptions that can be caused by the database's state rather than by a bug. SQLAlchemy wraps what a driver raises
for a statement, but not all of what it raises while connecting."""


class StorageUnavailable(Exception):
    """Raised when the database cannot be used as it is; the sentence says why and what to do."""


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Convert a driver's exception about its server or file into `StorageUnavailable`; other exceptions pass.

    >>> from sqlalchemy import make_url
    >>> with explained(make_url("postgresql+asyncpg://me:secret@db.example/shop")):
    ...     raise ConnectionRefusedError
    Traceback (most recent call last):
    shopkeeper.storage.unavailable.StorageUnavailable: Nothing answers at db.example:5432: ...
    """
    try:
        yield
    except DATABASE_ERRORS as failed:
        sentence = _sentence(failed, url)
        if sentence is None:
            raise
        raise StorageUnavailable(sentence) from failed


def is_unavailable(failed: BaseException) -> bool:
    """Whether an exception means that the database is temporarily unreachable or unable to execute the statement.

    >>> is_unavailable(ConnectionRefusedError()), is_unavailable(KeyError())
    (True, False)
    """
    return any(_says_away(error) for error in _causes(failed))


def is_passing(failed: BaseException) -> bool:
    """Whether the reason of an unavailable database may be over at once, so that another attempt is worth it."""
    return any(_is_outdated(error) or _code(error).startswith(_PASSING) for error in _causes(failed))


def _says_away(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | socket.gaierror | TimeoutError | PoolTimeout | DatabaseUnavailable):
        return True
    if getattr(error, "connection_invalidated", False):
        return True
    return _is_outdated(error) or _code(error).startswith(_AWAY)


def _is_outdated(error: BaseException) -> bool:
    """Whether a prepared statement does not fit its tables any more (0A000), which only its connection minds."""
    return isinstance(error, InvalidCachedStatementError)


def _code(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", ""))


_PASSING: Final = ("08", "25006", "26000", "40", "57P")
"""Connections (08), a server that was a primary until its failover (25006), a prepared statement that a pooler has left
on another connection (26000), a rollback because of another transaction, as in a deadlock (40), shutting down (57P)."""
_AWAY: Final = (
    *(*_PASSING, "53", "55P03", "57", "SQLITE_BUSY", "SQLITE_LOCKED"),
    *("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_NOTADB"),
)
"""Also resources (53), a lock that is not released (55P03), a statement that takes too long (57014); for SQLite, a disk
that is full or read-only, and a file that is damaged."""


def _sentence(failed: BaseException, url: URL) -> str | None:
    by_type = _IN_A_FILE if url.get_backend_name() == "sqlite" else _ON_A_SERVER
    for error in sorted(_causes(failed), key=_only_says_closed):
        if isinstance(error, ServerRefused):
            return str(error)
        tell = _in_its_words(error) or _by_code(error) or next((tell for fits, tell in by_type if fits(error)), None)
        if tell is not None:
            return tell(url)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes: SQLAlchemy wraps the driver's exception, which may wrap another one."""
    met: set[int] = set()
    while error is not None and id(error) not in met:  # an exception can be its own cause
        met.add(id(error))
        yield error
        error = getattr(error, "orig", None) or error.__cause__


def _only_says_closed(error: BaseException) -> bool:
    """Whether an exception tells less than its cause: the driver has what the server said last as the cause of it."""
    return _code(error) == _CLOSED


_CLOSED: Final = "08003"


def _by_code(error: BaseException) -> "_Tell | None":
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    if not isinstance(code, str):
        return None
    family = "_".join(code.split("_")[:2])  # SQLITE_READONLY_DIRECTORY is a kind of SQLITE_READONLY
    return _BY_CODE.get(code) or _BY_CODE.get(family)


_Tell = Callable[[URL], str]


def _server(url: URL) -> str:
    """Return how the server of a URL is named. SQLAlchemy keeps the folder of a Unix socket in the query."""
    return shown(url.host or _single(url, "host"), url.port or _single(url, "port"))


def _single(url: URL, option: str) -> str | None:
    value = url.query.get(option)
    return value if isinstance(value, str) else None


def _user(url: URL) -> str:
    """Return the user of a URL, or who the driver takes in its place, as libpq does."""
    return url.username or os.environ.get("PGUSER") or getpass.getuser()


def _refused(url: URL) -> str:
    if not url.username:
        return (
            f"The database at {_server(url)} refuses the user {_user(url)!r}, who is asked for because the DSN names"
            " no user: write user and password into the DSN."
        )
    return f"The database at {_server(url)} refuses the user {url.username!r}: check user and password in the DSN."


def _not_allowed(url: URL) -> str:
    return (
        f"The user {_user(url)!r} may not do this in the database {url.database!r}: make it the owner of the"
        " database, or grant it CREATE and USAGE on the schema."
    )


def read_only(url: URL) -> str:
    """Return the sentence about a PostgreSQL server that accepts no writes."""
    return f"The database at {_server(url)} is read-only: point the DSN at the primary, not a replica."


def _hung_up(url: URL) -> str:
    return f"{_server(url)} closed the connection: check that it is PostgreSQL, and look at its log."


def _in_its_words(error: BaseException) -> "_Tell | None":
    """Report what a server, or a connection pooler in front of it, says about a connection that it does not want."""
    if _code(error) != "08P01":
        return None
    said = str(error).rstrip(".")
    if any(words in said for words in _SERVER_OF_POOLER):
        return lambda url: f"The pooler at {_server(url)} cannot reach its database: {said}."
    return lambda url: f"{_server(url)} refuses the connection: {said}."


_SERVER_OF_POOLER: Final = (
    *("server login", "server_login", "server conn crashed", "server down", "cannot connect to server"),
    *("server DNS lookup failed", "connect failed", "connect timeout"),
)
"""Parts of what PgBouncer says about its own connections to PostgreSQL."""


_BY_CODE: Final[Mapping[str, _Tell]] = {
    _CLOSED: _hung_up,
    "28P01": _refused,
    "28000": _refused,
    "3D000": lambda url: (
        f"There is no database {url.database!r} at {_server(url)}: create it, or correct its name in the DSN."
    ),
    "42501": _not_allowed,
    "3F000": _not_allowed,  # PostgreSQL reports a schema without USAGE as missing
    "53300": lambda url: (
        f"The database at {_server(url)} has no connection left: raise its max_connections, or lower max_conns in the"
        " DSN."
    ),
    "55P03": lambda url: (
        f"Another session of the database at {_server(url)} keeps a lock that is needed: wait until another process has"
        " migrated, or end the transaction that holds the lock."
    ),
    "57P03": lambda url: f"The database at {_server(url)} is starting up or shutting down: try again in a moment.",
    "25006": read_only,
    "SQLITE_CANTOPEN": lambda url: (
        f"The database file {url.database} cannot be opened or created: check that its folder exists and may be"
        " written by this user."
    ),
    "SQLITE_READONLY": lambda url: (
        f"The database file {url.database} cannot be written: its folder, its disk or the file itself is read-only for"
        " this user."
    ),
    "SQLITE_NOTADB": lambda url: f"{url.database} is not an SQLite database: correct the path in the DSN.",
    "SQLITE_CORRUPT": lambda url: f"The database file {url.database} is damaged: restore it from a backup.",
    "SQLITE_FULL": lambda url: f"The disk that holds {url.database} is full: make room and start again.",
    "SQLITE_BUSY": lambda url: f"The database file {url.database} is locked by another program: end that one first.",
    "SQLITE_IOERR": lambda url: f"The disk that holds {url.database} does not read or write as it should: check it.",
    "SQLITE_PERM": lambda url: f"The database file {url.database} may not be opened by this user.",
    "SQLITE_AUTH": lambda url: f"The database file {url.database} may not be opened by this user.",
}


def _is(kind: type[BaseException]) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, kind)


_ON_A_SERVER: Final[tuple[tuple[Callable[[BaseException], bool], _Tell], ...]] = (
    (
        _is(socket.gaierror),
        lambda url: f"The database host {url.host!r} cannot be found: check its name in the DSN.",
    ),
    (
        _is(ssl.SSLError),
        lambda url: f"No trusted TLS connection to {_server(url)}: check sslmode and sslrootcert in the DSN.",
    ),
    (
        # asyncpg's bare ConnectionError: the server speaks no TLS, or closed the connection without an answer
        lambda error: type(error) is ConnectionError or isinstance(error, ConnectionResetError),
        _hung_up,
    ),
    (
        _is(OSError),
        lambda url: (
            f"Nothing answers at {_server(url)}: check host and port in the DSN, and that the server is running."
        ),
    ),
)
_IN_A_FILE: Final = ((_is(OSError), _BY_CODE["SQLITE_CANTOPEN"]),)
