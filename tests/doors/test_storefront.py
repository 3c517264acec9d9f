"""The storefront's door: `/signin` and `/signout`."""

from tests.attacks.scene import PASSWORD, Scene, new_address, sign_up, visit
from tests.doors.conftest import Opening

ENDS_OTHERS = {"flows": {"login": {"after": {"password": {"hooks": [{"hook": "revoke_active_sessions"}]}}}}}


class TestSigningIn:
    async def test_does_the_hooks_of_a_login(self, opening: Opening, dsn: str) -> None:
        """`/signin` once started sessions by itself, so that `revoke_active_sessions` ended nothing there."""
        async with opening(dsn, selfservice=ENDS_OTHERS) as scene:
            app, email = await scene.native(), new_address()
            former = (await sign_up(app, email))["session_token"]
            fresh = (await visit(app, username=email, password=PASSWORD))["authorization"]
            assert await _statuses(scene, former, fresh) == [401, 200]

    async def test_leaves_other_sessions_alone_where_no_hook_is_configured(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            app, email = await scene.native(), new_address()
            former = (await sign_up(app, email))["session_token"]
            fresh = (await visit(app, username=email, password=PASSWORD))["authorization"]
            assert await _statuses(scene, former, fresh) == [200, 200]


async def _statuses(scene: Scene, *tokens: str) -> list[int]:
    app = await scene.native()
    return [(await app.get("/sessions/whoami", headers={"x-session-token": token})).status_code for token in tokens]
