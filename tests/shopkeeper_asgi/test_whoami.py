"""The mode `whoami`, against a real server; and what a provider may answer besides."""

import asyncio
import copy
import dataclasses
import json
import pickle
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from shopkeeper_asgi import (
    AccessDenied,
    Authenticator,
    ProviderUnavailable,
    SecondFactorRequired,
    TokenInvalid,
    User,
    WhoAmI,
)
from shopkeeper_asgi.whoami import _moment, user_of
from tests.services.shopkeeper_server import Commerce
from tests.services.web import Server, says, serving
from tests.shopkeeper_asgi.conftest import Customer, Make, register

PATH = "/sessions/whoami"
TOKEN = [("session_token", "ory_st_a")]


def session(email: Any = "ada@example.org", addresses: Any = (), **more: Any) -> dict[str, Any]:
    traits = {} if email is None else {"email": email}
    return {"active": True, "identity": {"id": "7", "traits": traits, "verifiable_addresses": addresses}, **more}


def address(value: Any, verified: Any, via: str = "email") -> dict[str, Any]:
    return {"value": value, "verified": verified, "via": via}


class TestOurServer:
    async def test_a_session_has_its_user(self, authenticator: Authenticator, customer: Customer) -> None:
        user = await authenticator.authenticate([("session_token", customer.token)])
        assert user is not None
        assert (user.email, user.verified) == (customer.email, False)
        assert user.traits == {"email": customer.email}
        assert user.session["identity"]["id"] == user.id
        assert user.session["authenticator_assurance_level"] == "aal1"

    async def test_a_wrong_token_gets_the_server_s_sentence(self, authenticator: Authenticator, shop: Commerce) -> None:
        async with httpx2.AsyncClient(base_url=shop.public) as client:
            asked = await client.get(PATH, headers={"x-session-token": "ory_st_wrong"})
        with pytest.raises(TokenInvalid) as raised:
            await authenticator.authenticate([("session_token", "ory_st_wrong")])
        assert asked.status_code == raised.value.status == 401
        assert asked.json()["error"]["message"] == raised.value.message

    async def test_the_session_cookie_and_the_bearer_count_as_well(
        self, authenticator: Authenticator, customer: Customer
    ) -> None:
        cookie = f"ory_kratos_session=dead; ory_kratos_session={customer.token}"
        for headers in ([("cookie", cookie)], [("authorization", f"Bearer {customer.token}")]):
            user = await authenticator.authenticate(headers)
            assert user is not None
            assert user.email == customer.email

    async def test_a_session_that_ended_is_refused_once_the_cache_has_forgotten_it(
        self, make: Make, shop: Commerce
    ) -> None:
        customer, uncached = register(shop), make(WhoAmI(url=shop.public, cache_seconds=0))
        headers = [("x-session-token", customer.token)]
        assert await uncached.authenticate(headers) is not None
        async with httpx2.AsyncClient(base_url=shop.public) as client:
            told = {"session_token": customer.token}
            left = await client.request("DELETE", "/self-service/logout/api", json=told)
        assert left.status_code == 204
        with pytest.raises(TokenInvalid):
            await uncached.authenticate(headers)


class TestVerified:
    @pytest.mark.parametrize(
        ("found", "verified"),
        [
            (session(addresses=[address("ada@example.org", True)]), True),
            (session(addresses=[address("ada@example.org", False)]), False),
            (session(addresses=[]), False),
            (session(addresses=None), False),
            (session(addresses=["odd", {}, address(7, True)]), False),
            # The seed's `verifiable_addresses[0].verified` would be wrong for the next two.
            (session(addresses=[address("old@example.org", True), address("ada@example.org", False)]), False),
            (session(addresses=[address("+49", False, "sms"), address("ada@example.org", True)]), True),
            (session("Ada@Example.org", [address("ada@example.org", True)]), True),
            (session(addresses=[address("ada@example.org", "true")]), False),
            (session(addresses=[address("ada@example.org", True, "sms")]), False),
            (session(None, [address("ada@example.org", True)]), False),
        ],
    )
    def test_the_address_itself_decides(self, found: dict[str, Any], verified: bool) -> None:
        user = user_of(found)
        assert user is not None
        assert user.verified is verified

    @pytest.mark.parametrize(
        "found",
        [
            *({}, {"identity": None}, {"identity": {"id": ""}}, {"identity": {"id": 7}}),
            *(session(actor={}), session(actor="agent"), session(actor=[])),
        ],
    )
    def test_without_an_identity_there_is_no_user(self, found: dict[str, Any]) -> None:
        assert user_of(found) is None

    def test_the_address_may_be_deeper_among_the_traits(self) -> None:
        found = session()
        found["identity"]["traits"] = {"contact": {"email": "ada@example.org"}}
        assert user_of(found).email is None  # type: ignore[union-attr]
        assert user_of(found, email_trait="contact.email").email == "ada@example.org"  # type: ignore[union-attr]
        assert user_of(found, email_trait="contact.email.x").email is None  # type: ignore[union-attr]


class TestUser:
    def test_what_requests_share_cannot_be_changed(self) -> None:
        user = user_of(session(devices=[{"id": "1"}]))
        assert user is not None
        for change in (
            lambda: user.traits.update(a=1),  # type: ignore[attr-defined]
            lambda: user.session["identity"].pop("id"),
            lambda: user.session["devices"].append(1),
            lambda: user.session["devices"][0].setdefault("x", 1),
            lambda: setattr(user, "verified", True),
        ):
            with pytest.raises((TypeError, AttributeError)):
                change()

    def test_a_copy_can_be_changed_and_written(self) -> None:
        user = user_of(session(devices=[{"id": "1"}]))
        assert user is not None
        for mine in (user.as_dict(), dataclasses.asdict(user)):
            assert json.loads(json.dumps(mine))["session"]["devices"] == [{"id": "1"}]
        mine = user.as_dict()
        mine["session"]["devices"][0]["id"] = "2"
        assert user.session["devices"][0]["id"] == "1"
        assert copy.deepcopy(user).as_dict() == user.as_dict()
        assert pickle.loads(pickle.dumps(user)) == user

    def test_a_log_shows_no_traits(self) -> None:
        assert repr(user_of(session())) == "User(id='7')"


@pytest.fixture
async def provider() -> AsyncIterator[Server]:
    async with serving("127.0.0.1") as server:
        yield server


def error(status: int, **told: Any) -> bytes:
    return json.dumps({"error": {"code": status, **told}}).encode()


class TestAnswers:
    @pytest.fixture
    def asking(self, provider: Server, make: Make) -> Authenticator:
        return make(WhoAmI(url=provider.url()))

    async def test_a_second_factor_that_is_asked_for_is_passed_on(
        self, provider: Server, asking: Authenticator
    ) -> None:
        body = {"error": {"id": "session_aal2_required", "code": 403, "message": "Session does not fulfill it"}}
        body["redirect_browser_to"] = "https://id.example/login?aal=aal2"  # type: ignore[assignment]
        provider.answers[PATH] = says(json.dumps(body).encode(), status="403 Forbidden")
        with pytest.raises(SecondFactorRequired) as raised:
            await asking.authenticate(TOKEN)
        assert raised.value.as_dict()["error"] == {
            "id": "session_aal2_required",
            "code": 403,
            "status": "Forbidden",
            "message": "Session does not fulfill it",
            "redirect_browser_to": "https://id.example/login?aal=aal2",
        }

    async def test_another_refusal_is_passed_on(self, provider: Server, asking: Authenticator) -> None:
        provider.answers[PATH] = says(error(403, message="No"), status="403 Forbidden")
        with pytest.raises(AccessDenied, match="No"):
            await asking.authenticate(TOKEN)

    async def test_a_sentence_is_one_line_of_bounded_length(self, provider: Server, asking: Authenticator) -> None:
        provider.answers[PATH] = says(error(401, message="a\r\nb\x00 " + 9999 * "c"), status="401 Unauthorized")
        with pytest.raises(TokenInvalid) as raised:
            await asking.authenticate(TOKEN)
        assert raised.value.message.startswith("a b ccc")
        assert len(raised.value.message) == 500

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (b"", "500 Internal Server Error"),
            (b"{}", "404 Not Found"),
            (b"", "302 Found"),
            (b"{}", "200 OK"),
            (b"not json", "200 OK"),
            (b"[]", "200 OK"),
            (b'{"identity": ' + 60_000 * b"[", "200 OK"),
            (300_000 * b" ", "200 OK"),
            (b'{"identity": {"id": "7", "id": "8"}}', "200 OK"),
        ],
    )
    async def test_an_answer_that_is_none_is_an_outage(
        self, provider: Server, asking: Authenticator, body: bytes, status: str
    ) -> None:
        provider.answers[PATH] = says(body, status=status, Location="http://127.0.0.1:1/")
        with pytest.raises(ProviderUnavailable) as raised:
            await asking.authenticate(TOKEN)
        assert raised.value.headers["retry-after"] == "5"

    async def test_retry_after_is_passed_on(self, provider: Server, asking: Authenticator) -> None:
        provider.answers[PATH] = says(b"", status="429 Too Many Requests", Retry_After="17")
        with pytest.raises(ProviderUnavailable) as raised:
            await asking.authenticate(TOKEN)
        assert raised.value.headers["retry-after"] == "17"

    async def test_an_outage_is_not_remembered(self, provider: Server, asking: Authenticator) -> None:
        provider.answers[PATH] = says(b"", status="503 Service Unavailable")
        with pytest.raises(ProviderUnavailable):
            await asking.authenticate(TOKEN)
        provider.answers[PATH] = says(json.dumps(session()).encode())
        assert (await asking.authenticate(TOKEN)) is not None

    async def test_an_inactive_session_is_none(self, provider: Server, asking: Authenticator) -> None:
        provider.answers[PATH] = says(json.dumps(session() | {"active": False}).encode())
        with pytest.raises(TokenInvalid):
            await asking.authenticate(TOKEN)

    async def test_what_the_provider_allows_bounds_the_cache(self, provider: Server, asking: Authenticator) -> None:
        provider.answers[PATH] = says(json.dumps(session()).encode(), Ory_Session_Cache_For="0")
        await asking.authenticate(TOKEN)
        await asking.authenticate(TOKEN)
        assert len(provider.heads) == 2

    async def test_a_token_goes_on_in_one_header_alone(self, provider: Server, asking: Authenticator) -> None:
        provider.answers[PATH] = says(json.dumps(session()).encode())
        await asking.authenticate([*TOKEN, ("cookie", "other=1"), ("x-forwarded-for", "1.2.3.4")])
        (head,) = provider.heads
        assert "x-session-token: ory_st_a" in head.lower()
        assert "other=1" not in head
        assert "1.2.3.4" not in head

    async def test_a_connection_that_was_closed_meanwhile_is_no_outage(self, provider: Server, make: Make) -> None:
        uncached = make(WhoAmI(url=provider.url(), cache_seconds=0))
        provider.answers[PATH] = says(json.dumps(session()).encode())
        assert isinstance(await uncached.authenticate(TOKEN), User)
        for task in provider.open:
            assert task is not None
            task.cancel()
        await asyncio.sleep(0)
        assert isinstance(await uncached.authenticate(TOKEN), User)


def test_moments_of_go_have_nine_digits() -> None:
    assert _moment("2026-03-14T15:09:26.123456789Z") == pytest.approx(1773500966.123456)
    assert _moment("2026-03-14T15:09:26") is None
    assert _moment(None) is None
    assert _moment("soon") is None
