"""Rows 32, 74 and 82: a store whose customers have their accounts at a provider has no other door to an account.

A stranger who registered here, with any address, would be a customer of the store without the provider's knowledge.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from tests.attacks.scene import (
    ADDRESS,
    HTML,
    ME,
    PASSWORD,
    SIGN_UP,
    Browser,
    Scene,
    ask,
    new_address,
    sign_in,
    sign_up,
)
from tests.services.openid_provider import CLIENT_SECRET, OpenIDProvider, Walker
from tests.upstream.stages import API, ELSEWHERE, HERE

OpenShop = Callable[..., Awaitable[Scene]]
JSON = {"accept": "application/json"}
SIGNS_IN: dict[str, Any] = {"client_id": "shop", "client_secret": CLIENT_SECRET, "sign_in": True, "label": "Acme"}
MAILED = {
    "selfservice": {
        "methods": {"code": {"enabled": True}},
        "flows": {"recovery": {"enabled": True}, "verification": {"enabled": True}},
    }
}
REFUSED = "self_service_flow_disabled"


def token_of(provider: OpenIDProvider, email: str, **claims: Any) -> str:
    said = {"aud": API, "client_id": "app", "sub": f"sub-{email}", "email": email, **claims}
    return provider.sign(said, header={"typ": "at+jwt"})


def code_of(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["id"]


async def here(scene: Scene) -> httpx2.AsyncClient:
    return await scene.native()


async def elsewhere(scene: Scene) -> httpx2.AsyncClient:
    """Return an app of the store with own accounts."""
    return await scene.native(connector=ELSEWHERE)


class TestWithoutSignIn:
    @pytest.mark.parametrize("kind", ["login", "registration", "recovery"])
    @pytest.mark.parametrize("way", ["api", "browser"])
    async def test_row_074_no_flow_opens(self, open_shop: OpenShop, kind: str, way: str) -> None:
        scene = await open_shop(settings=MAILED)
        app = await here(scene)
        answer = await app.get(f"/self-service/{kind}/{way}", headers=JSON)
        assert code_of(answer) == (400, REFUSED)
        assert "have their accounts at idp (http://127.0.0.1:" in answer.json()["error"]["reason"]
        assert (await (await elsewhere(scene)).get(f"/self-service/{kind}/{way}", headers=JSON)).status_code == 200

    async def test_row_074_no_store_named_in_another_way_has_one(self, open_shop: OpenShop) -> None:
        scene = await open_shop(settings={**MAILED, "default_store": "plum"})
        app = await scene.native()
        for kind in ("login", "registration", "recovery"):
            assert (await app.get(f"/self-service/{kind}/api")).status_code == 200
            assert code_of(await app.get(f"/self-service/{kind}/api?store={HERE}")) == (400, REFUSED)

    async def test_row_074_a_page_says_where_customers_sign_in(self, open_shop: OpenShop) -> None:
        scene = await open_shop(settings=MAILED, label="Acme")
        browser = await scene.browser(accept=HTML, accept_language="de")
        for path in ("/login", "/registration", "/recovery", "/self-service/login/browser"):
            page = await browser.get(path, follow_redirects=True)
            assert "Die Konten dieses Shops sind bei Acme (http" in page.text
            for kind in ("login", "registration", "recovery"):
                assert f"/self-service/{kind}" not in page.text
        first = await browser.get("/")
        assert first.status_code == 200
        assert "/self-service/" not in first.text

    async def test_row_074_graphql_registers_no_one(self, open_shop: OpenShop) -> None:
        scene = await open_shop()
        app = await here(scene)
        visitor = (await app.post("/signin", json={})).json()["authorization"]
        sent = {"email": new_address(), "password": PASSWORD}
        (refused,) = (await ask(app, visitor, SIGN_UP, i=sent))["errors"]
        assert refused["extensions"]["code"] == "SELF_SERVICE_FLOW_DISABLED"
        assert "idp (http" in refused["message"]
        assert await scene.rows("identities") == []

    @pytest.mark.parametrize("kind", ["login", "registration", "recovery"])
    async def test_row_032_a_flow_of_before_is_worth_nothing(self, open_shop: OpenShop, kind: str) -> None:
        """Such as one that was opened before the store got its provider."""
        scene = await open_shop(settings=MAILED)
        await sign_up(await elsewhere(scene), email := new_address())
        app = await elsewhere(scene)
        flow = (await app.get(f"/self-service/{kind}/api")).json()
        async with scene.application.infrastructure.database.transaction() as connection:
            await connection.exec_driver_sql(f"UPDATE flows SET store = '{HERE}'")
        fields = {
            "login": {"method": "password", "identifier": email, "password": PASSWORD},
            "registration": {"method": "password", "password": PASSWORD, "traits": {"email": new_address()}},
            "recovery": {"method": "code", "email": email},
        }[kind]
        assert code_of(await app.get(f"/self-service/{kind}/flows?id={flow['id']}")) == (400, REFUSED)
        before = await scene.rows("identities"), await scene.rows("sessions")
        assert code_of(await app.post(f"/self-service/{kind}?flow={flow['id']}", json=fields)) == (400, REFUSED)
        assert (await scene.rows("identities"), await scene.rows("sessions")) == before
        assert len(await scene.mails()) == 2  # of the registration: a welcome, and the verification

    async def test_row_032_a_mailed_link_of_before_is_worth_nothing(self, open_shop: OpenShop) -> None:
        scene = await open_shop(
            settings={
                "selfservice": {
                    "methods": {"link": {"enabled": True}},
                    "flows": {"recovery": {"enabled": True, "use": "link"}},
                }
            }
        )
        owner = await sign_up(await elsewhere(scene), new_address())
        admin, asked = await scene.admin(), {"identity_id": owner["identity"]["id"]}
        handed = await admin.post(f"/admin/recovery/link?store={ELSEWHERE}", json=asked)
        assert handed.status_code == 200, handed.text
        async with scene.application.infrastructure.database.transaction() as connection:
            await connection.exec_driver_sql(f"UPDATE flows SET store = '{HERE}'")
        browser = await scene.browser(accept="application/json")
        path = handed.json()["recovery_link"].removeprefix(ADDRESS)
        assert code_of(await browser.post(path, json={})) == (400, REFUSED)
        assert await browser.whoami() is None
        # An operator is told at once.
        for kind in ("link", "code"):
            refused = await admin.post(f"/admin/recovery/{kind}", json=asked)
            assert refused.status_code in {400, 404}, refused.text

    async def test_row_074_an_account_of_another_store_is_no_customer_here(self, open_shop: OpenShop) -> None:
        scene = await open_shop()
        token = str((await sign_up(await elsewhere(scene), new_address()))["session_token"])
        app = await here(scene)
        assert (await ask(app, token, ME))["errors"][0]["extensions"]["code"] == "TOKEN_INVALID"
        assert (
            await app.post("/signin", json={"username": "ada@example.org", "password": PASSWORD})
        ).status_code == 400


class TestWithSignIn:
    async def test_row_032_only_the_stores_provider_is_offered(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        scene = await open_shop(settings=_with_another_provider(openid_provider), **SIGNS_IN)
        app, own = await here(scene), await elsewhere(scene)
        for kind in ("login", "registration"):
            flow = (await app.get(f"/self-service/{kind}/api")).json()
            assert methods_of(flow) == {("oidc", "idp")}
            assert {("oidc", "idp"), ("oidc", "other"), ("password", None)} <= methods_of(
                (await own.get(f"/self-service/{kind}/api")).json()
            )
            for sent in (
                {"method": "password", "identifier": "a@example.org", "password": PASSWORD},
                {"method": "password", "password": PASSWORD, "traits": {"email": new_address()}},
                {"method": "code", "identifier": "a@example.org"},
                {"method": "profile", "traits": {"email": new_address()}},
                {"method": "identifier_first", "identifier": "a@example.org"},
                {"method": "oidc", "provider": "other"},
                {"method": "oidc", "provider": "other", "id_token": "x.y.z"},
            ):
                answer = await app.post(f"/self-service/{kind}?flow={flow['id']}", json=sent)
                assert answer.status_code in {400, 404}, (sent, answer.text)
        assert await scene.rows("identities") == []
        assert await scene.mails() == []

    async def test_a_page_has_its_button_alone(self, open_shop: OpenShop) -> None:
        scene = await open_shop(settings=MAILED, **SIGNS_IN)
        browser = await scene.browser(accept=HTML)
        page = (await browser.get("/login", follow_redirects=True)).text
        assert "Acme" in page
        assert 'type="password"' not in page
        assert 'name="identifier"' not in page
        assert "/self-service/recovery" not in page

    async def test_who_signs_in_there_changes_no_credentials_here(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        scene = await open_shop(settings=_with_another_provider(openid_provider), **SIGNS_IN)
        openid_provider.person(email := new_address())
        browser = await scene.browser()
        for _ in ("registers", "signs in"):
            await arrive(browser, openid_provider, email)
        assert await browser.whoami() is not None
        flow = await browser.open_flow("settings")
        assert {group for group, _ in methods_of(flow)} == {"profile"}
        for sent in (
            {"method": "password", "password": "another kettle on the shelf"},
            {"method": "oidc", "link": "other"},
            {"method": "oidc", "unlink": "idp"},
        ):
            answer = await browser.send_flow(flow, sent)
            assert answer.status_code == 400, answer.text
        ways = {row["type"]: row["config"] for row in await scene.rows("credentials")}
        assert "oidc" in ways
        assert "hashed_password" not in str(ways.get("password"))

    async def test_who_is_not_known_is_not_registered_where_none_is_made(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        scene = await open_shop(provisioning={"create": False}, **SIGNS_IN)
        assert code_of(await (await here(scene)).get("/self-service/registration/api")) == (400, REFUSED)
        openid_provider.person(email := new_address())
        browser = await scene.browser()
        await arrive(browser, openid_provider, email)
        assert await browser.whoami() is None
        assert await scene.rows("identities") == []


ALL_THERE = {
    "stores": [{"id": HERE, "provider": "idp"}, {"id": ELSEWHERE, "provider": "idp"}, {"id": "plum", "provider": "idp"}]
}


async def import_account(scene: Scene, email: str, **more: Any) -> str:
    """Create an account whose address was never verified, as an operator does; return its id."""
    answer = await (await scene.admin()).post(
        "/admin/identities",
        json={
            "schema_id": "default",
            "traits": {"email": email, "name": {"first": "Eve"}},
            "credentials": {"password": {"config": {"password": PASSWORD}}},
            **more,
        },
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


class TestTakenAddresses:
    """An account with an address that was never verified, where the provider has verified it."""

    async def test_row_082_where_no_store_has_own_accounts_it_is_who_has_verified_it(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        scene = await open_shop(settings=ALL_THERE)
        id_ = await import_account(scene, boss := new_address())
        token = token_of(openid_provider, boss, email_verified=True, given_name="Boss")
        app = await here(scene)
        assert (await ask(app, token, ME))["data"]["getCurrentCustomer"] == {"id": id_, "email": boss}
        (identity,) = await scene.rows("identities")
        traits = identity["traits"] if isinstance(identity["traits"], dict) else json.loads(identity["traits"])
        assert traits == {"email": boss, "name": {"first": "Boss"}}
        ways = {row["type"]: str(row["config"]) for row in await scene.rows("credentials")}
        assert "hashed_password" not in ways.get("password", "")

    @pytest.mark.parametrize("sign_in_there", [False, True])
    async def test_row_082_where_another_store_has_own_accounts_it_stays_its_owners(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider, sign_in_there: bool
    ) -> None:
        """An identity is one person in all stores: its owner may be a customer there who has not verified yet."""
        scene = await open_shop(**(SIGNS_IN if sign_in_there else {}))
        owner = await elsewhere(scene)
        session = str((await sign_up(owner, email := new_address()))["session_token"])
        if sign_in_there:
            openid_provider.person(email)
            browser = await scene.browser()
            await arrive(browser, openid_provider, email)
            assert await browser.whoami() is None
        else:
            token = token_of(openid_provider, email, email_verified=True)
            for app in (await here(scene), owner):
                (refused,) = (await ask(app, token, ME))["errors"]
                assert refused["extensions"]["code"] == "FORBIDDEN"
        assert (await owner.get("/sessions/whoami", headers={"x-session-token": session})).status_code == 200
        assert (await sign_in(owner, email)).status_code == 200

    async def test_row_082_a_linked_account_is_given_to_nobody(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        scene = await open_shop(settings=ALL_THERE)
        account = {"provider": "idp", "subject": "mallory", "issuer": openid_provider.issuer}
        linked = {"oidc": {"config": {"providers": [account]}}}
        await import_account(scene, boss := new_address(), credentials=linked)
        token = token_of(openid_provider, boss, email_verified=True)
        (refused,) = (await ask(await here(scene), token, ME))["errors"]
        assert refused["extensions"]["code"] == "FORBIDDEN"

    async def test_row_082_a_customer_cannot_take_an_address_that_the_provider_did_not_tell(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        """It would keep its owner out, or give the owner what somebody has prepared."""
        scene = await open_shop(settings=ALL_THERE, **SIGNS_IN)
        openid_provider.person(email := new_address("mallory"))
        browser = await scene.browser()
        await arrive(browser, openid_provider, email)
        await arrive(browser, openid_provider, email)
        for traits, status in (
            ({"email": new_address("boss")}, 400),
            ({}, 400),
            ({"email": email, "name": {"first": "Mal"}}, 200),
        ):
            flow = await browser.open_flow("settings")
            answer = await browser.send_flow(flow, {"method": "profile", "traits": traits})
            assert answer.status_code == status, answer.text
        assert {row["value"] for row in await scene.rows("verifiable_addresses")} == {email}

    @pytest.mark.parametrize("claim", [False, None, "yes", 1])
    async def test_row_082_nobody_else_does(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider, claim: object
    ) -> None:
        scene = await open_shop(settings=ALL_THERE)
        await import_account(scene, boss := new_address())
        token = token_of(openid_provider, boss, email_verified=claim)
        (refused,) = (await ask(await here(scene), token, ME))["errors"]
        assert refused["extensions"]["code"] == "FORBIDDEN"
        assert (
            "hashed_password"
            in {row["type"]: str(row["config"]) for row in await scene.rows("credentials")}["password"]
        )

    async def test_row_082_and_083_a_verified_account_stays_its_owners(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        scene = await open_shop()
        owner = await elsewhere(scene)
        await sign_up(owner, email := new_address())
        async with scene.application.infrastructure.database.transaction() as connection:
            await connection.exec_driver_sql("UPDATE verifiable_addresses SET verified = true")
        token = token_of(openid_provider, email, email_verified=True)
        (refused,) = (await ask(await here(scene), token, ME))["errors"]
        assert refused["extensions"]["code"] == "FORBIDDEN"
        assert (await sign_in(owner, email)).status_code == 200

    async def test_row_083_a_provider_that_no_store_has_takes_nothing_over(
        self, open_shop: OpenShop, openid_provider: OpenIDProvider
    ) -> None:
        scene = await open_shop(settings={"stores": [{"id": HERE}, {"id": ELSEWHERE}]})
        owner = await elsewhere(scene)
        await sign_up(owner, email := new_address())
        token = token_of(openid_provider, email, email_verified=True)
        (refused,) = (await ask(await here(scene), token, ME))["errors"]
        assert refused["extensions"]["code"] == "FORBIDDEN"
        assert (await sign_in(owner, email)).status_code == 200


def methods_of(flow: dict[str, Any]) -> set[tuple[str, str | None]]:
    """Return the groups of the buttons of a form, with their providers."""
    buttons = [node for node in flow["ui"]["nodes"] if node["attributes"].get("type") == "submit"]
    return {
        (node["group"], node["attributes"]["value"] if node["attributes"]["name"] == "provider" else None)
        for node in buttons
    }


async def arrive(browser: Browser, provider: OpenIDProvider, email: str) -> None:
    """Sign in at the provider, from the form of the store to the answer of the callback."""
    provider.client(redirect_uris=[f"{ADDRESS}/self-service/methods/oidc/callback/idp"])
    flow = await browser.open_flow("login")
    left = await browser.send_flow(flow, {"method": "oidc", "provider": "idp"})
    assert left.status_code == 422, left.text
    with Walker(provider.issuer) as walker:
        arrival = await asyncio.to_thread(walker.walk, left.json()["redirect_browser_to"], email)
    await browser.get(arrival.path)


def _with_another_provider(provider: OpenIDProvider) -> dict[str, Any]:
    other = {
        "id": "other",
        "provider": "generic",
        "client_id": "shop",
        "client_secret": CLIENT_SECRET,
        "issuer_url": "https://other.example",
    }
    oidc = {"enabled": True, "config": {"providers": [other]}}
    return {"selfservice": {"methods": {"code": {"enabled": True, "passwordless_enabled": True}, "oidc": oidc}}}
