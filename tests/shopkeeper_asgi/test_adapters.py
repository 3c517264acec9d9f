"""What every adapter promises, with its real framework and a real server."""

from typing import Any

import httpx2
import pytest

from shopkeeper_asgi import Authenticator, WhoAmI
from tests.services.shopkeeper_server import Commerce
from tests.shopkeeper_asgi.adapters import ADAPTERS, PATH, SCHEMA, SEED, Adapter, Reply, fastapi_app, graphql
from tests.shopkeeper_asgi.conftest import Customer, Make


@pytest.fixture(params=ADAPTERS.values(), ids=list(ADAPTERS))
def ask(request: pytest.FixtureRequest) -> Adapter:
    adapter: Adapter = request.param
    return adapter


@pytest.fixture
def optional(shop: Commerce, make: Make) -> Authenticator:
    return make(WhoAmI(url=shop.public), optional=True)


def sentence(reply: Reply) -> str:
    """Return the sentence of a refusal, wherever the framework has it."""
    told = reply.json()
    return str(told["detail"] if "detail" in told else told["error"]["message"])


async def test_a_session_has_its_user(ask: Adapter, authenticator: Authenticator, customer: Customer) -> None:
    reply = await ask(authenticator, {SEED: customer.token})
    assert reply.status == 200
    user = reply.json()["user"]
    assert sorted(user) == ["actor", "email", "id", "session", "traits", "verified"]
    assert user["actor"] is None
    assert (user["email"], user["verified"], user["traits"]) == (customer.email, False, {"email": customer.email})


async def test_the_cookie_counts_as_well(ask: Adapter, authenticator: Authenticator, customer: Customer) -> None:
    reply = await ask(authenticator, {"cookie": f"ory_kratos_session={customer.token}"})
    assert reply.json()["user"]["email"] == customer.email


async def test_a_missing_token_is_400(ask: Adapter, authenticator: Authenticator) -> None:
    reply = await ask(authenticator, {})
    assert reply.status == 400
    assert sentence(reply).startswith("The request has no session token: send it in the header session_token")
    assert reply.headers["cache-control"] == "no-store"


async def test_a_wrong_token_is_401_with_the_provider_s_sentence(
    ask: Adapter, authenticator: Authenticator, shop: Commerce
) -> None:
    asked = httpx2.get(f"{shop.public}/sessions/whoami", headers={"x-session-token": "ory_st_wrong"})
    reply = await ask(authenticator, {SEED: "ory_st_wrong"})
    assert reply.status == 401
    assert sentence(reply) == asked.json()["error"]["message"]
    assert reply.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_an_outage_is_503(ask: Adapter, make: Make, dead: WhoAmI) -> None:
    for authenticator in (make(dead), make(dead, optional=True, ignore_wrong=True)):
        reply = await ask(authenticator, {SEED: "ory_st_a"})
        assert reply.status == 503
        assert reply.headers["retry-after"] == "5"
        assert sentence(reply) == "The session cannot be checked at the moment: try again in a few seconds."


async def test_where_it_is_optional_a_request_without_a_token_passes(
    ask: Adapter, optional: Authenticator, customer: Customer
) -> None:
    assert (await ask(optional, {})).json() == {"user": None}
    assert (await ask(optional, {SEED: customer.token})).json()["user"]["email"] == customer.email
    assert (await ask(optional, {SEED: "ory_st_wrong"})).status == 401


async def test_a_wrong_token_passes_where_that_is_wanted(ask: Adapter, make: Make, shop: Commerce) -> None:
    lenient = make(WhoAmI(url=shop.public), optional=True, ignore_wrong=True)
    assert (await ask(lenient, {SEED: "ory_st_wrong"})).json() == {"user": None}


async def test_another_site_s_page_cannot_use_the_cookie(
    ask: Adapter, authenticator: Authenticator, customer: Customer
) -> None:
    headers = {"cookie": f"ory_kratos_session={customer.token}", "origin": "https://evil.example"}
    assert (await ask(authenticator, headers, method="POST")).status == 403
    assert (await ask(authenticator, headers, method="GET")).status == 200


def test_fastapi_shows_the_security_schemes(authenticator: Authenticator) -> None:
    document = fastapi_app(authenticator).openapi()
    assert document["components"]["securitySchemes"] == {
        "header session_token": {"type": "apiKey", "name": "session_token", "in": "header"},
        "header x-session-token": {"type": "apiKey", "name": "x-session-token", "in": "header"},
        "bearer": {"type": "http", "scheme": "bearer"},
        "cookie ory_kratos_session": {"type": "apiKey", "name": "ory_kratos_session", "in": "cookie"},
    }
    shown = document["paths"][PATH]["get"]
    assert shown["security"] == [{name: []} for name in document["components"]["securitySchemes"]]
    assert "parameters" not in shown


class TestStrawberry:
    async def test_a_field_for_users_is_for_users(self, optional: Authenticator, customer: Customer) -> None:
        told = await graphql(optional, "{ anybody me mail }", {SEED: customer.token})
        assert told["data"]["mail"] == customer.email
        assert told["data"]["anybody"] is True

    @pytest.mark.parametrize("field", ["me", "mail"])
    async def test_others_are_refused_with_a_code(self, optional: Authenticator, field: str) -> None:
        told: Any = await graphql(optional, f"{{ anybody {field} }}", {})
        assert [error["extensions"]["code"] for error in told["errors"]] == ["UNAUTHENTICATED"]
        assert "authentication" in told["errors"][0]["message"]

    async def test_a_field_for_all_is_for_all(self, optional: Authenticator) -> None:
        assert await graphql(optional, "{ anybody }", {}) == {"data": {"anybody": False}}

    def test_the_printed_schema_shows_the_directive(self) -> None:
        printed = SCHEMA.as_str()
        assert "directive @isLoggedIn on FIELD_DEFINITION" in printed
        assert "me: String! @isLoggedIn" in printed
        assert "anybody: Boolean!\n" in printed
