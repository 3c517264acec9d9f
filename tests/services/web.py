"""A small web server of the test's own, on any loopback address, with TLS where it is wanted."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Answers from its table of paths, and remembers its requests."""

    host: str
    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    open: set["asyncio.Task[None] | None"] = field(default_factory=set)

    def url(self, path: str = "/", *, host: str | None = None) -> str:
        return f"http://{host or self.host}:{self.port}{path}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    self.heads.append(head)
                    self.bodies.append(await reader.readexactly(_length_of(head)))
                    await self.answers[head.split()[1].partition("?")[0]](writer)
                    await writer.drain()
        finally:
            writer.transport.abort()


def _length_of(head: str) -> int:
    lengths = [line.partition(":")[2] for line in head.lower().splitlines() if line.startswith("content-length:")]
    return int(lengths[0]) if lengths else 0


def says(body: bytes = b"hello", *, status: str = "200 OK", **headers: str) -> Answer:
    """Return an answer with this body; an underscore in a header's name stands for a dash."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    return answer


@contextlib.asynccontextmanager
async def serving(host: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run a server for the length of the block."""
    server = Server(host, answers={"/": says()})
    listening = await asyncio.start_server(server.handle, host, 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        tasks = [task for task in server.open if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def certificate(name: str, *, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Create a certificate; return the context that serves it, and one that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    both = folder / "served.pem"
    both.write_bytes(private + public)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(both)
    return served, ssl.create_default_context(cadata=public.decode())
