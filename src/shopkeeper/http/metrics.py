"""Metrics of requests, for Prometheus."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@dataclass(slots=True)
class _Durations:
    """How long responses took: a count for each bucket, and the total."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS) + 1))
    total: float = 0.0


class Metrics:
    """Counts requests by app, method and status, and their durations.

    Plain numbers, converted to metrics when they are collected. The counters of prometheus_client take a lock for each
    request, which is not needed: only one thread counts.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._answers: dict[tuple[str, str, str, int], int] = {}
        self._durations: dict[tuple[str, str, str], _Durations] = {}
        self._operations: dict[tuple[str, str, str], _Durations] = {}
        self._introspections: dict[str, _Durations] = {}
        registry.register(self)

    def observe(self, app: str, method: str, path: str, status: int, seconds: float) -> None:
        """Count one response."""
        key = (app, method, path, status)
        self._answers[key] = self._answers.get(key, 0) + 1
        durations = self._durations.get(key[:3])
        if durations is None:
            durations = self._durations[key[:3]] = _Durations()
        durations.counts[bisect_left(_BUCKETS, seconds)] += 1
        durations.total += seconds

    def observe_introspection(self, outcome: str, seconds: float) -> None:
        """Count one answer about a token: `active`, `inactive`, `refused` or `unavailable`."""
        durations = self._introspections.setdefault(outcome, _Durations())
        durations.counts[bisect_left(_BUCKETS, seconds)] += 1
        durations.total += seconds

    def observe_operation(self, kind: str, field: str, outcome: str, seconds: float) -> None:
        """Count one GraphQL operation, by the first field that it asks for.

        Clients choose the names of operations freely, and could fill the memory with them; the fields are the schema's.
        """
        durations = self._operations.setdefault((kind, field, outcome), _Durations())
        durations.counts[bisect_left(_BUCKETS, seconds)] += 1
        durations.total += seconds

    def collect(self) -> Iterable[Metric]:
        """Return the metrics for the registry."""
        labels = ("app", "method", "path", "status")
        requests = CounterMetricFamily("shopkeeper_http_requests", "HTTP requests answered.", labels=labels)
        for (app, method, path, status), count in self._answers.items():
            requests.add_metric((app, method, path, str(status)), count)
        yield requests
        told = "Seconds from a request's first byte to its answer's."
        seconds = HistogramMetricFamily("shopkeeper_http_request_seconds", told, labels=labels[:3])
        for where, durations in self._durations.items():
            seconds.add_metric(where, _cumulative(durations.counts), durations.total)
        yield seconds
        told = "Seconds that a GraphQL operation took, by the first field that it asks for."
        operations = HistogramMetricFamily(
            "shopkeeper_graphql_operation_seconds", told, labels=("type", "field", "outcome")
        )
        for what, durations in self._operations.items():
            operations.add_metric(what, _cumulative(durations.counts), durations.total)
        yield operations
        told = "Seconds that an answer about a token took, by its outcome."
        introspections = HistogramMetricFamily("shopkeeper_introspection_seconds", told, labels=("outcome",))
        for outcome, durations in self._introspections.items():
            introspections.add_metric((outcome,), _cumulative(durations.counts), durations.total)
        yield introspections


def _cumulative(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus defines them: each also counts all shorter durations."""
    so_far, buckets = 0, []
    for bound, count in zip((*map(str, map(float, _BUCKETS)), "+Inf"), counts, strict=True):
        so_far += count
        buckets.append((bound, float(so_far)))
    return buckets
