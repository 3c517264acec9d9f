"""Attacks on the token endpoint and on revocation, over HTTP (`docs/security.md`, part B)."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from itertools import product
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from joserfc import jws

from shopkeeper.clock import StoppedClock
from shopkeeper.jose.keys import PrivateKey
from shopkeeper.jose.sign import sign
from shopkeeper.oauth.client_assertions import ASSERTION_TYPE
from shopkeeper.oauth.grants import ACCESS_TOKEN_TYPE, SESSION_TOKEN_TYPE
from shopkeeper.tokens.access_tokens import MOST_LINEAGE
from tests.attacks.conftest import Opening
from tests.attacks.scene import ADDRESS, EVIL, Scene, new_address, sign_up, visit

CLIENT_CREDENTIALS, REFRESH = "client_credentials", "refresh_token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
SECRET, OTHER_SECRET, THIRD_SECRET, FOURTH_SECRET = (
    "Qm4tVx7RzL0sKd9WcY2hNb5Pf8uGjE1a",
    "c3Zq8LwTn5RfX0yKb7VhM2sJd9PgU4eA",
    "t7BvN1xC5zL9kJ3h" * 2,
    "Hq2ZsWx8Ed4Rf6Vt" * 2,
)
STOCK_KEY = "Yp6rWd2Xk9Lf4Tn8Hs1Zc7Bv3Jm5Qg0A"
BILLING_KEY = "Xw4nRt8Ks2Vb6Qz9Lc1Hf5Gd7Jp3My0E"
KEY = PrivateKey.generate()
WAITING = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
RULES = [
    {"scopes": ["orders:read", "orders:write"]},
    {"when": {"store": "tea"}, "scopes": ["tea:read"]},
    {"when": {"group": "wholesale"}, "scopes": ["prices:wholesale"]},
]
EVERY = ["client_credentials", "token_exchange", "refresh_token"]
CLIENTS: list[dict[str, Any]] = [
    {
        "id": "orders",
        "secrets": [SECRET],
        "grants": EVERY,
        "scopes": ["orders:read", "tea:read", "prices:wholesale"],
        "audiences": ["stock"],
    },
    {"id": "search", "secrets": [OTHER_SECRET], "grants": EVERY, "scopes": ["orders:read"], "audiences": ["stock"]},
    {
        "id": "tea-only",
        "secrets": [THIRD_SECRET],
        "grants": EVERY,
        "scopes": ["tea:read"],
        "audiences": ["stock"],
        "stores": ["tea"],
    },
    {
        "id": "unrefreshed",
        "secrets": [FOURTH_SECRET],
        "grants": ["token_exchange"],
        "scopes": ["orders:read"],
        "audiences": ["stock"],
    },
    {"id": "signed", "jwks": {"keys": [KEY.public_jwk()]}, "scopes": ["orders:read"], "audiences": ["stock"]},
]
SETTINGS: dict[str, Any] = {
    "tokens": {"clients": CLIENTS, "scope_rules": RULES},
    "introspection": {
        "callers": [
            {"id": "stock", "keys": [STOCK_KEY], "subject_scopes": []},
            {"id": "billing", "keys": [BILLING_KEY], "subject_scopes": []},
        ]
    },
    "stores": [{"id": "default"}, {"id": "tea"}],
}
AUTHENTICATION = {
    "orders": httpx2.BasicAuth("orders", SECRET),
    "search": httpx2.BasicAuth("search", OTHER_SECRET),
    "tea-only": httpx2.BasicAuth("tea-only", THIRD_SECRET),
    "unrefreshed": httpx2.BasicAuth("unrefreshed", FOURTH_SECRET),
}


@pytest.fixture
async def shop(opening: Opening, sqlite_dsn: str) -> AsyncIterator[Scene]:
    async with opening(sqlite_dsn, **SETTINGS) as scene:
        yield scene


async def ask(
    scene: Scene, parameters: Mapping[str, str | list[str]], *, client: str = "orders", path: str = "token"
) -> httpx2.Response:
    """Ask for a token, or to revoke one, as a client."""
    service = await scene.native()
    return await service.post(f"/oauth2/{path}", data=dict(parameters), auth=AUTHENTICATION[client])


async def signed_up(scene: Scene, **headers: str) -> dict[str, Any]:
    """Register a customer; return the answer with the session."""
    return await sign_up(await scene.native(**headers), new_address())


def exchanging(token: str, **parameters: str) -> dict[str, str]:
    return {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": SESSION_TOKEN_TYPE, **parameters}


def of_access(token: str) -> dict[str, str]:
    return exchanging(token, subject_token_type=ACCESS_TOKEN_TYPE)


async def introspected(scene: Scene, token: str, *, store: str | None = None, key: str = STOCK_KEY) -> dict[str, Any]:
    """Return what this server says of a token, to the service that it is for where `key` is that service's."""
    stock, query = await scene.native(authorization=f"Bearer {key}"), {"store": store} if store else {}
    answer = await stock.post("/oauth2/introspect", data={"token": token}, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def is_active(scene: Scene, token: str, *, store: str | None = None) -> bool:
    return bool((await introspected(scene, token, store=store))["active"])


async def test_a_service_gets_a_token_as_the_standards_describe_it(shop: Scene) -> None:
    answer = await ask(shop, {"grant_type": CLIENT_CREDENTIALS, "scope": "orders:read"})
    assert answer.status_code == 200, answer.text
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    told = answer.json()
    assert {name: told[name] for name in told if name != "access_token"} == {
        "token_type": "Bearer",
        "expires_in": 600,
        "scope": "orders:read",
    }
    token = jws.extract_compact(told["access_token"].encode())
    assert token.headers()["typ"] == "at+jwt"
    said = json.loads(token.payload)
    assert {**said, "iat": 0, "exp": 0, "jti": ""} == {
        **{"iss": ADDRESS, "sub": "orders", "aud": "stock", "client_id": "orders", "scope": "orders:read"},
        **{"iat": 0, "exp": 0, "jti": ""},
    }
    assert (await introspected(shop, told["access_token"]))["scope"] == "orders:read"


async def test_a_session_is_exchanged_for_a_token_that_says_no_more_than_it_was_given(shop: Scene) -> None:
    session = await signed_up(shop)
    told = (await ask(shop, exchanging(session["session_token"], scope="orders:read"))).json()
    assert told["issued_token_type"] == ACCESS_TOKEN_TYPE
    said = await introspected(shop, told["access_token"])
    assert (said["scope"], said["sub"], said["client_id"]) == ("orders:read", session["identity"]["id"], "orders")


async def test_row_018_and_032_only_what_would_sign_in_is_exchanged(shop: Scene) -> None:
    session = await signed_up(shop)
    token = session["session_token"]
    guest = (await visit(await shop.native()))["authorization"]
    good = (await ask(shop, exchanging(token))).json()
    payload = json.loads(jws.extract_compact(good["access_token"].encode()).payload)
    of_visit, of_other_key = exchanging(guest), of_access(sign(payload, PrivateKey.generate(), "at+jwt"))
    other_kind = of_access(sign(payload, await shop.application.accounts.signing_keys.current(), "jwt"))
    for parameters in (of_visit, of_other_key, other_kind, of_access(token), exchanging(good["access_token"])):
        answer = await ask(shop, parameters)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert parameters["subject_token"] not in answer.text
    foreign = await ask(shop, of_access(good["access_token"]), client="search")
    assert (foreign.status_code, foreign.json()["error"]) == (400, "invalid_request")
    admin = await shop.admin()
    assert (await admin.delete(f"/admin/sessions/{session['session']['id']}")).status_code == 204
    for parameters in (exchanging(token), of_access(good["access_token"])):
        assert (await ask(shop, parameters)).json()["error"] == "invalid_request"


async def test_row_019_and_020_a_refresh_token_is_of_one_client_and_one_use(shop: Scene, clock: StoppedClock) -> None:
    told = (await ask(shop, exchanging((await signed_up(shop))["session_token"]))).json()
    refreshing = {"grant_type": REFRESH, "refresh_token": told["refresh_token"]}
    foreign = await ask(shop, refreshing, client="search")
    assert (foreign.status_code, foreign.json()["error"]) == (400, "invalid_grant")
    second = (await ask(shop, refreshing)).json()
    assert (await ask(shop, refreshing)).json()["refresh_token"] == second["refresh_token"]
    clock.advance(seconds=11)
    assert (await ask(shop, refreshing)).json()["error"] == "invalid_grant"
    assert (await ask(shop, {**refreshing, "refresh_token": second["refresh_token"]})).json()[
        "error"
    ] == "invalid_grant"
    assert not await is_active(shop, second["access_token"])


async def test_row_020_a_refresh_that_cannot_be_signed_is_no_use_of_its_token(
    opening: Opening, sqlite_dsn: str, clock: StoppedClock
) -> None:
    async with opening(sqlite_dsn, **SETTINGS) as scene:
        told = (await ask(scene, exchanging((await signed_up(scene))["session_token"]))).json()
    refreshing = {"grant_type": REFRESH, "refresh_token": told["refresh_token"]}
    # A process without the secret that seals the private keys.
    async with opening(sqlite_dsn, **SETTINGS, secrets={"cipher": ["0123456789abcdef" * 2]}) as scene:
        answer = await ask(scene, refreshing)
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    clock.advance(minutes=2)
    async with opening(sqlite_dsn, **SETTINGS) as scene:
        refreshed = await ask(scene, refreshing)
        assert refreshed.status_code == 200, refreshed.text
        for token in (refreshed.json()["access_token"], told["access_token"]):
            assert await is_active(scene, token)


async def test_row_018_a_session_that_is_deleted_while_it_is_exchanged_gets_nothing(opening: Opening, dsn: str) -> None:
    async with opening(dsn, **SETTINGS) as shop:
        token = (await signed_up(shop))["session_token"]
        assert (await ask(shop, exchanging(token))).is_success
        # As another process deletes it, of which this one has not heard yet.
        async with shop.application.infrastructure.database.transaction() as connection:
            await connection.exec_driver_sql("DELETE FROM sessions")
        answer = await ask(shop, exchanging(token))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), answer.text
        assert await shop.rows("oauth_refresh_tokens") == []


async def test_row_018_a_session_that_is_deleted_while_its_token_is_refreshed_gets_nothing(
    opening: Opening, postgres_dsn: str
) -> None:
    async with opening(postgres_dsn, **SETTINGS) as shop:
        told = (await ask(shop, exchanging((await signed_up(shop))["session_token"]))).json()
        refreshing = {"grant_type": REFRESH, "refresh_token": told["refresh_token"]}
        async with shop.application.infrastructure.database.transaction() as connection:
            # The row is locked as by a deletion, which deletes what belongs to it once it has the lock.
            await connection.exec_driver_sql("SELECT FROM sessions FOR UPDATE")
            answering = asyncio.create_task(ask(shop, refreshing))
            async with asyncio.timeout(20):
                while not answering.done() and not await shop.rows(WAITING):  # noqa: ASYNC110 - the database says it
                    await asyncio.sleep(0.01)
            await connection.exec_driver_sql("DELETE FROM sessions")
        answer = await answering
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), answer.text
        assert await shop.rows("oauth_refresh_tokens") == []


@pytest.mark.parametrize("how", ["disabled", "deleted", "signed out", "session deleted"])
async def test_row_021_and_029_and_036_no_grant_serves_an_account_that_is_off(shop: Scene, how: str) -> None:
    session = await signed_up(shop)
    told = (await ask(shop, exchanging(session["session_token"]))).json()
    who, admin = session["identity"]["id"], await shop.admin()
    if how == "disabled":
        changed = await admin.patch(
            f"/admin/identities/{who}", json=[{"op": "replace", "path": "/state", "value": "inactive"}]
        )
    elif how == "deleted":
        changed = await admin.delete(f"/admin/identities/{who}")
    elif how == "signed out":
        changed = await (await shop.native()).request(
            "DELETE", "/self-service/logout/api", json={"session_token": session["session_token"]}
        )
    else:
        changed = await admin.delete(f"/admin/identities/{who}/sessions")
    assert changed.is_success, changed.text
    for parameters, error in (
        (exchanging(session["session_token"]), "invalid_request"),
        (of_access(told["access_token"]), "invalid_request"),
        ({"grant_type": REFRESH, "refresh_token": told["refresh_token"]}, "invalid_grant"),
    ):
        answer = await ask(shop, parameters)
        assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert not await is_active(shop, told["access_token"])


async def test_row_021_who_leaves_a_group_loses_its_scopes_at_the_next_refresh(shop: Scene) -> None:
    session, admin = await signed_up(shop), await shop.admin()
    group = (await admin.post("/admin/groups", json={"name": "wholesale"})).json()["id"]
    member = f"/admin/groups/{group}/members/{session['identity']['id']}"
    assert (await admin.put(member)).is_success
    told = (await ask(shop, exchanging(session["session_token"]))).json()
    assert told["scope"] == "orders:read prices:wholesale"
    assert (await admin.delete(member)).is_success
    refreshed = await ask(shop, {"grant_type": REFRESH, "refresh_token": told["refresh_token"]})
    assert refreshed.json()["scope"] == "orders:read"
    for parameters in (exchanging(session["session_token"]), of_access(told["access_token"])):
        again = await ask(shop, {**parameters, "scope": "prices:wholesale"})
        assert (again.status_code, again.json()["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize("store", ["default", "tea"])
async def test_row_021_each_condition_counts_alike_in_introspection_exchange_and_refresh(
    opening: Opening, sqlite_dsn: str, store: str
) -> None:
    in_group = {"group": "wholesale"}
    holding = [in_group, {"provider": "own"}, {"kind": "customer"}, {**in_group, "kind": "customer", "store": store}]
    failing = [{"group": "staff"}, {"role": "wholesale"}, {"kind": ["guest", "external"]}, {**in_group, "role": "any"}]
    rules = [
        {"when": when, "scopes": [f"{word}:{number}"]}
        for word, conditions in (("holding", holding), ("failing", failing))
        for number, when in enumerate(conditions)
    ]
    client = {**CLIENTS[0], "scopes": [each["scopes"][0] for each in rules]}
    async with opening(sqlite_dsn, **{**SETTINGS, "tokens": {"clients": [client], "scope_rules": rules}}) as shop:
        session, admin = await signed_up(shop, connector=store), await shop.admin()
        group = (await admin.post("/admin/groups", json={"name": "wholesale"})).json()["id"]
        assert (await admin.put(f"/admin/groups/{group}/members/{session['identity']['id']}")).is_success
        exchanged = (await ask(shop, exchanging(session["session_token"]))).json()
        refreshed = (await ask(shop, {"grant_type": REFRESH, "refresh_token": exchanged["refresh_token"]})).json()
        again = (await ask(shop, of_access(exchanged["access_token"]))).json()
        for told in (await introspected(shop, session["session_token"]), exchanged, refreshed, again):
            assert told["scope"].split() == [f"holding:{number}" for number in range(len(holding))]


async def test_a_token_without_scopes_says_none(opening: Opening, sqlite_dsn: str) -> None:
    clients = [{**CLIENTS[0], "scopes": []}]
    async with opening(sqlite_dsn, **{**SETTINGS, "tokens": {"clients": clients}}) as shop:
        session = (await signed_up(shop))["session_token"]
        exchanged = (await ask(shop, exchanging(session))).json()
        for parameters in (
            {"grant_type": CLIENT_CREDENTIALS},
            of_access(exchanged["access_token"]),
            {"grant_type": REFRESH, "refresh_token": exchanged["refresh_token"]},
        ):
            told = (await ask(shop, parameters)).json()
            assert "scope" not in told  # RFC 6749 section 3.3: a list of scopes has one at least
            assert "scope" not in json.loads(jws.extract_compact(told["access_token"].encode()).payload)
            assert await is_active(shop, told["access_token"])


async def test_row_021_a_client_that_is_removed_loses_its_tokens(opening: Opening, sqlite_dsn: str) -> None:
    async with opening(sqlite_dsn, **SETTINGS) as scene:
        session = (await signed_up(scene))["session_token"]
        told = (await ask(scene, exchanging(session))).json()
    without = [{**CLIENTS[0], "grants": ["token_exchange"]}, CLIENTS[1]]
    async with opening(sqlite_dsn, **{**SETTINGS, "tokens": {"clients": without, "scope_rules": RULES}}) as scene:
        refreshed = await ask(scene, {"grant_type": REFRESH, "refresh_token": told["refresh_token"]})
        assert (refreshed.status_code, refreshed.json()["error"]) == (400, "unauthorized_client")
    async with opening(sqlite_dsn, **{**SETTINGS, "tokens": {"clients": CLIENTS[1:]}}) as scene:
        assert (await ask(scene, exchanging(session))).json()["error"] == "invalid_client"
        assert not await is_active(scene, told["access_token"])


async def test_row_026_no_grant_gives_a_scope_that_client_or_person_lacks(shop: Scene) -> None:
    session = (await signed_up(shop))["session_token"]
    told = (await ask(shop, exchanging(session))).json()
    for parameters, scope in product(
        (
            {"grant_type": CLIENT_CREDENTIALS},
            exchanging(session),
            of_access(told["access_token"]),
            {"grant_type": REFRESH, "refresh_token": told["refresh_token"]},
        ),
        ("admin", "orders:read admin", "orders:write", "customer_id:1", "*", "orders:read\u00a0admin"),
    ):
        answer = await ask(shop, {**parameters, "scope": scope})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope"), (parameters, scope)
        assert "admin" not in answer.text


async def test_row_026_a_token_is_for_one_audience_of_its_client(shop: Scene) -> None:
    session = (await signed_up(shop))["session_token"]
    for parameters in ({"grant_type": CLIENT_CREDENTIALS}, exchanging(session)):
        for target in (
            {"audience": "billing"},
            {"audience": "stock billing"},
            {"audience": "stock", "resource": "x"},
            {"audience": ["stock", "billing"]},  # may be sent (RFC 8693 section 2.1), and is not issued here
            {"resource": ["stock", "x"]},
        ):
            answer = await ask(shop, {**parameters, **target})
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")
        for target in ({"audience": ["stock", "stock"]}, {"audience": "stock", "resource": "stock"}):
            told = (await ask(shop, {**parameters, **target})).json()
            assert json.loads(jws.extract_compact(told["access_token"].encode()).payload)["aud"] == "stock"
    twice = await ask(shop, {"grant_type": CLIENT_CREDENTIALS, "scope": ["orders:read", "orders:read"]})
    assert (twice.status_code, twice.json()["error"]) == (400, "invalid_request")


async def test_row_028_a_revocation_that_is_not_stored_is_no_success(shop: Scene) -> None:
    told = (await ask(shop, exchanging((await signed_up(shop))["session_token"]))).json()
    database = shop.application.infrastructure.database
    async with database.transaction() as connection:
        await connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON revoked_tokens BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        )
    for token in (told["access_token"], told["refresh_token"]):
        answer = await ask(shop, {"token": token}, path="revoke")
        assert answer.status_code >= 500
        assert token not in answer.text
    assert await is_active(shop, told["access_token"])
    async with database.transaction() as connection:
        await connection.exec_driver_sql("DROP TRIGGER full")
    for token in (told["access_token"], told["refresh_token"]):
        assert (await ask(shop, {"token": token}, path="revoke")).status_code == 200
    assert not await is_active(shop, told["access_token"])


async def test_row_022_a_client_cannot_revoke_or_learn_of_anothers_token(shop: Scene) -> None:
    told = (await ask(shop, exchanging((await signed_up(shop))["session_token"]))).json()
    for name in ("access_token", "refresh_token"):
        answer = await ask(shop, {"token": told[name], "token_type_hint": name}, client="search", path="revoke")
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert not {"orders", told[name]} & set(answer.text.split())
    assert await is_active(shop, told["access_token"])
    assert await introspected(shop, told["access_token"], key=BILLING_KEY) == {"active": False}
    unknown = await ask(shop, {"token": "unknown", "token_type_hint": "odd"}, path="revoke")
    assert (unknown.status_code, unknown.content) == (200, b"")


@pytest.mark.parametrize("client", ["orders", "unrefreshed"])
@pytest.mark.parametrize("revoked", [0, 1, 2, 3])
async def test_row_022_what_was_exchanged_is_revoked_with_each_token_that_it_comes_from(
    shop: Scene, client: str, revoked: int
) -> None:
    session = (await signed_up(shop))["session_token"]
    tokens = [(await ask(shop, exchanging(session), client=client)).json()["access_token"]]
    for _ in range(3):
        tokens.append((await ask(shop, of_access(tokens[-1]), client=client)).json()["access_token"])
    sibling = (await ask(shop, of_access(tokens[0]), client=client)).json()["access_token"]
    assert all([await is_active(shop, each) for each in (*tokens, sibling)])
    assert (await ask(shop, {"token": tokens[revoked]}, client=client, path="revoke")).status_code == 200
    assert [await is_active(shop, each) for each in tokens] == [index < revoked for index in range(4)]
    assert await is_active(shop, sibling) == (revoked > 0)


async def test_row_022_a_family_is_revoked_with_all_that_comes_from_it(shop: Scene) -> None:
    first = (await ask(shop, exchanging((await signed_up(shop))["session_token"]))).json()
    second = (await ask(shop, {"grant_type": REFRESH, "refresh_token": first["refresh_token"]})).json()
    tokens = [first["access_token"], second["access_token"]]
    for _ in range(2):
        tokens.append((await ask(shop, of_access(tokens[-1]))).json()["access_token"])
    assert all([await is_active(shop, each) for each in tokens])
    assert (await ask(shop, {"token": second["refresh_token"]}, path="revoke")).status_code == 200
    assert not any([await is_active(shop, each) for each in tokens])


async def test_row_022_a_token_is_exchanged_only_so_often_that_all_it_comes_from_is_looked_at(shop: Scene) -> None:
    session = (await signed_up(shop))["session_token"]
    answers = [await ask(shop, exchanging(session), client="unrefreshed")]
    for _ in range(MOST_LINEAGE):
        answers.append(await ask(shop, of_access(answers[-1].json()["access_token"]), client="unrefreshed"))
    assert await is_active(shop, answers[-1].json()["access_token"])
    more = await ask(shop, of_access(answers[-1].json()["access_token"]), client="unrefreshed")
    assert (more.status_code, more.json()["error"]) == (400, "invalid_request")
    assert (
        await ask(shop, {"token": answers[0].json()["access_token"]}, client="unrefreshed", path="revoke")
    ).is_success
    assert not await is_active(shop, answers[-1].json()["access_token"])


async def test_row_030_no_answer_shows_a_secret(shop: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    session = (await signed_up(shop))["session_token"]
    told = (await ask(shop, exchanging(session))).json()
    answers = [
        await ask(shop, {"grant_type": "password", "password": SECRET}),
        await ask(shop, {"grant_type": REFRESH, "refresh_token": told["refresh_token"] + "x"}),
        await (await shop.native()).post(
            "/oauth2/token",
            data={"client_id": "orders", "client_secret": SECRET + "x", "grant_type": CLIENT_CREDENTIALS},
        ),
        await (await shop.native()).get("/.well-known/oauth-authorization-server"),
        *[await (await shop.admin()).get(path) for path in ("/admin/health/config", "/admin/identities")],
    ]
    said = "".join(answer.text for answer in answers) + "".join(capsys.readouterr())
    tables = [await shop.rows(table) for table in ("oauth_refresh_tokens", "revoked_tokens", "audit_events")]
    stored = str(tables)
    for secret in (SECRET, told["refresh_token"], told["access_token"], session):
        assert secret not in said
        assert secret not in stored


async def test_row_031_a_client_of_one_store_gets_nothing_of_another(shop: Scene) -> None:
    elsewhere = (await signed_up(shop))["session_token"]
    answer = await ask(shop, exchanging(elsewhere), client="tea-only")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    here = (await signed_up(shop, connector="tea"))["session_token"]
    told = (await ask(shop, exchanging(here), client="tea-only")).json()
    assert told["scope"] == "tea:read"
    own = (await ask(shop, {"grant_type": CLIENT_CREDENTIALS}, client="tea-only")).json()
    for token in (told["access_token"], own["access_token"]):
        assert (await introspected(shop, token, store="tea"))["scope"] == "tea:read"
        assert not await is_active(shop, token, store="default")


async def test_row_033_no_parameter_overwrites_a_claim(shop: Scene) -> None:
    claims = {"sub": "root", "iss": EVIL, "aud": "billing", "exp": "9999999999", "client_id": "orders", "jti": "1"}
    more = {**claims, "sid": "1", "act": '{"sub":"root"}', "stores": "tea", "claims": json.dumps(claims)}
    answer = await ask(shop, {"grant_type": CLIENT_CREDENTIALS, **more})
    said = json.loads(jws.extract_compact(answer.json()["access_token"].encode()).payload)
    assert (said["sub"], said["iss"], said["aud"]) == ("orders", ADDRESS, "stock")
    assert said["exp"] - said["iat"] == 600
    assert not {"sid", "act", "stores", "claims"} & said.keys()


BROKEN: list[tuple[dict[str, str], str, str]] = [
    ({}, "grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
    ({}, "grant_type=client_credentials&scope=orders:read&scope=", "invalid_request"),
    ({}, "grant_type=", "invalid_request"),
    ({}, "", "invalid_request"),
    ({}, "grant_type=%ff", "invalid_request"),
    ({}, "&".join(f"p{number}=x" for number in range(100)), "invalid_request"),
    ({"content-type": "application/json"}, '{"grant_type": "client_credentials"}', "invalid_request"),
    ({"content-type": "text/plain"}, "grant_type=client_credentials", "invalid_request"),
    ({}, "grant_type=client_credentials&x=" + "y" * 70_000, "invalid_request"),
    ({}, "grant_type=authorization_code&code=x", "unsupported_grant_type"),
    ({}, "grant_type=CLIENT_CREDENTIALS", "unsupported_grant_type"),
]


async def test_row_019_a_request_that_breaks_the_form_is_refused(shop: Scene) -> None:
    service = await shop.native()
    for headers, body, error in BROKEN:
        sent = {"content-type": "application/x-www-form-urlencoded", **headers}
        answer = await service.post("/oauth2/token", content=body, headers=sent, auth=AUTHENTICATION["orders"])
        assert (answer.status_code in {400, 413}, answer.json()["error"]) == (True, error), body[:99]
        assert answer.headers["cache-control"] == "no-store"


async def test_row_030_parameters_in_the_address_are_refused(shop: Scene) -> None:
    service = await shop.native()
    query = urlencode({"grant_type": CLIENT_CREDENTIALS, "client_id": "orders", "client_secret": SECRET})
    answer = await service.post(f"/oauth2/token?{query}", data={"grant_type": CLIENT_CREDENTIALS})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert (await service.get(f"/oauth2/token?{query}")).status_code == 405


async def test_another_method_is_refused_in_the_shape_of_oauth(shop: Scene) -> None:
    service = await shop.native()
    for path in ("/oauth2/token", "/oauth2/revoke", "/oauth2/introspect"):
        for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = await service.request(method, path, headers={"accept": "text/html, application/json"})
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST"), (method, path)
            assert {*answer.json()} == {"error", "error_description"}
            assert answer.headers["cache-control"] == "no-store"


async def test_row_017_wrong_credentials_are_challenged_and_an_assertion_counts_once(
    shop: Scene, clock: StoppedClock
) -> None:
    service = await shop.native()
    answer = await service.post(
        "/oauth2/token", data={"grant_type": CLIENT_CREDENTIALS}, auth=httpx2.BasicAuth("orders", OTHER_SECRET)
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    now = int(clock.now().timestamp())
    claims = {"iss": "signed", "sub": "signed", "aud": f"{ADDRESS}/oauth2/token", "exp": now + 60, "jti": "1"}
    form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": sign(claims, KEY)}
    statuses = [
        (await service.post("/oauth2/token", data={"grant_type": CLIENT_CREDENTIALS, **form})).status_code
        for _ in range(2)
    ]
    assert statuses == [200, 401]


async def test_row_047_a_page_of_another_origin_can_neither_send_nor_read(opening: Opening, sqlite_dsn: str) -> None:
    cors = {"serve": {"public": {"base_url": f"{ADDRESS}/", "cors": {"enabled": True, "allowed_origins": [EVIL]}}}}
    async with opening(sqlite_dsn, **SETTINGS, **cors) as scene:
        page = await scene.native(origin=EVIL)
        for path in ("/oauth2/token", "/oauth2/revoke", "/oauth2/token/", "/oauth2/introspect", "/introspect"):
            asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
            answers = [
                await page.options(path, headers=asked),
                await page.post(path, data={"grant_type": CLIENT_CREDENTIALS}, auth=AUTHENTICATION["orders"]),
            ]
            for answer in answers:
                assert not [name for name in answer.headers if name.startswith("access-control")]
            assert answers[0].status_code == 405
        elsewhere = await page.get("/schemas")
        assert elsewhere.headers["access-control-allow-origin"] == EVIL
