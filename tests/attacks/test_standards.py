"""ASVS 5.0, where it concerns what exists and no row of the list does: cookies, headers, lifetimes, the log."""

from typing import Any

import httpx2
import pytest

from tests.attacks.conftest import Opening
from tests.attacks.scene import (
    ADDRESS,
    HTML,
    OWN_PAGE,
    PASSWORD,
    Scene,
    ask,
    new_address,
    set_cookies,
    sign_in,
    sign_up,
    submit,
    visit,
)
from tests.attacks.wire import request, send
from tests.services.shopkeeper_server import Commerce

JSON = {"accept": "application/json"}


class TestCookies:
    """ASVS 3.3: attributes, prefixes, size."""

    async def test_every_cookie_is_limited_to_our_host_and_hidden_from_scripts(self, scene: Scene) -> None:
        browser, app, email = await scene.browser(), await scene.native(), new_address()
        await sign_up(app, email)
        visited = await browser.post("/signin", json={}, headers=OWN_PAGE)
        opened = await browser.get("/self-service/login/browser", headers=JSON)
        signed_in = await browser.post("/signin", json={"username": email, "password": PASSWORD}, headers=OWN_PAGE)
        lines = [set_cookies(answer) for answer in (visited, opened, signed_in)]
        assert [sorted(each) for each in lines] == [
            ["shopkeeper_visit"],
            ["csrf_token"],
            ["csrf_token", "ory_kratos_session", "shopkeeper_visit"],
        ]
        for line in (line for each in lines for line in each.values()):
            attributes = [part.strip().lower() for part in line.split(";")[1:]]
            assert {"httponly", "secure", "samesite=lax", "path=/"} <= set(attributes)
            assert not any(each.startswith("domain") for each in attributes), "no neighbouring host gets it"
            assert len(line) < 4096

    async def test_the_sessions_cookie_can_have_the_prefix_that_browsers_guard(
        self, opening: Opening, sqlite_dsn: str
    ) -> None:
        async with opening(sqlite_dsn, session={"cookie": {"name": "__Host-session"}}) as scene:
            browser = await scene.browser()
            answer = await browser.sign_up(new_address())
            line = set_cookies(answer)["session"]
            assert "__Host-session" in browser.cookies
            assert "Secure" in line
            assert "Path=/;" in line
            assert "Domain" not in line
            assert await browser.whoami() is not None

    @pytest.mark.parametrize(
        "cookie", [{"domain": "shop.test"}, {"path": "/x"}, {"secure": False}], ids=lambda each: next(iter(each))
    )
    async def test_the_prefix_is_refused_where_browsers_would_refuse_it(
        self, opening: Opening, sqlite_dsn: str, cookie: dict[str, Any]
    ) -> None:
        with pytest.raises(Exception, match=r"__Host-|such a name"):
            async with opening(sqlite_dsn, session={"cookie": {"name": "__Host-session", **cookie}}):
                pass


class TestHeaders:
    """ASVS 3.4 and 14.3: what every answer says to the browser."""

    PAGES = ("/", "/account", "/signed-out", "/error", "/nowhere")

    async def test_pages_are_sent_with_strict_security_headers(self, scene: Scene) -> None:
        browser = await scene.browser()
        pages = [await browser.get(path) for path in ("/", "/signed-out", "/error")]
        pages.append(await browser.get("/self-service/login/browser", follow_redirects=True))
        await browser.sign_up(new_address())
        pages.append(await browser.get("/account", follow_redirects=True))
        for page in pages:
            assert page.status_code == 200
            headers = page.headers
            policy = {part.strip().partition(" ")[0]: part for part in headers["content-security-policy"].split(";")}
            assert policy["script-src"].strip() == "script-src 'self'"
            assert policy["object-src"].strip() == "object-src 'none'"
            assert policy["base-uri"].strip() == "base-uri 'none'"
            assert policy["frame-ancestors"].strip() == "frame-ancestors 'none'"
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-frame-options"] == "DENY"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] in {"same-origin", "no-referrer"}
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert "no-store" in headers["cache-control"]

    async def test_answers_with_tokens_are_not_cached(self, scene: Scene) -> None:
        app, browser, email = await scene.native(), await scene.browser(), new_address()
        await sign_up(app, email)
        answers = [
            await sign_in(app, email),
            await app.post("/signin", json={}),
            await app.post("/signin", json={"username": email, "password": PASSWORD}),
            await app.post("/signin", json={"username": email, "password": "wrong wrong wrong"}),
            await app.post("/signout", json={}),
            await app.post("/graphql", json={"query": "{ __typename }"}),
            await browser.sign_up(new_address()),
            await browser.get("/sessions/whoami"),
            await browser.get("/sessions"),
            await browser.get("/self-service/logout/browser", headers=JSON),
        ]
        for answer in answers:
            assert _kept_by_nobody(answer), answer.request.url

    async def test_the_storefronts_answers_forbid_caching(self, scene: Scene) -> None:
        app = await scene.native()
        for path in ("/signin", "/signout", "/graphql"):
            answer = await app.post(path, json={})
            assert "no-store" in answer.headers["cache-control"]

    def test_no_answer_shows_the_version_of_a_component(self, server: Commerce) -> None:
        for path in ("/", "/sessions/whoami", "/nowhere", "/graphql"):
            answer = send(server.public, request(path))
            assert not any(digit in (answer.header("server") or "") for digit in "0123456789")
            assert answer.header("x-powered-by") is None

    async def test_a_redirect_after_credentials_drops_the_request_body(self, scene: Scene) -> None:
        """RFC 9700, 4.12: a 307 would send the password on to the address that it names."""
        browser, app, email = await scene.browser(), await scene.native(), new_address()
        await sign_up(app, email)
        flow = await browser.open_flow("login")
        [csrf] = [n["attributes"]["value"] for n in flow["ui"]["nodes"] if n["attributes"]["name"] == "csrf_token"]
        form = {"csrf_token": csrf, "method": "password", "identifier": email, "password": PASSWORD}
        answer = await browser.post(flow["ui"]["action"], data=form, headers={"accept": HTML})
        assert answer.status_code == 303


class TestLifetimes:
    """ASVS 7.3 and 7.4, as docs/security.md says it."""

    async def test_a_session_ends_after_its_lifespan_despite_activity(self, scene: Scene) -> None:
        app = await scene.native()
        headers = {"x-session-token": (await sign_up(app, new_address()))["session_token"]}
        for _ in range(23):
            scene.clock.advance(hours=1)
            assert (await app.get("/sessions/whoami", headers=headers)).status_code == 200
        scene.clock.advance(hours=1)
        assert (await app.get("/sessions/whoami", headers=headers)).status_code == 401

    async def test_refreshing_prolongs_a_session_up_to_a_limit(self, opening: Opening, sqlite_dsn: str) -> None:
        refresh = {"enabled": True, "lifespan": "72h"}
        async with opening(sqlite_dsn, tokens={"refresh": refresh}) as scene:
            app, email = await scene.native(), new_address()
            await sign_up(app, email)
            token = (await visit(app, username=email, password=PASSWORD))["authorization"]
            hours = 0
            while hours < 24 * 10:
                scene.clock.advance(hours=12)
                hours += 12
                headers = {"authorization": f"Bearer {token}"}
                answer = await app.post("/signin", json={"type": "refresh"}, headers=headers)
                if answer.status_code != 200:
                    break
                token = answer.json()["authorization"]
            assert hours == 72

    async def test_a_guests_token_ends_after_its_lifespan(self, scene: Scene) -> None:
        app = await scene.native()
        token = (await visit(app))["authorization"]
        scene.clock.advance(days=30)
        told = await ask(app, token, "{ getCart { id } }")
        assert told["errors"][0]["extensions"]["code"] == "TOKEN_INVALID"

    async def test_a_flow_ends_after_its_lifespan(self, scene: Scene) -> None:
        browser, email = await scene.browser(), new_address()
        flow = await browser.open_flow("registration")
        scene.clock.advance(hours=1)
        answer = await browser.send_flow(flow, {"password": PASSWORD, "traits": {"email": email}})
        assert answer.status_code == 410
        assert await scene.rows("identities") == []

    async def test_an_identity_may_have_many_sessions_and_sees_and_ends_each(self, scene: Scene) -> None:
        app, email = await scene.native(), new_address()
        first = await sign_up(app, email)
        for _ in range(12):
            assert (await sign_in(app, email)).status_code == 200
        headers = {"x-session-token": first["session_token"]}
        listed = (await app.get("/sessions", headers=headers)).json()
        assert len(listed) == 12
        for session in listed:
            assert (await app.delete(f"/sessions/{session['id']}", headers=headers)).status_code == 204
        assert (await app.get("/sessions", headers=headers)).json() == []


class TestPasswords:
    """ASVS 6.2, on every route that takes a new password."""

    @pytest.mark.parametrize(
        ("password", "message"),
        [
            pytest.param("short77", 4000032, id="short"),
            pytest.param("password1", 4000034, id="known to everybody"),
            pytest.param("shopkeeper", 4000031, id="a word of this house"),
        ],
    )
    async def test_a_weak_password_is_refused_on_every_route(self, scene: Scene, password: str, message: int) -> None:
        app = await scene.native()
        form = {"method": "password", "password": password, "traits": {"email": new_address()}}
        answer = await submit(app, "registration", form)
        [field] = [n for n in answer.json()["ui"]["nodes"] if n["attributes"]["name"] == "password"]
        assert answer.status_code == 400
        assert field["messages"], message
        assert await scene.rows("identities") == []

    @pytest.mark.parametrize("password", ["  two spaces and a tail  ", "Größe🙂 ẞ №5", "xy" * 32, "Ångström Kettle"])
    async def test_a_password_is_taken_exactly_as_typed(self, scene: Scene, password: str) -> None:
        app, email = await scene.native(), new_address()
        await sign_up(app, email, password=password)
        assert (await sign_in(app, email, password)).status_code == 200
        for changed in (password.strip()[:-1], password.upper() + "x", f"{password} "):
            assert (await sign_in(app, email, changed)).status_code == 400


class TestAudit:
    """ASVS 16.3: every authentication and every refusal is audited, with identity and method, and without secrets."""

    async def test_the_events_of_a_session_are_audited(self, scene: Scene) -> None:
        app, admin, email = await scene.native(), await scene.admin(), new_address()
        account = await sign_up(app, email)
        await sign_in(app, email, "a wrong guess, again")
        await sign_in(app, email)
        await app.delete("/sessions", headers={"x-session-token": account["session_token"]})
        await admin.delete(f"/admin/identities/{account['identity']['id']}")
        events = [(row["action"], row["outcome"]) for row in await scene.rows("audit_events")]
        assert events == [
            ("identity.created", "success"),
            ("session.started", "success"),
            ("sign_in.failed", "refused"),
            ("session.started", "success"),
            ("session.revoked", "success"),
            ("identity.deleted", "success"),
        ]

    async def test_an_admin_is_named_by_the_id_of_the_key(self, scene: Scene) -> None:
        admin = await scene.admin()
        await admin.post("/admin/identities", json={"schema_id": "default", "traits": {"email": new_address()}})
        [event] = await scene.rows("audit_events")
        assert event["actor"].startswith("admin:")
        assert scene.application.infrastructure.base_url == ADDRESS


def _kept_by_nobody(answer: httpx2.Response) -> bool:
    """Whether an answer may not be cached: it says so, or it answers a POST without a lifetime (RFC 9111, section
    3)."""
    allowing = {"cache-control", "expires", "last-modified", "etag"} & set(answer.headers)
    return "no-store" in answer.headers.get("cache-control", "") or (answer.request.method == "POST" and not allowing)
