"""Changes of the configuration are picked up while the server runs, or refused as a whole."""

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from shopkeeper.app import lifecycle, reloading, running
from shopkeeper.app.application import Application
from shopkeeper.app.running import RunningApplication
from shopkeeper.notify.values import Status
from shopkeeper.settings import Settings, load
from shopkeeper.settings.only_at_a_start import NEEDS_RESTART
from tests.app.test_application import CONFIGURATION
from tests.services.web import serving

PATIENCE = 20
KEY, NEXT_KEY = "4be1f04c7a2d4f6e93b5c8d1a07e6241", "5cf2a15d8b3e5a7fa4c6d9e2b18f7352"
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "traits": {
            "type": "object",
            "properties": {
                "email": {
                    "type": "string",
                    "format": "email",
                    "ory.sh/kratos": {"credentials": {"password": {"identifier": True}}},
                }
            },
        }
    },
}


class Place:
    """A configuration file, and the application that follows it."""

    def __init__(self, folder: Path, dsn: str, **sections: Any) -> None:
        self.file = folder / "shopkeeper.yml"
        self._dsn = dsn
        self.write(**sections)

    def write(self, **sections: Any) -> None:
        self.write_text(yaml.safe_dump({**CONFIGURATION, "dsn": self._dsn, **sections}))

    def write_text(self, text: str) -> None:
        self.file.write_text(text)

    def load(self) -> Settings:
        return load([self.file], {}, dev=True, demo=False)

    @asynccontextmanager
    async def started(self) -> AsyncIterator["Server"]:
        async with running(self.load(), self.load) as run:
            yield Server(run)


class Server:
    """A running application, asked as clients ask it."""

    def __init__(self, run: RunningApplication) -> None:
        self.run = run

    @property
    def application(self) -> Application:
        return self.run.application

    async def admin(self, path: str, **headers: str) -> httpx2.Response:
        async with self._client(self.run.admin) as client:
            return await client.get(path, headers=headers)

    async def public(self, path: str) -> httpx2.Response:
        async with self._client(self.run.public) as client:
            return await client.get(path, headers={"accept": "application/json"})

    async def visit(self) -> str:
        """Begin a visit; return its token."""
        async with self._client(self.run.public) as client:
            authorization = (await client.post("/signin", json={})).json()["authorization"]
        return str(authorization).removeprefix("Bearer ")

    async def accepts(self, token: str) -> bool:
        """Whether a token of a visit is accepted."""
        async with self._client(self.run.public) as client:
            asked = {"query": '{ findItemsByKeyword(text: "kettle") { __typename } }'}
            answer = await client.post("/graphql", json=asked, headers={"authorization": f"Bearer {token}"})
        return "errors" not in answer.json()

    async def revision(self) -> str:
        return (await self.admin("/health/config")).text

    @staticmethod
    def _client(app: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - there is no event for all that is waited for
            await asyncio.sleep(0.01)


async def reloaded(server: Server, before: Application) -> None:
    await until(lambda: server.application is not before)


async def refused(server: Server) -> None:
    await until(lambda: server.application.lasting.configuration.refused)


class TestARevision:
    async def test_is_answered_as_text_and_changes_with_the_file(self, tmp_path: Path, sqlite_dsn: str) -> None:
        place = Place(tmp_path, sqlite_dsn, revision="one")
        async with place.started() as server:
            answer = await server.admin("/admin/health/config")
            assert (answer.status_code, answer.text) == (200, "one")
            assert answer.headers["content-type"].startswith("text/plain")
            before = server.application
            place.write(revision="two")
            await reloaded(server, before)
            assert await server.revision() == "two"

    async def test_is_a_hash_where_the_file_has_none(self, tmp_path: Path, sqlite_dsn: str) -> None:
        place = Place(tmp_path, sqlite_dsn)
        async with place.started() as server:
            first, before = await server.revision(), server.application
            assert len(first) == 64
            place.write_text(place.file.read_text() + "# a remark\n")
            await reloaded(server, before)
            second = await server.revision()
        assert second != first
        async with place.started() as server:
            assert await server.revision() == second

    async def test_is_told_to_keys_only(self, tmp_path: Path, sqlite_dsn: str) -> None:
        async with Place(tmp_path, sqlite_dsn, admin={"api_keys": [KEY]}).started() as server:
            assert (await server.admin("/health/config")).status_code == 401
            assert (await server.admin("/health/config", authorization=f"Bearer {KEY}")).status_code == 200


class TestAChange:
    @pytest.mark.parametrize("way", ["in place", "renamed over it", "a symbolic link above it"])
    async def test_is_seen_however_it_is_made(self, tmp_path: Path, sqlite_dsn: str, way: str) -> None:
        """Editors rename a new file over the old one; Kubernetes mounts `..data`, a link to a folder, and swaps it."""
        first, second = tmp_path / "..1", tmp_path / "..2"
        for folder, revision in ((first, "one"), (second, "two")):
            folder.mkdir()
            Place(folder, sqlite_dsn, revision=revision)
        (tmp_path / "..data").symlink_to(first)
        file = tmp_path / "shopkeeper.yml"
        file.symlink_to(Path("..data", "shopkeeper.yml"))

        def loaded() -> Settings:
            return load([file], {}, dev=True, demo=False)

        async with running(loaded(), loaded) as run:
            server, before = Server(run), run.application
            if way == "in place":
                file.write_text((second / "shopkeeper.yml").read_text())
            elif way == "renamed over it":
                (second / "shopkeeper.yml").rename(first / "shopkeeper.yml")
            else:
                (tmp_path / "..next").symlink_to(second)
                (tmp_path / "..next").rename(tmp_path / "..data")
            await reloaded(server, before)
            assert await server.revision() == "two"

    async def test_takes_effect_on_flows_keys_and_pages(self, tmp_path: Path, sqlite_dsn: str) -> None:
        place = Place(tmp_path, sqlite_dsn, admin={"api_keys": [KEY]})
        async with place.started() as server:
            assert (await server.public("/self-service/registration/api")).status_code == 200
            before = server.application
            flows = {"registration": {"enabled": False}, "login": {"ui_url": "https://shop.example.org/in"}}
            place.write(selfservice={"flows": flows}, admin={"api_keys": [NEXT_KEY]})
            await reloaded(server, before)
            assert (await server.public("/self-service/registration/api")).status_code == 400
            browser = await server.public("/self-service/login/browser")
            assert browser.json()["ui"]["action"].startswith("http://127.0.0.1:4433/self-service/login")
            assert (await server.admin("/identities", authorization=f"Bearer {KEY}")).status_code == 401
            assert (await server.admin("/identities", authorization=f"Bearer {NEXT_KEY}")).status_code == 200

    async def test_of_an_identity_schema_or_of_a_secrets_file_is_one_too(self, tmp_path: Path, sqlite_dsn: str) -> None:
        schema, secret = tmp_path / "schema.json", tmp_path / "secret"
        schema.write_text(json.dumps(SCHEMA))
        secret.write_text("8be1f04c7a2d4f6e")
        place = Place(tmp_path, sqlite_dsn, identity={"schemas": [{"id": "default", "url": f"file://{schema}"}]})
        environ = {"SECRETS_COOKIE_0_FILE": str(secret)}

        def loaded() -> Settings:
            return load([place.file], environ, dev=True, demo=False)

        async with running(loaded(), loaded) as run:
            server, before = Server(run), run.application
            schema.write_text(json.dumps({**SCHEMA, "title": "Shopper"}))
            await reloaded(server, before)
            assert (await server.public("/schemas/default")).json()["title"] == "Shopper"
            before = server.application
            secret.write_text("9cf2a15d8b3e5a7f")
            await reloaded(server, before)
            assert server.application.infrastructure.settings.secrets.for_cookies() == ("9cf2a15d8b3e5a7f",)

    async def test_rotates_secrets_and_keeps_the_visits_of_the_old_ones(self, tmp_path: Path, sqlite_dsn: str) -> None:
        old, new = CONFIGURATION["secrets"]["cipher"][0], "4be1f04c7a2d4f6e93b5c8d1a07e6241"
        place = Place(tmp_path, sqlite_dsn)
        async with place.started() as server:
            token = await server.visit()
            for secrets, accepted in (([new, old], True), ([new], False)):
                before = server.application
                place.write(secrets={**CONFIGURATION["secrets"], "cipher": secrets})
                await reloaded(server, before)
                assert await server.accepts(token) is accepted
                assert await server.accepts(await server.visit())

    async def test_of_a_mail_template_is_one_too(self, tmp_path: Path, sqlite_dsn: str) -> None:
        templates = tmp_path / "templates"
        templates.mkdir()
        place = Place(tmp_path, sqlite_dsn, courier={"template_override_path": str(templates)})
        async with place.started() as server:
            before = server.application
            (templates / "welcome.subject.j2").write_text("Good to see you\n")
            await reloaded(server, before)
            before = server.application
            (templates / "welcome.subject.j2").write_text("{{ broken\n")
            await refused(server)
            assert server.application is before

    async def test_of_the_jsonnet_of_a_request_is_one_too(self, tmp_path: Path, sqlite_dsn: str) -> None:
        body = tmp_path / "body.jsonnet"
        body.write_text("function(ctx) { to: ctx.recipient }")
        request = {"url": "https://mail.example/send", "body": f"file://{body}"}
        courier = {"delivery_strategy": "http", "http": {"request_config": request}}
        async with Place(tmp_path, sqlite_dsn, courier=courier).started() as server:
            before = server.application
            body.write_text("function(ctx) { recipient: ctx.recipient }")
            await reloaded(server, before)
            before = server.application
            with capture_logs() as logs:
                body.write_text("function(ctx) {\n to: nothing\n}")
                await refused(server)
            assert server.application is before
            [line] = [line for line in logs if line["event"] == "configuration.refused"]
            assert f"{body}, line 2, cannot be used: this is not Jsonnet: Unknown variable" in line["problems"][0]

    async def test_a_mapper_is_followed_and_tried_as_at_the_start(self, tmp_path: Path, sqlite_dsn: str) -> None:
        """Regression: a start printed that a mapper makes no identity, and an edit of the mapper was accepted in
        silence."""
        mapper = tmp_path / "mapper.jsonnet"
        mapper.write_text("{identity: {traits: {email: std.extVar('claims').email}}}")
        section = {
            "id": "staff",
            "provider": "generic",
            "issuer_url": "https://login.shop.example",
            "client_id": "shop",
            "client_secret": "a-secret-of-that-provider",
            "mapper_url": mapper.as_uri(),
        }
        oidc = {"enabled": True, "config": {"providers": [section]}}
        place = Place(tmp_path, sqlite_dsn, selfservice={"methods": {"oidc": oidc}})
        async with place.started() as server:
            before = server.application
            with capture_logs() as logs:
                mapper.write_text("{identity: {traits: {email: std.extVar('claims').mail}}}")
                await reloaded(server, before)
                await until(lambda: any("mapper_url (staff)" in line.get("sentence", "") for line in logs))
            [line] = [line for line in logs if "mapper_url (staff)" in line.get("sentence", "")]
            assert line["event"] == "configuration.finding"
            assert line["sentence"].endswith("it fails in line 1: Field does not exist: mail.")
            before = server.application
            mapper.write_text("{identity: ")
            await refused(server)
            assert server.application is before

    async def test_keeps_the_client_for_other_servers_where_its_settings_stay(
        self, tmp_path: Path, sqlite_dsn: str
    ) -> None:
        place = Place(tmp_path, sqlite_dsn, revision="one")
        async with place.started() as server:
            first = server.application
            place.write(revision="two")
            await reloaded(server, first)
            second = server.application
            place.write(clients={"http": {"disallow_private_ip_ranges": False}})
            await reloaded(server, second)
            third = server.application
        assert first.infrastructure.http_client is second.infrastructure.http_client
        assert second.infrastructure.http_client is not third.infrastructure.http_client

    async def test_keeps_database_cache_tasks_and_counters(self, tmp_path: Path, sqlite_dsn: str) -> None:
        place = Place(tmp_path, sqlite_dsn, revision="one")
        async with place.started() as server:
            await server.public("/health/alive")
            before = server.application
            place.write(revision="two", courier={"message_retries": 7})
            await reloaded(server, before)
            after = server.application
            assert after.infrastructure.database is before.infrastructure.database
            assert after.infrastructure.cache is before.infrastructure.cache
            assert (after.worker, after.cleanup, after.background) == (
                before.worker,
                before.cleanup,
                before.background,
            )
            assert after.worker._subscribers["mail"].least_attempts == 8
            metrics = (await server.admin("/metrics")).text
            assert (
                'shopkeeper_http_requests_total{app="public",method="GET",path="/health/alive",status="200"} 1.0'
                in metrics
            )
            assert 'shopkeeper_config_reloads_total{outcome="succeeded"} 1.0' in metrics
            assert await after.background.check() is None

    async def test_keeps_secrets_that_were_made_up(self, tmp_path: Path) -> None:
        file = tmp_path / "shopkeeper.yml"
        file.write_text("dsn: memory\n")

        def loaded() -> Settings:
            return load([file], {}, dev=True, demo=False)

        async with running(loaded(), loaded) as run:
            server, before = Server(run), run.application
            file.write_text("dsn: memory\nsession: {lifespan: 2h}\n")
            await reloaded(server, before)
            assert server.application.infrastructure.settings.secrets == before.infrastructure.settings.secrets

    async def test_does_not_reach_requests_under_way(self, tmp_path: Path, sqlite_dsn: str) -> None:
        """A request is answered to its end by the application that it reached, which is closed afterwards."""
        place = Place(tmp_path, sqlite_dsn, revision="one")
        async with place.started() as server:
            before, proceed, sent = server.application, asyncio.Event(), list[Message]()

            async def receive() -> Message:
                await proceed.wait()
                return {"type": "http.request", "body": b"{}", "more_body": False}

            async def send(message: Message) -> None:
                sent.append(message)

            request = asyncio.create_task(_call(server.run.public, receive, send))
            await asyncio.sleep(0)  # so that the request begins
            place.write(revision="two")
            await reloaded(server, before)
            assert not before.accounts.hasher._pool._shutdown
            proceed.set()
            await request
            assert sent[0]["status"] == 200
            await until(lambda: before.accounts.hasher._pool._shutdown)

    async def test_does_not_reach_mails_under_way(self, tmp_path: Path, sqlite_dsn: str) -> None:
        """Regression: the client of the former channel was closed under it, and a mail that was taken sent again."""
        proceed = asyncio.Event()

        async def late(writer: asyncio.StreamWriter) -> None:
            await proceed.wait()
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

        async with serving("127.0.0.2") as provider:
            provider.answers["/mail"] = late
            mails = {"delivery_strategy": "http", "http": {"request_config": {"url": provider.url("/mail")}}}
            place = Place(tmp_path, sqlite_dsn, courier=mails, clients={"http": {"disallow_private_ip_ranges": False}})
            async with place.started() as server:
                before = server.application
                courier, database = before.commerce.courier, before.infrastructure.database
                async with database.unit() as unit:
                    mail = await courier.queue(unit, template="welcome", recipient="ana@shop.example", context={})
                await until(lambda: bool(provider.bodies))
                exceptions = {"private_ip_exception_urls": [provider.url("/**")]}
                place.write(courier=mails, clients={"http": exceptions})
                await reloaded(server, before)
                for _ in range(100):
                    await asyncio.sleep(0)  # so that what is closed too early is closed
                proceed.set()
                await until(lambda: before.accounts.hasher._pool._shutdown)
                async with database.unit() as unit:
                    sent = await courier.message(unit, mail)
        assert (sent.status, sent.send_count, len(provider.bodies)) == (Status.SENT, 1, 1)


async def _call(app: Any, receive: Receive, send: Send) -> None:
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/signin",
        "raw_path": b"/signin",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 4433),
    }
    await app(scope, receive, send)


class TestAnUnusableChange:
    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("serve: [", "is not valid YAML"),
            ("", "is empty"),
            ("session: {lifespann: 1h}", "did you mean session.lifespan"),
            ("identity: {schemas: [{id: default, url: 'base64://bm8='}]}", "it is not JSON"),
            ("identity: {schemas: [{id: default, url: 'file:///nowhere.json'}]}", "/nowhere.json cannot be read"),
            ("serve: {public: {port: 4499}}", "serve.public.port has changed, which takes effect at a start only"),
        ],
    )
    async def test_leaves_everything_as_it_was_and_is_told(
        self, tmp_path: Path, sqlite_dsn: str, text: str, sentence: str
    ) -> None:
        place = Place(tmp_path, sqlite_dsn, revision="one")
        good = place.file.read_text()
        async with place.started() as server:
            before = server.application
            with capture_logs() as logs:
                place.write_text(f"{good}{text}\n" if text and text != "serve: [" else text)
                await refused(server)
            assert server.application is before
            assert await server.revision() == "one"
            [line] = [line for line in logs if line["event"] == "configuration.refused"]
            assert any(sentence in problem for problem in line["problems"])
            assert "stays in effect" in (await server.admin("/health/ready")).json()["degraded"]["configuration"]
            assert 'shopkeeper_config_reloads_total{outcome="refused"} 1.0' in (await server.admin("/metrics")).text
            place.write(revision="three")
            await reloaded(server, before)
            assert (await server.admin("/health/ready")).json() == {"status": "ok"}

    async def test_a_finding_that_stops_a_start_stops_it_too(self, tmp_path: Path, sqlite_dsn: str) -> None:
        place = Place(tmp_path, sqlite_dsn)
        async with place.started() as server:
            before = server.application
            place.write(serve={"admin": {"port": 4433}})
            await refused(server)
            assert server.application is before

    def test_every_setting_that_needs_a_start_exists(self, tmp_path: Path, sqlite_dsn: str) -> None:
        settings: Any = Place(tmp_path, sqlite_dsn).load()
        for path in NEEDS_RESTART:
            found = settings
            for step in path.split("."):
                found = getattr(found, step)


def own_threads() -> list[str]:
    """The names of all threads but those of asyncio, which are as many as were needed at once."""
    return sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))


class TestARefusedChange:
    """The files that a refused configuration names are watched, too: the file that was wrong may be any of them."""

    @pytest.mark.parametrize("before", [None, "{", '{"type": "object"}'], ids=["missing", "broken", "without traits"])
    async def test_is_tried_again_when_the_schema_that_it_names_is_repaired(
        self, tmp_path: Path, sqlite_dsn: str, before: str | None
    ) -> None:
        schema = tmp_path / "person.schema.json"
        if before:
            schema.write_text(before)
        place = Place(tmp_path, sqlite_dsn)
        async with place.started() as server:
            first = server.application
            place.write(revision="two", identity={"schemas": [{"id": "default", "url": f"file://{schema}"}]})
            await refused(server)
            schema.write_text(json.dumps(SCHEMA))
            await reloaded(server, first)
            assert await server.revision() == "two"
            assert (await server.admin("/health/ready")).json() == {"status": "ok"}

    async def test_is_tried_again_when_its_templates_or_its_jsonnet_are_repaired(
        self, tmp_path: Path, sqlite_dsn: str
    ) -> None:
        templates, body = tmp_path / "mails", tmp_path / "body.jsonnet"
        templates.mkdir()
        (templates / "welcome.subject.j2").write_text("{{ broken\n")
        request = {"url": "https://mail.example/send", "body": f"file://{body}"}
        place = Place(tmp_path, sqlite_dsn)
        async with place.started() as server:
            first = server.application
            with capture_logs() as logs:
                place.write(
                    revision="two",
                    courier={
                        "template_override_path": str(templates),
                        "delivery_strategy": "http",
                        "http": {"request_config": request},
                    },
                )
                await refused(server)
                body.write_text("function(ctx) { to: ctx.recipient }")
                await until(lambda: len([line for line in logs if line["event"] == "configuration.refused"]) == 2)
            (templates / "welcome.subject.j2").write_text("Good to see you\n")
            await reloaded(server, first)
            assert await server.revision() == "two"

    async def test_leaves_the_files_of_the_one_in_effect_watched(self, tmp_path: Path, sqlite_dsn: str) -> None:
        schema = tmp_path / "person.schema.json"
        schema.write_text(json.dumps(SCHEMA))
        schemas = {"schemas": [{"id": "default", "url": f"file://{schema}"}]}
        place = Place(tmp_path, sqlite_dsn, identity=schemas)
        async with place.started() as server:
            good, first = place.file.read_text(), server.application
            place.write(identity={"schemas": [{"id": "default", "url": f"file://{tmp_path}/nowhere.json"}]})
            await refused(server)
            place.write_text(good)
            await reloaded(server, first)
            second = server.application
            schema.write_text(json.dumps({**SCHEMA, "title": "Person"}))
            await reloaded(server, second)


async def test_a_file_that_changes_while_the_server_starts_from_it_is_read_again(
    tmp_path: Path, sqlite_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = tmp_path / "person.schema.json"
    schema.write_text(json.dumps(SCHEMA))
    place = Place(tmp_path, sqlite_dsn, identity={"schemas": [{"id": "default", "url": f"file://{schema}"}]})
    build = lifecycle.build

    async def changed_after_it_was_read(settings: Settings) -> Application:
        application = await build(settings)
        schema.write_text(json.dumps({**SCHEMA, "title": "Person"}))
        return application

    monkeypatch.setattr(lifecycle, "build", changed_after_it_was_read)
    async with place.started() as server:
        first = server.application
        await reloaded(server, first)


async def test_a_file_that_changes_while_a_change_is_taken_up_is_read_again(
    tmp_path: Path, sqlite_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = tmp_path / "person.schema.json"
    schema.write_text(json.dumps(SCHEMA))
    build_again = reloading.build_again
    built = list[Application]()

    async def changed_after_it_was_read(former: Application, settings: Settings) -> Application:
        built.append(await build_again(former, settings))
        if len(built) == 1:
            schema.write_text(json.dumps({**SCHEMA, "title": "Person"}))
        return built[-1]

    monkeypatch.setattr(reloading, "build_again", changed_after_it_was_read)
    place = Place(tmp_path, sqlite_dsn)
    async with place.started():
        place.write(identity={"schemas": [{"id": "default", "url": f"file://{schema}"}]})
        await until(lambda: len(built) == 2)


async def test_many_changes_leave_no_task_no_thread_and_no_memory(tmp_path: Path, sqlite_dsn: str) -> None:
    place = Place(tmp_path, sqlite_dsn, revision="0")
    async with place.started() as server:
        before = server.application
        place.write(revision="1")
        await reloaded(server, before)
        await until(lambda: not server.run._closing)
        tasks, threads = len(asyncio.all_tasks()), own_threads()
        for number in range(2, 6):
            before = server.application
            place.write(revision=str(number))
            await reloaded(server, before)
        await until(lambda: not server.run._closing)
        del before
        gc.collect()
        assert len(asyncio.all_tasks()) == tasks
        assert own_threads() == threads
        assert sum(isinstance(each, Application) for each in gc.get_objects()) == 1
