"""What the middleware for other services adds to a request whose token it has verified before."""

import urllib.request
from collections.abc import Iterator

from bench.hot import window
from bench.load import CONNECTIONS, Request, send
from bench.outcome import Row, Target, middle
from bench.run import Run
from bench.servers import protected
from bench.shop import bearer


def middleware(run: Run) -> Iterator[Row]:
    """Measure one ASGI application with the middleware in the mode `jwt` and without, in one process."""
    what = "middleware, a token verified before"
    with protected(run.folder) as server:
        with urllib.request.urlopen(f"{server.url}/token", timeout=30) as answer:
            headers = bearer(answer.read().decode())
        both = [Request(path, headers=headers) for path in ("/bare", "/protected")]
        run.tell(f"{what}: warming up")
        for request in both * max(run.options.warm_ups, 1):
            send(server.url, request, seconds=1)
        windows = []
        for number in range(run.options.rounds):
            run.tell(f"{what}: window {number + 1} of {run.options.rounds}, {CONNECTIONS} connections")
            windows.append([window(run, server, request) for request in both])
    bare, ours = zip(*windows, strict=True)
    added = middle([with_it.work - without.work for without, with_it in windows])
    context = (
        f"{middle([one.figures.per_second for one in ours]):,.0f}/s against "
        f"{middle([one.figures.per_second for one in bare]):,.0f}/s, {middle([one.work for one in ours]):,.0f} against "
        f"{middle([one.work for one in bare]):,.0f} µs of CPU; ES256, p99 "
        f"{middle([one.figures.p99 for one in ours]):.1f} ms"
    )
    yield Row(what, added, "µs", context, Target(most=100, unit="µs"))
