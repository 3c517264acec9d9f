"""Keeps a server no longer than the test run: ends it on SIGTERM, or when the process of the run is gone for any
reason.

Run as a script of its own: `leash.py OWNER_PID FOLDER USER COMMAND…`; USER is the number of the user that the server
runs as, or `-` for the user who runs the tests. The server's process id is written to FOLDER/pid, its output to
FOLDER/log.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

PATIENCE = 10


def main(owner: int, folder: Path, user: str, command: list[str]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    other: dict[str, Any] = {} if user == "-" else {"user": int(user), "group": int(user), "extra_groups": []}
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **other)
    try:
        (folder / "pid.new").write_text(str(server.pid))
        (folder / "pid.new").rename(folder / "pid")  # nobody reads half of it
        while _alive(owner) and server.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                server.wait(0.5)
    finally:
        _end(server)
        if not _alive(owner):  # no other process deletes the folder
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server by SIGINT, which both servers answer with a quick and orderly shutdown."""
    if server.poll() is not None:
        return
    server.send_signal(signal.SIGINT)
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
