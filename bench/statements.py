"""How many SQL statements a submission of a form with a code takes, counted where the storage sends them."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx2

from bench.database import database_of
from bench.outcome import Row, Target, Unmeasured
from bench.postgres import new_database
from bench.run import Run
from shopkeeper.clock import StoppedClock
from shopkeeper.storage.migrate import migrate
from tests.attacks.scene import PASSWORD, Scene, new_address, opened, sign_up

TARGET: Final = Target(most=10, unit="statements")
_SETTINGS: Final[Mapping[str, Any]] = {
    "selfservice": {
        "methods": {"code": {"enabled": True, "passwordless_enabled": True}},
        "flows": {
            "recovery": {"enabled": True, "use": "code"},
            "verification": {"enabled": True, "use": "code"},
            "registration": {"after": {"code": {"hooks": [{"hook": "session"}]}}},
        },
    }
}
_CODE: Final = re.compile(r"\b\d{6}\b")


def statements(run: Run) -> Iterator[Row]:
    """Submit each form with a code twice: the address first, which asks for the code, then the code."""
    if not run.cluster.own:
        raise Unmeasured("it makes a database of its own: use --postgresql auto")
    for name, dsn in (("PostgreSQL", new_database(run.cluster)), ("SQLite", f"sqlite://{run.folder}/statements.db")):
        run.tell(f"counting statements, {name}")
        for what, seen in asyncio.run(_counted(dsn, run.folder)).items():
            yield Row(f"statements: {what}, {name}", seen, "statements", "outside of the mail's delivery", TARGET)


async def _counted(dsn: str, folder: Path) -> Mapping[str, int]:
    database = database_of(dsn)
    await migrate(database)
    await database.close()
    async with opened(dsn, folder, StoppedClock(datetime.now(UTC)), settings=_SETTINGS) as scene:
        app = await scene.native()
        email, newcomer = new_address(), new_address()
        await sign_up(app, email, password=PASSWORD)
        await scene.mails()
        counts: dict[str, int] = {}
        for kind, who, asked in (
            ("recovery", email, {"email": email}),
            ("verification", email, {"email": email}),
            ("login", email, {"identifier": email}),
            ("registration", newcomer, {"traits": {"email": newcomer}}),
        ):
            flow = (await app.get(f"/self-service/{kind}/api")).json()["id"]
            counts[f"{kind}, code asked"] = await _submitted(scene, app, kind, flow, asked)
            code = {"code": await _code_for(scene, who)}
            proof = code if kind in {"recovery", "verification"} else {**asked, **code}
            counts[f"{kind}, code given"] = await _submitted(scene, app, kind, flow, proof)
        return counts


async def _submitted(scene: Scene, app: httpx2.AsyncClient, kind: str, flow: str, fields: Mapping[str, Any]) -> int:
    seen: list[str] = []
    with scene.application.infrastructure.database.observed(seen.append):
        answer = await app.post(f"/self-service/{kind}?flow={flow}", json={"method": "code", **fields})
    if answer.status_code >= 500 or answer.status_code == 404:
        raise Unmeasured(f"{kind} was answered with {answer.status_code}")
    return sum(not each.startswith("BEGIN") for each in seen)


async def _code_for(scene: Scene, who: str) -> str:
    """Return the code of the newest mail for an address."""
    newest = next(mail for mail in await scene.mails() if mail.recipient == who)
    found = _CODE.search(f"{newest.subject} {newest.body}")
    if found is None:
        raise Unmeasured("a mail has no code")
    return found.group()
