"""What the contract tests share: servers of the real command, and the recorded contract of Kratos.

`launch` starts `shopkeeper serve` as often as a test likes; `server` is one of them on a fresh database of either kind.
`launch_for_module` and `module_dsn` are the same for a whole module.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.conftest import Run
from tests.services.databases import drop_postgres, new_postgres, new_sqlite
from tests.services.shopkeeper_server import Shop, start_shopkeeper


class Launch(Protocol):
    """Starts a server; the arguments are those of `start_shopkeeper`."""

    def __call__(self, **wanted: Any) -> Shop: ...


def _launching(run: Run, ending: ExitStack) -> Launch:
    def launch(**wanted: Any) -> Shop:
        folder = Path(tempfile.mkdtemp(prefix="shop-", dir=run.folder))
        shop = start_shopkeeper(folder, owner=run.owner, **wanted)
        ending.callback(shop.stop)
        return shop

    return launch


@pytest.fixture
def launch(run: Run) -> Iterator[Launch]:
    """Starts servers that end with the test."""
    with ExitStack() as ending:
        yield _launching(run, ending)


@pytest.fixture(scope="module")
def launch_for_module(run: Run) -> Iterator[Launch]:
    """Starts servers that end with the module."""
    with ExitStack() as ending:
        yield _launching(run, ending)


@pytest.fixture
def server(launch: Launch, dsn: str, profiles: Path) -> Shop:
    """A server with Kratos' profile `base`, on a fresh database of either kind."""
    return launch(config=profiles / "base.yml", dsn=dsn)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def module_dsn(request: pytest.FixtureRequest, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh database of either kind for a whole module."""
    if request.param == "sqlite":
        yield new_sqlite(run.folder, tmp_path_factory.mktemp("database"))
        return
    postgres = request.getfixturevalue("postgres_server")
    dsn = new_postgres(run.folder, postgres)
    yield dsn
    drop_postgres(postgres, dsn)


@pytest.fixture(scope="module")
def module_sqlite_dsn(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A fresh SQLite database for a whole module, where the kind of database makes no difference."""
    return new_sqlite(run.folder, tmp_path_factory.mktemp("database"))


@pytest.fixture(scope="session")
def kratos(shared: Path) -> Path:
    """The folder with Kratos' contract."""
    return shared / "contracts" / "kratos"


@pytest.fixture(scope="session")
def conversations(kratos: Path) -> Path:
    """The recorded conversations, and the tools that go with them."""
    return kratos / "conversations"


@pytest.fixture(scope="session")
def profiles(conversations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration files that the conversations were recorded with."""
    out = tmp_path_factory.mktemp("profiles")
    subprocess.run([sys.executable, str(conversations / "profiles.py"), str(out)], check=True)
    return out
