"""How long an operator waits for a page of identities, at any depth and by any filter."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from bench.hashing import hash_of
from bench.outcome import Row, Target, Unmeasured, middle
from bench.postgres import new_database
from bench.run import Run
from bench.seed import seed
from bench.seeded import email, identity_id
from bench.servers import Running, shopkeeper
from shopkeeper.crypto import KeyRing, new_token
from shopkeeper.http.paging import PageTokens

PAGE = 250
TARGET = Target(most=50, unit="ms")
DEEP = 12
"""Pages that are followed from each place in the list."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The milliseconds of every page that was asked for, and how many identities they had."""

    milliseconds: Sequence[float]
    found: int


def search(run: Run) -> Iterator[Row]:
    """Ask for pages of the list, from its beginning and from deep inside, and for searches."""
    _, people = run.options.accounts
    dsn = new_database(run.cluster)
    run.tell(f"seeding {people:,} for searches")
    seed(dsn, count=people, password_hash=hash_of(new_token("")), console=run.console)
    folder = run.folder / "search"
    folder.mkdir(exist_ok=True)
    with shopkeeper(folder, dsn=dsn) as server:
        admin, late = Admin(server), people * 9 // 10
        deep = _token(folder, str(identity_id(late)), of="identities")
        deep_by_name = _token(folder, f"{identity_id(late)}{email(late)}", of="identities by identifier")
        for what, query in _queries(people, deep=deep, deep_by_name=deep_by_name).items():
            run.tell(what)
            asked = admin.pages(query)
            if bool(asked.found) is ("none" in what):
                raise Unmeasured(f"{what}: {asked.found} were found")
            slowest, pages = max(asked.milliseconds), len(asked.milliseconds)
            context = f"slowest of {pages}: {slowest:.1f} ms; {asked.found:,} found among {people:,}, PostgreSQL"
            yield Row(f"admin: {what}", middle(asked.milliseconds), "ms", context, TARGET)


def _token(folder: Path, after: str, *, of: str) -> str:
    """Return the token of a page deep in a list, as the server with this folder's secrets seals it."""
    secret = (folder / "default.secret").read_text()
    return PageTokens(KeyRing([secret], purpose="page tokens")).seal_text(after, of=of)


def _queries(people: int, *, deep: str, deep_by_name: str) -> Mapping[str, Mapping[str, str]]:
    rare, common = {"traits.group": "gold"}, {"traits.group": "standard"}
    begins = {"preview_credentials_identifier_similar": "seeded-"}
    several = {**common, "traits.name.first": "seeded", "state": "active"}
    return {
        "the first pages": {},
        "pages at nine tenths": {"page_token": deep},
        "inactive ones, of which there are none": {"state": "inactive"},
        "by identifier": {"credentials_identifier": email(people // 2)},
        "by the beginning of identifiers": begins,
        "by the beginning, at nine tenths": {**begins, "page_token": deep_by_name},
        "by a trait of one in a thousand": rare,
        "by a trait of all others, at nine tenths": {**common, "page_token": deep},
        "by two traits and state, at nine tenths": {**several, "page_token": deep},
        "by a rare trait and the beginning": {**rare, **begins},
    }


class Admin:
    """A client of the admin port that keeps its connection."""

    def __init__(self, server: Running) -> None:
        self._key = server.admin_key
        self._connection = HTTPConnection(urlsplit(server.admin).netloc, timeout=60)

    def pages(self, query: Mapping[str, str]) -> Asked:
        """Follow the pages of a list."""
        address = f"/admin/identities?{urlencode({'page_size': PAGE, **query})}"
        milliseconds, found = [], 0
        for _ in range(DEEP):
            begun = time.perf_counter()
            self._connection.request("GET", address, headers={"authorization": f"Bearer {self._key}"})
            answer = self._connection.getresponse()
            body = answer.read()
            milliseconds.append((time.perf_counter() - begun) * 1000)
            if answer.status != 200:
                raise Unmeasured(f"{address} was answered with {answer.status}")
            found += len(json.loads(body))
            links = dict(reversed(one.split("; rel=")) for one in (answer.getheader("link") or "").split(","))
            if '"next"' not in links:
                break
            address = links['"next"'].strip("<> ")
        return Asked(milliseconds, found)
