"""Rows 38 to 40, 65 and 91, for agents who act as customers: what a session of theirs must not become."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.crypto import digest
from shopkeeper.sessions.errors import NotWhileImpersonating
from tests.attacks.scene import CART, OWN_PAGE, PASSWORD, ask, fill_cart, sign_in, visit
from tests.http.support import Person, Shop, follow, open_shop

REFUSED = (403, "not_while_impersonating")


@pytest.fixture
async def shop(dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Shop]:
    async with open_shop(dsn, tmp_path, clock) as shop:
        yield shop


async def test_row_038_a_planted_link_makes_no_browser_act_by_itself(shop: Shop) -> None:
    """An attacker among the agents sends the link to a customer: the page says what it does, and waits for a click."""
    victim = await shop.scene.browser()
    await victim.sign_in(shop.customer.email)
    own = victim.session_cookie
    started = await shop.started(whom=(await Person.register(shop.scene, "eve")).id)
    answer = await victim.get(started["browser_link"])
    assert "acts for the customer" in answer.text
    assert victim.session_cookie == own
    assert "link=" not in answer.headers.get("location", "")


async def test_row_039_one_browser_does_not_mix_the_agent_and_the_customer(shop: Shop) -> None:
    browser = await shop.scene.browser()
    await browser.sign_in(shop.agent.email)
    answer = await follow(browser, (await shop.started())["browser_link"])
    assert answer.status_code == 303
    assert await browser.whoami() == shop.customer.id
    await browser.post("/impersonation/end", data=await browser.form_of("/account"))
    assert await browser.whoami() is None


async def test_row_040_nothing_made_of_it_outlives_the_agents_session(shop: Shop) -> None:
    app, started = await shop.scene.native(), await shop.started()
    browser = await shop.acting_browser(started)
    guest = await shop.started_as_guest(await fill_cart(app, (await visit(app))["authorization"]))
    await app.request("DELETE", "/self-service/logout/api", json={"session_token": shop.agent.token})
    assert await browser.whoami() is None
    for token in (started["session_token"], guest["session_token"]):
        assert "errors" in await ask(app, token, CART)
        bearer = {"authorization": f"Bearer {token}"}
        assert (await app.post("/signin", json={"type": "refresh"}, headers=bearer)).status_code == 403
    assert (await follow(await shop.scene.browser(), guest["browser_link"])).status_code == 404


async def test_row_040_a_start_that_meets_the_agents_sign_out_leaves_nothing(shop: Shop) -> None:
    app = await shop.scene.native()
    for _ in range(5):
        agent = (await sign_in(app, shop.agent.email)).json()["session_token"]
        out = app.request("DELETE", "/self-service/logout/api", json={"session_token": agent})
        answer, _ = await asyncio.gather(shop.start(session_token=agent), out)
        assert answer.status_code in {201, 403}
        if answer.status_code == 201:
            assert (await shop.whoami(answer.json()["session_token"])).status_code == 401
    assert (await shop.tool.get("/admin/impersonations?active=true")).json() == []


async def test_row_065_a_fresh_impersonation_confirms_no_session_and_gives_no_second_factor(shop: Shop) -> None:
    app = await shop.scene.native(x_session_token=(await shop.started())["session_token"])
    for path in ("login/api?refresh=true", "login/api?aal=aal2", "settings/api", "recovery/api", "verification/api"):
        answer = await app.get(f"/self-service/{path}")
        assert (answer.status_code, answer.headers["x-error-code"]) == REFUSED, path


async def test_row_065_a_form_of_the_customer_takes_nothing_from_an_agent(shop: Shop) -> None:
    """The form was opened by the customer, whose sign-in is fresh; the agent has got its id."""
    app = await shop.scene.native()
    own = {"x-session-token": shop.customer.token}
    flow = (await app.get("/self-service/settings/api", headers=own)).json()
    token = (await shop.started())["session_token"]
    fields = {"method": "password", "password": "a password of the agent"}
    for headers in ({"x-session-token": token}, {"cookie": f"ory_kratos_session={token}", **OWN_PAGE}):
        answer = await app.post(f"/self-service/settings?flow={flow['id']}", json=fields, headers=headers)
        assert (answer.status_code, answer.headers["x-error-code"]) == REFUSED
    assert (await sign_in(app, shop.customer.email, PASSWORD)).status_code == 200


async def test_row_091_the_domain_refuses_what_the_gate_would_let_through(shop: Shop) -> None:
    """Were a route forgotten: the session itself cannot be kept, elevated, refreshed, extended, or end others."""
    started, sessions = await shop.started(), shop.scene.application.accounts.sessions
    cached = await sessions.resolve(started["session_token"])
    assert cached is not None
    session, database = cached.session, shop.scene.application.infrastructure.database
    for act in (
        lambda unit: sessions.keep(unit, session, new_token=False),
        lambda unit: sessions.lock(unit, session),
        lambda unit: sessions.revoke_others(unit, session),
    ):
        async with database.unit() as unit:
            with pytest.raises(NotWhileImpersonating):
                await act(unit)
    admin = await shop.scene.admin()
    await admin.patch(f"/admin/sessions/{started['id']}/extend")
    assert (await shop.whoami(started["session_token"])).json()["expires_at"] == started["expires_at"]


async def test_row_091_a_stolen_table_opens_nothing(shop: Shop) -> None:
    started = await shop.started()
    [row] = await shop.scene.rows("impersonations")
    [session] = [each for each in await shop.scene.rows("sessions") if each["actor"]]
    assert bytes(session["token_hash"]) == digest(started["session_token"])
    assert started["session_token"] not in f"{row}{session}"


async def test_row_091_an_agents_session_alone_starts_nothing(shop: Shop) -> None:
    stolen = await shop.scene.admin(key=shop.agent.token)
    asked = {"session_token": shop.agent.token, "reason": "curious"}
    answer = await stolen.post(f"/admin/identities/{shop.customer.id}/impersonations", json=asked)
    assert answer.status_code == 401
