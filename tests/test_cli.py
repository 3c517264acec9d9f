"""The command in this process: how it prints what others wrote, and that bad input ends in a sentence."""

import gc
import json
import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from typer.testing import CliRunner, Result

from shopkeeper.cli import cli
from shopkeeper.settings import findings, load
from tests.services.postgres import USER
from tests.services.server import free_port
from tests.services.tls_postgres import PASSWORD, Ground
from tests.settings.quickstarts import QUICKSTARTS
from tests.settings.test_kratos_files import SCHEMA
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
        ran = CliRunner().invoke(cli, list(arguments), env={**sound, **environ})
        _free_what_a_process_would_leave()
        return ran

    return run


def _free_what_a_process_would_leave() -> None:
    """Free sockets whose TLS was still being closed when the command's event loop ended.

    A server that refuses a connection ends it a moment later than the command. The system frees such a socket with the
    process; here it would be found open by the garbage collection of any later test, which fails by the warning.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


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

    def test_doctor_asks_for_no_migrations_of_a_database_in_memory(self, shopkeeper: Run) -> None:
        ran = shopkeeper("doctor", "--dev", DSN="memory")
        assert "migration" not in ran.output
        assert ran.exit_code == 0, ran.output

    def test_doctor_says_nothing_of_one_that_answers(self, shopkeeper: Run, sqlite_dsn: str, valkey_url: str) -> None:
        assert "cache.url" not in shopkeeper("doctor", DSN=sqlite_dsn, CACHE_URL=valkey_url).output

    def test_doctor_prints_the_address_to_register_at_each_provider(self, shopkeeper: Run, sqlite_dsn: str) -> None:
        google = '[{"id": "g", "provider": "google", "client_id": "c", "client_secret": "hunter2hunter2"}]'
        providers = {"ENABLED": "true", "CONFIG_PROVIDERS": google}
        environ = {f"SELFSERVICE_METHODS_OIDC_{name}": value for name, value in providers.items()}
        ran = shopkeeper(
            "doctor", "--show", DSN=sqlite_dsn, SERVE_PUBLIC_BASE_URL="https://id.shop.example/", **environ
        )
        address = "https://id.shop.example/self-service/methods/oidc/callback/g"
        assert f"Register this address at Google (g): {address}\n" in ran.stdout
        told = "https://id.shop.example/self-service/methods/oidc/backchannel-logout/g"
        assert f"Where Google (g) has a back-channel logout URI, it is {told}\n" in ran.stdout
        assert "hunter2" not in ran.output


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


class TestMail:
    """`shopkeeper mail`: previews, abandoned mails and suppressed addresses."""

    def test_previews_are_listed_shown_and_written(self, shopkeeper: Run, folder: Path) -> None:
        listed = shopkeeper("mail", "preview")
        shown = shopkeeper(
            *("mail", "preview", "recovery_code_valid", "--locale", "de"),
            SELFSERVICE_METHODS_CODE_CONFIG_LIFESPAN="7m",
        )
        html = shopkeeper("mail", "preview", "new_device", "--format", "html")
        written = shopkeeper("mail", "preview", "--locale", "es", "--out", "mails")
        unknown = shopkeeper("mail", "preview", "wellcome")
        assert "password_changed" in listed.stdout
        assert shown.stdout.startswith("Subject: 042137 ist Ihr Code")
        assert "7 Minuten" in shown.stdout
        assert html.stdout.splitlines()[2] == "<!doctype html>"
        assert written.stdout == "38 files are in mails.\n"
        assert "Hola Ada" in (folder / "mails" / "welcome.es.txt").read_text().replace(",", "")
        assert (unknown.exit_code, "there are address_changed" in unknown.stderr) == (1, True)

    def test_a_broken_template_of_the_operators_ends_with_its_line(self, shopkeeper: Run, folder: Path) -> None:
        (folder / "own").mkdir()
        (folder / "own" / "welcome.txt.j2").write_text("\n{{ nonsense }}")
        refused = shopkeeper("mail", "preview", COURIER_TEMPLATE_OVERRIDE_PATH="own")
        assert refused.exit_code == 1
        assert "own/welcome.txt.j2, line 2 cannot be used: 'nonsense' is undefined." in refused.stderr

    def test_a_template_of_no_mail_is_named(self, shopkeeper: Run, folder: Path) -> None:
        (folder / "own").mkdir()
        (folder / "own" / "wellcome.txt.j2").write_text("Hi")
        for command in (("mail", "preview"), ("doctor",)):
            told = shopkeeper(*command, COURIER_TEMPLATE_OVERRIDE_PATH="own", DSN=f"sqlite://{folder}/shop.sqlite")
            assert "Warning: own/wellcome.txt.j2 is the template of no mail" in told.stderr

    def test_abandoned_mails_and_suppressed_addresses_are_listed(self, shopkeeper: Run, folder: Path) -> None:
        database = {"DSN": f"sqlite://{folder}/shop.sqlite"}
        assert shopkeeper("migrate", **database).exit_code == 0
        abandoned, held_a_code = uuid4(), uuid4()
        with sqlite3.connect(folder / "shop.sqlite") as connection:
            for message, context in ((abandoned, "{}"), (held_a_code, None)):
                connection.execute(
                    "INSERT INTO courier_messages (id, status, type, recipient, subject, body, html, context,"
                    " template_type, channel, send_count, locale, last_error, created_at, updated_at)"
                    " VALUES (?, 'abandoned', 'email', 'a@b.example', '', '', '', ?, 'welcome', 'email', 1, 'en',"
                    " '550 no', '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
                    (message.hex, context),
                )
            connection.execute(
                "INSERT INTO courier_suppressions VALUES ('a@b.example', 'bounce', 'email', '550 no', '2026-01-01')"
            )
        listed = shopkeeper("mail", "dead", **database).stdout
        assert str(abandoned) in listed
        assert sorted(line for line in listed.splitlines() if "550 no" in line) == [
            "  550 no",
            "  550 no (it held a code, so it cannot be sent again)",
        ]
        assert "there are more" not in listed
        assert shopkeeper("mail", "resend", str(abandoned), **database).exit_code == 0
        assert "cannot be sent again" in shopkeeper("mail", "resend", str(held_a_code), **database).stderr
        assert "a@b.example  bounce" in shopkeeper("mail", "suppressed", **database).stdout
        assert shopkeeper("mail", "allow", "A@b.example", **database).exit_code == 0
        assert "is not suppressed" in shopkeeper("mail", "allow", "a@b.example", **database).stderr
        assert shopkeeper("mail", "suppressed", **database).stdout == "No address is suppressed.\n"

    def test_a_list_that_is_cut_says_so(self, shopkeeper: Run, folder: Path) -> None:
        database = {"DSN": f"sqlite://{folder}/shop.sqlite"}
        assert shopkeeper("migrate", **database).exit_code == 0
        with sqlite3.connect(folder / "shop.sqlite") as connection:
            connection.executemany(
                "INSERT INTO courier_messages (id, status, type, recipient, subject, body, html, context,"
                " template_type, channel, send_count, locale, last_error, created_at, updated_at)"
                " VALUES (?, 'abandoned', 'email', 'a@b.example', '', '', '', '{}', 'welcome', 'email', 1, 'en', 'no',"
                " '2026-01-01', '2026-01-01')",
                [(uuid4().hex,) for _ in range(101)],
            )
        listed = shopkeeper("mail", "dead", **database).stdout
        assert listed.count("welcome to a@b.example") == 100
        assert listed.endswith("These are the newest 100; there are more.\n")


class TestQuickstartsOfKratos:
    """What Kratos' quickstarts lack without `--dev`: the sentences that are needed, and no other."""

    @pytest.mark.parametrize("name", QUICKSTARTS)
    def test_a_start_says_what_prevents_it_and_no_more(self, folder: Path, name: str) -> None:
        (folder / "schema.json").write_text(json.dumps(SCHEMA))
        (folder / "kratos.yml").write_text(yaml.safe_dump(QUICKSTARTS[name]))
        told = CliRunner().invoke(cli, ["serve", "-c", "kratos.yml"], env={"COLUMNS": "400"})
        *needed, last = told.stderr.splitlines()
        found = findings(load([folder / "kratos.yml"], {}, dev=False, demo=False))
        assert needed == [f"Error: {finding.sentence}" for finding in found if finding.level == "error"]
        assert last.startswith("Error: The server cannot start with this configuration.")
        assert (told.exit_code, told.stdout) == (1, "")

    def test_the_doctor_says_all(self, folder: Path) -> None:
        (folder / "schema.json").write_text(json.dumps(SCHEMA))
        (folder / "kratos.yml").write_text(yaml.safe_dump(QUICKSTARTS["v0.7"]))
        told = CliRunner().invoke(cli, ["doctor", "-c", "kratos.yml"], env={"COLUMNS": "400"})
        assert "Warning: serve.admin.base_url is plain http" in told.stderr
        assert "Notice: selfservice.whitelisted_return_urls" in told.stderr


class TestKeys:
    """The keys that sign tokens, from their first rotation on."""

    def test_keys_are_listed_rotated_and_withdrawn(self, shopkeeper: Run, sqlite_dsn: str) -> None:
        def run(*arguments: str) -> str:
            ran = shopkeeper("keys", *arguments, DSN=sqlite_dsn)
            assert ran.exit_code == 0, ran.output
            return ran.stdout

        assert "There is no key yet" in run("list")
        first = run("rotate")
        kid = first.split()[0]
        assert "(ES256) signs from" in first
        assert "planned already" in run("rotate")
        assert f"{kid} (ES256) signs tokens now" in run("rotate", "--now")
        states = [(line.split()[0], line.split()[2]) for line in run("list").splitlines()]
        assert [state for _, state in states] == ["retired", "current", "next"]
        assert states[1][0] == kid
        assert "(EdDSA) signs tokens now" in run("rotate", "--now", "--algorithm", "EdDSA")
        assert "tokens.signing.algorithm is ES256; it comes into effect" in run("list")
        withdrawn = run("rotate", "--withdraw")
        assert "All keys before are withdrawn" in withdrawn
        assert run("list").split()[0] == withdrawn.split()[0]
        assert len(run("list").splitlines()) == 2

    @pytest.mark.parametrize("command", ["list", "rotate"])
    def test_a_database_that_is_away_or_old_ends_with_a_sentence(
        self, shopkeeper: Run, tmp_path: Path, command: str
    ) -> None:
        away = shopkeeper("keys", command, DSN=f"postgres://shop:secret@127.0.0.1:{free_port()}/shop")
        assert (away.exit_code, "Nothing answers at" in away.stderr, "secret" in away.output) == (1, True, False)
        old = shopkeeper("keys", command, DSN=f"sqlite://{tmp_path / 'new.db'}")
        assert (old.exit_code, "Run first: shopkeeper migrate" in old.stderr) == (1, True)

    @pytest.mark.parametrize("command", [("keys", "list"), ("keys", "rotate"), ("introspect", "x", "--explain")])
    def test_without_secrets_a_sentence_says_where_they_come_from(self, folder: Path, command: tuple[str, ...]) -> None:
        told = CliRunner().invoke(cli, [*command], env={"COLUMNS": "400"})
        assert told.exit_code == 1
        assert "secrets.default and secrets.cipher are not set" in told.stderr
        assert "--dev" in told.stderr

    def test_no_key_of_another_algorithm_is_made(self, shopkeeper: Run, sqlite_dsn: str) -> None:
        refused = shopkeeper("keys", "rotate", "--algorithm", "HS256", DSN=sqlite_dsn)
        assert refused.exit_code == 2
        assert "'RS256'" in refused.output
