"""Fixtures of the settings: a clean folder, files, and the profiles of the recorded contract."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CONVERSATIONS = CHECKOUT.parent / "shared" / "contracts" / "kratos" / "conversations"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: `--dev` keeps its secrets below it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[..., Path]:
    """Write a configuration file; return its path."""

    def write(text: str, *, name: str = "shop.yml") -> Path:
        file = folder / name
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture(scope="session")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration files that Kratos was recorded with."""
    if not (CONVERSATIONS / "profiles.py").is_file():
        pytest.skip(f"the recorded contract is not there: {CONVERSATIONS} is looked for beside this checkout")
    out = tmp_path_factory.mktemp("profiles")
    subprocess.run([sys.executable, str(CONVERSATIONS / "profiles.py"), str(out)], check=True)
    return out
