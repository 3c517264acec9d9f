"""Whoami for sessions that no process has in its cache, which is what a restart or a new process begins with."""

from collections.abc import Iterator

from bench.hashing import hash_of
from bench.load import CONNECTIONS, Figures, Request, send_with_tokens
from bench.outcome import Row, Target, Unmeasured, middle
from bench.postgres import new_database
from bench.run import Run
from bench.seed import seed
from bench.seeded import token
from bench.servers import shopkeeper
from bench.shop import PASSWORD
from shopkeeper.credentials.hashes import Argon2Parameters

ASKED = 8_000
"""Sessions for each second of a window: more than can be asked for, so that none is asked for twice."""
LIGHT = Argon2Parameters(memory=8, iterations=1, parallelism=1)


def cold_whoami(run: Run) -> Iterator[Row]:
    """Ask for each of many sessions once, on PostgreSQL."""
    if not run.cluster.own:
        raise Unmeasured("it makes a database of its own: use --postgresql auto")
    share = int(ASKED * run.options.seconds)
    windows = run.options.rounds + run.options.warm_ups
    dsn, folder = new_database(run.cluster), run.folder / "cold"
    folder.mkdir(exist_ok=True)
    run.tell(f"seeding {share * windows:,} sessions")
    seed(dsn, count=share * windows, password_hash=hash_of(PASSWORD, LIGHT), console=run.console)
    figures: list[Figures] = []
    with shopkeeper(folder, dsn=dsn) as server:
        for window in range(windows):
            run.tell(f"whoami, cold: window {window + 1} of {windows}, {CONNECTIONS} connections")
            tokens = [token(number) for number in range(window * share, (window + 1) * share)]
            figures.append(
                send_with_tokens(server.url, Request("/sessions/whoami"), tokens, seconds=run.options.seconds)
            )
            server.forget_log()
    counted = figures[run.options.warm_ups :]
    context = f"each session once; p99 of a request {middle([one.p99 for one in counted]):.1f} ms"
    yield Row(
        "whoami, cold, PostgreSQL",
        middle([one.per_second for one in counted]),
        "/s",
        context,
        Target(least=4_000, unit="/s"),
    )
