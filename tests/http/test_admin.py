"""The admin API: what it accepts, what it refuses, and what is audited."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from sqlalchemy import make_url
from structlog.testing import capture_logs

from shopkeeper.clock import StoppedClock
from shopkeeper.storage.database import sqlite_path
from tests.attacks.scene import HERE, PASSWORD, Scene, new_address, opened, sign_in, sign_up, submit
from tests.services.databases import sqlalchemy_url


async def imported(dsn: str, folder: Path, clock: StoppedClock, **said: Any) -> tuple[int, dict[str, Any]]:
    """Import an identity with one address; return status and answer."""
    email = new_address()
    body = {
        "schema_id": "default",
        "traits": {"email": email},
        "verifiable_addresses": [{"value": email, "verified": True, "status": "completed", "via": "email", **said}],
    }
    async with opened(dsn, folder, clock, settings={}) as scene:
        admin = await scene.admin()
        made = await admin.post("/admin/identities", json=body)
        return made.status_code, made.json()


class TestVerifiedAt:
    @pytest.mark.parametrize("said", ["2025-01-02T03:04:05Z", "2025-01-02T04:04:05+01:00"], ids=["utc", "elsewhere"])
    async def test_is_kept(self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock, said: str) -> None:
        status, identity = await imported(sqlite_dsn, tmp_path, clock, verified_at=said)
        assert (status, identity["verifiable_addresses"][0]["verified_at"]) == (201, "2025-01-02T03:04:05Z")

    async def test_counts_only_where_the_address_is_verified(
        self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
    ) -> None:
        said = {"verified": False, "status": "pending", "verified_at": "2025-01-02T03:04:05Z"}
        status, identity = await imported(sqlite_dsn, tmp_path, clock, **said)
        assert (status, "verified_at" in identity["verifiable_addresses"][0]) == (201, False)


@pytest.fixture
async def scene(dsn: str, tmp_path: Path, clock: StoppedClock) -> AsyncIterator[Scene]:
    """An application on either database."""
    async with opened(dsn, tmp_path, clock, settings={}) as scene:
        yield scene


@pytest.fixture
async def admin(scene: Scene) -> httpx2.AsyncClient:
    return await scene.admin()


def person(**more: Any) -> dict[str, Any]:
    return {"schema_id": "default", "traits": {"email": new_address()}, **more}


async def batch(admin: httpx2.AsyncClient, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = await admin.patch("/admin/identities", json={"identities": [{"create": entry} for entry in entries]})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["identities"])


class TestIdentitiesByIds:
    async def test_identities_by_ids_come_all_on_one_page(self, admin: httpx2.AsyncClient) -> None:
        """Regression: they came 250 at a time, and the link to the next page led to all identities."""
        made = [entry["identity"] for entry in await batch(admin, [person() for _ in range(260)])]
        answer = await admin.get("/admin/identities", params={"ids": made[:255], "page_size": 10})
        assert {identity["id"] for identity in answer.json()} == set(made[:255])
        assert "link" not in answer.headers

    async def test_the_ids_of_identities_must_be_uuids(self, admin: httpx2.AsyncClient) -> None:
        """Regression: a value that is no UUID was a 404, as if the list itself did not exist."""
        answer = await admin.get("/admin/identities", params={"ids": [str(uuid4()), "ada"]})
        assert (answer.status_code, answer.headers["x-error-code"]) == (400, "bad_request")


class TestFilters:
    @pytest.mark.parametrize(
        "query",
        [
            "organization_id=6f1c1d0e-0000-4000-8000-000000000000",
            "credential_identifier=ada",
            "trait.email=ada",
            "traits.=ada",
            "state=sleeping",
            "ids=6f1c1d0e-0000-4000-8000-000000000000&state=active",
            "traits.a=1&traits.b=1&traits.c=1&traits.d=1&traits.e=1&traits.f=1",
            "page=2",
            "per_page=1001",
            "include_credential=teapot",
        ],
    )
    async def test_that_are_not_served_do_not_give_everybody(self, admin: httpx2.AsyncClient, query: str) -> None:
        assert (await admin.get(f"/admin/identities?{query}")).status_code == 400

    @pytest.mark.parametrize(
        "query",
        [
            "page=0&per_page=1000",
            "consistency=strong",
            "organization_id=",
            "credentials_identifier=ada",
            "preview_credentials_identifier_similar=ada&state=active&traits.email=ada&traits.name.first=ada",
            "schema_id=%00&credentials_identifier=%00",
        ],
    )
    async def test_a_supported_filter_is_accepted(self, admin: httpx2.AsyncClient, query: str) -> None:
        assert (await admin.get(f"/admin/identities?{query}")).status_code == 200

    @pytest.mark.parametrize("query", ["active=perhaps", "identity=ada"])
    async def test_an_unsupported_filter_of_sessions_does_not_return_all(
        self, admin: httpx2.AsyncClient, query: str
    ) -> None:
        assert (await admin.get(f"/admin/sessions?{query}")).status_code == 400

    async def test_combine_on_every_page(self, admin: httpx2.AsyncClient) -> None:
        names = [{"first": first, "last": "Smith"} for first in ("Ada", "Ada", "Bob", "ADA")]
        entries = [
            {"schema_id": "default", "traits": {"email": f"search-{number}@example.org", "name": name}}
            for number, name in enumerate(names)
        ]
        made = [entry["identity"] for entry in await batch(admin, entries)]
        for by in ("traits.name.last=smith", "preview_credentials_identifier_similar=SEARCH-"):
            page = await admin.get(f"/admin/identities?page_size=1&traits.name.first=ada&state=active&{by}")
            seen = [identity["id"] for identity in page.json()]
            while "next" in page.links:
                page = await admin.get(page.links["next"]["url"])
                seen += [identity["id"] for identity in page.json()]
            assert seen == [made[0], made[1], made[3]]
            first = await admin.get(page.links["first"]["url"])
            assert [identity["id"] for identity in first.json()] == made[:1]

    async def test_a_page_of_one_order_is_not_a_page_of_another(self, admin: httpx2.AsyncClient) -> None:
        await batch(admin, [person() for _ in range(2)])
        token = (await admin.get("/admin/identities?page_size=1")).links["next"]["url"].partition("page_token=")[2]
        query = f"preview_credentials_identifier_similar=ada&page_token={token}"
        assert (await admin.get(f"/admin/identities?{query}")).status_code == 400

    async def test_show_the_credentials_that_are_asked_for_on_every_page(self, admin: httpx2.AsyncClient) -> None:
        given = {"password": {"config": {"password": "a kettle on the plum shelf"}}}
        await batch(admin, [person(credentials=given) for _ in range(2)])
        page = await admin.get("/admin/identities?page_size=1&include_credential=password")
        for _ in range(2):
            [identity] = page.json()
            assert identity["credentials"]["password"]["config"]["hashed_password"].startswith("$argon2id$")
            page = await admin.get(page.links.get("next", page.links["first"])["url"])


class TestBatch:
    async def test_takes_a_thousand_ordinary_people(self, sqlite_dsn: str, tmp_path: Path, clock: StoppedClock) -> None:
        """Regression: with twenty-one values for each person, a body was over its limit."""

        def ordinary() -> dict[str, Any]:
            email = new_address()
            address = {"value": email, "via": "email", "verified": True, "status": "completed"}
            name = {"first": "Ada", "last": "Lovelace"}
            return {
                "schema_id": "default",
                "traits": {"email": email, "name": name},
                "metadata_public": {"customer_number": 4711, "tags": ["gold", "old shop", "newsletter"]},
                "metadata_admin": {"imported_from": "old shop", "row": 4711},
                "verifiable_addresses": [address],
                "recovery_addresses": [{"value": email, "via": "email"}],
            }

        async with opened(sqlite_dsn, tmp_path, clock, settings={}) as scene:
            made = await batch(await scene.admin(), [ordinary() for _ in range(1_000)])
            assert {entry["action"] for entry in made} == {"create"}


class TestRecoveryAddresses:
    async def test_recovery_addresses_of_the_traits_are_accepted_in_any_spelling(
        self, admin: httpx2.AsyncClient
    ) -> None:
        body = person()
        email = body["traits"]["email"]
        answer = await admin.post("/admin/identities", json={**body, "recovery_addresses": [{"value": email.upper()}]})
        assert answer.status_code == 201
        assert [address["value"] for address in answer.json()["recovery_addresses"]] == [email]

    async def test_beside_the_traits_are_refused_rather_than_lost(self, admin: httpx2.AsyncClient) -> None:
        answer = await admin.post("/admin/identities", json=person(recovery_addresses=[{"value": "eve@example.org"}]))
        assert answer.status_code == 400
        assert "recovery_addresses" in answer.json()["error"]["reason"]


class TestPatch:
    async def test_adds_below_what_a_new_identity_has_as_null(self, admin: httpx2.AsyncClient) -> None:
        made = await admin.post("/admin/identities", json=person())
        patch = [{"op": "add", "path": "/metadata_public/shoe", "value": 44}]
        changed = await admin.patch(f"/admin/identities/{made.json()['id']}", json=patch)
        assert (made.json().get("metadata_public"), changed.status_code) == (None, 200)
        assert changed.json()["metadata_public"] == {"shoe": 44}


class TestReplacing:
    @pytest.mark.parametrize("query", ["", "?include_credential=password"])
    async def test_an_identity_can_be_read_changed_and_put_back(
        self, scene: Scene, admin: httpx2.AsyncClient, query: str
    ) -> None:
        app, email = await scene.native(), new_address()
        one = f"/admin/identities/{(await sign_up(app, email))['identity']['id']}"
        read = (await admin.get(f"{one}{query}")).json()
        answer = await admin.put(one, json={**read, "metadata_public": {"shoe": 44}})
        assert answer.status_code == 200, answer.text
        after = (await admin.get(f"{one}{query}")).json()
        changed = {"metadata_public", "updated_at"}
        assert {name for name in after if after[name] != read[name]} <= changed
        assert after["metadata_public"] == {"shoe": 44}
        assert (await sign_in(app, email)).status_code == 200


class TestAudit:
    async def test_records_the_address_of_an_admin(self, scene: Scene, admin: httpx2.AsyncClient) -> None:
        app, email = await scene.native(), new_address()
        account = await sign_up(app, email)
        one = f"/admin/identities/{account['identity']['id']}"
        patch = [{"op": "add", "path": "/metadata_public", "value": {"a": 1}}]
        new = {"schema_id": "default", "state": "active", "traits": {"email": email}}
        assert (await admin.post("/admin/identities", json=person())).status_code == 201
        assert (await admin.patch(one, json=patch)).status_code == 200
        assert (await admin.put(one, json=new)).status_code == 200
        assert (await admin.patch(f"/admin/sessions/{account['session']['id']}/extend")).status_code == 200
        assert (await admin.delete(f"/admin/sessions/{account['session']['id']}")).status_code == 204
        assert (await admin.delete(f"{one}/sessions")).status_code == 204
        assert (await admin.delete(one)).status_code == 204
        told = [row for row in await scene.rows("audit_events") if row["actor"].startswith("admin:")]
        assert len(told) == 7
        assert {row["client"] for row in told} == {scene.application.infrastructure.audit.client(HERE)}

    async def test_records_whose_session_a_native_sign_out_ended(self, scene: Scene) -> None:
        app = await scene.native()
        account = await sign_up(app, new_address())
        await app.request("DELETE", "/self-service/logout/api", json={"session_token": account["session_token"]})
        [event] = [row for row in await scene.rows("audit_events") if row["action"] == "session.revoked"]
        who = account["identity"]["id"]
        assert {str(event["actor"]), str(event["subject"])} == {who}
        assert account["session"]["id"] in str(event["details"])

    @pytest.mark.parametrize("signs_in", [True, False])
    async def test_records_registrations_and_refused_ones_with_the_identity_and_the_client(
        self, dsn: str, tmp_path: Path, clock: StoppedClock, signs_in: bool
    ) -> None:
        """Both answers to a taken address are audited: the refusal that rolls back its unit, and the simulated
        registration."""
        hooks = [{"hook": "session"}] if signs_in else []
        flows = {"registration": {"after": {"password": {"hooks": hooks}}}}
        async with opened(dsn, tmp_path, clock, settings={"selfservice": {"flows": flows}}) as scene:
            app = await scene.native()
            form = {"method": "password", "password": PASSWORD, "traits": {"email": new_address()}}
            for _ in range(2):
                await submit(app, "registration", form)
            told = [row for row in await scene.rows("audit_events") if row["action"].startswith(("identity", "regis"))]
            assert {row["action"] for row in told} == {"identity.created", "registration.refused"}
            assert len({str(row["subject"]) for row in told}) == 1
            assert {row["client"] for row in told} == {scene.application.infrastructure.audit.client(HERE)}


class TestEndingManySessions:
    @pytest.mark.parametrize("action", ["disable", "delete"])
    async def test_ends_the_sessions_of_the_identities_and_no_others(
        self, scene: Scene, admin: httpx2.AsyncClient, action: str
    ) -> None:
        app = await scene.native()
        ada, bob = await sign_up(app, new_address()), await sign_up(app, new_address())
        whoami = [await app.get("/sessions/whoami", headers=_token(account)) for account in (ada, bob)]
        body = {"action": action, "identities": [ada["identity"]["id"]]}
        ended = await admin.post("/admin/sessions", json=body)
        assert (ended.status_code, ended.json()) == (200, {"processed": 1, "more": False})
        whoami += [await app.get("/sessions/whoami", headers=_token(account)) for account in (ada, bob)]
        assert [answer.status_code for answer in whoami] == [200, 200, 401, 200]
        shown = await admin.get(f"/admin/sessions/{ada['session']['id']}")
        assert shown.status_code == (200 if action == "disable" else 404)

    async def test_all_of_them(self, scene: Scene, admin: httpx2.AsyncClient) -> None:
        app = await scene.native()
        accounts = [await sign_up(app, new_address()) for _ in range(3)]
        ended = await admin.post("/admin/sessions", json={"action": "disable", "sessions": ["*"]})
        assert ended.json() == {"processed": 3, "more": False}
        assert {(await app.get("/sessions/whoami", headers=_token(each))).status_code for each in accounts} == {401}

    @pytest.mark.parametrize(
        "body",
        [
            {"action": "disable"},
            {"action": "disable", "identities": []},
            {"action": "disable", "identities": ["ada"]},
            {"action": "disable", "identities": ["*", str(uuid4())]},
            {"action": "disable", "identities": ["*"], "sessions": ["*"]},
            {"action": "disable", "sessions": [str(uuid4()) for _ in range(501)]},
            {"action": "keep", "sessions": ["*"]},
            {"action": "delete", "sessions": ["*"], "store": "fruit"},
        ],
    )
    async def test_an_unclear_request_ends_none(
        self, scene: Scene, admin: httpx2.AsyncClient, body: dict[str, Any]
    ) -> None:
        app = await scene.native()
        account = await sign_up(app, new_address())
        assert (await admin.post("/admin/sessions", json=body)).status_code == 400
        assert (await app.get("/sessions/whoami", headers=_token(account))).status_code == 200


def _token(account: dict[str, Any]) -> dict[str, str]:
    return {"x-session-token": account["session_token"]}


class TestOwnSessions:
    async def test_own_sessions_are_returned_in_pages_with_the_total(self, scene: Scene) -> None:
        """Regression: pages were ignored, and the count was that of the page."""
        app, email = await scene.native(), new_address()
        token = (await sign_up(app, email))["session_token"]
        others = {(await sign_in(app, email)).json()["session"]["id"] for _ in range(5)}
        app.headers["x-session-token"] = token
        seen: list[str] = []
        page = await app.get("/sessions?page_size=2")
        for _ in range(3):
            assert page.headers["x-total-count"] == "5"
            seen += [session["id"] for session in page.json()]
            if "next" in page.links:
                page = await app.get(page.links["next"]["url"])
        assert (len(seen), set(seen)) == (5, others)
        assert {"first", "prev"} == set(page.links)


async def test_a_batch_asks_a_database_that_does_not_answer_once(
    sqlite_dsn: str, tmp_path: Path, clock: StoppedClock
) -> None:
    async with opened(sqlite_dsn, tmp_path, clock, settings={}) as scene:
        admin = await scene.admin()
        file = sqlite_path(make_url(sqlalchemy_url(sqlite_dsn)))
        assert file is not None
        away = file.rename(file.with_suffix(".away"))
        with capture_logs() as told:
            made = await batch(admin, [person() for _ in range(20)])
        away.rename(file)
    assert {(entry["action"], entry["error"]["code"]) for entry in made} == {("error", 503)}
    assert len(made) == 20
    assert [entry["event"] for entry in told].count("database.away") == 1
