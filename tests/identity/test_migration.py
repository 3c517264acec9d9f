"""The factors of identities that are older than their column."""

import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import bindparam, select, text

from shopkeeper.identity.store import credentials, identities
from shopkeeper.storage.database import Database
from shopkeeper.storage.migrate import SCRIPTS, migrate
from shopkeeper.storage.tables import Id, Json
from tests.services.databases import sqlalchemy_url

NEW = "0003"
PEOPLE: Mapping[UUID, Mapping[str, Any]] = {
    UUID(int=1): {"webauthn": {}, "password": {"hashed_password": "x"}, "code": {"addresses": []}},
    UUID(int=2): {"password": {}},
    UUID(int=3): {},
}


@pytest.fixture
async def before(empty_dsn: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A database as it was before the revision, with these identities."""
    scripts = tmp_path / "migrations"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    for revision in (scripts / "versions").glob("0*.py"):
        if revision.name >= NEW:
            revision.unlink()
    database = Database(sqlalchemy_url(empty_dsn))
    await migrate(database, scripts=scripts)
    async with database.transaction() as connection:
        for identity_id, stored in PEOPLE.items():
            await connection.execute(_IDENTITY, {"id": identity_id})
            for type_, config in stored.items():
                await connection.execute(_CREDENTIAL, {"id": identity_id, "type": type_, "config": config})
    yield database
    await database.close()


_MOMENT = "'2026-03-14 15:09:26'"
_IDENTITY = text(
    "INSERT INTO identities (id, schema_id, state, state_changed_at, traits, created_at, updated_at)"
    f" VALUES (:id, 'default', 'active', {_MOMENT}, '{{}}', {_MOMENT}, {_MOMENT})"
).bindparams(bindparam("id", type_=Id))
_CREDENTIAL = text(
    "INSERT INTO credentials (identity_id, type, config, version, created_at, updated_at)"
    f" VALUES (:id, :type, :config, 0, {_MOMENT}, {_MOMENT})"
).bindparams(bindparam("id", type_=Id), bindparam("config", type_=Json))


async def test_factors_are_the_types_whose_config_is_not_empty(before: Database) -> None:
    await migrate(before)
    async with before.unit() as unit:
        rows = await unit.all(select(identities.c.id, identities.c.factors))
        kept = await unit.all(select(credentials.c.type))
    assert {row.id: row.factors for row in rows} == {
        UUID(int=1): ["code", "password"],
        UUID(int=2): [],
        UUID(int=3): [],
    }
    assert len(kept) == 4
