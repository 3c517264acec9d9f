"""The package is a distribution of its own: it is built, installed alone, and used; the server's does not hold it."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.services.shopkeeper_server import Commerce

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "shopkeeper_asgi"
PATIENCE = 120


def build(project: Path, into: Path) -> Path:
    """Build a wheel with the backend that both projects name."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)]
    done = subprocess.run(command, cwd=project, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    (wheel,) = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(PACKAGE, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and what it declares, and nothing else."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=PATIENCE)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (metadata,) = packages.glob("*.dist-info")
    # Taken from this environment, which the registry's hashes were checked for, so that no network is needed.
    for needed in sorted(closure(Distribution.at(metadata), set())):
        link(distribution(needed), packages)
    return folder / "bin" / "python"


def closure(of: Distribution, found: set[str]) -> set[str]:
    """Return the names of what a distribution needs without extras, and of what that needs."""
    for line in of.requires or []:
        needed = Requirement(line)
        name = canonicalize_name(needed.name)
        if name not in found and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
            found.add(name)
            closure(distribution(name), found)
    return found


def link(installed: Distribution, packages: Path) -> None:
    for name in {file.parts[0] for file in installed.files or []} - {"..", "__pycache__"}:
        (packages / name).symlink_to(str(installed.locate_file(name)))


def run(python: Path, script: str) -> str:
    command = [str(python), "-I", "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


USED = """
from shopkeeper_asgi import Authenticator, AuthenticationFailed, WhoAmI
authenticator = Authenticator(WhoAmI(url="{url}"), deadline=30)
try:
    authenticator.authenticate_sync([("session_token", "ory_st_wrong")])
except AuthenticationFailed as failed:
    print(failed.status, failed.message)
"""


def test_it_works_where_nothing_else_is_installed(python: Path, shop: Commerce) -> None:
    assert run(python, USED.format(url=shop.public)) == "401 This needs authentication: sign in first."


@pytest.mark.parametrize("module", ["shopkeeper", "starlette", "joserfc"])
def test_it_brings_nothing_heavy(python: Path, module: str) -> None:
    assert run(python, f"import importlib.util as u; print(u.find_spec({module!r}))") == "None"


def test_the_mode_that_needs_more_says_so(python: Path) -> None:
    script = "try:\n    import shopkeeper_asgi.jwt\nexcept ImportError as e:\n    print(e)"
    assert run(python, script) == "The mode `jwt` needs further packages: pip install 'shopkeeper-asgi[jwt]'"


def test_the_wheel_has_every_module_its_types_and_its_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {f"shopkeeper_asgi/{file.name}" for file in PACKAGE.glob("*.py")}
    assert {name for name in names if name.startswith("shopkeeper_asgi/")} == {*modules, "shopkeeper_asgi/py.typed"}
    (licence,) = [name for name in names if name.endswith("/LICENSE")]
    assert zipfile.ZipFile(wheel).read(licence) == (ROOT / "LICENSE").read_bytes()


@pytest.fixture(scope="module")
def server_wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    with zipfile.ZipFile(build(ROOT, tmp_path_factory.mktemp("server"))) as archive:
        yield set(archive.namelist())


def test_the_server_s_wheel_does_not_hold_it(server_wheel: set[str]) -> None:
    assert "shopkeeper/cli.py" in server_wheel
    assert [name for name in server_wheel if "shopkeeper_asgi" in name] == []
