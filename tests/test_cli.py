"""The command in this process: how it prints what others wrote, and that bad input ends in a sentence."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from shopkeeper.cli import cli
from tests.services.postgres import USER
from tests.services.server import free_port
from tests.services.tls_postgres import PASSWORD, Ground
from tests.stories.production import PRODUCTION, flat

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def shopkeeper(folder: Path) -> Run:
    """Run the command with a sound production configuration, and variables over it."""

    def run(*arguments: str, **environ: str) -> Result:
        ports = {f"SERVE_{door}_PORT": str(free_port()) for door in ("PUBLIC", "ADMIN")}
        sound = {**flat(PRODUCTION), **ports, "COLUMNS": "400"}
        return CliRunner().invoke(cli, list(arguments), env={**sound, **environ})

    return run


class TestDatabaseCertificates:
    """What is wrong with TLS to the database is told by one sentence, whichever command meets it."""

    @pytest.mark.parametrize("command", ["doctor", "migrate", "serve", "work"])
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"sslmode": "verify-full"}, "sslmode=verify-full needs the certificates to trust, and the file"),
            ({"sslmode": "verify-full", "root": "missing"}, "nowhere.pem is not there: name one with sslrootcert"),
            ({"sslmode": "verify-ca", "root": "garbage"}, "cannot be read as certificates"),
            (
                {"sslmode": "require", "root": "another"},
                "(self-signed certificate in certificate chain)",
            ),
            ({"sslmode": "require", "root": "system"}, "dsn has sslrootcert=system with sslmode=require"),
            ({"sslmode": "require", "user": "shows_one", "sslcert": "/nowhere"}, "asks for a certificate of ours"),
            ({"sslmode": "disable", "user": "only_tls"}, "admits this user only with TLS"),
        ],
        ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
    )
    def test_one_sentence_and_no_traceback(
        self, shopkeeper: Run, ground: Ground, command: str, options: dict[str, str], sentence: str
    ) -> None:
        given = dict(options)
        user, root = given.pop("user", USER), given.pop("root", "absent")
        dsn = ground.dsn("with TLS", user, **given, **ground.root(root))
        ran = shopkeeper(command, DSN=dsn)
        errors = [line for line in ran.stderr.splitlines() if line.startswith("Error: ")]
        assert (ran.exit_code, len(errors)) == (1, 1), ran.output
        assert sentence in errors[0]
        assert "Traceback" not in ran.output
        assert PASSWORD not in ran.output


class TestCache:
    def test_doctor_warns_of_a_cache_that_does_not_answer(self, shopkeeper: Run, sqlite_dsn: str) -> None:
        ran = shopkeeper("doctor", DSN=sqlite_dsn, CACHE_URL=f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0")
        assert "Warning: cache.url: the cache does not answer (ConnectionError); check its address" in ran.stderr
        assert ran.exit_code == 0, ran.output
        assert PASSWORD not in ran.output

    def test_doctor_says_nothing_of_one_that_answers(self, shopkeeper: Run, sqlite_dsn: str, valkey_url: str) -> None:
        assert "cache.url" not in shopkeeper("doctor", DSN=sqlite_dsn, CACHE_URL=valkey_url).output


class TestWhatOthersWrote:
    """Text from outside is printed as it is: it is no markup, and gives the terminal no orders."""

    @pytest.mark.parametrize("name", ["x[/prod].yml", "[red]x.yml", "[/].yml", ":key:.yml", "x[bold].yml"])
    @pytest.mark.parametrize("command", ["doctor", "serve", "migrate"])
    def test_a_files_name_is_told_as_it_is(self, shopkeeper: Run, command: str, name: str) -> None:
        ran = shopkeeper(command, "-c", name)
        assert (ran.exit_code, ran.stderr) == (1, f"Error: {name} cannot be read: no such file or directory.\n")

    def test_a_setting_is_shown_as_it_is(self, shopkeeper: Run) -> None:
        ran = shopkeeper("doctor", "--show", COURIER_SMTP_FROM_NAME="Quince [/Kettle] :key: [red]\x1b[2J")
        assert "Quince [/Kettle] :key: [red]\N{REPLACEMENT CHARACTER}[2J" in ran.stdout

    def test_a_finding_is_told_as_it_is(self, shopkeeper: Run, folder: Path) -> None:
        (folder / "shop.yml").write_text("session: {whoami: {'[/x]': 1}}\n")
        ran = shopkeeper("doctor", "-c", "shop.yml")
        assert "Error: session.whoami.[/x] is not a known setting" in ran.stderr

    def test_the_answer_of_a_mail_server_is_told_as_it_is(self, shopkeeper: Run, sqlite_dsn: str) -> None:
        file = sqlite_dsn.removeprefix("sqlite://")
        with sqlite3.connect(file) as database:
            database.execute(
                "INSERT INTO outbox (id, topic, key, payload, created_at, available_at, attempts, died_at, last_error)"
                " VALUES (?, 'mail', 'k', '{}', ?, ?, 9, ?, '550 [/closed] \x1b[31m')",
                (uuid4().hex, *("2026-03-14 15:09:26.000000",) * 3),
            )
        database.close()
        ran = shopkeeper("outbox", "list", DSN=sqlite_dsn)
        assert ran.exit_code == 0, ran.output
        assert "  550 [/closed] \N{REPLACEMENT CHARACTER}[31m\n" in ran.stdout
