"""Load: `wrk` with a small script, and what it says as figures."""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent again and again; `bodies` are sent in turn."""

    path: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    bodies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of it: requests a second, latencies in milliseconds, and answers that were not 2xx."""

    per_second: float
    p50: float
    p99: float
    failed: int


def require_wrk() -> str:
    """The path of `wrk`; ends the program with a sentence where there is none and none can be installed."""
    found = shutil.which("wrk")
    if found is None and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "-qq", "wrk"], check=False, stdout=subprocess.DEVNULL)
        found = shutil.which("wrk")
    if found is None:
        sys.exit("The benchmarks need wrk: install it (Debian, Ubuntu: apt-get install wrk) and run them again.")
    return found


def run(url: str, request: Request, *, seconds: float, connections: int = 16) -> Figures:
    """Sends as fast as answers come."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "request.lua"
        script.write_text(_script(request))
        done = subprocess.run(
            [
                require_wrk(),
                "-t1",
                f"-c{connections}",
                f"-d{max(1, round(seconds))}s",
                "--timeout",
                "30s",
                "-s",
                str(script),
                url + request.path,
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    figures = json.loads(done.stdout.rpartition("FIGURES ")[2])
    return Figures(figures["per_second"], figures["p50"], figures["p99"], figures["failed"])


def _script(request: Request) -> str:
    headers = "\n".join(f"  [{_lua(name)}] = {_lua(value)}," for name, value in request.headers)
    bodies = "\n".join(f"  {_lua(body)}," for body in request.bodies)
    return f"""
local bodies = {{
{bodies}
}}
wrk.method = {_lua(request.method)}
wrk.headers = {{
{headers}
}}
local turn = 0
function request()
  if #bodies == 0 then return wrk.format() end
  turn = turn % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[turn])
end
function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format('FIGURES {{"per_second": %f, "p50": %f, "p99": %f, "failed": %d}}',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1000, latency:percentile(99) / 1000, bad))
end
"""


def _lua(text: str) -> str:
    return json.dumps(text)
