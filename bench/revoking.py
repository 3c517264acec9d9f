"""Revoking a session on one worker, until it is refused by the other."""

import http.client
import os
import statistics
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil

from bench.outcome import Row, Target, Unmeasured
from bench.run import CUSTOMERS, Run
from bench.servers import Running, shopkeeper
from bench.shop import JSON, Commerce, bearer
from tests.services.server import NotStarted, Server
from tests.services.valkey import start_valkey

WORKERS = 2
LINES = 16
"""Connections that send requests. The kernel distributes them to the workers; with this many, each worker has some."""
TIMES = 20


def revocation(run: Run) -> Iterator[Row]:
    """Measure from the answer to a sign-out until the last connection is refused, with Valkey between two workers."""
    valkey = _valkey()
    folder = run.folder / "revocation"
    folder.mkdir(exist_ok=True)
    dsn = f"sqlite://{folder / 'shopkeeper.db'}"
    try:
        with shopkeeper(folder, dsn=dsn, environ={"CACHE_URL": valkey.url, "HTTP_WORKERS": str(WORKERS)}) as server:
            _await_workers(server)
            yield _row(run, Commerce(server, dsn))
    finally:
        valkey.stop()


def _valkey() -> Server:
    try:
        return start_valkey(owner=os.getpid())
    except NotStarted as failed:
        raise Unmeasured(str(failed)) from failed


def _await_workers(server: Running) -> None:
    """Wait until all workers listen, because the first answer comes from one of them only."""
    for _ in range(1000):
        if sum(map(_listens, psutil.Process(server.pid).children())) >= WORKERS:
            return
        time.sleep(0.01)
    raise Unmeasured(f"{WORKERS} workers did not come up within 10 seconds")


def _listens(process: psutil.Process) -> bool:
    return any(line.status == psutil.CONN_LISTEN for line in process.net_connections(kind="tcp"))


def _row(run: Run, shop: Commerce) -> Row:
    shop.register(CUSTOMERS[:1])
    address = urlsplit(shop.server.url)
    lines = [http.client.HTTPConnection(str(address.hostname), address.port) for _ in range(LINES)]
    run.tell(f"revocation: {TIMES} sessions, {LINES} connections to {WORKERS} workers")
    taken = [_revoke(shop, lines) for _ in range(TIMES)]
    for line in lines:
        line.close()
    context = f"the slowest of {TIMES}; the middle one {statistics.median(taken):.0f} ms"
    return Row("revocation seen by every worker", max(taken), "ms", context, Target(most=100, unit="ms"))


def _revoke(shop: Commerce, lines: list[http.client.HTTPConnection]) -> float:
    token = shop.sign_in(CUSTOMERS[0])
    if not all(_is_good(line, token) for line in lines):
        raise Unmeasured("a fresh session was refused by a worker")
    lines[0].request("POST", "/signout", "{}", {**JSON, **bearer(token)})
    lines[0].getresponse().read()
    begun = time.perf_counter()
    for line in lines:
        while _is_good(line, token) and time.perf_counter() < begun + 10:
            pass
    return (time.perf_counter() - begun) * 1000


def _is_good(line: http.client.HTTPConnection, token: str) -> bool:
    line.request("GET", "/sessions/whoami", headers=bearer(token))
    answer = line.getresponse()
    answer.read()
    return answer.status == 200
