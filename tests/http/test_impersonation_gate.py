"""What an agent who acts as a customer may not do: every route of the public port, also those that are added later."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from shopkeeper.clock import StoppedClock
from shopkeeper.graphql.access import OPEN_TO_AGENTS as OPEN_MUTATIONS
from shopkeeper.graphql.access import NotForAgents, fields_of
from shopkeeper.graphql.schema import Mutation
from shopkeeper.http.impersonation_gate import EVERY, OPEN_TO_AGENTS
from tests.attacks.scene import OWN_PAGE, SIGN_UP, Scene, ask, fill_cart, new_address, visit
from tests.http.support import Shop, open_shop

REFUSED = (403, "not_while_impersonating")
SOME_ID = "6f1c1d0e-0000-4000-8000-000000000000"


@pytest.fixture
async def shop(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Shop]:
    async with open_shop(sqlite_dsn, tmp_path, clock) as shop:
        yield shop


def routes_of(scene: Scene) -> list[Route]:
    """Return every route of the public port, under the layers of the app."""
    layer: object = scene.application.public
    while not isinstance(layer, Starlette):
        layer = getattr(layer, "_app", None) or getattr(layer, "app")  # noqa: B009 - `object` has neither
    assert all(isinstance(route, Route) for route in layer.routes)
    return [route for route in layer.routes if isinstance(route, Route)]


def requests_of(scene: Scene) -> Iterator[tuple[str, str, bool]]:
    """Yield method and path of every request that a route takes, and whether it is open to agents.

    Two routes may share a path; what the first of them takes is its own.
    """
    seen = set()
    for route in routes_of(scene):
        for method in sorted((route.methods or EVERY) - {"HEAD", "TRACE"}):
            if (method, route.path) not in seen:
                seen.add((method, route.path))
                yield method, re.sub(r"\{[^}]+\}", SOME_ID, route.path), method in OPEN_TO_AGENTS.get(route.path, ())


def code(answer: httpx2.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.headers.get("x-error-code")


class TestEveryRoute:
    async def test_refuses_an_agent_unless_it_is_on_the_list(self, shop: Shop) -> None:
        app = await shop.scene.native()
        token = (await shop.started())["session_token"]
        guest = await shop.started_as_guest(await fill_cart(app, (await visit(app))["authorization"]))
        presented = [
            {"x-session-token": token},
            {"authorization": f"Bearer {token}"},
            {"cookie": f"ory_kratos_session={token}", **OWN_PAGE},
            {"authorization": f"Bearer {guest['session_token']}"},
            {"x-session-token": shop.customer.token, "cookie": f"ory_kratos_session={token}", **OWN_PAGE},
        ]
        let_through = []
        for method, path, is_open in requests_of(shop.scene):
            for headers in presented if not is_open else ():
                answer = await app.request(method, path, headers={"accept": "application/json", **headers})
                if code(answer) != REFUSED:
                    let_through.append((method, path, sorted(headers), code(answer)))
        assert let_through == []
        assert (await shop.whoami(token)).status_code == 200

    async def test_is_open_to_customers_as_before(self, shop: Shop) -> None:
        app = await shop.scene.native(x_session_token=shop.customer.token)
        for method, path, is_open in requests_of(shop.scene):
            if not is_open and method == "GET":
                assert code(await app.get(path, headers={"accept": "application/json"})) != REFUSED, path

    async def test_the_list_names_no_route_that_is_gone(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        further = {"dev": True, "demo": True, "serve": {"public": {"base_url": "https://shop.test/"}}}
        async with open_shop(sqlite_dsn, tmp_path, clock, further=further) as shop:
            known = {(route.path, method) for route in routes_of(shop.scene) for method in route.methods or EVERY}
        listed = {(path, method) for path, methods in OPEN_TO_AGENTS.items() for method in methods}
        assert listed - known <= {("/graphql", "HEAD")}

    async def test_a_browser_reads_why_on_a_page(self, shop: Shop) -> None:
        browser = await shop.acting_browser(await shop.started())
        answer = await browser.get("/self-service/settings/browser", follow_redirects=True)
        assert answer.status_code == 403
        assert "This is not possible while you act for a customer" in answer.text
        assert "End support access" in answer.text
        assert "/self-service/login/browser" not in answer.text


class TestGraphQL:
    def test_every_mutation_is_closed_to_agents_unless_it_is_on_the_list(self) -> None:
        fields = fields_of(Mutation)
        closed = {field.python_name for field in fields if any(isinstance(e, NotForAgents) for e in field.extensions)}
        assert closed == {field.python_name for field in fields} - OPEN_MUTATIONS
        assert "sign_up" in closed
        assert {field.python_name for field in fields} > OPEN_MUTATIONS

    async def test_an_agent_registers_nobody(self, shop: Shop) -> None:
        app = await shop.scene.native()
        guest = await shop.started_as_guest(await fill_cart(app, (await visit(app))["authorization"]))
        given = {"email": new_address(), "password": "a kettle on the plum shelf"}
        answer = await ask(app, guest["session_token"], SIGN_UP, i=given)
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert not [row for row in await shop.scene.rows("identities") if given["email"] in str(row["traits"])]
