"""Rows 72, 74 and 75: whether an address has an account, told by no step of recovery, verification, sign-in by code and
registration: not by text, status or headers, and not by the work of a step."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.attacks.conftest import Opening
from tests.attacks.scene import PASSWORD, Browser, Scene, new_address

JSON = {"accept": "application/json"}
VARYING = {"content-length", "date", "x-request-id"}
UNSENT = "no code"

Fields = Mapping[str, Any]


def settings(way: str) -> dict[str, Any]:
    flows = {name: {"enabled": True, "use": way} for name in ("recovery", "verification")}
    flows["registration"] = {
        "style": "unified",
        "after": {"password": {"hooks": [{"hook": "show_verification_ui"}]}, "code": {"hooks": []}},
    }
    flows["login"] = {"after": {"password": {"hooks": [{"hook": "require_verified_address"}]}}}
    code = {"enabled": True, "passwordless_enabled": True}
    return {
        "selfservice": {"methods": {"code": code, "link": {"enabled": True}}, "flows": flows},
        "throttle": {"code": {"per_ip": "1000/minute", "per_pair": "1000/hour", "per_recipient": "1000/hour"}},
    }


@dataclass(frozen=True)
class Step:
    """What one step of a flow has answered and cost."""

    status: int
    headers: tuple[str, ...]
    text: str
    statements: int
    hashes: int


@dataclass
class Attacker:
    """A native app or a browser that goes through a flow with an address, and writes down each step."""

    scene: Scene
    client: httpx2.AsyncClient
    kind: str
    email: str
    steps: list[Step]

    async def open(self) -> dict[str, Any]:
        way = "browser" if "html" in self.client.headers.get("accept", "") else "api"
        return dict((await self.client.get(f"/self-service/{self.kind}/{way}", headers=JSON)).json())

    async def send(self, flow: Fields, fields: Fields) -> dict[str, Any]:
        tokens = [n["attributes"]["value"] for n in flow["ui"]["nodes"] if n["attributes"].get("name") == "csrf_token"]
        whole = {**fields, **({"csrf_token": tokens[0]} if tokens and tokens[0] else {})}
        answer = await self._noted(lambda: self.client.post(flow["ui"]["action"], json=whole, headers=JSON))
        return {"ui": flow["ui"], **answer}

    async def fetch(self, kind: str, flow_id: str) -> dict[str, Any]:
        path = f"/self-service/{kind}/flows?id={flow_id}"
        return await self._noted(lambda: self.client.get(path, headers=JSON))

    async def _noted(self, call: Callable[[], Any]) -> dict[str, Any]:
        hasher, seen = self.scene.application.accounts.hasher, list[str]()
        before = hasher.computed
        with self.scene.application.infrastructure.database.observed(seen.append):
            answer = await call()
        if not isinstance(self.client, Browser):
            self.client.cookies.clear()  # an app keeps none
        headers = tuple(sorted(key for key, _ in answer.headers.multi_items() if key not in VARYING))
        text = _plain(answer.json(), self.email)
        self.steps.append(Step(answer.status_code, headers, text, len(seen), hasher.computed - before))
        return dict(answer.json())


def _plain(told: Any, email: str) -> str:
    text = json.dumps(told, sort_keys=True).replace(email, "<name>")
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "<id>", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "<moment>", text)
    return re.sub(r'"value": "[A-Za-z0-9+/=_-]{43,}"', '"value": "<token>"', text)


async def by_mail(attacker: Attacker, way: str) -> None:
    """Ask for a mail, give what it does not hold, ask again, and look at the form."""
    flow = await attacker.open()
    asked = {"method": way, "email": attacker.email}
    flow = await attacker.send(flow, asked)
    if way == "code":
        for _ in range(2):
            flow = await attacker.send(flow, {"method": way, "code": UNSENT})
    flow = await attacker.send(flow, asked)
    await attacker.fetch(attacker.kind, flow["id"])


async def by_code(attacker: Attacker) -> None:
    """Sign in or register by code: ask, give a wrong one, ask again."""
    flow, name = await attacker.open(), {"identifier": attacker.email}
    proof = {"method": "code", **(name if attacker.kind == "login" else {"traits": {"email": attacker.email}})}
    flow = await attacker.send(flow, proof)
    for fields in ({"code": UNSENT}, {"code": "000"}, {"resend": "code"}):
        flow = await attacker.send(flow, {**proof, **fields})
    await attacker.fetch(attacker.kind, flow["id"])


async def to_the_end(attacker: Attacker) -> None:
    """Register with a password, go on with the verification that is offered, and sign in."""
    traits = {"email": attacker.email}
    done = await attacker.send(await attacker.open(), {"method": "password", "password": PASSWORD, "traits": traits})
    [shown] = [each["flow"] for each in done["continue_with"] if each["action"] == "show_verification_ui"]
    flow = await attacker.fetch("verification", shown["id"])
    flow = await attacker.send(flow, {"method": "code", "code": UNSENT})
    flow = await attacker.send(flow, {"method": "code", "email": attacker.email})
    await attacker.fetch("verification", flow["id"])
    attacker.kind = "login"
    signing_in = {"method": "password", "identifier": attacker.email, "password": PASSWORD}
    await attacker.send(await attacker.open(), signing_in)


@pytest.fixture(params=["native", "browser"])
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def tried(scene: Scene, client: str, kind: str, email: str) -> Attacker:
    opened = await (scene.native() if client == "native" else scene.browser())
    return Attacker(scene, opened, kind, email, [])


class TestRecoveryAndVerification:
    @pytest.mark.parametrize("way", ["code", "link"])
    @pytest.mark.parametrize("kind", ["recovery", "verification"])
    async def test_row_072_and_075_no_step_tells_known_from_unknown(
        self, opening: Opening, sqlite_dsn: str, kind: str, way: str, client: str
    ) -> None:
        async with opening(sqlite_dsn, **settings(way)) as scene:
            known, unknown = new_address(), new_address()
            await sign_up_quietly(scene, known)
            before = {mail.id for mail in await scene.mails()}
            seen = [await tried(scene, client, kind, email) for email in (known, unknown)]
            for attacker in seen:
                await by_mail(attacker, way)
            assert seen[0].steps == seen[1].steps
            later = [mail for mail in await scene.mails() if mail.id not in before]
            assert {mail.recipient for mail in later} == {known}
            assert len(later) == 2


class TestCodes:
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_row_072_and_075_no_step_tells_known_from_unknown(
        self, opening: Opening, sqlite_dsn: str, kind: str, client: str
    ) -> None:
        async with opening(sqlite_dsn, **settings("code")) as scene:
            known, unknown = new_address(), new_address()
            await sign_up_quietly(scene, known)
            seen = [await tried(scene, client, kind, email) for email in (known, unknown)]
            for attacker in seen:
                await by_code(attacker)
            assert seen[0].steps == seen[1].steps


class TestDeactivatedAccounts:
    """No mail could let them in (ory/kratos#3858), so that none is sent, and nothing tells them from unknown ones."""

    @pytest.mark.parametrize(("kind", "way"), [("recovery", "code"), ("recovery", "link"), ("login", "code")])
    async def test_row_072_and_075_are_like_unknown_ones_and_get_no_mail(
        self, opening: Opening, sqlite_dsn: str, kind: str, way: str, client: str
    ) -> None:
        async with opening(sqlite_dsn, **settings(way)) as scene:
            disabled, unknown = new_address(), new_address()
            await deactivated(scene, disabled)
            before = {mail.id for mail in await scene.mails()}
            seen = [await tried(scene, client, kind, email) for email in (disabled, unknown)]
            for attacker in seen:
                await (by_code(attacker) if kind == "login" else by_mail(attacker, way))
            assert seen[0].steps == seen[1].steps
            assert [mail.recipient for mail in await scene.mails() if mail.id not in before] == []
            told = [row["details"] for row in await scene.rows("audit_events") if row["action"] == "code.sent"]
            assert sum("account_disabled" in str(each) for each in told) == 2

    async def test_get_the_mail_of_unknown_ones_where_these_get_one(self, opening: Opening, sqlite_dsn: str) -> None:
        notifying = settings("code")
        notifying["selfservice"]["flows"]["recovery"]["notify_unknown_recipients"] = True
        async with opening(sqlite_dsn, **notifying) as scene:
            email = new_address()
            await deactivated(scene, email)
            await by_mail(await tried(scene, "native", "recovery", email), "code")
            mails = [mail.template_type for mail in await scene.mails() if mail.recipient == email]
            assert [each for each in mails if each.startswith("recovery")] == ["recovery_code_invalid"] * 2


class TestRegistration:
    async def test_row_074_a_simulated_one_is_like_a_real_one_to_its_end(
        self, opening: Opening, dsn: str, client: str
    ) -> None:
        async with opening(dsn, **settings("code")) as scene:
            taken, free = new_address(), new_address()
            await sign_up_quietly(scene, taken)
            seen = [await tried(scene, client, "registration", email) for email in (taken, free)]
            for attacker in seen:
                await to_the_end(attacker)
            assert seen[0].steps == seen[1].steps
            assert seen[1].steps[-1].status == 403  # the sign-in of an address that is not verified
            assert [row for row in await scene.rows("identities") if free in str(row)] != []
            mails = {(mail.recipient, mail.template_type) for mail in await scene.mails()}
            assert (taken, "sign_up_attempt") in mails
            assert (free, "verification_code_valid") in mails


async def sign_up_quietly(scene: Scene, email: str) -> None:
    """Register an account whose first mails are sent, an hour ago."""
    app = await scene.native()
    flow = (await app.get("/self-service/registration/api")).json()
    form = {"method": "password", "password": f"{PASSWORD} of the owner", "traits": {"email": email}}
    assert (await app.post(flow["ui"]["action"], json=form)).status_code == 200
    await scene.mails()
    scene.clock.advance(hours=2)


async def deactivated(scene: Scene, email: str) -> None:
    """Register an account, and deactivate it as an operator."""
    await sign_up_quietly(scene, email)
    admin = await scene.admin()
    [known] = (await admin.get(f"/admin/identities?credentials_identifier={email}")).json()
    inactive = [{"op": "replace", "path": "/state", "value": "inactive"}]
    assert (await admin.patch(f"/admin/identities/{known['id']}", json=inactive)).status_code == 200
