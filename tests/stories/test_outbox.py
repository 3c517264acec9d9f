"""How an operator handles deliveries that were given up: list them, remove the cause, replay them."""

import re
from pathlib import Path
from uuid import uuid4

import pytest

from tests.services.server import free_port, wait_until
from tests.services.shopkeeper_server import ready
from tests.stories.commands import Ran, end, run_shopkeeper, running
from tests.stories.mails import mails_to
from tests.stories.places import Ledger
from tests.stories.production import PRODUCTION, SECRETS, flat
from tests.stories.visitor import Guests

GIVE_UP_AT_ONCE = {"COURIER_MESSAGE_RETRIES": "0", "OUTBOX_GIVE_UP_AFTER": "1ms"}
LISTED = re.compile(r"^([0-9a-f-]{36})  mail, given up \d{4}-\d\d-\d\d \d\d:\d\d UTC, tries: 1$", re.MULTILINE)


LONG_AGO = "2026-01-01 00:00:00.000000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "here"
    made.mkdir()
    return made


def statuses(ledger: Ledger, address: str) -> list[str]:
    return [mail["status"] for mail in mails_to(ledger, address)]


class TestDeliveriesThatWereGivenUp:
    def test_dead_letters_are_listed_and_replayed(self, dsn: str, folder: Path) -> None:
        """Regression: they could be listed and replayed by SQL only."""
        ledger, port = Ledger(dsn), free_port()
        url = f"http://127.0.0.1:{port}"
        environ = {**SECRETS, "DSN": dsn, "SERVE_PUBLIC_PORT": str(port)}
        closed = {"COURIER_SMTP_CONNECTION_URI": f"smtp://127.0.0.1:{free_port()}/", **GIVE_UP_AT_ONCE}
        with running("serve", "--dev", "--demo", folder=folder, environ={**environ, **closed}) as server:
            wait_until(lambda: ready(url), "the start")
            guests = Guests(url)
            _, email = guests.customer()
            wait_until(lambda: statuses(ledger, email) == ["abandoned"], "giving up")
            guests.go()
            assert end(server) == 0
        listed = self.outbox("list", folder=folder, dsn=dsn)
        [event_id] = LISTED.findall(listed.stdout)
        assert "could not be reached" in listed.stdout

        replayed = self.outbox("replay", event_id, folder=folder, dsn=dsn)
        assert (replayed.returncode, replayed.stdout) == (0, f"{event_id} is queued for delivery again.\n")
        again = self.outbox("list", folder=folder, dsn=dsn).stdout
        assert f"{event_id}  mail, waits since " in again
        assert "given up" not in again
        with running("work", "--dev", folder=folder, environ=environ) as worker:
            wait_until(lambda: statuses(ledger, email) == ["sent"], "the delivery")
            assert end(worker) == 0

    def test_an_unknown_delivery_ends_in_a_sentence(self, sqlite_dsn: str, folder: Path) -> None:
        ran = self.outbox("replay", str(uuid4()), folder=folder, dsn=sqlite_dsn)
        assert (ran.returncode, ran.errors) == (1, ["There is no dead letter with this id."])

    def test_a_malformed_id_ends_in_a_sentence_for_operators(self, sqlite_dsn: str, folder: Path) -> None:
        ran = self.outbox("replay", "nope", folder=folder, dsn=sqlite_dsn)
        assert ran.returncode == 2
        assert "give an id as `shopkeeper outbox list` shows it" in ran.said
        assert "UUID" not in ran.said

    def test_a_database_without_tables_ends_in_a_sentence(self, tmp_path: Path, folder: Path) -> None:
        ran = self.outbox("list", folder=folder, dsn=f"sqlite://{tmp_path / 'new.db'}")
        assert (ran.returncode, len(ran.errors)) == (1, 1)
        assert "shopkeeper migrate" in ran.errors[0]
        assert not (tmp_path / "new.db").exists()

    @staticmethod
    def outbox(*arguments: str, folder: Path, dsn: str) -> Ran:
        return run_shopkeeper("outbox", *arguments, folder=folder, environ={**flat(PRODUCTION), "DSN": dsn})


class TestWork:
    def test_ends_with_a_sentence_when_it_cannot_go_on(self, sqlite_dsn: str, folder: Path) -> None:
        """Regression: it kept running, and delivered nothing any more."""
        Ledger(sqlite_dsn).execute(
            "INSERT INTO outbox (id, topic, key, payload, created_at, available_at, attempts)"
            f" VALUES ('{uuid4().hex}', 'mail', 'ada', '{{ mistyped by hand', '{LONG_AGO}', '{LONG_AGO}', 0)"
        )
        ran = run_shopkeeper("work", "--dev", folder=folder, environ={**SECRETS, "DSN": sqlite_dsn})
        assert (ran.returncode, len(ran.errors)) == (1, 1)
        assert "ended with an error" in ran.errors[0]
        assert "background.failed" in ran.stderr
