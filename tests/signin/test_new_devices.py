"""Mails about sign-ins from new devices: who gets one, and that their link ends only that session, and once."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import Scene, opened, sign_up, submit

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; rv:130.0) Gecko/20100101 Firefox/130.0"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0 Safari/537.36"
ADA, PASSWORD = "ada@example.org", "engine-of-analysis-1843"
HOME, AWAY = "192.0.2.7", "198.51.100.7"


@pytest.fixture
async def scene(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    settings = {"selfservice": {"flows": {"recovery": {"enabled": True}}}, "session": {"lifespan": "720h"}}
    async with opened(sqlite_dsn, tmp_path, clock, settings=settings) as scene:
        app = await scene.native(ip=HOME, User_Agent=FIREFOX)
        await sign_up(app, ADA, password=PASSWORD)
        await sign_in(scene, HOME, FIREFOX)
        yield scene


async def sign_in(scene: Scene, ip: str, user_agent: str) -> str:
    """Sign in from a device, a while after what came before; return the session's token."""
    scene.clock.advance(seconds=1)
    app = await scene.native(ip=ip, User_Agent=user_agent)
    answer = await submit(app, "login", {"method": "password", "identifier": ADA, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["session_token"])


async def notices(scene: Scene) -> list[Any]:
    return [mail for mail in await scene.mails() if mail.template_type == "new_device"]


async def whoami(scene: Scene, token: str) -> int:
    app = await scene.native()
    return (await app.get("/sessions/whoami", headers={"Authorization": f"Bearer {token}"})).status_code


def link_in(mail: Any) -> str:
    return re.findall(r"/account/end-session\?token=\S+", mail.body)[0]


async def test_the_devices_of_registration_and_first_sign_in_are_known(scene: Scene) -> None:
    await sign_in(scene, HOME, FIREFOX)
    await sign_in(scene, "192.0.99.1", FIREFOX)  # the same provider
    assert await notices(scene) == []


async def test_a_new_browser_and_a_new_network_are_each_told_once(scene: Scene) -> None:
    await sign_in(scene, HOME, CHROME)
    await sign_in(scene, HOME, CHROME)
    await sign_in(scene, AWAY, FIREFOX)
    await sign_in(scene, AWAY, CHROME)
    second, first = await notices(scene)
    assert first.recipient == ADA
    assert "Chrome on Linux\nMarch 14, 2026, " in first.body
    assert "Firefox on Windows" in second.body
    assert HOME not in first.body + second.body
    assert AWAY not in first.body + second.body


async def test_no_more_than_three_mails_a_day(scene: Scene, clock: StoppedClock) -> None:
    for number in range(5):
        await sign_in(scene, f"198.{number}.0.1", FIREFOX)
    assert len(await notices(scene)) == 3
    clock.advance(days=1, seconds=1)
    await sign_in(scene, "203.0.113.9", FIREFOX)
    assert len(await notices(scene)) == 4


async def test_the_link_ends_that_session_alone_and_once(scene: Scene) -> None:
    own, strangers = await sign_in(scene, HOME, FIREFOX), await sign_in(scene, AWAY, CHROME)
    (mail,) = await notices(scene)
    link = link_in(mail)
    browser = await scene.browser()
    for method, headers in (("HEAD", {}), ("GET", {"Sec-Purpose": "prefetch"}), ("GET", {})):
        opened_page = await browser.request(method, link, headers=headers)
        assert opened_page.status_code == 200
    assert await whoami(scene, strangers) == 200
    assert 'name="token"' in opened_page.text
    token = link.partition("token=")[2]
    ended = await browser.post("/account/end-session", data={"token": token})
    assert "The session has ended" in ended.text
    assert "/self-service/recovery/browser" in ended.text
    assert [await whoami(scene, one) for one in (own, strangers)] == [200, 401]
    again = await browser.post("/account/end-session", data={"token": token})
    assert "This link cannot be used any more" in again.text
    assert "This link cannot be used any more" in (await browser.get(link)).text


async def test_row_009_a_link_that_was_changed_or_is_too_old_ends_nothing(scene: Scene, clock: StoppedClock) -> None:
    token = await sign_in(scene, AWAY, CHROME)
    (mail,) = await notices(scene)
    secret = link_in(mail).partition("token=")[2]
    browser = await scene.browser()
    for forged in (secret[:-1], secret.swapcase(), secret + "A", "", "x" * 5000, secret.removeprefix("sk_end_")):
        answer = await browser.post("/account/end-session", data={"token": forged})
        assert "The session has ended" not in answer.text
    assert await whoami(scene, token) == 200
    clock.advance(hours=72, seconds=1)
    answer = await browser.post("/account/end-session", data={"token": secret})
    assert "This link cannot be used any more" in answer.text
    assert await whoami(scene, token) == 200


async def test_the_page_speaks_the_browsers_language(scene: Scene) -> None:
    browser = await scene.browser()
    answer = await browser.get("/account/end-session?token=x", headers={"Accept-Language": "de"})
    assert "Dieser Link gilt nicht mehr" in answer.text


async def test_notices_can_be_switched_off(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
    settings = {"courier": {"notices": {"new_device": False}}}
    async with opened(sqlite_dsn, tmp_path, clock, settings=settings) as scene:
        await sign_up(await scene.native(ip=HOME, User_Agent=FIREFOX), ADA, password=PASSWORD)
        await sign_in(scene, HOME, FIREFOX)
        await sign_in(scene, AWAY, CHROME)
        assert await notices(scene) == []
        assert await scene.rows("known_devices") == []
