"""The command `shopkeeper`, run as an operator runs it: in a folder, with a file and an environment, until it ends."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.services.server import free_port
from tests.services.shopkeeper_server import COMMAND
from tests.stories.warm_command import WARM, run_command

PATIENCE = 120


class Ran(subprocess.CompletedProcess[str]):
    """A command that has ended."""

    @property
    def said(self) -> str:
        return self.stdout + self.stderr

    @property
    def errors(self) -> list[str]:
        """The errors that it reports, sentence by sentence."""
        return [line.removeprefix("Error: ") for line in self.said.splitlines() if line.startswith("Error: ")]


def environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment with the search path, the home and free ports, and nothing else of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ports = {f"SERVE_{door}_PORT": str(free_port()) for door in ("PUBLIC", "ADMIN")}
    return {**kept, "COLUMNS": "400", **ports, **(environ or {})}


def run_shopkeeper(*arguments: str, folder: Path, environ: Mapping[str, str] | None = None) -> Ran:
    """Run the command to its end, in a process that has imported it already (`tests/stories/warm_command.py`)."""
    with TemporaryDirectory() as written:
        out, err = Path(written, "out"), Path(written, "err")
        process = WARM.Process(target=run_command, args=(arguments, folder, environment(environ), out, err))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, PATIENCE)
        return Ran(arguments, process.exitcode, out.read_text(), err.read_text())


@contextmanager
def running(
    *arguments: str, folder: Path, environ: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the command for the length of the block; its output goes into `log` in its folder."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [str(COMMAND), *arguments],
            cwd=folder,
            env=environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE)


def end(process: "subprocess.Popen[bytes]", how: signal.Signals = signal.SIGTERM) -> int:
    """Ask the process to end; return its exit status."""
    process.send_signal(how)
    return process.wait(PATIENCE)
