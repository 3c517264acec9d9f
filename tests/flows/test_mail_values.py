"""What Kratos' templates show of an account, a flow and a client, in mails of a whole application."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import Scene, opened, sign_up, submit

ADA = "ada@example.org"
SETTINGS = {
    "selfservice": {
        "methods": {"code": {"enabled": True, "passwordless_enabled": True}},
        "flows": {"recovery": {"enabled": True, "use": "code", "notify_unknown_recipients": True}},
    },
}
FLOW = "{{ .TransientPayload.campaign }}|{{ .RequestURL }}"
TEMPLATES = {
    "recovery_code/valid": f"{{{{ .Identity.traits.email }}}}|{{{{ .Identity.id }}}}|{FLOW}",
    "recovery_code/invalid": f"[{{{{ .Identity.traits.email }}}}]|{FLOW}",
    "login_code/valid": "{{ .Identity.schema_id }}|{{ .TransientPayload.campaign }}",
    "registration_code/valid": "{{ .Traits.email }}|{{ .TransientPayload.campaign }}",
}
PAYLOAD = {"transient_payload": {"campaign": "spring <b>"}}


@pytest.fixture
async def scene(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    for type_, source in TEMPLATES.items():
        folder = tmp_path / "templates" / type_
        folder.mkdir(parents=True)
        (folder / "email.body.plaintext.gotmpl").write_text(source)
    courier = {"template_override_path": str(tmp_path / "templates")}
    async with opened(sqlite_dsn, tmp_path, clock, settings={**SETTINGS, "courier": courier}) as scene:
        yield scene


async def said(scene: Scene) -> str:
    newest, *_ = await scene.mails()
    return newest.body.strip()


async def test_a_recovery_shows_the_account_the_payload_and_the_address_of_the_flow(scene: Scene) -> None:
    app = await scene.native()
    await sign_up(app, ADA)
    await submit(app, "recovery", {"method": "code", "email": ADA, **PAYLOAD})
    email, id_, campaign, url = (await said(scene)).split("|")
    (identity,) = await scene.rows("identities")
    assert (email, campaign) == (ADA, "spring <b>")
    assert id_.replace("-", "") == str(identity["id"]).replace("-", "")
    assert url.endswith("/self-service/recovery/api")


async def test_an_unknown_address_is_shown_nothing_of_an_account(scene: Scene) -> None:
    await submit(await scene.native(), "recovery", {"method": "code", "email": "nobody@example.org", **PAYLOAD})
    account, campaign, url = (await said(scene)).split("|")
    assert (account, campaign) == ("[]", "spring <b>")
    assert url.endswith("/self-service/recovery/api")


async def test_a_code_to_sign_in_and_one_to_register_show_theirs(scene: Scene) -> None:
    app = await scene.native()
    await sign_up(app, ADA)
    await submit(app, "login", {"method": "code", "identifier": ADA, **PAYLOAD})
    assert await said(scene) == "default|spring <b>"
    await submit(app, "registration", {"method": "code", "traits": {"email": "bob@example.org"}, **PAYLOAD})
    assert await said(scene) == "bob@example.org|spring <b>"


async def test_a_payload_that_is_none_is_passed_over(scene: Scene) -> None:
    app = await scene.native()
    await sign_up(app, ADA)
    await submit(app, "login", {"method": "code", "identifier": ADA, "transient_payload": "text"})
    assert await said(scene) == "default|"
