"""The settings flow: who may use it, what it changes, and what must be confirmed by signing in again."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import (
    ADDRESS,
    APP,
    PASSWORD,
    Browser,
    Scene,
    csrf_of,
    new_address,
    set_cookies,
    sign_in,
    sign_up,
)
from tests.flows.conftest import JSON, Stage, Staging
from tests.flows.test_callbacks import messages

NEW = "nine lanterns by the quay"
OLD_ENOUGH = timedelta(hours=1, seconds=1)


@pytest.fixture
def scene(stage: Stage) -> Scene:
    return stage.scene


@pytest.fixture
def either_scene(either_stage: Stage) -> Scene:
    return either_stage.scene


class Account:
    """A native app that is signed in, with its settings flow."""

    def __init__(self, app: httpx2.AsyncClient, email: str, created: Mapping[str, Any]) -> None:
        self.app, self.email, self.id = app, email, created["identity"]["id"]
        self.headers = {"x-session-token": created["session_token"]}
        self.flow: dict[str, Any] = {}

    async def open(self) -> dict[str, Any]:
        self.flow = (await self.app.get("/self-service/settings/api", headers=self.headers)).json()
        return self.flow

    async def send(self, fields: Mapping[str, Any]) -> httpx2.Response:
        if not self.flow:
            await self.open()
        return await self.app.post(self.flow["ui"]["action"], json=fields, headers=self.headers)

    async def change(self, **traits: Any) -> httpx2.Response:
        return await self.send({"method": "profile", "traits": {"email": self.email, **traits}})

    async def set_password(self, password: str) -> httpx2.Response:
        return await self.send({"method": "password", "password": password})

    async def whoami(self) -> httpx2.Response:
        return await self.app.get("/sessions/whoami", headers=self.headers)


async def account(scene: Scene, *, email: str | None = None, **traits: Any) -> Account:
    app, address = await scene.native(), email or new_address()
    return Account(app, address, await sign_up(app, address, **traits))


def node_messages(flow: Mapping[str, Any], name: str) -> list[int]:
    return [m["id"] for n in flow["ui"]["nodes"] if n["attributes"].get("name") == name for m in n["messages"]]


class TestWhoMayUseIt:
    async def test_a_flow_needs_a_session(self, scene: Scene) -> None:
        answer = await (await scene.native()).get("/self-service/settings/api")
        assert (answer.status_code, answer.json()["error"]["id"]) == (401, "session_inactive")

    async def test_a_browser_without_a_session_goes_to_the_sign_in(self, scene: Scene) -> None:
        answer = await (await scene.browser()).get("/self-service/settings/browser")
        assert (answer.status_code, answer.headers["location"]) == (303, f"{ADDRESS}/self-service/login/browser")

    async def test_without_a_session_nobody_learns_which_flows_there_are(self, scene: Scene) -> None:
        flow, app = await (await account(scene)).open(), await scene.native()
        for flow_id in (flow["id"], "6f1c1d0e-0000-4000-8000-000000000000", ""):
            answer = await app.get(f"/self-service/settings/flows?id={flow_id}")
            assert (answer.status_code, "id" in answer.json()["error"]) == (401, False)

    async def test_the_sign_in_keeps_where_the_browser_wanted_to_go(self, scene: Scene) -> None:
        opened = f"/self-service/settings/browser?return_to={APP}/x&store=default&refresh=true"
        answer = await (await scene.browser()).get(opened)
        place, _, query = answer.headers["location"].partition("?")
        assert place == f"{ADDRESS}/self-service/login/browser"
        assert parse_qs(query) == {"return_to": [f"{APP}/x"], "store": ["default"]}

    @pytest.mark.parametrize("act", ["fetch", "submit"])
    async def test_another_account_is_refused(self, scene: Scene, act: str) -> None:
        ada, eve = await account(scene), await account(scene, email=new_address("eve"))
        flow = await ada.open()
        fetched = await eve.app.get(f"/self-service/settings/flows?id={flow['id']}", headers=eve.headers)
        sent = await eve.app.post(flow["ui"]["action"], json={"method": "profile"}, headers=eve.headers)
        answer = fetched if act == "fetch" else sent
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "security_identity_mismatch")
        assert ada.email not in answer.text

    async def test_an_unknown_flow_is_not_found_and_an_old_one_has_run_out(
        self, scene: Scene, clock: StoppedClock
    ) -> None:
        ada = await account(scene)
        flow = await ada.open()
        unknown = await ada.app.get(f"/self-service/settings/flows?id={ada.id}", headers=ada.headers)
        clock.advance(hours=1)
        old = await ada.app.get(f"/self-service/settings/flows?id={flow['id']}", headers=ada.headers)
        assert (unknown.status_code, old.status_code) == (404, 410)


class TestTheProfile:
    async def test_a_change_stays_open_and_is_seen_at_once(self, either_scene: Scene) -> None:
        ada = await account(either_scene)
        first = (await ada.change(name={"first": "Ada"})).json()
        second = (await ada.change(name={"first": "Ada", "last": "Pear"})).json()
        assert (first["state"], messages(first), second["id"]) == ("success", [1050001], ada.flow["id"])
        traits = (await ada.whoami()).json()["identity"]["traits"]
        assert traits == second["identity"]["traits"] == {"email": ada.email, "name": {"first": "Ada", "last": "Pear"}}

    async def test_mistakes_are_shown_at_their_fields_and_change_nothing(self, scene: Scene) -> None:
        ada = await account(scene)
        answer = await ada.send({"method": "profile", "traits": {"email": "x", "shoe": 42}})
        assert answer.status_code == 400
        assert 4000040 in node_messages(answer.json(), "traits.email")
        assert (await ada.whoami()).json()["identity"]["traits"] == {"email": ada.email}

    @pytest.mark.parametrize("method", ["teapot", "code", ""])
    async def test_what_is_no_change_says_so(self, scene: Scene, method: str) -> None:
        answer = await (await account(scene)).send({"method": method})
        assert (answer.status_code, messages(answer.json())) == (400, [4010004])

    async def test_metadata_and_a_verified_address_stay(self, scene: Scene) -> None:
        ada, operator = await account(scene), await scene.admin()
        patch = [
            {"op": "add", "path": "/metadata_public", "value": {"tier": "gold"}},
            {"op": "add", "path": "/metadata_admin", "value": {"note": "x"}},
        ]
        assert (await operator.patch(f"/admin/identities/{ada.id}", json=patch)).status_code == 200
        await ada.send({"method": "profile", "traits": {"email": ada.email}, "metadata_public": {"tier": "lead"}})
        shown = (await operator.get(f"/admin/identities/{ada.id}")).json()
        assert (shown["metadata_public"], shown["metadata_admin"]) == ({"tier": "gold"}, {"note": "x"})

    async def test_an_address_of_another_account_is_refused(self, either_scene: Scene) -> None:
        ada, bea = await account(either_scene), await account(either_scene, email=new_address("bea"))
        answer = await ada.change(email=bea.email)
        assert (answer.status_code, messages(answer.json())) == (400, [4000007])
        assert (await ada.whoami()).json()["identity"]["traits"]["email"] == ada.email

    @pytest.mark.parametrize(
        ("language", "sentence"),
        [
            ("en", "This address or name belongs to another account. Please choose another one."),
            ("de", "Diese Adresse oder dieser Name gehört zu einem anderen Konto. Bitte wählen Sie etwas anderes."),
            ("es", "Esta dirección o este nombre es de otra cuenta. Elige otra cosa."),
        ],
    )
    async def test_who_is_signed_in_is_not_told_to_sign_in_instead(
        self, scene: Scene, language: str, sentence: str
    ) -> None:
        ada, bea = await account(scene), await account(scene, email=new_address("bea"))
        ada.app.headers["accept-language"] = language
        [told] = (await ada.change(email=bea.email)).json()["ui"]["messages"]
        assert told == {"id": 4000007, "text": sentence, "type": "error"}

    async def test_the_owner_of_a_taken_address_is_told_once_an_hour(self, scene: Scene) -> None:
        ada, bea = await account(scene), await account(scene, email=new_address("bea"))
        for _ in range(2):
            assert (await ada.change(email=bea.email)).status_code == 400
        [told] = [mail for mail in await scene.mails() if mail.template_type == "address_wanted"]
        assert told.recipient == bea.email
        assert ada.email not in told.body
        scene.clock.advance(hours=1, minutes=1)
        ada.headers = {"x-session-token": (await sign_in(ada.app, ada.email)).json()["session_token"]}
        await ada.open()
        assert (await ada.change(email=bea.email)).status_code == 400
        assert [mail.template_type for mail in await scene.mails()].count("address_wanted") == 2

    async def test_row_073_so_many_taken_addresses_are_told_and_no_more(self, scene: Scene) -> None:
        """After that neither a taken nor a free address is answered."""
        ada, bea = await account(scene), await account(scene, email=new_address("bea"))
        statuses = [(await ada.change(email=bea.email)).status_code for _ in range(12)]
        assert (statuses[0], statuses[-1]) == (400, 429)
        assert (await ada.change(email=new_address("free"))).status_code == 429
        assert (await ada.change(name={"first": "Ada"})).status_code == 200

    async def test_one_account_has_a_budget_of_its_own(self, staging: Staging, sqlite_dsn: str) -> None:
        async with staging(sqlite_dsn, throttle={"settings": {"per_account": "2/minute"}}) as stage:
            ada, bea = await account(stage.scene), await account(stage.scene)
            statuses = [(await ada.change(name={"first": name})).status_code for name in ("Ada", "Eve", "Ida")]
            assert statuses == [200, 200, 429]
            assert (await bea.change(name={"first": "Bea"})).status_code == 200

    async def test_a_form_of_html_keeps_what_it_has_no_field_for(self, scene: Scene) -> None:
        browser, email = await scene.browser(), new_address()
        await browser.sign_up(email)
        flow = await browser.open_flow("settings")
        form = {"method": "profile", "traits.email": email, "traits.name.first": "Ada", "csrf_token": csrf_of(flow)}
        answer = await browser.post(flow["ui"]["action"], data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{ADDRESS}/account?flow={flow['id']}")
        whoami = (await browser.get("/sessions/whoami")).json()
        assert whoami["identity"]["traits"] == {"email": email, "name": {"first": "Ada"}}

    async def test_a_form_without_its_token_is_refused(self, scene: Scene) -> None:
        browser, email = await scene.browser(), new_address()
        await browser.sign_up(email)
        flow = await browser.open_flow("settings")
        forged = {"method": "profile", "traits": {"email": email, "name": {"first": "X"}}, "csrf_token": ""}
        answer = await browser.post(flow["ui"]["action"], json=forged, headers=JSON)
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "security_csrf_violation")

    async def test_a_new_address_leaves_the_other_open_forms_of_the_browser_alone(self, scene: Scene) -> None:
        """The session gets a new token, and whose browser it is has not changed."""
        browser = await scene.browser()
        await browser.sign_up(new_address())
        old, flow, other = browser.session_cookie, *[await browser.open_flow("settings") for _ in range(2)]
        confirming = await browser.open_flow("login", "?refresh=true")
        traits = {"email": new_address("later")}
        answer = await browser.send_flow(flow, {"method": "profile", "traits": traits})
        assert (answer.status_code, "csrf_token" in set_cookies(answer)) == (200, False)
        assert browser.session_cookie != old
        named = await browser.send_flow(other, {"method": "profile", "traits": {**traits, "name": {"first": "Ada"}}})
        confirmed = await browser.send_flow(confirming, {"identifier": traits["email"], "password": PASSWORD})
        assert (named.status_code, confirmed.status_code) == (200, 200)


class TestThePassword:
    async def test_row_040_the_old_one_signs_in_no_more_and_other_sessions_end(self, either_scene: Scene) -> None:
        ada = await account(either_scene)
        other = (await sign_in(ada.app, ada.email)).json()["session_token"]
        assert messages((await ada.set_password(NEW)).json()) == [1050001]
        assert (await sign_in(ada.app, ada.email)).status_code == 400
        assert (await sign_in(ada.app, ada.email, NEW)).status_code == 200
        assert (await ada.whoami()).status_code == 200, "the session that changes it goes on"
        ended = await ada.app.get("/sessions/whoami", headers={"x-session-token": other})
        assert ended.status_code == 401, "the others end"

    @pytest.mark.parametrize(
        ("password", "told"), [("abc", 4000032), (PASSWORD, 4000039), ("password123", 4000034), ("", 4000002)]
    )
    async def test_one_that_may_not_be_used_says_why(self, scene: Scene, password: str, told: int) -> None:
        ada = await account(scene)
        answer = await ada.set_password(password)
        assert (answer.status_code, node_messages(answer.json(), "password")) == (400, [told])
        assert (await sign_in(ada.app, ada.email)).status_code == 200

    @pytest.mark.parametrize("of", ["email", "name"])
    async def test_one_like_the_persons_data_is_refused(self, scene: Scene, of: str) -> None:
        ada = await account(scene, name={"first": "Bartholomea", "last": "Quince"})
        answer = await ada.set_password(ada.email if of == "email" else "bartholomea1")
        assert node_messages(answer.json(), "password") == [4000031]

    async def test_its_owner_is_told_by_mail(self, scene: Scene) -> None:
        ada = await account(scene)
        await ada.set_password(NEW)
        [told] = [mail for mail in await scene.mails() if mail.template_type == "password_changed"]
        assert told.recipient == ada.email
        assert NEW not in told.body

    async def test_a_browser_gets_a_new_session_token_and_a_new_anti_csrf_token(self, scene: Scene) -> None:
        browser, email = await scene.browser(), new_address()
        await browser.sign_up(email)
        old, flow = browser.session_cookie, await browser.open_flow("settings")
        answer = await browser.send_flow(flow, {"password": NEW})
        assert {"ory_kratos_session", "csrf_token"} <= set_cookies(answer).keys()
        assert browser.session_cookie != old
        app = await scene.native()
        assert (await app.get("/sessions/whoami", headers={"x-session-token": str(old)})).status_code == 401
        again = await browser.send_flow(answer.json(), {"password": "seven more lanterns there"})
        assert again.status_code == 200, "the answer has the new anti-CSRF token"

    async def test_guesses_at_the_old_one_are_limited(self, scene: Scene) -> None:
        """Who has taken over a session could find out the password by proposing guesses as the new one."""
        ada = await account(scene)
        statuses = [(await ada.set_password(PASSWORD)).status_code for _ in range(12)]
        assert statuses[0] == 400
        assert statuses[-1] == 429


class TestTheWork:
    @pytest.mark.parametrize(("what", "most"), [("name", 12), ("password", 14), ("address", 27)])
    async def test_a_change_takes_so_many_statements(self, scene: Scene, what: str, most: int) -> None:
        """With the session, which is not cached here, the beginning of the transaction, and the terms of the search."""
        ada = await account(scene)
        await ada.change(name={"first": "Ada"})
        seen: list[str] = []
        with scene.application.infrastructure.database.observed(seen.append):
            if what == "password":
                answer = await ada.set_password(NEW)
            else:
                changed = {"email": new_address("new")} if what == "address" else {"name": {"first": "Eve"}}
                answer = await ada.change(**changed)
        assert answer.status_code == 200
        assert len(seen) <= most, seen


class TestThePrivilegedWindow:
    @pytest.mark.parametrize("what", ["password", "address"])
    async def test_row_068_an_old_sign_in_must_be_confirmed_first(
        self, either_scene: Scene, clock: StoppedClock, what: str
    ) -> None:
        ada = await account(either_scene)
        clock.advance(seconds=OLD_ENOUGH.total_seconds())
        answer = await (ada.set_password(NEW) if what == "password" else ada.change(email=new_address("new")))
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "session_refresh_required")
        target = urlsplit(answer.json()["redirect_browser_to"])
        back = f"{ADDRESS}/self-service/settings?flow={ada.flow['id']}"
        assert (target.path, parse_qs(target.query)) == (
            "/self-service/login/browser",
            {"refresh": ["true"], "return_to": [back]},
        )
        assert (await ada.whoami()).json()["identity"]["traits"]["email"] == ada.email
        assert (await sign_in(ada.app, ada.email)).status_code == 200

    async def test_an_old_sign_in_learns_nothing_about_the_password(self, scene: Scene, clock: StoppedClock) -> None:
        ada = await account(scene)
        clock.advance(seconds=OLD_ENOUGH.total_seconds())
        for password in (PASSWORD, "abc", NEW):
            assert (await ada.set_password(password)).status_code == 403

    async def test_a_name_can_be_changed_in_an_old_session(self, scene: Scene, clock: StoppedClock) -> None:
        ada = await account(scene)
        clock.advance(seconds=OLD_ENOUGH.total_seconds())
        assert (await ada.change(name={"first": "Ada"})).status_code == 200

    async def test_an_app_that_signs_in_again_can_go_on(self, scene: Scene, clock: StoppedClock) -> None:
        ada = await account(scene)
        clock.advance(seconds=OLD_ENOUGH.total_seconds())
        assert (await ada.set_password(NEW)).status_code == 403
        flow = (await ada.app.get("/self-service/login/api?refresh=true", headers=ada.headers)).json()
        fields = {"method": "password", "identifier": ada.email, "password": PASSWORD}
        confirmed = await ada.app.post(flow["ui"]["action"], json=fields, headers=ada.headers)
        ada.headers = {"x-session-token": confirmed.json()["session_token"]}
        assert (await ada.set_password(NEW)).status_code == 200


class TestWhatWasSubmittedBefore:
    """A browser that must sign in again comes back to what it has submitted."""

    async def test_is_done_once_after_signing_in_again(self, either_scene: Scene, clock: StoppedClock) -> None:
        browser, email = await self._paused(either_scene, clock)
        back = await self._confirmed(browser, email)
        assert (await browser.get(back)).headers["location"].startswith(f"{ADDRESS}/account?flow=")
        assert (await sign_in(await either_scene.native(), email, NEW)).status_code == 200
        await browser.get(back)
        changed = [mail for mail in await either_scene.mails() if mail.template_type == "password_changed"]
        assert len(changed) == 1

    async def test_row_049_is_not_stored_in_clear(self, scene: Scene, clock: StoppedClock) -> None:
        await self._paused(scene, clock)
        assert NEW not in str(await scene.rows("flows"))

    async def test_is_not_done_without_signing_in_again(self, scene: Scene, clock: StoppedClock) -> None:
        browser, email = await self._paused(scene, clock)
        await browser.get(await self._back(browser))
        assert (await sign_in(await scene.native(), email)).status_code == 200

    async def test_is_never_done_for_another_account(self, scene: Scene, clock: StoppedClock) -> None:
        browser, email = await self._paused(scene, clock)
        back = await self._back(browser)
        browser.cookies.delete("ory_kratos_session")
        await browser.sign_up(new_address("eve"))
        answer = await browser.get(back, headers=JSON)
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "security_identity_mismatch")
        assert (await sign_in(await scene.native(), email)).status_code == 200

    async def test_is_not_done_in_another_browser(self, scene: Scene, clock: StoppedClock) -> None:
        browser, email = await self._paused(scene, clock)
        back, other = await self._back(browser), await scene.browser()
        await other.sign_in(email)
        assert (await other.get(back)).status_code == 303
        assert (await sign_in(await scene.native(), email)).status_code == 200

    async def test_ends_by_time(self, scene: Scene, clock: StoppedClock) -> None:
        browser, email = await self._paused(scene, clock)
        clock.advance(minutes=15)
        await browser.get(await self._confirmed(browser, email))
        assert (await sign_in(await scene.native(), email)).status_code == 200

    @pytest.mark.parametrize("headers", [{"sec-purpose": "prefetch"}, {"purpose": "prefetch"}, {"x-moz": "prefetch"}])
    async def test_is_not_done_for_what_only_looks_ahead(
        self, scene: Scene, clock: StoppedClock, headers: dict[str, str]
    ) -> None:
        browser, email = await self._paused(scene, clock)
        back = await self._confirmed(browser, email)
        await browser.head(back)
        await browser.get(back, headers=headers)
        assert (await sign_in(await scene.native(), email)).status_code == 200
        await browser.get(back)
        assert (await sign_in(await scene.native(), email, NEW)).status_code == 200

    async def _paused(self, scene: Scene, clock: StoppedClock) -> tuple[Browser, str]:
        """Submit a new password in an old session."""
        browser, email = await scene.browser(), new_address()
        await browser.sign_up(email)
        clock.advance(seconds=OLD_ENOUGH.total_seconds())
        flow = await browser.open_flow("settings")
        form = {"method": "password", "password": NEW, "csrf_token": csrf_of(flow)}
        answer = await browser.post(flow["ui"]["action"], data=form)
        assert answer.status_code == 303, answer.text
        assert "ory_kratos_continuity" in set_cookies(answer)
        browser.headers["x-target"] = answer.headers["location"]
        return browser, email

    async def _back(self, browser: Browser) -> str:
        return parse_qs(urlsplit(browser.headers["x-target"]).query)["return_to"][0]

    async def _confirmed(self, browser: Browser, email: str) -> str:
        """Sign in again; return where the browser goes then."""
        flow = await browser.open_flow("login", f"?{urlsplit(browser.headers['x-target']).query}")
        form = {"method": "password", "identifier": email, "password": PASSWORD, "csrf_token": csrf_of(flow)}
        answer = await browser.post(flow["ui"]["action"], data=form)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])
