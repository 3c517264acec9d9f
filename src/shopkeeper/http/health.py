"""Probes, the version, and the metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shopkeeper.http.responses import json_response

LONGEST_CHECK: Final = 9.0
"""Seconds that a check may take; load balancers usually wait for ten at most."""
RETRY: Final = {"Retry-After": "1"}
Check = Callable[[], Awaitable[str | None]]
"""A check: returns None on success, else a sentence. A part that is degraded but works is not a failure."""


MONITORED: Final = frozenset({"/health/alive", "/health/ready", "/metrics", "/metrics/prometheus"})
"""Asked for every few seconds: not logged, and outside development answered to any host, because probes, load
balancers and Prometheus address a server by its number."""


class Health:
    """`/health/alive` says that the process runs, `/health/ready` that it can serve; details are for operators only.

    Args:
        required: what must work before traffic is sent here: the database, its migrations.
        degraded: what may fail without stopping the service: the details report it, and the status stays 200.
        revision: the name of the configuration in effect.
        registry: the metrics of `/metrics`; without it the route does not exist.
        refresh: is called before the metrics are told.
    """

    def __init__(
        self,
        *,
        version: str,
        revision: str,
        required: Mapping[str, Check],
        degraded: Mapping[str, Check],
        registry: CollectorRegistry | None,
        refresh: Callable[[], Awaitable[None]],
    ) -> None:
        self._version, self._revision = version, revision
        self._required = required
        self._degraded = degraded
        self._registry = registry
        self._refresh = refresh

    def public_routes(self) -> list[Route]:
        """List the probes, without details."""
        return [
            Route("/health/alive", self._alive, methods=["GET"]),
            Route("/health/ready", self._ready_in_public, methods=["GET"]),
        ]

    def admin_routes(self) -> list[Route]:
        """List the probes with details, the revision of the configuration, the version and the metrics."""
        return [
            Route("/health/alive", self._alive, methods=["GET"]),
            Route("/health/ready", self._ready, methods=["GET"]),
            Route("/health/config", self._tell_revision, methods=["GET"]),
            Route("/version", self._tell_version, methods=["GET"]),
            *_metrics_routes(self._registry, self._refresh),
        ]

    async def _alive(self, request: Request) -> Response:
        return json_response({"status": "ok"})

    async def _ready_in_public(self, request: Request) -> Response:
        failed = await _failures(self._required)
        if failed:
            return json_response({"errors": dict.fromkeys(failed, "not available")}, 503, RETRY)
        return json_response({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        failed = await _failures(self._required)
        if failed:
            return json_response({"errors": failed}, 503, RETRY)
        degraded = await _failures(self._degraded)
        return json_response({"status": "ok", **({"degraded": degraded} if degraded else {})})

    async def _tell_revision(self, request: Request) -> Response:
        return PlainTextResponse(self._revision)

    async def _tell_version(self, request: Request) -> Response:
        return json_response({"version": self._version})


async def _failures(checks: Mapping[str, Check]) -> dict[str, str]:
    told = await asyncio.gather(*map(_in_time, checks.values()))
    return {name: sentence for name, sentence in zip(checks, told, strict=True) if sentence}


async def _in_time(check: Check) -> str | None:
    try:
        async with asyncio.timeout(LONGEST_CHECK):
            return await check()
    except TimeoutError:
        return "There was no answer in time."


def _metrics_routes(registry: CollectorRegistry | None, refresh: Callable[[], Awaitable[None]]) -> list[Route]:
    if registry is None:
        return []

    async def tell(request: Request) -> Response:
        await refresh()
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [Route(path, tell, methods=["GET"]) for path in ("/metrics", "/metrics/prometheus")]
