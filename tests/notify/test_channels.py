"""Both channels, with a real mail server."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from shopkeeper.notify.channels import Channel, ChannelFailed, InboxChannel
from shopkeeper.notify.compose import MailComposer
from shopkeeper.notify.smtp_channel import SmtpChannel
from shopkeeper.notify.values import CourierMessage, Status
from shopkeeper.storage.database import Database
from shopkeeper.transaction_guard import CalledInsideTransaction
from tests.notify.mail_server import Postbox, certificate_for, mail_server

NOW = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
MESSAGE = CourierMessage(
    id=UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    status=Status.PROCESSING,
    type="email",
    recipient="ana@münchen.example",
    subject="Ihre Bestellung über 34,98 €",
    body="Guten Tag Ana,\n\n2 × Becher\n.\nEin Punkt allein beendet keine Mail.\n",
    html="<!doctype html><p>Guten Tag Ana, " + "sehr lange Zeile " * 100 + "</p>",
    context=None,
    template_type="order_placed",
    channel="email",
    send_count=1,
    locale="de",
    source_event=None,
    last_error=None,
    created_at=NOW,
    updated_at=NOW,
)


def plain(port: int, **options: Any) -> SmtpChannel:
    uri = options.pop("uri", "smtp://127.0.0.1:{port}/?disable_starttls=true").format(port=port)
    sender = {"from_address": "no-reply@shop.example", "from_name": "Corner & Söhne"}
    composed = {name: options.pop(name) for name in ("from_address", "from_name", "headers") if name in options}
    return SmtpChannel(uri, composer=MailComposer(**{**sender, **composed}), **options)


async def failure(channel: Channel, message: CourierMessage = MESSAGE) -> ChannelFailed:
    with pytest.raises(ChannelFailed) as failed:
        await channel.send(message)
    return failed.value


class TestInbox:
    async def test_a_stored_message_has_arrived(self) -> None:
        channel: Channel = InboxChannel()
        await channel.send(MESSAGE)


class TestMail:
    async def test_a_mail_arrives_whole(self) -> None:
        async with mail_server(Postbox()) as postbox:
            await plain(postbox.port, headers={"X-Shop": "corner"}, local_name="shop.example").send(MESSAGE)
        (mail,), (envelope,) = postbox.mails, postbox.envelopes
        assert envelope.mail_from == "no-reply@shop.example"
        assert envelope.rcpt_tos == ["ana@xn--mnchen-3ya.example"]
        assert str(mail["From"]) == "Corner & Söhne <no-reply@shop.example>"
        assert str(mail["To"]) == "ana@xn--mnchen-3ya.example"
        assert str(mail["Subject"]) == MESSAGE.subject
        assert mail["Date"].datetime == NOW
        assert str(mail["Message-ID"]) == f"<{MESSAGE.id}@shop.example>"
        assert str(mail["Auto-Submitted"]) == "auto-generated"
        assert str(mail["Content-Language"]) == "de"
        assert str(mail["X-Shop"]) == "corner"
        assert mail.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
        text, html = (part.get_content() for part in mail.iter_parts())
        assert text.replace("\r\n", "\n") == MESSAGE.body
        assert html.strip() == MESSAGE.html
        assert postbox.greetings == ["shop.example"]

    async def test_no_mail_is_sent_while_a_transaction_is_open(self, database: Database) -> None:
        async with mail_server(Postbox()) as postbox, database.unit() as unit:
            await unit.begin()
            with pytest.raises(CalledInsideTransaction):
                await plain(postbox.port).send(MESSAGE)
        assert postbox.greetings == []

    async def test_a_mail_can_be_read_by_any_server(self) -> None:
        async with mail_server(Postbox()) as postbox:
            await plain(postbox.port).send(MESSAGE)
        content = postbox.envelopes[0].content
        assert isinstance(content, bytes)
        assert content.isascii()
        assert max(map(len, content.split(b"\r\n"))) <= 998

    async def test_an_address_outside_ascii_is_sent_to_a_server_that_reads_it(self) -> None:
        async with mail_server(Postbox()) as postbox:
            await plain(postbox.port).send(replace(MESSAGE, recipient="анна@shop.example"))
        assert postbox.envelopes[0].rcpt_tos == ["анна@shop.example"]
        assert str(postbox.mails[0]["To"]) == "анна@shop.example"

    @pytest.mark.parametrize(
        "value",
        [
            "<https://shop.example/unsubscribe?token=" + "f" * 200 + ">, <mailto:unsubscribe@shop.example>",
            '{"category":["' + "orders" * 40 + '"],"unique_args":{"shop":"corner"}}',
            " ".join(["word"] * 60),
        ],
        ids=["an address", "JSON", "words"],
    )
    async def test_a_long_header_is_sent_as_it_was_written(self, value: str) -> None:
        """Regression: with more than 77 characters it was sent as an encoded word, which nobody decodes there."""
        assert (await self._headers({"X-Long": value}))["X-Long"] == value

    async def test_a_header_is_broken_at_spaces_where_a_line_would_be_too_long(self) -> None:
        value = " ".join(f"<https://shop.example/{number:0100}>" for number in range(30))
        async with mail_server(Postbox()) as postbox:
            await plain(postbox.port, headers={"X-Long": value}).send(MESSAGE)
        content = postbox.envelopes[0].content
        assert isinstance(content, bytes)
        assert max(map(len, content.split(b"\r\n"))) <= 998
        assert str(postbox.mails[0]["X-Long"]) == value

    async def test_only_the_words_outside_ascii_are_encoded(self) -> None:
        link = f"<https://shop.example/{'f' * 100}>"
        found = await self._headers({"X-Shop": f"Söhne Änne {link} & Co", "Reply-To": '"Söhne, Co." <a@shop.example>'})
        assert found == {
            "X-Shop": f"=?utf-8?b?U8O2aG5lIMOEbm5l?= {link} & Co",
            "Reply-To": "=?utf-8?q?S=C3=B6hne=2C_Co=2E?= <a@shop.example>",
        }

    async def test_our_own_headers_stay_as_they_are_with_long_addresses(self) -> None:
        sender, recipient = f"no-reply@{'s' * 60}.example", f"{'a' * 60}@{'r' * 60}.example"
        async with mail_server(Postbox()) as postbox:
            await plain(postbox.port, from_address=sender, from_name=None).send(replace(MESSAGE, recipient=recipient))
        content = postbox.envelopes[0].content
        assert isinstance(content, bytes)
        for line in (f"From: {sender}", f"To: {recipient}", f"Message-ID: <{MESSAGE.id}@{'s' * 60}.example>"):
            assert line.encode() in content.split(b"\r\n")

    @staticmethod
    async def _headers(headers: dict[str, str]) -> dict[str, str]:
        """Send a mail with further headers; return each as it stands in the bytes that were sent."""
        async with mail_server(Postbox()) as postbox:
            await plain(postbox.port, headers=headers).send(MESSAGE)
        content = postbox.envelopes[0].content
        assert isinstance(content, bytes)
        lines = content.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")
        return dict(line.split(": ", 1) for line in lines if line.partition(":")[0] in headers)

    async def test_a_repetition_has_the_same_message_id(self) -> None:
        async with mail_server(Postbox()) as postbox:
            channel = plain(postbox.port)
            await channel.send(MESSAGE)
            await channel.send(MESSAGE)
        assert len({str(mail["Message-ID"]) for mail in postbox.mails}) == 1

    async def test_row_089_a_subject_cannot_add_headers(self) -> None:
        # Templates never make such a subject; should one come anyway, the mail is not sent at all.
        async with mail_server(Postbox()) as postbox:
            with pytest.raises(ValueError, match="linefeed"):
                await plain(postbox.port).send(replace(MESSAGE, subject="Hello\r\nBcc: all@evil.example"))
        assert postbox.envelopes == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("box", "permanent", "reason"),
        [
            (Postbox(recipient_answer="550 no such user ana@x"), True, "the recipient was refused (550)"),
            (Postbox(recipient_answer="451 greylisted"), False, "the recipient was refused (451)"),
            (Postbox(data_answer="554 looks like spam"), True, "the mail was refused (554)"),
            (Postbox(data_answer="452 disk full"), False, "the mail was refused (452)"),
        ],
        ids=["no-such-user", "greylisted", "spam", "disk-full"],
    )
    async def test_a_final_answer_is_permanent_and_a_passing_one_is_not(
        self, box: Postbox, permanent: bool, reason: str
    ) -> None:
        async with mail_server(box) as postbox:
            failed = await failure(plain(postbox.port))
        assert (failed.permanent, str(failed)) == (permanent, reason)
        assert postbox.envelopes == []

    async def test_the_servers_words_are_kept_apart_from_the_sentence_for_the_log(self) -> None:
        async with mail_server(Postbox(recipient_answer="550 no such user ana@x")) as postbox:
            failed = await failure(plain(postbox.port))
        assert failed.detail == "550 no such user ana@x"
        assert "@" not in str(failed)

    async def test_an_address_outside_ascii_is_given_up_where_the_server_does_not_read_it(self) -> None:
        async with mail_server(Postbox(), utf8=False) as postbox:
            failed = await failure(plain(postbox.port), replace(MESSAGE, recipient="анна@shop.example"))
            await plain(postbox.port).send(replace(MESSAGE, recipient="anna@магазин.example"))
        assert failed.permanent
        assert str(failed) == "the mail server takes no address outside ASCII (no SMTPUTF8)"
        assert [envelope.rcpt_tos for envelope in postbox.envelopes] == [["anna@xn--80aairftm.example"]]

    async def test_a_port_without_a_server_is_a_temporary_failure(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            failed = await failure(plain(unused.getsockname()[1]))
        assert not failed.permanent
        assert str(failed) == "the mail server could not be reached (SMTPConnectError)"

    async def test_a_wrong_password_of_ours_does_not_abandon_mails(self, tmp_path: Path) -> None:
        _, context = certificate_for("localhost", folder=tmp_path)
        async with mail_server(Postbox(), start_tls=context, auth=True) as postbox:
            uri = "smtp://shop:wrong@127.0.0.1:{port}/?skip_ssl_verify=true"
            failed = await failure(plain(postbox.port, uri=uri))
        assert not failed.permanent
        assert str(failed) == "the mail server refused to talk to us (535)"
        assert "wrong" not in failed.detail


class TestBadConnections:
    """Servers that hang, answer late or go away: the mail waits, and no attempt lasts for ever."""

    @pytest.mark.parametrize("at", ["greeting", "RCPT", "DATA", "body"])
    @pytest.mark.parametrize("how", ["hangs", "cuts"])
    async def test_a_server_that_hangs_or_goes_away_is_a_temporary_failure(self, at: str, how: str) -> None:
        async with broken_server(at, hangs=how == "hangs") as port:
            with pytest.raises(ChannelFailed) as failed:
                await plain(port, timeout=0.2).send(MESSAGE)
        assert not failed.value.permanent
        assert not failed.value.bounced

    @pytest.mark.parametrize("how", ["hangs", "cuts"])
    async def test_a_server_that_goes_away_once_it_has_taken_the_mail_gets_no_second_one(self, how: str) -> None:
        async with broken_server("QUIT", hangs=how == "hangs") as port:
            await plain(port, timeout=0.2).send(MESSAGE)

    async def test_a_mail_that_was_taken_waits_for_no_farewell(self) -> None:
        async with broken_server("QUIT", hangs=True) as port, asyncio.timeout(10):
            await plain(port, timeout=3600).send(MESSAGE)

    async def test_a_slow_server_is_waited_for_at_each_step(self) -> None:
        async with broken_server("", slow=0.1) as port:
            await plain(port, timeout=0.3).send(MESSAGE)


@asynccontextmanager
async def broken_server(at: str, *, hangs: bool = False, slow: float = 0.0) -> AsyncIterator[int]:
    """Run a mail server that hangs, or closes the connection, at a step of the conversation; or is slow at each.

    Its conversation is one of the protocol, so that a mail that it takes was taken.
    """
    over, talks = asyncio.Event(), list[asyncio.Task[None] | None]()
    answers = {"EHLO": b"250 ok", "MAIL": b"250 ok", "RCPT": b"250 ok", "DATA": b"250 taken", "QUIT": b"221 bye"}

    async def stop(writer: asyncio.StreamWriter) -> None:
        if hangs:
            await over.wait()
        writer.transport.abort()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        if at == "greeting":
            return await stop(writer)
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            command = line[:4].decode().upper()
            if command == at or (command == "DATA" and at == "body"):
                if at == "body":
                    writer.write(b"354 go on\r\n")
                    await reader.readline()
                return await stop(writer)
            if command == "DATA":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
            await asyncio.sleep(slow)
            writer.write(answers[command] + b"\r\n")
        return writer.transport.abort()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield int(listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        over.set()
        await asyncio.gather(*(task for task in talks if task is not None), return_exceptions=True)


class TestTls:
    async def test_starttls_is_required_unless_switched_off(self) -> None:
        async with mail_server(Postbox()) as postbox:
            failed = await failure(plain(postbox.port, uri="smtp://127.0.0.1:{port}/"))
        assert not failed.permanent
        assert postbox.envelopes == []

    async def test_the_password_travels_inside_tls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pem, context = certificate_for("localhost", folder=tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        async with mail_server(Postbox(), start_tls=context, auth=True) as postbox:
            await plain(postbox.port, uri="smtp://shop:open%2Fsesame@localhost:{port}/").send(MESSAGE)
        assert postbox.logins == [(b"shop", b"open/sesame")]
        assert postbox.encrypted == [True]

    async def test_smtps_is_encrypted_from_the_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pem, context = certificate_for("localhost", folder=tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        async with mail_server(Postbox(), implicit_tls=context) as postbox:
            await plain(postbox.port, uri="smtps://localhost:{port}/").send(MESSAGE)
        assert postbox.encrypted == [True]

    @pytest.mark.parametrize("scheme", ["smtp", "smtps"])
    async def test_an_unknown_certificate_is_refused(self, tmp_path: Path, scheme: str) -> None:
        _, context = certificate_for("localhost", folder=tmp_path)
        tls: dict[str, Any] = {"start_tls" if scheme == "smtp" else "implicit_tls": context}
        async with mail_server(Postbox(), **tls) as postbox:
            failed = await failure(plain(postbox.port, uri=scheme + "://localhost:{port}/"))
        assert not failed.permanent
        assert "certificate" in failed.detail.lower()
        assert postbox.envelopes == []

    @pytest.mark.parametrize("scheme", ["smtp", "smtps"])
    async def test_the_name_in_the_certificate_must_be_the_one_expected(
        self, tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pem, context = certificate_for("mail.shop.example", folder=tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        tls: dict[str, Any] = {"start_tls" if scheme == "smtp" else "implicit_tls": context}
        async with mail_server(Postbox(), **tls) as postbox:
            failed = await failure(plain(postbox.port, uri=scheme + "://localhost:{port}/"))
            named = scheme + "://localhost:{port}/?server_name=mail.shop.example"
            await plain(postbox.port, uri=named).send(MESSAGE)
        assert "certificate" in failed.detail.lower()
        assert postbox.encrypted == [True]

    async def test_the_check_of_certificates_can_be_switched_off(self, tmp_path: Path) -> None:
        _, context = certificate_for("mail.shop.example", folder=tmp_path)
        async with mail_server(Postbox(), start_tls=context) as postbox:
            await plain(postbox.port, uri="smtp://127.0.0.1:{port}/?skip_ssl_verify=true").send(MESSAGE)
        assert postbox.encrypted == [True]

    async def test_a_client_certificate_is_sent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pem, context = certificate_for("localhost", folder=tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        context.load_verify_locations(pem)
        context.verify_mode = context.verify_mode.__class__.CERT_REQUIRED
        shown = {"client_cert_path": str(pem), "client_key_path": str(tmp_path / "localhost.key")}
        async with mail_server(Postbox(), implicit_tls=context) as postbox:
            await plain(postbox.port, uri="smtps://localhost:{port}/", **shown).send(MESSAGE)
        assert postbox.encrypted == [True]


class TestSettings:
    async def test_a_sender_on_this_machine_is_accepted(self) -> None:
        async with mail_server(Postbox()) as postbox:
            await plain(postbox.port, from_address="no-reply@localhost", from_name=None).send(MESSAGE)
        assert str(postbox.mails[0]["From"]) == "no-reply@localhost"

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"uri": "smtp:///"}, "must look like smtp://"),
            ({"headers": {"subject": "Buy!"}}, "header subject, which Shopkeeper writes itself"),
            ({"headers": {"Content-Type": "text/html"}}, "header Content-Type"),
            ({"headers": {"X-Shop": "f" * 998}}, "has a word that is too long"),
            ({"headers": {"X-Shop": "a\r\nBcc: all@evil.example"}}, "header X-Shop, whose value"),
            ({"headers": {"X Shop:": "a"}}, "header X Shop:, whose name"),
            ({"from_name": "Shop\r\nBcc: all@evil.example"}, "CR or LF"),
            ({"from_address": "no-reply@münchen.example"}, "must be one address"),
            ({"from_address": "a@shop.example,b@evil.example"}, "must be one address"),
            ({"from_address": "no-reply"}, "must be one address"),
            ({"from_address": "no-reply@shop.example\n"}, "must be one address"),
            ({"client_cert_path": "nowhere.pem"}, "cannot be read"),
        ],
        ids=[
            "uri",
            "our-header",
            "content-header",
            "long-word",
            "crlf-value",
            "bad-name",
            "crlf-sender",
            "international-sender",
            "two-senders",
            "no-domain",
            "newline-sender",
            "no-certificate",
        ],
    )
    def test_wrong_settings_are_refused_at_the_start(self, options: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            plain(25, **options)
