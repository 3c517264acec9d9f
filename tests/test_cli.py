"""The command in this process: how it prints what others wrote, and that bad input ends in a sentence."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from shopkeeper.cli import cli
from tests.services.server import free_port
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
