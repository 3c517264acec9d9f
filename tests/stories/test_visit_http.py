"""A visit over HTTP: anonymous first, then signed in with the cart kept, ordered, and signed out again."""

from typing import Any

import pytest

from tests.stories.mails import wait_for_mails
from tests.stories.places import Place
from tests.stories.shopping import ADD, CART, CUSTOMER
from tests.stories.visitor import PASSWORD, Guests, Visitor, new_address, report

MUG, PLATE, TEA, SALT = "QK-MUG-BLU", "QK-PLATE-21", "QK-TEA-250R", "QK-SALT-125"


def register_natively(visitor: Visitor, email: str) -> dict[str, Any]:
    """Register as an app does: with the self-service flow for native clients."""
    flow = visitor.http.get("/self-service/registration/api").json()
    fields = {"method": "password", "password": PASSWORD, "traits": {"email": email, "name": {"first": "Ada"}}}
    answer = visitor.http.post(flow["ui"]["action"], json=fields)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def whoami(visitor: Visitor, token: str | None) -> int:
    return visitor.http.get("/sessions/whoami", headers={"authorization": f"Bearer {token}"}).status_code


class TestAWholeVisit:
    def test_a_visit_leads_from_anonymous_to_signed_in_and_out_again(self, place: Place, guests: Guests) -> None:
        visitor = guests.stranger()
        first = visitor.take(visitor.post("/signin", {}))
        assert first["customer"] is None
        assert "cart" not in first
        assert visitor.cart() is None

        cart = visitor.put(MUG, 2)
        cart = visitor.put(TEA, 1, cart=cart["id"])
        assert cart["goods"] == {MUG: 2, TEA: 1}
        guest_token = visitor.token

        email = new_address()
        registered = register_natively(visitor, email)
        access = visitor.sign_in(email, oldCartId=cart["id"], mergeWithExistingCustomerCart="true")
        assert access["customer"]["email"] == email
        assert access["customer"]["firstName"] == "Ada"
        assert access["customer"]["id"] == registered["identity"]["id"]
        assert (access["cart"]["id"], access["cart"]["outcome"]) == (cart["id"], "adopted")
        assert report(access) == [(0, 2, 2, "added"), (0, 1, 1, "added")]
        assert visitor.ask(CUSTOMER)["email"] == email
        assert visitor.goods() == {MUG: 2, TEA: 1}

        order = visitor.order()
        assert (order["draft"], order["status"], order["email"]) == (False, "PLACED", email)
        assert {item["code"]: item["quantity"] for item in order["orderItems"]} == {MUG: 2, TEA: 1}
        assert order["totalAmount"] == [cart["totalPurchasePrice"]["moneyAmounts"][0]]
        assert visitor.cart() is None
        mails = wait_for_mails(place.ledger, to=email, wanted=3)
        assert {mail["template"] for mail in mails} == {"welcome", "verification_code_valid", "order_placed"}
        assert {mail["status"] for mail in mails} == {"sent"}

        session_token = visitor.token
        fresh = visitor.take(visitor.post("/signout", {}))
        assert fresh["customer"] is None
        assert visitor.token not in {session_token, guest_token}
        assert whoami(visitor, session_token) == 401
        assert visitor.ask(CUSTOMER) is None
        assert visitor.put(SALT, 1)["goods"] == {SALT: 1}

        visitor.token = session_token
        assert visitor.refusal(CART)["code"] == "UNAUTHENTICATED"

    def test_a_cart_merge_does_not_delay_the_mail_about_the_order(self, place: Place, guests: Guests) -> None:
        """Both are events of one customer, which are delivered in order. Regression: no worker took the first of
        them."""
        visitor = guests.guest()
        email = visitor.sign_up()
        cart = visitor.put(MUG)
        visitor.sign_in(email, oldCartId=cart["id"])
        number = visitor.order()["orderNumber"]
        mails = wait_for_mails(place.ledger, to=email, wanted=2)
        assert number in mails[-1]["subject"]

    def test_every_token_tells_how_long_it_lasts(self, guests: Guests) -> None:
        visitor, email = guests.customer()
        for access in (visitor.sign_in(email), visitor.take(visitor.post("/signout", {}))):
            assert access["expiresAt"].endswith("Z")
            assert set(access) >= {"authorization", "expiresAt", "customer"}

    def test_answers_with_tokens_are_not_cached(self, guests: Guests) -> None:
        answer = guests.stranger().post("/signin", {})
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers

    def test_signing_out_twice_and_without_a_session_is_no_mistake(self, guests: Guests) -> None:
        visitor = guests.guest()
        visitor.take(visitor.post("/signout", {}))
        visitor.take(visitor.post("/signout", {}))
        assert visitor.ask(CUSTOMER) is None

    def test_an_anonymous_visitor_who_signs_in_anonymously_again_stays_the_same(self, guests: Guests) -> None:
        visitor = guests.guest()
        cart, before = visitor.put(MUG), visitor.token
        visitor.arrive()
        assert visitor.token != before
        assert visitor.goods() == cart["goods"]

    def test_a_wrong_password_changes_nothing(self, guests: Guests) -> None:
        customer, email = guests.customer()
        visitor = guests.guest()
        cart = visitor.put(MUG)
        answer = visitor.try_to_sign_in(email, password="not the password", oldCartId=cart["id"])
        assert answer.status_code == 401
        [error] = answer.json()["errors"]
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
        assert "authentication" in error["message"].lower()
        assert visitor.goods() == {MUG: 1}
        assert customer.goods() == {}


class TestTheHint:
    """What the sign-in does with the guest's cart, and what it reports."""

    @pytest.mark.parametrize("merge", [{"mergeWithExistingCustomerCart": flag} for flag in (True, "true")] + [{}])
    def test_merges_by_default(self, guests: Guests, merge: dict[str, Any]) -> None:
        customer, email = guests.customer(**{MUG: 1, PLATE: 4})
        theirs = customer.cart()
        visitor = guests.guest()
        cart = visitor.put(MUG, 3)
        visitor.put(TEA, 1)
        access = visitor.sign_in(email, oldCartId=cart["id"], **merge)
        assert (access["cart"]["outcome"], access["cart"]["id"]) == ("merged", theirs["id"])
        assert report(access) == [(1, 3, 3, "raised"), (0, 1, 1, "added")]
        assert visitor.goods() == {MUG: 3, PLATE: 4, TEA: 1}
        # A page that still has the guest's cart open is led to the merged one.
        assert visitor.cart(cart["id"])["id"] == theirs["id"]

    @pytest.mark.parametrize("flag", [False, "false"])
    def test_replaces_when_merging_is_not_wanted(self, guests: Guests, flag: object) -> None:
        _, email = guests.customer(**{MUG: 5, PLATE: 4})
        visitor = guests.guest()
        cart = visitor.put(MUG, 2)
        access = visitor.sign_in(email, oldCartId=cart["id"], mergeWithExistingCustomerCart=flag)
        assert (access["cart"]["outcome"], access["cart"]["id"]) == ("replaced", cart["id"])
        assert report(access) == [(5, 2, 2, "replaced"), (4, 0, 0, "replaced")]
        assert visitor.goods() == {MUG: 2}

    def test_an_empty_cart_replaces_nothing(self, guests: Guests) -> None:
        _, email = guests.customer(**{PLATE: 4})
        visitor = guests.guest()
        cart = visitor.put(MUG, 1)
        visitor.ask(
            "mutation Empty($input: RemoveFromCartInput!) { removeFromCart(removeFromCartInput: $input) { code } }",
            input={"cartId": cart["id"], "entryId": cart["entries"][0]["id"]},
        )
        visitor.sign_in(email, oldCartId=cart["id"], mergeWithExistingCustomerCart=False)
        assert visitor.goods() == {PLATE: 4}

    @pytest.mark.parametrize("hint", [{}, {"mergeWithExistingCustomerCart": "true"}, {"oldCartId": None}])
    def test_ignores_the_cart_that_is_not_named(self, guests: Guests, hint: dict[str, Any]) -> None:
        customer, email = guests.customer(**{PLATE: 4})
        own = customer.cart()
        assert own
        visitor = guests.guest()
        cart, guest_token = visitor.put(MUG, 2), visitor.token
        access = visitor.sign_in(email, **hint)
        assert access["cart"] == {"id": own["id"], "outcome": "nothing", "lines": []}
        assert visitor.goods() == {PLATE: 4}
        visitor.token = guest_token
        assert visitor.cart()["id"] == cart["id"]
        assert visitor.goods() == {MUG: 2}

    @pytest.mark.parametrize("flag", ["yes", "1", 1, [], ""])
    def test_a_flag_that_means_neither_is_refused(self, guests: Guests, flag: object) -> None:
        visitor = guests.guest()
        email = visitor.sign_up()
        cart = visitor.put(MUG, 2)
        answer = visitor.try_to_sign_in(email, oldCartId=cart["id"], mergeWithExistingCustomerCart=flag)
        assert answer.status_code == 400
        assert "mergeWithExistingCustomerCart" in answer.json()["errors"][0]["message"]
        assert visitor.goods() == {MUG: 2}

    def test_merging_twice_changes_nothing(self, guests: Guests) -> None:
        _, email = guests.customer(**{MUG: 1})
        visitor = guests.guest()
        cart, guest_token = visitor.put(MUG, 3), visitor.token
        first = visitor.sign_in(email, oldCartId=cart["id"])
        once = visitor.cart()
        visitor.token = guest_token
        second = visitor.sign_in(email, oldCartId=cart["id"])
        assert second["cart"]["outcome"] == "already_done"
        assert (second["cart"]["id"], report(second)) == (first["cart"]["id"], report(first))
        assert visitor.cart() == once

    def test_a_guest_whose_cart_was_merged_is_a_guest_no_more(self, guests: Guests) -> None:
        visitor = guests.guest()
        email = visitor.sign_up()
        cart, guest_token = visitor.put(MUG, 3), visitor.token
        visitor.sign_in(email, oldCartId=cart["id"])
        visitor.token = guest_token
        refused = visitor.refusal(ADD, input={"itemId": TEA, "quantity": 1})
        assert refused["code"] == "TOKEN_INVALID"
        other = guests.customer()[1]
        assert visitor.sign_in(other, oldCartId=cart["id"])["cart"]["outcome"] == "refused"
        assert visitor.goods() == {}

    def test_stock_that_ran_out_meanwhile_is_reported_line_by_line(self, guests: Guests) -> None:
        """Two of one product are left and one of another, and another customer is faster."""
        scarce, last = "QK-SECATEURS-L", "QK-GLOVES-L"
        visitor = guests.guest()
        cart = visitor.put(scarce, 2)
        visitor.put(last, 1)
        visitor.put(MUG, 1)
        faster, _ = guests.customer(**{scarce: 1, last: 1})
        faster.order()

        access = visitor.sign_in(visitor.sign_up(), oldCartId=cart["id"])
        assert report(access) == [(0, 2, 1, "limited_by_stock"), (0, 1, 0, "out_of_stock"), (0, 1, 1, "added")]
        assert visitor.goods() == {scarce: 1, MUG: 1}


class TestWhoseCartItIs:
    @pytest.mark.parametrize("flag", [{}, {"mergeWithExistingCustomerCart": "false"}], ids=["merge", "replace"])
    def test_another_visitors_cart_is_refused_and_the_customer_is_signed_in(
        self, guests: Guests, flag: dict[str, Any]
    ) -> None:
        """Regression: the sign-in was refused, so a client that remembered a stale cart was locked out of the
        account."""
        victim = guests.guest()
        cart = victim.put(MUG, 2)
        customer, email = guests.customer(**{PLATE: 1})
        own = customer.cart()
        assert own
        thief = guests.guest()
        access = thief.sign_in(email, oldCartId=cart["id"], **flag)
        assert access["cart"] == {"id": own["id"], "outcome": "refused", "lines": []}
        assert thief.ask(CUSTOMER)["email"] == email
        assert thief.goods() == customer.goods() == {PLATE: 1}
        assert thief.refusal(CART, id=cart["id"])["code"] == "FORBIDDEN"
        assert victim.goods() == {MUG: 2}

    def test_an_unknown_cart_is_refused_like_another_visitors(self, guests: Guests) -> None:
        victim = guests.guest()
        cart = victim.put(MUG, 2)
        thief = guests.guest()
        email, guest_token = thief.sign_up(), thief.token
        told = []
        for each in (cart["id"], "018f0000-0000-7000-8000-000000000000", "1 OR 1=1"):
            thief.token = guest_token
            told.append(thief.sign_in(email, oldCartId=each)["cart"])
        assert told == [{"id": None, "outcome": "refused", "lines": []}] * 3
        assert victim.goods() == {MUG: 2}

    def test_another_visitors_cart_can_neither_be_read_nor_filled(self, guests: Guests) -> None:
        cart = guests.guest().put(MUG, 2)
        thief = guests.guest()
        assert thief.refusal(CART, id=cart["id"])["code"] == "FORBIDDEN"
        assert thief.refusal(ADD, input={"itemId": TEA, "cartId": cart["id"]})["code"] == "FORBIDDEN"

    def test_a_cart_is_not_merged_without_the_token_of_its_guest(self, guests: Guests) -> None:
        victim = guests.guest()
        cart = victim.put(MUG, 2)
        stranger = guests.stranger()
        email = guests.guest().sign_up()
        access = stranger.sign_in(email, oldCartId=cart["id"])
        assert access["cart"]["outcome"] == "nothing"
        assert stranger.goods() == {}
        assert victim.goods() == {MUG: 2}

    def test_a_customers_cart_is_reported_where_none_is_merged(self, guests: Guests) -> None:
        """Regression: the report had no cart in it, as if the customer had none."""
        customer, email = guests.customer(**{PLATE: 1})
        cart = customer.cart()
        assert cart
        assert guests.guest().sign_in(email)["cart"] == {"id": cart["id"], "outcome": "nothing", "lines": []}

    def test_signing_in_over_a_session_leaves_its_cart_with_its_customer(self, guests: Guests) -> None:
        ada, adas = guests.customer(**{MUG: 2})
        cart, session_token = ada.cart(), ada.token
        _, bobs = guests.customer(**{PLATE: 1})
        access = ada.sign_in(bobs, oldCartId=cart["id"])
        assert access["cart"]["outcome"] == "nothing"
        assert ada.goods() == {PLATE: 1}
        assert whoami(ada, session_token) == 401
        ada.sign_in(adas)
        assert ada.goods() == {MUG: 2}


class TestStoresAndTenants:
    def test_each_store_has_its_own_money(self, guests: Guests) -> None:
        carts = [guests.guest(store=store).put(MUG) for store in ("quince", "kettle")]
        assert [cart["totalPurchasePrice"]["moneyAmounts"][0]["currency"] for cart in carts] == ["EUR", "GBP"]

    def test_a_store_is_found_by_its_host_as_well(self, place: Place) -> None:
        with Visitor(place.public) as visitor:
            visitor.http.headers["host"] = "kettle.example"
            cart = visitor.arrive().put(MUG)
            assert cart["totalPurchasePrice"]["moneyAmounts"][0]["currency"] == "GBP"

    @pytest.mark.parametrize(
        ("store", "tenant"),
        [("nowhere", None), ("quince", "nobody"), (None, "nobody"), ("kettle", "quince-eu"), ("QUINCE", None)],
    )
    def test_an_unknown_store_or_tenant_is_refused(self, guests: Guests, store: str | None, tenant: str | None) -> None:
        visitor = guests.stranger(store=store, tenant=tenant)
        for path in ("/signin", "/signout"):
            answer = visitor.post(path, {})
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["extensions"]["code"] == "STORE_UNKNOWN"
        assert visitor.refusal(CUSTOMER)["code"] == "STORE_UNKNOWN"

    def test_an_empty_header_counts_as_absent(self, guests: Guests) -> None:
        visitor = guests.guest(store="", tenant="")
        assert visitor.put(MUG)["goods"] == {MUG: 1}

    def test_a_visit_is_good_in_its_own_store_only(self, guests: Guests) -> None:
        visitor = guests.guest(store="quince")
        visitor.http.headers["connector"] = "kettle"
        assert visitor.refusal(CART)["code"] == "TOKEN_INVALID"

    def test_a_session_is_good_in_its_own_store_only(self, guests: Guests) -> None:
        visitor, _ = guests.customer()
        visitor.http.headers["connector"] = "kettle"
        assert visitor.refusal(CUSTOMER)["code"] == "TOKEN_INVALID"


class TestMalformedSignIns:
    @pytest.mark.parametrize(
        "body",
        [
            {"username": "ada@example.org"},
            {"username": "ada@example.org", "password": ""},
            {"username": "", "password": "x"},
            {"username": ["ada@example.org"], "password": "x"},
            {"username": "ada@example.org", "password": "x", "authHint": "merge"},
            {"username": "ada@example.org", "password": "x", "authHint": {"oldCartId": 7}},
            {"username": "ada@example.org", "password": "", "authHint": {"token": "an idp's token"}},
        ],
    )
    def test_are_refused_with_a_sentence(self, guests: Guests, body: dict[str, Any]) -> None:
        answer = guests.guest().post("/signin", body)
        assert answer.status_code == 400
        [error] = answer.json()["errors"]
        assert error["extensions"]["code"] == "INVALID_INPUT"
        assert error["message"].endswith(".")

    @pytest.mark.parametrize("body", ["", "{", "[]", "null", '"text"', "{}{}"])
    def test_malformed_bodies_are_refused_in_the_same_shape(self, guests: Guests, body: str) -> None:
        headers = {"content-type": "application/json"}
        answer = guests.stranger().http.post("/signin", content=body, headers=headers)
        assert answer.status_code == (200 if body == "" else 400)
        assert set(answer.json()) & {"errors", "authorization"}

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
    def test_only_json_is_read(self, guests: Guests, kind: str) -> None:
        """A page of another site could send the others without a preflight request."""
        answer = guests.stranger().http.post("/signin", content=b"{}", headers={"content-type": kind})
        assert answer.status_code == 400
        assert "application/json" in answer.json()["errors"][0]["message"]
