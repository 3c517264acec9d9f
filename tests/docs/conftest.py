"""The server that the examples of the documentation run against, started by the real command as the pages say."""

import tempfile
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.services.shopkeeper_server import Commerce, share_shopkeeper, start_shopkeeper

SHOWN_PUBLIC = "http://127.0.0.1:4433"
SHOWN_ADMIN = "http://127.0.0.1:4434"


@pytest.fixture(scope="session")
def shop(run: Run) -> Commerce:
    """The run's server, started as by `TOKEN_REFRESH_ENABLED=true make run`, on free ports and in an empty folder."""

    def begin() -> Commerce:
        folder = Path(tempfile.mkdtemp(prefix="docs-", dir=run.folder))
        return start_shopkeeper(folder, owner=run.owner, demo=True, environ={"TOKEN_REFRESH_ENABLED": "true"})

    return share_shopkeeper(run.folder, "docs", begin)


@pytest.fixture(scope="session")
def addresses(shop: Commerce) -> dict[str, str]:
    """Map the addresses on the pages to the real ones."""
    return {SHOWN_PUBLIC: shop.public, SHOWN_ADMIN: shop.admin}
