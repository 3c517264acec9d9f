"""Several processes on the same data: a change by one of them is known to the others at once."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest

from tests.conftest import Run
from tests.services.databases import drop_postgres, new_postgres
from tests.services.server import Server, wait_until
from tests.services.shopkeeper_server import Commerce
from tests.stories.commands import run_shopkeeper
from tests.stories.conftest import Launch
from tests.stories.places import Ground
from tests.stories.production import PRODUCTION, SECRETS, flat
from tests.stories.shopping import CUSTOMER
from tests.stories.visitor import PATIENCE, Guests, Visitor

ROUNDS = 20
OPEN, CLOSED = ({"selfservice": {"flows": {"registration": {"enabled": enabled}}}} for enabled in (True, False))
# Refused beside a running server: what cannot be read, what only a start can change, and what cannot be built.
UNUSABLE = {
    "{": "is not valid JSON",
    json.dumps({"outbox": {"poll": "3s"}}): "outbox has changed, which takes effect at a start only",
    json.dumps({"identity": {"schemas": [{"id": "default", "url": "file:///nowhere.json"}]}}): "nowhere.json",
}
AT_ONCE = 0.1
"""Seconds. The machine may be busy, so a few quick rounds are enough: without messages all would be slow."""


@pytest.fixture(scope="module")
def infrastructure(run: Run, postgres_server: Server, valkey_server: Server) -> Iterator[Ground]:
    dsn = new_postgres(run.folder, postgres_server)
    yield Ground(dsn, valkey_server.url)
    drop_postgres(postgres_server, dsn)


@pytest.fixture(scope="module")
def pair(launch_for_module: Launch, infrastructure: Ground) -> tuple[Commerce, Commerce]:
    """Two servers with a process each, on one database and one cache."""
    first = launch_for_module(demo=True, environ=SECRETS, **infrastructure.start_with())
    return first, launch_for_module(demo=True, environ=SECRETS, **infrastructure.start_with())


@pytest.fixture(scope="module")
def family(launch_for_module: Launch, infrastructure: Ground) -> Commerce:
    """One server with two processes. It is ready when the first of them is."""
    family = launch_for_module(workers=2, demo=True, environ=SECRETS, config=OPEN, **infrastructure.start_with())
    wait_until(lambda: len(workers_of(family)) == 2, "the second process")
    return family


@contextmanager
def line_to(url: str) -> Iterator[httpx.Client]:
    """Open one connection, which is kept."""
    with httpx.Client(base_url=url, timeout=PATIENCE, limits=httpx.Limits(max_connections=1)) as line:
        yield line


def whoami(line: httpx.Client, visitor: Visitor) -> httpx.Response:
    return line.get("/sessions/whoami", headers={"x-session-token": str(visitor.token)})


def seconds_to_hear(one: httpx.Client, other: httpx.Client, url: str) -> list[float]:
    """Revoke sessions through one; return for how long the other still accepted each of them, shortest first."""
    guests = Guests(url)
    customer, email = guests.customer()
    taken = []
    for _ in range(ROUNDS):
        victim = guests.guest()
        victim.sign_in(email)
        for _ in range(2):  # the second answer comes from the cache of the process
            session = whoami(other, victim).json()["id"]
        answer = one.delete(f"/sessions/{session}", headers={"x-session-token": str(customer.token)})
        begun = time.perf_counter()
        assert answer.status_code == 204
        wait_until(lambda victim=victim: whoami(other, victim).status_code == 401, "the news of a revoked session")
        taken.append(time.perf_counter() - begun)
    guests.go()
    return sorted(taken)


class TestTwoServers:
    def test_a_session_revoked_at_one_is_refused_by_the_other(self, pair: tuple[Commerce, Commerce]) -> None:
        first, second = pair
        with line_to(first.public) as one, line_to(second.public) as other:
            assert seconds_to_hear(one, other, first.public)[ROUNDS // 4] < AT_ONCE

    def test_a_visit_continues_at_either_server(self, pair: tuple[Commerce, Commerce]) -> None:
        guests, elsewhere = (Guests(shop.public) for shop in pair)
        visitor, other = guests.guest(), elsewhere.stranger()
        email = visitor.sign_up()
        cart = visitor.put("QK-MUG-BLU", 2)
        other.token = visitor.token
        assert other.goods() == {"QK-MUG-BLU": 2}
        other.sign_in(email, oldCartId=cart["id"])
        visitor.token = other.token
        assert visitor.ask(CUSTOMER)["email"] == email
        other.take(other.post("/signout", {}))
        wait_until(lambda: "errors" in visitor.asked(CUSTOMER), "the news of the sign-out")
        assert visitor.refusal(CUSTOMER)["code"] == "UNAUTHENTICATED"
        guests.go()
        elsewhere.go()

    def test_wrong_passwords_are_counted_together(self, pair: tuple[Commerce, Commerce]) -> None:
        guests, elsewhere = (Guests(shop.public) for shop in pair)
        visitor, other = guests.guest(), elsewhere.guest()
        email = visitor.sign_up()
        tries = [each.try_to_sign_in(email, password="wrong") for each in (visitor, other) * 3]
        assert [answer.status_code for answer in tries] == [401] * 5 + [429]
        for each in (visitor, other):
            blocked = each.try_to_sign_in(email)
            assert (blocked.status_code, blocked.headers["retry-after"].isdigit()) == (429, True)
        guests.go()
        elsewhere.go()


class TestOneServerWithTwoProcesses:
    def test_a_session_revoked_at_one_is_refused_by_the_other(self, family: Commerce) -> None:
        with lines_to_each(family) as (one, other):
            assert seconds_to_hear(one, other, family.public)[ROUNDS // 4] < AT_ONCE

    def test_a_changed_configuration_reaches_every_process(self, family: Commerce) -> None:
        with lines_to_each(family) as lines:
            assert lets_register(lines) == [True, True]
            configure(family, json.dumps(CLOSED))
            wait_until(lambda: lets_register(lines) == [False, False], "the news of a changed configuration")
            configure(family, "{")
            wait_until(lambda: family.log.count("configuration.refused") == 2, "a refusal by each process")
            assert lets_register(lines) == [False, False]
            configure(family, json.dumps(OPEN))
            wait_until(lambda: lets_register(lines) == [True, True], "the news of a configuration that is sound")

    def test_a_process_that_dies_while_the_configuration_is_refused_is_replaced_once_it_is_sound(
        self, family: Commerce
    ) -> None:
        """Regression: the successor worked by what the other processes had refused, such as another database."""
        before, started = workers_of(family), family.log.count("worker ended")
        for number, (text, sentence) in enumerate(UNUSABLE.items()):
            told = family.log.count(sentence)
            configure(family, text)
            wait_until(lambda told=told, of=sentence: family.log.count(of) == told + 2, "a refusal by each process")
            if number == 0:
                before[0].kill()
                wait_until(lambda told=told, of=sentence: family.log.count(of) == told + 3, "that of the parent")
        assert workers_of(family) == before[1:]
        assert family.log.count("worker ended") == started
        configure(family, json.dumps(CLOSED))
        wait_until(lambda: len(workers_of(family)) == 2, "another process")
        with lines_to_each(family) as lines:
            wait_until(lambda: lets_register(lines) == [False, False], "the configuration of the further process")
            configure(family, json.dumps(OPEN))
            wait_until(lambda: lets_register(lines) == [True, True], "the configuration of before")
        assert "Traceback" not in family.log

    def test_a_process_that_died_is_replaced(self, family: Commerce) -> None:
        before = workers_of(family)
        assert len(before) == 2
        before[0].kill()
        wait_until(lambda: len(set(workers_of(family)) - {before[0]}) == 2, "another process")
        with lines_to_each(family) as lines:
            assert [line.get("/health/ready").status_code for line in lines] == [200, 200]
        assert "worker ended" in family.log

    def test_without_a_shared_cache_the_server_does_not_start(self, infrastructure: Ground, tmp_path: Path) -> None:
        environ = {**flat(PRODUCTION), "DSN": infrastructure.dsn, "HTTP_WORKERS": "2"}
        told = run_shopkeeper("serve", folder=tmp_path, environ=environ)
        assert told.returncode == 1
        assert "cache.url" in told.errors[0]
        assert "redis://" in told.errors[0]
        assert run_shopkeeper("doctor", folder=tmp_path, environ=environ).errors == told.errors[:1]


def configure(shop: Commerce, text: str) -> None:
    (shop.folder / "shopkeeper.json").write_text(text)


def lets_register(lines: list[httpx.Client]) -> list[bool]:
    return [line.get("/self-service/registration/api").status_code == 200 for line in lines]


def workers_of(shop: Commerce) -> list[psutil.Process]:
    """Return the processes that listen on the public port."""
    port = int(shop.public.rpartition(":")[2])
    found = []
    for pid in shop.pids:
        try:
            process = psutil.Process(pid)
            lines = process.net_connections("tcp")
        except psutil.NoSuchProcess:
            continue
        if any(line.status == psutil.CONN_LISTEN and line.laddr.port == port for line in lines):
            found.append(process)
    return found


@contextmanager
def lines_to_each(shop: Commerce) -> Iterator[list[httpx.Client]]:
    """Open a connection to each of its processes: connections are opened until every process has one."""
    workers, lines = workers_of(shop), []
    by_worker: dict[int, httpx.Client] = {}
    try:
        while len(by_worker) < len(workers):
            line = httpx.Client(base_url=shop.public, timeout=PATIENCE, limits=httpx.Limits(max_connections=1))
            lines.append(line)
            answer = line.get("/health/alive")
            port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
            by_worker.setdefault(next(each.pid for each in workers if _talks_to(each, port)), line)
        yield list(by_worker.values())
    finally:
        for line in lines:
            line.close()


def _talks_to(worker: psutil.Process, port: int) -> bool:
    return any(line.raddr and line.raddr.port == port for line in worker.net_connections("tcp"))
