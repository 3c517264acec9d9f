"""The log line of a request: JSON is written directly, and must look like every other line of the log."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator

import httpx2
import msgspec
import pytest
import structlog
from prometheus_client import CollectorRegistry
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shopkeeper.http.metrics import Metrics
from shopkeeper.http.request_log import LATE, RequestLog, merge_request, note
from shopkeeper.http.route_labels import PathLabels

FACTS = {"app": "public", "method": "GET", "path": "/here", "status": 200, "event": "request", "level": "info"}


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    """The log's output, configured as the server does for machines."""
    written = io.BytesIO()
    _configure(written, level=logging.INFO)
    yield written
    structlog.reset_defaults()


def _configure(written: io.BytesIO, *, level: int) -> None:
    structlog.configure(
        processors=[
            merge_request,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=lambda event, default: msgspec.json.encode(event)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(written),
    )


async def here(scope: Scope, receive: Receive, send: Send) -> None:
    note(principal="somebody")
    structlog.get_logger().info("within")
    await Response("here")(scope, receive, send)


async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
    await Response("no", 403, {"X-Error-Code": "forbidden"})(scope, receive, send)


async def lines_of(app: ASGIApp, log: io.BytesIO) -> list[dict[str, object]]:
    observing = RequestLog(
        app,
        name="public",
        labels=PathLabels([], further=["/here"]),
        metrics=Metrics(CollectorRegistry()),
        log=structlog.get_logger(),
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(observing), base_url="http://shop") as client:
        await client.get("/here", headers={"x-request-id": "request-0001"})
    await asyncio.sleep(5 * LATE)
    return [json.loads(line) for line in log.getvalue().splitlines()]


async def test_the_line_has_what_was_bound_during_the_request(log: io.BytesIO) -> None:
    within, request = await lines_of(here, log)
    assert request.items() >= {**FACTS, "request_id": "request-0001", "principal": "somebody"}.items()
    assert request.keys() == {*FACTS, "milliseconds", "timestamp", "request_id", "principal"}
    assert (within["request_id"], within["principal"]) == (request["request_id"], request["principal"])


async def test_the_time_is_written_as_in_other_lines(log: io.BytesIO) -> None:
    times = [str(line["timestamp"]) for line in await lines_of(here, log)]
    assert {re.sub(r"\d", "0", time) for time in times} == {"0000-00-00T00:00:00.000000Z"}


async def test_the_line_names_a_refusal(log: io.BytesIO) -> None:
    assert [(line["status"], line["error"]) for line in await lines_of(refusing, log)] == [(403, "forbidden")]


async def test_there_is_no_line_above_the_level_info(log: io.BytesIO) -> None:
    _configure(log, level=logging.WARNING)
    assert await lines_of(here, log) == []


async def test_the_line_for_people_goes_through_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with structlog.testing.capture_logs() as captured:
        await lines_of(refusing, io.BytesIO())
    assert [line["event"] for line in captured] == ["request"]


async def test_the_lines_of_many_requests_are_all_there_and_in_order(log: io.BytesIO) -> None:
    observing = RequestLog(
        refusing,
        name="public",
        labels=PathLabels([], further=["/here"]),
        metrics=Metrics(CollectorRegistry()),
        log=structlog.get_logger(),
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(observing), base_url="http://shop") as client:
        for number in range(700):
            await client.get("/here", headers={"x-request-id": f"request-{number:04d}"})
    await asyncio.sleep(5 * LATE)
    told = [json.loads(line)["request_id"] for line in log.getvalue().splitlines()]
    assert told == [f"request-{number:04d}" for number in range(700)]


def test_metrics_look_as_prometheus_reads_them() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for seconds in (0.0005, 0.001, 0.003, 60):
        metrics.observe("public", "GET", "/here", 200, seconds)
    labels = {"app": "public", "method": "GET", "path": "/here"}
    name = "shopkeeper_http_request_seconds"
    assert registry.get_sample_value("shopkeeper_http_requests_total", {**labels, "status": "200"}) == 4
    assert [registry.get_sample_value(f"{name}_bucket", {**labels, "le": le}) for le in ("0.001", "0.005", "+Inf")] == [
        2,
        3,
        4,
    ]
    assert registry.get_sample_value(f"{name}_count", labels) == 4
    assert registry.get_sample_value(f"{name}_sum", labels) == pytest.approx(60.0045)
