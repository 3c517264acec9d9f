"""The storefront's door: `/signin` and `/signout`."""

import base64
import json
from typing import Any, NoReturn

import pytest

from shopkeeper.client import Client
from shopkeeper.errors import UpstreamFailed
from shopkeeper.signin.completion import Hooks, SignInCompletion, SignInRequest
from tests.attacks.scene import PASSWORD, Scene, new_address, sign_up, visit
from tests.http.conftest import Opening

CLIENT = Client(ip="203.0.113.7")
OWN_SCHEMA = {
    "type": "object",
    "properties": {
        "traits": {
            "type": "object",
            "properties": {
                "email": {"type": "string", "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}}},
                "name": {"type": "object"},
            },
        }
    },
}
NAMES_AS_LISTS = {
    "schemas": [{"id": "own", "url": f"base64://{base64.b64encode(json.dumps(OWN_SCHEMA).encode()).decode()}"}],
    "default_schema_id": "own",
}
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

    async def test_a_name_that_is_no_text_stands_in_nobodys_way(self, opening: Opening, dsn: str) -> None:
        """A schema of the shop's own may keep names as it likes; the engine was given them as they came, for a text."""
        async with opening(dsn, identity=NAMES_AS_LISTS) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email, name={"first": ["Ada", "Augusta"], "last": 7})
            told = await visit(app, username=email, password=PASSWORD)
            assert (told["customer"]["firstName"], told["customer"]["lastName"]) == (None, None)

    async def test_a_null_flag_is_the_same_as_none(self, opening: Opening, sqlite_dsn: str) -> None:
        """It was a 400, although nothing was asked for."""
        async with opening(sqlite_dsn) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            hint = {"oldCartId": None, "mergeWithExistingCustomerCart": None}
            assert (await visit(app, username=email, password=PASSWORD, authHint=hint))["cart"]["outcome"] == "nothing"

    async def test_what_is_refused_after_the_proof_is_remembered(self, opening: Opening, dsn: str) -> None:
        """A right password, and then a refusal: all was undone, and whoever tried passwords out left no trace."""
        async with opening(dsn) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            application, methods = scene.application, scene.application.accounts.methods
            assert methods.password is not None
            database = application.infrastructure.database
            async with database.reading() as unit:
                proof = await methods.password.authenticate(unit, identifier=email, password=PASSWORD, client=CLIENT)
            completion = SignInCompletion(
                database=database,
                identities=application.accounts.identities,
                sessions=application.accounts.sessions,
                cart_merger=application.commerce.cart_merger,
                hooks=Hooks(blocking={}, after={("login", "password"): [_unavailable]}),
                audit=application.infrastructure.audit,
            )
            with pytest.raises(UpstreamFailed):
                await completion.sign_in(proof, SignInRequest(flow="login", store="default", client=CLIENT))
            async with application.infrastructure.database.unit() as unit:
                [event] = await application.infrastructure.audit.events(unit, action="sign_in.failed")
            assert (event.subject, event.details["reason"]) == (str(proof.identity_id), "upstream_failed")
            assert len(await scene.rows("sessions")) == 1


async def _unavailable(*args: Any, **kwargs: Any) -> NoReturn:
    """A hook that fails."""
    raise UpstreamFailed


async def _statuses(scene: Scene, *tokens: str) -> list[int]:
    app = await scene.native()
    return [(await app.get("/sessions/whoami", headers={"x-session-token": token})).status_code for token in tokens]
