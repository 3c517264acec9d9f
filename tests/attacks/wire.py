"""Requests as bytes, which no HTTP library would send."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE = 20


@dataclass(frozen=True)
class Answer:
    """An answer; status 0 where the server closed the connection without one."""

    status: int
    head: str
    body: str

    def header(self, name: str) -> str | None:
        """Return a header's value, or None."""
        lines = [line.partition(":") for line in self.head.split("\r\n")[1:]]
        return next((value.strip() for key, _, value in lines if key.lower() == name), None)


def request(
    path: str, *, method: str = "GET", host: str | bytes = "shop.test", headers: bytes = b"", body: bytes = b""
) -> bytes:
    """Return the bytes of a request."""
    named = host if isinstance(host, bytes) else host.encode("latin-1")
    line = f"{method} {path} HTTP/1.1\r\n".encode("latin-1")
    length = f"Content-Length: {len(body)}\r\n".encode() if body else b""
    return line + b"Host: " + named + b"\r\nConnection: close\r\n" + length + headers + b"\r\n" + body


def send(url: str, sent: bytes) -> Answer:
    """Send bytes, and read until the server closes the connection."""
    address = urlsplit(url)
    received = b""
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as line:
        with suppress(ConnectionError):  # a server may close while it is still being written to
            line.sendall(sent)
        with suppress(ConnectionError):
            while chunk := line.recv(65_536):
                received += chunk
    head, _, body = received.decode("utf-8", "replace").partition("\r\n\r\n")
    status = head.split(" ")[1] if head.startswith("HTTP/1.") else "0"
    return Answer(int(status), head, body)
