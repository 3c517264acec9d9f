"""A session is read with its identity in one statement, and is the same as when they are read apart."""

from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import update

from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import digest, new_id
from shopkeeper.identity.values import AddressStatus, Identity, RecoveryAddress, VerifiableAddress, Via
from shopkeeper.sessions import with_identity
from shopkeeper.sessions.store import sessions
from shopkeeper.sessions.values import Device
from shopkeeper.storage.database import Database
from tests.conftest import NOW
from tests.sessions.conftest import Process, enrol, sign_in


async def with_everything(database: Database, clock: StoppedClock) -> Identity:
    """Store an identity that has something in every column, and several addresses of each kind."""
    verifiable = tuple(
        VerifiableAddress(new_id(), f"{name}@example.org", Via.EMAIL, True, AddressStatus.COMPLETED, NOW, NOW, NOW)
        for name in ("zoe", "ada", "eve")
    )
    recovery = tuple(RecoveryAddress(new_id(), value, Via.SMS, NOW, NOW) for value in ("+4930123456", "+4930123455"))
    return await enrol(
        database,
        clock,
        traits={"name": {"first": "Zoë"}, "shoes": [1, None]},
        metadata_public={"a": None},
        external_id="customer-1",
        verifiable_addresses=verifiable,
        recovery_addresses=recovery,
    )


async def test_it_is_the_session_with_all_that_belongs_to_it(
    database: Database, clock: StoppedClock, one: Process
) -> None:
    identity = await with_everything(database, clock)
    started = await sign_in(database, one.sessions, identity)
    second = Device(new_id(), "203.0.113.8", "Phone/2.0", "Kassel, DE")
    async with database.unit() as unit:
        stored = [{**asdict(device), "id": str(device.id)} for device in (*started.session.devices, second)]
        await unit.write(update(sessions).values(devices=stored))
    async with database.unit() as unit:
        apart = await one.identities.require(unit, identity.id)
        found = await with_identity.by_token(unit, digest(started.token))
        assert found == replace(started.session, identity=apart, devices=(*started.session.devices, second))
        assert found == await with_identity.by_id(unit, started.session.id)
    assert [address.value for address in apart.verifiable_addresses] == [
        f"{name}@example.org" for name in ("zoe", "ada", "eve")
    ]


async def test_an_identity_may_have_no_address(database: Database, clock: StoppedClock, one: Process) -> None:
    identity = await enrol(database, clock, verifiable_addresses=(), recovery_addresses=(), credentials={})
    started = await sign_in(database, one.sessions, identity, store=None)
    async with database.unit() as unit:
        assert await with_identity.by_id(unit, started.session.id) == replace(started.session, identity=identity)


async def test_an_unknown_one_is_none(database: Database, ada: Identity, one: Process) -> None:
    await sign_in(database, one.sessions, ada)
    async with database.unit() as unit:
        assert await with_identity.by_token(unit, digest("shk_st_unknown")) is None
        assert await with_identity.by_id(unit, new_id()) is None


async def test_reading_it_is_one_statement(database: Database, ada: Identity, one: Process) -> None:
    started = await sign_in(database, one.sessions, ada)
    asked: list[Any] = []
    async with database.unit() as unit:
        read = unit._read

        async def counted(*arguments: Any) -> Any:
            asked.append(arguments)
            return await read(*arguments)

        unit._read = counted  # type: ignore[method-assign]
        assert await with_identity.by_token(unit, digest(started.token)) == started.session
    assert len(asked) == 1
