"""What the examples of the documentation run against: one server of the real command, as the pages say to start it."""

import tempfile
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.services.shopkeeper_server import Commerce, share_shopkeeper, start_shopkeeper

SHOWN_PUBLIC = "http://127.0.0.1:4433"
SHOWN_ADMIN = "http://127.0.0.1:4434"


@pytest.fixture(scope="session")
def shop(run: Run) -> Commerce:
    """`TOKEN_REFRESH_ENABLED=true make run`, on free ports and an empty folder: one for the whole run."""

    def begin() -> Commerce:
        folder = Path(tempfile.mkdtemp(prefix="docs-", dir=run.folder))
        return start_shopkeeper(folder, owner=run.owner, demo=True, environ={"TOKEN_REFRESH_ENABLED": "true"})

    return share_shopkeeper(run.folder, "docs", begin)


@pytest.fixture(scope="session")
def addresses(shop: Commerce) -> dict[str, str]:
    """Where the addresses that the pages show really are."""
    return {SHOWN_PUBLIC: shop.public, SHOWN_ADMIN: shop.admin}
