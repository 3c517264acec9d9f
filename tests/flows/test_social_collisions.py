"""An enrolment with the address of an account: its owner is asked for a proof, which links; nothing else does."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from shopkeeper.credentials.steps import Proof
from shopkeeper.flows.handler import Turn
from shopkeeper.flows.outcomes import Completed
from shopkeeper.flows.proofs import Proofs
from shopkeeper.identity.store import verifiable_addresses
from tests.attacks.scene import PASSWORD, Browser, csrf_of, fill_cart, new_address, visit, written_schema
from tests.flows.conftest import REGISTERING_SIGNS_IN, Stage, Staging
from tests.flows.test_callbacks import flow_of, messages, methods_of
from tests.flows.travelling_method import LABEL, PROVIDER, TRAVEL

LINK, TAKEN, OF_ANOTHER, WRONG = 1010016, 4000007, 4000027, 4000006
SENT = 1010014


async def arrive(
    stage: Stage, browser: Browser, email: str, *, kind: str = "login", query: str = "", **told: Any
) -> Any:
    """Come back from the provider with the address of an account; return the flow that the browser is sent to."""
    stage.provider.says("enrolment", subject="social", email=email, **told)
    answer = await browser.get(await stage.leave(browser, kind, query=query))
    return await stage.flow(browser, "login", flow_of(answer))


def named(flow: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    return [node for node in flow["ui"]["nodes"] if node["attributes"]["name"] == name]


async def owner_of(stage: Stage, email: str) -> str:
    browser = await stage.scene.browser()
    return str((await browser.sign_up(email)).json()["identity"]["id"])


async def has_verified(stage: Stage, identity: str) -> None:
    """Have an account's addresses verified."""
    application = stage.scene.application
    async with application.infrastructure.database.unit() as unit:
        known = await application.accounts.identities.lock(unit, UUID(identity))
        addresses = [(each.via, each.value) for each in known.verifiable_addresses]
        await application.accounts.identities.apply_proof(unit, known, verified=addresses)


async def is_linked(stage: Stage, identity: str) -> bool:
    """Return whether the provider's account signs in to an account."""
    browser = await stage.scene.browser()
    stage.provider.says("proof", subject="social")
    await browser.get(await stage.leave(browser, "login"))
    return await browser.whoami() == identity


async def with_password(browser: Browser, flow: Mapping[str, Any], email: str, password: str = PASSWORD) -> Any:
    return await browser.send_flow(flow, {"method": "password", "identifier": email, "password": password})


class TestAskingTheOwner:
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_shows_what_the_owner_can_use(self, either_stage: Stage, kind: str) -> None:
        """As in the golden answer `login/1fa/account_linking`."""
        stage, browser, email = either_stage, await either_stage.scene.browser(), new_address()
        await owner_of(stage, email)
        flow = await arrive(stage, browser, email, kind=kind)
        [told] = flow["ui"]["messages"]
        assert told["id"] == LINK
        url = "https://shop.test/login"
        assert told["context"] == {
            "available_credential_types": ["password"],
            "available_providers": [],
            "duplicateIdentifier": email,
            "duplicate_identifier": email,
            "newLoginUrl": url,
            "new_login_url": url,
            "provider": LABEL,
        }
        [identifier] = named(flow, "identifier")
        assert (identifier["attributes"]["type"], identifier["attributes"]["value"]) == ("hidden", email)
        assert (flow["active"], flow["state"], flow["requested_aal"]) == (TRAVEL, "choose_method", "aal1")
        assert {node["group"] for node in flow["ui"]["nodes"]} == {"default", "password"}
        assert await browser.whoami() is None

    async def test_offers_the_providers_that_are_linked(self, stage: Stage) -> None:
        await stage.customer("ada", email="ada@example.org")
        flow = await arrive(stage, await stage.scene.browser(), "ada@example.org")
        [button] = named(flow, "provider")
        assert (button["attributes"]["value"], button["meta"]["label"]["id"]) == (PROVIDER, 1010018)
        assert flow["ui"]["messages"][0]["context"]["available_providers"] == [PROVIDER]
        assert flow["ui"]["nodes"][0] == button

    async def test_keeps_where_the_browser_goes_in_the_end(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        await owner_of(stage, email)
        flow = await arrive(stage, browser, email, query="?return_to=https://app.test/basket")
        answer = await with_password(browser, flow, email)
        assert answer.json()["continue_with"][-1]["redirect_browser_to"] == "https://app.test/basket"

    async def test_shows_nothing_of_the_credential(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        await owner_of(stage, email)
        await arrive(stage, browser, email)
        [row] = [row for row in await stage.scene.rows("flows") if "_link" in str(row["context"])]
        assert '"social"' not in str(row["context"]), "it is sealed"


NEEDS_A_NAME: Mapping[str, Any] = {
    "email": {
        "type": "string",
        "format": "email",
        "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}, "verification": {"via": "email"}},
    },
    "name": {"type": "object", "properties": {"first": {"type": "string"}}, "required": ["first"]},
}


class TestTraitsThatTheProviderDoesNotTell:
    """Regression: they were asked for before the account was looked for, and thrown away then."""

    @pytest.fixture
    async def shop(self, staging: Staging, dsn: str, tmp_path: Path) -> AsyncIterator[Stage]:
        schema = {"id": "named", "url": written_schema(tmp_path, NEEDS_A_NAME)}
        identity = {"schemas": [schema], "default_schema_id": "named"}
        async with staging(dsn, identity=identity, selfservice={"flows": REGISTERING_SIGNS_IN}) as stage:
            yield stage

    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_are_not_asked_of_the_owner_of_a_verified_address(self, shop: Stage, kind: str) -> None:
        browser, email = await shop.scene.browser(), new_address()
        owner = await owner_of(shop, email)
        flow = await arrive(shop, browser, email, kind=kind, traits={"email": email, "name": {}})
        assert messages(flow) == [LINK]
        assert (await with_password(browser, flow, email)).status_code == 200
        assert await is_linked(shop, owner)

    async def test_are_not_asked_of_who_is_linked_without_another_proof(self, shop: Stage) -> None:
        browser, email = await shop.scene.browser(), new_address()
        owner = await owner_of(shop, email)
        await has_verified(shop, owner)
        told = {"email": email, "name": {}}
        shop.provider.says("enrolment", subject="social", traits=told, automatic=True)
        await browser.get(await shop.leave(browser, "login"))
        assert await browser.whoami() == owner

    async def test_are_asked_where_the_address_is_not_verified(self, shop: Stage) -> None:
        browser, email = await shop.scene.browser(), new_address()
        await owner_of(shop, email)
        told = {"email": email, "name": {}}
        shop.provider.says("enrolment", subject="social", traits=told, verified=False)
        answer = await browser.get(await shop.leave(browser, "login"))
        assert flow_of(answer, "registration")

    async def test_are_asked_where_nobody_has_the_address(self, shop: Stage) -> None:
        browser = await shop.scene.browser()
        shop.provider.says("enrolment", subject="social", traits={"email": new_address(), "name": {}})
        answer = await browser.get(await shop.leave(browser, "login"))
        assert flow_of(answer, "registration")


class TestTheOwnersProof:
    async def test_links_and_signs_in(self, either_stage: Stage) -> None:
        stage, browser, email = either_stage, await either_stage.scene.browser(), new_address()
        owner = await owner_of(stage, email)
        flow = await arrive(stage, browser, email)
        assert not await is_linked(stage, owner)
        answer = await with_password(browser, flow, email)
        assert answer.status_code == 200
        assert await browser.whoami() == owner
        assert [each[:2] for each in await methods_of(browser)] == [("password", "aal1")]
        assert await is_linked(stage, owner)
        assert len(await stage.events("identity.credentials_changed")) == 1

    async def test_after_a_mistake_links_all_the_same(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        owner = await owner_of(stage, email)
        flow = await arrive(stage, browser, email)
        wrong = await with_password(browser, flow, email, "wrong-Password-91")
        assert messages(wrong.json()) == [LINK, WRONG], "the form is still for the link"
        assert wrong.json()["ui"]["messages"][0] == flow["ui"]["messages"][0]
        again = await with_password(browser, wrong.json(), email, "wrong-Password-92")
        assert messages(again.json()) == [LINK, WRONG]
        await with_password(browser, again.json(), email)
        assert await is_linked(stage, owner)

    async def test_by_a_mailed_code_links(self, staging: Staging, sqlite_dsn: str) -> None:
        async with staging(sqlite_dsn, selfservice={"methods": {"code": {"passwordless_enabled": True}}}) as stage:
            browser, email = await stage.scene.browser(), new_address()
            owner = await owner_of(stage, email)
            flow = await arrive(stage, browser, email)
            assert flow["ui"]["messages"][0]["context"]["available_credential_types"] == ["code", "password"]
            sent = await browser.send_flow(flow, {"method": "code", "identifier": email})
            assert messages(sent.json()) == [LINK, SENT]
            wrong = await browser.send_flow(sent.json(), {"method": "code", "identifier": email, "code": "000000"})
            assert messages(wrong.json())[0] == LINK
            [mail] = [mail for mail in await stage.scene.mails() if mail.template_type == "login_code_valid"]
            [code] = set(re.findall(r"\b\d{6}\b", mail.body))
            answer = await browser.send_flow(sent.json(), {"method": "code", "identifier": email, "code": code})
            assert answer.status_code == 200, answer.text
            assert await is_linked(stage, owner)

    async def test_tells_the_owner_by_mail(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        await owner_of(stage, email)
        await with_password(browser, await arrive(stage, browser, email), email)
        [mail] = [mail for mail in await stage.scene.mails() if mail.template_type == "sign_in_linked"]
        assert (mail.recipient, LABEL in mail.body) == (email, True)

    async def test_brings_the_cart_along_once(self, stage: Stage) -> None:
        browser, app, email = await stage.scene.browser(), await stage.scene.native(), new_address()
        owner = await owner_of(stage, email)
        token = (await visit(app))["authorization"].removeprefix("Bearer ")
        cart = await fill_cart(app, token, quantity=3)
        browser.cookies.set("shopkeeper_visit", token, domain="shop.test")
        flow = await arrive(stage, browser, email)
        answer = await with_password(browser, flow, email)
        assert answer.json()["cart"]["outcome"] == "adopted"
        owners = {str(UUID(str(row["id"]))): row["owner_id"] for row in await stage.scene.rows("carts")}
        assert owners[cart] == owner

    async def test_keeps_the_choice_to_be_kept_signed_in(self, staging: Staging, sqlite_dsn: str) -> None:
        async with staging(sqlite_dsn, session={"keep_signed_in": {"enabled": True}}) as stage:
            browser, email = await stage.scene.browser(), new_address()
            await owner_of(stage, email)
            stage.provider.says("enrolment", subject="social", email=email)
            back = await stage.leave(browser, "login", keep_signed_in=True)
            flow = await stage.flow(browser, "login", flow_of(await browser.get(back)))
            assert [node["attributes"]["value"] for node in named(flow, "keep_signed_in")] == [True]

    async def test_of_a_credential_that_another_account_has_got_meanwhile_links_nothing(
        self, either_stage: Stage
    ) -> None:
        stage, browser, email = either_stage, await either_stage.scene.browser(), new_address()
        owner = await owner_of(stage, email)
        flow = await arrive(stage, browser, email)
        other = await stage.customer("social")
        answer = await with_password(browser, flow, email)
        assert (answer.status_code, messages(answer.json())) == (400, [OF_ANOTHER])
        assert await browser.whoami() is None
        again = await with_password(browser, answer.json(), email)
        assert (again.status_code, await browser.whoami()) == (200, owner)
        assert await is_linked(stage, str(other.id))

    async def test_of_another_account_signs_in_and_links_nothing(self, either_stage: Stage) -> None:
        stage, browser, email = either_stage, await either_stage.scene.browser(), new_address()
        owner = await owner_of(stage, email)
        other = new_address("bea")
        bea = await owner_of(stage, other)
        answer = await with_password(browser, await arrive(stage, browser, email), other)
        assert (answer.status_code, await browser.whoami()) == (200, bea)
        assert not await is_linked(stage, bea)
        assert not await is_linked(stage, owner)

    async def test_by_another_account_at_the_provider_links_nothing(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        await owner_of(stage, email)
        await stage.customer("cleo")
        flow = await arrive(stage, browser, email)
        stage.provider.says("proof", subject="cleo")
        await browser.get(await stage.provider.send_back(await stage.depart(browser, flow)))
        assert await browser.whoami() is not None
        assert [row["type"] for row in await stage.scene.rows("credentials")].count(TRAVEL) == 1


class TestWithoutAnotherProof:
    async def test_links_where_provider_and_account_have_verified_the_address(self, either_stage: Stage) -> None:
        stage, browser, email = either_stage, await either_stage.scene.browser(), new_address()
        owner = await owner_of(stage, email)
        await has_verified(stage, owner)
        stage.provider.says("enrolment", subject="social", email=email, automatic=True)
        await browser.get(await stage.leave(browser, "login"))
        assert await browser.whoami() == owner
        assert await methods_of(browser) == [(TRAVEL, "aal1", PROVIDER)]
        assert await is_linked(stage, owner)
        assert "sign_in_linked" in [mail.template_type for mail in await stage.scene.mails()]

    async def test_does_not_where_the_account_has_lost_the_address_meanwhile(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        browser, email = await stage.scene.browser(), new_address()
        owner = await owner_of(stage, email)
        await has_verified(stage, owner)
        stage.provider.says("enrolment", subject="social", email=email, automatic=True)
        prove, proofs = Proofs.prove, list[Proof]()

        async def too_late(self: Proofs, turn: Turn, proof: Proof, **more: Any) -> Completed:
            proofs.append(proof)
            async with stage.scene.application.infrastructure.database.unit() as unit:
                await unit.write(update(verifiable_addresses).values(verified=False, verified_at=None))
            return await prove(self, turn, proof, **more)

        with monkeypatch.context() as patch:
            patch.setattr(Proofs, "prove", too_late)
            await browser.get(await stage.leave(browser, "login"))
        assert [str(each.identity_id) for each in proofs] == [owner]
        assert await browser.whoami() is None
        assert not await is_linked(stage, owner)

    @pytest.mark.parametrize("verified", ["account", "provider"])
    async def test_asks_where_only_one_of_them_has(self, stage: Stage, verified: str) -> None:
        browser, email = await stage.scene.browser(), new_address()
        owner = await owner_of(stage, email)
        if verified == "account":
            await has_verified(stage, owner)
        stage.provider.says("enrolment", subject="social", email=email, automatic=True, verified=verified == "provider")
        await browser.get(await stage.leave(browser, "login"))
        assert await browser.whoami() is None
        assert not await is_linked(stage, owner)

    async def test_row_095_nor_by_an_address_that_only_looks_like_it(self, stage: Stage) -> None:
        browser, email = await stage.scene.browser(), new_address()
        owner = await owner_of(stage, email)
        await has_verified(stage, owner)
        look_alike = chr(ord(email[0]) + 0xFEE0) + email[1:]
        stage.provider.says("enrolment", subject="social", email=look_alike, automatic=True)
        await browser.get(await stage.leave(browser, "login"))
        assert await browser.whoami() is None
        assert not await is_linked(stage, owner)


class TestAnAddressThatTheProviderHasNotVerified:
    async def test_reveals_nothing_where_a_registration_would_not(self, either_stage: Stage) -> None:
        stage, email = either_stage, new_address()
        await owner_of(stage, email)
        answers = []
        for address in (email, new_address("free")):
            browser = await stage.scene.browser()
            flow = await arrive(stage, browser, address, verified=False)
            answers.append((messages(flow), [node["group"] for node in flow["ui"]["nodes"]]))
        assert answers[0] == answers[1] == ([1040090], answers[0][1])

    async def test_is_told_as_taken_so_often_and_no_more(self, staging: Staging, sqlite_dsn: str) -> None:
        throttle = {"registration": {"per_ip": "3/minute"}}
        flows = {"flows": REGISTERING_SIGNS_IN}
        async with staging(sqlite_dsn, selfservice=flows, throttle=throttle) as stage:
            told = []
            for number in range(4):
                await stage.customer(f"ada{number}")
                flow = await arrive(stage, await stage.scene.browser(), f"ada{number}@example.org", verified=False)
                told.append(messages(flow)[0])
            assert told == [LINK, LINK, LINK, 4000001]

    async def test_does_not_show_how_the_owner_signs_in(self, staging: Staging, sqlite_dsn: str) -> None:
        """Where registering signs in, the missing session reveals the account, and nothing more is revealed."""
        async with staging(sqlite_dsn, selfservice={"flows": REGISTERING_SIGNS_IN}) as stage:
            browser = await stage.scene.browser()
            await stage.customer("ada", email="ada@example.org")
            flow = await arrive(stage, browser, "ada@example.org", verified=False)
            assert messages(flow) == [LINK]
            assert flow["ui"]["messages"][0]["context"]["available_credential_types"] == ["password"]
            assert named(flow, "provider") == [], "the provider would lead to the same question again"
            assert csrf_of(flow)
