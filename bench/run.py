"""One run: its options, the servers that benchmarks share, and its progress."""

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rich.console import Console

from bench.outcome import Unmeasured
from bench.postgres import Cluster, cluster, new_database
from bench.servers import shopkeeper
from bench.shop import Commerce

CUSTOMERS = [f"customer-{number}@bench.example" for number in range(64)]


@dataclass(frozen=True, slots=True)
class Options:
    """The options: seconds in a window, windows of each kind, the PostgreSQL, and the two numbers of accounts."""

    seconds: float = 2
    rounds: int = 3
    postgresql: str = "auto"
    accounts: tuple[int, ...] = (10_000, 1_000_000)

    @property
    def warm_ups(self) -> int:
        """Windows that do not count: none in a run of one round, which only shows the table."""
        return int(self.rounds > 1)


@dataclass
class Run:
    """A run. Servers start when the first benchmark needs them and end with it."""

    options: Options
    tell: Callable[[str], None]
    console: Console
    _closing: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    @cached_property
    def folder(self) -> Path:
        """A folder of this run's own."""
        return Path(self._closing.enter_context(tempfile.TemporaryDirectory(prefix="shopkeeper-bench-")))

    @cached_property
    def shop(self) -> Commerce:
        """The shop on SQLite, with some customers."""
        return self._open("sqlite", f"sqlite://{self.folder / 'shopkeeper.db'}")

    @cached_property
    def postgres_shop(self) -> Commerce:
        """The shop on PostgreSQL, with some customers."""
        return self._open("postgresql", new_database(self.cluster))

    @cached_property
    def cluster(self) -> Cluster:
        """The given PostgreSQL, or one of our own."""
        if self.options.postgresql == "none":
            raise Unmeasured("it needs PostgreSQL: leave out --postgresql none")
        self.tell("starting PostgreSQL")
        return self._closing.enter_context(cluster(self.options.postgresql, owner=os.getpid()))

    def _open(self, name: str, dsn: str) -> Commerce:
        self.tell(f"opening the shop on {name}")
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        shop = Commerce(self._closing.enter_context(shopkeeper(folder, dsn=dsn)), dsn)
        shop.register(CUSTOMERS)
        return shop
