"""Servers under test, each a process of its own, stopped by its pid."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    url: str
    admin: str
    pid: int
    seconds_to_start: float


def free_port() -> int:
    """A port that nobody listens on right now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def bare(size: int) -> Iterator[Running]:
    """The yardstick, answering `size` bytes."""
    port = free_port()
    command = [sys.executable, "-m", "bench.bare", str(port), str(size)]
    with _running(command, f"http://127.0.0.1:{port}", "/", {}, admin="") as server:
        yield server


@contextlib.contextmanager
def shopkeeper(folder: Path, *, dsn: str | None = None, **environ: str) -> Iterator[Running]:
    """Shopkeeper with the demo shop, its data in `folder`."""
    port, admin = free_port(), free_port()
    env = {
        "DSN": dsn or f"sqlite:///{folder / 'shopkeeper.db'}",
        "SERVE_PUBLIC_PORT": str(port),
        "SERVE_ADMIN_PORT": str(admin),
        "SERVE_PUBLIC_BASE_URL": f"http://127.0.0.1:{port}/",
        "SERVE_ADMIN_BASE_URL": f"http://127.0.0.1:{admin}/",
        "LOG_LEVEL": "warning",
        "THROTTLE_LOGIN_PER_IP": "1000000/second",
        "THROTTLE_REGISTRATION_PER_IP": "1000000/second",
        "SELFSERVICE_METHODS_PASSWORD_CONFIG_HAVEIBEENPWNED_ENABLED": "false",
        **environ,
    }
    command = [sys.executable, "-m", "shopkeeper", "serve", "--dev", "--demo"]
    public = f"http://127.0.0.1:{port}"
    with _running(command, public, "/health/ready", env, admin=f"http://127.0.0.1:{admin}") as server:
        yield server


@contextlib.contextmanager
def _running(command: list[str], url: str, path: str, env: dict[str, str], *, admin: str) -> Iterator[Running]:
    begun = time.monotonic()
    process = subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _wait(process, url + path)
        yield Running(url, admin, process.pid, time.monotonic() - begun)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _wait(process: "subprocess.Popen[str]", url: str) -> None:
    for _ in range(3000):
        if process.poll() is not None:
            _, told = process.communicate()
            sys.exit(f"The server under test did not start:\n{told}")
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(url, timeout=1)
            return
        time.sleep(0.01)
    sys.exit("The server under test did not answer within 30 seconds.")
