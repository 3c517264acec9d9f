"""What we were too busy for (503) spends none of a client's budgets; everything else does."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.errors import Busy, InvalidCredentials, TooManyRequests
from shopkeeper.refunds import charge, refunded_when_busy
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.cache.port import Cache, CacheDown
from shopkeeper.throttle import Throttle
from tests.attacks.scene import PASSWORD, SIGN_UP, THERE, Scene, ask, new_address, opened, sign_up, visit
from tests.conftest import Run
from tests.services.databases import new_sqlite
from tests.services.file_limits import no_file_grows

HOME = "192.0.2.7"
TIGHT: dict[str, Any] = {
    "throttle": {
        "registration": {"per_ip": "1/minute"},
        "code": {"per_ip": "1/minute", "per_pair": "1/hour", "per_recipient": "1/hour"},
        "login": {"per_ip": "1/minute"},
        "refresh": {"per_ip": "1/minute", "per_session": "1/minute"},
        "error": {"per_ip": "1/minute"},
    },
    "selfservice": {
        "methods": {"code": {"passwordless_enabled": True}},
        "flows": {"registration": {"after": {"code": {"hooks": [{"hook": "session"}]}}}},
    },
    "tokens": {"refresh": {"enabled": True}},
    "courier": {"smtp": {"connection_uri": "smtp://127.0.0.1:9/?disable_starttls=true"}},
}
Answer = Callable[[], Awaitable[httpx2.Response | dict[str, Any]]]


@contextmanager
def nothing_can_be_written(database: Path) -> Iterator[None]:
    """Forbid this process to make any file longer, as on a full disk; the write-ahead log has no room left."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    with no_file_grows():
        yield


async def registering_by_password(scene: Scene) -> Answer:
    app, email = await scene.native(), new_address()
    flow = (await app.get("/self-service/registration/api")).json()
    fields = {"method": "password", "password": PASSWORD, "traits": {"email": email}}
    return lambda: app.post(f"/self-service/registration?flow={flow['id']}", json=fields)


async def registering_by_graphql(scene: Scene) -> Answer:
    app, email = await scene.native(), new_address()
    token = (await visit(app))["authorization"]
    return lambda: ask(app, token, SIGN_UP, i={"email": email, "password": PASSWORD})


async def signing_in(scene: Scene) -> Answer:
    app, email = await scene.native(), new_address()
    await sign_up(await scene.native(ip=THERE), email)
    flow = (await app.get("/self-service/login/api")).json()
    fields = {"method": "password", "identifier": email, "password": PASSWORD}
    return lambda: app.post(f"/self-service/login?flow={flow['id']}", json=fields)


async def requesting_a_code(scene: Scene) -> Answer:
    app, email = await scene.native(), new_address()
    flow = (await app.get("/self-service/registration/api")).json()
    fields = {"method": "code", "traits": {"email": email}}
    return lambda: app.post(f"/self-service/registration?flow={flow['id']}", json=fields)


async def refreshing(scene: Scene) -> Answer:
    app = await scene.native()
    token = (await sign_up(app, new_address()))["session_token"]
    return lambda: app.post("/signin", json={"type": "refresh"}, headers={"authorization": f"Bearer {token}"})


async def being_refused(scene: Scene) -> Answer:
    browser = await scene.browser()
    return lambda: browser.get("/self-service/login/browser?return_to=https://evil.test")


@pytest.mark.parametrize(
    "kind", [registering_by_graphql, requesting_a_code, refreshing, being_refused], ids=lambda kind: kind.__name__
)
@pytest.mark.usefixtures("capsys")  # keeps the log in memory, where the limit of files does not stop it
async def test_attempts_while_nothing_can_be_written_spend_no_budget(
    run: Run, tmp_path: Path, clock: StoppedClock, kind: Callable[[Scene], Awaitable[Answer]]
) -> None:
    async with opened(new_sqlite(run.folder, tmp_path), tmp_path, clock, settings=TIGHT) as scene:
        attempt = await kind(scene)
        with nothing_can_be_written(tmp_path / "shopkeeper.db"):
            during = [await attempt() for _ in range(8)]
        assert {_kind_of(answer) for answer in during} == {"busy"}
        assert await _until_not_busy(attempt) != "too_many_requests"


@pytest.mark.parametrize(
    "kind", [registering_by_password, registering_by_graphql, signing_in], ids=lambda kind: kind.__name__
)
async def test_attempts_while_the_queue_of_hashes_is_full_spend_no_budget(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, kind: Callable[[Scene], Awaitable[Answer]]
) -> None:
    async with opened(sqlite_dsn, tmp_path, clock, settings=TIGHT) as scene:
        attempt, hasher = await kind(scene), scene.application.accounts.hasher
        hasher.in_flight += 1_000
        during = [await attempt() for _ in range(4)]
        hasher.in_flight -= 1_000
        assert {_kind_of(answer) for answer in during} == {"busy"}
        assert _kind_of(await attempt()) == ""


async def _until_not_busy(attempt: Answer) -> str:
    """Try until the circuit breaker closes; return the kind of the answer."""
    for _ in range(1_000):
        kind = _kind_of(await attempt())
        if kind != "busy":
            return kind
        await asyncio.sleep(0.05)
    raise AssertionError("it was busy all the time")


def _kind_of(answer: httpx2.Response | dict[str, Any]) -> str:
    if isinstance(answer, dict):
        return str(answer["errors"][0]["extensions"]["code"]).lower() if "errors" in answer else ""
    return str(answer.headers.get("x-error-code", ""))


@pytest.fixture
def tight(cache: Cache, clock: StoppedClock) -> Throttle:
    return Throttle(
        cache,
        spare=MemoryCache(clock),
        down=CacheDown,
        clock=clock,
        key=bytes(32),
        name="tight",
        failures=9,
        block=timedelta(minutes=1),
        block_max=timedelta(minutes=10),
        per_ip="2/minute",
    )


async def attempt(
    throttle: Throttle,
    end: BaseException | None,
    cause: BaseException | None = None,
    *,
    during: Callable[[], object] = lambda: None,
) -> None:
    async with refunded_when_busy():
        await throttle.spend(HOME)
        during()
        if end is not None:
            raise end from cause


class TestBlocks:
    @pytest.mark.parametrize(
        ("end", "cause"), [(Busy(retry_after=1), None), (LookupError(), Busy(retry_after=1))], ids=repr
    )
    async def test_busy_gives_back(self, tight: Throttle, end: Exception, cause: Exception | None) -> None:
        for _ in range(5):
            with pytest.raises(type(end)):
                await attempt(tight, end, cause)
        await attempt(tight, None)

    @pytest.mark.parametrize("end", [None, InvalidCredentials(), asyncio.CancelledError(), LookupError()], ids=repr)
    async def test_no_other_end_does(self, tight: Throttle, end: BaseException | None) -> None:
        for _ in range(2):
            with suppress(InvalidCredentials, asyncio.CancelledError, LookupError):
                await attempt(tight, end)
        with pytest.raises(TooManyRequests):
            await attempt(tight, end)

    async def test_a_refused_attempt_gives_nothing_back(self, tight: Throttle) -> None:
        for _ in range(2):
            await attempt(tight, None)
        for _ in range(3):
            with pytest.raises(TooManyRequests):
                await attempt(tight, Busy(retry_after=1))

    async def test_a_period_that_is_over_keeps_no_refund(self, tight: Throttle, clock: StoppedClock) -> None:
        with pytest.raises(Busy):
            await attempt(tight, Busy(retry_after=1), during=lambda: clock.advance(minutes=5))
        for _ in range(2):
            await tight.spend(HOME)
        with pytest.raises(TooManyRequests):
            await tight.spend(HOME)

    async def test_a_verdict_is_kept_at_the_end_or_at_once_outside_of_a_block(self) -> None:
        settled: list[str] = []

        async def note(what: str) -> None:
            settled.append(what)

        async def one() -> None:
            await charge(give_back=lambda: note("back"), keep=lambda: note("kept"))

        async def one_while_busy() -> None:
            async with refunded_when_busy():
                await one()
                raise Busy(retry_after=1)

        await one()
        assert settled == ["kept"]
        async with refunded_when_busy():
            await one()
            assert settled == ["kept"]
        assert settled == ["kept", "kept"]
        with pytest.raises(Busy):
            await one_while_busy()
        assert settled == ["kept", "kept", "back"]
