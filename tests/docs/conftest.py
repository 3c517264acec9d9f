"""What the examples of the documentation run against: one server of the real command, as the pages say to start it."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.services.shopkeeper_server import Shop, start_shopkeeper

SHOWN_PUBLIC = "http://127.0.0.1:4433"
SHOWN_ADMIN = "http://127.0.0.1:4434"


@pytest.fixture(scope="session")
def shop(run: Run) -> Iterator[Shop]:
    """`TOKEN_REFRESH_ENABLED=true make run`, on free ports and an empty folder."""
    folder = Path(tempfile.mkdtemp(prefix="docs-", dir=run.folder))
    started = start_shopkeeper(folder, owner=os.getpid(), demo=True, environ={"TOKEN_REFRESH_ENABLED": "true"})
    yield started
    started.stop()


@pytest.fixture(scope="session")
def addresses(shop: Shop) -> dict[str, str]:
    """Where the addresses that the pages show really are."""
    return {SHOWN_PUBLIC: shop.public, SHOWN_ADMIN: shop.admin}
