"""What `--dev` relaxes, and the secrets that it makes up."""

import stat
from pathlib import Path

import pytest

from shopkeeper.settings import Settings, SettingsError, load
from shopkeeper.settings.values import parse_rate


def start(dsn: str = "sqlite://./var/shop.db", **environ: str) -> Settings:
    return load([], {"DSN": dsn, **environ}, dev=True, demo=False)


def test_secrets_are_made_once_and_kept_beside_the_database(folder: Path) -> None:
    first, second = start(), start()
    assert first.secrets.for_sealing() == second.secrets.for_sealing()
    assert len(first.secrets.for_sealing()[0]) == 32
    kept = folder / "var" / "dev-secrets.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [file.name for file in kept.parent.iterdir()] == ["dev-secrets.json"]


def test_the_secrets_differ_from_each_other() -> None:
    secrets = start().secrets
    assert len({secrets.for_all_else(), secrets.for_cookies(), secrets.for_sealing()}) == 3


def test_a_check_leaves_no_file_of_secrets_behind(folder: Path) -> None:
    looked = load([], {"DSN": "sqlite://./var/shop.db"}, dev=True, demo=False, keep_secrets=False)
    assert len(looked.secrets.for_sealing()[0]) == 32
    assert "for this command only" in looked.remarks.others[0].sentence
    assert list(folder.iterdir()) == []


def test_a_check_uses_the_secrets_that_are_there() -> None:
    kept = start()
    looked = load([], {"DSN": "sqlite://./var/shop.db"}, dev=True, demo=False, keep_secrets=False)
    assert looked.secrets.for_sealing() == kept.secrets.for_sealing()


def test_with_a_database_in_memory_nothing_is_written(folder: Path) -> None:
    assert start("memory").secrets.for_sealing() != start("memory").secrets.for_sealing()
    assert list(folder.iterdir()) == []


def test_configured_secrets_stay(folder: Path) -> None:
    secret = "0123456789abcdef0123456789abcdef"
    settings = start(SECRETS_DEFAULT=secret, SECRETS_CIPHER=secret)
    assert settings.secrets.for_cookies() == (secret,)
    assert list(folder.iterdir()) == []


def test_without_dev_no_secrets_are_made_up(folder: Path) -> None:
    settings = load([], {}, dev=False, demo=False)
    assert settings.secrets.for_all_else() == ()
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_gives_secrets_for_the_process(folder: Path) -> None:
    (folder / "var").write_text("a file where a folder should be")
    settings = start()
    assert settings.secrets.for_sealing()
    assert "for this process only" in settings.remarks.others[0].sentence


@pytest.mark.parametrize("text", ["", "{}", "[]", '"x"', "nonsense"])
def test_a_file_that_holds_no_secrets_is_named(folder: Path, text: str) -> None:
    (folder / "var").mkdir()
    (folder / "var" / "dev-secrets.json").write_text(text)
    with pytest.raises(SettingsError, match="does not hold the secrets of --dev; delete it"):
        start()


def test_budgets_per_address_are_wide_and_per_account_unchanged() -> None:
    settings, strict = start(), load([], {}, dev=False, demo=False)
    assert settings.throttle.login.per_ip == settings.throttle.registration.per_ip == parse_rate("600/minute")
    assert settings.throttle.settings.per_account == parse_rate("600/minute")
    assert settings.throttle.login.failures == strict.throttle.login.failures


def test_configured_budgets_stay() -> None:
    settings = start(THROTTLE_LOGIN_PER_IP="5/minute", SERVE_PUBLIC_HOST="0.0.0.0", GRAPHQL_PLAYGROUND="false")
    assert str(settings.throttle.login.per_ip) == "5/minute"
    assert (settings.serve.public.host, settings.serve.admin.host) == ("0.0.0.0", "127.0.0.1")
    assert settings.graphql.playground is False
