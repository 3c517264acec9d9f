"""The HTTP side of GraphQL: which requests are accepted, from whom, and how they are answered."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from graphql import get_introspection_query
from starlette.requests import Request
from structlog.testing import capture_logs

from shopkeeper.client import Client as Caller
from shopkeeper.clock import StoppedClock
from shopkeeper.commerce.embedded.carts import EmbeddedCarts
from shopkeeper.commerce.port import Profile
from shopkeeper.sessions.values import Principal, PrincipalKind
from tests.graphql.shop import BASE_URL, GET_CART, ME, Client, Stand, opened

QUERY = b'{"query": "{ getCart { id } }"}'
JSON = "application/json"


async def send(client: Client, content: bytes = QUERY, **headers: str) -> httpx2.Response:
    """Send a body as it is. An underscore in a header's name stands for a dash."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.http.post("/graphql", content=content, headers={**client.headers, **named})


def code(answer: httpx2.Response) -> str:
    [error] = answer.json()["errors"]
    return str(error["extensions"]["code"])


class TestRequests:
    async def test_an_answer_is_json_that_is_not_cached(self, visitor: Client) -> None:
        answer = await send(visitor, content_type=JSON)
        assert (answer.status_code, answer.json()) == (200, {"data": {"getCart": None}})
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize(
        "content_type",
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/graphql", ""],
    )
    async def test_only_json_is_read(self, visitor: Client, content_type: str) -> None:
        answer = await send(visitor, content_type=content_type)
        assert (answer.status_code, code(answer)) == (400, "MALFORMED_BODY")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"null",
            b'"{ getCart { id } }"',
            b"[]",
            b'[{"query": "{ getCart { id } }"}]',  # a batch
            b"{}",
            b'{"query": ""}',
            b'{"query": 7}',
            b'{"query": "{ getCart { id } }", "variables": []}',
            b'{"query": "{ getCart { id } }", "operationName": {}}',
            b'{"query": "\\ud800"}',
            b'{"variables": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        ],
    )
    async def test_a_malformed_request_is_refused(self, visitor: Client, content: bytes) -> None:
        answer = await send(visitor, content, content_type=JSON)
        assert code(answer) == "MALFORMED_BODY"
        assert answer.status_code in {200, 400}

    async def test_a_batch_has_a_status_of_its_own(self, visitor: Client) -> None:
        assert (await send(visitor, b"[" + QUERY + b"]", content_type=JSON)).status_code == 400

    async def test_a_huge_body_is_not_read_to_the_end(self, visitor: Client) -> None:
        read = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal read
            for _ in range(1_000):
                read += 1
                yield b" " * 10_000

        headers = {**visitor.headers, "content-type": JSON}
        answer = await visitor.http.post("/graphql", content=endless(), headers=headers)
        assert (answer.status_code, code(answer)) == (413, "BODY_TOO_LARGE")
        assert answer.headers["x-error-code"] == "body_too_large"

    @pytest.mark.parametrize(
        "value",
        [b"[" * 40 + b"]" * 40, b'{"a":' * 40 + b"1" + b"}" * 40, b"[" + b"1," * 5_000 + b"1]"],
        ids=["deep lists", "deep objects", "many values"],
    )
    @pytest.mark.parametrize("part", [b"variables", b"extensions"])
    async def test_variables_are_bounded_like_every_other_body(
        self, visitor: Client, part: bytes, value: bytes
    ) -> None:
        content = b'{"query": "{ getCart { id } }", "' + part + b'": {"any": ' + value + b"}}"
        answer = await send(visitor, content, content_type=JSON)
        assert (answer.status_code, code(answer)) == (400, "MALFORMED_BODY")

    async def test_a_persisted_query_is_asked_for_in_full(self, visitor: Client) -> None:
        """Apollo's clients send the text when they see this code."""
        answer = await send(visitor, b'{"extensions": {"persistedQuery": {"version": 1}}}', content_type=JSON)
        assert (answer.status_code, code(answer)) == (200, "PERSISTED_QUERY_NOT_SUPPORTED")

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
    async def test_operations_are_posted(self, visitor: Client, method: str) -> None:
        answer = await visitor.http.request(method, "/graphql?query={getCart{id}}", headers=visitor.headers)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    async def test_unknown_members_of_a_request_are_ignored(self, visitor: Client) -> None:
        body = b'{"query": "{ getCart { id } }", "variables": null, "operationName": null, "extensions": {}, "id": 7}'
        assert "data" in (await send(visitor, body, content_type=JSON)).json()

    async def test_one_of_several_operations_is_chosen_by_name(self, visitor: Client) -> None:
        query = "query A { a: getCart { id } } query B { b: getCart { id } }"
        bodies = [{"query": query, "operationName": name} for name in ("B", "C", None)]
        chosen, unknown, none = [await send(visitor, msgspec.json.encode(body), content_type=JSON) for body in bodies]
        assert chosen.json() == {"data": {"b": None}}
        assert code(unknown) == code(none) == "BAD_USER_INPUT"


class TestWhoAsks:
    async def test_a_caller_without_a_token_is_asked_to_authenticate(self, small_stand: Stand) -> None:
        error = await small_stand.client().refusal(GET_CART)
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
        assert "authentication" in error["message"]

    @pytest.mark.parametrize("token", ["nonsense", "Bearer", "ory_st_unknown", "a..b.c.d", "x" * 5_000])
    async def test_a_bad_token_is_reported(self, small_stand: Stand, token: str) -> None:
        stranger = small_stand.client(authorization=f"Bearer {token}")
        assert (await stranger.refusal(GET_CART))["extensions"]["code"] in {"TOKEN_INVALID", "UNAUTHENTICATED"}

    async def test_an_empty_tenant_counts_as_none(self, visitor: Client) -> None:
        visitor.headers["br-acct-env"] = ""
        assert "errors" not in await visitor.ask(GET_CART)

    @pytest.mark.parametrize(
        "query",
        [
            "{ findOrders { total } }",
            '{ getOrderById(id: "x") { id } }',
            '{ getOrderByOrderNumber(orderNumber: "x") { id } }',
            'mutation { checkOut(cartId: "x") { code } }',
            'mutation { placeOrder(id: "x") { code } }',
        ],
    )
    async def test_what_is_for_customers_is_refused_to_visitors(self, visitor: Client, query: str) -> None:
        error = await visitor.refusal(query)
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
        assert "authentication" in error["message"]

    async def test_a_refused_field_leaves_the_others_alone(self, visitor: Client) -> None:
        answer = await visitor.ask('{ findOrders { total } findItemById(id: "breakfast-tea") { slug } }')
        assert answer["data"] == {"findOrders": None, "findItemById": {"slug": "breakfast-tea"}}
        assert answer["errors"][0]["path"] == ["findOrders"]

    async def test_a_subscription_is_not_there(self, visitor: Client) -> None:
        assert "errors" in await visitor.ask("subscription { getCart { id } }")

    async def test_a_customer_without_a_session_is_known_by_the_engine(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The token was issued by another provider; what the engine does not know is null."""
        monkeypatch.chdir(tmp_path)

        async def identify(request: Request) -> Principal:
            return Principal(PrincipalKind.CUSTOMER, request.headers["x-subject"], "kettle", Caller(ip="203.0.113.7"))

        async with opened(sqlite_dsn, tmp_path, clock, identify=identify) as stand:
            shopper = stand.shop.stores.require("kettle").customer("ada")
            async with stand.infrastructure.database.unit() as unit:
                profile = Profile("ada", "ada@example.org", "Ada", "Lovelace")
                await stand.shop.engines["embedded"].bind(unit, shopper).customers.ensure(profile)
            known = await stand.client(**{"x-subject": "ada"}).data(ME)
            unknown = await stand.client(**{"x-subject": "eve"}).data(ME)
        assert known["getCurrentCustomer"] == {"id": "ada", "email": "ada@example.org", "firstName": "Ada"}
        assert unknown["getCurrentCustomer"] is None


class TestCookies:
    """A browser sends cookies by itself, so a request that relies on them must come from one of our own pages."""

    async def browser(self, stand: Stand) -> Client:
        browser = stand.client()
        answer = await browser.http.post("/signin", json={}, headers={"sec-fetch-site": "same-origin"})
        [cookie] = answer.headers.get_list("set-cookie")
        return stand.client(cookie=cookie.partition(";")[0])

    @pytest.mark.parametrize(
        "own", [{"sec_fetch_site": "same-origin"}, {"origin": BASE_URL, "sec_fetch_site": "same-site"}, {}]
    )
    async def test_our_own_pages_are_authenticated_by_cookies(self, small_stand: Stand, own: dict[str, str]) -> None:
        browser = await self.browser(small_stand)
        assert (await send(browser, content_type=JSON, **own)).json() == {"data": {"getCart": None}}

    @pytest.mark.parametrize(
        "foreign",
        [
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": f"{BASE_URL}.evil.example"},
        ],
    )
    async def test_other_sites_pages_are_refused(self, small_stand: Stand, foreign: dict[str, str]) -> None:
        browser = await self.browser(small_stand)
        answer = await send(browser, content_type=JSON, **foreign)
        assert (answer.status_code, code(answer)) == (403, "FORBIDDEN")

    async def test_a_bearer_token_needs_no_proof_of_origin(self, small_stand: Stand) -> None:
        client = await small_stand.visitor()
        assert (await send(client, content_type=JSON, origin="https://app.example")).status_code == 200


class TestInput:
    async def test_an_unknown_input_field_is_refused(self, visitor: Client) -> None:
        mutation = "mutation($input: AddToCartInput!) { addToCart(addToCartInput: $input) { code } }"
        error = await visitor.refusal(mutation, input={"itemId": "x", "price": 1})
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert "price" in error["message"]

    async def test_an_unknown_input_field_in_the_text_is_refused(self, visitor: Client) -> None:
        mutation = 'mutation { addToCart(addToCartInput: {itemId: "x", owner: "me"}) { code } }'
        error = await visitor.refusal(mutation)
        assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"

    @pytest.mark.parametrize("value", [["x"], {"$ne": ""}, 7, True, None])
    async def test_a_string_variable_must_be_a_string(self, visitor: Client, value: Any) -> None:
        query = "query($id: String!) { findItemById(id: $id) { slug } }"
        assert (await visitor.refusal(query, id=value))["extensions"]["code"] == "BAD_USER_INPUT"

    @pytest.mark.parametrize("id_", ["", "\x00", "' OR 1=1 --", "☕" * 500, "___", "a___b___c"])
    async def test_odd_ids_find_nothing(self, visitor: Client, id_: str) -> None:
        assert (await visitor.data("query($id: String!) { findItemById(id: $id) { slug } }", id=id_)) == {
            "findItemById": None
        }

    @pytest.mark.parametrize(("offset", "limit"), [(-1, 20), (0, 0), (0, 101), (0, -1), (10_001, 20)])
    async def test_a_page_out_of_range_is_refused(self, visitor: Client, offset: int, limit: int) -> None:
        query = 'query($o: Int, $l: Int) { findItemsByKeyword(text: "", offset: $o, limit: $l) { total } }'
        assert (await visitor.refusal(query, o=offset, l=limit))["extensions"]["code"] == "INVALID_INPUT"

    async def test_a_null_page_is_the_first(self, visitor: Client) -> None:
        query = 'query($o: Int, $l: Int) { findItemsByKeyword(text: "", offset: $o, limit: $l) { offset limit } }'
        assert (await visitor.data(query, o=None, l=None))["findItemsByKeyword"] == {"offset": 0, "limit": 20}

    async def test_a_foreign_cursor_is_refused(self, visitor: Client) -> None:
        query = 'query { findItemsByKeyword(text: "", queryHint: {cursor: "abc"}) { total } }'
        assert (await visitor.refusal(query))["extensions"]["code"] == "INVALID_PAGE_TOKEN"


@pytest.fixture
async def development(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stand]:
    """A shop with introspection and the playground."""
    monkeypatch.chdir(tmp_path)
    async with opened(sqlite_dsn, tmp_path, clock, introspection=True, playground=True) as stand:
        yield stand


class TestDevelopment:
    async def test_the_schema_may_be_queried_without_a_token(self, development: Stand) -> None:
        data = await development.client().data(get_introspection_query())
        assert data["__schema"]["queryType"]["name"] == "Query"

    async def test_other_fields_beside_the_schema_still_need_a_token(self, development: Stand) -> None:
        error = await development.client().refusal("{ __typename getCart { id } }")
        assert error["extensions"]["code"] == "UNAUTHENTICATED"

    async def test_a_browser_gets_a_page_that_loads_nothing_from_elsewhere(self, development: Stand) -> None:
        answer = await development.client().http.get("/graphql")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "type Query" in answer.text
        assert "http://" not in answer.text
        assert "https://" not in answer.text

    async def test_introspection_and_playground_are_off_in_production(self, small_stand: Stand) -> None:
        assert (await small_stand.client().http.get("/graphql")).status_code == 405
        error = await (await small_stand.visitor()).refusal("{ __schema { __typename } }")
        assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


class TestFailures:
    async def test_an_unexpected_error_is_masked_and_logged(
        self, visitor: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*_: Any) -> None:
            raise LookupError("a secret detail")

        monkeypatch.setattr(EmbeddedCarts, "current", fail)
        with capture_logs() as logged:
            answer = await visitor.ask('{ getCart { id } findItemById(id: "breakfast-tea") { slug } }')
        assert answer["data"] == {"getCart": None, "findItemById": {"slug": "breakfast-tea"}}
        [error] = answer["errors"]
        assert (error["path"], error["extensions"]) == (["getCart"], {"code": "INTERNAL_SERVER_ERROR"})
        assert "secret" not in str(answer)
        [line] = [line for line in logged if line["event"] == "graphql failed"]
        assert (line["log_level"], line["path"]) == ("error", "getCart")
        assert "a secret detail" in str(line["exc_info"])

    async def test_a_refusal_is_distinguished_in_the_log(self, visitor: Client) -> None:
        with capture_logs() as logged:
            await visitor.ask("{ findOrders { total } }")
        assert [line["error"] for line in logged if line["event"] == "graphql refused"] == ["UNAUTHENTICATED"]

    async def test_me_is_null_for_a_visitor_and_no_error(self, visitor: Client) -> None:
        assert await visitor.ask(ME) == {"data": {"getCurrentCustomer": None}}
