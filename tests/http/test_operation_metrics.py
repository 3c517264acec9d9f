"""What `/metrics` tells besides requests, and what `outbox list` is made of."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from shopkeeper.clock import StoppedClock
from shopkeeper.http.operation_metrics import QUERY_WITHIN, OperationMetrics
from shopkeeper.storage.turns import Turns
from shopkeeper.tally import Tally
from tests.attacks.scene import PASSWORD, Scene, fill_cart, new_address, opened, sign_in, sign_up, visit

SETTINGS = {
    "tokens": {"refresh": {"enabled": True}},
    "courier": {"smtp": {"connection_uri": "smtp://127.0.0.1:9/?disable_starttls=true"}},
}


@pytest.fixture
async def scene(dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    async with opened(dsn, tmp_path, clock, settings=SETTINGS) as scene:
        yield scene


async def told(scene: Scene) -> dict[str, float]:
    """Return the metrics by name and labels."""
    text = (await (await scene.admin()).get("/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(shopkeeper_\S+) (\S+)$", text, re.MULTILINE)}


async def test_sign_ins_registrations_refreshes_and_merges_are_counted(scene: Scene) -> None:
    app, email = await scene.native(), new_address()
    await sign_up(app, email)
    await sign_in(app, email, "not her password at all")
    guest = (await visit(app))["authorization"]
    cart = await fill_cart(app, guest)
    bearer = {"authorization": f"Bearer {guest}"}
    fields = {"username": email, "password": PASSWORD, "authHint": {"oldCartId": cart}}
    hers = await app.post("/signin", json=fields, headers=bearer)
    token = hers.json()["authorization"]
    for _ in range(2):
        await app.post("/signin", json={"type": "refresh"}, headers={"authorization": f"Bearer {token}"})
    metrics = await told(scene)
    assert metrics['shopkeeper_sign_ins_total{method="password",outcome="success"}'] == 2
    assert metrics['shopkeeper_sign_ins_total{method="password",outcome="wrong_credentials"}'] == 1
    assert metrics['shopkeeper_registrations_total{outcome="success"}'] == 1
    assert metrics['shopkeeper_cart_merges_total{outcome="adopted"}'] == 1
    assert metrics['shopkeeper_refreshes_total{outcome="replaced"}'] == 1
    assert metrics['shopkeeper_refreshes_total{outcome="repeated"}'] == 1
    assert metrics["shopkeeper_session_cache_bytes"] > 1_000


async def test_a_silent_database_does_not_keep_the_metrics_back(clock: StoppedClock) -> None:
    async def backlog() -> None:
        await asyncio.Event().wait()

    class Nothing:
        cached_bytes = 0

    registry = CollectorRegistry()
    metrics = OperationMetrics(
        registry, tally=Tally(), clock=clock, backlog=backlog, pools={"read": Turns(3)}, sessions=Nothing()
    )
    await asyncio.wait_for(metrics.refresh(), QUERY_WITHIN * 5)
    text = generate_latest(registry).decode()
    assert "shopkeeper_sign_ins" in text
    assert "shopkeeper_outbox" not in text


@pytest.mark.parametrize("budget", ["per_ip", "per_session"])
async def test_refreshes_that_a_budget_refuses_are_counted(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, budget: str
) -> None:
    throttle = {"refresh": {budget: "1/minute"}}
    async with opened(sqlite_dsn, tmp_path, clock, settings={**SETTINGS, "throttle": throttle}) as scene:
        app, email = await scene.native(), new_address()
        await sign_up(app, email)
        token, statuses = (await app.post("/signin", json={"username": email, "password": PASSWORD})).json(), []
        for _ in range(3):
            headers = {"authorization": f"Bearer {token['authorization']}"}
            answer = await app.post("/signin", json={"type": "refresh"}, headers=headers)
            statuses.append(answer.status_code)
            token = answer.json() if answer.is_success else token
        metrics = await told(scene)
    assert statuses == [200, 429, 429]
    assert metrics['shopkeeper_refreshes_total{outcome="throttled"}'] == 2
    assert metrics['shopkeeper_refreshes_total{outcome="replaced"}'] == 1


async def test_mails_that_wait_and_fail_are_told_with_their_age(scene: Scene) -> None:
    await sign_up(await scene.native(), new_address())
    scene.clock.advance(seconds=90)
    assert (await told(scene))['shopkeeper_outbox_waiting{topic="mail"}'] == 1
    await scene.application.worker.run_once()
    metrics = await told(scene)
    assert metrics['shopkeeper_outbox_waiting{topic="mail"}'] == 1
    assert metrics['shopkeeper_outbox_failing{topic="mail"}'] == 1
    assert metrics['shopkeeper_outbox_given_up{topic="mail"}'] == 0
    assert metrics['shopkeeper_outbox_lag_seconds{topic="mail"}'] == 90
    scene.clock.advance(seconds=timedelta(days=2).total_seconds())
    for _ in range(8):
        await scene.application.worker.run_once()
        scene.clock.advance(seconds=7_200)
    assert (await told(scene))['shopkeeper_outbox_given_up{topic="mail"}'] == 1


async def test_what_has_failed_is_listed_with_its_next_try_and_its_last_error(scene: Scene) -> None:
    infrastructure = scene.application.infrastructure
    await sign_up(await scene.native(), new_address())
    await scene.application.worker.run_once()
    await sign_up(await scene.native(), new_address())
    async with infrastructure.database.unit() as unit:
        failed, fresh = await infrastructure.outbox.waiting(unit)
    assert (failed.event.attempt, fresh.event.attempt) == (1, 0)
    assert failed.last_error is not None
    assert "ChannelFailed" in failed.last_error
    assert fresh.last_error is None
    assert failed.next_at > scene.clock.now() >= fresh.next_at


async def test_pools_are_told_where_there_are_any(scene: Scene) -> None:
    metrics = await told(scene)
    if scene.application.infrastructure.database.kind == "postgresql":
        assert metrics['shopkeeper_database_connections_max{pool="read"}'] == 10
        async with scene.application.infrastructure.database.unit() as unit:
            await unit.begin()
            assert (await told(scene))['shopkeeper_database_connections_in_use{pool="write"}'] == 1
        assert (await told(scene))['shopkeeper_database_connections_in_use{pool="write"}'] == 0
    else:
        assert not [name for name in metrics if "connections" in name]
