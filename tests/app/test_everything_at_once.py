"""All features together: what each of them adds to the application fits beside what the others add."""

from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.jose.keys import PrivateKey
from tests.attacks.scene import OWN_PAGE, Scene, opened
from tests.http.support import open_shop
from tests.http.test_tokenized_sessions import jwks

HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
GOOGLE = {"id": "google", "provider": "google", "client_id": "1", "client_secret": "2", "silent_sign_on": True}
EVERYTHING: dict[str, Any] = {
    "providers": [
        {"kind": "kratos", "id": "kratos", "public_url": "https://kratos.test/", "cookie": "ory_session_*"},
        {
            "kind": "oidc",
            "id": "idp",
            "issuer": "https://idp.test",
            "audiences": ["https://api.shop.test"],
            "client_id": "shop",
            "client_secret": "a secret of the provider",
            "opaque_tokens": "introspection",
            "sign_in": True,
            "password_grant": {"enabled": True},
        },
    ],
    "stores": [
        {"id": "default", "project_key": "plum"},
        {"id": "kettle", "provider": "kratos", "project_key": "kettle"},
        {"id": "quince", "provider": "idp", "project_key": "quince", "tenants": ["eu", "us"]},
    ],
    "introspection": {"callers": [{"id": "engine", "keys": [HASH]}]},
    "tokens": {
        "clients": [
            {"id": "erp", "secrets": [HASH], "grants": ["client_credentials"], "audiences": ["https://a.test"]}
        ],
        "scope_rules": [{"when": {"store": "kettle"}, "scopes": ["view_products:{projectKey}"]}],
        "refresh": {"enabled": True},
    },
    "session": {
        "whoami": {"tokenizer": {"templates": {"orders": {"jwks_url": jwks(PrivateKey.generate().private_jwk())}}}},
        "keep_signed_in": {"enabled": True},
    },
    "selfservice": {
        "flows": {"recovery": {"enabled": True}, "verification": {"enabled": True}},
        "methods": {
            "code": {"enabled": True, "passwordless_enabled": True},
            "link": {"enabled": True},
            "oidc": {
                "enabled": True,
                "config": {
                    "providers": [
                        {
                            "id": "google",
                            "provider": "google",
                            "client_id": "1",
                            "client_secret": "2",
                            "silent_sign_on": True,
                        }
                    ]
                },
            },
        },
    },
    "impersonation": {"enabled": True, "agents": ["6f1c1d0e-0000-4000-8000-000000000000"]},
    "serve": {"public": {"cors": {"enabled": True, "allowed_origins": ["https://app.test"]}}},
}


async def test_the_server_starts_with_everything_on(sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
    async with opened(sqlite_dsn, tmp_path, clock, settings=EVERYTHING) as scene:
        app = await scene.native()
        assert (await app.get("/health/alive")).status_code == 200
        assert (await app.get("/sessions/whoami")).status_code == 401
        assert await _statuses(scene, ["/oauth2/token", "/oauth2/introspect", "/introspect"]) == [401, 401, 401]
        assert (await app.get("/.well-known/jwks.json")).status_code == 200


@pytest.mark.parametrize("self_service", ["proxy", "redirect", "off"])
async def test_an_agent_gets_no_further_by_a_session_server(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, self_service: str
) -> None:
    """Every path of a session server is behind the gate, like our own."""
    provider = {**EVERYTHING["providers"][0], "self_service": self_service}
    if self_service == "redirect":
        provider["ui"] = {"login": "https://kratos.test/login"}
    further = {"providers": [provider], "stores": EVERYTHING["stores"][:2]}
    async with open_shop(sqlite_dsn, tmp_path, clock, further=further) as shop:
        token = (await shop.started())["session_token"]
        app = await shop.scene.native(x_session_token=token)
        for path in ("/self-service/settings/api", "/self-service/settings/browser", "/sessions"):
            answer = await app.get(path, headers={"connector": "kettle", "accept": "application/json", **OWN_PAGE})
            assert (answer.status_code, answer.headers.get("x-error-code")) == (403, "not_while_impersonating"), path


async def _statuses(scene: Scene, paths: list[str]) -> list[int]:
    app = await scene.native()
    return [(await app.post(path, data={"token": "x"})).status_code for path in paths]
