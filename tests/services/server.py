"""Starting a server, waiting until it answers, ending it; and sharing one between the processes of a test run."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")
PATIENCE = 75

_starting = True


class NotStarted(Exception):
    """A server that the tests need could not be started; the sentence says what was tried."""


@dataclass(frozen=True)
class Server:
    """A running server: its address, its folder, and the process of its leash."""

    url: str
    folder: str
    leash: int

    def stop(self) -> None:
        """Stop it in good order and delete its files."""
        with suppress(ProcessLookupError):
            os.kill(self.leash, signal.SIGTERM)
        wait_until(lambda: not _running(self.leash), f"the end of {self.url}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """Kill it, as a power failure would."""
        with suppress(ProcessLookupError):
            os.kill(int((Path(self.folder) / "pid").read_text()), signal.SIGKILL)
        wait_until(lambda: not _running(self.leash), f"the end of {self.url}")


def start(
    url: str, command: Sequence[str], *, folder: Path, answers: Callable[[], bool], owner: int, user: int | None = None
) -> Server:
    """Start a server that lives no longer than the process `owner`, and wait until it answers."""
    if not _starting:
        import pytest

        pytest.skip("needs a server in a process of its own")
    (folder / "pid").unlink(missing_ok=True)  # of an earlier server in this folder
    with (folder / "log").open("ab") as log:  # not the run's own output: a pipe would stay open as long as the leash
        leash = subprocess.Popen(
            [sys.executable, str(LEASH), str(owner), str(folder), "-" if user is None else str(user), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the tests, which stop their servers themselves
        )
    server = Server(url, str(folder), leash.pid)
    try:
        # A quick server may answer before the leash has written whom it holds, which `kill` must know.
        known = (folder / "pid").exists
        wait_until(lambda: leash.poll() is not None or (known() and answers()), f"an answer of {command[0]}")
        if leash.poll() is not None:
            raise NotStarted(f"{command[0]} ended at once")
    except NotStarted as failed:
        said = (folder / "log").read_text(errors="replace")[-2000:]
        server.stop()
        raise NotStarted(f"{failed}; it said: {said}") from failed
    finally:
        leash.returncode = 0  # `stop` waits for the leash by its pid; this Popen has nothing left to wait for
    return server


def start_no_servers() -> None:
    """From now on, skip every test of this process that would start a server."""
    global _starting  # noqa: PLW0603 - an option of the whole run
    _starting = False


def share(folder: Path, name: str, begin: Callable[[], Server]) -> Server:
    """Return the run's server of this name: the first caller starts it, later callers find it."""
    note = folder / f"{name}.json"
    with locked(folder / f"{name}.lock"):
        if not note.exists():
            note.write_text(json.dumps(asdict(begin())))
        return Server(**json.loads(note.read_text()))


def stop_shared(folder: Path) -> None:
    """Stop every server that the run shared."""
    for note in folder.glob("*.json"):
        Server(**json.loads(note.read_text())).stop()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that excludes all other processes of the run."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Check again and again; give up with a sentence."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise NotStarted(f"waited {PATIENCE} seconds for {what}")
        time.sleep(0.02)


def _running(pid: int) -> bool:
    """Whether the process runs; a child of ours that has ended is reaped on the way."""
    with suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
