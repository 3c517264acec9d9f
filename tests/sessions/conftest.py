"""Identities with accounts, and processes that cache their sessions."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec
import pytest

from shopkeeper.client import Client
from shopkeeper.clock import Clock, StoppedClock
from shopkeeper.crypto import digest, new_id, new_token
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.identity.store import IdentityStore
from shopkeeper.identity.values import (
    Aal,
    AddressStatus,
    Credential,
    Identity,
    RecoveryAddress,
    State,
    VerifiableAddress,
    Via,
)
from shopkeeper.sessions import impersonation_store
from shopkeeper.sessions import store as rows
from shopkeeper.sessions.acting import Acting, Agents
from shopkeeper.sessions.impersonation_store import Impersonation, Kind
from shopkeeper.sessions.lifetimes import Lifetimes
from shopkeeper.sessions.refresh import IssuedSession
from shopkeeper.sessions.refresh_tokens import RefreshTokens
from shopkeeper.sessions.revocation import ForgetEnded
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.values import Actor, Session, WhoamiAnswer
from shopkeeper.storage.audit import Audit, AuditEvent
from shopkeeper.storage.cache.port import Cache
from shopkeeper.storage.database import Database, Unit
from shopkeeper.tally import Tally

LIFESPAN = timedelta(hours=24)
WINDOW = timedelta(seconds=10)
FAMILY = timedelta(days=30)
IDLE = timedelta(days=7)
SECRETS = ["a secret of the shop", "the one before it"]
AUDIT_KEY = b"a key for addresses, of 32 bytes"
CLIENT = Client(ip="203.0.113.7", user_agent="Browser/1.0", port=50123)
TRAITS = {"type": "object", "properties": {"traits": {"type": "object"}}}

_numbers = itertools.count(1)


def person(now: datetime, **changes: Any) -> Identity:
    """Return an account with an address, and a password that must never leave the server."""
    email = f"ada{next(_numbers)}@example.org"
    fields = {
        "id": new_id(),
        "schema_id": "default",
        "state": State.ACTIVE,
        "state_changed_at": now,
        "traits": {"email": email},
        "metadata_public": None,
        "metadata_admin": {"note": "for operators only"},
        "external_id": None,
        "verifiable_addresses": (
            VerifiableAddress(new_id(), email, Via.EMAIL, False, AddressStatus.SENT, None, now, now),
        ),
        "recovery_addresses": (RecoveryAddress(new_id(), email, Via.EMAIL, now, now),),
        "created_at": now,
        "updated_at": now,
        "credentials": {"password": Credential("password", (email,), {"hashed_password": "$argon2id$…"}, 0, now, now)},
    }
    return Identity(**{**fields, **changes})


async def enrol(database: Database, clock: Clock, **changes: Any) -> Identity:
    """Store an account in the database."""
    identity = person(clock.now(), **changes)
    async with database.unit() as unit:
        return await IdentityStore({}, keys=None).insert(unit, identity)


def rendered(session: Session) -> WhoamiAnswer:
    """Render an answer to whoami, with only what these tests look at."""
    shown = {"id": session.id, "expires_at": session.expires_at, "traits": session.identity.traits}
    return WhoamiAnswer(200, (), msgspec.json.encode(shown), str(session.identity.id))


class Lookups:
    """A database that counts how often a session was looked up by its token, and so was not answered from the cache."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.count = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.has_read = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[Unit]:
        async with self._database.unit() as unit:
            unit.all = partial(self._all, unit.all)  # type: ignore[method-assign]
            yield unit

    async def _all(self, read: Callable[..., Awaitable[Any]], query: Any, parameters: Any = None) -> Any:
        rows = await read(query, parameters)
        if "token_hash" in (parameters or {}):
            self.count += 1
            self.has_read.set()
            await self.may_answer.wait()
        return rows


@dataclass(frozen=True)
class Process:
    """One process of the server, with only its sessions."""

    sessions: Sessions
    identities: Identities
    refresh: RefreshTokens | None
    lookups: Lookups

    @property
    def reads(self) -> int:
        """How often a session was looked up by its token in the database."""
        return self.lookups.count


def process(
    database: Database,
    cache: Cache,
    clock: Clock,
    *,
    refresh: bool = True,
    earliest_extend: timedelta | None = None,
    cache_capacity: int = 10_000_000,
    lifetimes: Lifetimes = Lifetimes(LIFESPAN),  # noqa: B008 - a frozen value
    forget: ForgetEnded | None = None,
    agents: Agents | None = None,
) -> Process:
    listeners: list[Callable[..., Awaitable[None]]] = []
    lookups = Lookups(database)
    identities = Identities(
        Schemas([Schema("default", TRAITS, from_traits={})], "default"),
        facts={},
        clock=clock,
        listeners=listeners,
    )
    tokens = RefreshTokens(clock=clock, lifespan=FAMILY, replay_window=WINDOW, idle=IDLE) if refresh else None
    sessions = Sessions(
        identities,
        lookups,  # type: ignore[arg-type]  # in a database's place
        cache=cache,
        clock=clock,
        lifetimes=lifetimes,
        earliest_extend=earliest_extend,
        audit=Audit(clock, key=AUDIT_KEY),
        render=rendered,
        logout_secrets=SECRETS,
        refresh=tokens,
        cache_capacity=cache_capacity,
        forget=forget,
        acting=Acting(database, clock, Audit(clock, key=AUDIT_KEY), Tally(), keys={TOOL}, agents=agents)
        if agents is not None
        else None,
    )
    listeners.append(sessions.invalidate_identity)
    return Process(sessions, identities, tokens, lookups)


TOOL = "tool"


async def act_as(database: Database, clock: Clock, customer: Identity, agent: Session) -> str:
    """Store a session in which an agent acts as a customer, who has one; return its token."""
    now, token = clock.now(), new_token("shk_st_")
    actor = Actor(TOOL, identity_id=agent.identity.id, session_id=agent.id)
    acted_in = replace(agent, id=new_id(), identity=customer, devices=(), actor=actor)
    async with database.unit() as unit:
        await rows.add(unit, acted_in, token_hash=digest(token), count_to=0, changed_at=now)
        await impersonation_store.add(
            unit,
            Impersonation(
                id=acted_in.id,
                kind=Kind.CUSTOMER,
                store="fruit",
                identity_id=customer.id,
                guest_id=None,
                actor=actor,
                reason="a ticket",
                started_at=now,
                expires_at=acted_in.expires_at,
            ),
        )
    return token


async def sign_in(
    database: Database, sessions: Sessions, identity: Identity, *, store: str | None = "fruit", **options: Any
) -> IssuedSession:
    """Start a session that was proven with a password."""
    async with database.unit() as unit:
        return await sessions.start(
            unit, identity, method="password", aal=Aal.AAL1, client=CLIENT, store=store, **options
        )


async def change(database: Database, act: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
    """Do one thing in a unit of work of its own."""
    async with database.unit() as unit:
        return await act(unit, *args, **options)


class Undone(Exception):
    """Raised to roll a unit back. Carries what the unit had returned."""

    def __init__(self, given: Any) -> None:
        super().__init__("undone")
        self.given = given


async def undo(database: Database, act: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> None:
    """Do one thing in a unit of work that is rolled back."""
    async with database.unit() as unit:
        raise Undone(await act(unit, *args, **options))


async def audited(database: Database, clock: Clock, **wanted: str) -> list[AuditEvent]:
    """Return the audit events, oldest first."""
    async with database.unit() as unit:
        return list(reversed(await Audit(clock, key=AUDIT_KEY).events(unit, **wanted)))


async def answers(sessions: Sessions, tokens: Sequence[str]) -> list[bool]:
    """Return for each token whether it is good."""
    return [await sessions.resolve(token) is not None for token in tokens]


PATIENCE: Final = 10.0
"""Seconds to wait where the load of the machine should not decide. The clock of the sessions stands still, so no entry
expires: only a message can cause a refusal."""


async def refuses(one: Process, token: str, *, within: float = PATIENCE) -> None:
    """Wait until the process refuses the token, asking again and again as a client would.

    Another process learns by a message that a session has ended, which may take a moment after the answer to the one
    that ended it.
    """
    async with asyncio.timeout(within):
        while await one.sessions.resolve(token) is not None:  # noqa: ASYNC110 - asking again is what is tested
            await asyncio.sleep(0.001)


@pytest.fixture
async def one(database: Database, cache: Cache, clock: StoppedClock) -> AsyncIterator[Process]:
    """A process that listens to the others."""
    one = process(database, cache, clock)
    await one.sessions.listen()
    yield one
    await one.sessions.close()


@pytest.fixture
async def ada(database: Database, clock: StoppedClock) -> Identity:
    """An identity with an account."""
    return await enrol(database, clock)
