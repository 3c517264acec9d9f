"""Reports of mail providers, and suppressed addresses at the admin port."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import Scene, opened, sign_up, submit

KEY = b"k" * 32
SECRET = "whsec_" + base64.b64encode(KEY).decode()
SETTINGS = {
    "courier": {"bounces": {"secret": SECRET}},
    "selfservice": {"methods": {"code": {"passwordless_enabled": True}}},
}
HOOK, LIST = "/webhooks/courier/bounces", "/admin/courier/suppressions"
ADA = "ada@example.org"


@pytest.fixture
async def scene(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    async with opened(sqlite_dsn, tmp_path, clock, settings=SETTINGS) as scene:
        yield scene


async def report(scene: Scene, body: Any, *, key: bytes = KEY, age: int = 0, **changes: str) -> httpx2.Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    at = str(int(scene.clock.now().timestamp()) - age)
    name = f"msg_{hashlib.sha256(raw).hexdigest()[:8]}"
    signature = base64.b64encode(hmac.digest(key, f"{name}.{at}.".encode() + raw, "sha256")).decode()
    headers = {"webhook-id": name, "webhook-timestamp": at, "webhook-signature": f"v1,bm8= v1,{signature}"}
    provider = await scene.native()
    return await provider.post(HOOK, content=raw, headers={**headers, **changes})


async def suppressed(scene: Scene) -> list[dict[str, Any]]:
    answer = await (await scene.admin()).get(LIST)
    assert answer.status_code == 200
    return list(answer.json())


async def test_a_reported_address_gets_no_further_mail_and_codes_are_answered_as_before(scene: Scene) -> None:
    app = await scene.native()
    await sign_up(app, ADA)
    form = {"method": "code", "identifier": ADA}
    before = await submit(app, "login", form)
    await scene.mails()
    assert (
        await report(scene, {"type": "bounce", "address": "Ada@Example.org", "detail": "550 5.1.1"})
    ).status_code == 204
    assert (await report(scene, [{"type": "complaint", "address": "bob@example.org"}])).status_code == 204
    after = await submit(app, "login", form)
    newest, *_ = await scene.mails()
    assert (before.status_code, before.json()["state"]) == (after.status_code, after.json()["state"])
    assert before.json()["ui"]["messages"] == after.json()["ui"]["messages"]
    assert (newest.template_type, newest.status, newest.last_error) == (
        "login_code_valid",
        "abandoned",
        "the address is suppressed (bounce)",
    )
    found = await suppressed(scene)
    assert [(one["address"], one["reason"], one["source"], one["detail"]) for one in found] == [
        (ADA, "bounce", "webhook", "550 5.1.1"),
        ("bob@example.org", "complaint", "webhook", None),
    ]
    metrics = (await (await scene.admin()).get("/admin/metrics/prometheus")).text
    assert 'shopkeeper_mails_total{outcome="suppressed"} 1.0' in metrics
    assert 'shopkeeper_mail_suppressions_total{reason="complaint"} 1.0' in metrics


async def test_an_operator_takes_an_address_out_and_sends_its_mail_again(scene: Scene) -> None:
    await report(scene, {"type": "bounce", "address": ADA})
    await sign_up(await scene.native(), ADA)
    (welcome,) = await scene.mails()
    admin = await scene.admin()
    assert welcome.status == "abandoned"
    assert (await admin.delete(f"{LIST}/{ADA.upper()}")).status_code == 204
    assert (await admin.delete(f"{LIST}/{ADA}")).status_code == 404
    assert await suppressed(scene) == []
    assert (await admin.post(f"/admin/courier/messages/{welcome.id}/resend")).status_code == 204
    (welcome,) = await scene.mails()
    assert welcome.status == "sent"
    assert (await admin.post(f"/admin/courier/messages/{welcome.id}/resend")).status_code == 409


async def test_row_055_a_report_sent_again_does_not_undo_what_an_operator_has_decided(scene: Scene) -> None:
    told, admin = {"type": "bounce", "address": ADA}, await scene.admin()
    assert (await report(scene, told)).status_code == 204
    assert (await admin.delete(f"{LIST}/{ADA}")).status_code == 204
    scene.clock.advance(minutes=4)
    assert (await report(scene, told, age=240)).status_code == 204
    assert await suppressed(scene) == []
    assert (await report(scene, {**told, "detail": "later"})).status_code == 204
    assert len(await suppressed(scene)) == 1


async def test_a_report_that_could_not_be_read_may_come_again(scene: Scene) -> None:
    told = [{"type": "bounce", "address": ADA}, {"type": "bounce", "address": "no address"}]
    assert [(await report(scene, told)).status_code for _ in range(2)] == [400, 400]


async def test_the_list_is_paged(scene: Scene) -> None:
    await report(scene, [{"type": "bounce", "address": f"{name}@example.org"} for name in "cab"])
    admin = await scene.admin()
    first = await admin.get(LIST, params={"page_size": 2})
    second = await admin.get(first.links["next"]["url"])
    assert [one["address"][0] for one in (*first.json(), *second.json())] == ["a", "b", "c"]
    assert "next" not in second.links


@pytest.mark.parametrize(
    "forged",
    [
        {"key": b"x" * 32},
        {"age": 301},
        {"age": -301},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v2,bm8="},
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": "1e9"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "999999999999"},
        {"webhook-id": ""},
    ],
)
async def test_row_009_a_report_that_is_not_signed_changes_nothing(scene: Scene, forged: dict[str, Any]) -> None:
    answer = await report(scene, {"type": "bounce", "address": ADA}, **forged)
    assert answer.status_code == 401
    assert await suppressed(scene) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        ([], 204),
        ({}, 400),
        ({"type": "bounce"}, 400),
        ({"type": "delivered", "address": ADA}, 400),
        ({"type": "bounce", "address": "a@x.example,b@y.example"}, 400),
        ({"type": "bounce", "address": ADA, "detail": 5}, 400),
        ([{"type": "bounce", "address": ADA}] * 101, 400),
        (["x"], 400),
        (b"[" * 60_000, 400),
        (b" " * 1_100_000, 413),
    ],
)
async def test_a_report_that_cannot_be_read_is_refused(scene: Scene, body: Any, status: int) -> None:
    assert (await report(scene, body)).status_code == status
    assert await suppressed(scene) == []


async def test_without_a_secret_there_is_no_such_address(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
    async with opened(sqlite_dsn, tmp_path, clock, settings={}) as scene:
        assert (await report(scene, {"type": "bounce", "address": ADA})).status_code == 404
