"""The admin door: what an import says of an address is kept."""

from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import new_address, opened


async def imported(dsn: str, folder: Path, clock: StoppedClock, **said: Any) -> tuple[int, dict[str, Any]]:
    """The answer to an import of somebody with one address."""
    email = new_address()
    body = {
        "schema_id": "default",
        "traits": {"email": email},
        "verifiable_addresses": [{"value": email, "verified": True, "status": "completed", "via": "email", **said}],
    }
    async with opened(dsn, folder, clock, settings={}) as scene:
        admin = await scene.admin()
        made = await admin.post("/admin/identities", json=body)
        return made.status_code, made.json()


class TestVerifiedAt:
    @pytest.mark.parametrize("said", ["2025-01-02T03:04:05Z", "2025-01-02T04:04:05+01:00"], ids=["utc", "elsewhere"])
    async def test_is_kept(self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, said: str) -> None:
        status, identity = await imported(sqlite_dsn, tmp_path, clock, verified_at=said)
        assert (status, identity["verifiable_addresses"][0]["verified_at"]) == (201, "2025-01-02T03:04:05Z")

    async def test_counts_only_where_the_address_is_verified(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        said = {"verified": False, "status": "pending", "verified_at": "2025-01-02T03:04:05Z"}
        status, identity = await imported(sqlite_dsn, tmp_path, clock, **said)
        assert (status, "verified_at" in identity["verifiable_addresses"][0]) == (201, False)
