"""Servers under test, each a process of its own, stopped by its pid."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.outcome import Unmeasured

ROOT = Path(__file__).absolute().parents[1]
PATIENCE = 30.0
INHERITED = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH"})
API = "https://api.bench.example"
CLIENT_KEY = "Qm4tVx7RzL0sKd9WcY2hNb5Pf8uGjE1a"
INTROSPECTION_KEY = "p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe"
# All requests come from one address, without network access, so limits by address are raised and nothing is looked up
# elsewhere. Everything else is as in production: logged, counted, guarded, outside --dev.
LOOSENED = {
    "THROTTLE_LOGIN_PER_IP": "1000000/second",
    "THROTTLE_REGISTRATION_PER_IP": "1000000/second",
    "THROTTLE_REFRESH_PER_IP": "1000000/second",
    "THROTTLE_REFRESH_PER_SESSION": "1000000/second",
    "SELFSERVICE_METHODS_PASSWORD_CONFIG_HAVEIBEENPWNED_ENABLED": "false",
    "TOKENS_REFRESH_ENABLED": "true",
    "COURIER_SMTP_CONNECTION_URI": "smtp://127.0.0.1:9/",
    "INTROSPECTION_CALLERS_0_ID": "bench",
    "INTROSPECTION_CALLERS_0_KEYS_0": INTROSPECTION_KEY,
    "INTROSPECTION_CALLERS_0_AUDIENCES": API,
    "TOKENS_CLIENTS_0_ID": "bench",
    "TOKENS_CLIENTS_0_SECRETS_0": CLIENT_KEY,
    "TOKENS_CLIENTS_0_GRANTS": "token_exchange",
    "TOKENS_CLIENTS_0_SCOPES": "orders:read",
    "TOKENS_CLIENTS_0_AUDIENCES": API,
    "TOKENS_SCOPE_RULES": '[{"scopes": ["orders:read"]}]',
}


@dataclass(frozen=True, slots=True)
class Running:
    """A running server."""

    url: str
    admin: str
    admin_key: str
    pid: int
    seconds_to_start: float
    log: Path

    def forget_log(self) -> None:
        """Empty the log, which grows by a line for each request."""
        os.truncate(self.log, 0)


def free_port() -> int:
    """Return a port that is free now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def bare(size: int, *, folder: Path, kind: str = "route") -> Iterator[Running]:
    """Run a baseline, answering `size` bytes; the kinds are those of `bench/bare.py`."""
    port = free_port()
    command = [sys.executable, "-m", "bench.bare", str(port), str(size), kind]
    address = f"http://127.0.0.1:{port}"
    with _running(command, address, admin=("", ""), ready="/", environ={}, log=folder / f"bare-{kind}.log") as server:
        yield server


@contextlib.contextmanager
def protected(folder: Path) -> Iterator[Running]:
    """Run the server of `bench/protected.py`."""
    port = free_port()
    command = [sys.executable, "-m", "bench.protected", str(port)]
    address = f"http://127.0.0.1:{port}"
    log = folder / "protected.log"
    with _running(command, address, admin=("", ""), ready="/token", environ={}, log=log) as server:
        yield server


@contextlib.contextmanager
def shopkeeper(
    folder: Path, *, dsn: str, environ: Mapping[str, str] | None = None, config: Path | None = None
) -> Iterator[Running]:
    """Run Shopkeeper with the demo shop, as it runs outside --dev; `config` is a file for what no variable says."""
    port, admin, key = free_port(), free_port(), secrets.token_hex(32)
    public, private = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}"
    given = {
        "DSN": dsn,
        **_doors(port, admin),
        **{f"SECRETS_{name}_0": _secret(folder, name) for name in ("DEFAULT", "COOKIE", "CIPHER")},
        "ADMIN_API_KEYS_0": key,
        **LOOSENED,
        **(environ or {}),
    }
    command = [sys.executable, "-m", "shopkeeper", "serve", "--demo", *(["-c", str(config)] if config else [])]
    log = folder / f"{port}.log"
    with _running(command, public, admin=(private, key), ready="/health/ready", environ=given, log=log) as server:
        yield server


def _doors(port: int, admin: int) -> dict[str, str]:
    return {
        "SERVE_PUBLIC_HOST": "127.0.0.1",
        "SERVE_PUBLIC_PORT": str(port),
        "SERVE_PUBLIC_BASE_URL": f"http://127.0.0.1:{port}/",
        "SERVE_ADMIN_HOST": "127.0.0.1",
        "SERVE_ADMIN_PORT": str(admin),
        "SERVE_ADMIN_BASE_URL": f"http://127.0.0.1:{admin}/",
    }


def _secret(folder: Path, name: str) -> str:
    """Return a secret of this run, the same at the next start."""
    file = folder / f"{name.lower()}.secret"
    if not file.exists():
        file.write_text(secrets.token_hex(16))
    return file.read_text()


@contextlib.contextmanager
def _running(
    command: Sequence[str], url: str, *, admin: tuple[str, str], ready: str, environ: Mapping[str, str], log: Path
) -> Iterator[Running]:
    inherited = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ
    }
    begun = time.monotonic()
    with log.open("ab") as written:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**inherited, **environ}, stdout=subprocess.DEVNULL, stderr=written
        )
    try:
        _wait(process, url + ready, log)
        yield Running(url, *admin, process.pid, time.monotonic() - begun, log)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Unmeasured(f"the server did not start: {log.read_text(errors='replace').strip()[-300:]}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.01)
    raise Unmeasured(f"the server did not answer within {PATIENCE:g} seconds")
