"""A visit over GraphQL: everything but the tokens themselves is requested at `/graphql`."""

from typing import Any

import pytest

from tests.stories.mails import wait_for_mails
from tests.stories.places import Place
from tests.stories.shopping import (
    ADD,
    BY_CATEGORY,
    BY_KEYWORD,
    CART,
    CATEGORIES,
    CHECK_OUT,
    CREATE,
    CUSTOMER,
    ITEM,
    ORDER_BY_ID,
    ORDER_BY_NUMBER,
    ORDERS,
    PLACE,
    REMOVE,
    SIGN_UP,
    UPDATE,
)
from tests.stories.visitor import PASSWORD, Guests, new_address

NOWHERE = "018f0000-0000-7000-8000-000000000000"


class TestAWholeVisit:
    def test_a_visit_leads_from_the_categories_to_an_order(self, place: Place, guests: Guests) -> None:
        visitor = guests.guest()

        shelves = visitor.ask(CATEGORIES)
        assert len(shelves) == 6
        on_the_shelf = visitor.ask(BY_CATEGORY, id=shelves[0]["id"])
        assert on_the_shelf["count"] == 5
        found = visitor.ask(BY_KEYWORD, text="striped jug")
        item = visitor.ask(ITEM, id=found["items"][0]["itemId"]["id"])
        small, large = item["variants"]
        assert small["availability"]["availableQuantity"] >= 2

        cart = visitor.ask(CREATE, input={"currency": "EUR"})["cart"]
        assert (cart["entries"], cart["active"], cart["state"]) == ([], True, "ACTIVE")
        for variant, quantity in ((small, 1), (large, 1), (small, 1)):
            chosen = {"cartId": cart["id"], "itemId": variant["itemId"]["id"], "quantity": quantity}
            cart = visitor.ask(ADD, input=chosen)["cart"]
        assert [entry["quantity"] for entry in cart["entries"]] == [2, 1]
        of_small, of_large = cart["entries"]
        change = {"cartId": cart["id"], "entryId": of_small["id"], "quantity": 1}
        visitor.ask(UPDATE, input=change)
        cart = visitor.ask(REMOVE, input={"cartId": cart["id"], "entryId": of_large["id"]})["cart"]
        assert cart["totalQuantity"] == 1
        assert cart["totalPurchasePrice"]["moneyAmounts"][0] == small["purchasePrice"]["moneyAmounts"][0]

        email = new_address()
        signed_up = visitor.ask(SIGN_UP, input={"email": email, "password": PASSWORD, "firstName": "Ada"})
        assert (signed_up["code"], signed_up["success"], signed_up["problems"]) == ("OK", True, [])
        assert visitor.ask(CUSTOMER) is None, "signing up does not sign in"
        visitor.sign_in(email, oldCartId=cart["id"], mergeWithExistingCustomerCart="true")
        assert visitor.ask(CUSTOMER) == {
            "id": signed_up["customer"]["id"],
            "email": email,
            "firstName": "Ada",
            "lastName": None,
        }
        assert visitor.ask(CART, id=None)["id"] == cart["id"]

        draft = visitor.ask(CHECK_OUT, cart=cart["id"])["order"]
        assert (draft["draft"], draft["status"]) == (True, "DRAFT")
        assert visitor.ask(ORDERS)["orders"] == [], "a draft is no order yet"
        placed = visitor.ask(PLACE, id=draft["id"])["order"]
        assert visitor.ask(PLACE, id=draft["id"])["order"] == placed, "ordering twice changes nothing"
        assert visitor.ask(ORDERS) == {"total": 1, "count": 1, "orders": [placed]}
        assert visitor.ask(ORDER_BY_ID, id=placed["id"]) == placed
        assert visitor.ask(ORDER_BY_NUMBER, number=placed["orderNumber"]) == placed
        assert visitor.ask(CART, id=None) is None
        assert visitor.ask(CART, id=cart["id"])["state"] == "ORDERED"
        left = visitor.ask(ITEM, id=found["items"][0]["itemId"]["id"])["variants"][0]["availability"]
        assert left["availableQuantity"] == small["availability"]["availableQuantity"] - 1
        [order_mail] = [
            mail for mail in wait_for_mails(place.ledger, to=email, wanted=2) if "order" in mail["template"]
        ]
        assert placed["orderNumber"] in order_mail["subject"]

        visitor.take(visitor.post("/signout", {}))
        assert visitor.ask(CUSTOMER) is None
        assert visitor.refusal(ORDERS)["code"] == "UNAUTHENTICATED"

    def test_signing_up_with_a_taken_address_changes_nothing(self, place: Place, guests: Guests) -> None:
        """Registering does not sign in, so a taken address is answered like a free one and not revealed."""
        _, email = guests.customer()
        again = guests.guest().ask(SIGN_UP, input={"email": email.upper(), "password": "another Tart-93-window"})
        assert (again["success"], again["problems"]) == (True, [])
        assert place.ledger.count("verifiable_addresses", f"value = '{email}'") == 1
        visitor = guests.guest()
        assert visitor.try_to_sign_in(email, password="another Tart-93-window").status_code == 401

    @pytest.mark.parametrize(
        ("fields", "about"),
        [({"password": "short"}, "password"), ({"email": "nonsense"}, "email"), ({"salutation": "Dr"}, "salutation")],
    )
    def test_mistakes_are_reported_field_by_field(self, guests: Guests, fields: dict[str, Any], about: str) -> None:
        told = guests.guest().ask(SIGN_UP, input={"email": new_address(), "password": PASSWORD, **fields})
        assert (told["success"], told["customer"]) == (False, None)
        assert {problem["field"] for problem in told["problems"]} == {about}
        assert all(problem["message"] for problem in told["problems"])


class TestIsLoggedIn:
    """`@isLoggedIn`: clients check the code, and older ones the word."""

    @pytest.mark.parametrize(
        ("query", "variables"),
        [
            (ORDERS, {}),
            (ORDER_BY_ID, {"id": NOWHERE}),
            (ORDER_BY_NUMBER, {"number": "S-2222-2222-2222"}),
            (CHECK_OUT, {"cart": NOWHERE}),
            (PLACE, {"id": NOWHERE}),
        ],
        ids=["findOrders", "getOrderById", "getOrderByOrderNumber", "checkOut", "placeOrder"],
    )
    def test_a_visitor_is_refused(self, guests: Guests, query: str, variables: dict[str, Any]) -> None:
        refused = guests.guest().refusal(query, **variables)
        assert refused["code"] == "UNAUTHENTICATED"
        assert "authentication" in refused["message"].lower()

    def test_a_caller_without_a_token_is_refused_for_every_query(self, guests: Guests) -> None:
        for query in (CATEGORIES, CUSTOMER, ORDERS):
            refused = guests.stranger().refusal(query)
            assert refused["code"] == "UNAUTHENTICATED"
            assert "authentication" in refused["message"].lower()

    def test_the_rest_of_the_answer_is_there(self, guests: Guests) -> None:
        told = guests.guest().asked("{ findCategories { id } findOrders { count } }")
        assert len(told["data"]["findCategories"]) == 6
        assert told["data"]["findOrders"] is None
        assert [error["path"] for error in told["errors"]] == [["findOrders"]]


class TestWhoseOrderItIs:
    def test_another_customers_order_is_refused_like_one_that_does_not_exist(self, guests: Guests) -> None:
        ada, _ = guests.customer(**{"QK-SALT-125": 1})
        order = ada.order()
        eve, _ = guests.customer()
        theirs = eve.refusal(ORDER_BY_ID, id=order["id"])
        assert theirs["code"] == "FORBIDDEN"
        assert eve.refusal(ORDER_BY_ID, id=NOWHERE) == theirs
        assert eve.refusal(ORDER_BY_NUMBER, number=order["orderNumber"])["code"] == "FORBIDDEN"
        assert eve.refusal(PLACE, id=order["id"])["code"] == "FORBIDDEN"
        assert eve.ask(ORDERS)["total"] == 0

    def test_another_customers_draft_cannot_be_placed(self, guests: Guests) -> None:
        ada, _ = guests.customer(**{"QK-SALT-125": 1})
        cart = ada.cart()
        assert cart
        draft = ada.ask(CHECK_OUT, cart=cart["id"])["order"]
        eve, _ = guests.customer()
        assert eve.refusal(PLACE, id=draft["id"])["code"] == "FORBIDDEN"
        assert eve.refusal(CHECK_OUT, cart=cart["id"])["code"] == "FORBIDDEN"
        assert ada.goods() == {"QK-SALT-125": 1}

    def test_a_cart_that_changed_after_the_draft_is_not_ordered(self, guests: Guests) -> None:
        ada, _ = guests.customer(**{"QK-SALT-125": 1})
        cart = ada.cart()
        assert cart
        draft = ada.ask(CHECK_OUT, cart=cart["id"])["order"]
        ada.put("QK-SALT-125", 1)
        assert ada.refusal(PLACE, id=draft["id"])["code"] == "CART_CHANGED"
        assert ada.ask(ORDERS)["total"] == 0
