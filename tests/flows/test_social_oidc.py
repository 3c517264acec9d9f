"""What follows a social sign-in, with the real method: registrations, questions, links, failures, changes meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.oidc_arrivals import KEPT_FOR
from shopkeeper.credentials.steps import NewCredential
from shopkeeper.identity.values import Via
from shopkeeper.openid.errors import ProviderError
from tests.attacks.scene import HTML, PASSWORD, Browser, new_address
from tests.credentials.social import CALLBACK, JSON, SocialStage, social_stage

ADA = "ada@example.org"
LINK, REASON, SAVED, EXPIRED = 1010016, 4000001, 1050001, 4010001


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
        yield stage


def messages(flow: Mapping[str, Any]) -> Sequence[int]:
    return [each["id"] for each in flow["ui"].get("messages", ())]


def names(flow: Mapping[str, Any]) -> Sequence[tuple[str, str, str | None]]:
    """Return group, name and type of every node."""
    return [(node["group"], node["attributes"]["name"], node["attributes"].get("type")) for node in flow["ui"]["nodes"]]


async def ask_owner(stage: SocialStage, browser: Browser, *, query: str = "") -> dict[str, Any]:
    """Come back with the verified address of an account; return the login flow that asks for its proof."""
    answer = await stage.arrive(browser, "login", query=query, email=ADA, email_verified=True)
    return await stage.flow_after(browser, answer)


class TestAnOwner:
    async def test_proves_the_account_by_a_password(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, password=PASSWORD)
        browser = await stage.scene.browser()
        flow = await ask_owner(stage, browser)
        assert (messages(flow), flow["active"]) == ([LINK], "oidc")
        assert flow["ui"]["messages"][0]["context"]["provider"] == "Example IdP"
        assert names(flow) == [
            ("default", "csrf_token", "hidden"),
            ("default", "identifier", "hidden"),
            ("password", "password", "password"),
            ("password", "method", "submit"),
        ], "as in the golden answer `account_linking`, but for the code, which is switched off"
        answer = await browser.send_flow(flow, {"method": "password", "identifier": ADA, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        [entry] = (await stage.read(ada)).credentials["oidc"].config["providers"]
        assert (entry["provider"], entry["subject"], entry["issuer"]) == ("idp", "alice", stage.idp.issuer)
        again = await stage.scene.browser()
        await stage.arrive(again)
        assert await again.whoami() == str(ada.id)

    @pytest.mark.parametrize("verified", [True, False], ids=["verified there", "not verified there"])
    async def test_who_links_has_the_address_verified_as_the_provider_says(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, verified: bool
    ) -> None:
        """Regression: the account page asked to confirm an address that the provider had verified, until the next
        sign-in. The password stays, because its owner has just proven it."""
        async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
            ada = await stage.customer(ADA, password=PASSWORD)
            browser = await stage.scene.browser()
            answer = await stage.arrive(browser, email=ADA, email_verified=verified)
            flow = await stage.flow_after(browser, answer)
            answer = await browser.send_flow(flow, {"method": "password", "identifier": ADA, "password": PASSWORD})
            [shown] = answer.json()["session"]["identity"]["verifiable_addresses"]
            assert (shown["value"], shown["verified"]) == (ADA, verified)
            [seen] = (await browser.get("/sessions/whoami")).json()["identity"]["verifiable_addresses"]
            assert seen["verified"] is verified
            after = await stage.read(ada)
            assert (after.email_verified, {"oidc", "password"} <= after.credentials.keys()) == (verified, True)
            again = await stage.scene.browser()
            assert (await again.sign_in(ADA)).status_code == 200

    async def test_proves_the_account_by_another_provider(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("other", "ada"))
        browser = await stage.scene.browser()
        flow = await ask_owner(stage, browser, query="?return_to=https://app.test/basket")
        assert flow["ui"]["messages"][0]["context"]["available_credential_types"] == ["oidc"]
        assert flow["ui"]["messages"][0]["context"]["available_providers"] == ["other"]
        [button] = [node for node in flow["ui"]["nodes"] if node["group"] == "oidc"]
        assert (button["attributes"]["value"], button["meta"]["label"]["id"]) == ("other", 1010018)
        url = await stage.leave(browser, flow, provider="other")
        answer = await browser.get(stage.back(url, provider="other", subject="ada"))
        assert answer.headers["location"] == "https://app.test/basket"
        assert set((await stage.read(ada)).credentials["oidc"].identifiers) == {"other:ada", "idp:alice"}
        session = (await browser.get("/sessions/whoami")).json()
        assert [each["provider"] for each in session["authentication_methods"]] == ["other"]
        rows = await stage.scene.rows("provider_sessions")
        assert {row["provider"] for row in rows} == {"idp", "other"}, "a sign-out at either ends the session"

    async def test_who_cancels_there_can_still_use_another_way(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("other", "ada"), password=PASSWORD)
        browser = await stage.scene.browser()
        url = await stage.leave(browser, await ask_owner(stage, browser), provider="other")
        asked = dict(parse_qsl(urlsplit(url).query))
        refused = urlencode({"error": "access_denied", "state": asked["state"]})
        flow = await stage.flow_after(browser, await browser.get(f"{asked['redirect_uri']}?{refused}"))
        assert messages(flow) == [LINK, REASON]
        [identifier] = [node for node in flow["ui"]["nodes"] if node["attributes"]["name"] == "identifier"]
        assert identifier["attributes"]["value"] == ADA, "no page has sent it"
        await browser.send_flow(flow, {"method": "password", "identifier": ADA, "password": PASSWORD})
        assert "idp:alice" in (await stage.read(ada)).credentials["oidc"].identifiers

    async def test_proves_the_account_on_our_pages(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, password=PASSWORD)
        browser = await stage.scene.browser()
        page = (await stage.arrive(browser, email=ADA, email_verified=True)).headers["location"]
        fields = await browser.form_of(urlsplit(page).path + "?" + urlsplit(page).query)
        action = f"/self-service/login?{urlsplit(page).query}"
        wrong = await browser.post(action, data={**fields, "method": "password", "password": "wrong-Password-91"})
        assert (wrong.status_code, wrong.headers["location"]) == (303, page)
        shown = (await browser.get(page, headers={"accept": HTML})).text
        assert "You have an account already</h1>" in shown
        assert "Create an account" not in shown
        fields = await browser.form_of(urlsplit(page).path + "?" + urlsplit(page).query)
        right = await browser.post(action, data={**fields, "method": "password", "password": PASSWORD})
        assert (right.status_code, await browser.whoami()) == (303, str(ada.id))
        assert (await stage.read(ada)).credentials["oidc"].identifiers == ("idp:alice",)

    async def test_of_an_address_that_the_provider_has_not_verified_is_offered_other_providers_only(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        """Regression: the button of the provider that the visitor came from led to the same form again."""
        async with social_stage(sqlite_dsn, tmp_path, clock, also=["twin"]) as stage:
            await stage.customer(ADA, ("other", "ada"))
            browser = await stage.scene.browser()
            answer = await stage.arrive(browser, email=ADA, email_verified=False)
            flow = await stage.flow_after(browser, answer)
            assert messages(flow) == [LINK]
            assert flow["ui"]["messages"][0]["context"]["available_providers"] == ["other"]
            buttons = [node for node in flow["ui"]["nodes"] if node["attributes"]["name"] == "provider"]
            assert [button["attributes"]["value"] for button in buttons] == ["other"]

    async def test_is_asked_in_an_app_too(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, password=PASSWORD)
        app = await stage.scene.native()
        flow = (await app.get("/self-service/login/api")).json()
        token = stage.id_token(email=ADA, email_verified=True)
        asked = await stage.submit(app, flow, provider="idp", id_token=token, id_token_nonce="n-1")
        assert (asked.status_code, messages(asked.json())) == (400, [LINK])
        fields = {"method": "password", "identifier": ADA, "password": PASSWORD}
        answer = await app.post(asked.json()["ui"]["action"], json=fields)
        assert answer.status_code == 200, answer.text
        assert (await stage.read(ada)).credentials["oidc"].identifiers == ("idp:alice",)

    async def test_is_not_asked_where_both_have_verified_the_address_and_the_shop_links_by_itself(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with social_stage(sqlite_dsn, tmp_path, clock, idp={"account_linking_mode": "automatic"}) as stage:
            ada = await stage.customer(ADA, password=PASSWORD)
            async with stage.scene.application.infrastructure.database.unit() as unit:
                known = await stage.identities.lock(unit, ada.id)
                addresses = [(each.via, each.value) for each in known.verifiable_addresses]
                await stage.identities.apply_proof(unit, known, verified=addresses)
            browser = await stage.scene.browser()
            await stage.arrive(browser, email=ADA, email_verified=True)
            assert await browser.whoami() == str(ada.id)
            assert (await stage.read(ada)).credentials["oidc"].identifiers == ("idp:alice",)


class TestTraits:
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_that_the_provider_does_not_tell_are_asked_for(self, stage: SocialStage, kind: str) -> None:
        browser, email = await stage.scene.browser(), new_address()
        answer = await stage.arrive(browser, kind, name="Alice")
        assert answer.status_code in {302, 303}
        flow_id = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["flow"]
        flow = (await browser.get(f"/self-service/registration/flows?id={flow_id}", headers=JSON)).json()
        [button] = [node for node in flow["ui"]["nodes"] if node["group"] == "oidc"]
        assert (button["attributes"]["value"], button["meta"]["label"]["id"]) == ("idp", 1040003)
        assert "id_token" not in json.dumps(flow)
        done = await stage.submit(browser, flow, provider="idp", traits={"email": email})
        assert (done.status_code, done.json()["identity"]["traits"]["email"]) == (200, email)
        assert not done.json()["identity"]["verifiable_addresses"][0]["verified"], "it was typed"
        again = await stage.scene.browser()
        await stage.arrive(again)
        assert await again.whoami() == done.json()["identity"]["id"]

    async def test_are_asked_for_on_our_pages(self, stage: SocialStage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        page = urlsplit((await stage.arrive(browser)).headers["location"])
        fields = await browser.form_of(f"{page.path}?{page.query}")
        sent = {"csrf_token": fields["csrf_token"], "provider": "idp", "traits.email": email}
        answer = await browser.post(f"/self-service/registration?{page.query}", data=sent)
        assert answer.status_code == 303
        session = (await browser.get("/sessions/whoami")).json()
        assert session["identity"]["traits"]["email"] == email

    async def test_are_completed_without_going_there_again(self, stage: SocialStage, clock: StoppedClock) -> None:
        browser, email = await stage.scene.browser(), new_address()
        flow = await stage.flow_after(browser, await stage.arrive(browser, "registration"), "registration")
        clock.advance(seconds=KEPT_FOR.total_seconds() - 1)
        answer = await stage.submit(browser, flow, provider="idp", traits={"email": email})
        assert (answer.status_code, answer.json()["identity"]["traits"]["email"]) == (200, email)

    async def test_are_taken_from_the_provider_again_where_it_was_too_long_ago(
        self, stage: SocialStage, clock: StoppedClock
    ) -> None:
        browser, email = await stage.scene.browser(), new_address()
        flow = await stage.flow_after(browser, await stage.arrive(browser, "registration"), "registration")
        clock.advance(seconds=KEPT_FOR.total_seconds())
        url = await stage.leave(browser, flow, provider="idp", traits={"email": email})
        await browser.get(stage.back(url))
        session = (await browser.get("/sessions/whoami")).json()
        assert session["identity"]["traits"]["email"] == email


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


class TestAFailure:
    @pytest.mark.parametrize("failure", ["refused", "down", "gone", "misconfigured", "nonsense"])
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_is_told_in_the_form_which_works_again(self, stage: SocialStage, kind: str, failure: str) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow(kind)
        url = await stage.leave(browser, flow, provider="idp")
        back = stage.back(url, email=ADA, email_verified=True)
        if failure == "refused":
            asked = dict(parse_qsl(urlsplit(url).query))
            back = f"{asked['redirect_uri']}?{urlencode({'error': 'access_denied', 'state': asked['state']})}"
        elif failure == "down":
            stage.idp.answer("/token", {"error": "server_error"}, status="503 Service Unavailable")
        elif failure == "gone":
            stage.idp.answer("/token", hang_up)
        elif failure == "misconfigured":
            stage.idp.answer("/token", {"error": "invalid_client"}, status="401 Unauthorized")
        else:
            stage.idp.answer("/token", b"<html>")
        answer = await browser.get(back)
        assert answer.status_code in {302, 303}
        location = urlsplit(answer.headers["location"])
        assert (location.path, dict(parse_qsl(location.query))) == (f"/{kind}", {"flow": flow["id"]})
        shown = (await browser.get(f"/self-service/{kind}/flows?id={flow['id']}", headers=JSON)).json()
        assert messages(shown) == [REASON]
        told = shown["ui"]["messages"][0]
        assert told["text"] in {kind.message for kind in ProviderError.__subclasses__()}
        assert told["context"] == {"reason": told["text"]}, "what is for operators is in the log"
        assert [await browser.whoami(), await stage.scene.rows("identities")] == [None, []]
        reloaded = await browser.get(back)
        assert urlsplit(reloaded.headers["location"])[2:4] == location[2:4], "it leads to where the flow is"
        url = await stage.leave(browser, shown, provider="idp")
        await browser.get(stage.back(url, email=ADA, email_verified=True))
        assert await browser.whoami() is not None

    async def test_in_a_script_is_told_in_json(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        stage.idp.answer("/.well-known/openid-configuration", {}, status="503 Service Unavailable")
        answer = await stage.submit(browser, await browser.open_flow("login"), provider="idp")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, 502)
        assert "reason" not in answer.json()["error"]

    async def test_of_a_flow_that_has_expired_meanwhile_leads_to_its_replacement(
        self, stage: SocialStage, clock: StoppedClock
    ) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow("login", "?return_to=https://app.test/basket")
        url = await stage.leave(browser, flow, provider="idp")
        clock.advance(hours=2)
        fresh = await stage.flow_after(browser, await browser.get(stage.back(url)))
        assert (messages(fresh), fresh["return_to"]) == ([EXPIRED], "https://app.test/basket")

    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_leads_to_a_form_that_works_where_the_browser_has_lost_its_cookie(
        self, stage: SocialStage, clock: StoppedClock, kind: str
    ) -> None:
        browser = await stage.scene.browser()
        url = await stage.leave(browser, await browser.open_flow(kind), provider="idp")
        for lost in [cookie.name for cookie in browser.cookies.jar if "csrf" in cookie.name]:
            browser.cookies.delete(lost)
        clock.advance(hours=2)
        fresh = await stage.flow_after(browser, await browser.get(stage.back(url)), kind)
        url = await stage.leave(browser, fresh, provider="idp")
        await browser.get(stage.back(url, email=ADA, email_verified=True))
        assert await browser.whoami() is not None

    async def test_with_an_unknown_state_is_told_on_the_error_page(self, stage: SocialStage) -> None:
        """As in the conversation `social` (26)."""
        browser = await stage.scene.browser()
        await stage.leave(browser, await browser.open_flow("login"), provider="idp")
        answer = await browser.get(f"{CALLBACK}/idp?error=access_denied&error_description=no&state=nonsense")
        assert (answer.status_code, urlsplit(answer.headers["location"]).path) == (303, "/error")


class TestALink:
    async def test_in_settings_is_told_to_the_owner_by_mail(self, stage: SocialStage) -> None:
        await stage.customer(ADA, password=PASSWORD)
        browser = await stage.scene.browser()
        await browser.sign_in(ADA)
        for _ in range(2):
            url = await stage.leave(browser, await browser.open_flow("settings"), link="idp")
            await browser.get(stage.back(url))
        [mail] = [mail for mail in await stage.scene.mails() if mail.template_type == "sign_in_linked"]
        assert (mail.recipient, "Example IdP" in mail.body) == (ADA, True)

    @pytest.mark.parametrize("by", ["settings", "proof"])
    async def test_leaves_the_owners_other_sessions(self, stage: SocialStage, by: str) -> None:
        """Something is added, and nothing is taken from whoever is signed in."""
        await stage.customer(ADA, ("other", "ada"), password=PASSWORD)
        browser, elsewhere = await stage.scene.browser(), await stage.scene.browser()
        await elsewhere.sign_in(ADA)
        if by == "settings":
            await browser.sign_in(ADA)
            url = await stage.leave(browser, await browser.open_flow("settings"), link="idp")
            await browser.get(stage.back(url))
        else:
            flow = await ask_owner(stage, browser)
            await browser.send_flow(flow, {"method": "password", "identifier": ADA, "password": PASSWORD})
        assert await browser.whoami() is not None
        assert await elsewhere.whoami() is not None

    async def test_that_is_removed_ends_the_owners_other_sessions(self, stage: SocialStage) -> None:
        await stage.customer(ADA, ("other", "ada"), ("idp", "alice"), password=PASSWORD)
        browser, elsewhere = await stage.scene.browser(), await stage.scene.browser()
        await elsewhere.sign_in(ADA)
        await browser.sign_in(ADA)
        answer = await stage.submit(browser, await browser.open_flow("settings"), unlink="other")
        assert answer.status_code == 200
        assert await browser.whoami() is not None
        assert await elsewhere.whoami() is None


class TestMeanwhile:
    async def test_a_sign_in_in_another_tab_stays(self, stage: SocialStage) -> None:
        await stage.customer("bea@example.org", password=PASSWORD)
        browser = await stage.scene.browser()
        url = await stage.leave(browser, await browser.open_flow("login"), provider="idp")
        await browser.sign_in("bea@example.org")
        bea = await browser.whoami()
        answer = await browser.get(stage.back(url, email=ADA, email_verified=True))
        assert answer.status_code == 303
        assert await browser.whoami() == bea
        assert len(await stage.scene.rows("identities")) == 1

    async def test_a_session_that_is_too_old_to_link_is_confirmed_first(
        self, stage: SocialStage, clock: StoppedClock
    ) -> None:
        ada = await stage.customer(ADA, password=PASSWORD)
        browser = await stage.scene.browser()
        await browser.sign_in(ADA)
        clock.advance(minutes=50)
        flow = await browser.open_flow("settings")
        url = await stage.leave(browser, flow, link="idp")
        clock.advance(minutes=20)
        answer = await browser.get(stage.back(url))
        onward = urlsplit(answer.headers["location"])
        assert (onward.path, dict(parse_qsl(onward.query))["refresh"]) == ("/self-service/login/browser", "true")
        assert "oidc" not in (await stage.read(ada)).credentials

    async def test_a_session_that_has_ended_links_nothing(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, password=PASSWORD)
        browser = await stage.scene.browser()
        await browser.sign_in(ADA)
        url = await stage.leave(browser, await browser.open_flow("settings"), link="idp")
        browser.cookies.delete("ory_kratos_session")
        answer = await browser.get(stage.back(url))
        assert urlsplit(answer.headers["location"]).path == "/self-service/login/browser"
        assert "oidc" not in (await stage.read(ada)).credentials

    async def test_another_account_that_has_signed_in_links_nothing(self, stage: SocialStage) -> None:
        accounts = [await stage.customer(email, password=PASSWORD) for email in (ADA, "bea@example.org")]
        browser = await stage.scene.browser()
        await browser.sign_in(ADA)
        url = await stage.leave(browser, await browser.open_flow("settings"), link="idp")
        browser.cookies.delete("ory_kratos_session")
        await browser.sign_in("bea@example.org")
        answer = await browser.get(stage.back(url))
        assert answer.headers["x-error-code"] == "security_identity_mismatch"
        assert ["oidc" in (await stage.read(each)).credentials for each in accounts] == [False, False]


class TestAnotherAddressThanTheProviders:
    async def test_registers_unverified(self, stage: SocialStage) -> None:
        browser, typed = await stage.scene.browser(), new_address()
        flow = await browser.open_flow("registration")
        url = await stage.leave(browser, flow, provider="idp", traits={"email": typed})
        answer = await browser.get(stage.back(url, email=ADA, email_verified=True))
        assert answer.status_code == 303
        identity = (await browser.get("/sessions/whoami")).json()["identity"]
        assert [(each["value"], each["verified"]) for each in identity["verifiable_addresses"]] == [(typed, False)]


class TestTheAccountPage:
    """What it says where there is no password."""

    async def test_says_that_a_password_has_ended_that_was_set_before_the_address_was_confirmed(
        self, stage: SocialStage
    ) -> None:
        """Regression: an account with a link was said to have no password, as if it had never had one."""
        ada = await stage.customer(ADA, password=PASSWORD)
        entry = {"provider": "idp", "subject": "alice", "issuer": stage.idp.issuer}
        async with stage.scene.application.infrastructure.database.unit() as unit:
            known = await stage.identities.lock(unit, ada.id)
            owned = await stage.identities.apply_proof(unit, known, verified=[(Via.EMAIL, ADA)], takes_over=True)
            linked = {"oidc": NewCredential("oidc", {"providers": [entry]}, ["idp:alice"])}
            await stage.identities.change_locked_credentials(unit, owned, linked, actor="test", client_ip=None)
        page = await account_page(stage)
        assert "one that was set before its address was confirmed has ended" in page

    async def test_says_that_a_password_can_be_chosen_where_there_never_was_one(self, stage: SocialStage) -> None:
        await stage.customer(ADA, ("idp", "alice"))
        page = await account_page(stage)
        assert "You can choose one to sign in with it as well." in page
        assert "has ended" not in page


async def account_page(stage: SocialStage) -> str:
    """Return the account page of the person who signs in at the provider."""
    browser = await stage.scene.browser()
    await stage.arrive(browser)
    return (await browser.get("/account", headers={"accept": HTML}, follow_redirects=True)).text
