"""Refreshing: refused while it is switched off; switched on, tokens rotate in families, and unknown callers write
nothing."""

from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest

from tests.services.server import wait_until
from tests.stories.conftest import Launch
from tests.stories.places import Ground, Place
from tests.stories.shopping import CART, CUSTOMER
from tests.stories.visitor import Guests, Visitor

MUG, PLATE = "QK-MUG-BLU", "QK-PLATE-21"
REPLAY_WINDOW = "1500ms"
REFRESH = {"type": "refresh"}


@pytest.fixture(scope="module")
def fresh_place(launch_for_module: Launch, infrastructure: Ground) -> Place:
    """A server with refreshing, and a window short enough to wait for."""
    environ = {"TOKEN_REFRESH_ENABLED": "true", "TOKENS_REFRESH_REPLAY_WINDOW": REPLAY_WINDOW}
    return Place(launch_for_module(demo=True, environ=environ, **infrastructure.start_with()), infrastructure)


@pytest.fixture
def guests(fresh_place: Place) -> Iterator[Guests]:
    guests = Guests(fresh_place.public)
    yield guests
    guests.go()


def refreshed(visitor: Visitor, token: str | None) -> httpx.Response:
    return visitor.post("/signin", REFRESH, authorization=f"Bearer {token}")


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["extensions"]["code"]


def works(visitor: Visitor, token: str | None) -> bool:
    visitor.token = token
    return "errors" not in visitor.asked(CUSTOMER)


class TestSwitchedOff:
    def test_every_caller_gets_the_same_refusal(self, place: Place) -> None:
        with Visitor(place.public) as visitor:
            visitor.arrive()
            anonymous = visitor.post("/signin", REFRESH)
            email = visitor.sign_up()
            visitor.sign_in(email)
            customer = visitor.post("/signin", REFRESH)
            nonsense = refreshed(visitor, "nonsense")
            assert {code(answer) for answer in (anonymous, customer, nonsense)} == {(403, "FORBIDDEN")}
            assert "tokens.refresh.enabled" in anonymous.json()["errors"][0]["message"]
            assert visitor.ask(CUSTOMER)["email"] == email


class TestSwitchedOn:
    def test_a_guest_stays_the_same_guest(self, guests: Guests) -> None:
        visitor = guests.guest()
        visitor.put(MUG, 2)
        first = visitor.token
        assert visitor.take(visitor.post("/signin", REFRESH))["customer"] is None
        assert visitor.token != first
        assert visitor.goods() == {MUG: 2}

    def test_a_customers_token_is_replaced_and_the_session_stays(self, guests: Guests) -> None:
        visitor, email = guests.customer(**{MUG: 2})
        first, session = visitor.token, session_of(visitor)
        visitor.take(visitor.post("/signin", REFRESH))
        assert visitor.token != first
        assert session_of(visitor) == session
        assert visitor.ask(CUSTOMER)["email"] == email
        assert visitor.goods() == {MUG: 2}
        wait_until(lambda: not works(visitor, first), "the end of the replay window")

    def test_the_published_clients_bearer_bearer_is_understood(self, guests: Guests) -> None:
        visitor, _ = guests.customer()
        visitor.take(visitor.post("/signin", REFRESH, authorization=f"Bearer Bearer {visitor.token}"))

    def test_a_retry_gets_the_same_successor(self, guests: Guests) -> None:
        visitor, _ = guests.customer()
        first = visitor.token
        successors = [visitor.take(refreshed(visitor, first))["authorization"] for _ in range(3)]
        assert len(set(successors)) == 1
        assert works(visitor, successors[0])

    def test_a_replaced_token_ends_the_family_after_its_window(self, guests: Guests) -> None:
        """A caller that presents it after the window holds a copy of it."""
        visitor, _ = guests.customer()
        first = visitor.token
        visitor.take(refreshed(visitor, first))
        second = visitor.token
        wait_until(lambda: refreshed(visitor, first).status_code != 200, "the end of the replay window")
        assert code(refreshed(visitor, first)) == (403, "FORBIDDEN")
        assert not works(visitor, second)
        assert code(refreshed(visitor, second)) == (403, "FORBIDDEN")

    def test_a_family_that_was_signed_out_has_no_successors(self, guests: Guests) -> None:
        visitor, _ = guests.customer()
        first = visitor.token
        visitor.take(refreshed(visitor, first))
        second = visitor.token
        visitor.take(visitor.post("/signout", {}))
        assert code(refreshed(visitor, first)) == (403, "FORBIDDEN")
        assert code(refreshed(visitor, second)) == (403, "FORBIDDEN")

    def test_without_a_token_there_is_nothing_to_refresh(self, guests: Guests) -> None:
        assert code(guests.stranger().post("/signin", REFRESH)) == (403, "FORBIDDEN")

    @pytest.mark.parametrize("token", ["nonsense", "shk_st_nonsense", "a.b.c.d.e"])
    def test_an_unknown_token_is_refused(self, guests: Guests, token: str) -> None:
        assert code(refreshed(guests.stranger(), token)) == (403, "FORBIDDEN")

    def test_credentials_beside_it_are_a_sign_in(self, guests: Guests) -> None:
        """The published client sends both together."""
        visitor = guests.guest()
        email = visitor.sign_up()
        body = {"username": email, "password": "Plum-Tart-93-window", **REFRESH}
        assert visitor.take(visitor.post("/signin", body))["customer"]["email"] == email


class TestStrangers:
    def test_an_anonymous_visit_writes_no_row(self, fresh_place: Place, guests: Guests) -> None:
        """Bots cannot fill the database: the first write is the first line of a cart."""
        before = fresh_place.ledger.sizes()
        for _ in range(20):
            visitor = guests.guest()
            assert visitor.cart() is None
            assert visitor.ask(CUSTOMER) is None
            visitor.take(visitor.post("/signin", REFRESH))
            visitor.arrive()
            visitor.take(visitor.post("/signout", {}))
        assert fresh_place.ledger.sizes() == before
        visitor.put(MUG)
        changed = {table for table, size in fresh_place.ledger.sizes().items() if size != before[table]}
        assert changed == {"carts", "cart_lines"}

    def test_a_refused_sign_in_writes_an_audit_event_only(self, fresh_place: Place, guests: Guests) -> None:
        visitor = guests.guest()
        before = fresh_place.ledger.sizes()
        assert visitor.try_to_sign_in("nobody@example.org").status_code == 401
        assert visitor.post("/signin", REFRESH, authorization="Bearer shk_st_nonsense").status_code == 403
        assert visitor.refusal(CART, id="018f0000-0000-7000-8000-000000000000")["code"] == "FORBIDDEN"
        changed = {table for table, size in fresh_place.ledger.sizes().items() if size != before[table]}
        assert changed == {"audit_events"}


def session_of(visitor: Visitor) -> Any:
    answer = visitor.http.get("/sessions/whoami", headers={"authorization": f"Bearer {visitor.token}"})
    return answer.json()["id"]
