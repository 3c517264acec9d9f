"""Paths with control characters: routes and what guards them must not read them differently."""

from itertools import product
from pathlib import Path

from shopkeeper.clock import StoppedClock
from tests.attacks.scene import KEY, opened

PATHS = [
    "/self-service/registration/api",
    "/self-service/login",
    "/sessions/whoami",
    "/forward-auth",
    "/oauth2/token",
    "/oauth2/introspect",
    "/graphql",
    "/signin",
    "/health/alive",
]
ADMIN_PATHS = ["/admin/identities", "/admin/impersonations", "/admin/sessions", "/admin/health/alive", "/metrics"]


CHARACTERS = ["%0a", "%0d", "%00", "%09", "%7f", "%C2%85"]


async def test_row_045_a_path_with_a_control_character_leads_nowhere(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    settings = {"serve": {"public": {"cors": {"enabled": True, "allowed_origins": ["https://app.test"]}}}}
    async with opened(sqlite_dsn, tmp_path, clock, settings=settings) as scene:
        public, admin = await scene.native(origin="https://app.test"), await scene.admin(key=KEY)
        asked = [*((public, path) for path in PATHS), *((admin, path) for path in ADMIN_PATHS)]
        for (app, path), character in product(asked, CHARACTERS):
            for written in (f"{path}{character}", f"{path}{character}/", path.replace("/", f"/{character}", 1)):
                for method in ("GET", "POST"):
                    answer = await app.request(method, written)
                    assert answer.status_code == 404, (method, written)
                    assert "access-control-allow-credentials" not in answer.headers
