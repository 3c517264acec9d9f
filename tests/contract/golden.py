"""Gives our answer to what a published sample of Ory Elements shows, in a form that the two are compared in.

Left out are ids, times, addresses, the anti-CSRF token and the words of messages. The rest is compared whole: the nodes
and their order, attributes, the ids and contexts of messages, the flow's own keys, the identity.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from shopkeeper.app import Application, opened
from shopkeeper.credentials.linked_providers import LinkedAccount, linking
from shopkeeper.identity.values import Via
from shopkeeper.settings import load

SCHEMAS = Path(__file__).with_name("golden_schemas")
BASE_URL = "http://127.0.0.1:4433"
OWNER = {"email": "dev@ory.dev", "password": "Plum-Tart-93-window"}
JSON = {"Accept": "application/json"}
SIGNS_IN = {"hooks": [{"hook": "session"}]}
OWN = ("expires_at", "issued_at", "created_at", "updated_at", "request_url", "verified_at", "state_changed_at")
"""Keys whose value differs in every answer."""
SERVERS = ("schema_id", "schema_url", "request", "region", "organization_id")
"""Keys that tell of the server that the samples were taken from, a service with organizations and regions."""
ID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
PUBLIC = re.compile(r"^https?://(slug\.projects\.oryapis:8080|127\.0\.0\.1:4433)/")

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A sample answer, and what to configure, open and submit to get ours.

    `known`: the account exists; `signed_in`: its owner opens the flow, as a refresh if it is a login. `code`: one-time
    codes sign in. `social`: the labels of providers by their ids; `linked`: whether the account is linked to Google,
    `alone`: in place of its password.
    `configured` holds further settings by their path.
    """

    golden: str
    steps: Sequence[Body] = ()
    password: bool = True
    code: bool = False
    schema: str = "customer"
    known: bool = False
    signed_in: bool = False
    social: Mapping[str, str] = field(default_factory=dict)
    linked: bool = False
    alone: bool = False
    configured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.golden.partition("/")[0]


def by_code(golden: str, *steps: Body, password: bool = False, **more: Any) -> Case:
    """Return a case with one-time codes as the only method, or with passwords as well."""
    return Case(golden, steps, code=True, password=password, **more)


def read_sample(golden: str, kratos: Path) -> Any:
    return comparable(json.loads((kratos / "golden" / f"{golden}.json").read_text()))


def sample_names(kratos: Path) -> Sequence[str]:
    folder = kratos / "golden"
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.json"))


async def ours(case: Case, folder: Path, *, stepwise: bool) -> Any:
    """Return our answer after the last step of a case."""
    async with _opened(config_of(case, stepwise=stepwise), folder) as (application, browser):
        if case.known or case.signed_in:
            await register(browser, password=case.password)
            if case.linked:
                await _link(application, alone=case.alone)
            if not case.signed_in:
                browser.cookies.clear()
        query = "?refresh=true" if case.signed_in and case.kind == "login" else ""
        answer = await _call(browser, "GET", f"/self-service/{case.kind}/browser{query}")
        for body in case.steps:
            answer = await _submit(browser, answer, body)
        return comparable(answer)


# -- our server --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def visiting(config: Mapping[str, Any], folder: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a browser on the public app."""
    async with _opened(config, folder) as (_, browser):
        yield browser


@asynccontextmanager
async def _opened(config: Mapping[str, Any], folder: Path) -> AsyncIterator[tuple[Application, httpx2.AsyncClient]]:
    file = folder / "shop.json"
    file.write_text(json.dumps(config))
    async with opened(load([file], {}, dev=True, demo=False)) as application:
        transport = httpx2.ASGITransport(app=application.public)
        async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL, headers=JSON) as browser:
            yield application, browser


def config_of(case: Case, *, stepwise: bool) -> Mapping[str, Any]:
    password = {"enabled": case.password, "config": {"haveibeenpwned_enabled": False}}
    by_mail = {"enabled": case.kind in {"settings", "recovery", "verification"}, "use": "code"}
    flows = {
        "login": {"style": "identifier_first" if stepwise else "unified"},
        "registration": {
            "style": "profile_first" if stepwise else "unified",
            "after": {"password": SIGNS_IN, "code": SIGNS_IN},
        },
        "settings": {"ui_url": f"{BASE_URL}/settings"},
        "recovery": by_mail,
        "verification": by_mail,
    }
    schema = {"id": case.schema, "url": f"file://{SCHEMAS / case.schema}.schema.json"}
    config = {
        "dsn": "memory",
        "serve": {"public": {"base_url": f"{BASE_URL}/"}},
        "selfservice": {"methods": {"password": password, "code": {"passwordless_enabled": case.code}}, "flows": flows},
        "identity": {"default_schema_id": case.schema, "schemas": [schema]},
        "security": {"account_enumeration": {"mitigate": False}},
    }
    oidc = {"enabled": True, "config": {"providers": [_provider(*each) for each in case.social.items()]}}
    social = {"selfservice.methods.oidc": oidc} if case.social else {}
    return _configured(config, {**social, **case.configured})


def _provider(id_: str, label: str) -> Mapping[str, Any]:
    known = {"client_id": "shop", "client_secret": "secret", "issuer_url": _issuer(id_)}
    return {"id": id_, "provider": "generic", "label": label, **known}


def _issuer(id_: str) -> str:
    return f"https://{id_}.example"


def _configured(config: Mapping[str, Any], further: Mapping[str, Any]) -> Mapping[str, Any]:
    changed: Any = deepcopy(config)
    for path, value in further.items():
        *above, last = path.split(".")
        section = changed
        for step in above:
            section = section.setdefault(step, {})
        section[last] = value
    return changed


async def _link(application: Application, *, alone: bool) -> None:
    """Link the owner's account to one at Google, which has verified the address; `alone` in place of the password."""
    identities = application.accounts.identities
    async with application.infrastructure.database.unit() as unit:
        found = await identities.find_by_address(unit, via=Via.EMAIL, value=OWNER["email"])
        assert found is not None
        google = linking([LinkedAccount("google", "1093", _issuer("google"))])
        linked = {"oidc": google, **({"password": None} if alone else {})}
        owner = await identities.change_credentials(unit, found, linked, actor="system", client_ip=None)
        await identities.mark_verified(unit, owner, [(Via.EMAIL, OWNER["email"])])


async def register(browser: httpx2.AsyncClient, *, password: bool) -> None:
    """Register the owner with a password, or else with the code that the development inbox shows."""
    flow = await _call(browser, "GET", "/self-service/registration/browser")
    traits = {"email": OWNER["email"]}
    own = {"method": "password", "password": OWNER["password"]} if password else {"method": "code"}
    if "profile" in {node["group"] for node in flow["ui"]["nodes"]}:
        flow = await _submit(browser, flow, {"method": "profile", "traits": traits})
    if not password:
        flow = await _submit(browser, flow, {**own, "traits": traits})
        own["code"] = await _mailed_code(browser)
    done = await _submit(browser, flow, {**own, "traits": traits})
    assert done["session"]["active"]


async def _mailed_code(browser: httpx2.AsyncClient) -> str:
    inbox = await browser.get("/inbox", headers={"Accept": "text/html"})
    return re.findall(r"\b\d{6}\b", inbox.text)[0]


async def _submit(browser: httpx2.AsyncClient, flow: Mapping[str, Any], body: Body) -> Any:
    fields = {node["attributes"].get("name"): node["attributes"].get("value") for node in flow["ui"]["nodes"]}
    return await _call(browser, "POST", flow["ui"]["action"], {**body, "csrf_token": fields["csrf_token"]})


async def _call(browser: httpx2.AsyncClient, method: str, url: str, body: Body | None = None) -> Any:
    answer = await browser.request(method, url, json=body)
    assert answer.status_code in {200, 400}, answer.text
    return answer.json()


# -- what is compared --------------------------------------------------------------------------------------------------


def comparable(answer: Mapping[str, Any]) -> Any:
    """Return a flow, or an error, without what differs between any two servers."""
    error = answer.get("error")
    if error is not None:
        return {"error": {key: error[key] for key in ("code", "status")}}
    return _without_own(answer)


def _without_own(value: Any) -> Any:
    if isinstance(value, dict):
        words = {"text"} if {"id", "text", "type"} <= value.keys() else set()
        kept = {key: inner for key, inner in value.items() if key not in {*OWN, *SERVERS, *words}}
        if kept.get("name") == "csrf_token":
            kept["value"] = "<csrf_token>"
        return {key: _without_own(inner) for key, inner in kept.items()}
    if isinstance(value, list):
        return [_without_own(inner) for inner in value]
    return PUBLIC.sub("<public>/", ID.sub("<id>", value)) if isinstance(value, str) else value
