"""Indexes lead to what is searched: no table is read as a whole, and nothing is sorted that has an order."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from rich.console import Console
from sqlalchemy import select, text

from bench.seed import seed
from bench.seeded import email, identity_id
from shopkeeper.identity import selectors
from shopkeeper.identity.search import IdentitySearch, page_of_ids
from shopkeeper.identity.store import identities
from shopkeeper.identity.unique_names import UniqueNames
from shopkeeper.identity.values import State, Via
from shopkeeper.sessions.store import known_in
from shopkeeper.storage.database import Database
from tests.services.databases import sqlalchemy_url

PEOPLE = 4_000
GOLD, STANDARD = "group=gold", "group=standard"


@pytest.fixture
def seeded(postgres_dsn: str) -> str:
    seed(postgres_dsn, count=PEOPLE, password_hash="", console=Console(quiet=True))
    return postgres_dsn


@pytest.mark.timeout(60)
async def test_every_search_walks_indexes(seeded: str) -> None:
    deep = str(identity_id(PEOPLE // 2))
    searches = [
        (IdentitySearch(), deep),
        (IdentitySearch(state=State.INACTIVE), deep),
        (IdentitySearch(state=State.ACTIVE, schema_id="default"), deep),
        (IdentitySearch(terms=[STANDARD]), deep),
        (IdentitySearch(terms=[STANDARD, "name.first=seeded"], state=State.ACTIVE), deep),
        (IdentitySearch(terms=[GOLD], prefix="seeded-"), None),
        (IdentitySearch(identifier=email(7), terms=[STANDARD]), None),
        (IdentitySearch(prefix="seeded-", state=State.ACTIVE), deep + email(PEOPLE // 2)),
        (IdentitySearch(within=known_in(["fruit"]), terms=[STANDARD]), deep),
        (IdentitySearch(groups=["group-7"]), deep),
        (IdentitySearch(groups=["group-7"], terms=[STANDARD], state=State.ACTIVE), deep),
    ]
    database = Database(sqlalchemy_url(seeded))
    try:
        await _fill_groups(database)
        for search, after in searches:
            for plan in [plan async for plan in _plans(database, search, after)]:
                read = {node["Node Type"] for node in _nodes(plan)}
                assert "Seq Scan" not in read, (search, json.dumps(plan))
                assert not read & {"Hash", "Hash Join", "Merge Join"}, (search, json.dumps(plan))
        read_for_owner = await _plan_for_owner(database, "EXPLAIN")
        assert "Seq Scan" not in read_for_owner.replace("Seq Scan on address_changes", ""), (
            read_for_owner
        )  # it is empty
    finally:
        await database.close()


async def _fill_groups(database: Database) -> None:
    """Make many groups, and everybody a member of `group-7`."""
    at = "'2026-03-14 15:09:26'"
    async with database.transaction() as connection:
        for statement in (
            "INSERT INTO identity_groups (id, name, display_name, version, created_at, updated_at)"
            f" SELECT gen_random_uuid(), 'group-' || n, 'x', 1, {at}, {at} FROM generate_series(1, 3000) AS n",
            "INSERT INTO group_members (identity_id, group_id, source, created_at)"
            f" SELECT identities.id, identity_groups.id, 'admin', {at}"
            " FROM identities, identity_groups WHERE identity_groups.name IN ('group-7', 'group-8')",
            "ANALYZE identity_groups",
            "ANALYZE group_members",
        ):
            await connection.execute(text(statement))


async def test_sqlite_finds_the_owner_of_names_by_indexes(sqlite_dsn: str) -> None:
    database = Database(sqlalchemy_url(sqlite_dsn))
    try:
        read = await _plan_for_owner(database, "EXPLAIN QUERY PLAN")
    finally:
        await database.close()
    assert not re.search("SCAN (credential|verifiable|recovery|address)", read), read


async def _plan_for_owner(database: Database, explain: str) -> str:
    names = UniqueNames.of(
        identifiers=[("password", email(7)), ("code", email(7))],
        addresses=[(Via.EMAIL, email(7)), (Via.SMS, "+16502530000")],
    )
    owners = selectors.by_unique_names(names, reserved_since=datetime(2026, 1, 1, tzinfo=UTC))
    query = select(identities.c.id).where(owners.condition(identities.c.id)).params(**owners.bound)
    async with database.transaction() as connection:
        written = str(query.compile(connection.engine, compile_kwargs={"literal_binds": True}))
        plan = await connection.execute(text(f"{explain} {written}".replace(":", r"\:")))
        return "\n".join(str(line) for line in plan)


async def _plans(database: Database, search: IdentitySearch, after: str | None) -> Any:
    """Yield the plan of every statement of a search but the counts, which end soon in any order."""
    statements: list[Any] = []
    async with database.unit() as unit:
        every, first = unit.all, unit.first

        def noting(read: Any) -> Any:
            async def note(query: Any, parameters: Any = None) -> Any:
                statements.append(query)
                return await read(query, parameters)

            return note

        with (
            patch.object(unit, "all", noting(every)),
            patch.object(unit, "first", noting(first)),
            patch("shopkeeper.identity.search.WALK", 100),
        ):
            await page_of_ids(unit, search, size=20, after=after)
    async with database.transaction() as connection:
        for query in statements:
            written = query.compile(connection.engine, compile_kwargs={"literal_binds": True})
            found = await connection.execute(text(f"EXPLAIN (FORMAT JSON) {written}".replace(":", r"\:")))
            [[plan]] = found.scalars().all()
            yield plan["Plan"]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
