"""The bodies of requests that hand mails over, received by a real server."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from shopkeeper.http_client import GuardedClient
from shopkeeper.jsonnet.evaluator import Jsonnet
from shopkeeper.notify.channels import ChannelFailed
from shopkeeper.notify.http_channel import HttpChannel
from shopkeeper.notify.request_bodies import RequestBody, failures, load_body
from shopkeeper.notify.samples import sample_messages
from shopkeeper.notify.templates import TEMPLATES
from shopkeeper.notify.values import CourierMessage
from tests.notify.test_channels import MESSAGE
from tests.services.web import Server, says, serving

ALLOWED = "127.0.0.2"
MAIL = replace(
    MESSAGE, recipient="ana@shop.example", template_type="recovery_code_valid", data={"code": "042137", "to": "a@b.de"}
)
FORM = {"content-type": "application/x-www-form-urlencoded"}
KRATOS = """// As Kratos' users write it.
function(ctx) {
  recipient: ctx.recipient,
  template_type: ctx.template_type,
  to: if "template_data" in ctx && "to" in ctx.template_data then ctx.template_data.to else null,
  recovery_code: if "recovery_code" in ctx.template_data then ctx.template_data.recovery_code else null,
  subject: ctx.subject,
  body: ctx.body,
  html: if "html_body" in ctx then ctx.html_body,
  kind: ctx.message_type,
}
"""


@pytest.fixture
async def jsonnet() -> AsyncIterator[Jsonnet]:
    evaluator = Jsonnet(workers=1)
    yield evaluator
    await evaluator.close()


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(networks=[f"{ALLOWED}/32"]) as client:
        yield client


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(ALLOWED) as server:
        server.answers["/mail"] = says(b"{}")
        yield server


def encoded(source: str) -> str:
    return "base64://" + base64.b64encode(source.encode()).decode()


async def made(source: str, client: GuardedClient, jsonnet: Jsonnet) -> RequestBody:
    return await load_body(encoded(source), client, jsonnet)


class TestJsonnet:
    async def test_makes_the_body_from_what_kratos_has_of_a_mail(
        self, server: Server, client: GuardedClient, jsonnet: Jsonnet
    ) -> None:
        body = await made(KRATOS, client, jsonnet)
        await HttpChannel(client, server.url("/mail"), method="PUT", body=body).send(MAIL)
        assert server.heads[0].startswith("PUT /mail ")
        assert json.loads(server.bodies[0]) == {
            "recipient": "ana@shop.example",
            "template_type": "recovery_code_valid",
            "to": "a@b.de",
            "recovery_code": "042137",
            "subject": MAIL.subject,
            "body": MAIL.body,
            "html": MAIL.html,
            "kind": "email",
        }

    @pytest.mark.parametrize("message", list(sample_messages()), ids=lambda message: str(message.template_type))
    async def test_every_mail_can_be_handed_over(
        self, server: Server, client: GuardedClient, jsonnet: Jsonnet, message: CourierMessage
    ) -> None:
        body = await made("function(ctx) ctx", client, jsonnet)
        await HttpChannel(client, server.url("/mail"), body=body).send(message)
        (sent,) = map(json.loads, server.bodies)
        assert sent["template_type"] == message.template_type
        assert TEMPLATES[message.template_type] <= sent["template_data"].keys()

    async def test_is_read_from_files_and_other_servers(
        self, server: Server, client: GuardedClient, jsonnet: Jsonnet, tmp_path: Path
    ) -> None:
        source = "function(ctx) { to: ctx.recipient }"
        (tmp_path / "mail body.jsonnet").write_text(source)
        server.answers["/body.jsonnet"] = says(source.encode())
        for reference in (f"file://{tmp_path}/mail%20body.jsonnet", server.url("/body.jsonnet")):
            body = await load_body(reference, client, jsonnet)
            assert json.loads(await body.of(MAIL)) == {"to": "ana@shop.example"}

    async def test_may_say_that_a_mail_is_not_to_be_sent(
        self, server: Server, client: GuardedClient, jsonnet: Jsonnet
    ) -> None:
        body = await made("function(ctx) if ctx.locale == 'xx' then {} else error 'cancel'", client, jsonnet)
        with pytest.raises(ChannelFailed, match="not to send it") as failed:
            await HttpChannel(client, server.url("/mail"), body=body).send(MAIL)
        assert failed.value.permanent
        assert not failed.value.bounced
        assert server.heads == []

    async def test_that_fails_is_final_and_shows_no_address(self, client: GuardedClient, jsonnet: Jsonnet) -> None:
        body = await made("function(ctx)\n error 'no ' + ctx.recipient", client, jsonnet)
        with pytest.raises(ChannelFailed, match="fails in line 2") as failed:
            await body.of(MAIL)
        assert failed.value.permanent
        assert "ana@" not in str(failed.value)
        assert "ana@" in failed.value.detail

    async def test_that_takes_too_much_is_tried_again(self, client: GuardedClient, jsonnet: Jsonnet) -> None:
        body = await made("function(ctx) std.repeat('a', 1e9)", client, jsonnet)
        with pytest.raises(ChannelFailed, match="memory") as failed:
            await body.of(MAIL)
        assert not failed.value.permanent

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("function(ctx) {\n  to: ctx.recipient,,\n}", r"line 2, cannot be used: this is not Jsonnet: Unexpected"),
            ("function(ctx) {\n  to: context.recipient\n}", r"line 2, cannot be used: .*Unknown variable: context"),
            ('{\n  "to": {{ ctx.recipient | tojson }}\n}', r"line 2, .*whose name ends in \.j2"),
        ],
    )
    async def test_that_is_broken_is_refused_with_file_and_line(
        self, client: GuardedClient, jsonnet: Jsonnet, source: str, said: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match=f"body of request_config, {said}"):
            await made(source, client, jsonnet)
        (tmp_path / "body.jsonnet").write_text(source)
        with pytest.raises(ValueError, match=f"{tmp_path}/body.jsonnet, {said}"):
            await load_body(f"file://{tmp_path}/body.jsonnet", client, jsonnet)

    async def test_is_tried_with_every_mail_before(self, client: GuardedClient, jsonnet: Jsonnet) -> None:
        body = await made("function(ctx) { code: ctx.template_data.recovery_code }", client, jsonnet)
        found = await failures(body)
        assert "recovery_code_valid" not in found
        assert "Field does not exist: recovery_code" in found["welcome"]
        assert found.keys() == TEMPLATES.keys() - {"recovery_code_valid"}
        assert await failures(await made("function(ctx) error 'cancel'", client, jsonnet)) == {}


class TestForms:
    async def test_a_body_of_texts_is_sent_as_a_form(
        self, server: Server, client: GuardedClient, jsonnet: Jsonnet
    ) -> None:
        body = await made("function(ctx) { To: ctx.recipient, Body: 'Ü & co' }", client, jsonnet)
        await HttpChannel(client, server.url("/mail"), headers=FORM, body=body).send(MAIL)
        assert parse_qs(server.bodies[0].decode()) == {"To": ["ana@shop.example"], "Body": ["Ü & co"]}
        assert server.heads[0].lower().count("content-type:") == 1

    async def test_anything_else_is_no_form(self, server: Server, client: GuardedClient, jsonnet: Jsonnet) -> None:
        body = await made("function(ctx) { To: [ctx.recipient] }", client, jsonnet)
        with pytest.raises(ChannelFailed, match="values are texts") as failed:
            await HttpChannel(client, server.url("/mail"), headers=FORM, body=body).send(MAIL)
        assert failed.value.permanent


class TestJinja:
    async def test_makes_the_body_where_its_name_ends_in_j2(
        self, server: Server, client: GuardedClient, jsonnet: Jsonnet, tmp_path: Path
    ) -> None:
        path = tmp_path / "body.json.j2"
        path.write_text('{"to": {{ ctx.recipient | tojson }}, "code": {{ ctx.template_data.code | tojson }}}')
        body = await load_body(f"file://{path}", client, jsonnet)
        await HttpChannel(client, server.url("/mail"), body=body).send(MAIL)
        assert json.loads(server.bodies[0]) == {"to": "ana@shop.example", "code": "042137"}

    async def test_that_fails_is_final(self, client: GuardedClient, jsonnet: Jsonnet, tmp_path: Path) -> None:
        path = tmp_path / "body.json.j2"
        path.write_text("{{ ctx.template_data.transient_payload.points + 1 }}")
        body = await load_body(f"file://{path}", client, jsonnet)
        with pytest.raises(ChannelFailed, match="cannot be filled in") as failed:
            await body.of(replace(MAIL, data={"transient_payload": {"points": "one"}}))
        assert failed.value.permanent

    async def test_that_is_broken_is_refused_with_file_and_line(
        self, client: GuardedClient, jsonnet: Jsonnet, tmp_path: Path
    ) -> None:
        (tmp_path / "body.j2").write_text("{\n{% if %}")
        with pytest.raises(ValueError, match=r"body\.j2, line 2, cannot be used"):
            await load_body(f"file://{tmp_path}/body.j2", client, jsonnet)
