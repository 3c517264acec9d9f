"""Agents who act as customers and guests: from the support tool to the order, and what ends it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.sessions import impersonation_store
from tests.attacks.scene import CART, KEY, ME, ORDER, PASSWORD, PLACE, Scene, ask, fill_cart, sign_in, visit
from tests.http.support import REASON, Person, Shop, follow, open_shop

PLACED = "{ findOrders { orders { orderNumber placedBy placedByAgent } } }"


@pytest.fixture
async def shop(dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Shop]:
    async with open_shop(dsn, tmp_path, clock) as shop:
        yield shop


@pytest.fixture
async def small(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Shop]:
    """The same on SQLite only, for what no database decides."""
    async with open_shop(sqlite_dsn, tmp_path, clock) as shop:
        yield shop


class TestHelpingACustomer:
    async def test_an_agent_fills_the_cart_and_places_the_order(self, shop: Shop) -> None:
        app = await shop.scene.native()
        own = (await visit(app, username=shop.customer.email, password=PASSWORD))["authorization"]
        cart = await fill_cart(app, own)
        started = await shop.started()
        token = started["session_token"]

        seen = await ask(app, token, CART)
        assert seen["data"]["getCart"] == {"id": cart, "totalQuantity": 1}
        drafted = await ask(app, token, ORDER, cart=cart)
        draft = drafted["data"]["checkOut"]["order"]["id"]
        number = (await ask(app, token, PLACE, order=draft))["data"]["placeOrder"]["order"]["orderNumber"]
        again = await ask(app, token, PLACE, order=draft)
        assert again["data"]["placeOrder"]["order"]["orderNumber"] == number

        of_agent = (await ask(app, token, PLACED))["data"]["findOrders"]["orders"]
        assert of_agent == [{"orderNumber": number, "placedBy": "SUPPORT", "placedByAgent": shop.agent.id}]
        of_customer = (await ask(app, own, PLACED))["data"]["findOrders"]["orders"]
        assert of_customer == [{"orderNumber": number, "placedBy": "SUPPORT", "placedByAgent": None}]

        [noted] = await shop.audited("impersonation.order_placed")
        assert (noted["actor"], noted["subject"]) == (shop.agent.id, shop.customer.id)
        assert (await shop.tool.get(f"/admin/impersonations/{started['id']}")).json()["orders"] == 1

    async def test_an_order_that_is_placed_several_times_at_once_counts_once(self, shop: Shop) -> None:
        app = await shop.scene.native()
        started = await shop.started()
        token = started["session_token"]
        drafted = await ask(app, token, ORDER, cart=await fill_cart(app, token))
        draft = drafted["data"]["checkOut"]["order"]["id"]
        placed = await asyncio.gather(*(ask(app, token, PLACE, order=draft) for _ in range(4)))
        assert len({each["data"]["placeOrder"]["order"]["orderNumber"] for each in placed}) == 1
        assert len(await shop.audited("impersonation.order_placed")) == 1
        assert (await shop.tool.get(f"/admin/impersonations/{started['id']}")).json()["orders"] == 1

    async def test_an_order_whose_record_fails_is_not_placed(
        self, small: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fails(*arguments: object) -> bool:
            raise RuntimeError("the record fails")

        app = await small.scene.native()
        started = await small.started()
        token = started["session_token"]
        drafted = await ask(app, token, ORDER, cart=await fill_cart(app, token))
        draft = drafted["data"]["checkOut"]["order"]["id"]
        with monkeypatch.context() as broken:
            broken.setattr(impersonation_store, "add_order", fails)
            refused = await ask(app, token, PLACE, order=draft)
        assert refused["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert (await ask(app, token, PLACED))["data"]["findOrders"]["orders"] == []
        assert "errors" not in await ask(app, token, PLACE, order=draft)
        assert (await small.tool.get(f"/admin/impersonations/{started['id']}")).json()["orders"] == 1

    async def test_placing_an_order_of_the_customer_again_records_nothing(self, small: Shop) -> None:
        app = await small.scene.native()
        own = (await visit(app, username=small.customer.email, password=PASSWORD))["authorization"]
        draft = (await ask(app, own, ORDER, cart=await fill_cart(app, own)))["data"]["checkOut"]["order"]["id"]
        await ask(app, own, PLACE, order=draft)
        started = await small.started()
        await ask(app, started["session_token"], PLACE, order=draft)
        assert await small.audited("impersonation.order_placed") == []
        assert (await small.tool.get(f"/admin/impersonations/{started['id']}")).json()["orders"] == 0

    async def test_an_order_of_the_customer_is_marked_as_such(self, small: Shop) -> None:
        app = await small.scene.native()
        own = (await visit(app, username=small.customer.email, password=PASSWORD))["authorization"]
        draft = await ask(app, own, ORDER, cart=await fill_cart(app, own))
        await ask(app, own, PLACE, order=draft["data"]["checkOut"]["order"]["id"])
        [order] = (await ask(app, own, PLACED))["data"]["findOrders"]["orders"]
        assert (order["placedBy"], order["placedByAgent"]) == ("CUSTOMER", None)
        [event] = [row for row in await small.scene.rows("outbox") if row["topic"].startswith("order.placed")]
        assert "placed_by" not in str(event["payload"])

    async def test_the_session_says_who_acts(self, shop: Shop) -> None:
        started = await shop.started()
        session = (await shop.whoami(started["session_token"])).json()
        assert session["identity"]["id"] == shop.customer.id
        assert session["actor"] == {"type": "agent", "sub": shop.agent.id}
        assert session["authenticator_assurance_level"] == "aal1"
        assert session["devices"] == []
        assert [proof["method"] for proof in session["authentication_methods"]] == ["impersonation"]
        assert session["expires_at"] == started["expires_at"]

    async def test_a_gateway_learns_who_acts(self, small: Shop) -> None:
        app = await small.scene.native()
        acting = {"x-session-token": (await small.started())["session_token"]}
        assert (await app.get("/forward-auth", headers=acting)).headers["x-shopkeeper-actor"] == small.agent.id
        own = {"x-session-token": small.customer.token}
        assert (await app.get("/forward-auth", headers=own)).headers["x-shopkeeper-actor"] == ""

    async def test_the_customers_own_session_is_shown_as_before(self, small: Shop) -> None:
        before = (await small.whoami(small.customer.token)).content
        await small.started()
        assert (await small.whoami(small.customer.token)).content == before
        assert b"actor" not in before

    async def test_the_start_and_the_end_are_audited(self, shop: Shop) -> None:
        started = await shop.started()
        assert (await shop.tool.delete(f"/admin/impersonations/{started['id']}")).status_code == 204
        assert (await shop.tool.delete(f"/admin/impersonations/{started['id']}")).status_code == 204
        [begun], [over] = await shop.audited("impersonation.started"), await shop.audited("impersonation.ended")
        assert (begun["actor"], begun["subject"]) == (shop.agent.id, shop.customer.id)
        assert REASON in str(begun["details"])
        assert (over["actor"], over["subject"]) == ("admin:tool", shop.customer.id)
        assert started["session_token"] not in str(begun) + str(over)

    async def test_a_repeated_request_leaves_one(self, shop: Shop) -> None:
        first, second = await shop.started(), await shop.started()
        assert (await shop.whoami(first["session_token"])).status_code == 401
        assert (await shop.whoami(second["session_token"])).status_code == 200
        live = (await shop.tool.get("/admin/impersonations?active=true")).json()
        assert [each["id"] for each in live] == [second["id"]]

    async def test_the_list_has_pages_and_filters(self, small: Shop) -> None:
        other = await Person.register(small.scene, "eve")
        first, second = await small.started(), await small.started(whom=other.id)
        page = await small.tool.get("/admin/impersonations?page_size=1")
        assert [each["id"] for each in page.json()] == [second["id"]]
        following = page.links["next"]["url"]
        assert [each["id"] for each in (await small.tool.get(following)).json()] == [first["id"]]
        found = (
            await small.tool.get(f"/admin/impersonations?identity={small.customer.id}&agent={small.agent.id}")
        ).json()
        assert [each["id"] for each in found] == [first["id"]]
        assert "session_token" not in found[0]
        assert (await small.tool.get("/admin/impersonations?active=false")).json() == []


class TestHelpingAGuest:
    async def test_an_agent_sees_and_fills_the_cart_of_a_guest(self, shop: Shop) -> None:
        app = await shop.scene.native()
        guest = (await visit(app))["authorization"]
        cart = await fill_cart(app, guest)
        started = await shop.started_as_guest(cart)
        assert (started["kind"], started["identity_id"]) == ("guest", None)
        await fill_cart(app, started["session_token"])
        assert (await ask(app, guest, CART))["data"]["getCart"] == {"id": cart, "totalQuantity": 2}
        assert (await ask(app, started["session_token"], ME))["data"]["getCurrentCustomer"] is None

    async def test_ending_refuses_the_token_at_once(self, shop: Shop) -> None:
        app = await shop.scene.native()
        guest = (await visit(app))["authorization"]
        started = await shop.started_as_guest(await fill_cart(app, guest))
        await shop.tool.delete(f"/admin/impersonations/{started['id']}")
        assert "errors" in await ask(app, started["session_token"], CART)
        assert "errors" not in await ask(app, guest, CART)

    async def test_signing_out_ends_it(self, small: Shop) -> None:
        app = await small.scene.native()
        started = await small.started_as_guest(await fill_cart(app, (await visit(app))["authorization"]))
        bearer = {"authorization": f"Bearer {started['session_token']}"}
        assert (await app.post("/signout", json={}, headers=bearer)).status_code == 200
        assert "errors" in await ask(app, started["session_token"], CART)

    async def test_a_customers_cart_leads_to_no_guest(self, small: Shop) -> None:
        app = await small.scene.native()
        own = (await visit(app, username=small.customer.email, password=PASSWORD))["authorization"]
        cart = await fill_cart(app, own)
        asked = {"session_token": small.agent.token, "reason": REASON}
        answer = await small.tool.post(f"/admin/guests/by/cart/{cart}/impersonations", json=asked)
        assert answer.status_code == 404

    async def test_the_token_is_never_renewed(self, small: Shop) -> None:
        app = await small.scene.native()
        started = await small.started_as_guest(await fill_cart(app, (await visit(app))["authorization"]))
        bearer = {"authorization": f"Bearer {started['session_token']}"}
        for fields in ({"type": "refresh"}, {}):
            answer = await app.post("/signin", json=fields, headers=bearer)
            assert answer.status_code == 403
            assert answer.headers["x-error-code"] == "not_while_impersonating"
            assert "errors" in answer.json()


class TestTheEndOfTheAgentsSession:
    """The impersonation is refused at once, wherever the agent's own session ends."""

    async def sign_out(self, shop: Shop) -> None:
        fields = {"session_token": shop.agent.token}
        await (await shop.scene.native()).request("DELETE", "/self-service/logout/api", json=fields)

    async def disable(self, shop: Shop) -> None:
        admin = await shop.scene.admin()
        change = [{"op": "replace", "path": "/state", "value": "inactive"}]
        assert (await admin.patch(f"/admin/identities/{shop.agent.id}", json=change)).status_code == 200

    async def delete(self, shop: Shop) -> None:
        await (await shop.scene.admin()).delete(f"/admin/identities/{shop.agent.id}")

    async def delete_sessions(self, shop: Shop) -> None:
        await (await shop.scene.admin()).delete(f"/admin/identities/{shop.agent.id}/sessions")

    async def end_many(self, shop: Shop) -> None:
        body = {"identities": [shop.agent.id], "action": "delete"}
        assert (await (await shop.scene.admin()).post("/admin/sessions", json=body)).status_code == 200

    async def change_password(self, shop: Shop) -> None:
        """Of the session that changes it, which itself goes on."""
        app = await shop.scene.native()
        token = {"x-session-token": shop.agent.token}
        flow = (await app.get("/self-service/settings/api", headers=token)).json()
        fields = {"method": "password", "password": "another kettle on the shelf"}
        answer = await app.post(f"/self-service/settings?flow={flow['id']}", json=fields, headers=token)
        assert answer.status_code == 200, answer.text
        assert (await shop.whoami(shop.agent.token)).status_code == 200

    @pytest.mark.parametrize(
        "end", [sign_out, disable, delete, delete_sessions, end_many, change_password], ids=lambda end: end.__name__
    )
    async def test_it_ends(self, shop: Shop, end: Callable[[object, Shop], Awaitable[None]]) -> None:
        app = await shop.scene.native()
        started = await shop.started()
        of_guest = await shop.started_as_guest(await fill_cart(app, (await visit(app))["authorization"]))
        assert (await shop.whoami(started["session_token"])).status_code == 200
        await end(self, shop)
        assert (await shop.whoami(started["session_token"])).status_code == 401
        assert "errors" in await ask(app, of_guest["session_token"], CART)
        assert (await shop.whoami(shop.customer.token)).status_code == 200
        assert (await shop.tool.get("/admin/impersonations?active=true")).json() == []
        assert len(await shop.audited("impersonation.ended")) == (0 if end.__name__ == "delete" else 2)

    async def test_it_ends_by_itself(self, small: Shop) -> None:
        started = await small.started()
        small.scene.clock.advance(minutes=20)
        assert (await small.whoami(started["session_token"])).status_code == 401
        assert (await small.whoami(small.agent.token)).status_code == 200

    async def test_it_ends_when_the_agents_session_was_not_used(
        self, dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        further = {"session": {"idle_lifespan": "10m"}}
        async with open_shop(dsn, tmp_path, clock, further=further) as shop:
            started = await shop.started()
            clock.advance(minutes=9)
            assert (await shop.whoami(started["session_token"])).status_code == 200
            assert (await shop.whoami(shop.agent.token)).status_code == 200
            await shop.scene.application.accounts.sessions.settle()
            clock.advance(minutes=9)
            assert (await shop.whoami(started["session_token"])).status_code == 200
            clock.advance(minutes=1)
            assert (await shop.whoami(started["session_token"])).status_code == 401


class TestWhoMay:
    async def test_a_customer_may_not(self, small: Shop) -> None:
        other = await Person.register(small.scene, "eve")
        answer = await small.start(session_token=other.token)
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "impersonation_refused")

    async def test_nobody_acts_for_oneself_or_for_another_agent(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with open_shop(sqlite_dsn, tmp_path, clock) as shop:
            assert (await shop.start(whom=shop.agent.id)).status_code == 403

    async def test_an_impersonated_session_starts_no_other(self, small: Shop) -> None:
        other = await Person.register(small.scene, "eve")
        token = (await small.started())["session_token"]
        answer = await small.start(whom=other.id, session_token=token)
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "impersonation_refused")

    async def test_a_disabled_account_is_refused(self, small: Shop) -> None:
        change = [{"op": "replace", "path": "/state", "value": "inactive"}]
        await (await small.scene.admin()).patch(f"/admin/identities/{small.customer.id}", json=change)
        assert (await small.start()).status_code == 403

    async def test_the_reason_is_required_and_bounded(self, small: Shop) -> None:
        for reason in ("", "   ", "x" * 501, "\x00"):
            assert (await small.start(reason=reason)).status_code == 400, reason

    async def test_a_key_without_the_scope_is_refused(self, small: Shop) -> None:
        admin = await small.scene.admin(key=KEY)
        asked = {"session_token": small.agent.token, "reason": REASON}
        answer = await admin.post(f"/admin/identities/{small.customer.id}/impersonations", json=asked)
        assert (answer.status_code, answer.headers["x-error-code"]) == (403, "admin_scope_missing")
        assert (await admin.get("/admin/impersonations")).status_code == 403

    async def test_the_tools_key_may_do_nothing_else(self, small: Shop) -> None:
        for path in ("/admin/identities", "/admin/sessions", f"/admin/identities/{small.customer.id}"):
            assert (await small.tool.get(path)).status_code == 403

    async def test_a_named_agent_needs_the_setting(self, small: Shop) -> None:
        assert (await small.start(session_token=None, agent="Jane")).status_code == 403

    async def test_a_named_agent_acts_where_it_is_allowed(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with open_shop(sqlite_dsn, tmp_path, clock, named_agents=True) as shop:
            started = await shop.started(session_token=None, agent="Jane of the help desk")
            session = (await shop.whoami(started["session_token"])).json()
            assert session["actor"] == {"type": "agent", "sub": "tool:Jane of the help desk"}
            for name in (shop.customer.id, shop.customer.id.replace("-", ""), "admin:root", "tool:Jane", " "):
                assert (await shop.start(session_token=None, agent=name)).status_code == 400, name

    async def test_a_named_agent_looks_like_no_other(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with open_shop(sqlite_dsn, tmp_path, clock, named_agents=True) as shop:
            id_ = shop.customer.id
            wide = "".join(chr(ord(each) + 0xFEE0) for each in id_)
            invisible = [f"Ja{each}ne" for each in ("\u200b", "\u202e", "\u2066", "\ufeff", "\u3164", "\n", "\ufe0f")]
            dashed = id_.replace("-", "\u2010")
            for name in (wide, dashed, f"{{{id_}}}", "tool\uff1aJane", "tool\ufe55Jane", "tool\ufe13Jane", *invisible):
                assert (await shop.start(session_token=None, agent=name)).status_code == 400, ascii(name)
            started = await shop.started(session_token=None, agent="Zoë Müller-Łukasiewicz 李")
            assert started["agent"]["name"] == "Zoë Müller-Łukasiewicz 李"

    async def test_starting_is_limited_for_each_agent(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with open_shop(sqlite_dsn, tmp_path, clock, limit="2/hour") as shop:
            answers = [(await shop.start()).status_code for _ in range(3)]
            assert answers == [201, 201, 429]

    async def test_switched_off_there_is_nothing(self, scene_off: Scene) -> None:
        tool = await scene_off.admin()
        assert (await tool.get("/admin/impersonations")).status_code in {403, 404}

    async def test_a_removed_key_ends_what_it_started(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with open_shop(sqlite_dsn, tmp_path, clock) as shop:
            token = (await shop.started())["session_token"]
            acting = shop.scene.application.accounts.acting
            assert acting is not None
            assert acting.keys == {"tool"}
        async with open_shop(sqlite_dsn, tmp_path, clock, further={"admin": {"api_keys": [KEY]}}) as without:
            assert (await without.whoami(token)).status_code == 401


class TestGroups:
    async def test_a_member_of_a_group_of_agents_acts_while_in_it(
        self, dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with open_shop(dsn, tmp_path, clock, agents=[], agent_groups=["Support"]) as shop:
            assert (await shop.start()).status_code == 403
            admin = await shop.scene.admin()
            group = (await admin.post("/admin/groups", json={"name": "support"})).json()["id"]
            member = f"/admin/groups/{group}/members/{shop.agent.id}"
            assert (await admin.put(member)).status_code < 300
            started = await shop.started()
            assert (await shop.whoami(started["session_token"])).status_code == 200
            assert (await shop.start(whom=shop.agent.id)).status_code == 403
            assert (await admin.delete(member)).status_code == 204
            assert (await shop.whoami(started["session_token"])).status_code == 401

    @pytest.mark.parametrize("how", ["the member", "its groups", "a new name"])
    async def test_what_a_change_of_groups_has_ended_stays_ended(
        self, dsn: str, tmp_path: Path, clock: StoppedClock, how: str
    ) -> None:
        """Used or not while the agent was out of the group."""
        async with open_shop(dsn, tmp_path, clock, agents=[], agent_groups=["support"]) as shop:
            admin = await shop.scene.admin()
            group = (await admin.post("/admin/groups", json={"name": "support"})).json()["id"]
            member, agent = f"/admin/groups/{group}/members/{shop.agent.id}", f"/admin/identities/{shop.agent.id}"

            async def change(*, back: bool) -> None:
                if how == "the member":
                    answer = await (admin.put(member) if back else admin.delete(member))
                elif how == "its groups":
                    change = [{"op": "replace", "path": "/groups", "value": ["support"] if back else []}]
                    answer = await admin.patch(agent, json=change)
                else:
                    name = {"name": "support" if back else "former"}
                    answer = await admin.put(f"/admin/groups/{group}", json=name)
                assert answer.is_success, answer.text

            assert (await admin.put(member)).is_success
            token, app = (await shop.started())["session_token"], await shop.scene.native()
            cart = await fill_cart(app, (await visit(app))["authorization"])
            of_guest = (await shop.started_as_guest(cart))["session_token"]
            await change(back=False)
            await change(back=True)
            assert (await shop.whoami(token)).status_code == 401
            assert "errors" in await ask(app, of_guest, CART)
            assert (await shop.whoami((await shop.started())["session_token"])).status_code == 200, "a new one counts"

    async def test_a_member_of_a_protected_group_is_never_impersonated(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with open_shop(sqlite_dsn, tmp_path, clock, protected_groups=["vip"]) as shop:
            admin = await shop.scene.admin()
            group = (await admin.post("/admin/groups", json={"name": "vip"})).json()["id"]
            await admin.put(f"/admin/groups/{group}/members/{shop.customer.id}")
            answer = await shop.start()
            assert (answer.status_code, answer.headers["x-error-code"]) == (403, "impersonation_refused")
            assert "protected_groups" in answer.text

    async def test_who_is_protected_meanwhile_is_acted_for_no_more(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        groups = {"protected_groups": ["vip"], "agent_groups": ["support"]}
        async with open_shop(sqlite_dsn, tmp_path, clock, **groups) as shop:
            admin = await shop.scene.admin()
            for name in ("vip", "support"):
                token = (await shop.started())["session_token"]
                assert (await shop.whoami(token)).status_code == 200
                group = (await admin.post("/admin/groups", json={"name": name})).json()["id"]
                member = f"/admin/groups/{group}/members/{shop.customer.id}"
                assert (await admin.put(member)).status_code in {200, 201, 204}
                assert (await shop.whoami(token)).status_code == 401, name
                await admin.delete(member)
                assert (await shop.whoami(token)).status_code == 401, "it does not live again"


class TestStores:
    async def test_it_counts_in_its_own_store_only(self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
        stores = {"stores": [{"id": "fruit"}, {"id": "books"}], "default_store": "fruit"}
        async with open_shop(sqlite_dsn, tmp_path, clock, further=stores) as shop:
            assert (await shop.start(query="?store=books")).status_code == 403, (
                "the agent's session is of another store"
            )
            token = (await shop.started())["session_token"]
            app = await shop.scene.native(connector="books")
            assert "errors" in await ask(app, token, CART)


class TestTheBrowser:
    async def test_a_link_sets_the_cookie_once(self, shop: Shop) -> None:
        started = await shop.started()
        assert started["session_token"] not in started["browser_link"]
        browser = await shop.acting_browser(started)
        assert await browser.whoami() == shop.customer.id
        again = await shop.scene.browser()
        answer = await follow(again, started["browser_link"])
        assert (answer.status_code, again.session_cookie) == (404, None)

    async def test_opening_a_link_changes_nothing(self, small: Shop) -> None:
        started, browser = await small.started(), await small.scene.browser()
        for _ in range(2):
            assert (await browser.get(started["browser_link"])).status_code == 200
        assert browser.session_cookie is None
        assert (await follow(browser, started["browser_link"])).status_code == 303

    async def test_a_link_lasts_for_a_minute(self, small: Shop) -> None:
        started = await small.started()
        small.scene.clock.advance(seconds=61)
        assert (await follow(await small.scene.browser(), started["browser_link"])).status_code == 404

    async def test_another_sites_page_cannot_make_a_browser_act(self, small: Shop) -> None:
        started, browser = await small.started(), await small.scene.browser()
        link = started["browser_link"].partition("link=")[2]
        headers = {"sec-fetch-site": "cross-site", "origin": "https://evil.test"}
        answer = await browser.post("/impersonation", data={"link": link}, headers=headers)
        assert (answer.status_code, browser.session_cookie) == (403, None)

    async def test_the_pages_say_so_and_end_it(self, small: Shop) -> None:
        browser = await small.acting_browser(await small.started())
        page = await browser.get("/account")
        assert f"You act as {small.customer.email}." in page.text
        assert 'name="password"' not in page.text
        nowhere = await browser.get("/nowhere")
        assert nowhere.status_code == 404
        assert f"You act as {small.customer.email}." in nowhere.text
        assert "/self-service/login/browser" not in nowhere.text
        fields = await browser.form_of("/account")
        ended = await browser.post("/impersonation/end", data=fields)
        assert (ended.status_code, browser.session_cookie) == (303, None)
        assert (await small.tool.get("/admin/impersonations?active=true")).json() == []

    async def test_a_guests_browser_says_so_too(self, small: Shop) -> None:
        app = await small.scene.native()
        started = await small.started_as_guest(await fill_cart(app, (await visit(app))["authorization"]))
        browser = await small.acting_browser(started)
        assert "You act as a guest." in (await browser.get("/")).text
        ended = await browser.post("/impersonation/end", data=await browser.form_of("/"))
        assert ended.status_code == 303
        assert "errors" in await ask(app, started["session_token"], CART)

    async def test_an_agent_keeps_no_language_for_the_customer(self, small: Shop) -> None:
        browser = await small.acting_browser(await small.started())
        await browser.get("/account?lang=de")
        [customer] = [row for row in await small.scene.rows("identities") if small.customer.email in str(row["traits"])]
        assert customer["locale"] != "de"


class TestTheCustomer:
    async def test_the_customer_sees_it_among_the_devices_and_ends_it(self, shop: Shop) -> None:
        started = await shop.started()
        app = await shop.scene.native(x_session_token=shop.customer.token)
        [listed] = (await app.get("/sessions")).json()
        assert (listed["id"], listed["actor"]) == (started["id"], {"type": "agent"})
        assert shop.agent.id not in str(listed)
        assert (await app.delete(f"/sessions/{started['id']}")).status_code == 204
        assert (await shop.whoami(started["session_token"])).status_code == 401
        [over] = await shop.audited("impersonation.ended")
        assert over["subject"] == shop.customer.id

    async def test_the_account_page_shows_it(self, small: Shop) -> None:
        browser = await small.scene.browser()
        await browser.sign_in(small.customer.email)
        await small.started()
        page = (await browser.get("/account", follow_redirects=True)).text
        assert "Support access" in page
        assert "End support access" in page

    async def test_no_mail_says_that_the_customer_has_signed_in(self, small: Shop) -> None:
        before = len(await small.scene.mails())
        await small.acting_browser(await small.started())
        assert len(await small.scene.mails()) == before

    async def test_a_mail_says_so_where_the_shop_wants_it(self, dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
        async with open_shop(dsn, tmp_path, clock, notify_customer=True) as shop:
            await shop.started()
            [mail] = [each for each in await shop.scene.mails() if each.template_type == "support_access"]
            assert mail.recipient == shop.customer.email
            assert "https://shop.test/account" in mail.body
            assert REASON not in mail.body

    async def test_it_takes_none_of_the_customers_sessions(self, dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
        async with open_shop(dsn, tmp_path, clock, further={"session": {"max_per_identity": 2}}) as shop:
            await shop.started()
            await sign_in(await shop.scene.native(), shop.customer.email)
            assert (await shop.whoami(shop.customer.token)).status_code == 200


@pytest.fixture
async def scene_off(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    async with open_shop(sqlite_dsn, tmp_path, clock, further={"impersonation": {"enabled": False}}) as shop:
        yield shop.scene


async def test_introspection_says_who_acts_for_a_guest(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
    key = "p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe"
    further = {"introspection": {"callers": [{"id": "engine", "keys": [key]}]}}
    async with open_shop(sqlite_dsn, tmp_path, clock, further=further) as shop:
        app = await shop.scene.native()

        async def introspected(token: str) -> dict[str, Any]:
            headers = {"authorization": f"Bearer {key}"}
            answer = await app.post("/oauth2/introspect", data={"token": token}, headers=headers)
            told: dict[str, Any] = answer.json()
            return told

        own = (await visit(app))["authorization"]
        started = await shop.started_as_guest(await fill_cart(app, own))
        theirs = await introspected(started["session_token"])
        assert theirs["act"] == {"sub": shop.agent.id}
        guest = await introspected(own)
        assert theirs["sub"] == guest["sub"]
        assert "act" not in guest
        await app.request("DELETE", "/self-service/logout/api", json={"session_token": shop.agent.token})
        assert await introspected(started["session_token"]) == {"active": False}


async def test_an_engine_is_told_the_scopes_of_an_agent(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
    key = "e7Jq8wLz3nVx6bRk1mHs9cFd2gPy4aEo"
    rules = [{"scopes": ["manage_my_profile:tea"]}, {"scopes": ["manage_my_orders:tea"], "agents": True}]
    further = {"introspection": {"callers": [{"id": "engine", "keys": [key]}]}, "tokens": {"scope_rules": rules}}
    async with open_shop(sqlite_dsn, tmp_path, clock, further=further) as shop:
        app = await shop.scene.native(authorization=f"Bearer {key}")
        told = []
        for token in (shop.customer.token, (await shop.started())["session_token"]):
            answer = (await app.post("/oauth2/introspect", data={"token": token})).json()
            told.append([scope for scope in answer["scope"].split() if scope.startswith("manage_")])
        assert told == [["manage_my_profile:tea", "manage_my_orders:tea"], ["manage_my_orders:tea"]]
