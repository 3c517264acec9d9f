"""`/sessions/whoami?tokenize_as=…`: JSON Web Tokens made of sessions."""

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from shopkeeper.app.application import Misconfigured
from shopkeeper.clock import StoppedClock
from shopkeeper.jose.algorithms import HASH_BYTES
from shopkeeper.jose.keys import KeySet, PrivateKey
from shopkeeper.jose.verify import JwtRules, check_header, verify
from tests.attacks.scene import ADDRESS, new_address, sign_up
from tests.http.conftest import Opening
from tests.http.support import open_shop

KEYS = {algorithm: PrivateKey.generate(algorithm) for algorithm in ("ES256", "EdDSA", "RS256")}


def b64(text: str) -> str:
    return "base64://" + base64.b64encode(text.encode()).decode()


def jwks(*keys: dict[str, Any]) -> str:
    return b64(json.dumps({"keys": keys}))


MAPPER = """
local s = std.extVar('session'), c = std.extVar('claims');
{ claims: {
  mail: s.identity.traits.email, session: s.id, soon: c.exp - c.iat,
  sub: 'another', iss: 'https://evil.test', exp: 9999999999, sid: 'x', jti: 'x', iat: 0, nbf: 0,
} }
"""
FAILS = "error std.extVar('session').id"
TEMPLATES: dict[str, Any] = {
    "plain": {"jwks_url": jwks(KEYS["ES256"].private_jwk())},
    "long": {"ttl": "24h", "jwks_url": jwks(KEYS["EdDSA"].private_jwk())},
    "mapped": {"ttl": "5m", "jwks_url": jwks(KEYS["RS256"].private_jwk()), "claims_mapper_url": b64(MAPPER)},
    "by_external_id": {"jwks_url": jwks(KEYS["ES256"].private_jwk()), "subject_source": "external_id"},
    "fails": {
        "jwks_url": jwks(KEYS["ES256"].private_jwk()),
        "claims_mapper_url": b64(FAILS),
    },
    "shapeless": {"jwks_url": jwks(KEYS["ES256"].private_jwk()), "claims_mapper_url": b64("{ claims: 7 }")},
    "huge": {
        "jwks_url": jwks(KEYS["ES256"].private_jwk()),
        "claims_mapper_url": b64("{ claims: { x: std.repeat('x', 20000) } }"),
    },
}
SETTINGS: dict[str, Any] = {"whoami": {"tokenizer": {"templates": TEMPLATES}}, "lifespan": "2h"}


def claims_in(answer: httpx2.Response, key: PrivateKey) -> dict[str, Any]:
    """Return the claims of the token in an answer, which this key must have signed."""
    keys = KeySet([key.verification_key()])
    return dict(verify(answer.json()["tokenized"], keys, JwtRules(types={"jwt"})))


async def test_a_token_says_whose_session_it_is(opening: Opening, sqlite_dsn: str, clock: StoppedClock) -> None:
    async with opening(sqlite_dsn, session=SETTINGS) as scene:
        app = await scene.native()
        signed_up = await sign_up(app, new_address())
        plain = (await app.get("/sessions/whoami", headers={"x-session-token": signed_up["session_token"]})).json()
        answer = await app.get(
            "/sessions/whoami?tokenize_as=plain", headers={"x-session-token": signed_up["session_token"]}
        )
        assert {name: value for name, value in answer.json().items() if name != "tokenized"} == plain
        claims, now = claims_in(answer, KEYS["ES256"]), int(clock.now().timestamp())
        assert UUID(claims.pop("jti")).version == 4
        assert claims == {
            "iss": ADDRESS,
            "sub": plain["identity"]["id"],
            "sid": plain["id"],
            "iat": now,
            "nbf": now,
            "exp": now + 60,
        }


async def test_row_033_a_mapper_changes_no_reserved_claim(
    opening: Opening, sqlite_dsn: str, clock: StoppedClock
) -> None:
    async with opening(sqlite_dsn, session=SETTINGS) as scene:
        app, email = await scene.native(), new_address()
        session = await signed_in(app, email)
        claims = claims_in(await app.get("/sessions/whoami?tokenize_as=mapped"), KEYS["RS256"])
        assert (claims["mail"], claims["session"], claims["soon"]) == (email, session["id"], 300)
        assert (claims["sub"], claims["sid"], claims["iss"]) == (session["identity"]["id"], session["id"], ADDRESS)
        assert claims["exp"] == claims["iat"] + 300 == claims["nbf"] + 300
        assert claims["iat"] == int(clock.now().timestamp())
        assert claims["jti"] != "x"


async def test_a_token_does_not_outlive_its_session(opening: Opening, sqlite_dsn: str, clock: StoppedClock) -> None:
    async with opening(sqlite_dsn, session=SETTINGS) as scene:
        app = await scene.native()
        await signed_in(app, new_address())
        began = clock.now()
        clock.advance(hours=1)
        claims = claims_in(await app.get("/sessions/whoami?tokenize_as=long"), KEYS["EdDSA"])
        assert claims["exp"] == int((began + timedelta(hours=2)).timestamp())


async def test_a_token_does_not_outlive_a_session_that_ends_unused(
    opening: Opening, sqlite_dsn: str, clock: StoppedClock
) -> None:
    async with opening(sqlite_dsn, session={**SETTINGS, "idle_lifespan": "10m"}) as scene:
        app = await scene.native()
        await signed_in(app, new_address())
        claims = claims_in(await app.get("/sessions/whoami?tokenize_as=long"), KEYS["EdDSA"])
        assert claims["exp"] == int((clock.now() + timedelta(minutes=10)).timestamp())


async def test_the_subject_may_be_the_external_id(opening: Opening, sqlite_dsn: str) -> None:
    async with opening(sqlite_dsn, session=SETTINGS) as scene:
        app, email = await scene.native(), new_address()
        session = await signed_in(app, email)
        refused = await app.get("/sessions/whoami?tokenize_as=by_external_id")
        assert (refused.status_code, refused.headers["x-error-code"]) == (400, "tokenize_as_without_subject")
        operator = await scene.admin()
        changed = await operator.patch(
            f"/admin/identities/{session['identity']['id']}",
            json=[{"op": "add", "path": "/external_id", "value": "erp-7"}],
        )
        assert changed.status_code == 200, changed.text
        claims = claims_in(await app.get("/sessions/whoami?tokenize_as=by_external_id"), KEYS["ES256"])
        assert claims["sub"] == "erp-7"


async def test_what_makes_no_token(opening: Opening, sqlite_dsn: str) -> None:
    async with opening(sqlite_dsn, session=SETTINGS) as scene:
        app = await scene.native()
        session = await signed_in(app, new_address())
        for query, status, code in (
            ("tokenize_as=nope", 400, "tokenize_as_unknown"),
            ("tokenize_as=%00", 400, "tokenize_as_unknown"),
            ("tokenize_as=" + "x" * 5000, 400, "tokenize_as_unknown"),
            ("tokenize_as=fails", 500, "tokenizer_failed"),
            ("tokenize_as=shapeless", 500, "tokenizer_failed"),
            ("tokenize_as=huge", 500, "tokenizer_failed"),
            ("tokenize_as=", 200, None),
            ("tokenize_as", 200, None),
            ("tokenize=plain", 200, None),
        ):
            answer = await app.get(f"/sessions/whoami?{query}")
            assert (answer.status_code, answer.headers.get("x-error-code")) == (status, code), query[:99]
            assert "tokenized" not in answer.json()
            assert status == 200 or session["id"] not in answer.text


async def test_without_a_session_no_template_matters(opening: Opening, sqlite_dsn: str) -> None:
    async with opening(sqlite_dsn, session=SETTINGS) as scene:
        app = await scene.native()
        for template in ("plain", "nope"):
            answer = await app.get(f"/sessions/whoami?tokenize_as={template}")
            assert answer.status_code == 401


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"jwks_url": b64("no json")}, "jwks_url"),
        ({"jwks_url": jwks()}, "jwks_url"),
        ({"jwks_url": jwks(KEYS["ES256"].public_jwk())}, "jwks_url"),
        ({"jwks_url": jwks({"kty": "oct", "k": "c2hvcnQ", "alg": "HS256", "kid": "1"})}, "jwks_url"),
        ({"jwks_url": "file:///there/is/nothing"}, "jwks_url"),
        ({"claims_mapper_url": b64("{ claims: ")}, "claims_mapper_url"),
        ({"claims_mapper_url": "file:///there/is/nothing"}, "claims_mapper_url"),
    ],
)
async def test_a_template_that_cannot_work_ends_the_start(
    opening: Opening, sqlite_dsn: str, changed: dict[str, Any], said: str
) -> None:
    template = {**TEMPLATES["plain"], **changed}
    with pytest.raises(Misconfigured, match=rf"templates\.odd\.{said} cannot be used"):
        async with opening(sqlite_dsn, session={"whoami": {"tokenizer": {"templates": {"odd": template}}}}):
            pass


async def test_a_secret_of_two_parties_signs_too(opening: Opening, sqlite_dsn: str) -> None:
    secret = {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode().rstrip("="), "alg": "HS256", "kid": "1"}
    templates = {"shared": {"jwks_url": jwks(secret)}}
    async with opening(sqlite_dsn, session={"whoami": {"tokenizer": {"templates": templates}}}) as scene:
        app = await scene.native()
        await signed_in(app, new_address())
        token = (await app.get("/sessions/whoami?tokenize_as=shared")).json()["tokenized"]
        assert check_header(token, JwtRules(types={"jwt"}, algorithms=HASH_BYTES)).algorithm == "HS256"


async def signed_in(app: httpx2.AsyncClient, email: str) -> dict[str, Any]:
    """Register; this client sends the session's token from now on. Return the session."""
    signed_up = await sign_up(app, email)
    app.headers["x-session-token"] = signed_up["session_token"]
    return dict(signed_up["session"])


async def test_a_token_of_an_agent_names_the_agent_and_lasts_a_minute(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    async with open_shop(sqlite_dsn, tmp_path, clock, further={"session": SETTINGS}) as shop:
        app = await shop.scene.native()
        claims = []
        for token in ((await shop.started())["session_token"], shop.customer.token):
            answer = await app.get("/sessions/whoami?tokenize_as=long", headers={"x-session-token": token})
            claims.append(claims_in(answer, KEYS["EdDSA"]))
    acting, own = claims
    assert (acting["sub"], acting["act"], acting["exp"] - acting["iat"]) == (own["sub"], {"sub": shop.agent.id}, 60)
    assert "act" not in own
    assert own["exp"] - own["iat"] > 60
