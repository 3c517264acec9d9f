"""A mail server (SMTP, RFC 5321)."""

import asyncio
from email.message import EmailMessage
from typing import cast

from aiosmtplib import SMTP, SMTPDataError, SMTPException, SMTPRecipientsRefused, SMTPResponseException

from shopkeeper.notify.addresses import on_the_wire
from shopkeeper.notify.channels import ChannelFailed
from shopkeeper.notify.compose import MailComposer
from shopkeeper.notify.mail_lines import as_bytes
from shopkeeper.notify.smtp_refusals import is_about_security, is_about_the_mailbox, is_about_us
from shopkeeper.notify.smtp_uri import parse_smtp_uri, tls_context
from shopkeeper.notify.values import CourierMessage
from shopkeeper.transaction_guard import refuse_inside_transaction


class SmtpChannel:
    """A mail server.

    Args:
        connection_uri: in Kratos' format; see `smtp_uri`.
        composer: composes the mails.
        local_name: the host name that we send in EHLO.
        timeout: seconds to wait for each answer.
        client_cert_path, client_key_path: the client certificate, and its key.

    Raises `ValueError` where one of these is not usable.
    """

    def __init__(
        self,
        connection_uri: str,
        *,
        composer: MailComposer,
        local_name: str = "localhost",
        timeout: float = 30.0,
        client_cert_path: str | None = None,
        client_key_path: str | None = None,
    ) -> None:
        self._server = parse_smtp_uri(connection_uri)
        self._tls = tls_context(self._server, certificate=client_cert_path, key=client_key_path)
        self._composer = composer
        self._local_name, self._timeout = local_name, timeout

    async def send(self, message: CourierMessage) -> None:
        """Connect, send one message, and disconnect. Raises `CalledInsideTransaction` while a transaction is open."""
        refuse_inside_transaction("The mail server")
        recipient = on_the_wire(message.recipient)
        mail = self._composer.compose(message, recipient=recipient)
        server = self._connection()
        try:
            await server.connect()
            await self._hand_over(server, mail, recipient=recipient)
            _take_leave(server)
        except (SMTPException, OSError) as refusal:
            raise _failure(refusal) from refusal
        finally:
            server.close()

    async def _hand_over(self, server: SMTP, mail: EmailMessage, *, recipient: str) -> None:
        utf8 = not recipient.isascii()
        if utf8:
            if server.is_ehlo_or_helo_needed:
                await server.ehlo()
            if not server.supports_extension("smtputf8"):
                raise ChannelFailed("the mail server takes no address outside ASCII (no SMTPUTF8)", permanent=True)
        await server.sendmail(
            self._composer.sender.addr_spec,
            [recipient],
            as_bytes(mail, utf8=utf8),
            mail_options=["SMTPUTF8", "BODY=8BITMIME"] if utf8 else [],
        )

    def _connection(self) -> SMTP:
        server = self._server
        return SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.implicit_tls,
            start_tls=server.start_tls,
            tls_context=self._tls,
            local_hostname=self._local_name,
            timeout=self._timeout,
        )


def _take_leave(server: SMTP) -> None:
    """Say QUIT, and wait for no answer: the mail is taken, and must not be sent again because a farewell is late."""
    if server.transport is not None:
        cast(asyncio.WriteTransport, server.transport).write(b"QUIT\r\n")


def _failure(refusal: SMTPException | OSError) -> ChannelFailed:
    """Convert an error. Permanent is what the server finally says about this recipient or this mail.

    Every other error (no connection, no TLS, our password, our sender, no leave to relay) concerns our configuration,
    not the message. An operator can fix it, so those mails wait.
    """
    if isinstance(refusal, SMTPRecipientsRefused):
        refused = refusal.recipients[0]
        ours = is_about_us(refused.code, refused.message) or is_about_security(refused.message)
        bounced = is_about_the_mailbox(refused.code, refused.message)
        return _answered("the recipient was refused", refused, final=not ours, bounced=bounced)
    if isinstance(refusal, SMTPDataError):
        return _answered("the mail was refused", refusal, final=not is_about_us(refusal.code, refusal.message))
    if isinstance(refusal, SMTPResponseException):
        return _answered("the mail server refused to talk to us", refusal, final=False)
    kind = type(refusal).__name__
    return ChannelFailed(f"the mail server could not be reached ({kind})", permanent=False, detail=f"{kind}: {refusal}")


def _answered(what: str, answer: SMTPResponseException, *, final: bool, bounced: bool = False) -> ChannelFailed:
    permanent = final and 500 <= answer.code < 600
    detail = f"{answer.code} {answer.message}"
    return ChannelFailed(f"{what} ({answer.code})", permanent=permanent, bounced=permanent and bounced, detail=detail)
