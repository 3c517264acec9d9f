"""Social sign-in through the whole application, at providers that answer what a test says."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.steps import NewCredential
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.identity.values import Identity
from shopkeeper.openid.authenticated import Authenticated
from shopkeeper.storage.database import Unit
from tests.attacks.scene import PASSWORD, Browser, new_address, sign_in, sign_up
from tests.credentials.social import CALLBACK, JSON, SocialStage, social_stage
from tests.openid.scripted import signed

ADA = "ada@example.org"


@pytest.fixture
async def stage(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
    async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
        yield stage


def buttons(flow: Mapping[str, Any]) -> Sequence[tuple[str, str, int, Mapping[str, str]]]:
    """Return name, value, label and the label's context of each button of a provider."""
    found = [node for node in flow["ui"]["nodes"] if node["group"] == "oidc"]
    return [
        (
            node["attributes"]["name"],
            node["attributes"]["value"],
            node["meta"]["label"]["id"],
            node["meta"]["label"].get("context", {}),
        )
        for node in found
    ]


def messages(flow: Mapping[str, Any]) -> Sequence[tuple[int, str]]:
    """Return number and wording of the messages above a form."""
    told = flow["ui"].get("messages", ())
    return [(each["id"], each["text"]) for each in told]


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


class TestForms:
    async def test_login_has_the_providers_first_in_the_order_of_the_settings(self, stage: SocialStage) -> None:
        flow = await (await stage.scene.browser()).open_flow("login")
        assert buttons(flow) == [
            ("provider", "idp", 1010002, {"provider": "Example IdP", "provider_id": "idp"}),
            ("provider", "other", 1010002, {"provider": "Other", "provider_id": "other"}),
        ]
        assert [node["group"] for node in flow["ui"]["nodes"]][:3] == ["oidc", "oidc", "default"]

    async def test_registration_has_them_first(self, stage: SocialStage) -> None:
        flow = await (await stage.scene.browser()).open_flow("registration")
        assert [button[:3] for button in buttons(flow)] == [
            ("provider", "idp", 1040002),
            ("provider", "other", 1040002),
        ]
        assert [node["group"] for node in flow["ui"]["nodes"]][:3] == ["oidc", "oidc", "default"]

    async def test_settings_link_what_is_not_linked_and_unlink_what_is(self, stage: SocialStage) -> None:
        await stage.customer(ADA, ("idp", "alice"))
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        assert buttons(await browser.open_flow("settings")) == [
            ("link", "other", 1050002, {"provider": "Other"}),
            ("unlink", "idp", 1050003, {"provider": "Example IdP"}),
        ]

    async def test_settings_of_an_app_unlink_and_do_not_link(self, stage: SocialStage) -> None:
        """The system's browser does not come back to the app's session."""
        ada = await stage.customer(ADA, ("idp", "alice"), password=PASSWORD)
        app = await stage.scene.native()
        app.headers["x-session-token"] = (await sign_in(app, ADA)).json()["session_token"]
        flow = (await app.get("/self-service/settings/api")).json()
        assert [button[:2] for button in buttons(flow)] == [("unlink", "idp")]
        answer = await app.post(flow["ui"]["action"], json={"method": "oidc", "unlink": "idp"})
        assert (answer.status_code, buttons(answer.json())) == (200, [])
        assert "oidc" not in (await stage.read(ada)).credentials

    async def test_a_confirmation_offers_what_is_linked(self, stage: SocialStage) -> None:
        await stage.customer(ADA, ("other", "alice"))
        browser = await stage.scene.browser()
        await stage.arrive(browser, provider="other")
        flow = await browser.open_flow("login", "?refresh=true")
        assert [button[1] for button in buttons(flow)] == ["other"]

    async def test_the_first_of_two_login_forms_has_them(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        flows = {"login": {"style": "identifier_first"}, "registration": {"style": "profile_first"}}
        async with social_stage(sqlite_dsn, tmp_path, clock, selfservice={"flows": flows}) as stage:
            browser = await stage.scene.browser()
            login, registration = [await browser.open_flow(kind) for kind in ("login", "registration")]
            second = await browser.send_flow(login, {"method": "identifier_first", "identifier": ADA})
        groups = [node["group"] for node in login["ui"]["nodes"]]
        assert groups == ["identifier_first", "identifier_first", "oidc", "oidc", "default"]
        assert [node["group"] for node in registration["ui"]["nodes"]][:2] == ["oidc", "oidc"]
        assert [node["group"] for node in second.json()["ui"]["nodes"]][:4] == [
            "identifier_first",
            "oidc",
            "oidc",
            "default",
        ]


class TestLeaving:
    async def test_asks_for_a_code_bound_to_this_flow(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        asked = query_of(await stage.leave(browser, await browser.open_flow("login"), provider="idp"))
        assert asked["redirect_uri"] == f"{CALLBACK}/idp"
        assert asked["code_challenge_method"] == "S256"
        assert asked["nonce"]
        assert asked["state"]

    async def test_stores_nothing_that_could_be_used(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        asked = query_of(await stage.leave(browser, await browser.open_flow("login"), provider="idp"))
        stored = repr(await stage.scene.rows("flows"))
        assert asked["nonce"] not in stored
        assert asked["state"] not in stored

    async def test_two_departures_share_nothing(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        one, two = [
            query_of(await stage.leave(browser, await browser.open_flow("login"), provider="idp")) for _ in range(2)
        ]
        assert all(one[name] != two[name] for name in ("state", "nonce", "code_challenge"))

    @pytest.mark.parametrize("nested", [True, False], ids=["json", "form"])
    async def test_hands_on_allowed_parameters(self, stage: SocialStage, nested: bool) -> None:
        browser = await stage.scene.browser()
        given = {"upstream_parameters": {"login_hint": ADA}} if nested else {"upstream_parameters.login_hint": ADA}
        asked = query_of(await stage.leave(browser, await browser.open_flow("login"), provider="idp", **given))
        assert asked["login_hint"] == ADA

    @pytest.mark.parametrize(
        "given", [{"redirect_uri": "https://evil.test"}, {"prompt": 7}, {"hd": "a" * 300}, {"hd": "a\nb"}, "prompt"]
    )
    async def test_refuses_other_parameters(self, stage: SocialStage, given: Any) -> None:
        browser = await stage.scene.browser()
        flow = await browser.open_flow("login")
        answer = await stage.submit(browser, flow, provider="idp", upstream_parameters=given)
        assert answer.status_code == 400
        [(number, text)] = messages(answer.json())
        assert (number, "login_hint" in text) == (4000001, True)

    async def test_an_unknown_provider_is_not_found(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        assert (await stage.submit(browser, await browser.open_flow("login"), provider="nope")).status_code == 404

    async def test_a_confirmation_has_the_provider_ask_again(self, stage: SocialStage) -> None:
        await stage.customer(ADA, ("idp", "alice"))
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        asked = query_of(await stage.leave(browser, await browser.open_flow("login", "?refresh=true"), provider="idp"))
        assert asked["prompt"] == "login"


class TestSigningIn:
    async def test_finds_an_account_by_issuer_and_subject(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"))
        browser = await stage.scene.browser()
        answer = await stage.arrive(browser)
        assert answer.status_code == 303, answer.text
        session = (await browser.get("/sessions/whoami")).json()
        assert session["identity"]["id"] == str(ada.id)
        [proof] = session["authentication_methods"]
        assert (proof["method"], proof["aal"], proof["provider"]) == ("oidc", "aal1", "idp")

    async def test_subjects_are_compared_exactly(self, stage: SocialStage) -> None:
        await stage.customer(ADA, ("idp", "ALICE"))
        browser = await stage.scene.browser()
        await stage.arrive(browser, email="bea@example.org", email_verified=True)
        assert (await browser.get("/sessions/whoami")).json()["identity"]["traits"]["email"] == "bea@example.org"

    async def test_the_same_subject_of_another_issuer_is_somebody_else(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"))
        browser = await stage.scene.browser()
        await stage.arrive(browser, provider="other", email="bea@example.org", email_verified=True)
        assert await browser.whoami() not in {None, str(ada.id)}

    async def test_an_imported_link_gets_the_issuer_of_its_provider(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"), issuer=False)
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        assert await browser.whoami() == str(ada.id)
        [entry] = (await stage.read(ada)).credentials["oidc"].config["providers"]
        assert entry == {"provider": "idp", "subject": "alice", "issuer": stage.idp.issuer}

    async def test_a_link_to_another_issuer_under_the_providers_id_signs_nobody_in(self, stage: SocialStage) -> None:
        await stage.customer(ADA, ("idp", "alice"))
        await self._repointed(stage)
        browser = await stage.scene.browser()
        flow = await stage.flow_after(browser, await stage.arrive(browser))
        [(number, text)] = messages(flow)
        assert (number, "another way" in text) == (4000001, True)
        assert await browser.whoami() is None

    async def _repointed(self, stage: SocialStage) -> None:
        """Have the link say that the account is one of another issuer."""
        entry = {"provider": "idp", "subject": "alice", "issuer": "https://former.example"}
        async with stage.scene.application.infrastructure.database.unit() as unit:
            [ada] = await stage.identities.find_by_exact_identifiers(unit, type="oidc", identifiers=["idp:alice"])
            await stage.identities.set_credential_config(unit, ada.id, "oidc", {"providers": [entry]})

    async def test_marks_addresses_that_the_provider_has_verified(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"))
        await stage.arrive(await stage.scene.browser(), email=ADA, email_verified=True)
        assert (await stage.read(ada)).email_verified

    async def test_marks_no_address_that_it_has_not(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"))
        await stage.arrive(await stage.scene.browser(), email=ADA, email_verified=False)
        await stage.arrive(await stage.scene.browser(), email="bea@example.org", email_verified=True)
        assert not (await stage.read(ada)).email_verified

    async def test_confirming_a_session_takes_the_account_that_is_signed_in(self, stage: SocialStage) -> None:
        await stage.customer(ADA, ("idp", "alice"))
        await stage.customer("bea@example.org", ("idp", "bea"))
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        before = await browser.whoami()
        answer = await stage.arrive(browser, query="?refresh=true", subject="bea")
        assert [number for number, _ in messages(await stage.flow_after(browser, answer))] == [4010091]
        assert await browser.whoami() == before


class TestComingBack:
    async def test_row_080_the_answer_of_one_provider_is_not_redeemed_at_another(self, stage: SocialStage) -> None:
        """Mix-up (RFC 9700, section 4.4): the browser was sent to `idp`, and comes back on the path of `other`."""
        await stage.customer(ADA, ("idp", "alice"), ("other", "alice"))
        browser = await stage.scene.browser()
        url = await stage.leave(browser, await browser.open_flow("login"), provider="idp")
        back = stage.back(url).replace("/callback/idp", "/callback/other")
        flow = await stage.flow_after(browser, await browser.get(back))
        assert [number for number, _ in messages(flow)] == [4000001]
        assert (stage.idp.asked("/token"), stage.other.asked("/token")) == (0, 0)
        assert await browser.whoami() is None

    async def test_row_081_a_provider_that_was_switched_off_meanwhile_signs_nobody_in(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with social_stage(sqlite_dsn, tmp_path, clock) as before:
            await before.customer(ADA, ("idp", "alice"))
            browser = await before.scene.browser()
            url = await before.leave(browser, await browser.open_flow("login"), provider="idp")
            back = before.back(url)
            async with social_stage(sqlite_dsn, tmp_path, clock, idp={"id": "another"}) as after:
                same = await after.scene.browser()
                same.cookies = browser.cookies
                flow = await after.flow_after(same, await same.get(back))
                assert await same.whoami() is None
            assert before.idp.asked("/token") == 0
        [(number, text)] = messages(flow)
        assert (number, "switched off" in text) == (4000001, True)

    async def test_row_081_an_answer_counts_once(self, stage: SocialStage) -> None:
        await stage.customer(ADA, ("idp", "alice"))
        browser = await stage.scene.browser()
        url = await stage.leave(browser, await browser.open_flow("login"), provider="idp")
        back = stage.back(url)
        await browser.get(back)
        browser.cookies.delete("ory_kratos_session")
        assert (await browser.get(back)).headers["location"].endswith("/self-service/login/browser")
        assert await browser.whoami() is None
        assert stage.idp.asked("/token") == 1

    async def test_secrets_that_have_changed_meanwhile_begin_again(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with social_stage(sqlite_dsn, tmp_path, clock) as before:
            browser = await before.scene.browser()
            back = before.back(await before.leave(browser, await browser.open_flow("login"), provider="idp"))
            secrets = {"cipher": ["another-cipher-secret-of-32-byte"]}
            async with social_stage(sqlite_dsn, tmp_path, clock, secrets=secrets) as after:
                same = await after.scene.browser()
                same.cookies = browser.cookies
                flow = await after.flow_after(same, await same.get(back))
        [(number, text)] = messages(flow)
        assert (number, "begin again" in text) == (4000001, True)


class TestAStranger:
    """Somebody has registered with an address of which they are not the owner (pre-hijacking)."""

    async def test_row_082_loses_the_account_to_the_owner_who_comes_by_a_provider(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        recovery = {"selfservice": {"flows": {"recovery": {"enabled": True, "use": "code"}}}}
        async with social_stage(sqlite_dsn, tmp_path, clock, **recovery) as stage:
            await sign_up(await stage.scene.native(), ADA)
            owner = await stage.scene.browser()
            flow = await stage.flow_after(owner, await stage.arrive(owner, email=ADA, email_verified=True))
            assert [number for number, _ in messages(flow)] == [1010016]
            assert await owner.whoami() is None

            asked = await owner.open_flow("recovery")
            sent = await owner.send_flow(asked, {"method": "code", "email": ADA})
            [mail] = [mail for mail in await stage.scene.mails() if mail.template_type == "recovery_code_valid"]
            [code] = re.findall(r"\b\d{6}\b", mail.subject)
            await owner.send_flow(sent.json(), {"method": "code", "code": code})
            assert await owner.whoami() is not None
            assert (await sign_in(await stage.scene.native(), ADA)).status_code == 400


class TestTwoFactors:
    """A provider whose `acr` or `amr` says that two factors were used."""

    @pytest.fixture
    async def strong(self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[SocialStage]:
        idp = {"aal2_acr_values": ["urn:two"], "aal2_amr_values": ["mfa"]}
        async with social_stage(sqlite_dsn, tmp_path, clock, idp=idp) as stage:
            await stage.customer(ADA, ("idp", "alice"), ("other", "alice"))
            yield stage

    @pytest.mark.parametrize(
        ("claims", "aal"),
        [
            ({"acr": "urn:two"}, "aal2"),
            ({"amr": ["pwd", "mfa"]}, "aal2"),
            ({"acr": "urn:one", "amr": ["pwd"]}, "aal1"),
            ({"acr": ["urn:two"], "amr": "mfa"}, "aal1"),
            ({}, "aal1"),
        ],
    )
    async def test_the_session_has_their_level(self, strong: SocialStage, claims: dict[str, Any], aal: str) -> None:
        browser = await strong.scene.browser()
        await strong.arrive(browser, **claims)
        assert (await browser.get("/sessions/whoami")).json()["authenticator_assurance_level"] == aal

    async def test_another_providers_values_say_nothing(self, strong: SocialStage) -> None:
        browser = await strong.scene.browser()
        await strong.arrive(browser, provider="other", acr="urn:two", amr=["mfa"])
        assert (await browser.get("/sessions/whoami")).json()["authenticator_assurance_level"] == "aal1"

    async def test_elevates_a_session(self, strong: SocialStage) -> None:
        browser = await strong.scene.browser()
        await strong.arrive(browser)
        flow = await browser.open_flow("login", "?aal=aal2")
        assert [button[1] for button in buttons(flow)] == ["idp"]
        url = await strong.leave(browser, flow, provider="idp")
        assert query_of(url)["acr_values"] == "urn:two"
        await browser.get(strong.back(url, acr="urn:two"))
        assert (await browser.get("/sessions/whoami")).json()["authenticator_assurance_level"] == "aal2"

    async def test_one_factor_does_not_elevate(self, strong: SocialStage) -> None:
        browser = await strong.scene.browser()
        await strong.arrive(browser)
        flow = await strong.flow_after(browser, await strong.arrive(browser, query="?aal=aal2"))
        [(number, text)] = messages(flow)
        assert (number, "one proof" in text) == (4000001, True)
        assert (await browser.get("/sessions/whoami")).json()["authenticator_assurance_level"] == "aal1"


class TestRegistering:
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_an_unknown_account_registers(self, stage: SocialStage, kind: str) -> None:
        browser = await stage.scene.browser()
        answer = await stage.arrive(browser, kind, email=ADA, email_verified=True, given_name="Ada")
        assert answer.status_code == 303
        identity = (await browser.get("/sessions/whoami")).json()["identity"]
        assert identity["traits"]["email"] == ADA
        assert [address["verified"] for address in identity["verifiable_addresses"]] == [True]

    async def test_stores_issuer_and_subject_sealed_and_no_token(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        await stage.arrive(browser, "registration", email=ADA, email_verified=True)
        async with stage.scene.application.infrastructure.database.reading() as unit:
            [ada] = await stage.identities.find_by_exact_identifiers(unit, type="oidc", identifiers=["idp:alice"])
        known = ada.credentials["oidc"]
        assert known.config["providers"] == [{"provider": "idp", "subject": "alice", "issuer": stage.idp.issuer}]
        [row] = [row for row in await stage.scene.rows("credentials") if row["type"] == "oidc"]
        assert "alice" not in str(row["config"])
        assert "at-1" not in repr(await stage.scene.rows("credentials")) + repr(await stage.scene.rows("flows"))

    async def test_an_address_that_the_provider_has_not_verified_is_not(self, stage: SocialStage) -> None:
        browser = await stage.scene.browser()
        await stage.arrive(browser, "registration", email=ADA, email_verified=False)
        identity = (await browser.get("/sessions/whoami")).json()["identity"]
        assert [address["verified"] for address in identity["verifiable_addresses"]] == [False]

    async def test_a_known_account_signs_in(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"))
        browser = await stage.scene.browser()
        await stage.arrive(browser, "registration")
        assert await browser.whoami() == str(ada.id)


class TestLinking:
    async def test_links_and_unlinks(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, password=PASSWORD)
        browser = await self._signed_in(stage)
        url = await stage.leave(browser, await browser.open_flow("settings"), link="idp")
        flow = await stage.flow_after(browser, await browser.get(stage.back(url)), "settings")
        assert [number for number, _ in messages(flow)] == [1050001]
        [entry] = (await stage.read(ada)).credentials["oidc"].config["providers"]
        assert (entry["provider"], entry["subject"], entry["issuer"]) == ("idp", "alice", stage.idp.issuer)

        answer = await stage.submit(browser, flow, unlink="idp")
        assert answer.status_code == 200, answer.text
        assert "oidc" not in (await stage.read(ada)).credentials

    async def test_an_account_of_somebody_else_is_not_linked(self, stage: SocialStage) -> None:
        bea = await stage.customer("bea@example.org", ("idp", "alice"))
        ada = await stage.customer(ADA, password=PASSWORD)
        browser = await self._signed_in(stage)
        url = await stage.leave(browser, await browser.open_flow("settings"), link="idp")
        flow = await stage.flow_after(browser, await browser.get(stage.back(url)), "settings")
        assert [number for number, _ in messages(flow)] == [4000027]
        assert "oidc" not in (await stage.read(ada)).credentials
        assert (await stage.read(bea)).credentials["oidc"].identifiers == ("idp:alice",)

    @pytest.mark.parametrize("ids", [("idp", "idp"), ("idp", "twin")], ids=["one id", "two ids of one issuer"])
    async def test_of_two_who_link_an_account_at_once_one_gets_it(
        self, dsn: str, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch, ids: tuple[str, str]
    ) -> None:
        async with social_stage(dsn, tmp_path, clock, also=["twin"]) as stage:
            browsers, answers = [], []
            for name, provider in zip(("ada", "bea"), ids, strict=True):
                await stage.customer(f"{name}@example.org", password=PASSWORD)
                browser = await stage.scene.browser()
                assert (await browser.sign_in(f"{name}@example.org")).status_code == 200
                browsers.append(browser)
                url = await stage.leave(browser, await browser.open_flow("settings"), link=provider)
                answers.append(stage.back(url))
            both_find_it_free(stage, monkeypatch)
            came = await asyncio.gather(*(browser.get(back) for browser, back in zip(browsers, answers, strict=True)))
            told = [
                [number for number, _ in messages(await stage.flow_after(browser, answer, "settings"))]
                for browser, answer in zip(browsers, came, strict=True)
            ]
        assert sorted(told) == [[1050001], [4000027]]

    async def test_linking_again_changes_nothing(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"), password=PASSWORD)
        before = await stage.read(ada)
        browser = await self._signed_in(stage)
        url = await stage.leave(browser, await browser.open_flow("settings"), link="idp")
        flow = await stage.flow_after(browser, await browser.get(stage.back(url)), "settings")
        assert [number for number, _ in messages(flow)] == [1050001]
        assert (await stage.read(ada)).credentials["oidc"] == before.credentials["oidc"]

    async def test_two_links_at_once_are_both_kept(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, password=PASSWORD)
        browser = await self._signed_in(stage)
        flows = [await browser.open_flow("settings") for _ in range(2)]
        urls = [await stage.leave(browser, flow, link=name) for flow, name in zip(flows, ("idp", "other"), strict=True)]
        for url, name in zip(urls, ("idp", "other"), strict=True):
            await browser.get(stage.back(url, provider=name))
        assert set((await stage.read(ada)).credentials["oidc"].identifiers) == {"idp:alice", "other:alice"}

    async def test_the_last_way_in_is_not_unlinked(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"))
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        answer = await stage.submit(browser, await browser.open_flow("settings"), unlink="idp")
        assert answer.status_code == 400
        [(number, text)] = messages(answer.json())
        assert (number, "last way" in text) == (4000001, True)
        assert (await stage.read(ada)).credentials["oidc"].identifiers == ("idp:alice",)

    @pytest.mark.parametrize(
        ("linked", "password", "disabled"),
        [
            ([("idp", "alice")], None, [True]),
            ([("idp", "alice")], PASSWORD, [False]),
            ([("idp", "alice"), ("other", "alice")], None, [False, False]),
            ([("idp", "alice"), ("idp", "alice-at-work")], None, [False, False]),
        ],
        ids=["alone", "with a password", "two providers", "two accounts"],
    )
    async def test_the_button_of_the_last_way_in_is_disabled(
        self, stage: SocialStage, linked: list[tuple[str, str]], password: str | None, disabled: list[bool]
    ) -> None:
        await stage.customer(ADA, *linked, password=password)
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        nodes = (await browser.open_flow("settings"))["ui"]["nodes"]
        shown = [node["attributes"] for node in nodes if node["attributes"]["name"] == "unlink"]
        assert [each["disabled"] for each in shown] == disabled

    async def test_one_of_two_providers_can_go(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"), ("other", "alice"))
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        answer = await stage.submit(browser, await browser.open_flow("settings"), unlink="other")
        assert answer.status_code == 200, answer.text
        assert (await stage.read(ada)).credentials["oidc"].identifiers == ("idp:alice",)

    async def test_one_of_two_accounts_at_a_provider_can_go(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"), ("idp", "alice-at-work"))
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        flow = await browser.open_flow("settings")
        assert [button[1] for button in buttons(flow)] == ["other", "idp:alice", "idp:alice-at-work"]
        answer = await stage.submit(browser, flow, unlink="idp:alice-at-work")
        assert answer.status_code == 200, answer.text
        assert (await stage.read(ada)).credentials["oidc"].identifiers == ("idp:alice",)

    async def test_one_submission_does_not_link_and_unlink(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"), password=PASSWORD)
        browser = await stage.scene.browser()
        await browser.sign_in(ADA)
        answer = await stage.submit(browser, await browser.open_flow("settings"), link="other", unlink="idp")
        assert (answer.status_code, [each["id"] for each in answer.json()["ui"]["messages"]]) == (400, [4000001])
        assert (await stage.read(ada)).credentials["oidc"].identifiers == ("idp:alice",)

    async def test_what_is_not_linked_is_not_unlinked(self, stage: SocialStage) -> None:
        await stage.customer(ADA, ("idp", "alice"))
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        answer = await stage.submit(browser, await browser.open_flow("settings"), unlink="other")
        assert (answer.status_code, [number for number, _ in messages(answer.json())]) == (400, [4000001])

    @pytest.mark.parametrize("field", ["link", "unlink"])
    async def test_takes_a_recent_sign_in(self, stage: SocialStage, field: str, clock: StoppedClock) -> None:
        await stage.customer(ADA, ("idp", "alice"), ("other", "alice"))
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        clock.advance(minutes=61)
        answer = await stage.submit(browser, await browser.open_flow("settings"), **{field: "idp"})
        assert answer.status_code == 403
        assert answer.json()["error"]["id"] == "session_refresh_required"

    async def _signed_in(self, stage: SocialStage) -> Browser:
        browser = await stage.scene.browser()
        assert (await browser.sign_in(ADA)).status_code == 200
        return browser


def both_find_it_free(stage: SocialStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each of two links wait for the other one, after it has found that nobody has the account."""
    accounts, both = stage.method._accounts, asyncio.Barrier(2)
    look_up = accounts.owner

    async def owner(unit: Unit, authenticated: Authenticated) -> Identity | None:
        found = await look_up(unit, authenticated)
        await both.wait()
        return found

    monkeypatch.setattr(accounts, "owner", owner)


class TestTwoProvidersOfOneIssuer:
    async def test_are_the_same_account(self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
        async with social_stage(sqlite_dsn, tmp_path, clock, also=["twin"]) as stage:
            ada = await stage.customer(ADA, ("idp", "alice"))
            browser = await stage.scene.browser()
            url = await stage.leave(browser, await browser.open_flow("login"), provider="twin")
            await browser.get(stage.back(url))
            assert await browser.whoami() == str(ada.id)

    async def test_register_it_once_when_it_comes_by_both_at_the_same_moment(
        self, dsn: str, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with social_stage(dsn, tmp_path, clock, also=["twin"]) as stage:
            both_find_it_free(stage, monkeypatch)
            browsers = [await stage.scene.browser() for _ in range(2)]
            told = {"email": "ada@example.org", "email_verified": True}, {"email": "bea@example.org"}
            backs = []
            for browser, provider, claims in zip(browsers, ("idp", "twin"), told, strict=True):
                url = await stage.leave(browser, await browser.open_flow("login"), provider=provider)
                backs.append(stage.back(url, **claims))
            await asyncio.gather(*(browser.get(back) for browser, back in zip(browsers, backs, strict=True)))
            assert [await browser.whoami() for browser in browsers].count(None) == 1
            assert len(await stage.scene.rows("identities")) == 1

    async def test_find_the_account_where_only_the_new_one_is_left(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
            entry = {"provider": "former", "subject": "alice", "issuer": stage.idp.issuer}
            new = NewIdentity(
                {"email": ADA}, credentials=[NewCredential("oidc", {"providers": [entry]}, ["former:alice"])]
            )
            async with stage.scene.application.infrastructure.database.unit() as unit:
                ada = await stage.identities.create(unit, new)
            browser = await stage.scene.browser()
            await stage.arrive(browser, email="bea@example.org", email_verified=True)
            assert await browser.whoami() == str(ada.id)

    async def test_an_imported_link_is_not_settled_where_another_account_has_it(self, stage: SocialStage) -> None:
        """Whose issuer is known comes first; the one that was imported without gets nothing of it."""
        ada = await stage.customer(ADA, ("idp", "alice"))
        with_issuer = {"provider": "former", "subject": "alice", "issuer": stage.idp.issuer}
        imported = await stage.scene.admin()
        body = {
            "schema_id": "default",
            "traits": {"email": "bea@example.org"},
            "credentials": {"oidc": {"config": {"providers": [with_issuer]}}},
        }
        assert (await imported.post("/admin/identities", json=body)).status_code == 409
        without = {"provider": "former", "subject": "alice"}
        body["credentials"] = {"oidc": {"config": {"providers": [without]}}}
        assert (await imported.post("/admin/identities", json=body)).status_code == 201
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        assert await browser.whoami() == str(ada.id)

    async def test_an_imported_link_signs_nobody_in_whose_account_was_linked_meanwhile(
        self, dsn: str, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with social_stage(dsn, tmp_path, clock, also=["twin"]) as stage:
            await stage.customer(ADA, ("idp", "alice"), issuer=False)
            accounts = stage.method._accounts
            look_up = accounts.owner

            async def owner(unit: Unit, authenticated: Authenticated) -> Identity | None:
                found = await look_up(unit, authenticated)
                await stage.customer("bea@example.org", ("twin", "alice"))
                return found

            monkeypatch.setattr(accounts, "owner", owner)
            browser = await stage.scene.browser()
            flow = await stage.flow_after(browser, await stage.arrive(browser))
            assert [number for number, _ in messages(flow)] == [4000001]
            assert await browser.whoami() is None

    async def test_an_account_that_is_unlinked_is_free(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"), password=PASSWORD)
        async with stage.scene.application.infrastructure.database.unit() as unit:
            await stage.identities.delete_credential(unit, ada.id, "oidc", identifier="idp:alice")
        bea = await stage.customer("bea@example.org", ("idp", "alice"))
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        assert await browser.whoami() == str(bea.id)


class TestImports:
    """Links that an operator imports, as Kratos exports them."""

    async def test_an_imported_account_signs_in(self, stage: SocialStage) -> None:
        made = await self._imported(stage, {"provider": "idp", "subject": "alice", "initial_id_token": "of-then"})
        assert made.status_code == 201, made.text
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        assert await browser.whoami() == made.json()["id"]
        shown = await (await stage.scene.admin()).get(f"/admin/identities/{made.json()['id']}?include_credential=oidc")
        credential = shown.json()["credentials"]["oidc"]
        assert credential["identifiers"] == ["idp:alice"]
        [entry] = credential["config"]["providers"]
        assert entry == {"provider": "idp", "subject": "alice", "issuer": stage.idp.issuer}

    async def test_a_credential_is_taken_as_it_is_exported(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"), password=PASSWORD)
        admin = await stage.scene.admin()
        where = f"/admin/identities/{ada.id}"
        read = (await admin.get(f"{where}?include_credential=oidc&include_credential=password")).json()
        assert (await admin.delete(where)).status_code == 204
        given = {name: read["credentials"][name] for name in ("oidc", "password")}
        assert {"type", "identifiers", "version", "created_at", "updated_at"} <= given["oidc"].keys()
        body = {"schema_id": "default", "traits": read["traits"], "credentials": given}
        made = await admin.post("/admin/identities", json=body)
        assert made.status_code == 201, made.text
        browser = await stage.scene.browser()
        await stage.arrive(browser)
        assert await browser.whoami() == made.json()["id"]
        assert (await sign_in(await stage.scene.native(), ADA)).status_code == 200

    async def test_identifiers_that_are_given_claim_nothing(self, stage: SocialStage) -> None:
        account = {"config": {"providers": [{"provider": "idp", "subject": "alice"}]}, "identifiers": ["idp:eve"]}
        body = {"schema_id": "default", "traits": {"email": ADA}, "credentials": {"oidc": account}}
        made = await (await stage.scene.admin()).post("/admin/identities", json=body)
        assert made.json()["credentials"]["oidc"]["identifiers"] == ["idp:alice"]

    async def test_an_account_has_one_identity(self, stage: SocialStage) -> None:
        account = {"provider": "idp", "subject": "alice"}
        assert (await self._imported(stage, account)).status_code == 201
        assert (await self._imported(stage, account, email="bea@example.org")).status_code == 409

    @pytest.mark.parametrize(
        "account",
        [
            {"provider": "idp"},
            {"provider": "idp", "subject": ""},
            {"provider": "idp", "subject": "a" * 256},
            {"provider": "idp", "subject": "alice", "use_auto_link": True},
            {"provider": "idp", "subject": "alice", "email": ADA},
        ],
    )
    async def test_refuses_what_it_cannot_link(self, stage: SocialStage, account: Mapping[str, Any]) -> None:
        assert (await self._imported(stage, account)).status_code == 400

    async def test_more_accounts_are_added_to_those_of_an_identity(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"), password=PASSWORD)
        browser = await stage.scene.browser()
        await browser.sign_in(ADA)
        for _ in range(2):  # the second time there is nothing to add
            put = await self._put(
                stage, ada, {"provider": "other", "subject": "a"}, {"provider": "idp", "subject": "alice"}
            )
            assert put.status_code == 200, put.text
        credential = (await stage.read(ada)).credentials["oidc"]
        assert set(credential.identifiers) == {"idp:alice", "other:a"}
        [known] = [each for each in credential.config["providers"] if each["provider"] == "idp"]
        assert known["issuer"] == stage.idp.issuer, "the account of before says more"
        assert await browser.whoami() == str(ada.id), "nothing was taken away that a session could rest on"

    async def test_an_account_of_another_identity_is_not_added(self, stage: SocialStage) -> None:
        await stage.customer("bea@example.org", ("idp", "bea"))
        ada = await stage.customer(ADA, ("idp", "alice"))
        assert (await self._put(stage, ada, {"provider": "idp", "subject": "bea"})).status_code == 409
        assert (await stage.read(ada)).credentials["oidc"].identifiers == ("idp:alice",)

    async def test_an_identity_gets_no_more_accounts_than_it_may_have(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, *(("idp", f"alice-{n}") for n in range(20)))
        assert (await self._put(stage, ada, {"provider": "other", "subject": "a"})).status_code == 400
        assert len((await stage.read(ada)).credentials["oidc"].identifiers) == 20

    async def test_is_found_by_its_identifier_as_it_is(self, stage: SocialStage) -> None:
        made = await self._imported(stage, {"provider": "idp", "subject": "Alice"})
        admin = await stage.scene.admin()
        found = [
            [each["id"] for each in (await admin.get(f"/admin/identities?credentials_identifier={spelt}")).json()]
            for spelt in ("idp:Alice", "idp:alice", "ADA@example.org")
        ]
        assert found == [[made.json()["id"]], [], [made.json()["id"]]]

    async def test_an_imported_link_is_removed_by_its_identifier(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"), ("other", "alice"))
        admin = await stage.scene.admin()
        gone = await admin.delete(f"/admin/identities/{ada.id}/credentials/oidc?identifier=idp:alice")
        assert gone.status_code == 204, gone.text
        assert (await stage.read(ada)).credentials["oidc"].identifiers == ("other:alice",)
        browser = await stage.scene.browser()
        await stage.arrive(browser, email="bea@example.org", email_verified=True)
        assert await browser.whoami() != str(ada.id)

    async def _put(self, stage: SocialStage, identity: Identity, *accounts: Mapping[str, Any]) -> Any:
        body = {
            "schema_id": "default",
            "state": "active",
            "traits": dict(identity.traits),
            "credentials": {"oidc": {"config": {"providers": list(accounts)}}},
        }
        return await (await stage.scene.admin()).put(f"/admin/identities/{identity.id}", json=body)

    async def _imported(self, stage: SocialStage, account: Mapping[str, Any], *, email: str = ADA) -> Any:
        body = {
            "schema_id": "default",
            "traits": {"email": email},
            "credentials": {"oidc": {"config": {"providers": [account]}}},
        }
        return await (await stage.scene.admin()).post("/admin/identities", json=body)


class TestNativeApps:
    async def test_an_id_token_signs_in(self, stage: SocialStage) -> None:
        ada = await stage.customer(ADA, ("idp", "alice"))
        answer = await self._sent(stage, nonce="of-the-app", id_token_nonce="of-the-app")
        assert answer.status_code == 200, answer.text
        assert answer.json()["session"]["identity"]["id"] == str(ada.id)
        assert answer.json()["session_token"]

    async def test_an_unknown_account_registers_with_what_was_typed(self, stage: SocialStage) -> None:
        answer = await self._sent(
            stage, "registration", nonce="n", id_token_nonce="n", claims={"email": ADA, "email_verified": True}
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["identity"]["traits"]["email"] == ADA
        assert answer.json()["session_token"]

    @pytest.mark.parametrize("given", ["of-another", "", None])
    async def test_row_080_the_nonce_must_be_the_tokens(self, stage: SocialStage, given: str | None) -> None:
        await stage.customer(ADA, ("idp", "alice"))
        answer = await self._sent(stage, nonce="of-the-app", id_token_nonce=given)
        assert answer.status_code == 400, answer.text
        assert "session_token" not in answer.json()

    async def test_text_that_is_no_token_is_refused(self, stage: SocialStage) -> None:
        app = await stage.scene.native()
        flow = (await app.get("/self-service/login/api")).json()
        answer = await app.post(
            flow["ui"]["action"], json={"method": "oidc", "provider": "idp", "id_token": "x.y.z"}, headers=JSON
        )
        assert answer.status_code == 400, answer.text

    async def test_a_provider_without_id_tokens_says_so(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        hub = {"id": "hub", "provider": "github", "client_id": "shop", "client_secret": "secret"}
        async with social_stage(sqlite_dsn, tmp_path, clock, more=[hub]) as stage:
            answer = await self._sent(stage, provider="hub", nonce="n", id_token_nonce="n")
        assert answer.status_code == 400
        [(number, text)] = messages(answer.json())
        assert (number, "browser" in text) == (4000001, True)

    async def _sent(
        self,
        stage: SocialStage,
        kind: str = "login",
        *,
        provider: str = "idp",
        nonce: str,
        claims: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Any:
        scripted, app = stage.provider(provider), await stage.scene.native()
        flow = (await app.get(f"/self-service/{kind}/api")).json()
        token = signed(scripted.claims(nonce=nonce, **(claims or {})))
        whole = {"method": "oidc", "provider": provider, "id_token": token, **fields}
        return await app.post(flow["ui"]["action"], json=whole, headers=JSON)


class TestAnAppThatWaits:
    """The method seals what it keeps to the flow's id, which changes when the browser comes back."""

    QUERY = "return_session_token_exchange_code=true&return_to=https://app.test/"

    async def _come_back(self, stage: SocialStage, app: httpx2.AsyncClient, **claims: Any) -> httpx2.Response:
        flow = (await app.get(f"/self-service/registration/api?{self.QUERY}")).json()
        url = await stage.leave(app, flow, provider="idp", traits={})
        answer = await (await stage.scene.browser()).get(stage.back(url, **claims))
        [code] = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
        codes = {"init_code": flow["session_token_exchange_code"], "return_to_code": code}
        return await app.get("/sessions/token-exchange", params=codes)

    async def test_completes_the_traits_without_leaving_again(self, stage: SocialStage) -> None:
        app = await stage.scene.native()
        asked = await self._come_back(stage, app)
        assert asked.status_code == 422
        action = asked.json()["ui"]["action"]
        email = new_address()
        done = await app.post(action, json={"method": "oidc", "provider": "idp", "traits": {"email": email}})
        assert done.status_code == 200, done.text
        assert done.json()["session"]["authentication_methods"][0]["provider"] == "idp"
        again = await self._come_back(stage, app)
        assert again.json()["session"]["identity"]["traits"]["email"] == email
