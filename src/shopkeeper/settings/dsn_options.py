"""The options of a data source name that other programs know: which are in effect, and why others are passed over.

They come from libpq, from pgx and the pool of Kratos, and from the SQLite drivers of Go.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shopkeeper.parsing import nearest_name

DEFAULT_POOL: Final = 10
MOST_CONNECTIONS: Final = 1_000
LONGEST_CONNECT: Final = 3
"""Seconds of `connect_timeout` that can be in effect: requests do not wait longer for a connection."""

_KEPT: Final = "connections are kept; max_conns says how many"
_DRIVER: Final = "it is about another driver's own ways"
_OWN_FORMAT: Final = "dates, times and text are exchanged in one fixed form"
_ONE_WRITER: Final = "an SQLite file has one writer and one reader in each process"
_OUR_FILE: Final = "Shopkeeper sets up its file itself"

POOL: Final[Mapping[str, str]] = {
    "max_conns": "",
    "pool_max_conns": "",
    **dict.fromkeys(
        (
            "max_idle_conns",
            "max_conn_lifetime",
            "max_conn_idle_time",
            "pool_min_conns",
            "pool_min_idle_conns",
            "pool_max_conn_lifetime",
            "pool_max_conn_lifetime_jitter",
            "pool_max_conn_idle_time",
            "pool_health_check_period",
            "pool_ping_timeout",
        ),
        _KEPT,
    ),
}
"""Options of the pools of Kratos and pgx: the reason why each is passed over, empty where it is in effect."""

SERVER_SETTINGS: Final = frozenset({"application_name", "role", "search_path"})
"""Settings of a session that may stand in a DSN by their own names; all others go into `options=-c name=value`."""
OUR_SETTINGS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "idle_in_transaction_session_timeout",
            "idle_session_timeout",
            "lock_timeout",
            "statement_timeout",
            "transaction_timeout",
        ),
        "Shopkeeper sets its own limits, so that no request waits for long",
    ),
    "default_transaction_isolation": "every transaction is READ COMMITTED, and locks what it depends on",
    **dict.fromkeys(("client_encoding", "timezone", "datestyle"), _OWN_FORMAT),
}
"""Settings of a session that are passed over, in lower case, each with the reason."""

POSTGRES: Final[Mapping[str, str]] = {
    **dict.fromkeys(SERVER_SETTINGS, ""),
    **OUR_SETTINGS,
    **{"TimeZone": _OWN_FORMAT, "DateStyle": _OWN_FORMAT},
    **dict.fromkeys(
        (
            *("host", "port", "user", "password", "dbname", "database", "passfile", "service", "servicefile"),
            *("connect_timeout", "fallback_application_name", "options", "target_session_attrs", "load_balance_hosts"),
            *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslcertmode", "sslnegotiation"),
            *("ssl_min_protocol_version", "ssl_max_protocol_version", "channel_binding", "gssencmode"),
            *("krbsrvname", "gsslib"),
            *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        ),
        "",
    ),
    **dict.fromkeys(
        (
            "binary_parameters",
            "default_query_exec_mode",
            "description_cache_capacity",
            "min_read_buffer_size",
            "prefer_simple_protocol",
            "statement_cache_capacity",
            "statement_cache_mode",
            "min_protocol_version",
            "max_protocol_version",
        ),
        _DRIVER,
    ),
    "sslsni": "the host's name is always sent",
    "sslcompression": "TLS is never compressed",
    "gssdelegation": "no Kerberos ticket is passed on",
}
"""Options of libpq and pgx: the reason why each is passed over, empty where it is in effect."""

SQLITE: Final[Mapping[str, str]] = {
    **dict.fromkeys(("cache", "mode", "immutable", "_query_only"), ""),
    **dict.fromkeys(
        (
            *("_fk", "_foreign_keys", "_txlock", "_journal", "_journal_mode", "_sync", "_synchronous", "_cache_size"),
            *("_busy_timeout", "_timeout", "_pragma", "_auto_vacuum", "_vacuum", "_locking", "_locking_mode"),
            *("_secure_delete", "_recursive_triggers", "_rt", "_defer_foreign_keys", "_defer_fk"),
            *("_ignore_check_constraints", "_case_sensitive_like", "_cslike", "_writable_schema"),
        ),
        _OUR_FILE,
    ),
    **dict.fromkeys(("_loc", "_mutex", "_time_format", "_stmt_cache_size", "vfs", "lock"), _DRIVER),
}
"""Options of Go's SQLite drivers, in the same way."""

# Values that ask for what happens anyway, so that nothing needs to be said.
_SAME: Final = frozenset(
    {
        *((name, value) for name in ("_fk", "_foreign_keys") for value in ("1", "true", "on", "yes")),
        *(("_journal", "WAL"), ("_journal_mode", "WAL"), ("_txlock", "immediate")),
        *(("_sync", "NORMAL"), ("_synchronous", "NORMAL"), ("_sync", "1"), ("_synchronous", "1")),
        *(("sslsni", "1"), ("sslcompression", "0"), ("gssdelegation", "0"), ("client_encoding", "UTF8")),
        *(("client_encoding", "utf8"), ("client_encoding", "UTF-8"), ("client_encoding", "utf-8")),
    }
)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """An option that has no effect here, and why."""

    option: str
    reason: str


def passed_over(options: Mapping[str, str], *, postgres: bool) -> tuple[PassedOver, ...]:
    """Return the options that have no effect, in the order of the DSN.

    >>> [found.option for found in passed_over({"max_conns": "4", "_loc": "auto"}, postgres=False)]
    ['max_conns', '_loc']
    """
    return tuple(_passed_over(options, POSTGRES if postgres else SQLITE, pooled=postgres))


def _passed_over(options: Mapping[str, str], known: Mapping[str, str], *, pooled: bool) -> Iterator[PassedOver]:
    for option, value in options.items():
        reason = known.get(option) or POOL.get(option, "")
        if option in POOL and not pooled:
            reason = _ONE_WRITER
        if option == "connect_timeout" and not 1 <= int(value) <= LONGEST_CONNECT:
            reason = "Shopkeeper never waits longer than a few seconds for a connection"
        if reason and (option, value) not in _SAME:
            yield PassedOver(option, reason)


def pool_size(options: Mapping[str, str]) -> int:
    """Return the number of connections to hold. Raises `ValueError` where it is not usable."""
    name = "max_conns" if "max_conns" in options else "pool_max_conns"
    size = options.get(name, str(DEFAULT_POOL))
    if not (size.isascii() and size.isdigit() and len(size) < 6 and 1 <= int(size) <= MOST_CONNECTIONS):
        raise ValueError(f"has {name} outside 1 to {MOST_CONNECTIONS}; write for example {name}=20")
    return int(size)


def refuse_unknown(options: Collection[str], known: Collection[str]) -> None:
    """Raise `ValueError` with the first option that is not known."""
    unknown = sorted(option for option in options if option not in known)
    if unknown:
        name = unknown[0][:60]
        meant = nearest_name(name, sorted(known))
        hint = f"did you mean {meant}?" if meant else f"known are {', '.join(sorted(known))}"
        raise ValueError(f"has the unknown option {name}; {hint}")
