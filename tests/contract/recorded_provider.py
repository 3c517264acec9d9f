"""The OpenID provider of the recorded conversations, on a free port in place of the one that they name."""

import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from tests.services.node import PROVIDER, install, node
from tests.services.server import free_port, start

RECORDED = "127.0.0.1:9001"
"""Where the provider of the recordings listened."""


@dataclass(frozen=True)
class Ground:
    """What a conversation is held with: the recorder's folder, the configuration, and the provider's address."""

    conversations: Path
    profiles: Path
    provider: str = RECORDED

    def as_recorded(self, text: str) -> str:
        """Return a text with the recorded provider's address in place of ours, in addresses and in query strings."""
        text = text.replace(self.provider, RECORDED)
        return text.replace(self.provider.replace(":", "%3A"), RECORDED.replace(":", "%3A"))


@contextmanager
def recorded_provider(conversations: Path, *, callback: str) -> Iterator[Ground]:
    """Run the recordings' provider for the length of the block.

    Args:
        conversations: the folder of the recordings, which stays as it is: a copy names the free port.
        callback: the address that the provider may lead back to.
    """
    folder = Path(tempfile.mkdtemp(prefix="shopkeeper-recorded-provider-"))
    ground = Ground(folder, folder / "profiles", f"127.0.0.1:{free_port()}")
    for file in (*conversations.glob("*.*"), conversations / "provider" / "server.mjs"):
        copy = folder / file.relative_to(conversations)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(file.read_text().replace(RECORDED, ground.provider))
    subprocess.run([sys.executable, str(folder / "profiles.py"), str(ground.profiles)], check=True)
    (folder / "provider" / "node_modules").symlink_to(install(PROVIDER) / "node_modules")
    port = ground.provider.partition(":")[2]
    server = start(
        f"http://{ground.provider}",
        ["/usr/bin/env", f"PORT={port}", f"REDIRECT_URIS={callback}", str(node()), str(folder / "provider/server.mjs")],
        folder=folder,
        answers=lambda: _answers(ground.provider),
        owner=os.getpid(),
    )
    try:
        yield ground
    finally:
        server.stop()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/_control/stats", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, HTTPException, ConnectionError, TimeoutError):
        return False
