"""The configurations that Kratos was recorded with start Shopkeeper."""

from pathlib import Path

import pytest

from shopkeeper.app import dry_run
from shopkeeper.settings import findings, load

NAMES = ("base", "steps", "short", "link", "mitigate", "strict", "transitions", "codemfa", "member", "social", "hooks")


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_read(profiles: Path, name: str) -> None:
    settings = load([profiles / f"{name}.yml"], {}, dev=True, demo=False)
    assert settings.version == "v26.2.0"
    assert {finding.level for finding in findings(settings)} == {"notice"}


def test_every_profile_is_in_the_list(profiles: Path) -> None:
    assert {file.stem for file in profiles.iterdir()} == set(NAMES)


def test_keys_of_the_base_profile_that_are_not_in_effect_are_named(profiles: Path) -> None:
    told = {finding.path for finding in load([profiles / "base.yml"], {}, dev=True, demo=False).not_in_effect()}
    assert {
        "selfservice.methods.totp",
        "hashers.algorithm",
    } <= told
    assert "selfservice.methods.link" not in told


def test_the_values_of_a_profile_are_read(profiles: Path) -> None:
    settings = load([profiles / "strict.yml"], {}, dev=True, demo=False)
    flows = settings.selfservice.flows
    assert (settings.dsn.kind, settings.log.level, flows.login.style) == ("memory", "error", "unified")
    assert flows.login.ui_url == "https://www.example.org/login"
    assert flows.registration.after.hooks_of("password") == ()
    assert settings.security.account_enumeration.mitigate is False


def test_published_secrets_do_not_start_a_production_server(profiles: Path) -> None:
    told = findings(load([profiles / "base.yml"], {}, dev=False, demo=False))
    errors = {finding.path for finding in told if finding.level == "error"}
    assert {"secrets.default[0]", "secrets.cookie[0]", "secrets.cipher[0]", "admin.api_keys", "dsn"} <= errors


async def test_social_sign_in_starts_with_the_profile_that_kratos_was_recorded_with(profiles: Path) -> None:
    """Neither of its providers answers, and the mapper of one makes nothing."""
    found = await dry_run(load([profiles / "social.yml"], {}, dev=True, demo=False))
    assert [finding.path for finding in found] == ["selfservice.methods.oidc.config.providers[1].mapper_url"]
