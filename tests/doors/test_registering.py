"""Registering, through the forms and through GraphQL."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.flows.registrar import Registrar
from shopkeeper.identity.values import Client
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import CacheDown
from shopkeeper.storage.database import Unit
from shopkeeper.throttle import Throttle
from tests.attacks.scene import (
    PASSWORD,
    SIGN_UP,
    Scene,
    ask,
    new_address,
    sign_in,
    submit,
    visit,
    written_schema,
)
from tests.doors.conftest import Opening

QUIET = {"flows": {"registration": {"after": {"password": {"hooks": []}}}}}
TRAITS = {
    "username": {"type": "string", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}},
    "email": {"type": "string"},
}


class TestMails:
    async def test_an_account_without_a_mailbox_is_an_account(self, opening: Opening, dsn: str, tmp_path: Path) -> None:
        """A schema may keep anything as `email`; the refused mail once made the registration fail."""
        identity = {"schemas": [{"id": "default", "url": written_schema(tmp_path, TRAITS)}]}
        async with opening(dsn, identity=identity, selfservice=QUIET) as scene:
            app, traits = await scene.native(), {"username": "ada", "email": "no mailbox"}
            form = {"method": "password", "password": PASSWORD, "traits": traits}
            free, taken = [await submit(app, "registration", form) for _ in range(2)]
            assert (free.status_code, taken.status_code) == (200, 200)
            assert free.json().keys() == taken.json().keys()
            assert (await sign_in(app, "ada")).status_code == 200
            assert await scene.mails() == []

    @pytest.mark.parametrize("door", ["form", "graphql"])
    async def test_are_in_the_language_of_the_store(self, opening: Opening, sqlite_dsn: str, door: str) -> None:
        """They were always English, though the mails of orders were not."""
        german = [{"id": "default", "locale": "de-AT"}]
        async with opening(sqlite_dsn, selfservice=QUIET, stores=german) as scene:
            email = new_address()
            for _ in range(2):
                await self._sign_up(scene, door, email)
            mails = {mail.template_type: mail.locale for mail in await scene.mails()}
            assert mails == {"welcome": "de", "sign_up_attempt": "de"}

    async def _sign_up(self, scene: Scene, door: str, email: str) -> None:
        app = await scene.native()
        if door == "form":
            form = {"method": "password", "password": PASSWORD, "traits": {"email": email}}
            assert (await submit(app, "registration", form)).status_code == 200
            return
        token = (await visit(app))["authorization"]
        answer = await ask(app, token, SIGN_UP, i={"email": email, "password": PASSWORD})
        assert "errors" not in answer, answer


class Watched(MemoryCache):
    """A cache that remembers whether it was asked while a transaction was open."""

    def __init__(self, clock: StoppedClock) -> None:
        super().__init__(clock)
        self.unit: Unit | None = None
        self.asked = 0

    def _note(self) -> None:
        self.asked += 1
        assert self.unit is None or self.unit._open is None, "others wait for the writer, and it waits for the cache"

    async def get(self, key: str) -> bytes | None:
        self._note()
        return await super().get(key)

    async def add(self, *args: Any, **kwargs: Any) -> bool:
        self._note()
        return await super().add(*args, **kwargs)

    async def set(self, *args: Any, **kwargs: Any) -> None:
        self._note()
        await super().set(*args, **kwargs)

    async def increment(self, *args: Any, **kwargs: Any) -> int:
        self._note()
        return await super().increment(*args, **kwargs)


class GivenUp(Exception):
    """Something went wrong after registering, before the unit ended."""


class TestTheCache:
    async def test_is_never_waited_for_by_the_writer(self, opening: Opening, dsn: str) -> None:
        """SQLite has one writer: whoever asks another server while writing makes everybody wait for both."""
        async with opening(dsn) as scene:
            database, (registrar, cache) = scene.house.foundation.database, _watched(scene)
            for email in (new_address(), *[new_address("taken")] * 3):
                async with database.unit() as unit:
                    cache.unit, before = unit, cache.asked
                    await _register(registrar, unit, email)
                    assert unit._open is not None
                assert cache.asked > before

    async def test_remembers_nobody_as_told_who_was_not(self, opening: Opening, dsn: str) -> None:
        """The mail was undone with its unit, and the next hour's attempts went untold as well."""
        async with opening(dsn) as scene:
            database, (registrar, _), email = scene.house.foundation.database, _watched(scene), new_address("taken")
            async with database.unit() as unit:
                await _register(registrar, unit, email)
            with suppress(GivenUp):
                async with database.unit() as unit:
                    await _register(registrar, unit, email)
                    raise GivenUp
            for _ in range(2):
                async with database.unit() as unit:
                    await _register(registrar, unit, email)
            mails = [mail.template_type for mail in await scene.mails()]
            assert mails == ["sign_up_attempt", "welcome"]


def _watched(scene: Scene) -> tuple[Registrar, Watched]:
    """The house's registrar, but for its cache."""
    house, cache = scene.house, Watched(scene.clock)
    throttle = Throttle(
        cache,
        spare=MemoryCache(scene.clock),
        down=CacheDown,
        clock=scene.clock,
        key=bytes(32),
        name="registration",
        failures=5,
        block=timedelta(minutes=1),
        block_max=timedelta(hours=1),
        per_ip="100/minute",
    )
    registrar = Registrar(
        enabled=True,
        mitigate_enumeration=True,
        methods=house.people.methods.for_registration,
        schemas=house.people.schemas,
        identities=house.people.identities,
        throttle=throttle,
        courier=house.shop.courier,
        cache=cache,
    )
    return registrar, cache


async def _register(registrar: Registrar, unit: Unit, email: str) -> None:
    await registrar.register(
        unit,
        schema_id=None,
        traits={"email": email},
        submitted={"method": "password", "password": PASSWORD},
        client=Client(ip="203.0.113.7"),
        locale="en",
        signs_in=False,
    )
