"""The application as a whole: background tasks, the admin port, engines, and settings that it refuses."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest
import yaml
from sqlalchemy import delete, select, text, update
from structlog.testing import capture_logs

from shopkeeper.app import Application, Misconfigured, dry_run, opened
from shopkeeper.app.application import load_sample_data
from shopkeeper.app.commerce import ENGINES
from shopkeeper.clock import SystemClock
from shopkeeper.commerce.embedded.store import customers, prices, products, variants
from shopkeeper.commerce.port import Profile, Shopper, ShopperKind
from shopkeeper.identity.builder import NewIdentity
from shopkeeper.settings import Settings, load
from shopkeeper.settings.shop import Store as StoreSettings
from tests.commerce.stand import CartsOnly

CONFIGURATION: Mapping[str, Any] = {
    "secrets": {"default": ["b8f2c7d91e04a36f"], "cipher": ["0f9e8d7c6b5a49382716051423324150"]},
    "selfservice": {"methods": {"password": {"config": {"haveibeenpwned_enabled": False}}}},
}


def settings(folder: Path, dsn: str, **sections: Any) -> Settings:
    file = folder / "shopkeeper.yml"
    file.write_text(yaml.safe_dump({**CONFIGURATION, "dsn": dsn, **sections}))
    return load([file], {}, dev=True, demo=bool(sections.get("demo")))


def admin_of(application: Application) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=application.admin), base_url="http://localhost")


async def ask_admin(application: Application, path: str) -> httpx2.Response:
    async with admin_of(application) as operator:
        return await operator.get(path)


class TestBackground:
    async def test_a_task_that_fails_is_logged_at_once_and_reported_on_the_admin_port(
        self, tmp_path: Path, sqlite_dsn: str
    ) -> None:
        async def fail() -> None:
            raise LookupError("something nobody foresaw")

        async with opened(settings(tmp_path, sqlite_dsn)) as application:
            assert (await ask_admin(application, "/health/ready")).json() == {"status": "ok"}
            with capture_logs() as logs:
                application.background.start("sweeping", fail())
                await asyncio.sleep(0.01)
            told = await ask_admin(application, "/health/ready")
        assert [(line["event"], line["task"]) for line in logs] == [("background.failed", "sweeping")]
        assert "sweeping" in told.json()["degraded"]["background"]
        assert told.status_code == 200

    async def test_a_task_that_ends_by_closing_is_not_reported_as_a_failure(
        self, tmp_path: Path, sqlite_dsn: str
    ) -> None:
        with capture_logs() as logs:
            async with opened(settings(tmp_path, sqlite_dsn)) as application:
                pass
        assert [line for line in logs if line["event"] == "background.failed"] == []
        assert await application.background.check() is None


OTHERS_LEAVE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class TestReadiness:
    async def test_a_database_that_became_read_only_is_not_ready(self, tmp_path: Path, postgres_dsn: str) -> None:
        name = postgres_dsn.partition("?")[0].rpartition("/")[2]
        async with opened(settings(tmp_path, postgres_dsn)) as application:
            database = application.infrastructure.database
            assert (await ask_admin(application, "/health/ready")).status_code == 200
            async with database.transaction() as connection:
                await connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
                await connection.execute(text(OTHERS_LEAVE))
            told = await ask_admin(application, "/health/ready")
        assert (told.status_code, told.headers["retry-after"]) == (503, "1")
        assert "is read-only" in told.json()["errors"]["database"]


class TestTheDemo:
    async def test_leaves_existing_stock_alone_at_the_next_start(self, tmp_path: Path, sqlite_dsn: str) -> None:
        async with (
            opened(settings(tmp_path, sqlite_dsn, demo=True)) as application,
            application.infrastructure.database.unit() as unit,
        ):
            await unit.write(update(products).values(name="Renamed"))
            await unit.write(update(variants).values(stock=3))
            await unit.write(delete(prices).where(prices.c.currency == "GBP"))
        async with (
            opened(settings(tmp_path, sqlite_dsn, demo=True)) as application,
            application.infrastructure.database.unit() as unit,
        ):
            assert {row.name for row in await unit.all(select(products.c.name))} == {"Renamed"}
            assert {row.stock for row in await unit.all(select(variants.c.stock))} == {3}
            assert "GBP" not in {row.currency for row in await unit.all(select(prices.c.currency))}

    async def test_fills_a_store_that_was_added(self, tmp_path: Path, sqlite_dsn: str) -> None:
        for stores in ([{"id": "one"}], [{"id": "one"}, {"id": "two"}]):
            shop = opened(settings(tmp_path, sqlite_dsn, demo=True, stores=stores))
            async with shop as application, application.infrastructure.database.unit() as unit:
                filled = {row.store for row in await unit.all(select(products.c.store))}
            assert filled == {store["id"] for store in stores}

    async def test_is_loaded_into_engines_with_sample_data_only(self, tmp_path: Path, sqlite_dsn: str) -> None:
        async with opened(settings(tmp_path, sqlite_dsn)) as application:
            bare = CartsOnly(SystemClock())
            await load_sample_data(
                replace(application, commerce=replace(application.commerce, engines={"embedded": bare}))
            )
            async with application.infrastructure.database.unit() as unit:
                assert await unit.first(select(products)) is None


class TestEngines:
    def test_the_engines_are_those_that_a_store_may_name(self) -> None:
        assert set(get_args(StoreSettings.model_fields["engine"].annotation)) == set(ENGINES)

    async def test_forget_an_identity_that_an_admin_deletes(self, tmp_path: Path, dsn: str) -> None:
        async with opened(settings(tmp_path, dsn)) as application:
            accounts, engine = application.accounts, application.commerce.engines["embedded"]
            async with application.infrastructure.database.unit() as unit:
                ada = await accounts.identities.create(unit, NewIdentity(traits={"email": "ada@example.org"}))
                shopper = Shopper(ShopperKind.CUSTOMER, str(ada.id), "default")
                await engine.bind(unit, shopper).customers.ensure(Profile(str(ada.id), "ada@example.org", "Ada"))
            async with admin_of(application) as operator:
                assert (await operator.delete(f"/admin/identities/{ada.id}")).status_code == 204
            async with application.infrastructure.database.unit() as unit:
                assert await unit.first(select(customers)) is None

    async def test_a_guests_cart_and_its_merge_are_kept_while_a_renewed_token_lasts(
        self, tmp_path: Path, sqlite_dsn: str
    ) -> None:
        for days in (30, 600):
            tokens = {"anonymous": {"lifespan": f"{days * 24}h"}}
            async with opened(settings(tmp_path, sqlite_dsn, tokens=tokens)) as application:
                after = {chore.name: chore.after for chore in application.commerce.retention_rules}
            assert after["guests' carts"] >= timedelta(days=2 * days)
            assert after["hand-overs"] >= max(timedelta(days=400), after["guests' carts"])


class TestOtherOrigins:
    async def test_a_page_of_another_origin_may_name_the_store_in_a_renamed_header(
        self, tmp_path: Path, sqlite_dsn: str
    ) -> None:
        cors = {"enabled": True, "allowed_origins": ["https://shop.example"]}
        sections = {"serve": {"public": {"cors": cors}}, "store_header": "X-Shop", "tenant_header": "X-Brand"}
        async with opened(settings(tmp_path, sqlite_dsn, **sections)) as application:
            transport = httpx2.ASGITransport(app=application.public)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as browser:
                preflight = await browser.options(
                    "/graphql",
                    headers={
                        "origin": "https://shop.example",
                        "access-control-request-method": "POST",
                        "access-control-request-headers": "authorization,x-brand,x-shop",
                    },
                )
        assert preflight.status_code == 200
        assert {"x-shop", "x-brand"} <= set(preflight.headers["access-control-allow-headers"].lower().split(", "))


WEAK = {"keys": [{"kty": "RSA", "n": "0vx7agoebGcQSuuPiLJXZg", "e": "AQAB"}]}


class TestMisconfigured:
    """Settings that are valid, but that a module refuses when the application is built."""

    @pytest.mark.parametrize(
        ("sections", "sentence"),
        [
            ({"courier": {"smtp": {"client_cert_path": "nowhere.pem"}}}, "courier.smtp.client_cert_path"),
            ({"session": {"cookie": {"name": "__Host-visit"}}}, "not Secure"),
            ({"identity": {"schemas": [{"id": "default", "url": "base64://bm8="}]}}, "it is not JSON"),
            ({"identity": {"schemas": [{"id": "default", "url": "http://127.0.0.1:9/s.json"}]}}, "127.0.0.1"),
            (
                {"tokens": {"clients": [{"id": "orders", "audiences": ["x"], "jwks": WEAK}]}},
                "a key of the client 'orders'",
            ),
            ({"introspection": {"callers": [{"id": "engine", "jwks": WEAK}]}}, "a key of the caller 'engine'"),
            ({"introspection": {"path": "/oauth2/token"}}, "introspection.path is /oauth2/token"),
            ({"introspection": {"path": "/forward-auth"}}, "introspection.path is /forward-auth"),
            ({"introspection": {"path": "/graphql"}}, "introspection.path is /graphql"),
            ({"introspection": {"path": "/schemas/default"}}, "which the route /schemas/"),
        ],
        ids=[
            "a certificate for mails",
            "a cookie's name",
            "a broken schema",
            "a schema out of reach",
            "a weak key of a client",
            "a weak key of a caller",
            "introspection in place of a route",
            "in place of gateways' questions",
            "in place of a route that is left out here",
            "in place of a route with a gap",
        ],
    )
    async def test_settings_that_a_module_refuses_end_in_one_sentence(
        self, tmp_path: Path, sqlite_dsn: str, sections: Mapping[str, Any], sentence: str
    ) -> None:
        smtp = {"connection_uri": "smtp://mail.example.org/", **sections.get("courier", {}).get("smtp", {})}
        with pytest.raises(Misconfigured, match=sentence) as refused:
            await dry_run(settings(tmp_path, sqlite_dsn, **{**sections, "courier": {"smtp": smtp}}))
        assert str(refused.value).endswith(".")
        assert len(str(refused.value).splitlines()) == 1

    async def test_settings_that_can_be_built_are_not_refused(self, tmp_path: Path) -> None:
        await dry_run(settings(tmp_path, f"sqlite://{tmp_path / 'shop.db'}"))
        assert not (tmp_path / "shop.db").exists()
