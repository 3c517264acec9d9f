"""Configuration files that were written for Kratos start the server, as they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from shopkeeper.app import dry_run
from shopkeeper.settings import Settings, findings, load
from tests.settings.quickstarts import QUICKSTARTS

Write = Callable[..., Path]
HUDDLE = Path(__file__).with_name("huddle.yml")
HUDDLES_SECRETS = {"SECRETS_COOKIE_0": "lnaslicWERUOZSdicbl", "SECRETS_DEFAULT_0": "ANSIULccbASKNXKAJ"}
SOUND = {
    **HUDDLES_SECRETS,
    "SECRETS_CIPHER_0": "c41e7d90ab3f4625981d0be6f72a53cc",
    "ADMIN_API_KEYS_0": "8be1f04c7a2d4f6e93b5c8d1a07e624f",
    "DSN": "postgres://kratos:cmoaincsieadfo@psql-postgresql:5432/kratos?sslmode=disable",
    "COURIER_SMTP_CONNECTION_URI": "smtps://huddle:0f9c@mail.example.org:465",
    "CACHE_URL": "redis://cache.example.org/0",
}
TRAIT = {
    "type": "string",
    "format": "email",
    "ory.sh/kratos": {
        "credentials": {"password": {"identifier": True}},
        "verification": {"via": "email"},
        "recovery": {"via": "email"},
    },
}
SCHEMA = {"type": "object", "properties": {"traits": {"type": "object", "properties": {"email": TRAIT}}}}
# What a quickstart lacks for a start without `--dev`, in the order of the sentences.
UNSAFE = {"secrets.default", "secrets.cookie[0]", "secrets.cipher[0]", "admin.api_keys", "dsn"}


def errors(settings: Settings) -> dict[str, str]:
    return {finding.path: finding.sentence for finding in findings(settings) if finding.level == "error"}


class TestHuddle:
    @pytest.mark.parametrize("dev", [True, False])
    async def test_starts_with_its_secrets_and_a_cipher_of_32_characters(self, dev: bool) -> None:
        settings = load([HUDDLE], SOUND, dev=dev, demo=False)
        assert errors(settings) == {}
        await dry_run(settings)

    async def test_starts_with_nothing_but_dev(self) -> None:
        settings = load([HUDDLE], {}, dev=True, demo=False)
        assert {finding.level for finding in findings(settings)} == {"notice"}
        await dry_run(settings)

    def test_every_value_is_read(self) -> None:
        settings = load([HUDDLE], {}, dev=True, demo=False)
        [schema] = settings.identity.schemas
        assert (schema.id, schema.url[:9]) == ("default", "base64://")
        assert (settings.courier.smtp.from_address, settings.courier.smtp.from_name) == ("huddle@example.org", "Huddle")
        flows = settings.selfservice.flows
        assert flows.settings.ui_url == "https://huddle.hsg.fs.tum.de/ui/"
        assert (flows.verification.enabled, flows.verification.ui_url[-16:]) == (True, "/ui/verification")
        assert settings.selfservice.methods.link.enabled
        assert settings.selfservice.default_browser_return_url == "https://huddle.hsg.fs.tum.de/ui"

    def test_its_cipher_of_14_characters_is_refused_by_a_sentence_that_says_32(self) -> None:
        settings = load([HUDDLE], {**SOUND, "SECRETS_CIPHER_0": "nasdlifuhlaiwd"}, dev=False, demo=False)
        [(path, sentence)] = errors(settings).items()
        assert path == "secrets.cipher[0]"
        assert sentence.startswith("secrets.cipher[0] must have exactly 32 characters")

    async def test_starts_from_the_values_of_the_helm_chart_as_well(self, write: Write) -> None:
        chart = {
            "kratos": {"config": yaml.safe_load(HUDDLE.read_text())},
            "secret": {"enabled": False, "nameOverride": "secret-kratos"},
        }
        settings = load([write(yaml.safe_dump(chart))], SOUND, dev=False, demo=False)
        assert settings.model_dump() == load([HUDDLE], SOUND, dev=False, demo=False).model_dump()

    def test_only_the_url_of_its_schema_has_another_name_today(self) -> None:
        told = findings(load([HUDDLE], SOUND, dev=False, demo=False))
        assert [finding.path for finding in told if "Kratos until" in finding.sentence] == [
            "identity.default_schema_url"
        ]


@pytest.fixture
def quickstart(folder: Path, write: Write, request: pytest.FixtureRequest) -> Path:
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    tree: dict[str, Any] = QUICKSTARTS[request.param]
    return write(yaml.safe_dump(tree))


@pytest.mark.parametrize("quickstart", QUICKSTARTS, indirect=True)
class TestQuickstarts:
    async def test_starts_with_dev(self, quickstart: Path) -> None:
        settings = load([quickstart], {}, dev=True, demo=False)
        assert {finding.level for finding in findings(settings)} == {"notice"}
        await dry_run(settings)

    def test_ends_without_dev_in_the_sentences_that_are_needed(
        self, quickstart: Path, request: pytest.FixtureRequest
    ) -> None:
        name = request.node.callspec.params["quickstart"]
        expected = {
            "v0.5": UNSAFE - {"dsn", "secrets.cipher[0]"}
            | {"secrets.cipher"},  # its database is named on the command line
            "cloud": UNSAFE - {"secrets.cipher[0]"} | {"secrets.cipher"},
            "phone and password": UNSAFE | {"courier.smtp.connection_uri"},
        }
        assert set(errors(load([quickstart], {}, dev=False, demo=False))) == expected.get(name, UNSAFE)

    async def test_starts_without_dev_once_they_are_heeded(self, quickstart: Path) -> None:
        settings = load([quickstart], SOUND, dev=False, demo=False)
        assert errors(settings) == {}
        await dry_run(settings)


class TestSchemas:
    @pytest.mark.parametrize(("passwordless", "told"), [(True, ["identity.schemas"]), (False, [])])
    async def test_a_schema_without_an_address_for_codes_is_named(
        self, write: Write, folder: Path, passwordless: bool, told: list[str]
    ) -> None:
        (folder / "schema.json").write_text(json.dumps(SCHEMA))
        code = {"selfservice": {"methods": {"code": {"passwordless_enabled": passwordless}}}}
        schemas = [{"id": "default", "url": "file://schema.json"}, {"id": "own", "url": "builtin://customer"}]
        settings = load([write(yaml.safe_dump({**code, "identity": {"schemas": schemas}}))], {}, dev=True, demo=False)
        found = await dry_run(settings)
        assert [finding.path for finding in found] == told
        assert all("'default' marks no address for codes" in finding.sentence for finding in found)
