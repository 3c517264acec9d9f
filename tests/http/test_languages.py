"""A German shopper reads German wherever she comes: forms, GraphQL, the storefront, stored errors and mails."""

import json
from typing import Any

import pytest

from tests.attacks.scene import ORDER, PASSWORD, PLACE, ask, fill_cart, new_address, sign_up, submit
from tests.http.conftest import Opening
from tests.signin.test_new_devices import CHROME, FIREFOX

GERMAN = "de-AT, de;q=0.9, en;q=0.5"


async def registration(app: Any) -> dict[str, Any]:
    return dict((await app.get("/self-service/registration/api")).json())


def texts(nodes: list[dict[str, Any]]) -> list[str]:
    labels = [node["meta"]["label"]["text"] for node in nodes if "label" in node["meta"]]
    return [*labels, *(message["text"] for node in nodes for message in node["messages"])]


class TestAGermanShopper:
    async def test_reads_german_forms_whose_numbers_are_those_of_the_english(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            german, english = await scene.native(accept_language=GERMAN), await scene.native()
            ours, theirs = await registration(german), await registration(english)
            assert {"E-Mail", "Vorname", "Nachname", "Passwort"} <= set(texts(ours["ui"]["nodes"]))
            assert {"E-mail", "First name", "Last name", "Password"} <= set(texts(theirs["ui"]["nodes"]))
            numbers = [[n["meta"].get("label", {}).get("id") for n in flow["ui"]["nodes"]] for flow in (ours, theirs)]
            assert numbers[0] == numbers[1]
            sent = {"method": "password", "password": PASSWORD, "traits": {"email": "nonsense"}}
            wrong = await german.post(ours["ui"]["action"], json=sent)
            assert wrong.status_code == 400
            assert wrong.headers["content-language"] == "de"
            assert "Das ist keine E-Mail-Adresse: nonsense" in texts(wrong.json()["ui"]["nodes"])
            # The flow is stored in English: another reader gets their own language.
            again = (await english.get(f"/self-service/registration/flows?id={ours['id']}")).json()
            assert "This is not an e-mail address: nonsense" in texts(again["ui"]["nodes"])

    async def test_gets_her_mails_in_german(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            email = new_address()
            for language, address in ((GERMAN, email), ("", new_address())):
                app = await scene.native(accept_language=language)
                sent = {"method": "password", "password": PASSWORD, "traits": {"email": address}}
                assert (await submit(app, "registration", sent)).status_code == 200
            queued = [json.dumps(row, default=str) for row in await scene.rows("courier_messages")]
            assert {("de" in _languages(row), email in row) for row in queued} == {(True, True), (False, False)}

    async def test_is_told_in_german_of_a_new_device_and_of_her_order(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            email = new_address()
            home = await scene.native(ip="192.0.99.7", user_agent=FIREFOX)
            await sign_up(home, email)
            for _ in range(2):
                scene.clock.advance(seconds=1)
                await home.post("/signin", json={"username": email, "password": PASSWORD})
            app = await scene.native(ip="203.0.113.77", user_agent=CHROME, accept_language=GERMAN)
            answer = await app.post("/signin", json={"username": email, "password": PASSWORD})
            token = answer.json()["authorization"]
            checked = await ask(app, token, ORDER, cart=await fill_cart(app, token))
            await ask(app, token, PLACE, order=checked["data"]["checkOut"]["order"]["id"])
            mails = {row["template_type"]: row["locale"] for row in await scene.rows("courier_messages")}
            assert mails["new_device"] == "de"
            rows = await scene.rows("outbox")
            placed = [_payload(row["payload"]) for row in rows if row["topic"].startswith("order.placed")]
            assert [payload["locale"] for payload in placed] == ["de"]

    async def test_reads_german_refusals_with_the_same_codes(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            german, english = await scene.native(accept_language=GERMAN), await scene.native()
            answers = [
                await app.post("/signin", json={"username": new_address(), "password": "not hers at all"})
                for app in (german, english)
            ]
            ours, theirs = (answer.json()["errors"][0] for answer in answers)
            assert ours["message"] == "Die E-Mail-Adresse oder das Passwort stimmt nicht."
            assert theirs["message"].startswith("Authentication failed")
            assert ours["extensions"] == theirs["extensions"]
            assert answers[0].headers["content-language"] == "de"
            assert "content-language" not in answers[1].headers
            asked = await german.post("/graphql", json={"query": "{ me { id } }"})
            error = asked.json()["errors"][0]
            assert error["extensions"]["code"] == "UNAUTHENTICATED"
            assert error["message"].startswith("Dafür braucht es ein Token")
            assert "authentication" in error["message"]

    async def test_reads_german_where_a_flow_is_refused(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            for language, told in ((GERMAN, "Das gibt es hier nicht."), ("", "The requested resource could not be")):
                app = await scene.native(accept_language=language)
                answer = await app.get("/self-service/login/flows?id=00000000-0000-4000-8000-000000000000")
                assert answer.status_code == 404
                assert answer.json()["error"]["message"].startswith(told)

    async def test_reads_a_stored_error_in_german_by_its_wording(self, opening: Opening, dsn: str) -> None:
        async with opening(dsn) as scene:
            browser = await scene.browser(accept_language=GERMAN)
            led = await browser.get("/self-service/login/browser?return_to=https://evil.example.com/")
            error_id = led.headers["location"].partition("?id=")[2]
            for language, told in ((GERMAN, "Die Rücksprungadresse"), ("", "The return address is not")):
                app = await scene.native(accept_language=language)
                answer = await app.get(f"/self-service/errors?id={error_id}")
                named = {name: answer.headers.get(name) for name in ("content-language", "vary")}
                assert named == {
                    "content-language": "de" if language else None,
                    "vary": "Accept-Language" if language else None,
                }
                error = answer.json()["error"]
                assert error["message"].startswith(told)
                assert error["id"] == "self_service_flow_return_to_forbidden"
                assert "wording" not in error
            page = await browser.get(f"/error?id={error_id}")
            assert "Die Rücksprungadresse" in page.text


class TestImmediateAnswers:
    """What is answered before anything else of a request is read."""

    async def test_whoami_says_in_the_language_of_the_request_that_there_is_no_session(
        self, opening: Opening, sqlite_dsn: str
    ) -> None:
        async with opening(sqlite_dsn) as scene:
            for language, told in (("de", "melden Sie sich"), ("es-MX", "Inicia sesión"), ("fr", "There is no valid")):
                app = await scene.native(accept_language=language)
                for headers in ({}, {"x-session-token": "shk_st_unknown"}, {"cookie": "ory_kratos_session=old"}):
                    answer = await app.get("/sessions/whoami", headers=headers)
                    error = answer.json()["error"]
                    assert answer.status_code == 401
                    assert told in error["reason"]
                    assert (error["code"], error["status"]) == (401, "Unauthorized")
                    assert answer.headers["x-error-code"] == "unauthenticated"
                    assert answer.headers.get("content-language") == {"de": "de", "es-MX": "es"}.get(language)

    async def test_whoami_asks_for_a_second_factor_in_the_language_of_the_request_or_the_session(
        self, opening: Opening, dsn: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with opening(dsn) as scene:
            monkeypatch.setattr(type(scene.application.accounts.assurance), "satisfied_by", lambda *_, **__: False)
            german = await scene.native(accept_language=GERMAN)
            token = (await sign_up(german, new_address()))["session_token"]
            words = {"de": "zweite", "es": "segund", "en": "second factor"}
            for wish, language in ((None, "de"), ("fr", "de"), ("es", "es"), ("en", "en"), ("de", "de"), (None, "de")):
                app = await scene.native(**({"accept_language": wish} if wish else {}))
                answer = await app.get("/sessions/whoami", headers={"x-session-token": token})
                error = answer.json()["error"]
                assert (answer.status_code, error["id"]) == (403, "session_aal2_required")
                assert words[language] in error["message"]
                assert answer.headers.get("content-language", "en") == language
                assert answer.json()["redirect_browser_to"].startswith("https://shop.test/self-service/login/browser")
            chosen = {"cookie": f"shopkeeper_language=es; ory_kratos_session={token}"}
            answer = await (await scene.native()).get("/sessions/whoami", headers=chosen)
            assert words["es"] in answer.json()["error"]["message"]

    async def test_so_do_the_limits_and_the_check_of_the_host(self, opening: Opening, sqlite_dsn: str) -> None:
        async with opening(sqlite_dsn) as scene:
            app = await scene.native(accept_language=GERMAN)
            answers = [
                await app.get("/nowhere?" + "a" * 20_000),
                await app.get("/nowhere", headers={"x-filling": "a" * 70_000}),
                await app.get("/nowhere", headers={"host": "not a host"}),
            ]
            messages = [answer.json()["error"]["message"] for answer in answers]
            assert [answer.status_code for answer in answers] == [414, 431, 400]
            assert messages[0].startswith("Die Adresse ist zu lang.")
            assert messages[1] == "Die Anfrage ist zu groß. Löschen Sie die Cookies dieser Website."
            assert messages[2].startswith("Die Anfrage war fehlerhaft")
            assert {answer.headers["content-language"] for answer in answers} == {"de"}


def _languages(row: str) -> str:
    return str(json.loads(row)["locale"])


def _payload(stored: Any) -> Any:
    return json.loads(stored) if isinstance(stored, str | bytes) else stored
