"""What becomes slower with more accounts: the same shop with few and with many identities and sessions, in turn."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench.hashing import hash_of
from bench.introspection import active, asking
from bench.load import CONNECTIONS, Figures, Request, converse, send_with_tokens
from bench.outcome import Row, Target, Unmeasured, middle, ratio
from bench.pace import send_paced
from bench.postgres import new_database
from bench.run import Run
from bench.seed import seed
from bench.seeded import email, token
from bench.servers import shopkeeper
from bench.shop import CART, JSON, PASSWORD, Commerce, bearer
from shopkeeper.credentials.hashes import Argon2Parameters

FLAT = Target(least=0.8, unit="×")
CARTS = 200
ASKED = 9_000
"""Sessions that are requested only once. A worker caches 10,000, so more would drop out of it, and fewer end too
soon."""
# The cheapest hash, so that the benchmark measures finding an identity and starting a session.
LIGHT = Argon2Parameters(memory=8, iterations=1, parallelism=1)
LIGHT_ENVIRON = {"HASHERS_ARGON2_MEMORY": "8KB", "HASHERS_ARGON2_ITERATIONS": "1"}


@dataclass(frozen=True, slots=True)
class Town:
    """A shop with a number of accounts, and some of their numbers in a random order that is the same in every run."""

    shop: Commerce
    accounts: int
    some: Sequence[int]

    def tokens(self, first: int, last: int) -> list[str]:
        """Return the tokens of some of their sessions."""
        return [token(number) for number in self.some[first:last]]


Ask = Callable[[Town, int], Figures]
"""Measures one of the two shops in the window with this number."""


def growth(run: Run) -> Iterator[Row]:
    """Send the same requests to a small and to a large shop, on SQLite and on PostgreSQL."""
    for name, new_dsn in _DATABASES.items():
        with ExitStack() as closing:
            small, large = (
                _town(run, closing, name, new_dsn(run, accounts), accounts) for accounts in run.options.accounts
            )
            for what, ask in _asked(run, small, large).items():
                yield _compared(run, f"{what}, {name}", ask, small, large)
            if name == "PostgreSQL":
                yield _steady(run, large, "whoami", _whoami, most=5)
                active(large.shop.server, asking(large.tokens(0, 1)[0]))
                yield _steady(run, large, "introspection", asking, most=10)


def _new_sqlite(run: Run, accounts: int) -> str:
    return f"sqlite://{run.folder / f'{accounts}.db'}"


def _new_postgres(run: Run, accounts: int) -> str:
    if not run.cluster.own:
        raise Unmeasured("growth makes databases of its own: use --postgresql auto")
    return new_database(run.cluster)


_DATABASES: dict[str, Callable[[Run, int], str]] = {"SQLite": _new_sqlite, "PostgreSQL": _new_postgres}


def _town(run: Run, closing: ExitStack, name: str, dsn: str, accounts: int) -> Town:
    run.tell(f"seeding {accounts:,} on {name}")
    came_of_it = seed(dsn, count=accounts, password_hash=hash_of(PASSWORD, LIGHT), console=run.console)
    run.console.print(f"{name}: {came_of_it}", highlight=False, markup=False, soft_wrap=True)
    folder = run.folder / f"{name}-{accounts}"
    folder.mkdir(exist_ok=True)
    shop = Commerce(closing.enter_context(shopkeeper(folder, dsn=dsn, environ=LIGHT_ENVIRON)), dsn)
    return Town(shop, accounts, random.Random(accounts).sample(range(accounts), min(accounts, ASKED)))


def _asked(run: Run, *towns: Town) -> dict[str, Ask]:
    for town in towns:
        article = town.shop.article()
        for each in town.tokens(0, CARTS):
            town.shop.fill_cart(each, article)
    whoami, cart = Request("/sessions/whoami"), Request("/graphql", "POST", JSON, json.dumps({"query": CART}))
    share = min(len(town.some) for town in towns) // (run.options.rounds + run.options.warm_ups)

    def cold(town: Town, window: int) -> Figures:
        return _send(run, town, whoami, town.tokens(window * share, (window + 1) * share))

    def warm(town: Town, window: int) -> Figures:
        return _send(run, town, whoami, town.tokens(0, CARTS))

    def carts(town: Town, window: int) -> Figures:
        return _send(run, town, cart, town.tokens(0, CARTS))

    def login(town: Town, window: int) -> Figures:
        bodies = [json.dumps({"username": email(number), "password": PASSWORD}) for number in town.some]
        return converse(town.shop.server.url, "sign_in", bodies, seconds=run.options.seconds)

    return {"whoami, cold": cold, "whoami, warm": warm, "getCart": carts, "login but for the hash": login}


def _send(run: Run, town: Town, request: Request, tokens: Sequence[str]) -> Figures:
    return send_with_tokens(town.shop.server.url, request, tokens, seconds=run.options.seconds)


def _compared(run: Run, what: str, ask: Ask, small: Town, large: Town) -> Row:
    windows = []
    for number in range(run.options.rounds + run.options.warm_ups):
        run.tell(f"{what}: window {number + 1}, {CONNECTIONS} connections")
        windows.append((ask(small, number).per_second, ask(large, number).per_second))
        small.shop.server.forget_log()
        large.shop.server.forget_log()
    few, many = zip(*windows[run.options.warm_ups :], strict=True)
    context = f"{middle(many):,.0f}/s among {large.accounts:,}, {middle(few):,.0f}/s among {small.accounts:,}"
    return Row(f"growth: {what}", ratio(many, few), "×", context, FLAT)


def _steady(run: Run, town: Town, what: str, request_for: Callable[[str], Request], *, most: float) -> Row:
    """Measure a promise about 1,000 requests a second, for sessions in use."""
    seconds = run.options.seconds * run.options.rounds
    run.tell(f"{what} at 1,000/s among {town.accounts:,}")
    requests = [request_for(token) for token in town.tokens(0, 1_000)]
    figures = send_paced(town.shop.server.url, requests, rate=1_000, seconds=seconds)
    context = f"sessions in use; half of them within {figures.p50:.1f} ms"
    name = f"{what}'s p99 at 1,000/s, {town.accounts:,} people"
    return Row(name, figures.p99, "ms", context, Target(most=most, unit="ms"))


def _whoami(token: str) -> Request:
    return Request("/sessions/whoami", headers=bearer(token))
