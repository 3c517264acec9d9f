"""Hooks of a sign-in that nobody has asked for: a silent sign-on signs in, or leaves everything as it was."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import Browser
from tests.credentials.social import SocialStage, social_stage

ADA = "ada@example.org"
HERE = "https://app.test/pears"
SILENTLY = "/self-service/methods/oidc/silent-sign-on/idp"


def hooked(*names: str) -> dict[str, Any]:
    """Return the settings of an application whose logins by a provider have these hooks."""
    hooks: Sequence[Any] = [{"hook": name} for name in names]
    flows = {"login": {"after": {"oidc": {"hooks": hooks}}}, "verification": {"enabled": True}}
    return {"selfservice": {"flows": flows}}


async def sign_on_silently(stage: SocialStage, browser: Browser) -> str:
    """Go to the provider without a click, and come back; return where that leads."""
    left = await browser.get(SILENTLY, params={"return_to": HERE})
    answer = await browser.get(stage.back(left.headers["location"]))
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def kinds(stage: SocialStage) -> set[str]:
    return {row["kind"] for row in await stage.scene.rows("flows")}


async def test_a_refusal_leaves_everything_as_it_was(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
    settings = hooked("require_verified_address")
    async with social_stage(sqlite_dsn, tmp_path, clock, idp={"silent_sign_on": True}, **settings) as stage:
        await stage.customer(ADA, ("idp", "alice"))
        browser = await stage.scene.browser()
        assert await sign_on_silently(stage, browser) == HERE
        assert await browser.whoami() is None
        assert (await stage.scene.mails(), await kinds(stage)) == ([], {"login"})
        # Who asks to sign in is told, and gets the mail.
        answer = await stage.arrive(browser)
        assert answer.headers["location"] != HERE
        assert len(await stage.scene.mails()) == 1


async def test_a_sign_in_mails_and_shows_nothing(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
    settings = hooked("verification", "show_verification_ui")
    async with social_stage(sqlite_dsn, tmp_path, clock, idp={"silent_sign_on": True}, **settings) as stage:
        ada = await stage.customer(ADA, ("idp", "alice"))
        browser = await stage.scene.browser()
        assert await sign_on_silently(stage, browser) == HERE
        assert await browser.whoami() == str(ada.id)
        assert (await stage.scene.mails(), await kinds(stage)) == ([], {"login"})
