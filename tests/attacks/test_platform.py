"""Rows 87 to 89, 91, 92, 94, 96: forged cursors, calls inwards, markup, unguarded routes, costly hashes, defaults."""

import base64
import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2
import pytest
import yaml
from graphql import (
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
    is_leaf_type,
)
from starlette.responses import JSONResponse
from starlette.routing import Route

from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import KeyRing, digest
from shopkeeper.errors import TokenInvalid
from shopkeeper.graphql.schema import core_schema
from shopkeeper.http.admin_auth import AdminAuthentication
from shopkeeper.http.paging import PageTokens
from shopkeeper.sessions.token_sources import ServiceKey, ServiceKeys
from shopkeeper.settings import SettingsError, findings, load
from tests.attacks.conftest import Opening
from tests.attacks.scene import (
    ADMIN_ADDRESS,
    CART,
    ORDER,
    ORDERS,
    PASSWORD,
    PLACE,
    SETTINGS,
    Scene,
    ask,
    fill_cart,
    new_address,
    sign_in,
    sign_up,
    visit,
)
from tests.attacks.wire import request, send
from tests.services.server import free_port
from tests.services.shopkeeper_server import COMMAND, Commerce

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>${7*7}{{7*7}}"


class TestCursors:
    LISTS = ("/admin/identities", "/admin/sessions")

    @pytest.mark.parametrize("path", LISTS)
    async def test_row_087_a_forged_cursor_is_refused_before_it_is_asked_for(self, scene: Scene, path: str) -> None:
        admin, app = await scene.admin(), await scene.native()
        for _ in range(3):
            await sign_up(app, new_address())
        other = "/admin/sessions" if path == "/admin/identities" else "/admin/identities"
        real, foreign = [await _next_cursor(admin, each) for each in (path, other)]
        forged = [
            "' OR 1=1 --",
            "1; DROP TABLE identities",
            base64.urlsafe_b64encode(b"' OR 1=1 --").decode(),
            base64.urlsafe_b64encode(json.dumps({"id": "' OR ''='"}).encode()).decode(),
            str(uuid4()),
            base64.urlsafe_b64encode(uuid4().bytes).rstrip(b"=").decode(),
            PageTokens(KeyRing(["a default secret"], purpose="page tokens")).seal(uuid4(), of=path[7:]),
            foreign,
            real[:-1],
            real + "A",
            real.swapcase(),
            real[::-1],
            f"{real}=",
            "A" * 5000,
            "\x00",
            "é",
        ]
        for token in forged:
            answer = await admin.get(path, params={"page_token": token, "page_size": "1"})
            assert (answer.status_code, answer.headers["x-error-code"]) == (400, "invalid_page_token"), token
        assert (await admin.get(path, params={"page_token": real, "page_size": "1"})).status_code == 200

    @pytest.mark.parametrize("size", ["-1", "0x10", "²", "1e9", "1;--", "٣٣٣٣٣٣٣٣٣٣", " 1", "null", "1.0"])
    @pytest.mark.parametrize("path", LISTS)
    async def test_row_087_a_page_size_is_a_number(self, scene: Scene, path: str, size: str) -> None:
        answer = await (await scene.admin()).get(path, params={"page_size": size})
        assert answer.status_code == 400

    async def test_row_087_the_public_port_counts_pages_only(self, scene: Scene) -> None:
        browser = await scene.browser()
        await browser.sign_up(new_address())
        shown = await browser.get("/account", follow_redirects=True)
        for orders in ("-1", "²", "'", "99999999999999", "1 OR 1"):
            answer = await browser.get("/account", params={"flow": shown.url.params["flow"], "orders": orders})
            assert answer.status_code == 200


class TestCallsInwards:
    INSIDE = (
        "http://127.0.0.1:1/schema.json",
        "http://localhost:1/schema.json",
        "http://[::1]:1/schema.json",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/latest/meta-data",
        "http://10.0.0.1/schema.json",
        "http://0.0.0.0:1/schema.json",
        "https://2130706433/schema.json",
        "https://0x7f.1/schema.json",
        "http://metadata.google.internal@127.0.0.1:1/",
    )

    @pytest.mark.parametrize("url", INSIDE)
    async def test_row_088_a_schemas_address_leads_to_nothing_inside(
        self, opening: Opening, sqlite_dsn: str, url: str
    ) -> None:
        identity = {"default_schema_id": "x", "schemas": [{"id": "x", "url": url}]}
        with pytest.raises(Exception, match="private network"):
            async with opening(sqlite_dsn, identity=identity):
                pass

    @pytest.mark.parametrize("reference", ["http://127.0.0.1:1/x.json", "file:///etc/passwd", "https://example.org/x"])
    async def test_row_088_a_schema_refers_to_nothing_outside_itself(
        self, opening: Opening, sqlite_dsn: str, reference: str
    ) -> None:
        schema = {
            "type": "object",
            "properties": {"traits": {"type": "object", "properties": {"a": {"$ref": reference}}}},
        }
        url = "base64://" + base64.b64encode(json.dumps(schema).encode()).decode()
        with pytest.raises(Exception, match=r"\$ref|refer"):
            async with opening(sqlite_dsn, identity={"default_schema_id": "x", "schemas": [{"id": "x", "url": url}]}):
                pass

    @pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "169.254.169.254", "[::1]:1"])
    async def test_row_088_the_breached_passwords_host_is_no_way_inside(
        self, opening: Opening, sqlite_dsn: str, host: str
    ) -> None:
        """The service is not called. The registration is refused, because a service that fails is not ignored here."""
        config = {"haveibeenpwned_enabled": True, "haveibeenpwned_host": host, "ignore_network_errors": False}
        async with opening(sqlite_dsn, selfservice={"methods": {"password": {"config": config}}}) as scene:
            app = await scene.native()
            flow = (await app.get("/self-service/registration/api")).json()
            form = {"method": "password", "password": PASSWORD, "traits": {"email": new_address()}}
            answer = await app.post(flow["ui"]["action"], json=form)
            assert (answer.status_code, await scene.rows("identities")) == (502, [])
        assert host not in answer.text


class TestMarkup:
    @pytest.mark.parametrize(
        "path",
        [
            "/login?flow={}",
            "/login?return_to={}",
            "/login?refresh={}",
            "/registration?identity_schema={}",
            "/registration?flow={}&cookies=asked",
            "/error?id={}",
            "/error?error={}",
            "/account?done={}",
            "/account?orders={}",
            "/signed-out?return_to={}",
            "/?x={}",
            "/self-service/login/browser?return_to={}",
            "/self-service/login/browser?aal={}",
            "/self-service/registration/browser?identity_schema={}",
            "/self-service/logout?token={}&return_to={}",
            "/self-service/errors?id={}",
            "/{}",
            "/schemas/{}",
            "/static/{}/x.js",
        ],
    )
    async def test_row_089_nothing_in_an_address_becomes_markup(self, scene: Scene, path: str) -> None:
        browser = await scene.browser()
        answer = await browser.get(path.replace("{}", quote(HOSTILE, safe="")), follow_redirects=True)
        _require_no_markup(answer)

    async def test_row_089_nothing_in_a_header_becomes_markup(self, scene: Scene) -> None:
        headers = {
            "user-agent": HOSTILE,
            "accept-language": HOSTILE,
            "x-request-id": HOSTILE,
        }
        browser = await scene.browser(**{name.replace("-", "_"): value for name, value in headers.items()})
        await browser.sign_up(new_address())
        browser.headers["referer"] = HOSTILE
        for path in ("/account", "/", "/login", "/error"):
            _require_no_markup(await browser.get(path))
        _require_no_markup(await browser.get("/account", headers={"connector": "<script>alert(1)</script>"}))

    async def test_row_089_what_was_typed_comes_back_as_text(self, scene: Scene) -> None:
        browser = await scene.browser()
        for kind, field in (("login", "identifier"), ("registration", "traits.email")):
            answer = await browser.get(f"/self-service/{kind}/browser", follow_redirects=True)
            action = re.search(r'action="([^"]+)"', answer.text)
            csrf = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', answer.text)
            assert action is not None
            assert csrf is not None
            form = {"csrf_token": csrf[1], "method": "password", field: HOSTILE, "password": "x"}
            shown = await browser.post(action[1], data=form, follow_redirects=True)
            assert "7*7" in shown.text
            _require_no_markup(shown)

    async def test_row_089_the_playground_repeats_nothing(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn, dev=True) as scene:
            app = await scene.native()
            plain = await app.get("/graphql")
            hostile = await app.get("/graphql", params={"query": HOSTILE, "variables": HOSTILE})
        assert plain.content == hostile.content
        assert "default-src 'none'" in hostile.headers["content-security-policy"]
        assert "'unsafe-inline'" not in hostile.headers["content-security-policy"]

    async def test_row_089_errors_in_json_are_never_shown_as_pages(self, scene: Scene) -> None:
        app = await scene.native(accept="application/json")
        for path in ("/self-service/login/api?return_to=", "/schemas/", "/self-service/errors?id="):
            answer = await app.get(path + quote(HOSTILE))
            assert answer.headers["content-type"].startswith("application/json")

    async def test_row_035_an_error_page_shows_no_markup_of_its_address(self, scene: Scene) -> None:
        browser = await scene.browser()
        query = "&".join(
            f"{name}={quote(HOSTILE)}" for name in ("error", "error_description", "error_hint", "error_debug", "id")
        )
        _require_no_markup(await browser.get(f"/error?{query}"))


OPEN, SESSION, VISIT, FORM, NOT_BUILT = "open", "session", "visit", "form", "not built"
OWN_FORM = "a customer's form"
CLIENT = "an OAuth client"
NO_METHOD = "another method"
# Every route of the public port, and what it requires. A new route fails this test until it is added here.
PUBLIC: dict[tuple[str, str], str] = {
    ("GET", "/self-service/login/api"): OPEN,
    ("GET", "/self-service/login/browser"): OPEN,
    ("GET", "/self-service/login/flows"): FORM,
    ("POST", "/self-service/login"): FORM,
    ("GET", "/self-service/registration/api"): OPEN,
    ("GET", "/self-service/registration/browser"): OPEN,
    ("GET", "/self-service/registration/flows"): FORM,
    ("POST", "/self-service/registration"): FORM,
    # Recovery and verification are switched off in this scene.
    ("GET", "/self-service/recovery/api"): FORM,
    ("GET", "/self-service/recovery/browser"): FORM,
    ("GET", "/self-service/recovery/flows"): FORM,
    ("POST", "/self-service/recovery"): FORM,
    ("GET", "/self-service/recovery"): FORM,
    ("GET", "/recovery"): OPEN,
    ("GET", "/self-service/verification/api"): FORM,
    ("GET", "/self-service/verification/browser"): FORM,
    ("GET", "/self-service/verification/flows"): FORM,
    ("POST", "/self-service/verification"): FORM,
    ("GET", "/self-service/verification"): FORM,
    ("GET", "/verification"): OPEN,
    ("GET", "/self-service/settings/api"): SESSION,
    ("GET", "/self-service/settings/browser"): SESSION,
    ("GET", "/self-service/settings/flows"): OWN_FORM,
    ("POST", "/self-service/settings"): FORM,
    ("GET", "/self-service/settings"): FORM,
    ("GET", "/self-service/logout/browser"): SESSION,
    ("DELETE", "/self-service/logout/api"): FORM,
    ("GET", "/self-service/logout"): OPEN,
    ("GET", "/self-service/errors"): FORM,
    ("GET", "/self-service/methods/{method}/callback"): FORM,
    ("POST", "/self-service/methods/{method}/callback"): FORM,
    ("GET", "/self-service/methods/{method}/callback/{provider}"): FORM,
    ("POST", "/self-service/methods/{method}/callback/{provider}"): FORM,
    ("GET", "/self-service/methods/oidc/logout/callback"): OPEN,
    ("POST", "/self-service/methods/oidc/backchannel-logout/{provider}"): FORM,
    ("GET", "/self-service/methods/oidc/silent-sign-on/{provider}"): OPEN,
    ("GET", "/sessions"): SESSION,
    ("GET", "/sessions/token-exchange"): FORM,
    ("DELETE", "/sessions"): SESSION,
    ("DELETE", "/sessions/{id}"): SESSION,
    ("POST", "/signin"): OPEN,
    ("POST", "/signout"): OPEN,
    ("GET", "/"): OPEN,
    ("GET", "/login"): OPEN,
    ("GET", "/registration"): OPEN,
    ("GET", "/account"): OPEN,
    ("POST", "/account/sessions/revoke"): FORM,
    ("POST", "/account/sessions/revoke-others"): FORM,
    ("POST", "/account/sessions/revoke-all"): FORM,
    ("POST", "/account/addresses/confirm"): FORM,
    ("GET", "/account/undo-address"): FORM,
    ("POST", "/account/undo-address"): FORM,
    ("GET", "/account/end-session"): OPEN,
    ("POST", "/account/end-session"): OPEN,
    ("GET", "/signed-out"): OPEN,
    ("GET", "/error"): OPEN,
    ("GET", "/static/{version}/{name}"): OPEN,
    ("GET", "/static/{version}/{folder}/{name}"): OPEN,
    ("GET", "/schemas"): OPEN,
    ("GET", "/schemas/{id:path}"): OPEN,
    ("GET", "/graphql"): FORM,
    ("POST", "/graphql"): VISIT,
    ("GET", "/health/alive"): OPEN,
    ("GET", "/health/ready"): OPEN,
    ("GET", "/.well-known/change-password"): OPEN,
    ("GET", "/.well-known/jwks.json"): OPEN,
    ("GET", "/.well-known/oauth-authorization-server"): OPEN,
    ("POST", "/oauth2/token"): CLIENT,
    **{
        (method, path): NO_METHOD
        for method in ("DELETE", "GET", "OPTIONS", "PATCH", "PUT")
        for path in ("/oauth2/token", "/oauth2/revoke")
    },
    ("POST", "/oauth2/revoke"): CLIENT,
    ("GET", "/.well-known/ory/webauthn.js"): NOT_BUILT,
    ("GET", "/self-service/login"): NOT_BUILT,
    ("GET", "/self-service/registration"): NOT_BUILT,
    ("GET", "/self-service/fed-cm/parameters"): NOT_BUILT,
    ("POST", "/self-service/fed-cm/token"): NOT_BUILT,
    ("DELETE", "/self-service/login/test"): NOT_BUILT,
}
KEYLESS = {("GET", "/health/alive"), ("GET", "/health/ready"), ("GET", "/version")}
EXPECTED = {
    "nobody": {
        OPEN: {200, 204, 303, 404},
        SESSION: {401, 303},
        VISIT: {"UNAUTHENTICATED"},
        FORM: {400, 403, 404, 405},
        OWN_FORM: {401},
        CLIENT: {401},
        NO_METHOD: {405},
    },
    "a guest": {
        OPEN: {200, 204, 303, 404},
        SESSION: {401, 303},
        VISIT: {"data"},
        FORM: {400, 403, 404, 405},
        OWN_FORM: {401},
        CLIENT: {401},
        NO_METHOD: {405},
    },
    "a customer": {
        OPEN: {200, 303, 400, 403, 404},
        SESSION: {200, 204},
        VISIT: {"data"},
        FORM: {400, 403, 404, 405},
        OWN_FORM: {400, 404},
        CLIENT: {401},
        NO_METHOD: {405},
    },
}


class TestEveryRoute:
    async def test_row_091_every_route_of_the_public_port_is_listed(self, scene: Scene) -> None:
        assert set(_routes(scene.application.public)) == set(PUBLIC)

    @pytest.mark.parametrize("role", EXPECTED)
    async def test_row_091_every_route_asks_for_what_the_list_says(self, scene: Scene, role: str) -> None:
        app = await scene.native(accept="application/json")
        await sign_up(app, email := new_address())
        for (method, path), asks in PUBLIC.items():
            scene.clock.advance(minutes=1)
            headers = await _headers(await scene.native(), role, email)
            app.cookies.clear()
            filled = re.sub(r"\{[^}]+\}", str(uuid4()), path)
            answer = await app.request(method, filled, **_body(method, path), headers=headers)
            found = _graphql_outcome(answer) if (method, path) == ("POST", "/graphql") else answer.status_code
            assert found in EXPECTED[role].get(asks, {501}), (method, path, answer.text[:200])
            if asks == SESSION and found == 303:
                assert answer.headers["location"].startswith("/self-service/login/browser")

    async def test_row_091_every_route_of_the_admin_port_needs_the_key(self, scene: Scene) -> None:
        stranger, wrong, app = await scene.admin(key=None), await scene.admin(key="x" * 32), await scene.native()
        customer = await scene.admin(key=(await sign_up(app, new_address()))["session_token"])
        routes = set(_routes(scene.application.admin))
        assert len(routes) > 20
        for method, path in routes - KEYLESS:
            for client in (stranger, wrong, customer):
                for prefix in ("", "/admin"):
                    filled = re.sub(r"\{[^}]+\}", str(uuid4()), path)
                    answer = await client.request(method, f"{prefix}{filled}")
                    assert (answer.status_code, answer.headers["x-error-code"]) == (401, "admin_key_required"), path

    async def test_row_091_a_path_that_nobody_knows_is_refused_before_it_is_looked_for(self, scene: Scene) -> None:
        stranger = await scene.admin(key=None)
        assert (await stranger.get("/admin/nothing")).status_code == 401

    async def test_row_091_there_are_no_doors_for_development(self, scene: Scene) -> None:
        app, admin = await scene.native(), await scene.admin()
        for path in ("/inbox", "/graphql", "/docs", "/openapi.json", "/debug", "/console", "/.env", "/metrics"):
            assert (await app.get(path)).status_code in {404, 405}, path
        for path in ("/docs", "/openapi.json", "/debug/pprof", "/shutdown"):
            assert (await admin.get(path)).status_code == 404, path


class TestEveryField:
    """GraphQL is one route, so each of its fields has its own check."""

    OPEN = frozenset(
        {
            "findItemsByKeyword",
            "findItemsByCategory",
            "findItemsByIds",
            "findItemById",
            "findItemBySlug",
            "findCategories",
            "findCategoriesByIds",
            "findCategoryById",
            "findCategoryBySlug",
            "getCart",
            "getCurrentCustomer",
            "createCart",
            "addToCart",
            "updateCart",
            "removeFromCart",
            "signUp",
        }
    )

    @pytest.mark.parametrize("kind", ["query", "mutation"])
    async def test_row_091_every_field_is_closed_to_nobody(self, scene: Scene, kind: str) -> None:
        app = await scene.native()
        for _, text in _operations(kind):
            told = (await app.post("/graphql", json={"query": text})).json()
            assert told["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED", text
            assert "data" not in told

    @pytest.mark.parametrize("kind", ["query", "mutation"])
    async def test_row_091_every_field_that_is_not_open_is_closed_to_guests(self, scene: Scene, kind: str) -> None:
        app = await scene.native()
        token = (await visit(app))["authorization"]
        for name, text in _operations(kind):
            told = await ask(app, token, text)
            codes = {error["extensions"]["code"] for error in told.get("errors", ())}
            assert ("UNAUTHENTICATED" in codes) == (name not in self.OPEN), (text, told)

    async def test_row_091_another_customers_orders_and_carts_are_out_of_reach(self, scene: Scene) -> None:
        app = await scene.native()
        one, other = [await _customer(scene) for _ in range(2)]
        cart = await fill_cart(app, other)
        placed = await _order(app, other, cart)
        open_cart = await fill_cart(app, other)
        draft = (await ask(app, other, ORDER, cart=open_cart))["data"]["checkOut"]["order"]["id"]
        tries = [
            (CART, {"id": open_cart}),
            ("query Q($x: String!) { getOrderById(id: $x) { id } }", {"x": placed["id"]}),
            ("query Q($x: String!) { getOrderByOrderNumber(orderNumber: $x) { id } }", {"x": placed["orderNumber"]}),
            (ORDER, {"cart": open_cart}),
            (PLACE, {"order": draft}),
            (
                "mutation M($x: String!) { removeFromCart(removeFromCartInput: {cartId: $x, entryId: $x}) { code } }",
                {"x": open_cart},
            ),
            (
                "mutation M($x: String!) {updateCart(updateCartInput: {cartId: $x, entryId: $x, quantity: 2}) {code} }",
                {"x": open_cart},
            ),
            (
                "mutation M($x: String!) { addToCart(addToCartInput: {cartId: $x, itemId: $x}) { code } }",
                {"x": open_cart},
            ),
        ]
        for query, variables in tries:
            told = await ask(app, one, query, **variables)
            assert told["errors"][0]["extensions"]["code"] == "FORBIDDEN", (query, told)
            nobodys = await ask(app, one, query, **{name: str(uuid4()) for name in variables})
            assert nobodys["errors"][0]["message"] == told["errors"][0]["message"], query
        assert (await ask(app, one, ORDERS))["data"]["findOrders"]["total"] == 0

    async def test_row_091_a_session_of_one_store_is_nobody_in_another(self, opening: Opening, sqlite_dsn: str) -> None:
        stores = [{"id": "one"}, {"id": "two"}]
        async with opening(sqlite_dsn, stores=stores, default_store="one") as scene:
            one = await scene.native(connector="one")
            await sign_up(one, email := new_address())
            token = (await visit(one, username=email, password=PASSWORD))["authorization"]
            guest = (await visit(one))["authorization"]
            two = await scene.native(connector="two")
            for foreign in (token, guest):
                told = await ask(two, foreign, ORDERS)
                assert told["errors"][0]["extensions"]["code"] == "TOKEN_INVALID"


class TestSockets:
    @pytest.mark.parametrize("path", ["/graphql", "/sessions/whoami", "/"])
    @pytest.mark.parametrize("protocol", ["graphql-ws", "graphql-transport-ws", ""])
    def test_row_092_no_websocket_is_opened(self, server: Commerce, path: str, protocol: str) -> None:
        upgrade = (
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            + (f"Sec-WebSocket-Protocol: {protocol}\r\n".encode() if protocol else b"")
        )
        sent = request(path, headers=upgrade).replace(b"Connection: close", b"Connection: Upgrade, close")
        for url in (server.public, server.admin):
            assert send(url, sent).status != 101

    def test_row_092_there_are_no_subscriptions(self) -> None:
        assert core_schema().subscription_type is None

    async def test_row_092_the_admin_ports_guard_stands_before_sockets_as_well(self, scene: Scene) -> None:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def note(message: Any) -> None:
            sent.append(message)

        scope = {"type": "websocket", "path": "/identities", "headers": [], "query_string": b"", "subprotocols": []}
        await scene.application.admin(scope, receive, note)
        assert [message["type"] for message in sent] == ["websocket.close"]


COSTLY = [
    "$argon2id$v=19$m=4194304,t=3,p=1$c2FsdHNhbHRzYWx0$" + "A" * 43,
    "$argon2id$v=19$m=65536,t=100000,p=1$c2FsdHNhbHRzYWx0$" + "A" * 43,
    "$argon2id$v=19$m=524288,t=64,p=1$c2FsdHNhbHRzYWx0$" + "A" * 43,
    "$argon2id$v=19$m=65536,t=3,p=1000000$c2FsdHNhbHRzYWx0$" + "A" * 43,
    "$argon2d$v=19$m=65536,t=3,p=1$c2FsdHNhbHRzYWx0$" + "A" * 43,
    "$2b$31$" + "a" * 53,
    "$2b$15$" + "a" * 53,
    "$pbkdf2-sha256$i=999999999,l=32$c2FsdA$aGFzaA",
    "$scrypt$ln=30,r=8,p=1$c2FsdA$aGFzaA",
    "$md5$x",
    "{SSHA}x",
    "plain",
    "$" * 600,
]


class TestCostlyHashes:
    @pytest.mark.parametrize("hashed", COSTLY, ids=lambda hashed: hashed[:24])
    async def test_row_094_a_hash_that_wants_absurd_work_is_not_imported(self, scene: Scene, hashed: str) -> None:
        admin, email = await scene.admin(), new_address()
        credentials = {"password": {"config": {"hashed_password": hashed}}}
        body = {"schema_id": "default", "traits": {"email": email}, "credentials": credentials}
        for answer in (
            await admin.post("/admin/identities", json=body),
            await admin.patch("/admin/identities", json={"identities": [{"create": body}]}),
        ):
            entry = answer.json().get("identities", [{"action": "error"}])[0]
            assert (answer.status_code, entry["action"]) in {(400, "error"), (200, "error")}
        assert await scene.rows("identities") == []
        before = scene.application.accounts.hasher.computed
        await sign_in(await scene.native(), email)
        assert scene.application.accounts.hasher.computed == before + 1


# Secrets printed in manuals, quickstarts, bundles and issue trackers.
SAMPLES = [
    "PLEASE-CHANGE-ME-I-AM-VERY-INSECURE",
    "PLEASE-CHANGE-THE-COOKIE-SECRET",
    "32-LONG-SECRET-NOT-SECURE-AT-ALL",
    "dcb1ac1fdc1d4be58a2b2a8d3b4b9f3a-change-me",
    "changemechangemechangemechangeme",
    "this-is-a-super-secret-default-key",
    "MasterkeyNeedsToHave32Characters-example",
    "0123456789abcdef0123456789abcdef",
    "abcdefghijklmnopqrstuvwxyz012345",
    "passwordpasswordpasswordpassword",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "your-256-bit-secret-goes-in-here",
    "short",
    "",
]


NOTHINGS = [
    *("", "\n", "\r\n", " ", "\n\n", "\t", "\0", " " * 64, "\n" * 17),
    *("null", "None", "null\n", '""', "''", "undefined", "changeme", "CHANGEME\n"),
    *("\ufeff", "\xa0", "\u3000" * 64, "\u2003\n", "\u200b"),
]


class TestDefaults:
    @pytest.mark.parametrize("secret", SAMPLES)
    @pytest.mark.parametrize("name", ["default", "cookie", "cipher", "pagination"])
    def test_row_096_a_sample_secret_stops_the_start(self, tmp_path: Path, name: str, secret: str) -> None:
        told = _errors(tmp_path, {**SETTINGS, "secrets": {**SETTINGS["secrets"], name: [secret]}})
        assert any(f"secrets.{name}" in sentence for sentence in told)
        assert not secret or not any(secret in sentence for sentence in told)

    @pytest.mark.parametrize("key", [key for key in SAMPLES if key])
    def test_row_096_a_sample_admin_key_stops_the_start(self, tmp_path: Path, key: str) -> None:
        told = _errors(tmp_path, {**SETTINGS, "admin": {"api_keys": [key]}})
        assert any("admin.api_keys" in sentence for sentence in told)

    @pytest.mark.parametrize("nothing", NOTHINGS, ids=ascii)
    @pytest.mark.parametrize("dev", [False, True])
    def test_row_096_the_digest_of_nothing_stops_the_start(self, tmp_path: Path, nothing: str, dev: bool) -> None:
        """`sha256sum` of an empty file gives a hash like any other, and would make "no key" a key."""
        key = {"id": "backoffice", "hash": hashlib.sha256(nothing.encode()).hexdigest()}
        told = _errors(tmp_path, {**SETTINGS, "dev": dev, "admin": {"api_keys": [key]}})
        assert any("is the SHA-256 of an empty key" in sentence for sentence in told)

    @pytest.mark.parametrize("nothing", ["", " ", "\n", "\0"], ids=repr)
    async def test_row_096_no_key_is_no_key_whatever_the_hashes_are(self, clock: StoppedClock, nothing: str) -> None:
        """Behind the check of the settings, the admin API itself lets nobody in without a key."""
        keys = ServiceKeys({ServiceKey("backoffice"): digest(nothing)})
        with pytest.raises(TokenInvalid):
            await keys.verify(nothing, None)
        guarded = AdminAuthentication(JSONResponse({}), keys=keys, open_without_key=True, clock=clock)
        for header in (None, "", " ", "Bearer", "Bearer ", "Bearer Bearer", "Bearer Bearer ", "Bearer =", "Basic Og=="):
            headers = {} if header is None else {"authorization": header}
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(guarded), base_url=ADMIN_ADDRESS) as admin:
                answer = await admin.get("/admin/identities", headers=headers)
            assert answer.status_code == 401, header

    def test_row_096_every_secret_that_our_own_pages_show_stops_the_start(self, tmp_path: Path) -> None:
        shown = list(_shown_secrets())
        assert len(shown) >= 4
        for name, secret in shown:
            setting = (
                {"admin": {"api_keys": [secret]}}
                if name == "api_keys"
                else {"secrets": {**SETTINGS["secrets"], name: [secret]}}
            )
            told = _errors(tmp_path, {**SETTINGS, **setting})
            assert any("from a manual" in sentence for sentence in told), (name, secret)

    @pytest.mark.parametrize("missing", ["secrets", "admin"])
    def test_row_096_a_missing_secret_stops_the_start(self, tmp_path: Path, missing: str) -> None:
        told = _errors(tmp_path, {name: value for name, value in SETTINGS.items() if name != missing})
        assert any(missing in sentence for sentence in told)

    def test_row_096_the_command_ends_with_a_sentence_and_makes_no_database(self, tmp_path: Path) -> None:
        environ = {
            "DSN": f"sqlite://{tmp_path}/shop.db",
            "SECRETS_DEFAULT_0": SAMPLES[0],
            "SECRETS_CIPHER_0": SAMPLES[2],
            "SERVE_PUBLIC_PORT": str(free_port()),
            "SERVE_ADMIN_PORT": str(free_port()),
        }
        ended = subprocess.run(
            [str(COMMAND), "serve"], env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 1
        assert "secrets.default[0]" in ended.stderr
        assert SAMPLES[0] not in ended.stderr + ended.stdout
        assert list(tmp_path.iterdir()) == []

    async def test_row_096_there_is_nothing_to_set_up_again(self, scene: Scene) -> None:
        """No page creates a first administrator, and a new database has no accounts."""
        assert await scene.rows("identities") == []
        app = await scene.native()
        for path in ("/setup", "/install", "/initial-setup", "/admin", "/if/flow/initial-setup/", "/wizard"):
            assert (await app.get(path)).status_code == 404


def _errors(folder: Path, settings: dict[str, Any]) -> list[str]:
    file = folder / "shop.json"
    file.write_text(json.dumps({**settings, "dsn": "memory"}))
    try:
        return [
            f"{each.path} {each.sentence}"
            for each in findings(load([file], {}, dev=False, demo=False))
            if each.level == "error"
        ]
    except SettingsError as refused:
        return [str(refused)]


def _shown_secrets() -> Iterator[tuple[str, str]]:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for text in re.findall(r"^ *```yaml\n(.*?)^ *```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            shown = yaml.safe_load(text)
            if isinstance(shown, dict):
                secrets = shown.get("secrets") or {}
                yield from ((name, secret) for name, listed in secrets.items() for secret in listed)
                keys = (shown.get("admin") or {}).get("api_keys") or []
                yield from (("api_keys", key) for key in keys if isinstance(key, str))


async def _next_cursor(admin: Any, path: str) -> str:
    answer = await admin.get(path, params={"page_size": "1"})
    found = re.search(r'page_token=([^&>]+)[^>]*>; rel="next"', answer.headers["link"])
    assert found is not None
    return found[1]


def _require_no_markup(answer: Any) -> None:
    assert answer.status_code < 500
    kind = answer.headers.get("content-type", "")
    if kind.startswith("text/html"):
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
        assert "49" not in re.findall(r"\b49\b", answer.text.replace("7*7", ""))
        assert "script-src 'self'" in answer.headers.get("content-security-policy", "script-src 'self'")
    else:
        assert not kind or kind.startswith(("application/json", "text/plain", "text/css", "text/javascript"))


def _routes(app: Any) -> Iterator[tuple[str, str]]:
    """Yield every route of an app, found below its middleware."""
    while not hasattr(app, "routes"):
        app = getattr(app, "_app", None) or app.app
    for route in app.routes:
        assert isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}:
            yield method, route.path


async def _headers(app: Any, role: str, email: str) -> dict[str, str]:
    if role == "a customer":
        return {"x-session-token": (await sign_in(app, email)).json()["session_token"]}
    return {"authorization": f"Bearer {(await visit(app))['authorization']}"} if role == "a guest" else {}


def _body(method: str, path: str) -> dict[str, Any]:
    if PUBLIC[method, path] == CLIENT:
        return {"data": {"grant_type": "client_credentials", "token": "of a customer"}}
    if method == "GET":
        return {}
    return {"json": {"query": "{ getCart { id } }"} if path == "/graphql" else {}}


def _graphql_outcome(answer: Any) -> str:
    told = answer.json()
    return str(told["errors"][0]["extensions"]["code"]) if "errors" in told else "data"


def _operations(kind: str) -> Iterator[tuple[str, str]]:
    """Yield one operation for each field of a root type, with the fewest arguments that it takes."""
    schema = core_schema()
    root = schema.query_type if kind == "query" else schema.mutation_type
    assert root is not None
    for name, field in root.fields.items():
        given = ", ".join(
            f"{argument}: {_literal(taken.type)}"
            for argument, taken in field.args.items()
            if isinstance(taken.type, GraphQLNonNull)
        )
        yield name, f"{kind} {{ {name}{f'({given})' if given else ''} {_selection(field)} }}"


def _selection(field: GraphQLField) -> str:
    return "" if is_leaf_type(get_named_type(field.type)) else "{ __typename }"


def _literal(type_: GraphQLInputType) -> str:
    if isinstance(type_, GraphQLNonNull):
        return _literal(type_.of_type)
    if isinstance(type_, GraphQLList):
        return f"[{_literal(type_.of_type)}]"
    if isinstance(type_, GraphQLInputObjectType):
        needed = {name: each for name, each in type_.fields.items() if isinstance(each.type, GraphQLNonNull)}
        return "{" + ", ".join(f"{name}: {_literal(each.type)}" for name, each in needed.items()) + "}"
    return {"Int": "1", "Float": "1.0", "Boolean": "true"}.get(str(type_), '"x"')


async def _customer(scene: Scene) -> str:
    app, email = await scene.native(), new_address()
    await sign_up(app, email)
    return str((await visit(app, username=email, password=PASSWORD))["authorization"])


async def _order(app: Any, token: str, cart: str) -> dict[str, Any]:
    draft = (await ask(app, token, ORDER, cart=cart))["data"]["checkOut"]["order"]["id"]
    placed = await ask(app, token, PLACE, order=draft)
    assert "errors" not in placed, placed
    return dict(placed["data"]["placeOrder"]["order"])
