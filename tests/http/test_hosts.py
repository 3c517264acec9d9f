"""How requests must be addressed: which hosts each port answers for, and when browsers are told to keep to https."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shopkeeper.clock import StoppedClock
from shopkeeper.settings import SettingsError, load
from tests.attacks.scene import Scene, new_address, opened, sign_up

Opening = Callable[..., AbstractAsyncContextManager[Scene]]
PUBLIC, ADMIN = "https://shop.test:8443/", "http://admin.shop.test/"
SERVE = {"public": {"base_url": PUBLIC}, "admin": {"base_url": ADMIN}}
STORES = {"stores": [{"id": "kettle"}, {"id": "quince", "hosts": ["quince.test"]}], "default_store": "kettle"}

HERE = [
    "localhost",
    "localhost:4433",
    "LOCALHOST.",
    "shop.localhost:1",
    "127.0.0.1",
    "127.8.9.1:4434",
    "[::1]",
    "[::1]:1",
]
OURS = ["shop.test", "shop.test:8443", "SHOP.test.", "admin.shop.test", "quince.test"]
FOREIGN = [
    "evil.test",
    "evil.test:4433",
    "localhost.evil.test",
    "127.0.0.1.evil.test",
    "shop.test.evil.test",
    "evilshop.test",
    "a.shop.test",
    "203.0.113.7",
    "[2001:db8::1]",
    "0.0.0.0",
    "2130706433",
]


@pytest.fixture
def opening(tmp_path: Path, clock: StoppedClock, sqlite_dsn: str) -> Opening:
    def open_(*, dev: bool = False, **settings: Any) -> AbstractAsyncContextManager[Scene]:
        return opened(sqlite_dsn, tmp_path, clock, settings={"serve": SERVE, **STORES, **settings}, dev=dev)

    return open_


async def ask(scene: Scene, host: str, *, public: str = "/sessions/whoami", admin: str = "/version") -> list[int]:
    """Return the statuses of both ports for a host."""
    apps = ((await scene.native(), public), (await scene.admin(), admin))
    return [(await app.get(path, headers={"host": host})).status_code for app, path in apps]


class TestInDevelopment:
    """Regression: `Host: evil.test` was answered on the admin port and at `/inbox`, so that a name which an attacker
    points at this machine (DNS rebinding) read everything."""

    async def test_row_045_only_this_machine_and_configured_hosts_are_answered(self, opening: Opening) -> None:
        async with opening(dev=True) as scene:
            for host in (*HERE, *OURS):
                assert await ask(scene, host, public="/inbox", admin="/admin/identities") == [200, 200], host
            for host in FOREIGN:
                for path in ("/inbox", "/health/alive", "/sessions/whoami", "/graphql", "/nowhere"):
                    assert await ask(scene, host, public=path, admin="/admin/identities") == [421, 421], host

    async def test_row_045_a_refusal_says_what_to_do(self, opening: Opening) -> None:
        async with opening(dev=True) as scene:
            answers = [
                await app.get("/version", headers={"host": "evil.test:1"})
                for app in (await scene.native(), await scene.admin())
            ]
        for answer, setting in zip(answers, ("serve.public", "serve.admin"), strict=True):
            assert (answer.status_code, answer.headers["x-error-code"]) == (421, "host_not_allowed")
            assert answer.json()["error"]["reason"] == (
                "This server does not answer for the host 'evil.test': use its own address, or add the host to "
                f"{setting}.allowed_hosts."
            )
            assert answer.headers["x-request-id"]

    @pytest.mark.parametrize("host", ["lan.test", "10.0.0.7", "[2001:db8::7]"])
    async def test_further_hosts_are_answered_on_both_ports(self, opening: Opening, host: str) -> None:
        own = {**SERVE, "public": {"base_url": PUBLIC, "allowed_hosts": ["LAN.test", "10.0.0.7", "2001:db8::7"]}}
        async with opening(dev=True, serve=own) as scene:
            assert await ask(scene, host) == [401, 200]
            assert await ask(scene, "evil.test") == [421, 421]


class TestInProduction:
    async def test_every_host_is_answered_where_none_is_set(self, opening: Opening) -> None:
        async with opening() as scene:
            for host in (*HERE, *OURS, *FOREIGN):
                assert await ask(scene, host) == [401, 200], host

    async def test_hosts_are_checked_where_they_are_set(self, opening: Opening) -> None:
        own = {"public": {"base_url": PUBLIC, "allowed_hosts": ["account.test"]}, "admin": {"base_url": ADMIN}}
        async with opening(serve=own) as scene:
            for host in ("account.test", "shop.test", "quince.test"):
                assert await ask(scene, host) == [401, 200], host
            for host in ("evil.test", "localhost", "127.0.0.1", "admin.shop.test"):
                assert await ask(scene, host) == [421, 200], host
                for probe in ("/health/alive", "/health/ready", "/health/alive/"):
                    assert (await ask(scene, host, public=probe))[0] in {200, 503}, host

    async def test_the_admin_port_has_hosts_of_its_own(self, opening: Opening) -> None:
        own = {"public": {"base_url": PUBLIC}, "admin": {"base_url": ADMIN, "allowed_hosts": ["10.0.0.7"]}}
        async with opening(serve=own) as scene:
            assert await ask(scene, "10.0.0.7") == [401, 200]
            assert await ask(scene, "admin.shop.test") == [401, 200]
            assert await ask(scene, "quince.test") == [401, 421]

    @pytest.mark.parametrize("path", ["/health/alive", "/health/ready", "/metrics", "/metrics/prometheus"])
    async def test_what_monitoring_asks_for_is_answered_to_every_host(self, opening: Opening, path: str) -> None:
        own = {"public": {"base_url": PUBLIC}, "admin": {"base_url": ADMIN, "allowed_hosts": ["admin.shop.test"]}}
        async with opening(serve=own) as scene:
            for written in (path, f"{path}/", f"/admin{path}", f"/admin{path}/"):
                assert (await ask(scene, "10.0.0.9:4434", admin=written))[1] in {200, 503}, written

    async def test_a_host_of_another_alphabet_is_compared_as_browsers_send_it(self, opening: Opening) -> None:
        own = {
            "public": {"base_url": "https://gemüse.test/", "allowed_hosts": ["x.test"]},
            "admin": {"base_url": ADMIN},
        }
        async with opening(serve=own) as scene:
            assert (await ask(scene, "xn--gemse-mva.test"))[0] == 401

    async def test_a_refused_page_of_another_origin_learns_nothing(self, opening: Opening) -> None:
        cors = {"enabled": True, "allowed_origins": ["https://app.test"]}
        own = {"public": {"base_url": PUBLIC, "allowed_hosts": ["account.test"], "cors": cors}, "admin": {}}
        async with opening(serve=own) as scene:
            headers = {"host": "evil.test", "origin": "https://app.test"}
            answer = await (await scene.native()).get("/sessions/whoami", headers=headers)
        assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (421, None)

    @pytest.mark.parametrize("host", ["https://a.test", "a.test:80", "a.test/x", "", "*.a.test", "a b", "[::1]:80"])
    def test_only_bare_hosts_can_be_set(self, host: str) -> None:
        with pytest.raises(SettingsError, match="bare host"):
            load([], {"SERVE_PUBLIC_ALLOWED_HOSTS_0": host or " "}, dev=True, demo=False)


class TestHttpsOnly:
    @pytest.mark.parametrize("path", ["/", "/sessions/whoami", "/nowhere", "/graphql", "/self-service/login/browser"])
    async def test_browsers_are_told_where_the_address_is_https(self, opening: Opening, path: str) -> None:
        """RFC 6797. Regression: no answer said so."""
        async with opening() as scene:
            app, admin = await scene.native(), await scene.admin()
            answers = [await client.get(path) for client in (app, admin)]
            refused = await app.get(path, headers={"host": "a b"})
        told = [answer.headers.get_list("strict-transport-security") for answer in (*answers, refused)]
        assert told == [["max-age=31536000"], [], ["max-age=31536000"]]

    async def test_a_plain_address_says_nothing(self, opening: Opening) -> None:
        own = {"public": {"base_url": "http://shop.test/"}, "admin": {"base_url": "https://admin.shop.test/"}}
        async with opening(serve=own) as scene:
            answers = [await client.get("/version") for client in (await scene.native(), await scene.admin())]
        assert ["strict-transport-security" in answer.headers for answer in answers] == [False, True]


async def test_row_045_a_host_that_is_sent_twice_or_not_at_all_is_refused(opening: Opening) -> None:
    """In this process as well as on the wire, behind any server."""
    async with opening() as scene:
        for headers, status in (([], 400), ([b"shop.test"] * 2, 400), ([b"shop.test"], 401)):
            request = httpx2.Request("GET", "https://shop.test/sessions/whoami")
            request.headers = httpx2.Headers([(b"host", host) for host in headers])
            assert (await (await scene.native()).send(request)).status_code == status, headers


async def test_row_045_an_immediate_answer_is_for_known_hosts_only(opening: Opening) -> None:
    """Whoami for a cached session is answered ahead of all layers; it has their rules and headers."""
    async with opening(dev=True) as scene:
        app = await scene.native()
        app.headers["x-session-token"] = (await sign_up(app, new_address()))["session_token"]
        answers = [await app.get("/sessions/whoami", headers={"host": host}) for host in ("shop.test", "evil.test") * 2]
    assert [answer.status_code for answer in answers] == [200, 421] * 2
    assert {answer.headers["strict-transport-security"] for answer in answers} == {"max-age=31536000"}
