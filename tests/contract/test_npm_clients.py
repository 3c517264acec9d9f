"""The clients that Ory publishes for JavaScript drive every flow, as a native app and as a browser.

The oldest is that of v0.8, which knows links and no codes.
"""

import subprocess

import pytest

from tests.services.node import install_clients, node
from tests.services.shopkeeper_server import Commerce

PATIENCE = 120


@pytest.mark.parametrize("client", ["client-fetch", "kratos-client"])
def test_a_client_of_today_drives_every_flow(sqlite_shop: Commerce, client: str) -> None:
    drive(client, sqlite_shop, by="code")


def test_the_client_of_release_0_8_drives_every_flow(link_shop: Commerce) -> None:
    drive("kratos-client-0.8", link_shop, by="link")


def drive(client: str, shop: Commerce, *, by: str) -> None:
    command = [node(), install_clients() / "journeys.mjs", client, shop.public, shop.admin, by]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
