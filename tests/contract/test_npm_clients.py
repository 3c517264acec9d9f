"""The clients that Ory publishes for JavaScript drive every flow, as a native app and as a browser.

The oldest is that of v0.8, which knows links and no codes.
"""

import subprocess
from pathlib import Path

import pytest

from tests.contract.conftest import Launch
from tests.services.node import install_clients, node

PATIENCE = 120


@pytest.mark.parametrize(
    ("client", "by", "profile"),
    [("client-fetch", "code", "base"), ("kratos-client", "code", "base"), ("kratos-client-0.8", "link", "link")],
)
def test_a_published_client_drives_every_flow(
    launch: Launch, profiles: Path, client: str, by: str, profile: str
) -> None:
    shop = launch(config=profiles / f"{profile}.yml")
    command = [node(), install_clients() / "journeys.mjs", client, shop.public, shop.admin, by]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
