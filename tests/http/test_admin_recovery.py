"""Recovery by an operator: a code and a link that are handed out, and what they cannot be used for."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.attacks.scene import ADDRESS, OTHER_PAGE, Scene, new_address, sign_up
from tests.http.conftest import Opening

JSON = {"accept": "application/json"}
FLOWS: dict[str, Any] = {
    "methods": {"link": {"enabled": True}},
    "flows": {name: {"enabled": True} for name in ("recovery", "verification")},
}
NOBODY = "6f1c1d0e-0000-4000-8000-000000000000"


async def customer(scene: Scene) -> tuple[str, str]:
    """Register; return address and id."""
    email = new_address()
    return email, (await sign_up(await scene.native(), email))["session"]["identity"]["id"]


async def handed(scene: Scene, kind: str, **body: Any) -> dict[str, Any]:
    """Have a code or a link handed out."""
    answer = await (await scene.admin()).post(f"/admin/recovery/{kind}", json=body)
    assert answer.status_code == (201 if kind == "code" else 200), answer.text
    return dict(answer.json())


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


async def test_a_code_signs_in_once_and_verifies_no_address(opening: Opening, dsn: str) -> None:
    async with opening(dsn, selfservice=FLOWS) as scene:
        email, identity_id = await customer(scene)
        given = await handed(scene, "code", identity_id=identity_id)
        flow_id = given["recovery_link"].rpartition("flow=")[2]
        browser = await scene.browser()
        flow = (await browser.get(f"/self-service/recovery/flows?id={flow_id}", headers=JSON)).json()
        assert flow["state"] == "sent_email"
        assert email not in str(flow)
        send = {"method": "code", "code": given["recovery_code"]}
        answer = await browser.post(path_of(flow["ui"]["action"]), json=send, headers=JSON)
        assert (answer.status_code, answer.json()["error"]["id"]) == (422, "browser_location_change_required")
        session = (await browser.get("/sessions/whoami", headers=JSON)).json()
        assert session["identity"]["id"] == identity_id
        assert [each["verified"] for each in session["identity"]["verifiable_addresses"]] == [False]
        other = await scene.browser()
        await other.post(path_of(flow["ui"]["action"]), json=send, headers=JSON)
        assert await other.whoami() is None
        events = [event for event in await scene.rows("audit_events") if event["action"] == "recovery.handed_out"]
        assert [(event["actor"].partition(":")[0], event["subject"]) for event in events] == [("admin", identity_id)]


async def test_a_native_app_takes_a_code(opening: Opening, dsn: str) -> None:
    async with opening(dsn, selfservice=FLOWS) as scene:
        _, identity_id = await customer(scene)
        given = await handed(scene, "code", identity_id=identity_id, flow_type="api")
        flow_id = given["recovery_link"].rpartition("flow=")[2]
        flow = (await (await scene.native()).get(f"/self-service/recovery/flows?id={flow_id}")).json()
        assert flow["type"] == "api"
        app = await scene.native()
        path = f"/self-service/recovery?flow={flow_id}"
        wrong = await app.post(path, json={"method": "code", "code": "no code"})
        assert [each["id"] for each in wrong.json()["ui"]["messages"]] == [4060006]
        right = await app.post(path, json={"method": "code", "code": given["recovery_code"]})
        assert right.json()["error"]["id"] == "browser_location_change_required"


async def test_a_link_signs_in_once_in_any_browser(opening: Opening, dsn: str) -> None:
    async with opening(dsn, selfservice=FLOWS) as scene:
        _, identity_id = await customer(scene)
        given = await handed(scene, "link", identity_id=identity_id)
        assert given["recovery_link"].startswith(f"{ADDRESS}/self-service/recovery?flow=")
        phone, other = await scene.browser(), await scene.browser()
        assert (await phone.get(path_of(given["recovery_link"]))).status_code == 303
        assert await phone.whoami() == identity_id
        await other.get(path_of(given["recovery_link"]))
        assert await other.whoami() is None


@pytest.mark.parametrize("kind", ["code", "link"])
async def test_it_counts_as_long_as_the_operator_says(opening: Opening, sqlite_dsn: str, kind: str) -> None:
    """Longer than a mailed one, too, and no longer."""
    async with opening(sqlite_dsn, selfservice=FLOWS) as scene:
        _, identity_id = await customer(scene)
        for hours, counts in ((5, True), (7, False)):
            given = await handed(scene, kind, identity_id=identity_id, expires_in="6h")
            scene.clock.advance(hours=hours)
            browser = await scene.browser()
            if kind == "link":
                await browser.get(path_of(given["recovery_link"]))
            else:
                path = f"/self-service/recovery?flow={given['recovery_link'].rpartition('flow=')[2]}"
                await browser.post(path, json={"method": "code", "code": given["recovery_code"]}, headers=JSON)
            assert (await browser.whoami() == identity_id) is counts


async def test_what_is_asked_for_is_checked(opening: Opening, sqlite_dsn: str) -> None:
    async with opening(sqlite_dsn, selfservice=FLOWS) as scene:
        _, identity_id = await customer(scene)
        admin = await scene.admin()

        async def status(kind: str, query: str = "", **body: Any) -> int:
            return (await admin.post(f"/admin/recovery/{kind}{query}", json=body)).status_code

        assert await status("code", identity_id=NOBODY) == 404
        assert await status("link", identity_id=NOBODY) == 400
        for kind in ("code", "link"):
            assert await status(kind) == 400
            assert await status(kind, identity_id="ada") == 400
            for wrong in ("0s", "31d", "tomorrow"):
                assert await status(kind, identity_id=identity_id, expires_in=wrong) == 400, wrong
            assert await status(kind, "?return_to=https://evil.test", identity_id=identity_id) == 400
            assert await status(kind, identity_id=identity_id, shoe=1) == 400
        assert await status("code", identity_id=identity_id, flow_type="carrier pigeon") == 400
        assert not [row for row in await scene.rows("audit_events") if row["action"] == "recovery.handed_out"]


@pytest.mark.parametrize("kind", ["code", "link"])
async def test_what_is_handed_out_lets_a_deactivated_account_in_once_it_is_active(
    opening: Opening, sqlite_dsn: str, kind: str
) -> None:
    async with opening(sqlite_dsn, selfservice=FLOWS) as scene:
        _, identity_id = await customer(scene)
        admin, browser = await scene.admin(), await scene.browser()
        for state, signed_in in (("inactive", None), ("active", identity_id)):
            patch = [{"op": "replace", "path": "/state", "value": state}]
            assert (await admin.patch(f"/admin/identities/{identity_id}", json=patch)).status_code == 200
            if state == "inactive":
                given = await handed(scene, kind, identity_id=identity_id)
            if kind == "link":
                await browser.get(path_of(given["recovery_link"]))
            else:
                path = f"/self-service/recovery?flow={given['recovery_link'].rpartition('flow=')[2]}"
                await browser.post(path, json={"method": "code", "code": given["recovery_code"]}, headers=JSON)
            assert await browser.whoami() == signed_in


async def test_nothing_is_handed_out_where_recovery_is_off(opening: Opening, sqlite_dsn: str) -> None:
    off = {"methods": {"link": {"enabled": True}}, "flows": {"recovery": {"enabled": False}}}
    async with opening(sqlite_dsn, selfservice=off) as scene:
        _, identity_id = await customer(scene)
        for kind in ("code", "link"):
            answer = await (await scene.admin()).post(f"/admin/recovery/{kind}", json={"identity_id": identity_id})
            assert (answer.status_code, "switched off" in answer.text) == (404, True)


async def test_no_mail_is_asked_for_in_an_operators_flow(opening: Opening, sqlite_dsn: str) -> None:
    """It has no anti-CSRF token: with a mail to somebody else, a page could finish a recovery in a victim's browser."""
    async with opening(sqlite_dsn, selfservice=FLOWS) as scene:
        email, identity_id = await customer(scene)
        await scene.mails()
        before = len(await scene.mails())
        app = await scene.native()
        for kind in ("code", "link"):
            given = await handed(scene, kind, identity_id=identity_id)
            flow_id = given["recovery_link"].partition("flow=")[2].partition("&")[0]
            await app.post(f"/self-service/recovery?flow={flow_id}", json={"method": kind, "email": email})
        assert len(await scene.mails()) == before


async def test_another_sites_page_cannot_use_an_operators_code(opening: Opening, sqlite_dsn: str) -> None:
    async with opening(sqlite_dsn, selfservice=FLOWS) as scene:
        _, identity_id = await customer(scene)
        given = await handed(scene, "code", identity_id=identity_id)
        victim = await scene.browser()
        path = f"/self-service/recovery?flow={given['recovery_link'].rpartition('flow=')[2]}"
        send = {"method": "code", "code": given["recovery_code"]}
        await victim.post(path, data=send, headers=OTHER_PAGE)
        assert await victim.whoami() is None
        await victim.post(path, json=send, headers=JSON)
        assert await victim.whoami() == identity_id, "its own page can"
