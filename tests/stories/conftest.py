"""Fixtures of the end-to-end tests: running servers, and a way to start further ones."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser

from tests.conftest import Run
from tests.services.databases import drop_postgres, new_postgres, new_sqlite
from tests.services.server import share
from tests.services.shopkeeper_server import Commerce, share_shopkeeper, start_shopkeeper
from tests.services.valkey import start_valkey
from tests.stories.places import KINDS, STORES, Ground, Place, new_folder
from tests.stories.screen import Screens, chromium
from tests.stories.visitor import Guests

PATIENCE = 300
"""Seconds for one end-to-end test. The machine may be busy, but a test that hangs is stopped."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PATIENCE))


class Launch(Protocol):
    """Starts a server; the arguments are those of `start_shopkeeper`."""

    def __call__(self, **wanted: Any) -> Commerce: ...


@pytest.fixture
def launch(run: Run) -> Iterator[Launch]:
    """Start servers that end with the test."""
    with ExitStack() as ending:
        yield _launching(run, ending)


@pytest.fixture(scope="module")
def launch_for_module(run: Run) -> Iterator[Launch]:
    """Start servers that end with the module."""
    with ExitStack() as ending:
        yield _launching(run, ending)


def _launching(run: Run, ending: ExitStack) -> Launch:
    def launch(**wanted: Any) -> Commerce:
        shop = start_shopkeeper(new_folder(run.folder), owner=os.getpid(), **wanted)
        ending.callback(shop.stop)
        return shop

    return launch


@pytest.fixture(scope="module", params=KINDS)
def infrastructure(request: pytest.FixtureRequest, run: Run) -> Iterator[Ground]:
    """Fresh data of either kind for the module: an SQLite file, or PostgreSQL and Valkey."""
    if request.param == "sqlite":
        yield Ground(new_sqlite(run.folder, new_folder(run.folder)))
        return
    server = request.getfixturevalue("postgres_server")
    dsn = new_postgres(run.folder, server)
    valkey = start_valkey(owner=os.getpid())
    yield Ground(dsn, valkey.url)
    valkey.stop()
    drop_postgres(server, dsn)


@pytest.fixture(scope="session", params=KINDS)
def place(request: pytest.FixtureRequest, run: Run) -> Place:
    """The run's server of either kind, with a demo shop in two stores."""
    note = run.folder / f"story-{request.param}.ground"

    def begin() -> Commerce:
        infrastructure = _ground(request, run)
        infrastructure.write(note)
        folder = new_folder(run.folder)
        return start_shopkeeper(folder, owner=run.owner, config=STORES, demo=True, **infrastructure.start_with())

    shop = share_shopkeeper(run.folder, f"story-{request.param}", begin)
    return Place(shop, Ground.read(note))


def _ground(request: pytest.FixtureRequest, run: Run) -> Ground:
    if request.param == "sqlite":
        return Ground(new_sqlite(run.folder, new_folder(run.folder)))
    valkey = share(run.folder, "story-valkey", lambda: start_valkey(owner=run.owner))
    return Ground(new_postgres(run.folder, request.getfixturevalue("postgres_server")), valkey.url)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def screens(browser: Browser, place: Place) -> Iterator[Screens]:
    """Open windows of a real browser on the run's server; they close with the test."""
    screens = Screens(browser, place.public)
    yield screens
    screens.close()


@pytest.fixture
def guests(place: Place) -> Iterator[Guests]:
    """Guests and customers of the run's server, who leave with the test."""
    guests = Guests(place.public)
    yield guests
    guests.go()


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A path where no file can be created, not even by root: below a file."""
    file = tmp_path / "a-file"
    file.write_text("not a folder")
    return file / "below"
