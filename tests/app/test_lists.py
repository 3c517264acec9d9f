"""The lists of methods and of kinds of flow: their entries, and what follows from them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from shopkeeper.app import Application, opened
from shopkeeper.app.methods import Methods
from shopkeeper.credentials.method import MethodInput, MethodView
from shopkeeper.credentials.steps import Form, Proof
from shopkeeper.identity.facts import CredentialFacts
from shopkeeper.identity.values import Aal
from shopkeeper.settings import load
from shopkeeper.storage.database import Unit

PASSWORD = {"haveibeenpwned_enabled": False}


@asynccontextmanager
async def application(
    folder: Path, dsn: str, *, password: bool, flows: Mapping[str, Any]
) -> AsyncIterator[Application]:
    file = folder / "shopkeeper.yml"
    methods = {"password": {"enabled": password, "config": PASSWORD}}
    file.write_text(yaml.safe_dump({"dsn": dsn, "selfservice": {"methods": methods, "flows": dict(flows)}}))
    async with opened(load([file], {}, dev=True, demo=False)) as built:
        yield built


async def ask(built: Application, method: str, path: str, **more: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=built.public), base_url="http://localhost"
    ) as visitor:
        return await visitor.request(method, path, **more)


class Knock:
    """A method that signs in and does not register."""

    name = "knock"
    facts = CredentialFacts("knock", first_factor=True)
    aals = frozenset({Aal.AAL1})

    async def login_form(self, unit: Unit, view: MethodView) -> Form:
        return Form(())

    async def submit_login(self, unit: Unit, input: MethodInput) -> Proof:  # noqa: A002 - the protocol's word
        raise NotImplementedError


class TestMethods:
    async def test_a_method_that_is_on_is_offered_for_everything_it_can_do(
        self, tmp_path: Path, sqlite_dsn: str
    ) -> None:
        async with application(tmp_path, sqlite_dsn, password=True, flows={}) as built:
            methods = built.accounts.methods
            assert methods.names == ["password"]
            assert [m.name for m in (*methods.for_login, *methods.for_registration)] == ["password", "password"]
            assert methods.password is methods.for_login[0]

    def test_a_method_is_offered_only_by_the_flows_whose_protocol_it_has(self) -> None:
        methods = Methods([Knock()])
        assert [method.name for method in methods.for_login] == ["knock"]
        assert methods.for_registration == []
        assert methods.password is None

    async def test_a_method_that_is_off_is_in_no_form_and_signs_in_no_one(
        self, tmp_path: Path, sqlite_dsn: str
    ) -> None:
        async with application(tmp_path, sqlite_dsn, password=False, flows={}) as built:
            assert built.accounts.methods.every == []
            for kind in ("login", "registration"):
                form = (await ask(built, "GET", f"/self-service/{kind}/api")).json()
                assert "password" not in {node["group"] for node in form["ui"]["nodes"]}
            refused = await ask(built, "POST", "/signin", json={"username": "ada", "password": "Plum-Tart-93"})
            assert "switched off" in refused.text


class TestKindsOfFlow:
    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_a_form_may_redirect_to_the_origins_of_its_flow_and_its_methods(
        self, tmp_path: Path, sqlite_dsn: str, kind: str
    ) -> None:
        after = {
            "default_browser_return_url": "https://flow.example/",
            "password": {"default_browser_return_url": "https://method.example/"},
        }
        async with application(tmp_path, sqlite_dsn, password=True, flows={kind: {"after": after}}) as built:
            policy = (await ask(built, "GET", "/")).headers["content-security-policy"]
        allowed = next(part for part in policy.split("; ") if part.startswith("form-action"))
        assert allowed.endswith("https://flow.example https://method.example")

    @pytest.mark.parametrize("kind", ["login", "registration"])
    async def test_each_kind_of_flow_has_its_routes_and_a_page_of_its_name(
        self, tmp_path: Path, sqlite_dsn: str, kind: str
    ) -> None:
        async with application(tmp_path, sqlite_dsn, password=True, flows={}) as built:
            opened_at = await ask(built, "GET", f"/self-service/{kind}/browser", headers={"Accept": "text/html"})
            assert opened_at.headers["location"].startswith(f"http://127.0.0.1:4433/{kind}?flow=")
            assert (await ask(built, "GET", f"/{kind}")).headers["location"] == f"/self-service/{kind}/browser"
