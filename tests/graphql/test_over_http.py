"""GraphQL over HTTP: the media type of an answer, and the status that goes with it.

The cases are those of the audits of the npm package `graphql-http`, with their ids.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.graphql.media_types import GRAPHQL, JSON, media_type
from tests.graphql.shop import GET_CART, Client, Stand, opened

TYPENAME = "{ __typename }"
UNKNOWN = "{ f8f31403dfe404bccbb0e835f2629c6a7 }"
BY_NAME = "query Type($name: String!) { __type(name: $name) { name } }"
NOT_NULL = "query CoerceFailure($id: ID!){ __typename }"


@pytest.fixture
async def development(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Client]:
    """A caller without a token, who may query the schema."""
    monkeypatch.chdir(tmp_path)
    async with opened(sqlite_dsn, tmp_path, clock, introspection=True) as stand:
        yield stand.client()


async def send(client: Client, body: Any, *, accept: str | None = None, **headers: str) -> httpx2.Response:
    """POST a body as JSON, or as it is if it is a text."""
    content = body if isinstance(body, str) else msgspec.json.encode(body)
    all_ = {"content-type": JSON, **client.headers, **headers}
    request = client.http.build_request("POST", "/graphql", content=content, headers=all_)
    if accept is None:
        del request.headers["accept"]
    else:
        request.headers["accept"] = accept
    return await client.http.send(request)


class TestNegotiation:
    @pytest.mark.parametrize(
        ("accept", "wanted"),
        [
            (None, JSON),
            ("", JSON),
            ("*/*", JSON),
            ("application/*", JSON),
            (JSON, JSON),
            (GRAPHQL, GRAPHQL),
            (f"{GRAPHQL}; charset=utf-8", GRAPHQL),
            (GRAPHQL.upper(), GRAPHQL),
            (f"{GRAPHQL}, {JSON}", GRAPHQL),
            (f"{JSON}, {GRAPHQL}", GRAPHQL),
            (f"{GRAPHQL}, {JSON};q=0.9", GRAPHQL),
            (f"{GRAPHQL};q=0.5, {JSON}", JSON),
            (f"{GRAPHQL};q=0.5, */*;q=0.1", GRAPHQL),
            (f"{GRAPHQL};q=0.5, */*", JSON),
            (f"{GRAPHQL};q=0, */*", JSON),
            (f"{JSON};q=0, */*", GRAPHQL),
            (f"{JSON};q=0, {GRAPHQL};q=0, */*", JSON),
            (f"{GRAPHQL};q=2", JSON),
            (f"{GRAPHQL};q=many", JSON),
            ("text/html", JSON),
            ("multipart/mixed;deferSpec=20220824, application/graphql-response+json, application/json", GRAPHQL),
            ("," * 500 + GRAPHQL, JSON),
        ],
    )
    def test_prefers_what_the_client_prefers(self, accept: str | None, wanted: str) -> None:
        assert media_type(accept) == wanted


class TestAudits:
    @pytest.mark.parametrize(
        ("accept", "answered"),
        [
            pytest.param(GRAPHQL, GRAPHQL, id="22EB"),
            pytest.param(JSON, JSON, id="4655"),
            pytest.param("*/*", JSON, id="47DE"),
            pytest.param(None, JSON, id="80D8 82A3 78D5 2C94 03D4"),
        ],
    )
    async def test_the_type_of_an_answer(self, development: Client, accept: str | None, answered: str) -> None:
        answer = await send(development, {"query": TYPENAME}, accept=accept)
        assert (answer.status_code, answer.json()) == (200, {"data": {"__typename": "Query"}})
        assert answer.headers["content-type"] == f"{answered}; charset=utf-8"

    @pytest.mark.parametrize("accept", [JSON, GRAPHQL])
    @pytest.mark.parametrize(
        "body",
        [
            pytest.param({"query": TYPENAME}, id="34A2 13EE"),
            pytest.param({"query": "query Query { __typename }", "operationName": "Query"}, id="8161 B8B3"),
            pytest.param({"query": TYPENAME, "variables": None}, id="94B0 0220"),
            pytest.param({"query": TYPENAME, "operationName": None}, id="94B1 0221"),
            pytest.param({"query": TYPENAME, "extensions": None}, id="94B2 0222"),
            pytest.param({"query": BY_NAME, "variables": {"name": "sometype"}}, id="2EA1 28B9"),
            pytest.param({"query": TYPENAME, "extensions": {"some": "value"}}, id="428F 1B7A"),
        ],
    )
    async def test_what_is_allowed(self, development: Client, body: Any, accept: str) -> None:
        answer = await send(development, body, accept=accept)
        assert answer.status_code == 200
        assert "errors" not in answer.json()

    async def test_utf_8_in_a_request(self, development: Client) -> None:
        """BF61."""
        query = '{ __type(name: "Run🏃Swim🏊") { name } }'
        answer = await send(development, {"query": query}, **{"content-type": "application/json; charset=utf-8"})
        assert (answer.status_code, answer.json()) == (200, {"data": {"__type": None}})

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            pytest.param({"query": "{"}, "GRAPHQL_PARSE_FAILED", id="572B 865D 556A D586"),
            pytest.param({"query": "{ __typename f8f31403 }"}, "UNAUTHENTICATED", id="no token"),
            pytest.param({"query": "{ __typename @unknown }"}, "GRAPHQL_VALIDATION_FAILED", id="FDE2 51FE 74FF 5E5B"),
            pytest.param({"query": NOT_NULL, "variables": {"id": None}}, "GRAPHQL_VALIDATION_FAILED", id="7B9B 86EE"),
            pytest.param({"query": BY_NAME, "variables": {}}, "BAD_USER_INPUT", id="a missing variable"),
            pytest.param({"query": "query A { __typename } query B { __typename }"}, "BAD_USER_INPUT", id="which one"),
        ],
    )
    async def test_what_is_wrong_has_a_status_in_the_new_type_only(
        self, development: Client, body: Any, code: str
    ) -> None:
        old, new = await send(development, body, accept=JSON), await send(development, body, accept=GRAPHQL)
        assert old.json() == new.json()
        assert "data" not in new.json()
        assert new.json()["errors"][0]["extensions"]["code"] == code
        assert (old.status_code, new.status_code) == (200, 401 if code == "UNAUTHENTICATED" else 400)

    @pytest.mark.parametrize("accept", [None, JSON, GRAPHQL])
    @pytest.mark.parametrize(
        "body",
        [
            pytest.param("", id="A5BF"),
            pytest.param('{ "not a JSON', id="60AA B6DC"),
            *(pytest.param({"query": each}, id=f"LKJ {each}") for each in ({"obj": "ect"}, 0, False, ["array"])),
            *(
                pytest.param({"query": TYPENAME, name: each}, id=f"{name} {each}")
                for name in ("operationName", "variables", "extensions")
                for each in (0, False, ["array"])
            ),
        ],
    )
    async def test_what_is_no_request_has_a_status_in_every_type(
        self, development: Client, body: Any, accept: str | None
    ) -> None:
        answer = await send(development, body, accept=accept)
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (400, "MALFORMED_BODY")
        assert answer.headers["content-type"] == f"{media_type(accept)}; charset=utf-8"

    async def test_a_request_without_a_query(self, development: Client) -> None:
        """423L."""
        assert (await send(development, {"notquery": TYPENAME}, accept=GRAPHQL)).status_code == 400

    async def test_no_content_type(self, development: Client) -> None:
        """9ABE."""
        assert (await send(development, {"query": TYPENAME}, **{"content-type": ""})).status_code == 400


class TestRefusals:
    async def test_unknown_fields_are_invalid(self, small_stand: Stand) -> None:
        """74FF, with a token."""
        visitor = await small_stand.visitor()
        assert (await send(visitor, {"query": UNKNOWN}, accept=GRAPHQL)).status_code == 400
        assert (await send(visitor, {"query": UNKNOWN}, accept=JSON)).status_code == 200

    async def test_a_bad_token_and_none_are_unauthorized(self, small_stand: Stand) -> None:
        for stranger in (small_stand.client(), small_stand.client(authorization="Bearer nonsense")):
            assert (await send(stranger, {"query": GET_CART}, accept=GRAPHQL)).status_code == 401
            assert (await send(stranger, {"query": GET_CART}, accept=JSON)).status_code == 200

    async def test_a_refusal_has_the_headers_of_every_refusal(self, small_stand: Stand) -> None:
        client = small_stand.client(authorization="Bearer nonsense")
        as_graphql, as_json = [await send(client, {"query": GET_CART}, accept=accept) for accept in (GRAPHQL, JSON)]
        assert as_graphql.headers["x-error-code"] == "token_invalid"
        assert "x-error-code" not in as_json.headers

    async def test_an_answer_with_data_has_200_beside_errors(self, small_stand: Stand) -> None:
        visitor = await small_stand.visitor()
        query = '{ findOrders { total } findItemById(id: "breakfast-tea") { slug } }'
        answer = await send(visitor, {"query": query}, accept=GRAPHQL)
        assert (answer.status_code, answer.json()["data"]["findOrders"]) == (200, None)

    async def test_too_costly_an_operation_is_a_bad_request(self, small_stand: Stand) -> None:
        visitor = await small_stand.visitor()
        query = 'query($n: Int) { findItemsByKeyword(text: "", limit: $n) { total } }'
        answer = await send(visitor, {"query": query, "variables": {"n": 10**6}}, accept=GRAPHQL)
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (400, "QUERY_TOO_COMPLEX")
