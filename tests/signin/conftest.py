"""The components of a sign-in, in front of a remote engine."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from shopkeeper.clock import StoppedClock
from shopkeeper.commerce.embedded.store import cart_hand_overs
from shopkeeper.commerce.port import Cart, CartMergeReport, Engine, Shopper
from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.signin import store as merges
from shopkeeper.signin.cart_merge import AuthHint, CartMerger, PendingMerge
from shopkeeper.signin.deferred_merge import DeferredMerges
from shopkeeper.signin.store import cart_merges
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.database import Database, Unit, sqlite_path
from shopkeeper.storage.outbox import Outbox
from shopkeeper.storage.outbox_worker import OutboxWorker
from tests.commerce.remote_engine import RemoteEngine, RemoteServer, remote_engine
from tests.commerce.stand import PLENTY, Stand, embedded
from tests.conftest import Run
from tests.services.databases import new_sqlite, sqlalchemy_url
from tests.sessions.conftest import CLIENT, Process, enrol, process

NORTH = Store("north", engine="remote")
GUEST = "0197a000-0000-7000-8000-0000000000a1"
OTHER_GUEST = "0197a000-0000-7000-8000-0000000000b2"
PATIENT = timedelta(seconds=20)
HASTY = timedelta(seconds=0.3)
LEASE = timedelta(seconds=30)

TRANSACTIONS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    " AND (backend_xid IS NOT NULL OR state LIKE 'idle in transaction%') AND pid <> pg_backend_pid()"
)
"""Counts transactions that have written or wait for their next statement. A single read is not counted, because it ends
by itself: the worker looks for events of other topics while a delivery calls the engine."""


async def holds_a_transaction(database: Database) -> bool:
    """Whether any connection has a transaction open: on SQLite one that writes, on PostgreSQL any but a single read."""
    path = sqlite_path(database.url)
    if path is None:
        async with database.unit() as unit:
            return bool(await unit.scalar(TRANSACTIONS))
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        other.execute("ROLLBACK")
        return False


@dataclass
class Scene:
    """Our database and components, and the engine with a database of its own."""

    database: Database
    clock: StoppedClock
    outbox: Outbox
    process: Process
    server: RemoteServer
    engine: RemoteEngine
    shop: Stand
    deferred: DeferredMerges
    held: list[bool] = field(default_factory=list)
    """For each call of the engine, whether a transaction of ours was open meanwhile."""

    @property
    def merger(self) -> CartMerger:
        return self.merger_of(self.deferred)

    def merger_of(self, deferred: DeferredMerges) -> CartMerger:
        return CartMerger(stores=Stores([NORTH], default="north"), engines={"remote": self.engine}, deferred=deferred)

    def with_engine(self, engine: Any = None, *, deadline: timedelta = PATIENT) -> CartMerger:
        """Return a merger with another connector, or with another deadline."""
        return self.merger_of(deferred_merges(self, {"remote": engine or self.engine}, deadline))

    async def claim(
        self, identity: Identity, *, guest: str | None = GUEST, hint: AuthHint | None = None
    ) -> tuple[str, CartMergeReport | PendingMerge | None]:
        """Do a sign-in up to its commit; return the token, and what the merger returned within the transaction."""
        async with self.database.unit() as unit:
            return await self.begin(unit, identity, guest=guest, hint=hint)

    async def begin(
        self, unit: Unit, identity: Identity, *, guest: str | None = GUEST, hint: AuthHint | None = None
    ) -> tuple[str, CartMergeReport | PendingMerge | None]:
        started = await self.process.sessions.start(
            unit, identity, method="password", aal=Aal.AAL1, client=CLIENT, store=NORTH.id
        )
        return started.token, await self.merger.within(unit, started.session, guest=guest, hint=hint)

    async def sign_in(
        self,
        identity: Identity,
        *,
        guest: str | None = GUEST,
        hint: AuthHint | None = None,
        merger: CartMerger | None = None,
    ) -> CartMergeReport:
        """Do a whole sign-in, which succeeds even where the engine fails; return its report."""
        token, merged = await self.claim(identity, guest=guest, hint=hint)
        if isinstance(merged, PendingMerge):
            merged = await (merger or self.merger).settle(merged)
        assert await self.process.sessions.resolve(token) is not None
        assert merged is not None
        return merged

    async def report(self, guest: str = GUEST) -> CartMergeReport | None:
        """Return the stored report of a guest's merge; None where there is none yet, or no such merge."""
        async with self.database.unit() as unit:
            row = await unit.first(select(cart_merges.c.id).where(cart_merges.c.guest == guest))
            merge = await merges.get(unit, row.id) if row else None
        return merge.report if merge else None

    async def fill(self, guest: str = GUEST, variant: str = PLENTY, quantity: int = 2) -> Cart:
        """Put something into a guest's cart, at the engine."""
        return await self.put(NORTH.guest(guest), variant, quantity)

    async def put(self, shopper: Shopper, variant: str = PLENTY, quantity: int = 1) -> Cart:
        carts = self.engine.bind(None, shopper).carts
        return await carts.add(cart_id=None, variant_id=variant, quantity=quantity)

    async def cart_of(self, identity: Identity) -> Cart | None:
        return await self.engine.bind(None, NORTH.customer(str(identity.id))).carts.current()

    def worker(self, **options: Any) -> OutboxWorker:
        subscribers = self.deferred.subscribers()
        return OutboxWorker(self.database, subscribers, clock=self.clock, random=lambda: 1.0, **options)

    async def work(self, **options: Any) -> None:
        """Run the worker for a quarter of an hour, so that failed and leased events come round again."""
        worker = self.worker(**options)
        for _ in range(15):
            await worker.run_once()
            self.clock.advance(minutes=1)

    async def merges(self) -> int:
        """Count the merges that the engine has executed; each was requested with another key."""
        assert set(self.server.merges.values()) <= {1}
        async with self.shop.database.unit() as unit:
            return int(await unit.scalar(select(func.count()).select_from(cart_hand_overs)))


def deferred_merges(scene: Scene, engines: Mapping[str, Engine], deadline: timedelta = PATIENT) -> DeferredMerges:
    return DeferredMerges(
        stores=Stores([NORTH], default="north"),
        engines=engines,
        identities=scene.process.identities,
        database=scene.database,
        outbox=scene.outbox,
        clock=scene.clock,
        deadline=deadline,
        lease=LEASE,
    )


@pytest.fixture
async def engine_database(run: Run, tmp_path: Path) -> AsyncIterator[Database]:
    """The engine's own database, which stands for one on another machine."""
    folder = tmp_path / "engine"
    folder.mkdir()
    database = Database(sqlalchemy_url(new_sqlite(run.folder, folder)))
    yield database
    await database.close()


@pytest.fixture
async def scene(database: Database, engine_database: Database, clock: StoppedClock) -> AsyncIterator[Scene]:
    """In every test no transaction of ours may be open during any call of the engine."""
    shop = await embedded(engine_database, clock)
    async with remote_engine(shop.engine, engine_database) as (server, engine):
        rooms = process(database, MemoryCache(clock), clock)
        scene = Scene(database, clock, Outbox(clock), rooms, server, engine, shop, deferred=None)  # type: ignore[arg-type]
        scene.deferred = deferred_merges(scene, {"remote": engine})
        server.on_call = watching(scene)
        yield scene
        assert not any(scene.held)
    assert server.failures == []


def watching(scene: Scene) -> Callable[[], Awaitable[None]]:
    async def look() -> None:
        scene.held.append(await holds_a_transaction(scene.database))

    return look


@pytest.fixture
async def ada(scene: Scene) -> Identity:
    return await enrol(scene.database, scene.clock)


@pytest.fixture
async def bob(scene: Scene) -> Identity:
    return await enrol(scene.database, scene.clock)
