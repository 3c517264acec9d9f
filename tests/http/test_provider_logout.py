"""Signing out with a provider: here and there by one link, and there with an end here."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.sessions.end_watch import EndReason
from tests.attacks.scene import ADDRESS, APP, CART, OWN_PAGE, PASSWORD, ask, fill_cart, new_address, set_cookies, visit
from tests.flows.watching import statements
from tests.http.provider_scene import (
    BACKCHANNEL,
    IDP,
    JSON,
    LOGOUT_CALLBACK,
    Person,
    ProviderScene,
    payload_of,
    with_provider,
)
from tests.services.openid_provider import CLIENT_ID, OpenIDProvider
from tests.services.web import Server, serving

CART_PAGE = f"{APP}/cart"


@pytest.fixture
async def scene(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, openid_provider: OpenIDProvider
) -> AsyncIterator[ProviderScene]:
    async with with_provider(sqlite_dsn, tmp_path, clock, openid_provider) as scene:
        yield scene


@pytest.fixture
async def ada(scene: ProviderScene) -> Person:
    """A person who has signed in with the provider."""
    person = await scene.person()
    await scene.sign_in(person)
    return person


def query_of(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


class TestSigningOutHere:
    async def test_ends_our_session_then_the_provider_s_and_leads_back(self, scene: ProviderScene, ada: Person) -> None:
        left = await ada.browser.get(await scene.sign_out_url(ada, return_to=CART_PAGE))
        at_provider = left.headers["location"]
        assert left.status_code == 303
        assert at_provider.startswith(f"{scene.provider.issuer}/session/end?")
        assert await ada.browser.whoami() is None
        sent = query_of(at_provider)
        assert sent["post_logout_redirect_uri"] == LOGOUT_CALLBACK
        assert payload_of(sent["id_token_hint"])["aud"] == CLIENT_ID
        assert APP not in at_provider, "the return address is nobody else's business"
        back = await ada.browser.get(await scene.confirm_sign_out(ada, at_provider))
        assert back.headers["location"] == CART_PAGE
        # The provider asks for the password again.
        assert not await signs_on_silently(scene, ada)

    async def test_row_047_a_forged_link_ends_nothing_here_or_there(self, scene: ProviderScene, ada: Person) -> None:
        """OWASP ASVS 5.0, 10.6.2: no other site signs anybody out."""
        other = await scene.person()
        await scene.sign_in(other)
        of_other = query_of(await scene.sign_out_url(other))["token"]
        for token in ("", "shk_lo_forged", of_other):
            answer = await ada.browser.get("/self-service/logout", params={"token": token, "provider_logout": "true"})
            assert scene.provider.issuer not in answer.headers["location"]
            assert answer.headers["x-error-code"]
        assert await ada.browser.whoami() is not None

    async def test_deletes_the_kept_id_token(self, scene: ProviderScene, ada: Person) -> None:
        [row] = await scene.shop.rows("provider_sessions")
        assert row["id_token"] is not None
        await ada.browser.get(await scene.sign_out_url(ada))
        assert await scene.shop.rows("provider_sessions") == []

    async def test_by_json_is_the_contract_s_unless_the_address_is_asked_for(
        self, scene: ProviderScene, ada: Person
    ) -> None:
        answer = await ada.browser.get(await scene.sign_out_url(ada), headers=JSON)
        assert (answer.status_code, answer.content) == (204, b"")
        await scene.sign_in(ada)
        answer = await ada.browser.get(f"{await scene.sign_out_url(ada)}&provider_logout=true", headers=JSON)
        assert answer.status_code == 200
        assert answer.json()["redirect_browser_to"].startswith(f"{scene.provider.issuer}/session/end?")
        assert await ada.browser.whoami() is None

    async def test_of_a_session_without_a_provider_stays_here(self, scene: ProviderScene) -> None:
        browser = await scene.shop.browser()
        await browser.sign_up("by-password@example.org")
        url = (await browser.get("/self-service/logout/browser")).json()["logout_url"]
        answer = await browser.get(f"{url}&provider_logout=true", headers=JSON)
        assert answer.status_code == 204

    async def test_from_a_page_of_ours_goes_over_a_page_that_may_lead_to_the_provider(
        self, scene: ProviderScene, ada: Person
    ) -> None:
        answer = await ada.browser.get(await scene.sign_out_url(ada), headers=OWN_PAGE)
        assert answer.status_code == 200
        assert f"{scene.provider.issuer}/session/end?" in answer.text
        assert "ory_kratos_session" in set_cookies(answer)

    async def test_does_not_lead_to_a_provider_that_is_away(self, scene: ProviderScene, ada: Person) -> None:
        scene.provider.faults(all={"drop": True})
        left = await ada.browser.get(await scene.sign_out_url(ada, return_to=CART_PAGE))
        assert left.headers["location"] == CART_PAGE
        assert await ada.browser.whoami() is None

    async def test_is_left_to_us_where_it_is_not_configured(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, openid_provider: OpenIDProvider
    ) -> None:
        settings = {"rp_initiated_logout": False}
        async with with_provider(sqlite_dsn, tmp_path, clock, openid_provider, **settings) as scene:
            person = await scene.person()
            await scene.sign_in(person)
            [row] = await scene.shop.rows("provider_sessions")
            assert row["id_token"] is None, "nothing is kept that nothing needs"
            left = await person.browser.get(await scene.sign_out_url(person, return_to=CART_PAGE))
            assert left.headers["location"] == CART_PAGE


class TestComingBackFromTheProvider:
    async def test_with_a_state_that_is_not_ours_goes_where_a_sign_out_goes(self, scene: ProviderScene) -> None:
        browser = await scene.shop.browser()
        for state in ("", "?state=", "?state=forged", "?state=https://evil.test/"):
            answer = await browser.get(f"{LOGOUT_CALLBACK}{state}")
            assert answer.status_code == 303
            assert urlsplit(answer.headers["location"]).netloc == urlsplit(ADDRESS).netloc

    async def test_after_an_hour_goes_where_a_sign_out_goes(self, scene: ProviderScene, ada: Person) -> None:
        left = await ada.browser.get(await scene.sign_out_url(ada, return_to=CART_PAGE))
        state = query_of(left.headers["location"])["state"]
        scene.shop.clock.advance(seconds=3601)
        answer = await ada.browser.get(LOGOUT_CALLBACK, params={"state": state})
        assert answer.headers["location"] != CART_PAGE

    async def test_ends_nobody_s_session(self, scene: ProviderScene, ada: Person) -> None:
        await ada.browser.get(LOGOUT_CALLBACK)
        assert await ada.browser.whoami() is not None


class TestSigningOutAtTheProvider:
    """OWASP ASVS 5.0, 10.5.5: what ends a session is a logout token, and nothing that looks like one."""

    async def test_ends_the_session_here_at_once(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, openid_provider: OpenIDProvider
    ) -> None:
        async with serving("127.0.0.1") as listener:
            address = listener.url("/logout")
            async with with_provider(sqlite_dsn, tmp_path, clock, openid_provider, listener=address) as scene:
                forwards(scene, listener)
                person = await scene.person()
                await scene.sign_in(person)
                assert await person.browser.whoami() is not None
                await asyncio.to_thread(person.walker.sign_out)
                await told(openid_provider)
                assert openid_provider.notices() == [{"what": "backchannel.success", "client": CLIENT_ID}]
                assert await person.browser.whoami() is None

    async def test_ends_only_the_session_that_is_named(self, scene: ProviderScene, ada: Person) -> None:
        elsewhere = await scene.person(ada.email)
        await scene.sign_in(elsewhere)
        claims = await scene.claims_of(ada)
        answer = await scene.tell(scene.logout_token(sub=claims["sub"], sid=claims["sid"]))
        assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, b"", "no-store")
        assert await ada.browser.whoami() is None
        assert await elsewhere.browser.whoami() is not None

    async def test_ends_every_session_of_the_person_where_no_session_is_named(
        self, scene: ProviderScene, ada: Person
    ) -> None:
        elsewhere, other = await scene.person(ada.email), await scene.person()
        await scene.sign_in(elsewhere)
        await scene.sign_in(other)
        by_password = await scene.shop.browser()
        await by_password.sign_up("by-password@example.org")
        answer = await scene.tell(scene.logout_token(sub=(await scene.claims_of(ada))["sub"]))
        assert answer.status_code == 200
        assert [await each.whoami() for each in (ada.browser, elsewhere.browser)] == [None, None]
        assert None not in [await each.whoami() for each in (other.browser, by_password)]

    async def test_of_a_session_that_is_not_here_is_done(self, scene: ProviderScene, ada: Person) -> None:
        assert (await scene.tell(scene.logout_token(sid="ended-long-ago"))).status_code == 200
        assert await ada.browser.whoami() is not None

    async def test_closes_live_connections_and_is_audited(self, scene: ProviderScene, ada: Person) -> None:
        session = (await ada.browser.get("/sessions/whoami")).json()
        ended: asyncio.Future[EndReason] = asyncio.get_running_loop().create_future()
        application = scene.shop.application
        application.accounts.sessions.on_ended(UUID(session["id"]), ended.set_result)
        await scene.tell(scene.logout_token(sid=(await scene.claims_of(ada))["sid"]))
        async with asyncio.timeout(10):
            assert await ended is EndReason.ENDED
        async with application.infrastructure.database.unit() as unit:
            [event] = await application.infrastructure.audit.events(unit, action="session.revoked")
        assert (event.actor, event.subject) == ("provider:idp", session["identity"]["id"])

    async def test_leaves_the_cart_with_the_account(self, scene: ProviderScene) -> None:
        person, app = await scene.person(), await scene.shop.native()
        guest = (await visit(app))["authorization"].removeprefix("Bearer ")
        cart = await fill_cart(app, guest)
        person.browser.cookies.set("__Host-shopkeeper_visit", guest, domain="shop.test")
        await scene.sign_in(person)
        await scene.tell(scene.logout_token(sid=(await scene.claims_of(person))["sid"]))
        await scene.sign_in(person)
        found = await ask(app, person.browser.session_cookie or "", CART)
        assert found["data"]["getCart"]["totalQuantity"] == 1, (cart, found)

    async def test_an_id_token_is_no_logout_token(self, scene: ProviderScene, ada: Person) -> None:
        left = await ada.browser.get(await scene.sign_out_url(ada))
        id_token = query_of(left.headers["location"])["id_token_hint"]
        await scene.sign_in(ada)
        assert (await scene.tell(id_token)).status_code == 400
        assert await ada.browser.whoami() is not None

    async def test_needs_a_valid_token(self, scene: ProviderScene, ada: Person) -> None:
        known = await scene.claims_of(ada)
        named = {"sub": known["sub"], "sid": known["sid"]}
        for wrong in (
            {"aud": "another"},
            {"iss": "https://other.example"},
            {"nonce": "n"},
            {"events": None},
            {"sub": None, "sid": None},
            {"jti": None},
            {"exp": 1_000_000_000},
            {"header": {"typ": "at+jwt"}},
        ):
            answer = await scene.tell(scene.logout_token(**{**named, **wrong}))
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), wrong
            assert answer.headers["cache-control"] == "no-store"
        assert await ada.browser.whoami() is not None

    async def test_works_once_for_each_token(self, scene: ProviderScene, ada: Person) -> None:
        token = scene.logout_token(sub=(await scene.claims_of(ada))["sub"])
        assert (await scene.tell(token)).status_code == 200
        await scene.sign_in(ada)
        assert (await scene.tell(token)).status_code == 400
        assert await ada.browser.whoami() is not None

    async def test_forgets_tokens_when_they_have_expired(self, scene: ProviderScene) -> None:
        token = scene.logout_token(sid="unknown")
        await scene.tell(token)
        application = scene.shop.application
        await application.cleanup.run_once()
        assert len(await scene.shop.rows("received_tokens")) == 1
        scene.shop.clock.advance(days=1)
        await application.cleanup.run_once()
        assert await scene.shop.rows("received_tokens") == []
        assert (await scene.tell(token)).status_code == 400

    async def test_reads_one_small_form(self, scene: ProviderScene) -> None:
        server, form = await scene.shop.native(), "application/x-www-form-urlencoded"
        for body, kind in (
            ("", form),
            ("logout_token=nonsense", form),
            (f"logout_token={'x' * 20_000}", form),
            ("logout_token=a.b.c&logout_token=d.e.f", form),
            ('{"logout_token": "a.b.c"}', "application/json"),
        ):
            answer = await server.post(BACKCHANNEL, content=body, headers={"content-type": kind})
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), body[:50]

    async def test_asks_again_later_where_the_provider_s_keys_cannot_be_fetched(
        self, scene: ProviderScene, ada: Person, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        token = scene.logout_token(sid=(await scene.claims_of(ada))["sid"])
        async with with_provider(sqlite_dsn, tmp_path, clock, scene.provider) as restarted:
            scene.provider.faults(all={"status": 503})
            answer = await restarted.tell(token)
            assert (answer.status_code, answer.json()["error"]) == (400, "temporarily_unavailable")
            scene.provider.faults()
            clock.advance(seconds=60)
            assert (await restarted.tell(token)).status_code == 200

    async def test_of_an_unknown_provider_is_not_found(self, scene: ProviderScene) -> None:
        path = "/self-service/methods/oidc/backchannel-logout/nobody"
        assert (await scene.tell("a.b.c", path=path)).status_code == 404

    async def test_is_limited_before_a_token_is_looked_at(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, openid_provider: OpenIDProvider
    ) -> None:
        limits = {"throttle": {"provider_logout": {"per_ip": "2/minute"}}}
        async with with_provider(sqlite_dsn, tmp_path, clock, openid_provider, settings=limits) as scene:
            token = scene.logout_token(sid="unknown")
            assert [(await scene.tell("a.b.c")).status_code for _ in range(2)] == [400, 400]
            assert (await scene.tell(token)).status_code == 429
            clock.advance(seconds=121)
            assert (await scene.tell(token)).status_code == 200

    async def test_takes_six_statements(
        self, postgres_dsn: str, tmp_path: Path, clock: StoppedClock, openid_provider: OpenIDProvider
    ) -> None:
        async with with_provider(postgres_dsn, tmp_path, clock, openid_provider) as scene:
            person = await scene.person()
            await scene.sign_in(person)
            token = scene.logout_token(sid=(await scene.claims_of(person))["sid"])
            with statements(scene.shop) as seen:
                assert (await scene.tell(token)).status_code == 200
            assert len([each for each in seen if not each.startswith(("BEGIN", "COMMIT"))]) <= 6, seen


class TestSigningOutAtTheProviderOfALink:
    async def test_ends_the_session_in_which_the_owner_of_its_address_has_linked_it(self, scene: ProviderScene) -> None:
        person = await scene.person()
        await (await scene.shop.browser()).sign_up(person.email)
        flow = await leave(scene, person, await person.browser.open_flow("login"), provider=IDP)
        asked = await person.browser.get(f"/self-service/login/flows?id={flow}", headers=JSON)
        proof = {"method": "password", "identifier": person.email, "password": PASSWORD}
        assert (await person.browser.send_flow(asked.json(), proof)).status_code == 200
        assert await person.browser.whoami() is not None
        await scene.tell(scene.logout_token(sid=(await scene.claims_of(person))["sid"]))
        assert await person.browser.whoami() is None

    async def test_ends_the_session_that_has_linked_it_also_after_it_was_unlinked(self, scene: ProviderScene) -> None:
        person, elsewhere = await scene.person(), await scene.shop.browser()
        await person.browser.sign_up(email := new_address())
        flow = await leave(scene, person, await person.browser.open_flow("settings"), link=IDP)
        await elsewhere.sign_in(email)
        settings = await person.browser.get(f"/self-service/settings/flows?id={flow}", headers=JSON)
        claims = await scene.claims_of(person)
        unlinked = await person.browser.send_flow(settings.json(), {"method": "oidc", "unlink": IDP})
        assert unlinked.status_code == 200, unlinked.text
        await elsewhere.sign_in(email)
        assert await person.browser.whoami() is not None
        await scene.tell(scene.logout_token(sub=claims["sub"], sid=claims["sid"]))
        assert await person.browser.whoami() is None
        assert await elsewhere.whoami() is not None

    @pytest.mark.parametrize("unlinked", [False, True])
    async def test_is_where_a_sign_out_here_leads(self, scene: ProviderScene, unlinked: bool) -> None:
        person = await scene.person()
        await person.browser.sign_up(new_address())
        flow = await leave(scene, person, await person.browser.open_flow("settings"), link=IDP)
        if unlinked:
            settings = await person.browser.get(f"/self-service/settings/flows?id={flow}", headers=JSON)
            answer = await person.browser.send_flow(settings.json(), {"method": "oidc", "unlink": IDP})
            assert answer.status_code == 200, answer.text
        left = await person.browser.get(await scene.sign_out_url(person, return_to=CART_PAGE))
        assert payload_of(query_of(left.headers["location"])["id_token_hint"])["aud"] == CLIENT_ID


async def leave(scene: ProviderScene, person: Person, flow: Mapping[str, Any], **fields: str) -> str:
    """Leave a flow for the provider, and come back; return the flow that the browser is sent to."""
    left = await person.browser.send_flow(flow, {"method": "oidc", **fields})
    assert left.status_code == 422, left.text
    back = await person.browser.get(await scene.walk(person, left.json()["redirect_browser_to"]))
    return query_of(back.headers["location"])["flow"]


def forwards(scene: ProviderScene, listener: Server) -> None:
    """Have a listener pass what the provider posts on to the application, which has no port of its own."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        server = await scene.shop.native()
        form = {"content-type": "application/x-www-form-urlencoded"}
        told = await server.post(BACKCHANNEL, content=listener.bodies[-1], headers=form)
        writer.write(f"HTTP/1.1 {told.status_code} -\r\nContent-Length: 0\r\n\r\n".encode())

    listener.answers["/logout"] = answer


async def told(provider: OpenIDProvider) -> None:
    """Wait until the provider has got an answer to its logout token."""
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(provider.notices):  # noqa: ASYNC110 - the provider is another process
            await asyncio.sleep(0.02)


async def signs_on_silently(scene: ProviderScene, person: Person) -> bool:
    """Return whether a silent sign-on signs the person in, in a browser without our cookies."""
    browser = await scene.shop.browser()
    fresh = Person(person.email, browser, person.walker)
    left = await browser.get("/self-service/methods/oidc/silent-sign-on/idp", params={"return_to": CART_PAGE})
    back = await browser.get(await scene.walk(fresh, left.headers["location"]))
    assert back.headers["location"] == CART_PAGE
    return await browser.whoami() is not None
