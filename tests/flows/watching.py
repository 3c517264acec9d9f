"""Observes a request without changing it: the statements that it sends and the functions that it calls."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from sqlalchemy import Engine, event

from shopkeeper.transaction_guard import CalledInsideTransaction, refuse_inside_transaction


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collect every statement that is sent to a database during the block, in one line each."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(" ".join(statement.split()))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


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
