"""The seed's story in both examples: `GET /users/profile` with the header `session_token`."""

import os
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from jsonschema_rs import validator_for

from tests.services.examples import start_express_shop, start_fastapi_shop
from tests.services.install import NotInstalled
from tests.services.server import Server, free_port
from tests.services.shopkeeper_server import Commerce
from tests.shopkeeper_asgi.conftest import Customer

PATH = "/users/profile"
NAMES = ["fastapi", "express"]
STARTS = {"fastapi": start_fastapi_shop, "express": start_express_shop}


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest) -> str:
    server: Server = request.getfixturevalue(f"{request.param}_shop")
    return server.url


@pytest.fixture(scope="module", params=NAMES)
def cut_off(request: pytest.FixtureRequest) -> Iterator[str]:
    """A backend whose provider is away."""
    try:
        server = STARTS[request.param](f"http://127.0.0.1:{free_port()}", owner=os.getpid())
    except NotInstalled as missing:
        pytest.skip(str(missing))
    yield server.url
    server.stop()


def ask(backend: str, **headers: str) -> httpx2.Response:
    return httpx2.get(f"{backend}{PATH}", headers=headers, timeout=30)


def sentence(answer: httpx2.Response) -> Any:
    told = answer.json()
    return told.get("detail", told)["message"]


def whoami(shop: Commerce, token: str) -> Any:
    return httpx2.get(f"{shop.public}/sessions/whoami", headers={"x-session-token": token}).json()


def test_a_session_has_its_profile(backend: str, shop: Commerce, customer: Customer) -> None:
    answer = ask(backend, session_token=customer.token)
    assert answer.status_code == 200
    identity = whoami(shop, customer.token)["identity"]
    assert answer.json() == {"id": identity["id"], "email": customer.email, "verified": False}


def test_without_the_header_it_is_400(backend: str) -> None:
    answer = ask(backend)
    assert answer.status_code == 400
    assert sentence(answer).startswith("The request has no session token: send it in the header session_token")


def test_a_wrong_token_gets_the_provider_s_status_and_sentence(backend: str, shop: Commerce) -> None:
    answer = ask(backend, session_token="ory_st_wrong")
    assert answer.status_code == 401
    assert sentence(answer) == whoami(shop, "ory_st_wrong")["error"]["message"]


def test_a_malformed_token_is_a_wrong_one(backend: str) -> None:
    answer = ask(backend, session_token="a b")
    assert (answer.status_code, sentence(answer)) == (401, "The session token is malformed.")


def test_an_outage_is_503(cut_off: str) -> None:
    answer = ask(cut_off, session_token="ory_st_a")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert sentence(answer) == "The session cannot be checked at the moment: try again in a few seconds."


def test_fastapi_answers_what_its_document_describes(fastapi_shop: Server, customer: Customer) -> None:
    document = httpx2.get(f"{fastapi_shop.url}/openapi.json").json()
    route = document["paths"][PATH]["get"]
    assert sorted(route["responses"]) == ["200", "400", "401", "403", "503"]
    assert {"header session_token": []} in route["security"]
    schema = {
        **route["responses"]["200"]["content"]["application/json"]["schema"],
        "components": document["components"],
    }
    answer = ask(fastapi_shop.url, session_token=customer.token).json()
    assert validator_for(schema).is_valid(answer)
    assert not validator_for(schema).is_valid({"id": answer["id"]})
