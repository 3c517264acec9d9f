"""Changing an address, and what the former one may still do: undo the change, and recover the account."""

import asyncio
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.identity.values import AddressStatus, Identity, Via
from tests.attacks.scene import PASSWORD, Browser, Scene, csrf_of, new_address, sign_in, submit, written_schema
from tests.flows.conftest import JSON, Stage, Staging
from tests.flows.test_callbacks import messages
from tests.flows.test_settings import NEW, Account
from tests.flows.test_settings import account as unverified_account

WITH_MAILS = {"recovery": {"enabled": True}, "verification": {"enabled": True}}
LINK = re.compile(r"https://shop\.test(/account/undo-address\?token=\S+)")


@pytest.fixture
def scene(stage: Stage) -> Scene:
    return stage.scene


@pytest.fixture
def either_scene(either_stage: Stage) -> Scene:
    return either_stage.scene


async def account(scene: Scene, *, email: str | None = None, **traits: Any) -> Account:
    """Register an account and verify its first address."""
    created = await unverified_account(scene, email=email, **traits)
    await verify(scene, created.email)
    return created


async def verify(scene: Scene, address: str) -> None:
    application = scene.application
    [row] = [row for row in await scene.rows("verifiable_addresses") if row["value"] == address]
    async with application.infrastructure.database.unit() as unit:
        await application.accounts.identities.mark_address(unit, UUID(str(row["id"])), AddressStatus.COMPLETED)


async def links(scene: Scene) -> dict[str, str]:
    """Return the path of the newest undo link that each address got."""
    mails = [mail for mail in await scene.mails() if mail.template_type == "address_changed"]
    found = {mail.recipient: LINK.findall(mail.body) for mail in reversed(mails)}
    return {recipient: known[0] for recipient, known in found.items() if known}


async def told(scene: Scene) -> set[str]:
    """Return the addresses that got a mail about a change, with or without a link."""
    return {mail.recipient for mail in await scene.mails() if mail.template_type == "address_changed"}


async def press(browser: Browser, link: str) -> httpx2.Response:
    """Open the page of a link and press its button."""
    page = await browser.get(link)
    assert page.status_code == 200, page.text
    return await browser.post("/account/undo-address", data=await browser.form_of(link), headers=SAME)


SAME = {"origin": "https://shop.test", "sec-fetch-site": "same-origin"}


async def traits(scene: Scene, account: Account) -> dict[str, Any]:
    shown = await (await scene.admin()).get(f"/admin/identities/{account.id}")
    return dict(shown.json()["traits"])


async def recovered_by(scene: Scene, address: str) -> str | None:
    """Return the id of the account that an address can recover."""
    application = scene.application
    async with application.infrastructure.database.reading() as unit:
        found: Identity | None = await application.accounts.address_changes.recoverable_by(
            unit, via=Via.EMAIL, value=address
        )
    return str(found.id) if found else None


async def confirm(scene: Scene, account: Account) -> None:
    """Confirm every address of an account."""
    application = scene.application
    for row in await scene.rows("verifiable_addresses"):
        if str(row["identity_id"]).replace("-", "") == account.id.replace("-", ""):
            async with application.infrastructure.database.unit() as unit:
                identity = await application.accounts.identities.require(unit, account_id(account))
                [address] = identity.verifiable_addresses
                await application.accounts.identities.mark_address(unit, address.id, AddressStatus.COMPLETED)


def account_id(account: Account) -> Any:
    return UUID(account.id)


class TestChanging:
    async def test_row_068_tells_the_former_address_and_signs_in_by_the_new_one(self, either_scene: Scene) -> None:
        ada, new = await account(either_scene), new_address("new")
        answer = (await ada.change(email=new)).json()
        [address] = answer["identity"]["verifiable_addresses"]
        assert (answer["state"], address["value"], address["verified"]) == ("success", new, False)
        assert set(await links(either_scene)) == {ada.email}
        assert (await sign_in(ada.app, new)).status_code == 200
        assert (await sign_in(ada.app, ada.email)).status_code == 400

    async def test_of_a_name_tells_nobody(self, scene: Scene) -> None:
        ada = await account(scene)
        await ada.change(name={"first": "Ada"})
        assert await links(scene) == {}
        assert await scene.rows("address_changes") == []

    async def test_is_limited(self, scene: Scene, clock: StoppedClock) -> None:
        ada, answers = await account(scene), []
        for n in range(6):
            answers.append(await ada.change(email=new_address(f"n{n}")))
            clock.advance(seconds=1)
        assert [answer.status_code for answer in answers] == [200] * 5 + [400]
        assert messages(answers[-1].json()) == [4050002]

    async def test_stores_no_token_that_could_be_used(self, scene: Scene) -> None:
        ada = await account(scene)
        await ada.change(email=new_address("new"))
        stored = str(await scene.rows("address_changes")) + str(await scene.rows("courier_messages"))
        [link] = (await links(scene)).values()
        assert link.partition("token=")[2] not in stored


class TestVerifying:
    async def test_a_new_address_gets_its_mail_and_is_marked(self, staging: Staging, sqlite_dsn: str) -> None:
        async with staging(sqlite_dsn, selfservice={"flows": WITH_MAILS}) as stage:
            ada, new = await account(stage.scene), new_address("new")
            answer = (await ada.change(email=new)).json()
            [address] = answer["identity"]["verifiable_addresses"]
            assert (address["value"], address["status"]) == (new, "sent")
            assert "continue_with" not in answer
            mails = [mail for mail in await stage.scene.mails() if mail.template_type == "verification_code_valid"]
            assert new in [mail.recipient for mail in mails]

    @pytest.mark.parametrize("hook", ["show_verification_ui", "verify_new_address"])
    async def test_is_shown_where_the_hook_says_so(self, staging: Staging, sqlite_dsn: str, hook: str) -> None:
        shown = {"settings": {"after": {"profile": {"hooks": [{"hook": hook}]}}}}
        async with staging(sqlite_dsn, selfservice={"flows": {**WITH_MAILS, **shown}}) as stage:
            ada, new = await account(stage.scene), new_address("new")
            [action] = (await ada.change(email=new)).json()["continue_with"]
            assert (action["action"], action["flow"]["verifiable_address"]) == ("show_verification_ui", new)


ADDRESS = {"type": "string", "format": "email", "ory.sh/kratos": {"verification": {"via": "email"}}}
THREE = {
    "email": {
        **ADDRESS,
        "ory.sh/kratos": {**ADDRESS["ory.sh/kratos"], "credentials": {"password": {"identifier": True}}},
    },
    "billing": ADDRESS,
    "orders": ADDRESS,
}


@pytest.mark.parametrize(
    ("recipients", "expected"),
    [(None, {"orders"}), ("removed", {"orders"}), ("all_verified", {"orders", "email"}), ("all", set(THREE))],
)
async def test_the_hook_says_which_addresses_from_before_are_told(
    staging: Staging, sqlite_dsn: str, tmp_path: Path, recipients: str | None, expected: set[str]
) -> None:
    """`notify_previous_addresses`. The first address of the account is verified, and the last one is changed."""
    hook = {"hook": "notify_previous_addresses", "config": {"recipients": recipients}}
    hooks = [hook] if recipients else []
    schemas = {"default_schema_id": "three", "schemas": [{"id": "three", "url": written_schema(tmp_path, THREE)}]}
    flows = {**WITH_MAILS, "settings": {"after": {"profile": {"hooks": hooks}}}}
    async with staging(sqlite_dsn, selfservice={"flows": flows}, identity=schemas) as stage:
        further = {"billing": new_address("billing"), "orders": new_address("orders")}
        ada = await account(stage.scene, **further)
        changed = await ada.change(billing=further["billing"], orders=new_address("new"))
        assert changed.status_code == 200, changed.text
        assert await told(stage.scene) == {{"email": ada.email, **further}[name] for name in expected}
        assert set(await links(stage.scene)) == {ada.email for name in expected if name == "email"}


class TestUndoing:
    async def test_puts_the_former_address_back_and_ends_every_session(self, either_scene: Scene) -> None:
        scene, browser = either_scene, await either_scene.browser()
        ada, new = await account(scene), new_address("new")
        await ada.change(email=new, name={"first": "Eve"})
        done = await press(browser, (await links(scene))[ada.email])
        assert done.status_code == 200
        assert await traits(scene, ada) == {"email": ada.email, "name": {"first": "Eve"}}
        assert (await ada.whoami()).status_code == 401
        assert await recovered_by(scene, new) is None
        assert await recovered_by(scene, ada.email) == ada.id

    @pytest.mark.parametrize("way", ["get", "head", "prefetch"])
    async def test_needs_the_click(self, scene: Scene, way: str) -> None:
        ada, new, browser = await account(scene), new_address("new"), await scene.browser()
        await ada.change(email=new)
        link = (await links(scene))[ada.email]
        await (browser.head(link) if way == "head" else browser.get(link, headers={"purpose": way}))
        assert (await traits(scene, ada))["email"] == new
        assert (await ada.whoami()).status_code == 200

    async def test_works_once(self, scene: Scene) -> None:
        ada, browser = await account(scene), await scene.browser()
        await ada.change(email=new_address("new"))
        link = (await links(scene))[ada.email]
        form = await browser.form_of(link)
        assert (await browser.post("/account/undo-address", data=form, headers=SAME)).status_code == 200
        assert (await browser.post("/account/undo-address", data=form, headers=SAME)).status_code == 404
        assert (await browser.get(link)).status_code == 404

    async def test_ends_after_72_hours(self, scene: Scene, clock: StoppedClock) -> None:
        ada, browser = await account(scene), await scene.browser()
        await ada.change(email=new_address("new"))
        link = (await links(scene))[ada.email]
        clock.advance(hours=72)
        assert (await browser.get(link)).status_code == 404

    @pytest.mark.parametrize("token", ["", "x", "shk_au_unknown", "shk_au_" + "a" * 500])
    async def test_by_an_unknown_link_is_refused(self, scene: Scene, token: str) -> None:
        answer = await (await scene.browser()).get(f"/account/undo-address?token={token}")
        assert answer.status_code == 404

    async def test_from_a_page_of_another_site_is_refused(self, scene: Scene) -> None:
        ada, browser, new = await account(scene), await scene.browser(), new_address("new")
        await ada.change(email=new)
        form = await browser.form_of((await links(scene))[ada.email])
        headers = {"origin": "https://evil.test", "sec-fetch-site": "cross-site"}
        assert (await browser.post("/account/undo-address", data=form, headers=headers)).status_code == 403
        assert (await traits(scene, ada))["email"] == new

    async def test_by_two_at_once_happens_once(self, either_scene: Scene) -> None:
        scene, browser = either_scene, await either_scene.browser()
        ada = await account(scene)
        await ada.change(email=new_address("new"))
        form = await browser.form_of((await links(scene))[ada.email])
        answers = await asyncio.gather(
            *(browser.post("/account/undo-address", data=form, headers=SAME) for _ in range(3))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 404, 404]


class TestAnIntruder:
    """Somebody who has taken over a session, and changes what would bring the owner back."""

    async def test_who_changes_the_address_twice_is_undone_whole(self, either_scene: Scene) -> None:
        scene, browser = either_scene, await either_scene.browser()
        ada, first, second = await account(scene), new_address("first"), new_address("second")
        await ada.change(email=first)
        await confirm(scene, ada)
        await ada.change(email=second)
        sent = await links(scene)
        await press(browser, sent[ada.email])
        assert (await traits(scene, ada))["email"] == ada.email
        assert (await browser.get(sent[first])).status_code == 404, "the link of the intruder's address has ended"

    async def test_whose_own_undo_leaves_the_owner_theirs(self, scene: Scene, clock: StoppedClock) -> None:
        browser, ada = await scene.browser(), await account(scene)
        first = new_address("first")
        await ada.change(email=first)
        await confirm(scene, ada)
        clock.advance(seconds=1)
        await ada.change(email=new_address("second"))
        sent = await links(scene)
        await press(browser, sent[first])
        assert (await traits(scene, ada))["email"] == first
        await press(browser, sent[ada.email])
        assert (await traits(scene, ada))["email"] == ada.email

    async def test_who_confirms_the_new_address_is_undone(self, scene: Scene) -> None:
        browser, ada, new = await scene.browser(), await account(scene), new_address("new")
        await ada.change(email=new)
        await confirm(scene, ada)
        await press(browser, (await links(scene))[ada.email])
        assert (await traits(scene, ada))["email"] == ada.email
        assert await recovered_by(scene, new) is None

    async def test_who_changes_the_password_is_signed_in_no_more(self, scene: Scene) -> None:
        browser, ada, new = await scene.browser(), await account(scene), new_address("new")
        await ada.change(email=new)
        await ada.set_password(NEW)
        await press(browser, (await links(scene))[ada.email])
        for address in (ada.email, new):
            assert (await sign_in(ada.app, address, NEW)).status_code == 400

    async def test_who_registers_the_former_address_does_not_stop_the_owner(self, either_scene: Scene) -> None:
        scene, browser = either_scene, await either_scene.browser()
        ada = await account(scene)
        await ada.change(email=new_address("new"))
        taken = {"method": "password", "password": PASSWORD, "traits": {"email": ada.email}}
        assert (await submit(await scene.native(), "registration", taken)).status_code == 400
        eve = await account(scene, email=new_address("eve"))
        assert messages((await eve.change(email=ada.email)).json()) == [4000007]
        await press(browser, (await links(scene))[ada.email])
        assert (await traits(scene, ada))["email"] == ada.email

    async def test_cannot_undo_the_undoing(self, scene: Scene) -> None:
        browser, ada, new = await scene.browser(), await account(scene), new_address("new")
        await ada.change(email=new)
        await press(browser, (await links(scene))[ada.email])
        assert set(await links(scene)) == {ada.email}


class TestRecovery:
    async def test_goes_to_the_former_address_until_one_is_confirmed(self, either_scene: Scene) -> None:
        scene = either_scene
        ada, new = await account(scene), new_address("new")
        await ada.change(email=new)
        assert [await recovered_by(scene, each) for each in (ada.email, new)] == [ada.id, ada.id]
        await confirm(scene, ada)
        assert [await recovered_by(scene, each) for each in (ada.email, new)] == [None, ada.id]

    async def test_by_code_signs_the_owner_in_at_the_former_address(self, staging: Staging, sqlite_dsn: str) -> None:
        async with staging(sqlite_dsn, selfservice={"flows": WITH_MAILS}) as stage:
            ada = await account(stage.scene)
            await ada.change(email=new_address("new"))
            app = await stage.scene.native()
            flow = (await app.get("/self-service/recovery/api")).json()
            await app.post(flow["ui"]["action"], json={"method": "code", "email": ada.email})
            [mail] = [mail for mail in await stage.scene.mails() if mail.template_type == "recovery_code_valid"]
            assert mail.recipient == ada.email
            [code] = re.findall(r"\b\d{6}\b", mail.subject + mail.body)[:1]
            answer = await app.post(flow["ui"]["action"], json={"method": "code", "code": code})
            assert answer.status_code < 500, answer.text
            sessions = [row for row in await stage.scene.rows("sessions") if "code_recovery" in str(row)]
            assert len(sessions) == 1

    async def test_by_link_from_the_former_address_leads_to_a_new_password(
        self, staging: Staging, sqlite_dsn: str
    ) -> None:
        """The new address is not confirmed; afterwards the customer signs in with it, and with the new password."""
        by_link = {"methods": {"link": {"enabled": True}}, "flows": {"recovery": {"enabled": True, "use": "link"}}}
        async with staging(sqlite_dsn, selfservice=by_link) as stage:
            scene, new = stage.scene, new_address("new")
            ada = await account(scene)
            await ada.change(email=new)
            asked = await submit(await scene.native(), "recovery", {"method": "link", "email": ada.email})
            assert (asked.status_code, asked.json()["state"]) == (200, "sent_email")
            [mail] = [mail for mail in await scene.mails() if mail.template_type == "recovery_valid"]
            assert mail.recipient == ada.email
            browser = await scene.browser()
            opened = await browser.get(re.findall(r"/self-service/recovery\?\S+", mail.body)[0])
            flow = opened.headers["location"].partition("flow=")[2]
            assert await browser.whoami() == ada.id
            form = (await browser.get(f"/self-service/settings/flows?id={flow}", headers=JSON)).json()
            chosen = {"method": "password", "password": NEW, "csrf_token": csrf_of(form)}
            assert (await browser.post(form["ui"]["action"], json=chosen, headers=JSON)).status_code == 200
            answers = [await sign_in(ada.app, new, password) for password in (NEW, PASSWORD)]
            assert [answer.status_code for answer in answers] == [200, 400]
            assert (await traits(scene, ada))["email"] == new

    async def test_goes_to_who_has_the_address_now(self, scene: Scene, clock: StoppedClock) -> None:
        ada = await account(scene)
        await ada.change(email=new_address("new"))
        clock.advance(hours=73)
        bea = await account(scene, email=ada.email)
        assert await recovered_by(scene, ada.email) == bea.id

    async def test_by_a_former_address_ends_with_its_row(self, scene: Scene, clock: StoppedClock) -> None:
        ada = await account(scene)
        await ada.change(email=new_address("new"))
        clock.advance(days=30)
        assert await recovered_by(scene, ada.email) is None
        clock.advance(days=1)
        await scene.application.cleanup.run_once()
        assert await scene.rows("address_changes") == []

    async def test_is_unknown_for_an_address_that_nobody_has(self, scene: Scene) -> None:
        assert await recovered_by(scene, new_address("nobody")) is None


async def test_a_deleted_account_leaves_no_former_address(scene: Scene) -> None:
    ada = await account(scene)
    await ada.change(email=new_address("new"))
    await (await scene.admin()).delete(f"/admin/identities/{ada.id}")
    assert await scene.rows("address_changes") == []
