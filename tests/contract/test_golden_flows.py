"""Our forms are Ory Elements' published sample answers, node by node, for a similar configuration.

The comparison leaves out ids, times, addresses, the anti-CSRF token, and the words of messages. The rest is compared
whole: the nodes and their order, attributes, the ids and contexts of messages, the flow's own keys.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.app import opened
from shopkeeper.settings import load
from tests.contract.recorded import read_compare

SCHEMAS = Path(__file__).with_name("golden_schemas")
BASE_URL = "http://127.0.0.1:4433"
OWNER = {"email": "dev@ory.dev", "password": "Plum-Tart-93-window"}
JSON = {"Accept": "application/json"}
SIGNS_IN = {"hooks": [{"hook": "session"}]}
# Keys whose value differs in every answer.
LEFT_OUT = ("id", "expires_at", "issued_at", "created_at", "updated_at", "request_url")

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A sample answer, and what to configure, open and submit to get ours.

    `known`: the account exists; `signed_in`: its owner opens the flow, as a refresh. `code`: one-time codes are on.
    """

    golden: str
    steps: tuple[Body, ...] = ()
    stepwise: bool = False
    password: bool = True
    code: bool = False
    schema: str = "customer"
    known: bool = False
    signed_in: bool = False

    @property
    def kind(self) -> str:
        return self.golden.partition("/")[0]


NOTHING: Body = {"method": "password", "identifier": OWNER["email"], "password": ""}
WRONG: Body = {"method": "password", "identifier": OWNER["email"], "password": "wrong-password"}
STRANGER: Body = {"method": "identifier_first", "identifier": "wrong-email@example.org"}
IDENTIFIER: Body = {"method": "identifier_first", "identifier": OWNER["email"]}
PROFILE: Body = {"method": "profile", "traits": {"email": OWNER["email"]}}

SEND: Body = {"method": "code", "identifier": OWNER["email"]}
WRONG_CODE: Body = {**SEND, "code": "wrong"}
NO_ADDRESS: Body = {"method": "code"}


def by_code(golden: str, *steps: Body, password: bool = False, **more: bool) -> Case:
    """Return a case with one-time codes as the only method, or with passwords as well."""
    return Case(golden, steps, code=True, password=password, **more)


UNIFIED = [
    Case("login/1fa/unified/password/initial-form"),
    Case(
        "login/1fa/unified/password/wrong-credentials",
        ({"method": "password", "identifier": "wrong-email@example.org", "password": "wrong-password"},),
    ),
    Case("login/1fa/refresh/password/initial-form", signed_in=True),
    Case("login/1fa/refresh/password/missing-password", (NOTHING,), signed_in=True),
    Case("login/1fa/refresh/password/wrong-password", (WRONG,), signed_in=True),
    Case("login/1fa/unified/refresh/password/initial-form", signed_in=True),
    Case("login/1fa/unified/refresh/password/missing-password", (NOTHING,), signed_in=True),
    Case("registration/one-step/password/initial-form"),
    Case("registration/one-step/password/missing-fields", ({"method": "password", "traits": {}},)),
    Case("registration/one-step/none/initial-form", password=False),
    by_code("login/1fa/refresh/code/without-password/initial-form", signed_in=True),
    # The button that carries the address does not name a method.
    by_code("login/1fa/refresh/code/without-password/code-sent", {"address": OWNER["email"]}, signed_in=True),
    by_code(
        "login/1fa/refresh/code/with-password/missing-identifier",
        {**NO_ADDRESS, "identifier": ""},
        password=True,
        signed_in=True,
    ),
    by_code(
        "login/1fa/refresh/code/with-password/wrong-code",
        {"method": "code", "address": OWNER["email"]},
        WRONG_CODE,
        password=True,
        signed_in=True,
    ),
    by_code("login/1fa/unified/refresh/code/missing-code", NO_ADDRESS, signed_in=True),
    by_code("registration/one-step/code/initial-form"),
    by_code("registration/one-step/code/missing-fields", {"method": "code", "traits": {}}),
]
STEPWISE = [
    Case("login/1fa/identifier_first/password/initial-form"),
    Case("login/1fa/identifier_first/password/missing-account", (STRANGER,)),
    Case("login/1fa/identifier_first/password/missing-email", ({"method": "identifier_first", "identifier": ""},)),
    Case(
        "login/1fa/identifier_first/password/missing-password",
        (IDENTIFIER, NOTHING),
        known=True,
    ),
    Case("login/1fa/identifier_first/refresh/password/initial-form", signed_in=True),
    Case("login/1fa/identifier_first/refresh/password/wrong-password", (WRONG,), signed_in=True),
    by_code("login/1fa/identifier_first/code/initial-form"),
    by_code(
        "login/1fa/identifier_first/code/invalid-account",
        {"method": "identifier_first", "identifier": "some-email@example.org"},
    ),
    by_code("login/1fa/identifier_first/code/show-send", IDENTIFIER, SEND, known=True),
    by_code("login/1fa/identifier_first/code/invalid-code", IDENTIFIER, SEND, WRONG_CODE, known=True),
    by_code("login/1fa/identifier_first/refresh/code/initial-form", signed_in=True),
    by_code("login/1fa/identifier_first/refresh/code/missing-code", NO_ADDRESS, signed_in=True),
    # The published samples of the unified form show its identifier as the form in two steps does.
    by_code("login/1fa/unified/code/initial-form"),
    by_code("login/1fa/unified/code/invalid-account", {**SEND, "identifier": "some-email@example.org"}),
    by_code("login/1fa/unified/code/code-input", SEND, known=True),
    by_code("login/1fa/unified/code/wrong-credentials", SEND, WRONG_CODE, known=True),
    by_code("registration/two-step/code/show-code-input", PROFILE, {**PROFILE, "method": "code"}),
    by_code(
        "registration/two-step/code/wrong-code",
        PROFILE,
        {**PROFILE, "method": "code"},
        {**PROFILE, "method": "code", "code": "wrong"},
    ),
    by_code("registration/two-step/all-methods/code-sent", PROFILE, {**PROFILE, "method": "code"}, password=True),
    # The first step does not depend on the methods that come after it.
    Case("login/1fa/identifier_first/webauthn/initial-form"),
    Case("login/1fa/identifier_first/webauthn/missing-email", ({"method": "identifier_first", "identifier": ""},)),
    Case("registration/two-step/code/initial-form"),
    Case("registration/two-step/passkey/initial-form"),
    Case("registration/two-step/passkey/missing-fields", ({"method": "profile", "traits": {}},)),
    Case("registration/two-step/webauthn/missing-fields", ({"method": "profile", "traits": {}},)),
    Case("registration/two-step/enum/initial-form", schema="traveller"),
    Case(
        "registration/two-step/password/password-validation-error",
        (PROFILE, {**PROFILE, "method": "password", "password": "abcd"}),
    ),
]


@pytest.mark.parametrize("case", UNIFIED, ids=lambda case: case.golden)
async def test_the_form_in_one_step_is_the_published_sample(
    case: Case, kratos: Path, conversations: Path, tmp_path: Path
) -> None:
    ours = await _ours(case, tmp_path, stepwise=False)
    assert read_compare(conversations)(_golden(case, kratos), ours) == []


@pytest.mark.parametrize("case", STEPWISE, ids=lambda case: case.golden)
async def test_the_form_in_steps_is_the_published_sample(
    case: Case, kratos: Path, conversations: Path, tmp_path: Path
) -> None:
    ours = await _ours(case, tmp_path, stepwise=True)
    assert read_compare(conversations)(_golden(case, kratos), ours) == []


def _golden(case: Case, kratos: Path) -> Any:
    return _comparable(json.loads((kratos / "golden" / f"{case.golden}.json").read_text()))


async def _ours(case: Case, folder: Path, *, stepwise: bool) -> Any:
    async with _visiting(_config(case, stepwise=stepwise), folder) as browser:
        if case.known or case.signed_in:
            token = await _register(browser, password=case.password)
        if case.signed_in:
            browser.headers["X-Session-Token"] = token
        query = "?refresh=true" if case.signed_in else ""
        flow = await _call(browser, "GET", f"/self-service/{case.kind}/browser{query}")
        for body in case.steps:
            token = flow["ui"]["nodes"][_names(flow).index("csrf_token")]["attributes"]["value"]
            flow = await _call(browser, "POST", flow["ui"]["action"], {**body, "csrf_token": token}, status=400)
        return _comparable(flow)


@asynccontextmanager
async def _visiting(config: Mapping[str, Any], folder: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a browser on the public app."""
    file = folder / "shop.json"
    file.write_text(json.dumps(config))
    async with opened(load([file], {}, dev=True, demo=False)) as application:
        transport = httpx2.ASGITransport(app=application.public)
        async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL, headers=JSON) as browser:
            yield browser


def _config(case: Case, *, stepwise: bool) -> Mapping[str, Any]:
    password = {"enabled": case.password, "config": {"haveibeenpwned_enabled": False}}
    flows = {
        "login": {"style": "identifier_first" if stepwise else "unified"},
        "registration": {
            "style": "profile_first" if stepwise else "unified",
            "after": {"password": SIGNS_IN, "code": SIGNS_IN},
        },
    }
    schema = {"id": case.schema, "url": f"file://{SCHEMAS / case.schema}.schema.json"}
    return {
        "dsn": "memory",
        "serve": {"public": {"base_url": f"{BASE_URL}/"}},
        "selfservice": {"methods": {"password": password, "code": {"passwordless_enabled": case.code}}, "flows": flows},
        "identity": {"default_schema_id": case.schema, "schemas": [schema]},
        "security": {"account_enumeration": {"mitigate": False}},
    }


async def _register(browser: httpx2.AsyncClient, *, password: bool) -> str:
    """Register the owner with a password, or else with the code that the development inbox shows."""
    flow = await _call(browser, "GET", "/self-service/registration/api")
    action, traits = flow["ui"]["action"], {"email": OWNER["email"]}
    own = {"method": "password", "password": OWNER["password"]} if password else {"method": "code"}
    if "profile" in {node["group"] for node in flow["ui"]["nodes"]}:
        await _call(browser, "POST", action, {"method": "profile", "traits": traits}, status=400)
    if not password:
        await _call(browser, "POST", action, {**own, "traits": traits}, status=400)
        own["code"] = await _mailed_code(browser)
    done = await _call(browser, "POST", action, {**own, "traits": traits})
    return str(done["session_token"])


async def _mailed_code(browser: httpx2.AsyncClient) -> str:
    inbox = await browser.get("/inbox", headers={"Accept": "text/html"})
    return re.findall(r"\b\d{6}\b", inbox.text)[0]


async def _call(
    browser: httpx2.AsyncClient, method: str, url: str, body: Body | None = None, *, status: int = 200
) -> Any:
    answer = await browser.request(method, url, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def _names(flow: Mapping[str, Any]) -> list[str]:
    return [node["attributes"].get("name", "") for node in flow["ui"]["nodes"]]


# -- what is compared --------------------------------------------------------------------------------------------------


def _comparable(flow: Mapping[str, Any]) -> Any:
    ui = {key: value for key, value in flow["ui"].items() if key != "action"}
    kept = {key: value for key, value in flow.items() if key not in LEFT_OUT}
    return _without_words({**kept, "ui": {**ui, "nodes": [_masked(node) for node in ui["nodes"]]}})


def _masked(node: Mapping[str, Any]) -> Mapping[str, Any]:
    if node["attributes"].get("name") != "csrf_token":
        return node
    return {**node, "attributes": {**node["attributes"], "value": "<csrf_token>"}}


def _without_words(value: Any) -> Any:
    """Return a value without the sentences of messages, which differ between servers."""
    if isinstance(value, dict):
        words = {"text"} if {"id", "text", "type"} <= value.keys() else set()
        return {key: _without_words(inner) for key, inner in value.items() if key not in words}
    return [_without_words(inner) for inner in value] if isinstance(value, list) else value
