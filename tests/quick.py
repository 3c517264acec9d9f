"""What `make quick` runs: the tests of the rooms that were changed, and a core that nearly any mistake breaks.

A file belongs to a room, and its tests to the room of the same name: `src/shopkeeper/flows/pipeline.py` and
`tests/flows/`. Changed is what is not committed or, where all is committed, what the last commit changed. Run as
`python -m tests.quick [PYTEST OPTION …]`.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = (
    "tests/app/test_application.py",
    "tests/app/test_lists.py",
    "tests/http/test_storefront.py",
    "tests/http/test_whoami.py",
    "tests/storage/test_database.py",
    "tests/test_parsing.py",
    "tests/test_quick.py",
)
ELSEWHERE = {
    "src/shopkeeper/cli.py": "tests/app",
    "src/shopkeeper/log_config.py": "tests/app",
    "src/shopkeeper/server.py": "tests/app",
    "src/shopkeeper/ui": "tests/http/pages",
    "src/shopkeeper/upstream": "tests/signin",
    "src/shopkeeper/web/mail": "tests/notify",
    "src/shopkeeper/web": "tests/http/pages",
    "src/shopkeeper/http/pages": "tests/http/pages",
    "tests/http/pages": "tests/http/pages",
    "src/shopkeeper_asgi": "tests/shopkeeper_asgi",
    "examples": "tests/examples",
    "bench": "tests/bench/test_outcome.py",
    "README.md": "tests/docs",
    "CONTRIBUTING.md": "tests/docs",
    "docs": "tests/docs",
    "requirements": "tests/app",
    "pyproject.toml": "tests/app",
}
"""Where the tests of a file or folder are that has no room of the same name."""


def chosen(changed: Iterable[str]) -> list[str]:
    """Return the tests for changed files, as arguments for pytest.

    >>> chosen(["src/shopkeeper/flows/pipeline.py", "tests/tokens/test_sealed.py"])[-2:]
    ['tests/flows', 'tests/tokens/test_sealed.py']
    """
    rooms = {room for file in changed if (room := _room(file)) is not None}
    return [*CORE, *sorted(rooms - set(CORE))]


def _room(file: str) -> str | None:
    path = Path(file)
    if path.parts[0] == "tests" and path.name.startswith("test_"):
        return file if (ROOT / file).exists() else None
    for place in (path, *path.parents):
        if str(place) in ELSEWHERE:
            return ELSEWHERE[str(place)]
    if path.parts[:2] == ("src", "shopkeeper"):
        return _mirrored(path.parts[2])
    return _mirrored(path.parts[1]) if path.parts[0] == "tests" else None


def _mirrored(name: str) -> str | None:
    """Return the tests of a package or a module of this name, where it has some of its own."""
    places = (f"tests/{Path(name).stem}", f"tests/test_{name}")
    return next((place for place in places if (ROOT / place).exists()), None)


def announced(tests: Sequence[str]) -> str:
    """Return the line that says what runs besides the core.

    >>> announced(chosen(["src/shopkeeper/flows/pipeline.py"]))
    'Tests of the core, and of what has changed: tests/flows'
    """
    of_changes = tests[len(CORE) :]
    if not of_changes:
        return "Nothing has changed that has tests of its own: only the core runs."
    return f"Tests of the core, and of what has changed: {' '.join(of_changes)}"


def changed_files() -> list[str]:
    """Return the files that differ from the last commit or, where none does, those that it changed."""
    uncommitted = [*_git("diff", "--name-only", "HEAD"), *_git("ls-files", "--others", "--exclude-standard")]
    return uncommitted or _git("diff", "--name-only", "HEAD~1", "HEAD")


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


if __name__ == "__main__":
    tests = chosen(changed_files())
    print(announced(tests), flush=True)
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", "-q", "-rfE", "--quick", *sys.argv[1:], *tests])
