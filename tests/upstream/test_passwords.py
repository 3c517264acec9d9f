"""The password grant: what a shop's sign-in does with passwords that are its provider's."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2
import pytest
import structlog

from shopkeeper.app.identity_providers import build_password_providers
from shopkeeper.client import Client
from shopkeeper.credentials.attempts import AttemptGuard
from shopkeeper.credentials.steps import Proof, Unverified
from shopkeeper.sessions.assurance import AssurancePolicy
from shopkeeper.upstream.errors import SecondFactorAtProvider
from tests.attacks.scene import Scene, ask
from tests.services.openid_provider import CLIENT_SECRET, PASSWORD, OpenIDProvider
from tests.upstream.stages import API, ELSEWHERE

OpenShop = Callable[..., Awaitable[Scene]]
ADA = "ada@example.org"
GRANT: Mapping[str, Any] = {"enabled": True, "client_id": "shop", "client_secret": CLIENT_SECRET}
WHO = "{ getCurrentCustomer { email } }"


@pytest.fixture(autouse=True)
def ada(openid_provider: OpenIDProvider) -> None:
    openid_provider.person(ADA)


async def sign_in(scene: Scene, username: str = ADA, password: str = PASSWORD, **headers: str) -> httpx2.Response:
    app = await scene.native(**headers)
    return await app.post("/signin", json={"username": username, "password": password})


def code_of(answer: httpx2.Response) -> str:
    return str(answer.json()["errors"][0]["extensions"]["code"])


@pytest.mark.parametrize(
    "asked",
    [{}, {"scope": ["openid", "email"]}, {"scope": ["email"], "audience": API}],
    ids=["by default", "an ID token", "an access token"],
)
async def test_a_password_of_the_provider_starts_a_session(
    open_shop: OpenShop, openid_provider: OpenIDProvider, asked: Mapping[str, Any]
) -> None:
    """And a second sign-in is the same person."""
    scene = await open_shop(password_grant={**GRANT, **asked})
    for _ in range(2):
        answer = await sign_in(scene)
        assert answer.status_code == 200, answer.text
        app, token = await scene.native(), answer.json()["authorization"]
        assert (await ask(app, token, WHO))["data"]["getCurrentCustomer"]["email"] == ADA
    session = (await app.get("/sessions/whoami", headers={"authorization": f"Bearer {token}"})).json()
    assert [(each["method"], each["provider"]) for each in session["authentication_methods"]] == [("oidc", "idp")]
    assert len(await scene.rows("identities")) == 1


async def test_it_is_off_by_default(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop(client_id="shop", client_secret=CLIENT_SECRET)
    answer = await sign_in(scene)
    assert answer.status_code == 400
    assert "/token" not in openid_provider.counts()


async def test_other_stores_keep_their_own_passwords(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop(password_grant=GRANT)
    answer = await sign_in(scene, connector=ELSEWHERE)
    assert (answer.status_code, code_of(answer)) == (401, "UNAUTHENTICATED")
    assert "/token" not in openid_provider.counts()


async def test_what_is_wrong_is_told_alike(open_shop: OpenShop) -> None:
    scene = await open_shop(password_grant=GRANT)
    for username, password in (
        (ADA, "wrong"),
        ("nobody@example.org", PASSWORD),
        (ADA, PASSWORD.upper()),
        (ADA, f"{PASSWORD} "),
    ):
        answer = await sign_in(scene, username, password)
        assert (answer.status_code, code_of(answer)) == (401, "UNAUTHENTICATED"), (username, password)
    assert await scene.rows("identities") == []


async def test_guesses_are_counted_as_those_of_any_sign_in(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene = await open_shop(password_grant=GRANT, settings={"throttle": {"login": {"failures": 3}}})
    for _ in range(3):
        assert (await sign_in(scene, password="wrong")).status_code == 401
    asked = openid_provider.counts()["/token"]
    blocked = await sign_in(scene)
    assert (blocked.status_code, code_of(blocked)) == (429, "TOO_MANY_REQUESTS")
    assert int(blocked.headers["retry-after"]) >= 1
    assert openid_provider.counts()["/token"] == asked


async def test_a_long_password_never_leaves(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop(password_grant=GRANT)
    for username, password in ((ADA, "ä" * 600), (f"{'a' * 400}@example.org", PASSWORD)):
        assert (await sign_in(scene, username, password)).status_code == 401
    assert "/token" not in openid_provider.counts()


async def test_an_account_with_a_second_factor_at_the_provider_is_refused(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene = await open_shop(password_grant=GRANT)
    openid_provider.person(ADA, mfa=True)
    answer = await sign_in(scene)
    assert answer.status_code == 403
    assert "second factor" in answer.json()["errors"][0]["message"]


async def test_a_token_that_tells_of_a_second_factor_is_refused(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene = await open_shop(password_grant=GRANT)
    for amr in (["pwd", "otp"], ["mfa"], ["hwk"], "mfa"):
        openid_provider.person(ADA, amr=amr)
        assert (await sign_in(scene)).status_code == 403, amr


async def test_how_providers_ask_for_a_second_factor(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    """Auth0, Entra, and Entra by its error."""
    scene = await open_shop(password_grant=GRANT)
    for body in (
        '{"error": "mfa_required", "mfa_token": "Fe26.2"}',
        '{"error": "invalid_grant", "error_codes": [50076]}',
        '{"error": "interaction_required", "suberror": "basic_action"}',
    ):
        openid_provider.faults(token={"status": 400, "body": body})
        answer = await sign_in(scene)
        assert answer.status_code == 403, body
        assert "Fe26" not in answer.text


AWAY = (503, "IDENTITY_PROVIDER_UNAVAILABLE")
WRONG = (401, "UNAUTHENTICATED")
OFTEN = (429, "TOO_MANY_REQUESTS")
FAULTS: Mapping[str, tuple[Mapping[str, Any], tuple[int, str]]] = {
    "a wrong password": ({"status": 403, "body": '{"error": "invalid_grant", "error_description": "<b>"}'}, WRONG),
    "a blocked account": ({"status": 401, "body": '{"error": "unauthorized"}'}, WRONG),
    "too many": ({"status": 429, "body": "{}", "headers": {"retry-after": "40"}}, OFTEN),
    "our own secret": ({"status": 401, "body": '{"error": "invalid_client"}'}, AWAY),
    "a grant that is off": ({"status": 400, "body": '{"error": "unsupported_grant_type"}'}, AWAY),
    "a fault": ({"status": 500, "body": "oops"}, AWAY),
    "no answer": ({"drop": True}, AWAY),
    "a slow answer": ({"delay": 6, "status": 200, "body": "{}"}, AWAY),
    "an opaque token": ({"status": 200, "body": '{"access_token": "opaque", "token_type": "Bearer"}'}, AWAY),
    "a redirect": ({"status": 302, "headers": {"location": "https://evil.example"}, "body": ""}, AWAY),
}


async def test_the_provider_s_errors_are_passed_on(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop(password_grant=GRANT)
    for what, (fault, expected) in FAULTS.items():
        openid_provider.faults(token=fault)
        asked = openid_provider.counts().get("/token", 0)
        answer = await sign_in(scene)
        assert (answer.status_code, code_of(answer)) == expected, what
        assert openid_provider.counts()["/token"] > asked, what
        assert "<b>" not in answer.text
        if expected == OFTEN:
            assert answer.headers["retry-after"] == "40"


async def test_why_the_provider_refuses_is_in_the_log_only(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    """Providers repeat in their descriptions what was sent."""
    scene = await open_shop(password_grant=GRANT)
    expired = {"error": "invalid_grant", "error_codes": [50055], "suberror": "user_password_expired"}
    body = json.dumps({**expired, "error_description": f"AADSTS50055: {ADA} with {PASSWORD} has expired."})
    openid_provider.faults(token={"status": 400, "body": body})
    with structlog.testing.capture_logs() as lines:
        answer = await sign_in(scene)
    assert (answer.status_code, code_of(answer)) == WRONG
    assert "expired" not in answer.text
    (line,) = [line for line in lines if line["event"] == "provider.not_accepted"]
    assert (line["cause"], line["log_level"]) == ("invalid_grant", "info")
    assert "suberror user_password_expired, AADSTS50055" in line["reason"]
    assert PASSWORD not in str(lines)
    assert "has expired" not in str(lines)


async def test_missing_consent_is_for_the_operator(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop(password_grant=GRANT, settings={"throttle": {"login": {"failures": 2}}})
    body = '{"error": "invalid_grant", "error_codes": [65001], "suberror": "consent_required"}'
    openid_provider.faults(token={"status": 400, "body": body})
    for _ in range(3):
        with structlog.testing.capture_logs() as lines:
            answer = await sign_in(scene)
        assert (answer.status_code, code_of(answer)) == AWAY, "and no attempt of the person is counted"
        (line,) = [line for line in lines if line["event"] == "provider.failed"]
        assert (line["cause"], line["log_level"]) == ("consent_required", "warning")
        assert "AADSTS65001" in line["reason"]


async def test_an_outage_spends_no_attempts(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop(password_grant=GRANT, settings={"throttle": {"login": {"failures": 2}}})
    openid_provider.faults(token={"status": 503, "body": "{}"})
    for _ in range(4):
        assert (await sign_in(scene)).status_code == 503
    openid_provider.faults()
    assert (await sign_in(scene)).status_code == 200


async def test_a_token_that_is_not_for_us_signs_nobody_in(open_shop: OpenShop, openid_provider: OpenIDProvider) -> None:
    scene = await open_shop(password_grant=GRANT)
    others: list[dict[str, Any]] = [
        {"aud": "another-app"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"sub": None},
        {"nonce": "n"},
        {"sid": 7},
    ]
    for claims in others:
        token = openid_provider.sign({"aud": "shop", "sub": "sub-ada", "email": ADA, **claims})
        said = f'{{"access_token": "x", "token_type": "Bearer", "id_token": "{token}"}}'
        openid_provider.faults(token={"status": 200, "body": said})
        assert (await sign_in(scene)).status_code == 503, claims
    assert await scene.rows("identities") == []


async def test_row_029_a_disabled_identity_is_refused_by_the_password_grant_too(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    scene = await open_shop(password_grant=GRANT)
    assert (await sign_in(scene)).status_code == 200
    (identity,) = await scene.rows("identities")
    admin = await scene.admin()
    patch = [{"op": "replace", "path": "/state", "value": "inactive"}]
    assert (await admin.patch(f"/admin/identities/{identity['id']}", json=patch)).status_code == 200
    answer = await sign_in(scene)
    assert (answer.status_code, code_of(answer)) == (401, "UNAUTHENTICATED")


async def test_row_036_the_password_grant_asks_for_a_verified_address_too(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    openid_provider.person(ADA, email_verified=False)
    required = {"login": {"after": {"oidc": {"hooks": [{"hook": "require_verified_address"}]}}}}
    scene = await open_shop(password_grant=GRANT, settings={"selfservice": {"flows": required}})
    answer = await sign_in(scene)
    assert (answer.status_code, code_of(answer)) == (403, "VERIFIED_ADDRESS_REQUIRED")
    assert await scene.rows("sessions") == []


async def test_row_036_the_password_grant_is_refused_for_who_has_a_second_factor_here(
    open_shop: OpenShop, openid_provider: OpenIDProvider
) -> None:
    """Any credential stands for the second factor here: which types are second factors is a fact of the methods."""
    scene = await open_shop(password_grant=GRANT)
    account = {"provider": "idp", "subject": "sub-ada", "issuer": openid_provider.issuer}
    credentials = {"oidc": {"config": {"providers": [account]}}, "password": {"config": {"password": PASSWORD}}}
    new = {"schema_id": "default", "traits": {"email": ADA}, "credentials": credentials}
    admin = await scene.admin()
    assert (await admin.post("/admin/identities", json=new)).status_code == 201
    accounts, infrastructure = scene.application.accounts, scene.application.infrastructure
    guard = AttemptGuard(throttle=accounts.throttles["login"], audit=infrastructure.audit)
    client = Client("192.0.2.1")

    async def signs_in(*second_factors: str) -> Proof | Unverified:
        assurance = AssurancePolicy(frozenset(second_factors))
        provider = build_password_providers(accounts.identity_providers, guard=guard, assurance=assurance)["idp"]
        async with infrastructure.database.reading() as unit:
            return await provider.authenticate(unit, username=ADA, password=PASSWORD, client=client)

    proof = await signs_in()
    assert isinstance(proof, Proof)
    with pytest.raises(SecondFactorAtProvider):
        await signs_in("password")


async def test_no_password_is_written_down(
    open_shop: OpenShop, openid_provider: OpenIDProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = await open_shop(password_grant=GRANT)
    for password in (PASSWORD, "a-password-that-is-wrong"):
        await sign_in(scene, password=password)
    openid_provider.faults(token={"status": 500, "body": "oops"})
    await sign_in(scene)
    rows = [await scene.rows(table) for table in ("audit_events", "credentials", "sessions", "identities")]
    written = capsys.readouterr().out + str(rows)
    assert PASSWORD not in written
    assert "a-password-that-is-wrong" not in written
    assert CLIENT_SECRET not in written
