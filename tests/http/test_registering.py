"""Registration through the forms and through GraphQL."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.app.verification import build_recipient_budget
from shopkeeper.client import Client
from shopkeeper.clock import StoppedClock
from shopkeeper.flows.registrar import Registrar
from shopkeeper.flows.store_handlers import AccountsElsewhere
from shopkeeper.notify.courier import Courier
from shopkeeper.notify.sign_up_notices import SignUpNotices
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import CacheDown
from shopkeeper.storage.database import Unit
from shopkeeper.throttle import Throttle
from shopkeeper.transaction_guard import refuse_inside_transaction
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
from tests.http.conftest import Opening

QUIET = {"flows": {"registration": {"after": {"password": {"hooks": []}}}}}
TRAITS = {
    "username": {"type": "string", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}},
    "email": {"type": "string"},
}


class TestMails:
    async def test_an_address_without_a_mailbox_does_not_prevent_a_registration(
        self, opening: Opening, dsn: str, tmp_path: Path
    ) -> None:
        """A schema may keep anything as `email`. Regression: the refused mail made the registration fail."""
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
        """Regression: they were always English, although the mails of orders were not."""
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
    """A cache that remembers whether it was called while a transaction was open."""

    def __init__(self, clock: StoppedClock) -> None:
        super().__init__(clock)
        self.asked = 0

    def _note(self) -> None:
        self.asked += 1
        refuse_inside_transaction("The cache")

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
    """Raised after registering and before the unit ends."""


class Fickle:
    """The app's courier, which fails after queueing a mail where the test sets it to."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self.fails = False

    async def queue(self, unit: Unit, **mail: Any) -> None:
        await self._courier.queue(unit, **mail)
        if self.fails:
            raise GivenUp

    async def simulate(self, unit: Unit, **mail: Any) -> None:
        await self._courier.simulate(unit, **mail)


class TestTheCache:
    async def test_is_never_called_inside_a_transaction(self, opening: Opening, dsn: str) -> None:
        """SQLite has one writer: a unit that waits for another server while it writes makes all others wait."""
        async with opening(dsn) as scene:
            cache = Watched(scene.clock)
            registrar = _registrar(scene, cache, Fickle(scene.application.accounts.courier))
            for email in (new_address(), *[new_address("taken")] * 3):
                before = cache.asked
                await _register(registrar, email)
                assert cache.asked > before

    async def test_does_not_remember_an_owner_as_notified_whose_mail_was_rolled_back(
        self, opening: Opening, dsn: str
    ) -> None:
        """Regression: the mail was rolled back with its unit, and the next hour's attempts caused no mail either."""
        async with opening(dsn) as scene:
            courier, email = Fickle(scene.application.accounts.courier), new_address("taken")
            registrar = _registrar(scene, Watched(scene.clock), courier)
            await _register(registrar, email)
            courier.fails = True
            with pytest.raises(GivenUp):
                await _register(registrar, email)
            courier.fails = False
            for _ in range(2):
                await _register(registrar, email)
            mails = [mail.template_type for mail in await scene.mails()]
            assert mails == ["sign_up_attempt", "welcome"]


def _registrar(scene: Scene, cache: Watched, courier: Fickle) -> Registrar:
    """Return the app's registrar, but with this cache and this courier."""
    application = scene.application
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
    return Registrar(
        enabled=True,
        elsewhere=AccountsElsewhere(lambda store: None, names={}),
        mitigate_enumeration=True,
        methods=application.accounts.methods.for_registration,
        database=application.infrastructure.database,
        schemas=application.accounts.schemas,
        identities=application.accounts.identities,
        address_changes=application.accounts.address_changes,
        throttle=throttle,
        courier=courier,
        notices=SignUpNotices(cache),
        budget=build_recipient_budget(application.accounts),
        before=application.commerce.completion.before,
    )


async def _register(registrar: Registrar, email: str) -> None:
    await registrar.register(
        store="default",
        schema_id=None,
        traits={"email": email},
        submitted={"method": "password", "password": PASSWORD},
        client=Client(ip="203.0.113.7"),
        locale="en",
    )
