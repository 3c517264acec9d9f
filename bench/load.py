"""Load from `wrk`, which sends the next request as soon as an answer arrives, and its output as figures.

The baseline and our server get the same number of connections and the same kind of request, from one thread on the
cores that the server uses as well. A conversation has a thread for each connection, because each has a state of its
own.
"""

import json
import math
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.outcome import Unmeasured

CONNECTIONS = 16
SCRIPTS = Path(__file__).with_name("conversations")
PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is sent repeatedly."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a window: requests a second, milliseconds, and the number of unexpected answers."""

    per_second: float
    p50: float
    p99: float
    failed: int


def require_wrk() -> None:
    """Install `wrk` where that is possible. Raises `Unmeasured` with instructions where it is not."""
    if shutil.which("wrk") is None and shutil.which("apt-get") is not None:
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], check=False, capture_output=True)
    if shutil.which("wrk") is None:
        raise Unmeasured("wrk is missing: install it (Debian, Ubuntu: apt-get install wrk) and run this again")


def send(url: str, request: Request, *, seconds: float, connections: int = CONNECTIONS) -> Figures:
    """Send the same request repeatedly."""
    return _wrk(url, request, "same", [], seconds=seconds, connections=connections, threads=1)


def send_with_tokens(url: str, request: Request, tokens: Sequence[str], *, seconds: float) -> Figures:
    """Send the same request repeatedly, each time with the next token."""
    return _wrk(url, request, "tokens", tokens, seconds=seconds, connections=CONNECTIONS, threads=1)


def converse(url: str, name: str, lines: Sequence[str], *, seconds: float, connections: int = CONNECTIONS) -> Figures:
    """Play a conversation of several requests, one after the other on each connection; count the finished ones.

    It takes full seconds: a sign-in may take half of one.
    """
    full = math.ceil(seconds)
    return _wrk(url, Request("/"), name, lines, seconds=full, connections=connections, threads=connections)


def _wrk(
    url: str, request: Request, name: str, lines: Sequence[str], *, seconds: float, connections: int, threads: int
) -> Figures:
    with tempfile.TemporaryDirectory(prefix="shopkeeper-bench-") as folder:
        script, data = Path(folder, "script.lua"), Path(folder, "lines")
        parts = (_preset(request), *((SCRIPTS / f"{part}.lua").read_text() for part in ("common", name)))
        script.write_text("\n".join(parts))
        data.write_text("\n".join(lines))
        counts = [f"-t{threads}", f"-c{connections}", f"-d{math.ceil(seconds)}s", f"--timeout={PATIENCE}s"]
        command = ["wrk", *counts, "-s", str(script), url + request.path, str(data)]
        return _figures(_run(command, seconds=seconds))


def _run(command: Sequence[str], *, seconds: float) -> "subprocess.CompletedProcess[str]":
    """Run `wrk`, which counts in full seconds, and interrupt it where there are fewer: it prints its figures then."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            told, failed = running.communicate(timeout=seconds if seconds % 1 else None)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGINT)
            told, failed = running.communicate()
    return subprocess.CompletedProcess(command, running.returncode, told, failed)


def _figures(done: "subprocess.CompletedProcess[str]") -> Figures:
    _, found, told = done.stdout.rpartition("FIGURES ")
    if done.returncode or not found:
        raise Unmeasured(f"wrk ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    figures = Figures(**json.loads(told))
    if figures.failed:
        raise Unmeasured(f"{figures.failed} answers were not the wanted ones, {figures.per_second:.0f}/s were")
    if not figures.per_second:
        raise Unmeasured("not one answer came within the window: try longer ones with --seconds")
    return figures


def _preset(request: Request) -> str:
    headers = ", ".join(f"[{_lua(name)}] = {_lua(value)}" for name, value in request.headers.items())
    body = f"wrk.body = {_lua(request.body)}" if request.body is not None else ""
    return f"wrk.method = {_lua(request.method)}\nwrk.headers = {{{headers}}}\n{body}"


def _lua(text: str) -> str:
    """Return a text as a Lua literal: JSON's escapes are Lua's for the characters that we send."""
    return json.dumps(text, ensure_ascii=False)
