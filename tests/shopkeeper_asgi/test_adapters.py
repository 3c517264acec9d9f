"""What every adapter promises, with its real framework and a real server."""

import json
from typing import Any

import httpx2
import pytest
from flask import Flask

from shopkeeper_asgi import Authenticator, WhoAmI
from shopkeeper_asgi.flask import Sessions
from tests.services.shopkeeper_server import Commerce
from tests.services.web import says, serving
from tests.shopkeeper_asgi.adapters import ADAPTERS, PATH, SCHEMA, SEED, Adapter, Reply, fastapi_app, graphql
from tests.shopkeeper_asgi.conftest import Customer, Make


@pytest.fixture(params=ADAPTERS.values(), ids=list(ADAPTERS))
def ask(request: pytest.FixtureRequest) -> Adapter:
    adapter: Adapter = request.param
    return adapter


@pytest.fixture
def optional(shop: Commerce, make: Make) -> Authenticator:
    return make(WhoAmI(url=shop.public), optional=True)


def why(reply: Reply) -> dict[str, Any]:
    """Return why a request is refused, wherever the framework has it."""
    told = reply.json()
    found: dict[str, Any] = next(told[name] for name in ("extra", "detail", "error") if name in told)
    return found


def sentence(reply: Reply) -> str:
    return str(why(reply)["message"])


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


async def test_a_client_can_tell_one_refusal_from_another(ask: Adapter, make: Make) -> None:
    """Regression: FastAPI and Litestar told the sentence alone."""
    second_factor = {"id": "session_aal2_required", "code": 403, "message": "Confirm it."}
    body = {"error": second_factor, "redirect_browser_to": "https://id.example/login?aal=aal2"}
    async with serving("127.0.0.1") as provider:
        provider.answers["/sessions/whoami"] = says(json.dumps(body).encode(), status="403 Forbidden")
        asking = make(WhoAmI(url=provider.url()))
        refused = await ask(asking, {SEED: "ory_st_a"})
        forged = await ask(asking, {"cookie": "ory_kratos_session=a", "sec-fetch-site": "same-site"}, method="POST")
        missing = await ask(asking, {})
    told = {"status": "Forbidden", "redirect_browser_to": "https://id.example/login?aal=aal2"}
    assert why(refused) == second_factor | told
    assert (why(forged)["id"], why(forged)["code"]) == ("cross_site_request", 403)
    assert (why(missing)["id"], why(missing)["code"]) == ("session_token_missing", 400)


def test_flask_answers_a_browser_that_asks_whether_it_may_send_a_token(authenticator: Authenticator) -> None:
    app = Flask("shop")
    Sessions(authenticator).init_app(app)
    app.add_url_rule(PATH, view_func=lambda: "secret", endpoint="profile")
    app.add_url_rule("/own", view_func=lambda: "secret", methods=["OPTIONS"], provide_automatic_options=False)
    asked = {"origin": "https://www.shop.example", "access-control-request-method": "GET"}
    client = app.test_client()
    assert (client.options(PATH, headers=asked).status_code, client.get(PATH).status_code) == (200, 400)
    assert client.options("/own", headers=asked).status_code == 400
    assert client.options("/unknown", headers=asked).status_code == 400


async def test_no_event_loop_is_held_by_the_synchronous_way(authenticator: Authenticator) -> None:
    with pytest.raises(RuntimeError, match="await authenticate"):
        authenticator.authenticate_sync([(SEED, "ory_st_a")])


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
