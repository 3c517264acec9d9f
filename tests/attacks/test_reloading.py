"""A configuration that would not start is not picked up while the server runs, either."""

import asyncio
from pathlib import Path

import pytest
import yaml
from structlog.testing import capture_logs

from shopkeeper.app import running
from shopkeeper.settings import Settings, load
from tests.settings.test_kratos_files import SOUND

PATIENCE = 20
OWN = {name: value for name, value in SOUND.items() if name.startswith(("COURIER", "SECRETS_DEFAULT"))}


class TestDefaults:
    @pytest.mark.parametrize(
        ("section", "told"),
        [
            ({"secrets": {"cipher": ["32-LONG-SECRET-NOT-SECURE-AT-ALL"]}}, "secrets.cipher[0]"),
            ({"admin": {"api_keys": []}}, "admin.api_keys"),
            ({"selfservice": {"allowed_return_urls": ["https://*"]}}, "selfservice.allowed_return_urls[0]"),
        ],
        ids=["a sample secret", "no key", "an open redirect"],
    )
    async def test_row_096_what_stops_a_start_is_not_picked_up_either(
        self, tmp_path: Path, sqlite_dsn: str, section: dict[str, object], told: str
    ) -> None:
        sound = {
            "dsn": sqlite_dsn,
            "secrets": {"cipher": [SOUND["SECRETS_CIPHER_0"]]},
            "admin": {"api_keys": [SOUND["ADMIN_API_KEYS_0"]]},
        }
        file, draft = tmp_path / "shop.yml", tmp_path / "draft"
        file.write_text(yaml.safe_dump(sound))

        def loaded() -> Settings:
            return load([file], OWN, dev=False, demo=False)

        with capture_logs() as logs:
            async with running(loaded(), loaded) as run:
                before = run.application
                draft.write_text(yaml.safe_dump({**sound, **section}))
                draft.replace(file)
                async with asyncio.timeout(PATIENCE):
                    while not before.lasting.configuration.refused:  # noqa: ASYNC110 - there is no event for it
                        await asyncio.sleep(0.01)
                assert run.application is before
        [line] = [line for line in logs if line["event"] == "configuration.refused"]
        assert [problem.partition(" ")[0] for problem in line["problems"]] == [told]
        assert not any("NOT-SECURE" in problem for problem in line["problems"])
