"""Rows 77 and 78, mail bombing: a stranger causes few mails to one mailbox, and the answers do not show it."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.attacks.conftest import Opening
from tests.attacks.scene import PASSWORD, SIGN_UP, Scene, ask, new_address, sign_in, sign_up, submit, visit

PAIR, RECIPIENT, CLIENT = 4, 10, 10
"""The defaults of `throttle.code`: mails of a kind to a mailbox for one client, for all, and of a client a minute."""
UNLIMITED = {name: {"per_ip": "10000/minute"} for name in ("login", "registration")}


def selfservice(*login: str) -> dict[str, Any]:
    return {
        "methods": {"code": {"enabled": True}},
        "flows": {
            "registration": {"after": {"password": {"hooks": []}}},
            "login": {"after": {"password": {"hooks": [{"hook": name} for name in login]}}},
            "verification": {"enabled": True},
        },
    }


async def register(scene: Scene, email: str, ip: str) -> tuple[int, Any]:
    form = {"method": "password", "password": PASSWORD, "traits": {"email": email}}
    answer = await submit(await scene.native(ip=ip), "registration", form)
    return answer.status_code, [each["action"] for each in answer.json().get("continue_with") or ()]


async def sent(scene: Scene) -> dict[str, int]:
    templates = [mail.template_type for mail in await scene.mails()]
    return {each: templates.count(each) for each in set(templates)}


def tagged(email: str, number: int) -> str:
    return email.replace("@", f"+{number}@")


@pytest.mark.parametrize("hook", ["require_verified_address", "verification"])
async def test_row_077_one_client_sends_few_mails_to_a_mailbox_whatever_its_tags(
    opening: Opening, sqlite_dsn: str, hook: str
) -> None:
    async with opening(sqlite_dsn, selfservice=selfservice(hook), throttle=UNLIMITED) as scene:
        email, here = new_address(), "203.0.113.7"
        registered = [await register(scene, tagged(email, number), here) for number in range(8)]
        app = await scene.native(ip=here)
        signed_in = [await sign_in(app, tagged(email, number % 8)) for number in range(16)]
        assert len({str(answer) for answer in registered}) == 1
        assert len({answer.status_code for answer in signed_in}) == 1
        assert await sent(scene) == {"welcome": PAIR, "verification_code_valid": PAIR}
        owner = await scene.native(ip="198.51.100.9")  # the budget of the mailbox is not used up
        asked = await submit(owner, "verification", {"method": "code", "email": tagged(email, 0)})
        assert asked.json()["state"] == "sent_email"
        assert (await sent(scene))["verification_code_valid"] == PAIR + 1


async def test_row_077_all_clients_together_send_few_mails_to_a_mailbox(opening: Opening, sqlite_dsn: str) -> None:
    async with opening(sqlite_dsn, selfservice=selfservice(), throttle=UNLIMITED) as scene:
        email = new_address()
        for number in range(2 * RECIPIENT):
            await register(scene, tagged(email, number), f"203.0.113.{number}")
        assert await sent(scene) == {"welcome": RECIPIENT, "verification_code_valid": RECIPIENT}


async def test_row_077_one_client_sends_few_mails_to_many_mailboxes(opening: Opening, sqlite_dsn: str) -> None:
    async with opening(sqlite_dsn, selfservice=selfservice(), throttle=UNLIMITED) as scene:
        answers = [await register(scene, new_address(), "203.0.113.7") for _ in range(2 * CLIENT)]
        assert len({str(answer) for answer in answers}) == 1
        assert await sent(scene) == {"welcome": CLIENT, "verification_code_valid": CLIENT}


async def test_row_077_registering_taken_addresses_tells_their_owner_once_an_hour(
    opening: Opening, sqlite_dsn: str
) -> None:
    async with opening(sqlite_dsn, selfservice=selfservice(), throttle=UNLIMITED) as scene:
        email = new_address()
        for number in range(3):
            await register(scene, tagged(email, number), f"198.51.100.{number}")
        for number in range(12):
            await register(scene, tagged(email, number % 3), f"203.0.113.{number}")
        assert (await sent(scene))["sign_up_attempt"] == 1


async def test_row_078_graphql_has_the_same_budgets(opening: Opening, sqlite_dsn: str) -> None:
    async with opening(sqlite_dsn, selfservice=selfservice(), throttle=UNLIMITED) as scene:
        app, email = await scene.native(), new_address()
        token = (await visit(app))["authorization"]
        for number in range(8):
            await ask(app, token, SIGN_UP, i={"email": tagged(email, number), "password": PASSWORD})
        assert (await sent(scene))["welcome"] == PAIR


@pytest.mark.parametrize("kind", ["recovery", "verification"])
async def test_row_077_of_requests_at_once_only_those_that_are_stored_send_a_mail(
    opening: Opening, dsn: str, kind: str
) -> None:
    """A request that has read the form before another one was stored is not stored, whatever address it comes from."""
    settings = {**selfservice(), "flows": {name: {"enabled": True} for name in ("recovery", "verification")}}
    unlimited = {"code": {"per_recipient": "1000/hour", "per_pair": "1000/hour"}}
    async with opening(dsn, selfservice=settings, throttle=unlimited) as scene:
        owner, email = await scene.native(), new_address()
        await sign_up(owner, email)
        before = len(await scene.mails())
        flow = (await owner.get(f"/self-service/{kind}/api")).json()
        clients = [await scene.native(ip=f"198.51.100.{number}") for number in range(20)]
        form = {"method": "code", "email": email}
        answers = await asyncio.gather(*(each.post(flow["ui"]["action"], json=form) for each in clients))
        stored = [answer for answer in answers if answer.status_code == 200]
        [row] = [each for each in await scene.rows("flows") if UUID(str(each["id"])) == UUID(flow["id"])]
        assert len(await scene.mails()) - before == len(stored) == row["version"] < len(clients)
