"""A customer's language is kept with the session, the identity and the order, for what no request of theirs causes."""

from typing import Any

import httpx2
import pytest

from shopkeeper.languages.choice import LANGUAGES
from tests.attacks.scene import (
    ORDER,
    PASSWORD,
    PLACE,
    Scene,
    ask,
    fill_cart,
    new_address,
    set_cookies,
    sign_in,
    sign_up,
    submit,
    visit,
)
from tests.http.conftest import Opening

GERMAN, SPANISH = "de-AT, de;q=0.9, en;q=0.5", "es-ES"
RECOVERY = {"flows": {"recovery": {"enabled": True}}, "methods": {"code": {"enabled": True}}}


async def refusal(app: httpx2.AsyncClient, token: str, **headers: str) -> str:
    """Return what a signed-in customer is told by GraphQL who asks for an unknown cart."""
    answer = await app.post(
        "/graphql",
        json={"query": ORDER, "variables": {"cart": "nothing"}},
        headers={"authorization": f"Bearer {token}", **headers},
    )
    return str(answer.json()["errors"][0]["message"])


async def languages_of_mails(scene: Scene, template: str) -> list[str]:
    return [mail.locale for mail in reversed(await scene.waiting_mails()) if mail.template_type == template]


class TestASession:
    async def test_keeps_the_language_that_it_was_started_in(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            german, app = await scene.native(accept_language=GERMAN), await scene.native()
            token = (await sign_up(german, new_address()))["session_token"]
            told = [await refusal(app, token, **{"accept-language": wish}) for wish in ("", "*", "fr", GERMAN)]
            assert len(set(told)) == 1
            assert told[0] != await refusal(app, token, **{"accept-language": "en"})
            flow = (await app.get("/self-service/settings/api", headers={"x-session-token": token})).json()
            assert "Passwort" in str(flow["ui"]["nodes"])
            # What the request asks for comes first, so that an app with a choice of its own stays free.
            assert await refusal(app, token, **{"accept-language": SPANISH}) not in {told[0], ""}

    async def test_keeps_only_offered_languages_and_only_known_ones(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn) as scene:
            wishes = {"de-CH": "de", "es": "es", "en-GB, de": "en", "fr": None, "*": None, "": None, "x" * 4000: None}
            for wish in wishes:
                await sign_up(await scene.native(accept_language=wish), new_address())
            for table in ("sessions", "identities"):
                assert [row["locale"] for row in await scene.rows(table)] == [*wishes.values()]

    async def test_and_its_identity_look_the_same_to_clients(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn) as scene:
            app = await scene.native(accept_language=GERMAN)
            whole = await sign_up(app, new_address())
            seen = await app.get("/sessions/whoami", headers={"x-session-token": whole["session_token"]})
            identity = await (await scene.admin()).get(f"/admin/identities/{whole['identity']['id']}")
            for body in (whole, seen.json(), identity.json()):
                assert "locale" not in str(body)


class TestAnIdentity:
    async def test_gets_mails_that_others_ask_for_in_its_language(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn, selfservice=RECOVERY) as scene:
            email, known = new_address(), await scene.native(accept_language=GERMAN)
            identity = (await sign_up(known, email))["identity"]
            # A change by an operator keeps the language.
            admin = await scene.admin()
            body = {"schema_id": identity["schema_id"], "traits": identity["traits"], "state": "active"}
            assert (await admin.put(f"/admin/identities/{identity['id']}", json=body)).status_code == 200
            for wish in ("", SPANISH):
                app = await scene.native(accept_language=wish)
                await submit(app, "recovery", {"method": "code", "email": email})
            assert await languages_of_mails(scene, "recovery_code_valid") == ["de", "es"]

    async def test_is_warned_in_its_own_language_whoever_causes_it(self, opening: Opening, dsn: str) -> None:
        hooks = {"flows": {"registration": {"after": {"password": {"hooks": []}}}}}
        async with opening(dsn, selfservice=hooks) as scene:
            email = new_address()
            sent = {"method": "password", "password": PASSWORD, "traits": {"email": email}}
            for wish in (GERMAN, SPANISH):
                await submit(await scene.native(accept_language=wish), "registration", sent)
            assert await languages_of_mails(scene, "sign_up_attempt") == ["de"]

    async def test_that_an_operator_made_learns_it_at_its_first_sign_in(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            email = new_address()
            made = {"config": {"password": PASSWORD}}
            body = {"schema_id": "default", "traits": {"email": email}, "credentials": {"password": made}}
            admin = await scene.admin()
            assert (await admin.post("/admin/identities", json=body, headers={"accept-language": "es"})).is_success
            kept = [[row["locale"] for row in await scene.rows("identities")]]
            for wish in ("", GERMAN, SPANISH):
                assert (await sign_in(await scene.native(accept_language=wish), email)).status_code == 200
                kept.append([row["locale"] for row in await scene.rows("identities")])
            assert kept == [[None], [None], ["de"], ["de"]]
            assert sorted(str(row["locale"]) for row in await scene.rows("sessions")) == ["None", "de", "es"]


class TestAnOrder:
    async def test_keeps_the_language_of_the_session_for_its_mails(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            email, app = new_address(), await scene.native()
            await sign_up(app, email)
            german = await scene.native(accept_language=GERMAN)
            token = (await visit(german, username=email, password=PASSWORD))["authorization"]
            checked = await ask(app, token, ORDER, cart=await fill_cart(app, token))
            await ask(app, token, PLACE, order=checked["data"]["checkOut"]["order"]["id"])
            assert [row["locale"] for row in await scene.rows("orders")] == ["de"]
            [mail] = [mail for mail in await scene.mails() if mail.template_type == "order_placed"]
            assert mail.locale == "de"
            assert "Bestellung" in mail.subject


class TestAChoice:
    @pytest.mark.parametrize("language", LANGUAGES)
    async def test_in_the_address_or_a_cookie_precedes_all_else(
        self, opening: Opening, sqlite_dsn: str, language: str
    ) -> None:
        async with opening(sqlite_dsn) as scene:
            other = next(each for each in LANGUAGES if each != language)
            app = await scene.native(accept_language=other)
            plain = await scene.native(accept_language=language)
            expected = await labels(plain, "")
            assert await labels(app, f"?lang={language}") == expected
            app.cookies.set("shopkeeper_language", language)
            assert await labels(app, "") == expected

    @pytest.mark.parametrize("wrong", ["fr", "DE", "de-AT", "", "de%0d%0aset-cookie:a=b"])
    async def test_of_another_language_counts_for_nothing(self, opening: Opening, sqlite_dsn: str, wrong: str) -> None:
        async with opening(sqlite_dsn) as scene:
            app = await scene.native(accept_language="es")
            answer = await app.get(
                f"/self-service/login/api?lang={wrong}", headers={"cookie": f"shopkeeper_language={wrong}"}
            )
            assert answer.headers["content-language"] == "es"
            assert "shopkeeper_language" not in set_cookies(answer)


async def labels(app: httpx2.AsyncClient, query: str) -> list[Any]:
    flow = (await app.get(f"/self-service/login/api{query}")).json()
    return [node["meta"].get("label", {}).get("text") for node in flow["ui"]["nodes"]]
