"""What a registration asks the cache: each call is a round trip, and their number must not tell a taken address."""

from datetime import timedelta

import pytest

from tests.attacks.scene import PASSWORD, Scene, new_address
from tests.flows.conftest import Staging
from tests.flows.watching import cache_calls

HOURS = timedelta(hours=3).total_seconds()


async def calls_of(scene: Scene, email: str, ip: str) -> list[str]:
    app = await scene.native(ip=ip)
    flow = (await app.get("/self-service/registration/api")).json()
    fields = {"method": "password", "password": PASSWORD, "traits": {"email": email}}
    with cache_calls(scene) as seen:
        answer = await app.post(f"/self-service/registration?flow={flow['id']}", json=fields)
    assert answer.status_code == 200, answer.text
    return seen


@pytest.mark.parametrize("verifies", [True, False])
async def test_a_taken_address_costs_as_many_as_a_free_one(staging: Staging, dsn: str, verifies: bool) -> None:
    flows = {"registration": {"after": {"password": {"hooks": []}}}, "verification": {"enabled": verifies}}
    async with staging(dsn, selfservice={"flows": flows}) as stage:
        scene, taken = stage.scene, new_address("taken")
        seen = {"free": await calls_of(scene, taken, "203.0.113.1")}
        seen["also free"] = await calls_of(scene, new_address(), "203.0.113.2")
        scene.clock.advance(seconds=HOURS)
        seen["taken"] = await calls_of(scene, taken, "203.0.113.3")
        seen["taken, and its owner was told"] = await calls_of(scene, taken, "203.0.113.4")
        assert len({len(calls) for calls in seen.values()}) == 1, seen
