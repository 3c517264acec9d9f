"""Rows 44, 55 to 66 and 89: what recovery and verification mail is spent once, in its flow, by its owner."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.conftest import Opening
from tests.attacks.scene import ADDRESS, PASSWORD, Browser, Scene, csrf_of, new_address, sign_in, sign_up

NEW = "nine lanterns by the quay"
JSON = {"accept": "application/json"}
MINUTES = {"code": 10, "link": 60}
NOTHING = [
    {},
    {"method": ""},
    {"method": "nothing"},
    {"method": "password"},
    {"method": "password", "password": NEW},
    {"method": "profile", "traits": {"email": "eve@example.org"}},
    {"code": ""},
    {"method": "code", "code": ""},
    {"method": "code", "code": "000000"},
    {"method": "link", "token": ""},
    {"state": "passed_challenge", "active": "code", "method": "code", "code": None},
    {"method": "code", "code": "000000", "identity_id": "ada", "state": "passed_challenge"},
]


def settings(way: str) -> Mapping[str, Any]:
    flows = {name: {"enabled": True, "use": way} for name in ("recovery", "verification")}
    return {
        "selfservice": {"methods": {"code": {"enabled": True}, "link": {"enabled": True}}, "flows": flows},
        "throttle": {"code": {"per_ip": "1000/minute", "per_pair": "1000/hour", "per_recipient": "1000/hour"}},
    }


@dataclass(frozen=True)
class Mailed:
    """A flow in the browser that asked for a mail, and what the mail holds: a code, or the path of a link."""

    scene: Scene
    way: str
    kind: str
    browser: Browser
    flow: Mapping[str, Any]
    secret: str

    @property
    def flow_id(self) -> str:
        return str(self.flow["id"])

    async def spend(self, browser: Browser | None = None, *, flow: "Mailed | None" = None) -> httpx2.Response:
        """Use the secret in its own browser and flow, or in others."""
        used, into = browser or self.browser, flow or self
        if self.way == "link":
            return await used.get(self.secret.replace(self.flow_id, into.flow_id))
        fields = {"method": "code", "code": self.secret, "csrf_token": csrf_of(into.flow)}
        return await used.post(into.flow["ui"]["action"], json=fields, headers=JSON)


async def ask(scene: Scene, way: str, email: str, *, kind: str = "recovery") -> Mailed:
    """Ask for a mail in a new browser, and read it."""
    browser = await scene.browser()
    flow = await browser.open_flow(kind)
    asked = {"method": way, "email": email, "csrf_token": csrf_of(flow)}
    answer = await browser.post(flow["ui"]["action"], json=asked, headers=JSON)
    assert (answer.status_code, answer.json()["state"]) == (200, "sent_email"), answer.text
    [mail, *_] = [mail for mail in await scene.mails() if mail.recipient == email and kind in mail.template_type]
    [secret] = set(re.findall(rf"/self-service/{kind}\?\S+" if way == "link" else r"\b\d{6}\b", mail.body))
    return Mailed(scene, way, kind, browser, answer.json(), secret)


def settings_flow(answer: httpx2.Response) -> str | None:
    """Return the id of the settings flow that a successful recovery leads to; None after any other answer."""
    leads = answer.headers.get("location") or ""
    if answer.status_code == 422:
        leads = answer.json()["redirect_browser_to"]
    return parse_qs(urlsplit(leads).query)["flow"][0] if "/account?" in leads else None


async def choose_password(browser: Browser, flow_id: str, password: str = NEW) -> None:
    shown = (await browser.get(f"/self-service/settings/flows?id={flow_id}", headers=JSON)).json()
    fields = {"method": "password", "password": password, "csrf_token": csrf_of(shown)}
    answer = await browser.post(shown["ui"]["action"], json=fields, headers=JSON)
    assert answer.status_code == 200, answer.text


async def account(scene: Scene, name: str = "ada") -> str:
    email = new_address(name)
    await sign_up(await scene.native(), email)
    return email


async def verified(scene: Scene, email: str) -> bool:
    return any(row["verified"] for row in await scene.rows("verifiable_addresses") if row["value"] == email)


@pytest.fixture(params=["code", "link"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def attacked(opening: Opening, sqlite_dsn: str, way: str) -> AsyncIterator[Scene]:
    async with opening(sqlite_dsn, **settings(way)) as scene:
        yield scene


class TestSpentOnce:
    async def test_row_055_used_twice_at_once_it_recovers_once(self, opening: Opening, dsn: str, way: str) -> None:
        async with opening(dsn, **settings(way)) as scene:
            mailed = await ask(scene, way, await account(scene))
            before = len(await scene.rows("sessions"))
            answers = await asyncio.gather(*(mailed.spend() for _ in range(4)))
            assert len([answer for answer in answers if settings_flow(answer)]) == 1
            assert len(await scene.rows("sessions")) == before + 1

    async def test_row_061_used_again_it_does_nothing(self, attacked: Scene, way: str) -> None:
        email = await account(attacked)
        mailed = await ask(attacked, way, email)
        flow = settings_flow(await mailed.spend())
        assert flow is not None
        await choose_password(mailed.browser, flow)
        for thief in (await attacked.browser(), mailed.browser):
            assert settings_flow(await mailed.spend(thief)) is None
        app = await attacked.native()
        assert [(await sign_in(app, email, password)).status_code for password in (NEW, PASSWORD)] == [200, 400]

    async def test_row_061_another_mail_from_before_the_password_was_changed_is_worth_nothing(
        self, attacked: Scene, clock: StoppedClock, way: str
    ) -> None:
        email = await account(attacked)
        stolen = await ask(attacked, way, email)
        clock.advance(seconds=5)
        used = await ask(attacked, way, email)
        flow = settings_flow(await used.spend())
        assert flow is not None
        clock.advance(seconds=5)
        await choose_password(used.browser, flow)
        assert settings_flow(await stolen.spend()) is None
        assert await stolen.browser.whoami() is None
        later = await ask(attacked, way, email)
        assert settings_flow(await later.spend()) is not None

    async def test_row_061_of_two_mails_of_a_flow_the_newer_counts(self, attacked: Scene, way: str) -> None:
        email = await account(attacked)
        first = await ask(attacked, way, email)
        again = {"method": way, "email": email, "csrf_token": csrf_of(first.flow)}
        await first.browser.post(first.flow["ui"]["action"], json=again, headers=JSON)
        assert settings_flow(await first.spend()) is None


class TestInItsFlow:
    async def test_row_056_no_step_is_reached_without_the_mail(self, attacked: Scene, way: str) -> None:
        email = await account(attacked)
        browser = await attacked.browser()
        flow = await browser.open_flow("recovery")
        for path in (f"/self-service/settings/flows?id={flow['id']}", "/self-service/settings/browser"):
            assert (await browser.get(path, headers=JSON)).status_code in {401, 403, 404}
        fields = {"method": "password", "password": NEW, "csrf_token": csrf_of(flow)}
        taken = await browser.post(f"/self-service/settings?flow={flow['id']}", json=fields, headers=JSON)
        assert taken.status_code in {401, 403, 404}
        for told in NOTHING:
            answer = await browser.post(
                flow["ui"]["action"], json={"email": email, **told, "csrf_token": csrf_of(flow)}, headers=JSON
            )
            assert settings_flow(answer) is None
        assert await browser.whoami() is None
        assert (await sign_in(await attacked.native(), email)).status_code == 200

    @pytest.mark.parametrize("kind", ["recovery", "verification"])
    async def test_row_059_a_form_that_is_empty_or_names_no_proof_proves_nothing(
        self, attacked: Scene, kind: str, way: str
    ) -> None:
        email = await account(attacked)
        for told in NOTHING:
            mailed = await ask(attacked, way, email, kind=kind)
            fields = {**told, "csrf_token": csrf_of(mailed.flow)}
            answer = await mailed.browser.post(mailed.flow["ui"]["action"], json=fields, headers=JSON)
            assert settings_flow(answer) is None
            assert "passed_challenge" not in answer.text
            for query in ("", "&token=", "&code=", "&token=a&token=b"):
                opened = await mailed.browser.get(f"/self-service/{kind}?flow={mailed.flow_id}{query}")
                assert settings_flow(opened) is None
            assert await mailed.browser.whoami() is None
        assert not await verified(attacked, email)
        assert (await sign_in(await attacked.native(), email)).status_code == 200

    async def test_row_058_of_one_account_it_does_nothing_in_the_flow_of_another(
        self, attacked: Scene, way: str
    ) -> None:
        eve, ada = await account(attacked, "eve"), await account(attacked)
        own, victims = await ask(attacked, way, eve), await ask(attacked, way, ada)
        assert settings_flow(await own.spend(victims.browser, flow=victims)) is None
        assert await victims.browser.whoami() is None
        if way == "code":
            both = {"method": "code", "code": own.secret, "email": ada, "csrf_token": csrf_of(own.flow)}
            answer = await own.browser.post(own.flow["ui"]["action"], json=both, headers=JSON)
            assert settings_flow(answer) is None

    async def test_row_060_of_one_purpose_it_does_nothing_for_another(self, attacked: Scene, way: str) -> None:
        email = await account(attacked)
        mails = {kind: await ask(attacked, way, email, kind=kind) for kind in ("recovery", "verification")}
        for one, other in (("recovery", "verification"), ("verification", "recovery")):
            own, foreign = mails[one], mails[other]
            if way == "link":
                token = own.secret.partition("token=")[2]
                paths = [f"/self-service/{other}?flow={each.flow_id}&token={token}" for each in (own, foreign)]
                answers = [await foreign.browser.get(path) for path in paths]
            else:
                answers = [await own.spend(foreign.browser, flow=foreign)]
                action = own.flow["ui"]["action"].replace(own.kind, other)
                fields = {"method": "code", "code": own.secret, "csrf_token": csrf_of(own.flow)}
                answers.append(await own.browser.post(action, json=fields, headers=JSON))
            assert [settings_flow(answer) for answer in answers] == [None, None]
        assert not await verified(attacked, email)
        assert [await mailed.browser.whoami() for mailed in mails.values()] == [None, None]

    @pytest.mark.parametrize("kind", ["recovery", "verification"])
    async def test_row_060_it_ends_to_the_second(
        self, attacked: Scene, clock: StoppedClock, kind: str, way: str
    ) -> None:
        early, late = await account(attacked), await account(attacked)
        mails = {email: await ask(attacked, way, email, kind=kind) for email in (early, late)}
        clock.advance(minutes=MINUTES[way], seconds=-1)
        await mails[early].spend()
        clock.advance(seconds=1)
        await mails[late].spend()
        assert [await verified(attacked, email) for email in (early, late)] == [True, False]
        assert await mails[late].browser.whoami() is None


class TestByItsOwner:
    async def test_row_063_in_the_session_of_another_it_changes_nothing_of_that_one(
        self, attacked: Scene, way: str
    ) -> None:
        ada, eve = await account(attacked), await attacked.browser()
        eves = new_address("eve")
        await eve.sign_up(eves)
        mailed = await ask(attacked, way, ada, kind="verification")
        me = await eve.whoami()
        await mailed.spend(eve)
        assert (await eve.whoami(), await verified(attacked, eves)) == (me, False)

    async def test_row_063_a_recovery_in_the_session_of_another_is_that_of_its_account(
        self, attacked: Scene, way: str
    ) -> None:
        """A link that an attacker has sent must not set the password of the account that is signed in."""
        ada, eve = await attacked.browser(), await account(attacked, "eve")
        adas = new_address()
        await ada.sign_up(adas)
        mailed = await ask(attacked, way, eve)
        flow = settings_flow(await mailed.spend(ada))
        assert (flow is None) == (way == "code")  # a code belongs to the browser that asked for it
        if flow is not None:
            await choose_password(ada, flow)
        app = await attacked.native()
        assert (await sign_in(app, adas)).status_code == 200
        assert (await sign_in(app, adas, NEW)).status_code == 400

    async def test_row_066_the_right_flow_with_a_wrong_secret_proves_nothing(self, attacked: Scene, way: str) -> None:
        mailed = await ask(attacked, way, await account(attacked))
        for wrong in _near(mailed.secret, way):
            answer = await Mailed(attacked, way, mailed.kind, mailed.browser, mailed.flow, wrong).spend()
            assert settings_flow(answer) is None
        assert settings_flow(await mailed.spend()) is not None

    async def test_row_065_a_fresh_sign_in_elsewhere_does_not_confirm_an_old_session(
        self, attacked: Scene, clock: StoppedClock
    ) -> None:
        old, email = await attacked.browser(), new_address()
        await old.sign_up(email)
        clock.advance(hours=2)
        assert (await sign_in(await attacked.native(), email)).status_code == 200
        flow = await old.open_flow("settings")
        fields = {"method": "password", "password": NEW, "csrf_token": csrf_of(flow)}
        answer = await old.post(flow["ui"]["action"], json=fields, headers=JSON)
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "session_refresh_required")
        assert (await sign_in(await attacked.native(), email)).status_code == 200

    async def test_row_065_the_sign_in_of_another_account_does_not_confirm_the_session(
        self, attacked: Scene, clock: StoppedClock
    ) -> None:
        browser, email, eve = await attacked.browser(), new_address(), await account(attacked, "eve")
        await browser.sign_up(email)
        clock.advance(hours=2)
        me = await browser.whoami()
        await browser.sign_in(eve, query="?refresh=true")
        assert await browser.whoami() == me
        flow = await browser.open_flow("settings")
        fields = {"method": "password", "password": NEW, "csrf_token": csrf_of(flow)}
        assert (await browser.post(flow["ui"]["action"], json=fields, headers=JSON)).status_code == 403
        assert (await sign_in(await attacked.native(), email)).status_code == 200


class TestWhatIsMailed:
    @pytest.mark.parametrize("kind", ["recovery", "verification"])
    async def test_row_044_links_begin_with_our_own_address(self, attacked: Scene, kind: str, way: str) -> None:
        """The forged headers are those of whoever asks for a mail to the owner's address."""
        email = await account(attacked)
        app = await attacked.native(
            host="evil.test",
            x_forwarded_host="evil.test",
            forwarded="host=evil.test;proto=http",
            x_forwarded_proto="http",
        )
        flow = (await app.get(f"/self-service/{kind}/api")).json()
        asked = await app.post(f"/self-service/{kind}?flow={flow['id']}", json={"method": way, "email": email})
        assert asked.json()["state"] == "sent_email"
        mails = [mail for mail in await attacked.mails() if kind in mail.template_type and mail.recipient == email]
        assert mails
        for mail in mails:
            texts = f"{mail.subject} {mail.body} {mail.html}"
            assert "evil.test" not in texts
            assert set(re.findall(r"https?://[^/\s\"']+", texts)) <= {ADDRESS}

    @pytest.mark.parametrize("kind", ["recovery", "verification"])
    async def test_row_089_markup_in_a_name_is_no_markup_in_the_mail(
        self, attacked: Scene, kind: str, way: str
    ) -> None:
        email, evil = new_address(), '<a href="https://evil.test/">win</a><img src=x onerror=1>'
        await sign_up(await attacked.native(), email, name={"first": evil})
        await ask(attacked, way, email, kind=kind)
        mails = [mail for mail in await attacked.mails() if kind in mail.template_type and mail.recipient == email]
        assert mails
        for mail in mails:
            assert "<img" not in (mail.html or "")
            assert 'href="https://evil.test' not in (mail.html or "")
            assert "https://evil.test" not in mail.body


def _near(secret: str, way: str) -> list[str]:
    """Return secrets that are almost the right one; fewer codes than a flow takes."""
    if way == "code":
        return [f"{(int(secret) + 1) % 10**6:06d}", secret[:-1], f"{secret}0"]
    cut, (head, _, token) = secret[:-1], secret.rpartition("=")
    return [cut, f"{cut}{'A' if secret[-1] != 'A' else 'B'}", f"{secret}A", f"{head}=%00{token}"]
