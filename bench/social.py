"""Signing in by an OpenID provider, which is a real one, and runs beside the server."""

import asyncio
import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import httpx2
import psutil

from bench.outcome import Missing, Row, Target, Unmeasured, middle, ratio
from bench.postgres import new_database
from bench.run import Run
from bench.servers import Running, shopkeeper
from tests.attacks.federation import configured, counted, section
from tests.services.install import NotInstalled
from tests.services.openid_provider import CLIENT_SECRET, OpenIDProvider, Walker, start_openid_provider
from tests.services.server import NotStarted

CALLBACK: Final = "self-service/methods/oidc/callback/idp"
BARE: Final = "http://127.0.0.1:1/back"
PEOPLE: Final = 4
"""Persons who sign in at the same time, each on connections of their own."""
MOST_STATEMENTS: Final = Target(most=12, unit="statements")
OURS, THEIRS = "shopkeeper", "provider"


def social(run: Run) -> Iterator[Row]:
    """Measure sign-ins of known persons, in turn with those of a client that only redeems the codes."""
    with ExitStack() as closing:
        provider = closing.enter_context(running_provider())
        if not run.cluster.own:
            raise Unmeasured("it makes a database of its own: use --postgresql auto")
        shop = closing.enter_context(_shop(run, provider))
        people = [closing.enter_context(_Person(provider, shop.url, number)) for number in range(PEOPLE)]
        yield from _rows(run, people, {OURS: shop.pid, THEIRS: provider.pid})
        for name, dsn in (("PostgreSQL", new_database(run.cluster)), ("SQLite", f"sqlite://{run.folder}/social.db")):
            run.tell(f"counting statements of a social sign-in, {name}")
            with redirect_stdout(io.StringIO()):  # the application runs in this process, and logs each request
                seen = asyncio.run(counted(dsn, run.folder, provider))
            context = "leaving for the provider and coming back"
            yield Row(f"statements: social sign-in, {name}", seen, "statements", context, MOST_STATEMENTS)


def _rows(run: Run, people: "list[_Person]", pids: Mapping[str, int]) -> Iterator[Row]:
    seconds, ours, bare = run.options.seconds, [], []
    for person in people:
        person.sign_in()  # the first one registers
        person.redeem()
    for number in range(run.options.rounds):
        run.tell(f"social sign-ins: window {number + 1} of {run.options.rounds}, {PEOPLE} persons")
        bare.append(_window([person.redeem for person in people], pids, seconds=seconds))
        ours.append(_window([person.sign_in for person in people], pids, seconds=seconds))
    rates = [window.per_second for window in ours], [window.per_second for window in bare]
    context = f"{middle(rates[0]):,.0f}/s against {middle(rates[1]):,.0f}/s of a client that only redeems codes"
    yield Row("social sign-in", ratio(*rates), "× bare client", context)
    own = middle([window.milliseconds(OURS) for window in ours])
    theirs = middle([window.milliseconds(THEIRS) for window in ours])
    share = f"{own / (own + theirs):.0%} of what a sign-in takes on both servers; the provider takes {theirs:.1f} ms"
    yield Row("social sign-in, our CPU", own, "ms", share)


@dataclass(frozen=True, slots=True)
class _Window:
    """How many sign-ins there were in how many seconds, and the CPU time of the servers meanwhile."""

    sign_ins: int
    seconds: float
    cpu: Mapping[str, float]

    @property
    def per_second(self) -> float:
        return self.sign_ins / self.seconds

    def milliseconds(self, server: str) -> float:
        """Return the CPU time of one sign-in on a server."""
        return self.cpu[server] / self.sign_ins * 1000


def _window(acts: list[Callable[[], None]], pids: Mapping[str, int], *, seconds: float) -> _Window:
    """Repeat each act in a thread of its own until the time is over."""
    before, begun = {name: _cpu(pid) for name, pid in pids.items()}, time.monotonic()

    def repeat(act: Callable[[], None]) -> int:
        done = 0
        while done == 0 or time.monotonic() < begun + seconds:
            act()
            done += 1
        return done

    with ThreadPoolExecutor(len(acts)) as threads:
        done = sum(threads.map(repeat, acts))
    return _Window(done, time.monotonic() - begun, {name: _cpu(pid) - before[name] for name, pid in pids.items()})


def _cpu(pid: int) -> float:
    """Return the CPU time of a process and its children, in seconds."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


class _Person:
    """A person with a browser that is signed in at the provider already, so that it redirects at once."""

    def __init__(self, provider: OpenIDProvider, shop: str, number: int) -> None:
        self._email = f"customer-{number}@social.example"
        self._provider, self._shop = provider, shop
        self._walker = Walker(provider.issuer)
        provider.person(self._email, name="Ada Quince")

    def __enter__(self) -> "_Person":
        return self

    def __exit__(self, *error: object) -> None:
        self._walker.http.close()

    def sign_in(self) -> None:
        """Sign in at the shop, as a single-page app does."""
        http = self._walker.http
        for cookie in [each for each in http.cookies.jar if each.name.endswith("ory_kratos_session")]:
            http.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)
        flow = _good(http.get(f"{self._shop}/self-service/login/browser", headers=_JSON), 200).json()
        csrf = next(n["attributes"]["value"] for n in flow["ui"]["nodes"] if n["attributes"]["name"] == "csrf_token")
        told = {"method": "oidc", "provider": "idp", "csrf_token": csrf}
        left = _good(http.post(flow["ui"]["action"], json=told, headers=_JSON), 422).json()["redirect_browser_to"]
        back = _good(http.get(self._walker.walk(left, self._email).url), 303)
        if "error" in back.headers["location"] or "flow=" in back.headers["location"]:
            raise Unmeasured(f"a social sign-in ended at {back.headers['location'][:200]}")

    def redeem(self) -> None:
        """Do what any client of the provider must do, and nothing else."""
        asked = {"client_id": "bare", "response_type": "code", "redirect_uri": BARE, "scope": "openid email profile"}
        arrival = self._walker.walk(f"{self._provider.issuer}/auth?{urlencode(asked)}", self._email)
        told = {"grant_type": "authorization_code", "code": arrival.query["code"], "redirect_uri": BARE}
        _good(self._walker.http.post(f"{self._provider.issuer}/token", data=told, auth=("bare", CLIENT_SECRET)), 200)


_JSON: Final = {"accept": "application/json"}


def _good(answer: httpx2.Response, status: int) -> httpx2.Response:
    if answer.status_code != status:
        raise Unmeasured(f"{answer.request.url.path} answered {answer.status_code}: {answer.text[:200]}")
    return answer


@contextmanager
def running_provider() -> Iterator[OpenIDProvider]:
    """Run an OpenID provider."""
    try:
        provider = start_openid_provider(owner=os.getpid())
    except NotInstalled as missing:
        raise Missing(str(missing)) from missing
    except NotStarted as failed:
        raise Unmeasured(str(failed)) from failed
    try:
        yield provider
    finally:
        provider.stop()


@contextmanager
def _shop(run: Run, provider: OpenIDProvider) -> Iterator[Running]:
    folder = run.folder / "social"
    folder.mkdir(exist_ok=True)
    file = folder / "social.json"
    file.write_text(json.dumps(configured(section("idp", provider.issuer))))
    with shopkeeper(folder, dsn=new_database(run.cluster), config=file) as shop:
        provider.client(redirect_uris=[f"{shop.url}/{CALLBACK}"])
        provider.client("bare", redirect_uris=[BARE])
        yield shop
