"""Accounts for tests: how they are created and read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Identity
from shopkeeper.storage.database import Database

ADA = "ada@example.org"
BOB = "bob@example.org"
HASH = {"hashed_password": "$argon2id$v=19$m=32,t=2,p=4$cm94YnRVOW5jZzFzcVE4bQ$MNzk5BtR2vUhrp6qQEjRNw"}


@dataclass(frozen=True)
class Given:
    """A credential as a method hands it over."""

    type: str
    config: Mapping[str, Any]
    identifiers: Sequence[str] = field(default_factory=tuple)


def person(email: str = ADA, **more: Any) -> NewIdentity:
    return NewIdentity(traits={"email": email}, **more)


async def made(database: Database, identities: Identities, new: NewIdentity) -> Identity:
    async with database.unit() as unit:
        return await identities.create(unit, new)


async def stored(database: Database, identities: Identities, identity_id: UUID) -> Identity:
    async with database.unit() as unit:
        return await identities.require(unit, identity_id, credentials=True)
