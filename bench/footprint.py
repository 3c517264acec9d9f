"""The time that a start takes, and the memory that the server uses."""

import time
from collections.abc import Iterator

import psutil

from bench.outcome import Row, Target, middle
from bench.run import Run
from bench.servers import shopkeeper

SETTLING = 1.0


def footprint(run: Run) -> Iterator[Row]:
    """Start on a new database and then on the existing one; memory is read when it no longer changes."""
    folder = run.folder / "footprint"
    folder.mkdir(exist_ok=True)
    starts, sizes = [], []
    for number in range(run.options.rounds + 1):
        run.tell(f"start {number + 1} of {run.options.rounds + 1}")
        with shopkeeper(folder, dsn=f"sqlite://{folder / 'shopkeeper.db'}") as server:
            starts.append(server.seconds_to_start)
            time.sleep(SETTLING)
            sizes.append(psutil.Process(server.pid).memory_full_info())
    first, again = starts[0], middle(starts[1:])
    context = f"the fastest took {min(starts[1:]):.2f} s"
    yield Row("start to first healthy answer", again, "s", context, Target(most=1.5, unit="s"))
    context = "with the tables and the demo shop to be made"
    yield Row("first start", first, "s", context, Target(most=3.0, unit="s"))
    resident, own = (middle([getattr(size, name) / 1e6 for size in sizes]) for name in ("rss", "uss"))
    context = f"resident; {own:.0f} MB of it are its own"
    yield Row("idle memory per worker", resident, "MB", context, Target(most=150, unit="MB"))
