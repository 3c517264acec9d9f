"""Huddle's configuration, written for Kratos, starts the server; customers sign up, and it changes while it runs."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.services.shopkeeper_server import Commerce, start_shopkeeper
from tests.settings.test_kratos_files import HUDDLE, SOUND
from tests.stories.commands import run_shopkeeper

PATIENCE = 20
OFFLINE = {"SELFSERVICE_METHODS_PASSWORD_CONFIG_HAVEIBEENPWNED_ENABLED": "false"}
KEY = {"authorization": f"Bearer {SOUND['ADMIN_API_KEYS_0']}"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    copied = tmp_path / "kratos.yml"
    copied.write_text(HUDDLE.read_text())
    return copied


@pytest.fixture
def huddle(file: Path, tmp_path: Path, postgres_dsn: str) -> Iterator[Commerce]:
    """Huddle's server, as its makers would start it: on PostgreSQL, without `--dev`, with secrets of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    environ = {**{name: value for name, value in SOUND.items() if name not in {"DSN", "CACHE_URL"}}, **OFFLINE}
    started = start_shopkeeper(folder, owner=os.getpid(), config=file, dsn=postgres_dsn, dev=False, environ=environ)
    yield started
    started.stop()


def answers(ask: Callable[[], str], wanted: str) -> None:
    """Wait until it answers what is wanted."""
    ends = time.monotonic() + PATIENCE
    while (answer := ask()) != wanted:
        assert time.monotonic() < ends, answer
        time.sleep(0.02)


def test_huddles_configuration_starts_signs_up_and_changes(huddle: Commerce, file: Path) -> None:
    with httpx2.Client(base_url=huddle.public, headers={"accept": "application/json"}) as shopper:
        flow: dict[str, Any] = shopper.get("/self-service/registration/api").json()
        names = {node["attributes"]["name"] for node in flow["ui"]["nodes"]}
        assert {"traits.email", "traits.username"} <= names
        name = uuid4().hex
        traits = {"email": f"{name}@example.org", "username": name}
        profile = {"method": "profile", "traits": traits}
        shopper.post(flow["ui"]["action"], json=profile)
        password = {"method": "password", "traits": traits, "password": "a long walk to the lake"}
        signed_up = shopper.post(flow["ui"]["action"], json=password)
        assert signed_up.status_code == 200, signed_up.text
        login = shopper.get("/self-service/login/api").json()
        by_username = {"method": "password", "identifier": name, "password": "a long walk to the lake"}
        signed_in = shopper.post(login["ui"]["action"], json=by_username)
        assert signed_in.json()["session"]["identity"]["traits"] == traits

    with httpx2.Client(base_url=huddle.admin, headers=KEY) as operator:
        before = operator.get("/admin/health/config").text
        assert len(before) == 64
        [identity] = operator.get("/admin/identities", params={"credentials_identifier": name}).json()
        assert identity["schema_id"] == "default"
        assert identity["verifiable_addresses"][0]["value"] == traits["email"]
        file.write_text(file.read_text() + "revision: second\n")
        answers(lambda: operator.get("/admin/health/config").text, "second")
        file.write_text("nothing: [")
        answers(lambda: str("configuration" in operator.get("/health/ready").json().get("degraded", {})), "True")
        assert operator.get("/admin/health/config").text == "second"
    assert '"event":"configuration.refused"' in huddle.log.replace(" ", "")


def test_doctor_tells_what_to_write_today(file: Path, tmp_path: Path) -> None:
    environ = {**SOUND, "DSN": f"sqlite://{tmp_path / 'shop.db'}", "CACHE_URL": ""}
    ran = run_shopkeeper("doctor", "-c", str(file), folder=tmp_path, environ=environ)
    assert (ran.returncode, ran.errors) == (0, [])
    assert "identity.default_schema_url is a key of Kratos until v0.8; write identity.schemas" in ran.said
    short = run_shopkeeper(
        "serve", "-c", str(file), folder=tmp_path, environ={**environ, "SECRETS_CIPHER_0": "nasdlifuhlaiwd"}
    )
    assert short.returncode == 1
    assert "must have exactly 32 characters" in short.errors[0]
