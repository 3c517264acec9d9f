"""What a submission was charged comes back where it did not do what it was charged for: mails, and guesses."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import text

from shopkeeper.sessions.values import Session
from shopkeeper.signin.hooks import HookOrigin, HookSubject
from shopkeeper.storage.database import Unit
from shopkeeper.storage.unavailable import DatabaseUnavailable
from tests.attacks.scene import THERE, Scene, new_address, sign_up
from tests.flows.conftest import Staging

CODE: dict[str, Any] = {
    "methods": {"code": {"enabled": True, "passwordless_enabled": True}},
    "flows": {name: {"enabled": True, "use": "code"} for name in ("recovery", "verification")},
}
MAILS = 4
TIGHT = {"code": {"per_ip": "50/minute", "per_pair": f"{MAILS}/hour", "per_recipient": f"{MAILS}/hour"}}
MANY = 3
WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


async def asking(scene: Scene, kind: str, email: str) -> tuple[httpx2.AsyncClient, str, dict[str, Any]]:
    """Open a native flow; return a client, the form's address, and the fields that ask for a mail."""
    app = await scene.native()
    flow = (await app.get(f"/self-service/{kind}/api")).json()
    fields = {"login": {"identifier": email}, "registration": {"traits": {"email": email}}}
    return app, flow["ui"]["action"], {"method": "code", **fields.get(kind, {"email": email})}


async def codes_of(scene: Scene, email: str) -> list[str]:
    """Return the codes that were mailed to an address, newest first."""
    return [
        code
        for mail in await scene.mails()
        if mail.recipient == email
        for code in re.findall(r"\b\d{6}\b", mail.subject)
    ]


@asynccontextmanager
async def flow_locked(scene: Scene, action: str) -> AsyncIterator[None]:
    """Lock the row of a flow, so that every submission gets as far as storing it; release it when all have."""
    database = scene.application.infrastructure.database
    async with database.unit() as unit:
        flow_id = UUID(action.partition("flow=")[2])
        await unit.write(text(f"UPDATE flows SET version = version WHERE id = '{flow_id}'"))
        yield
        waiting = 0
        while waiting < MANY:
            await asyncio.sleep(0.02)
            async with database.reading() as watch:
                waiting = await watch.scalar(WAITING)


@pytest.mark.parametrize(
    ("kind", "known"), [("login", True), ("registration", False), ("recovery", True), ("verification", False)]
)
async def test_parallel_requests_in_one_flow_spend_one_mail_and_send_one(
    staging: Staging, postgres_dsn: str, kind: str, known: bool
) -> None:
    """A double click, or a client that tries again too early, leaves the recipient's budget to the owner."""
    async with staging(postgres_dsn, selfservice=CODE, throttle=TIGHT) as stage:
        scene, email = stage.scene, new_address()
        if known:
            await sign_up(await scene.native(ip=THERE), email)
        app, action, fields = await asking(scene, kind, email)
        before = len(await codes_of(scene, email))
        async with flow_locked(scene, action):
            posted = [asyncio.create_task(app.post(action, json=fields)) for _ in range(MANY)]
        answers = await asyncio.gather(*posted)
        assert {answer.json()["state"] for answer in answers} == {"sent_email"}
        sent = len(await codes_of(scene, email)) - before
        assert sent == ((kind == "registration") != known)
        further = []
        for _ in range(MAILS):
            app, action, fields = await asking(scene, kind, email)
            further.append((await app.post(action, json=fields)).status_code)
        assert [status == 429 for status in further] == [False] * (MAILS - 1) + [True]


async def test_a_recipient_without_budget_costs_the_client_no_mail(staging: Staging, postgres_dsn: str) -> None:
    """Requests that the recipient's budget refuses leave the budget of recipient and client together."""
    tight = {"code": {"per_ip": "50/minute", "per_pair": "2/hour", "per_recipient": "2/minute"}}
    async with staging(postgres_dsn, selfservice=CODE, throttle=tight) as stage:
        email, statuses = new_address(), []
        for ip in (THERE, "198.51.100.10"):
            app = await stage.scene.native(ip=ip)
            flow = (await app.get("/self-service/recovery/api")).json()
            statuses.append((await app.post(flow["ui"]["action"], json={"method": "code", "email": email})).status_code)
        for _ in range(4):
            app, action, fields = await asking(stage.scene, "recovery", email)
            statuses.append((await app.post(action, json=fields)).status_code)
        stage.scene.clock.advance(minutes=15)
        app, action, fields = await asking(stage.scene, "recovery", email)
        statuses.append((await app.post(action, json=fields)).status_code)
        assert statuses == [200, 200, 429, 429, 429, 429, 200]


@pytest.mark.parametrize("kind", ["login", "recovery"])
async def test_guesses_that_end_with_a_late_503_are_given_back(staging: Staging, sqlite_dsn: str, kind: str) -> None:
    """The guess is counted and right, and then the database is away: the flow has no attempt less."""
    methods = {"code": {"enabled": True, "passwordless_enabled": True, "config": {"max_submissions": 2}}}
    async with staging(sqlite_dsn, selfservice={**CODE, "methods": methods}) as stage:
        scene, email = stage.scene, new_address()
        await sign_up(await scene.native(ip=THERE), email)
        app, action, fields = await asking(scene, kind, email)
        assert (await app.post(action, json=fields)).json()["state"] == "sent_email"
        code = (await codes_of(scene, email))[0]

        async def be_away(unit: Unit, *, session: Session, origin: HookOrigin) -> None:
            raise DatabaseUnavailable(retry_after=1)

        guess = {"method": "code", "code": code, **({"identifier": email} if kind == "login" else {})}
        stage.after.append(be_away)
        assert [(await app.post(action, json=guess)).status_code for _ in range(5)] == [503] * 5
        stage.after.clear()
        wrong = {**guess, "code": f"{(int(code) + 1) % 1_000_000:06d}"}
        assert (await app.post(action, json=wrong)).json()["state"] == "sent_email"
        assert (await app.post(action, json=guess)).status_code in {200, 422}


@pytest.mark.parametrize("kind", ["login", "registration", "recovery"])
async def test_a_right_code_is_an_attempt_of_its_flow(staging: Staging, dsn: str, kind: str) -> None:
    """It is counted where it ends the flow: as the last one that the flow allows it counts, and after that no more."""
    methods = {"code": {"enabled": True, "passwordless_enabled": True, "config": {"max_submissions": 2}}}
    async with staging(dsn, selfservice={**CODE, "methods": methods}) as stage:
        scene = stage.scene
        for wrong_ones, right_counts in ((1, True), (2, False)):
            email, elsewhere = new_address(), await scene.native(ip=THERE)
            if kind != "registration":
                await sign_up(elsewhere, email)
            app, action, fields = await asking(scene, kind, email)
            assert (await app.post(action, json=fields)).json()["state"] == "sent_email"
            code = (await codes_of(scene, email))[0]
            guess = {**(fields if kind in {"login", "registration"} else {"method": "code"}), "code": code}
            wrong = {**guess, "code": f"{(int(code) + 1) % 1_000_000:06d}"}
            for _ in range(wrong_ones):
                assert (await app.post(action, json=wrong)).json()["state"] == "sent_email"
            before = {table: len(await scene.rows(table)) for table in ("sessions", "identities")}
            answer = await app.post(action, json=guess)
            [flow] = [row for row in await scene.rows("flows") if str(UUID(str(row["id"]))) == action[-36:]]
            after = {table: len(await scene.rows(table)) for table in ("sessions", "identities")}
            assert flow["finished_at"] is not None
            assert (answer.status_code in {200, 422}) == right_counts, answer.text
            assert (after != before) == right_counts
            assert flow["attempts"] == 2


async def test_wrong_guesses_are_counted_although_others_were_given_back(staging: Staging, sqlite_dsn: str) -> None:
    methods = {"code": {"enabled": True, "passwordless_enabled": True, "config": {"max_submissions": 2}}}
    async with staging(sqlite_dsn, selfservice={**CODE, "methods": methods}) as stage:
        scene, email = stage.scene, new_address()
        await sign_up(await scene.native(ip=THERE), email)
        app, action, fields = await asking(scene, "login", email)
        await app.post(action, json=fields)
        code = (await codes_of(scene, email))[0]

        async def be_away(subject: HookSubject) -> None:
            raise DatabaseUnavailable(retry_after=1)

        guess = {"method": "code", "code": code, "identifier": email}
        wrong = {**guess, "code": f"{(int(code) + 1) % 1_000_000:06d}"}
        stage.blocking.append(be_away)
        statuses = [(await app.post(action, json=each)).status_code for each in (guess, wrong, guess, guess)]
        stage.blocking.clear()
        assert statuses == [503, 400, 503, 503]
        assert (await app.post(action, json=wrong)).status_code == 400
        ended = await app.post(action, json=guess)
        assert ended.status_code in {400, 410}
        assert "session_token" not in ended.text
