"""A real SMTP server in this process, which answers as the test sets and keeps what it was sent."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Postbox:
    """The answers to give, and the received mails."""

    recipient_answer: str = "250 OK"
    data_answer: str = "250 OK"
    envelopes: list[Envelope] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    greetings: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    port: int = 0

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.greetings.append(hostname)
        return responses

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.recipient_answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.recipient_answer

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        if self.data_answer.startswith("250"):
            self.envelopes.append(envelope)
            self.encrypted.append(cast(Any, server).transport.get_extra_info("ssl_object") is not None)
        return self.data_answer

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        login = cast(LoginPassword, data)
        self.logins.append((login.login, login.password))
        return AuthResult(success=login.password == b"open/sesame", handled=False)

    @property
    def mails(self) -> list[EmailMessage]:
        """Return the received mails, parsed."""
        return [message_from_bytes(cast(bytes, envelope.content), policy=default) for envelope in self.envelopes]


@asynccontextmanager
async def mail_server(
    postbox: Postbox,
    *,
    implicit_tls: ssl.SSLContext | None = None,
    start_tls: ssl.SSLContext | None = None,
    auth: bool = False,
    utf8: bool = True,
) -> AsyncIterator[Postbox]:
    """Listen on a free port of this machine until the test is over."""
    loop = asyncio.get_running_loop()

    def session() -> SMTP:
        return SMTP(
            postbox,
            hostname="mail.test",
            loop=loop,
            tls_context=start_tls,
            require_starttls=start_tls is not None,
            authenticator=postbox.authenticate if auth else None,
            auth_required=auth,
            enable_SMTPUTF8=utf8,
        )

    server = await loop.create_server(session, "127.0.0.1", 0, ssl=implicit_tls)
    postbox.port = server.sockets[0].getsockname()[1]
    try:
        yield postbox
    finally:
        server.close()


def certificate_for(name: str, *, folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return a self-signed certificate for a name, and the server's side of TLS with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, key_pem)
    return pem, context
