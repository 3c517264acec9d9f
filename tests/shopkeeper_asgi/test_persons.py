"""Who is a user, in every mode: a person who has signed in, with the agent who acts as one; no guest, no service."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from shopkeeper_asgi import Authenticator, Introspect, TokenInvalid, User, WhoAmI
from shopkeeper_asgi.jwt import Jwt
from tests.docs.conftest import STOCK_KEY
from tests.services.shopkeeper_server import Commerce
from tests.services.web import Server, says, serving
from tests.shopkeeper_asgi.conftest import Customer, Make
from tests.shopkeeper_asgi.issuer import Issuer
from tests.shopkeeper_asgi.test_real_issuers import CLIENT, STOCK

ACTOR = {"type": "agent", "sub": "9"}


@pytest.fixture
async def provider() -> AsyncIterator[Server]:
    async with serving("127.0.0.1") as server:
        yield server


Ask = Callable[[Server, Make, Any], Any]


async def by_whoami(provider: Server, make: Make, actor: Any) -> User | None:
    session = {"active": True, "identity": {"id": "7"}, "actor": actor}
    provider.answers["/sessions/whoami"] = says(json.dumps(session).encode())
    return await make(WhoAmI(url=provider.url())).authenticate([("session_token", "ory_st_a")])


async def by_introspection(provider: Server, make: Make, actor: Any) -> User | None:
    answer = {"active": True, "sub": "7", "token_type": "Bearer", "act": actor}
    provider.answers["/i"] = says(json.dumps(answer).encode())
    return await make(Introspect(url=provider.url("/i"), bearer="k")).authenticate([("session_token", "a")])


async def by_signature(provider: Server, make: Make, actor: Any) -> User | None:
    issuer = Issuer(provider)
    return await make(issuer.mode()).authenticate([("session_token", issuer.token(act=actor))])


@pytest.mark.parametrize("ask", [by_whoami, by_introspection, by_signature])
class TestActor:
    async def test_who_acts_as_the_user_is_told(self, ask: Ask, provider: Server, make: Make) -> None:
        user = await ask(provider, make, ACTOR)
        assert (user.id, user.actor) == ("7", ACTOR)
        assert user.as_dict()["actor"] == ACTOR
        with pytest.raises(TypeError):
            user.actor["sub"] = "7"

    async def test_a_user_s_own_request_has_none(self, ask: Ask, provider: Server, make: Make) -> None:
        assert (await ask(provider, make, None)).actor is None


def client_credentials(shop: Commerce) -> str:
    asked = {"grant_type": "client_credentials", "audience": STOCK}
    return str(httpx2.post(f"{shop.public}/oauth2/token", data=asked, auth=CLIENT).json()["access_token"])


def guest(shop: Commerce) -> str:
    return str(httpx2.post(f"{shop.public}/signin", json={}).json()["authorization"])


class TestThisServer:
    """Regression: guests and services were users."""

    @pytest.fixture(params=["whoami", "introspect", "jwt"])
    def asking(self, request: pytest.FixtureRequest, shop: Commerce, make: Make) -> Authenticator:
        modes = {
            "whoami": WhoAmI(url=shop.public),
            "introspect": Introspect(url=f"{shop.public}/oauth2/introspect", bearer=STOCK_KEY),
            "jwt": Jwt(issuer=shop.public, audience=STOCK),
        }
        return make(modes[request.param])

    @pytest.mark.parametrize("token_of", [guest, client_credentials])
    async def test_neither_a_guest_nor_a_service_is_a_user(
        self, asking: Authenticator, shop: Commerce, token_of: Callable[[Commerce], str]
    ) -> None:
        with pytest.raises(TokenInvalid):
            await asking.authenticate([("authorization", f"Bearer {token_of(shop)}")])

    async def test_a_customer_is_one(self, shop: Commerce, make: Make, customer: Customer) -> None:
        asking = make(Introspect(url=f"{shop.public}/oauth2/introspect", bearer=STOCK_KEY))
        user = await asking.authenticate([("session_token", customer.token)])
        assert user is not None
        assert user.session["kind"] == "customer"
