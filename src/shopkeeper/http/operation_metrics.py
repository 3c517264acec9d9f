"""Metrics of what the server does besides answering: sign-ins, merges, refreshes, deliveries, connections.

Counters are read from the tally. The state of the outbox is queried for each scrape; where the database does not
answer, its metrics are left out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from shopkeeper.clock import Clock
from shopkeeper.storage.outbox import Backlog
from shopkeeper.storage.turns import Turns
from shopkeeper.tally import Tally

QUERY_WITHIN: Final = 2.0
"""Seconds to wait for the state of the outbox."""
COUNTED: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    "sign_ins": ("shopkeeper_sign_ins", "Sign-ins, and attempts that failed.", ("method", "outcome")),
    "provider_answers": (
        "shopkeeper_provider_answers",
        "What came of asking identity providers.",
        ("provider", "outcome"),
    ),
    "registrations": ("shopkeeper_registrations", "Accounts that were registered or refused.", ("outcome",)),
    "refreshes": ("shopkeeper_refreshes", "Tokens presented for refreshing.", ("outcome",)),
    "config_reloads": ("shopkeeper_config_reloads", "Changed configurations that were read.", ("outcome",)),
    "mails": ("shopkeeper_mails", "Mails that are done: sent, abandoned, or to a suppressed address.", ("outcome",)),
    "suppressions": ("shopkeeper_mail_suppressions", "Addresses that were suppressed.", ("reason",)),
    "impersonations": ("shopkeeper_impersonations", "What agents do who act as customers.", ("event",)),
    "cart_merges": ("shopkeeper_cart_merges", "Carts merged at a sign-in.", ("outcome",)),
}
"""The counters by their name in the tally: metric, description and labels."""


class Sized(Protocol):
    """A cache that knows how many bytes it holds."""

    @property
    def cached_bytes(self) -> int: ...


class OperationMetrics:
    """Collects the metrics.

    Args:
        backlog: queries the state of the outbox; returns None where the database does not answer.
        pools: the turns of each pool of database connections, by the pool's name.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        tally: Tally,
        clock: Clock,
        backlog: Callable[[], Awaitable[Sequence[Backlog] | None]],
        pools: Mapping[str, Turns],
        sessions: Sized,
    ) -> None:
        self._tally, self._clock, self._query, self._pools = tally, clock, backlog, pools
        self._sessions = sessions
        self._backlog: Sequence[Backlog] | None = None
        registry.register(self)

    async def refresh(self) -> None:
        """Query what the next `collect` tells; without the outbox where that takes long, since scrapers do not wait."""
        self._backlog = None
        with suppress(TimeoutError):
            async with asyncio.timeout(QUERY_WITHIN):
                self._backlog = await self._query()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics for the registry."""
        for name, (metric, told, labels) in COUNTED.items():
            counter = CounterMetricFamily(metric, told, labels=labels)
            for values, count in self._tally.of(name).items():
                counter.add_metric(values, count)
            yield counter
        yield from self._of_pools()
        cached = GaugeMetricFamily("shopkeeper_session_cache_bytes", "Memory that cached sessions take.")
        cached.add_metric((), self._sessions.cached_bytes)
        yield cached
        if self._backlog is not None:
            yield from self._of_outbox(self._backlog)

    def _of_pools(self) -> Iterable[Metric]:
        size = GaugeMetricFamily("shopkeeper_database_connections_max", "Connections of a pool.", labels=("pool",))
        used = GaugeMetricFamily("shopkeeper_database_connections_in_use", "Those in use.", labels=("pool",))
        waiting = GaugeMetricFamily("shopkeeper_database_waiters", "Callers that wait for one.", labels=("pool",))
        for name, turns in self._pools.items():
            size.add_metric((name,), turns.size)
            used.add_metric((name,), turns.taken)
            waiting.add_metric((name,), turns.waiting)
        yield from (size, used, waiting)

    def _of_outbox(self, backlog: Sequence[Backlog]) -> Iterable[Metric]:
        waiting = GaugeMetricFamily("shopkeeper_outbox_waiting", "Deliveries that wait.", labels=("topic",))
        failing = GaugeMetricFamily("shopkeeper_outbox_failing", "Those that have failed before.", labels=("topic",))
        dead = GaugeMetricFamily("shopkeeper_outbox_given_up", "Deliveries that were given up.", labels=("topic",))
        lag = GaugeMetricFamily("shopkeeper_outbox_lag_seconds", "Age of the oldest that waits.", labels=("topic",))
        for one in backlog:
            waiting.add_metric((one.topic,), one.waiting)
            failing.add_metric((one.topic,), one.failing)
            dead.add_metric((one.topic,), one.dead)
            age = self._clock.now() - one.oldest if one.oldest else timedelta(0)
            lag.add_metric((one.topic,), max(0.0, age.total_seconds()))
        yield from (waiting, failing, dead, lag)
