"""The clients that Ory publishes for JavaScript drive every flow, as a native app and as a browser.

The oldest is that of v0.8, which knows links and no codes.
"""

import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.contract.conftest import Launch
from tests.services.node import install_clients, node
from tests.services.shopkeeper_server import Commerce

PATIENCE = 120
FLOWS = ("settings", "recovery", "verification")


@pytest.mark.parametrize(
    ("client", "by", "profile"),
    [("client-fetch", "code", "base"), ("kratos-client", "code", "base"), ("kratos-client-0.8", "link", "link")],
)
def test_a_published_client_drives_every_flow(
    launch: Launch, profiles: Path, client: str, by: str, profile: str
) -> None:
    shop = launch(config=profiles / f"{profile}.yml")
    missing = [flow for flow in FLOWS if not _is_served(shop, flow)]
    command = [node(), install_clients() / "journeys.mjs", client, shop.public, shop.admin, by, *missing]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def _is_served(shop: Commerce, flow: str) -> bool:
    """Return whether the server has the routes of a flow."""
    return httpx2.get(f"{shop.public}/self-service/{flow}/api").status_code != 404
