"""Every route of Kratos' contract is served, or answers 501 and says what to use instead; none is unknown."""

import csv
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import Scene, opened

ON_ADMIN_ONLY = {"/version"}
"""Listed as public, but Kratos serves it on the admin port only."""


@pytest.fixture
async def scene(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    async with opened(sqlite_dsn, tmp_path, clock, settings={}) as scene:
        yield scene


def routes(kratos: Path) -> Iterator[tuple[str, str, bool]]:
    with (kratos / "endpoints.csv").open() as lines:
        for row in csv.DictReader(lines):
            yield (
                ("PUT" if row["method"] == "ANY" else row["method"]),
                row["path"],
                row["audience"] == "admin" or row["path"] in ON_ADMIN_ONLY,
            )


async def test_every_route_of_the_contract_is_served_or_says_that_it_is_not_built(scene: Scene, kratos: Path) -> None:
    public, admin = await scene.native(accept="application/json"), await scene.admin()
    every = list(routes(kratos))
    assert len(every) > 70
    later = {}
    for method, path, for_admin in every:
        client = admin if for_admin else public
        filled = re.sub(r"\{\w+\}", str(uuid4()), path)
        answer = await client.request(method, filled)
        unrouted = await client.request("BREW", filled)
        assert unrouted.status_code == 405 or path == "/sessions/whoami", f"{method} {path} has no route"
        assert answer.status_code != 405, f"{method} {path}"
        if answer.status_code == 501:
            error = answer.json()["error"]
            assert error["id"] == answer.headers["x-error-code"] == "not_implemented"
            later[method, path] = error["reason"]
    assert ("POST", "/admin/test-login-flows") in later
    assert all(reason.endswith(".") and len(reason) > 30 for reason in later.values())


async def test_password_managers_find_where_passwords_are_changed(scene: Scene) -> None:
    app = await scene.native()
    answer = await app.get("/.well-known/change-password")
    assert (answer.status_code, answer.headers["location"]) == (303, "https://shop.test/account")
