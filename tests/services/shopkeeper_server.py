"""The real command in a process of its own: `shopkeeper serve` on free ports, ready to be called, ended by its pid.

shop = start_shopkeeper(folder, config={"dsn": dsn}, owner=os.getpid())
...
shop.stop()
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.services.server import NotStarted, Server, free_port, share, start, wait_until

COMMAND = Path(sys.executable).with_name("shopkeeper")
TRIES = 3
PORT_TAKEN = "cannot be used"


@dataclass(frozen=True)
class Commerce:
    """A running server of ours: the addresses of its two ports, and its process."""

    public: str
    admin: str
    server: Server

    @property
    def folder(self) -> Path:
        """The folder with its configuration, its `var` and its log."""
        return Path(self.server.folder)

    @property
    def log(self) -> str:
        """Its output so far."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def pids(self) -> list[int]:
        """Its process and its workers' processes, where it has several."""
        main = psutil.Process(int((self.folder / "pid").read_text()))
        return [main.pid, *(child.pid for child in main.children(recursive=True))]

    def stop(self) -> None:
        """Stop it in good order and delete its folder."""
        self.server.stop()

    def kill(self) -> None:
        """Kill it and every worker at once, as a power failure would."""
        for pid in self.pids:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        self.server.kill()


def start_shopkeeper(
    folder: Path,
    *,
    owner: int,
    config: Path | Mapping[str, Any] | None = None,
    dsn: str | None = None,
    cache_url: str | None = None,
    workers: int = 1,
    dev: bool = True,
    demo: bool = False,
    environ: Mapping[str, str] | None = None,
    public_port: int | None = None,
    public_url: str | None = None,
    descriptors: int | None = None,
) -> Commerce:
    """Start `shopkeeper serve` and wait for `/health/ready`.

    Args:
        folder: an empty folder to run in. `stop` deletes it.
        owner: the process that the server does not outlive.
        config: a configuration file, or the content of one.
        dsn: the database, in Kratos' notation; `cache_url` a Valkey; both override the configuration.
        workers: how many processes serve; more than one need a `cache_url` and a database that is not in memory.
        environ: further variables; only the search path and the home are inherited from the tests.
        public_port: the public port; a free one where it is None.
        public_url: its public base URL, where another server is in front of it.
        descriptors: how many file descriptors it may have; as many as the tests where it is None.
    """
    for left in reversed(range(TRIES)):
        public, admin = public_port or free_port(), free_port()
        told = {
            "DSN": dsn or "",
            "CACHE_URL": cache_url or "",
            "HTTP_WORKERS": str(workers),
            "SERVE_PUBLIC_HOST": "127.0.0.1",
            "SERVE_PUBLIC_PORT": str(public),
            "SERVE_PUBLIC_BASE_URL": public_url or f"http://127.0.0.1:{public}/",
            "SERVE_ADMIN_HOST": "127.0.0.1",
            "SERVE_ADMIN_PORT": str(admin),
            "SERVE_ADMIN_BASE_URL": f"http://127.0.0.1:{admin}/",
            **(environ or {}),
        }
        shop = Commerce(f"http://127.0.0.1:{public}", f"http://127.0.0.1:{admin}", Server("", str(folder), 0))
        try:
            return _start(shop, [*_flags(dev=dev, demo=demo), *_file(folder, config)], told, owner, descriptors)
        except NotStarted as failed:
            # Between choosing a free port and listening on it, another test may have taken it.
            if not left or PORT_TAKEN not in str(failed):
                raise
    raise AssertionError("unreachable")


def _limited(descriptors: int | None) -> list[str]:
    return ["/bin/sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"] if descriptors else []


def _flags(*, dev: bool, demo: bool) -> list[str]:
    return [flag for flag, wanted in (("--dev", dev), ("--demo", demo)) if wanted]


def _file(folder: Path, config: Path | Mapping[str, Any] | None) -> list[str]:
    if config is None:
        return []
    if isinstance(config, Path):
        return ["-c", str(config)]
    written = folder / "shopkeeper.json"
    written.write_text(json.dumps(config))
    return ["-c", str(written)]


def _start(
    shop: Commerce, arguments: list[str], told: Mapping[str, str], owner: int, descriptors: int | None
) -> Commerce:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    variables = [f"{name}={value}" for name, value in {**kept, **told}.items()]
    server = start(
        shop.public,
        [*_limited(descriptors), "/usr/bin/env", "-i", *variables, str(COMMAND), "serve", *arguments],
        folder=shop.folder,
        answers=lambda: ready(shop.public),
        owner=owner,
    )
    started = Commerce(shop.public, shop.admin, server)
    try:
        wait_until(lambda: ready(shop.admin), "the admin port")
    except NotStarted:
        started.stop()
        raise
    return started


def share_shopkeeper(run_folder: Path, name: str, begin: Callable[[], Commerce]) -> Commerce:
    """Return the run's server of this name: the first caller starts it, the end of the run stops it."""
    doors = run_folder / f"{name}.doors"

    def begin_and_note() -> Server:
        shop = begin()
        doors.write_text(json.dumps([shop.public, shop.admin]))
        return shop.server

    server = share(run_folder, name, begin_and_note)
    public, admin = json.loads(doors.read_text())
    return Commerce(public, admin, server)


def ready(url: str) -> bool:
    """Whether a server of ours answers that it is ready."""
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
