"""Programs that the tests need and no Python package holds: found, or installed where that is possible.

Run as a script it is a step of `make test`: it exits with 0 when the required ones are there and start. Of an optional
one that is missing it says so; its tests are skipped.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60
FURTHER_PLACES = "/usr/sbin:/usr/local/sbin"
"""Where Debian puts servers, which is not on everyone's search path."""


class NotInstalled(Exception):
    """A program is missing and could not be installed, or does not start; the sentence says what to do."""


@dataclass(frozen=True)
class Program:
    """A program: how it is called, the variable that may name it, its names, Debian's package, and how it is asked for
    its version."""

    title: str
    named_by: str
    names: tuple[str, ...]
    package: str
    asked: str = "--version"

    def find(self) -> Path | None:
        """Return the one that the variable names, else the first on the search path.

        Raises `NotInstalled` where the variable names something that is no program.
        """
        named = os.environ.get(self.named_by)
        if named:
            if shutil.which(named) is None:
                raise NotInstalled(f"{self.named_by} names {named}, which is no program: correct it, or unset it.")
            return Path(named)
        places = f"{os.environ.get('PATH', os.defpath)}:{FURTHER_PLACES}"
        return next((Path(found) for name in self.names if (found := shutil.which(name, path=places))), None)

    def ensure(self) -> Path:
        """Return a program that starts; install it if need be. Raises `NotInstalled`."""
        program = self.find()
        if program is None and _may_install():
            self._install()
            program = self.find()
        if program is None:
            raise NotInstalled(
                f"The tests need {self.title} and none was found: install Debian's package `{self.package}` (or run "
                f"this as root), or set {self.named_by} to the program."
            )
        self._try(program)
        return program

    def _install(self) -> None:
        print(f"Installing {self.title} with apt-get …", flush=True)
        for command in (
            ("apt-get", "update", "--quiet"),
            ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", self.package),
        ):
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
                raise NotInstalled(
                    f"The tests need {self.title}; `{' '.join(command)}` failed: {said[-1] if said else ''}"
                )

    def _try(self, program: Path) -> None:
        """Start the program once, to distinguish one that cannot start from one that is missing."""
        try:
            subprocess.run(
                [program, self.asked], check=True, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError) as failed:
            raise NotInstalled(
                f"{program} does not start ({failed}): install it again, or set {self.named_by}."
            ) from failed


CHROMIUM = Program(
    "a Chromium",
    named_by="CHROMIUM_PATH",
    names=("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    package="chromium",
)
PGBOUNCER = Program("PgBouncer", named_by="PGBOUNCER_PATH", names=("pgbouncer",), package="pgbouncer")
NODE = Program("Node.js", named_by="NODE_PATH_FOR_TESTS", names=("node", "nodejs"), package="nodejs")
NPM = Program("npm", named_by="NPM_PATH_FOR_TESTS", names=("npm",), package="npm")
NGINX = Program("nginx", named_by="NGINX_PATH", names=("nginx",), package="nginx", asked="-v")
REQUIRED = (CHROMIUM,)
OPTIONAL = (PGBOUNCER, NGINX)


def _may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def main() -> None:
    for program in (*REQUIRED, *OPTIONAL):
        try:
            program.ensure()
        except NotInstalled as told:
            if program in REQUIRED:
                sys.exit(str(told))
            print(f"{told} Its tests are skipped.", file=sys.stderr)


if __name__ == "__main__":
    main()
