"""The step of `make test` that provides a browser and a connection pooler."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.services.install import CHROMIUM

STEP = Path(__file__).with_name("install.py")


def run(environ: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(STEP)], env=environ, capture_output=True, text=True, check=False)


def test_a_browser_that_is_there_is_enough() -> None:
    browser = CHROMIUM.find()
    assert browser is not None
    ran = run({CHROMIUM.named_by: str(browser)})
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_path_that_leads_to_nothing_is_reported(tmp_path: Path) -> None:
    ran = run({CHROMIUM.named_by: str(tmp_path / "chromium")})
    assert ran.returncode == 1
    assert CHROMIUM.named_by in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_where_nothing_can_be_installed_the_missing_piece_is_named(tmp_path: Path) -> None:
    ran = run({"PATH": str(tmp_path)})
    assert ran.returncode == 1
    assert "`chromium`" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_browser_that_does_not_start_is_reported_as_such(tmp_path: Path) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    ran = run({CHROMIUM.named_by: str(broken)})
    assert ran.returncode == 1
    assert "does not start" in ran.stderr
