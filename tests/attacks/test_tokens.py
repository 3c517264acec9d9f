"""Rows 9, 11, 13 to 16 and 30: tokens changed, cut, crafted, bloated; how secrets are compared; what is ever shown."""

import ast
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.attacks.scene import (
    ADMIN_ADDRESS,
    KEY,
    ME,
    PASSWORD,
    SETTINGS,
    Scene,
    ask,
    new_address,
    sign_up,
    visit,
)
from tests.attacks.wire import request, send
from tests.services.shopkeeper_server import Commerce

SOURCES = Path(__file__).resolve().parents[2] / "src" / "shopkeeper"


def respelled(token: str) -> list[str]:
    """Return every spelling of a token that a careless parser accepts as equal."""
    changed = [
        token[:-1],
        token[1:],
        token[: len(token) // 2],
        f"{token}A",
        f"A{token}",
        f"{token}=",
        f"{token}==",
        f"{token}.",
        f"{token}%3D",
        f"{token}\t",
        f"{token},",
        f"{token};",
        token.upper(),
        token.lower(),
        token.swapcase(),
        token.replace("_", "-", 1),
        quote(token).replace("_", "%5F"),
        f"%{ord(token[0]):02x}{token[1:]}",
        token.replace(token[-1], "A" if token[-1] != "A" else "B"),
        f'"{token}"',
        f"{token} {token}",
        token[:-1] + chr(ord(token[-1]) ^ 1),
    ]
    return [each for each in dict.fromkeys(changed) if each != token]


class TestChanged:
    async def test_row_009_a_token_in_a_mail_or_a_link_is_checked_and_not_only_read(self, scene: Scene) -> None:
        """Here of those that sign out; each is bound to one session by a keyed hash."""
        one, other = await scene.browser(), await scene.browser()
        links = []
        for browser in (one, other):
            await browser.sign_up(new_address())
            answer = await browser.get("/self-service/logout/browser", headers={"accept": "application/json"})
            links.append(answer.json()["logout_token"])
        for tried in (links[1], *respelled(links[0])):
            answer = await one.get(
                "/self-service/logout", params={"token": tried}, headers={"accept": "application/json"}
            )
            assert answer.status_code == 403, tried
        assert await one.whoami() is not None

    async def test_row_009_the_mails_of_a_registration_carry_no_tokens(self, scene: Scene) -> None:
        app = await scene.native()
        token = (await sign_up(app, new_address()))["session_token"]
        [mail] = await scene.mails()
        assert token not in mail.body + mail.html
        assert "token=" not in mail.body + mail.html

    @pytest.mark.parametrize("carrier", ["x-session-token", "authorization", "cookie"])
    async def test_row_011_a_session_has_one_spelling(self, scene: Scene, carrier: str) -> None:
        app = await scene.native()
        token = (await sign_up(app, new_address()))["session_token"]
        assert (await app.get("/sessions/whoami", headers=_carried(carrier, token))).status_code == 200
        for changed in respelled(token):
            headers = _carried(carrier, changed)
            if changed.strip() == token or _means_the_same(carrier, changed, token):
                continue
            assert (await app.get("/sessions/whoami", headers=headers)).status_code == 401, changed
            assert (await app.get("/sessions", headers=headers)).status_code == 401, changed

    async def test_row_011_a_guest_has_one_spelling(self, scene: Scene) -> None:
        app = await scene.native()
        token = (await visit(app))["authorization"]
        assert (await ask(app, token, ME))["data"] == {"getCurrentCustomer": None}
        for changed in respelled(token):
            if changed.strip() == token:
                continue
            told = await ask(app, changed, ME)
            assert told["errors"][0]["extensions"]["code"] in {"TOKEN_INVALID", "UNAUTHENTICATED"}, changed

    async def test_row_011_an_admin_key_has_one_spelling(self, scene: Scene) -> None:
        for changed in respelled(KEY):
            admin = await scene.admin(key=changed.strip() or "-")
            if changed.strip() == KEY:
                continue
            assert (await admin.get("/admin/identities")).status_code == 401, changed


def _jose(header: dict[str, Any], *parts: str) -> str:
    return ".".join([base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode(), *parts])


MONSTERS = {
    "dots": "." * 30_000,
    "a long first part": f"{'A' * 30_000}..A.A.A",
    "nested json": _jose({"alg": "dir", "enc": "A256GCM", "x": json.loads("[" * 200 + "]" * 200)}, "", "A", "A", "A"),
    "iterations": _jose({"alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "p2c": 2**31, "p2s": "AA"}, "A", "A", "A", "A"),
    "a zip bomb": _jose({"alg": "dir", "enc": "A256GCM", "zip": "DEF"}, "", "A", "A", "A"),
    "another algorithm": _jose({"alg": "RSA1_5", "enc": "A256GCM"}, "A", "A", "A", "A"),
    "a key of the stranger's": _jose(
        {"alg": "dir", "enc": "A256GCM", "jwk": {"kty": "oct", "k": "AA"}}, "", "A", "A", "A"
    ),
    "an address of a key": _jose({"alg": "dir", "enc": "A256GCM", "jku": "http://127.0.0.1:1/"}, "", "A", "A", "A"),
    "a signed token": _jose({"alg": "HS256", "typ": "JWT"}, "e30", "A"),
    "an unsigned token": _jose({"alg": "none"}, "e30", ""),
    "critical": _jose({"alg": "dir", "enc": "A256GCM", "crit": ["x"]}, "", "A", "A", "A"),
}


class TestMonsters:
    @pytest.mark.parametrize("token", MONSTERS.values(), ids=MONSTERS)
    async def test_row_013_and_014_a_crafted_token_is_refused(self, scene: Scene, token: str) -> None:
        app = await scene.native()
        for query in (ME, "{ getCart { id } }"):
            told = await ask(app, token, query)
            assert told["errors"][0]["extensions"]["code"] in {"TOKEN_INVALID", "UNAUTHENTICATED"}
        assert (await app.get("/sessions/whoami", headers={"authorization": f"Bearer {token}"})).status_code == 401

    @pytest.mark.parametrize(
        "carrier", [b"Authorization: Bearer ", b"X-Session-Token: ", b"Cookie: ory_kratos_session="]
    )
    @pytest.mark.parametrize("token", [b"." * 80_000, b"=" * 80_000, b"shk_st_" + b"A" * 80_000, b"Bearer " * 10_000])
    def test_row_013_a_huge_one_on_the_wire_as_well(self, server: Commerce, carrier: bytes, token: bytes) -> None:
        answer = send(server.public, request("/sessions/whoami", headers=carrier + token + b"\r\n"))
        assert answer.status in {401, 431}


class TestCode:
    """What the source code must not contain."""

    # Comparison in constant time is for what a caller presents. These compare texts that are no secrets, or our own.
    NO_SECRETS = frozenset(
        {
            "app/hooks.py: method != PASSWORD",
            "app/methods.py: method != PASSWORD",
            "app/methods.py: method.name != PASSWORD",
            "credentials/password.py: password != ''",
            "crypto.py: base64.urlsafe_b64encode(raw).rstrip(b'=').decode() != sealed",
            "flows/settings.py: error.message.id == SAME_PASSWORD",
            "http/cookies.py: _encode(token) == cookie",
            "identity/selectors.py: table.account_digest == digest",
            "identity/address_changes.py: _password_digest(before) != change.password_digest",
            "app/authentication_gate.py: method == PASSWORD",
            "http/session_server_paths.py: (request.method, request.scope['path']) != ('DELETE', _LOGOUT_BY_TOKEN)",
            "http/session_server_paths.py: path == _LOGOUT_BY_TOKEN",
            "sessions/principal.py: external.token_type == SESSION",
            "http/session_server_cookies.py: server.token_prefix == self._own_prefix",
            "oauth/access_token_source.py: str(cached.session.identity.id) != token.subject",
            "oauth/access_token_source.py: token.subject == token.client_id",
            "oauth/token_exchange.py: kind == ACCESS_TOKEN_TYPE",
            "oauth/token_exchange.py: kind == SESSION_TOKEN_TYPE",
            "openid/token_claims.py: provider.tenant_of_token(iss) != tenant",
            "settings/oauth_clients.py: bool(self.secrets) == (self.jwks is not None)",
            "tokens/access_tokens.py: unverified_issuer(token, types=_RULES.types, max_bytes=LONGEST) == self._issuer",
            "oauth/token_exchange.py: parameters.get('requested_token_type', ACCESS_TOKEN_TYPE) != ACCESS_TOKEN_TYPE",
            "tokens/sealed.py: _encode(raw) != text",
        }
    )
    SECRET_WORDS = ("token", "secret", "hash", "digest", "csrf", "password", "signature", "_mac", "api_key", "raw")

    def test_row_015_secrets_are_compared_in_constant_time_only(self) -> None:
        """A comparison with `==` of something named like a secret is either listed above, with a reason, or wrong."""
        found = set()
        for path, tree in _trees():
            for node in ast.walk(tree):
                if isinstance(node, ast.Compare) and self._looks_secret(node):
                    found.add(f"{path.relative_to(SOURCES)}: {ast.unparse(node)}")
        assert found == self.NO_SECRETS

    def _looks_secret(self, node: ast.Compare) -> bool:
        if not any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops):
            return False
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Constant) and side.value != "" for side in sides):
            return False  # a name compared with a word of ours: `name == "token"`
        names = [ast.unparse(side).lower() for side in sides]
        in_sql = any(".c." in name or name.startswith("columns.") for name in names)
        words = any(word in name for name in names for word in self.SECRET_WORDS)
        lengths = all(name.startswith("len(") or name.isupper() for name in names)
        return words and not in_sql and not lengths and not any("len(" in name for name in names)

    def test_row_015_there_is_one_place_that_compares(self) -> None:
        users = {str(path.relative_to(SOURCES)) for path, tree in _trees() if "compare_digest" in ast.unparse(tree)}
        assert users == {"crypto.py"}

    # Each repeats for the type checker what the lines above it guarantee; none decides about a request.
    ASSERTIONS = frozenset(
        {
            "commerce/embedded/cart_rows.py: cart is not None",
            "commerce/embedded/customers.py: row is not None",
            "graphql/cost.py: isinstance(part, InlineFragmentNode | FragmentDefinitionNode)",
            "graphql/documents.py: isinstance(fragment, FragmentDefinitionNode | InlineFragmentNode)",
            "graphql/endpoint.py: isinstance(executor, FastPathExecutor)",
            "graphql/endpoint.py: isinstance(result, ExecutionResult)",
            "graphql/resolvers.py: field.base_resolver is not None",
            "http/wiring.py: isinstance(error, HTTPException)",
            "http/wiring.py: isinstance(error, Refusal)",
            "http_client.py: isinstance(self._answer.stream, AsyncIterable)",
            "signin/store.py: existing is not None",
            "storage/unit.py: self._open is not None",
        }
    )

    def test_row_016_no_assertion_decides_anything(self) -> None:
        """`python -O` leaves assertions out. Add a new one to the list only after checking that nothing depends on
        it."""
        found = {
            f"{path.relative_to(SOURCES)}: {ast.unparse(node.test)}"
            for path, tree in _trees()
            for node in ast.walk(tree)
            if isinstance(node, ast.Assert)
        }
        assert found == self.ASSERTIONS, found ^ self.ASSERTIONS

    def test_row_016_the_attacks_fail_without_assertions_as_well(self) -> None:
        """Runs the parts that need no server in an interpreter that skips assertions. Pytest's own still work there: it
        rewrites them."""
        files = (
            "test_sessions.py",
            "test_guessing.py",
            "../jose/test_malformed_tokens.py",
            "../jose/test_weak_keys.py",
        )
        chosen = "TestFixation or TestBudgets or refused_for_its_own_reason or left_out"
        command = [sys.executable, "-O", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen]
        # Pytest warns that assertions outside of tests do nothing, which is the subject of this test.
        command += ["-W", "ignore::pytest.PytestConfigWarning", *(f"{Path(__file__).parent / name}" for name in files)]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=100, check=False, cwd=SOURCES.parents[1]
        )
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-2000:]
        assert " passed" in ended.stdout

    def test_row_016_such_an_interpreter_does_skip_them(self) -> None:
        ended = subprocess.run([sys.executable, "-O", "-c", "assert False"], check=False)
        assert ended.returncode == 0


class TestNeverShown:
    async def test_row_030_no_answer_of_the_admin_port_holds_a_secret(self, scene: Scene) -> None:
        app, admin = await scene.native(), await scene.admin()
        account = await sign_up(app, new_address())
        identity, session = account["identity"]["id"], account["session"]["id"]
        secrets = [
            KEY,
            PASSWORD,
            account["session_token"],
            *SETTINGS["secrets"]["default"],
            *SETTINGS["secrets"]["cipher"],
        ]
        paths = (
            f"/admin/identities/{identity} /admin/identities /admin/identities/{identity}/sessions /admin/sessions"
            f" /admin/sessions/{session}?expand=identity&expand=devices /metrics /version /health/ready /schemas"
        )
        for path in paths.split():
            answer = await admin.get(path)
            assert answer.status_code == 200, path
            assert not any(secret in answer.text for secret in secrets), path
            assert "$argon2" not in answer.text, path
        asked_for = await admin.get(f"/admin/identities/{identity}?include_credential=password")
        assert not any(secret in asked_for.text for secret in secrets)

    async def test_row_030_a_credential_is_shown_to_an_admin_who_asks_for_it_only(self, scene: Scene) -> None:
        app, admin = await scene.native(), await scene.admin()
        account = await sign_up(app, new_address())
        path = f"/admin/identities/{account['identity']['id']}"
        assert "config" not in (await admin.get(path)).json()["credentials"]["password"]
        assert "argon2" not in (await admin.get("/admin/identities")).text
        asked = await admin.get("/admin/identities?include_credential=password")
        assert "argon2" in asked.json()[0]["credentials"]["password"]["config"]["hashed_password"]
        headers = {"x-session-token": account["session_token"]}
        for path in ("/sessions/whoami", "/sessions"):
            assert "credentials" not in (await app.get(path, headers=headers)).text
        assert ADMIN_ADDRESS not in (await app.get("/sessions/whoami", headers=headers)).text

    async def test_row_030_a_token_is_shown_once(self, scene: Scene) -> None:
        """A token is shown when it is issued, to its receiver. No later answer shows it, to its owner or to an
        admin."""
        browser = await scene.browser()
        answer = await browser.sign_up(new_address())
        token = browser.session_cookie or "-"
        assert token not in answer.text
        for path in ("/sessions/whoami", "/sessions", "/account"):
            assert token not in (await browser.get(path)).text

    def test_row_030_the_settings_that_are_printed_hide_their_secrets(self, server: Commerce) -> None:
        shown = server.log
        for secret in (KEY, *SETTINGS["secrets"]["default"], *SETTINGS["secrets"]["cipher"]):
            assert secret not in shown


def _carried(carrier: str, token: str) -> dict[str, str]:
    safe = token.replace("\t", "%09")
    return {
        "x-session-token": {"x-session-token": safe},
        "authorization": {"authorization": f"Bearer {safe}"},
        "cookie": {"cookie": f"ory_kratos_session={safe}"},
    }[carrier]


def _means_the_same(carrier: str, changed: str, token: str) -> bool:
    """A semicolon ends a cookie, so it is not part of the cookie's value."""
    return carrier == "cookie" and changed.partition(";")[0] == token


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCES.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))
