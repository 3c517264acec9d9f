"""The table: every benchmark, one after the other, each row with its target.

python -m bench [--only NAME …] [--seconds N] [--rounds N] [--postgresql DSN|auto|none] [--large [--people FEW MANY]]
                [--results FILE] [--against FILE]
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import granian
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bench.cold import cold_whoami
from bench.footprint import footprint
from bench.growth import growth
from bench.guests import begun_cart, login, refresh
from bench.hot import anonymous, cart, customer, page, whoami
from bench.introspection import introspection
from bench.load import CONNECTIONS, require_wrk
from bench.middleware import middleware
from bench.outcome import Missing, Row, Unmeasured
from bench.results import LATEST, Results, load, save
from bench.revoking import revocation
from bench.run import Options, Run
from bench.search import search
from bench.social import social
from bench.statements import statements

Measure = Callable[[Run], Iterator[Row]]

MEASURES: Mapping[str, Measure] = {
    "footprint": footprint,
    "whoami": whoami,
    "introspection": introspection,
    "cold": cold_whoami,
    "anonymous": anonymous,
    "customer": customer,
    "cart": cart,
    "page": page,
    "begun-cart": begun_cart,
    "login": login,
    "refresh": refresh,
    "revocation": revocation,
    "statements": statements,
    "social": social,
    "middleware": middleware,
    "search": search,
}
ON_DEMAND: Mapping[str, Measure] = {"growth": growth}
"""The benchmarks that take a quarter of an hour, only with `--large`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. It exits with 1 if anything could not be measured, but for what needs a program that is missing.
    A missed target is a result, not an error."""
    told = _arguments(arguments)
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False, markup=False)
    options = Options(seconds=told.seconds, rounds=told.rounds, postgresql=told.postgresql, accounts=tuple(told.people))
    chosen = {name: measure for name, measure in _known(large=told.large).items() if not told.only or name in told.only}
    begun = time.monotonic()
    rows, unmeasured = _measured(chosen, options)
    circumstances = _circumstances(options, time.monotonic() - begun)
    _print(console, rows, unmeasured, told.against, circumstances=circumstances)
    save(rows, told.results, circumstances=circumstances)
    sys.exit(1 if any(not isinstance(why, Missing) for why in unmeasured.values()) else 0)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures Shopkeeper, as ratios in one run.")
    parser.add_argument("--only", nargs="+", choices=_known(large=True), metavar="NAME", help=", ".join(MEASURES))
    parser.add_argument("--seconds", type=float, default=2, help="length of a window (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="windows of each kind, of which the median counts")
    parser.add_argument("--postgresql", default="auto", metavar="DSN", help="a server to use, `auto` or `none`")
    parser.add_argument("--large", action="store_true", help="also grow from 10,000 people to 1,000,000; takes long")
    parser.add_argument(
        "--people",
        type=int,
        nargs=2,
        default=(10_000, 1_000_000),
        metavar=("FEW", "MANY"),
        help="other sizes for --large; searches are among MANY",
    )
    parser.add_argument(
        "--results", type=Path, default=LATEST, metavar="FILE", help="where the figures are written (%(default)s)"
    )
    parser.add_argument("--against", type=_earlier, metavar="FILE", help="figures of an earlier run, printed beside")
    return parser.parse_args(arguments)


def _earlier(text: str) -> Results:
    try:
        return load(Path(text))
    except ValueError as failed:
        raise argparse.ArgumentTypeError(str(failed)) from failed


def _known(*, large: bool) -> Mapping[str, Measure]:
    return {**MEASURES, **(ON_DEMAND if large else {})}


def _measured(chosen: Mapping[str, Measure], options: Options) -> tuple[list[Row], dict[str, Unmeasured]]:
    """Return every row, and the reason for each benchmark without rows."""
    rows: list[Row] = []
    unmeasured: dict[str, Unmeasured] = {}
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(20),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(chosen))
        with Run(options, tell=lambda what: progress.update(task, description=what), console=console) as run:
            for name, measure in chosen.items():
                try:
                    require_wrk()
                    rows += measure(run)
                except Unmeasured as why:
                    unmeasured[name] = why
                progress.advance(task)
    return rows, unmeasured


def _print(
    console: Console,
    rows: Sequence[Row],
    unmeasured: Mapping[str, Unmeasured],
    before: Results | None,
    *,
    circumstances: str,
) -> None:
    table = Table(title="Shopkeeper, measured", title_justify="left", show_edge=False, pad_edge=False)
    for name, justify in _COLUMNS.items():
        table.add_column(name, justify=justify)
    if before is not None:
        table.add_column(f"On {before.taken_at[:16]}")
    for row in rows:
        verdict, earlier = row.verdict, [before.change(row)] if before is not None else []
        shown = Text(verdict, _COLOURS[verdict])
        table.add_row(row.what, row.shown, str(row.target or ""), shown, row.context, *earlier)
    for name, why in unmeasured.items():
        table.add_row(name, "", "", Text("not measured", "red"), str(why))
    console.print(table)
    console.print(circumstances)


_DESCRIPTION = TextColumn("{task.description}")
_COLUMNS: Mapping[str, Literal["left", "right"]] = {
    "What": "left",
    "Figure": "right",
    "Target": "left",
    "": "left",
    "For scale": "left",
}
_COLOURS = {"met": "green", "missed": "yellow", "": "default"}


def _circumstances(options: Options, seconds: float) -> str:
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"Granian {granian.__version__}, one worker; wrk and the server share the cores, and nothing is pinned.\n"
        f"Bare is a Starlette route that answers a constant of the same size through the same server, asked with the "
        f"same {CONNECTIONS} connections; bare ASGI and RSGI are one function, with as many headers as whoami.\n"
        f"Medians of {options.rounds} windows of {options.seconds:g} s, ours and bare in turn. "
        f"It took {seconds:,.0f} s."
    )


if __name__ == "__main__":
    main()
