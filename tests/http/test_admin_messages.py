"""Mails on the admin port."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.http.admin_messages import REDACTED
from tests.attacks.scene import Scene, opened, sign_up, submit

CODES = {"selfservice": {"methods": {"code": {"passwordless_enabled": True}}}}
PATH = "/admin/courier/messages"


@pytest.fixture
def told(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> Any:
    """Open an application that mails codes, with or without `--dev`."""
    return lambda *, dev: opened(sqlite_dsn, tmp_path, clock, settings=CODES, dev=dev)


async def _listed(scene: Scene, **query: Any) -> httpx2.Response:
    answer = await (await scene.admin()).get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    return answer


async def _ask_for_a_code(scene: Scene, email: str) -> None:
    app = await scene.native()
    await sign_up(app, email)
    assert (await submit(app, "login", {"method": "code", "identifier": email})).status_code == 400


async def test_a_code_is_shown_to_developers_only(told: Any) -> None:
    async with told(dev=False) as scene:
        await _ask_for_a_code(scene, "ana@example.org")
        shown = (await _listed(scene)).json()
        assert [mail["template_type"] for mail in shown] == ["login_code_valid", "stub"]
        assert {(mail["subject"], mail["body"]) for mail in shown} == {(REDACTED, REDACTED)}
        one = await (await scene.admin()).get(f"{PATH}/{shown[0]['id']}")
        assert one.json() == shown[0]
        await scene.mails()
        sent = (await (await scene.admin()).get(f"{PATH}/{shown[0]['id']}")).json()
        (dispatch,) = sent["dispatches"]
        assert (sent["status"], sent["send_count"], dispatch["status"]) == ("sent", 1, "success")
        assert dispatch["message_id"] == sent["id"]


async def test_with_dev_the_mail_is_readable(told: Any) -> None:
    async with told(dev=True) as scene:
        await _ask_for_a_code(scene, "ana@example.org")
        (newest, _) = (await _listed(scene)).json()
        assert newest["subject"][:6].isdigit()
        assert newest["subject"][:6] in newest["body"]


async def test_pages_lead_from_one_to_the_next(told: Any) -> None:
    async with told(dev=False) as scene:
        await _ask_for_a_code(scene, "ana@example.org")
        first = await _listed(scene, page_size=1)
        following = first.links["next"]["url"]
        second = await (await scene.admin()).get(following)
        assert [mail["template_type"] for mail in (*first.json(), *second.json())] == ["login_code_valid", "stub"]
        assert "next" not in second.links


async def test_a_list_is_narrowed_by_recipient_and_status(told: Any) -> None:
    async with told(dev=False) as scene:
        await _ask_for_a_code(scene, "ana@example.org")
        await sign_up(await scene.native(), "bea@example.org")
        assert {mail["recipient"] for mail in (await _listed(scene, recipient="bea@example.org")).json()} == {
            "bea@example.org"
        }
        assert len((await _listed(scene, status="queued")).json()) == 3
        assert (await _listed(scene, status="sent")).json() == []


@pytest.mark.parametrize("query", ["status=lost", "page_size=many", "page_token=made-up", "sender=me"])
async def test_an_unsupported_query_is_refused(told: Any, query: str) -> None:
    async with told(dev=False) as scene:
        assert (await (await scene.admin()).get(f"{PATH}?{query}")).status_code == 400


async def test_an_unknown_mail_is_a_404(told: Any) -> None:
    async with told(dev=False) as scene:
        admin = await scene.admin()
        for mail_id in ("6f1c1d0e-0000-4000-8000-000000000000", "xyz"):
            assert (await admin.get(f"{PATH}/{mail_id}")).status_code == 404
