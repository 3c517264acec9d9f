"""Signing in, refreshing, and starting a cart: the requests that hash or write."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from bench.hashing import hashes_alone
from bench.load import CONNECTIONS, Figures, Request, converse
from bench.outcome import Row, Target, middle, ratio
from bench.pace import send_paced
from bench.run import CUSTOMERS, Run
from bench.shop import ADD, PASSWORD, Commerce, bearer

SIGNING_IN = 8
"""Connections that sign in: enough to keep every hashing thread busy, without long waits."""
STEADY = 200


def login(run: Run) -> Iterator[Row]:
    """Measure password sign-ins on both routes, against the hashes that as many threads compute without a server."""
    bodies = [json.dumps({"username": email, "password": PASSWORD}) for email in CUSTOMERS]
    yield _against_hash(run, "password login, shop front", "sign_in", bodies, target=0.9)
    submits = [json.dumps({"method": "password", "identifier": email, "password": PASSWORD}) for email in CUSTOMERS]
    yield _against_hash(run, "password login, native app", "login", submits, target=0.75)
    yield _whoami_meanwhile(run, bodies)


def refresh(run: Run) -> Iterator[Row]:
    """Measure refreshing a token, with rotation, on PostgreSQL."""
    shop, figures = run.postgres_shop, []
    for number in range(run.options.rounds):
        tokens = [shop.sign_in(email) for email in CUSTOMERS[:CONNECTIONS]]
        run.tell(f"refresh: window {number + 1} of {run.options.rounds}, {CONNECTIONS} connections")
        figures.append(converse(shop.server.url, "refresh", tokens, seconds=run.options.seconds))
        shop.server.forget_log()
    yield _per_second("refresh with rotation, PostgreSQL", figures, Target(least=1000, unit="/s"))


def begun_cart(run: Run) -> Iterator[Row]:
    """Measure a guest's first article: a token, then the cart with its line."""
    lines, figures = [json.dumps({"query": ADD, "variables": {"item": run.shop.article()}})], []
    for number in range(run.options.rounds):
        run.tell(f"guest carts: window {number + 1} of {run.options.rounds}, {CONNECTIONS} connections")
        figures.append(converse(run.shop.server.url, "cart", lines, seconds=run.options.seconds))
        run.shop.server.forget_log()
    yield _per_second("a guest cart begun, SQLite", figures, Target(least=600, unit="/s"))


def _per_second(what: str, figures: Sequence[Figures], target: Target) -> Row:
    middle_one = middle([one.per_second for one in figures])
    slowest = middle([one.p99 for one in figures])
    return Row(what, middle_one, "/s", f"{CONNECTIONS} connections; p99 of a request {slowest:.1f} ms", target)


def _against_hash(run: Run, what: str, conversation: str, bodies: Sequence[str], *, target: float) -> Row:
    threads = os.cpu_count() or 1
    logins, hashes = [], []
    for _ in range(run.options.warm_ups):
        _sign_in(run.shop, conversation, bodies, seconds=1)
    for number in range(run.options.rounds):
        run.tell(f"{what}: window {number + 1} of {run.options.rounds}, {SIGNING_IN} connections")
        hashes.append(hashes_alone(threads, seconds=run.options.seconds))
        logins.append(_sign_in(run.shop, conversation, bodies, seconds=run.options.seconds))
    ours = middle([one.per_second for one in logins])
    context = f"{ours:,.0f}/s against {middle(hashes):,.0f}/s by {threads} threads; argon2id, 19 MiB, 2 passes"
    share = ratio([one.per_second for one in logins], hashes)
    return Row(what, share, "× hash", context, Target(least=target, unit="× hash"))


def _sign_in(shop: Commerce, conversation: str, bodies: Sequence[str], *, seconds: float) -> Figures:
    return converse(shop.server.url, conversation, bodies, seconds=seconds, connections=SIGNING_IN)


def _whoami_meanwhile(run: Run, bodies: Sequence[str]) -> Row:
    """Measure whoami at a steady rate while sign-ins use all hashing threads."""
    seconds = run.options.seconds * run.options.rounds
    asking = Request("/sessions/whoami", headers=bearer(run.shop.sign_in(CUSTOMERS[0])))
    run.tell(f"whoami at {STEADY}/s while {SIGNING_IN} connections sign in")
    with ThreadPoolExecutor(1) as beside:
        signing_in = beside.submit(_sign_in, run.shop, "sign_in", bodies, seconds=seconds + 1)
        time.sleep(0.5)
        figures = send_paced(run.shop.server.url, [asking], rate=STEADY, seconds=seconds)
        logins = signing_in.result().per_second
    context = f"at {STEADY}/s beside {logins:,.0f} logins/s; half of them within {figures.p50:.1f} ms"
    return Row("whoami's p99 while logins saturate", figures.p99, "ms", context, Target(most=20, unit="ms"))
