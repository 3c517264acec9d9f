"""Commands import what they need: an operator waits for nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

GRAPHQL = {"graphql", "strawberry"}
FOR_NO_VERSION = {"pydantic", "rich", "sqlalchemy", "typer", *GRAPHQL}
FOR_NO_DOCTOR = {"alembic", "redis", *GRAPHQL}


def imported(*arguments: str, folder: Path) -> tuple[str, set[str]]:
    """Run a command; return what it printed, and the names of all modules that it imported."""
    command = [sys.executable, "-X", "importtime", "-m", "shopkeeper", *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=True)
    lines = [line for line in ended.stderr.splitlines() if line.startswith("import time:")]
    return ended.stdout, {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize("argument", ["--version", "version"])
def test_the_version_is_printed_ahead_of_all_imports(tmp_path: Path, argument: str) -> None:
    said, modules = imported(argument, folder=tmp_path)
    assert said.strip()
    assert {name for name in modules if name.partition(".")[0] == "shopkeeper"} == {"shopkeeper"}
    assert not modules & FOR_NO_VERSION


def test_doctor_imports_neither_graphql_nor_what_migrates(tmp_path: Path) -> None:
    said, modules = imported("doctor", "--dev", folder=tmp_path)
    assert "The server can start" in said
    assert "shopkeeper.app.routes" in modules
    assert not modules & FOR_NO_DOCTOR
