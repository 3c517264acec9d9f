"""The whole application in front of a remote engine, over HTTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from sqlalchemy import select

from shopkeeper.app import Application, opened
from shopkeeper.app.commerce import ENGINES
from shopkeeper.clock import SystemClock
from shopkeeper.settings import load
from shopkeeper.storage.database import Database
from shopkeeper.storage.outbox import outbox
from tests.commerce.remote_engine import FORGET, RemoteEngine, RemoteServer, remote_engine
from tests.commerce.stand import PLENTY, PLENTY_TOO, contents, embedded
from tests.graphql.shop import ADD, CONFIGURATION, PASSWORD, SIGN_UP, Client

ADA, BOB = "ada@example.org", "bob@example.org"


@dataclass(frozen=True)
class Shop:
    """The application, the engine's server, and the connector that the application uses."""

    application: Application
    server: RemoteServer
    engine: RemoteEngine

    async def guest(self, *variants: str) -> tuple[Client, str | None]:
        """Start a visit and put variants into its cart; return the visitor, and the cart's id."""
        visitor, cart = self.client(), None
        await visitor.sign_in()
        for variant in variants:
            added = await visitor.data(ADD, input={"cartId": cart, "itemId": variant, "quantity": 2})
            cart = added["addToCart"]["cart"]["id"]
        return visitor, cart

    async def register(self, email: str = ADA) -> None:
        visitor, _ = await self.guest()
        await visitor.data(SIGN_UP, input={"email": email, "password": PASSWORD, "firstName": "A", "lastName": "L"})

    async def sign_in(self, guest: Client, cart: str | None, email: str = ADA) -> tuple[dict[str, Any], dict[str, Any]]:
        """Sign in with the guest's token; return the customer and the report of the cart merge."""
        answer = await self.client(guest).sign_in(username=email, password=PASSWORD, authHint={"oldCartId": cart})
        return answer["customer"], answer["cart"]

    def client(self, like: Client | None = None) -> Client:
        """Return a client; where it is like another one, with that one's token."""
        transport = httpx2.ASGITransport(app=self.application.public)
        return Client(
            httpx2.AsyncClient(transport=transport, base_url="http://localhost"), {**(like.headers if like else {})}
        )

    async def delete(self, identity: str) -> None:
        transport = httpx2.ASGITransport(app=self.application.admin)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as operator:
            assert (await operator.delete(f"/admin/identities/{identity}")).status_code == 204

    async def work(self) -> None:
        """Deliver what is due, and what that queues."""
        while await self.application.worker.run_once():
            pass

    async def undelivered(self) -> list[str]:
        async with self.application.infrastructure.database.unit() as unit:
            left = select(outbox.c.topic).where(outbox.c.delivered_at.is_(None)).order_by(outbox.c.sequence)
            return [row.topic for row in await unit.all(left)]


@pytest.fixture
async def shop(
    tmp_path: Path, dsn: str, engine_database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shop]:
    theirs = await embedded(engine_database, SystemClock())
    stores, worker = [{"id": "north", "currency": "EUR"}], {"worker": "separate"}
    file = tmp_path / "shopkeeper.yml"
    file.write_text(yaml.safe_dump({**CONFIGURATION, "dsn": dsn, "stores": stores, "outbox": worker}))
    async with remote_engine(theirs.engine, engine_database) as (server, engine):
        monkeypatch.setitem(ENGINES, "embedded", lambda _: engine)
        async with opened(load([file], {}, dev=True, demo=False)) as application:
            yield Shop(application, server, engine)
    assert server.failures == []


async def test_a_report_that_was_pending_is_returned_by_the_next_sign_in_of_the_guest(shop: Shop) -> None:
    await shop.register()
    guest, cart = await shop.guest(PLENTY, PLENTY_TOO)
    shop.server.status = 503
    _, report = await shop.sign_in(guest, cart)
    assert report == {"id": None, "outcome": "pending", "lines": []}
    _, report = await shop.sign_in(guest, cart)
    assert report == {"id": None, "outcome": "pending", "lines": []}

    shop.server.status = None
    await shop.work()
    customer, report = await shop.sign_in(guest, cart)
    assert (report["id"], report["outcome"]) == (cart, "already_done")
    assert [(line["before"], line["after"], line["change"]) for line in report["lines"]] == [(0, 2, "added")] * 2
    store = shop.application.commerce.stores.require("north")
    merged = await shop.engine.bind(None, store.customer(customer["id"])).carts.current()
    assert list(contents(merged).values()) == [2, 2]


async def test_a_report_is_not_returned_to_another_customer(shop: Shop) -> None:
    await shop.register(ADA)
    await shop.register(BOB)
    guest, cart = await shop.guest(PLENTY)
    assert (await shop.sign_in(guest, cart, ADA))[1]["outcome"] == "adopted"
    assert (await shop.sign_in(guest, cart, BOB))[1] == {"id": None, "outcome": "refused", "lines": []}


async def test_a_remote_engine_forgets_the_customer_of_an_identity_that_an_admin_deletes(shop: Shop) -> None:
    await shop.register()
    guest, cart = await shop.guest(PLENTY)
    customer, _ = await shop.sign_in(guest, cart)
    store = shop.application.commerce.stores.require("north")
    theirs = shop.engine.bind(None, store.customer(customer["id"]))
    assert (await theirs.customers.customer()).email == ADA
    await shop.delete(customer["id"])
    assert not shop.server.calls[FORGET]
    await shop.work()
    assert shop.server.calls[FORGET] == 1
    assert (await theirs.customers.customer(), await theirs.carts.current()) == (None, None)
    assert await shop.undelivered() == []
