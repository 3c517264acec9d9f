"""Rows 49, 51, 52, 62, 64, 67, 93 and 95: what is sent, what is stored of it, and what it must not reach."""

import asyncio
import gzip
import json
import re
import socket
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from graphql import parse
from prometheus_client import generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from shopkeeper.graphql.cost import Measuring
from shopkeeper.graphql.documents import MOST_BYTES, Documents
from shopkeeper.graphql.limits import operations_in
from shopkeeper.graphql.schema import core_schema
from shopkeeper.http.request_limits import BodyBudget, BodyLimits
from shopkeeper.http.requests import read_body
from tests.attacks.conftest import Opening
from tests.attacks.scene import (
    PASSWORD,
    SIGN_UP,
    Scene,
    ask,
    new_address,
    sign_in,
    sign_up,
    submit,
    visit,
)
from tests.attacks.wire import request, send
from tests.graphql.shop import LIMITS
from tests.services.shopkeeper_server import Commerce

SECRET = "a-very-SECRET-plum-4711"
JSON_BODY = b"Content-Type: application/json\r\n"
SPREADS = "".join(f"...f{i} " for i in range(150))
FRAGMENTS = "".join(f"fragment f{i} on Query {{ getCart {{ id }} }} " for i in range(150))
PAGE = 'findItemsByKeyword(text: "", limit: $n) { total }'
MULTIPLYING = (
    "query($n: Int) { ...F0 } "
    + "".join(f"fragment F{n} on Query {{ {f'...F{n + 1} ' * 10}}} " for n in range(8))
    + f"fragment F8 on Query {{ {PAGE} }}"
)


class TestPasswords:
    """Where a password must not be found later: in flows, in any other table, in the log, in an answer."""

    async def test_row_049_none_is_kept_in_any_table(self, either_scene: Scene) -> None:
        app, email = await either_scene.native(), new_address()
        await _send_everywhere(either_scene, app, email)
        async with either_scene.application.infrastructure.database.transaction() as connection:
            names = await connection.run_sync(lambda sync: sync.dialect.get_table_names(sync))
        assert {"flows", "credentials", "audit_events", "outbox"} <= set(names)
        for name in names:
            assert SECRET not in repr(await either_scene.rows(name)), name

    async def test_row_049_none_is_in_the_log(self, scene: Scene, capfd: pytest.CaptureFixture[str]) -> None:
        app, email = await scene.native(), new_address()
        with capture_logs() as logged:
            await _send_everywhere(scene, app, email)
        out, err = capfd.readouterr()
        assert len(logged) > 5
        assert SECRET not in repr(logged) + out + err

    async def test_row_049_none_is_repeated_in_an_answer(self, scene: Scene) -> None:
        app, email = await scene.native(), new_address()
        for answer in await _send_everywhere(scene, app, email):
            assert SECRET not in answer

    async def test_row_049_no_token_is_in_the_log(self, scene: Scene) -> None:
        app, email = await scene.native(), new_address()
        with capture_logs() as logged:
            token = (await sign_up(app, email))["session_token"]
            visitor = (await visit(app))["authorization"]
            await app.get(f"/sessions/{token}", headers={"x-session-token": token})
            await app.delete(f"/sessions/{token}", headers={"x-session-token": token})
            await app.get(f"/{token}?token={token}", headers={"authorization": f"Bearer {visitor}"})
            await app.get(f"/self-service/logout?token={token}", headers={"cookie": f"ory_kratos_session={token}"})
        assert len(logged) > 5
        assert token not in repr(logged)
        assert visitor not in repr(logged)

    async def test_row_049_no_bare_address_is_in_the_log(self, scene: Scene) -> None:
        app, email = await scene.native(), new_address()
        with capture_logs() as logged:
            await sign_up(app, email)
            await sign_in(app, email, "a wrong guess, again")
            await app.post("/signin", json={"username": email, "password": PASSWORD})
        assert email not in repr(logged)

    async def test_row_049_sessions_are_kept_as_hashes(self, scene: Scene) -> None:
        app = await scene.native()
        token = (await sign_up(app, new_address()))["session_token"]
        assert token.removeprefix("shk_st_") not in repr(await scene.rows("sessions"))

    async def test_row_049_a_database_that_fails_tells_no_values(self, scene: Scene) -> None:
        """Errors of the database library repeat the statement's values, and errors are logged."""
        database = scene.application.infrastructure.database
        with pytest.raises(Exception, match="no such table") as failed:
            async with database.unit() as unit:
                await unit.write(_missing_table(SECRET))
        assert SECRET not in str(failed.value)


class TestUnknownFields:
    EXTRA = (
        {"session": {"id": 1, "identity": {"id": 2}}},
        {"principal": {"kind": "customer"}},
        {"customer": {"id": 1}},
        {"__proto__": {"admin": True}},
        {"constructor": {"prototype": {}}},
        {"identity_id": "x"},
        {"store": "other"},
    )

    @pytest.mark.parametrize("extra", EXTRA, ids=lambda extra: next(iter(extra)))
    async def test_row_051_nothing_nests_into_a_session(self, scene: Scene, extra: dict[str, Any]) -> None:
        app, email = await scene.native(), new_address()
        known = await sign_up(app, email)
        form = {"method": "password", "identifier": email, "password": PASSWORD, **extra}
        signed_in = (await submit(app, "login", form)).json()["session"]
        assert signed_in["identity"] == known["identity"]
        for body in ({"username": email, "password": PASSWORD}, {}):
            answer = await app.post("/signin", json={**body, **extra})
            [error] = answer.json()["errors"]
            assert (answer.status_code, error["extensions"]["code"]) == (400, "UNKNOWN_FIELD")

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/admin/identities", {"traits": {"email": "a@example.org"}, "schema_id": "default"}),
            (
                "PUT",
                "/admin/identities/{id}",
                {"traits": {"email": "a@example.org"}, "schema_id": "default", "state": "active"},
            ),
            ("PATCH", "/admin/identities", {"identities": []}),
        ],
    )
    @pytest.mark.parametrize("extra", [*EXTRA, {"id": "x"}, {"created_at": "2020-01-01T00:00:00Z"}, {"version": 9}])
    async def test_row_051_the_admin_port_refuses_them(
        self, scene: Scene, method: str, path: str, body: dict[str, Any], extra: dict[str, Any]
    ) -> None:
        admin, app = await scene.admin(), await scene.native()
        identity = (await sign_up(app, new_address()))["identity"]["id"]
        read = (await admin.get(f"/admin/identities/{identity}")).json()
        answer = await admin.request(method, path.format(id=identity), json={**body, **extra})
        if method == "PUT" and extra.keys() <= read.keys():  # an identity that was read can be put back
            after = (await admin.get(f"/admin/identities/{identity}")).json()
            assert (answer.status_code, {name: after[name] for name in extra}) == (
                200,
                {name: read[name] for name in extra},
            )
        else:
            assert (answer.status_code, answer.headers["x-error-code"]) == (400, "unknown_field")

    async def test_row_051_graphql_refuses_them(self, scene: Scene) -> None:
        app = await scene.native()
        token = (await visit(app))["authorization"]
        told = await ask(app, token, SIGN_UP, i={"email": new_address(), "password": PASSWORD, "verified": True})
        assert told["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
        assert await scene.rows("identities") == []


class TestConcurrentErrors:
    async def test_row_052_each_error_has_its_own_words(self, scene: Scene) -> None:
        """An error object that is shared and changed for each request would show one visitor the words for another."""
        app = await scene.native()

        async def refused(number: int) -> tuple[int, str]:
            marker = f"marker{number:03}"
            asked = (
                app.get(f"/self-service/login/api?return_to=https://{marker}.test/"),
                app.post("/signin", json={}, headers={"connector": marker}),
                app.get("/sessions/whoami", headers={"x-request-id": marker, "x-session-token": marker}),
                app.get(f"/self-service/registration/api?identity_schema={marker}", headers={"x-request-id": marker}),
            )
            answers = await asyncio.gather(*asked)
            assert [answer.status_code for answer in answers] == [400, 400, 401, 400]
            return number, "".join(answer.text + str(answer.headers) for answer in answers)

        for number, told in await asyncio.gather(*(refused(number) for number in range(40))):
            assert set(re.findall(r"marker\d{3}", told)) == {f"marker{number:03}"}

    async def test_row_052_a_shared_answer_gathers_no_headers(self, scene: Scene) -> None:
        app = await scene.native()
        first = await app.get("/sessions/whoami")
        for _ in range(20):
            last = await app.get("/sessions/whoami", headers={"x-request-id": "another-request"})
        assert [name for name, _ in first.headers.multi_items()] == [name for name, _ in last.headers.multi_items()]
        assert last.headers["x-request-id"] == "another-request"
        assert first.content == last.content


OPERATORS: list[Any] = [
    {"$ne": ""},
    {"$gt": ""},
    {"$regex": ".*"},
    ["a", "b"],
    [],
    {},
    [[]],
    True,
    0,
    1e308,
    {"toString": "x"},
    "' OR '1'='1",
    '" OR ""="',
    "admin'--",
    "*)(uid=*))(|(uid=*",
    "%",
    "_%",
    "${7*7}",
    "{{7*7}}",
    "\u0000",
]


class TestOperators:
    @pytest.mark.parametrize("value", OPERATORS, ids=repr)
    async def test_row_062_a_form_finds_nobody_by_them(self, scene: Scene, value: Any) -> None:
        app, email = await scene.native(), new_address()
        await sign_up(app, email)
        for fields in ({"identifier": value, "password": PASSWORD}, {"identifier": email, "password": value}):
            answer = await submit(app, "login", {"method": "password", **fields})
            assert (answer.status_code, "session_token" in answer.text) == (400, False)

    @pytest.mark.parametrize("value", OPERATORS, ids=repr)
    async def test_row_062_the_storefront_finds_nobody_by_them(self, scene: Scene, value: Any) -> None:
        app, email = await scene.native(), new_address()
        await sign_up(app, email)
        for fields in ({"username": value, "password": PASSWORD}, {"username": email, "password": value}):
            answer = await app.post("/signin", json=fields)
            assert answer.status_code in {400, 401}

    @pytest.mark.parametrize("value", OPERATORS, ids=repr)
    async def test_row_062_no_account_is_made_of_them(self, scene: Scene, value: Any) -> None:
        app = await scene.native()
        for fields in (
            {"method": "password", "password": PASSWORD, "traits": {"email": value}},
            {"method": "password", "password": value, "traits": value},
            {"method": value, "password": PASSWORD, "traits": {"email": new_address()}},
        ):
            answer = await submit(app, "registration", fields)
            assert (answer.status_code, await scene.rows("identities")) == (400, [])

    @pytest.mark.parametrize("value", [v for v in OPERATORS if isinstance(v, str)], ids=repr)
    async def test_row_062_an_admin_searches_for_what_is_written(self, scene: Scene, value: str) -> None:
        await sign_up(await scene.native(), new_address())
        admin = await scene.admin()
        answer = await admin.get("/admin/identities", params={"credentials_identifier": value})
        assert (answer.status_code, answer.json()) == (200, [])

    @pytest.mark.parametrize("value", [v for v in OPERATORS if not isinstance(v, str)], ids=repr)
    async def test_row_062_a_session_token_is_a_text(self, scene: Scene, value: Any) -> None:
        app = await scene.native()
        await sign_up(app, new_address())
        answer = await app.request("DELETE", "/self-service/logout/api", json={"session_token": value})
        reason = answer.json()["error"]["reason"]
        assert (answer.status_code, reason) == (400, "The field 'session_token' must be a text.")


PRIVILEGES: list[dict[str, Any]] = [
    {"verified": True},
    {"verifiable_addresses": [{"value": "a@example.org", "via": "email", "verified": True}]},
    {"state": "active"},
    {"role": "admin"},
    {"metadata_admin": {"admin": True}},
    {"metadata_public": {"admin": True}},
    {"schema_id": "other"},
    {"credentials": {"password": {"config": {"password": "x"}}}},
    {"id": "00000000-0000-4000-8000-000000000000"},
    {"organization_id": "x"},
    {"external_id": "x"},
]


class TestMassAssignment:
    @pytest.mark.parametrize("privilege", PRIVILEGES, ids=lambda each: next(iter(each)))
    async def test_row_064_a_sign_up_gives_itself_nothing(self, scene: Scene, privilege: dict[str, Any]) -> None:
        app, plain, rich = await scene.native(), new_address("plain"), new_address("rich")
        expected = (await sign_up(app, plain))["identity"]
        form = {"method": "password", "password": PASSWORD, "traits": {"email": rich}, **privilege}
        given = (await submit(app, "registration", form)).json()["identity"]
        assert _without_ids(given, rich) == _without_ids(expected, plain)
        [stored] = [row for row in await scene.rows("identities") if rich in str(row["traits"])]
        assert stored["metadata_admin"] in {None, "null"}

    @pytest.mark.parametrize("privilege", PRIVILEGES, ids=lambda each: next(iter(each)))
    async def test_row_064_nor_inside_its_traits(self, scene: Scene, privilege: dict[str, Any]) -> None:
        app = await scene.native()
        traits = {"email": new_address(), **privilege}
        answer = await submit(app, "registration", {"method": "password", "password": PASSWORD, "traits": traits})
        assert (answer.status_code, await scene.rows("identities")) == (400, [])

    async def test_row_064_nor_by_dotted_names(self, scene: Scene) -> None:
        browser = await scene.browser()
        flow = await browser.open_flow("registration")
        [csrf] = [n["attributes"]["value"] for n in flow["ui"]["nodes"] if n["attributes"]["name"] == "csrf_token"]
        form = {
            "csrf_token": csrf,
            "method": "password",
            "password": PASSWORD,
            "traits.email": new_address(),
            "traits.role": "admin",
            "traits.verified": "true",
            "traits.metadata_admin.admin": "true",
            "verifiable_addresses.0.verified": "true",
            "state": "active",
        }
        await browser.post(flow["ui"]["action"], data=form)
        for row in await scene.rows("identities"):
            assert not {"role", "verified", "metadata_admin"} & set(_traits(row))
        assert all(not row["verified"] for row in await scene.rows("verifiable_addresses"))

    async def test_row_064_a_patch_reaches_only_what_is_listed(self, scene: Scene) -> None:
        app, admin = await scene.native(), await scene.admin()
        identity = (await sign_up(app, new_address()))["identity"]["id"]
        before = (await admin.get(f"/admin/identities/{identity}?include_credential=password")).json()
        paths = (
            "/id /credentials /credentials/password /credentials/password/config/hashed_password /created_at"
            " /verifiable_addresses/0/verified /recovery_addresses/0/value /organization_id /schema_url /version /~1id"
        )
        for path in paths.split():
            for operation in ("add", "replace", "remove"):
                patch = [{"op": operation, "path": path, "value": "x"}]
                answer = await admin.patch(f"/admin/identities/{identity}", json=patch)
                assert answer.status_code == 400, (operation, path)
        copied = [{"op": "copy", "from": "/credentials", "path": "/metadata_public"}]
        assert (await admin.patch(f"/admin/identities/{identity}", json=copied)).status_code == 400
        assert (await admin.get(f"/admin/identities/{identity}?include_credential=password")).json() == before


ADDRESSES = [
    "a@example.org,b@example.org",
    "a@example.org;b@example.org",
    "a@example.org b@example.org",
    "a@example.org\nb@example.org",
    "a@example.org\r\nBcc: b@example.org",
    "a@example.org%0d%0aBcc:b@example.org",
    "a@b@example.org",
    "a@example.org@evil.test",
    '"a@example.org"@evil.test',
    '"a b"@example.org',
    "a@example.org\x00@evil.test",
    "a(comment)@example.org",
    "<a@example.org>",
    "Ada <a@example.org>",
    "=?utf-8?q?=61=62=63?=collab@evil.test",
    "a@[127.0.0.1]",
    "a@localhost",
    "@example.org",
    "a@",
    "a@.org",
    "a@-example.org",
    "a..b@example.org",
    "a@example..org",
    "a@xn--.org",
    "mailto:a@example.org",
    "a@example.org?cc=b@example.org",
]


class TestAddresses:
    @pytest.mark.parametrize("address", ADDRESSES, ids=repr)
    async def test_row_067_what_is_not_one_mailbox_gets_no_account_and_no_mail(
        self, scene: Scene, address: str
    ) -> None:
        app = await scene.native()
        form = {"method": "password", "password": PASSWORD, "traits": {"email": address}}
        assert (await submit(app, "registration", form)).status_code == 400
        token = (await visit(app))["authorization"]
        told = await ask(app, token, SIGN_UP, i={"email": address, "password": PASSWORD})
        assert told["data"]["signUp"]["code"] == "INVALID_INPUT"
        admin = await scene.admin()
        body = {"schema_id": "default", "traits": {"email": address}}
        assert (await admin.post("/admin/identities", json=body)).status_code == 400
        assert (await scene.rows("identities"), await scene.mails()) == ([], [])


# One account, and spellings that people or other programs take for its address.
SPELLINGS = [
    "ada@example.org",
    "ADA@EXAMPLE.ORG",
    " ada@example.org ",
    "ａｄａ@example.org",
    "ada@ｅｘａｍｐｌｅ.org",
    "ada@example。org",
    "𝐚𝐝𝐚@example.org",
    "ⓐⓓⓐ@example.org",
]
INVISIBLE = [
    "\u200b",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\u202e",
    "\u2066",
    "\u00ad",
    "\u034f",
    "\ufe0f",
    "\u180e",
    "\u3164",
]


class TestLookAlikes:
    @pytest.mark.parametrize("spelling", SPELLINGS[1:], ids=ascii)
    async def test_row_095_no_second_account_looks_like_the_first(self, scene: Scene, spelling: str) -> None:
        app = await scene.native()
        await sign_up(app, SPELLINGS[0])
        form = {"method": "password", "password": PASSWORD, "traits": {"email": spelling}}
        answer = await submit(app, "registration", form)
        assert answer.status_code == 400
        assert len(await scene.rows("identities")) == 1

    @pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
    async def test_row_095_invisible_characters_make_no_second_account(self, scene: Scene, character: str) -> None:
        app, admin = await scene.native(), await scene.admin()
        await sign_up(app, "ada@example.org")
        for address in (f"ad{character}a@example.org", f"{character}ada@example.org", f"ada@exam{character}ple.org"):
            form = {"method": "password", "password": PASSWORD, "traits": {"email": address}}
            assert (await submit(app, "registration", form)).status_code == 400
            body = {"schema_id": "default", "traits": {"email": address}}
            assert (await admin.post("/admin/identities", json=body)).status_code in {400, 409}
        assert len(await scene.rows("identities")) == 1

    async def test_row_095_a_patch_cannot_take_over_an_identifier(self, scene: Scene) -> None:
        app, admin = await scene.native(), await scene.admin()
        await sign_up(app, "ada@example.org")
        other = (await sign_up(app, "eve@example.org"))["identity"]["id"]
        for spelling in SPELLINGS:
            patch = [{"op": "replace", "path": "/traits/email", "value": spelling}]
            answer = await admin.patch(f"/admin/identities/{other}", json=patch)
            assert answer.status_code in {400, 409}, spelling
        kept = (await admin.get(f"/admin/identities/{other}")).json()
        assert kept["credentials"]["password"]["identifiers"] == ["eve@example.org"]
        assert (await sign_in(app, "eve@example.org")).status_code == 200

    async def test_row_095_identifiers_follow_the_traits_after_a_patch(self, scene: Scene) -> None:
        """Otherwise an identity could sign in with an address that belongs to another identity by now."""
        app, admin = await scene.native(), await scene.admin()
        identity = (await sign_up(app, "ada@example.org"))["identity"]["id"]
        patch = [{"op": "replace", "path": "/traits/email", "value": "Ada.L@example.org"}]
        changed = (await admin.patch(f"/admin/identities/{identity}", json=patch)).json()
        assert changed["credentials"]["password"]["identifiers"] == ["ada.l@example.org"]
        assert [address["value"] for address in changed["verifiable_addresses"]] == ["ada.l@example.org"]
        assert (await sign_in(app, "ada@example.org")).status_code == 400
        assert (await sign_in(app, "ada.l@example.org")).status_code == 200


class TestGiants:
    """Work and memory are bounded before the caller is known."""

    async def test_row_093_a_form_keeps_nothing_large_of_a_strangers(self, scene: Scene) -> None:
        """Flows are stored with what was typed, so that the form can be shown again."""
        app = await scene.native()
        giant = "x" * 90_000
        for kind, fields in (
            ("login", {"identifier": giant, "password": "x"}),
            ("registration", {"password": "x", "traits": {"email": f"{giant}@example.org"}}),
            ("registration", {"password": "x", "traits": {"email": "a@example.org", "name": {"first": giant}}}),
            ("registration", {"password": "x", "traits": {"email": [giant]}}),
        ):
            answer = await submit(app, kind, {"method": "password", **fields})
            assert answer.status_code == 400
            assert answer.json()["ui"]["messages"][0]["id"] == 4000001
        assert all(len(repr(row)) < 50_000 for row in await scene.rows("flows"))

    async def test_row_093_an_address_as_long_as_a_book_opens_no_flow(self, scene: Scene) -> None:
        app = await scene.native(accept="application/json")
        for path in ("/self-service/login/api", "/self-service/registration/browser"):
            assert (await app.get(f"{path}?x={'y' * 8_180}")).status_code == 400
            assert (await app.get(f"{path}?x={'y' * 10_000}")).status_code == 414
        assert await scene.rows("flows") == []

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
    @pytest.mark.parametrize("path", ["/signin", "/graphql", "/admin/identities"])
    async def test_row_093_nothing_compressed_is_unpacked(self, scene: Scene, path: str, encoding: str) -> None:
        client = await scene.admin() if path.startswith("/admin") else await scene.native()
        bomb = gzip.compress(b"{" + b" " * 10_000_000 + b"}")
        headers = {"content-encoding": encoding, "content-type": "application/json"}
        answer = await client.post(path, content=bomb, headers=headers)
        assert (answer.status_code, answer.headers["x-error-code"]) == (400, "malformed_body")

    @pytest.mark.parametrize(
        "text",
        [
            "{" + "getCart { id } " * 300 + "}",
            "{" + "... { getCart { id } } " * 200 + "}",
            f"{{ {SPREADS} }} {FRAGMENTS}",
            "{" + "".join(f'findItemById(id: "{i}") {{ id }} ' for i in range(150)) + "}",
            "{" + "__typename " * 900 + "}",
            "{ getCart { " + "id " * 900 + "} }",
        ],
        ids=["a field", "inline", "fragments", "arguments", "typename", "leaves"],
    )
    def test_row_093_a_query_that_repeats_itself_is_not_validated(self, text: str) -> None:
        """Validation compares fields of one name pair by pair: without this limit, four seconds for eleven
        kilobytes."""
        [error] = Documents(core_schema(), limits=LIMITS, introspection=False).prepare(text).errors
        assert error["extensions"]["code"] == "QUERY_TOO_REPETITIVE"

    @pytest.mark.parametrize("signed", [False, True], ids=["nobody", "a guest"])
    async def test_row_093_fragments_that_multiply_are_refused(self, scene: Scene, signed: bool) -> None:
        """Regression: 758 bytes without a token blocked the event loop for 7.8 s, and kept 1.8 GB."""
        app = await scene.native()
        token = (await visit(app))["authorization"] if signed else ""
        told = await ask(app, token, MULTIPLYING)
        assert "data" not in told
        [error] = told["errors"]
        assert error["extensions"]["code"] == ("QUERY_TOO_REPETITIVE" if signed else "UNAUTHENTICATED")

    def test_row_093_a_fragment_is_measured_once(self) -> None:
        document = parse(MULTIPLYING)
        [operation] = operations_in(document)
        measuring = Measuring(core_schema(), document)
        cost = measuring.operation(operation)
        assert measuring.measured == 1 + 9 + 1
        assert len(cost.terms) == 2
        assert cost.given({"n": 1}) > 10**8

    def test_row_093_a_cached_query_is_charged_what_it_takes(self) -> None:
        several = Documents(core_schema(), limits=LIMITS, introspection=False)
        for number in range(20):
            text = "{ getCart { " + f"...F{number} " * 600 + f"}} }} fragment F{number} on Cart {{ id }}"
            prepared = several.prepare(text)
            assert prepared.errors == ()
            assert prepared.charge > 50 * len(text)
        assert several.kept_bytes <= MOST_BYTES

    async def test_row_093_names_of_operations_do_not_grow_the_metrics(self, scene: Scene) -> None:
        app, registry = await scene.native(), scene.application.infrastructure.registry
        token = (await visit(app))["authorization"]
        sizes = []
        for number in range(20):
            await ask(app, token, f"query Name{number} {{ getCart {{ id }} }}")
            sizes.append(len(generate_latest(registry).splitlines()))
        assert len(set(sizes[5:])) == 1
        assert b'field="getCart",outcome="succeeded",type="query"' in generate_latest(registry)
        assert b"Name7" not in generate_latest(registry)

    @pytest.mark.parametrize("digits", [11, 5_000, 150_000])
    async def test_row_093_a_giant_number_is_no_error_of_ours(self, scene: Scene, digits: int) -> None:
        """Regression: a literal of more than 4,300 digits was told as an internal error, with a traceback in the
        log."""
        app = await scene.native()
        token = (await visit(app))["authorization"]
        with capture_logs() as logged:
            told = await ask(app, token, f'{{ findItemsByKeyword(text: "", limit: {"9" * digits}) {{ total }} }}')
        assert told["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert [line for line in logged if line["log_level"] == "error"] == []

    def test_row_093_the_mistakes_of_a_query_are_told_up_to_a_number(self) -> None:
        fields = " ".join(f"f{i}: 1" for i in range(600))
        text = f"mutation {{ createCart(createCartInput: {{{fields}}}) {{ code }} }}"
        assert len(Documents(core_schema(), limits=LIMITS, introspection=False).prepare(text).errors) <= 21

    @pytest.mark.parametrize("length", ["100", "100.0", "null", "-1", "9" * 4301], ids=lambda length: length[:5])
    async def test_row_093_a_length_is_charged_however_it_is_written(self, scene: Scene, length: str) -> None:
        """Regression: `100.0` was answered as 100, and charged as the document's default."""
        app = await scene.native()
        token = (await visit(app))["authorization"]
        shelves = " ".join(f'a{i}: findItemsByKeyword(text: "", limit: $n) {{ items {{ ...V }} }}' for i in range(30))
        variants = "variants { itemId { id code } displayName description slug listPrice { moneyAmounts { amount } } }"
        query = f"query ($n: Int = 1) {{ {shelves} }} fragment V on Item {{ {variants} {variants} }}"
        sent = json.dumps({"query": query, "variables": {"n": "N"}}).replace('"N"', length)
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        answer = await app.post("/graphql", content=sent, headers=headers)
        assert answer.status_code in {200, 400}
        assert "data" not in answer.json() or not any(answer.json()["data"] or [])

    def test_row_093_who_says_nothing_keeps_nobody_out(self, server: Commerce) -> None:
        """The public port has 221 connections here. Those on which nothing is sent are closed after five seconds.

        Regression: more connections than descriptors stopped both ports.
        """
        address = urlsplit(server.public)
        with ExitStack() as lines:
            for _ in range(300):
                lines.enter_context(socket.create_connection((address.hostname, address.port), timeout=20))
            assert send(server.admin, request("/health/alive")).status == 200
            assert send(server.public, request("/health/alive")).status == 200

    async def test_row_093_a_body_that_does_not_end_is_given_up(self) -> None:
        async def endpoint(request_: Request) -> Response:
            return Response(await read_body(request_, limit=100))

        async def never() -> Message:
            await asyncio.sleep(3600)
            raise AssertionError("nobody waits so long")

        app = BodyLimits(_refusing(Route("/", endpoint, methods=["POST"]).app), budget=BodyBudget(1_000), within=0)
        with pytest.raises(_Refused, match="body_too_slow"):
            await app(_post_scope(), never, _ignore)

    @pytest.mark.parametrize(
        ("sent", "expected"),
        [
            (request("/sessions/whoami", headers=b"X-Big: " + b"a" * 600_000 + b"\r\n"), 431),
            (request("/sessions/whoami", headers=b"".join(b"X-%d: a\r\n" % i for i in range(3_000))), 431),
            (request("/" + "a" * 70_000), 431),
            (request("/self-service/login/api?x=" + "a" * 60_000), 431),
            (request("/signin", method="POST", headers=JSON_BODY, body=b"[" * 99_000), 400),
            (request("/signin", method="POST", headers=JSON_BODY + b"Content-Length: 999999999999\r\n"), 413),
        ],
        ids=["a header", "headers", "a path", "a query", "brackets", "a length"],
    )
    def test_row_093_the_wire_refuses_giants(self, server: Commerce, sent: bytes, expected: int) -> None:
        assert send(server.public, sent).status == expected

    async def test_row_093_hashing_has_a_queue_with_an_end(self, opening: Opening, sqlite_dsn: str) -> None:
        """Guesses beyond the queue are asked to come back later; none waits without end, and none takes memory."""
        pool = {"workers": 1, "queue": 2}
        argon2 = {"memory": "64MB", "iterations": 3}
        async with opening(sqlite_dsn, hashers={"argon2": argon2, "pool": pool}) as scene:
            app = await scene.native()
            tries = [app.post("/signin", json={"username": new_address(), "password": "x"}) for _ in range(12)]
            answers = await asyncio.gather(*tries)
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {401, 503}
        assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)


async def _send_everywhere(scene: Scene, app: Any, email: str) -> list[str]:
    """Send the secret as a password on every route, and in every way that fails there; return the answers."""
    token = (await visit(app))["authorization"]
    admin, browser = await scene.admin(), await scene.browser()
    login, registration = await browser.open_flow("login"), await browser.open_flow("registration")
    graphql = [
        {"email": email, "password": SECRET, "unknown": 1},
        {"email": "nonsense", "password": SECRET},
        {"email": email, "password": [SECRET]},
        {"email": {"x": SECRET}, "password": SECRET},
    ]
    literal = f'mutation {{ signUp(customerSignUpInput: {{email: "a@b.c", password: "{SECRET}", x: 1}}) {{ code }} }}'
    identity = {"schema_id": "default", "traits": {"email": new_address()}}
    credentials = {"password": {"config": {"password": SECRET}}}
    answers = [
        await submit(app, "registration", {"method": "password", "password": SECRET, "traits": {"email": "nonsense"}}),
        await submit(app, "registration", {"method": "nothing", "password": SECRET, "traits": {"email": email}}),
        await submit(app, "registration", {"method": "profile", "password": SECRET, "traits": {"email": email}}),
        await submit(app, "registration", {"method": "password", "password": SECRET, "traits": {"email": email}}),
        await submit(app, "registration", {"method": "password", "password": SECRET, "traits": {"email": email}}),
        await sign_in(app, email, f"{SECRET}x"),
        await submit(app, "login", {"method": "password", "identifier": email, "password": [SECRET]}),
        await submit(app, "login", {"method": "nothing", "identifier": email, "password": SECRET}),
        await browser.send_flow(login, {"identifier": email, "password": f"{SECRET}x"}),
        await browser.send_flow(login, {"identifier": email, "password": SECRET, "csrf_token": "x"}),
        await browser.send_flow(registration, {"password": SECRET, "traits": {"email": "nonsense"}}),
        await app.post("/signin", json={"username": email, "password": f"{SECRET}x"}),
        await app.post("/signin", json={"username": [email], "password": SECRET}),
        await app.post("/signin", json={"username": email, "password": SECRET, "authHint": 7}),
        await app.post("/signin", json={"username": email, "password": {"x": SECRET}}),
        await app.post("/signin", content=b'{"username": "a", "password": "' + SECRET.encode() + b'"'),
        *[
            await app.post(
                "/graphql",
                json={"query": SIGN_UP, "variables": {"i": variables}},
                headers={"authorization": f"Bearer {token}"},
            )
            for variables in graphql
        ],
        await app.post("/graphql", json={"query": literal}, headers={"authorization": f"Bearer {token}"}),
        await admin.post("/admin/identities", json={**identity, "credentials": credentials}),
        await admin.post("/admin/identities", json={**identity, "credentials": credentials, "x": 1}),
        await admin.post("/admin/identities", json={**identity, "credentials": {"password": {"config": SECRET}}}),
    ]
    return [answer.text + str(answer.headers) for answer in answers]


def _missing_table(value: str) -> Any:
    from sqlalchemy import column, insert, table

    return insert(table("nowhere", column("secret"))).values(secret=value)


def _without_ids(identity: dict[str, Any], email: str) -> str:
    text = json.dumps(identity, sort_keys=True).replace(email, "-")
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[0-9:.]+Z", "-", text)


def _traits(row: dict[str, Any]) -> dict[str, Any]:
    traits = row["traits"]
    return dict(json.loads(traits) if isinstance(traits, str) else traits)


class _Refused(Exception):
    pass


def _refusing(app: Any) -> Any:
    from shopkeeper.errors import Refusal

    async def refusing(scope: Scope, receive: Receive, send_: Send) -> None:
        try:
            await app(scope, receive, send_)
        except Refusal as refusal:
            raise _Refused(refusal.code) from refusal

    return refusing


def _post_scope() -> dict[str, Any]:
    return {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}


async def _ignore(message: Message) -> None:
    assert message["type"].startswith("http.")
