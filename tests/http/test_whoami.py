"""`/sessions/whoami`: which session it answers with, and when it asks for a second factor."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import update

from shopkeeper.app.authentication import session_body
from shopkeeper.client import Client
from shopkeeper.clock import StoppedClock
from shopkeeper.commerce.stores import Store, Stores
from shopkeeper.http.authentication import RequestAuthenticator
from shopkeeper.http.cookies import CookiePolicy
from shopkeeper.http.immediate import ImmediateAnswers
from shopkeeper.http.origins import Origins
from shopkeeper.http.serializers import Serializers
from shopkeeper.http.whoami import WhoAmI, WhoamiRenderer
from shopkeeper.identity import store as identity_store
from shopkeeper.identity.schema import Schema, Schemas
from shopkeeper.identity.service import Identities
from shopkeeper.identity.values import Aal, Identity
from shopkeeper.jsonnet.evaluator import Jsonnet
from shopkeeper.sessions.assurance import AssurancePolicy, RequiredAal
from shopkeeper.sessions.lifetimes import Lifetimes
from shopkeeper.sessions.principal import PrincipalResolver
from shopkeeper.sessions.refresh import IssuedSession
from shopkeeper.sessions.service import Sessions
from shopkeeper.sessions.token_sources import SessionTokens, VisitTokens
from shopkeeper.sessions.tokenizer import SessionTokenizer
from shopkeeper.storage.audit import Audit
from shopkeeper.storage.cache.memory import MemoryCache
from shopkeeper.storage.database import Database
from shopkeeper.tokens.sealed import SealedTokens
from tests.attacks.scene import ADDRESS, Scene, new_address, sign_up
from tests.http.conftest import Opening
from tests.sessions.conftest import AUDIT_KEY, CLIENT, LIFESPAN, SECRETS, change, enrol

TRAITS = {"type": "object", "properties": {"traits": {"type": "object"}}}
SCHEMAS = Schemas([Schema("default", TRAITS, from_traits={})], "default")
STORES = Stores([Store("kettle"), Store("quince", tenants=("eu", "us"))], default="kettle")
AAL2 = f"{ADDRESS}/self-service/login/browser?aal=aal2"


@dataclass(frozen=True)
class Gate:
    """Whoami, and the sessions it answers for."""

    sessions: Sessions
    identities: Identities
    http: httpx2.AsyncClient
    database: Database
    identity: Identity

    async def sign_in(self, *, aal: Aal = Aal.AAL1, store: str | None = None) -> IssuedSession:
        started: IssuedSession = await change(
            self.database, self.sessions.start, self.identity, method="password", aal=aal, client=CLIENT, store=store
        )
        return started

    async def set_factors(self, factors: set[str]) -> None:
        """Store which factors the identity has; the cached session is not dropped."""
        async with self.database.unit() as unit:
            mine = update(identity_store.identities).where(identity_store.identities.c.id == self.identity.id)
            await unit.write(mine.values(factors=sorted(factors)))

    async def ask(self, token: str, *, method: str = "GET", **headers: str) -> httpx2.Response:
        return await self.http.request(method, "/sessions/whoami", headers={"x-session-token": token, **headers})


async def gate(
    database: Database,
    clock: StoppedClock,
    *,
    second_factors: frozenset[str] = frozenset({"totp", "webauthn"}),
    required: RequiredAal = "highest_available",
) -> Gate:
    identities = Identities(SCHEMAS, facts={}, clock=clock, listeners=[])
    sessions = Sessions(
        identities,
        database,
        cache=MemoryCache(clock),
        clock=clock,
        lifetimes=Lifetimes(LIFESPAN),
        earliest_extend=None,
        audit=Audit(clock, key=AUDIT_KEY),
        render=WhoamiRenderer(
            AssurancePolicy(second_factors),
            serializers=Serializers(base_url=ADDRESS),
            required=required,
            stores=STORES,
            clock=clock,
        ),
        logout_secrets=SECRETS,
    )
    await sessions.listen()
    sealed = SealedTokens(SECRETS, clock=clock, lifespan=LIFESPAN)
    tokens, visits = SessionTokens(sessions), VisitTokens(sealed)
    authenticator = RequestAuthenticator(
        stores=STORES,
        resolver=PrincipalResolver(sessions=tokens, visits=visits, bearers=(tokens, visits)),
        cookies=CookiePolicy(ADDRESS),
        trusted_proxies=0,
        trusted_origins=Origins([ADDRESS]),
        own_origin=ADDRESS,
        store_header="connector",
        tenant_header="br-acct-env",
    )
    tokenizer = SessionTokenizer({}, issuer=ADDRESS, jsonnet=Jsonnet(), clock=clock)
    app = WhoAmI(authenticator=authenticator, tokenizer=tokenizer, clock=clock)
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ADDRESS)
    opened = Gate(sessions, identities, http, database, await enrol(database, clock))
    await opened.set_factors({"password", "totp"})
    return opened


class TestSecondFactor:
    async def test_is_asked_for_where_the_identity_has_one(
        self, database: Database, clock: StoppedClock, shared: Any
    ) -> None:
        """As recorded of Kratos: `second_factor`, exchange 11."""
        recorded = json.loads((shared / "contracts/kratos/conversations/recorded/base/second_factor.json").read_text())[
            11
        ]["response"]
        one = await gate(database, clock)
        answer = await one.ask((await one.sign_in()).token)
        assert (answer.status_code, answer.headers["content-type"]) == (403, recorded["headers"]["content-type"])
        assert "x-kratos-authenticated-identity-id" not in answer.headers
        assert answer.headers["x-error-code"] == "session_aal2_required"
        told, wanted = answer.json(), recorded["body"]
        assert (told.keys(), told["error"].keys() | {"reason"}) == (wanted.keys(), wanted["error"].keys())
        assert {name: told["error"][name] for name in ("id", "code", "status")} == {
            "id": "session_aal2_required",
            "code": 403,
            "status": "Forbidden",
        }
        assert told["redirect_browser_to"] == told["error"]["details"]["redirect_browser_to"] == AAL2
        assert wanted["redirect_browser_to"] == AAL2.replace(ADDRESS, "<public>")

    async def test_once_given_opens_the_session_at_once(self, database: Database, clock: StoppedClock) -> None:
        one = await gate(database, clock)
        started = await one.sign_in()
        assert (await one.ask(started.token)).status_code == 403
        await change(
            database,
            one.sessions.elevate,
            started.session,
            method="totp",
            aal=Aal.AAL2,
            client=CLIENT,
            new_token=False,
        )
        answer = await one.ask(started.token)
        assert (answer.status_code, answer.json()["id"]) == (200, str(started.session.id))
        assert answer.json()["authenticator_assurance_level"] == "aal2"
        assert [each["method"] for each in answer.json()["authentication_methods"]] == ["password", "totp"]

    @pytest.mark.parametrize(
        ("settings", "factors", "status"),
        [
            ({}, {"password", "totp"}, 403),
            ({}, {"password"}, 200),
            ({"required": "aal1"}, {"password", "totp"}, 200),
            # A method that is switched off makes no identity need its factor.
            ({"second_factors": frozenset({"webauthn"})}, {"password", "totp"}, 200),
            ({"second_factors": frozenset()}, {"password", "totp"}, 200),
            ({}, {"password", "webauthn"}, 403),
        ],
    )
    async def test_is_decided_by_what_the_identity_has_and_the_server_offers(
        self,
        database: Database,
        clock: StoppedClock,
        settings: Mapping[str, Any],
        factors: set[str],
        status: int,
    ) -> None:
        one = await gate(database, clock, **settings)
        await one.set_factors(factors)
        started = await one.sign_in()
        assert (await one.ask(started.token)).status_code == status

    async def test_is_given_at_the_sessions_own_store(self, database: Database, clock: StoppedClock) -> None:
        """A session of one store does not count in a login flow of another."""
        one = await gate(database, clock)
        for store, query in {"kettle": "", "quince@us": "&store=quince&tenant=us"}.items():
            answer = await one.ask((await one.sign_in(store=store)).token)
            assert answer.json()["redirect_browser_to"] == AAL2 + query

    async def test_is_asked_of_gateways_with_any_method(self, database: Database, clock: StoppedClock) -> None:
        one = await gate(database, clock)
        token = (await one.sign_in()).token
        answers = {method: await one.ask(token, method=method) for method in ("POST", "DELETE", "HEAD")}
        assert {method: answer.status_code for method, answer in answers.items()} == dict.fromkeys(answers, 403)
        assert answers["HEAD"].content == b""
        assert answers["HEAD"].headers["content-length"] == str(len(answers["POST"].content))

    async def test_is_asked_again_from_memory(self, database: Database, clock: StoppedClock) -> None:
        one = await gate(database, clock)
        token = (await one.sign_in()).token
        first = await one.ask(token)
        await one.set_factors(set())  # not read again: the answer is cached with the session
        assert (await one.ask(token)).content == first.content

    @pytest.mark.parametrize(("required", "status"), [("aal1", 200), ("highest_available", 403), (None, 403)])
    async def test_is_asked_for_as_the_setting_says(
        self, opening: Opening, sqlite_dsn: str, required: str | None, status: int
    ) -> None:
        settings = {"session": {"whoami": {"required_aal": required}}} if required else {}
        async with opening(sqlite_dsn, **settings) as scene:
            account = await sign_up(await scene.native(), new_address())
            cached = await scene.application.accounts.sessions.resolve(account["session_token"])
            assert cached is not None
            assert cached.whoami.status == 200
            render = session_body(scene.application.infrastructure)(AssurancePolicy(frozenset({"totp"})))
            identity = replace(cached.session.identity, factors=frozenset({"password", "totp"}))
            assert render(replace(cached.session, identity=identity)).status == status


class TestStores:
    @pytest.fixture
    async def token(self, shops: Scene) -> str:
        app = await shops.native(connector="quince", br_acct_env="eu")
        return str((await sign_up(app, new_address()))["session_token"])

    @pytest.fixture
    async def shops(self, opening: Opening, sqlite_dsn: str) -> Any:
        stores = {"stores": [{"id": "kettle"}, {"id": "quince", "tenants": ["eu", "us"]}], "default_store": "kettle"}
        async with opening(sqlite_dsn, **stores) as scene:
            yield scene

    @pytest.mark.parametrize(
        ("query", "headers", "known"),
        [
            ("", {}, True),
            ("?store=quince", {}, True),
            ("?store=quince&tenant=eu", {}, True),
            ("?store=quince&tenant=us", {}, False),
            ("?store=kettle", {}, False),
            ("?s%74ore=kettle", {}, False),
            ("?store=nowhere", {}, False),
            ("?store=&tenant=", {}, True),
            ("?store=kettle", {"connector": "quince"}, True),  # headers come before the address
            ("?other=kettle", {}, True),
            ("/?store=quince", {}, True),
            ("/?store=kettle", {}, False),
        ],
    )
    async def test_are_named_by_the_address_as_at_every_other_route(
        self, shops: Scene, token: str, query: str, headers: dict[str, str], known: bool
    ) -> None:
        """Regression: whoami ignored the query, so a session of one store was valid behind a link that named
        another."""
        app = await shops.native()
        statuses = [
            (await app.get(f"{path}{query}", headers={"x-session-token": token, **headers})).status_code
            for path in ("/sessions/whoami", "/sessions")
        ]
        assert [status == 200 for status in statuses] == [known, known]


class TestShape:
    async def test_names_a_provider_only_where_there_is_one(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn) as scene:
            app = await scene.native()
            account = await sign_up(app, new_address())
            accounts, client = scene.application.accounts, Client("203.0.113.7")
            async with scene.application.infrastructure.database.unit() as unit:
                session = await accounts.sessions.require(unit, UUID(account["session"]["id"]))
                await accounts.sessions.elevate(
                    unit,
                    session,
                    method="oidc",
                    aal=Aal.AAL1,
                    amr="oidc",
                    provider="idp",
                    client=client,
                    new_token=False,
                )
            shown = await app.get("/sessions/whoami", headers={"x-session-token": account["session_token"]})
            password, social = shown.json()["authentication_methods"]
            assert password.keys() == {"method", "aal", "completed_at"}
            assert {name: social[name] for name in ("method", "aal", "provider")} == {
                "method": "oidc",
                "aal": "aal1",
                "provider": "idp",
            }


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"])
async def test_a_slash_at_the_end_of_a_path_changes_no_answer(opening: Opening, sqlite_dsn: str, method: str) -> None:
    """Every path of both ports. Regression: `/sessions/whoami/` was a 405 to every method."""
    async with opening(sqlite_dsn) as scene:
        app, admin = await scene.native(), await scene.admin()
        token = (await sign_up(app, new_address()))["session_token"]
        app.headers["x-session-token"] = token
        for client, served in ((app, scene.application.public), (admin, scene.application.admin)):
            for path in _paths(served):
                answers = [
                    await client.request(method, f"{path}{end}", follow_redirects=False) for end in ("", "/", "//")
                ]
                told = [(answer.status_code, answer.headers.get("x-error-code")) for answer in answers]
                assert told == [told[0]] * 3, (path, told)
        whoami = await app.request(method, "/sessions/whoami/")
        assert (whoami.status_code, whoami.headers["x-kratos-authenticated-identity-id"] != "") == (200, True)


def _paths(served: Any) -> list[str]:
    """Return an address of every route of a port, with some id in place of a parameter."""
    labels = (served._app if isinstance(served, ImmediateAnswers) else served)._labels
    templates = [template for _, template in labels._templates]
    filled = [re.sub(r"\{[^}]*\}", "0191e0a0-0000-7000-8000-000000000000", template) for template in templates]
    return [
        path for path in (*labels._exact, *filled) if path != "/" and not path.startswith("/self-service/logout/api")
    ]
