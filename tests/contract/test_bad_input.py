"""Bad input is refused in the shape of its contract with a stable id, and never with a 500."""

import json
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pytest

from tests.services.shopkeeper_server import Commerce

JSON = "application/json"
MEGABYTE = 1024 * 1024
NOBODY = "6f1c1d0e-0000-4000-8000-000000000000"
PASSWORD = "Plum-Tart-93-window"


@dataclass(frozen=True)
class Answer:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        return self.headers.get("x-error-code")

    @property
    def document(self) -> Any:
        return json.loads(self.body)


def send(
    base: str, method: str, path: str, body: bytes = b"", *, content_type: str | None = JSON, chunked: bool = False
) -> Answer:
    """Send one request on a connection of its own. A server may answer before it has read everything; that is read
    too."""
    with socket.create_connection((urlsplit(base).hostname, urlsplit(base).port), timeout=20) as line:
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Accept: {JSON}", "Connection: close", length]
        head += [] if content_type is None else [f"Content-Type: {content_type}"]
        line.sendall("\r\n".join([*head, "", ""]).encode())
        with suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
        answer = HTTPResponse(line)
        answer.begin()
        with answer:
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers, answer.read())


# -- the routes, and the shape of their refusals -----------------------------------------------------------------------


def is_flow(answer: Answer) -> None:
    """Assert that the answer is the form again, with numbered messages above it or at its fields."""
    ui = answer.document["ui"]
    messages = [*ui.get("messages", []), *(message for node in ui["nodes"] for message in node["messages"])]
    assert messages
    assert all(message["id"] >= 4000000 and message["text"] for message in messages)
    assert (answer.status, answer.code) == (400, "flow_invalid")


def is_error(answer: Answer) -> None:
    """Assert that the answer is Kratos' error object."""
    error = answer.document["error"]
    assert error["code"] == answer.status >= 400
    assert error["message"]
    assert answer.code


def is_client_error(answer: Answer) -> None:
    """Assert that the answer has the shape that clients of the storefront and of GraphQL read."""
    for error in answer.document["errors"]:
        assert error["message"]
        assert error["extensions"]["code"].isupper()
    assert answer.status >= 400
    assert answer.code


@dataclass(frozen=True)
class Door:
    """A route that takes a body, and how it refuses one."""

    method: str
    path: str
    refuses: Callable[[Answer], None]
    admin: bool = False
    opened_at: str = ""

    def send(self, shop: Commerce, body: bytes, **more: Any) -> Answer:
        path = self.path
        if self.opened_at:
            action = urlsplit(send(shop.public, "GET", self.opened_at).document["ui"]["action"])
            path = f"{action.path}?{action.query}"
        return send(shop.admin if self.admin else shop.public, self.method, path, body, **more)


ONE = f"/admin/identities/{NOBODY}"
DOORS = {
    "login": Door("POST", "", is_flow, opened_at="/self-service/login/api"),
    "registration": Door("POST", "", is_flow, opened_at="/self-service/registration/api"),
    "logout": Door("DELETE", "/self-service/logout/api", is_error),
    "signin": Door("POST", "/signin", is_client_error),
    "signout": Door("POST", "/signout", is_client_error),
    "graphql": Door("POST", "/graphql", is_client_error),
    "create": Door("POST", "/admin/identities", is_error, admin=True),
    "batch": Door("PATCH", "/admin/identities", is_error, admin=True),
    "replace": Door("PUT", ONE, is_error, admin=True),
    "patch": Door("PATCH", ONE, is_error, admin=True),
}
doors = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
# A body that is refused before it reaches a database needs one kind of database only.
on_one_database = pytest.mark.parametrize("shop", ["sqlite"], indirect=True)


# -- bodies that cannot be read ----------------------------------------------------------------------------------------

UNREADABLE = {
    "broken off": b'{"method": "password", ',
    "not JSON": b"hello",
    "null": b"null",
    "a number": b"7",
    "a text": b'"password"',
    "a list of numbers": b"[1, 2]",
    "objects nested 10,000 deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "lists nested 100,000 deep": b"[" * 100_000,
    "bytes that are no UTF-8": b'{"method": "\xff\xfe", "query": "\xff\xfe", "schema_id": "\xff"}',
    "a lone surrogate": b'{"method": "\\ud800", "query": "\\ud800"}',
    "a number of 5,000 digits": b'{"method": ' + b"9" * 5_000 + b', "query": ' + b"9" * 5_000 + b"}",
    "a number that is none": b'{"method": NaN, "query": Infinity}',
    "a byte order mark": b'\xef\xbb\xbf{"method": "password"}',
}


@on_one_database
@doors
@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_a_body_that_cannot_be_read_is_refused(shop: Commerce, door: Door, body: bytes) -> None:
    answer = door.send(shop, body)
    door.refuses(answer)
    assert answer.status == 400


@on_one_database
@pytest.mark.parametrize("name", [name for name in DOORS if name != "graphql"])
def test_a_body_that_nests_33_deep_is_refused(shop: Commerce, name: str) -> None:
    """GraphQL reads only the fields of a request, and limits its variables by their types."""
    nested: Any = "password"
    for _ in range(33):
        nested = {"method": nested}
    DOORS[name].refuses(DOORS[name].send(shop, json.dumps(nested).encode()))


@on_one_database
@doors
def test_a_body_of_too_many_fields_is_refused(shop: Commerce, door: Door) -> None:
    answer = door.send(shop, json.dumps({f"field{n}": n for n in range(25_000)}).encode())
    assert answer.status in {400, 413}
    (is_error if answer.status == 413 and door.refuses is is_flow else door.refuses)(answer)


@on_one_database
@doors
@pytest.mark.parametrize("chunked", [False, True], ids=["of a length that is told", "of a length that is not told"])
def test_a_body_of_more_than_5_megabytes_is_refused(shop: Commerce, door: Door, chunked: bool) -> None:
    body = b'{"method": "' + b"x" * (5 * MEGABYTE) + b'"}'
    answer = door.send(shop, body, chunked=chunked)
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert (is_client_error if door.refuses is is_client_error else is_error)(answer) is None


@on_one_database
@pytest.mark.parametrize("name", ["login", "registration", "signin", "signout", "graphql"])
@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", "", None])
def test_a_body_of_another_kind_is_refused(shop: Commerce, name: str, kind: str | None) -> None:
    """Pages of other sites can send these without a preflight request."""
    DOORS[name].refuses(DOORS[name].send(shop, b'{"method": "password", "query": "{__typename}"}', content_type=kind))


@on_one_database
@pytest.mark.parametrize("name", ["login", "registration"])
@pytest.mark.parametrize(
    "form",
    [b"method=%ff%fe", b"method=\xc3\xa4", b"&".join(b"f%d=1" % n for n in range(2_500))],
    ids=["no UTF-8", "no ASCII", "too many fields"],
)
def test_a_form_that_cannot_be_read_is_refused(shop: Commerce, name: str, form: bytes) -> None:
    answer = DOORS[name].send(shop, form, content_type="application/x-www-form-urlencoded")
    is_flow(answer)
    assert answer.document["ui"]["messages"][0]["id"] == 4000001


# -- values that are not what is asked for -----------------------------------------------------------------------------


def new_address() -> str:
    return f"bad-{uuid4().hex[:12]}@example.org"


def identity(**more: Any) -> dict[str, Any]:
    return {"schema_id": "default", "traits": {"email": new_address()}, **more}


def password(config: Any) -> dict[str, Any]:
    return {"credentials": {"password": {"config": config}}}


def verified_at(moment: Any) -> dict[str, Any]:
    email = new_address()
    address = {"value": email, "via": "email", "verified": True, "status": "completed", "verified_at": moment}
    return {"traits": {"email": email}, "verifiable_addresses": [address]}


NUL = "a\x00b"
REFUSED_IDENTITIES = {
    "a list for the traits": lambda: identity(traits=["a"]),
    "a text for the traits": lambda: identity(traits="a"),
    "no traits": lambda: {"schema_id": "default"},
    "a list for an address": lambda: identity(traits={"email": ["a@example.org"]}),
    "a number for a name": lambda: identity(traits={"email": new_address(), "name": {"first": 7}}),
    "NUL in an address": lambda: identity(traits={"email": f"{NUL}@example.org"}),
    "NUL in a name": lambda: identity(traits={"email": new_address(), "name": {"first": NUL}}),
    "NUL in a trait's name": lambda: identity(traits={"email": new_address(), NUL: 1}),
    "NUL in metadata": lambda: identity(metadata_public={"note": [NUL]}),
    "NUL in metadata's names": lambda: identity(metadata_admin={NUL: 1}),
    "NUL in an external id": lambda: identity(external_id=NUL),
    "NUL in a schema's id": lambda: identity(schema_id=NUL),
    "NUL in a hash": lambda: identity(**password({"hashed_password": NUL})),
    "an object for a schema's id": lambda: identity(schema_id={"$ne": 1}),
    "a state that is none": lambda: identity(state="asleep"),
    "a number of 31 digits": lambda: identity(metadata_public={"n": 10**30}),
    "a list for the credentials": lambda: identity(credentials=[]),
    "a text for a credential": lambda: identity(credentials={"password": "secret"}),
    "a list for a password": lambda: identity(**password({"password": ["secret"]})),
    "a hash of no kind": lambda: identity(**password({"hashed_password": "not-a-hash"})),
    "a hash that would take hours": lambda: identity(**password({"hashed_password": "$2a$31$" + "a" * 53})),
    "a hash that a hook would have to verify": lambda: identity(**password({"use_password_migration_hook": True})),
    "a recovery address beside the traits": lambda: identity(recovery_addresses=[{"value": "a@x.org", "via": "email"}]),
    "a credential of no kind": lambda: identity(credentials={"teapot": {}}),
    "an address of no kind": lambda: identity(verifiable_addresses=[{"value": "a@example.org", "via": "pigeon"}]),
    "a day that is none": lambda: identity(**verified_at("yesterday")),
    "a number for a moment": lambda: identity(**verified_at(1_735_787_045)),
    "a moment without its zone": lambda: identity(**verified_at("2025-01-02T03:04:05")),
    "a moment before the first year": lambda: identity(**verified_at("0001-01-01T00:00:00+14:00")),
    "a moment after the last year": lambda: identity(**verified_at("9999-12-31T23:59:59-14:00")),
    "an id": lambda: identity(id=NOBODY),
}


@pytest.mark.parametrize("make", REFUSED_IDENTITIES.values(), ids=REFUSED_IDENTITIES)
def test_an_identity_of_bad_values_is_refused(shop: Commerce, make: Callable[[], dict[str, Any]]) -> None:
    answer = DOORS["create"].send(shop, json.dumps(make()).encode())
    is_error(answer)
    assert answer.status == 400


@pytest.fixture
def known(shop: Commerce) -> str:
    """The id of an existing identity."""
    return str(DOORS["create"].send(shop, json.dumps(identity()).encode()).document["id"])


REFUSED_PATCHES = {
    "no operation": [{}],
    "an operation of no kind": [{"op": "bake", "path": "/traits/email", "value": "x"}],
    "a list of texts": ["replace"],
    "a number for a path": [{"op": "replace", "path": 7, "value": 1}],
    "a path that is no pointer": [{"op": "replace", "path": "traits", "value": 1}],
    "a path that is not there": [{"op": "replace", "path": "/traits/name/nick/deep", "value": 1}],
    "the whole": [{"op": "replace", "path": "", "value": {}}],
    "the id": [{"op": "replace", "path": "/id", "value": NOBODY}],
    "the credentials": [{"op": "replace", "path": "/credentials", "value": {}}],
    "a state that is none": [{"op": "replace", "path": "/state", "value": 10**30}],
    "NUL": [{"op": "add", "path": "/metadata_public", "value": {"note": NUL}}],
    "NUL in a path": [{"op": "add", "path": f"/metadata_public/{NUL}", "value": 1}],
    "a list for the traits": [{"op": "replace", "path": "/traits", "value": []}],
    "a test that fails": [{"op": "test", "path": "/state", "value": "inactive"}],
    "a move into itself": [{"op": "move", "from": "/traits", "path": "/traits/email"}],
}


@pytest.mark.parametrize("operations", REFUSED_PATCHES.values(), ids=REFUSED_PATCHES)
def test_a_bad_patch_is_refused_and_changes_nothing(shop: Commerce, known: str, operations: list[Any]) -> None:
    one = f"/admin/identities/{known}"
    before = send(shop.admin, "GET", one).document
    answer = send(shop.admin, "PATCH", one, json.dumps(operations).encode())
    is_error(answer)
    assert answer.status == 400
    assert send(shop.admin, "GET", one).document == before


BAD_VALUES = {
    "a list": ["a"],
    "an object": {"$ne": 1},
    "true": True,
    "a number of 31 digits": 10**30,
    "ninety thousand letters": "x" * 90_000,
    "NUL": NUL,
    "an escape sequence": "\x1b[31m\r\nSet-Cookie: a=b",
}
# A password may be any text that is long enough.
ANY_PASSWORD = {"an escape sequence"}
bad_values = pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)


@bad_values
@pytest.mark.parametrize("field", ["method", "identifier", "password"])
def test_a_sign_in_of_bad_values_shows_the_form_again(shop: Commerce, field: str, value: Any) -> None:
    fields = {"method": "password", "identifier": new_address(), "password": PASSWORD, field: value}
    is_flow(DOORS["login"].send(shop, json.dumps(fields).encode()))


@bad_values
@pytest.mark.parametrize("field", ["method", "traits"])
def test_a_sign_up_of_bad_values_shows_the_form_again(shop: Commerce, field: str, value: Any) -> None:
    fields = {"method": "password", "password": PASSWORD, "traits": {"email": new_address()}, field: value}
    is_flow(DOORS["registration"].send(shop, json.dumps(fields).encode()))


@pytest.mark.parametrize("name", [name for name in BAD_VALUES if name not in ANY_PASSWORD])
def test_a_sign_up_with_a_password_of_bad_values_shows_the_form_again(shop: Commerce, name: str) -> None:
    fields = {"method": "password", "password": BAD_VALUES[name], "traits": {"email": new_address()}}
    is_flow(DOORS["registration"].send(shop, json.dumps(fields).encode()))


@bad_values
@pytest.mark.parametrize("field", ["username", "password", "authHint"])
def test_a_storefront_sign_in_of_bad_values_is_refused(shop: Commerce, field: str, value: Any) -> None:
    fields = {"username": new_address(), "password": PASSWORD, field: value}
    is_client_error(DOORS["signin"].send(shop, json.dumps(fields).encode()))


@bad_values
def test_a_session_token_of_bad_values_is_refused(shop: Commerce, value: Any) -> None:
    is_error(DOORS["logout"].send(shop, json.dumps({"session_token": value}).encode()))


# -- unknown fields ----------------------------------------------------------------------------------------------------


UNKNOWN_IN_ADMIN = {
    "identity": ("create", identity(shoe=42), "unknown_field"),
    "credential": ("create", identity(credentials={"password": {"config": {}, "shoe": 42}}), "unknown_field"),
    "configuration of a credential": ("create", identity(**password({"password": "x", "shoe": 42})), "unknown_field"),
    "recovery address": ("create", identity(recovery_addresses=[{"value": "a@x.org", "shoe": 42}]), "unknown_field"),
    "address": ("create", identity(verifiable_addresses=[{"value": "a@example.org", "shoe": 42}]), "unknown_field"),
    "batch": ("batch", {"people": []}, "unknown_field"),
    "entry of a batch": ("batch", {"identities": [{"create": identity(), "shoe": 42}]}, "unknown_field"),
    "replaced identity": ("replace", {**identity(state="active"), "shoe": 42}, "unknown_field"),
}


@on_one_database
@pytest.mark.parametrize(("name", "body", "code"), UNKNOWN_IN_ADMIN.values(), ids=UNKNOWN_IN_ADMIN)
def test_an_unknown_field_is_refused_in_admin_input(shop: Commerce, name: str, body: Any, code: str) -> None:
    answer = DOORS[name].send(shop, json.dumps(body).encode())
    is_error(answer)
    assert (answer.status, answer.code) == (400, code)


@on_one_database
@pytest.mark.parametrize(
    "request_",
    [
        {"query": "{ __typename shoe }"},
        {"query": '{ getCart(shoe: "42") { id } }'},
        {"query": "query ($shoe: Shoe!) { __typename }", "variables": {"shoe": 42}},
    ],
    ids=["field", "argument", "type"],
)
def test_an_unknown_field_is_refused_in_graphql_input(shop: Commerce, request_: Mapping[str, Any]) -> None:
    answer = DOORS["graphql"].send(shop, json.dumps(request_).encode())
    assert answer.document["errors"]
    assert all(error["extensions"]["code"] for error in answer.document["errors"])
    assert "data" not in answer.document


UNKNOWN = {"shoe": 42, "role": "admin", "state": "inactive", "metadata_admin": {"tier": "gold"}, "id": NOBODY}


@on_one_database
def test_an_unknown_field_is_ignored_in_self_service(shop: Commerce) -> None:
    """None of it gets into the account."""
    account = {"method": "password", "password": PASSWORD, "traits": {"email": new_address()}}
    made = DOORS["registration"].send(shop, json.dumps({**UNKNOWN, **account}).encode())
    assert made.status == 200
    kept = send(shop.admin, "GET", f"/admin/identities/{made.document['identity']['id']}").document
    assert (kept["state"], kept.get("metadata_admin")) == ("active", None)
    identifier = account["traits"]["email"]
    entering = {"method": "password", "identifier": identifier, "password": PASSWORD}
    assert DOORS["login"].send(shop, json.dumps({**UNKNOWN, **entering}).encode()).status == 200


# -- paths and queries -------------------------------------------------------------------------------------------------

QUERIES = {
    "NUL": NUL,
    "no UTF-8": b"\xff\xfe",
    "a thousand letters": "x" * 1_000,
    "a quotation mark": "' OR 1=1 --",
    "a huge number": "9" * 40,
    "a path": "../../etc/passwd",
}
PUBLIC_PATHS = [
    "/self-service/login/api?identity_schema={}",
    "/self-service/registration/api?identity_schema={}",
    "/self-service/login/api?aal={}",
    "/self-service/login/flows?id={}",
    "/self-service/registration/flows?id={}",
    "/self-service/logout/browser?return_to={}",
    "/self-service/errors?id={}",
    "/schemas/{}",
    "/{}",
]
ADMIN_PATHS = [
    "/admin/identities?page_token={}",
    "/admin/identities?page_size={}",
    "/admin/identities?ids={}",
    "/admin/identities/{}",
    "/admin/identities/by/external/{}",
    "/admin/identities/{}/sessions",
    "/admin/sessions?page_token={}",
    "/admin/sessions/{}",
]


@pytest.mark.parametrize("path", [*PUBLIC_PATHS, *ADMIN_PATHS])
@pytest.mark.parametrize("name", QUERIES)
def test_a_path_of_bad_values_is_refused(shop: Commerce, path: str, name: str) -> None:
    base = shop.admin if path.startswith("/admin") else shop.public
    answer = send(base, "GET", path.format(quote(QUERIES[name], safe="")), content_type=None)
    is_error(answer)
    assert answer.status < 500
