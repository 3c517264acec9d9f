"""The groups that a provider gives: replaced by each sign-in, apart from those of others, and gone with its account."""

import base64
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shopkeeper.clock import StoppedClock
from shopkeeper.credentials.provider_groups import told_groups
from shopkeeper.credentials.steps import NewCredential
from shopkeeper.identity.memberships import GivenGroups
from shopkeeper.identity.values import Identity
from shopkeeper.openid.authenticated import Authenticated
from tests.attacks.scene import PASSWORD, new_address, sign_up, submit
from tests.credentials.social import JSON, SocialStage, social_stage
from tests.flows.watching import statements

ADA = "ada@example.org"
CLAIMS = {"groups_claim": "groups", "roles_claim": "realm_access.roles"}
OVERAGE = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example"}}}
MAPPER = """
local claims = std.extVar('claims');
{identity: {traits: {email: claims.email}, groups: [g for g in claims.raw_claims.groups if g != 'hr']}}
"""


async def give(stage: SocialStage, identity: Identity, *names: str) -> None:
    async with stage.scene.application.infrastructure.database.unit() as unit:
        await stage.identities.give_groups(unit, await stage.identities.lock(unit, identity.id), GivenGroups(names))


async def sources(stage: SocialStage, identity: Identity) -> set[tuple[str, str]]:
    return {(each.group, each.source) for each in (await stage.read(identity)).memberships}


async def test_each_sign_in_replaces_what_the_provider_gave_and_nothing_else(
    dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    async with social_stage(dsn, tmp_path, clock, idp=CLAIMS) as stage:
        ada = await stage.customer(ADA, ("idp", "alice"))
        await give(stage, ada, "staff", "vip")
        await stage.arrive(await stage.scene.browser(), groups=["VIP", "trade"], realm_access={"roles": ["buyer"]})
        assert await sources(stage, ada) == {
            ("staff", "admin"),
            ("vip", "admin"),
            ("vip", "provider:idp"),
            ("trade", "provider:idp"),
            ("buyer", "provider:idp"),
        }
        await stage.arrive(await stage.scene.browser(), groups=["trade"])
        assert (await stage.read(ada)).groups == ("staff", "trade", "vip")
        await stage.arrive(await stage.scene.browser())
        assert await sources(stage, ada) == {("staff", "admin"), ("vip", "admin")}


async def test_a_session_from_before_has_the_groups_at_once_and_stays(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=CLAIMS) as stage:
        await stage.customer(ADA, ("idp", "alice"))
        before = await stage.scene.browser()
        await stage.arrive(before)
        token = before.session_cookie or ""
        sessions = stage.scene.application.accounts.sessions
        assert (known := await sessions.resolve(token)) is not None
        assert known.session.identity.groups == ()
        await stage.arrive(await stage.scene.browser(), groups=["vip"])
        assert (known := await sessions.resolve(token)) is not None
        assert known.session.identity.groups == ("vip",)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (OVERAGE, "elsewhere"),
        ({"groups": {"vip": True}}, "unreadable"),
        ({"groups": [f"g{n}" for n in range(501)]}, "too_many"),
        ({"groups": [f"g{n}" for n in range(201)]}, "too_many"),
    ],
    ids=["overage", "object", "endless", "more-than-fit"],
)
async def test_a_list_that_can_not_be_read_is_not_no_groups(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, claims: dict[str, Any], reason: str
) -> None:
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=CLAIMS) as stage:
        ada = await stage.customer(ADA, ("idp", "alice"))
        await stage.arrive(await stage.scene.browser(), groups=["vip"])
        with capture_logs() as logs:
            await stage.arrive(await stage.scene.browser(), **claims)
        assert (await stage.read(ada)).groups == ("vip",)
        reported = [entry for entry in logs if entry["event"] == "oidc.groups_not_read"]
        assert [(entry["provider"], entry["reason"]) for entry in reported] == [("idp", reason)]


async def test_a_registration_has_the_groups_of_its_claims(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=CLAIMS) as stage:
        browser = await stage.scene.browser()
        await stage.arrive(browser, "registration", email=ADA, email_verified=True, groups=["vip"])
        who = (await browser.get("/sessions/whoami")).json()["identity"]
        assert "groups" not in who
        admin = await stage.scene.admin()
        assert (await admin.get(f"/admin/identities/{who['id']}")).json()["groups"] == ["vip"]


async def test_a_mapper_returns_groups_at_every_sign_in_and_comes_before_the_claims(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    source = f"base64://{base64.b64encode(MAPPER.encode()).decode()}"
    async with social_stage(sqlite_dsn, tmp_path, clock, idp={"mapper_url": source, **CLAIMS}) as stage:
        ada = await stage.customer(ADA, ("idp", "alice"))
        for groups in (["vip", "hr"], ["trade", "hr"]):
            await stage.arrive(await stage.scene.browser(), email=ADA, email_verified=True, groups=groups)
            assert (await stage.read(ada)).groups == (groups[0],)


async def test_without_settings_claims_give_no_groups(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
    async with social_stage(sqlite_dsn, tmp_path, clock) as stage:
        ada = await stage.customer(ADA, ("idp", "alice"))
        await give(stage, ada, "staff")
        await stage.arrive(await stage.scene.browser(), groups=["vip"])
        assert (await stage.read(ada)).groups == ("staff",)
        social = stage.scene.application.accounts.methods.social[0]
        assert told_groups(social, Authenticated({"groups": ["vip"]}, "alice", stage.idp.issuer), None) is None


async def test_groups_end_with_the_account_that_gave_them(dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
    async with social_stage(dsn, tmp_path, clock, idp=CLAIMS) as stage:
        ada = await stage.customer(ADA, ("idp", "alice"), ("other", "ada"))
        await give(stage, ada, "staff")
        await stage.arrive(await stage.scene.browser(), groups=["vip"])
        admin = await stage.scene.admin()
        path = f"/admin/identities/{ada.id}/credentials/oidc"
        assert (await admin.delete(path, params={"identifier": "other:ada"})).status_code == 204
        assert (await stage.read(ada)).groups == ("staff", "vip")
        async with stage.scene.application.infrastructure.database.unit() as unit:
            locked = await stage.identities.lock(unit, ada.id)
            changes = {"password": NewCredential("password", {"hashed_password": "$argon2id$x"}), "oidc": None}
            await stage.identities.change_locked_credentials(unit, locked, changes, actor="test", client_ip=None)
        assert await sources(stage, ada) == {("staff", "admin")}


async def test_an_operator_who_puts_an_identity_back_does_not_keep_what_its_provider_takes_away(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=CLAIMS) as stage:
        ada = await stage.customer(ADA, ("idp", "alice"))
        await stage.arrive(await stage.scene.browser(), groups=["vip"])
        admin = await stage.scene.admin()
        read = (await admin.get(f"/admin/identities/{ada.id}")).json()
        put = await admin.put(f"/admin/identities/{ada.id}", json={**read, "groups": ["vip", "staff"]})
        assert put.json()["groups"] == ["staff", "vip"]
        await stage.arrive(await stage.scene.browser(), groups=[])
        assert (await stage.read(ada)).groups == ("staff",)


async def test_a_sign_in_with_the_same_groups_writes_nothing_of_them(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=CLAIMS) as stage:
        await stage.customer(ADA, ("idp", "alice"))
        for _ in range(2):
            await stage.arrive(await stage.scene.browser(), groups=["vip", "trade"])
        browser = await stage.scene.browser()
        with statements(stage.scene) as sent:
            await stage.arrive(browser, groups=["vip", "trade"])
        assert not [each for each in sent if "group" in each and not each.startswith("SELECT")]


@pytest.mark.parametrize(
    "fields",
    [
        {"groups": ["staff"]},
        {"traits": {"email": ADA, "groups": ["staff"]}},
        {"identity": {"groups": ["staff"]}},
        {"transient_payload": {"groups": ["staff"]}},
        {"traits.groups": "staff"},
    ],
)
async def test_row_064_no_shopper_gives_themselves_a_group(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, fields: dict[str, Any]
) -> None:
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=CLAIMS) as stage:
        app, email = await stage.scene.native(), new_address()
        traits = {"email": email, **{k: v for k, v in fields.get("traits", {}).items() if k != "email"}}
        more = {name: value for name, value in fields.items() if name != "traits"}
        answer = await submit(
            app, "registration", {"method": "password", "password": PASSWORD, "traits": traits, **more}
        )
        if answer.status_code == 200:
            token = answer.json()["session_token"]
        else:
            token = (await sign_up(app, email := new_address()))["session_token"]
        headers = {"x-session-token": token, **JSON}
        flow = (await app.get("/self-service/settings/api", headers=headers)).json()
        await app.post(
            flow["ui"]["action"],
            headers=headers,
            json={"method": "profile", "traits": {**traits, "email": email}, **more},
        )
        assert await stage.scene.rows("identity_groups") == []
        assert await stage.scene.rows("group_members") == []


async def test_row_064_no_shopper_gives_themselves_a_group_while_a_provider_registers_them(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    """The traits that a provider does not tell are typed; groups typed with them count for nothing."""
    async with social_stage(sqlite_dsn, tmp_path, clock, idp=CLAIMS) as stage:
        browser = await stage.scene.browser()
        answer = await stage.arrive(browser, "registration", groups=["vip"])
        flow = await stage.flow_after(browser, answer, "registration")
        fields = {"provider": "idp", "traits": {"email": ADA}, "groups": ["staff"], "upstream_parameters": {}}
        done = await stage.submit(browser, flow, **fields)
        assert done.status_code == 200, done.text
        [known] = await stage.scene.rows("identity_groups")
        assert known["name"] == "vip"
