"""The requests that shops send most, against the same server answering a constant of the same size."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from bench.load import CONNECTIONS, Figures, Request, send
from bench.outcome import Row, Target, Unmeasured, middle, ratio
from bench.run import CUSTOMERS, Run
from bench.servers import Running, bare
from bench.shop import CART, CUSTOMER, JSON, PAGE, Commerce, answer_to, bearer

Expected = Callable[[Any], bool]


def whoami(run: Run) -> Iterator[Row]:
    """Measure whoami for a session that was requested before, against each of the baselines."""
    request = Request("/sessions/whoami", headers=bearer(run.shop.sign_in(CUSTOMERS[0])))
    yield against_bare(run, "whoami, warm", request, target=0.95, kind="asgi", unit="× bare ASGI")
    yield against_bare(run, "whoami, warm, against RSGI", request, kind="rsgi", unit="× bare RSGI")
    yield against_bare(run, "whoami, warm, against a route", request, target=1.0)


def anonymous(run: Run) -> Iterator[Row]:
    """Measure a guest's token. Nothing may be written for it, so that visitors who only look cost no row."""
    before = run.shop.rows()
    request = Request("/signin", "POST", JSON, '{"scope":"public"}')
    yield against_bare(run, "anonymous sign-in", request, target=0.3)
    after = run.shop.rows()
    grown = {table: after[table] - count for table, count in before.items() if after[table] != count}
    context = ", ".join(f"{table} {by:+}" for table, by in grown.items()) or f"{len(after)} tables, before and after"
    yield Row("anonymous sign-in, writes", sum(map(abs, grown.values())), "rows", context, Target(most=0, unit="rows"))


def cart(run: Run) -> Iterator[Row]:
    """Measure a customer's cart with a line in it."""
    token = run.shop.sign_in(CUSTOMERS[1])
    run.shop.fill_cart(token, run.shop.article())
    yield _graphql(run, "getCart", CART, token, expected=lambda data: data["getCart"]["totalQuantity"] > 0, target=0.2)


def customer(run: Run) -> Iterator[Row]:
    """Measure a signed-in customer's own data."""
    token = run.shop.sign_in(CUSTOMERS[2])
    yield _graphql(run, "getCurrentCustomer", CUSTOMER, token, expected=_is_customer, target=0.15)


def page(run: Run) -> Iterator[Row]:
    """Measure a page of the catalogue."""
    yield _graphql(run, "a page of 20 products", PAGE, run.shop.anonymous(), expected=_is_full_page, target=0.08)


def _is_customer(data: Any) -> bool:
    return bool(data["getCurrentCustomer"]["email"] == CUSTOMERS[2])


def _is_full_page(data: Any) -> bool:
    return len(data["findItemsByKeyword"]["items"]) == 20


def _graphql(run: Run, what: str, query: str, token: str, *, expected: Expected, target: float) -> Row:
    request = Request("/graphql", "POST", {**JSON, **bearer(token)}, json.dumps({"query": query}))
    _require(run.shop, query, token, expected)
    row = against_bare(run, what, request, target=target)
    _require(run.shop, query, token, expected)
    return row


def _require(shop: Commerce, query: str, token: str, expected: Expected) -> None:
    """Check the answer before and after, because GraphQL refuses with 200 as well."""
    if not expected(shop.graphql(query, token=token)):
        raise Unmeasured("GraphQL did not answer what was asked for")


def against_bare(
    run: Run,
    what: str,
    request: Request,
    *,
    target: float | None = None,
    kind: str = "route",
    unit: str = "× bare",
    server: Running | None = None,
) -> Row:
    """Measure a request to a server, the shop's unless another is given, against one that answers a constant of the
    same size."""
    server = server or run.shop.server
    size = len(answer_to(server.url, request))
    plain = Request("/", request.method, request.headers, request.body)
    with bare(size, folder=run.folder, kind=kind) as yardstick:
        windows = _in_turn(run, what, (yardstick, plain), (server, request))
    theirs, ours = zip(*windows, strict=True)
    rates = [[one.figures.per_second for one in each] for each in (ours, theirs)]
    work = [middle([one.work for one in each]) for each in (ours, theirs)]
    slowest = middle([one.figures.p99 for one in ours])
    context = (
        f"{middle(rates[0]):,.0f}/s against {middle(rates[1]):,.0f}/s, {work[0]:,.0f} against {work[1]:,.0f} µs "
        f"of CPU; {size:,} bytes; p99 {slowest:.1f} ms"
    )
    return Row(what, ratio(*rates), unit, context, None if target is None else Target(least=target, unit=unit))


@dataclass(frozen=True, slots=True)
class Window:
    """The figures of one window, and the microseconds of CPU time that the server spent on each answer."""

    figures: Figures
    work: float


def _in_turn(run: Run, what: str, *asked: tuple[Running, Request]) -> list[tuple[Window, ...]]:
    """Run windows of each in turn, after a second of each that does not count."""
    run.tell(f"{what}: warming up")
    for server, request in asked * run.options.warm_ups:
        send(server.url, request, seconds=1)
    windows = []
    for number in range(run.options.rounds):
        run.tell(f"{what}: window {number + 1} of {run.options.rounds}, {CONNECTIONS} connections")
        windows.append(tuple(window(run, server, request) for server, request in asked))
        run.shop.server.forget_log()
    return windows


def window(run: Run, server: Running, request: Request) -> Window:
    process = psutil.Process(server.pid)
    before = process.cpu_times()
    figures = send(server.url, request, seconds=run.options.seconds)
    after = process.cpu_times()
    worked = after.user - before.user + after.system - before.system
    return Window(figures, worked / (figures.per_second * run.options.seconds) * 1e6)
