"""Shared by the tests of credentials: a hasher with little work, and the password method with what it depends on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from shopkeeper.app.credential_facts import CREDENTIAL_FACTS
from shopkeeper.client import Client
from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.attempts import AttemptGuard
from shopkeeper.credentials.breached import CommonPasswords
from shopkeeper.credentials.hashes import Argon2Parameters, Hasher
from shopkeeper.credentials.method import MethodInput
from shopkeeper.credentials.password import Password
from shopkeeper.credentials.policy import PasswordPolicy
from shopkeeper.credentials.steps import NewCredential, Proof
from shopkeeper.crypto import KeyRing
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.facts import types_from_traits
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Identity, State
from shopkeeper.signin.completion import apply_proof, locked
from shopkeeper.storage.audit import Audit, AuditEvent
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import CacheDown
from shopkeeper.storage.database import Database
from shopkeeper.throttle import Throttle

CHEAP = Argon2Parameters(memory=64, iterations=1, parallelism=1)
CLIENT = Client(ip="203.0.113.7")
RIGHT = "Plum-Tart-93-window"
FAILURES = 4

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "traits": {
            "type": "object",
            "properties": {
                "email": {"type": "string", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}},
                "phone": {"type": "string", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}},
            },
        }
    },
}


@pytest.fixture
def hasher() -> Iterator[Hasher]:
    hasher = Hasher(CHEAP, workers=2, queue=200)
    yield hasher
    hasher.close()


@dataclass(frozen=True)
class Proven:
    """A proof, and the identity as read under the lock."""

    identity: Identity
    proof: Proof


@dataclass(frozen=True)
class World:
    """The password method with all its dependencies, which are real, and operations for tests."""

    database: Database
    identities: Identities
    hasher: Hasher
    throttle: Throttle
    audit: Audit

    @property
    def password(self) -> Password:
        policy = PasswordPolicy(breached=[CommonPasswords()])
        return Password(self.identities, hasher=self.hasher, policy=policy, guard=self.guard)

    @property
    def guard(self) -> AttemptGuard:
        return AttemptGuard(throttle=self.throttle, audit=self.audit)

    def with_hasher(self, hasher: Hasher) -> "World":
        return replace(self, hasher=hasher)

    async def customer(
        self,
        email: str,
        *,
        password: str | None = RIGHT,
        hashed: str | None = None,
        phone: str | None = None,
        state: State = State.ACTIVE,
    ) -> Identity:
        """Create an account with this password, or this hash, or neither; a hasher of its own makes the hash."""
        if hashed is None and password is not None:
            maker = Hasher(CHEAP, workers=1, queue=0)
            hashed = await maker.hash(password)
            maker.close()
        credentials = [NewCredential("password", {"hashed_password": hashed})] if hashed is not None else []
        traits = {"email": email, "phone": phone} if phone else {"email": email}
        async with self.database.unit() as unit:
            return await self.identities.create(unit, NewIdentity(traits=traits, state=state, credentials=credentials))

    async def prove(self, *, identity: Identity | None = None, **submitted: Any) -> "Proven":
        """Submit the login form; return the proof, checked under the lock."""
        async with self.database.reading() as unit:
            submission = MethodInput(client=CLIENT, identity=identity, submitted=submitted)
            proof = await self.password.submit_login(unit, submission)
        return await self._confirmed(proof)

    async def authenticate(self, identifier: str, password: str) -> "Proven":
        """Sign in without a form; return the proof, checked under the lock."""
        async with self.database.reading() as unit:
            proof = await self.password.authenticate(unit, identifier=identifier, password=password, client=CLIENT)
        return await self._confirmed(proof)

    async def _confirmed(self, proof: Proof) -> "Proven":
        async with self.database.unit() as unit:
            identity = await locked(unit, self.identities, proof)
            return Proven(await apply_proof(unit, self.identities, identity, proof), proof)

    async def stored(self, identifier: str) -> str:
        """Return the stored hash."""
        async with self.database.unit() as unit:
            found = await self.identities.find_by_identifier(unit, type="password", identifier=identifier)
        assert found is not None
        return str(found.credentials["password"].config["hashed_password"])

    async def store(self, identity: Identity, hashed: str) -> None:
        async with self.database.unit() as unit:
            await self.identities.set_credential_config(unit, identity.id, "password", {"hashed_password": hashed})

    async def failures(self) -> list[AuditEvent]:
        """Return the audited failures of sign-ins, newest first."""
        async with self.database.unit() as unit:
            return await self.audit.events(unit, action="sign_in.failed")


@pytest.fixture
def world(database: Database, clock: StoppedClock, hasher: Hasher) -> World:
    schema = Schema("default", SCHEMA, from_traits=types_from_traits(CREDENTIAL_FACTS))
    keys = KeyRing(["a cipher secret of 32 characters"], purpose="credentials")
    identities = Identities(Schemas([schema], "default"), facts=CREDENTIAL_FACTS, keys=keys, clock=clock)
    throttle = Throttle(
        MemoryCache(clock),
        spare=MemoryCache(clock),
        down=CacheDown,
        clock=clock,
        name="login",
        key=b"k" * 32,
        failures=FAILURES,
        block=timedelta(minutes=1),
        block_max=timedelta(minutes=15),
        per_ip="1000/minute",
    )
    return World(database, identities, hasher, throttle, Audit(clock, key=b"a" * 32))
