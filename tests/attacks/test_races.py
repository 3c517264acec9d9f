"""Concurrent requests: what may happen once happens once, in any order."""

import asyncio
from typing import Any

from tests.attacks.conftest import Opening
from tests.attacks.scene import (
    ORDER,
    ORDERS,
    PASSWORD,
    PLACE,
    Scene,
    ask,
    fill_cart,
    new_address,
    sign_in,
    sign_up,
    visit,
)

MANY = 8


class TestDoubleSubmit:
    async def test_one_flow_signs_in_once(self, either_scene: Scene) -> None:
        app, email = await either_scene.native(), new_address()
        await sign_up(app, email)
        before = len(await either_scene.rows("sessions"))
        flow = (await app.get("/self-service/login/api")).json()
        form = {"method": "password", "identifier": email, "password": PASSWORD}
        answers = await _at_once(app.post(flow["ui"]["action"], json=form) for _ in range(MANY))
        statuses = [answer.status_code for answer in answers]
        assert statuses.count(200) == 1
        assert set(statuses) <= {200, 410, 429}
        assert len(await either_scene.rows("sessions")) == before + 1

    async def test_one_flow_registers_once(self, either_scene: Scene) -> None:
        app = await either_scene.native()
        flow = (await app.get("/self-service/registration/api")).json()
        forms = [{"method": "password", "password": PASSWORD, "traits": {"email": new_address()}} for _ in range(MANY)]
        answers = await _at_once(app.post(flow["ui"]["action"], json=form) for form in forms)
        assert [answer.status_code for answer in answers].count(200) == 1
        assert len(await either_scene.rows("identities")) == len(await either_scene.rows("sessions")) == 1

    async def test_a_late_mistake_does_not_open_a_finished_flow_again(self, either_scene: Scene) -> None:
        """A wrong guess reads the flow before it ends, and is stored after that."""
        app, email = await either_scene.native(), new_address()
        await sign_up(app, email)
        flow = (await app.get("/self-service/login/api")).json()
        right = {"method": "password", "identifier": email, "password": PASSWORD}
        wrong = {**right, "password": "a wrong guess, again"}
        await _at_once(app.post(flow["ui"]["action"], json=form) for form in (wrong, right, wrong, right))
        either_scene.clock.advance(minutes=16)
        again = await app.post(flow["ui"]["action"], json=right)
        assert again.status_code == 410

    async def test_one_address_is_registered_once(self, either_scene: Scene) -> None:
        app, email = await either_scene.native(), new_address()

        async def register() -> Any:
            flow = (await app.get("/self-service/registration/api")).json()
            form = {"method": "password", "password": PASSWORD, "traits": {"email": email}}
            return await app.post(flow["ui"]["action"], json=form)

        answers = await _at_once(register() for _ in range(5))
        assert [answer.status_code for answer in answers].count(200) == 1
        assert {answer.status_code for answer in answers} <= {200, 400, 429}
        assert len(await either_scene.rows("identities")) == 1


class TestCarts:
    async def test_one_guests_cart_is_merged_once(self, either_scene: Scene) -> None:
        """The guest signs in several times at once; nothing is lost, and nothing doubled."""
        app, email = await either_scene.native(), new_address()
        await sign_up(app, email)
        guest = (await visit(app))["authorization"]
        cart = await fill_cart(app, guest, quantity=3)
        body = {"username": email, "password": PASSWORD, "authHint": {"oldCartId": cart}}
        headers = {"authorization": f"Bearer {guest}"}
        answers = await _at_once(app.post("/signin", json=body, headers=headers) for _ in range(5))
        good = [answer.json() for answer in answers if answer.status_code == 200]
        assert good
        assert {answer.status_code for answer in answers} <= {200, 429}
        told = await ask(app, good[0]["authorization"], "{ getCart { id totalQuantity } }")
        assert told["data"]["getCart"]["totalQuantity"] == 3
        again = await ask(app, guest, "{ getCart { id totalQuantity } }")
        assert again["data"]["getCart"] is None

    async def test_two_customers_cannot_both_take_a_guests_cart(self, either_scene: Scene) -> None:
        app = await either_scene.native()
        emails = [new_address() for _ in range(2)]
        for email in emails:
            await sign_up(app, email)
        guest = (await visit(app))["authorization"]
        cart = await fill_cart(app, guest, quantity=2)
        headers = {"authorization": f"Bearer {guest}"}
        bodies = [{"username": email, "password": PASSWORD, "authHint": {"oldCartId": cart}} for email in emails]
        answers = await _at_once(app.post("/signin", json=body, headers=headers) for body in bodies)
        assert sorted(answer.json()["cart"]["outcome"] for answer in answers) == ["adopted", "refused"]
        total = 0
        for answer in answers:
            told = await ask(app, answer.json()["authorization"], "{ getCart { totalQuantity } }")
            total += (told["data"]["getCart"] or {"totalQuantity": 0})["totalQuantity"]
        assert total == 2

    async def test_one_draft_becomes_one_order(self, either_scene: Scene) -> None:
        app, email = await either_scene.native(), new_address()
        await sign_up(app, email)
        token = (await visit(app, username=email, password=PASSWORD))["authorization"]
        cart = await fill_cart(app, token, quantity=2)
        stock = await _stock(either_scene)
        draft = (await ask(app, token, ORDER, cart=cart))["data"]["checkOut"]["order"]["id"]
        await _at_once(ask(app, token, PLACE, order=draft) for _ in range(MANY))
        assert (await ask(app, token, ORDERS))["data"]["findOrders"]["total"] == 1
        assert stock - await _stock(either_scene) == 2

    async def test_one_cart_becomes_one_order_for_any_number_of_drafts(self, either_scene: Scene) -> None:
        app, email = await either_scene.native(), new_address()
        await sign_up(app, email)
        token = (await visit(app, username=email, password=PASSWORD))["authorization"]
        cart = await fill_cart(app, token)
        stock = await _stock(either_scene)
        drafts = await _at_once(ask(app, token, ORDER, cart=cart) for _ in range(4))
        ids = {told["data"]["checkOut"]["order"]["id"] for told in drafts if "errors" not in told}
        await _at_once(ask(app, token, PLACE, order=draft) for draft in ids)
        assert (await ask(app, token, ORDERS))["data"]["findOrders"]["total"] == 1
        assert stock - await _stock(either_scene) == 1


class TestTokens:
    async def test_one_token_has_one_successor(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn, tokens={"refresh": {"enabled": True}}) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            token = (await visit(app, username=email, password=PASSWORD))["authorization"]
            headers = {"authorization": f"Bearer {token}"}
            answers = await _at_once(
                app.post("/signin", json={"type": "refresh"}, headers=headers) for _ in range(MANY)
            )
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.json()["authorization"] for answer in answers}) == 1

    async def test_a_session_that_ends_while_it_is_refreshed_stays_ended(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn, tokens={"refresh": {"enabled": True}}) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            token = (await visit(app, username=email, password=PASSWORD))["authorization"]
            headers = {"authorization": f"Bearer {token}"}
            calls = [app.post("/signin", json={"type": "refresh"}, headers=headers) for _ in range(4)]
            calls.insert(2, app.post("/signout", json={}, headers=headers))
            answers = await _at_once(calls)
            given = {answer.json().get("authorization") for answer in answers if answer.status_code == 200}
            for successor in given | {token}:
                whoami = await app.get("/sessions/whoami", headers={"authorization": f"Bearer {successor}"})
                assert whoami.status_code == 401

    async def test_a_disabled_account_gets_no_session_from_a_login_under_way(self, either_scene: Scene) -> None:
        app, admin, email = await either_scene.native(), await either_scene.admin(), new_address()
        identity = (await sign_up(app, email))["identity"]["id"]
        patch = [{"op": "replace", "path": "/state", "value": "inactive"}]
        answers = await _at_once(
            [
                sign_in(app, email),
                admin.patch(f"/admin/identities/{identity}", json=patch),
                sign_in(app, email),
                sign_in(app, email),
            ]
        )
        tokens = [answer.json().get("session_token") for answer in answers]
        for token in filter(None, tokens):
            assert (await app.get("/sessions/whoami", headers={"x-session-token": token})).status_code == 401


async def _at_once(calls: Any) -> list[Any]:
    return list(await asyncio.gather(*calls))


async def _stock(scene: Scene) -> int:
    return sum(row["stock"] or 0 for row in await scene.rows("shop_variants"))
