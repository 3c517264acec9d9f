"""Groups in the admin API: with identities, as resources of their own, and their members."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import ory_kratos_client as kratos
import pytest

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import KEY, Scene, new_address, opened, sign_up
from tests.http.test_admin_scopes import FRUIT, READER, key

KEYS = [KEY, key("reader", READER, scopes=["read"]), key("fruit", FRUIT, stores=["default"])]
STALE = (412, "precondition_failed")


@pytest.fixture
async def scene(dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    async with opened(dsn, tmp_path, clock, settings={"admin": {"api_keys": KEYS}}) as scene:
        yield scene


@pytest.fixture
async def admin(scene: Scene) -> httpx2.AsyncClient:
    return await scene.admin()


def code(answer: httpx2.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.headers.get("x-error-code")


async def made(admin: httpx2.AsyncClient, **more: Any) -> dict[str, Any]:
    body = {"schema_id": "default", "traits": {"email": new_address()}, **more}
    answer = await admin.post("/admin/identities", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def group(admin: httpx2.AsyncClient, name: str, **more: Any) -> dict[str, Any]:
    answer = await admin.post("/admin/groups", json={"name": name, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def groups_of(admin: httpx2.AsyncClient, identity: dict[str, Any]) -> list[str]:
    return list((await admin.get(f"/admin/identities/{identity['id']}")).json().get("groups", []))


class TestGroupsOfAnIdentity:
    async def test_are_given_when_it_is_made_in_one_form_and_each_once(self, admin: httpx2.AsyncClient) -> None:
        identity = await made(admin, groups=["Wholesale", "vip", "wholesale", "Shop Admins"])
        [derived] = [name for name in identity["groups"] if name.startswith("shop-admins-")]
        assert identity["groups"] == [derived, "vip", "wholesale"]
        assert await groups_of(admin, identity) == identity["groups"]

    async def test_an_identity_without_groups_has_no_such_member(self, admin: httpx2.AsyncClient) -> None:
        assert "groups" not in await made(admin)
        assert "groups" not in await made(admin, groups=[])

    async def test_an_answer_with_groups_is_one_for_the_published_client(self, admin: httpx2.AsyncClient) -> None:
        identity = await made(admin, groups=["vip"])
        answer = await admin.get(f"/admin/identities/{identity['id']}")
        parsed = kratos.Identity.from_json(answer.text)
        assert parsed is not None
        assert (parsed.id, parsed.additional_properties["groups"]) == (identity["id"], ["vip"])
        back = kratos.UpdateIdentityBody.from_dict({**identity, "traits": parsed.traits})
        assert back is not None
        known = {name: value for name, value in back.to_dict().items() if name not in back.additional_properties}
        put = await admin.put(f"/admin/identities/{identity['id']}", json=known)
        assert (put.status_code, put.json()["groups"]) == (200, ["vip"])

    async def test_a_replacement_has_the_groups_that_it_names(self, admin: httpx2.AsyncClient) -> None:
        identity = await made(admin, groups=["vip", "staff"])
        path = f"/admin/identities/{identity['id']}"
        for groups, after in ((["vip", "trade"], ["trade", "vip"]), ([], None)):
            answer = await admin.put(path, json={**identity, "groups": groups})
            assert (answer.status_code, answer.json().get("groups")) == (200, after)

    async def test_a_patch_changes_them(self, admin: httpx2.AsyncClient) -> None:
        path = f"/admin/identities/{(await made(admin))['id']}"
        for operation, after in (
            ({"op": "add", "path": "/groups/-", "value": "vip"}, ["vip"]),
            ({"op": "add", "path": "/groups/0", "value": "Trade"}, ["trade", "vip"]),
            ({"op": "remove", "path": "/groups/0"}, ["vip"]),
            ({"op": "replace", "path": "/groups", "value": ["a1", "b1"]}, ["a1", "b1"]),
            ({"op": "remove", "path": "/groups"}, None),
        ):
            answer = await admin.patch(path, json=[operation])
            assert (answer.status_code, answer.json().get("groups")) == (200, after), operation

    async def test_a_batch_imports_them(self, admin: httpx2.AsyncClient) -> None:
        entries = [
            {"create": {"schema_id": "default", "traits": {"email": new_address()}, "groups": groups}}
            for groups in (["vip"], ["bad\x00name"], ["vip", "trade"])
        ]
        answer = await admin.patch("/admin/identities", json={"identities": entries})
        assert [entry["action"] for entry in answer.json()["identities"]] == ["create", "error", "create"]
        found = await admin.get("/admin/identities?group=VIP")
        assert sorted(each["groups"] for each in found.json()) == [["trade", "vip"], ["vip"]]

    async def test_others_are_refused(self, admin: httpx2.AsyncClient) -> None:
        many = [f"g{n}" for n in range(201)]
        for groups in ("vip", [7], [""], [" "], ["x" * 257], ["line\nbreak"], many, {"vip": True}):
            body = {"schema_id": "default", "traits": {"email": new_address()}, "groups": groups}
            assert code(await admin.post("/admin/identities", json=body)) == (400, "invalid_input"), groups


class TestFilter:
    async def test_a_group_selects_its_members_page_by_page(self, admin: httpx2.AsyncClient) -> None:
        members = {(await made(admin, groups=["vip"]))["id"] for _ in range(3)}
        await made(admin, groups=["trade"])
        first = await admin.get("/admin/identities", params={"group": "vip", "page_size": 2})
        following = first.headers["link"].split("<")[-1].split(">")[0]
        found = [*first.json(), *(await admin.get(following)).json()]
        assert {each["id"] for each in found} == members

    async def test_several_groups_must_all_match_beside_the_other_filters(self, admin: httpx2.AsyncClient) -> None:
        both = await made(admin, groups=["vip", "trade"])
        await made(admin, groups=["vip"])
        found = await admin.get("/admin/identities?group=vip&group=trade&state=active")
        assert [each["id"] for each in found.json()] == [both["id"]]
        assert (await admin.get("/admin/identities?group=vip&group=trade&state=inactive")).json() == []

    async def test_an_unknown_group_has_no_members(self, admin: httpx2.AsyncClient) -> None:
        await made(admin, groups=["vip"])
        for name in ("unknown", "%00", "x" * 300):
            assert (await admin.get(f"/admin/identities?group={name}")).json() == [], name

    async def test_few_are_searched_by_at_once(self, admin: httpx2.AsyncClient) -> None:
        query = "&".join(f"group=g{n}" for n in range(6))
        assert (await admin.get(f"/admin/identities?{query}")).status_code == 400


class TestVersions:
    async def test_a_change_from_an_older_state_is_refused_and_changes_nothing(self, admin: httpx2.AsyncClient) -> None:
        identity = await made(admin)
        path = f"/admin/identities/{identity['id']}"
        read = (await admin.get(path)).headers["etag"]
        rename = [{"op": "replace", "path": "/metadata_public", "value": {"n": 1}}]
        changed = await admin.patch(path, json=rename, headers={"if-match": read})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
        for send in (
            admin.patch(path, json=[{"op": "add", "path": "/groups/-", "value": "vip"}], headers={"if-match": read}),
            admin.put(path, json={**identity, "groups": ["vip"]}, headers={"if-match": read}),
            admin.request("DELETE", path, headers={"if-match": read}),
            admin.patch(path, json=rename, headers={"if-match": '"other"'}),
        ):
            assert code(await send) == STALE
        now = await admin.get(path)
        assert (now.headers["etag"], now.json().get("groups"), now.json()["metadata_public"]) == ('"2"', None, {"n": 1})

    async def test_any_of_the_named_versions_will_do(self, admin: httpx2.AsyncClient) -> None:
        for tags in ("*", '"1"', 'W/"1"', '"7", "1"'):
            path = f"/admin/identities/{(await made(admin))['id']}"
            answer = await admin.patch(
                path, json=[{"op": "add", "path": "/groups/-", "value": "vip"}], headers={"if-match": tags}
            )
            assert answer.status_code == 200, tags

    async def test_a_group_has_a_version_of_its_own_that_its_members_change(self, admin: httpx2.AsyncClient) -> None:
        path = f"/admin/groups/{(await group(admin, 'vip'))['id']}"
        await made(admin, groups=["vip"])
        assert (await admin.get(path)).headers["etag"] == '"2"'
        stale = {"if-match": '"1"'}
        assert code(await admin.put(path, json={"name": "other"}, headers=stale)) == STALE
        assert code(await admin.patch(f"{path}/members", json={}, headers=stale)) == STALE
        assert code(await admin.delete(path, headers=stale)) == STALE
        assert (await admin.get(path)).json()["name"] == "vip"


class TestGroups:
    async def test_a_group_is_made_read_renamed_and_deleted(self, admin: httpx2.AsyncClient) -> None:
        answer = await admin.post("/admin/groups", json={"display_name": "Key Accounts", "external_id": "crm-7"})
        new = answer.json()
        assert (answer.status_code, answer.headers["etag"], new["version"]) == (201, '"1"', 1)
        assert new["name"].startswith("key-accounts-")
        assert answer.headers["location"].endswith(f"/groups/{new['id']}")
        path = f"/admin/groups/{new['id']}"
        assert (await admin.get(path)).json() == new
        renamed = await admin.put(path, json={**new, "name": "key-accounts", "external_id": None})
        assert renamed.json()["name"] == "key-accounts"
        assert "external_id" not in renamed.json()
        assert (await admin.delete(path)).status_code == 204
        assert (await admin.get(path)).status_code == 404

    async def test_a_name_is_unique(self, admin: httpx2.AsyncClient) -> None:
        await group(admin, "vip", external_id="7")
        other = await group(admin, "trade")
        assert code(await admin.post("/admin/groups", json={"name": "VIP"})) == (409, "conflict")
        assert code(await admin.post("/admin/groups", json={"name": "new", "external_id": "7"})) == (409, "conflict")
        assert code(await admin.put(f"/admin/groups/{other['id']}", json={"name": "vip"})) == (409, "conflict")

    async def test_others_are_refused(self, admin: httpx2.AsyncClient) -> None:
        for body in (
            {},
            {"name": "a"},
            {"name": "with space"},
            {"name": "x" * 129},
            {"name": "ünicode"},
            {"name": "vip", "display_name": ""},
            {"name": "vip", "display_name": "x\x00"},
            {"name": "vip", "external_id": "x" * 256},
            {"name": "vip", "members": []},
            {"name": 7},
            [],
        ):
            assert (await admin.post("/admin/groups", json=body)).status_code == 400, body

    async def test_groups_are_listed_page_by_page_and_found_by_name(self, admin: httpx2.AsyncClient) -> None:
        names = [(await group(admin, f"group-{n}"))["name"] for n in range(3)]
        first = await admin.get("/admin/groups?page_size=2")
        following = first.headers["link"].split("<")[-1].split(">")[0]
        assert [each["name"] for each in (*first.json(), *(await admin.get(following)).json())] == names
        assert [each["name"] for each in (await admin.get("/admin/groups?name=Group-1")).json()] == ["group-1"]
        assert (await admin.get("/admin/groups?nome=group-1")).status_code == 400

    async def test_members_follow_a_renamed_group(self, admin: httpx2.AsyncClient) -> None:
        identity = await made(admin, groups=["vip"])
        [known] = (await admin.get("/admin/groups?name=vip")).json()
        await admin.put(f"/admin/groups/{known['id']}", json={"name": "gold"})
        assert await groups_of(admin, identity) == ["gold"]

    async def test_a_deleted_group_leaves_its_members_and_raises_their_versions(
        self, admin: httpx2.AsyncClient, scene: Scene
    ) -> None:
        identity = await made(admin, groups=["vip", "trade"])
        [known] = (await admin.get("/admin/groups?name=vip")).json()
        assert (await admin.delete(f"/admin/groups/{known['id']}")).status_code == 204
        after = await admin.get(f"/admin/identities/{identity['id']}")
        assert (after.json()["groups"], after.headers["etag"]) == (["trade"], '"2"')
        assert len(await scene.rows("group_members")) == 1

    async def test_a_deleted_identity_leaves_its_groups(self, admin: httpx2.AsyncClient, scene: Scene) -> None:
        identity = await made(admin, groups=["vip"])
        assert (await admin.delete(f"/admin/identities/{identity['id']}")).status_code == 204
        assert await scene.rows("group_members") == []
        assert [each["name"] for each in (await admin.get("/admin/groups")).json()] == ["vip"]


class TestMembers:
    async def test_members_are_added_removed_and_listed(self, admin: httpx2.AsyncClient) -> None:
        ids = sorted([(await made(admin))["id"] for _ in range(3)])
        path = f"/admin/groups/{(await group(admin, 'vip'))['id']}/members"
        changed = await admin.patch(path, json={"add": ids})
        assert (changed.status_code, changed.json()) == (200, {"added": 3, "removed": 0})
        again = await admin.patch(path, json={"add": ids[:1], "remove": ids[1:2]})
        assert again.json() == {"added": 0, "removed": 1}
        assert (await admin.put(f"{path}/{ids[1]}")).status_code == 204
        assert (await admin.delete(f"{path}/{ids[0]}")).status_code == 204
        first = await admin.get(f"{path}?page_size=1")
        following = first.headers["link"].split("<")[-1].split(">")[0]
        found = [*first.json(), *(await admin.get(following)).json()]
        assert [(each["identity_id"], each["sources"]) for each in found] == [(id_, ["admin"]) for id_ in ids[1:]]

    async def test_an_unknown_identity_is_not_added_and_nothing_else_is(self, admin: httpx2.AsyncClient) -> None:
        identity = await made(admin)
        path = f"/admin/groups/{(await group(admin, 'vip'))['id']}/members"
        assert (await admin.patch(path, json={"add": [identity["id"], str(uuid4())]})).status_code == 404
        assert (await admin.get(path)).json() == []
        assert (await admin.put(f"{path}/{uuid4()}")).status_code == 404
        assert (await admin.put(f"{path}/nobody")).status_code == 404

    async def test_other_changes_are_refused(self, admin: httpx2.AsyncClient) -> None:
        path = f"/admin/groups/{(await group(admin, 'vip'))['id']}/members"
        one = str(uuid4())
        for body in (
            {"add": ["no-uuid"]},
            {"add": [one] * 501},
            {"add": [str(n) for n in range(3)]},
            {"added": []},
            {"add": [one], "remove": [one]},
        ):
            assert (await admin.patch(path, json=body)).status_code == 400, body

    async def test_an_account_is_in_few_groups(self, admin: httpx2.AsyncClient) -> None:
        identity = await made(admin, groups=[f"g{n}" for n in range(200)])
        path = f"/admin/groups/{(await group(admin, 'vip'))['id']}/members"
        assert code(await admin.put(f"{path}/{identity['id']}")) == (400, "invalid_input")


class TestEffects:
    async def test_a_session_that_is_cached_has_the_new_groups_at_once_and_whoami_shows_none(
        self, admin: httpx2.AsyncClient, scene: Scene
    ) -> None:
        app = await scene.native()
        token = (await sign_up(app, new_address()))["session_token"]
        sessions = scene.application.accounts.sessions
        headers = {"x-session-token": token}
        who = (await app.get("/sessions/whoami", headers=headers)).json()["identity"]["id"]

        async def seen() -> tuple[str, ...]:
            resolved = await sessions.resolve(token)
            assert resolved is not None
            return resolved.session.identity.groups

        assert await seen() == ()
        await admin.patch(f"/admin/identities/{who}", json=[{"op": "add", "path": "/groups/-", "value": "vip"}])
        assert await seen() == ("vip",)
        [known] = (await admin.get("/admin/groups?name=vip")).json()
        await admin.put(f"/admin/groups/{known['id']}", json={"name": "gold"})
        assert await seen() == ("gold",)
        await admin.delete(f"/admin/groups/{known['id']}/members/{who}")
        assert await seen() == ()
        await admin.put(f"/admin/groups/{known['id']}/members/{who}")
        assert await seen() == ("gold",)
        assert "groups" not in (await app.get("/sessions/whoami", headers=headers)).text
        await admin.delete(f"/admin/groups/{known['id']}")
        assert await seen() == ()

    async def test_changes_are_audited(self, admin: httpx2.AsyncClient, scene: Scene) -> None:
        identity = await made(admin)
        known = await group(admin, "vip")
        await admin.put(f"/admin/groups/{known['id']}/members/{identity['id']}")
        await admin.delete(f"/admin/groups/{known['id']}")
        events = [(row["action"], row["subject"]) for row in await scene.rows("audit_events")]
        assert events.count(("identity.groups_changed", identity["id"])) == 2
        assert ("group.created", known["id"]) in events
        assert ("group.deleted", known["id"]) in events


class TestKeys:
    async def test_row_031_a_key_of_one_store_neither_sees_nor_changes_groups(
        self, scene: Scene, admin: httpx2.AsyncClient
    ) -> None:
        known, identity = await group(admin, "vip"), await made(admin)
        limited, missing = await scene.admin(key=FRUIT), (403, "admin_scope_missing")
        path = f"/admin/groups/{known['id']}"
        for method, target in (
            ("GET", "/admin/groups"),
            ("GET", path),
            ("GET", f"{path}/members"),
            ("POST", "/admin/groups"),
            ("PUT", path),
            ("DELETE", path),
            ("PATCH", f"{path}/members"),
            ("PUT", f"{path}/members/{identity['id']}"),
        ):
            assert code(await limited.request(method, target, json={})) == missing, (method, target)

    async def test_a_key_that_reads_changes_no_groups(self, scene: Scene, admin: httpx2.AsyncClient) -> None:
        known = await group(admin, "vip")
        reader = await scene.admin(key=READER)
        assert (await reader.get(f"/admin/groups/{known['id']}")).status_code == 200
        assert (await reader.delete(f"/admin/groups/{known['id']}")).status_code == 403
        assert (await reader.patch(f"/admin/groups/{known['id']}/members", json={})).status_code == 403
