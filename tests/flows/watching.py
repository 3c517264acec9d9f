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


@contextmanager
def cache_calls(scene: Scene) -> Iterator[list[str]]:
    """Collect the calls of the application's cache during the block: the method, and the kind of the first key."""
    cache, seen = scene.application.infrastructure.cache, list[str]()
    kind = type(cache)
    known = {name: getattr(kind, name) for name in _CALLS}

    def noting(name: str) -> Callable[..., Any]:
        def call(self: Any, key: str, *given: Any, **more: Any) -> Any:
            if self is cache:
                seen.append(f"{name} {key.partition(':')[0]}")
            return known[name](self, key, *given, **more)

        return call

    for name in _CALLS:
        setattr(kind, name, noting(name))
    try:
        yield seen
    finally:
        for name, method in known.items():
            setattr(kind, name, method)


_CALLS = ("get", "set", "add", "delete", "increment", "time_left", "publish")


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
