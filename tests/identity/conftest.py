"""A schema with every kind of trait, the identity service, and records of what it reported."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from shopkeeper.app.credential_facts import CREDENTIAL_FACTS
from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import KeyRing
from shopkeeper.identity.facts import types_from_traits
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.sealing import PURPOSE
from shopkeeper.identity.service import Identities
from shopkeeper.storage.database import Database, Unit
from tests.services.databases import sqlalchemy_url

EMAIL = {
    "type": "string",
    "format": "email",
    "title": "E-Mail",
    "minLength": 3,
    "ory.sh/kratos": {
        "credentials": {
            "password": {"identifier": True},
            "webauthn": {"identifier": True},
            "code": {"identifier": True, "via": "email"},
        },
        "verification": {"via": "email"},
        "recovery": {"via": "email"},
    },
}

SIMPLE = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "traits": {
            "type": "object",
            "properties": {
                "email": EMAIL,
                "name": {
                    "type": "object",
                    "properties": {
                        "first": {"type": "string", "title": "First name"},
                        "last": {"type": "string", "title": "Last name"},
                    },
                },
            },
            "required": ["email"],
            "additionalProperties": False,
        }
    },
}

SELLER = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "definitions": {
        "phone": {
            "type": "string",
            "format": "tel",
            "title": "Telephone",
            "ory.sh/kratos": {
                "credentials": {"password": {"identifier": True}, "code": {"identifier": True, "via": "sms"}},
                "verification": {"via": "sms"},
            },
        }
    },
    "properties": {
        "traits": {
            "type": "object",
            "properties": {
                "emails": {"type": "array", "title": "E-mail addresses", "items": EMAIL, "maxItems": 3},
                "phone": {"$ref": "#/definitions/phone"},
                "username": {
                    "type": "string",
                    "title": "User name",
                    "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}},
                },
            },
        }
    },
}


FROM_TRAITS = types_from_traits(CREDENTIAL_FACTS)
SECRETS = ["a cipher secret of 32 characters", "the one before it, 32 characters"]


def read_schema(schema_id: str, document: Mapping[str, Any]) -> Schema:
    """Read a schema with the credential types of the server."""
    return Schema(schema_id, document, from_traits=FROM_TRAITS)


def identities_of(schemas: Schemas, clock: StoppedClock, *secrets: str, **options: Any) -> Identities:
    """Build the service with the facts of the server, and these secrets for sealing."""
    return Identities(schemas, facts=CREDENTIAL_FACTS, keys=key_ring(*secrets), clock=clock, **options)


def key_ring(*secrets: str) -> KeyRing:
    return KeyRing(secrets or SECRETS, purpose=PURPOSE)


@dataclass
class Trail:
    """An audit trail that can be read."""

    entries: list[tuple[str, str, str | None, Mapping[str, Any]]] = field(default_factory=list)

    async def record(
        self,
        unit: Unit,
        action: str,
        *,
        outcome: str,
        actor: str,
        subject: str | None,
        client_ip: str | None,
        details: Mapping[str, Any] = {},
        always: bool = False,
    ) -> None:
        assert outcome == "success"
        self.entries.append((action, actor, subject, details))

    @property
    def actions(self) -> list[str]:
        return [entry[0] for entry in self.entries]


@dataclass
class Told:
    """A listener that remembers its calls."""

    ids: list[UUID] = field(default_factory=list)

    async def __call__(self, unit: Unit, identity_id: UUID) -> None:
        self.ids.append(identity_id)


@dataclass
class Revoked:
    """A listener that remembers whose access was revoked, and which session was spared."""

    calls: list[tuple[UUID, UUID | None]] = field(default_factory=list)

    async def __call__(self, unit: Unit, identity_id: UUID, spare: UUID | None) -> None:
        self.calls.append((identity_id, spare))


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    return Schemas([read_schema("default", SIMPLE), read_schema("seller", SELLER)], "default")


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def identities(schemas: Schemas, clock: StoppedClock, trail: Trail, told: Told) -> Identities:
    return identities_of(schemas, clock, audit=trail, listeners=[told])


@pytest.fixture
async def sqlite_database(sqlite_dsn: str) -> AsyncIterator[Database]:
    """A database for long tables of refusals, which do not reach it."""
    database = Database(sqlalchemy_url(sqlite_dsn))
    yield database
    await database.close()
