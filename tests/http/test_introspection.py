"""Introspection over HTTP: the seed's request and answers, who may ask, the quirks of callers, and the deadline."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import make_url
from structlog.testing import capture_logs

from shopkeeper.clock import StoppedClock
from shopkeeper.jose.keys import PrivateKey
from shopkeeper.jose.sign import sign
from shopkeeper.oauth.introspection_answers import customer_key
from shopkeeper.storage.database import sqlite_path
from tests.attacks.scene import ADDRESS, HERE, THERE, Scene, new_address, opened, sign_up, visit
from tests.services.databases import sqlalchemy_url

PATH = "/oauth2/introspect"
KEY, NEXT_KEY = "p7Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAe", "a3Gf9Kd1Pq7Ws5Ze2Rt8Yu4Io6Lk0JhX"
HEADER = f"Bearer {KEY}"
OTHER = "z9Yb4Nc7Vx1Mq6Wt3Ek8Rs5Gd2Ju0HfP"
STOCK, MAIL = "h2Xk2vQ9dLw4sT6yB1nM8cRj5hZf3gAf", "k5Gf9Kd1Pq7Ws5Ze2Rt8Yu4Io6Lk0JhZ"
SIGNER = PrivateKey.generate()
INACTIVE = b'{"active":false}'
RULES = [
    {
        "when": {"kind": ["customer"]},
        "scopes": ["view_products:{projectKey}", "view_categories:{projectKey}", "manage_my_orders:{projectKey}"],
    },
    {"when": {"kind": ["guest"]}, "scopes": ["view_products:{projectKey}"]},
]
SETTINGS: dict[str, Any] = {
    "stores": [
        {"id": "default", "project_key": "tea"},
        {"id": "kettle", "tenants": ["eu", "us"], "project_key": "kettle"},
    ],
    "tokens": {
        "scope_rules": RULES,
        "clients": [
            {
                "id": "stock",
                "secrets": [STOCK],
                "audiences": ["orders"],
                "stores": ["kettle@us"],
                "introspection": {"subject_scopes": ["customer_id"], "lifespan": "2m"},
            },
            {"id": "mail", "secrets": [MAIL], "audiences": ["orders"]},
        ],
    },
    "introspection": {
        "callers": [
            {"id": "commercetools", "authorization": [HEADER], "keys": [NEXT_KEY], "stores": ["default"]},
            {"id": "kettles", "keys": [OTHER], "stores": ["kettle@eu"], "username": True, "lifespan": "1m"},
            {"id": "signer", "jwks": {"keys": [SIGNER.public_jwk()]}, "subject_scopes": []},
        ],
    },
}


@pytest.fixture
async def scene(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    async with opened(sqlite_dsn, tmp_path, clock, settings=SETTINGS) as scene:
        yield scene


async def a_session(scene: Scene, **headers: str) -> str:
    """Sign somebody up, in a store that the headers name, and return the session's token."""
    token = (await sign_up(await scene.native(**headers), new_address()))["session_token"]
    assert isinstance(token, str)
    return token


async def ask(scene: Scene, token: str, key: str = KEY, path: str = PATH, **fields: str) -> httpx2.Response:
    app = await scene.native()
    return await app.post(path, data={"token": token, **fields}, headers={"authorization": f"Bearer {key}"})


class TestTheSeed:
    """Its request, word for word, with the header that commercetools is configured to send."""

    async def test_its_curl_line(self, scene: Scene) -> None:
        seed = Path(__file__).parent / "introspection_seed.txt"
        line = seed.read_text(encoding="utf-8").replace("\\\n", " ")
        method, path, content_type, field = re.findall(r"--(?:request|url|header|form) (?:'([^']+)'|(\S+))", line)
        assert (method[1], path[1], content_type[0], field[1]) == (
            "POST",
            "/introspect",
            "Content-Type: multipart/form-data",
            "token=",
        )
        token = await a_session(scene)
        boundary = "------------------------3769f5c47b383758"  # as curl 7.88 sends that line
        body = f'--{boundary}\r\nContent-Disposition: form-data; name="token"\r\n\r\n{token}\r\n--{boundary}--\r\n'
        answer = await (await scene.native()).post(
            "/introspect",
            content=body,
            headers={"content-type": f"multipart/form-data; boundary={boundary}", "authorization": HEADER},
        )
        assert answer.status_code == 200
        told = answer.json()
        assert told["active"] is True
        assert told["scope"].startswith("view_products:tea view_categories:tea manage_my_orders:tea")

    async def test_an_inactive_token_has_no_scopes(self, scene: Scene) -> None:
        answer = await ask(scene, "shk_st_unknown")
        assert (answer.status_code, answer.content) == (200, INACTIVE)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"


class TestAnswers:
    async def test_of_a_session(self, scene: Scene, clock: StoppedClock) -> None:
        signed_up = await sign_up(await scene.native(), new_address())
        identity = signed_up["session"]["identity"]["id"]
        told = (await ask(scene, signed_up["session_token"])).json()
        now = int(clock.now().timestamp())
        key = customer_key(ADDRESS, identity)
        assert re.fullmatch(r"[A-Za-z0-9_-]{2,256}", key)
        assert told == {
            "active": True,
            "scope": "view_products:tea view_categories:tea manage_my_orders:tea"
            f" customer_id:{key} external_user_id:{identity}",
            "exp": now + 300,
            "sub": identity,
            "iss": ADDRESS,
            "token_type": "Bearer",
            "kind": "customer",
            "iat": now,
        }

    async def test_of_a_visit(self, scene: Scene) -> None:
        app = await scene.native()
        token = (await visit(app))["authorization"]
        told = (await ask(scene, token)).json()
        assert told["scope"] == f"view_products:tea anonymous_id:{told['sub']}"
        assert told["kind"] == "guest"
        assert "username" not in told

    async def test_exp_is_the_sessions_end_where_that_is_nearer(self, scene: Scene, clock: StoppedClock) -> None:
        signed_up = await sign_up(await scene.native(), new_address())
        clock.advance(hours=24, seconds=-100)
        told = (await ask(scene, signed_up["session_token"])).json()
        assert told["exp"] == int(clock.now().timestamp()) + 100
        clock.advance(seconds=100)
        assert (await ask(scene, signed_up["session_token"])).content == INACTIVE

    async def test_a_session_that_was_ended(self, scene: Scene) -> None:
        token = await a_session(scene)
        assert (await ask(scene, token)).json()["active"]
        app = await scene.native()
        await app.request("DELETE", "/self-service/logout/api", json={"session_token": token})
        assert (await ask(scene, token)).content == INACTIVE

    async def test_a_disabled_identity(self, scene: Scene) -> None:
        signed_up = await sign_up(await scene.native(), new_address())
        identity = signed_up["session"]["identity"]
        assert (await ask(scene, signed_up["session_token"])).json()["active"]
        admin = await scene.admin()
        changes = [{"op": "replace", "path": "/state", "value": "inactive"}]
        assert (await admin.patch(f"/identities/{identity['id']}", json=changes)).status_code == 200
        assert (await ask(scene, signed_up["session_token"])).content == INACTIVE

    async def test_exp_moves_on_with_the_clock(self, scene: Scene, clock: StoppedClock) -> None:
        token = await a_session(scene)
        first = (await ask(scene, token)).json()["exp"]
        clock.advance(seconds=60)
        assert (await ask(scene, token)).json()["exp"] == first + 60


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def assertion(clock: StoppedClock, **changes: Any) -> Mapping[str, str]:
    now = int(clock.now().timestamp())
    claims = {"iss": "signer", "sub": "signer", "aud": ADDRESS, "exp": now + 60, "iat": now, "jti": "first", **changes}
    return {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": sign(claims, SIGNER),
    }


class TestCallers:
    async def test_prove_themselves_by_either_credential(self, scene: Scene) -> None:
        app, token = await scene.native(), await a_session(scene)
        for value in (HEADER, f"Bearer {NEXT_KEY}", f"bearer {NEXT_KEY}", basic("commercetools", NEXT_KEY)):
            answer = await app.post(PATH, data={"token": token}, headers={"authorization": value})
            assert answer.json()["active"] is True, value

    async def test_nothing_else_proves_them(self, scene: Scene) -> None:
        for value in (
            None,
            "",
            KEY,
            f"bearer {KEY}",
            f"Bearer {KEY[:-1]}",
            f"Bearer {hashlib.sha256(NEXT_KEY.encode()).hexdigest()}",
            basic("kettles", NEXT_KEY),
            basic("", NEXT_KEY),
            "Basic !",
            "Basic " + base64.b64encode(NEXT_KEY.encode()).decode(),
        ):
            headers = {} if value is None else {"authorization": value}
            answer = await (await scene.native()).post(PATH, data={"token": "x"}, headers=headers)
            assert answer.status_code == 401, value
            assert answer.json()["error"] == "invalid_client"
            assert "Basic" in answer.headers["www-authenticate"]

    async def test_an_assertion_counts_once(self, scene: Scene, clock: StoppedClock) -> None:
        token = await a_session(scene)
        app = await scene.native()
        fields = {"token": token, **assertion(clock)}
        first = (await app.post(PATH, data=fields)).json()
        assert first["active"] is True
        assert "customer_id" not in first["scope"], "its subject_scopes are none"
        assert (await app.post(PATH, data=fields)).status_code == 401
        foreign = {"token": token, **assertion(clock, aud="https://other.test", jti="second")}
        assert (await app.post(PATH, data=foreign)).status_code == 401

    async def test_strangers_behind_the_same_gateway_lock_no_caller_out(self, scene: Scene) -> None:
        token = await a_session(scene)
        app = await scene.native(ip=THERE)
        statuses = [
            (await app.post(PATH, data={"token": "x"}, headers={"authorization": f"Bearer {OTHER[::-1]}"})).status_code
            for _ in range(61)
        ]
        assert statuses == [401] * 60 + [429]
        refused = await app.post(PATH, data={"token": "x", "client_id": "commercetools", "client_secret": OTHER})
        assert (refused.status_code, refused.json()["error"]) == (429, "temporarily_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        answer = await app.post(PATH, data={"token": token}, headers={"authorization": HEADER})
        assert answer.json()["active"] is True
        assert (await (await scene.native(ip=HERE)).post(PATH)).status_code == 401

    async def test_a_database_that_is_away_is_a_503_in_the_shape_of_oauth(
        self, scene: Scene, sqlite_dsn: str, clock: StoppedClock
    ) -> None:
        file = sqlite_path(make_url(sqlalchemy_url(sqlite_dsn)))
        assert file is not None
        away = file.rename(file.with_suffix(".away"))
        with capture_logs() as logs:
            answer = await (await scene.native()).post(PATH, data={"token": "x", **assertion(clock, jti="fourth")})
        away.rename(file)
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert answer.headers["cache-control"] == "no-store"
        assert int(answer.headers["retry-after"]) >= 1
        [line] = [line for line in logs if line["event"] == "request"]
        assert line["error"] == answer.headers["x-error-code"]
        metrics = (await (await scene.admin()).get("/metrics")).text
        assert 'shopkeeper_introspection_seconds_count{outcome="unavailable"} 1.0' in metrics

    async def test_a_service_that_obtains_tokens_may_ask_where_it_is_allowed_to(
        self, scene: Scene, clock: StoppedClock
    ) -> None:
        """It authenticates as at the token endpoint, and is configured once."""
        us = await a_session(scene, connector="kettle", br_acct_env="us")
        app, in_form = await scene.native(), {"client_id": "stock", "client_secret": STOCK}
        for fields, headers in (
            ({}, {"authorization": basic("stock", STOCK)}),
            ({}, {"authorization": f"Bearer {STOCK}"}),
            (in_form, {}),
        ):
            told = (await app.post(PATH, data={"token": us, **fields}, headers=headers)).json()
            assert told["active"] is True
            assert (told["exp"], "external_user_id" in told["scope"]) == (int(clock.now().timestamp()) + 120, False)
        elsewhere = await app.post(PATH, data={"token": await a_session(scene), **in_form})
        assert elsewhere.content == INACTIVE, "it is limited to one store"
        own = {"grant_type": "client_credentials", **in_form}
        assert (await app.post("/oauth2/token", data=own)).status_code == 200
        refused = await app.post(PATH, data={"token": us}, headers={"authorization": basic("mail", MAIL)})
        assert refused.status_code == 401

    async def test_a_401_tells_of_each_scheme_and_the_log_of_the_error(self, scene: Scene) -> None:
        with capture_logs() as logs:
            answer = await (await scene.native()).post(PATH, data={"token": "x"})
        assert answer.headers.get_list("www-authenticate") == [
            'Bearer realm="oauth2"',
            'Basic realm="oauth2", charset="UTF-8"',
        ]
        [line] = [line for line in logs if line["event"] == "request"]
        assert (line["status"], line["error"]) == (401, "invalid_client")

    async def test_without_callers_it_is_401(self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
        async with opened(sqlite_dsn, tmp_path, clock, settings={}) as scene:
            assert (await ask(scene, "x")).status_code == 401

    async def test_it_can_move_and_be_switched_off(self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
        moved = {**SETTINGS, "introspection": {**SETTINGS["introspection"], "path": "/ask"}}
        async with opened(sqlite_dsn, tmp_path, clock, settings=moved) as scene:
            token = await a_session(scene)
            assert (await ask(scene, token, path="/ask")).json()["active"]
            assert (await ask(scene, token, path="/introspect")).json()["active"]
            assert (await ask(scene, token)).status_code == 404
        off = {**SETTINGS, "introspection": {**SETTINGS["introspection"], "enabled": False}}
        async with opened(sqlite_dsn, tmp_path, clock, settings=off) as scene:
            assert (await ask(scene, "x")).status_code == 404


class TestCrossing:
    """No caller learns anything of a token that is not for it (security row 22)."""

    async def test_of_stores_and_tenants(self, scene: Scene) -> None:
        here = await a_session(scene)
        eu = await a_session(scene, connector="kettle", br_acct_env="eu")
        us = await a_session(scene, connector="kettle", br_acct_env="us")
        for key, known in ((KEY, {here}), (OTHER, {eu})):
            for token in (here, eu, us):
                for _ in range(2):  # the second from what is kept of the first
                    answer = await ask(scene, token, key)
                    assert answer.json()["active"] is (token in known)
                    assert token in known or answer.content == INACTIVE

    async def test_each_caller_gets_its_own_answer(self, scene: Scene, clock: StoppedClock) -> None:
        eu = await a_session(scene, connector="kettle", br_acct_env="eu")
        app = await scene.native()
        told = (await ask(scene, eu, OTHER)).json()
        assert told["exp"] == int(clock.now().timestamp()) + 60
        assert "customer_id:" in told["scope"]
        fields = {"token": eu, **assertion(clock, jti="third")}
        other = (await app.post(PATH, data=fields)).json()
        assert "customer_id:" not in other["scope"]
        assert other["exp"] == int(clock.now().timestamp()) + 300

    async def test_a_store_in_the_address_counts(self, scene: Scene) -> None:
        here = await a_session(scene)
        assert (await ask(scene, here, path=f"{PATH}?store=default")).json()["active"]
        assert (await ask(scene, here, path=f"{PATH}?store=kettle")).content == INACTIVE
        assert (await ask(scene, here, path=f"{PATH}?store=nowhere")).status_code == 400


BODIES: list[tuple[bytes, str, int]] = [
    (b"", "", 400),
    (b"token=", "application/x-www-form-urlencoded", 400),
    (b"token=a&token=b", "application/x-www-form-urlencoded", 400),
    (b"token=%FF", "application/x-www-form-urlencoded", 400),
    (b'{"token": "a"}', "application/json", 400),
    (b"token=a", "text/plain", 400),
    (b"token=a", "multipart/form-data", 400),
    (b"--b\r\n\r\na\r\n--b--", "multipart/form-data; boundary=b", 400),
    (b'--b\r\nContent-Disposition: form-data; name="token"\r\n\r\na', "multipart/form-data; boundary=b", 400),
    (b"token=" + b"a" * 70_000, "application/x-www-form-urlencoded", 413),
    (b"token=" + b"a" * 60_000, "application/x-www-form-urlencoded", 200),
    (b"token=a", "application/x-www-form-urlencoded; charset=utf-8", 200),
    (
        b'--b\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; filename="x"; name="token"\r\n\r\n'
        b'a\r\nb\r\n--b\r\nContent-Disposition: form-data; name=token_type_hint; name="y"\r\n\r\n\r\n--b--\r\n',
        'multipart/form-data; boundary="b"',
        200,
    ),
]


class TestQuirks:
    async def test_the_token_in_the_query(self, scene: Scene) -> None:
        token = await a_session(scene)
        app = await scene.native()
        answer = await app.post(f"{PATH}?token={token}", headers={"authorization": HEADER})
        assert answer.json()["active"] is True
        assert (await app.post(f"{PATH}?token={token}")).status_code == 401, "behind the same authentication"
        assert (await app.get(f"{PATH}?token={token}", headers={"authorization": HEADER})).status_code == 405

    async def test_further_fields_mean_nothing(self, scene: Scene) -> None:
        token = await a_session(scene)
        for name, value in (
            ("token_type_hint", "refresh_token"),
            ("token_type_hint", "\0x"),
            ("color", "blue"),
            ("client_id", "me"),
        ):
            assert (await ask(scene, token, **{name: value})).json()["active"] is True, name

    async def test_bodies(self, scene: Scene) -> None:
        app = await scene.native()
        for body, content_type, status in BODIES:
            headers = {"authorization": HEADER, **({"content-type": content_type} if content_type else {})}
            answer = await app.post(PATH, content=body, headers=headers)
            assert answer.status_code == status, (body[:99], content_type)
            if status == 200:
                assert answer.content == INACTIVE
            else:
                assert answer.json()["error"] == "invalid_request"


class TestInTime:
    async def test_a_body_that_does_not_come_is_a_503(self, scene: Scene) -> None:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            sent.append(dict(message))

        request = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": PATH,
            "query_string": b"",
            "headers": [(b"host", b"shop.test"), (b"authorization", HEADER.encode())],
            "client": (HERE, 1),
        }
        async with asyncio.timeout(20):
            await scene.application.public(request, receive, send)
        assert sent[0]["status"] == 503
        assert dict(sent[0]["headers"])[b"retry-after"] == b"1"
        assert b"temporarily_unavailable" in sent[1]["body"]

    async def test_outcomes_are_measured(self, scene: Scene) -> None:
        await ask(scene, await a_session(scene))
        await ask(scene, "unknown")
        await ask(scene, "unknown", "a wrong key")
        metrics = (await (await scene.admin()).get("/metrics")).text
        for outcome in ("active", "inactive", "refused"):
            assert f'shopkeeper_introspection_seconds_count{{outcome="{outcome}"}} 1.0' in metrics
