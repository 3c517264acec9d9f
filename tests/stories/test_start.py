"""Starting and stopping: a bad start ends in a sentence and leaves nothing behind, a good one continues where it
was."""

import shutil
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.services.databases import drop_postgres, empty_postgres
from tests.services.server import Server, free_port, wait_until
from tests.services.shopkeeper_server import ready
from tests.stories.commands import Ran, end, run_shopkeeper, running
from tests.stories.mails import mails_to, wait_for_mails
from tests.stories.places import Ground, Ledger
from tests.stories.production import ADMIN_KEY, PRODUCTION, SECRETS, flat
from tests.stories.visitor import Guests, Visitor

GOOD: Mapping[str, str] = flat(PRODUCTION)
PASSWORD = "Not-To-Be-Told-77"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The empty working folder of the command, so that anything that it leaves is seen."""
    made = tmp_path / "here"
    made.mkdir()
    return made


def refused(*arguments: str, folder: Path, environ: Mapping[str, str]) -> Ran:
    """Make a start that must fail: with sentences for people, no traceback, no secret, and nothing left behind."""
    before = sorted(folder.rglob("*"))
    ran = run_shopkeeper("serve", *arguments, folder=folder, environ={**GOOD, **environ})
    assert ran.returncode == 1, ran.said
    assert "Traceback" not in ran.said
    assert not any(secret in ran.said for secret in (PASSWORD, ADMIN_KEY, *SECRETS.values()))
    assert sorted(folder.rglob("*")) == before
    return ran


def told_alike(*arguments: str, folder: Path, environ: Mapping[str, str]) -> str:
    """Return the one sentence that ends a start; `doctor` must print it as well."""
    [sentence] = refused(*arguments, folder=folder, environ=environ).errors
    checked = run_shopkeeper("doctor", *arguments, folder=folder, environ={**GOOD, **environ})
    assert (checked.returncode, checked.errors) == (1, [sentence])
    return sentence


class TestBadConfigurations:
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("serve:\n  public: [\n", "is not valid YAML: line 3"),
            ("courier:\n  smtp:\n    from_adress: a@example.org\n", "from_address"),
            ("http:\n  workers: many\n", "http.workers"),
            ("dsn: mysql://root@127.0.0.1/shop\n", "dsn"),
        ],
        ids=["broken YAML", "an unknown key", "a wrong type", "a database that is not ours"],
    )
    def test_a_bad_configuration_ends_in_one_sentence(
        self, tmp_path: Path, folder: Path, text: str, sentence: str
    ) -> None:
        file = tmp_path / "shopkeeper.yml"
        file.write_text(text)
        assert sentence in told_alike("-c", str(file), folder=folder, environ={})

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("hashers: {argon2: {memory: 1GiB}}\n", "hashers.argon2.memory must be at most 512MB"),
            ("hashers: {argon2: {memory: 512MiB, iterations: 5}}\n", "hashers.argon2 comes to more than 2GB"),
            (
                "selfservice: {methods: {password: {config: {max_password_length: 2000}}}}\n",
                "max_password_length must be at most 1024",
            ),
            ("courier: {smtp: {connection_uri: 'smtp://mail.example.org/?tls=maybe'}}\n", "the unknown option tls"),
            ("tokens: {refresh: {enabled: true, lifespan: 5s}}\n", "tokens.refresh has a replay_window"),
            ("cookies: {domain: a b}\n", "cookies.domain"),
            ("cache: {url: 'redis://:Not-To-Be-Told-77:/x@127.0.0.1/'}\n", "cache.url"),
        ],
        ids=["memory", "work", "a long password", "an SMTP option", "a short family", "a domain", "a broken address"],
    )
    def test_what_only_a_module_can_refuse_ends_in_one_sentence_too(
        self, tmp_path: Path, folder: Path, text: str, sentence: str
    ) -> None:
        file = tmp_path / "shopkeeper.yml"
        file.write_text(text)
        environ = {"DSN": f"sqlite://{folder / 'shop.db'}", "COURIER_SMTP_CONNECTION_URI": ""}
        assert sentence in told_alike("-c", str(file), folder=folder, environ=environ)

    def test_every_mistake_is_reported_at_once(self, tmp_path: Path, folder: Path) -> None:
        file = tmp_path / "shopkeeper.yml"
        file.write_text("session:\n  lifespann: 1h\nlog:\n  level: loud\n")
        errors = refused("-c", str(file), folder=folder, environ={"HTTP_WORKERS": "none"}).errors
        assert len(errors) == 3
        assert any("HTTP_WORKERS" in error for error in errors)

    def test_a_missing_file_ends_in_one_sentence(self, nowhere: Path, folder: Path) -> None:
        assert str(nowhere) in told_alike("-c", str(nowhere), folder=folder, environ={})

    def test_a_secret_beside_a_file_for_it_ends_in_one_sentence(self, tmp_path: Path, folder: Path) -> None:
        file = tmp_path / "dsn"
        file.write_text(f"postgres://shop:{PASSWORD}@127.0.0.1/shop")
        environ = {"DSN": f"postgres://shop:{PASSWORD}@127.0.0.1/shop", "DSN_FILE": str(file)}
        sentence = told_alike(folder=folder, environ=environ)
        assert "DSN" in sentence
        assert "DSN_FILE" in sentence

    def test_missing_secrets_are_refused_outside_development(self, folder: Path) -> None:
        bare = dict.fromkeys(GOOD, "")
        errors = refused(folder=folder, environ=bare).errors
        assert {error.partition(" ")[0] for error in errors} >= {"secrets.default", "secrets.cipher", "admin.api_keys"}
        assert all("openssl rand" in error for error in errors if error.startswith("secrets."))

    def test_a_missing_identity_schema_ends_in_one_sentence(self, tmp_path: Path, folder: Path) -> None:
        missing = tmp_path / "customer.schema.json"
        environ = {"IDENTITY_SCHEMAS": f'[{{"id": "default", "url": "file://{missing}"}}]', "DSN": "memory"}
        ran = run_shopkeeper("serve", "--dev", folder=folder, environ={**GOOD, **environ})
        assert ran.returncode == 1
        [sentence] = ran.errors
        assert "customer.schema.json" in sentence
        assert "Traceback" not in ran.said


class TestBadGround:
    def test_a_database_that_does_not_answer_ends_in_one_sentence(self, folder: Path) -> None:
        dsn = f"postgres://shop:{PASSWORD}@127.0.0.1:{free_port()}/shop"
        assert "Nothing answers" in told_alike(folder=folder, environ={"DSN": dsn})

    def test_a_wrong_password_for_the_database_ends_in_one_sentence(
        self, postgres_server: Server, folder: Path
    ) -> None:
        dsn = f"postgres://shopkeeper:{PASSWORD}@{postgres_server.url.rpartition('@')[2]}/postgres?sslmode=disable"
        assert "refuses the user" in told_alike(folder=folder, environ={"DSN": dsn})

    def test_a_database_that_does_not_exist_ends_in_one_sentence(self, postgres_server: Server, folder: Path) -> None:
        dsn = f"{postgres_server.url}/nothing_here?sslmode=disable"
        assert "There is no database 'nothing_here'" in told_alike(folder=folder, environ={"DSN": dsn})

    @pytest.mark.parametrize("options", ["", "--dev"])
    def test_a_place_where_nothing_can_be_written_ends_in_one_sentence(
        self, nowhere: Path, folder: Path, options: str
    ) -> None:
        dsn = f"sqlite://{nowhere / 'shop.db'}"
        sentence = told_alike(*options.split(), folder=folder, environ={"DSN": dsn})
        assert "cannot be opened or created" in sentence
        assert nowhere.parent.is_file()

    def test_a_file_that_is_no_database_ends_in_one_sentence(self, tmp_path: Path, folder: Path) -> None:
        file = tmp_path / "shop.db"
        file.write_text("Dear diary, " * 500)
        before = file.read_bytes()
        assert "is not an SQLite database" in told_alike(folder=folder, environ={"DSN": f"sqlite://{file}"})
        assert file.read_bytes() == before

    def test_a_database_of_a_newer_version_ends_in_one_sentence(self, sqlite_dsn: str, folder: Path) -> None:
        Ledger(sqlite_dsn).execute("UPDATE alembic_version SET version_num = '9999'")
        assert "newer version" in told_alike(folder=folder, environ={"DSN": sqlite_dsn})

    @pytest.mark.parametrize(("door", "workers"), [("PUBLIC", "1"), ("ADMIN", "2")])
    def test_a_port_that_is_taken_ends_in_one_sentence(
        self, sqlite_dsn: str, valkey_url: str, folder: Path, door: str, workers: str
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            environ = {"DSN": sqlite_dsn, "CACHE_URL": valkey_url, "HTTP_WORKERS": workers}
            here = {f"SERVE_{door}_PORT": port, f"SERVE_{door}_HOST": "127.0.0.1"}
            [sentence] = refused(folder=folder, environ={**environ, **here}).errors
        assert f"127.0.0.1:{port} cannot be used" in sentence
        assert f"SERVE_{door}_PORT" in sentence

    @pytest.mark.parametrize("door", ["PUBLIC", "ADMIN"])
    def test_a_port_that_is_taken_leaves_no_database_behind(self, folder: Path, door: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            here = {f"SERVE_{door}_PORT": str(taken.getsockname()[1]), f"SERVE_{door}_HOST": "127.0.0.1"}
            [sentence] = refused(folder=folder, environ={"DSN": f"sqlite://{folder / 'shop.db'}", **here}).errors
        assert "cannot be used" in sentence

    @pytest.mark.parametrize("options", ["", "--dev"])
    def test_one_port_for_both_apis_is_refused(self, folder: Path, options: str) -> None:
        port = str(free_port())
        environ = {"DSN": f"sqlite://{folder / 'shop.db'}", "SERVE_PUBLIC_PORT": port, "SERVE_ADMIN_PORT": port}
        for command in ("serve", "doctor"):
            ran = run_shopkeeper(command, *options.split(), folder=folder, environ={**GOOD, **environ})
            assert ran.returncode == 1
            assert ran.errors[0].startswith("serve.admin.port")

    @pytest.mark.parametrize("command", ["serve", "migrate", "doctor"])
    def test_no_line_of_the_log_comes_before_the_sentence(self, folder: Path, command: str) -> None:
        dsn = f"postgres://shop:{PASSWORD}@127.0.0.1:{free_port()}/shop"
        ran = run_shopkeeper(command, folder=folder, environ={**GOOD, "DSN": dsn})
        assert len(ran.errors) == 1
        assert "database.away" not in ran.said


class TestTheCommand:
    def test_knows_the_option_version(self, folder: Path) -> None:
        asked = run_shopkeeper("--version", folder=folder)
        assert (asked.returncode, asked.stdout) == (0, run_shopkeeper("version", folder=folder).stdout)

    def test_leaves_no_files_behind_after_a_check_in_development(self, folder: Path) -> None:
        assert run_shopkeeper("doctor", "--dev", folder=folder).returncode == 0
        run_shopkeeper("outbox", "list", "--dev", folder=folder)
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("arguments", [["--help"], []])
    def test_lists_its_commands(self, folder: Path, arguments: list[str]) -> None:
        ran = run_shopkeeper(*arguments, folder=folder)
        assert ran.returncode == (0 if arguments else 2)
        for command in ("serve", "migrate", "work", "doctor", "version", "graphql"):
            assert f" {command} " in ran.said

    def test_refuses_a_command_that_does_not_exist(self, folder: Path) -> None:
        ran = run_shopkeeper("serv", folder=folder)
        assert ran.returncode == 2
        assert "Traceback" not in ran.said

    def test_doctor_is_content_with_a_good_configuration(self, folder: Path) -> None:
        ran = run_shopkeeper("doctor", folder=folder, environ={**GOOD, "DSN": f"sqlite://{folder / 'shop.db'}"})
        assert (ran.returncode, ran.errors) == (0, [])
        assert "can start" in ran.said
        assert list(folder.iterdir()) == [], "it looks, and changes nothing"


class TestItsLife:
    @pytest.fixture(params=["sqlite", "postgresql"])
    def infrastructure(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
        """No data yet: the first start creates it."""
        if request.param == "sqlite":
            yield Ground(f"sqlite://{tmp_path / 'data' / 'shop.db'}")
            return
        server = request.getfixturevalue("postgres_server")
        dsn = empty_postgres(server)
        yield Ground(dsn)
        drop_postgres(server, dsn)

    def test_a_restarted_server_continues_where_it_was(self, infrastructure: Ground, folder: Path) -> None:
        port = free_port()
        url, environ = (
            f"http://127.0.0.1:{port}",
            {**SECRETS, "DSN": infrastructure.dsn, "SERVE_PUBLIC_PORT": str(port)},
        )
        with running("serve", "--dev", "--demo", folder=folder, environ=environ) as server:
            wait_until(lambda: ready(url), "the first start")
            guests = Guests(url)
            _, email = guests.customer(**{"QK-MUG-BLU": 2})
            guest = guests.guest()
            guest.put("QK-PLATE-21", 3)
            assert end(server) == 0
            guests.go()
        assert "Traceback" not in (folder / "log").read_text()

        with running("serve", "--dev", "--demo", folder=folder, environ=environ) as server, Visitor(url) as again:
            wait_until(lambda: ready(url), "the second start")
            again.token = guest.token
            assert again.goods() == {"QK-PLATE-21": 3}
            again.sign_in(email)
            assert again.goods() == {"QK-MUG-BLU": 2}
            assert end(server, signal.SIGINT) == 0
        assert (folder / "log").read_text().splitlines().count("Stopped.") == 2
        shutil.rmtree(folder)

    def test_mails_wait_for_a_worker_where_one_was_asked_for(self, sqlite_dsn: str, folder: Path) -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        environ = {**SECRETS, "DSN": sqlite_dsn, "SERVE_PUBLIC_PORT": str(port), "OUTBOX_WORKER": "separate"}
        ledger = Ledger(sqlite_dsn)
        with running("serve", "--dev", "--demo", folder=folder, environ=environ) as server:
            wait_until(lambda: ready(url), "the start")
            guests = Guests(url)
            visitor, email = guests.customer(**{"QK-MUG-BLU": 2})
            visitor.order()
            assert [mail["status"] for mail in mails_to(ledger, email)] == ["queued"], "nobody delivers here"
            with running("work", "--dev", folder=folder, environ=environ) as worker:
                mails = wait_for_mails(ledger, to=email, wanted=2)
                assert [mail["template"] for mail in mails] == ["welcome", "order_placed"]
                assert end(worker) == 0
            guests.go()
            assert end(server) == 0
        assert "Traceback" not in (folder / "log").read_text()

    def test_migrating_twice_changes_nothing(self, infrastructure: Ground, folder: Path) -> None:
        environ = {**GOOD, "DSN": infrastructure.dsn}
        first = run_shopkeeper("migrate", folder=folder, environ=environ)
        assert (first.returncode, first.errors) == (0, [])
        sizes = Ledger(infrastructure.dsn).sizes()
        second = run_shopkeeper("migrate", folder=folder, environ=environ)
        assert second.returncode == 0
        assert "up to date" in second.said
        assert Ledger(infrastructure.dsn).sizes() == sizes
