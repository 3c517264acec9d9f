"""The house as its operator meets it: what goes on by itself, what the admin port tells, what cannot be built."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from structlog.testing import capture_logs

from shopkeeper.app import House, Misconfigured, opened, rehearse
from shopkeeper.settings import Settings, load

CONFIGURATION: Mapping[str, Any] = {
    "secrets": {"default": ["b8f2c7d91e04a36f"], "cipher": ["0f9e8d7c6b5a49382716051423324150"]},
    "selfservice": {"methods": {"password": {"config": {"haveibeenpwned_enabled": False}}}},
}


def settings(folder: Path, dsn: str, **sections: Any) -> Settings:
    file = folder / "shopkeeper.yml"
    file.write_text(yaml.safe_dump({**CONFIGURATION, "dsn": dsn, **sections}))
    return load([file], {}, dev=True, demo=False)


async def ask_admin(house: House, path: str) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=house.admin), base_url="http://admin") as operator:
        return await operator.get(path)


class TestBackground:
    async def test_a_task_that_fails_is_logged_at_once_and_told_on_the_admin_port(
        self, tmp_path: Path, sqlite_dsn: str
    ) -> None:
        async def fail() -> None:
            raise LookupError("something nobody foresaw")

        async with opened(settings(tmp_path, sqlite_dsn)) as house:
            assert (await ask_admin(house, "/health/ready")).json() == {"status": "ok"}
            with capture_logs() as logs:
                house.background.start("sweeping", fail())
                await asyncio.sleep(0.01)
            told = await ask_admin(house, "/health/ready")
        assert [(line["event"], line["task"]) for line in logs] == [("background.failed", "sweeping")]
        assert "sweeping" in told.json()["degraded"]["background"]
        assert told.status_code == 200

    async def test_closing_is_no_failure(self, tmp_path: Path, sqlite_dsn: str) -> None:
        with capture_logs() as logs:
            async with opened(settings(tmp_path, sqlite_dsn)) as house:
                pass
        assert [line for line in logs if line["event"] == "background.failed"] == []
        assert await house.background.check() is None


class TestMetrics:
    @pytest.mark.parametrize("path", ["/metrics", "/metrics/prometheus"])
    @pytest.mark.parametrize(("enabled", "status"), [(True, 200), (False, 404)], ids=["on", "off"])
    async def test_are_served_unless_they_are_switched_off(
        self, tmp_path: Path, sqlite_dsn: str, path: str, enabled: bool, status: int
    ) -> None:
        async with opened(settings(tmp_path, sqlite_dsn, metrics={"enabled": enabled})) as house:
            assert (await ask_admin(house, path)).status_code == status


class TestMisconfigured:
    """What the settings allow and a room refuses."""

    @pytest.mark.parametrize(
        ("sections", "sentence"),
        [
            ({"courier": {"smtp": {"connection_uri": "smtp://mail.example.org/?tls=maybe"}}}, "an unknown option"),
            ({"courier": {"smtp": {"headers": {"Subject": "Hello"}}}}, "the header Subject"),
            ({"session": {"cookie": {"name": "__Host-visit"}}}, "not Secure"),
            ({"identity": {"schemas": [{"id": "default", "url": "base64://bm8="}]}}, "it is not JSON"),
            ({"identity": {"schemas": [{"id": "default", "url": "http://127.0.0.1:9/s.json"}]}}, "127.0.0.1"),
        ],
        ids=["an SMTP option", "a header of ours", "a cookie's name", "a broken schema", "a schema out of reach"],
    )
    async def test_ends_in_one_sentence(
        self, tmp_path: Path, sqlite_dsn: str, sections: Mapping[str, Any], sentence: str
    ) -> None:
        smtp = {"connection_uri": "smtp://mail.example.org/", **sections.get("courier", {}).get("smtp", {})}
        with pytest.raises(Misconfigured, match=sentence) as refused:
            await rehearse(settings(tmp_path, sqlite_dsn, **{**sections, "courier": {"smtp": smtp}}))
        assert str(refused.value).endswith(".")
        assert len(str(refused.value).splitlines()) == 1

    async def test_is_nobody_whose_house_can_be_built(self, tmp_path: Path) -> None:
        await rehearse(settings(tmp_path, f"sqlite://{tmp_path / 'shop.db'}"))
        assert not (tmp_path / "shop.db").exists()
