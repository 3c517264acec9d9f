"""Resources of the account components: hashing threads, sealed secrets, open files."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from shopkeeper.app import opened
from shopkeeper.app.accounts import usable_cores
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.store import credentials
from tests.app.test_application import settings


@pytest.fixture
def on_one_core() -> Iterator[None]:
    """Limit this process to one core, as in a container with a part of the machine."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(mine)])
    yield
    os.sched_setaffinity(0, mine)


@pytest.mark.usefixtures("on_one_core")
def test_hashing_uses_no_more_threads_than_usable_cores() -> None:
    assert usable_cores() == 1


async def test_secrets_of_second_factors_are_sealed_in_the_database(tmp_path: Path, sqlite_dsn: str) -> None:
    async with opened(settings(tmp_path, sqlite_dsn)) as application:
        async with application.infrastructure.database.unit() as unit:
            identity = await application.accounts.identities.create(
                unit, NewIdentity(traits={"email": "ada@example.org"})
            )
            await application.accounts.identities.set_credential_config(
                unit, identity.id, "totp", {"totp_url": "otpauth:x"}
            )
        async with application.infrastructure.database.unit() as unit:
            row = await unit.scalar(select(credentials.c.config).where(credentials.c.type == "totp"))
            read = await application.accounts.identities.require(unit, identity.id, credentials=True)
    assert list(row) == ["sealed"]
    assert read.credentials["totp"].config == {"totp_url": "otpauth:x"}
    assert read.factors == {"code", "totp"}


async def test_closing_the_application_closes_the_file_of_breached_passwords(tmp_path: Path, sqlite_dsn: str) -> None:
    known = tmp_path / "breached.txt"
    known.write_text(f"{hashlib.sha1(b'plum plum plum', usedforsecurity=False).hexdigest().upper()}:3\n")
    config = {"haveibeenpwned_enabled": False, "breached_file": str(known)}
    methods = {"password": {"config": config}}
    async with opened(settings(tmp_path, sqlite_dsn, selfservice={"methods": methods})) as application:
        assert await application.accounts.policy.check("plum plum plum", identifiers=[]) != []
        assert str(known) in _open_files()
    assert str(known) not in _open_files()


def _open_files() -> set[str]:
    return {os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()}
