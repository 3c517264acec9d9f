"""Data source names."""

from pathlib import Path

import pytest

from shopkeeper.settings.dsn import parse_dsn


@pytest.mark.parametrize(
    ("text", "kind", "url"),
    [
        ("memory", "memory", "sqlite+aiosqlite:///file:/shopkeeper?vfs=memdb&uri=true"),
        ("sqlite://:memory:", "memory", "sqlite+aiosqlite:///file:/shopkeeper?vfs=memdb&uri=true"),
        ("sqlite://file::memory:?cache=shared", "memory", "sqlite+aiosqlite:///file:/shopkeeper?vfs=memdb&uri=true"),
        ("sqlite:///srv/shop.db?_fk=true&mode=rwc", "sqlite", "sqlite+aiosqlite:////srv/shop.db"),
        ("sqlite://./var/shop.db", "sqlite", "sqlite+aiosqlite:///./var/shop.db"),
        ("sqlite://shop.db", "sqlite", "sqlite+aiosqlite:///shop.db"),
        ("postgres://u:p@h:5432/d", "postgres", "postgresql+asyncpg://u:p@h:5432/d"),
        ("postgresql://u:p%40ss@h/d?max_conns=4", "postgres", "postgresql+asyncpg://u:p%40ss@h/d"),
        # A Unix socket, as PostgreSQL's own tools write it.
        ("postgres:///d?host=/run/pg", "postgres", "postgresql+asyncpg:///d?host=%2Frun%2Fpg"),
    ],
)
def test_what_kratos_writes_becomes_an_sqlalchemy_url(text: str, kind: str, url: str) -> None:
    dsn = parse_dsn(text)
    assert (dsn.kind, dsn.sqlalchemy_url) == (kind, url)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must be memory"),
        ("shop.db", "must be memory"),
        ("oracle://x", "must be memory"),
        ("mysql://u:p@tcp(h:3306)/d", "MySQL, which is not supported"),
        ("cockroach://u@h:26257/d", "CockroachDB, which is not supported"),
        ("postgres://u:p@h:port/d", "cannot be read"),
        ("postgres://u:p@h", "names no database"),
        ("postgres://u:p@h/d?max_conns=0", "max_conns"),
        ("postgres://u:p@h/d?sslmode=maybe", "unknown sslmode"),
        ("postgres://u:p@h/d?sslrootcert=system&sslmode=require", "proves nothing"),
        ("postgres://u:p@h/d?channel_binding=require&sslmode=require", "sslmode=verify-full stops the same attack"),
        ("postgres://u:p@h/d?gssencmode=require", "unsupported gssencmode"),
        ("postgres://u:p@h/d?require_auth=scram-sha-256", "unknown option require_auth"),
        ("postgres://u:p@h/d?target_session_attrs=standby", "cannot be written"),
        ("postgres://u:p@h/d?connect_timeout=soon", "no number of seconds"),
        ("postgres://u:p@h/d?options=search_path%3Dx", "options that cannot be read"),
        ("postgres://u:p@h/d?options=-c%20'x", "options that cannot be read"),
        ("postgres://u:p@h/d?sslnegotiation=direct", "sslmode=require or stronger"),
        ("postgres://u:p@h/d?service=nowhere&servicefile=/nowhere", "names a service that cannot be found"),
        ("postgres://u:p@h1:1,h2,h3/d?port=1,2", "a port for some of its hosts only"),
        ("postgres://u:p@h1,,h3/d", "an empty host between commas"),
        ("postgres://u:p@h1:0,h2/d", "cannot be read"),
        ("postgres://u:p@h/d?pool_max_conns=many", "pool_max_conns"),
        ("sqlite:///x.db?immutable=1", "read-only"),
        ("sqlite:///x.db?max_conns=none", "max_conns"),
        ("postgres://u:p@h/d?colour=red", "unknown option colour; known are "),
        ("postgres://u:p@h/d?serch_path=x", r"unknown option serch_path; did you mean search_path\?"),
        ("sqlite:///x.db?_foreign_key=1", r"unknown option _foreign_key; did you mean _foreign_keys\?"),
        ("postgres://u:p@[::1/d", "brackets do not fit"),
        ("postgres://u:p@[::1:5432/d", "brackets do not fit"),
        ("postgres://u:p@[::1]5432/d", "brackets do not fit"),
        ("postgres://u:p@h,[::1/d", "brackets do not fit"),
        ("postgres://u:p@::1]/d", "a host that cannot be one"),
        ("postgres:///d?host=[::1", "brackets do not fit"),
        ("sqlite://", "names no file"),
        ("sqlite:///x.db?mode=ro", "read-only"),
        ("sqlite:///x.db?colour=red", "unknown option colour"),
    ],
)
def test_an_unusable_name_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refusal:
        parse_dsn(text)
    assert "u:p" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("postgres://u:hun@ter/s3cret:rd@db/x", "more than one @.* percent-encoded"),
        ("postgres://u:hunter@s3cret@db/x", "more than one @"),
        ("postgres://u:p@hunter?s3cret=hunter@db/x", "more than one @"),
        ("postgres://u/hunter:s3cret@db/x", "percent-encoded"),
        ("postgres://u:p@hunter#s3cret/x", "percent-encoded"),
        ("postgres://u:s3cret%zzhunter@db/x", "%25"),
        ("postgres://u:s3cret%@db/x", "%25"),
    ],
)
def test_a_password_with_raw_signs_is_not_shown_as_a_host(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refusal:
        parse_dsn(text)
    assert not any(part in str(refusal.value) for part in ("hun", "ter", "s3cret"))


@pytest.mark.parametrize("host", ["db-1.example.org", "my_db", "[fe80::1]:5432", "10.0.0.7:5432", "münchen.example"])
def test_valid_hosts_are_accepted(host: str) -> None:
    assert parse_dsn(f"postgres://u:p%40%2F@{host}/d").kind == "postgres"


def test_a_password_is_never_shown() -> None:
    dsn = parse_dsn("postgres://shop:hunter2@db.example.org/shop?sslmode=require")
    assert "hunter2" not in f"{dsn} {dsn!r} {[dsn]}"
    assert "db.example.org" in str(dsn)


def test_the_options_of_pool_and_tls_are_kept() -> None:
    dsn = parse_dsn("postgres://u:p@h/d?max_conns=20&sslmode=require")
    assert dsn.server is not None
    assert (dsn.pool_size, dsn.server.tls.mode) == (20, "require")
    assert parse_dsn("postgres://u:p@h/d?pool_max_conns=7").pool_size == 7
    assert parse_dsn("memory").connect_args() == {}


@pytest.mark.parametrize(
    ("rest", "hosts"),
    [
        ("h/d", [("h", 0)]),
        ("h1,h2:5433/d", [("h1", 5432), ("h2", 5433)]),
        ("h1,[::1]:5433/d", [("h1", 5432), ("::1", 5433)]),
        ("/d?host=h1,h2&port=6432", [("h1", 6432), ("h2", 6432)]),
        ("ignored/d?host=h1,/run/pg&port=6432,6433", [("h1", 6432), ("/run/pg", 6433)]),
        ("%2Frun%2Fpg/d", [("/run/pg", 0)]),
        ("/d", []),
    ],
)
def test_hosts_are_read_as_libpq_reads_them(rest: str, hosts: list[tuple[str, int]]) -> None:
    server = parse_dsn(f"postgres://{rest}").server
    assert server is not None
    assert list(server.hosts) == hosts


def test_every_host_is_shown_and_the_password_is_not() -> None:
    dsn = parse_dsn("postgres://shop:hunter2@one,two:5433,[::1]/shop?host=one,two,::1,/run/pg&port=5432,5433,5432,5434")
    assert str(dsn) == ("postgresql+asyncpg://shop:***@one:5432/shop (and two:5433, [::1]:5432, /run/pg/.s.PGSQL.5434)")


def test_a_socket_is_shown() -> None:
    dsn = parse_dsn("postgres://shop:hunter2@%2Frun%2Fpg/shop?max_conns=4")
    assert str(dsn) == "postgresql+asyncpg://shop:***@/shop (/run/pg/.s.PGSQL.5432)"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("postgres://u:p@h/d?max_conns=4&sslmode=require&search_path=shop&application_name=kettle", []),
        ("postgres://u:p@h/d?target_session_attrs=read-write&connect_timeout=3&passfile=/x&role=r", []),
        ("postgres://u:p@h/d?channel_binding=prefer&gssencmode=prefer&sslsni=1&client_encoding=UTF8", []),
        ("postgres://u:p@h/d?max_idle_conns=4&max_conn_lifetime=5m", ["max_idle_conns", "max_conn_lifetime"]),
        ("postgres://u:p@h/d?pool_min_conns=4", ["pool_min_conns"]),
        ("postgres://u:p@h/d?connect_timeout=0", ["connect_timeout"]),
        ("postgres://u:p@h/d?connect_timeout=60", ["connect_timeout"]),
        ("postgres://u:p@h/d?keepalives=1&tcp_user_timeout=9", []),
        ("postgres://u:p@h/d?statement_timeout=9&options=-c%20lock_timeout%3D9", ["statement_timeout", "lock_timeout"]),
        ("postgres://u:p@h/d?options=-c%20TimeZone%3DUTC%20-c%20search_path%3Dx", ["timezone"]),
        ("postgres://u:p@h/d?default_query_exec_mode=exec&sslsni=0", ["default_query_exec_mode", "sslsni"]),
        ("sqlite:///x.db?_fk=true&mode=rwc&cache=shared&_txlock=immediate&_journal_mode=WAL", []),
        ("sqlite:///x.db?max_conns=1&_txlock=exclusive&_busy_timeout=5000", ["max_conns", "_txlock", "_busy_timeout"]),
        ("sqlite:///x.db?_fk=false&_loc=auto", ["_fk", "_loc"]),
        ("sqlite://:memory:?_fk=true&max_idle_conns=1", ["max_idle_conns"]),
    ],
)  # fmt: skip
def test_options_without_effect_are_known_and_passed_over(text: str, options: list[str]) -> None:
    found = parse_dsn(text).passed_over
    assert [one.option for one in found] == options
    assert all(one.reason for one in found)


def test_an_sqlite_database_knows_its_file() -> None:
    assert parse_dsn("sqlite://./var/shop.db").file == Path("var/shop.db")
    assert parse_dsn("memory").file is None
