"""Transactions of one flow that meet in PostgreSQL wait for each other, and none is ended by a deadlock."""

import asyncio
import re
from contextlib import suppress
from typing import Any

import pytest

from shopkeeper.flows.flow_writer import FlowWriter
from shopkeeper.identity.service import Identities
from tests.attacks.scene import new_address, sign_up
from tests.flows.conftest import Staging

FLOWS = {"verification": {"enabled": True}}
GIVE_THE_OTHER_TIME = 0.5


async def test_a_right_code_while_another_mail_is_asked_for(
    staging: Staging, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staging(postgres_dsn, selfservice={"flows": FLOWS}) as stage:
        app, other, email = await stage.scene.native(), await stage.scene.native(), new_address()
        await sign_up(app, email)
        flow = (await app.get("/self-service/verification/api")).json()
        path, asked_for = f"/self-service/verification?flow={flow['id']}", {"method": "code", "email": email}
        await app.post(path, json=asked_for)
        mail = next(mail for mail in await stage.scene.mails() if str(flow["id"]) in mail.body)
        [code] = set(re.findall(r"\bcode=(\d{6})\b", mail.body))
        proven, asked = asyncio.Event(), asyncio.Event()
        apply_proof, keep = Identities.apply_proof, FlowWriter.store

        async def proving(self: Identities, *given: Any, **more: Any) -> Any:
            done = await apply_proof(self, *given, **more)
            proven.set()
            with suppress(TimeoutError):  # as long as the other may not have the flow's row
                await asyncio.wait_for(asked.wait(), GIVE_THE_OTHER_TIME)
            return done

        async def storing(self: FlowWriter, *given: Any) -> Any:
            stored = await keep(self, *given)
            if stored.finished_at is None:
                asked.set()
            return stored

        async def ask_again() -> Any:
            await proven.wait()
            return await other.post(path, json=asked_for)

        monkeypatch.setattr(Identities, "apply_proof", proving)
        monkeypatch.setattr(FlowWriter, "store", storing)
        right, again = await asyncio.gather(app.post(path, json={"method": "code", "code": code}), ask_again())
        assert (right.status_code, right.json()["state"]) == (200, "passed_challenge")
        assert again.status_code < 500
        [address] = await stage.scene.rows("verifiable_addresses")
        assert address["verified"]
