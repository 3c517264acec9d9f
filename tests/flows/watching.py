"""Observes a request without changing it: the statements that it sends and the functions that it calls."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from shopkeeper.transaction_guard import CalledInsideTransaction, refuse_inside_transaction
from tests.attacks.scene import Scene


@contextmanager
def statements(scene: Scene) -> Iterator[list[str]]:
    """Collect every statement that the application sends to its database during the block, in one line each."""
    seen: list[str] = []
    with scene.application.infrastructure.database.observed(lambda text: seen.append(" ".join(text.split()))):
        yield seen


def reads_of(table: str, seen: list[str]) -> list[str]:
    """Return the queries that read this table, alone or with others in one statement."""
    return [each for each in seen if each.startswith("SELECT") and f" FROM {table}" in each]


@contextmanager
def at_each_call(of: Callable[..., Any], do: Callable[[], None]) -> Iterator[None]:
    """Call `do` at each call of a function in this thread. It must be a plain function, not a coroutine function."""
    code = of.__code__

    def note(frame: FrameType, kind: str, _: Any) -> None:
        if kind == "call" and frame.f_code is code:
            do()

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


def transaction_open() -> bool:
    """Whether a transaction of this task is open."""
    try:
        refuse_inside_transaction("A test")
    except CalledInsideTransaction:
        return True
    return False
