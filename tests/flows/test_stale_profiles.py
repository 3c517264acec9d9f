"""Lost updates: a settings form that was opened before a change elsewhere does not undo it unseen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.credentials.stale_traits import put_back
from tests.attacks.scene import ADDRESS, Browser, Scene, csrf_of, new_address, sign_in, written_schema
from tests.flows.conftest import JSON, Stage, Staging
from tests.flows.test_callbacks import messages
from tests.flows.test_settings import Account, account, node_messages

SAVED = [1050001]
FIELDS = ("email", "name.first", "name.last")


@pytest.fixture
def scene(stage: Stage) -> Scene:
    return stage.scene


def value(flow: Mapping[str, Any], name: str) -> Any:
    [node] = [node for node in flow["ui"]["nodes"] if node["attributes"].get("name") == f"traits.{name}"]
    return node["attributes"].get("value")


def told(flow: Mapping[str, Any]) -> list[str]:
    return [each["text"] for each in flow["ui"].get("messages") or []]


class Form:
    """A settings form on one device, as it was shown last."""

    def __init__(self, client: Any, flow: Mapping[str, Any], *, kind: str, headers: Mapping[str, str]) -> None:
        self.client, self.flow, self.kind, self.headers = client, flow, kind, {**JSON, **headers}

    async def fetch(self) -> None:
        answer = await self.client.get(f"/self-service/settings/flows?id={self.flow['id']}", headers=self.headers)
        assert answer.status_code == 200, answer.text
        self.flow = answer.json()
        if self.kind == "native":
            self.client.cookies.clear()  # apps keep none

    async def save(self, **typed: str) -> None:
        """Send the whole form with what was typed into it, and take what is shown then."""
        values = {name: value(self.flow, name) for name in FIELDS}
        values.update({name.replace("_", "."): text for name, text in typed.items()})
        path = str(self.flow["ui"]["action"]).removeprefix(ADDRESS)
        if self.kind == "html":
            fields = {f"traits.{name}": text or "" for name, text in values.items()}
            data = {"method": "profile", "csrf_token": csrf_of(self.flow), **fields}
            answer = await self.client.post(path, data=data)
            assert answer.status_code == 303, answer.text
            return await self.fetch()
        names = {name.partition(".")[2]: text for name, text in values.items() if name != "email" and text}
        traits = {"email": values["email"], **({"name": names} if names else {})}
        token = {} if self.kind == "native" else {"csrf_token": csrf_of(self.flow)}
        sent = {"method": "profile", "traits": traits, **token}
        self.flow = (await self.client.post(path, json=sent, headers=self.headers)).json()
        return None


async def another_form(scene: Scene, ada: Account, kind: str) -> Form:
    """Sign in on another device and open the settings there."""
    if kind == "native":
        app = await scene.native()
        token = {"x-session-token": (await sign_in(app, ada.email)).json()["session_token"]}
        return Form(app, (await app.get("/self-service/settings/api", headers=token)).json(), kind=kind, headers=token)
    browser: Browser = await scene.browser()
    await browser.sign_in(ada.email)
    return Form(browser, await browser.open_flow("settings"), kind=kind, headers={})


async def traits(ada: Account) -> dict[str, Any]:
    return dict((await ada.whoami()).json()["identity"]["traits"])


@pytest.mark.parametrize("kind", ["native", "spa", "html"])
class TestAnOldForm:
    async def test_does_not_bring_a_former_address_back(self, scene: Scene, kind: str) -> None:
        ada, new = await account(scene), new_address("new")
        old = await another_form(scene, ada, kind)
        assert (await ada.change(email=new)).status_code == 200
        await old.save(name_first="Ada")
        assert told(old.flow) == ["The profile was changed elsewhere meanwhile. Please check it and save again."]
        assert (value(old.flow, "email"), value(old.flow, "name.first")) == (new, "Ada")
        assert await traits(ada) == {"email": new}
        await old.save()
        assert messages(old.flow) == SAVED
        assert await traits(ada) == {"email": new, "name": {"first": "Ada"}}

    async def test_shows_what_was_changed_elsewhere_when_it_is_shown_again(self, scene: Scene, kind: str) -> None:
        ada, new = await account(scene), new_address("new")
        old = await another_form(scene, ada, kind)
        assert (await ada.change(email=new, name={"last": "Pear"})).status_code == 200
        await old.fetch()
        assert [value(old.flow, name) for name in FIELDS] == [new, None, "Pear"]
        await old.save(name_first="Ada")
        assert messages(old.flow) == SAVED
        assert await traits(ada) == {"email": new, "name": {"first": "Ada", "last": "Pear"}}

    async def test_brings_a_former_address_back_where_that_is_wished(self, scene: Scene, kind: str) -> None:
        ada = await account(scene)
        old = await another_form(scene, ada, kind)
        assert (await ada.change(email=new_address("new"))).status_code == 200
        await old.save(email=ada.email)
        assert messages(old.flow) != SAVED
        await old.save(email=ada.email)
        assert messages(old.flow) == SAVED
        assert await traits(ada) == {"email": ada.email}

    async def test_changes_what_nobody_else_has_changed(self, scene: Scene, kind: str) -> None:
        ada, new = await account(scene, name={"first": "Eve"}), new_address("new")
        old = await another_form(scene, ada, kind)
        assert (await ada.change(email=new, name={"first": "Eve"})).status_code == 200
        await old.save(email=new, name_first="Ada")
        assert messages(old.flow) == SAVED
        assert await traits(ada) == {"email": new, "name": {"first": "Ada"}}

    async def test_keeps_what_was_typed_with_a_mistake(self, scene: Scene, kind: str) -> None:
        ada = await account(scene)
        old = await another_form(scene, ada, kind)
        await old.save(email="x")
        assert (await ada.change(name={"first": "Ada"})).status_code == 200
        await old.fetch()
        assert (value(old.flow, "email"), value(old.flow, "name.first")) == ("x", "Ada")
        assert 4000040 in node_messages(old.flow, "traits.email")


async def test_a_read_only_trait_that_an_operator_has_changed_is_no_wish(
    staging: Staging, sqlite_dsn: str, tmp_path: Path
) -> None:
    email = {"type": "string", "format": "email", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}}
    properties = {"email": email, "level": {"type": "string", "readOnly": True}, "nick": {"type": "string"}}
    schemas = {
        "default_schema_id": "levels",
        "schemas": [{"id": "levels", "url": written_schema(tmp_path, properties)}],
    }
    async with staging(sqlite_dsn, identity=schemas) as stage:
        ada, admin = await account(stage.scene), await stage.scene.admin()
        path = f"/admin/identities/{ada.id}"
        for level in ("silver", "gold"):
            await admin.patch(path, json=[{"op": "add", "path": "/traits/level", "value": level}])
            if level == "silver":
                await ada.open()
        answer = await ada.change(level="silver", nick="Ada")
        assert messages(answer.json()) == SAVED
        assert await traits(ada) == {"email": ada.email, "level": "gold", "nick": "Ada"}


@pytest.mark.parametrize(
    ("then", "now", "wanted", "names"),
    [
        ({}, {"a": 1}, {}, ["traits.a"]),
        ({"a": 1}, {}, {"a": 1}, ["traits.a"]),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 1}}, ["traits.a.b"]),
        ({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}}, {"a": {"b": 5}}, ["traits.a.c"]),
        ({}, {"a": True}, {"a": False}, ["traits.a"]),
        ({"a": ""}, {"a": "x"}, {}, ["traits.a"]),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1]}, ["traits.a"]),
        ({"a": 0}, {"a": 1}, {}, []),
        ({"a": 1}, {"a": 2}, {"a": 2}, []),
        ({"a": 1}, {"a": 2}, {"a": 3}, []),
        ({"a": 1}, {"a": 1}, {"a": 2}, []),
    ],
)
def test_what_would_be_put_back(then: Any, now: Any, wanted: Any, names: list[str]) -> None:
    assert put_back(then, now, wanted) == names
