"""The benchmarks run and fill their table. Their figures are measured on a quiet machine, not here."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.results import load

ROOT = Path(__file__).resolve().parents[2]

FLOWS = ("recovery", "verification", "login", "registration")
DATABASES = ("PostgreSQL", "SQLite")
CODES = ("code asked", "code given")
ROWS = [
    "start to first healthy answer",
    "first start",
    "idle memory per worker",
    "whoami, warm",
    "whoami, warm, against RSGI",
    "whoami, warm, against a route",
    "introspection, session",
    "introspection, own access token",
    "introspection, npm oidc-provider, in memory",
    "introspection, JWT of a provider",
    "whoami, cold, PostgreSQL",
    "anonymous sign-in",
    "anonymous sign-in, writes",
    "getCurrentCustomer",
    "getCart",
    "a page of 20 products",
    "a guest cart begun, SQLite",
    "password login, shop front",
    "password login, native app",
    "whoami's p99 while logins saturate",
    "refresh with rotation, PostgreSQL",
    "revocation seen by every worker",
    *(f"statements: {flow}, {what}, {name}" for name in DATABASES for flow in FLOWS for what in CODES),
    "social sign-in",
    "social sign-in, our CPU",
    *(f"statements: social sign-in, {name}" for name in DATABASES),
    "middleware, a token verified before",
    "admin: the first pages",
    "admin: pages at nine tenths",
    "admin: inactive ones, of which there are none",
    "admin: by identifier",
    "admin: by the beginning of identifiers",
    "admin: by the beginning, at nine tenths",
    "admin: by a trait of one in a thousand",
    "admin: by a trait of all others, at nine tenths",
    "admin: by two traits and state, at nine tenths",
    "admin: by a rare trait and the beginning",
]
GROWTH = [
    f"growth: {what}, {database}"
    for database in ("SQLite", "PostgreSQL")
    for what in ("whoami, cold", "whoami, warm", "getCart", "login but for the hash")
]


@pytest.mark.timeout(400)
def test_every_row_is_printed_with_its_verdict_and_written(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    table = run_bench("--seconds", "0.3", "--rounds", "1", "--people", "60", "240", "--results", str(file))
    assert list(table) == ROWS
    assert {verdict for _, _, verdict, _ in table.values()} <= {"met", "missed", ""}
    assert list(load(file).figures) == ROWS
    assert table["anonymous sign-in, writes"][0] == "0 rows"


@pytest.mark.timeout(400)
def test_growth_compares_few_with_many_on_both_databases(tmp_path: Path) -> None:
    table = run_bench(
        "--results",
        str(tmp_path / "results.json"),
        "--only",
        "growth",
        "--large",
        "--people",
        "60",
        "240",
        "--seconds",
        "0.3",
        "--rounds",
        "1",
    )
    assert list(table) == [
        *GROWTH,
        *(f"{what}'s p99 at 1,000/s, 240 people" for what in ("whoami", "introspection")),
    ]


def test_what_cannot_be_measured_is_named_and_the_exit_status_is_1(tmp_path: Path) -> None:
    done = bench("--only", "refresh", "--postgresql", "none", "--results", str(tmp_path / "results.json"))
    assert done.returncode == 1
    assert "not measured" in done.stdout
    assert "it needs PostgreSQL" in done.stdout


def test_a_program_that_is_missing_is_named_and_does_no_harm(tmp_path: Path) -> None:
    results = ("--results", str(tmp_path / "results.json"))
    done = bench("--only", "social", *results, environ={"NODE_PATH_FOR_TESTS": "/nowhere/node"})
    assert done.returncode == 0, done.stderr
    assert "not measured" in done.stdout
    assert "NODE_PATH_FOR_TESTS" in done.stdout


def bench(*arguments: str, environ: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bench", *arguments]
    env = {**os.environ, **(environ or {})}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def run_bench(*arguments: str) -> dict[str, list[str]]:
    """Run the benchmarks; return the cells of the printed table by the name of the row."""
    done = bench(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.split("│")] for line in done.stdout.splitlines() if "│" in line]
    return {row[0]: row[1:] for row in rows if row[0]}
