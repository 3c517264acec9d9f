"""The HTTP channel against a real server, and the file channel in a real folder."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.http_client import GuardedClient
from shopkeeper.notify.channels import ChannelFailed
from shopkeeper.notify.compose import MailComposer
from shopkeeper.notify.file_channel import FileChannel
from shopkeeper.notify.http_channel import HttpAuth, HttpChannel
from tests.notify.test_channels import MESSAGE
from tests.services.web import Server, says, serving

ALLOWED = "127.0.0.2"
MAIL = replace(MESSAGE, recipient="ana@shop.example", data={"code": "042137"})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(ALLOWED) as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(networks=[f"{ALLOWED}/32"]) as client:
        yield client


def headers_of(server: Server) -> dict[str, str]:
    lines = [line.partition(": ") for line in server.heads[0].split("\r\n")[1:]]
    return {name.lower(): value for name, _, value in lines}


class TestHttp:
    @pytest.mark.parametrize("how", ["large", "compressed", "cut", "slow"])
    async def test_a_status_of_success_is_enough(self, server: Server, client: GuardedClient, how: str) -> None:
        async def cut(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\nabc")
            await writer.drain()
            if how == "slow":
                await asyncio.sleep(3600)
            writer.close()

        answers = {"large": says(b"a" * 70_000), "compressed": says(b"a", Content_Encoding="gzip")}
        server.answers["/mail"] = answers.get(how, cut)
        await HttpChannel(client, server.url("/mail")).send(MAIL)
        assert len(server.bodies) == 1

    async def test_a_refusal_with_a_large_answer_is_final_and_kept_in_part(
        self, server: Server, client: GuardedClient
    ) -> None:
        server.answers["/mail"] = says(b"a" * 70_000, status="400 Bad Request")
        with pytest.raises(ChannelFailed) as failed:
            await HttpChannel(client, server.url("/mail")).send(MAIL)
        assert failed.value.permanent
        assert failed.value.detail == "400 " + "a" * 496

    async def test_a_mail_is_handed_over_as_json(self, server: Server, client: GuardedClient) -> None:
        server.answers["/mail"] = says(b"{}")
        auth = HttpAuth("shop", "pä:ss", "basic")
        await HttpChannel(client, server.url("/mail"), headers={"X-Shop": "1"}, auth=auth).send(MAIL)
        (body,) = server.bodies
        sent, headers = json.loads(body), headers_of(server)
        assert server.heads[0].startswith("POST /mail ")
        assert (headers["x-shop"], headers["content-type"]) == ("1", "application/json")
        assert headers["idempotency-key"] == str(MAIL.id)
        assert base64.b64decode(headers["authorization"].split()[1]).decode() == "shop:pä:ss"
        assert (sent["recipient"], sent["template_type"]) == ("ana@shop.example", "order_placed")
        assert (sent["subject"], sent["html_body"], sent["template_data"]) == (
            MAIL.subject,
            MAIL.html,
            {"code": "042137"},
        )

    @pytest.mark.parametrize(
        ("place", "header", "value"), [("header", "x-key", "secret"), ("cookie", "cookie", "X-Key=secret")]
    )
    async def test_an_api_key_goes_where_it_is_wanted(
        self, server: Server, client: GuardedClient, place: Any, header: str, value: str
    ) -> None:
        server.answers["/mail"] = says(b"{}")
        await HttpChannel(client, server.url("/mail"), auth=HttpAuth("X-Key", "secret", place)).send(MAIL)
        assert headers_of(server)[header] == value

    @pytest.mark.parametrize(
        ("status", "permanent"),
        [(400, True), (422, True), (401, False), (404, False), (429, False), (500, False), (503, False), (302, False)],
    )
    async def test_a_refusal_is_final_or_not(
        self, server: Server, client: GuardedClient, status: int, permanent: bool
    ) -> None:
        server.answers["/mail"] = says(b"ana@shop.example is bad", status=f"{status} Said")
        with pytest.raises(ChannelFailed) as failed:
            await HttpChannel(client, server.url("/mail")).send(MAIL)
        assert failed.value.permanent is permanent
        assert not failed.value.bounced
        assert "ana" not in str(failed.value)

    async def test_a_private_address_is_not_called(self, server: Server) -> None:
        async with GuardedClient() as guarded:
            with pytest.raises(ChannelFailed, match="network"):
                await HttpChannel(guarded, server.url("/mail")).send(MAIL)
        assert server.heads == []


class TestFile:
    async def test_a_mail_is_one_whole_file_that_only_we_may_read(self, tmp_path: Path) -> None:
        folder = tmp_path / "mails"
        channel = FileChannel(folder, MailComposer(from_address="no-reply@shop.example"))
        await channel.send(MAIL)
        await channel.send(MAIL)
        (path,) = folder.iterdir()
        mail = message_from_bytes(path.read_bytes(), policy=default)
        assert path.name == f"{MAIL.id}.eml"
        assert path.stat().st_mode & 0o777 == 0o600
        assert (mail["To"], mail["Subject"]) == ("ana@shop.example", MAIL.subject)
        assert "Guten Tag Ana" in str(mail.get_body(("plain",)))

    async def test_a_folder_that_cannot_be_written_is_tried_again(self, tmp_path: Path) -> None:
        (tmp_path / "taken").write_text("")
        channel = FileChannel(tmp_path / "taken", MailComposer(from_address="no-reply@shop.example"))
        with pytest.raises(ChannelFailed, match="cannot be written to") as failed:
            await channel.send(MAIL)
        assert not failed.value.permanent
