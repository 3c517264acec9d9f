"""A recorder in front of a server: forwards every request, and remembers requests and answers."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# These headers belong to one hop, not to the message (RFC 9110, section 7.6.1).
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"})


@dataclass(frozen=True)
class Answer:
    """An answer with its request."""

    method: str
    path: str
    status: int
    content_type: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.path} -> {self.status}"


@dataclass
class Recorder:
    """The address to call instead of the server. `target` is set once the server is ready."""

    url: str
    target: str = ""
    answers: list[Answer] = field(default_factory=list)


@contextmanager
def recording() -> Iterator[Recorder]:
    """Run a recorder for the length of the block."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    recorder = listening.recorder = Recorder(f"http://127.0.0.1:{listening.server_address[1]}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield recorder
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


class Handler(BaseHTTPRequestHandler):
    """Forwards the requests of one connection. Every answer ends its connection, which keeps this small."""

    def pass_on(self) -> None:
        recorder: Recorder = self.server.recorder  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        upstream = http.client.HTTPConnection(urlsplit(recorder.target).netloc, timeout=30)
        try:
            upstream.request(self.command, self.path, body or None, self._headers())
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        kind = answer.headers.get("content-type", "")
        recorder.answers.append(Answer(self.command, urlsplit(self.path).path, answer.status, kind, content))
        self._answer(answer, content)

    def _headers(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP - {"te"}}

    def _answer(self, answer: http.client.HTTPResponse, content: bytes) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gave it
        """Log nothing."""


for _method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
    setattr(Handler, f"do_{_method}", Handler.pass_on)
