"""A Chromium for the tests: found, or installed where that is possible, or reported as missing in one sentence.

Run as a script it is a step of `make test`: it exits with 0 when there is a browser that starts.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMED_BY = "CHROMIUM_PATH"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = (
    ("apt-get", "update", "--quiet"),
    ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "chromium"),
)
PATIENCE = 60


class NoBrowser(Exception):
    """There is no Chromium, and none could be installed; the sentence says what to do."""


def find_chromium() -> Path | None:
    """Return the first Chromium: the one that CHROMIUM_PATH names, else one on the search path.

    Raises `NoBrowser` where CHROMIUM_PATH names something that is no program.
    """
    named = os.environ.get(NAMED_BY)
    if named:
        if shutil.which(named) is None:
            raise NoBrowser(f"{NAMED_BY} names {named}, which is no program: correct it, or unset it.")
        return Path(named)
    return next(_on_the_path(), None)


def _on_the_path() -> Iterator[Path]:
    yield from (Path(found) for program in PROGRAMS if (found := shutil.which(program)))


def ensure_chromium() -> Path:
    """Return a Chromium that starts; install it if need be. Raises `NoBrowser`."""
    browser = find_chromium()
    if browser is None and _may_install():
        _install()
        browser = find_chromium()
    if browser is None:
        raise NoBrowser(
            "The tests need a Chromium and none was found: install Debian's package `chromium` (or run this as root), "
            f"or set {NAMED_BY} to the program."
        )
    _try(browser)
    return browser


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install() -> None:
    print("Installing Chromium with apt-get …", flush=True)
    for command in INSTALL:
        done = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise NoBrowser(f"The tests need a Chromium; `{' '.join(command)}` failed: {said[-1] if said else ''}")


def _try(browser: Path) -> None:
    """Start the browser once, to distinguish one that cannot start from one that is missing."""
    try:
        subprocess.run(
            [browser, "--version"], check=True, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as failed:
        raise NoBrowser(f"{browser} does not start ({failed}): install it again, or set {NAMED_BY}.") from failed


if __name__ == "__main__":
    try:
        ensure_chromium()
    except NoBrowser as told:
        sys.exit(str(told))
