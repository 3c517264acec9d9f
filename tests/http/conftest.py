"""Fixtures of the routes: an application in this process, configured as in production."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from shopkeeper.clock import StoppedClock

pytest.register_assert_rewrite("tests.attacks.scene")

from tests.attacks.scene import Scene, opened  # noqa: E402 - its assertions must be rewritten first

Opening = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest.fixture
def opening(tmp_path: Path, clock: StoppedClock) -> Opening:
    """`async with opening(dsn, throttle={…}) as scene: …` opens an application with settings of the test."""

    def open_(dsn: str, **settings: Any) -> AbstractAsyncContextManager[Scene]:
        return opened(dsn, tmp_path, clock, settings=settings)

    return open_
