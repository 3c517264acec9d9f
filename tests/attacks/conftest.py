"""Fixtures of the attacks: an application in this process, and a server on the wire."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from tests.conftest import Run
from tests.services.databases import new_sqlite
from tests.services.openid_provider import OpenIDProvider
from tests.services.other_openid_provider import OtherProvider
from tests.services.shopkeeper_server import Commerce, share_shopkeeper, start_shopkeeper

pytest.register_assert_rewrite("tests.attacks.scene", "tests.attacks.federation")

from tests.attacks.federation import Federation, federated  # noqa: E402
from tests.attacks.scene import KEY, SETTINGS, Scene, opened  # noqa: E402 - its assertions must be rewritten first

Opening = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest.fixture
def opening(tmp_path: Path, clock: StoppedClock) -> Opening:
    """`async with opening(dsn, throttle={…}) as scene: …` opens an application with settings of the test."""

    def open_(dsn: str, *, dev: bool = False, **settings: Any) -> AbstractAsyncContextManager[Scene]:
        return opened(dsn, tmp_path, clock, settings=settings, dev=dev)

    return open_


@pytest.fixture
async def scene(opening: Opening, sqlite_dsn: str) -> AsyncIterator[Scene]:
    """An application configured as in production, on SQLite."""
    async with opening(sqlite_dsn) as scene:
        yield scene


@pytest.fixture
async def either_scene(opening: Opening, dsn: str) -> AsyncIterator[Scene]:
    """An application configured as in production, on SQLite and on PostgreSQL."""
    async with opening(dsn) as scene:
        yield scene


@pytest.fixture
async def federation(
    sqlite_dsn: str, tmp_path: Path, openid_provider: OpenIDProvider, other_openid_provider: OtherProvider
) -> AsyncIterator[Federation]:
    async with federated(sqlite_dsn, tmp_path, openid_provider, other_openid_provider) as federation:
        yield federation


@pytest.fixture(scope="session")
def server(run: Run) -> Commerce:
    """The run's server for attacks on the wire, started as an operator would start it: without `--dev`."""
    mail = {"connection_uri": "smtp://127.0.0.1:9/?disable_starttls=true"}

    def begin() -> Commerce:
        folder = Path(mkdtemp(prefix="attacked-", dir=run.folder))
        config = {
            "secrets": SETTINGS["secrets"],
            "admin": {"api_keys": [KEY]},
            "courier": {"smtp": mail},
            "hashers": SETTINGS["hashers"],
            # All tests share one client address, so its budget is raised.
            "throttle": {name: {"per_ip": "100000/minute"} for name in ("login", "registration")},
            "selfservice": {"methods": SETTINGS["selfservice"]["methods"]},
        }
        dsn = new_sqlite(run.folder, folder)
        # Few descriptors, so that few connections use them up.
        return start_shopkeeper(folder, owner=run.owner, config=config, dsn=dsn, dev=False, demo=True, descriptors=400)

    return share_shopkeeper(run.folder, "attacked", begin)
