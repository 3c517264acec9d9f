"""Data source names of PostgreSQL: libpq's URI with one or several hosts, and its options.

The manual's section "Connection URIs" and "Parameter Key Words" of libpq.
"""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as ServiceFileBroken
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from sqlalchemy.engine import URL

from shopkeeper.settings.dsn_options import OUR_SETTINGS, POOL, POSTGRES, SERVER_SETTINGS, pool_size, refuse_unknown
from shopkeeper.storage.keepalive import Keepalive
from shopkeeper.storage.server_address import shown
from shopkeeper.storage.tls import MODES, SYSTEM, VERSIONS, Tls

FORM: Final = "postgres://user:password@host:5432/database?sslmode=verify-full&sslrootcert=system"
_ENCODE: Final = "write the password percent-encoded: @ as %40, / as %2F, : as %3A, % as %25"
_HOST: Final = re.compile(r"[\w.-]*|[0-9a-f:.]+(%\w+)?|/[^\0]*", re.IGNORECASE)
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9a-f]{2})", re.IGNORECASE)
_SETTING: Final = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_WRITABLE: Final = ("any", "read-write", "primary")
_DRIVER_OPTIONS: Final = ("passfile", "krbsrvname", "gsslib")
_TLS_ENVIRONMENT: Final = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
}
"""libpq's variables for what a DSN leaves out; the driver reads those of user and password itself."""


@dataclass(frozen=True, slots=True)
class PostgresDsn:
    """A PostgreSQL server, or several of which one can be written.

    `hosts` has every host with its port; the address that is shown and given to SQLAlchemy names the first.
    """

    sqlalchemy_url: str = field(repr=False)
    hosts: tuple[tuple[str, int], ...]
    tls: Tls
    server_settings: Mapping[str, str]
    options: Mapping[str, str] = field(repr=False)

    @property
    def further_hosts(self) -> tuple[str, ...]:
        """Every host but the first, with its port."""
        return tuple(shown(host, port) for host, port in self.hosts[1:])

    @property
    def socket(self) -> str | None:
        """The file of the Unix socket, where the first host is one."""
        host, port = self.hosts[0] if self.hosts else ("", 0)
        return shown(host, port) if host.startswith("/") else None

    def connect_args(self) -> dict[str, Any]:
        """Return what SQLAlchemy's asyncpg dialect takes as `connect_args`."""
        from shopkeeper.storage.postgres_connector import Connector  # noqa: PLC0415 - it imports the driver

        options = self.options
        connector = Connector(
            tls=self.tls,
            hosts=self.hosts if len(self.hosts) > 1 else (),
            session_attrs=options.get("target_session_attrs", "any"),
            shuffled=options.get("load_balance_hosts") == "random",
            direct_tls=options.get("sslnegotiation") == "direct",
            keepalive=Keepalive.of(options),
            connect_within=float(options.get("connect_timeout", "0")) or None,
        )
        arguments: dict[str, Any] = {"async_creator_fn": connector.connect}
        arguments.update((name, options[name]) for name in _DRIVER_OPTIONS if name in options)
        if self.server_settings:
            arguments["server_settings"] = dict(self.server_settings)
        return arguments


def parse_postgres(rest: str) -> tuple[PostgresDsn, dict[str, str]]:
    """Parse what follows `postgres://`; return the server, and the options with those of a service file.

    Raises `ValueError` with a sentence that repeats nothing which may be part of a password.
    """
    _refuse_raw_password(rest)
    address, _, query = rest.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    refuse_unknown(given, POSTGRES.keys() | POOL.keys())
    authority, _, database = address.partition("/")
    account, _, hosts = authority.rpartition("@")
    if "@" in database or ("@" in query and not account):
        raise ValueError(f"has a host that cannot be one; {_ENCODE}")
    options = {**_service(given), **given}
    user, _, password = account.partition(":")
    name = unquote(database) or options.get("dbname") or options.get("database")
    if not name:
        raise ValueError(f"names no database; write {FORM}")
    _check(options)
    places = tuple(_hosts(options.get("host") or unquote(hosts), options.get("port")))
    url = _url(places, options.get("user") or unquote(user), options.get("password") or unquote(password), name)
    settings, ours = _server_settings(options)
    text = url.render_as_string(hide_password=False)
    return PostgresDsn(text, places, _tls(options), settings, options), {**options, **ours}


def _server_settings(options: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the settings of each session, those with names of their own over those of `options`; and those among them
    that are passed over."""
    settings = dict(_settings_of(options.get("options", "")))
    settings.update((name, options[name]) for name in SERVER_SETTINGS if name in options)
    if "fallback_application_name" in options:
        settings.setdefault("application_name", options["fallback_application_name"])
    ours = {name.lower(): settings.pop(name) for name in tuple(settings) if name.lower() in OUR_SETTINGS}
    return settings, ours


def _refuse_raw_password(rest: str) -> None:
    """Refuse an unescaped `@` in a password: it would be cut there, and its rest shown as host, database or option."""
    if rest.count("@") > 1:
        raise ValueError(f"has more than one @; {_ENCODE}")
    if _BROKEN_ESCAPE.search(rest):
        raise ValueError("has a % that no two hexadecimal digits follow; write a % of the password as %25")


def _url(places: tuple[tuple[str, int], ...], user: str, password: str, database: str) -> URL:
    host, port = places[0] if places else ("", 0)
    url = URL.create("postgresql+asyncpg", user or None, password or None, database=database)
    if not host:
        return url
    if host.startswith("/"):  # the folder of a Unix socket
        return url.set(query={"host": host, "port": str(port)} if port else {"host": host})
    return url.set(host=host, port=port or None)


def _hosts(hosts: str, ports: str | None) -> Iterator[tuple[str, int]]:
    """Yield each host with its port; 0 stands for the default."""
    names = hosts.split(",") if hosts else []
    numbers = ports.split(",") if ports else [""]
    if len(numbers) not in {1, max(1, len(names))}:
        raise ValueError("has a port for some of its hosts only; give one port for all of them, or one for each")
    for index, name in enumerate(names):
        host, port = _host_and_port(name)
        number = port or numbers[index if len(numbers) > 1 else 0]
        if len(names) > 1 and not host:
            raise ValueError("has an empty host between commas; take it out")
        yield host, _port(number, default=5432 if len(names) > 1 else 0)
    if not names and numbers[0]:
        yield "localhost", _port(numbers[0], default=0)


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or port[:1] not in {"", ":"}:
            raise ValueError("has an IPv6 address whose brackets do not fit; write it as [::1] or [::1]:5432")
        port = port.removeprefix(":")
    elif text.startswith("/") or text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not _HOST.fullmatch(host):
        raise ValueError(f"has a host that cannot be one; {_ENCODE}")
    return host, port


def _port(text: str, *, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65_536):
        raise ValueError(f"cannot be read; write {FORM}")
    return int(text)


def _check(options: Mapping[str, str]) -> None:
    pool_size(options)
    _one_of(options, "sslmode", MODES)
    _one_of(options, "sslnegotiation", ("postgres", "direct"))
    _one_of(options, "sslcertmode", ("disable", "allow"))
    _one_of(options, "gssencmode", ("disable", "prefer"))
    _one_of(options, "load_balance_hosts", ("disable", "random"))
    _one_of(options, "channel_binding", ("disable", "prefer", "require"))
    _one_of(options, "gsslib", ("gssapi",))
    for name in ("ssl_min_protocol_version", "ssl_max_protocol_version"):
        _one_of(options, name, tuple(VERSIONS))
    if options.get("target_session_attrs", "any") not in _WRITABLE:
        raise ValueError("has target_session_attrs for a server that cannot be written; write read-write or leave it")
    seconds = options.get("connect_timeout", "0")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 5):
        raise ValueError("has a connect_timeout that is no number of seconds; write for example connect_timeout=10")
    Keepalive.of(options)
    list(_settings_of(options.get("options", "")))


def _one_of(options: Mapping[str, str], name: str, values: tuple[str, ...]) -> None:
    if name in options and options[name] not in values:
        kind = "an unknown" if name == "sslmode" else "an unsupported"
        raise ValueError(f"has {kind} {name}; it is one of {', '.join(values)}")


def _settings_of(options: str) -> Iterator[tuple[str, str]]:
    """Yield the settings in libpq's `options`: `-c name=value`, `-cname=value` or `--name=value`."""
    try:
        words = iter(shlex.split(options))
    except ValueError:
        words = iter((options,))
    for word in words:
        setting = next(words, "") if word == "-c" else word.removeprefix("-c" if word[:2] == "-c" else "--")
        name, equals, value = setting.partition("=")
        if word[:1] != "-" or not equals or not _SETTING.fullmatch(name):
            raise ValueError("has options that cannot be read; write them like options=-c%20search_path%3Dshop")
        yield (name.replace("-", "_") if word[:2] == "--" else name), value


def _tls(options: Mapping[str, str]) -> Tls:
    environ = {name: os.environ[variable] for name, variable in _TLS_ENVIRONMENT.items() if os.environ.get(variable)}
    told = {**environ, **{name: value for name, value in options.items() if value}}
    on_system_roots = told.get("sslrootcert") == SYSTEM
    mode = told.get("sslmode", "verify-full" if on_system_roots else "prefer")
    if mode not in MODES:
        raise ValueError(f"is used with an unknown PGSSLMODE; it is one of {', '.join(MODES)}")
    if on_system_roots and mode != "verify-full":
        raise ValueError(
            f"has sslrootcert=system with sslmode={mode}, which proves nothing, because anybody can get a certificate"
            " that the system trusts; write sslmode=verify-full"
        )
    if told.get("sslnegotiation") == "direct" and mode not in MODES[3:]:
        raise ValueError(f"has sslnegotiation=direct with sslmode={mode}; write sslmode=require or stronger")
    if told.get("channel_binding") == "require" and mode != "verify-full":
        raise ValueError(
            "has channel_binding=require, which the driver lacks; sslmode=verify-full stops the same attack, so write"
            " that, with sslrootcert (sslrootcert=system for a certificate that the system trusts)"
        )
    return Tls(
        mode=mode,
        root=told.get("sslrootcert"),
        certificate=told.get("sslcert"),
        key=told.get("sslkey"),
        key_password=told.get("sslpassword"),
        revoked=told.get("sslcrl"),
        at_least=told.get("ssl_min_protocol_version"),
        at_most=told.get("ssl_max_protocol_version"),
        may_show=told.get("sslcertmode") != "disable",
    )


def _service(given: Mapping[str, str]) -> dict[str, str]:
    """Return what the service file says about the service that the DSN names. Raises `ValueError`."""
    service = given.get("service")
    if not service:
        return {}
    named = given.get("servicefile") or os.environ.get("PGSERVICEFILE")
    file = Path(named or "~/.pg_service.conf")
    parser = ConfigParser(interpolation=None, delimiters=("=",))
    try:
        parser.read_string(file.expanduser().read_text(encoding="utf-8"))
        found = dict(parser[service])
    except (OSError, ValueError, KeyError, RuntimeError, ServiceFileBroken) as broken:
        raise ValueError(
            f"names a service that cannot be found in {file}; mend that file, or write host and database into the DSN"
        ) from broken
    refuse_unknown(found, POSTGRES.keys() | POOL.keys())
    return found
