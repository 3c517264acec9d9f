"""The storefront's routes `/signin` and `/signout`."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest
from sqlalchemy import text

from shopkeeper.client import Client
from shopkeeper.errors import UpstreamFailed
from shopkeeper.sessions.service import Sessions
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
    async def test_signing_in_runs_the_hooks_of_a_login(self, opening: Opening, dsn: str) -> None:
        """Regression: `/signin` started sessions by itself, so `revoke_active_sessions` ended nothing there."""
        async with opening(dsn, selfservice=ENDS_OTHERS) as scene:
            app, email = await scene.native(), new_address()
            former = (await sign_up(app, email))["session_token"]
            fresh = (await visit(app, username=email, password=PASSWORD))["authorization"]
            assert await _statuses(scene, former, fresh) == [401, 200]

    async def test_signing_in_leaves_other_sessions_alone_where_no_hook_is_configured(
        self, opening: Opening, dsn: str
    ) -> None:
        async with opening(dsn) as scene:
            app, email = await scene.native(), new_address()
            former = (await sign_up(app, email))["session_token"]
            fresh = (await visit(app, username=email, password=PASSWORD))["authorization"]
            assert await _statuses(scene, former, fresh) == [200, 200]

    async def test_a_name_that_is_no_text_does_not_prevent_a_sign_in(self, opening: Opening, dsn: str) -> None:
        """A schema may keep names as it likes. Regression: the engine was given any value in the place of a text."""
        async with opening(dsn, identity=NAMES_AS_LISTS) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email, name={"first": ["Ada", "Augusta"], "last": 7})
            told = await visit(app, username=email, password=PASSWORD)
            assert (told["customer"]["firstName"], told["customer"]["lastName"]) == (None, None)

    async def test_a_null_flag_counts_as_absent(self, opening: Opening, sqlite_dsn: str) -> None:
        """Regression: it was a 400, although nothing was asked for."""
        async with opening(sqlite_dsn) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            hint = {"oldCartId": None, "mergeWithExistingCustomerCart": None}
            assert (await visit(app, username=email, password=PASSWORD, authHint=hint))["cart"]["outcome"] == "nothing"

    async def test_a_refusal_after_the_proof_is_audited(self, opening: Opening, dsn: str) -> None:
        """Regression: a refusal after a right password was rolled back whole, so that guessing left no trace."""
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

    async def test_a_deadlock_is_answered_as_temporary(
        self, opening: Opening, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Regression: it was a 500. Here another transaction holds the session that the sign-in replaces, and waits for
        the identity that the sign-in has locked."""
        locked, waits, start = asyncio.Event(), asyncio.Event(), Sessions.start

        async def start_later(self: Sessions, *args: Any, **options: Any) -> Any:
            locked.set()
            await waits.wait()
            return await start(self, *args, **options)

        async with opening(postgres_dsn) as scene:
            app, email = await scene.native(), new_address()
            ada = (await sign_up(app, email))["identity"]["id"]
            bob = await sign_up(app, new_address())
            database = scene.application.infrastructure.database
            monkeypatch.setattr(Sessions, "start", start_later)
            signing_in = asyncio.create_task(
                app.post(
                    "/signin",
                    json={"username": email, "password": PASSWORD},
                    headers={"authorization": f"Bearer {bob['session_token']}"},
                )
            )
            await locked.wait()
            async with database.unit() as unit:
                await unit.write(text("SET LOCAL deadlock_timeout = '1min'"))  # the sign-in detects the deadlock
                session_id = bob["session"]["id"]
                await unit.write(text(f"UPDATE sessions SET active = active WHERE id = '{session_id}'"))
                locking = asyncio.create_task(
                    unit.write(text(f"UPDATE identities SET state = state WHERE id = '{ada}'"))
                )
                await _until_one_waits(scene)
                waits.set()
                answer = await signing_in
                await locking
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["errors"][0]["extensions"]["code"] == "BUSY"


async def _until_one_waits(scene: Scene) -> None:
    """Wait until a connection to the database waits for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while True:
        async with scene.application.infrastructure.database.reading() as unit:
            if await unit.scalar(waiting):
                return
        await asyncio.sleep(0.02)


async def _unavailable(*args: Any, **kwargs: Any) -> NoReturn:
    """A hook that fails."""
    raise UpstreamFailed


async def _statuses(scene: Scene, *tokens: str) -> list[int]:
    app = await scene.native()
    return [(await app.get("/sessions/whoami", headers={"x-session-token": token})).status_code for token in tokens]


class TestFields:
    """Regression: `{"user": "a"}` silently gave a guest's token."""

    @pytest.mark.parametrize(
        ("body", "code", "sentence"),
        [
            ({"user": "a"}, "UNKNOWN_FIELD", "'user' is not known here; did you mean 'username'?"),
            ({"Password": "a"}, "UNKNOWN_FIELD", "did you mean 'password'?"),
            ({"authhint": {}}, "UNKNOWN_FIELD", "did you mean 'authHint'?"),
            ({"zzz": 1}, "UNKNOWN_FIELD", "the known ones are: username, password, scope, type, attrs, country"),
            ({"z" * 99_000: 1}, "UNKNOWN_FIELD", f"'{'z' * 64}' is not known"),
            ({"authHint": {"oldCartID": "1"}}, "UNKNOWN_FIELD", "'authHint.oldCartID' is not known here; did you mean"),
            ({"username": ["a"]}, "INVALID_INPUT", "'username' must be a text."),
            ({"username": "a", "password": 7}, "INVALID_INPUT", "'password' must be a text."),
            ({"username": "a"}, "INVALID_INPUT", "'password' must be a text that is not empty."),
            ({"password": "a"}, "INVALID_INPUT", "'username' is missing"),
            ({"scope": {}}, "INVALID_INPUT", "'scope' must be a text."),
            ({"type": []}, "INVALID_INPUT", "'type' must be a text."),
            ({"type": {}}, "INVALID_INPUT", "'type' must be a text."),
            ({"type": "guest"}, "INVALID_INPUT", "'type' is 'refresh', or is left out."),
            ({"attrs": "x"}, "INVALID_INPUT", "'attrs' must be an object."),
            ({"country": 1}, "INVALID_INPUT", "'country' must be a text."),
            ({"currency": True}, "INVALID_INPUT", "'currency' must be a text."),
            ({"locale": ["en"]}, "INVALID_INPUT", "'locale' must be a text."),
            ({"authHint": []}, "INVALID_INPUT", "'authHint' must be an object."),
            ({"authHint": "x"}, "INVALID_INPUT", "'authHint' must be an object."),
            ({"authHint": {"oldCartId": 1}}, "INVALID_INPUT", "'authHint.oldCartId' must be a text."),
            ({"authHint": {"token": {}}}, "INVALID_INPUT", "'authHint.token' must be a text."),
            ({"authHint": {"token": "x"}}, "INVALID_INPUT", "another provider's token"),
            ({"authHint": {"mergeWithExistingCustomerCart": []}}, "INVALID_INPUT", "must be true or false."),
            ({"authHint": {"mergeWithExistingCustomerCart": 1}}, "INVALID_INPUT", "must be true or false."),
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_that_are_unknown_or_of_another_type_are_refused_by_name(
        self, storefront: Scene, body: dict[str, Any], code: str, sentence: str
    ) -> None:
        answer = await (await storefront.native()).post("/signin", json=body)
        [error] = answer.json()["errors"]
        assert (answer.status_code, error["extensions"]["code"]) == (400, code)
        assert sentence in error["message"]
        assert "authorization" not in answer.json()

    @pytest.mark.parametrize(
        "body",
        [
            {"scope": "public"},
            {"scope": "public", "attrs": {"referer": "https://shop.test/", "user": {"deep": [1, None]}}},
            dict.fromkeys(
                ("username", "password", "scope", "type", "attrs", "country", "currency", "locale", "authHint")
            ),
            {"country": "DE", "currency": "EUR", "locale": "de-DE", "authHint": {}},
            {"authHint": {"token": "", "oldCartId": "", "mergeWithExistingCustomerCart": "true"}},
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_that_published_clients_send_are_accepted(self, storefront: Scene, body: dict[str, Any]) -> None:
        assert (await visit(await storefront.native(), **body))["customer"] is None

    async def test_of_a_login_by_the_published_client_are_accepted(self, storefront: Scene) -> None:
        app, email = await storefront.native(), new_address()
        await sign_up(app, email)
        told = await visit(
            app,
            username=email,
            password=PASSWORD,
            country="DE",
            currency="EUR",
            locale="de",
            attrs={"referer": "https://shop.test/"},
            authHint={"oldCartId": "cart-1", "mergeWithExistingCustomerCart": "true"},
        )
        assert told["customer"]["email"] == email

    async def test_of_a_sign_out_have_no_meaning_and_keep_nobody_signed_in(self, storefront: Scene) -> None:
        app = await storefront.native()
        token = (await sign_up(app, new_address()))["session_token"]
        answer = await app.post("/signout", json={"unknown": [1]}, headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, await _statuses(storefront, token)) == (200, [401])

    @pytest.mark.parametrize("token", [{}, [], 7, True])
    async def test_of_a_native_sign_out_have_one_type(self, storefront: Scene, token: Any) -> None:
        body = json.dumps({"session_token": token})
        answer = await (await storefront.native()).request("DELETE", "/self-service/logout/api", content=body)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (
            400,
            "The field 'session_token' must be a text.",
        )

    @pytest.fixture
    async def storefront(self, opening: Opening, sqlite_dsn: str) -> AsyncIterator[Scene]:
        async with opening(sqlite_dsn) as scene:
            yield scene
