"""Running the server: the event loop of its processes."""

import asyncio
import sys

import pytest

from shopkeeper.server import run


async def loop_in_use() -> str:
    return type(asyncio.get_running_loop()).__module__


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not exist on Windows")
def test_processes_that_serve_run_on_uvloop() -> None:
    assert run(loop_in_use()) == "uvloop"
