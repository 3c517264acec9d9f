"""Attacks over GraphQL: carts and orders of others, aliases against the throttle, enumeration."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shopkeeper.clock import StoppedClock
from tests.graphql.shop import (
    ADD,
    CHECK_OUT,
    GET_CART,
    GET_ORDER,
    PASSWORD,
    PLACE,
    REMOVE,
    SIGN_UP,
    UPDATE,
    Client,
    Stand,
    opened,
    statements,
)
from tests.graphql.test_story import some


class TestFillingTheDatabase:
    async def test_thirty_aliases_of_a_free_token_begin_one_cart(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        begun = " ".join(f"c{n}: createCart(createCartInput: {{}}) {{ cart {{ id }} }}" for n in range(30))
        answer = await visitor.data(f"mutation {{ {begun} }}")
        assert len({each["cart"]["id"] for each in answer.values()}) == 1


class TestOtherPeoplesThings:
    """Row 91: what belongs to another shopper is refused in the words for what does not exist."""

    async def test_another_visitors_cart_is_refused_like_an_unknown_one(self, stand: Stand) -> None:
        owner, stranger = await stand.visitor(), await stand.visitor()
        item, *_ = await some(owner)
        cart = (await owner.data(ADD, input={"itemId": item}))["addToCart"]["cart"]
        entry = cart["entries"][0]["id"]
        for id_ in (cart["id"], str(uuid4()), "no id at all"):
            refused = [
                await stranger.refusal(GET_CART, id=id_),
                await stranger.refusal(ADD, input={"cartId": id_, "itemId": item}),
                await stranger.refusal(UPDATE, input={"cartId": id_, "entryId": entry, "quantity": 5}),
                await stranger.refusal(REMOVE, input={"cartId": id_, "entryId": entry}),
            ]
            assert {error["extensions"]["code"] for error in refused} == {"FORBIDDEN"}
            assert {error["message"] for error in refused} == {"This does not belong to you, or does not exist."}
        assert (await owner.data(GET_CART))["getCart"] == cart

    async def test_another_customers_order_is_refused_like_an_unknown_one(self, stand: Stand) -> None:
        owner, stranger = await stand.customer("ada@example.org"), await stand.customer("eve@example.org")
        item, *_ = await some(owner)
        cart = (await owner.data(ADD, input={"itemId": item}))["addToCart"]["cart"]
        order = (await owner.data(CHECK_OUT, cart=cart["id"]))["checkOut"]["order"]
        answers = []
        for id_ in (order["id"], order["orderNumber"], str(uuid4()), "no id at all"):
            answers.append(await stranger.refusal(GET_ORDER, id=id_))
            answers.append(await stranger.refusal(PLACE, order=id_))
        answers.append(await stranger.refusal(CHECK_OUT, cart=cart["id"]))
        assert {error["extensions"]["code"] for error in answers} == {"FORBIDDEN"}
        assert (await owner.data(GET_ORDER, id=order["id"]))["getOrderById"]["draft"] is True

    async def test_another_guests_cart_is_not_merged_at_sign_in(self, stand: Stand) -> None:
        owner, thief = await stand.visitor(), await stand.visitor()
        item, *_ = await some(owner)
        cart = (await owner.data(ADD, input={"itemId": item}))["addToCart"]["cart"]
        await thief.data(SIGN_UP, input={"email": "eve@example.org", "password": PASSWORD})
        fields = {"username": "eve@example.org", "password": PASSWORD, "authHint": {"oldCartId": cart["id"]}}
        answer = await thief.http.post("/signin", json=fields, headers=thief.headers)
        assert answer.json()["cart"] == {"id": None, "outcome": "refused", "lines": []}
        assert (await owner.data(GET_CART))["getCart"]["id"] == cart["id"]


class TestMassAssignment:
    """Rows 51 and 64: unknown fields are refused."""

    @pytest.mark.parametrize("extra", [{"role": "admin"}, {"verified": True}, {"traits": {}}, {"metadata_admin": {}}])
    async def test_an_account_takes_no_unknown_fields(self, visitor: Client, extra: dict[str, Any]) -> None:
        who = {"email": "ada@example.org", "password": PASSWORD, **extra}
        error = await visitor.refusal(SIGN_UP, input=who)
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert next(iter(extra)) in error["message"]
        assert PASSWORD not in error["message"]

    async def test_a_password_in_the_text_is_not_repeated(self, visitor: Client) -> None:
        mutation = (
            'mutation { signUp(customerSignUpInput: {email: "a@b.example", password: "%s", admin: true}) { code } }'
        )
        answer = await visitor.ask(mutation % PASSWORD)
        assert answer["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert PASSWORD not in str(answer)

    async def test_a_name_that_the_shop_does_not_keep_is_refused_and_not_dropped(self, visitor: Client) -> None:
        who = {"email": "ada@example.org", "password": PASSWORD, "companyName": "Analytical Engines"}
        answer = (await visitor.data(SIGN_UP, input=who))["signUp"]
        assert (answer["success"], answer["code"], answer["customer"]) == (False, "INVALID_INPUT", None)
        assert [problem["field"] for problem in answer["problems"]] == ["companyName"]


class TestSigningUp:
    async def test_mistakes_are_reported_field_by_field(self, visitor: Client) -> None:
        answer = (await visitor.data(SIGN_UP, input={"email": "nonsense", "password": "long-enough-but-no-use"}))[
            "signUp"
        ]
        assert (answer["success"], answer["code"]) == (False, "INVALID_INPUT")
        assert [(problem["field"], problem["id"]) for problem in answer["problems"]] == [("email", 4000040)]
        short = (await visitor.data(SIGN_UP, input={"email": "ada@example.org", "password": "short"}))["signUp"]
        assert [problem["field"] for problem in short["problems"]] == ["password"]
        assert short["message"] == short["problems"][0]["message"]

    async def test_a_customer_does_not_sign_up_again(self, small_stand: Stand) -> None:
        customer = await small_stand.customer("ada@example.org")
        error = await customer.refusal(SIGN_UP, input={"email": "eve@example.org", "password": PASSWORD})
        assert error["extensions"]["code"] == "SESSION_ALREADY_AVAILABLE"

    async def test_a_rejected_account_leaves_nothing_behind(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        with statements() as seen:
            await visitor.data(SIGN_UP, input={"email": "ada@example.org", "password": "short"})
        assert not [statement for statement in seen if statement.lstrip().upper().startswith(("INSERT", "UPDATE"))]

    async def test_the_engine_knows_the_new_customer_once_they_sign_in(self, stand: Stand) -> None:
        visitor = await stand.visitor()
        who = {"email": "ada@example.org", "password": PASSWORD, "firstName": "Ada"}
        account = (await visitor.data(SIGN_UP, input=who))["signUp"]["customer"]["id"]
        await visitor.sign_in(username="ada@example.org", password=PASSWORD)
        shopper = stand.shop.stores.require("kettle").customer(account)
        async with stand.infrastructure.database.unit() as unit:
            known = await stand.shop.engines["embedded"].bind(unit, shopper).customers.customer()
        assert known is not None
        assert (known.email, known.first_name) == ("ada@example.org", "Ada")


class TestEnumeration:
    async def test_a_taken_address_looks_like_a_free_one(self, stand: Stand) -> None:
        """Row 74, for registration through GraphQL."""
        owner, stranger = await stand.visitor(), await stand.visitor()
        await owner.data(SIGN_UP, input={"email": "ada@example.org", "password": PASSWORD})
        free = (await stranger.data(SIGN_UP, input={"email": "Eve@Example.org", "password": PASSWORD}))["signUp"]
        taken = (await stranger.data(SIGN_UP, input={"email": "Ada@Example.org", "password": PASSWORD}))["signUp"]
        for answer in (free, taken):
            answer["customer"].pop("id")
        assert taken == {**free, "customer": {**free["customer"], "email": "Ada@Example.org"}}

    async def test_a_taken_address_asks_the_engine_as_little_as_a_free_one(self, stand: Stand) -> None:
        """The engine may be another server: were it called for new accounts alone, the time would reveal them."""
        who = {"email": "ada@example.org", "password": PASSWORD}
        visitor = await stand.visitor()
        for _ in ("free", "taken"):
            with statements() as seen:
                await visitor.data(SIGN_UP, input=who)
            assert not [statement for statement in seen if "customers" in statement]
        with statements() as seen:
            await visitor.sign_in(username="ada@example.org", password=PASSWORD)
        assert [statement for statement in seen if "customers" in statement]


@pytest.fixture
async def strict_stand(
    dsn: str, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stand]:
    """A shop that lets one address create five accounts a minute."""
    monkeypatch.chdir(tmp_path)
    throttle = {"throttle": {"registration": {"per_ip": "5/minute"}}}
    async with opened(dsn, tmp_path, clock, settings=throttle) as stand:
        yield stand


class TestAliases:
    """Row 78: a mutation under a hundred aliases spends the budget of a hundred requests."""

    async def test_a_hundred_aliases_are_refused_outright(self, strict_stand: Stand) -> None:
        visitor = await strict_stand.visitor()
        with statements() as seen:
            error = await visitor.refusal(_many(100), **_people(100))
        assert error["extensions"]["code"] == "TOO_MANY_ALIASES"
        assert seen == []

    async def test_aliases_below_the_limit_are_throttled_one_by_one(self, strict_stand: Stand) -> None:
        visitor = await strict_stand.visitor()
        answer = await visitor.ask(_many(12), **_people(12))
        made = [name for name, result in answer["data"].items() if result]
        assert made == ["a0", "a1", "a2", "a3", "a4"]
        assert {error["extensions"]["code"] for error in answer["errors"]} == {"TOO_MANY_REQUESTS"}
        assert all(error["extensions"]["retryAfter"] >= 1 for error in answer["errors"])

        error = await visitor.refusal(SIGN_UP, input={"email": "late@example.org", "password": PASSWORD})
        assert error["extensions"]["code"] == "TOO_MANY_REQUESTS", "the next request finds the budget spent"


def _many(number: int) -> str:
    variables = ", ".join(f"$i{n}: CustomerSignUpInput!" for n in range(number))
    fields = " ".join(f"a{n}: signUp(customerSignUpInput: $i{n}) {{ success }}" for n in range(number))
    return f"mutation({variables}) {{ {fields} }}"


def _people(number: int) -> dict[str, Any]:
    return {f"i{n}": {"email": f"visitor{n}@example.org", "password": PASSWORD} for n in range(number)}
