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
        ("postgres://u:p@h/d?sslrootcert=ca.pem", "no sslmode"),
        ("postgres://u:p@h/d?colour=red", "unknown option colour"),
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
    assert (dsn.pool_size, dsn.connect_args()) == (20, {"ssl": "require"})
    assert parse_dsn("memory").connect_args() == {}


def test_an_sqlite_database_knows_its_file() -> None:
    assert parse_dsn("sqlite://./var/shop.db").file == Path("var/shop.db")
    assert parse_dsn("memory").file is None
