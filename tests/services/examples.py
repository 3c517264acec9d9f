"""The backends of `examples/`, started as their pages say, on free ports and with a server of the tests."""

import os
import shlex
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.docs.pages import blocks, steps
from tests.services.node import install, node
from tests.services.server import NotStarted, Server, free_port, start

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FASTAPI, EXPRESS = EXAMPLES / "fastapi-shop", EXAMPLES / "express-shop"
SHOWN_FASTAPI, SHOWN_EXPRESS = "http://127.0.0.1:4480", "http://127.0.0.1:4481"
TRIES = 3


def start_fastapi_shop(shop: str, *, owner: int) -> Server:
    """Start the one with FastAPI, which asks the server at the address `shop`. Raises `NotStarted`."""
    return _start(lambda port: [f"SHOP_URL={shop}", *_uvicorn(port)], owner)


def start_express_shop(shop: str, *, owner: int) -> Server:
    """Start the one with Express. Raises `NotInstalled` and `NotStarted`."""
    program = str(install(EXPRESS) / "server.mjs")
    return _start(lambda port: [f"SHOP_URL={shop}", f"PORT={port}", str(node()), "--no-warnings", program], owner)


def _uvicorn(port: int) -> list[str]:
    """Return the command of the page, with the packages of the tests and another port."""
    typed = [shlex.split(step.command) for block in blocks(FASTAPI / "README.md") for step in steps(block)]
    (words,) = [words for words in typed if words[0].endswith("uvicorn")]
    there = [str(EXAMPLES.parent / word) if word.startswith("examples/") else word for word in words[1:]]
    assert there[-2] == "--port"
    return [sys.executable, "-m", "uvicorn", *there[:-1], str(port)]


def _start(command: Callable[[int], list[str]], owner: int) -> Server:
    for left in reversed(range(TRIES)):
        port = free_port()
        url, folder = f"http://127.0.0.1:{port}", Path(tempfile.mkdtemp(prefix="shopkeeper-example-"))
        kept = [f"{name}={os.environ[name]}" for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ]
        started = ["/usr/bin/env", "-i", *kept, *command(port)]
        try:
            return start(url, started, folder=folder, answers=lambda at=url: _answers(at), owner=owner)
        except NotStarted:  # another test may have taken the port meanwhile
            if not left:
                raise
    raise AssertionError("unreachable")


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/users/profile", timeout=5).close()
    except urllib.error.HTTPError as refused:
        return refused.code == 400  # it has no token
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return False
