"""Row 93: every field of every JSON body with a value of every JSON type. No answer is a 500."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.attacks.conftest import Opening
from tests.attacks.scene import PASSWORD, SIGN_UP, new_address, sign_up, visit

VALUES: dict[str, str] = {
    "null": "null",
    "true": "true",
    "a negative number": "-1",
    "infinity": "1e999",
    "a number of 5,000 digits": "9" * 5_000,
    "a text": '"x"',
    "a zero byte": '"\\u0000"',
    "half a character": '"\\ud800"',
    "a list": '["x", 1, null]',
    "an object": '{"x": {"y": [1]}}',
}
PLACE = '"put it here"'

IDENTITY = {
    "schema_id": "default",
    "state": "active",
    "traits": {"email": "ada@example.org", "name": {"first": "Ada"}},
    "metadata_public": {"a": 1},
    "metadata_admin": {"a": 1},
    "external_id": "7",
    "credentials": {
        "password": {"config": {"password": PASSWORD, "hashed_password": "$argon2id$"}},
        "oidc": {"config": {"providers": [{"provider": "a", "subject": "b"}]}},
        "code": {"config": {"addresses": [{"channel": "email", "address": "ada@example.org"}]}},
        "totp": {"config": {"totp_url": "otpauth://x"}},
    },
    "verifiable_addresses": [{"value": "ada@example.org", "via": "email", "verified": True, "status": "completed"}],
    "recovery_addresses": [{"value": "ada@example.org", "via": "email"}],
    "organization_id": None,
}
BODIES: dict[str, tuple[str, str, Any]] = {
    "login": (
        "POST",
        "login",
        {
            "method": "password",
            "identifier": "a",
            "password": "b",
            "password_identifier": "c",
            "csrf_token": "d",
            "transient_payload": {"a": 1},
        },
    ),
    "login by code": (
        "POST",
        "login",
        {"method": "code", "identifier": "a@example.org", "address": "b", "code": "123456", "resend": "code"},
    ),
    "registration": (
        "POST",
        "registration",
        {
            "method": "password",
            "password": PASSWORD,
            "traits": {"email": "a@example.org", "name": {"first": "Ada", "last": "L"}},
            "csrf_token": "d",
            "transient_payload": {"a": 1},
        },
    ),
    "registration by code": (
        "POST",
        "registration",
        {"method": "code", "traits": {"email": "a@example.org"}, "code": "123456", "resend": "code"},
    ),
    "profile": (
        "POST",
        "registration",
        {"method": "profile", "screen": "previous", "traits": {"email": "a@example.org"}},
    ),
    "logout": ("DELETE", "/self-service/logout/api", {"session_token": "a"}),
    "sign-in": (
        "POST",
        "/signin",
        {
            "type": "refresh",
            "username": "a",
            "password": "b",
            "authHint": {"token": "a", "oldCartId": "b", "mergeWithExistingCustomerCart": True},
            "scope": "a",
            "attrs": {"a": 1},
            "country": "DE",
            "currency": "EUR",
            "locale": "de",
        },
    ),
    "sign-out": ("POST", "/signout", {"a": 1}),
    "graphql": (
        "POST",
        "/graphql",
        {
            "query": SIGN_UP,
            "variables": {"i": {"email": "a@example.org", "password": PASSWORD, "firstName": "Ada"}},
            "operationName": "Up",
            "extensions": {"persistedQuery": {"version": 1}},
        },
    ),
    "create": ("POST", "/admin/identities", IDENTITY),
    "replace": ("PUT", "/admin/identities/{id}", IDENTITY),
    "batch": ("PATCH", "/admin/identities", {"identities": [{"create": IDENTITY, "patch_id": "a"}]}),
    "patch": (
        "PATCH",
        "/admin/identities/{id}",
        [
            {"op": "add", "path": "/metadata_public", "value": {"a": 1}},
            {"op": "move", "from": "/metadata_public", "path": "/metadata_admin"},
            {"op": "replace", "path": "/verifiable_addresses/0/verified_at", "value": "2026-01-01T00:00:00Z"},
            {"op": "replace", "path": "/state", "value": "active"},
        ],
    ),
}


def with_each(document: Any, value: str) -> Iterator[str]:
    """Return the document as JSON with the value in the place of each part of it, one after the other."""
    for changed in _replaced(document):
        yield json.dumps(changed).replace(PLACE, value)


def _replaced(document: Any) -> Iterator[Any]:
    yield json.loads(PLACE)
    if isinstance(document, dict):
        for name, part in document.items():
            yield from ({**document, name: changed} for changed in _replaced(part))
    elif isinstance(document, list):
        for index, part in enumerate(document):
            yield from ([*document[:index], changed, *document[index + 1 :]] for changed in _replaced(part))


UNTHROTTLED: Any = {
    "login": {"per_ip": "100000/minute", "failures": 100_000},
    "registration": {"per_ip": "100000/minute"},
    "code": dict.fromkeys(("per_ip", "per_recipient", "per_pair"), "100000/minute"),
}
METHODS: Any = {
    "methods": {
        "code": {"passwordless_enabled": True},
        "password": {"config": {"haveibeenpwned_enabled": False}},
    }
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_row_093_no_value_in_any_field_is_answered_with_a_500(
    opening: Opening, sqlite_dsn: str, body: tuple[str, str, Any]
) -> None:
    method, path, document = body
    async with opening(sqlite_dsn, throttle=UNTHROTTLED, selfservice=METHODS) as scene:
        app, admin = await scene.native(), await scene.admin()
        identity = (await sign_up(app, new_address()))["identity"]["id"]
        bearer = {"authorization": f"Bearer {(await visit(app))['authorization']}"}
        client = admin if path.startswith("/admin") else app
        headers = {"content-type": "application/json", **(bearer if client is app else {})}
        for value in VALUES.values():
            where = path.format(id=identity) if path.startswith("/") else await _new_flow(app, path)
            for sent in with_each(document, value):
                answer = await client.request(method, where, content=sent, headers=headers)
                assert answer.status_code < 500, sent[:500]
                assert "INTERNAL" not in answer.text, sent[:500]


async def _new_flow(app: httpx2.AsyncClient, kind: str) -> str:
    flow = (await app.get(f"/self-service/{kind}/api")).json()
    return f"/self-service/{kind}?flow={flow['id']}"


QUERY = [
    *("aal", "active", "code", "credentials_identifier", "expand", "flow", "id", "ids", "include_credential", "lang"),
    *("login_challenge", "page", "page_size", "page_token", "per_page", "recipient", "refresh", "return_to", "state"),
    *("status", "store", "token", "via"),
]
GETS = {
    "public": [
        *(f"/self-service/{kind}/{how}" for kind in ("login", "registration") for how in ("browser", "api", "flows")),
        *("/self-service/logout", "/self-service/logout/browser", "/self-service/errors", "/sessions"),
        *("/sessions/whoami", "/schemas", "/", "/account", "/login", "/registration", "/error", "/health/ready"),
    ],
    "admin": ["/identities", "/sessions", "/courier/messages", "/schemas", "/version", "/health/ready"],
}


@pytest.mark.parametrize("value", ["a%00b", "%ff", "aal3", "-1", "9" * 5_000])
async def test_row_093_no_value_in_any_query_is_answered_with_a_500(
    opening: Opening, postgres_dsn: str, value: str
) -> None:
    """On PostgreSQL, which cannot store a NUL: regression for one in an error that was stored."""
    async with opening(postgres_dsn, throttle=UNTHROTTLED, selfservice=METHODS) as scene:
        for port, client in (("public", await scene.browser()), ("admin", await scene.admin())):
            for path in GETS[port]:
                for name in QUERY:
                    for accept in ("text/html", "application/json"):
                        asked = f"{path}?{name}={value}"
                        answer = await client.get(asked, headers={"accept": accept})
                        assert answer.status_code < 500, asked[:100]
