"""Seeding: it writes what the server reads, and continues an interrupted run."""

from pathlib import Path

import pytest
from rich.console import Console

from bench.database import count_rows
from bench.hashing import hash_of
from bench.seed import TABLES, main, seed
from bench.seeded import email, identity_id, number_of, token
from bench.servers import shopkeeper
from bench.shop import PASSWORD, Commerce

QUIET = Console(quiet=True)
TERMS = 4  # the values of the traits of each identity
SEEDED = (
    "identities",
    "credentials",
    "credential_identifiers",
    "verifiable_addresses",
    "recovery_addresses",
    "sessions",
)


def test_a_number_is_read_back_from_its_id() -> None:
    assert number_of(identity_id(123_456)) == 123_456
    assert identity_id(7).version == 7
    assert identity_id(7) < identity_id(8)


def test_every_table_gets_its_rows_and_a_second_run_only_what_is_missing(empty_dsn: str) -> None:
    first = seed(empty_dsn, count=150, password_hash=hash_of(PASSWORD), console=QUIET)
    again = seed(empty_dsn, count=200, password_hash=hash_of(PASSWORD), console=QUIET)
    assert (first.found, first.made) == (0, 150)
    assert (again.found, again.made) == (150, 50)
    rows = count_rows(empty_dsn)
    assert {table: rows[table] for table in SEEDED} == dict.fromkeys(SEEDED, 200)
    assert rows["identity_terms"] == 200 * TERMS
    assert len(SEEDED) + 1 == TABLES


def test_seeding_fewer_than_there_are_changes_nothing(empty_dsn: str) -> None:
    seed(empty_dsn, count=20, password_hash=hash_of(PASSWORD), console=QUIET)
    fewer = seed(empty_dsn, count=10, password_hash=hash_of(PASSWORD), console=QUIET)
    assert (fewer.found, fewer.made) == (10, 0)
    assert count_rows(empty_dsn)["identities"] == 20


def test_the_server_finds_seeded_identities(empty_dsn: str, tmp_path: Path) -> None:
    seed(empty_dsn, count=30, password_hash=hash_of(PASSWORD), console=QUIET)
    with shopkeeper(tmp_path, dsn=empty_dsn) as server:
        shop = Commerce(server, empty_dsn)
        session = shop.get("/sessions/whoami", token=token(29))
        assert session["identity"]["traits"]["email"] == email(29)
        assert session["identity"]["id"] == str(identity_id(29))
        assert shop.sign_in(email(3)) != token(3)


def test_the_command_prints_its_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--dsn", f"sqlite://{tmp_path / 'new.db'}", "--count", "200"])
    told = capsys.readouterr().err
    assert "200/200" in told
    assert "200 were made" in told
    assert count_rows(f"sqlite://{tmp_path / 'new.db'}")["sessions"] == 200


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--dsn", "memory"], id="a database that would end with the process"),
        pytest.param(["--dsn", "mysql://host/db"], id="a database that is not supported"),
        pytest.param(["--dsn", "sqlite:///new.db", "--count", "0"], id="nobody"),
        pytest.param(["--dsn", "sqlite:///new.db", "--count", "some"], id="no number"),
    ],
)
def test_the_command_refuses_impossible_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_a_database_that_cannot_be_opened_ends_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cannot be opened"):
        main(["--dsn", f"sqlite://{tmp_path}", "--count", "1"])
