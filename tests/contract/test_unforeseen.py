"""Unexpected errors also end in Kratos' error object, with a stable id and without details."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from shopkeeper.clock import StoppedClock
from shopkeeper.http.admin_auth import AdminAuthentication
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.hosts import HostRules
from shopkeeper.http.metrics import Metrics
from shopkeeper.http.request_limits import BodyBudget
from shopkeeper.http.wiring import admin_app, public_app
from shopkeeper.sessions.token_sources import ServiceKeys
from shopkeeper.storage.unavailable import DatabaseUnavailable

Build = Callable[[StoppedClock], ASGIApp]
RULES: dict[str, Any] = {"cors": None, "hosts": HostRules(None), "cookies": CookiePolicy("http://shop/", secure=False)}


def counting() -> dict[str, Any]:
    return {"bodies": BodyBudget(1_000), "metrics": Metrics(CollectorRegistry())}


async def broken(request: Request) -> Response:
    raise LookupError("the secret is 12345")


def public(clock: StoppedClock) -> ASGIApp:
    return public_app([Route("/", broken)], hot={}, **RULES, **counting(), clock=clock)


def admin(clock: StoppedClock) -> ASGIApp:
    guard = Middleware(AdminAuthentication, keys=ServiceKeys({}), open_without_key=True, clock=clock)
    return admin_app([Route("/", broken)], guard=guard, hosts=RULES["hosts"], **counting(), clock=clock)


def hot(clock: StoppedClock) -> ASGIApp:
    async def whoami(scope: object, receive: object, send: object) -> None:
        raise LookupError("the secret is 12345")

    return public_app([], hot={"/": whoami}, **RULES, **counting(), clock=clock)


@pytest.mark.parametrize("build", [public, admin, hot])
async def test_an_unexpected_error_is_answered_in_the_contracts_shape(build: Build, clock: StoppedClock) -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=build(clock)), base_url="http://shop") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.headers["x-error-code"]) == (500, "internal_error")
    assert answer.json()["error"]["code"] == 500
    assert "12345" not in answer.text
    assert answer.headers["x-request-id"]


async def test_a_fast_path_answers_as_other_routes_do_while_the_database_is_unavailable(clock: StoppedClock) -> None:
    async def whoami(scope: object, receive: object, send: object) -> None:
        raise DatabaseUnavailable(retry_after=1)

    app = public_app([], hot={"/": whoami}, **RULES, **counting(), clock=clock)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://shop") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.headers["x-error-code"], answer.headers["retry-after"]) == (503, "busy", "1")
