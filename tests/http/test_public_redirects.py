"""The public API's addresses on the admin port lead to the public port; nothing leads the other way."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import ADDRESS, Scene, opened


@pytest.fixture
async def scene(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    async with opened(sqlite_dsn, tmp_path, clock, settings={}) as scene:
        yield scene


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/self-service/login/browser?refresh=true"),
        ("POST", "/self-service/recovery?flow=1"),
        ("GET", "/self-service/errors?id=stub:500"),
        ("GET", "/sessions/whoami?tokenize_as=x"),
        ("PUT", "/sessions/whoami"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/admin"])
async def test_the_admin_port_sends_on(scene: Scene, method: str, path: str, prefix: str) -> None:
    answer = await (await scene.admin()).request(method, f"{prefix}{path}")
    assert (answer.status_code, answer.headers["location"]) == (307, f"{ADDRESS}{path}")


@pytest.mark.parametrize("path", ["/identities", "/admin/identities", "/courier/messages", "/recovery/link"])
async def test_the_public_port_does_not_tell_where_the_admin_api_is(scene: Scene, path: str) -> None:
    answer = await (await scene.native()).get(path)
    assert (answer.status_code, "location" in answer.headers) == (404, False)


async def test_what_a_session_can_be_expanded_with_is_checked(scene: Scene) -> None:
    admin = await scene.admin()
    assert (await admin.get("/admin/sessions?expand=identity&expand=devices")).status_code == 200
    assert (await admin.get("/admin/sessions?expand=shoes")).status_code == 400
