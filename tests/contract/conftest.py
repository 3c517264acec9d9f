"""Fixtures of the contract tests: servers of the real command, and the recorded contract of Kratos.

`shop` is a server with Kratos' profile `base` that all tests of the run share, one for each kind of database; `server`
is one of the test's own, on a fresh database; `launch` starts `shopkeeper serve` any number of times.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.conftest import Run
from tests.services.databases import new_postgres, new_sqlite
from tests.services.shopkeeper_server import Commerce, share_shopkeeper, start_shopkeeper

pytest.register_assert_rewrite("tests.contract.stories", "tests.contract.mailed_stories")


class Launch(Protocol):
    """Starts a server; the arguments are those of `start_shopkeeper`."""

    def __call__(self, **wanted: Any) -> Commerce: ...


def _launching(run: Run, ending: ExitStack) -> Launch:
    def launch(**wanted: Any) -> Commerce:
        shop = start_shopkeeper(_folder(run), owner=run.owner, **wanted)
        ending.callback(shop.stop)
        return shop

    return launch


def _folder(run: Run) -> Path:
    return Path(tempfile.mkdtemp(prefix="shop-", dir=run.folder))


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


@pytest.fixture
def server(launch: Launch, dsn: str, profiles: Path) -> Commerce:
    """A server of the test's own with Kratos' profile `base`, on a fresh database of either kind."""
    return launch(config=profiles / "base.yml", dsn=dsn)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, run: Run, profiles: Path) -> Commerce:
    """The run's server with Kratos' profile `base`, for tests that use accounts of their own only."""
    if request.param == "sqlite":
        return _share_on_sqlite(run, profiles, "base")
    dsn = partial(_postgres, request, run)
    return share_shopkeeper(run.folder, "shop-base-postgresql", lambda: _begin(run, profiles, "base", dsn()))


@pytest.fixture(scope="session")
def sqlite_shop(run: Run, profiles: Path) -> Commerce:
    """The one of these that uses SQLite."""
    return _share_on_sqlite(run, profiles, "base")


@pytest.fixture(scope="session")
def link_shop(run: Run, profiles: Path) -> Commerce:
    """The run's server with Kratos' profile `link`, whose mails hold links; for accounts of the tests only."""
    return _share_on_sqlite(run, profiles, "link")


def _share_on_sqlite(run: Run, profiles: Path, profile: str) -> Commerce:
    def begin() -> Commerce:
        return _begin(run, profiles, profile, new_sqlite(run.folder, _folder(run)))

    return share_shopkeeper(run.folder, f"shop-{profile}-sqlite", begin)


def _begin(run: Run, profiles: Path, profile: str, dsn: str) -> Commerce:
    return start_shopkeeper(_folder(run), owner=run.owner, config=profiles / f"{profile}.yml", dsn=dsn)


def _postgres(request: pytest.FixtureRequest, run: Run) -> str:
    return new_postgres(run.folder, request.getfixturevalue("postgres_server"))


@pytest.fixture(scope="session")
def kratos(shared: Path) -> Path:
    """The folder with Kratos' contract."""
    return shared / "contracts" / "kratos"


@pytest.fixture(scope="session")
def conversations(kratos: Path) -> Path:
    """The recorded conversations and the tools for them."""
    return kratos / "conversations"


@pytest.fixture(scope="session")
def profiles(conversations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration files that the conversations were recorded with."""
    out = tmp_path_factory.mktemp("profiles")
    subprocess.run([sys.executable, str(conversations / "profiles.py"), str(out)], check=True)
    return out
