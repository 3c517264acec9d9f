"""Rows 38, 61, 63 and 64: nobody gets an account back that they have given away, and nobody keeps an address that
they have never proven."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from shopkeeper.identity.values import AddressStatus
from tests.attacks.conftest import Opening
from tests.attacks.scene import PASSWORD, Browser, Scene, csrf_of, new_address, sign_in, sign_up, submit, written_schema
from tests.attacks.test_mailed_proofs import NEW, ask, choose_password, settings, settings_flow

JSON = {"accept": "application/json"}
LINK = re.compile(r"https?://[^/\s]+(/account/undo-address\?token=\S+)")
SAME = {"origin": "https://shop.test", "sec-fetch-site": "same-origin"}
BY_CODE: Mapping[str, Any] = {"methods": {"code": {"enabled": True, "passwordless_enabled": True}}}


@pytest.fixture
async def attacked(opening: Opening, dsn: str) -> AsyncIterator[Scene]:
    known = settings("code")
    async with opening(dsn, **{**known, "selfservice": {**known["selfservice"], **BY_CODE}}) as scene:
        yield scene


MARKED = {"verification": {"via": "email"}, "recovery": {"via": "email"}}
ADDRESS_AND = {"type": "string", "format": "email"}
TWO = {
    "email": {
        **ADDRESS_AND,
        "ory.sh/kratos": {
            **MARKED,
            "credentials": {"password": {"identifier": True}, "code": {"identifier": True, "via": "email"}},
        },
    },
    "second": {**ADDRESS_AND, "ory.sh/kratos": MARKED},
}


@pytest.fixture
async def with_two(opening: Opening, dsn: str, tmp_path: Path) -> AsyncIterator[Scene]:
    """A shop whose schema has two addresses."""
    schemas = {"default_schema_id": "two", "schemas": [{"id": "two", "url": written_schema(tmp_path, TWO)}]}
    known = settings("code")
    async with opening(dsn, **{**known, "selfservice": {**known["selfservice"], **BY_CODE}}, identity=schemas) as scene:
        yield scene


@dataclass
class Holder:
    """Who holds a session of an account."""

    scene: Scene
    app: httpx2.AsyncClient
    id: str
    token: str

    @classmethod
    async def of(cls, scene: Scene, email: str, *, proven: bool = True) -> "Holder":
        app = await scene.native()
        created = await sign_up(app, email)
        if proven:
            await prove(scene, email)
        return cls(scene, app, created["identity"]["id"], created["session_token"])

    async def change(self, email: str) -> httpx2.Response:
        self.scene.clock.advance(seconds=1)
        headers = {"x-session-token": self.token}
        flow = (await self.app.get("/self-service/settings/api", headers=headers)).json()
        fields = {"method": "profile", "traits": {"email": email}}
        return await self.app.post(flow["ui"]["action"], json=fields, headers=headers)


async def prove(scene: Scene, email: str) -> None:
    """Verify an address of an account."""
    [row] = [row for row in await scene.rows("verifiable_addresses") if row["value"] == email]
    application = scene.application
    async with application.infrastructure.database.unit() as unit:
        identities = application.accounts.identities
        await identities.mark_address(unit, UUID(str(row["id"])), AddressStatus.COMPLETED)


async def link_of(scene: Scene, email: str) -> str | None:
    """Return the path of the newest undo link that an address got."""
    mails = [mail for mail in await scene.mails() if mail.recipient == email]
    found = [link for mail in mails for link in LINK.findall(mail.body)]
    return found[0] if found else None


async def undo(scene: Scene, email: str) -> int:
    """Press the button of the newest undo link of an address; return the status of the answer, or of the page where it
    has no button any more."""
    link = await link_of(scene, email)
    assert link is not None
    browser = await scene.browser()
    page = await browser.get(link)
    if page.status_code != 200:
        return page.status_code
    form = await browser.form_of(link)
    return (await browser.post("/account/undo-address", data=form, headers=SAME)).status_code


async def recover(scene: Scene, email: str, *, password: str = NEW) -> None:
    mailed = await ask(scene, "code", email)
    flow = settings_flow(await mailed.spend())
    assert flow is not None
    await choose_password(mailed.browser, flow, password)


async def email_of(scene: Scene, account: str) -> str:
    return str((await (await scene.admin()).get(f"/admin/identities/{account}")).json()["traits"]["email"])


async def mails_to(scene: Scene, email: str) -> list[str]:
    return [mail.template_type for mail in await scene.mails() if mail.recipient == email]


class TestGivenAway:
    async def test_row_038_and_061_a_recovery_ends_the_undo_links_of_who_had_the_account(self, attacked: Scene) -> None:
        """Pre-hijacking: the attacker changes an account of their own to the victim's address and waits."""
        own, victims = new_address("eve"), new_address("victim")
        attacker = await Holder.of(attacked, own)
        await attacker.change(victims)
        await recover(attacked, victims)
        assert await undo(attacked, own) == 404
        assert await email_of(attacked, attacker.id) == victims
        assert (await sign_in(await attacked.native(), victims, NEW)).status_code == 200

    async def test_row_061_a_sign_in_by_code_that_takes_over_ends_them_too(self, attacked: Scene) -> None:
        own, victims = new_address("eve"), new_address("victim")
        attacker = await Holder.of(attacked, own)
        await attacker.change(victims)
        app = await attacked.native()
        flow = (await app.get("/self-service/login/api")).json()
        await app.post(flow["ui"]["action"], json={"method": "code", "identifier": victims})
        [mail, *_] = [mail for mail in await attacked.mails() if mail.template_type == "login_code_valid"]
        [code] = set(re.findall(r"\b\d{6}\b", mail.body))
        fields = {"method": "code", "identifier": victims, "code": code}
        assert (await app.post(flow["ui"]["action"], json=fields)).status_code == 200
        assert await undo(attacked, own) == 404

    async def test_row_061_a_recovery_leaves_the_link_of_the_address_that_recovers(self, attacked: Scene) -> None:
        own, intruders = new_address("ada"), new_address("intruder")
        ada = await Holder.of(attacked, own)
        await ada.change(intruders)
        await recover(attacked, own)
        assert await undo(attacked, own) == 200
        assert await email_of(attacked, ada.id) == own

    @pytest.mark.parametrize("way", ["put", "patch", "password"])
    async def test_row_063_what_an_operator_decides_is_undone_by_no_link(self, attacked: Scene, way: str) -> None:
        own, first, second = new_address("ada"), new_address("first"), new_address("second")
        ada = await Holder.of(attacked, own)
        await ada.change(first)
        await prove(attacked, first)
        await ada.change(second)
        admin, path = await attacked.admin(), f"/admin/identities/{ada.id}"
        whole = {"schema_id": "default", "state": "active", "traits": {"email": second if way == "password" else own}}
        if way == "password":
            whole["credentials"] = {"password": {"config": {"password": NEW}}}
        patch = [{"op": "replace", "path": "/traits/email", "value": own}]
        answer = await (admin.patch(path, json=patch) if way == "patch" else admin.put(path, json=whole))
        assert answer.status_code == 200, answer.text
        assert [await undo(attacked, each) for each in (own, first)] == [404, 404]

    async def test_row_063_an_operators_change_of_a_name_leaves_the_links(self, attacked: Scene) -> None:
        own = new_address("ada")
        ada = await Holder.of(attacked, own)
        await ada.change(new_address("new"))
        patch = [{"op": "add", "path": "/traits/name", "value": {"first": "Ada"}}]
        answer = await (await attacked.admin()).patch(f"/admin/identities/{ada.id}", json=patch)
        assert answer.status_code == 200, answer.text
        assert await undo(attacked, own) == 200


class TestChangedBack:
    async def test_row_063_the_intruders_address_gets_no_link_when_the_owner_changes_back(
        self, attacked: Scene
    ) -> None:
        own, intruders = new_address("ada"), new_address("intruder")
        ada = await Holder.of(attacked, own)
        await ada.change(intruders)
        await prove(attacked, intruders)
        assert (await ada.change(own)).status_code == 200
        assert await link_of(attacked, intruders) is None
        assert await undo(attacked, own) == 404, "what it would undo is undone"

    async def test_row_063_changing_back_ends_the_links_of_all_that_came_between(self, attacked: Scene) -> None:
        own, first, second = new_address("ada"), new_address("first"), new_address("second")
        ada = await Holder.of(attacked, own)
        for each in (first, second):
            await ada.change(each)
            await prove(attacked, each)
        await ada.change(own)
        assert await undo(attacked, first) == 404
        assert await link_of(attacked, second) is None

    async def test_row_063_a_change_after_it_is_undone_again(self, attacked: Scene) -> None:
        own, later = new_address("ada"), new_address("later")
        ada = await Holder.of(attacked, own)
        await ada.change(new_address("first"))
        await ada.change(own)
        await prove(attacked, own)
        await ada.change(later)
        assert await undo(attacked, own) == 200
        assert await email_of(attacked, ada.id) == own


class TestNeverProven:
    async def test_row_038_walking_through_addresses_reserves_none(self, attacked: Scene) -> None:
        victims = [new_address(f"victim{n}") for n in range(4)]
        attacker = await Holder.of(attacked, victims[0], proven=False)
        for each in victims[1:]:
            await attacker.change(each)
        for each in victims[:3]:
            assert await link_of(attacked, each) is None
            assert (await sign_up(await attacked.native(), each))["identity"]["id"] != attacker.id

    async def test_row_038_it_is_recovered_by_none_of_them(self, attacked: Scene) -> None:
        victims = new_address("victim")
        attacker = await Holder.of(attacked, new_address("eve"))
        await attacker.change(victims)
        await attacker.change(new_address("other"))
        asked = await submit(await attacked.native(), "recovery", {"method": "code", "email": victims})
        assert asked.status_code == 200
        assert "recovery_code_valid" not in await mails_to(attacked, victims)

    async def test_row_038_a_proven_address_stays_reserved_and_is_told_itself(self, attacked: Scene) -> None:
        own, new = new_address("ada"), new_address("new")
        await (await Holder.of(attacked, own)).change(new)
        taken = {"method": "password", "password": PASSWORD, "traits": {"email": own}}
        await submit(await attacked.native(), "registration", taken)
        assert len(await attacked.rows("identities")) == 1
        assert "sign_up_attempt" not in await mails_to(attacked, new)

    async def test_row_038_a_code_sent_there_registers_it_all_the_same(self, attacked: Scene) -> None:
        own = new_address("ada")
        ada = await Holder.of(attacked, own)
        await ada.change(new_address("new"))
        browser = await attacked.browser()
        flow = await browser.open_flow("registration")
        fields = {"method": "code", "traits": {"email": own}, "csrf_token": csrf_of(flow)}
        await browser.post(flow["ui"]["action"], json=fields, headers=JSON)
        [mail] = [mail for mail in await attacked.mails() if mail.template_type == "registration_code_valid"]
        [code] = set(re.findall(r"\b\d{6}\b", mail.body))
        done = await browser.post(flow["ui"]["action"], json={**fields, "code": code}, headers=JSON)
        assert done.status_code == 200, done.text
        assert done.json()["identity"]["id"] != ada.id
        assert len(await attacked.rows("identities")) == 2


class TestTwoAddresses:
    """An attacker registers the victim's address beside their own. No address speaks for the other one."""

    async def test_row_038_beside_a_verified_address_another_one_recovers_nothing(self, with_two: Scene) -> None:
        attacker, victims, own = await with_two.native(), new_address("victim"), new_address("eve")
        created = await sign_up(attacker, victims, second=own)
        await prove(with_two, own)
        asked = await submit(await with_two.native(), "recovery", {"method": "code", "email": victims})
        unknown = await submit(await with_two.native(), "recovery", {"method": "code", "email": new_address("nobody")})
        assert [each.json()["state"] for each in (asked, unknown)] == ["sent_email"] * 2
        asked = await submit(await with_two.native(), "login", {"method": "code", "identifier": victims})
        assert asked.json()["state"] == "sent_email"
        assert not {"recovery_code_valid", "login_code_valid"} & {*await mails_to(with_two, victims)}
        assert await recovered_identity(with_two, own) == created["identity"]["id"]

    async def test_row_038_a_code_from_before_the_other_was_verified_recovers_nothing(self, with_two: Scene) -> None:
        attacker, victims, own = await with_two.native(), new_address("victim"), new_address("eve")
        await sign_up(attacker, victims, second=own)
        mailed = await ask(with_two, "code", victims)
        await prove(with_two, own)
        assert settings_flow(await mailed.spend()) is None

    async def test_row_061_a_recovery_ends_what_was_set_before_its_address_was_verified(self, with_two: Scene) -> None:
        attacker, victims, own = await with_two.native(), new_address("victim"), new_address("eve")
        token = (await sign_up(attacker, victims, second=own))["session_token"]
        await recover(with_two, victims)
        assert (await attacker.get("/sessions/whoami", headers={"x-session-token": token})).status_code == 401
        assert (await sign_in(attacker, victims)).status_code == 400

    @pytest.mark.parametrize(("opened", "client"), [("before", "browser"), ("after", "app")])
    async def test_row_064_who_had_the_account_before_verifies_no_other_address(
        self, with_two: Scene, opened: str, client: str
    ) -> None:
        attacker, victims, own = await with_two.native(), new_address("victim"), new_address("eve")
        await sign_up(attacker, victims, second=own)
        browser = await with_two.browser()
        if opened == "before":
            asked = await asked_to_verify(with_two, browser if client == "browser" else attacker, own)
        with_two.clock.advance(seconds=1)
        await recover(with_two, victims)
        if opened == "after":
            asked = await asked_to_verify(with_two, browser if client == "browser" else attacker, own)
        assert (await asked()).json().get("state") != "passed_challenge"
        assert [row["value"] for row in await with_two.rows("verifiable_addresses") if row["verified"]] == [victims]

    async def test_row_064_a_session_verifies_a_second_address(self, with_two: Scene) -> None:
        browser, first, second = await with_two.browser(), new_address("ada"), new_address("second")
        flow = await browser.open_flow("registration")
        fields = {"password": PASSWORD, "traits": {"email": first, "second": second}}
        assert (await browser.send_flow(flow, fields)).status_code == 200
        await prove(with_two, first)
        asked = await asked_to_verify(with_two, browser, second)
        assert (await asked()).json()["state"] == "passed_challenge"
        assert await browser.whoami() is not None

    async def test_row_061_a_session_by_code_ends_with_the_recovery_by_the_address_it_was_moved_to(
        self, attacked: Scene
    ) -> None:
        """No password ends here: the account has none."""
        own, victims = new_address("eve"), new_address("victim")
        attacker = await Holder.of(attacked, own)
        await attacker.change(victims)
        async with attacked.application.infrastructure.database.transaction() as connection:
            await connection.exec_driver_sql("DELETE FROM credential_identifiers WHERE type = 'password'")
            await connection.exec_driver_sql("DELETE FROM credentials WHERE type = 'password'")
        assert await recovered_identity(attacked, victims) == attacker.id
        kept = await attacker.app.get("/sessions/whoami", headers={"x-session-token": attacker.token})
        assert kept.status_code == 401


async def recovered_identity(scene: Scene, email: str) -> str | None:
    """Recover by code in a browser; return the identity that it is signed in as."""
    mailed = await ask(scene, "code", email)
    assert settings_flow(await mailed.spend()) is not None
    return await mailed.browser.whoami()


async def asked_to_verify(
    scene: Scene, client: httpx2.AsyncClient, email: str
) -> Callable[[], Awaitable[httpx2.Response]]:
    """Ask for the verification of an address; return what submits the code that was mailed."""
    if isinstance(client, Browser):
        flow = await client.open_flow("verification")
        fields = {"method": "code", "csrf_token": csrf_of(flow)}
    else:
        flow, fields = (await client.get("/self-service/verification/api")).json(), {"method": "code"}
    asked = await client.post(flow["ui"]["action"], json={**fields, "email": email}, headers=JSON)
    assert asked.json()["state"] == "sent_email", asked.text
    mails = [mail for mail in await scene.mails() if (mail.recipient, mail.template_type) == (email, SENT)]
    [code] = set(re.findall(r"\b\d{6}\b", mails[0].body))
    return lambda: client.post(flow["ui"]["action"], json={**fields, "code": code}, headers=JSON)


SENT = "verification_code_valid"
